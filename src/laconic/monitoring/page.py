"""Puts the page of traffic together: one HTML file that loads nothing, runs no script, and shows no text of a user.

1. `overview.py` reads the store; `charts.py` draws.
2. This module turns figures into table cells and sentences, and fills the template, which escapes every word: names of routes,
   versions and tags are the operator's, and are shown as they are.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

from laconic import __version__
from laconic.config.defaults import FIGURE_DAYS, TEXT_DAYS
from laconic.monitoring.brevity import ALARM_LEVEL, MIN_SLICE_USERS, WATCHED, BrevitySlice, BrevityWatch
from laconic.monitoring.charts import (
    day_words,
    draw_brevity,
    draw_by_version,
    draw_latency,
    draw_live,
    draw_requests,
    version_colours,
)
from laconic.monitoring.drift import Drift
from laconic.monitoring.figures import GroupFigures
from laconic.monitoring.overview import RouteNews, TrafficOverview, versions_in_order
from laconic.monitoring.requests import LATENCIES
from laconic.monitoring.versions import change_words
from laconic.reporting.figures import COLOURS
from laconic.reporting.numbers import UNKNOWN, Show, count, ends_shown, percent, shown
from laconic.reporting.page_templates import load_templates, template_text
from laconic.statistics.intervals import Interval
from laconic.system.files import write_text_atomically
from laconic.traffic.decisions import Decision
from laconic.traffic.tables import PURPOSES

Cell = dict[str, str]
CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
MOST_TAG_CHARTS = 6
TITLES = (("version", "by version"), ("route", "by route"), ("tag", "by tag"), ("day", "by day"))
KPI_COLUMNS = (
    "requests",
    "users",
    "tokens",
    "thinking",
    "cost of 1,000",
    "seconds",
    "first token",
    "truncated",
    "bad",
    "corrected",
    "too short",
)


def write_traffic_page(overview: TrafficOverview, out: Path) -> Path:
    """Write the page, and return its path. Raises `MissingExtraError` where jinja2 is not installed."""
    write_text_atomically(out, traffic_page(overview))
    return out


def traffic_page(overview: TrafficOverview) -> str:
    """The page's text."""
    templates = load_templates("laconic.monitoring")
    from markupsafe import Markup

    colours = version_colours(versions_in_order(overview))
    return templates.get_template("traffic.html.j2").render(
        headline=traffic_headline(overview),
        lede=traffic_lede(overview.total),
        period=f"{_date(overview.begin)} to {_date(overview.end)}",
        alarms=overview.alarms,
        changes=overview.changes,
        day_charts=[Markup(chart) for chart in _day_charts(overview, colours) if chart],
        keys=list(colours.items()),
        tables=[_table(name, title, overview.by[name,]) for name, title in TITLES],
        live=[_live(news, overview.decisions) for news in overview.news if news.is_live],
        watches=[_watch(news.watch) for news in overview.news],
        drift=drift_lines(overview.drift, overview.drift_days),
        purposes=PURPOSES,
        min_users=MIN_SLICE_USERS,
        text_days=TEXT_DAYS,
        figure_days=FIGURE_DAYS,
        colours=COLOURS,
        style=Markup(
            template_text("laconic.reporting", "page.css")
        ),  # files of this package, like the charts: they escape
        more_style=Markup(template_text("laconic.monitoring", "traffic.css")),
        policy=CSP,
        version=__version__,
    )


# --- sentences -------------------------------------------------------------------------------------------------------


def traffic_headline(overview: TrafficOverview) -> str:
    """How many alarms there are, and over how many requests."""
    number = len(overview.alarms)
    alarms = "No alarm" if not number else "One alarm" if number == 1 else f"{number} alarms"
    return f"{alarms} in {overview.total.requests:,} requests"


def traffic_lede(total: GroupFigures) -> str:
    """The figures of all requests in one sentence."""
    cost = total.mean("cost").estimate
    costs = "" if isnan(cost) else f", {1000 * cost:.2f} in costs for 1,000 requests"
    median = shown(total.latency("seconds", "median"), _seconds)
    return (
        f"{total.users:,} users got {shown(total.mean('tokens').estimate, count)} tokens per request{costs}, half of them within "
        f"{median} s; {shown(total.rate('bad').estimate, percent)} of the responses were called bad."
    )


def drift_lines(drift: Drift, days: float) -> list[str]:
    """What the two windows have in common, or not."""
    users = [values.users for values in drift.lengths]
    window = f"The last {days:g} days ({users[1]:,} users) against the {days:g} days before ({users[0]:,} users)"
    if isnan(drift.distance):
        return [f"{window}: too few users to tell."]
    medians = [values.median() for values in drift.lengths]
    lines = [
        f"{window}. Prompts: median {medians[0]:,.0f} tokens before, {medians[1]:,.0f} now; Kolmogorov-Smirnov distance "
        f"{drift.distance:.2f} (Holm-corrected p = {drift.lengths_p_value:.2g}), counted over users."
    ]
    if not isnan(drift.shift):
        shares = [100 * values.share(drift.moved_tag) for values in drift.tags]
        lines.append(
            f"Tags: {drift.moved_tag or 'no tag'} moved most, from {shares[0]:.1f}% to {shares[1]:.1f}% "
            f"(chi-squared test, Holm-corrected p = {drift.tags_p_value:.2g})."
        )
    return lines


