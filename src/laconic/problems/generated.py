"""Problems that are generated: reasoning-gym tasks, the families of the embedded reasoners, and those in plain English.

1. `query` reads an address; `count`, `seed` and `split` mean the same for every generator.
2. `load_gym` draws from reasoning-gym until enough distinct questions of the split are found. The library seeds item i
   with `seed + i`, so that neighbouring seeds would share almost all items. We therefore pass it a hash of our seed, the task and
   the split. Some arguments that a task accepts keep it busy for years or fill the memory, so the items are made in a process of
   their own, within limits of both.
3. A question belongs to the split that its text hashes to (`laconic.splits`), so splits share no question, under any seed.
4. `load_tiny`, `load_seeker` and `load_words` pass seed and split to the family's own generator.
"""

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

from laconic.errors import MissingExtraError, ProblemsError
from laconic.problems.address import Address, Value
from laconic.problems.gym_grading import check_gradable
from laconic.rng import seed_of, stream
from laconic.seeker.searches import Search, make_searches
from laconic.seeker.traces import SOLUTION_MANNERS, write_searched
from laconic.splits import SPLITS, split_of
from laconic.system.foreign_code import ForeignCode, ForeignCodeError
from laconic.system.text import brief
from laconic.tiny.tasks import Chain, make_problems
from laconic.tiny.traces import SOLUTION_STYLES, write_solution
from laconic.traces.gym_tasks import GYM_REASONINGS, reason_about
from laconic.traces.make import make_word_problems, with_trace
from laconic.traces.writing import VERBOSITIES
from laconic.types import Problem

DEFAULT_COUNT = 100
MAX_TRIES_PER_PROBLEM = 60
MIN_TRIES = 2000
MOST_MISSES = 10_000  # items in a row that are no new problem; a task that makes so many has no more of them
MOST_GENERATED = 100_000  # problems of one source: what a dry run generates, and holds in memory, has a bound
GYM_SECONDS, SECONDS_PER_PROBLEM = 60.0, 0.1  # a task whose items take longer would not end
GYM_BYTES = 4 << 30  # of memory for making them
KIND_WORDS: Mapping[Any, str] = {
    bool: "must be true or false",
    int: "must be a whole number",
    int | float: "must be a number",
    str: "must be a text",
    list: "is a list, which an address cannot give; leave it out",
}
"""What an argument must be whose default is of the kind."""
RESERVED = ("seed", "split")
"""Arguments that every generator understands, in addition to those of every source."""
WRITTEN = ("solutions", "lengths")
"""Arguments of the generators that write traces."""
_LEVELS = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?")
STYLES = (*VERBOSITIES, "mixed")


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """What a generator is to make: which task or family, how many problems, from which seed and split, and other arguments."""

    name: str
    count: int
    seed: int
    split: str | None
    arguments: Mapping[str, Value]


def query(address: Address, seed: int) -> Query:
    """What an address `kind:NAME?arg=value&...` asks of a generator. A seed in the address overrides the parameter `seed`.

    Raises `ProblemsError` for an invalid seed or split, and for more than `MOST_GENERATED` problems.
    """
    count = address.count or DEFAULT_COUNT
    if count > MOST_GENERATED:
        raise ProblemsError(f"{address.source}: expected a count of at most {MOST_GENERATED:,}, got {count:,}")
    split = address.arguments.get("split")
    if split is not None and split not in SPLITS:
        raise ProblemsError(f"{address.source}: split must be one of {', '.join(SPLITS)}, got {split}")
    arguments = {key: value for key, value in address.arguments.items() if key not in RESERVED}
    return Query(
        name=address.name.partition(":")[2],
        count=count,
        seed=address.whole_number("seed", seed, least=0),
        split=None if split is None else str(split),
        arguments=arguments,
    )


# --- reasoning-gym ---------------------------------------------------------------------------------------------------


