"""Draws the figures of a report that summarise, as SVG text for a given width.

1. `draw_changes`: the changes of tokens and accuracy against the base, each with its interval.
2. `draw_frontier`: accuracy against mean tokens; dominated models are hollow. `draw_budgets`: the same when thinking is cut at
   increasing budgets.

A colour of `COLOURS` has the same meaning here, in the page's tables and in its badges. `distributions.py` draws figures of
single responses, and `training.py` figures of training steps. This module reads no files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, isnan

from laconic.reporting.data import Change, Measurement, Report, Setting
from laconic.reporting.numbers import count, interval_of, percent, points, shown, signed
from laconic.reporting.svg import Drawing, Panel, legend
from laconic.statistics.claims import frontier as undominated
from laconic.statistics.intervals import Interval

COLOURS = {
    "correct": "#2f9e78",
    "wrong": "#d6506a",
    "no_answer": "#9277c9",
    "truncated": "#dd9a2e",
    "ungradable": "#a8a39a",
    "base": "#8b93a3",
    "after": "#3f7fdb",
    "other-1": "#c2652a",
    "other-2": "#1d9aa0",
    "other-3": "#b0539f",
    "other-4": "#7d8a1e",
    "other-5": "#6a6fd1",
    "other-6": "#a0693f",
}
OTHERS = tuple(name for name in COLOURS if name.startswith("other-"))
WIDE, NARROW = 900, 350
MAX_NAMES = 5


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """A model whose thinking is cut at `budget` tokens: its mean tokens, its accuracy, and the share of responses that were
    cut."""

    budget: int
    tokens: float
    accuracy: Interval
    cut_frac: float | None


def colour_of(report: Report) -> dict[str, str]:
    """Each model's colour. Bases are grey. With one run or none, the last model is blue; with several, each run has a colour."""
    by_run = len(report.trainings) > 1
    main = report.main
    keys = {e.model: (str(e.source) if by_run else e.model) for e in report.evaluations if not e.is_base}
    first = keys.get(main[1].model) if main else None
    order = sorted(dict.fromkeys(keys.values()), key=lambda key: key != first)
    palette = ["after", *OTHERS]
    chosen = {key: f"var(--{palette[i % len(palette)]})" for i, key in enumerate(order)}
    return {e.model: "var(--base)" if e.is_base else chosen[keys[e.model]] for e in report.evaluations}


def draw_changes(found: Sequence[Change], colours: Mapping[str, str], width: int) -> str:
    """One row per change, with tokens on the left (above, if narrow) and accuracy with its margin on the right."""
    is_wide = width > NARROW
    many = len({c.model for c in found}) > 1
    names = [f"{c.model}, {c.decoding}" if many else c.decoding for c in found]
    gutter = min(7.0 * max(len(name) for name in names) + 16, 330) if is_wide else 8
    row = 30 if is_wide else 46
    tall = 52 + row * len(found)
    drawing = Drawing(width, tall if is_wide else 2 * tall + 14)
    middle = gutter + (width - gutter) / 2
    boxes = (
        ((gutter, 30, middle - 24, tall - 22), (middle + 24, 30, width - 10, tall - 22))
        if is_wide
        else ((gutter, 30, width - 8, tall - 22), (gutter, tall + 44, width - 8, 2 * tall - 8))
    )
    _forest(drawing, boxes[0], found, names, colours, is_tokens=True)
    _forest(drawing, boxes[1], found, [] if is_wide else names, colours, is_tokens=False)
    return drawing.svg(
        "Change of mean tokens and of accuracy against the base, with 95% intervals; the table has the numbers"
    )


def _forest(
    drawing: Drawing,
    box: tuple[float, float, float, float],
    found: Sequence[Change],
    names: Sequence[str],
    colours: Mapping[str, str],
    *,
    is_tokens: bool,
) -> None:
    is_wide = box[0] > 20
    moved = [c.figures.tokens_change if is_tokens else c.figures.accuracy_change for c in found]
    ends = [end for change in moved for end in _ends(change)] + [0.0]
    margins = [] if is_tokens else [m for c in found if isfinite(m := c.figures.margin) and m]
    low, high = _padded(min(*ends, *(-m for m in margins), 0), max(ends), 0.12)
    panel = Panel(drawing, box, (low, high), (len(found), 0))
    panel.title("Mean tokens" if is_tokens else "Accuracy, points")
    show = percent if is_tokens else points
    panel.axes(lambda v: signed(v, lambda x: f"{100 * x:g}{'%' if is_tokens else ''}") if v else "0", None, num=1)
    drawing.line((panel.x(0), panel.top - 4), (panel.x(0), panel.bottom), "var(--axis)")
    for margin in margins[:1]:
        panel.rule_x(-margin)
    for index, (change, by) in enumerate(zip(found, moved, strict=True)):
        y = index + (0.5 if is_wide else 0.68)
        if index < len(names):
            where = (box[0] - 14, "end") if is_wide else (box[0], "start")
            drawing.text(where[0], panel.y(y) + (4 if is_wide else -12), names[index], "name", where[1])
        if isnan(by.estimate):
            continue
        colour = colours.get(change.model, "var(--after)")
        label = signed(by.estimate, show)
        if isfinite(by.low) and isfinite(by.high):
            panel.whisker_x((by.low, by.high), y, colour, 2)
            label += f", 95% interval {signed(by.low, show)} to {signed(by.high, show)}"
        panel.dot((by.estimate, y), colour, 5, f"{change.model}, {change.decoding}: {label}")


