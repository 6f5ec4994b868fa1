"""Small text files, written whole or not at all, and JSON lines read with their line numbers.

1. `write_text_atomically` writes a second file beside the target and renames it: a reader sees the old file or the new one,
   never half of one.
2. `append_jsonl` adds one line per record; `whole_folder` does for a folder what is done for a file.
3. `check_file` and `check_folder` refuse a place before any work is done for it: a file that is no earlier result stays.
4. `read_jsonl` yields the records back; a file that is wrong raises one `InputError` that names file and line. `sound_lines`
   passes over damaged lines instead.

What is left out: compression, and anything but UTF-8. Errors of the disk name the file. JSON cannot spell `nan`, so writing it is
refused: the code that computes a statistic writes null where the statistic does not exist. Any text can be written: half of a
character becomes its escape, which in JSON spells the same. Which values are read is said in `text.py`.
"""

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.system.text import brief, parse_json

FROM_SHELL = Path("/dev/fd")
Json = dict[str, Any]
"""A JSON object."""


def write_text_atomically(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replace the content of `path` by `text` in one step, making its folder where it is missing. Who may read a file that is
    there stays as it was; `mode` says it of a new one.

    Raises `OSError` where the disk refuses; the old file is then unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with naming_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = stat.S_IMODE(path.stat().st_mode) if path.exists() else mode
        try:
            with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                if kept is not None:
                    partial.chmod(kept)
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
    with naming_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(lines)


@contextlib.contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """An empty folder beside `place`, named after it and this process, that takes the place of `place` once its files are on the
    disk.

    Where an error occurs inside, it is removed and `place` stays as it was; what killed processes left is removed first. Raises
    `OSError` where the disk refuses.
    """
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    remove_partials(place)
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process that had our number
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_files(partial)
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
        _sync(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partials(place: Path) -> None:
    """Remove what processes that were killed while they wrote the file or folder `place` left beside it."""
    for left in list(place.parent.glob(f".{escape(place.name)}.*.partial")):
        process = left.name.split(".")[-2]
        if process.isdecimal() and not _is_running(int(process)):
            remove_leftover(left)


def remove_leftover(left: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, unless another process was faster."""
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def path_of(given: object, name: str, expected: str = "a path") -> Path:
    """The path that the argument `name` is. Raises `InputError`, which says what is `expected`, for anything else.

    >>> path_of(3, "out")
    Traceback (most recent call last):
    ...
    laconic.errors.InputError: out: expected a path, got 3
    """
    path: Any = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(path, str) or not path:
        raise InputError(f"{name}: expected {expected}, got {brief(given)}")
    return Path(path)


def check_folder(out: Path, option: str) -> Path:
    """`out`, if it is a folder that can be written to or created. Otherwise raises `InputError`, which begins with `option`.
    Nothing is created."""
    if out.is_symlink() and not out.exists():
        raise InputError(f"{option} {out}: is a link that leads nowhere; expected a folder")
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{option} {out}: {nearest} is a file; expected a folder")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"{option} {out}: {nearest} cannot be written to")
    return out


_BEGINNINGS = {
    "probe": rb'{"problem_id": .*"attempts": ',
    "selection of problems": rb'{"id": .*"selection": ',
    "list of dropped problems": rb'{"problem_id": "(?:[^"\\]|\\.)*", "is_kept": ',
    "export of traffic": rb'{"traffic_request": ',
    "file of problems": rb'{"id": "traffic/',
    "list of what to label": rb'{"first": ',
    "batch of responses": rb'{"id": .*"sample": ',
    "comparison": rb'{\s*"base": ',
    "page": rb"\s*<!doctype html",
    "log of inspect_ai": rb'PK|\s*\{\s*"version": [0-9]+,\s*"status": ',
}
"""How a file begins that this package has written, by what it holds."""


def check_file(out: Path, kind: str, option: str) -> Path:
    """`out`, if a file can be written there. Otherwise raises `InputError`, which begins with `option`: a file that is no `kind`,
    a key of `_BEGINNINGS`, is not overwritten, and a device or a pipe is not replaced by a file."""
    if out.is_dir():
        raise InputError(f"{option} {out}: is a folder; expected a file's name")
    if out.exists() and not out.is_file():
        raise InputError(f"{option} {out}: is a device or a pipe; expected a file's name")
    if Path(os.path.realpath(out)).is_symlink():
        raise InputError(f"{option} {out}: is a link that leads back to itself; expected a file's name")
    if out.is_file():
        with out.open("rb") as file:
            beginning = file.read(1 << 16)
        if beginning and not re.match(_BEGINNINGS[kind], beginning, re.IGNORECASE):
            raise InputError(f"{option} {out}: exists and is no {kind}; choose another name, or remove the file")
    check_folder(out.parent, option)
    return out


def check_new_folder(place: Path, option: str) -> None:
    """Raise `InputError`, which begins with `option`, where `place` is there and is no empty folder."""
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"{option} {place}: stands already; expected a new folder")


def sync_files(folder: Path) -> None:
    """Wait until the disk holds every file in `folder`."""
    for file in folder.rglob("*"):
        _sync(file)


def _sync(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder; without the latter a loss of power undoes a renaming."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Put the file's name into an error of the disk, such as a full one, which does not tell it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines, in order; blank lines are passed over.

    Raises `InputError` naming file and line where the file cannot be read or a line is not one JSON object.
    """
    return (record for _, record in read_numbered_jsonl(path))


def read_numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Like `read_jsonl`, each record with its line number, counted from 1."""
    check_ends(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, parse_object(line, f"{path}, line {number}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def sound_lines(path: Path, is_sound: Callable[[Json], bool]) -> tuple[list[Json], list[int]]:
    """The records of a file of JSON lines, and the numbers, from 1, of the lines that are damaged: no JSON object, or one that is
    not `is_sound`. Both are empty where there is no file.

    A last line without its end was being written when the writer was killed, and does not count as damaged. Raises `InputError`
    where the file cannot be read.
    """
    records, damaged = [], []
    lines = read_bytes(path).splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_object(line, str(path))
        except InputError:
            record = {}
        if record and is_sound(record):
            records.append(record)
        elif line.endswith(b"\n") and line.strip():
            damaged.append(number)
    return records, damaged


def parse_object(line: bytes, where: str) -> dict[str, Any]:
    """The one JSON object that a line holds. Raises `InputError` beginning with `where` where it holds none."""
    return _object(parse_json(line, where), where)


def read_json(path: Path) -> dict[str, Any]:
    """The one JSON object a file holds. Raises `InputError` naming the file where there is none."""
    return _object(read_json_value(path), str(path))


def read_json_value(path: Path) -> Any:
    """What a file of JSON holds, of whatever kind. Raises `InputError` naming the file where it cannot be read."""
    return parse_json(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises `InputError` naming the file where it cannot be read."""
    check_ends(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def check_ends(path: Path) -> None:
    """Raise `InputError` where `path` is a device or a named pipe, which might never end.

    What a shell puts in place of a command's output, `/dev/fd/N`, ends with the command.
    """
    if path.exists() and not (path.is_file() or path.is_dir() or path.parent == FROM_SHELL):
        raise InputError(f"{path}: is a device or a pipe, which might never end")


def read_json_list(path: Path) -> list[Any]:
    """The one JSON list a file holds. Raises `InputError` naming the file where there is none."""
    items = read_json_value(path)
    if not isinstance(items, list):
        raise InputError(f"{path}: expected a JSON list, found {type(items).__name__}")
    return items


def _object(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record
