"""How long the responses of a job took: the seconds of each chunk, and the share of them that a response has.

`log.py` writes a line for each chunk that it draws, and comparisons read them. A line that a kill tore is passed over: the
seconds of its chunk are then unknown, and the responses stay what they are. This module needs no torch.
"""

from collections.abc import Iterator, Sequence
from math import isnan, nan
from pathlib import Path

from laconic.errors import InputError
from laconic.system.fields import Fields
from laconic.system.files import append_jsonl, naming_file, parse_object, read_bytes


def seconds_file(timing: Path) -> Path:
    """The file of the chunks' seconds that belongs to a timing.json: `timing.jsonl`, `probe.timing.jsonl`."""
    return timing.with_suffix(".jsonl")


def append_seconds(timing: Path, first: int, rows: int, seconds: float) -> None:
    """Record that drawing and grading the chunk of so many rows, from row `first` on, took so many seconds."""
    file = seconds_file(timing)
    _end_last_line(file)
    append_jsonl(file, {"first": first, "rows": rows, "seconds": seconds})


def _end_last_line(file: Path) -> None:
    """End a line that a kill tore, so that the next one is a line of its own."""
    content = read_bytes(file) if file.exists() else b""
    if content and not content.endswith(b"\n"):
        with naming_file(file), file.open("ab") as opened:
            opened.write(b"\n")


def seconds_of_rows(file: Path, tokens: Sequence[int]) -> list[float] | None:
    """The seconds of each row, of which `tokens` are the lengths in the order of the file; None where they are not all known.

    The responses of a chunk are drawn together, and graded, so only the chunk's seconds are measured: a row has the share of them
    that its tokens have of the chunk's. A chunk that a kill made be drawn twice counts with the last time.
    A line that is no JSON object was torn by a kill, and is passed over. Raises an `InputError` that names file and line where
    another is malformed.
    """
    if not file.exists():
        return None
    seconds: list[float] = [nan] * len(tokens)
    for fields in _sound_lines(file):
        first, count, spent = fields.whole("first"), fields.whole("rows"), fields.number("seconds")
        if spent < 0 or first + count > len(tokens):
            raise InputError(f"{fields.where}: expected seconds from 0 up, of rows below {len(tokens)}")
        total = max(1, sum(tokens[first : first + count]))
        seconds[first : first + count] = [spent * n / total for n in tokens[first : first + count]]
    return None if any(map(isnan, seconds)) else seconds


def _sound_lines(file: Path) -> Iterator[Fields]:
    """The lines that hold a JSON object."""
    for number, line in enumerate(read_bytes(file).splitlines(), start=1):
        where = f"{file}, line {number}"
        try:
            record = parse_object(line, where)
        except InputError:
            continue
        yield Fields(record, where)
