"""What came of it, in words and table cells: a report's numbers in, text out.

1. `headline` claims only what an interval supports: fewer tokens where the whole interval lies below zero, accuracy kept
   where the comparison called it non-inferior. `lede` is the same with its intervals.
2. `verdicts` is one sentence for each model and way of decoding; `results` the cells of the table.

Where several models or runs are candidates, the headline counts them; it never picks the best. Where it speaks of fewer
models than the page shows, it names them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from laconic.evaluation.figures import Figures
from laconic.report.data import Change, Measurement, Record, Report
from laconic.report.numbers import UNKNOWN, Show, count, interval, number, percent, points, shown, signed
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

ANSWERABLE = (Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED)


def headline(report: Report) -> str:
    """The verdict under the hottest decoding in one line; modest where there is no comparison to stand on."""
    changes = main_changes(report)
    if not changes:
        return "Measured, not compared" if report.evaluations else "Not evaluated yet"
    if len(changes) > 1:
        are_runs = _are_runs(report, changes)
        several = "" if are_runs or len({change.base for change in changes}) == 1 else ", each against its own base"
        return _tally([change.record for change in changes], "runs" if are_runs else "candidates") + several
    said = f"{_tokens_verdict(changes[0].record)}, {_accuracy_verdict(changes[0].record)}"
    return f"{_who(changes[0])}: {said[:1].lower()}{said[1:]}" if _is_part(report, changes) else said


def lede(report: Report) -> str:
    """The headline with its numbers and 95% intervals, in one sentence; empty where nothing was compared."""
    changes = main_changes(report)
    if len(changes) != 1:
        return _ranges(changes, is_part=_is_part(report, changes)) if changes else ""
    change = changes[0]
    sides = _sides(report, change)
    return (
        f"{_opening(change.decoding)}, {_movement('mean tokens', sides, 'tokens', count)}"
        f"{_estimate(change.record.get('tokens_change', {}), percent)}, and "
        f"{_movement('accuracy', sides, 'accuracy', percent)}{_estimate(change.record.get('accuracy_change', {}), points)}."
    )


def main_changes(report: Report) -> list[Change]:
    """The final changes under the hottest decoding that has any."""
    finals = report.finals
    return [change for change in finals if change.decoding == finals[0].decoding]


def _is_part(report: Report, changes: Sequence[Change]) -> bool:
    """Does the page show a DIR that these changes do not speak of, or were they made against several bases?"""
    source_of = {e.model: e.source for e in report.evaluations}
    told = {source_of.get(model) for change in changes for model in (change.base, change.model)}
    is_mixed = len({change.base for change in changes}) > 1 and not _are_runs(report, changes)
    return bool(set(source_of.values()) - told) or is_mixed


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
            "sentence": str(change.record.get("verdict") or _sentence(change.record)),
            "aes": _aes_words(change.record.get("aes")),
            "caveats": [_opening(str(caveat)) for caveat in change.record.get("caveats") or ()],
        }
        for change in changes
    ]


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
    """One table body for each benchmark and way of decoding, one row a model: what the cells say, in order."""
    many = len({e.benchmark for e in report.evaluations}) > 1
    return [
        {
            "title": f"{benchmark}, {decoding}" if many else _opening(decoding),
            "rows": [_row(report, evaluation) for evaluation in report.of_setting((benchmark, decoding))],
        }
        for benchmark, decoding in report.settings_of_evaluations
    ]


def details(report: Report) -> list[dict[str, Any]]:
    """What the first table has no room for: thinking and answer apart, pass@k, majority, adaptivity; only what is known."""
    rows = [(e, dict(_details(e.summary.figures))) for e in report.evaluations]
    return [{"model": e.model, "where": ", ".join(e.setting), "told": told} for e, told in rows if told]


def _details(figures: Figures) -> list[tuple[str, str]]:
    told = [
        ("thinking tokens", _with_interval(figures.thinking_tokens, count)),
        ("answer tokens", _with_interval(figures.answer_tokens, count)),
        ("tokens, median and 95th percentile", _quantiles(figures)),
        ("shortest correct, mean", shown(figures.oracle_tokens, count)),
        *((f"pass@{k}", shown(v, percent)) for k, v in figures.pass_at_k.items() if k != 1),
        *((f"majority of {k}", shown(v, percent)) for k, v in (figures.maj_at_k or {}).items()),
        ("correct minus wrong, same problem", _with_interval(figures.length_difference, count, is_change=True)),
    ]
    return [(name, value) for name, value in told if value and value != "–"]


def _quantiles(figures: Figures) -> str:
    found = [shown(tokens, count) for tokens in (figures.median_tokens, figures.p95_tokens)]
    return "" if "–" in found else " and ".join(found)


def _with_interval(found: Interval | None, show: Show, *, is_change: bool = False) -> str:
    if found is None or number(found.estimate) is None:
        return ""
    value = signed(found.estimate, show) if is_change else shown(found.estimate, show)
    return f"{value} {interval((found.low, found.high), show, is_change=is_change)}".strip()


def _row(report: Report, evaluation: Measurement) -> dict[str, Any]:
    figures, change = evaluation.summary.figures, report.change_of(evaluation) or {}
    by_grade, fractions = figures.tokens_by_grade, figures.grade_frac
    cells = [
        _level(figures.accuracy, percent),
        _change(change.get("accuracy_change") or {}, points),
        _level(figures.tokens, count),
        _change(change.get("tokens_change") or {}, percent),
        *({"value": shown(by_grade.get(grade), count), "ci": ""} for grade in ANSWERABLE),
        {"value": shown(fractions.get(Grade.TRUNCATED), percent), "ci": ""},
    ]
    return {
        "model": evaluation.model,
        "cells": [{"column": column} | cell for column, cell in zip(COLUMNS, cells, strict=True)],
        "shares": [(str(grade), number(fractions.get(grade)) or 0.0) for grade in GRADES],
    }


def _level(found: Interval | None, show: Show) -> dict[str, str]:
    if found is None:
        return {"value": UNKNOWN, "ci": ""}
    return {"value": shown(found.estimate, show), "ci": interval((found.low, found.high), show)}


def _change(entry: Record, show: Show) -> dict[str, str]:
    return {"value": signed(entry.get("estimate"), show), "ci": interval(entry.get("ci95"), show, is_change=True)}


def _sentence(change: Record) -> str:
    tokens = "{value} {ci}".format(**_change(change.get("tokens_change", {}), percent)).strip()
    accuracy = "{value} {ci}".format(**_change(change.get("accuracy_change", {}), points)).strip()
    return f"tokens {tokens}, accuracy {accuracy}: {_tokens_verdict(change).lower()}, {_accuracy_verdict(change)}."


def _sides(report: Report, change: Change) -> tuple[Record, Record]:
    """Means of both sides as the comparison has them; else those of the two summaries, where there is one benchmark."""
    base, candidate = change.record.get("base"), change.record.get("candidate")
    if isinstance(base, Mapping) and isinstance(candidate, Mapping):
        return base, candidate
    main = report.main
    if main is None or (main[0].model, main[1].model) != (change.base, change.model):
        return {}, {}
    before, after = (e.summary.figures for e in main)
    return _means(before), _means(after)


def _means(figures: Figures) -> Record:
    found = {"tokens": figures.tokens, "accuracy": figures.accuracy}
    return {name: None if level is None else level.estimate for name, level in found.items()}


def _movement(name: str, sides: tuple[Record, Record], key: str, show: Show) -> str:
    before, after = (number(side.get(key)) for side in sides)
    if before is None or after is None:
        return f"{name} changed by"
    verb = "went from" if show(before) != show(after) else "stayed:"
    return f"{name} {verb} {show(before)} to {show(after)},"


def _estimate(entry: Record, show: Show) -> str:
    told = _change(entry, show)
    return f" {told['value']} {told['ci']}".rstrip().replace(", ", ",\u00a0")


def _aes_words(score: Any) -> str:
    """The accuracy-efficiency score with its constants, empty where there is none."""
    if not isinstance(score, Mapping):
        return shown(score, "{:+.2f}".format) if number(score) is not None else ""
    value = number(score.get("value"))
    constants = [
        f"{name} {score[name]:g}" for name in ("alpha", "beta", "gamma") if number(score.get(name)) is not None
    ]
    return "" if value is None else f"{value:+.2f}" + (f" ({', '.join(constants)})" if constants else "")


def _tally(changes: Sequence[Record], what: str) -> str:
    bounds = [_estimate_and_bounds(change.get("tokens_change", {})) for change in changes]
    is_shorter = [high < 0 for _, _, high in bounds]
    is_kept = [change.get("non_inferior") is True for change in changes]
    if all(is_shorter) and all(is_kept):
        return f"All {len(changes)} {what} shorter and not less accurate"
    shorter, kept = sum(is_shorter), sum(is_kept)
    return f"{shorter} of {len(changes)} {what} shorter, {kept} of {len(changes)} not less accurate"


def _ranges(changes: Sequence[Change], *, is_part: bool) -> str:
    """From the least to the largest estimate; each has its own interval further down."""
    told = []
    for key, name, show in (("tokens_change", "tokens", percent), ("accuracy_change", "accuracy", points)):
        values = [v for c in changes if (v := number((c.record.get(key) or {}).get("estimate"))) is not None]
        if values:
            told.append(f"{name} {signed(min(values), show)} to {signed(max(values), show)}")
    whom = "; ".join(_who(change) for change in changes) if is_part else "against the base"
    return f"{_opening(changes[0].decoding)}, {whom}: {', '.join(told)}. Intervals of each stand below."


def _tokens_verdict(change: Record) -> str:
    estimate, low, high = _estimate_and_bounds(change.get("tokens_change", {}))
    if high < 0:
        return f"{percent(-estimate, 0)} fewer tokens"
    return f"{percent(estimate, 0)} more tokens" if low > 0 else "No clear change in tokens"


def _accuracy_verdict(change: Record) -> str:
    _, low, high = _estimate_and_bounds(change.get("accuracy_change", {}))
    is_kept = change.get("non_inferior") is True
    if low > 0:
        return "higher accuracy"
    if high < 0:
        return "accuracy lower but within the margin" if is_kept else "lower accuracy"
    return "accuracy kept" if is_kept else "accuracy not shown to be kept"


def _estimate_and_bounds(entry: Record) -> tuple[float, float, float]:
    """A change without an interval could be anything."""
    low, high = (number(bound) for bound in entry.get("ci95") or (None, None))
    bounds = (-math.inf if low is None else low, math.inf if high is None else high)
    return (number(entry.get("estimate")) or 0.0, *bounds)


def _opening(text: str) -> str:
    return text[:1].upper() + text[1:]
