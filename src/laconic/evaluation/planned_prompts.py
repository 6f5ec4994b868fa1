"""Prompts that first find a token budget for each problem (TALE, Han et al. 2024, arXiv 2412.18547).

1. `tale`: the model is asked once, with greedy decoding, to guess how many tokens a solution needs (the paper's TALE-EP).
2. `tale_search`: starting from the length of a greedy answer, the budget is halved as long as the answer stays correct and gets
   shorter. (This is the paper's binary search. A budget that is too small makes answers longer again, which the paper calls
   "token elasticity".) The search looks at the gold answers, so it shows the best that prompting could do and is not a method.
3. Both give each problem the instruction `tale:N`. A problem without a budget keeps the plain box instruction, and such problems
   are counted.

The cost of finding the budgets is reported beside the result. The attempts are stored like all others, so the search resumes too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from laconic.config.solver import SamplerConfig
from laconic.rng import seed_of
from laconic.rollouts.log import AttemptLog, chunks
from laconic.rollouts.rows import ResponseRow
from laconic.rollouts.solver import Assignment, Solver
from laconic.types import Grade, Problem

MAX_HALVINGS = 10
_MOST_DIGITS = 6  # of a budget
_PLAIN, _LONGEST = "boxed", f"tale:{'9' * _MOST_DIGITS}"
_GUESS = (
    "Do not solve this yet. Guess how many tokens the shortest complete solution of it needs, and write only that number "
    "within \\boxed{}."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The instructions by problem id, and the cost of finding them."""

    instructions: Mapping[str, str]
    cost: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planner:
    """A prompt of this kind. `find` makes a plan from solver, problems, decoding, seed and folder; none of its instructions is
    longer than all of `longest`."""

    summary: str
    find: Callable[[Solver, Sequence[Problem], SamplerConfig, int, Path], Plan]
    longest: tuple[str, ...]


def guess_budgets(
    solver: Solver, problems: Sequence[Problem], decoding: SamplerConfig, seed: int, folder: Path
) -> Plan:
    """TALE-EP: the model's own guess of each problem's budget."""
    rows = _Rounds(solver, decoding, seed, folder).attempt({p.id: (p, _GUESS) for p in problems})
    return _plan(problems, {row.problem_id: _whole(row.answer) for row in rows}, rows, uses_answers=False)


def search_budgets(
    solver: Solver, problems: Sequence[Problem], decoding: SamplerConfig, seed: int, folder: Path
) -> Plan:
    """The smallest budget found by halving that keeps each problem's greedy answer correct and shortens it."""
    rounds, by_id = _Rounds(solver, decoding, seed, folder), {p.id: p for p in problems}
    rows = rounds.attempt({p.id: (p, _PLAIN) for p in problems})
    shortest = {row.problem_id: row.num_tokens for row in rows if row.grade is Grade.CORRECT}
    trying = {name: tokens // 2 for name, tokens in shortest.items()}
    budgets: dict[str, int | None] = {}
    for _ in range(MAX_HALVINGS):
        trying = {name: budget for name, budget in trying.items() if budget > 0}
        if not trying:
            break
        attempts = rounds.attempt({name: (by_id[name], f"tale:{budget}") for name, budget in trying.items()})
        rows += attempts
        better = {
            row.problem_id: row.num_tokens
            for row in attempts
            if row.grade is Grade.CORRECT and row.num_tokens < shortest[row.problem_id]
        }
        budgets |= {name: trying[name] for name in better}
        shortest |= better
        trying = {name: trying[name] // 2 for name in better}
    return _plan(problems, budgets, rows, uses_answers=True)


PLANNERS: Mapping[str, Planner] = {
    "tale": Planner(
        "tale:N, the model's own guess of N for each problem (TALE-EP)", guess_budgets, (_GUESS, _PLAIN, _LONGEST)
    ),
    "tale_search": Planner(
        "tale:N, the smallest N that halving finds to keep each greedy answer right: it looks at the gold answers",
        search_budgets,
        (_PLAIN, _LONGEST),
    ),
}


def longest_ask(solver: Solver, problems: Sequence[Problem]) -> tuple[int, str]:
    """As `Solver.longest_prompt`, over all instructions that the solver's prompt may give where it plans them."""
    planner = PLANNERS.get(solver.prompt.instruction)
    if planner is None:
        return solver.longest_prompt(problems)
    prompts = [solver.prompt.model_copy(update={"instruction": instruction}) for instruction in planner.longest]
    return max((replace(solver, prompt=prompt).longest_prompt(problems) for prompt in prompts), key=lambda it: it[0])


class _Rounds:
    """Greedy attempts, one per problem and round; the sample number of an attempt is the number of its round."""

    def __init__(self, solver: Solver, decoding: SamplerConfig, seed: int, folder: Path) -> None:
        self.decoding, self.round = decoding.model_copy(update={"temperature": 0.0}), 0
        files = folder / "planning.jsonl", folder / "planning-timing.json"
        self.log = AttemptLog(solver, self.decoding, *files, seed=seed_of(seed, "planning"))

    def attempt(self, prompts: Mapping[str, tuple[Problem, str]]) -> list[ResponseRow]:
        """One row per problem, prompted with its instruction."""
        rows: list[ResponseRow] = []
        for chunk in chunks([problem for problem, _ in prompts.values()], 1, self.decoding):
            rows += self.log.attempt([Assignment(p, 1, self.round, prompts[p.id][1]) for p in chunk])
        self.round += 1
        return rows


def _whole(answer: str | None) -> int | None:
    digits = (answer or "").strip().replace(",", "")
    return int(digits) if digits.isdecimal() and 0 < len(digits) <= _MOST_DIGITS and int(digits) > 0 else None


def _plan(
    problems: Sequence[Problem], budgets: Mapping[str, int | None], rows: Sequence[ResponseRow], *, uses_answers: bool
) -> Plan:
    known_budgets = {name: budget for name, budget in budgets.items() if budget}
    instructions = {p.id: f"tale:{known_budgets[p.id]}" if p.id in known_budgets else _PLAIN for p in problems}
    cost = {
        "tokens_per_problem": sum(row.num_tokens for row in rows) / len(problems),
        "mean_budget": sum(known_budgets.values()) / len(known_budgets) if known_budgets else None,
        "num_without_budget": len(problems) - len(known_budgets),
        "uses_answers": uses_answers,
    }
    return Plan(instructions, cost)
