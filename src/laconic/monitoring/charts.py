"""Draws the figures of a page of traffic: by day and version, over-brevity by tag, and a live comparison. SVG text.

Every chart is as wide as a phone; the page sets as many side by side as it has room for. A version has one colour in all.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite

from laconic.monitoring.brevity import ANY_LENGTH, BrevityWatch
from laconic.monitoring.figures import GroupFigures
from laconic.monitoring.versions import LABELS_OF_CHANGES, RATIOS, VersionComparison
from laconic.reporting.figures import NARROW, OTHERS
from laconic.reporting.numbers import Show, percent
from laconic.reporting.svg import Drawing, Panel, legend
from laconic.statistics.intervals import Interval
from laconic.traffic.store import SECONDS_OF_A_DAY

HEIGHT = 230.0
CHART_BOX = (50.0, 34.0, NARROW - 10.0, HEIGHT - 30.0)
MOST_COLOURS = 5


def day_words(day: float) -> str:
    """A number of days since 1970 as a date; empty between two days.

    >>> day_words(20786), day_words(20786.5)
    ('Nov 29', '')
    """
    if day != int(day):
        return ""
    date = datetime.fromtimestamp(day * SECONDS_OF_A_DAY, UTC)
    return f"{date:%b} {date.day}"


def version_colours(versions: Sequence[str]) -> dict[str, str]:
    """Each version's colour: the latest is blue, the one before grey, and older ones have others as far as there are."""
    palette = ["after", "base", *OTHERS][:MOST_COLOURS]
    latest_first = list(reversed(versions))
    return {name: f"var(--{palette[min(place, len(palette) - 1)]})" for place, name in enumerate(latest_first)}


def draw_requests(days: Sequence[GroupFigures], colours: Mapping[str, str]) -> str:
    """Requests of each day, stacked by version; groups by day and version."""
    totals: dict[int, int] = {}
    for group in days:
        totals[group.key[0]] = totals.get(group.key[0], 0) + group.requests
    drawing, panel = _begin(
        "requests per day", (min(totals) - 0.5, max(totals) + 0.5), (0.0, 1.08 * max(totals.values()))
    )
    panel.axes(day_words, lambda value: f"{value:,.0f}")
    reached = dict.fromkeys(totals, 0)
    for group in days:
        day, version = group.key
        begin = reached[day]
        reached[day] += group.requests
        title = f"{day_words(day)}, {version}: {group.requests:,} requests"
        panel.bar(day - 0.4, day + 0.4, begin, reached[day], colours[version], title)
    return drawing.svg("requests per day by version")


def draw_by_version(
    title: str,
    days: Sequence[GroupFigures],
    value: Callable[[GroupFigures], Interval],
    show: Show,
    colours: Mapping[str, str],
) -> str:
    """A figure of each day with its 95% interval, one line per version."""
    found = [(group, value(group)) for group in days]
    known = [(group, interval) for group, interval in found if isfinite(interval.estimate)]
    if not known:
        return ""
    top = max(max(i.estimate, i.high if isfinite(i.high) else 0.0) for _, i in known)
    usual = sorted(i.estimate for _, i in known)[-1]
    numbers = [group.key[0] for group, _ in known]
    drawing, panel = _begin(title, (min(numbers) - 0.5, max(numbers) + 0.5), (0.0, min(1.08 * top, 2.2 * usual) or 1.0))
    panel.axes(day_words, show)
    shifts = _shifts_of([group.key for group, _ in known])
    for version, colour in colours.items():
        own = [(group.key[0] + shifts[group.key], interval) for group, interval in known if group.key[1] == version]
        panel.polyline([(day, i.estimate) for day, i in own], colour, stroke_width=2)
        for day, interval in own:
            if isfinite(interval.high):
                panel.whisker_y(day, (max(interval.low, 0.0), min(interval.high, panel.y.high)), colour, 1)
            title_of_dot = f"{day_words(round(day))}, {version}: {show(interval.estimate)}"
            panel.dot((day, interval.estimate), colour, 3, title_of_dot)
    return drawing.svg(f"{title} by version")


def _shifts_of(keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], float]:
    """How far from the middle of its day each (day, version) stands, in days, so that versions of one day hide nothing of one
    another: within a fifth of a day, and alone in the middle.

    >>> _shifts_of([(1, "a"), (1, "b"), (2, "b")])
    {(1, 'a'): -0.2, (1, 'b'): 0.2, (2, 'b'): 0.0}
    """
    by_day: dict[int, list[tuple[int, str]]] = {}
    for key in keys:
        by_day.setdefault(key[0], []).append(key)
    return {
        key: 0.4 * place / (len(own) - 1) - 0.2 if len(own) > 1 else 0.0
        for own in by_day.values()
        for place, key in enumerate(own)
    }


