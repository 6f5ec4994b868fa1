"""Figures of stored requests by day, version, route and tag: sums that the database makes, never its rows.

1. A first query adds up each user's values within a group; a second adds these sums and their squares over users. From those
   come rates and means with intervals over users (`statistics/clusters.py`).
2. Medians and 95% points of latencies are the values at that place of the sorted column (nearest rank), found by the database.
3. Failed requests (status 400 and above) are counted, and are in no other figure.

Feedback is a share of all responses, not of the rated ones: few users rate, and those who do are not like the others.
Corrections are texts, which are deleted after their time; a share of them is known only for the days that still have texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan, nan
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, case, cast, func, or_, select
from sqlalchemy.engine import Connection

from laconic.statistics.clusters import ClusterSums, clustered_mean, clustered_rate
from laconic.statistics.intervals import Interval
from laconic.traffic.store import SECONDS_OF_A_DAY, TrafficStore
from laconic.traffic.tables import FEEDBACK, REQUESTS

FAILED_FROM = 400
RATES = ("truncated", "bad", "rated", "corrected", "too_short", "too_long")
MEANS = ("tokens", "thinking", "prompt", "cost", "seconds")
QUANTILES = {"median": (1, 2), "p95": (95, 100)}
LATENCIES = ("seconds", "first_token_seconds")
GROUPS = ("day", "version", "route", "tag")

NO_SUMS = ClusterSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which requests count: those that came from `begin` on and before `end` (seconds since 1970), on one route or on all, of
    one version or of all."""

    begin: float = 0.0
    end: float = inf
    route: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """The figures of a group of requests; `key` names it, one entry for each column by which was grouped.

    `requests` counts all, `failed` those that failed, `users` all users. `sums` has an entry for each name of `RATES` and
    `MEANS`; `latencies` maps a column of `LATENCIES` and a name of `QUANTILES` to seconds.
    """

    key: tuple[Any, ...]
    requests: int
    failed: int
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


def read_figures(store: TrafficStore, by: Sequence[str], scope: Scope = Scope()) -> list[GroupFigures]:
    """The figures of every group, sorted by its key; `by` has names of `GROUPS`, or none for all requests as one group."""
    with store.engine.connect() as connection:
        columns = [group_column(name, connection.dialect.name) for name in by]
        latencies = _read_latencies(connection, columns, scope)
        rows = connection.execute(_totals(columns, scope)).all()
    return [
        _figures(tuple(row[: len(by)]), row[len(by) :], latencies) for row in sorted(rows, key=lambda r: r[: len(by)])
    ]


def group_column(name: str, dialect: str) -> ColumnElement[Any]:
    """The expression of a name of `GROUPS`; a day is a whole number of days since 1970 (UTC)."""
    if name != "day":
        return REQUESTS.c[name]
    days = REQUESTS.c.at / SECONDS_OF_A_DAY
    return cast(days if dialect == "sqlite" else func.floor(days), Integer)  # SQLite's cast cuts, PostgreSQL's rounds


def within(scope: Scope) -> ColumnElement[bool]:
    """The condition that a request is in scope."""
    tests: list[ColumnElement[bool]] = [REQUESTS.c.at >= scope.begin]
    if scope.end < inf:
        tests.append(REQUESTS.c.at < scope.end)
    if scope.route is not None:
        tests.append(REQUESTS.c.route == scope.route)
    if scope.version is not None:
        tests.append(REQUESTS.c.version == scope.version)
    return and_(*tests)


def values() -> Mapping[str, ColumnElement[Any]]:
    """What a request that succeeded adds to each figure, null for one that failed or has no such number. The feedback of the
    request must stand beside it (`with_feedback`)."""
    is_well = REQUESTS.c.status < FAILED_FROM
    marks = {
        "truncated": REQUESTS.c.finish == "length",
        "bad": FEEDBACK.c.rating == "bad",
        "rated": FEEDBACK.c.rating != "",
        "corrected": FEEDBACK.c.correction != "",
        "too_short": FEEDBACK.c.length == "too_short",
        "too_long": FEEDBACK.c.length == "too_long",
    }
    numbers = {
        "tokens": REQUESTS.c.completion_tokens,
        "thinking": REQUESTS.c.thinking_tokens,
        "prompt": REQUESTS.c.prompt_tokens,
        "cost": REQUESTS.c.cost,
        "seconds": REQUESTS.c.seconds,
    }
    rates = {name: case((~is_well, None), (mark, 1.0), else_=0.0) for name, mark in marks.items()}
    means = {name: case((is_well, number * 1.0)) for name, number in numbers.items()}
    return {**rates, **means}