def frontier_settings(report: Report) -> list[Setting]:
    """The benchmarks and decodings under which two models or more have both means."""
    return [s for s in report.settings_of_evaluations if sum(_point(e) is not None for e in report.of_setting(s)) > 1]


def draw_frontier(report: Report, colours: Mapping[str, str], width: int) -> str:
    """A panel for each of `frontier_settings`, of which there must be one."""
    settings = frontier_settings(report)
    across = 2 if width > NARROW and len(settings) > 1 else 1
    high, each = 320.0, width / across
    drawing = Drawing(width, 0)
    start = legend(drawing, _frontier_legend(report, colours), 46, 12) if _needs_legend(report) else 0.0
    drawing.height = start + -(-len(settings) // across) * high
    for index, setting in enumerate(settings):
        left, top = (index % across) * each, start + (index // across) * high
        box = (left + 46, top + 34, left + each - 14, top + high - 50)
        _frontier_panel(drawing, box, report, setting, colours)
    return drawing.svg("Accuracy against mean tokens of every model; the table has the numbers")


def _frontier_panel(
    drawing: Drawing,
    box: tuple[float, float, float, float],
    report: Report,
    setting: Setting,
    colours: Mapping[str, str],
) -> None:
    found = [e for e in report.of_setting(setting) if _point(e) is not None]
    at = [point for e in found if (point := _point(e))]
    xs = [x for e in found for x in _spread(e.summary.figures.tokens)]
    ys = [y for e in found for y in _spread(e.summary.figures.accuracy)]
    panel = Panel(drawing, box, _padded(min(xs), max(xs), 0.1), _padded(min(ys), max(ys), 0.1, cap=1.0))
    many = len({e.benchmark for e in report.evaluations}) > 1
    panel.axes(lambda v: f"{v:,.0f}", lambda v: f"{100 * v:g}%", "mean tokens", num=4)
    panel.title(f"{setting[0]}, {setting[1]}" if many else _capital(setting[1]))
    best = undominated([y for _, y in at], [x for x, _ in at])
    steps = sorted(at[i] for i in best)
    panel.polyline(_stairs(steps), "var(--axis)", stroke_dasharray="2 3")
    for source in sorted({e.source for e in found}) if report.trainings else ():
        trail = [p for e, p in zip(found, at, strict=True) if e.source == source]
        panel.polyline(trail, "var(--axis)", stroke_width=1)
    for e, point in zip(found, at, strict=True):
        colour = colours[e.model]
        panel.whisker_x(_spread(e.summary.figures.tokens), point[1], colour)
        panel.whisker_y(point[0], _spread(e.summary.figures.accuracy), colour)
    for index, (e, point) in enumerate(zip(found, at, strict=True)):
        title = f"{e.model}: {percent(point[1])} at {count(point[0])} tokens"
        worse = "" if index in best else ", dominated: another is at least as accurate and no longer"
        panel.dot(point, colours[e.model], 6, title + worse, hollow=index not in best)
    by_phase = len(report.trainings) > 1
    _name_points(
        panel, [str(e.rank or "") if by_phase else "" if _needs_legend(report) else e.model for e in found], at
    )


def _needs_legend(report: Report) -> bool:
    """Whether there are too many points for names beside them."""
    return len(report.trainings) > 1 or len({e.model for e in report.evaluations}) > MAX_NAMES


def _frontier_legend(report: Report, colours: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names and colours for the legend: one per run, or one per model."""
    if len(report.trainings) < 2:
        return list(colours.items())
    names = {colours[e.model]: e.model.partition(": ")[0] for e in report.evaluations if not e.is_base}
    return [("base", "var(--base)"), *((name, colour) for colour, name in names.items())]


def _name_points(panel: Panel, names: Sequence[str], at: Sequence[tuple[float, float]]) -> None:
    """Write each name beside its point, at the first of four places where it covers no point and no other name."""
    centres = [(panel.x(x), panel.y(y)) for x, y in at]
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in centres]
    for name, (x, y) in zip(names, centres, strict=True):
        wide = 6.6 * len(name)
        places = [
            (x + 10, y - 8, "start", x + 10),
            (x - 10, y - 8, "end", x - 10 - wide),
            (x + 10, y + 18, "start", x + 10),
            (x - 10, y + 18, "end", x - 10 - wide),
        ]
        inside = [p for p in places if p[3] >= panel.left - 30 and p[3] + wide <= panel.right + 12] or places[:1]
        boxes = [(p, (p[3], p[1] - 11, p[3] + wide, p[1] + 3)) for p in inside]
        place, box = next((pair for pair in boxes if not any(_overlap(pair[1], other) for other in taken)), boxes[0])
        taken.append(box)
        panel.drawing.text(place[0], place[1], name, "name", place[2])


def draw_budgets(report: Report, colours: Mapping[str, str], width: int) -> str:
    """Accuracy against tokens when thinking is cut at increasing budgets; one line per model that has `budget_points`, intervals
    as bars."""
    found = [(e, at) for e in report.evaluations if (at := budget_points(e))]
    drawing = Drawing(width, 360)
    entries = [(_budget_name(e, report), colours[e.model]) for e, _ in found]
    top = legend(drawing, entries, 46, 14) + 16
    xs = [point.tokens for _, at in found for point in at]
    ys = [value for _, at in found for point in at for value in (point.accuracy.estimate, *_ends(point.accuracy))]
    panel = Panel(
        drawing,
        (46, top, width - 14, 310),
        _padded(0, max(xs), 0.04, floor=0),
        _padded(min(ys), max(ys), 0.08, cap=1.0),
    )
    panel.axes(lambda v: f"{v:,.0f}", lambda v: f"{100 * v:g}%", "tokens spent: thinking kept and answer")
    dashes = dict(zip(report.decodings, ("none", "6 4", "2 3"), strict=False))
    for e, at in found:
        line = [(point.tokens, point.accuracy.estimate) for point in at]
        panel.polyline(line, colours[e.model], stroke_width=2, stroke_dasharray=dashes.get(e.decoding, "none"))
        for point in at:
            _budget_dot(panel, point, e.model, colours[e.model])
    return drawing.svg("Accuracy against tokens spent when thinking is cut at increasing budgets")


def _budget_dot(panel: Panel, point: BudgetPoint, model: str, colour: str) -> None:
    accuracy = point.accuracy
    if isfinite(accuracy.low) and isfinite(accuracy.high):
        panel.whisker_y(point.tokens, (accuracy.low, accuracy.high), colour)
    label = f"{percent(accuracy.estimate)} at {count(point.tokens)} tokens, {shown(point.cut_frac, percent)} cut"
    panel.dot((point.tokens, accuracy.estimate), colour, 4, f"{model}, budget {point.budget}: {label}")


def _budget_name(evaluation: Measurement, report: Report) -> str:
    parts = [evaluation.model]
    parts += [evaluation.benchmark] if len({e.benchmark for e in report.evaluations}) > 1 else []
    parts += [evaluation.decoding] if len(report.decodings) > 1 else []
    return ", ".join(parts)


def budget_points(evaluation: Measurement) -> list[BudgetPoint]:
    """The points of an evaluation's budget curve that have both means."""
    found = [
        BudgetPoint(
            row["budget"], interval_of(row, "tokens").estimate, interval_of(row, "accuracy"), row.get("cut_frac")
        )
        for row in evaluation.budgets.get("points") or []
    ]
    return [point for point in found if isfinite(point.tokens) and isfinite(point.accuracy.estimate)]


def _point(evaluation: Measurement) -> tuple[float, float] | None:
    """Mean tokens and accuracy, or None unless both were measured."""
    tokens, accuracy = evaluation.summary.figures.tokens, evaluation.summary.figures.accuracy
    if tokens is None or accuracy is None or not (isfinite(tokens.estimate) and isfinite(accuracy.estimate)):
        return None
    return tokens.estimate, accuracy.estimate


def _spread(found: Interval | None) -> tuple[float, float]:
    """The interval's ends, or the mean twice if it has none."""
    assert found is not None, "only what was measured is drawn"
    ends = _ends(found)
    return (ends[0], ends[1]) if len(ends) == 2 else (found.estimate, found.estimate)


def _ends(found: Interval) -> list[float]:
    return [end for end in (found.low, found.high) if isfinite(end)]


def _padded(
    low: float, high: float, share: float, cap: float | None = None, floor: float | None = None
) -> tuple[float, float]:
    room = share * ((high - low) or abs(high) or 1.0)
    top = high + room if cap is None or high > cap else min(high + room, cap + 0.02)
    return (low - room if floor is None else floor), top


def _stairs(steps: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a staircase that goes right, then up; a point below and to the right of it is dominated."""
    corners = [(after[0], before[1]) for before, after in pairwise(steps)]
    return [point for pair in zip(steps, [*corners, steps[-1]], strict=True) for point in pair] if steps else []


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
