"""Evaluation folders, read and checked: what `laconic evaluate` and a training run leave behind.

Every program that reads an evaluation reads it here, so that all of them agree on what a valid one is.

1. Find the evaluations of a run (`places.py`). One that was begun and not finished is refused, never skipped.
2. Read from summary.json what was measured and how: benchmark, prompt, grader and `Decoding`. The folder's name decides
   nothing: `mix`, `mix-t1` and `mix-boxed-t1` may all hold benchmark `mix` at temperature 1. Numbers that no evaluation has are
   refused, and so are other settings than those of settings.json.
3. Read samples.jsonl line by line. `read_samples` yields the rows, and `read_evaluation` makes one row per problem of them. Only
   ids, grades and lengths are kept of a line, so a file may be larger than memory. Question and gold answer are kept once per
   problem, so that the same problem can be recognised in another folder. One digest is kept of all texts, so that identical
   responses can be recognised.
4. Refuse a folder whose samples are not those that its summary describes: other numbers of problems or samples, other problems
   than those of settings.json, or other figures (`stored_figures.py`).

What is left out: response texts, which only the report shows, and intervals, which a comparison computes again from the samples.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from pathlib import Path

import numpy as np

from laconic.comparison.places import BUDGETS, SAMPLES, SETTINGS, SUMMARY, TIMING, find_evaluations, is_finished, stands
from laconic.comparison.stored_figures import bounds, check_figures, check_ranges, refuse_beyond
from laconic.errors import InputError
from laconic.evaluation.figures import Setup, Summary
from laconic.evaluation.folder_names import problems_digest
from laconic.problems.made_from_traffic import refuse_made
from laconic.rollouts.rows import ResponseRow, read_numbered_rows
from laconic.rollouts.seconds import seconds_file, seconds_of_rows
from laconic.statistics.claims import PerProblem, per_problem
from laconic.statistics.intervals import FloatArray, Interval
from laconic.system.fields import Fields, warn_of_unread
from laconic.system.files import Json, read_json
from laconic.types import Grade

_SUMMARY_KEYS = ("benchmark", "model", "num_problems", "num_samples", "temperature", "max_tokens", "seed")
_ROW_KEYS = ("question", "gold")

Identity = tuple[str, str, str]
"""Problem id, question and gold answer: with the choices, what makes two problems the same."""


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
    """One evaluation folder; `identities`, `choices` and `problems` agree row by row.

    `tokens_by_grade` has the mean length of all samples of a grade, pooled over problems, `nan` if there is none. `digest` is the
    same for two evaluations whose responses have the same text and length for every problem and sample, whatever the order of
    their lines; `None` if a text is missing. `seconds` [P] are the mean seconds of a response to each problem, drawn on `device`;
    `None` if they were not recorded.
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
    choices: tuple[tuple[str, ...], ...]
    seconds: FloatArray | None = None
    device: str | None = None

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
    """samples.jsonl as columns, one entry per sample; `identities` and `choices` have one entry per problem id.

    `summary` is what the samples must be those of.
    """

    folder: Path
    summary: Summary
    ids: list[str] = field(default_factory=list)
    grades: list[Grade] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    identities: dict[str, Identity] = field(default_factory=dict)
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seen: set[tuple[str, int]] = field(default_factory=set)
    digest: _Digest = field(default_factory=_Digest)

    @property
    def file(self) -> Path:
        """Where the samples stand."""
        return self.folder / SAMPLES

    def add(self, line: int, row: ResponseRow) -> None:
        """Keep one row's numbers. Raises `InputError` if the rows before it contradict it."""
        where, num_samples = f"{self.file}, line {line}", self.summary.setup.num_samples
        assert num_samples is not None, "read_summary needs it"
        identity = (row.problem_id, row.question, row.gold)
        is_known = self.identities.setdefault(row.problem_id, identity) == identity
        if not is_known or self.choices.setdefault(row.problem_id, row.choices) != row.choices:
            raise InputError(f"{where}: one problem id stands for two questions or answers")
        if row.sample >= num_samples:
            raise InputError(f"{where}: sample is {row.sample}, expected one below {num_samples}, as {SUMMARY} says")
        problem_id = self.identities[row.problem_id][0]  # one string per problem, not one copy per line
        if (problem_id, row.sample) in self.seen:
            raise InputError(f"{where}: sample {row.sample} of problem {problem_id!r} occurs twice")
        self.seen.add((problem_id, row.sample))
        self.ids.append(problem_id)
        self.grades.append(row.grade)
        self.tokens.append(row.num_tokens)
        self.digest.add(row)

    def per_problem(self) -> PerProblem:
        """One row per problem."""
        return per_problem(self.ids, self.grades, self.tokens)

    def check(self) -> None:
        """Raise `InputError` unless these are all the samples that the summary describes, and no others."""
        setup, counts = self.summary.setup, Counter(self.ids)
        if len(counts) != setup.num_problems or not counts:
            raise InputError(f"{self.file}: holds {len(counts)} problems, {SUMMARY} says {setup.num_problems}")
        for problem_id, count in counts.items():
            if count != setup.num_samples:
                raise InputError(f"{self.file}: problem {problem_id!r} has {count} samples, not {setup.num_samples}")
        told = _settings(self.folder)
        digest = told and told.maybe("problems_digest", told.text)
        if digest and digest != problems_digest((*self.identities[name], self.choices[name]) for name in counts):
            raise InputError(
                f"{self.file}: holds other problems than {SETTINGS} names by their digest, or in another order"
            )
        check_figures(self.summary.figures, self.per_problem(), self.grades, self.tokens, str(self.folder / SUMMARY))


