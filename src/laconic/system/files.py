"""Small text files, written whole or not at all, and JSON lines read with their line numbers.

1. `write_text_atomically` writes a second file beside the target and renames it: a reader sees the old file or the new one,
   never half of one.
2. `append_jsonl` adds one line per record.
3. `read_jsonl` yields the records back; a file that is wrong raises one `InputError` that names file and line.

What is left out: compression, locks between processes, and anything but UTF-8. JSON cannot spell `nan`, so writing it is
refused: the code that computes a statistic writes null where the statistic does not exist.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.system.json_text import parse_json

Json = dict[str, Any]
"""A JSON object."""


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in one step, making its folder where it is missing.

    Raises `OSError` where the disk refuses; the old file is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json_atomically(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all.

    Raises `ValueError` where `value` holds `nan` or an infinity.
    """
    write_text_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def to_jsonl(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as JSON lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def append_jsonl(path: Path, *records: Mapping[str, Any]) -> None:
    """Add one line for each record to the end of `path`, making the file and its folder where they are missing.

    Raises `ValueError` where a record holds `nan` or an infinity; then nothing is written.
    """
    lines = "".join(json.dumps(dict(record), ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(lines)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines, in order; blank lines are passed over.

    Raises `InputError` naming file and line where the file cannot be read or a line is not one JSON object.
    """
    return (record for _, record in read_numbered_jsonl(path))


def read_numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Like `read_jsonl`, each record with its line number, counted from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parsed(line, f"{path}, line {number}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_json(path: Path) -> dict[str, Any]:
    """The one JSON object a file holds. Raises `InputError` naming the file where there is none."""
    try:
        return _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_json_list(path: Path) -> list[Any]:
    """The one JSON list a file holds. Raises `InputError` naming the file where there is none."""
    try:
        items = _value(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(items, list):
        raise InputError(f"{path}: expected a JSON list, found {type(items).__name__}")
    return items


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    record = _value(text, where)
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record


def _value(text: bytes, where: str) -> Any:
    try:
        return parse_json(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        place = f"byte {text[error.start]:#04x} at position {error.start}"
        raise InputError(f"{where}: not UTF-8 ({place})") from error
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
