"""A sweep's files for people and programs: table.md, results.json, frontier.svg, and one HTML page that needs no script.

1. For each temperature the page has the picture, wide and narrow, then its table, then the effect of each change of a recipe.
2. It lists what was run: every entry with its changes and its cost, and the command of every run.
3. If runs are still missing, the page says which.

The page may load nothing from anywhere. Without jinja2 no page is written, but the other files are.
"""

import importlib.util
import shlex
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from laconic import __version__
from laconic.reporting.figures import COLOURS, NARROW, WIDE
from laconic.reporting.numbers import UNKNOWN, Show, count, flatten, percent, points, signed
from laconic.reporting.page_templates import load_templates, template_text
from laconic.sweep.figures import ROW_KINDS, draw_fields, standalone
from laconic.sweep.results import Results
from laconic.sweep.rows import Against, Field, SeedMean, SweepRow
from laconic.sweep.tables import ROLLED_BACK, field_scope, heading, markdown, place, rolled_back, rollouts, to_json
from laconic.system.fields import Fields
from laconic.system.files import Json, read_json, write_json_atomically, write_text_atomically

MAX_TOLD = 4  # the number of rows on a frontier whose figures are in the head of the page
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def has_page() -> bool:
    """Whether jinja2, which the page needs, is installed."""
    return importlib.util.find_spec("jinja2") is not None


def write_results(out: Path, results: Results) -> None:
    """Write table.md and results.json of the sweep in `out`, frontier.svg if any run is finished, and report.html if jinja2 is
    installed."""
    write_json_atomically(out / "results.json", to_json(results))
    write_text_atomically(out / "table.md", markdown(results))
    if results.fields:
        write_text_atomically(out / "frontier.svg", standalone(_draw(results, WIDE)))
    if has_page():
        write_text_atomically(out / "report.html", sweep_page(results))


def sweep_page(results: Results) -> str:
    """The page's text. Raises `MissingExtraError` if jinja2 is not installed."""
    templates = load_templates("laconic.sweep")
    from markupsafe import Markup

    drawn = {
        size: Markup(_draw(results, width)) for size, width in (("wide", WIDE), ("narrow", NARROW))
    }  # made by this package, which escapes the texts in it
    return templates.get_template("sweep.html.j2").render(
        name=results.content["name"],
        lede=sweep_lede(results),
        headline=sweep_headline(results),
        rolled_back=f"{ROLLED_BACK} {'; '.join(back)}." if (back := rolled_back(results)) else "",
        unfinished=[f"{label} (seed {', '.join(map(str, seeds))})" for label, seeds in results.unfinished.items()],
        figures=drawn,
        tables=[_table(field, results) for field in results.fields],
        runs=_runs(results),
        commands=training_commands(results),
        machine=machine(results),
        recipes=[(entry["label"], list(flatten(entry["config"]))) for entry in results.content["entries"]],
        colours=COLOURS,
        kinds=ROW_KINDS,
        style=Markup(template_text("laconic.reporting", "page.css")),  # a file of this package
        more_style=Markup(template_text("laconic.sweep", "sweep.css")),
        policy=POLICY,
        version=__version__,
    )


def _draw(results: Results, width: int) -> str:
    return draw_fields(results.fields, [heading(field, results) for field in results.fields], width)


def sweep_headline(results: Results) -> str:
    """The headline: how many entries and seeds are compared, and how many runs are finished."""
    entries, seeds = len(results.content["entries"]), len(results.content["seeds"])
    return f"{results.content['name']}: {_number(entries, 'entry', 'entries')} at {_number(seeds, 'seed', 'seeds')}"


