"""Slices: is brevity paid for by someone? The changes on parts of a benchmark: a subject, a level, long questions.

1. `facts_of` gathers what is known of each problem: the values that the source of the problems states (`problem_meta.jsonl` of
   either side, whose problems are the same), and `prompt_length`, the words of the question, which every evaluation has.
2. `chosen_keys` are the keys by which problems are sorted: those that were asked for, or `DEFAULT_KEYS`, as far as they are
   known.
3. `values_of` sorts the problems. A key of many different numbers is cut into parts of equal size; a problem of which
   nothing is stated is in a slice of its own, so that the slices of a key have all problems.
4. `slices_of` compares base and candidate in each, paired as everywhere (`statistics/intervals.py`). A slice of fewer than
   `FEW_PROBLEMS` problems is reported and not decided: it has no interval.
5. `corrected` corrects the p-values of accuracy, and those of tokens, for the number of all decided slices of a candidate
   (`statistics/several.py`). Slices by several keys share problems; the correction holds whatever they share.

What is left out: slices by two keys at once, and problems whose `meta` holds a list.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isnan, nan

import numpy as np

from laconic.comparison.figures import FEW_PROBLEMS, Means, Sides, SliceFigures
from laconic.comparison.folders import Evaluation
from laconic.config.defaults import RESAMPLES
from laconic.errors import InputError
from laconic.evaluation.problem_meta import Meta, MetaValue, read_meta
from laconic.statistics.intervals import Evidence, FloatArray, Interval, difference_evidence, relative_change_evidence
from laconic.statistics.several import holm
from laconic.system.fields import is_finite_number

PROMPT_LENGTH = "prompt_length"
DEFAULT_KEYS = ("subject", "level", PROMPT_LENGTH)
NOT_STATED = "not stated"
MOST_NUMBERS = 10
"""A key of more different numbers than this is cut into parts."""
MOST_PARTS, PART_PROBLEMS = 4, 30
"""Two to four parts, of at least so many problems if there are enough: equal numbers make parts uneven."""

_WHOLE = 1e16  # larger numbers are shorter with an exponent

Facts = Mapping[str, Sequence[MetaValue | None]]
"""For each key its value of every problem, in the order of the base's problems; None where nothing is stated."""


def compare_slices(
    sides: Mapping[str, tuple[Evaluation, Evaluation]],
    by: Sequence[str] | None,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[SliceFigures, ...]]:
    """The slices of each benchmark of a candidate, by `chosen_keys` of `by`; `sides` holds base and candidate of each.
    P-values are corrected for the number of all of them."""
    facts = [facts_of(*pair) for pair in sides.values()]
    keys = chosen_keys(by, facts)
    found = [
        slices_of(*pair, known, wanted, seed=seed, resamples=resamples)
        for pair, known, wanted in zip(sides.values(), facts, keys, strict=True)
    ]
    return dict(zip(sides, corrected(found), strict=True))


def facts_of(base: Evaluation, candidate: Evaluation) -> Facts:
    """What is known of the problems, by key; the two sides have the same problems. Raises `InputError` for a malformed file."""
    meta = {**read_meta(candidate.path), **read_meta(base.path)}
    return known_facts({problem_id: question for problem_id, question, _ in base.identities}, meta)


def known_facts(questions: Mapping[str, str], meta: Meta) -> Facts:
    """What is known of problems, by key, in the order of their `questions` by id."""
    rows = [meta.get(problem_id, {}) for problem_id in questions]
    facts: dict[str, Sequence[MetaValue | None]] = {
        key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)
    }
    facts.setdefault(PROMPT_LENGTH, [len(question.split()) for question in questions.values()])
    return facts


def chosen_keys(by: Sequence[str] | None, known: Sequence[Facts]) -> list[tuple[str, ...]]:
    """The keys by which each benchmark's problems are sorted; `known` holds the facts of each. Without `by` a benchmark that is
    too small for two decided slices has none.

    Raises an `InputError` that names the keys that exist, for one that no benchmark has.
    """
    if by is None:
        return [tuple(key for key in DEFAULT_KEYS if _is_telling(key, facts)) for facts in known]
    there = sorted({key for facts in known for key in facts})
    for key in by:
        if key not in there:
            raise InputError(
                f"--by {key}: nothing is known of it; the problems of this comparison have {', '.join(there)}"
            )
    return [tuple(key for key in dict.fromkeys(by) if key in facts) for facts in known]


def _is_telling(key: str, facts: Facts) -> bool:
    values = facts.get(key, ())
    return len(values) >= 2 * FEW_PROBLEMS and len(set(values)) > 1


def values_of(values: Sequence[MetaValue | None]) -> list[str]:
    """The slice of each problem, by name.

    >>> values_of(["Algebra", None, True, 3])
    ['Algebra', 'not stated', 'true', '3']
    >>> values_of([1234567, 1234568, 2.0, 0.1])
    ['1234567', '1234568', '2', '0.1']
    >>> values_of(list(range(64)))[::40]
    ['0 to 31', '32 to 63']
    """
    numbers = {value for value in values if is_finite_number(value)}
    is_cut = len(numbers) > MOST_NUMBERS and all(value is None or value in numbers for value in values)
    names = _equal_parts([float(value) for value in values if value is not None]) if is_cut else {}
    return [_name(value, names) for value in values]


