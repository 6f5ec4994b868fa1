"""The tables of docs/seeker_frontier.md, from the figures of runs by label and seed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import studentized_range
from scipy.stats import t as student

from laconic.statistics.seeds import SeedMean, over_seeds
from laconic.statistics.several import holm
from laconic.system.files import write_text_atomically

Runs = Mapping[str, Mapping[str, Any]]
"""The figures of a run, by label and seed."""

EASIEST, HARDEST = ("1", "2"), ("4", "5")
GREEDY_KEYS = ("greedy area", "greedy accuracy", "greedy tokens")
FREE = 2.0  # points of accuracy that count as nothing lost, as in the claims F8b and F10
APART = 3.0  # standard errors of the paired difference


def write_page(docs: Path, words: Path, tuned: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Write the page anew: the words, with the tables in their places."""
    runs = {label: found["runs"] for label, found in results.items() if found["runs"]}
    text = words.read_text(encoding="utf-8")
    tables = {
        "FRONTIER": frontier(runs),
        "ROLLBACKS": rollbacks(runs),
        "LOSSLESS": lossless(runs),
        "DIFFICULTY": difficulty(runs),
        "RATES": rates({label: found["areas"] for label, found in tuned.items()}),
        "PAIRS": pairs(runs),
        "SPREAD": spread(runs, "area", "sampled areas"),
        "GREEDY SPREAD": spread(runs, "greedy_area", "greedy areas"),
        "GREEDY LIST": heads(runs, "greedy_area"),
    }
    for name, lines in tables.items():
        text = text.replace(f"TABLE OF {name}", "\n".join(lines))
    write_text_atomically(docs, text)


def frontier(results: Runs) -> Iterator[str]:
    """One row for each entry, by its area over budgets; then one for the start model, and one for it as an entry asks it."""
    yield (
        "| | seeds | area | T=1: accuracy, % | tokens | greedy: area | accuracy, % | tokens | tokens over the shortest | over a "
        "blind search | dominated by |"
    )
    yield "|---" * 11 + "|"
    rows = {label: _row(found) for label, found in results.items()}
    for label in sorted(rows, key=lambda name: -rows[name]["area"].mean):
        yield f"| {label} | {rows[label]['area'].num_seeds} | {_cells(rows[label])} | {_above(label, results)} |"
    for asked, found in _bases(results).items():
        yield f"| *the start model{asked}* | {len(found)} | {_cells(_row(found))} | |"


def heads(results: Runs, key: str, most: int = 10) -> Iterator[str]:
    """The entries whose figure `key` is largest, in order, and the start model."""
    rows = {label: over_seeds(run[key] for run in found.values()) for label, found in results.items()}
    for label in sorted(rows, key=lambda name: -rows[name].mean)[:most]:
        yield f"- {label}: {_said(rows[label])}"
    usual = _bases(results).get("", {})
    yield f"- *the start model*: {_said(over_seeds(run[key] for run in usual.values()))}"


def lossless(results: Runs) -> Iterator[str]:
    """The entries that lose at most `FREE` points of accuracy in either decoding, by the mean of their two cuts."""
    yield "| | T=1: cut, % | gained, points | greedy: cut, % | gained, points | better in all four |"
    yield "|---" * 6 + "|"
    rows = {label: _changes(found) for label, found in results.items()}
    kept = [label for label, row in rows.items() if min(row["t1 gain"].mean, row["greedy gain"].mean) >= -FREE]
    for label in sorted(kept, key=lambda name: -rows[name]["t1 cut"].mean - rows[name]["greedy cut"].mean):
        better = [other for other in results if other != label and _beats_in_both(results[other], results[label])]
        yield f"| {label} | {' | '.join(_said(mean) for mean in rows[label].values())} | {', '.join(better) or '–'} |"


def _changes(found: Mapping[str, Any]) -> dict[str, SeedMean]:
    """What changed from the start model, in both decodings: tokens saved in percent, points of accuracy gained."""
    return {
        f"{tag} {key}": over_seeds(run[tag][key] for run in found.values())
        for tag in ("t1", "greedy")
        for key in ("cut", "gain")
    }


