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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

from sqlalchemy import ColumnElement, and_, case, literal

from laconic.monitoring.figures import NO_SUMS, Scope, quantile_rows, summed_over_users, sums_of, within
from laconic.statistics.clusters import ClusterSums, clustered_rate, worse_rate_p_value
from laconic.statistics.intervals import Interval
from laconic.statistics.several import holm
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import REQUESTS

MIN_SLICE_USERS = 20
ALARM_LEVEL = 0.05
WATCHED = {"bad": "bad feedback", "corrected": "corrections"}
FEEDBACK_NAMES = (*WATCHED, "rated")
QUARTILES = ((1, 4), (2, 4), (3, 4))
ANY_LENGTH = -1


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


def watch_brevity(store: TrafficStore, before: str, after: str, scope: Scope) -> BrevityWatch:
    """Compare a version with the one before in a scope. With no thinking stored of the version before there is one bin."""
    edges = thinking_edges(store, replace(scope, version=before))
    found = {version: _read_slices(store, replace(scope, version=version), edges) for version in (before, after)}
    keys = sorted(found[before].keys() | found[after].keys())
    none = dict.fromkeys(FEEDBACK_NAMES, NO_SUMS)
    pairs = [(key, found[before].get(key, none), found[after].get(key, none)) for key in keys]
    raw = [_p_value(old[name], new[name]) for _, old, new in pairs for name in WATCHED]
    corrected = iter(holm(raw))
    slices = tuple(
        BrevitySlice(tag, place, bin_words(place, edges), old, new, {name: next(corrected) for name in WATCHED})
        for (tag, place), old, new in pairs
    )
    return BrevityWatch(scope.route or "", before, after, edges, slices, sum(not isnan(p) for p in raw))


def thinking_edges(store: TrafficStore, scope: Scope) -> tuple[int, ...]:
    """The quartiles of thinking tokens in a scope, those that differ; empty where none are stored."""
    with store.engine.connect() as connection:
        rows = connection.execute(quantile_rows([], REQUESTS.c.thinking_tokens, within(scope), QUARTILES)).all()
    return tuple(sorted({int(row[-1]) for row in rows}))


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


def _read_slices(
    store: TrafficStore, scope: Scope, edges: Sequence[int]
) -> dict[tuple[str, int], dict[str, ClusterSums]]:
    """The sums of a version by tag and bin."""
    bins: list[tuple[ColumnElement[Any], ColumnElement[bool]]] = [(literal(ANY_LENGTH), within(scope))]
    if edges:
        thinking = REQUESTS.c.thinking_tokens
        bin_of = case(*((thinking <= edge, number) for number, edge in enumerate(edges)), else_=len(edges))
        bins.append((bin_of, and_(within(scope), thinking.is_not(None))))
    found = {}
    with store.engine.connect() as connection:
        for place, condition in bins:
            for row in connection.execute(summed_over_users([REQUESTS.c.tag, place], condition, FEEDBACK_NAMES)):
                found[str(row[0]), int(row[1])] = sums_of(row, FEEDBACK_NAMES)
    return found