def _equal_parts(numbers: Sequence[float]) -> dict[float, str]:
    """The name of each number's part: its least and greatest number. Equal numbers are in one part."""
    num_parts = min(MOST_PARTS, max(2, len(numbers) // PART_PROBLEMS))
    edges = np.quantile(numbers, np.arange(1, num_parts) / num_parts)
    parts: dict[int, list[float]] = {}
    for number in sorted(set(numbers)):
        parts.setdefault(int(np.searchsorted(edges, number)), []).append(number)
    return {number: _span(part) for part in parts.values() for number in part}


def _span(part: Sequence[float]) -> str:
    return _number(part[0]) if len(part) == 1 else f"{_number(part[0])} to {_number(part[-1])}"


def _number(value: float) -> str:
    """A number by a name that no other number has, so that two values are two slices: 3 and 3.0 are one."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < _WHOLE):
        return str(int(value))
    return repr(value)


def _name(value: MetaValue | None, names: Mapping[float, str]) -> str:
    if value is None:
        return NOT_STATED
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return " ".join(value.split()) or NOT_STATED
    return names.get(value, _number(value))


# --- comparing -------------------------------------------------------------------------------------------------------


def slices_of(
    base: Evaluation, candidate: Evaluation, facts: Facts, keys: Sequence[str], *, seed: int, resamples: int
) -> list[SliceFigures]:
    """Base and candidate on each slice by each key. The p-values are not corrected."""
    sides = base.problems, candidate.problems.ordered(base.problems.problem_ids)
    accuracy = np.stack([side.accuracy for side in sides])
    tokens = np.stack([side.mean_tokens for side in sides])
    return [
        _slice(key, name, accuracy[:, rows], tokens[:, rows], seed, resamples)
        for key in keys
        for name, rows in rows_by_value(values_of(facts[key]), facts[key])
    ]


def rows_by_value(names: Sequence[str], values: Sequence[MetaValue | None]) -> Iterator[tuple[str, list[int]]]:
    """The rows of each slice: numbers in their order, texts by name, what is not stated last."""
    parts: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        parts.setdefault(name, []).append(row)
    order = sorted(parts, key=lambda name: (name == NOT_STATED, *_rank(values[parts[name][0]]), name))
    return ((name, parts[name]) for name in order)


def _rank(value: MetaValue | None) -> tuple[int, float]:
    return (0, value) if isinstance(value, int | float) else (1, 0.0)


def _slice(key: str, name: str, accuracy: FloatArray, tokens: FloatArray, seed: int, resamples: int) -> SliceFigures:
    """The figures on the problems of one slice; both arrays [2, P], base first."""
    how = {"seed": seed, "resamples": resamples if tokens.shape[1] >= FEW_PROBLEMS else 1}
    is_graded = np.isfinite(accuracy).all(axis=0)
    of_accuracy, of_tokens = difference_evidence(*accuracy, **how), relative_change_evidence(*tokens, **how)
    if int(is_graded.sum()) < FEW_PROBLEMS:
        of_accuracy = _undecided(of_accuracy)
    if tokens.shape[1] < FEW_PROBLEMS:
        of_tokens = _undecided(of_tokens)
    means = Sides(*(Means(_mean(accuracy[side, is_graded]), _mean(tokens[side])) for side in (0, 1)))
    return SliceFigures(key, name, tokens.shape[1], means, *of_tokens, *of_accuracy)


def _undecided(evidence: Evidence) -> Evidence:
    return Evidence(Interval(evidence.change.estimate, nan, nan), nan)


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if values.size else nan


def corrected(slices: Sequence[Sequence[SliceFigures]]) -> list[tuple[SliceFigures, ...]]:
    """The slices of each benchmark of one candidate, with p-values corrected for the number of all of them."""
    flat = [part for parts in slices for part in parts]
    accuracy_ps, tokens_ps = (holm([getattr(part, key) for part in flat]) for key in ("accuracy_p", "tokens_p"))
    mended = iter(
        replace(part, accuracy_p=a, tokens_p=t) for part, a, t in zip(flat, accuracy_ps, tokens_ps, strict=True)
    )
    return [tuple(next(mended) for _ in parts) for parts in slices]


def worst_slice(slices: Sequence[SliceFigures]) -> SliceFigures | None:
    """The slice that loses most accuracy, among those that are shown to lose some, or else among the decided ones."""
    decided = [part for part in slices if _is_tested(part)]
    shown = [part for part in decided if part.is_less_accurate]
    return min(shown or decided, key=lambda part: part.accuracy_change.estimate, default=None)


def num_decided(slices: Sequence[SliceFigures]) -> int:
    """How many slices' accuracy was tested: the number for which p-values are corrected."""
    return sum(map(_is_tested, slices))


def _is_tested(part: SliceFigures) -> bool:
    return not isnan(part.accuracy_p)
