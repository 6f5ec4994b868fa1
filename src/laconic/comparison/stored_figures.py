"""Whether the figures of a summary.json are possible, and whether they are those of the samples beside it.

1. `check_ranges` looks at the summary alone: an accuracy lies between 0 and 1, a length is not negative, a cap is at least 1.
2. `check_figures` computes the means again from the samples. They differ where one of the two files is damaged, belongs to
   another evaluation, or was edited.

A figure that the file lacks is not checked, since older files have fewer of them. What is left out: the
ends of intervals and majorities, which an older version may have computed in another way.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import inf, isclose, isnan, nan

import numpy as np

from laconic.errors import InputError
from laconic.evaluation.figures import Figures, Summary
from laconic.statistics.claims import PerProblem, mean_pass_at_k
from laconic.statistics.intervals import Interval
from laconic.types import Grade

COMPLEXITY_BOUNDS = (
    ("median", 0, inf),
    ("solvable_frac", 0, 1),
    ("oracle_accuracy", 0, 1),
    ("oracle_tokens", 0, inf),
    ("constant_accuracy", 0, 1),
    ("kendall_tau", -1, 1),
)
Bounded = tuple[str, float | None, float, float]
"""A key, its number, and the least and the most that the number can be."""

_CLOSE = 1e-6
"""How far a stored figure may be from the computed one, absolutely and relatively: means of floating-point numbers."""


def check_ranges(summary: Summary, where: str) -> None:
    """Raise an `InputError` that begins with `where` and names the first number that no evaluation has."""
    refuse_beyond(_bounded(summary), where)
    setup = summary.setup
    names = {"benchmark": setup.benchmark, "model": setup.model, "grader": setup.grader}
    for key, name in (names | ({"prompt.name": setup.prompt.name} if setup.prompt else {})).items():
        if name is not None and not name.strip():
            raise InputError(f"{where}: {key} is empty, expected a name")


def _bounded(summary: Summary) -> Iterator[Bounded]:
    """Every number of the summary that has bounds."""
    setup, figures = summary.setup, summary.figures
    for name in ("num_problems", "num_samples", "max_tokens"):
        yield name, getattr(setup, name), 1, inf
    yield "temperature", setup.temperature, 0, inf
    yield from (("top_p", setup.top_p, 0, 1), ("min_p", setup.min_p, 0, 1))
    yield from bounds("accuracy", figures.accuracy, 1)
    yield from bounds("tokens", figures.tokens, inf)
    whole = inf if figures.tokens is None or isnan(figures.tokens.estimate) else figures.tokens.estimate
    for name, part in (("thinking_tokens", figures.thinking_tokens), ("answer_tokens", figures.answer_tokens)):
        yield from bounds(name, part, inf)
        yield f"{name}.mean", None if part is None else part.estimate, 0, whole * (1 + _CLOSE)
    yield from (("tokens.median", figures.median_tokens, 0, inf), ("tokens.p95", figures.p95_tokens, 0, inf))
    yield from (("oracle_tokens", figures.oracle_tokens, 0, inf), ("bleu", figures.bleu, 0, 100))
    yield "length_difference.num_problems", figures.num_mixed, 0, setup.num_problems or inf
    for source, count in figures.length_sources.items():
        yield f"length_sources.{source}", count, 0, (setup.num_problems or inf) * (setup.num_samples or inf)
    for name, least, most in COMPLEXITY_BOUNDS if figures.token_complexity else ():
        yield f"token_complexity.{name}", getattr(figures.token_complexity, name), least, most
    yield from ((f"tokens_by_grade.{grade}", tokens, 0, inf) for grade, tokens in figures.tokens_by_grade.items())
    yield from ((f"grade_frac.{grade}", share, 0, 1) for grade, share in figures.grade_frac.items())
    for name, shares in (("pass_at_k", figures.pass_at_k), ("maj_at_k", figures.maj_at_k or {})):
        yield from ((f"{name}, k", k, 1, inf) for k in shares)
        yield from ((f"{name}.{k}", share, 0, 1) for k, share in shares.items())


def check_figures(
    figures: Figures, problems: PerProblem, grades: Sequence[Grade], tokens: Sequence[int], where: str
) -> None:
    """Raise an `InputError` that begins with `where` and names the first figure that is not the one of the samples.

    `grades` and `tokens` have one entry per sample, `problems` one row per problem.
    """
    for key, told, computed in _computed(figures, problems, grades, tokens):
        if not (isnan(told) and isnan(computed)) and not isclose(told, computed, rel_tol=_CLOSE, abs_tol=_CLOSE):
            shown = ["null" if isnan(value) else f"{value:.6g}" for value in (told, computed)]
            raise InputError(f"{where}: {key} is {shown[0]}, but its samples have {shown[1]}")


def _computed(
    figures: Figures, problems: PerProblem, grades: Sequence[Grade], tokens: Sequence[int]
) -> Iterator[tuple[str, float, float]]:
    """(key, stored figure, computed figure) of every figure that the summary has; `nan` for one that does not exist."""
    if figures.accuracy is not None:
        known = problems.accuracy[~np.isnan(problems.accuracy)]
        yield "accuracy.mean", figures.accuracy.estimate, float(known.mean()) if known.size else nan
    if figures.tokens is not None:
        yield "tokens.mean", figures.tokens.estimate, float(problems.mean_tokens.mean())
    if figures.median_tokens is not None:
        yield "tokens.median", figures.median_tokens, float(np.median(tokens))
    if figures.p95_tokens is not None:
        yield "tokens.p95", figures.p95_tokens, float(np.quantile(tokens, 0.95))
    lengths, given = np.array(tokens, dtype=np.float64), np.array([grade.value for grade in grades])
    for grade, share in figures.grade_frac.items():
        yield f"grade_frac.{grade}", share, float(np.mean(given == grade.value))
    for grade, mean in figures.tokens_by_grade.items():
        own = lengths[given == grade.value]
        yield f"tokens_by_grade.{grade}", nan if mean is None else mean, float(own.mean()) if own.size else nan
    for k, passed in figures.pass_at_k.items():
        yield f"pass_at_k.{k}", nan if passed is None else passed, mean_pass_at_k(problems, k)


def bounds(name: str, found: Interval | None, most: float) -> Iterator[Bounded]:
    """The mean of figures from 0 to `most`, and the ends of its interval, which lie around it."""
    if found is None:
        return
    yield f"{name}.mean", found.estimate, 0, most
    middle, slack = found.estimate, _CLOSE * max(1.0, abs(found.estimate))
    yield f"{name}.ci95, its lower end,", found.low, 0, most if isnan(middle) else middle + slack
    yield f"{name}.ci95, its upper end,", found.high, 0 if isnan(middle) else middle - slack, most


def refuse_beyond(bounded: Iterable[Bounded], where: str) -> None:
    """Raise an `InputError` that begins with `where` and names the first number that lies outside its bounds."""
    for key, value, low, high in bounded:
        if value is not None and not isnan(value) and not low <= value <= high:
            expected = f"at least {low:g}" if high == inf else f"a number from {low:g} to {high:g}"
            raise InputError(f"{where}: {key} is {value:g}, expected {expected}")