# --- tables ----------------------------------------------------------------------------------------------------------


def _table(name: str, title: str, groups: Sequence[GroupFigures]) -> dict[str, Any]:
    ordered = list(reversed(groups)) if name == "day" else groups
    return {
        "name": name,
        "title": title,
        "columns": KPI_COLUMNS,
        "rows": [{"name": _group_name(name, group), "cells": _cells(group)} for group in ordered],
    }


def _group_name(by: str, group: GroupFigures) -> str:
    (key,) = group.key
    return day_words(key) if by == "day" else key or f"no {by}"


def _cells(group: GroupFigures) -> list[Cell]:
    return [
        _cell(f"{group.requests:,}", _without_response(group)),
        _cell(f"{group.users:,}"),
        _figure(group.mean("tokens"), count),
        _figure(group.mean("thinking"), count),
        _figure(group.mean("cost"), lambda value: f"{1000 * value:.2f}"),
        *(_latency(group, column) for column in LATENCIES),
        *(_figure(group.rate(name), percent) for name in ("truncated", "bad", "corrected", "too_short")),
    ]


def _without_response(group: GroupFigures) -> str:
    counts = {"failed": group.failed, "left": group.left, "refused": group.refused}
    return ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)


def _cell(value: str, spread: str = "") -> Cell:
    return {"value": value, "spread": spread}


def _figure(found: Interval, show: Show) -> Cell:
    return _cell(shown(found.estimate, show), ends_shown(found, show))


def _latency(group: GroupFigures, column: str) -> Cell:
    late = group.latency(column, "p95")
    return _cell(shown(group.latency(column, "median"), _seconds), "" if isnan(late) else f"95%: {_seconds(late)}")


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


# --- parts -----------------------------------------------------------------------------------------------------------


def _day_charts(overview: TrafficOverview, colours: dict[str, str]) -> list[str]:
    days = overview.by["day", "version"]
    return [
        draw_requests(days, colours),
        draw_by_version("tokens per request", days, lambda group: group.mean("tokens"), count, colours),
        draw_by_version("bad feedback", days, lambda group: group.rate("bad"), _whole_percent, colours),
        draw_latency(overview.by["day",]),
    ]


def _whole_percent(value: float) -> str:
    return percent(value, 0 if value >= 0.01 or value == 0.0 else 1)


def _live(news: RouteNews, decisions: Sequence[Decision]) -> dict[str, Any]:
    from markupsafe import Markup

    found = news.comparison
    decided = [d for d in decisions if d.route == news.route and d.version == found.candidate]
    sides = [f"{users:,} users, {n:,} requests" for users, n in zip(found.users, found.requests, strict=True)]
    changes = [change_words(change, name) for name, change in found.changes.items()]
    return {
        "title": f"{news.route}: {found.candidate} beside {found.base}",
        "chart": Markup(draw_live(found)),
        "lines": [
            f"{found.candidate}: {sides[1]}. {found.base}: {sides[0]}.",
            *(f"{words[:1].upper()}{words[1:]}." for words in changes),
            *(f"Decided {_date(d.at)}: {d.action}, since {d.rule}." for d in decided or ()),
            *([] if decided else ["Nothing is decided about this candidate."]),
        ],
    }


def _watch(watch: BrevityWatch) -> dict[str, Any]:
    from markupsafe import Markup

    tags = list(dict.fromkeys(found.tag for found in watch.slices))[:MOST_TAG_CHARTS]
    return {
        "title": f"{watch.route}: {watch.after} against {watch.before}",
        "before": watch.before,
        "after": watch.after,
        "charts": [Markup(chart) for tag in tags if (chart := draw_brevity(watch, tag))],
        "columns": ("users before", "now", "bad before", "now", "corrected before", "now", "rated before", "now", "p"),
        "rows": [
            {
                "name": f"{found.tag or 'no tag'}, {found.words.removeprefix('thinking ')}",
                "is_worse": any(found.p_values[name] < ALARM_LEVEL for name in WATCHED),
                "cells": _watch_cells(found),
            }
            for found in watch.slices
        ],
    }


def _watch_cells(found: BrevitySlice) -> list[str]:
    rates = [shown(rate.estimate, percent) for name in ("bad", "corrected", "rated") for rate in found.rates(name)]
    tested = [p for p in found.p_values.values() if not isnan(p)]
    return [
        f"{found.before['bad'].users:,}",
        f"{found.after['bad'].users:,}",
        *rates,
        f"{min(tested):.2g}" if tested else UNKNOWN,
    ]


def _date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
