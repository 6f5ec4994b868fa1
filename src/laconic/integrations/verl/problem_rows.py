"""The problems as verl's parquet files: one row for each problem that a step takes, in the order of the steps.

So verl asks the problems that our trainer would ask in each step, under the budgets that it would ask for, if it goes through
the file without shuffling it. The columns are those that verl's data set reads: `data_source`, `prompt` (the turns of the
conversation), `ability`, `reward_model` (`style`, `ground_truth`) and `extra_info`, where our own facts are:

    index            the number of the row
    problem          the problem as a line of a problems file, in JSON
    budget_tokens    the number of tokens that the prompt asks for
    reference        what a probe measured of the model on this problem, in JSON
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from laconic.config.phase import PhaseConfig
from laconic.errors import InputError, MissingExtraError
from laconic.problems.records import to_problem, to_record
from laconic.prompts.instructions import messages, resolve_instruction
from laconic.rollouts.sources import draw_budget
from laconic.statistics.solve_rate import ProblemStats
from laconic.training.check.phases import ResolvedPhase
from laconic.training.curriculum import Curriculum
from laconic.types import Problem


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """A problem as one step asks it."""

    index: int
    problem: Problem
    budget_tokens: int | None = None
    reference: ProblemStats | None = None

    def instruction(self, phase: PhaseConfig, usual: str) -> str:
        """The name or text of the instruction under which it is asked: the budget's, or the `usual` one."""
        return (
            usual
            if self.budget_tokens is None or phase.budget is None
            else f"{phase.budget.prompt}:{self.budget_tokens}"
        )

    def extra_info(self) -> dict[str, Any]:
        """The facts that verl hands to the reward worker."""
        return {
            "index": self.index,
            "problem": json.dumps(to_record(self.problem), ensure_ascii=False),
            "budget_tokens": self.budget_tokens,
            "reference": None if self.reference is None else json.dumps(self.reference.to_json()),
        }

    @classmethod
    def from_extra_info(cls, extra_info: Mapping[str, Any]) -> Self:
        """The row that `extra_info` describes. Raises `InputError` where it is not of an exported file."""
        if not {"index", "problem"} <= set(extra_info):
            raise InputError(
                f"extra_info: expected a row of laconic export verl, got the keys {sorted(extra_info)!r:.200}"
            )
        budget, reference = extra_info.get("budget_tokens"), extra_info.get("reference")
        index = int(extra_info["index"])
        return cls(
            index,
            to_problem(json.loads(extra_info["problem"]), f"row {index}"),
            None if budget is None else int(budget),
            None if reference is None else ProblemStats.from_json(json.loads(reference)),
        )


def training_rows(
    phase: ResolvedPhase, problems: Sequence[Problem], stats: Mapping[str, ProblemStats], seed: int, first_step: int
) -> Iterator[ProblemRow]:
    """The problems of every step of the phase, in order. `first_step` is the number of its first step within the whole run."""
    curriculum, index, budget = Curriculum(phase, problems, seed=seed), 0, phase.config.budget
    for phase_step in range(1, phase.config.steps + 1):
        for problem in curriculum.draw(phase_step):
            tokens = draw_budget(budget, seed, first_step + phase_step - 1, problem.id) if budget else None
            yield ProblemRow(index, problem, tokens, stats.get(problem.id))
            index += 1


def conversation(row: ProblemRow, phase: PhaseConfig, instruction: str, system: str | None) -> list[dict[str, str]]:
    """The turns of the row's prompt."""
    return messages(row.problem, resolve_instruction(row.instruction(phase, instruction)), system)


def write_rows(path: Path, rows: Sequence[ProblemRow], turns: Sequence[list[dict[str, str]]]) -> None:
    """Write the parquet file that verl's data set reads. Raises `MissingExtraError` without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("laconic export verl", "data") from error
    text = pa.string()
    schema = pa.schema(
        {
            "data_source": text,
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
            "ability": text,
            "reward_model": pa.struct({"style": text, "ground_truth": text}),
            "extra_info": pa.struct(
                {"index": pa.int64(), "problem": text, "budget_tokens": pa.int64(), "reference": text}
            ),
        }
    )
    table = [
        {
            "data_source": row.problem.source or "problems",
            "prompt": said,
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row.problem.answer},
            "extra_info": row.extra_info(),
        }
        for row, said in zip(rows, turns, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(table, schema), path)


def read_problem_rows(path: Path) -> list[ProblemRow]:
    """The rows of a file that `write_rows` wrote, each problem read once."""
    import pyarrow.parquet as pq

    infos = pq.read_table(path, columns=["extra_info"])["extra_info"].to_pylist()
    return [ProblemRow.from_extra_info(info) for info in infos]