def load_gym(address: Address, seed: int) -> list[Problem]:
    """Distinct problems of one reasoning-gym task, named by a hash of their question. `solutions` and `lengths` are those of
    `load_words`.

    Raises `ProblemsError` for an unknown task or argument, a task whose answers cannot be graded (`gym_grading.py`), arguments
    that the task refuses, and a task with too few distinct questions; `MissingExtraError` if reasoning-gym is not installed.
    """
    request, source = query(address, seed), address.source
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise MissingExtraError(source, "gym") from error
    if request.name not in DATASETS:
        near = ", ".join(difflib.get_close_matches(request.name, DATASETS, n=3))
        known = f"near it: {near}" if near else f"it has {len(DATASETS)}, such as {', '.join(sorted(DATASETS)[:3])}"
        raise ProblemsError(f"{source}: reasoning-gym has no task {request.name!r}; {known}")
    check_gradable(request.name, source)
    address.refuse_unknown(*RESERVED, *WRITTEN, *_task_arguments(DATASETS[request.name][1]))
    write = _gym_writer(source, request)
    options = {key: value for key, value in request.arguments.items() if key not in WRITTEN}
    _check_kinds(source, DATASETS[request.name][1], options)
    tries = max(MIN_TRIES, MAX_TRIES_PER_PROBLEM * request.count)
    gym_seed = seed_of(request.seed, "gym", request.name, request.split or "any") % 2**32

    def make() -> list[Problem]:
        try:
            dataset = reasoning_gym.create_dataset(request.name, seed=gym_seed, size=tries, **options)
        except (AssertionError, ValueError, TypeError) as error:
            raise ProblemsError(f"{source}: reasoning-gym refuses the arguments ({error})") from error
        return _distinct(_entries(dataset, tries, source), request, write)

    problems = _made_apart(make, source, GYM_SECONDS + SECONDS_PER_PROBLEM * request.count)
    if len(problems) < request.count:
        raise ProblemsError(f"{source} has fewer than {request.count} distinct problems (found {len(problems)})")
    return problems


def _made_apart(make: Callable[[], list[Problem]], source: str, seconds: float) -> list[Problem]:
    """What `make` returns, from a process of its own. Raises `ProblemsError` where `make` does, or its process has no end within
    the limits."""

    def prepare() -> tuple[Callable[[Any], Any], Any]:
        try:
            return (lambda _: None), {"problems": [dataclasses.asdict(problem) for problem in make()]}
        except ProblemsError as error:
            return (lambda _: None), {"refused": str(error)}

    try:
        child = ForeignCode(prepare, seconds, GYM_BYTES)
    except ForeignCodeError as error:
        raise ProblemsError(f"{source}: reasoning-gym makes no problems of these arguments: {error}") from None
    child.close()
    if "refused" in child.facts:
        raise ProblemsError(child.facts["refused"])
    return [Problem(**record | {"choices": tuple(record["choices"])}) for record in child.facts["problems"]]


def _task_arguments(config: Any) -> list[str]:
    """The arguments of a task's configuration, except seed and size, which our own arguments set."""
    return [field.name for field in dataclasses.fields(config) if field.name not in ("seed", "size")]


def _check_kinds(source: str, config: Any, options: Mapping[str, Value]) -> None:
    """Raises `ProblemsError` for an argument of another kind than the task's default: reasoning-gym takes true for a number, and
    a text for a list of its letters."""
    for field in dataclasses.fields(config):
        value, default = options.get(field.name), _default_of(field)
        kind = next((kind for kind in KIND_WORDS if isinstance(default, kind)), None)
        if value is None or kind is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ProblemsError(f"{source}: {field.name} {KIND_WORDS[kind]}, got {brief(value)}")


def _default_of(field: "dataclasses.Field[Any]") -> Any:
    """The default of a field of a configuration, as a list if it is a collection; None if it has none."""
    found = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return list(found) if isinstance(found, list | tuple | dict | set) else found


def _entries(dataset: Any, tries: int, source: str) -> Iterator[Mapping[str, Any]]:
    """Up to `tries` items, lazily: each is made when it is read."""
    for index in range(tries):
        try:
            yield dataset[index]
        except Exception as error:  # a task's own code may raise anything for arguments that passed its validation
            raise ProblemsError(f"{source}: reasoning-gym fails to make item {index} ({error})") from error


def _distinct(
    entries: Iterator[Mapping[str, Any]], request: Query, write: Callable[[Problem, Mapping[str, Any]], Problem | None]
) -> list[Problem]:
    problems: dict[str, Problem] = {}
    misses = 0
    for entry in entries:
        question, answer, misses = str(entry["question"]), entry["answer"], misses + 1
        is_ours = request.split is None or split_of(question) == request.split
        if is_ours and question not in problems and answer is not None and str(answer).strip():
            metadata = entry.get("metadata", {})
            written = write(_gym_problem(request.name, question, str(answer), metadata), metadata)
            if written is not None:
                problems[question], misses = written, 0
        if len(problems) == request.count or misses == MOST_MISSES:
            break
    return list(problems.values())


def _gym_problem(task: str, question: str, answer: str, metadata: Mapping[str, Any]) -> Problem:
    digest = hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
    difficulty = json.loads(json.dumps(metadata.get("difficulty"), default=str))  # as it will be read back from a file
    meta = {"task": task} | ({"difficulty": difficulty} if difficulty else {})
    return Problem(f"gym:{task}/{digest}", question, answer, source=f"gym:{task}", meta=meta)


