"""Files of JSON lines made from stored texts, and taking out of them what was made of forgotten requests. It needs no database.

Which requests a row was made of, and where the list of forgotten ones lies, stands in the row (`problems/forgotten.py`), or in
its `meta`, as in the file of a probe.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.problems.forgotten import LIST_KEY, REQUEST_KEY, marked_parts, read_forgotten, requests_of
from laconic.problems.made_from_traffic import point_to
from laconic.system.files import read_numbered_jsonl, to_jsonl, write_text_atomically

FileRow = Mapping[str, Any]


def clean_file(path: Path, forgotten_list: Path | None = None) -> int:
    """Remove the rows of forgotten requests from a file of JSON lines; how many there were.

    The lists that the rows name are read, or `forgotten_list`, which the rows then name from now on, and so do the notes of a
    folder, of which nothing is removed. Raises `InputError` where the file or a list cannot be read.
    """
    if path.is_dir():
        if forgotten_list is None:
            raise InputError(f"{path}: is a folder, of which no rows are removed; expected a file, or --list FILE")
        point_to(path, forgotten_list)
        return 0
    rows: list[FileRow] = [row for _, row in read_numbered_jsonl(path)]
    if forgotten_list is not None:
        rows = [_naming(row, str(forgotten_list.resolve())) for row in rows]
    places = {str(part.get(LIST_KEY, "")) for row in rows for part in marked_parts(row)}
    gone = frozenset[str]().union(*(_list_of(path, Path(place)) for place in places))
    kept = _without(rows, gone, str(path))
    if places:
        _write_over(path, kept)
    return len(rows) - len(kept)


def _list_of(path: Path, place: Path) -> frozenset[str]:
    try:
        return read_forgotten(place)
    except InputError as error:
        raise InputError(f"{path}: {error}; say where it lies now with --list FILE") from None


def drop_rows(path: Path, gone: frozenset[str], known: frozenset[str]) -> int:
    """Remove the rows that were made of the requests `gone` from a file of JSON lines; how many there were.

    `known` are all requests of which the file was made. Raises `InputError` where it cannot be read, and, once the rows are
    removed, where one is left that names none of them: whose words it holds is not known.
    """
    rows = [row for _, row in read_numbered_jsonl(path)]
    kept = _without(rows, gone, str(path))
    if len(kept) < len(rows):
        _write_over(path, kept)
    if not all(known.issuperset(ids := _ids_in(row, str(path))) and ids for row in kept):
        raise InputError(f"{path}: holds rows that were not written here")
    return len(rows) - len(kept)


def _write_over(path: Path, rows: Sequence[FileRow]) -> None:
    """Write the rows in place of what the file holds: where `path` is a link, of the file that it leads to."""
    write_text_atomically(path.resolve(), to_jsonl(rows))


def _naming(row: FileRow, place: str) -> FileRow:
    """The row with another place of the list, where it was made of requests."""
    named = {**row, LIST_KEY: place} if REQUEST_KEY in row else row
    meta = row.get("meta")
    return {**named, "meta": {**meta, LIST_KEY: place}} if isinstance(meta, Mapping) and REQUEST_KEY in meta else named


def _ids_in(row: FileRow, where: str) -> frozenset[str]:
    return frozenset(name for part in marked_parts(row) for name in requests_of(part, where))


def _without(rows: Sequence[FileRow], gone: frozenset[str], where: str) -> list[FileRow]:
    return [row for row in rows if gone.isdisjoint(_ids_in(row, where))]
