"""Rates and means over requests, several of which are one user's, with 95% intervals, from sums over users.

Requests of one user resemble each other, so the unit is a user. A figure is the sum of the users' values y_u over the sum of
their requests n_u: every request counts the same, and the variance is that of a ratio of two sums over users (Cochran 1977,
Sampling Techniques, section 6.4, without the correction for a finite population):

    r = sum y_u / sum n_u        var(r) = E / (E - 1) sum_u (y_u - r n_u)^2 / (sum n_u)^2

E = (sum n_u)^2 / sum n_u^2 is the effective number of users: their number where all send as many requests, and fewer where a few
send most of them. With their number in its place the variance is too small for such users (Carter, Schnepel and Steigerwald 2017,
Rev. Econ. Stat. 99), and Student's t has too many degrees of freedom. Where requests per user are lognormal with a spread of 1.6,
a 95% interval of a rate of 30 users then holds it in 94% of simulations and not in 86%, that of a mean in 90% and not in 78%.

The sum of squares needs only the five sums of `ClusterSums`, so no user's row has to be held.
"""

from dataclasses import dataclass
from math import nan, sqrt

from scipy import stats as scipy_stats

from laconic.statistics.intervals import Interval, wilson_interval

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """Over `users` who have a value: the sums of n_u, y_u, y_u^2, y_u n_u and n_u^2."""

    users: int
    number: float
    total: float
    squares: float
    products: float
    number_squares: float

    @property
    def ratio(self) -> float:
        """The figure itself; `nan` without a request."""
        return self.total / self.number if self.number else nan

    @property
    def effective_users(self) -> float:
        """How many users with equally many requests would tell as much; 0 without a request."""
        return self.number**2 / self.number_squares if self.number_squares else 0.0

    @property
    def degrees(self) -> float:
        """Student's degrees of freedom; at least 1."""
        return max(1.0, self.effective_users - 1.0)

    @property
    def variance(self) -> float:
        """The variance of the ratio; `nan` with fewer than two users."""
        if self.users < 2:
            return nan
        r, effective = self.ratio, self.effective_users
        spread = self.squares - 2.0 * r * self.products + r * r * self.number_squares
        return max(spread, 0.0) * effective / max(effective - 1.0, _ROUNDING) / self.number**2


def clustered_rate(sums: ClusterSums) -> Interval:
    """A share of requests with Wilson's interval, at the number of coin flips that would be as informative.

    That number is r (1 - r) / var(r), at most the number of requests; where all users are alike it is the effective one of users.
    The ends are `nan` with fewer than two users.

    >>> found = clustered_rate(ClusterSums(users=50, number=500, total=50, squares=100, products=500, number_squares=5000))
    >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
    (0.1, 0.075, 0.132)
    """
    if sums.users < 2:
        return Interval(sums.ratio, nan, nan)
    return wilson_interval(sums.ratio, coin_flips(sums), sums.degrees)


def coin_flips(sums: ClusterSums) -> float:
    """How many coin flips would tell as much of the rate as these requests do."""
    spread = sums.ratio * (1.0 - sums.ratio)
    if not sums.variance > _ROUNDING * spread:
        return sums.effective_users
    return min(spread / sums.variance, sums.number)


def clustered_mean(sums: ClusterSums) -> Interval:
    """A mean over requests with Student's t interval over users; the ends are `nan` with fewer than two users.

    >>> clustered_mean(ClusterSums(users=2, number=2, total=30, squares=500, products=30, number_squares=2)).estimate
    15.0
    """
    if sums.users < 2:
        return Interval(sums.ratio, nan, nan)
    half = float(scipy_stats.t.ppf(0.975, sums.degrees)) * sqrt(sums.variance)
    return Interval(sums.ratio, sums.ratio - half, sums.ratio + half)


def worse_rate_p_value(base: ClusterSums, candidate: ClusterSums) -> float:
    """The one-sided p-value of "the candidate's rate is not higher": a two-sample score test of two shares (Altman 1991, section
    10.3), each side with its number of coin flips, and Student's t with the degrees of both sides (Satterthwaite). `nan` with
    fewer than two users on a side, 1 where nothing was counted.

    >>> same = ClusterSums(users=50, number=500, total=50, squares=100, products=500, number_squares=5000)
    >>> worse_rate_p_value(same, same)
    0.5
    """
    if min(base.users, candidate.users) < 2:
        return nan
    flips = [coin_flips(base), coin_flips(candidate)]
    pooled = (flips[0] * base.ratio + flips[1] * candidate.ratio) / sum(flips)
    parts = [1.0 / number for number in flips]
    error = sqrt(pooled * (1.0 - pooled) * sum(parts))
    degrees = sum(parts) ** 2 / sum(part**2 / side.degrees for part, side in zip(parts, (base, candidate), strict=True))
    return float(scipy_stats.t.sf((candidate.ratio - base.ratio) / error, degrees)) if error else 1.0
