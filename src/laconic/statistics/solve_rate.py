"""What a probe measured on a problem, and the interval of its solve rate.

1. Samples of one problem become a `ProblemStats`, a line of probe.jsonl.
2. With n gradable attempts and c correct ones the solve rate has a Beta(1 + c, 1 + n - c) posterior. The prior is uniform, weak
   and symmetric on purpose, so that after 0/4 and 4/4 the interval is as wide as four attempts warrant.

`UNGRADABLE` samples count in `counts` and in `mean_tokens` (they were generated), and not as attempts. `NO_ANSWER` and
`TRUNCATED` are attempts that were not correct.

What is left out: which problems to keep (`selection/rules.py`), and which to sample more (`selection/stopping.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from scipy.stats import beta

from laconic.system.fields import MAX_WHOLE
from laconic.system.text import brief
from laconic.types import Grade, count_grades


@dataclass(frozen=True, slots=True)
class ProblemStats:
    """What a probe measured on one problem; one line of probe.jsonl. All means are in tokens.

    `attempts` counts gradable samples, `counts` all samples by grade; `mean_tokens` is over all samples. Raises
    `ValueError` where `attempts` or `correct` contradict `counts`.
    """

    problem_id: str
    attempts: int
    correct: int
    mean_tokens: float
    mean_correct_tokens: float | None
    min_correct_tokens: int | None
    counts: Mapping[Grade, int]

    def __post_init__(self) -> None:
        attempts = sum(count for grade, count in self.counts.items() if grade is not Grade.UNGRADABLE)
        if self.attempts != attempts:
            raise ValueError(f"attempts: {self.attempts}, but counts hold {attempts} gradable samples")
        if self.correct != self.counts.get(Grade.CORRECT, 0):
            raise ValueError(f"correct: {self.correct}, but counts hold {self.counts.get(Grade.CORRECT, 0)}")

    @property
    def solve_rate(self) -> float:
        """correct / attempts; `nan` without a gradable attempt."""
        return self.correct / self.attempts if self.attempts else nan

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal record."""
        return {
            "problem_id": self.problem_id,
            "attempts": self.attempts,
            "correct": self.correct,
            "mean_tokens": self.mean_tokens,
            "mean_correct_tokens": self.mean_correct_tokens,
            "min_correct_tokens": self.min_correct_tokens,
            "counts": {grade.value: self.counts.get(grade, 0) for grade in Grade},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ProblemStats":
        """The record that `to_json` wrote; unknown keys are ignored. Raises `ValueError` naming the key that is wrong."""
        counts = _field(record, "counts", Mapping)
        unknown = set(counts) - {grade.value for grade in Grade}
        if unknown:
            raise ValueError(f"counts: unknown grade {sorted(unknown)[0]!r}")
        stats = cls(
            problem_id=_field(record, "problem_id", str),
            attempts=_whole(record, "attempts"),
            correct=_whole(record, "correct"),
            mean_tokens=_tokens(record, "mean_tokens"),
            mean_correct_tokens=_tokens(record, "mean_correct_tokens")
            if _is_set(record, "mean_correct_tokens")
            else None,
            min_correct_tokens=_whole(record, "min_correct_tokens") if _is_set(record, "min_correct_tokens") else None,
            counts={grade: _whole(counts, grade.value, "counts.") for grade in Grade},
        )
        _check(stats)
        return stats


def _check(stats: ProblemStats) -> None:
    """Raise `ValueError` for statistics that no samples have."""
    if not sum(stats.counts.values()):
        raise ValueError("counts: holds no sample")
    for name in ("mean_correct_tokens", "min_correct_tokens"):
        if (getattr(stats, name) is None) != (stats.correct == 0):
            stated = "missing" if stats.correct else "stated"
            raise ValueError(f"{name}: {stated}, though {stats.correct} samples are correct")
    least, mean = stats.min_correct_tokens, stats.mean_correct_tokens
    if least is not None and mean is not None and least > mean:
        raise ValueError(f"min_correct_tokens: {least}, above their mean, {mean}")


def problem_stats(problem_id: str, grades: Sequence[Grade], num_tokens: Sequence[int]) -> ProblemStats:
    """Sum up the K samples of one problem. Raises `ValueError` where there are none, or the two arguments differ in length.

    >>> stats = problem_stats("a", [Grade.CORRECT, Grade.WRONG, Grade.UNGRADABLE], [10, 20, 60])
    >>> stats.attempts, stats.correct, stats.mean_tokens, stats.mean_correct_tokens
    (2, 1, 30.0, 10.0)
    """
    if not grades or len(grades) != len(num_tokens):
        raise ValueError(
            f"problem_stats: {len(grades)} grades and {len(num_tokens)} lengths; expected as many, and some"
        )
    counts = count_grades(grades)
    correct = [tokens for tokens, grade in zip(num_tokens, grades, strict=True) if grade is Grade.CORRECT]
    return ProblemStats(
        problem_id=problem_id,
        attempts=len(grades) - counts[Grade.UNGRADABLE],
        correct=len(correct),
        mean_tokens=float(np.mean(num_tokens)),
        mean_correct_tokens=float(np.mean(correct)) if correct else None,
        min_correct_tokens=min(correct) if correct else None,
        counts=counts,
    )


def solve_rate_interval(attempts: int, correct: int) -> tuple[float, float]:
    """Equal-tailed 95% interval of the solve rate under a uniform prior; 0.025 to 0.975 without attempts.

    >>> [round(end, 2) for end in solve_rate_interval(attempts=32, correct=14)]
    [0.28, 0.61]
    """
    low, high = beta.ppf([0.025, 0.975], 1 + correct, 1 + attempts - correct)
    return float(low), float(high)


def mass_inside(attempts: int, correct: int, low: float, high: float) -> float:
    """Posterior probability that the solve rate lies in [low, high].

    >>> round(mass_inside(attempts=0, correct=0, low=0.25, high=0.75), 6)  # the uniform prior itself
    0.5
    """
    below, upto = beta.cdf([low, high], 1 + correct, 1 + attempts - correct)
    return float(upto - below)


def _field(record: Mapping[str, Any], key: str, kind: type | tuple[type, ...], prefix: str = "") -> Any:
    if key not in record:
        raise ValueError(f"{prefix}{key}: missing")
    value = record[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{prefix}{key}: unexpected value {brief(value)}")
    return value


def _is_set(record: Mapping[str, Any], key: str) -> bool:
    return record.get(key) is not None


def _whole(record: Mapping[str, Any], key: str, prefix: str = "") -> int:
    value = int(_field(record, key, int, prefix))
    if value < 0:
        raise ValueError(f"{prefix}{key}: expected a number that is not negative, got {brief(value)}")
    if value > MAX_WHOLE:
        raise ValueError(f"{prefix}{key}: expected at most {MAX_WHOLE}")
    return value


def _tokens(record: Mapping[str, Any], key: str) -> float:
    value = _field(record, key, (int, float))
    if not 0.0 <= value <= MAX_WHOLE:
        raise ValueError(f"{key}: expected a number of tokens, got {brief(value)}")
    return float(value)
