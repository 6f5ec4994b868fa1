"""Estimates with 95% intervals over problems: what would other problems of the same kind have shown?

The input is one mean per problem, whatever its number of samples: samples of one problem resemble each other, so the unit is a
problem, never a sample. There are four kinds of estimate, each with the simplest interval that covered the truth 93 to 97 times
in 100, for 30, 100 and 500 problems (`benchmarks/coverage.md`, also for the intervals that did not):

1. A mean length (`length_interval`; `mean_interval` for what may be negative): studentised bootstrap. Lengths are skewed,
   and percentiles of resampled means then miss the truth more often above than below. Where nearly all problems share one
   value, as at a cap, it is Wilson's interval of the share that does not (`_of_few_that_differ`): about 90 times in 100,
   since few that differ do not show how far others would.
2. An accuracy (`accuracy_interval`): Wilson's interval, with the number of coin flips that would be as informative as the
   problems. Its ends lie within 0 and 1, and it needs no resampling.
3. A paired change of accuracy (`paired_difference`): expanded percentiles over resampled problems, with two problems
   added that changed for better and for worse.
4. A paired relative change of lengths (`paired_relative_change`): expanded percentiles over resampled problems, a little
   wider, because it is estimated from two means.

In 3 and 4 both models are measured on the same resampled problems. An interval of width 0 would claim certainty from problems
that happened to be alike: 2 and 3 never have one, 1 and 4 have `nan` ends instead.

`difference_evidence` and `relative_change_evidence` are 3 and 4 with the p-value that belongs to the interval, for claims
that are made several at once (`several.py`).

What is left out: the noise of training seeds. An interval here is about other problems, for the same weights.
"""

from dataclasses import dataclass
from math import nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from laconic.config.defaults import RESAMPLES
from laconic.rng import seed_of
from laconic.system.fields import Fields

FloatArray = NDArray[np.float64]

MIN_STUDENTISED = 5
"""With fewer problems the studentised bootstrap fails: of 2 problems, every resample whose values differ is the sample itself."""

_DRAWS_AT_ONCE = 2_000_000  # problem indices held in memory at a time
_ROUNDING = 1e-12  # relative: spreads below it are those of floating point
_MOST_ALIKE = (
    0.01  # of the resamples may consist of one value alone; 4 problems or fewer that differ from the others leave more
)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the two ends of its 95% interval, all in the estimate's unit; `nan` where one does not exist."""

    estimate: float
    low: float
    high: float

    def to_json(self, key: str = "estimate") -> dict[str, Any]:
        """`{key: ..., "ci95": [low, high]}`, null for what does not exist.

        >>> Interval(0.5, 0.4, nan).to_json()
        {'estimate': 0.5, 'ci95': [0.4, None]}
        """
        return {key: or_null(self.estimate), "ci95": [or_null(self.low), or_null(self.high)]}

    @classmethod
    def from_fields(cls, fields: Fields, key: str = "estimate") -> "Interval":
        """What `to_json` wrote, `nan` for what is null or missing. Raises `InputError` for anything else."""
        ends = fields.figures("ci95") or (nan, nan)
        if len(ends) != 2:
            raise fields.wrong("ci95", "two numbers")
        if ends[0] > ends[1]:
            raise fields.wrong("ci95", "the lower end first")
        return cls(fields.figure(key), *ends)


class Evidence(NamedTuple):
    """A change with its 95% interval, and the two-sided p-value of no change: the smallest level at which the interval of that
    level leaves 0 out. `nan` where there is no interval."""

    change: Interval
    p_value: float


def or_null(value: float) -> float | None:
    """`value` as JSON can say it: `None` for `nan` and the infinities."""
    return float(value) if np.isfinite(value) else None


