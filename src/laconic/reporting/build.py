"""Runs and evaluations as one self-contained HTML page, built from their files alone.

1. `read.py` reads the files; `changes.py` reads or makes the comparisons; `words.py` puts the results into a verdict, sentences
   and tables.
2. `figures.py`, `distributions.py` and `training.py` draw the figures; `browser.py` packs the responses that can be looked at.
3. The template is filled. The texts of models are escaped or packed, and inserted as plain text when they are shown. The page
   may load nothing from anywhere and runs one script, which its content security policy names by its hash.

If files are missing, their part of the page is left out. Needs no torch.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from laconic import __version__
from laconic.comparison.figures import FEW_PROBLEMS, SHOWN_LEVEL
from laconic.comparison.places import evaluation_folders
from laconic.errors import RunError
from laconic.problems.made_from_traffic import note_copy, refuse_made
from laconic.reporting.browser import Browser, build_browser, tell_pairs
from laconic.reporting.changes import read_changes
from laconic.reporting.data import (
    Change,
    Report,
    SelectedProblems,
    mean_tokens_by_problem,
    shared,
    solve_rate_by_problem,
)
from laconic.reporting.distributions import MAX_POINTS, draw_lengths, draw_solve_rates, draw_tokens_by_problem
from laconic.reporting.figures import (
    COLOURS,
    NARROW,
    WIDE,
    budget_points,
    colour_of,
    draw_budgets,
    draw_changes,
    draw_frontier,
    frontier_settings,
)
from laconic.reporting.numbers import UNKNOWN, count, flatten, percent, shown
from laconic.reporting.page_templates import load_templates, template_text
from laconic.reporting.read import (
    find_measurements,
    is_run,
    names_of,
    read_measurements,
    read_selections,
    read_settings,
    read_training,
    settings_of,
    unfinished_notes,
)
from laconic.reporting.slices import slice_tables
from laconic.reporting.training import MAX_STEPS, alarms_of, draw_training
from laconic.reporting.words import details, headline, is_compared, lede, results, scope, verdicts
from laconic.system.files import write_text_atomically
from laconic.types import GRADES

MAX_PANELS, MAX_ROWS, MAX_SELECTED = 6, 8, 400


def write_page(run_dir: Path, out: Path) -> Path:
    """The report of one folder: `write_report([run_dir], out)`."""
    return write_report([run_dir], out)


def write_report(dirs: Sequence[Path], out: Path) -> Path:
    """Writes the page of training runs, folders of evaluations, or single evaluations to `out`, and returns `out`.

    If there are several folders of evaluations, the first is the base. Raises `RunError` if a folder has nothing to show or is
    given twice, an `InputError` that names file and line if a file cannot be read, and `MissingExtraError` if jinja2 is not
    installed.
    """
    for path in dirs:
        refuse_made(path)
    page = page_text(read_report(dirs))
    note_copy(out, [*dirs, *(folder for path in dirs for folder in evaluation_folders(path))])
    write_text_atomically(out, page)
    return out


def read_report(dirs: Sequence[Path]) -> Report:
    """The report of the folders, with as much as their files contain. Raises the same errors as `write_report`."""
    names = names_of(dirs)
    prefixes = [f"{name}: " if len(dirs) > 1 else "" for name in names]
    evaluations = read_measurements(find_measurements(dirs, names))
    trainings = tuple(read_training(path, name) for path, name in zip(dirs, names, strict=True) if is_run(path))
    selections = [tuple(read_selections(path, prefix)) for path, prefix in zip(dirs, prefixes, strict=True)]
    measured, trained = {e.source for e in evaluations}, {run.name for run in trainings if run.metrics}
    for source, (path, name) in enumerate(zip(dirs, names, strict=True)):
        if source not in measured and name not in trained and not selections[source]:
            raise RunError(
                f"{path}: no such folder"
                if not path.exists()
                else f"{path}: is a file; expected a run, a folder of evaluations, or an evaluation"
                if path.is_file()
                else f"{path}: nothing to show; expected metrics.jsonl, problems.jsonl, "
                "or summary.json of an evaluation in it, in its folders or in eval/"
            )
    changes, notes = read_changes(dirs, evaluations)
    notes += [note for path in dirs for note in unfinished_notes(path)]
    settings = [s for path, prefix in zip(dirs, prefixes, strict=True) for s in read_settings(path, prefix)]
    return Report(
        title=", ".join(names),
        evaluations=evaluations,
        changes=tuple(changes),
        trainings=trainings,
        selections=tuple(selection for found in selections for selection in found),
        settings=tuple(settings),
        notes=tuple(notes),
    )


def page_text(report: Report) -> str:
    """The page's text."""
    templates = load_templates("laconic.reporting")
    from markupsafe import Markup

    browser = build_browser(report)
    script = template_text("laconic.reporting", "browser.js") if browser else ""
    figures = {name: {size: Markup(svg) for size, svg in sizes.items()} for name, sizes in draw(report).items()}
    return templates.get_template("page.html.j2").render(
        headline=headline(report),
        lede=lede(report),
        verdicts=verdicts(report),
        main=report.main,
        tables=results(report),
        is_compared=is_compared(report),
        slices=slice_tables(report),
        shown_level=SHOWN_LEVEL,
        few_problems=FEW_PROBLEMS,
        details=details(report),
        scope=scope(report),
        report=report,
        figures=figures,
        alarms=alarms_of(report.trainings),
        selections=[describe_selection(s) for s in report.selections],
        pairs=tell_pairs(report),
        browser=browser,
        settings=[(title, list(flatten(tree))) for title, tree in report.settings],
        measured=[(title, list(flatten(tree))) for title, tree in settings_of(report.evaluations)],
        commands=commands(report),
        trackers=tracker_rows(report),
        grades=[str(grade) for grade in GRADES],
        colours=COLOURS,
        style=Markup(
            template_text("laconic.reporting", "page.css")
        ),  # ours, like the script and the figures: they escape
        script=Markup(script),
        policy=policy(script, browser),
        limits={"points": MAX_POINTS, "steps": MAX_STEPS, "panels": MAX_PANELS},
        version=__version__,
    )


