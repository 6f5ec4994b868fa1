"""Averages over benchmarks in which every benchmark weighs the same, however many problems it has.

1. A benchmark's mean is over its problems; the macro-average is the mean of the benchmarks' means.
2. Changes are those of the macro-averages: their difference, or their ratio less one. A benchmark with long responses
   therefore weighs more in a change of tokens, as it does in the cost of running all benchmarks.
3. Intervals resample problems within each benchmark (a stratified bootstrap), the same problems for base and candidate.
   Benchmarks themselves are not resampled: the interval is about these benchmarks with other problems.
4. Percentiles are expanded as in `intervals.py` (Hesterberg 2014, arXiv 1411.5279), here for several strata: with v_b
   the bootstrap's variance of benchmark b's part, n_b its problems, and d_b = n_b - 1 for a difference, n_b - 2 for a
   ratio, which is computed from two means,

       level = Phi(t sqrt(sum_b v_b n_b / d_b / sum_b v_b)),   t = the 2.5% point of Student's t with
       df = (sum_b v_b)^2 / sum_b (v_b^2 / d_b)                (Satterthwaite 1946, Biometrics Bull. 2)

   and, for accuracy, two problems are added to each benchmark, one better and one worse, as in `paired_difference`.

For a single benchmark the figures are those of `intervals.py`, which then computes them.
"""

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats

from laconic.config.defaults import RESAMPLES
from laconic.rng import seed_of
from laconic.statistics.intervals import (
    FloatArray,
    Interval,
    known_pairs,
    paired_difference,
    paired_relative_change,
    ratio,
    with_two_changed,
)

BenchmarkPair = tuple[ArrayLike, ArrayLike]
"""Base and candidate on one benchmark: two arrays [P], one entry per problem, `nan` where a problem has no value."""

_DRAWS_AT_ONCE = 2_000_000  # problem indices held in memory at a time
_ROUNDING = 1e-12  # relative: spreads below it are those of floating point


def macro_mean(columns: Sequence[ArrayLike]) -> float:
    """Mean of the benchmarks' means. `nan` values are left out; where a benchmark has only `nan` values, the result is `nan`.

    >>> macro_mean([[1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])  # (0.5 + 1) / 2, not 5/6
    0.75
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    known = [array[np.isfinite(array)] for array in arrays]
    return float(np.mean([values.mean() for values in known])) if known and all(map(len, known)) else nan


def macro_difference(pairs: Sequence[BenchmarkPair], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Macro-average of the candidate minus that of the base, absolute, with its 95% interval.

    A problem that is `nan` on either side is left out of both. All is `nan` where a benchmark has no problem left; the ends are
    `nan` where one has a single problem.
    """
    if len(pairs) == 1:
        return paired_difference(*pairs[0], seed=seed, resamples=resamples)
    columns = [known_pairs(*pair) for pair in pairs]
    if not all(map(np.size, columns)):
        return Interval(nan, nan, nan)
    base, candidate = _macro_means(columns)
    if min(column.shape[1] for column in columns) == 1:
        return Interval(candidate - base, nan, nan)
    widened = [with_two_changed(column) for column in columns]
    spreads = [_variance_of_mean(column[1] - column[0]) for column in widened]
    means = _drawn_means(widened, seed, resamples)
    low, high = np.quantile(means[1] - means[0], _levels(spreads, [c.shape[1] for c in widened], num_means=1))
    return Interval(candidate - base, float(low), float(high))


def macro_relative_change(pairs: Sequence[BenchmarkPair], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Macro-average of the candidate / that of the base - 1: -0.4 is 40% fewer tokens. Pairs as in `macro_difference`.

    The ends are `nan` also where all problems of all benchmarks changed by the same factor.

    >>> round(macro_relative_change([([100, 100], [50, 50]), ([300, 300], [290, 290])], seed=0).estimate, 6)  # 170/200 - 1
    -0.15
    """
    if len(pairs) == 1:
        return paired_relative_change(*pairs[0], seed=seed, resamples=resamples)
    columns = [known_pairs(*pair) for pair in pairs]
    if not all(map(np.size, columns)):
        return Interval(nan, nan, nan)
    base, candidate = _macro_means(columns)
    factor = float(ratio(candidate, base))
    rests = [column[1] - factor * column[0] for column in columns]  # near the estimate the ratio moves with their means
    is_known = max(float(np.ptp(rest)) for rest in rests) > _ROUNDING * max(base, candidate)  # False for nan
    if not is_known or min(column.shape[1] for column in columns) == 1:
        return Interval(factor - 1.0, nan, nan)
    spreads = [_variance_of_mean(rest) for rest in rests]
    means = _drawn_means(columns, seed, resamples)
    levels = _levels(spreads, [column.shape[1] for column in columns], num_means=2)
    low, high = np.quantile(ratio(means[1], means[0]) - 1.0, levels)
    return Interval(factor - 1.0, float(low), float(high))


def _macro_means(columns: Sequence[FloatArray]) -> tuple[float, float]:
    """The macro-averages of base and candidate; `columns` holds one array [2, P] per benchmark."""
    base, candidate = np.mean([column.mean(axis=1) for column in columns], axis=0)
    return float(base), float(candidate)


def _variance_of_mean(values: FloatArray) -> float:
    """The bootstrap's variance of the mean of `values` [P]: population variance / P."""
    return float(np.var(values)) / len(values)


def _drawn_means(columns: Sequence[FloatArray], seed: int, resamples: int) -> FloatArray:
    """Macro-averages [2, R] of base and candidate over problems that are resampled within each benchmark."""
    drawn = [_resampled(column, seed_of(seed, f"macro/{b}"), resamples) for b, column in enumerate(columns)]
    means: FloatArray = np.mean(drawn, axis=0)
    return means


def _resampled(column: FloatArray, seed: int, resamples: int) -> FloatArray:
    """Means [2, R] of one benchmark over problems drawn with replacement."""
    num_problems = column.shape[1]
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // num_problems)
    blocks = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(num_problems, size=(min(at_once, resamples - start), num_problems))
        blocks.append(column[:, drawn].mean(axis=2))
    return np.concatenate(blocks, axis=1)


def _levels(spreads: Sequence[float], sizes: Sequence[int], num_means: int) -> tuple[float, float]:
    """Quantile levels, low and high, of the expanded interval; `spreads` are the v_b of the module's formula.

    >>> [round(level, 4) for level in _levels([1.0], [10], num_means=1)]  # one stratum: as `expanded_levels(10)`
    [0.0086, 0.9914]
    """
    v, n = np.array(spreads), np.array(sizes, dtype=np.float64)
    d = np.maximum(1.0, n - num_means)
    total = float(v.sum())
    df = total**2 / float((v**2 / d).sum())
    t = float(scipy_stats.t.ppf(0.025, df)) * np.sqrt(float((v * n / d).sum()) / total)
    low = float(scipy_stats.norm.cdf(t))
    return low, 1.0 - low