def mean_interval(values: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Mean over problems with its 95% interval; `values` [P] hold one mean per problem, `nan` for problems without one.

    With t* = (m* - m) / se* over resampled problems, se = s / sqrt(P): [m - se t*_0.975, m - se t*_0.025]
    (studentised bootstrap; Efron and Tibshirani 1993, section 12.5). With fewer than `MIN_STUDENTISED` problems it is Student's
    t interval. Where more than one resample in 100 consists of one value alone, so that se* is 0, few problems differ from the
    others, and `_of_few_that_differ` takes over. Problems that are `nan` are left out. Without problems all is `nan`; with one
    problem, or where all are alike, the ends are `nan`. The ends have no bounds, so use `length_interval` for lengths and
    `accuracy_interval` for accuracies.
    """
    known = _known(values)
    num_problems = len(known)
    if num_problems == 0:
        return Interval(nan, nan, nan)
    mean = float(known.mean())
    if num_problems == 1 or _is_alike(known):
        return Interval(mean, nan, nan)
    error = float(known.std(ddof=1)) / sqrt(num_problems)
    if num_problems < MIN_STUDENTISED:
        upper = float(scipy_stats.t.ppf(0.975, num_problems - 1))
        return Interval(mean, mean - error * upper, mean + error * upper)
    t = _studentised(known - mean, seed, resamples)
    if len(t) < (1.0 - _MOST_ALIKE) * resamples:
        return _of_few_that_differ(known)
    lower, upper = np.quantile(t, [0.025, 0.975])
    return Interval(mean, float(mean - error * upper), float(mean - error * lower))


def length_interval(values: ArrayLike, *, seed: int, most: float | None = None, resamples: int = RESAMPLES) -> Interval:
    """`mean_interval` of lengths, `values` [P] >= 0 in tokens, clipped at 0 and at `most`, which no response can exceed: with few
    and unlike problems it would reach beyond.

    Clipping loses no coverage, since no mean length is outside. Raises `ValueError` for a negative length.

    >>> length_interval([2.0, 42.0], seed=0).low, mean_interval([2.0, 42.0], seed=0).low < -200
    (0.0, True)
    """
    known = _known(values)
    if known.size and known.min() < 0.0:
        raise ValueError(f"lengths: expected numbers from 0 up, got {known.min()}")
    interval = mean_interval(known, seed=seed, resamples=resamples)
    high = interval.high if most is None else float(np.minimum(interval.high, max(most, *known)))  # nan stays nan
    return Interval(interval.estimate, float(np.maximum(interval.low, 0.0)), high)


def accuracy_interval(values: ArrayLike) -> Interval:
    """Mean accuracy over problems with its 95% interval; `values` [P] in [0, 1], `nan` for problems without one.

    With m the mean, s^2 the variance over problems (n - 1) and t the 97.5% point of Student's t with P - 1 degrees:

        n = P m (1 - m) / s^2        the number of coin flips that would be as informative, at most P (1 + 2d)
        (m + t^2 / 2n  -+  t sqrt(m (1 - m) / n + t^2 / 4n^2)) / (1 + t^2 / n)

    Wilson 1927 (JASA 22), with an effective number of problems as in surveys (Franco et al. 2019, J. Survey Stat. Methodol. 7).
    d is the number of problems that differ from the commonest value. Where all are alike n = P: with all of 30 correct the
    interval is 0.88 to 1. One that differs by little, as one response of 64 does, says no more of how many differ by much, and
    its s^2 of nearly 0 would claim otherwise. It needs no random numbers. Where no problem is correct the low end is exactly 0,
    where all are the high end is exactly 1. Without problems all is `nan`; with one problem the ends are `nan`. Raises
    `ValueError` outside [0, 1].

    >>> [round(end, 3) for end in (accuracy_interval([1.0] * 30).low, accuracy_interval([1.0] * 30).high)]
    [0.878, 1.0]
    """
    known = _known(values)
    if known.size and (known.min() < 0.0 or known.max() > 1.0):
        raise ValueError(f"accuracies: expected numbers from 0 to 1, got {known.min()} to {known.max()}")
    if len(known) < 2:
        return Interval(float(known.mean()) if known.size else nan, nan, nan)
    mean, variance = float(known.mean()), float(known.var(ddof=1))
    most = len(known) * (1 + 2 * _num_differing(known))
    flips = most if _is_alike(known) else min(len(known) * mean * (1.0 - mean) / variance, most)
    return wilson_interval(mean, flips, len(known) - 1)


def wilson_interval(share: float, flips: float, df: float) -> Interval:
    """Wilson's interval of a share that is as informative as so many coin flips, with Student's t of `df` degrees: the formula of
    `accuracy_interval`."""
    t = float(scipy_stats.t.ppf(0.975, df))
    centre = share + t**2 / (2.0 * flips)
    half = t * sqrt(share * (1.0 - share) / flips + t**2 / (4.0 * flips**2))
    ends = [(centre + side * half) / (1.0 + t**2 / flips) for side in (-1.0, 1.0)]
    return Interval(share, *(_inside_unit(end) for end in ends))


def paired_difference(base: ArrayLike, candidate: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Mean of candidate - base over problems, absolute: 0.02 is two points of accuracy. Both [P], one entry per problem.

    The interval is that of the problems and two added ones (`with_two_changed`), one better and one worse. Without these two, no
    change in 30 problems would give an interval of width 0, and one change in 30 nearly so. (Bonett and Price 2012, J. Educ.
    Behav. Stat. 37, for one sample per problem.) The estimate is without them.
    A problem that is `nan` on either side is left out of both. With one problem the ends are `nan`. Raises `ValueError` where
    shapes differ.
    """
    return difference_evidence(base, candidate, seed=seed, resamples=resamples).change


def difference_evidence(base: ArrayLike, candidate: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Evidence:
    """`paired_difference` and its p-value.

    >>> difference_evidence([0.0] * 20, [0.0] * 10 + [1.0] * 10, seed=0).p_value < 0.01
    True
    """
    pairs = known_pairs(base, candidate)
    if pairs.shape[1] < 2:
        return Evidence(Interval(float(np.mean(pairs[1] - pairs[0])) if pairs.size else nan, nan, nan), nan)
    columns = with_two_changed(pairs)
    drawn = _resampled_means(columns, seed, resamples)
    draws = drawn[1] - drawn[0]
    low, high = _percentiles(draws, expanded_levels(columns.shape[1]))
    change = Interval(float(np.mean(pairs[1]) - np.mean(pairs[0])), low, high)
    return Evidence(change, _p_value(draws, columns.shape[1]))


def paired_relative_change(base: ArrayLike, candidate: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Mean of candidate / mean of base - 1, both means over the same resampled problems: -0.4 is 40% fewer tokens.

    It is the ratio of the means, not the mean of the ratios, since this is the change of what the whole set of problems costs.
    Entries as in `paired_difference`; `nan` where the base's mean is 0. With one problem, or where all changed by the same
    factor, the ends are `nan`.

    >>> round(paired_relative_change([100, 300], [80, 160], seed=0).estimate, 6)  # (80 + 160) / (100 + 300) - 1
    -0.4
    """
    return relative_change_evidence(base, candidate, seed=seed, resamples=resamples).change


def relative_change_evidence(
    base: ArrayLike, candidate: ArrayLike, *, seed: int, resamples: int = RESAMPLES
) -> Evidence:
    """`paired_relative_change` and its p-value."""
    pairs = known_pairs(base, candidate)
    if not pairs.size:
        return Evidence(Interval(nan, nan, nan), nan)
    means = pairs.mean(axis=1)
    factor = float(ratio(means[1], means[0]))
    spread = np.abs(pairs[1] - factor * pairs[0]).max()
    if not spread > _ROUNDING * np.abs(pairs).max():  # also where the factor is nan
        return Evidence(Interval(factor - 1.0, nan, nan), nan)
    drawn = _resampled_means(pairs, seed, resamples)
    draws = ratio(drawn[1], drawn[0]) - 1.0
    low, high = _percentiles(draws, expanded_levels(pairs.shape[1], num_means=2))
    return Evidence(Interval(factor - 1.0, low, high), _p_value(draws, pairs.shape[1], num_means=2))


def known_pairs(base: ArrayLike, candidate: ArrayLike) -> FloatArray:
    """Base and candidate [2, P] without the problems that are `nan` on either side. Raises `ValueError` where shapes
    differ."""
    left, right = np.asarray(base, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"base and candidate: expected two equal shapes [P], got {left.shape} and {right.shape}")
    both = np.stack([left, right])
    paired: FloatArray = both[:, np.isfinite(both).all(axis=0)]
    return paired


def with_two_changed(pairs: FloatArray) -> FloatArray:
    """`pairs` [2, P] with two problems added, [2, P + 2]: one rises and one falls by the smallest change that occurs, and at
    least by 1 / (1 + d), where d problems changed.

    Where nothing changed that is 1, the most that an accuracy can. With several samples a change can be small, and one or two
    small ones do not show that there are no large ones. See `paired_difference`.

    >>> with_two_changed(np.array([[0.5, 0.5], [0.75, 1.0]]))[:, 2:].round(3).tolist()  # base, candidate
    [[0.0, 0.333], [0.333, 0.0]]
    """
    sizes = np.abs(pairs[1] - pairs[0])
    changed = sizes[sizes > _ROUNDING * np.abs(pairs).max(initial=0.0)]
    step = max(float(changed.min(initial=1.0)), 1.0 / (1 + changed.size))
    return np.concatenate([pairs, [[0.0, step], [step, 0.0]]], axis=1)


def expanded_levels(num_problems: int, num_means: int = 1) -> tuple[float, float]:
    """Quantile levels of the expanded percentile interval: Phi(sqrt(n / df) t_{df, 0.025}) and its mirror image.

    n is `num_problems`; df is n less `num_means`, the number of means that the statistic is computed from, at least 1.
    Hesterberg 2014, "What Teachers Should Know about the Bootstrap" (arXiv 1411.5279), for one mean. About 0.0231 at 100 problems
    and 0.0086 at 10, where the plain level is 0.025.

    >>> [round(expanded_levels(n)[0], 4) for n in (10, 100)]
    [0.0086, 0.0231]
    """
    df = max(1, num_problems - num_means)
    low = float(scipy_stats.norm.cdf(scipy_stats.t.ppf(0.025, df) * sqrt(num_problems / df)))
    return low, 1.0 - low


def _p_value(draws: FloatArray, num_problems: int, num_means: int = 1) -> float:
    """The level at which the expanded percentile interval of `draws` [R] has an end at 0: `expanded_levels` solved for it.

    With s the smaller share of draws beyond 0, (count + 1) / (R + 1): p = 2 F_df(Phi^-1(s) sqrt(df / n)), F_df being Student's
    distribution. It is never 0: with 10,000 draws and 20 problems it is at least 0.002.
    """
    beyond = min(np.count_nonzero(~(draws < 0.0)), np.count_nonzero(~(draws > 0.0)))
    df = max(1, num_problems - num_means)
    t = float(scipy_stats.norm.ppf((beyond + 1) / (len(draws) + 1))) * sqrt(df / num_problems)
    return min(1.0, 2.0 * float(scipy_stats.t.cdf(t, df)))


def ratio(above: ArrayLike, below: ArrayLike) -> FloatArray:
    """Elementwise above / below, `nan` where below is 0."""
    over, under = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    quotient: FloatArray = np.divide(over, under, out=np.full(np.shape(over), nan), where=under != 0)
    return quotient


def _known(values: ArrayLike) -> FloatArray:
    column = np.asarray(values, dtype=np.float64)
    known: FloatArray = column[np.isfinite(column)]
    return known


def _is_alike(known: FloatArray) -> bool:
    """True where no problem differs from another by more than rounding."""
    return bool(np.ptp(known) <= _ROUNDING * np.abs(known).max())


def _num_differing(known: FloatArray) -> int:
    """How many problems do not have the commonest value, apart from rounding."""
    return len(known) - int(np.unique(known.round(12), return_counts=True)[1].max())


def _inside_unit(share: float) -> float:
    """`share`, set to exactly 0 or 1 where only rounding keeps it from that."""
    if share < _ROUNDING:
        return 0.0
    return 1.0 if share > 1.0 - _ROUNDING else share


def _studentised(centred: FloatArray, seed: int, resamples: int) -> FloatArray:
    """t* of resamples of `centred` [P], which has mean 0; resamples whose values are all equal have no t* and are left out."""
    means, squares = _resampled_means(np.stack([centred, centred**2]), seed, resamples)
    variances = squares - means**2  # of equal values not 0, but what rounding leaves of a difference of two squares
    has_spread = variances > _ROUNDING * np.abs(centred).max() ** 2
    t: FloatArray = means[has_spread] / np.sqrt(variances[has_spread] / (len(centred) - 1))
    return t


def _of_few_that_differ(known: FloatArray) -> Interval:
    """The interval of a mean where nearly all problems share one value, c, as lengths at a cap do.

    The mean is c, plus the mean by which problems lie above c, minus the mean by which they lie below. Each of the two, divided
    by the largest distance on its side, is a share between 0 and 1, with the interval of `accuracy_interval`; both at their
    worst give the ends. A side on which no problem lies has width 0.
    """
    values, counts = np.unique(known, return_counts=True)
    common = float(values[counts.argmax()])
    above = _mean_distance(np.maximum(known - common, 0.0))
    below = _mean_distance(np.maximum(common - known, 0.0))
    return Interval(float(known.mean()), common + above.low - below.high, common + above.high - below.low)


def _mean_distance(distances: FloatArray) -> Interval:
    largest = float(distances.max())
    if largest == 0.0:
        return Interval(0.0, 0.0, 0.0)
    share = accuracy_interval(distances / largest)
    return Interval(largest * share.estimate, largest * share.low, largest * share.high)


def _resampled_means(columns: FloatArray, seed: int, resamples: int) -> FloatArray:
    """Means [C, R] over problems drawn with replacement, the same problems for every column."""
    num_problems = columns.shape[1]
    rng = np.random.default_rng(seed_of(seed, "bootstrap"))
    at_once = max(1, _DRAWS_AT_ONCE // num_problems)
    blocks = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(num_problems, size=(min(at_once, resamples - start), num_problems))
        blocks.append(columns[:, drawn].mean(axis=2))
    return np.concatenate(blocks, axis=1)


def _percentiles(draws: FloatArray, levels: tuple[float, float]) -> tuple[float, float]:
    low, high = np.quantile(draws, levels)
    return float(low), float(high)
