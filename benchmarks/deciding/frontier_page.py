"""The tables of docs/seeker_frontier.md, from the figures of runs by label and seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

from laconic.statistics.seeds import SeedMean, over_seeds
from laconic.system.files import write_text_atomically

Runs = Mapping[str, Mapping[str, Any]]
"""The figures of a run, by label and seed."""

EASIEST, HARDEST = ("1", "2"), ("4", "5")
APART = 3.0  # standard errors of the paired difference


def write_page(docs: Path, words: Path, tuned: Mapping[str, Mapping[str, float]], results: Runs) -> None:
    """Write the page anew: the words, with the tables in their places."""
    text = words.read_text(encoding="utf-8")
    tables = {
        "FRONTIER": frontier(results),
        "DIFFICULTY": difficulty(results),
        "RATES": rates(tuned),
        "PAIRS": pairs(results),
    }
    for name, lines in tables.items():
        text = text.replace(f"TABLE OF {name}", "\n".join(lines))
    write_text_atomically(docs, text)


def frontier(results: Runs) -> Iterator[str]:
    """One row for each entry, by its area over budgets; the start model stands among them."""
    yield (
        "| | seeds | area | T=1: accuracy, % | tokens | greedy: accuracy, % | tokens | tokens over the shortest | over a blind "
        "search | dominated by |"
    )
    yield "|---" * 10 + "|"
    rows = {label: _row(found) for label, found in results.items()}
    for label in sorted(rows, key=lambda name: -rows[name]["area"].mean):
        row = rows[label]
        cells = [_said(row[key]) for key in ("area", "accuracy", "tokens", "greedy accuracy", "greedy tokens")]
        bounds = [f"{row[key].mean:.2f}" for key in ("over shortest", "over blind")]
        yield f"| {label} | {row['area'].num_seeds} | {' | '.join(cells)} | {' | '.join(bounds)} | {_above(label, rows)} |"
    base = [figures for found in results.values() for figures in found.values()]
    if base:
        yield f"| *the start model* | | {_base(base)} | |"


def _row(found: Mapping[str, Any]) -> dict[str, SeedMean]:
    figures: dict[str, Callable[[Any], float]] = {
        "area": lambda run: run["area"],
        "accuracy": lambda run: run["t1"]["accuracy"],
        "tokens": lambda run: run["t1"]["tokens"],
        "greedy accuracy": lambda run: run["greedy"]["accuracy"],
        "greedy tokens": lambda run: run["greedy"]["tokens"],
        "over shortest": lambda run: run["t1"]["tokens"] / run["oracle_tokens"],
        "over blind": lambda run: run["t1"]["tokens"] / run["blind_tokens"],
    }
    return {name: over_seeds(map(measure, found.values())) for name, measure in figures.items()}


def _base(runs: Sequence[Any]) -> str:
    """The start model's cells: what every run's base was, before its changes."""

    def before(run: Any, tag: str) -> tuple[float, float]:
        return run[tag]["accuracy"] - run[tag]["gain"], run[tag]["tokens"] / (1.0 - run[tag]["cut"] / 100.0)

    accuracy, tokens = (_mean(before(run, "t1")[i] for run in runs) for i in (0, 1))
    greedy = [_mean(before(run, "greedy")[i] for run in runs) for i in (0, 1)]
    shortest, blind = (_mean(run[key] for run in runs) for key in ("oracle_tokens", "blind_tokens"))
    area = _mean(run["base_area"] for run in runs)
    cells = [f"{value:.1f}" for value in (area, accuracy, tokens, *greedy)]
    return " | ".join([*cells, f"{tokens / shortest:.2f}", f"{tokens / blind:.2f}"])


def _above(label: str, rows: Mapping[str, Mapping[str, SeedMean]]) -> str:
    """Entries that are, by the means, at least as accurate sampled with at most as many tokens, and better in one."""
    mine = rows[label]
    better = [
        other
        for other, row in rows.items()
        if other != label
        and row["accuracy"].mean >= mine["accuracy"].mean
        and row["tokens"].mean <= mine["tokens"].mean
        and (row["accuracy"].mean, row["tokens"].mean) != (mine["accuracy"].mean, mine["tokens"].mean)
    ]
    first = sorted(better, key=lambda other: -rows[other]["area"].mean)[:2]
    return "on it" if not better else ", ".join(first) + (f" and {len(better) - 2} more" if len(better) > 2 else "")


def difficulty(results: Runs) -> Iterator[str]:
    """By entry: cuts and gains on the two easiest and the two hardest levels, and whether cuts follow ease."""
    yield "| | cut, easiest, % | hardest, % | difference, points | gain, easiest, points | hardest, points | Spearman |"
    yield "|---" * 7 + "|"
    rows = {label: _by_level(found) for label, found in results.items()}
    for label in sorted(rows, key=lambda name: -rows[name]["adapts"].mean):
        row = rows[label]
        keys = ("cut easiest", "cut hardest", "adapts", "gain easiest", "gain hardest")
        yield f"| {label} | {' | '.join(_said(row[key]) for key in keys)} | {_said(row['ease'], 2)} |"


def _by_level(found: Mapping[str, Any]) -> dict[str, SeedMean]:
    def part(run: Any, levels: Sequence[str], key: str) -> float:
        """The mean over the problems of some levels."""
        held = [run["levels"][level] for level in levels if level in run["levels"]]
        count = sum(one["problems"] for one in held)
        return sum(one["problems"] * one[key] for one in held) / count if count else nan

    figures: dict[str, Callable[[Any], float]] = {
        "cut easiest": lambda run: part(run, EASIEST, "cut"),
        "cut hardest": lambda run: part(run, HARDEST, "cut"),
        "adapts": lambda run: part(run, EASIEST, "cut") - part(run, HARDEST, "cut"),
        "gain easiest": lambda run: part(run, EASIEST, "gain"),
        "gain hardest": lambda run: part(run, HARDEST, "gain"),
        "ease": lambda run: nan if run["ease"] is None else run["ease"],
    }
    return {name: over_seeds(map(measure, found.values())) for name, measure in figures.items()}


def rates(tuned: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The area at each factor of the rate, the chosen one in bold."""
    factors = sorted({factor for found in tuned.values() for factor in found}, key=float)
    yield "| | " + " | ".join(f"rate x {factor}" for factor in factors) + " |"
    yield "|---" * (len(factors) + 1) + "|"
    for label, found in tuned.items():
        most = max(found, key=lambda factor: found[factor])
        cells = [f"**{found[f]:.1f}**" if f == most else f"{found[f]:.1f}" if f in found else "–" for f in factors]
        yield f"| {label} | {' | '.join(cells)} |"


def pairs(results: Runs) -> Iterator[str]:
    """Neighbours by area, and how many standard errors of the seeds' paired differences are between them."""
    yield "| | and the next by area | difference of the areas, points | standard errors |"
    yield "|---" * 4 + "|"
    order = sorted(results, key=lambda label: -over_seeds(run["area"] for run in results[label].values()).mean)
    for first, second in pairwise(order):
        shared = sorted(results[first].keys() & results[second].keys())
        gap = over_seeds(results[first][seed]["area"] - results[second][seed]["area"] for seed in shared)
        errors = gap.mean / gap.se if gap.se and gap.se > 0 else nan
        yield f"| {first} | {second} | {_said(gap)} | {errors:.1f}{' **apart**' if errors > APART else ''} |"


def _mean(values: Any) -> float:
    return over_seeds(values).mean


def _said(mean: SeedMean, digits: int = 1) -> str:
    """The mean, with its standard error where there is one."""
    error = "" if mean.num_seeds < 2 else f" ± {mean.se:.{digits}f}"
    return f"{mean.mean:.{digits}f}{error}"
