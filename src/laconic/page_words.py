"""What came of a run, in words and table cells: numbers in, text out.

The headline claims only what an interval supports: fewer tokens where the whole interval lies below zero, accuracy kept
where the comparison called it non-inferior. A number that does not exist is a dash.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from laconic.page_data import Evaluation, Record, Run
from laconic.types import GRADES, Grade

UNKNOWN = "–"
ANSWERABLE = (Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED)
Show = Callable[[float], str]


def headline(run: Run) -> str:
    """The verdict under the hottest decoding in one line; modest where there is no comparison to stand on."""
    change = run.change_of(run.main[1]) if run.main else None
    if change is None:
        return "A run without a comparison" if run.evaluations else "A run without evaluations"
    return f"{_tokens_verdict(change)}, {_accuracy_verdict(change)}"


def verdicts(run: Run) -> list[dict[str, Any]]:
    """What the last phase changed, one entry a way of decoding: the comparison's own sentence where it has one."""
    finals = [both[1] for tag in run.tags if (both := run.before_and_after(tag))]
    changes = [(final.decoding, run.change_of(final)) for final in finals]
    return [
        {
            "decoding": decoding,
            "sentence": str(change.get("verdict") or _sentence(change)),
            "aes": shown(_aes(change), "{:+.2f}".format),
            "caveats": [str(caveat) for caveat in change.get("caveats") or ()],
        }
        for decoding, change in changes
        if change is not None
    ]


def tiles(run: Run) -> list[dict[str, str]]:
    """Before and after in two numbers, under the hottest decoding."""
    if run.main is None:
        return []
    before, after = (evaluation.summary for evaluation in run.main)
    kinds: tuple[tuple[str, str, Show], ...] = (("mean tokens", "tokens", count), ("accuracy", "accuracy", percent))
    return [
        {"name": name, "before": shown(_mean(before, key), show), "after": shown(_mean(after, key), show)}
        for name, key, show in kinds
    ]


def scope(run: Run) -> str:
    """What the numbers are about: how many responses to how many problems."""
    sizes = {(e.summary.get("num_problems"), e.summary.get("num_samples"), e.decoding) for e in run.evaluations}
    return "; ".join(
        f"{problems} problems, {samples} response{'s' * (samples != 1)} each ({decoding})"
        for problems, samples, decoding in sorted(sizes, key=str, reverse=True)
        if problems and samples
    )


def table_rows(run: Run, tag: str) -> list[dict[str, Any]]:
    """One row a model: what the table's cells say, in order."""
    return [_row(run, evaluation) for evaluation in run.of_tag(tag)]


def _row(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    summary, change = evaluation.summary, run.change_of(evaluation) or {}
    by_grade, fractions = summary.get("tokens_by_grade", {}), summary.get("grade_frac", {})
    return {
        "model": run.label(evaluation.model),
        "cells": [
            _level(summary.get("accuracy", {}), percent),
            _change(change.get("accuracy_change", {}), points),
            _level(summary.get("tokens", {}), count),
            _change(change.get("tokens_change", {}), percent),
            *({"value": shown(by_grade.get(grade), count), "ci": ""} for grade in ANSWERABLE),
            {"value": shown(fractions.get("truncated"), percent), "ci": ""},
        ],
        "shares": [(str(grade), number(fractions.get(grade)) or 0.0) for grade in GRADES],
    }


def _level(entry: Record, show: Show) -> dict[str, str]:
    return {"value": shown(entry.get("mean"), show), "ci": interval(entry.get("ci95"), show)}


def _change(entry: Record, show: Show) -> dict[str, str]:
    return {"value": signed(entry.get("estimate"), show), "ci": interval(entry.get("ci95"), show, is_change=True)}


def _sentence(change: Record) -> str:
    tokens = "{value} {ci}".format(**_change(change.get("tokens_change", {}), percent)).strip()
    accuracy = "{value} {ci}".format(**_change(change.get("accuracy_change", {}), points)).strip()
    return f"tokens {tokens}, accuracy {accuracy}: {_tokens_verdict(change).lower()}, {_accuracy_verdict(change)}."


def _aes(change: Record) -> Any:
    score = change.get("aes")
    return score.get("value") if isinstance(score, Mapping) else score


def _mean(summary: Record, key: str) -> Any:
    return summary.get(key, {}).get("mean")


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


def flatten(tree: Record, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Dotted keys and their values, as one would give them on the command line.

    >>> list(flatten({"model": {"lora": None}, "seed": 1}))
    [('model.lora', 'null'), ('seed', '1')]
    """
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            yield from flatten({str(index): item for index, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def percent(value: float, digits: int = 1) -> str:
    """0.7123 is `71.2%`."""
    return f"{100 * value:.{digits}f}%"


def points(value: float) -> str:
    """0.021 is `2.1 pt`: a difference of two percentages."""
    return f"{100 * value:.1f} pt"


def count(value: float) -> str:
    """Tokens: one decimal below 100, none above.

    >>> count(63.25), count(1234.5)
    ('63.2', '1,234')
    """
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def shown(value: Any, show: Show) -> str:
    """The number as text, a dash where there is none."""
    found = number(value)
    return UNKNOWN if found is None else show(found)


def signed(value: Any, show: Show) -> str:
    """With its sign, a true minus.

    >>> signed(-0.4, percent), signed(0.021, points), signed(None, points)
    ('−40.0%', '+2.1 pt', '–')
    """
    found = number(value)
    return UNKNOWN if found is None else ("−" if found < 0 else "+") + show(abs(found))


def interval(ci95: Sequence[Any] | None, show: Show, is_change: bool = False) -> str:
    """An interval in the unit of the number it belongs to, empty where there is none.

    >>> interval([0.68, 0.743], percent), interval([-0.01, 0.03], points, is_change=True), interval(None, percent)
    ('[68.0, 74.3]', '[−1.0, +3.0]', '')
    """
    bounds = [(signed if is_change else shown)(bound, show).rstrip("% pt") for bound in ci95 or ()]
    return "" if UNKNOWN in bounds or len(bounds) != 2 else f"[{bounds[0]}, {bounds[1]}]"


def number(value: Any) -> float | None:
    """A finite number, or `None` for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None
