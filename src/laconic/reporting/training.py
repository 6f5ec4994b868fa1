"""Draws training curves by grade from metrics, as SVG text.

1. With one run there are panels for accuracy, tokens, tokens by grade, and the share of each grade. Phases are bands, including
   one that has not ended; a diamond marks the step that a phase handed on.
2. With several runs, the panels show the same quantities in one colour per run, and each grade has panels of its own.

If a run has more steps than `MAX_STEPS`, neighbouring steps are averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from laconic.reporting.data import Record, TrainingRun
from laconic.reporting.figures import NARROW, OTHERS
from laconic.reporting.numbers import finite_number
from laconic.reporting.svg import Drawing, Panel, legend
from laconic.types import GRADES

MAX_STEPS = 300
PANEL_HEIGHT = 232.0


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity of one run: steps and values; `is_watched` ones were measured now and then, on other problems."""

    steps: tuple[float, ...]
    values: tuple[float, ...]
    colour: str
    is_watched: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A panel: its title, its lines, whether it shows shares, and whether the lines are stacked into bands."""

    title: str
    lines: tuple[Line, ...]
    is_share: bool
    is_stacked: bool = False


def draw_training(trainings: Sequence[TrainingRun], width: int) -> str:
    """The panels, two beside each other if there is room."""
    runs = [t for t in trainings if t.metrics]
    charts = [c for c in (_of_one(runs[0]) if len(runs) == 1 else _of_several(runs)) if any(x.steps for x in c.lines)]
    across = 2 if width > NARROW else 1
    drawing = Drawing(width, 0)
    top = legend(drawing, _legend(runs), 46, 12) + 24
    each = width / across
    last = max(row["step"] for run in runs for row in run.metrics)
    for index, chart in enumerate(charts):
        left, above = (index % across) * each, top + (index // across) * PANEL_HEIGHT
        box = (left + 46, above, left + each - 14, above + PANEL_HEIGHT - 72)
        _draw(drawing, box, chart, phases_of(runs[0]) if len(runs) == 1 else (), last)
    drawing.height = top + -(-len(charts) // across) * PANEL_HEIGHT
    return drawing.svg("Training curves: " + ", ".join(chart.title.lower() for chart in charts) + ", by step")


def phases_of(run: TrainingRun) -> list[Record]:
    """Finished phases, and from the steps beyond them those that phases.json does not have yet.

    >>> done = {"name": "accuracy", "first_step": 1, "last_step": 2}
    >>> phases_of(TrainingRun("run", ({"step": 2, "phase": "accuracy"}, {"step": 3, "phase": "brevity"}), (done,)))[1]
    {'name': 'brevity', 'first_step': 3, 'last_step': 3}
    """
    last = max((phase["last_step"] for phase in run.phases), default=0)
    beyond = [row for row in run.metrics if row["step"] > last and row.get("phase")]
    open_phases: list[Record] = []
    for name, rows in groupby(beyond, key=itemgetter("phase")):
        steps = [row["step"] for row in rows]
        open_phases.append({"name": name, "first_step": steps[0], "last_step": steps[-1]})
    return [*run.phases, *open_phases]


def alarms_of(runs: Sequence[TrainingRun]) -> list[tuple[str, str]]:
    """The alarms that the runs raised, in order: where (the run if there are several, phase and step) and what was said.

    >>> row = {"step": 7, "phase": "brevity", "alarms/raised": ["kl: far away"]}
    >>> alarms_of([TrainingRun("run", ({"step": 6, "phase": "brevity"}, row))])
    [('brevity, step 7', 'kl: far away')]
    """
    found = []
    for run in runs:
        before = f"{run.name}, " if len(runs) > 1 else ""
        for row in run.metrics:
            raised = row.get("alarms/raised")
            lines = raised if isinstance(raised, list) else []
            found += [(f"{before}{row.get('phase')}, step {row['step']}", str(line)) for line in lines]
    return found


def _legend(runs: Sequence[TrainingRun]) -> list[tuple[str, str]]:
    if len(runs) == 1:
        return [("all responses", "var(--after)"), *((g.replace("_", " "), f"var(--{g})") for g in GRADES[:4])]
    return [(run.name, _run_colour(i)) for i, run in enumerate(runs)]


def _run_colour(index: int) -> str:
    palette = ("after", *OTHERS)
    return f"var(--{palette[index % len(palette)]})"


def _of_one(run: TrainingRun) -> list[Chart]:
    rows, blue = thinned(run.metrics), "var(--after)"
    both = [
        Chart(title, (_line(rows, f"rollouts/{key}", blue), _line(run.metrics, f"watch/{key}", blue, True)), is_share)
        for title, key, is_share in (("Accuracy", "accuracy_frac", True), ("Mean tokens", "mean_tokens", False))
    ]
    tokens = tuple(
        _line(rows, f"rollouts/{grade}_tokens", f"var(--{grade})") for grade in GRADES[:3]
    )  # truncated: the cap
    shares = tuple(_line(rows, f"rollouts/{grade}_frac", f"var(--{grade})") for grade in GRADES)
    return [
        *both,
        Chart("Mean tokens by grade", tokens, False),
        Chart("Share of each grade", shares, True, is_stacked=True),
    ]


def _of_several(runs: Sequence[TrainingRun]) -> list[Chart]:
    kinds = [
        ("Accuracy", "accuracy_frac", True),
        ("Mean tokens", "mean_tokens", False),
        ("Mean tokens when correct", "correct_tokens", False),
        ("Mean tokens when wrong", "wrong_tokens", False),
        ("Share wrong", "wrong_frac", True),
        ("Share truncated", "truncated_frac", True),
        ("Share without an answer", "no_answer_frac", True),
    ]
    charts = []
    for title, key, is_share in kinds:
        lines = [_line(thinned(run.metrics), f"rollouts/{key}", _run_colour(i)) for i, run in enumerate(runs)]
        lines += [_line(run.metrics, f"watch/{key}", _run_colour(i), True) for i, run in enumerate(runs)]
        if any(value for line in lines for value in line.values):
            charts.append(Chart(title, tuple(lines), is_share))
    return charts


def thinned(metrics: Sequence[Record], most: int = MAX_STEPS) -> list[Record]:
    """Neighbouring steps averaged into at most `most` rows; what is null somewhere is averaged over the rest.

    >>> thinned([{"step": 1, "a": 2.0}, {"step": 2, "a": None}, {"step": 3, "a": 4.0}, {"step": 4, "a": 6.0}], most=2)
    [{'step': 1.5, 'a': 2.0}, {'step': 3.5, 'a': 5.0}]
    """
    size = -(-len(metrics) // most)
    if size <= 1:
        return list(metrics)
    return [_average(metrics[start : start + size]) for start in range(0, len(metrics), size)]


def _average(rows: Sequence[Record]) -> Record:
    found: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            if (number := finite_number(value)) is not None:
                found.setdefault(key, []).append(number)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _line(rows: Sequence[Record], key: str, colour: str, is_watched: bool = False) -> Line:
    known = [(row["step"], value) for row in rows if (value := finite_number(row.get(key))) is not None]
    return Line(tuple(s for s, _ in known), tuple(v for _, v in known), colour, is_watched)


def _draw(
    drawing: Drawing, box: tuple[float, float, float, float], chart: Chart, phases: Sequence[Record], last: float
) -> None:
    top = max((value for line in chart.lines for value in line.values), default=1.0)
    high = 1.0 if chart.is_stacked or (chart.is_share and top > 0.5) else top * 1.1 or 1.0
    panel = Panel(drawing, box, (0.5, last + 0.5), (0, high))
    for index, phase in enumerate(phases):
        _band(panel, index, phase, is_named=len(chart.lines) == 2)
    label = (lambda v: f"{100 * v:g}%") if chart.is_share else (lambda v: f"{v:,.0f}")
    panel.axes(lambda v: f"{v:,.0f}", label, "step", num=4)
    panel.title(chart.title)
    if chart.is_stacked:
        _bands(panel, chart.lines)
    for line in () if chart.is_stacked else chart.lines:
        _curve(panel, line, [p.get("result_step") for p in phases], chart.is_share)


def _curve(panel: Panel, line: Line, results: Sequence[int | None], is_share: bool) -> None:
    at = list(zip(line.steps, line.values, strict=True))
    if not line.is_watched:
        panel.polyline(at, line.colour, stroke_width=1.5)
        return
    panel.polyline(at, line.colour, stroke_width=1.5, stroke_dasharray="2 4")
    for step, value in at:
        level = f"{value:.1%}" if is_share else f"{value:.0f} tokens"
        title = f"watched, step {step:g}: {level}"
        panel.dot((step, value), line.colour, 3.5, title, hollow=True)
        if step in results:
            x, y = panel.x(step), panel.y(value)
            diamond = f"{x - 8:.1f},{y:.1f} {x:.1f},{y - 8:.1f} {x + 8:.1f},{y:.1f} {x:.1f},{y + 8:.1f}"
            panel.drawing.add("polygon", f"{title}, handed on", points=diamond, fill=line.colour)


def _band(panel: Panel, index: int, phase: Record, *, is_named: bool) -> None:
    first, last = panel.x(phase["first_step"] - 0.5), panel.x(phase["last_step"] + 0.5)
    if index % 2:
        panel.drawing.add(
            "rect", x=first, y=panel.top, width=last - first, height=panel.bottom - panel.top, fill="var(--raised)"
        )
    if is_named and last - first > 7 * len(str(phase["name"])):
        panel.drawing.text(first + 4, panel.bottom - 6, str(phase["name"]), "tick")


def _bands(panel: Panel, lines: Sequence[Line]) -> None:
    steps = max((line.steps for line in lines), key=len)
    floor = [0.0] * len(steps)
    for line in lines:
        known = dict(zip(line.steps, line.values, strict=True))
        roof = [low + known.get(step, 0.0) for step, low in zip(steps, floor, strict=True)]
        if any(known.values()):
            panel.area(steps, floor, roof, line.colour)
        floor = roof
