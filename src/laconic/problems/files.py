"""Problems from a file on this machine: JSON lines or parquet."""

from pathlib import Path

from laconic.errors import InputError, MissingExtraError, ProblemsError
from laconic.problems.records import checked, to_problem
from laconic.system.files import read_numbered_jsonl
from laconic.types import Problem


def load_jsonl(source: str, _seed: int, count: int | None) -> list[Problem]:
    """The problems of a file of JSON lines `{"id", "problem", "answer"}`, in file order.

    Raises `ProblemsError` naming file and line.
    """
    try:
        numbered = list(read_numbered_jsonl(Path(source)))
    except InputError as error:
        raise ProblemsError(str(error)) from error
    wheres = [f"{source}, line {number}" for number, _ in numbered]
    problems = [to_problem(record, where) for (_, record), where in zip(numbered, wheres, strict=True)]
    return checked(problems, wheres, source, count)


def load_parquet(source: str, _seed: int, count: int | None) -> list[Problem]:
    """The problems of a parquet file with columns problem (or question), answer and perhaps id, in file order.

    A row without an id is named by its number, counted from 1. Raises `ProblemsError` naming file and row.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(source, "data") from error
    try:
        rows = pyarrow.parquet.read_table(source).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ProblemsError(f"{source}: cannot be read as parquet ({str(error).splitlines()[0]})") from error
    wheres = [f"{source}, row {number}" for number in range(1, len(rows) + 1)]
    problems = [
        to_problem(row, where, default_id=str(i)) for i, (row, where) in enumerate(zip(rows, wheres, strict=True), 1)
    ]
    return checked(problems, wheres, source, count)
