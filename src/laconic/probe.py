"""Probe: what can the model solve, and how long does it think? One measurement for selection and for references.

1. Every problem is attempted `samples` times.
2. Per problem: attempts, correct ones, grades, mean and shortest correct length, one line of probe.jsonl each.

The pre-sampling of O1-Pruner (reference length and accuracy per problem) and the selection of problems by solve rate are the
same measurement; both read this file.
"""

from collections.abc import Sequence
from pathlib import Path

from laconic.config import SamplerConfig
from laconic.errors import InputError, ProblemsError
from laconic.files import read_numbered_jsonl, write_text_atomically
from laconic.rollouts import Solver
from laconic.runs import to_jsonl
from laconic.samplers import Progress
from laconic.selection import ProblemStats, problem_stats
from laconic.types import Group, Problem


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
    return summarise(solver.attempt(problems, samples, decoding, seed=seed, on_progress=on_progress))


def summarise(groups: Sequence[Group]) -> list[ProblemStats]:
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
