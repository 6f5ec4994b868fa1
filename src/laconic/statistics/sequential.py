"""Confidence sequences: intervals of the difference between two groups of users that hold at every time of looking at once.

An interval for a fixed number of users fails whoever looks again and again: sooner or later chance carries it past 0. Here the
chance that the truth is *ever* outside is at most `alpha`, so one may look after every request, and stop when one likes.

1. A rate (a share of responses, from 0 to 1), `rate_difference_sequence`: by betting, as Waudby-Smith and Ramdas 2024 (JRSS B 86,
   arXiv 2010.09686). It is exact for any number of users and any distribution: who bets against a true mean m multiplies the
   stake by 1 / alpha with a chance of at most alpha (Ville 1939). The two groups are joined by a union bound.
2. A figure without an upper bound (tokens, seconds), `mean_ratio_sequence`: the Gaussian mixture of Waudby-Smith, Arbour, Sinha,
   Kennedy and Ramdas 2024 (Ann. Statist. 52, arXiv 2103.06476), Theorem 2.2, for the logarithm of the ratio of two means. It is
   asymptotic: it needs a finite variance, and begins at `MIN_USERS` users on each side.

The unit is a user, never a request, since a user is assigned to a group and the user's requests resemble each other. A user has
one value, the mean over all requests so far, so that each counts the same however busy. The theorems are about values that are
complete when they enter, and those of users who come back still change. So in 2 the clock is the information 1 / v, which
further requests of the same users let grow as well: where these are not negatively correlated, means of all values so far cross
a boundary no more often than a Brownian motion does at that clock (Slepian 1962, in the Gaussian limit). In 1 the bets are
constant, so that the order of users does not matter. How often either sequence excludes the truth where users come back was
measured: `benchmarks/always_valid.md`.

What is left out: users whose values depend on when they come. Both groups must be served at the same time.
"""

from math import exp, inf, log, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from laconic.statistics.intervals import FloatArray, Interval

FRACTIONS: FloatArray = np.geomspace(0.005, 0.95, 28)
"""The shares of the stake that are put on each user, by as many players who share the first stake equally."""

BEST_ERROR, MIN_USERS = 0.04, 25
"""The standard error of a log-ratio at which its interval is tightest, and the fewest users on either side that have one."""

SAME_VALUE = 1e-9
"""Values that differ by no more than this share of their mean are the same."""

_BISECTIONS = 40


def rate_difference_sequence(base: ArrayLike, candidate: ArrayLike, *, alpha: float) -> Interval:
    """Mean of candidate minus mean of base, with an interval that holds at all times of looking with chance 1 - `alpha`.

    `base` [B] and `candidate` [C] hold one value from 0 to 1 per user; 0.02 is two points. With no user on a side all is `nan`.
    Raises `ValueError` for a value outside [0, 1], or an `alpha` that is no chance.

    >>> early = rate_difference_sequence([0.0] * 50, [1.0] * 2, alpha=0.05)
    >>> late = rate_difference_sequence([0.0] * 50, [1.0] * 50, alpha=0.05)
    >>> early.low < 0.0 < late.low, late.estimate
    (True, 1.0)
    """
    groups = [np.asarray(values, dtype=np.float64) for values in (base, candidate)]
    _check_alpha(alpha)
    if any(values.size and not (values.min() >= 0.0 and values.max() <= 1.0) for values in groups):
        raise ValueError("rates: expected one number from 0 to 1 per user")
    if not all(values.size for values in groups):
        return Interval(nan, nan, nan)
    (base_low, base_high), (low, high) = (rate_ends(values, alpha / 4.0) for values in groups)
    return Interval(float(groups[1].mean() - groups[0].mean()), low - base_high, high - base_low)


def rate_ends(values: FloatArray, alpha: float) -> tuple[float, float]:
    """Both ends of the sequence for the mean of `values` [U] from 0 to 1; each is ever wrong with a chance of `alpha` at most.

    The low end is the least mean m against which the players have not yet won 1 / alpha. The player of the fraction f bets the
    same on each user, and the capital is the mean over the F players:

        K(m) = 1/F sum_f prod_u (1 + f (X_u - m) / m)

    With lambda = f / m this is K+ of Waudby-Smith and Ramdas 2024, section 4.2, and the grid of constant bets is that of its
    grid-Kelly players (appendix B). K falls with m, so bisection finds the end. The high end is the same of 1 - X.
    """
    distinct, numbers = np.unique(values, return_counts=True)
    return _low_end(distinct, numbers, alpha), 1.0 - _low_end(1.0 - distinct, numbers, alpha)


