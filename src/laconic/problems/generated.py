"""Problems that are made, not kept: reasoning-gym tasks and the tiny families.

1. `query` reads an address; `count`, `seed` and `split` mean the same for every generator.
2. `load_gym` draws from reasoning-gym until enough distinct questions of the split are found. The library seeds item i
   with `seed + i`, so neighbouring seeds would share almost all items: its seed is hashed from ours, task and split.
3. A question belongs to the split its text hashes to (`laconic.splits`), so splits never meet, under any seed.
4. `load_tiny` asks the family itself, which knows of seeds and splits.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from laconic.errors import MissingExtraError, ProblemsError
from laconic.problems.address import Address, Value
from laconic.rng import seed_of
from laconic.splits import SPLITS, split_of
from laconic.tiny.tasks import Chain, make_problems
from laconic.tiny.traces import SOLUTION_STYLES, write_solution
from laconic.types import Problem

DEFAULT_COUNT = 100
MAX_TRIES_PER_PROBLEM = 60
MIN_TRIES = 2000
RESERVED = ("seed", "split")
"""Arguments that every generator understands, beside those of every source."""


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A generator's source: what is made, how many, from which stream and split, and what else was said."""

    name: str
    count: int
    seed: int
    split: str | None
    arguments: Mapping[str, Value]


def query(address: Address, seed: int) -> Query:
    """What an address `kind:NAME?arg=value&...` asks of a generator. A seed that it names stands over the argument.

    Raises `ProblemsError` for a seed or split that is none.
    """
    split = address.arguments.get("split")
    if split is not None and split not in SPLITS:
        raise ProblemsError(f"{address.source}: split must be one of {', '.join(SPLITS)}, got {split}")
    others = {key: value for key, value in address.arguments.items() if key not in RESERVED}
    return Query(
        name=address.name.partition(":")[2],
        count=address.count or DEFAULT_COUNT,
        seed=address.whole_number("seed", seed, least=0),
        split=None if split is None else str(split),
        arguments=others,
    )


# --- reasoning-gym ---------------------------------------------------------------------------------------------------


def load_gym(address: Address, seed: int) -> list[Problem]:
    """Distinct problems of one reasoning-gym task, named by a hash of their question.

    Raises `ProblemsError` for an unknown task or argument, arguments the task refuses, and a task with too few distinct
    questions; `MissingExtraError` where reasoning-gym is not installed.
    """
    asked, source = query(address, seed), address.source
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise MissingExtraError(source, "gym") from error
    if asked.name not in DATASETS:
        near = ", ".join(difflib.get_close_matches(asked.name, DATASETS, n=3)) or f"one of {len(DATASETS)} tasks"
        raise ProblemsError(f"{source}: reasoning-gym has no task {asked.name!r}; near it: {near}")
    address.refuse_unknown(*RESERVED, *_task_arguments(DATASETS[asked.name][1]))
    tries = max(MIN_TRIES, MAX_TRIES_PER_PROBLEM * asked.count)
    gym_seed = seed_of(asked.seed, "gym", asked.name, asked.split or "any") % 2**32
    try:
        dataset = reasoning_gym.create_dataset(asked.name, seed=gym_seed, size=tries, **asked.arguments)
    except (AssertionError, ValueError, TypeError) as error:
        raise ProblemsError(f"{source}: reasoning-gym refuses the arguments ({error})") from error
    problems = _distinct(_entries(dataset, tries, source), asked)
    if len(problems) < asked.count:
        raise ProblemsError(f"{source} has fewer than {asked.count} distinct problems (found {len(problems)})")
    return problems


def _task_arguments(config: Any) -> list[str]:
    """What a task's configuration can be told, apart from what our own arguments stand for."""
    return [field.name for field in dataclasses.fields(config) if field.name not in ("seed", "size")]


def _entries(dataset: Any, tries: int, source: str) -> Iterator[Mapping[str, Any]]:
    """Up to `tries` items, lazily: each is made when it is read."""
    for index in range(tries):
        try:
            yield dataset[index]
        except Exception as error:  # a task's own code, for arguments its validation let through
            raise ProblemsError(f"{source}: reasoning-gym fails to make item {index} ({error})") from error


def _distinct(entries: Iterator[Mapping[str, Any]], asked: Query) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for entry in entries:
        question, answer = str(entry["question"]), entry["answer"]
        is_ours = asked.split is None or split_of(question) == asked.split
        if is_ours and question not in problems and answer is not None and str(answer).strip():
            problems[question] = _gym_problem(asked.name, question, str(answer), entry.get("metadata", {}))
        if len(problems) == asked.count:
            break
    return list(problems.values())


def _gym_problem(task: str, question: str, answer: str, metadata: Mapping[str, Any]) -> Problem:
    digest = hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
    difficulty = json.loads(json.dumps(metadata.get("difficulty"), default=str))  # as it will be read back from a file
    meta = {"task": task} | ({"difficulty": difficulty} if difficulty else {})
    return Problem(f"gym:{task}/{digest}", question, answer, source=f"gym:{task}", meta=meta)


# --- tiny ------------------------------------------------------------------------------------------------------------


def load_tiny(address: Address, seed: int) -> list[Problem]:
    """Problems of one of the embedded reasoner's families; `levels=3` or `levels=1-5` bounds their difficulty,
    `solutions=plain` or `trial_and_error` gives each a worked solution.

    Raises `ProblemsError` for an unknown family, argument or level, and a family with too few distinct problems.
    """
    address.refuse_unknown(*RESERVED, "levels", "solutions")
    asked, source = query(address, seed), address.source
    levels = _levels(source, asked.arguments["levels"]) if "levels" in asked.arguments else None
    solve = _solver(source, asked) if "solutions" in asked.arguments else None
    try:
        return make_problems(
            asked.name, count=asked.count, seed=asked.seed, split=asked.split, levels=levels, solve=solve
        )
    except ValueError as error:
        raise ProblemsError(f"{source}: {error}") from error


def _solver(source: str, asked: Query) -> Callable[[Chain], str]:
    style = str(asked.arguments["solutions"])
    if style not in SOLUTION_STYLES:
        raise ProblemsError(f"{source}: solutions must be one of {', '.join(SOLUTION_STYLES)}, got {style}")
    return lambda chain: write_solution(asked.seed, chain, style)


def _levels(source: str, value: Value) -> tuple[int, int]:
    low, _, high = str(value).partition("-")
    if not low.isdigit() or not (high or low).isdigit():
        raise ProblemsError(f"{source}: levels must be one level or a range like 1-5, got {value}")
    return int(low), int(high or low)
