"""The picture of a sweep: accuracy against mean tokens, with one panel per reported source and temperature.

1. Each row is a solid dot at its mean over seeds, with bars of one standard error; its seeds are faint dots around it. A
   dominated row is hollow. A stage of a run is small and joined to the run's result. The dotted stairs are the frontier of the
   means. What could not be graded at all has no accuracy and no dot.
2. `place_names` puts a name beside each dot so that it covers no dot and no other name. If there is no room, the row's number in
   the table is shown instead. Narrow drawings have numbers only.
3. `standalone` is the same drawing with its colours written out, for pages without our style sheet.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from laconic.reporting.figures import COLOURS, NARROW
from laconic.reporting.numbers import count, percent
from laconic.reporting.svg import Drawing, Panel, legend
from laconic.sweep.rows import Field, SeedMean, SweepRow

Box = tuple[float, float, float, float]
Spot = tuple[float, float]

ROW_KINDS: Mapping[str, tuple[str, str]] = {
    "base": ("base, untrained", "var(--base)"),
    "trained": ("trained", "var(--after)"),
    "prompt": ("prompt, untrained", "var(--other-1)"),
    "stage": ("stage of a run", "var(--other-2)"),
}
"""The name of each kind of row in the legend, and its colour."""

LIGHT: Mapping[str, str] = COLOURS | {
    "paper": "#ffffff",
    "ink": "#1d2127",
    "quiet": "#5d6470",
    "line": "#e6e7e5",
    "axis": "#a9aeb6",
}
"""The light colours of the style sheet, for `standalone`."""

_STYLE = (
    "text{font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#5d6470}"
    ".panel{fill:#1d2127;font-weight:600;font-size:13px}"
    ".name{fill:#1d2127;paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}"
)
_CHAR, _LINE, _GAP = 6.7, 13.0, 9.0  # pixels: a letter's mean width, a line's height, from a dot to its name
_REACH = (0.0, 12.0, 26.0, 42.0, 60.0)  # how far names are moved out, and joined to their dots by a line


def draw_fields(fields: Sequence[Field], titles: Sequence[str], width: int) -> str:
    """A panel for each field, one below the other."""
    tall = 470.0 if width > NARROW else 330.0
    drawing = Drawing(width, 0)
    kinds = [kind for kind in ROW_KINDS if any(row.kind == kind for field in fields for row in field.rows)]
    top = legend(drawing, [ROW_KINDS[kind] for kind in kinds], 46 if width > NARROW else 4, 12)
    drawing.height = top + tall * len(fields)
    for index, (field, title) in enumerate(zip(fields, titles, strict=True)):
        start = top + tall * index
        _panel(drawing, (46, start + 34, width - 12, start + tall - 52), field, title, has_names=width > NARROW)
    return drawing.svg("Accuracy against mean tokens of every row of the table")


def standalone(svg: str) -> str:
    """A drawing of `draw_fields` as a file of its own: light colours written out, on white."""
    inked = re.sub(r"var\(--([a-z0-9_-]+)\)", lambda found: LIGHT[found[1]], svg)
    opening, body = inked.split(">", maxsplit=1)
    width, height = re.findall(r'viewBox="0 0 (\S+) (\S+)"', opening)[0]
    opening = opening.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"', 1)
    paper = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return f"{opening}><style>{_STYLE}</style>{paper}{body}\n"


def _panel(drawing: Drawing, box: Box, field: Field, title: str, *, has_names: bool) -> None:
    rows = [row for row in field.rows if row.is_graded]
    if not rows:
        drawing.text(box[0], box[1] - 12, f"{title}: no response could be graded", "panel")
        return
    spans = [(row.over_seeds("tokens"), row.over_seeds("accuracy")) for row in rows]
    at = [(tokens.mean, accuracy.mean) for tokens, accuracy in spans]
    x, y = _range(_all(rows, "tokens")), _range(_all(rows, "accuracy"), top=1.0)
    panel = Panel(drawing, box, x, y)
    panel.axes(lambda v: f"{v:,.10g}", lambda v: f"{100 * v:g}%", "mean tokens of a response")
    panel.title(f"{title}: accuracy")
    best = sorted(point for row, point in zip(rows, at, strict=True) if row.is_result and not row.dominated_by)
    panel.polyline(_stairs(best), "var(--axis)", stroke_dasharray="2 3")
    _join_stages(panel, rows, at)
    for row, (tokens, accuracy) in zip(rows, spans, strict=True):
        _mark(panel, row, tokens, accuracy)
    _name(panel, rows, at, has_names=has_names)


def _all(rows: Sequence[SweepRow], key: str) -> list[float]:
    """All values that are drawn along an axis: those of the seeds, and the means with their standard errors."""
    seeds = [point.value(key) for row in rows for point in row.points if isfinite(point.accuracy)]
    means = [row.over_seeds(key) for row in rows]
    return seeds + [m.mean + sign * m.se for m in means for sign in (-1, 1) if m.num_seeds > 1]


def _range(values: Sequence[float], top: float | None = None) -> Spot:
    low, high = min(values), max(values)
    room = 0.08 * ((high - low) or abs(high) or 1.0)
    return low - room, high + room if top is None else min(high + room, top + 0.02)


def _mark(panel: Panel, row: SweepRow, tokens: SeedMean, accuracy: SeedMean) -> None:
    """One row: faint seeds, bars of one standard error, the mean."""
    colour, at, is_stage = ROW_KINDS[row.kind][1], (tokens.mean, accuracy.mean), row.kind == "stage"
    graded = [point for point in row.points if isfinite(point.accuracy)]
    for point in graded if not is_stage and len(row.points) > 1 else ():
        label = f"{row.label}, seed {point.seed}: {percent(point.accuracy)} at {count(point.tokens)} tokens"
        panel.dot((point.tokens, point.accuracy), colour, 3, label, opacity=0.32)
    if tokens.num_seeds > 1 and not is_stage:
        panel.whisker_x((tokens.mean - tokens.se, tokens.mean + tokens.se), at[1], colour)
    if accuracy.num_seeds > 1 and not is_stage:
        panel.whisker_y(at[0], (accuracy.mean - accuracy.se, accuracy.mean + accuracy.se), colour)
    worse = f"; dominated by {'; '.join(row.dominated_by)}" if row.dominated_by else ""
    label = f"{row.label}, mean of {tokens.num_seeds} seeds: {percent(at[1])} at {count(at[0])} tokens{worse}"
    panel.dot(at, colour, 3.5 if is_stage else 6, label, hollow=is_stage or bool(row.dominated_by))


def _join_stages(panel: Panel, rows: Sequence[SweepRow], at: Sequence[Spot]) -> None:
    """A thin line from a run's earlier phases to its result."""
    for result, end in zip(rows, at, strict=True):
        mine = [(r, p) for r, p in zip(rows, at, strict=True) if r.kind == "stage" and r.parent == result.label]
        in_order = sorted(mine, key=lambda stage: int(stage[0].points[0].stage.removeprefix("phase-")))
        if in_order:
            panel.polyline([*(point for _, point in in_order), end], "var(--axis)", stroke_width=1)