def _low_end(distinct: FloatArray, numbers: NDArray[np.int64], alpha: float) -> float:
    mean = float(np.average(distinct, weights=numbers))
    low, high = 0.0, mean
    while high - low > 2.0**-_BISECTIONS:
        middle = (low + high) / 2.0
        if _log_capital(distinct, numbers, middle) < -log(alpha):
            high = middle
        else:
            low = middle
    return low


def _log_capital(distinct: FloatArray, numbers: ArrayLike, mean: float) -> float:
    """The logarithm of K(m)."""
    gains = np.log1p(FRACTIONS[:, None] * (distinct / mean - 1.0)) @ np.asarray(numbers, dtype=np.float64)
    return float(np.logaddexp.reduce(gains)) - log(len(FRACTIONS))


def mean_ratio_sequence(base: ArrayLike, candidate: ArrayLike, *, alpha: float) -> Interval:
    """Mean of candidate / mean of base - 1, with an interval that holds at all times of looking: -0.1 is 10% fewer tokens.

    `base` [B] and `candidate` [C] hold one value >= 0 per user. With v = s_b^2 / (B m_b^2) + s_c^2 / (C m_c^2), the variance of
    the log-ratio by the delta method, and the information i = 1 / v:

        log(m_c / m_b) -+ sqrt(v) sqrt((i + rho) / i log((i + rho) / (rho alpha^2)))

    (Waudby-Smith et al. 2024, Theorem 2.2, where i / rho is called t rho^2). The ends are `nan` with fewer than `MIN_USERS` users
    on a side, where all values are the same, or where a mean is 0. Raises `ValueError` for a negative or infinite value.

    >>> found = mean_ratio_sequence([90.0, 110.0] * 200, [45.0, 55.0] * 200, alpha=0.05)
    >>> round(found.estimate, 3), -0.52 < found.low < -0.5 < found.high < -0.48
    (-0.5, True)
    """
    groups = [np.asarray(values, dtype=np.float64) for values in (base, candidate)]
    _check_alpha(alpha)
    if any(values.size and not 0.0 <= values.min() <= values.max() < inf for values in groups):
        raise ValueError("means: expected one number from 0 up per user")
    if not all(values.size and values.mean() > 0.0 for values in groups):
        return Interval(nan, nan, nan)
    centre = log(groups[1].mean() / groups[0].mean())
    variance = sum(_log_variance(values) for values in groups)
    if min(len(values) for values in groups) < MIN_USERS or not variance > 0.0:
        return Interval(exp(centre) - 1.0, nan, nan)
    half = sqrt(variance) * mixture_factor(variance, alpha)
    return Interval(exp(centre) - 1.0, exp(centre - half) - 1.0, exp(centre + half) - 1.0)


def _log_variance(values: FloatArray) -> float:
    """The variance of the logarithm of a mean by the delta method; 0 where all values are the same, whatever rounding says."""
    if len(values) < 2 or float(np.ptp(values)) <= SAME_VALUE * float(values.mean()):
        return 0.0
    return float(values.var(ddof=1)) / (len(values) * float(values.mean()) ** 2)


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: expected a chance of error above 0 and below 1, got {alpha:g}")


def mixture_factor(variance: float, alpha: float) -> float:
    """How many standard errors the Gaussian mixture's interval is wide to each side, for an estimate of this variance.

    rho makes it least at the variance `BEST_ERROR`^2 (Howard, Ramdas, McAuliffe and Sekhon 2021, Ann. Statist. 49, section 3.5).

    >>> round(mixture_factor(0.04**2, 0.05), 2), round(mixture_factor(0.004**2, 0.05), 2)  # 1.96 for one look
    (3.04, 3.56)
    """
    rho = BEST_ERROR**-2 / (-2.0 * log(alpha) + log(1.0 - 2.0 * log(alpha)))
    rate = 1.0 / (variance * rho)
    return sqrt((rate + 1.0) / rate * (log(rate + 1.0) - 2.0 * log(alpha)))
