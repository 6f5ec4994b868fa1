"""docs/claims.md: a table with a verdict for each claim, then a section for each, from the stored results.

`claims/words.md` has the words around them, with TABLE and SECTIONS where these go, and SECTION OF names where one of them goes.
A claim without a result is open.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import mean

from deciding.claim import Claim, Computed, Evaluated, Trained
from deciding.records import Record, decision_on, figure_of
from deciding.table import CLAIMS, ORDER

from laconic.statistics.intervals import or_null
from laconic.statistics.seeds import over_seeds
from laconic.statistics.verdicts import FIRST_LOOK, ClaimVerdict
from laconic.system.files import write_text_atomically

OPEN = "open"
Results = Mapping[str, Mapping[str, Record]]
"""The records of claims, by claim and by model."""

Arms = Mapping[str, Mapping[str, Mapping[str, list[float]]]]
"""By arm, seed and decoding: tokens, cut, accuracy and gain, as `claims.py` stores them; under "trained" the problems that each
phase trained on, and the rollouts of all."""


def write_page(docs: Path, words: Path, results: Path) -> None:
    """Write the page anew."""
    found = read_results(results)
    text = words.read_text(encoding="utf-8")
    text = text.replace("TABLE", table(found)).replace("COUNTS", counts(found))
    text = text.replace("SECTIONS", "\n\n".join(section(CLAIMS[name], found.get(name, {})) for name in ORDER))
    write_text_atomically(docs, text)


def read_results(folder: Path) -> dict[str, dict[str, Record]]:
    """All records of a folder, by claim and model."""
    found: dict[str, dict[str, Record]] = {}
    for file in sorted(folder.glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        found.setdefault(record["claim"], {})[record["model"]] = record
    return found


def counts(results: Results) -> str:
    """How many claims have which verdict, in words; the best-known one of each claim's models counts."""
    verdicts = [verdict for name in CLAIMS for verdict in [_best(results.get(name, {}))]]
    said = [f"{verdicts.count(word)} {_verb(word, verdicts.count(word))}" for word in (*ClaimVerdict, OPEN)]
    return f"Of {len(CLAIMS)} claims, {', '.join(said[:-1])} and {said[-1]}."


def _best(records: Mapping[str, Record]) -> str:
    verdicts = [record["verdict"] for record in records.values()]
    return next((v for v in verdicts if v != ClaimVerdict.UNDECIDED), verdicts[0] if verdicts else OPEN)


def _verb(word: str, number: int) -> str:
    return {"holds": ("hold", "holds"), "fails": ("fail", "fails")}.get(word, (f"are {word}", f"is {word}"))[
        number == 1
    ]


def table(results: Results) -> str:
    """One row for each claim and model."""
    lines = ["| claim | of | says | model | verdict | the figure it hangs on | seeds |", "|---" * 7 + "|"]
    for name in ORDER:
        claim = CLAIMS[name]
        link = f"[{name}](#{anchor(claim)})"
        for model, record in (results.get(name) or {"": {}}).items():
            lines.append(f"| {link} | {claim.paper} | {claim.says} | {_cells(claim, model, record)} |")
    return "\n".join(lines)


def _cells(claim: Claim, model: str, record: Record) -> str:
    if not record:
        return f"– | {OPEN} | – | –"
    return f"`{model}` | **{record['verdict']}** | {_hinge(claim, record)} | {seeds_of(claim, record)}"


def _hinge(claim: Claim, record: Record) -> str:
    """The figure on which the verdict hangs, with the interval that decides."""
    name = decision_on(claim, record["figures"], record["wanted_seeds"]).hinge.figure
    figure = record["figures"].get(name)
    if figure is None or "by_seed" not in figure:
        return shown_figure(name, figure)
    found = figure_of(figure, record["wanted_seeds"])
    ends = [or_null(end) for end in (found.interval.low, found.interval.high)]
    shown = shown_figure(name, figure | {"ci95": ends})
    return shown if found.level == FIRST_LOOK else f"{shown}, a second look at {100 * found.level:g}%"


def seeds_of(claim: Claim, record: Record) -> str:
    """How many seeds a record rests on, of how many."""
    if isinstance(claim.source, Computed | Evaluated):
        return "–"
    seeds = [len(figure["by_seed"]) for figure in record["figures"].values() if "by_seed" in figure]
    number, wanted = max(seeds, default=0), record["wanted_seeds"]
    return f"{number} of {wanted}" if number <= wanted else f"{wanted} + {number - wanted}"


def shown_figure(name: str, figure: Record | None) -> str:
    """A figure in words.

    >>> shown_figure("cut, %", {"mean": 12.34, "ci95": [1.0, 25.0]})
    'cut, %: 12.3 (1.0 to 25.0)'
    """
    if figure is None or figure["mean"] is None:
        return f"{name}: not measured"
    low, high = figure["ci95"]
    if low is None or high is None:
        return f"{name}: {number(figure['mean'])} (no interval)"
    ends = "" if low == high == figure["mean"] else f" ({number(low)} to {number(high)})"
    return f"{name}: {number(figure['mean'])}{ends}"