def _number(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def sweep_lede(results: Results) -> list[str]:
    """For each field, one sentence that names the rows on the frontier of the means, from few tokens to many."""
    return [f"{heading(field, results)}: {_told(field)}." for field in results.fields]


def _told(field: Field) -> str:
    best = [row for row in field.rows if row.is_result and not row.dominated_by]
    names = [
        f"{row.label} ({percent(row.over_seeds('accuracy').mean)} at {count(row.over_seeds('tokens').mean)} tokens)"
        for row in best
    ]
    worse = sum(row.is_result for row in field.rows) - len(best)
    labels = names if len(best) <= MAX_TOLD else [row.label for row in best]
    if not labels:
        return "no response could be graded"
    return f"on the frontier {'; '.join(labels)}" + (f". Dominated: {worse}" if worse else "")


# --- the table -------------------------------------------------------------------------------------------------------


def _table(field: Field, results: Results) -> Json:
    return {
        "title": heading(field, results),
        "scope": field_scope(field),
        "rows": [_row(number, row) for number, row in enumerate(field.rows, start=1)],
        "against": [_against(found) for found in field.against_recipe],
    }


def _row(number: int, row: SweepRow) -> Json:
    return {
        "number": number,
        "label": row.label,
        "kind": row.kind,
        "is_dominated": bool(row.dominated_by),
        "cells": [
            _cell(
                f"{len(row.seeds)} of {len(row.wanted)}" if len(row.seeds) < len(row.wanted) else str(len(row.seeds))
            ),
            _cell(rollouts(row)),
            _mean(row.over_seeds("accuracy"), percent),
            _change(row.over_seeds("accuracy_change"), points),
            _mean(row.over_seeds("tokens"), count),
            _change(row.over_seeds("tokens_change"), percent),
            _mean(row.over_seeds("distance"), lambda value: f"{value:.2f}"),
        ],
        "place": place(row),
    }


def _against(found: Against) -> Json:
    return {
        "variant": found.variant.label,
        "recipe": found.recipe.label,
        "cells": [_change(found.tokens_change, percent), _change(found.accuracy_change, points)],
    }


def _mean(found: SeedMean, show: Show) -> Json:
    """A mean over seeds, its standard error below."""
    if not found.num_seeds:
        return _cell(UNKNOWN)
    return _cell(show(found.mean), f"± {_bare(show(found.se))}" if found.num_seeds > 1 else "")


def _change(found: SeedMean, show: Show) -> Json:
    """A change, its standard error and interval below."""
    if not found.num_seeds:
        return _cell(UNKNOWN)
    ends = ", ".join(_bare(signed(end, show)) for end in (found.low, found.high))
    spread = f"± {_bare(show(found.se))}" + (f" [{ends}]" if isfinite(found.low) else "") if found.num_seeds > 1 else ""
    return _cell(signed(found.mean, show), spread)


def _cell(value: str, spread: str = "") -> Json:
    return {"value": value, "spread": spread}


def _bare(text: str) -> str:
    return text.rstrip("% pt")


# --- what was run ----------------------------------------------------------------------------------------------------


def _runs(results: Results) -> list[Json]:
    """Each entry: its recipe, its changes, and the average cost of a run."""
    trained = {row.label: row for field in results.fields for row in field.rows if row.kind == "trained"}
    return [
        {
            "label": entry["label"],
            "recipe": entry["recipe"],
            "changes": _changes(entry),
            "cells": _took(trained.get(entry["label"])),
        }
        for entry in results.content["entries"]
    ]


def _changes(entry: Mapping[str, Any]) -> str:
    words = [f"nothing is trained; asked: {entry['prompt']}"] if entry["prompt"] is not None else []
    return ", ".join([*words, *entry["overrides"]])


def _took(row: SweepRow | None) -> list[str]:
    """Rollouts, their tokens, and seconds of training steps, means over seeds."""
    if row is None:
        return [UNKNOWN] * 3
    shown = [f"{row.over_seeds(key).mean:,.0f}" for key in ("num_tokens", "seconds")]
    return [rollouts(row), *shown]


def training_commands(results: Results) -> list[str]:
    """For every training run, the command that makes this run alone."""
    return [
        shlex.join(
            [
                *("laconic", "train", entry["recipe"], f"seed={seed}", *entry["overrides"]),
                *("--out", str(results.out / entry["folder"] / f"seed-{seed}")),
            ]
        )
        for entry in results.content["entries"]
        if entry["prompt"] is None
        for seed in results.content["seeds"]
    ]


def machine(results: Results) -> str:
    """The machine and the versions on which the first finished training run ran."""
    found: Sequence[Path] = sorted(results.out.glob("*/seed-*/environment.json"))
    if not found:
        return ""
    environment = Fields(read_json(found[0]), str(found[0]))
    packages = environment.object("packages")
    named = {name: packages.maybe(name, packages.text) for name in ("laconic", "torch", "transformers")}
    versions = ", ".join(f"{name} {version}" for name, version in named.items() if version)
    return f"{environment.text('device', 'unknown device')}; {versions}"
