"""Over-brevity watch: do users complain more where the model now thinks less?

1. The quartiles of the thinking tokens of the version before make four bins of length.
2. For each tag and bin, and for each tag as a whole, the shares of responses with bad feedback and with a correction are compared
   with those of the version before, by a one-sided test with users as the unit (`statistics/clusters.py`).
3. The p-values of all these slices are corrected for their number (Holm, `statistics/several.py`). The alarm names the slice
   with the smallest.

Feedback is selected: users who complain are not like those who say nothing, and a share of complaints is no share of errors. It
can be compared between two versions only as long as users complain about both alike, so the shares of responses that were rated
at all stand beside. A slice with fewer than `MIN_SLICE_USERS` users on a side is not tested. A look is a test at the 5% level:
who looks every day sees a false alarm in the end, which the live comparison (`candidates.py`) does not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from laconic.monitoring.columns import RequestColumns, ranked, sums_over_users
from laconic.monitoring.requests import Scope
from laconic.statistics.clusters import ClusterSums, clustered_rate, worse_rate_p_value
from laconic.statistics.intervals import Interval
from laconic.statistics.several import holm

MIN_SLICE_USERS = 20
ALARM_LEVEL = 0.05
WATCHED = {"bad": "bad feedback", "corrected": "corrections"}
FEEDBACK_NAMES = (*WATCHED, "rated")
QUARTILES = ((1, 4), (2, 4), (3, 4))
ANY_LENGTH = -1
NO_SUMS = ClusterSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class BrevitySlice:
    """A tag and a bin of thinking (`ANY_LENGTH` for all): the sums of both versions, and the corrected p-value of each watched
    figure, `nan` where it was not tested."""

    tag: str
    place: int
    words: str
    before: dict[str, ClusterSums]
    after: dict[str, ClusterSums]
    p_values: dict[str, float]

    def rates(self, name: str) -> tuple[Interval, Interval]:
        """A figure before and after, with 95% intervals over users."""
        return clustered_rate(self.before[name]), clustered_rate(self.after[name])


@dataclass(frozen=True, slots=True)
class BrevityWatch:
    """What was found of a version against the one before, on a route: slices by tag and bin, and how many tests were made."""

    route: str
    before: str
    after: str
    edges: tuple[int, ...]
    slices: tuple[BrevitySlice, ...]
    num_tests: int

    @property
    def alarm(self) -> str:
        """One sentence that names the worst slice; empty where no slice is significantly worse."""
        found = [(s.p_values[name], s, name) for s in self.slices for name in WATCHED if s.p_values[name] < ALARM_LEVEL]
        if not found:
            return ""
        p_value, worst, name = min(found, key=lambda row: row[0])
        before, after = worst.rates(name)
        others = f"; {len(found) - 1} more of {self.num_tests} tests say so too" if len(found) > 1 else ""
        topic = worst.tag or "requests without a tag"
        return (
            f"{self.after} displeases more than {self.before} on {topic}, {worst.words}: {WATCHED[name]} "
            f"{100 * before.estimate:.1f}% before, {100 * after.estimate:.1f}% now (Holm-corrected p = {p_value:.2g}){others}."
        )


def watch_brevity(columns: RequestColumns, route: str, before: str, after: str) -> BrevityWatch:
    """Compare a version with the one before, on the requests of a route. With no thinking stored of the version before there is
    one bin."""
    own = {version: columns.within(Scope(route=route, version=version)) for version in (before, after)}
    edges = thinking_edges(own[before])
    found = {version: _slices(requests, edges) for version, requests in own.items()}
    keys = sorted(found[before].keys() | found[after].keys())
    none = dict.fromkeys(FEEDBACK_NAMES, NO_SUMS)
    pairs = [(key, found[before].get(key, none), found[after].get(key, none)) for key in keys]
    raw = [_p_value(old[name], new[name]) for _, old, new in pairs for name in WATCHED]
    corrected = iter(holm(raw))
    slices = tuple(
        BrevitySlice(tag, place, bin_words(place, edges), old, new, {name: next(corrected) for name in WATCHED})
        for (tag, place), old, new in pairs
    )
    return BrevityWatch(route, before, after, edges, slices, sum(not isnan(p) for p in raw))


def thinking_edges(columns: RequestColumns) -> tuple[int, ...]:
    """The quartiles of the thinking tokens, those that differ; empty where none are stored."""
    whole = columns.group_by(())
    found = [edge for (edge,) in ranked(columns.values["thinking"], whole, QUARTILES)]
    return tuple(sorted({int(edge) for edge in found if not isnan(edge)}))


def bin_words(place: int, edges: Sequence[int]) -> str:
    """A bin of thinking in words.

    >>> bin_words(0, [10, 20]), bin_words(1, [10, 20]), bin_words(2, [10, 20]), bin_words(ANY_LENGTH, [10])
    ('thinking up to 10 tokens', 'thinking 11 to 20 tokens', 'thinking over 20 tokens', 'thinking of any length')
    """
    if place == ANY_LENGTH:
        return "thinking of any length"
    if place == 0:
        return f"thinking up to {edges[0]:,} tokens"
    if place == len(edges):
        return f"thinking over {edges[-1]:,} tokens"
    return f"thinking {edges[place - 1] + 1:,} to {edges[place]:,} tokens"


def _p_value(before: ClusterSums, after: ClusterSums) -> float:
    is_enough = min(before.users, after.users) >= MIN_SLICE_USERS
    return worse_rate_p_value(before, after) if is_enough else nan


def _slices(columns: RequestColumns, edges: Sequence[int]) -> dict[tuple[str, int], dict[str, ClusterSums]]:
    """The sums of a version by tag and bin."""
    found = {(tag, ANY_LENGTH): sums for tag, sums in _by_tag(columns)}
    thinking = columns.values["thinking"]
    bins = np.searchsorted(edges, thinking)
    for place in range(len(edges) + 1) if edges else ():
        found |= {(tag, place): sums for tag, sums in _by_tag(columns.those((bins == place) & ~np.isnan(thinking)))}
    return found


def _by_tag(columns: RequestColumns) -> Iterator[tuple[str, dict[str, ClusterSums]]]:
    groups = columns.group_by(["tag"])
    for (tag,), sums in zip(groups.keys, sums_over_users(columns, groups, FEEDBACK_NAMES), strict=True):
        yield tag, sums
