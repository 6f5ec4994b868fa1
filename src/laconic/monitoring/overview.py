"""Everything that a page of traffic shows, read from the store: figures by group, what changed on each route, and alarms.

1. Figures of all requests of the last days, and by day, version, route and tag (`figures.py`).
2. On each route the latest version is set against another: the one that is served beside it, where there is one, on requests
   since the latest came; else the one before it, on all requests of these days. A gateway's file says which is the candidate.
3. The over-brevity watch of the two on the same requests (`brevity.py`), drift between the last days and those before
   (`drift.py`), and what was decided about candidates (`traffic/decisions.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType

from laconic.errors import InputError
from laconic.monitoring.brevity import BrevityWatch, watch_brevity
from laconic.monitoring.columns import RequestColumns, read_columns
from laconic.monitoring.drift import Drift, measure_drift
from laconic.monitoring.figures import GroupFigures, group_figures
from laconic.monitoring.requests import Scope
from laconic.monitoring.versions import VersionComparison, compare_versions, comparison_sentence, find_pair
from laconic.traffic.decisions import Decision, read_decisions
from laconic.traffic.store import SECONDS_OF_A_DAY, TrafficStore

MUCH_FAILED, MIN_REQUESTS = 0.02, 50


@dataclass(frozen=True, slots=True)
class RouteNews:
    """The latest version of a route against another; `is_live` where both are served at once."""

    route: str
    is_live: bool
    comparison: VersionComparison
    watch: BrevityWatch


@dataclass(frozen=True, slots=True)
class TrafficOverview:
    """What a page of traffic shows: `begin` and `end` in seconds since 1970, figures by group, and news."""

    begin: float
    end: float
    drift_days: float
    total: GroupFigures
    by: dict[tuple[str, ...], tuple[GroupFigures, ...]]
    news: tuple[RouteNews, ...]
    drift: Drift
    decisions: tuple[Decision, ...]

    @property
    def alarms(self) -> list[str]:
        """One sentence for each alarm, the worst first: failures, over-brevity, drift."""
        watched = [_on(news.route, news.watch.alarm) for news in self.news if news.watch.alarm]
        failures = [alarm for group in self.by["version",] if (alarm := _failures(group))]
        return [*failures, *watched, *self.drift.alarms]

    @property
    def changes(self) -> list[str]:
        """One sentence for each route that has two versions, and one for each decision."""
        return [_change_sentence(news) for news in self.news] + [_decision_sentence(d) for d in self.decisions]


def read_overview(
    store: TrafficStore,
    now: float,
    days: float,
    drift_days: float,
    route: str | None = None,
    pairs: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> TrafficOverview:
    """Read what a page shows of the last `days` days before `now`, of one route or of all; `pairs` has base and candidate of
    routes of which they are known. Raises `InputError` where no request came in that time."""
    scope = Scope(now - days * SECONDS_OF_A_DAY, now, route)
    drifting = now - 2.0 * drift_days * SECONDS_OF_A_DAY
    every = read_columns(store, replace(scope, begin=min(scope.begin, drifting)))
    columns = every.within(scope)
    (total,) = group_figures(columns, ())
    if not total.requests:
        where = f" on route {route}" if route is not None else ""
        raise InputError(f"--days {days:g}: no request came{where} in that time; more days may have some")
    groups = {by: tuple(group_figures(columns, by)) for by in GROUPINGS}
    routes = [group.key[0] for group in groups["route",]]
    scopes = [(Scope(scope.begin, now, name), pairs.get(name)) for name in routes]
    news = [found for seen, pair in scopes if (found := _read_news(store, columns, seen, pair)) is not None]
    return TrafficOverview(
        begin=max(scope.begin, min(day.key[0] for day in groups["day",]) * SECONDS_OF_A_DAY),
        end=now,
        drift_days=drift_days,
        total=total,
        by=groups,
        news=tuple(news),
        drift=measure_drift(every, now, drift_days),
        decisions=tuple(read_decisions(store, route)),
    )


GROUPINGS: tuple[tuple[str, ...], ...] = (("version",), ("route",), ("tag",), ("day",), ("day", "version"))


def _read_news(
    store: TrafficStore, columns: RequestColumns, scope: Scope, named: tuple[str, str] | None
) -> RouteNews | None:
    """The latest version of a route against the one beside or before it; None where there is one version only."""
    pair = find_pair(store, scope, named)
    if pair is None:
        return None
    seen = replace(scope, begin=max(pair.since, scope.begin)) if pair.is_live else scope
    return RouteNews(
        scope.route or "",
        pair.is_live,
        compare_versions(store, pair.base, pair.candidate, seen),
        watch_brevity(columns.within(seen), scope.route or "", pair.base, pair.candidate),
    )


def _failures(group: GroupFigures) -> str:
    """An alarm about the failed requests of a version, and those that users left; empty where there are few. What a client was
    refused is no failure."""
    asked = group.requests - group.refused
    counts = {"failed": group.failed, "were left by the user before the end (status 499)": group.left}
    many = [
        (words, number) for words, number in counts.items() if asked >= MIN_REQUESTS and number >= MUCH_FAILED * asked
    ]
    said = [f"{100 * number / asked:.1f}% {words}, {number:,} of {asked:,}" for words, number in many]
    return f"Of the requests to {group.key[0]}, {'; '.join(said)}." if said else ""


def _on(route: str, sentence: str) -> str:
    return f"Route {route}: {sentence}"


def _change_sentence(news: RouteNews) -> str:
    how = "live" if news.is_live else "one after the other, so other things may have changed too"
    return f"Route {news.route}, {how}: {comparison_sentence(news.comparison)}"


def _decision_sentence(decision: Decision) -> str:
    done = {"stop": "was stopped", "promote": "was promoted"}[decision.action]
    return f"Route {decision.route}: {decision.version} {done}, since {decision.rule}."


def versions_in_order(overview: TrafficOverview) -> list[str]:
    """The versions by the first day on which they were seen, the latest last."""
    return list(dict.fromkeys(chain.from_iterable(group.key[1:] for group in overview.by["day", "version"])))
