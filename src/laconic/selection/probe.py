"""Probe: what can the model solve, and how long does it think? One measurement for selection and for references.

1. Every problem is attempted `samples` times; or, where a band of solve rates is asked about, until it is settled on which
   side of the band the problem lies (`stopping.py`), `samples` times at most.
2. Attempts go to `<probe>.samples.jsonl` as they are drawn, so a killed probe is taken up where it stopped.
3. Per problem: attempts, correct ones, grades, mean and shortest correct length (its token complexity), one line of probe.jsonl.

The pre-sampling of O1-Pruner (reference length and accuracy per problem) and the selection of problems by solve rate are the
same measurement; both read this file. `probe` does the same in memory, for the phases of a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laconic.config.defaults import BAND_CONFIDENCE, BAND_ROUND_SIZE
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError, ProblemsError
from laconic.evaluation.evaluate import EvaluationRequest, describe
from laconic.rollouts.log import AttemptLog, begin, chunks
from laconic.rollouts.rows import ResponseRow
from laconic.rollouts.solver import Assignment, Solver
from laconic.selection.stopping import first_round, next_samples
from laconic.statistics.solve_rate import ProblemStats, problem_stats
from laconic.system.files import read_numbered_jsonl, to_jsonl, write_text_atomically
from laconic.types import Group, Problem, Progress


@dataclass(frozen=True, slots=True)
class Band:
    """Solve rates asked about, and how sure an adaptive probe must be of a problem's side before it stops sampling it."""

    low: float
    high: float
    confidence: float = BAND_CONFIDENCE
    round_size: int = BAND_ROUND_SIZE


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
    """Attempt the problems, write `out` and the attempts beside it, or finish what was begun there.

    Raises `RunError` where `out`'s attempts were begun with other settings.
    """
    request = EvaluationRequest("probe", problems, samples, decoding, seed)
    adaptive = None if band is None else [band.low, band.high, band.confidence, band.round_size]
    settings, rows_file = beside(out, "settings.json"), beside(out, "samples.jsonl")
    begin(settings, describe(solver, request) | {"num_samples": samples, "band": adaptive}, rows_file)
    log = AttemptLog(solver, decoding, rows_file, beside(out, "timing.json"), seed=seed)
    seen: dict[str, list[ResponseRow]] = {problem.id: [] for problem in problems}
    wanted = {p.id: first_round(samples, band.round_size) if band else samples for p in problems}
    while wanted:
        asked_now = [problem for problem in problems if problem.id in wanted]
        for chunk in chunks(asked_now, max(wanted.values()), decoding):
            more = [Assignment(p, wanted[p.id], first_sample=len(seen[p.id])) for p in chunk]
            for row in log.attempt(more, on_progress=on_progress):
                seen[row.problem_id].append(row)
        stats = [_stats(name, rows) for name, rows in seen.items()]
        wanted = _undecided(stats, samples, band) if band else {}
    write_probe(out, problems, stats)
    return stats


def _undecided(stats: Sequence[ProblemStats], samples: int, band: Band) -> dict[str, int]:
    return next_samples(stats, band.low, band.high, band.confidence, samples, band.round_size)


def beside(probe: Path, name: str) -> Path:
    """A file that belongs to a probe: `probe.samples.jsonl` beside `probe.jsonl`."""
    return probe.with_name(f"{probe.stem}.{name}")


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
    """One `ProblemStats` a problem, in order."""
    return stats_of(solver.attempt(problems, samples, decoding, seed=seed, on_progress=on_progress))


def stats_of(groups: Sequence[Group]) -> list[ProblemStats]:
    """What was seen of each group's problem."""
    return [problem_stats(group.problem.id, group.grades, group.lengths) for group in groups]


def write_probe(path: Path, problems: Sequence[Problem], stats: Sequence[ProblemStats]) -> None:
    """probe.jsonl: each problem's statistics beside its question, answer and source, so that the file stands alone."""
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


def read_probe(path: Path) -> tuple[list[Problem], list[ProblemStats]]:
    """What `write_probe` wrote. Raises `ProblemsError` naming file and line."""
    problems, stats = [], []
    for number, record in read_numbered_jsonl(path):
        try:
            stats.append(ProblemStats.from_json(record))
            problems.append(
                Problem(
                    id=record["problem_id"],
                    question=record["problem"],
                    answer=record["answer"],
                    source=record.get("source", ""),
                    choices=tuple(record.get("choices", ())),
                    meta=record.get("meta", {}),
                )
            )
        except KeyError as error:
            raise ProblemsError(f"{path}, line {number}: expected a line of probe.jsonl, {error} is missing") from None
        except ValueError as error:
            raise ProblemsError(f"{path}, line {number}: expected a line of probe.jsonl, {error}") from None
    if not stats:
        raise InputError(f"{path}: holds no problem; expected the output of laconic probe")
    return problems, stats
