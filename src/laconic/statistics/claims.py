"""What an evaluation or a comparison may claim.

1. Flat samples become one row per problem (`per_problem`): its accuracy and its mean length. Samples of one problem
   resemble each other, so the unit is a problem, never a sample: each problem counts by its mean, whatever its number
   of samples.
2. Means over problems and their paired changes get intervals (`intervals.py`).
3. Intervals feed the claims: non-inferiority, the accuracy-efficiency score, the frontier.

Correct means graded `CORRECT`; `WRONG`, `NO_ANSWER` and `TRUNCATED` are attempts that were not correct. Whether an
`UNGRADABLE` sample is right is not known: it counts in neither the numerator nor the denominator of an accuracy and is
counted separately, but its tokens were generated and count in mean lengths. A statistic that does not exist is `nan` here
and null in JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from laconic.config.defaults import RESAMPLES
from laconic.statistics.intervals import (
    FloatArray,
    Interval,
    accuracy_interval,
    length_interval,
    mean_interval,
    or_null,
    paired_difference,
    paired_relative_change,
    ratio,
)
from laconic.types import Grade

__all__ = [
    "FloatArray",
    "Interval",
    "PerProblem",
    "accuracy_by_length",
    "accuracy_interval",
    "aes",
    "frontier",
    "length_difference",
    "length_interval",
    "mean_interval",
    "mean_pass_at_k",
    "non_inferior",
    "num_mixed",
    "or_null",
    "paired_difference",
    "paired_relative_change",
    "pass_at_k",
    "per_problem",
]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PerProblem:
    """One row per problem, P rows; every array has shape [P]; `nan` where a problem has no such sample.

    `attempts` counts the gradable samples, `ungradable` the others, `correct` the correct ones; `accuracy` is correct / attempts.
    `mean_tokens` is the mean length in tokens over all samples, `correct_tokens` over the correct ones, `wrong_tokens` over those
    graded `WRONG` (without truncated ones, whose length is that of the cap).
    """

    problem_ids: tuple[str, ...]
    attempts: IntArray
    ungradable: IntArray
    correct: IntArray
    accuracy: FloatArray
    mean_tokens: FloatArray
    correct_tokens: FloatArray
    wrong_tokens: FloatArray

    def ordered(self, problem_ids: Sequence[str]) -> "PerProblem":
        """The same rows in another order. Raises `ValueError` where `problem_ids` are not exactly these problems."""
        if len(problem_ids) != len(self.problem_ids) or set(problem_ids) != set(self.problem_ids):
            raise ValueError("problem_ids: not the same set of problems")
        row = {name: index for index, name in enumerate(self.problem_ids)}
        rows = np.array([row[name] for name in problem_ids], dtype=np.int64)
        return PerProblem(
            problem_ids=tuple(problem_ids),
            attempts=self.attempts[rows],
            ungradable=self.ungradable[rows],
            correct=self.correct[rows],
            accuracy=self.accuracy[rows],
            mean_tokens=self.mean_tokens[rows],
            correct_tokens=self.correct_tokens[rows],
            wrong_tokens=self.wrong_tokens[rows],
        )


def per_problem(problem_ids: Sequence[str], grades: Sequence[Grade], num_tokens: Sequence[int]) -> PerProblem:
    """Gather flat samples, one entry per sample, into one row per problem, in order of first appearance.

    `num_tokens` are lengths in tokens. `UNGRADABLE` samples count in `ungradable` and in no accuracy. Raises `ValueError` where
    the three arguments differ in length.

    >>> table = per_problem(["a", "a", "b"], [Grade.CORRECT, Grade.WRONG, Grade.UNGRADABLE], [10, 30, 7])
    >>> table.problem_ids, table.accuracy.tolist(), table.mean_tokens.tolist()
    (('a', 'b'), [0.5, nan], [20.0, 7.0])
    """
    if not len(problem_ids) == len(grades) == len(num_tokens):
        raise ValueError(f"per_problem: {len(problem_ids)} ids, {len(grades)} grades, {len(num_tokens)} lengths")
    row = {name: index for index, name in enumerate(dict.fromkeys(problem_ids))}
    rows = np.array([row[name] for name in problem_ids], dtype=np.int64)
    tokens = np.asarray(num_tokens, dtype=np.float64)
    is_grade = {grade: np.array([g is grade for g in grades], dtype=bool) for grade in Grade}
    is_correct, is_ungradable = is_grade[Grade.CORRECT], is_grade[Grade.UNGRADABLE]

    def count(mask: NDArray[np.bool_]) -> IntArray:
        return np.bincount(rows[mask], minlength=len(row)).astype(np.int64)

    def mean(values: FloatArray, mask: NDArray[np.bool_]) -> FloatArray:
        return ratio(np.bincount(rows[mask], weights=values[mask], minlength=len(row)), count(mask))

    return PerProblem(
        problem_ids=tuple(row),
        attempts=count(~is_ungradable),
        ungradable=count(is_ungradable),
        correct=count(is_correct),
        accuracy=mean(is_correct.astype(np.float64), ~is_ungradable),
        mean_tokens=mean(tokens, np.ones(len(rows), dtype=bool)),
        correct_tokens=mean(tokens, is_correct),
        wrong_tokens=mean(tokens, is_grade[Grade.WRONG]),
    )


def pass_at_k(attempts: int, correct: int, k: int) -> float:
    """Chance that at least one of k attempts is correct, an unbiased estimate from n >= k attempts; `nan` where n < k.

    1 - C(n - c, k) / C(n, k) = 1 - prod_{i=n-c+1..n} (1 - k / i)        (Chen et al. 2021, HumanEval, eq. 1)

    n = `attempts` counts gradable attempts, c = `correct` the correct ones.
    Raises `ValueError` unless 0 <= correct <= attempts and k >= 1.

    >>> round(pass_at_k(attempts=4, correct=1, k=2), 6)  # 1 - C(3,2)/C(4,2) = 1 - 3/6
    0.5
    """
    if not 0 <= correct <= attempts or k < 1:
        raise ValueError(f"pass_at_k: needs 0 <= correct <= attempts and k >= 1, got {correct}, {attempts}, {k}")
    if k > attempts:
        return nan
    if k > attempts - correct:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(attempts - correct + 1, attempts + 1)))


def mean_pass_at_k(problems: PerProblem, k: int) -> float:
    """Mean of `pass_at_k` over the problems with at least k gradable attempts; `nan` where there is none."""
    pairs = zip(problems.attempts.tolist(), problems.correct.tolist(), strict=True)
    values = [pass_at_k(attempts, correct, k) for attempts, correct in pairs if attempts >= k]
    return float(np.mean(values)) if values else nan


def length_difference(problems: PerProblem, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Tokens of correct minus tokens of wrong answers, within a problem, averaged over the problems that have both.

    Pooled over problems, wrong answers are longer partly because hard problems have both more wrong and longer answers.
    Within one problem the difficulty is the same. `nan` where no problem has both a correct and a `WRONG` sample.
    """
    return mean_interval(problems.correct_tokens - problems.wrong_tokens, seed=seed, resamples=resamples)


