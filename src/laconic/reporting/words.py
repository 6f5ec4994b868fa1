"""Puts the results of a report into words and table cells.

1. `headline` claims only what an interval supports: fewer tokens if the whole interval is below zero, and accuracy kept if the
   comparison called it non-inferior. `lede` states the same with its intervals.
2. `verdicts` is one sentence for each model and way of decoding; `results` are the cells of the table.

If several models or runs are candidates, the headline counts them and never picks the best. If it is about fewer models than the
page shows, it names them.
"""

import math
from collections.abc import Sequence
from typing import Any

from laconic.comparison.figures import Aes, ChangeFigures, Means, Sides
from laconic.comparison.sentences import seconds_line
from laconic.evaluation.figures import Figures
from laconic.reporting.data import Change, Measurement, Report
from laconic.reporting.numbers import (
    UNKNOWN,
    Show,
    count,
    ends_shown,
    finite_number,
    percent,
    points,
    shown,
    signed,
)
from laconic.statistics.intervals import Interval
from laconic.types import GRADES, Grade

COLUMNS = (
    "accuracy",
    "accuracy, vs base",
    "mean tokens",
    "tokens, vs base",
    "tokens when correct",
    "tokens when wrong",
    "tokens without answer",
    "tokens when truncated",
    "truncated share",
)
"""Names of a result row's cells, in order; a narrow page shows them beside the cells in place of a heading."""

CHANGES = (COLUMNS[1], COLUMNS[3])
"""Columns that only a comparison fills."""

NOT_COMPARED = Interval(math.nan, math.nan, math.nan)
"""The change of what was not compared."""

ANSWERABLE = (Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED)


def headline(report: Report) -> str:
    """The verdict under the hottest decoding in one line; without a comparison it makes no claim."""
    changes = main_changes(report)
    if not changes:
        return "Measured, not compared" if report.evaluations else "Not evaluated yet"
    if len(changes) > 1:
        are_runs = _are_runs(report, changes)
        several = "" if are_runs or len({change.base for change in changes}) == 1 else ", each against its own base"
        return _tally([change.figures for change in changes], "runs" if are_runs else "candidates") + several
    claim = f"{_tokens_claim(changes[0].figures)}, {_accuracy_claim(changes[0].figures)}"
    return f"{_who(changes[0])}: {claim[:1].lower()}{claim[1:]}" if _is_part(report, changes) else claim


def lede(report: Report) -> str:
    """The headline with its numbers and 95% intervals, in one sentence; empty if nothing was compared."""
    changes = main_changes(report)
    if len(changes) != 1:
        return _ranges(changes, is_part=_is_part(report, changes)) if changes else ""
    change, means = changes[0], _means(report, changes[0])
    before, after = means.base, means.candidate
    return (
        f"{_opening(change.decoding)}, {_movement('mean tokens', before.tokens, after.tokens, count)}"
        f"{_estimate(change.figures.tokens_change, percent)}, and "
        f"{_movement('accuracy', before.accuracy, after.accuracy, percent)}{_estimate(change.figures.accuracy_change, points)}."
    )


def main_changes(report: Report) -> list[Change]:
    """The final changes under the hottest decoding that has any."""
    finals = report.finals
    return [change for change in finals if change.decoding == finals[0].decoding]


def _is_part(report: Report, changes: Sequence[Change]) -> bool:
    """Does the page show a DIR that these changes do not speak of, or were they made against several bases?"""
    source_of = {e.model: e.source for e in report.evaluations}
    compared = {source_of.get(model) for change in changes for model in (change.base, change.model)}
    is_mixed = len({change.base for change in changes}) > 1 and not _are_runs(report, changes)
    return bool(set(source_of.values()) - compared) or is_mixed


def _are_runs(report: Report, changes: Sequence[Change]) -> bool:
    """Is every change that of a training run against its own base, with several runs on the page?"""
    prefixes = tuple(f"{run.name}: " for run in report.trainings)
    return len(prefixes) > 1 and all(change.model.startswith(prefixes) for change in changes)


def _who(change: Change) -> str:
    return f"{change.model} against {change.base}"


def verdicts(report: Report) -> list[dict[str, Any]]:
    """What each candidate changed, one entry a way of decoding: the comparison's own sentence where it has one."""
    changes = report.finals
    many, is_part = len({change.model for change in changes}) > 1, _is_part(report, changes)
    return [
        {
            "name": f"{_who(change) if is_part else change.model}, {change.decoding}"
            if many or is_part
            else _opening(change.decoding),
            "sentence": change.figures.verdict or _sentence(change.figures),
            "aes": _aes_words(change.figures.aes),
            "caveats": [_opening(caveat) for caveat in (*change.candidate.caveats, *_seconds(change))],
        }
        for change in changes
    ]


