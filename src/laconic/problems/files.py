"""Problems from a file on this machine: JSON lines or parquet."""

from pathlib import Path
from typing import Any

from laconic.errors import InputError, MissingExtraError, ProblemsError
from laconic.problems.address import Address
from laconic.problems.records import check_problems, to_problem
from laconic.problems.thoughts import think_solutions
from laconic.system.files import check_ends, read_numbered_jsonl
from laconic.types import Problem


def load_jsonl(address: Address, _seed: int, *, may_repeat_choices: bool = False) -> list[Problem]:
    """The problems of a file of JSON lines `{"id", "problem", "answer"}`, in file order.

    With `may_repeat_choices` two choices of a problem may be the same. Raises a `ProblemsError` that names file and line if the
    file cannot be read or a line is not a problem.
    """
    address.refuse_unknown("solutions")
    path = _existing(address.name)
    try:
        numbered = list(read_numbered_jsonl(Path(path)))
    except InputError as error:
        raise ProblemsError(str(error)) from error
    wheres = [f"{path}, line {number}" for number, _ in numbered]
    problems = [
        to_problem(record, where, may_repeat_choices=may_repeat_choices)
        for (_, record), where in zip(numbered, wheres, strict=True)
    ]
    return think_solutions(address, check_problems(problems, wheres, path, address.count))


def load_parquet(address: Address, _seed: int) -> list[Problem]:
    """The problems of a parquet file with columns problem (or question), answer and perhaps id, in file order.

    A row without an id is named by its number, counted from 1. Raises a `ProblemsError` that names file and row.
    """
    address.refuse_unknown("solutions")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(address.name, "data") from error
    path = _existing(address.name)
    columns: dict[str, list[Any]] = {}
    place = ""
    try:
        table = pyarrow.parquet.read_table(path)
        for name, values in zip(table.column_names, table.columns, strict=True):
            place = f", column {name!r}"
            columns[name] = values.to_pylist()
    except (OSError, ValueError, OverflowError, LookupError, pyarrow.ArrowException) as error:
        # a ValueError: text that is not UTF-8; an OverflowError: a year above 9999; a LookupError: an unknown time zone
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ProblemsError(f"{path}{place}: cannot be read as parquet ({reason})") from error
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    wheres = [f"{path}, row {number}" for number in range(1, len(rows) + 1)]
    problems = [
        to_problem(row, where, default_id=str(i)) for i, (row, where) in enumerate(zip(rows, wheres, strict=True), 1)
    ]
    return think_solutions(address, check_problems(problems, wheres, path, address.count))


def _existing(path: str) -> str:
    """The path. Raises `ProblemsError`, which says where it was looked up, if nothing is there."""
    if not Path(path).exists():
        place = "" if Path(path).is_absolute() else f" in the working directory, {Path.cwd()}"
        raise ProblemsError(f"{path}: cannot be read (No such file or directory{place})")
    try:
        check_ends(Path(path))
    except InputError as error:
        raise ProblemsError(str(error)) from None
    return path
