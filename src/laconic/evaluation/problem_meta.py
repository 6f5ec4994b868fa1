"""problem_meta.jsonl: what the source of the problems says of each, such as its subject and level, for comparisons by slice.

1. `write_meta` (of an evaluation) and `add_meta` (of a run's phases) keep of each problem's `meta` the values by which problems
   can be sorted: numbers, truths and short texts. Objects are flattened (`difficulty.terms`); lists, long texts such
   as a worked solution, and whole numbers beyond the range of floats are left out. A list of tolerances is kept as text, since
   grades depend on it.
2. `read_meta` reads the file back. An older evaluation has none; evaluating again with the same settings adds it, and draws
   nothing. `meta_for_grading` turns what it holds of a problem into what the grader reads. `check_tolerances` refuses other
   tolerances than those with which the folder's responses were graded.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from laconic.errors import RunError
from laconic.grading.grader import tolerances
from laconic.system.fields import Fields
from laconic.system.files import read_numbered_jsonl, to_jsonl, write_text_atomically
from laconic.types import Problem

META = "problem_meta.jsonl"
MOST_TEXT = 80
_TOLERANCE = "tolerance"

MetaValue = str | int | float | bool
Meta = Mapping[str, Mapping[str, MetaValue]]
"""The values of each problem, by the problem's id."""


def write_meta(problems: Sequence[Problem], folder: Path) -> None:
    """Write the file, unless no problem has a value that can be kept."""
    _write({problem.id: dict(kept_values(problem.meta)) for problem in problems}, folder)


def add_meta(problems: Sequence[Problem], folder: Path) -> None:
    """Write the file anew with these problems beside those that it has."""
    found = read_meta(folder) | {problem.id: dict(kept_values(problem.meta)) for problem in problems}
    _write(found, folder)


def _write(meta: Meta, folder: Path) -> None:
    if any(meta.values()):
        rows = [{"problem_id": name, "meta": dict(values)} for name, values in meta.items()]
        write_text_atomically(folder / META, to_jsonl(rows))


def check_tolerances(problems: Sequence[Problem], folder: Path) -> None:
    """Raise `RunError` where responses in `folder` were graded with another tolerance of a problem, as far as the file says. The
    settings of newer folders say it wholly, those of older ones do not; older files are silent about lists."""
    if not (folder / "samples.jsonl").exists():
        return
    stored = read_meta(folder)
    for problem in problems:
        told, now = stored.get(problem.id, {}), dict(kept_values(problem.meta))
        is_silent = _TOLERANCE not in told and isinstance(problem.meta.get(_TOLERANCE), list | tuple)
        if not is_silent and _granted(told) != _granted(now):
            raise RunError(
                f"{folder / META}: problem {problem.id} was graded with tolerance {told.get(_TOLERANCE)}, not "
                f"{now.get(_TOLERANCE)}; choose another --out, or remove what was begun"
            )


def _granted(kept: Mapping[str, MetaValue]) -> tuple[Fraction, ...]:
    return tolerances(Problem("", "", "", meta=meta_for_grading(kept)))


def read_meta(folder: Path) -> dict[str, dict[str, MetaValue]]:
    """What the file holds; empty where there is none. Raises an `InputError` that names file and line if it is malformed."""
    file = folder / META
    if not file.exists():
        return {}
    rows = [Fields(record, f"{file}, line {number}") for number, record in read_numbered_jsonl(file)]
    return {row.text("problem_id"): dict(kept_values(row.object("meta").record)) for row in rows}


def kept_values(meta: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, MetaValue]]:
    """The values of a problem's `meta` that can sort it into slices; those of a mapping inside have dotted keys."""
    for key, value in meta.items():
        if isinstance(value, Mapping):
            yield from kept_values(value, f"{above}{key}.")
        elif _is_number(value) or (isinstance(value, str) and 0 < len(value) <= MOST_TEXT):
            yield f"{above}{key}", value
        elif key == _TOLERANCE and isinstance(value, list | tuple):
            yield f"{above}{key}", json.dumps(value)


def _is_number(value: Any) -> bool:
    """A number or a truth, unless it is a whole number that no float can hold."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)


def meta_for_grading(kept: Mapping[str, MetaValue]) -> Mapping[str, Any]:
    """The values with a list of tolerances as a list again.

    >>> meta_for_grading({"tolerance": "[0.1, 0.2]", "level": 3})
    {'tolerance': [0.1, 0.2], 'level': 3}
    """
    tolerance = kept.get(_TOLERANCE)
    is_list = isinstance(tolerance, str) and tolerance.startswith("[")
    return {**kept, _TOLERANCE: json.loads(str(tolerance))} if is_list else kept
