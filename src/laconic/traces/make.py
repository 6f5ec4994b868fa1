"""Distinct problems of a family, each with its trace. A question belongs to the split that its text hashes to (`laconic.splits`),
without the words about length, so that the splits share no question in whatever length it is asked for."""

from dataclasses import replace

from laconic.config.defaults import SEED
from laconic.rng import stream
from laconic.splits import split_of
from laconic.traces.families import WORD_LEVELS, draws_of
from laconic.traces.lengths import request
from laconic.traces.steps import Reasoning
from laconic.traces.writing import verbosity_of, write
from laconic.types import Problem

MOST_MISSED = 5000  # draws in a row without a new problem: the family is taken to be exhausted


def make_word_problems(
    name: str,
    *,
    count: int,
    seed: int = SEED,
    split: str | None = None,
    levels: tuple[int, int] | None = None,
    style: str | None = None,
    lengths: float,
) -> list[Problem]:
    """`count` distinct problems of a family or group of families (which take turns), all from `split` if one is named.

    With a `style`, a verbosity or "mixed", `meta["solution"]` holds a trace; a share `lengths` of the questions asks for the
    length that the trace has. Raises `ValueError` for an unknown name or level, or where there are too few distinct problems.
    """
    low, high = levels or (WORD_LEVELS[0], WORD_LEVELS[-1])
    if not WORD_LEVELS[0] <= low <= high <= WORD_LEVELS[-1]:
        raise ValueError(f"levels {low}-{high}: expected a range inside {WORD_LEVELS[0]}-{WORD_LEVELS[-1]}")
    draws = draws_of(name)
    rng = stream(seed, "words", name, split or "any", low, high)
    problems: dict[str, Problem] = {}
    misses = 0
    while len(problems) < count and misses < MOST_MISSED:
        task, misses = draws[len(problems) % len(draws)](rng, rng.randint(low, high)), misses + 1
        if task.question in problems or (split is not None and split_of(task.question) != split):
            continue
        misses = 0
        problem = _as_problem(task, f"words:{name}/{split or 'any'}/{seed}/{len(problems)}")
        problems[task.question] = with_trace(problem, task, seed=seed, style=style, lengths=lengths)
    if len(problems) < count:
        raise ValueError(f"{name} has fewer than {count} distinct problems at levels {low}-{high}")
    return list(problems.values())


def with_trace(problem: Problem, task: Reasoning, *, seed: int, style: str | None, lengths: float) -> Problem:
    """The problem with a trace of its reasoning in `meta["solution"]`, and perhaps with words about length in its question.

    Without a style no trace is kept; the words are those of the trace that would have been written in the mixture. Where they
    name a number of tokens, it is in `meta["requested_tokens"]`; where they name none, None.
    """
    rng = stream(seed, "trace", style or "mixed", task.question)
    verbosity = verbosity_of(rng, style or "mixed")
    trace = write(rng, task, verbosity)
    meta = {**problem.meta, **({"verbosity": verbosity, "solution": trace} if style else {})}
    question = task.question.rstrip()
    if rng.random() < lengths:
        asked, tokens = request(rng, trace, verbosity)
        question, meta = f"{question} {asked}", {**meta, "requested_tokens": tokens}
    return replace(problem, question=question, meta=meta)


def _as_problem(task: Reasoning, name: str) -> Problem:
    meta = {"family": task.family, "level": task.level}
    return Problem(name, task.question, task.answer, source=f"words:{task.family}", meta=meta)
