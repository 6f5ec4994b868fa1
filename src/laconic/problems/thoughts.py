r"""Published worked solutions as responses of a model that thinks: `train.jsonl?solutions=thought`.

1. Everything that holds solutions takes the argument: files, benchmarks, datasets of the hub.
2. The solution goes between `<think>` marks, and the gold answer follows in a box: what a cold start learns from.
3. GSM8K's habits are undone on the way: the calculator's notes `<<48/2=24>>` are taken out, and where the gold answer is the
   whole solution with its result after `####`, as the dataset publishes it, the two are parted.
4. Without the argument such gold answers stay as they are, and a warning says so.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace

from laconic.errors import LaconicWarning, ProblemsError
from laconic.problems.address import Address
from laconic.types import END_THINK, THINK, Problem

THOUGHT = "thought"
"""The value of the argument `solutions` that asks for this."""

SOLUTION = re.compile(r"\\(?:boxed|fbox)|####|\banswer is\b", re.IGNORECASE)
"""Occurs in a gold answer that holds a whole solution."""


def parted(answer: str) -> tuple[str, str]:
    """Solution and result of an answer that GSM8K publishes: without the calculator's notes, and without separators of thousands.

    Raises `ValueError` where there is no `####`.

    >>> parted("He has 2*600=<<2*600=1200>>1200.\\n#### 1,200")
    ('He has 2*600=1200.', '1200')
    """
    solution, hashes, result = answer.rpartition("####")
    if not hashes:
        raise ValueError("no '####' in its answer")
    return without_notes(solution), result.strip().replace(",", "")


def without_notes(solution: str) -> str:
    """A solution without the calculator's notes."""
    return re.sub(r"<<[^>]*>>", "", solution).strip()


def think_solutions(address: Address, problems: Sequence[Problem]) -> list[Problem]:
    """The problems, their solutions rewritten if the address asks for it. Warns where gold answers are whole solutions.

    Raises `ProblemsError` for another value of `solutions`, and for a problem without a solution.
    """
    wanted = address.arguments.get("solutions")
    if wanted is None:
        _warn_of_solutions(problems, address.source)
        return list(problems)
    if wanted != THOUGHT:
        raise ProblemsError(f"{address.source}: solutions must be {THOUGHT}, got {wanted}")
    return [_thinking(problem, address.source) for problem in problems]


def _warn_of_solutions(problems: Sequence[Problem], source: str) -> None:
    """Say where gold answers are whole solutions, which hardly any response can equal: every response would be wrong."""
    held = [problem for problem in problems if not problem.choices and SOLUTION.search(problem.answer)]
    if held:
        example = f"problem {held[0].id} has {' '.join(held[0].answer.split())!r:.80}"
        remedy = "give the final answer alone"
        if all("####" in problem.answer for problem in problems):
            remedy += f", or add {'&' if '?' in source else '?'}solutions={THOUGHT}, which takes what follows ####"
        what = f"{len(held)} of {len(problems)} gold answers hold a whole solution"
        warnings.warn(f"{source}: {what}; {example}; {remedy}", LaconicWarning, stacklevel=3)


def _thinking(problem: Problem, source: str) -> Problem:
    solution, answer = problem.meta.get("solution"), problem.answer
    if "####" in answer:
        solution, answer = parted(answer)
    if not isinstance(solution, str) or not solution.strip() or not answer:
        raise ProblemsError(f"{source}: solutions={THOUGHT}: problem {problem.id} has no 'solution'")
    if THINK not in solution:
        solution = f"{THINK}\n{without_notes(solution)}\n{END_THINK}\nThe answer is \\boxed{{{answer}}}."
    return replace(problem, answer=answer, meta={**problem.meta, "solution": solution})