# --- reading ---------------------------------------------------------------------------------------------------------


def read_evaluations(run: Path) -> list[Evaluation]:
    """All evaluations of a run. Raises an `InputError` that names file and line if one of them is not valid."""
    return [read_evaluation(path) for path in find_evaluations(run)]


def read_evaluation(path: Path) -> Evaluation:
    """Read one evaluation folder.

    Raises `InputError` if it is not finished, a file is missing or malformed, or the samples are not those that the summary
    describes.
    """
    columns = _Columns(path, read_summary(path))
    for _ in _checked(columns):
        pass
    setup = columns.summary.setup
    assert setup.benchmark is not None and setup.model is not None and setup.num_samples is not None, (
        "needed of a summary"
    )
    return Evaluation(
        path=path,
        summary=columns.summary,
        benchmark=setup.benchmark,
        model=setup.model,
        num_samples=setup.num_samples,
        decoding=_decoding(setup),
        identities=tuple(columns.identities.values()),
        problems=columns.per_problem(),
        tokens_by_grade=_tokens_by_grade(columns),
        digest=columns.digest.total,
        choices=tuple(columns.choices[name] for name in columns.identities),
        seconds=_seconds(columns),
        device=_device(path),
    )


def check_evaluation(folder: Path, needs: Sequence[str] = (), row_needs: Sequence[str] = ()) -> Summary:
    """The summary of an evaluation folder that is valid as a whole. `needs` are further keys that the summary must have, and
    `row_needs` those that every sample must have. Raises the errors of `read_evaluation`."""
    summary = read_summary(folder, needs)
    for _ in _checked(_Columns(folder, summary), row_needs):
        pass
    return summary


def read_summary(folder: Path, needs: Sequence[str] = ()) -> Summary:
    """The summary of an evaluation folder without its samples. It has the keys that every summary has, and those of `needs`.

    Raises an `InputError` that names the file if there is none, the key if one is missing, null, of another type or out of its
    range, the file beside it (settings, timing, budget curve) that is malformed or has other settings, and the folder if it was
    made of a request that was forgotten since.
    """
    if not is_finished(folder):
        raise InputError(f"{folder}: not finished, there is no {SUMMARY}; run its evaluation again to resume it")
    refuse_made(folder)
    record, where = read_json(folder / SUMMARY), str(folder / SUMMARY)
    Fields({key: value for key, value in record.items() if value is not None}, where).need((*_SUMMARY_KEYS, *needs))
    summary = Summary.from_json(record, where)
    check_ranges(summary, where)
    _check_beside(folder, summary)
    return summary


def read_samples(folder: Path, needs: Sequence[str] = ()) -> Iterator[ResponseRow]:
    """The responses of an evaluation folder one by one, in the order of the file, each with the keys that `needs` names.

    Raises an `InputError` that names file and line if a line is not a response or contradicts another, and at the end if they are
    not the samples that the summary describes.
    """
    return _checked(_Columns(folder, read_summary(folder)), needs)


