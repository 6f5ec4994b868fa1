"""The page's figures: plain numbers in, a Plotly figure as JSON-ready data out.

1. `training`: accuracy and tokens by training step, phase boundaries, watch points.
2. `lengths`: how long responses are, by grade, before and after: small multiples over one axis.
3. `tokens_by_problem` and `solve_rates`: one point a problem, before across, after up.

One colour means one thing here, in the page's tables and in its badges: `COLOURS`. Backgrounds are transparent and
fonts are mid-tone, so a figure is readable on light and dark; the page's style sheet sharpens both. No files here.
"""

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from laconic.types import GRADES

COLOURS = {
    "correct": "#2f9e78",
    "wrong": "#d6506a",
    "no_answer": "#9277c9",
    "truncated": "#dd9a2e",
    "ungradable": "#a8a39a",
    "base": "#8b93a3",
    "after": "#3f7fdb",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
MIDTONE, HAIRLINE, BAND = "#868d9a", "rgba(134,141,154,0.28)", "rgba(134,141,154,0.09)"
MAX_BINS = 40

Record = Mapping[str, Any]
Spec = dict[str, Any]


def training(metrics: Sequence[Record], phases: Sequence[Record]) -> Spec:
    """Two panels over one axis of steps: accuracy above, mean tokens below."""
    fig = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.1, subplot_titles=("Accuracy", "Mean tokens")
    )
    steps = [row["step"] for row in metrics]
    watched = [row for row in metrics if row.get("watch/accuracy_frac") is not None]
    blue = COLOURS["after"]
    rollouts = {"mode": "lines", "line": {"color": blue, "width": 1.5}, "opacity": 0.75, "legendgroup": "rollouts"}
    watch = {"mode": "lines+markers", "line": {"color": blue, "width": 2, "dash": "dot"}, "marker": {"size": 8}}
    fig.add_trace(_line(metrics, "rollouts/accuracy_frac", "problems trained on", rollouts), row=1, col=1)
    fig.add_trace(_line(watched, "watch/accuracy_frac", "problems watched", watch | {"legendgroup": "w"}), row=1, col=1)
    fig.add_trace(
        _line(metrics, "rollouts/mean_tokens", "problems trained on", rollouts | {"showlegend": False}), row=2, col=1
    )
    fig.add_trace(
        _line(watched, "watch/mean_tokens", "problems watched", watch | {"legendgroup": "w", "showlegend": False}),
        row=2,
        col=1,
    )
    for grade in ("correct", "wrong"):
        key, style = f"rollouts/{grade}_tokens", {"mode": "lines", "line": {"color": COLOURS[grade], "width": 1.5}}
        if any(row.get(key) is not None for row in metrics):
            fig.add_trace(_line(metrics, key, f"trained on, {grade}", style | {"opacity": 0.85}), row=2, col=1)
    _mark_phases(fig, phases, metrics)
    fig.update_yaxes(row=1, tickformat=".0%", range=[0, 1.02])
    fig.update_yaxes(row=2, rangemode="tozero")
    fig.update_xaxes(range=[min(steps, default=1) - 0.5, max(steps, default=1) + 0.5])
    fig.update_xaxes(row=2, title_text="training step")
    return _finish(fig, height=560, hovermode="x unified")


def lengths(before: Sequence[Record], after: Sequence[Record], names: tuple[str, str]) -> Spec:
    """Share of responses by length, stacked by grade; one panel for each model, over the same axes."""
    width = bin_width(max((row["num_tokens"] for row in (*before, *after)), default=1))
    fig = make_subplots(
        rows=2, cols=1, shared_xaxes=True, shared_yaxes="all", vertical_spacing=0.13, subplot_titles=names
    )
    for panel, samples in enumerate((before, after), start=1):
        for grade in GRADES:
            shares = binned_shares(samples, grade, width)
            if not any(row["grade"] == grade for row in (*before, *after)):
                continue
            fig.add_trace(
                go.Bar(
                    x=[(index + 0.5) * width for index in shares],
                    y=list(shares.values()),
                    customdata=[f"{index * width} to {(index + 1) * width - 1} tokens" for index in shares],
                    width=width,
                    name=grade.replace("_", " "),
                    legendgroup=grade,
                    showlegend=panel == 1,
                    marker={"color": COLOURS[grade], "line": {"width": 0}},
                    hovertemplate="%{customdata}: %{y:.1%}",
                ),
                row=panel,
                col=1,
            )
        if samples:
            mean = sum(row["num_tokens"] for row in samples) / len(samples)
            style = {"line_color": MIDTONE, "line_dash": "dash", "line_width": 1.5}
            fig.add_vline(x=mean, row=panel, col=1, annotation_text=f"mean {mean:.0f}", **style)
    fig.update_layout(barmode="stack")
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    fig.update_xaxes(row=2, title_text="response length (tokens)")
    return _finish(fig, height=500)


