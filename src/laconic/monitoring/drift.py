"""Drift: are the prompts of this week like those of the week before?

1. The lengths of prompts in two windows are compared by the two-sample Kolmogorov-Smirnov test, the tags by the chi-squared test
   of independence.
2. The unit is a user: within a window each user's requests weigh 1 in all, and the tests count users. One busy user is no drift.
3. The two p-values are corrected (Holm). An alarm needs a change that matters as well: a distance of `LEAST_DISTANCE` between
   the two distributions of lengths, or `LEAST_SHIFT` of the share of a tag; with many users everything is significant.

Users who come in both windows make the tests careful rather than hasty, for they resemble themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from scipy import stats as scipy_stats

from laconic.monitoring.columns import RequestColumns
from laconic.monitoring.requests import Scope
from laconic.statistics.several import holm
from laconic.traffic.store import SECONDS_OF_A_DAY

LEAST_DISTANCE, LEAST_SHIFT = 0.1, 0.05
MIN_WINDOW_USERS = 20
LEVEL_OF_DRIFT = 0.05


@dataclass(frozen=True, slots=True)
class WeighedValues:
    """The values of a column in a window, each with its weight in users; the weights sum to `users`."""

    users: int
    weights: Mapping[str | int, float]

    def share(self, value: str | int) -> float:
        """The share of a value."""
        return self.weights.get(value, 0.0) / self.users if self.users else nan

    def median(self) -> float:
        """The least value at which half of the weight is reached; `nan` without values."""
        reached = 0.0
        for value in sorted(self.weights, key=float):
            reached += self.weights[value]
            if reached >= self.users / 2.0:
                return float(value)
        return nan


@dataclass(frozen=True, slots=True)
class Drift:
    """Two windows compared: `distance` between the distributions of prompt lengths, the largest change of a tag's share with its
    tag, and the corrected p-values; `nan` where a window has too few users."""

    lengths: tuple[WeighedValues, WeighedValues]
    tags: tuple[WeighedValues, WeighedValues]
    distance: float
    lengths_p_value: float
    moved_tag: str
    shift: float
    tags_p_value: float

    @property
    def alarms(self) -> list[str]:
        """One sentence for each kind of drift that is significant and large."""
        found = []
        if self.lengths_p_value < LEVEL_OF_DRIFT and self.distance >= LEAST_DISTANCE:
            medians = [values.median() for values in self.lengths]
            found.append(
                f"Prompts have another length than before: median {medians[0]:,.0f} tokens then, {medians[1]:,.0f} now "
                f"(distance {self.distance:.2f}, p = {self.lengths_p_value:.2g})."
            )
        if self.tags_p_value < LEVEL_OF_DRIFT and abs(self.shift) >= LEAST_SHIFT:
            shares = [100 * values.share(self.moved_tag) for values in self.tags]
            found.append(
                f"Requests are about other things: {self.moved_tag or 'no tag'} went from {shares[0]:.0f}% to {shares[1]:.0f}% "
                f"(p = {self.tags_p_value:.2g})."
            )
        return found


def measure_drift(columns: RequestColumns, end: float, days: float) -> Drift:
    """Compare the last `days` days before `end` (seconds since 1970) with as many before them."""
    middle = end - days * SECONDS_OF_A_DAY
    scopes = (Scope(middle - days * SECONDS_OF_A_DAY, middle), Scope(middle, end))
    windows = [columns.within(scope) for scope in scopes]
    lengths = [weigh(window, "prompt") for window in windows]
    tags = [weigh(window, "tag") for window in windows]
    distance, raw_lengths = _compare_lengths(*lengths)
    moved, shift, raw_tags = _compare_tags(*tags)
    corrected = holm([raw_lengths, raw_tags])
    return Drift((lengths[0], lengths[1]), (tags[0], tags[1]), distance, corrected[0], moved, shift, corrected[1])


def weigh(columns: RequestColumns, name: str) -> WeighedValues:
    """The lengths of prompts, or the tags, among successful requests, every user with a weight of 1."""
    own = columns.those(columns.is_well if name == "tag" else ~np.isnan(columns.values[name]))
    users = own.words["user"]
    shares = 1.0 / np.bincount(users)[users]
    found, places = np.unique(own.words[name] if name == "tag" else own.values[name], return_inverse=True)
    sums = np.bincount(places, shares, len(found))
    words: Sequence[str | int] = [own.names["tag"][n] for n in found] if name == "tag" else [int(n) for n in found]
    return WeighedValues(round(float(sums.sum())), dict(zip(words, map(float, sums), strict=True)))


def _compare_lengths(before: WeighedValues, after: WeighedValues) -> tuple[float, float]:
    """The Kolmogorov-Smirnov distance and its p-value at n m / (n + m) users."""
    if min(before.users, after.users) < MIN_WINDOW_USERS:
        return nan, nan
    points = sorted(before.weights.keys() | after.weights.keys(), key=float)
    steps = [np.cumsum([values.share(point) for point in points]) for values in (before, after)]
    distance = float(np.abs(steps[1] - steps[0]).max())
    users = before.users * after.users / (before.users + after.users)
    return distance, float(scipy_stats.kstwobign.sf(sqrt(users) * distance))


def _compare_tags(before: WeighedValues, after: WeighedValues) -> tuple[str, float, float]:
    """The tag that moved most, the change of its share, and the p-value of the chi-squared test."""
    tags: Sequence[str | int] = sorted(before.weights.keys() | after.weights.keys(), key=str)
    if min(before.users, after.users) < MIN_WINDOW_USERS or len(tags) < 2:
        return "", nan, nan
    shifts = {tag: after.share(tag) - before.share(tag) for tag in tags}
    moved = max(tags, key=lambda tag: abs(shifts[tag]))
    table = [[values.weights.get(tag, 0.0) for tag in tags] for values in (before, after)]
    return str(moved), shifts[moved], float(scipy_stats.chi2_contingency(table, correction=False).pvalue)
