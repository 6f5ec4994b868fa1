"""The program `probe`: which problems can the model solve, and how long does it think about them?

1. Every problem is attempted `samples` times (once if decoding is greedy). With a band of solve rates, a problem is attempted
   only until it is clear on which side of the band it lies (`stopping.py`), and at most `samples` times.
2. Attempts go to `<probe>.samples.jsonl` as they are drawn, so a killed probe resumes where it stopped.
3. probe.jsonl gets one line per problem: attempts, correct ones, grades, mean length and shortest correct length.

The pre-sampling of O1-Pruner (reference length and accuracy per problem) and the selection of problems by solve rate need the
same measurement, and both read this file. `probe` measures the same in memory, for the phases of a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from laconic.config.defaults import BAND_CONFIDENCE, BAND_ROUND_SIZE
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError, ProblemsError
from laconic.evaluation.evaluate import EvaluationRequest, describe
from laconic.problems.forgotten import refuse_forgotten
from laconic.problems.made_from_traffic import note_made
from laconic.rollouts.log import AttemptLog, begin, beside, chunks
from laconic.rollouts.rows import ResponseRow
from laconic.rollouts.solver import Assignment, Solver
from laconic.selection.stopping import first_round, next_samples
from laconic.statistics.solve_rate import ProblemStats, problem_stats
from laconic.system.fields import Fields, warn_of_unknown
from laconic.system.files import read_numbered_jsonl, to_jsonl, write_text_atomically
from laconic.system.locks import FolderLock
from laconic.types import Group, Problem, Progress


@dataclass(frozen=True, slots=True)
class Band:
    """A band of solve rates, and how sure an adaptive probe must be that a problem is inside or outside before it stops.

    Raises `InputError` unless 0 <= low <= high <= 1 and 0.5 < confidence < 1.
    """

    low: float
    high: float
    confidence: float = BAND_CONFIDENCE
    round_size: int = BAND_ROUND_SIZE

    def __post_init__(self) -> None:
        try:
            next_samples([], self.low, self.high, self.confidence, 1, self.round_size)
        except ValueError as error:
            raise InputError(str(error)) from None


def probe_to_file(
    solver: Solver,
    problems: Sequence[Problem],
    samples: int,
    decoding: SamplerConfig,
    out: Path,
    *,
    seed: int,
    band: Band | None = None,
    on_progress: Progress | None = None,
) -> list[ProblemStats]:
    """Attempt the problems and write `out`, with the attempts beside it, or resume a probe that was begun there. At temperature 0
    every problem gets one sample.

    Raises `RunError` if the attempts of `out` were begun with other settings, or another process is at work on it.
    """
    request = EvaluationRequest("probe", problems, samples, decoding, seed)
    lock = FolderLock(out.parent, f".{out.name}.lock")
    solver.team.by_first(lock.take)
    try:
        return _probe_to_file(solver, request, out, band, on_progress)
    finally:
        lock.release()


def _probe_to_file(
    solver: Solver, request: EvaluationRequest, out: Path, band: Band | None, on_progress: Progress | None
) -> list[ProblemStats]:
    problems, decoding, samples = request.problems, request.decoding, request.num_samples
    adaptive = None if band is None else [band.low, band.high, band.confidence, band.round_size]
    settings, rows_file = beside(out, "settings.json"), beside(out, "samples.jsonl")
    held = describe(solver, request) | {"band": adaptive}
    solver.team.by_first(lambda: begin(settings, held, rows_file))
    for place in (rows_file, out):
        solver.team.by_first(partial(note_made, place, problems))
    log = AttemptLog(solver, decoding, rows_file, beside(out, "timing.json"), seed=request.seed)
    rows_by_id: dict[str, list[ResponseRow]] = {problem.id: [] for problem in problems}
    num_more = {p.id: first_round(samples, band.round_size) if band else samples for p in problems}
    while num_more:
        undecided = [problem for problem in problems if problem.id in num_more]
        for chunk in chunks(undecided, max(num_more.values()), decoding):
            more = [Assignment(p, num_more[p.id], first_sample=len(rows_by_id[p.id])) for p in chunk]
            for row in log.attempt(more, on_progress=on_progress):
                rows_by_id[row.problem_id].append(row)
        stats = [_stats(name, rows) for name, rows in rows_by_id.items()]
        num_more = _undecided(stats, samples, band) if band else {}
    solver.team.by_first(lambda: write_probe(out, problems, stats))
    return stats


def _undecided(stats: Sequence[ProblemStats], samples: int, band: Band) -> dict[str, int]:
    return next_samples(stats, band.low, band.high, band.confidence, samples, band.round_size)


def _stats(problem_id: str, rows: Sequence[ResponseRow]) -> ProblemStats:
    return problem_stats(problem_id, [row.grade for row in rows], [row.num_tokens for row in rows])


def probe(
    solver: Solver,
    problems: Sequence[Problem],
    samples: int,
    decoding: SamplerConfig,
    *,
    seed: int,
    on_progress: Progress | None = None,
) -> list[ProblemStats]:
    """One `ProblemStats` per problem, in order."""
    return stats_of(solver.attempt(problems, samples, decoding, seed=seed, on_progress=on_progress))


def stats_of(groups: Sequence[Group]) -> list[ProblemStats]:
    """The statistics of each group's problem."""
    return [problem_stats(group.problem.id, group.grades, group.lengths) for group in groups]


def write_probe(path: Path, problems: Sequence[Problem], stats: Sequence[ProblemStats]) -> None:
    """Write probe.jsonl: each problem's statistics with its question, answer and source, so that no other file is needed."""
    write_text_atomically(
        path,
        to_jsonl(
            stat.to_json()
            | {
                "problem": p.question,
                "answer": p.answer,
                "choices": list(p.choices),
                "source": p.source,
                "meta": dict(p.meta),
            }
            for p, stat in zip(problems, stats, strict=True)
        ),
    )


LINE_KEYS = frozenset(ProblemStats.__dataclass_fields__) | {"problem", "answer", "choices", "source", "meta"}
"""Every key that a line of probe.jsonl may have."""


def read_probe(path: Path) -> tuple[list[Problem], list[ProblemStats]]:
    """The problems and statistics that `write_probe` wrote. Raises a `ProblemsError` that names file and line; keys that nothing
    reads are a warning."""
    problems, stats = [], []
    seen: dict[str, int] = {}
    unknown: set[str] = set()
    for number, record in read_numbered_jsonl(path):
        where = f"{path}, line {number}"
        unknown |= record.keys() - LINE_KEYS
        try:
            stats.append(ProblemStats.from_json(record))
        except ValueError as error:
            raise ProblemsError(f"{where}: expected a line of probe.jsonl, {error}") from None
        problems.append(_probed(Fields(record, where)))
        if (other := seen.setdefault(problems[-1].id, number)) != number:
            raise ProblemsError(f"{where}: problem {problems[-1].id!r} stands already in line {other}")
    if not stats:
        raise InputError(f"{path}: holds no problem; expected the output of laconic probe")
    warn_of_unknown(unknown, str(path))
    refuse_forgotten(problems, str(path))
    return problems, stats


def _probed(fields: Fields) -> Problem:
    """The problem of a line of probe.jsonl."""
    try:
        return Problem(
            id=fields.text("problem_id"),
            question=fields.text("problem"),
            answer=fields.text("answer"),
            source=fields.text("source", ""),
            choices=fields.texts("choices"),
            meta=fields.object("meta").record,
        )
    except InputError as error:
        raise ProblemsError(f"{error}; expected a line of probe.jsonl") from None
