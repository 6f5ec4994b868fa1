"""The slices of each change as a table: is brevity paid for by someone?

1. A table for each model and decoding that the report is about: a sentence on the worst slice, then the slices of each benchmark
   by each key, as `comparison/slices.py` has compared them.
2. A slice that is too small keeps its row, with its estimates and the words "not decided".
"""

from collections.abc import Iterator
from typing import Any

from laconic.comparison.figures import SliceFigures
from laconic.comparison.sentences import slices_line
from laconic.comparison.slices import num_decided, worst_slice
from laconic.reporting.data import Change, Report
from laconic.reporting.numbers import percent, points
from laconic.reporting.words import change_cell

SLICE_COLUMNS = ("problems", "accuracy, vs base", "tokens, vs base", "shown")


def slice_tables(report: Report) -> list[dict[str, Any]]:
    """A table for each change that the report is about and that has slices."""
    return [
        {
            "model": change.model,
            "where": change.decoding,
            "sentence": _sentence(change.candidate.slices),
            "columns": SLICE_COLUMNS,
            "parts": list(_parts(change)),
        }
        for change in report.ordered_changes
        if change.is_final and change.candidate.slices
    ]


def _sentence(slices: list[SliceFigures]) -> str:
    line = slices_line(worst_slice(slices), num_decided(slices))
    return f"{line[0].upper()}{line[1:]}."


def _parts(change: Change) -> Iterator[dict[str, Any]]:
    """The slices of each benchmark by each key."""
    for benchmark, entry in change.candidate.benchmarks.items():
        for key in dict.fromkeys(part.key for part in entry.slices):
            rows = [_row(part) for part in entry.slices if part.key == key]
            yield {"title": f"{benchmark}, by {key.replace('_', ' ')}", "rows": rows}


def _row(part: SliceFigures) -> dict[str, Any]:
    cells = [
        {"value": f"{part.num_problems}", "ci": ""},
        change_cell(part.accuracy_change, points),
        change_cell(part.tokens_change, percent),
        {"value": part.shown_words or "–", "ci": ""},
    ]
    return {
        "name": part.value,
        "cells": [{"column": name} | cell for name, cell in zip(SLICE_COLUMNS, cells, strict=True)],
    }