# --- tiny, seeker -----------------------------------------------------------------------------------------------------

Task = TypeVar("Task", Chain, Search)


def load_tiny(address: Address, seed: int) -> list[Problem]:
    """Problems of one of the embedded reasoner's families; `levels=3` or `levels=1-5` bounds their difficulty,
    `solutions=plain` or `trial_and_error` gives each a worked solution.

    Raises `ProblemsError` for an unknown family, argument or level, and a family with too few distinct problems.
    """
    return _load_bundled(address, seed, make_problems, SOLUTION_STYLES, write_solution)


def load_seeker(address: Address, seed: int) -> list[Problem]:
    """Problems of search. Arguments and errors are those of `load_tiny`."""
    return _load_bundled(address, seed, make_searches, SOLUTION_MANNERS, write_searched)


def _load_bundled(
    address: Address,
    seed: int,
    make: Callable[..., list[Problem]],
    styles: Collection[str],
    write: Callable[[int, Task, str], str],
) -> list[Problem]:
    """The problems that `make` draws, with solutions that `write` gives in one of the `styles` if the address asks for one."""
    address.refuse_unknown(*RESERVED, "levels", "solutions")
    request, source = query(address, seed), address.source
    levels = _levels(source, request.arguments["levels"]) if "levels" in request.arguments else None
    style = request.arguments.get("solutions")
    if style is not None and str(style) not in styles:
        raise ProblemsError(f"{source}: solutions must be one of {', '.join(styles)}, got {style}")
    solve = None if style is None else lambda task: write(request.seed, task, str(style))
    try:
        return make(
            request.name, count=request.count, seed=request.seed, split=request.split, levels=levels, solve=solve
        )
    except ValueError as error:
        raise ProblemsError(f"{source}: {error}") from error


def _levels(source: str, value: Value) -> tuple[int, int]:
    low, _, high = str(value).partition("-")
    if not _LEVELS.fullmatch(str(value)):
        raise ProblemsError(f"{source}: levels must be one level or a range like 1-5, got {value}")
    return int(low), int(high or low)


# --- words -----------------------------------------------------------------------------------------------------------


def load_words(address: Address, seed: int) -> list[Problem]:
    """Problems in plain English; `levels` bounds their difficulty, `solutions=terse`, `plain`, `verbose` or `mixed` gives each a
    trace, and a share `lengths` of the questions asks for a length.

    Raises `ProblemsError` for an unknown family, argument, style or level, and a family with too few distinct problems.
    """
    address.refuse_unknown(*RESERVED, "levels", *WRITTEN)
    request, source = query(address, seed), address.source
    levels = _levels(source, request.arguments["levels"]) if "levels" in request.arguments else None
    style, share = _written(source, request)
    try:
        return make_word_problems(
            request.name,
            count=request.count,
            seed=request.seed,
            split=request.split,
            levels=levels,
            style=style,
            lengths=share,
        )
    except ValueError as error:
        raise ProblemsError(f"{source}: {error}") from error


def _written(source: str, request: Query) -> tuple[str | None, float]:
    """The style of the traces, None for no traces, and the share of questions that ask for a length."""
    style, share = request.arguments.get("solutions"), request.arguments.get("lengths", 0.0)
    if style is not None and style not in STYLES:
        raise ProblemsError(f"{source}: solutions must be one of {', '.join(STYLES)}, got {style}")
    if isinstance(share, str | bool) or not 0 <= share <= 1:
        raise ProblemsError(f"{source}: lengths must be a share from 0 to 1, got {share}")
    return (None if style is None else str(style)), share


def _gym_writer(source: str, request: Query) -> Callable[[Problem, Mapping[str, Any]], Problem | None]:
    """What adds a trace to a problem of the task, None where none reaches its answer; without traces, what leaves it as it is."""
    style, share = _written(source, request)
    if style is None and not share:
        return lambda problem, metadata: problem
    if request.name not in GYM_REASONINGS:
        raise ProblemsError(f"{source}: solutions are written for {', '.join(GYM_REASONINGS)}, not for {request.name}")

    def write(problem: Problem, metadata: Mapping[str, Any]) -> Problem | None:
        rng = stream(request.seed, "gym trace", problem.question)
        task = reason_about(rng, request.name, problem.question, problem.answer, metadata)
        return None if task is None else with_trace(problem, task, seed=request.seed, style=style, lengths=share)

    return write
