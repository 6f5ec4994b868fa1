"""Stored requests as columns of numbers, each row read once; what a page shows is added up from them.

1. `read_columns` reads the requests of a scope with their feedback, some thousand rows at a time. Words become numbers that stand
   for them, so a request takes about a hundred bytes.
2. `those` takes some of the requests, `group_by` says to which group each belongs.
3. `sums_over_users` adds up each user's values within a group, and then these sums and their squares over users. From those come
   rates and means with intervals over users (`statistics/clusters.py`).
4. `ranked` finds the value at a place of the sorted column of each group (nearest rank).

What a request adds to each figure is said in `requests.values`: null for one that failed or has no such number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from laconic.monitoring.requests import EVERYTHING, RATES, REFUSED_FROM, Scope, values, with_feedback, within
from laconic.statistics.claims import IntArray
from laconic.statistics.clusters import ClusterSums
from laconic.statistics.intervals import FloatArray
from laconic.traffic.store import SECONDS_OF_A_DAY, TrafficStore
from laconic.traffic.tables import REQUESTS

ROWS_OF_A_PART = 5_000
WORDS = ("version", "route", "tag", "user")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RequestColumns:
    """N requests: when they came (seconds since 1970), their status, the number of each word of `WORDS` with what it
    stands for, and what each adds to every figure, `nan` for nothing."""

    at: FloatArray
    status: NDArray[np.int32]
    words: Mapping[str, NDArray[np.int32]]
    names: Mapping[str, Sequence[str]]
    values: Mapping[str, NDArray[np.floating[Any]]]

    @property
    def is_well(self) -> Mask:
        """Which of them have a response [N]."""
        return self.status < REFUSED_FROM

    def those(self, mask: Mask) -> "RequestColumns":
        """The requests for which `mask` [N] is true."""
        if mask.all():
            return self
        words = {name: numbers[mask] for name, numbers in self.words.items()}
        found = {name: numbers[mask] for name, numbers in self.values.items()}
        return RequestColumns(self.at[mask], self.status[mask], words, self.names, found)

    def within(self, scope: Scope) -> "RequestColumns":
        """The requests of a scope."""
        mask = (self.at >= scope.begin) & (self.at < scope.end)
        for name, wanted in (("route", scope.route), ("version", scope.version)):
            if wanted is not None:
                mask &= self._is(name, wanted)
        return self.those(mask)

    def _is(self, name: str, wanted: str) -> Mask:
        known = self.names[name]
        found: Mask = self.words[name] == (known.index(wanted) if wanted in known else -1)
        return found

    def group_by(self, by: Sequence[str]) -> "RequestGroups":
        """The groups by names of `WORDS` or by `day`, a whole number of days since 1970 (UTC)."""
        if not by:
            return RequestGroups([()], np.zeros(len(self.at), np.int64))
        coded = [self._coded(name) for name in by]
        combined: IntArray = reduce(
            lambda code, part: code * len(part[0]) + part[1], coded, np.zeros(len(self.at), np.int64)
        )
        present, places = np.unique(combined, return_inverse=True)
        keys = [_key(int(code), [labels for labels, _ in coded]) for code in present]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        ranks = np.empty(len(keys), np.int64)
        ranks[order] = np.arange(len(keys))
        return RequestGroups([keys[place] for place in order], ranks[places])

    def _coded(self, name: str) -> tuple[Sequence[Any], IntArray]:
        """What the numbers of a column stand for, and the numbers."""
        if name != "day":
            return self.names[name], self.words[name].astype(np.int64)
        days = np.floor(self.at / SECONDS_OF_A_DAY).astype(np.int64)
        first, last = (int(days.min()), int(days.max())) if len(days) else (0, 0)
        return range(first, last + 1), days - first


@dataclass(frozen=True, slots=True, eq=False)
class RequestGroups:
    """The keys of groups, and for each of N requests the place of its group among them."""

    keys: Sequence[tuple[Any, ...]]
    places: IntArray

    def count(self, mask: NDArray[Any] | None = None) -> IntArray:
        """How many requests there are in each group, of all or of those for which `mask` is true."""
        places = self.places if mask is None else self.places[mask]
        return np.bincount(places, minlength=len(self.keys))


def _key(code: int, labels: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    found: list[Any] = []
    for own in reversed(labels):
        code, place = divmod(code, len(own))
        found.append(own[place])
    return tuple(reversed(found))


def read_columns(store: TrafficStore, scope: Scope = EVERYTHING) -> RequestColumns:
    """The requests of a scope."""
    wanted = values()
    columns = [REQUESTS.c.at, REQUESTS.c.status, *(REQUESTS.c[name] for name in WORDS), *wanted.values()]
    query = with_feedback(select(*columns)).where(within(scope))
    codes: dict[str, dict[str, int]] = {name: {} for name in WORDS}
    coded = dict(enumerate(codes.values(), start=2))
    parts: list[list[NDArray[Any]]] = [[np.empty(0, kind)] for kind in _kinds(tuple(wanted))]
    with store.engine.connect() as connection:
        rows = connection.execution_options(yield_per=ROWS_OF_A_PART).execute(query)
        for part in rows.partitions():
            for place, column in enumerate(zip(*part, strict=True)):
                known = coded.get(place)
                numbers = column if known is None else [known.setdefault(word, len(known)) for word in column]
                parts[place].append(np.array(numbers, parts[place][0].dtype))
    at, status, *others = (_joined(some) for some in parts)
    return RequestColumns(
        at,
        status,
        dict(zip(WORDS, others, strict=False)),
        {name: list(known) for name, known in codes.items()},
        dict(zip(wanted, others[len(WORDS) :], strict=True)),
    )


def _kinds(names: Sequence[str]) -> list[type]:
    """The type of each column: single precision is enough for a share of one request, which is 0 or 1."""
    return [
        np.float64,
        np.int32,
        *(np.int32 for _ in WORDS),
        *(np.float32 if n in RATES else np.float64 for n in names),
    ]


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def sums_over_users(
    columns: RequestColumns, groups: RequestGroups, names: Sequence[str]
) -> list[dict[str, ClusterSums]]:
    """For each group: the six sums of each figure."""
    users, num_groups = max(len(columns.names["user"]), 1), len(groups.keys)
    cells, cell = np.unique(groups.places * users + columns.words["user"], return_inverse=True)
    group_of = cells // users
    found: list[dict[str, ClusterSums]] = [{} for _ in groups.keys]
    for name in names:
        own = columns.values[name]
        has = ~np.isnan(own)
        n = np.bincount(cell, has, len(cells))
        y = np.bincount(cell, np.where(has, own, 0.0), len(cells))
        sums = [np.bincount(group_of, part, num_groups) for part in (n > 0, n, y, y * y, y * n, n * n)]
        for sums_of_group, (count, *rest) in zip(found, zip(*sums, strict=True), strict=True):
            sums_of_group[name] = ClusterSums(int(count), *map(float, rest))
    return found


def num_users(columns: RequestColumns, groups: RequestGroups) -> IntArray:
    """How many users each group has."""
    users = max(len(columns.names["user"]), 1)
    return np.bincount(np.unique(groups.places * users + columns.words["user"]) // users, minlength=len(groups.keys))


def ranked(own: NDArray[Any], groups: RequestGroups, shares: Sequence[tuple[int, int]]) -> list[list[float]]:
    """For each share (above, below) of 1 and each group: the value of rank ceil(n above / below) of its n values, `nan` where it
    has none."""
    has = ~np.isnan(own)
    found, places = own[has], groups.places[has]
    found = found[np.lexsort((found, places))]
    counts = np.bincount(places, minlength=len(groups.keys))
    starts = np.cumsum(counts) - counts
    sorted_values = np.append(found, nan)  # a group at the end may have none
    return [
        np.where(counts, sorted_values[starts + np.maximum(-(-counts * above // below), 1) - 1], nan).tolist()
        for above, below in shares
    ]