def num_mixed(problems: PerProblem) -> int:
    """How many problems have both a correct and a `WRONG` sample."""
    return int(np.isfinite(problems.correct_tokens - problems.wrong_tokens).sum())


def accuracy_by_length(
    problem_ids: Sequence[str], grades: Sequence[Grade], num_tokens: Sequence[int], parts: int = 4
) -> FloatArray:
    """Accuracy of a problem's samples by their length, [P, parts]: its shortest samples first. One row for each problem of which
    some samples are correct and some are not; others cannot tell.

    The samples of a problem are sorted by length (equal ones as they come) and cut into `parts` of equal numbers, to within one.
    `UNGRADABLE` samples are left out, and problems with fewer gradable samples than parts.

    >>> grades = [Grade.WRONG, Grade.CORRECT, Grade.CORRECT, Grade.WRONG]
    >>> accuracy_by_length(["a"] * 4, grades, [40, 10, 20, 30], parts=2).tolist()
    [[1.0, 0.0]]
    """
    found: dict[str, list[tuple[int, bool]]] = {}
    for name, grade, tokens in zip(problem_ids, grades, num_tokens, strict=True):
        if grade is not Grade.UNGRADABLE:
            found.setdefault(name, []).append((tokens, grade is Grade.CORRECT))
    rows = []
    for samples in found.values():
        is_right = np.array([right for _, right in sorted(samples, key=lambda sample: sample[0])], dtype=np.float64)
        if len(is_right) >= parts and 0.0 < is_right.mean() < 1.0:
            rows.append([float(part.mean()) for part in np.array_split(is_right, parts)])
    return np.array(rows, dtype=np.float64).reshape(len(rows), parts)


def non_inferior(accuracy_change: Interval, margin: float) -> bool:
    """True only where the 95% interval's lower end lies above -margin (absolute accuracy: 0.01 is one point).

    False where there is no interval, so that nothing is claimed without one. Raises `ValueError` where `margin` is negative.
    """
    if not margin >= 0.0:
        raise ValueError(f"margin: expected a number that is not negative, got {margin}")
    return bool(accuracy_change.low > -margin)


def aes(
    base_accuracy: float,
    base_tokens: float,
    candidate_accuracy: float,
    candidate_tokens: float,
    *,
    alpha: float = 1.0,
    beta: float = 3.0,
    gamma: float = 5.0,
) -> float:
    """Accuracy-efficiency score, signed form (O1-Pruner, Luo et al. 2025, arXiv 2501.12570). Quote it with its constants.

    With relative changes dLen = (L_base - L) / L_base and dAcc = (A - A_base) / A_base,
    AES = alpha dLen + beta |dAcc| where accuracy did not fall, alpha dLen - gamma |dAcc| where it fell.

    The paper states gamma > beta; we could not verify that gamma is 5, and other papers use (1, 5, 10). Version 1 of the paper
    prints baseline rows as if a fall of accuracy were a rise; this function does not reproduce them, on purpose. Accuracies are
    shares, lengths are in tokens. `nan` where the base has no correct answer or no tokens.

    >>> round(aes(0.738, 1156, 0.775, 657), 2)  # 499/1156 + 3 * 37/738 = 0.43 + 0.15
    0.58
    """
    if not (base_accuracy > 0 and base_tokens > 0):
        return nan
    length_saved = (base_tokens - candidate_tokens) / base_tokens
    accuracy_gain = (candidate_accuracy - base_accuracy) / base_accuracy
    return alpha * length_saved + (beta if accuracy_gain >= 0 else gamma) * accuracy_gain


def frontier(accuracies: Sequence[float], tokens: Sequence[float]) -> list[int]:
    """Indices of the points that no other point beats, from few tokens to many.

    A point beats another that has no higher accuracy and no fewer tokens, and is worse in one of the two. Of equal points all or
    none are returned; a point with a `nan` is left out. Raises `ValueError` where the arguments differ in length.

    >>> frontier([0.8, 0.9, 0.7], [100, 200, 150])  # the third is longer and worse than the first
    [0, 1]
    """
    points = list(zip(accuracies, tokens, strict=True))
    known = [index for index, point in enumerate(points) if np.isfinite(point).all()]
    best = [i for i in known if not any(_beats(points[j], points[i]) for j in known)]
    return sorted(best, key=lambda index: (points[index][1], index))


def _beats(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first[0] >= second[0] and first[1] <= second[1] and first != second