def tokens_by_problem(problem_ids: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Spec:
    """Mean tokens of each problem; below the diagonal is shorter."""
    top = 1.06 * max((*before, *after), default=1.0)
    points = go.Scatter(
        x=list(before),
        y=list(after),
        mode="markers",
        marker={"color": COLOURS["after"], "size": 8, "opacity": 0.55, "line": {"width": 0}},
        customdata=[html.escape(problem_id) for problem_id in problem_ids],
        hovertemplate="%{customdata}<br>%{x:.0f} → %{y:.0f} tokens<extra></extra>",
    )
    fig = _square(points, top)
    fig.update_xaxes(title_text="mean tokens, base")
    fig.update_yaxes(title_text="mean tokens, after")
    return _finish(fig, height=400)


def solve_rates(before: Sequence[float], after: Sequence[float]) -> Spec:
    """Solve rate of each problem; problems that share a point make it larger."""
    counts = Counter((round(x, 4), round(y, 4)) for x, y in zip(before, after, strict=True))
    largest = max(counts.values(), default=1)
    points = go.Scatter(
        x=[x for x, _ in counts],
        y=[y for _, y in counts],
        mode="markers",
        marker={
            "color": [COLOURS["correct" if y > x else "wrong" if y < x else "base"] for x, y in counts],
            "size": [7 + 27 * (count / largest) ** 0.5 for count in counts.values()],
            "opacity": 0.6,
            "line": {"width": 0},
        },
        customdata=list(counts.values()),
        hovertemplate="%{x:.0%} → %{y:.0%}: %{customdata} problems<extra></extra>",
    )
    fig = _square(points, 1.0)
    fig.update_xaxes(title_text="solve rate, base", tickformat=".0%", range=[-0.08, 1.08])
    fig.update_yaxes(title_text="solve rate, after", tickformat=".0%", range=[-0.08, 1.08])
    return _finish(fig, height=400)


def bin_width(longest: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that needs at most 40 bins.

    >>> bin_width(39), bin_width(390), bin_width(500)
    (1, 10, 20)
    """
    scale = 1
    while True:
        for step in (1, 2, 5):
            if longest // (step * scale) < MAX_BINS:
                return step * scale
        scale *= 10


def binned_shares(samples: Sequence[Record], grade: str, width: int) -> dict[int, float]:
    """Bin index -> share of all samples that have this grade and fall into the bin.

    >>> binned_shares([{"grade": "wrong", "num_tokens": 3}, {"grade": "correct", "num_tokens": 12}], "correct", 10)
    {1: 0.5}
    """
    counts = Counter(row["num_tokens"] // width for row in samples if row["grade"] == grade)
    return {index: counts[index] / len(samples) for index in sorted(counts)}


def _line(rows: Sequence[Record], key: str, name: str, style: Record) -> go.Scatter:
    value = "%{y:.1%}" if key.endswith("_frac") else "%{y:.0f}"
    return go.Scatter(
        x=[row["step"] for row in rows], y=[row.get(key) for row in rows], name=name, hovertemplate=value, **style
    )


def _mark_phases(fig: go.Figure, phases: Sequence[Record], metrics: Sequence[Record]) -> None:
    """A band and a name for each phase, and a diamond at the step that became its result."""
    by_step = {row["step"]: row for row in metrics}
    kept = []
    for index, phase in enumerate(phases):
        first, last = phase["first_step"] - 0.5, phase["last_step"] + 0.5
        fig.add_vrect(x0=first, x1=last, fillcolor=BAND if index % 2 else "rgba(0,0,0,0)", line_width=0, layer="below")
        name = html.escape(f"phase {index + 1}: {phase['name']}")
        where = {"x": (first + last) / 2, "xref": "x", "y": 0.03, "yref": "y", "yanchor": "bottom"}
        fig.add_annotation(text=name, showarrow=False, **where)
        if index:
            fig.add_vline(x=first, line_color=MIDTONE, line_width=1)
        if phase.get("result_step") in by_step:
            kept.append(by_step[phase["result_step"]])
    diamond = {"symbol": "diamond", "size": 13, "color": COLOURS["after"]}
    for panel, name in enumerate(("accuracy_frac", "mean_tokens"), start=1):
        steps = [row["step"] for row in kept if _key_of(row, name)]
        heights = [row[key] for row in kept if (key := _key_of(row, name))]
        trace = go.Scatter(x=steps, y=heights, mode="markers", marker=diamond, name="result of the phase")
        fig.add_trace(trace.update(legendgroup="k", showlegend=panel == 1, hoverinfo="skip"), row=panel, col=1)


def _key_of(row: Record, name: str) -> str | None:
    """The watched quantity of a step, or else that of its rollouts."""
    return next((key for key in (f"watch/{name}", f"rollouts/{name}") if row.get(key) is not None), None)


def _square(points: go.Scatter, top: float) -> go.Figure:
    fig = go.Figure(points)
    line = {"color": MIDTONE, "width": 1, "dash": "dot"}
    fig.add_shape(type="line", x0=0, y0=0, x1=top, y1=top, line=line, layer="below")
    fig.update_xaxes(range=[0, top])
    fig.update_yaxes(range=[0, top])
    fig.update_layout(showlegend=False)
    return fig


def _finish(fig: go.Figure, height: int, hovermode: str = "closest") -> Spec:
    fig.update_layout(
        template="none",
        height=height,
        autosize=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13, "color": MIDTONE},
        margin={"l": 52, "r": 8, "t": 28, "b": 44},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.14, "yanchor": "top"},
        hovermode=hovermode,
        hoverlabel={"bgcolor": "#252a33", "bordercolor": "#252a33", "font": {"color": "#f2f4f7", "family": FONT}},
        dragmode=False,
    )
    fig.update_xaxes(title_font_size=12, title_standoff=8, tickfont_size=12)
    fig.update_yaxes(title_font_size=12, title_standoff=8, tickfont_size=12)
    fig.update_xaxes(showgrid=False, zeroline=False, linecolor=HAIRLINE, fixedrange=True, automargin=True)
    fig.update_yaxes(gridcolor=HAIRLINE, zeroline=False, fixedrange=True, automargin=True)
    fig.update_annotations(font={"size": 12, "color": MIDTONE})
    fig.update_annotations(x=0, xanchor="left", selector={"xref": "paper"})
    spec: Spec = json.loads(fig.to_json())
    return {"data": spec["data"], "layout": spec["layout"]}
