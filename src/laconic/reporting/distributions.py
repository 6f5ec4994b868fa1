"""Draws figures from single responses, as SVG text.

1. `draw_lengths`: how long responses are, by grade, with one panel per model over the same axes.
2. `draw_tokens_by_problem` and `draw_solve_rates`: one point per problem, with the value before on the x axis and after on the y
   axis.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from laconic.reporting.data import Sample
from laconic.reporting.numbers import count, percent
from laconic.reporting.svg import Drawing, Panel, legend
from laconic.types import GRADES

MAX_BINS, MAX_POINTS = 40, 1500


def draw_lengths(models: Sequence[tuple[str, Sequence[Sample]]], width: int) -> str:
    """Share of responses by length, stacked by grade; one panel for each model, over the same axes."""
    longest = max((row.num_tokens for _, samples in models for row in samples), default=1)
    step = bin_width(longest)
    bins = longest // step + 1
    stacks = [binned_shares(samples, step) for _, samples in models]
    top = max((sum(shares.values()) for stack in stacks for shares in stack.values()), default=1.0)
    used = [g for g in GRADES if any(row.grade == g for _, samples in models for row in samples)]
    high = 132
    drawing = Drawing(width, 0)
    start = legend(drawing, [(g.replace("_", " "), f"var(--{g})") for g in used], 46, 12) + 26
    for index, (name, samples) in enumerate(models):
        above = start + high * index
        panel = Panel(drawing, (46, above, width - 10, above + high - 34), (0, bins * step), (0, top * 1.05))
        is_last = index == len(models) - 1
        numbers = (lambda v: f"{v:,.0f}") if is_last else None
        panel.axes(numbers, lambda v: f"{100 * v:g}%", "response length, tokens" if is_last else "", num=3)
        panel.title(name)
        _stack_bars(panel, stacks[index], step, used)
        if samples:
            mean = sum(row.num_tokens for row in samples) / len(samples)
            panel.rule_x(mean, f"mean {count(mean)}")
    drawing.height = start + high * len(models) + 6
    return drawing.svg("Histograms of response length by grade: " + ", ".join(name for name, _ in models))


def _stack_bars(panel: Panel, stack: Mapping[int, Mapping[str, float]], step: int, grades: Sequence[str]) -> None:
    for index, shares in stack.items():
        floor = 0.0
        for grade in grades:
            share = shares.get(grade, 0.0)
            if share:
                title = (
                    f"{index * step} to {(index + 1) * step - 1} tokens, {grade.replace('_', ' ')}: {percent(share)}"
                )
                panel.bar(index * step, (index + 1) * step, floor, floor + share, f"var(--{grade})", title)
            floor += share


def draw_tokens_by_problem(ids: Sequence[str], before: Sequence[float], after: Sequence[float]) -> str:
    """Mean tokens of each problem; points below the diagonal became shorter. If there are very many problems, every n-th is
    drawn."""
    nth = -(-len(ids) // MAX_POINTS) or 1
    top = 1.06 * max((*before, *after), default=1.0)
    drawing, panel = _square(top)
    panel.axes(lambda v: f"{v:,.0f}", lambda v: f"{v:,.0f}", "mean tokens, before", "after", num=4)
    for problem_id, x, y in list(zip(ids, before, after, strict=True))[::nth]:
        title = f"{problem_id}: {x:.0f} to {y:.0f} tokens"
        panel.dot((x, y), "var(--after)", 4, title, opacity=0.5)
    return drawing.svg(f"Mean tokens of {len(ids)} problems, before and after", "square")


def draw_solve_rates(before: Sequence[float], after: Sequence[float]) -> str:
    """Solve rate of each problem; problems that share a point make it larger."""
    counts = Counter((round(x, 2), round(y, 2)) for x, y in zip(before, after, strict=True))
    largest = max(counts.values(), default=1)
    drawing, panel = _square(1.0, low=-0.08, high=1.08)
    panel.axes(lambda v: f"{100 * v:g}%", lambda v: f"{100 * v:g}%", "solve rate, before", "after", num=5)
    for (x, y), amount in sorted(counts.items(), key=lambda item: -item[1]):
        colour = "correct" if y > x else "wrong" if y < x else "base"
        title = f"{x:.0%} to {y:.0%}: {amount} problem{'s' * (amount != 1)}"
        panel.dot((x, y), f"var(--{colour})", 3 + 15 * (amount / largest) ** 0.5, title, opacity=0.65)
    return drawing.svg("Solve rate of each problem, before and after", "square")


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


def binned_shares(samples: Sequence[Sample], width: int) -> dict[int, dict[str, float]]:
    """Bin index -> grade -> share of all samples that have this grade and fall into the bin.

    >>> binned_shares([Sample("a", 0, "wrong", 3), Sample("a", 1, "correct", 12)], 10)
    {0: {'wrong': 0.5}, 1: {'correct': 0.5}}
    """
    counts = Counter((row.num_tokens // width, row.grade) for row in samples)
    shares: dict[int, dict[str, float]] = {}
    for (index, grade), amount in sorted(counts.items()):
        shares.setdefault(index, {})[grade] = amount / len(samples)
    return shares


def _square(top: float, low: float = 0.0, high: float | None = None) -> tuple[Drawing, Panel]:
    drawing = Drawing(420, 400)
    bounds = (low, top if high is None else high)
    panel = Panel(drawing, (48, 28, 410, 354), bounds, bounds)
    ends = (max(low, 0.0), top)
    corners = [(panel.x(v), panel.y(v)) for v in ends]
    drawing.line(corners[0], corners[1], "var(--axis)", stroke_dasharray="2 3")
    return drawing, panel