def draw(report: Report) -> dict[str, dict[str, str]]:
    """The figures that can be drawn from the files, by name, each wide and narrow, or in one size that suits both."""
    colours = colour_of(report)
    drawn: dict[str, dict[str, str]] = {}
    shifts = [change for change in report.ordered_changes if _is_known(change)]
    shifts = report.finals if len(shifts) > MAX_ROWS else shifts
    if shifts:
        drawn["changes"] = _sized(lambda width: draw_changes(shifts, colours, width))
    if frontier_settings(report):
        drawn["frontier"] = _sized(lambda width: draw_frontier(report, colours, width))
    if any(map(budget_points, report.evaluations)):
        drawn["budgets"] = _sized(lambda width: draw_budgets(report, colours, width))
    if any(run.metrics for run in report.trainings):
        drawn["training"] = _sized(lambda width: draw_training(report.trainings, width))
    return drawn | _draw_samples(report)


def _draw_samples(report: Report) -> dict[str, dict[str, str]]:
    """The figures drawn from single responses: lengths of every model, and the main pair problem by problem."""
    main = report.main
    beside = report.of_setting(main[0].setting) if main else [e for e in report.evaluations if e.samples][:1]
    last = {e.source: e.rank for e in sorted(beside, key=lambda e: e.rank)}
    ends = [e for e in beside if e.is_base or e.rank == last[e.source]]
    shown_models = [(e.model, e.samples) for e in (ends if len(report.trainings) > 1 else beside) if e.samples][
        :MAX_PANELS
    ]
    drawn: dict[str, dict[str, str]] = {}
    if shown_models:
        drawn["lengths"] = _sized(lambda width: draw_lengths(shown_models, width))
    if main and main[0].samples and main[1].samples:
        before, after = main
        ids, *tokens = shared(mean_tokens_by_problem(before.samples), mean_tokens_by_problem(after.samples))
        _, *rates = shared(solve_rate_by_problem(before.samples), solve_rate_by_problem(after.samples))
        drawn["tokens"] = {"both": draw_tokens_by_problem(ids, *tokens)}
        drawn["solve_rates"] = {"both": draw_solve_rates(*rates)}
    return drawn


def describe_selection(selection: SelectedProblems) -> dict[str, Any]:
    """A phase's selected problems as cells, with the number of dropped problems for each reason."""
    kept = [row for row in selection.rows if row["is_kept"]]
    dropped = [row for row in selection.rows if not row["is_kept"]]
    why = Counter(row["reason"].partition("dropped, ")[2] or row["reason"] for row in dropped)
    return {
        "title": selection.title,
        "num_kept": len(kept),
        "num_all": len(selection.rows),
        "num_shown": min(len(kept), MAX_SELECTED),
        "dropped": why.most_common(6),
        "rows": [
            {
                "problem": row["question"] or row["id"],
                "id": row["id"],
                "rate": shown(row["solve_rate"], percent),
                "tokens": shown(row["mean_tokens"], count),
                "reason": row["reason"],
            }
            for row in kept[:MAX_SELECTED]
        ],
        "has_rates": any(shown(row["solve_rate"], percent) != UNKNOWN for row in kept),
    }


def commands(report: Report) -> list[str]:
    """The commands that the files environment.json have stored."""
    recorded = [tree.get("command") for _, tree in report.settings]
    return list(dict.fromkeys(str(command) for command in recorded if command))


def tracker_rows(report: Report) -> list[dict[str, str]]:
    """Where trackers show the runs: the tracker, the run's name there, and a link or else the command that shows it."""
    return [
        {
            "tracker": tracker,
            "run": tracked.run_id,
            "link": tracked.link if tracked.link.startswith(("https://", "http://")) else "",
            "shown_by": tracked.shown_by,
        }
        for run in report.trainings
        for tracker, tracked in run.trackers.items()
    ]


def policy(script: str, browser: Browser | None) -> str:
    """The page's content security policy: nothing from elsewhere, and no script but the one with this hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    source = f"'sha256-{digest}'" if browser else "'none'"
    return f"default-src 'none'; script-src {source}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _sized(drawing: Callable[[int], str]) -> dict[str, str]:
    return {"wide": drawing(WIDE), "narrow": drawing(NARROW)}


def _is_known(change: Change) -> bool:
    return isfinite(change.figures.tokens_change.estimate) or isfinite(change.figures.accuracy_change.estimate)
