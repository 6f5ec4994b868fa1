"""Evaluation folders, read and checked: what `laconic evaluate` and a training run leave behind.

1. Find the evaluations of a run: the folder itself, or the folders in `RUN/eval/` or in `RUN/`. An evaluation that was begun and
   not finished is refused, never skipped.
2. Read from summary.json what was measured and how: benchmark, prompt, grader and `Decoding`. The folder's name decides
   nothing: `mix`, `mix-t1` and `mix-boxed-t1` may all hold benchmark `mix` at temperature 1.
3. Read samples.jsonl line by line into one row per problem. Only ids, grades and lengths are kept of a line, so a file may be
   larger than memory. Question and gold answer are kept once per problem, so that the same problem can be recognised in another
   folder. One digest is kept of all texts, so that identical responses can be recognised.
4. Refuse a folder whose samples are not those that its summary describes.

What is left out: response texts, which only the report shows, and the summary's own figures, which a comparison computes again
from the samples.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path

import numpy as np

from laconic.errors import InputError
from laconic.evaluation.figures import Setup, Summary
from laconic.rollouts.rows import ResponseRow, read_numbered_rows, read_rows
from laconic.statistics.claims import PerProblem, per_problem
from laconic.system.fields import Fields
from laconic.system.files import read_json
from laconic.types import Grade

SAMPLES, SUMMARY, SETTINGS = "samples.jsonl", "summary.json", "settings.json"

_SUMMARY_KEYS = ("benchmark", "model", "num_problems", "num_samples", "temperature", "max_tokens", "seed")

Identity = tuple[str, str, str]
"""Problem id, question and gold answer: what makes two problems the same."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How responses were drawn. Two evaluations can be compared only if all of it agrees.

    `max_tokens` is the cap on a response's length, `None` if several benchmarks have caps of their own. `top_p` and `min_p`
    are `None` if an old summary lacks them; greedy decoding does not use them, so both then have the values that switch them off.
    """

    temperature: float
    top_p: float | None
    min_p: float | None
    max_tokens: int | None

    def words(self) -> str:
        """The decoding in words, without options that are switched off.

        >>> Decoding(0.6, 0.95, 0.0, 64).words(), Decoding(0.0, 1.0, 0.0, None).words()
        ('T=0.6, top-p 0.95, cap 64', 'greedy')
        """
        parts = ["greedy" if self.temperature == 0 else f"T={self.temperature:g}"]
        for name, value, off in (("top-p", self.top_p, 1.0), ("min-p", self.min_p, 0.0)):
            if value != off:
                parts.append(f"{name} {'unknown' if value is None else format(value, 'g')}")
        return ", ".join(parts if self.max_tokens is None else [*parts, f"cap {self.max_tokens}"])


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One evaluation folder; `identities` and `problems` agree row by row.

    `tokens_by_grade` has the mean length of all samples of a grade, pooled over problems, `nan` if there is none. `digest` is the
    same for two evaluations whose responses have the same text and length for every problem and sample, whatever the order of
    their lines; `None` if a text is missing.
    """

    path: Path
    summary: Summary
    benchmark: str
    model: str
    num_samples: int
    decoding: Decoding
    identities: tuple[Identity, ...]
    problems: PerProblem
    tokens_by_grade: Mapping[Grade, float]
    digest: int | None

    @property
    def prompt(self) -> str | None:
        """The prompt's name, `None` if an old summary lacks it."""
        return self.summary.setup.prompt.name if self.summary.setup.prompt else None

    @property
    def grader(self) -> str | None:
        """Name and version of the grader, `None` if an old summary lacks them."""
        return self.summary.setup.grader

    @property
    def slot(self) -> tuple[str, Decoding]:
        """Its place in a comparison: a contender has at most one evaluation per slot."""
        return self.benchmark, self.decoding


@dataclass(slots=True)
class _Digest:
    """A sum of hashes, one per response, which does not depend on the order of the lines."""

    total: int | None = 0

    def add(self, row: ResponseRow) -> None:
        if self.total is None or "text" in row.absent:
            self.total = None
            return
        whole = f"{row.problem_id}\0{row.sample}\0{row.num_tokens}\0{row.text}"
        hashed = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self.total = (self.total + int.from_bytes(hashed)) % (1 << 128)


@dataclass(frozen=True, slots=True)
class _Columns:
    """samples.jsonl as columns, one entry per sample; `identities` has one entry per problem id."""

    ids: list[str]
    numbers: list[int]
    grades: list[Grade]
    tokens: list[int]
    identities: dict[str, Identity]
    digest: _Digest = field(default_factory=_Digest)