def _seconds(change: Change) -> list[str]:
    """The seconds of a response, on each benchmark for which both sides recorded them."""
    known = {name: entry.seconds for name, entry in change.candidate.benchmarks.items() if entry.seconds is not None}
    return [f"{name}: {seconds_line(seconds)}" for name, seconds in known.items()]


def scope(report: Report) -> str:
    """What the numbers are about: how many responses to how many problems."""
    sizes = dict.fromkeys(
        (e.benchmark, e.summary.setup.num_problems, e.summary.setup.num_samples, e.decoding) for e in report.evaluations
    )
    many = len({benchmark for benchmark, *_ in sizes}) > 1
    return "; ".join(
        f"{benchmark + ': ' if many else ''}{problems:,} problem{'s' * (problems != 1)}, "
        f"{samples} response{'s' * (samples != 1)} each ({decoding})"
        for benchmark, problems, samples, decoding in sizes
        if problems and samples
    )


def results(report: Report) -> list[dict[str, Any]]:
    """One table body for each benchmark and way of decoding, with one row per model and its cells in order. Columns of changes
    are left out if nothing was compared."""
    many = len({e.benchmark for e in report.evaluations}) > 1
    return [
        {
            "title": f"{benchmark}, {decoding}" if many else _opening(decoding),
            "rows": [_row(report, evaluation) for evaluation in report.of_setting((benchmark, decoding))],
        }
        for benchmark, decoding in report.settings_of_evaluations
    ]


def is_compared(report: Report) -> bool:
    """Whether any evaluation has a change against a base."""
    return any(report.figures_of(evaluation) for evaluation in report.evaluations)


def details(report: Report) -> list[dict[str, Any]]:
    """What the first table has no room for: thinking and answer apart, pass@k, majority, adaptivity; only what is known."""
    rows = [(e, dict(_details(e.summary.figures))) for e in report.evaluations]
    return [{"model": e.model, "where": ", ".join(e.setting), "facts": facts} for e, facts in rows if facts]


def _details(figures: Figures) -> list[tuple[str, str]]:
    facts = [
        ("thinking tokens", _with_interval(figures.thinking_tokens, count)),
        ("answer tokens", _with_interval(figures.answer_tokens, count)),
        ("tokens, median and 95th percentile", _quantiles(figures)),
        ("shortest correct, mean", shown(figures.oracle_tokens, count)),
        *((f"pass@{k}", shown(v, percent)) for k, v in figures.pass_at_k.items() if k != 1),
        *((f"majority of {k}", shown(v, percent)) for k, v in (figures.maj_at_k or {}).items()),
        ("correct minus wrong, same problem", _with_interval(figures.length_difference, count, is_change=True)),
    ]
    return [(name, value) for name, value in facts if value and value != "–"]


def _quantiles(figures: Figures) -> str:
    found = [shown(tokens, count) for tokens in (figures.median_tokens, figures.p95_tokens)]
    return "" if "–" in found else " and ".join(found)


def _with_interval(found: Interval | None, show: Show, *, is_change: bool = False) -> str:
    if found is None or math.isnan(found.estimate):
        return ""
    value = (signed if is_change else shown)(found.estimate, show)
    return f"{value} {ends_shown(found, show, is_change=is_change)}".strip()


def _row(report: Report, evaluation: Measurement) -> dict[str, Any]:
    figures, changes = evaluation.summary.figures, report.figures_of(evaluation)
    by_grade, fractions = figures.tokens_by_grade, figures.grade_frac
    cells = [
        _level(figures.accuracy, percent),
        change_cell(changes.accuracy_change if changes else NOT_COMPARED, points),
        _level(figures.tokens, count),
        change_cell(changes.tokens_change if changes else NOT_COMPARED, percent),
        *({"value": shown(by_grade.get(grade), count), "ci": ""} for grade in ANSWERABLE),
        {"value": shown(fractions.get(Grade.TRUNCATED), percent), "ci": ""},
    ]
    shown_columns = COLUMNS if is_compared(report) else [column for column in COLUMNS if column not in CHANGES]
    by_column = dict(zip(COLUMNS, cells, strict=True))
    return {
        "model": evaluation.model,
        "cells": [{"column": column} | by_column[column] for column in shown_columns],
        "shares": [(str(grade), finite_number(fractions.get(grade)) or 0.0) for grade in GRADES],
    }


def _level(found: Interval | None, show: Show) -> dict[str, str]:
    if found is None:
        return {"value": UNKNOWN, "ci": ""}
    return {"value": shown(found.estimate, show), "ci": ends_shown(found, show)}