def _stairs(steps: Sequence[Spot]) -> list[Spot]:
    """The corners of a staircase that goes right, then up; a point below and to the right of it is dominated."""
    corners = [(after[0], before[1]) for before, after in pairwise(steps)]
    return [point for pair in zip(steps, [*corners, steps[-1]], strict=True) for point in pair] if steps else []


# --- names -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Named:
    """A name and the rectangle it takes (left, top, right, bottom); `dot` is the centre of the dot it belongs to."""

    text: str
    box: Box
    dot: Spot

    @property
    def is_far(self) -> bool:
        """Whether a line must join it to its dot."""
        left, top, right, bottom = self.box
        across = max(left - self.dot[0], self.dot[0] - right, 0.0)
        down = max(top - self.dot[1], self.dot[1] - bottom, 0.0)
        return across > _GAP + 2 or down > _GAP + 2


def _name(panel: Panel, rows: Sequence[SweepRow], at: Sequence[Spot], *, has_names: bool) -> None:
    """Draw names, or numbers if names are not requested or have no room. A stage is named by the run's name at its result."""
    wanted = [(i, point) for i, point in enumerate(at) if rows[i].kind != "stage"]
    dots = [(panel.x(x), panel.y(y)) for x, y in at]
    options = [([rows[i].label] if has_names else []) + [str(i + 1)] for i, _ in wanted]
    bounds = (panel.left, panel.top - 4, panel.right + 10, panel.bottom - 2)
    bars = [bar for row in rows if row.kind != "stage" for bar in _bars(panel, row)]
    for named in place_names(options, [dots[i] for i, _ in wanted], dots, bounds, bars):
        left, top, right, bottom = named.box
        if named.is_far:
            near = (min(max(named.dot[0], left), right), min(max(named.dot[1], top), bottom))
            panel.drawing.line(named.dot, near, "var(--axis)", stroke_width=1)
        panel.drawing.text(left, bottom - 3, named.text, "name")


