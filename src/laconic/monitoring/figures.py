"""Figures of stored requests by day, version, route and tag: rates and means with intervals over users, and latencies.

They are added up from columns that were read once (`columns.py`). Medians and 95% points of latencies are the values at that
place of the sorted column (nearest rank).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

from laconic.monitoring.columns import RequestColumns, num_users, ranked, sums_over_users
from laconic.monitoring.requests import FAILED_FROM, LATENCIES, MEANS, RATES, USER_LEFT
from laconic.statistics.clusters import ClusterSums, clustered_mean, clustered_rate
from laconic.statistics.intervals import Interval

QUANTILES = {"median": (1, 2), "p95": (95, 100)}


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """The figures of a group of requests; `key` names it, one entry for each column by which was grouped.

    `requests` counts all, and of them `failed` those that failed, `left` those that their user left, `refused` those that were
    refused; `users` counts all users. `sums` has an entry for each name of `RATES` and
    `MEANS`; `latencies` maps a column of `LATENCIES` and a name of `QUANTILES` to seconds.
    """

    key: tuple[Any, ...]
    requests: int
    failed: int
    left: int
    refused: int
    users: int
    sums: Mapping[str, ClusterSums]
    latencies: Mapping[tuple[str, str], float]

    def rate(self, name: str) -> Interval:
        """A share of the responses, with its 95% interval over users."""
        return clustered_rate(self.sums[name])

    def mean(self, name: str) -> Interval:
        """A mean over the responses, with its 95% interval over users, which ends at 0: no figure is below it."""
        found = clustered_mean(self.sums[name])
        return found if isnan(found.low) else replace(found, low=max(found.low, 0.0))

    def latency(self, column: str, quantile: str) -> float:
        """Seconds; `nan` where no response has any."""
        return self.latencies.get((column, quantile), nan)


def group_figures(columns: RequestColumns, by: Sequence[str]) -> list[GroupFigures]:
    """The figures of every group, sorted by its key; `by` has names of `columns.WORDS` or `day`, or none for all as one group."""
    groups = columns.group_by(by)
    failed, left = columns.status >= FAILED_FROM, columns.status == USER_LEFT
    requests, users = groups.count(), num_users(columns, groups)
    num_refused = groups.count(~(columns.is_well | failed | left))
    num_failed, num_left = groups.count(failed), groups.count(left)
    sums = sums_over_users(columns, groups, (*RATES, *MEANS))
    found = {
        (column, name): seconds
        for column in LATENCIES
        for name, seconds in zip(
            QUANTILES, ranked(columns.values[column], groups, list(QUANTILES.values())), strict=True
        )
    }
    return [
        GroupFigures(
            key,
            int(requests[place]),
            int(num_failed[place]),
            int(num_left[place]),
            int(num_refused[place]),
            int(users[place]),
            sums[place],
            {name: seconds[place] for name, seconds in found.items() if not isnan(seconds[place])},
        )
        for place, key in enumerate(groups.keys)
    ]