def change_cell(found: Interval, show: Show) -> dict[str, str]:
    """A change and its interval."""
    return {"value": signed(found.estimate, show), "ci": ends_shown(found, show, is_change=True)}


def _sentence(figures: ChangeFigures) -> str:
    tokens = "{value} {ci}".format(**change_cell(figures.tokens_change, percent)).strip()
    accuracy = "{value} {ci}".format(**change_cell(figures.accuracy_change, points)).strip()
    return f"tokens {tokens}, accuracy {accuracy}: {_tokens_claim(figures).lower()}, {_accuracy_claim(figures)}."


def _means(report: Report, change: Change) -> Sides[Means]:
    """Means of both sides as the comparison has them; else those of the two summaries, where there is one benchmark."""
    means, main = change.figures.means, report.main
    is_known = any(math.isfinite(value) for _, side in means.items() for value in (side.tokens, side.accuracy))
    if is_known or main is None or (main[0].model, main[1].model) != (change.base, change.model):
        return means
    return Sides(*main).map(_means_of)


def _means_of(evaluation: Measurement) -> Means:
    accuracy, tokens = evaluation.summary.figures.accuracy, evaluation.summary.figures.tokens
    return Means(*(math.nan if found is None else found.estimate for found in (accuracy, tokens)))


def _movement(name: str, before: float, after: float, show: Show) -> str:
    if math.isnan(before) or math.isnan(after):
        return f"{name} changed by"
    verb = "went from" if show(before) != show(after) else "stayed:"
    return f"{name} {verb} {show(before)} to {show(after)},"


def _estimate(found: Interval, show: Show) -> str:
    cell = change_cell(found, show)
    return f" {cell['value']} {cell['ci']}".rstrip().replace(", ", ",\u00a0")


def _aes_words(score: Aes) -> str:
    """The accuracy-efficiency score with its constants, empty if there is none."""
    constants = [f"{name} {value:g}" for name, value in score.constants.items() if math.isfinite(value)]
    return (
        "" if math.isnan(score.value) else f"{score.value:+.2f}" + (f" ({', '.join(constants)})" if constants else "")
    )


def _tally(changes: Sequence[ChangeFigures], what: str) -> str:
    is_shorter = [figures.tokens_change.high < 0 for figures in changes]
    is_kept = [figures.non_inferior for figures in changes]
    if all(is_shorter) and all(is_kept):
        return f"All {len(changes)} {what} shorter and not less accurate"
    shorter, kept = sum(is_shorter), sum(is_kept)
    return f"{shorter} of {len(changes)} {what} shorter, {kept} of {len(changes)} not less accurate"


def _ranges(changes: Sequence[Change], *, is_part: bool) -> str:
    """From the least to the largest estimate; each has its own interval further down."""
    movements = []
    tokens, accuracy = ([c.figures.tokens_change for c in changes], [c.figures.accuracy_change for c in changes])
    for name, found, show in (("tokens", tokens, percent), ("accuracy", accuracy, points)):
        if values := [change.estimate for change in found if math.isfinite(change.estimate)]:
            movements.append(f"{name} {signed(min(values), show)} to {signed(max(values), show)}")
    whom = "; ".join(_who(change) for change in changes) if is_part else "against the base"
    return f"{_opening(changes[0].decoding)}, {whom}: {', '.join(movements)}. Intervals of each stand below."


def _tokens_claim(figures: ChangeFigures) -> str:
    """The claim about tokens; a change without an interval that excludes zero is not clear."""
    change = figures.tokens_change
    if change.high < 0:
        return f"{_rounded(-change.estimate)} fewer tokens"
    return f"{_rounded(change.estimate)} more tokens" if change.low > 0 else "No clear change in tokens"


def _rounded(change: float) -> str:
    """A percentage for a headline: whole, but with a decimal where that would read as nothing or as all.

    >>> _rounded(0.404), _rounded(0.004), _rounded(0.996), _rounded(0.0002), _rounded(0.9998), _rounded(2.5)
    ('40%', '0.4%', '99.6%', 'Under 0.1%', 'Over 99.9%', '250%')
    """
    if change < 0.0005:
        return f"Under {percent(0.001)}"
    if 0.9995 <= change < 1:
        return f"Over {percent(0.999)}"
    return percent(change, 1 if change < 0.1 or 0.99 < change < 1 else 0)


def _accuracy_claim(figures: ChangeFigures) -> str:
    if figures.accuracy_change.low > 0:
        return "higher accuracy"
    if figures.accuracy_change.high < 0:
        return "accuracy lower but within the margin" if figures.non_inferior else "lower accuracy"
    return "accuracy kept" if figures.non_inferior else "accuracy not shown to be kept"


def _opening(text: str) -> str:
    return text[:1].upper() + text[1:]