def _bars(panel: Panel, row: SweepRow) -> list[Box]:
    """The rectangles of a row's two bars, a pixel wide on either side."""
    tokens, accuracy = row.over_seeds("tokens"), row.over_seeds("accuracy")
    if accuracy.num_seeds < 2:
        return []
    x, y = panel.x(tokens.mean), panel.y(accuracy.mean)
    across = (panel.x(tokens.mean - tokens.se), y - 1, panel.x(tokens.mean + tokens.se), y + 1)
    return [across, (x - 1, panel.y(accuracy.mean + accuracy.se), x + 1, panel.y(accuracy.mean - accuracy.se))]


def place_names(
    options: Sequence[Sequence[str]],
    centres: Sequence[Spot],
    dots: Sequence[Spot],
    bounds: Box,
    bars: Sequence[Box] = (),
) -> list[Named]:
    """A place inside `bounds` for the first text of each entry's `options` that fits, beside its dot in `centres`.

    No name covers another, nor any of `dots`; it covers one of `bars` only if it would otherwise have no place. Entries that fit
    nowhere stay without a name. All in pixels.
    """
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots]
    found: list[Named] = []
    for texts, centre in zip(options, centres, strict=True):
        tries = [Named(text, box, centre) for text in texts for box in _boxes(_CHAR * len(text) + 2, centre)]
        free = [n for n in tries if _inside(n.box, bounds) and not any(_overlap(n.box, t) for t in taken)]
        free = [n for n in free if n.text == free[0].text]
        clear = (n for n in free if not any(_overlap(n.box, bar) for bar in bars))
        named = next(clear, free[0] if free else None)
        if named:
            taken.append(named.box)
            found.append(named)
    return found


def _boxes(wide: float, centre: Spot) -> Iterator[Box]:
    """Rectangles around a dot, the nearest first: right, left, above, below, and the corners between."""
    x, y = centre
    for reach in _REACH:
        right, left, out = x + _GAP + reach, x - _GAP - reach - wide, _GAP + reach
        beside = [(right, y - _LINE / 2), (left, y - _LINE / 2)]
        corners = [(right, y - out - _LINE / 2), (left, y - out - _LINE / 2), (right, y + out), (left, y + out)]
        middle = [(x - wide / 2, y - out - _LINE), (x - wide / 2, y + out)]
        for place in (*beside, *corners, *middle):
            yield place[0], place[1], place[0] + wide, place[1] + _LINE


def _inside(box: Box, bounds: Box) -> bool:
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