def _beats_in_both(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether an entry is, by the means over the seeds that both have, nowhere worse in the four changes, and better in one."""
    seeds = _shared(one, other)
    its, others = (
        [change.mean for change in _changes({seed: runs[seed] for seed in seeds}).values()] for runs in (one, other)
    )
    return all(a >= b for a, b in zip(its, others, strict=True)) and its != others


def _cells(row: Mapping[str, SeedMean]) -> str:
    cells = [_said(row[key]) for key in ("area", "accuracy", "tokens", *GREEDY_KEYS)]
    return " | ".join([*cells, *(f"{row[key].mean:.2f}" for key in ("over shortest", "over blind"))])


def _bases(results: Runs) -> dict[str, dict[str, Any]]:
    """The start model's figures by seed: "" under the prompt of most entries, and those of an entry which asks it otherwise.

    Equal prompts, not equal figures, make it the same base: in the last digits these depend on the processor.
    """
    found: dict[str, dict[str, Any]] = {}
    for seed in dict.fromkeys(seed for runs in results.values() for seed in runs):
        at = {label: runs[seed] for label, runs in results.items() if seed in runs}
        ((usual, _),) = Counter(run["asked"] for run in at.values()).most_common(1)
        for label, run in at.items():
            name = "" if run["asked"] == usual else f", asked as {label}"
            found.setdefault(name, {}).setdefault(seed, _as_base(run))
    return dict(sorted(found.items()))


def _as_base(run: Any) -> dict[str, Any]:
    """The start model before a run, as if it were a run."""
    sides = {
        tag: {
            "accuracy": run[tag]["accuracy"] - run[tag]["gain"],
            "tokens": run[tag]["tokens"] / (1.0 - run[tag]["cut"] / 100.0),
        }
        for tag in ("t1", "greedy")
    }
    areas = {"area": run["base_area"], "greedy_area": run["base_greedy_area"]}
    return {**sides, **areas, **{key: run[key] for key in ("oracle_tokens", "blind_tokens")}}


def rollbacks(results: Runs) -> Iterator[str]:
    """Every run whose guard threw steps away, one line each."""
    found = [
        f"- {label}, seed {seed}: {'; '.join(run['rolled_back'])}"
        for label, runs in results.items()
        for seed, run in runs.items()
        if run["rolled_back"]
    ]
    yield from found or ["None was."]


def _row(found: Mapping[str, Any]) -> dict[str, SeedMean]:
    figures: dict[str, Callable[[Any], float]] = {
        "area": lambda run: run["area"],
        "accuracy": lambda run: run["t1"]["accuracy"],
        "tokens": lambda run: run["t1"]["tokens"],
        "greedy area": lambda run: run["greedy_area"],
        "greedy accuracy": lambda run: run["greedy"]["accuracy"],
        "greedy tokens": lambda run: run["greedy"]["tokens"],
        "over shortest": lambda run: run["t1"]["tokens"] / run["oracle_tokens"],
        "over blind": lambda run: run["t1"]["tokens"] / run["blind_tokens"],
    }
    return {name: over_seeds(map(measure, found.values())) for name, measure in figures.items()}


def _above(label: str, results: Runs) -> str:
    """Entries that are, by the means over the seeds that both have, at least as accurate sampled with at most as many tokens, and
    better in one."""
    better = [other for other in results if other != label and _beats(results[other], results[label])]
    first = sorted(better, key=lambda other: -_row(results[other])["area"].mean)[:2]
    return "on it" if not better else ", ".join(first) + (f" and {len(better) - 2} more" if len(better) > 2 else "")


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    seeds = _shared(one, other)
    rows = [_row({seed: runs[seed] for seed in seeds}) for runs in (one, other)]
    (accuracy, tokens), (its_accuracy, its_tokens) = ((row["accuracy"].mean, row["tokens"].mean) for row in rows)
    is_as_good = accuracy >= its_accuracy and tokens <= its_tokens  # false for nan: without a seed that both have
    return is_as_good and (accuracy, tokens) != (its_accuracy, its_tokens)


def _shared(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(one.keys() & other.keys())


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
    """The area at each factor of the rate, the chosen one in bold; one at an end of the grid may not be the best there is."""
    factors = sorted({factor for found in tuned.values() for factor in found}, key=float)
    yield "| | " + " | ".join(f"rate x {factor}" for factor in factors) + " | chosen at an end |"
    yield "|---" * (len(factors) + 2) + "|"
    for label, found in tuned.items():
        most = max(found, key=lambda factor: found[factor])
        cells = [f"**{found[f]:.1f}**" if f == most else f"{found[f]:.1f}" if f in found else "–" for f in factors]
        yield f"| {label} | {' | '.join(cells)} | {'yes' if most in (factors[0], factors[-1]) else ''} |"


def pairs(results: Runs) -> Iterator[str]:
    """Neighbours by area that share a seed: the seeds' paired difference, in standard errors, and its p-value corrected for all
    of them."""
    yield "| | and the next by area | difference of the areas, points | standard errors | p (Holm) |"
    yield "|---" * 5 + "|"
    order = sorted(results, key=lambda label: -over_seeds(run["area"] for run in results[label].values()).mean)
    near = [(first, second) for first, second in pairwise(order) if _shared(results[first], results[second])]
    gaps = [
        over_seeds(results[a][seed]["area"] - results[b][seed]["area"] for seed in _shared(results[a], results[b]))
        for a, b in near
    ]
    errors = [gap.mean / gap.se if gap.se > 0 else nan for gap in gaps]  # false for nan, too
    p_values = holm([2.0 * float(student.sf(abs(e), gap.num_seeds - 1)) for e, gap in zip(errors, gaps, strict=True)])
    for (first, second), gap, error, p in zip(near, gaps, errors, p_values, strict=True):
        apart = " **apart**" if error > APART else ""
        yield f"| {first} | {second} | {_said(gap)} | {error:.1f}{apart} | {p:.2g} |"


def spread(results: Runs, key: str, name: str) -> Iterator[str]:
    """How far apart the areas of any two entries must be to differ at the 5% level over all pairs.

    Tukey's honest significant difference after a two-way analysis of variance (entry, seed) without interaction: the noise of an
    area is taken to be that of all entries. Entries that lack a seed, and those of which the guard took a run back, are left
    out.
    """
    seeds = sorted({seed for found in results.values() for seed in found})
    rows = [
        [found[seed][key] for seed in seeds]
        for found in results.values()
        if found.keys() >= set(seeds) and not any(found[seed]["rolled_back"] for seed in seeds)
    ]
    if min(len(rows), len(seeds)) < 2:
        yield "Two seeds or more say how large a difference must be."
        return
    areas = np.array(rows)
    left = areas - areas.mean(axis=1, keepdims=True) - areas.mean(axis=0, keepdims=True) + areas.mean()
    freedom = (len(rows) - 1) * (len(seeds) - 1)
    noise = float(np.square(left).sum()) / freedom
    least = float(studentized_range.ppf(0.95, len(rows), freedom)) * np.sqrt(noise / len(seeds))
    yield (
        f"Of the {len(rows)} entries that have all {len(seeds)} seeds and no run taken back, any two differ at the 5% level, "
        f"corrected for all pairs, where their {name} are more than **{least:.1f} points** apart (Tukey's honest significant "
        f"difference after a two-way analysis of variance by entry and seed, {freedom} degrees of freedom; the noise of one run "
        f"is {np.sqrt(noise):.1f} points)."
    )


def _said(mean: SeedMean, digits: int = 1) -> str:
    """The mean, with its standard error where there is one."""
    error = "" if mean.num_seeds < 2 else f" ± {mean.se:.{digits}f}"
    return f"{mean.mean:.{digits}f}{error}"
