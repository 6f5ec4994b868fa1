"""Attempts that survive a kill: rows are streamed to a file chunk by chunk, and read from there when the job is resumed.

1. A program asks for attempts in a fixed order, a chunk at a time. A chunk is drawn in one call of the sampler, so the same
   chunk gives the same responses whatever was drawn before it.
2. `AttemptLog.attempt` reads a chunk from the file if all of it is there; otherwise it draws the chunk, grades it and appends its
   rows. A chunk that a kill cut off in the middle is dropped and drawn again. A damaged line that others follow is no kill's
   doing: it is refused, since what follows it may have cost much.
3. `begin` writes the settings with which the rows are drawn to a file beside them. It refuses a folder that was begun with other
   settings, so that no file mixes rows of two settings. Settings that an older folder does not state are not compared (`LATER`).
4. Where the chat template writes the date, the day on which the job began stands among the settings, and all its prompts are of
   that day. A job inside a run takes the run's.
5. The seconds of every chunk go to a file beside the timing (`timing.jsonl`), which says which rows they were spent on.

So a job that was killed and resumed leaves the same bytes as one that was not. Only `timing.json` and `timing.jsonl` differ. Of
several processes that share out the attempts, the first reads and writes the files.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from laconic.config.solver import SamplerConfig
from laconic.errors import InputError, RunError
from laconic.prompts.day import DAY, kept_day, known_day, on_day, reads_clock, today
from laconic.rollouts.rows import ForcedAnswer, ResponseRow, rows_of
from laconic.rollouts.seconds import append_seconds
from laconic.rollouts.solver import Assignment, Solver
from laconic.system.fields import Fields
from laconic.system.files import naming_file, parse_object, read_bytes, read_json, to_jsonl, write_json_atomically
from laconic.types import Group, Problem, Progress

CHUNK_BATCHES = (
    4  # a chunk holds this many full batches: waiting for the last rows of a batch then happens only once per chunk
)

LATER = frozenset(
    {"dtype", "engine", "stop_ids", "prompt_digest", "tolerances", "statements", "force_text"}
)  # a file that states none of them is older, and says nothing of them

Force = Callable[[Sequence[Group]], Sequence[Mapping[int, ForcedAnswer]]]
"""The forced answers of a chunk's responses at each budget, one mapping for each row in the rows' order."""


def begin(path: Path, settings: Mapping[str, Any], rows: Path) -> None:
    """Write to `path` the settings with which `rows` will be drawn. Raises `RunError` if they were begun with other settings."""
    if rows.exists() and not path.exists():
        raise RunError(f"{rows}: exists already, without {path.name}; choose another --out, or remove it")
    stored = read_json(path) if path.exists() else {}
    is_older = bool(stored) and not LATER & stored.keys()
    told = {key: value for key, value in settings.items() if not (is_older and key in LATER)}
    if path.exists():
        for key in sorted({*stored, *told} - {DAY}):
            if stored.get(key) != told.get(key):
                raise RunError(
                    f"{path}: was begun with {key} {_shown(stored.get(key))}, not {_shown(told.get(key))}; "
                    "choose another --out, or remove what was begun"
                )
    write_json_atomically(path, {**told, **({DAY: stored[DAY]} if DAY in stored else {})})


def _settled_day(settings: Path) -> str:
    """The day of a job's prompts: the one that its settings name, else that of the run it belongs to, else today; it is written
    there."""
    stored = read_json(settings) if settings.exists() else {}
    if DAY in stored:
        return known_day(stored[DAY], str(settings))
    day = kept_day() or today()
    if stored:
        write_json_atomically(settings, stored | {DAY: day})
    return day


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def chunks(problems: Sequence[Problem], num_samples: int, decoding: SamplerConfig) -> Iterator[Sequence[Problem]]:
    """The problems in order, cut into chunks whose attempts fill about `CHUNK_BATCHES` batches."""
    size = max(1, CHUNK_BATCHES * decoding.batch_size // num_samples)
    return (problems[start : start + size] for start in range(0, len(problems), size))


def beside(result: Path, name: str) -> Path:
    """The path of a file that belongs to the result of a job, such as `probe.samples.jsonl` beside `probe.jsonl`."""
    return result.with_name(f"{result.stem}.{name}")


class AttemptLog:
    """The attempts of one job, kept in the file `path`; the time they took is kept in the file `timing`."""

    def __init__(self, solver: Solver, decoding: SamplerConfig, path: Path, timing: Path, *, seed: int) -> None:
        self.solver, self.decoding, self.path, self.seed = solver, decoding, path, seed
        self._held: list[tuple[int, ResponseRow]] = []
        self._offset = self._num_rows = 0
        self._day = None
        if reads_clock(solver.lm.tokenizer):
            name = path.name.removesuffix("samples.jsonl") if path.name.endswith("samples.jsonl") else ""
            self._day = solver.team.by_first(lambda: _settled_day(path.with_name(f"{name}settings.json")))
        solver.team.by_first(self._read)
        self._clock = _Clock(timing, str(getattr(solver.lm, "device", "endpoint")))

    def attempt(
        self, assignments: Sequence[Assignment], *, force: Force | None = None, on_progress: Progress | None = None
    ) -> list[ResponseRow]:
        """The rows of one chunk, in the order of problems and samples: read from the file, or drawn now and appended to it.

        Raises `RunError` if the file holds other attempts in their place.
        """
        keys = [(entry.problem.id, entry.first_sample + i) for entry in assignments for i in range(entry.num_samples)]
        rows = self.solver.team.by_first(lambda: self._take(keys))
        if rows is not None:
            if on_progress:
                on_progress(len(rows), 0)
            return rows
        began = time.monotonic()
        with on_day(self._day):
            groups = self.solver.attempt_each(assignments, self.decoding, seed=self.seed, on_progress=on_progress)
            drawn_seconds = time.monotonic() - began
            rows = [row for group in groups for row in rows_of(group)]
            if force:
                rows = [replace(row, forced=forced) for row, forced in zip(rows, force(groups), strict=True)]
        self.solver.team.by_first(lambda: self._add(rows, time.monotonic() - began, drawn_seconds))
        return rows

    def _read(self) -> None:
        self._held = _whole_rows(self.path)

    def _take(self, keys: Sequence[tuple[str, int]]) -> list[ResponseRow] | None:
        stored = self._held[: len(keys)]
        for (_, row), key in zip(stored, keys, strict=False):
            if (row.problem_id, row.sample) != key:
                raise RunError(f"{self.path}: holds an attempt at {row.problem_id!r} in place of {key[0]!r}")
        if len(stored) < len(keys):
            return None
        self._offset += sum(num_bytes for num_bytes, _ in stored)
        self._num_rows += len(stored)
        self._held = self._held[len(keys) :]
        return [row for _, row in stored]

    def _add(self, rows: Sequence[ResponseRow], seconds: float, drawn_seconds: float) -> None:
        """Append the rows, which took so many seconds, forced answers included, after those that were read; an incomplete chunk
        that a kill left behind is overwritten."""
        self._held = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming_file(self.path), self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.truncate(self._offset)
            file.seek(self._offset)
            self._offset += file.write(to_jsonl(row.to_json() for row in rows).encode(errors="backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        self._clock.add(seconds, sum(row.num_tokens for row in rows))
        append_seconds(self._clock.path, self._num_rows, len(rows), drawn_seconds)
        self._num_rows += len(rows)


class _Clock:
    """The time that drawing took and the number of tokens drawn, summed over all sessions of a job."""

    def __init__(self, path: Path, device: str) -> None:
        self.path, self.device = path, device

    def add(self, seconds: float, num_tokens: int) -> None:
        record = read_json(self.path) if self.path.exists() else {"wall_seconds": 0.0, "num_tokens": 0}
        before = Fields(record, str(self.path))
        total_seconds, total_tokens = before.number("wall_seconds") + seconds, before.whole("num_tokens") + num_tokens
        timing = {
            "wall_seconds": total_seconds,
            "num_tokens": total_tokens,
            "tokens_per_second": total_tokens / max(total_seconds, 1e-9),
            "device": self.device,
        }
        write_json_atomically(self.path, timing)


def count_whole_rows(path: Path) -> int:
    """How many intact rows the file holds; a last line that is none, such as one that a kill cut off, does not count. Raises
    `RunError` for a damaged line that others follow."""
    return len(_whole_rows(path))


def _whole_rows(path: Path) -> list[tuple[int, ResponseRow]]:
    """The rows of the file, each with the number of its bytes; a last line that is none is left out."""
    lines = read_bytes(path).splitlines(keepends=True) if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append((len(line), _row(line, f"{path}, line {number}")))
        except InputError as error:
            if number == len(lines):
                break
            raise RunError(
                f"{error}; {len(lines) - number} lines follow it: mend it or put back a copy, or remove it and what follows, "
                "which is then drawn again"
            ) from None
    return rows


def _row(line: bytes, where: str) -> ResponseRow:
    """The row that a line holds. Raises an `InputError` for one that is cut off or otherwise damaged."""
    if not line.endswith(b"\n"):
        raise InputError(f"{where}: is cut off")
    return ResponseRow.from_json(parse_object(line, where), where)