def with_feedback(selected: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """The query with each request's feedback beside it, where there is one."""
    return selected.select_from(REQUESTS.outerjoin(FEEDBACK, FEEDBACK.c.request_id == REQUESTS.c.id))


def summed_over_users(
    columns: Sequence[ColumnElement[Any]], condition: ColumnElement[bool], names: Sequence[str]
) -> Select[*tuple[Any, ...]]:
    """A row for each group: its columns, the numbers of requests, of failed ones and of users, then for each name the six sums of
    `ClusterSums`."""
    labelled = [column.label(f"group_{place}") for place, column in enumerate(columns)]
    found = values()
    inner = with_feedback(
        select(
            *labelled,
            func.count().label("requests"),
            func.count(case((REQUESTS.c.status >= FAILED_FROM, 1))).label("failed"),
            *(func.coalesce(func.sum(found[name]), 0.0).label(f"{name}_y") for name in names),
            *(func.count(found[name]).label(f"{name}_n") for name in names),
        )
    )
    users = inner.where(condition).group_by(*labelled, REQUESTS.c.user).subquery()
    sums: list[ColumnElement[Any]] = []
    for name in names:
        y, n = users.c[f"{name}_y"], users.c[f"{name}_n"] * 1.0
        sums += [
            func.count(case((n > 0, 1))),
            func.sum(n),
            func.sum(y),
            func.sum(y * y),
            func.sum(y * n),
            func.sum(n * n),
        ]
    groups = [users.c[column.name] for column in labelled]
    totals = (func.sum(users.c.requests), func.sum(users.c.failed), func.count())
    return select(*groups, *totals, *sums).group_by(*groups)


def sums_of(row: Sequence[Any], names: Sequence[str]) -> dict[str, ClusterSums]:
    """The sums in the last columns of a row of `summed_over_users`."""
    numbers = row[-6 * len(names) :]
    return {
        name: ClusterSums(int(part[0]), *(float(value) for value in part[1:]))
        for place, name in enumerate(names)
        if (part := numbers[6 * place : 6 * place + 6])
    }


def _totals(columns: Sequence[ColumnElement[Any]], scope: Scope) -> Select[*tuple[Any, ...]]:
    return summed_over_users(columns, within(scope), (*RATES, *MEANS))


def _figures(
    key: tuple[Any, ...], row: Sequence[Any], latencies: Mapping[tuple[Any, ...], Mapping[tuple[str, str], float]]
) -> GroupFigures:
    requests, failed, users = (int(number or 0) for number in row[:3])
    sums = sums_of(row, (*RATES, *MEANS)) if requests else dict.fromkeys((*RATES, *MEANS), NO_SUMS)
    return GroupFigures(key, requests, failed, users, sums, latencies.get(key, {}))


def _read_latencies(
    connection: Connection, columns: Sequence[ColumnElement[Any]], scope: Scope
) -> dict[tuple[Any, ...], dict[tuple[str, str], float]]:
    """By the key of a group: column and quantile to seconds."""
    found: dict[tuple[Any, ...], dict[tuple[str, str], float]] = {}
    for column in LATENCIES:
        for row in connection.execute(
            quantile_rows(columns, REQUESTS.c[column], within(scope), list(QUANTILES.values()))
        ):
            *key, rank, number, value = row
            for name, (above, below) in QUANTILES.items():
                if rank == -(-number * above // below):
                    found.setdefault(tuple(key), {})[column, name] = float(value)
    return found


def quantile_rows(
    columns: Sequence[ColumnElement[Any]],
    value: ColumnElement[Any],
    condition: ColumnElement[bool],
    shares: Sequence[tuple[int, int]],
) -> Select[*tuple[Any, ...]]:
    """For each group and share (above, below) of 1: the group's columns, the rank ceil(n above / below), n, and the value of that
    rank among those of successful requests."""
    labelled = [column.label(f"group_{place}") for place, column in enumerate(columns)]
    inner = select(
        *labelled,
        func.row_number().over(partition_by=columns or None, order_by=value).label("rank"),
        func.count().over(partition_by=columns or None).label("number"),
        value.label("value"),
    ).where(condition, REQUESTS.c.status < FAILED_FROM, value.is_not(None))
    ranked = inner.subquery()
    places = [ranked.c.rank == (ranked.c.number * above + below - 1) // below for above, below in shares]
    groups = [ranked.c[column.name] for column in labelled]
    return select(*groups, ranked.c.rank, ranked.c.number, ranked.c.value).where(or_(*places))