def number(value: float) -> str:
    """A number with as many digits as can be read.

    >>> number(12.345), number(-0.01234), number(0.0), number(1e-7)
    ('12.3', '-0.012', '0', '1e-07')
    """
    if value == 0.0 or not isfinite(value):
        return f"{value:g}"
    return f"{value:.1f}" if abs(value) >= 1.0 else f"{value:.2g}"


def anchor(claim: Claim) -> str:
    """The anchor of the claim's heading."""
    return re.sub(r"[^a-z0-9 -]", "", heading(claim).lower()).replace(" ", "-")


def heading(claim: Claim) -> str:
    """The heading of the claim's section."""
    return f"{claim.name}, {claim.paper}"


def section(claim: Claim, records: Mapping[str, Record]) -> str:
    """What is known of one claim."""
    lines = [
        f"### {heading(claim)}",
        f"**Claim:** {claim.says}. **Test:** {claim.test}. **Falsified if** {claim.falsified_if}.",
        f"In figures: {claim.falsifier.words()}."
        + (f" Presupposed: {claim.premise.words()}." if claim.premise else "")
        + (f" {claim.reading}" if claim.reading else ""),
    ]
    lines += [_result(claim, record) for record in records.values()] or [_open(claim)]
    return "\n\n".join(lines)


def _open(claim: Claim) -> str:
    return f"**Open.** `python benchmarks/claims.py {claim.name}` decides it."


def _result(claim: Claim, record: Record) -> str:
    figures, seeds = record["figures"], seeds_of(claim, record)
    decision = decision_on(claim, figures, record["wanted_seeds"])
    on = f" on `{record['model']}`" + ("" if seeds == "–" else f", {seeds} seeds")
    return "\n\n".join(
        [
            f"**{decision.verdict.value.capitalize()}**{on}: {_hinge(claim, record)}.",
            _figure_table(claim, figures),
            *([_arm_table(record["arms"])] if record.get("arms") else []),
            "\n\n".join(_where(claim, measured) for measured in (*record.get("earlier", ()), record)),
        ]
    )


def _where(claim: Claim, measured: Record) -> str:
    rate = f"float32 matrix products at {measured['matrix_gflops']} GFLOP/s on one thread"
    return f"`{measured['command']}`, {_hours(claim, measured)}{measured['hardware']}, {rate}, {measured['date']}."


def _figure_table(claim: Claim, figures: Record) -> str:
    """Every figure, those of the falsifier in bold."""
    lines = ["| figure | mean (95% interval) | by seed |", "|---" * 3 + "|"]
    decide = {condition.figure for condition in claim.falsifier.conditions()}
    for name, figure in figures.items():
        shown = shown_figure(name, figure).removeprefix(f"{name}: ")
        lines.append(f"| {f'**{name}**' if name in decide else name} | {shown} | {_by_seed(figure)} |")
    return "\n".join(lines)


def _hours(claim: Claim, record: Record) -> str:
    if isinstance(claim.source, Computed):
        return "seconds, "
    return f"{record['hours']:.2g} hours{' of training steps' if isinstance(claim.source, Trained) else ''}, "


def _by_seed(figure: Record) -> str:
    return ", ".join("–" if value is None else number(value) for value in figure.get("by_seed", {}).values()) or "–"


def _arm_table(arms: Arms) -> str:
    head = ("arm", "seeds", "problems", "rollouts", "tokens", "cut, %", "accuracy, %", "gained, points")
    head += ("greedy: cut, %", "gained, points")
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *_arm_rows(arms)])


def _arm_rows(arms: Arms) -> Iterator[str]:
    for label, by_seed in arms.items():
        sampled, greedy = ([found[tag] for found in by_seed.values() if tag in found] for tag in ("t1", "greedy"))
        tokens, accuracy = mean(row[0] for row in sampled), mean(row[2] for row in sampled)
        changes = [_mean([row[i] for row in rows]) for rows in (sampled, greedy) for i in (1, 3)]
        trained = list(zip(*(found["trained"] for found in by_seed.values() if "trained" in found), strict=True)) or [
            ()
        ]
        problems = " + ".join(_range(counts) for counts in trained[:-1]) or "–"
        yield (
            f"| {label} | {len(by_seed)} | {problems} | {_range(trained[-1])} | {tokens:.1f} | {changes[0]} | {accuracy:.1f} | "
            f"{' | '.join(changes[1:])} |"
        )


def _range(counts: Sequence[float]) -> str:
    """The numbers of all seeds in words.

    >>> _range([16, 16]), _range([3, 5, 8]), _range([])
    ('16', '3 to 8', '–')
    """
    if not counts:
        return "–"
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _mean(values: list[float]) -> str:
    found = over_seeds(values)
    if not found.num_seeds:
        return "–"
    return f"{found.mean:+.1f}" + (f" ± {found.se:.1f}" if found.num_seeds > 1 else "")
