"""Results as the commands print them: one line for an evaluation, a table and a sentence for a comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laconic.comparison.records import Comparison
    from laconic.evaluation.figures import Summary


def summary_line(summary: "Summary", folder: Path) -> str:
    """An evaluation in one line."""
    from laconic.types import Grade

    setup, figures = summary.setup, summary.figures
    accuracy, tokens = (
        _interval(found.to_json("mean"), form) if found else "-"
        for found, form in ((figures.accuracy, ".1%"), (figures.tokens, ".1f"))
    )
    assert setup.prompt is not None and setup.temperature is not None, "an evaluation of today tells both"
    how = f"T={setup.temperature:g}, {setup.prompt.name}, avg@{setup.num_samples}"
    truncated, ungradable = (figures.grade_frac.get(grade, 0.0) for grade in (Grade.TRUNCATED, Grade.UNGRADABLE))
    num_replaced = sum(figures.length_sources.values())
    replaced = f", lengths of {num_replaced} responses not counted by the server" if num_replaced else ""
    return (
        f"{setup.benchmark} ({how}): accuracy {accuracy}, tokens {tokens}, "
        f"truncated {truncated:.1%}, ungradable {ungradable:.1%}{replaced}  -> {folder}"
    )


def curve_lines(folder: Path) -> list[str]:
    """The budget curve of an evaluation, one line per budget; empty if it was not requested."""
    from laconic.comparison.folders import read_budget_curve

    return [
        f"  thinking cut at {point['budget']}: accuracy {_interval(point['accuracy'], '.1%')}, tokens "
        f"{_interval(point['tokens'], '.1f')}, {point['cut_frac']:.0%} were cut"
        for point in read_budget_curve(folder).get("points", [])
    ]


def _interval(figure: dict[str, Any], form: str) -> str:
    low, high = figure["ci95"]
    bounds = "" if low is None else f" ({low:{form}} to {high:{form}})"
    return f"{figure['mean']:{form}}{bounds}" if figure["mean"] is not None else "-"


def print_comparisons(comparisons: "Mapping[str, Comparison]") -> None:
    """Print each comparison's table and verdicts, under its tag if it has one."""
    from laconic.comparison.tables import comparison_lines, print_comparison
    from laconic.system.screen import Screen

    console = Screen()
    for tag, comparison in comparisons.items():
        if tag:
            console.print(f"\n{tag}", style="bold")
        console.print(print_comparison(comparison))
        for line in comparison_lines(comparison):
            console.print(line, soft_wrap=True)
