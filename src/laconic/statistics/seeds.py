"""Means over training seeds: each seed is one whole run with one number, and what varies is everything that a seed draws.

A mean has the standard error sd / sqrt(n) and Student's interval with n - 1 degrees of freedom. What that can tell: with five
seeds the 95% interval reaches 1.24 standard deviations of the seeds to either side, with three seeds 2.48; their 99% intervals
reach 2.06 and 5.73. It rests on seeds being spread about normally, which so few of them cannot show.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from laconic.statistics.intervals import or_null

_ROUNDING = 1e-12  # relative: spreads below it are those of floating point


@dataclass(frozen=True, slots=True)
class SeedMean:
    """A mean over seeds with its standard error and Student's interval (of 95% unless another level was asked for), `nan` below
    two seeds, and for the ends also where all seeds are alike."""

    mean: float
    se: float
    low: float
    high: float
    num_seeds: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object, with null for numbers that do not exist."""
        ends = [or_null(self.low), or_null(self.high)]
        return {"mean": or_null(self.mean), "se": or_null(self.se), "ci95": ends, "num_seeds": self.num_seeds}


def over_seeds(values: Iterable[float], level: float = 0.95) -> SeedMean:
    """Mean, sd / sqrt(n) with the sample's sd (n - 1), and mean -+ t_{n-1} se at `level`; `nan` values do not count. Where all
    seeds are alike the ends are `nan`: an interval of width 0 would claim certainty.

    >>> found = over_seeds([0.1, 0.2, 0.3])  # sd 0.1, se 0.1 / sqrt(3) = 0.0577, t 4.303
    >>> round(found.mean, 4), round(found.se, 4), round(found.high - found.mean, 4)
    (0.2, 0.0577, 0.2484)
    """
    known = np.array([value for value in values if np.isfinite(value)], dtype=np.float64)
    n = len(known)
    mean = float(known.mean()) if n else nan
    if n < 2:
        return SeedMean(mean, nan, nan, nan, n)
    if np.ptp(known) <= _ROUNDING * np.abs(known).max():
        return SeedMean(mean, 0.0, nan, nan, n)
    se = float(known.std(ddof=1)) / sqrt(n)
    half = float(scipy_stats.t.ppf(0.5 + level / 2.0, n - 1)) * se
    return SeedMean(mean, se, mean - half, mean + half, n)
