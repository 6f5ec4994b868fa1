"""Problems from files and generators, behind one function.

1. `load_problems` looks the kind of a source up in `KINDS`, a visible table, and calls its loader.
2. A file's problems come in file order, a generator's in the order of its stream; `count` takes the first of them.
3. Whatever is wrong with a source is one `ProblemsError` that names the file and line, or the argument.
4. `write_problems` writes JSON lines that `load_problems` reads back as they were.

A source is `PATH.jsonl`, `PATH.parquet`, `hf:NAME[:CONFIG]:SPLIT`, `gym:TASK?arg=value` or `tiny:FAMILY?arg=value`.
What is left out: shuffling (a selection chooses, see `selection.py`), and downloads other than those of `hf:`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from laconic.errors import ProblemsError
from laconic.files import write_text_atomically
from laconic.problems.files import load_jsonl, load_parquet
from laconic.problems.generated import load_gym, load_tiny
from laconic.problems.hub import load_hub
from laconic.problems.records import to_record
from laconic.types import Problem

__all__ = ["KINDS", "load_problems", "write_problems"]

Loader = Callable[[str, int, int | None], list[Problem]]
"""(source, seed, count) to problems."""

KINDS: tuple[tuple[str, Callable[[str], bool], Loader], ...] = (
    ("gym:TASK?arg=value", lambda source: source.startswith("gym:"), load_gym),
    ("tiny:FAMILY?arg=value", lambda source: source.startswith("tiny:"), load_tiny),
    ("hf:NAME[:CONFIG]:SPLIT", lambda source: source.startswith("hf:"), load_hub),
    ("PATH.jsonl", lambda source: source.endswith(".jsonl"), load_jsonl),
    ("PATH.parquet", lambda source: source.endswith(".parquet"), load_parquet),
)


def load_problems(source: str, *, seed: int = 0, count: int | None = None) -> list[Problem]:
    """The problems of `source`, in a fixed order; the first `count` of them where given (generators: 100 without).

    `seed` only matters to generators. Raises `ProblemsError` for whatever is wrong with the source, and
    `MissingExtraError` where it needs a package that is not installed.
    """
    if count is not None and count < 1:
        raise ProblemsError(f"{source}: count must be at least 1, got {count}")
    for _, is_kind, load in KINDS:
        if is_kind(source):
            return [replace(problem, source=problem.source or source) for problem in load(source, seed, count)]
    raise ProblemsError(f"{source}: no such kind of source; expected one of {', '.join(name for name, _, _ in KINDS)}")


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write one JSON line a problem, the whole file or nothing. `source` is not written: the file is the new source.

    Raises `OSError` where the disk refuses.
    """
    lines = (json.dumps(to_record(problem), ensure_ascii=False, allow_nan=False) + "\n" for problem in problems)
    write_text_atomically(path, "".join(lines))