def draw_latency(days: Sequence[GroupFigures]) -> str:
    """The median and the 95% point of seconds to the whole response, by day."""
    lines = {name: [(group.key[0], group.latency("seconds", name)) for group in days] for name in ("median", "p95")}
    known = {name: [(day, value) for day, value in line if isfinite(value)] for name, line in lines.items()}
    if not known["p95"]:
        return ""
    numbers = [day for day, _ in known["p95"]]
    top = 1.1 * max(value for _, value in known["p95"])
    drawing, panel = _begin("seconds to the whole response", (min(numbers) - 0.5, max(numbers) + 0.5), (0.0, top))
    panel.axes(day_words, lambda value: f"{value:g} s")
    for name, colour in (("median", "var(--after)"), ("p95", "var(--truncated)")):
        panel.polyline(known[name], colour, stroke_width=2)
        for day, value in known[name]:
            panel.dot((day, value), colour, 3, f"{day_words(day)}, {name}: {value:.2f} s")
    keys = (("half are quicker", "var(--after)"), ("95% are quicker", "var(--truncated)"))
    drawing.height = legend(drawing, keys, panel.left, HEIGHT + 10)
    return drawing.svg("seconds to the whole response by day")


def draw_brevity(watch: BrevityWatch, tag: str) -> str:
    """Bad feedback of a tag by bin of thinking, before and after, with 95% intervals; empty without bins."""
    own = [found for found in watch.slices if found.tag == tag and found.place != ANY_LENGTH]
    if not own:
        return ""
    pairs = [(found, found.rates("bad")) for found in own]
    known = [i for _, both in pairs for i in both if isfinite(i.estimate)]
    tops = [min(i.high, 2.5 * i.estimate + 0.05) if isfinite(i.high) else i.estimate for i in known]
    top = max([*tops, 0.05])
    drawing, panel = _begin(f"{tag or 'no tag'}: bad feedback", (-0.5, len(watch.edges) + 0.5), (0.0, 1.1 * top))
    panel.axes(None, lambda value: percent(value, 0))
    for found, both in pairs:
        drawing.text(panel.x(found.place), panel.bottom + 18, _short_bin(found.place, watch.edges), "tick", "middle")
        for interval, colour, shift, name in zip(
            both, ("var(--base)", "var(--after)"), (-0.12, 0.12), (watch.before, watch.after), strict=True
        ):
            if isfinite(interval.estimate):
                at = found.place + shift
                if isfinite(interval.high):
                    panel.whisker_y(at, (interval.low, min(interval.high, panel.y.high)), colour)
                panel.dot((at, interval.estimate), colour, 4, f"{name}, {found.words}: {percent(interval.estimate)}")
    return drawing.svg(f"bad feedback on {tag or 'requests without a tag'} by thinking tokens, before and after")


def draw_live(found: VersionComparison) -> str:
    """The changes of a comparison with their always-valid intervals, one row each. The axis ends at the largest change, or where
    the intervals end, if that is further and at most +100%; an interval that goes on reaches the edge."""
    names = [name for name, change in found.changes.items() if isfinite(change.estimate)]
    row, top = 34.0, 30.0
    drawing = Drawing(NARROW, top + row * len(names) + 34)
    ends = [e for name in names for e in (found.changes[name].low, found.changes[name].high) if isfinite(e)]
    estimates = [found.changes[name].estimate for name in names]
    shown = [*ends, *estimates, 0.0]
    low, high = min(shown), max([*estimates, min(max(shown), 1.0)])
    span = (high - low) or 0.1
    box = (112.0, top, NARROW - 12.0, top + row * len(names))
    panel = Panel(drawing, box, (low - 0.06 * span, high + 0.06 * span), (len(names), 0.0))
    panel.axes(lambda value: f"{100 * value:+.0f}".replace("-", "−") if value else "0", None)
    panel.rule_x(0.0)
    for place, name in enumerate(names):
        change, y = found.changes[name], place + 0.5
        drawing.text(0, panel.y(y) + 4, LABELS_OF_CHANGES.get(name, name), "name")
        if isfinite(change.low):
            panel.whisker_x((change.low, min(change.high, panel.x.high)), y, "var(--after)", 2.5)
        unit = "%" if name in RATIOS else " points"
        panel.dot((change.estimate, y), "var(--after)", 5, f"{name}: {100 * change.estimate:+.1f}{unit}")
    drawing.text(panel.left, 14, "change in points or %", "panel")
    return drawing.svg(f"changes from {found.base} to {found.candidate}")


def draw_keys(entries: Sequence[tuple[str, str]]) -> str:
    """The names of colours."""
    drawing = Drawing(NARROW, 20)
    drawing.height = legend(drawing, entries, 0, 12)
    return drawing.svg("colours")


def _begin(title: str, x: tuple[float, float], y: tuple[float, float]) -> tuple[Drawing, Panel]:
    drawing = Drawing(NARROW, HEIGHT)
    panel = Panel(drawing, CHART_BOX, x, y)
    panel.title(title)
    return drawing, panel


def _short_bin(place: int, edges: Sequence[int]) -> str:
    if place == 0:
        return f"≤ {edges[0]:,}"
    return f"> {edges[-1]:,}" if place == len(edges) else f"{edges[place - 1] + 1:,}–{edges[place]:,}"