def find_evaluations(run: Path) -> list[Path]:
    """Evaluation folders of a run, sorted by name; `run` itself if it is an evaluation folder.

    Raises `InputError` if there is none.
    """
    if any((run / name).is_file() for name in (SAMPLES, SUMMARY)):
        return [run]
    for parent in (run / "eval", run):
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        if found := [folder for folder in folders if _is_evaluation(folder)]:
            return found
    if (run / SETTINGS).is_file():  # it was begun, but has no sample yet
        return [run]
    raise InputError(f"{run}: no evaluation here (looked for {SAMPLES} in it, in its folders and in eval/)")


def read_evaluations(run: Path) -> list[Evaluation]:
    """All evaluations of a run. Raises an `InputError` that names file and line if one of them is incomplete."""
    return [read_evaluation(path) for path in find_evaluations(run)]


def read_evaluation(path: Path) -> Evaluation:
    """Read one evaluation folder.

    Raises `InputError` if it is not finished, a file is missing or malformed, or the samples are not those that the summary
    describes.
    """
    if not (path / SUMMARY).exists():
        raise InputError(f"{path}: not finished, there is no {SUMMARY}; run its evaluation again to resume it")
    fields = Fields(read_json(path / SUMMARY), str(path / SUMMARY))
    fields.need(_SUMMARY_KEYS)
    summary, num_samples = read_summary(path), fields.whole("num_samples")
    columns = _columns(path / SAMPLES)
    _check_whole(path / SAMPLES, fields.whole("num_problems"), num_samples, columns)
    return Evaluation(
        path=path,
        summary=summary,
        benchmark=fields.text("benchmark"),
        model=fields.text("model"),
        num_samples=num_samples,
        decoding=_decoding(path / SUMMARY, summary.setup),
        identities=tuple(columns.identities.values()),
        problems=per_problem(columns.ids, columns.grades, columns.tokens),
        tokens_by_grade=_tokens_by_grade(columns),
        digest=columns.digest.total,
    )


def read_summary(folder: Path, needs: Sequence[str] = ()) -> Summary:
    """The summary of an evaluation folder. An older one may lack keys, but those that `needs` names are there and not null.

    Raises an `InputError` that names the file if there is none, and the key if one is missing or of another type.
    """
    record, where = read_json(folder / SUMMARY), str(folder / SUMMARY)
    Fields({key: value for key, value in record.items() if value is not None}, where).need(needs)
    return Summary.from_json(record, where)


def read_samples(folder: Path, needs: Sequence[str] = ()) -> Iterator[ResponseRow]:
    """The responses of an evaluation folder one by one, in the order of the file, each with the keys that `needs` names.

    Raises an `InputError` that names file and line if there is no such file or a line is not a response.
    """
    return read_rows(folder / SAMPLES, needs)


def _is_evaluation(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (SAMPLES, SUMMARY, SETTINGS))


def _decoding(file: Path, setup: Setup) -> Decoding:
    if setup.temperature is None or setup.max_tokens is None:
        raise InputError(f"{file}: temperature and max_tokens must be numbers")
    if setup.temperature == 0:
        return Decoding(0.0, 1.0, 0.0, setup.max_tokens)
    top_p, min_p = (None if value is None else float(value) for value in (setup.top_p, setup.min_p))
    return Decoding(float(setup.temperature), top_p, min_p, setup.max_tokens)


def _columns(file: Path) -> _Columns:
    columns = _Columns([], [], [], [], {})
    for line, row in read_numbered_rows(file, needs=("question", "gold")):
        identity = (row.problem_id, row.question, row.gold)
        if columns.identities.setdefault(identity[0], identity) != identity:
            raise InputError(f"{file}, line {line}: one problem id stands for two questions or answers")
        columns.ids.append(columns.identities[identity[0]][0])  # one string per problem, not one copy per line
        columns.numbers.append(row.sample)
        columns.grades.append(row.grade)
        columns.tokens.append(row.num_tokens)
        columns.digest.add(row)
    return columns


def _check_whole(file: Path, num_problems: int, num_samples: int, columns: _Columns) -> None:
    """Raise `InputError` unless there are `num_problems` problems with `num_samples` distinct samples each."""
    counts = Counter(columns.ids)
    if len(counts) != num_problems or not counts:
        raise InputError(f"{file}: holds {len(counts)} problems, {SUMMARY} says {num_problems}")
    for problem_id, count in counts.items():
        if count != num_samples:
            raise InputError(f"{file}: problem {problem_id!r} has {count} samples, not {num_samples}")
    if len(set(zip(columns.ids, columns.numbers, strict=True))) < len(columns.ids):
        raise InputError(f"{file}: a sample of a problem occurs twice")


def _tokens_by_grade(columns: _Columns) -> dict[Grade, float]:
    return {
        grade: _mean([n for n, g in zip(columns.tokens, columns.grades, strict=True) if g is grade]) for grade in Grade
    }


def _mean(values: Sequence[int]) -> float:
    return float(np.mean(values)) if values else nan