def read_budget_curve(folder: Path) -> Json:
    """The budget curve of an evaluation folder, empty if it has none. Raises an `InputError` that names file and key."""
    file = folder / BUDGETS
    if not stands(file):
        return {}
    fields = Fields(read_json(file), str(file))
    points = [_curve_point(point) for point in fields.objects("points")]
    budgets = [point["budget"] for point in points]
    if budgets != sorted(set(budgets)):
        raise fields.wrong("points", "each budget once, in their order")
    told = {key: fields.record[key] for key in ("force_text", "answer_max_tokens") if key in fields}
    curve = told | {"points": points}
    warn_of_unread(fields.record, curve, str(file))
    return curve


def _curve_point(fields: Fields) -> Json:
    means = {name: Interval.from_fields(fields.object(name), "mean") for name in ("accuracy", "tokens")}
    budget, cut = fields.whole("budget"), fields.number("cut_frac")
    refuse_beyond(
        [
            ("budget", budget, 1, inf),
            *bounds("accuracy", means["accuracy"], 1),
            *bounds("tokens", means["tokens"], inf),
            ("cut_frac", cut, 0, 1),
        ],
        fields.where,
    )
    return {"budget": budget} | {name: mean.to_json("mean") for name, mean in means.items()} | {"cut_frac": cut}


def _checked(columns: _Columns, needs: Sequence[str] = ()) -> Iterator[ResponseRow]:
    for line, row in read_numbered_rows(columns.file, needs=(*_ROW_KEYS, *needs)):
        columns.add(line, row)
        yield row
    columns.check()


def _check_beside(folder: Path, summary: Summary) -> None:
    """Raise `InputError` if a file beside the summary is malformed, or if settings.json has other settings than the summary."""
    if told := _settings(folder):
        stored, asked = summary.setup.to_json(), Setup.from_fields(told).to_json()
        for key, value in stored.items():
            if value is not None and asked[key] not in (None, value):
                raise InputError(f"{folder / SUMMARY}: {key} is {value!r:.80}, but {SETTINGS} says {asked[key]!r:.80}")
    if stands(folder / TIMING):
        timing = Fields(read_json(folder / TIMING), str(folder / TIMING))
        for key in ("wall_seconds", "num_tokens", "tokens_per_second"):
            refuse_beyond([(key, timing.maybe(key, timing.number), 0, inf)], timing.where)
    read_budget_curve(folder)


def _settings(folder: Path) -> Fields | None:
    """The settings with which the samples were drawn; None for an older folder, which has none."""
    file = folder / SETTINGS
    return Fields(read_json(file), str(file)) if stands(file) else None


def _decoding(setup: Setup) -> Decoding:
    assert setup.temperature is not None and setup.max_tokens is not None, "needed of a summary"
    if setup.temperature == 0:
        return Decoding(0.0, 1.0, 0.0, setup.max_tokens)
    top_p, min_p = (None if value is None else float(value) for value in (setup.top_p, setup.min_p))
    return Decoding(float(setup.temperature), top_p, min_p, setup.max_tokens)


def _seconds(columns: _Columns) -> FloatArray | None:
    """Mean seconds of a response to each problem, in the order of `per_problem`."""
    spent = seconds_of_rows(seconds_file(columns.folder / TIMING), columns.tokens)
    if spent is None:
        return None
    by_problem: dict[str, list[float]] = {}
    for problem_id, seconds in zip(columns.ids, spent, strict=True):
        by_problem.setdefault(problem_id, []).append(seconds)
    return np.array([np.mean(seconds) for seconds in by_problem.values()])


def _device(folder: Path) -> str | None:
    file = folder / TIMING
    timing = Fields(read_json(file) if stands(file) else {}, str(file))
    return timing.maybe("device", timing.text)


def _tokens_by_grade(columns: _Columns) -> dict[Grade, float]:
    return {
        grade: _mean([n for n, g in zip(columns.tokens, columns.grades, strict=True) if g is grade]) for grade in Grade
    }


def _mean(values: Sequence[int]) -> float:
    return float(np.mean(values)) if values else nan
