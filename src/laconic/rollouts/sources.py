r"""Where a phase's rollouts come from. Each source is a row of `SOURCES`.

1. `on_policy`: responses are drawn from the policy at every step. With a budget, each problem's prompt asks for a number of
   tokens, which is drawn anew at every step (L1).
2. `offline`: every problem's group is drawn once, from the model that enters the phase, and kept in the phase's folder.
   O1-Pruner, rejection sampling and preference pairs need this.
3. `solutions`: the response is the problem's own worked solution (`worked_solutions.py`). This serves for a cold start, or for
   supervised fine-tuning on the texts of others.
4. `serial`: one whole trace is drawn per problem, and exits are made from it: its thinking is cut at even distances, and an
   answer is forced after each cut (S-GRPO, Dai et al. 2025, arXiv 2505.07686). Tokens that were written for the model are not
   part of the loss.
5. `pairs`: two responses of which people preferred one, from the problem's own record (`given_pairs.py`).

A source returns paid groups. Randomness is addressed by phase, step and problem, so a resumed phase gets the same groups.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from laconic.config.phase import BudgetConfig, PhaseConfig
from laconic.errors import RunError
from laconic.grading.grader import AnyGrader
from laconic.models.causal_lm import CausalLM
from laconic.prompts.forced_answers import forced_ids
from laconic.prompts.instructions import render
from laconic.prompts.thinking import prompt_mark
from laconic.rng import seed_of, stream
from laconic.rollouts.given_pairs import given_groups, pair_texts
from laconic.rollouts.rows import GroupRow, read_group_rows
from laconic.rollouts.solver import Assignment, Solver, graded_rollout, with_thinking
from laconic.rollouts.worked_solutions import grade_solutions, solution_text
from laconic.samplers.protocol import Request
from laconic.statistics.solve_rate import problem_stats
from laconic.system.files import to_jsonl, write_text_atomically
from laconic.types import Group, Problem, Progress, Response, Rollout

__all__ = [
    "KEPT",
    "OWN_TEXTS",
    "SOURCES",
    "Kept",
    "OnPolicy",
    "Pay",
    "Serial",
    "Source",
    "SourceSetting",
    "cuts_of",
    "draw_budget",
    "longest_exit",
    "offline",
    "pairs",
    "solution_text",
    "solutions",
    "with_reference_prompts",
]

FORCED_ANSWER_TOKENS = 64

Pay = Callable[[Sequence[Group]], list[Group]]


@dataclass(frozen=True, slots=True)
class SourceSetting:
    """What every source works with: the solver and its model, the phase, the folder of its files, and how rollouts are paid."""

    solver: Solver
    lm: CausalLM
    phase: PhaseConfig
    problems: Sequence[Problem]
    seed: int
    folder: Path
    pay: Pay
    progress: Callable[[str, int], AbstractContextManager[Progress]] = field(repr=False)


class Source(Protocol):
    """Paid groups for a step's problems; `draw` counts draws within a step, from 0."""

    def groups(self, problems: Sequence[Problem], step: int, draw: int = 0) -> list[Group]:
        """One group per problem, in order."""
        ...


class OnPolicy:
    """Groups that are drawn from the policy as it is at each step."""

    def __init__(self, setting: SourceSetting) -> None:
        self.setting = setting

    def groups(self, problems: Sequence[Problem], step: int, draw: int = 0) -> list[Group]:
        """Attempts of this step, under the step's budgets if the phase has any."""
        setting, phase = self.setting, self.setting.phase
        budgets = {p.id: draw_budget(phase.budget, setting.seed, step, p.id) for p in problems if phase.budget}
        assignments = [
            Assignment(
                p, phase.group_size, instruction=f"{phase.budget.prompt}:{budgets[p.id]}" if phase.budget else None
            )
            for p in problems
        ]
        place = ("rollout", step) if draw == 0 else ("rollout", step, draw)
        with setting.progress("rollouts", len(problems) * phase.group_size) as progress:
            groups = setting.solver.attempt_each(
                assignments, phase.sampler, seed=seed_of(setting.seed, *place), on_progress=progress
            )
        budgeted = [replace(group, budget_tokens=budgets.get(group.problem.id)) for group in groups]
        return setting.pay(with_reference_prompts(budgeted, setting))


def draw_budget(budget: BudgetConfig, seed: int, step: int, problem_id: str) -> int:
    """The number of tokens that the prompt asks for, drawn uniformly between the ends of the budget."""
    return stream(seed, "budget", step, problem_id).randint(budget.low, budget.high)


class Kept:
    """Groups that are made once, for all problems of the phase, and stay the same at every step."""

    def __init__(self, groups: Sequence[Group], setting: SourceSetting) -> None:
        paid = setting.pay(with_reference_prompts(groups, setting))
        self.by_id = {group.problem.id: group for group in paid}

    def groups(self, problems: Sequence[Problem], step: int, draw: int = 0) -> list[Group]:
        """The problems' groups, the same at every step."""
        return [self.by_id[problem.id] for problem in problems]


def offline(setting: SourceSetting) -> Kept:
    """Groups drawn from the model that enters the phase, or read back if they were drawn before. Raises `RunError` where they
    were drawn for other problems."""
    path, phase, team = setting.folder / "offline.jsonl", setting.phase, setting.solver.team
    if not team.by_first(path.exists):
        with setting.progress("offline rollouts", len(setting.problems) * phase.group_size) as progress:
            groups = setting.solver.attempt(
                setting.problems,
                phase.group_size,
                phase.sampler,
                seed=seed_of(setting.seed, "offline"),
                on_progress=progress,
            )
        text = to_jsonl(GroupRow.of(group).to_json() for group in groups)
        team.by_first(lambda: write_text_atomically(path, text))
    drawn = team.by_first(lambda: _groups_in(path, setting.problems))
    return Kept([_measured(_group_with_thinking(group, setting.lm.tokenizer)) for group in drawn], setting)


def _groups_in(path: Path, problems: Sequence[Problem]) -> list[Group]:
    """The groups that are stored in `path`. Raises `RunError` where they are not those of the `problems`."""
    rows, by_id = list(read_group_rows(path)), {problem.id: problem for problem in problems}
    stored = [row.problem_id for row in rows]
    if others := [name for name in (*stored, *by_id) if name not in stored or name not in by_id]:
        what = "which the phase does not train on now" if others[0] in stored else "on which the phase trains now"
        holds = "holds" if others[0] in stored else "lacks"
        raise RunError(
            f"{path}: {holds} the responses to problem {others[0]}, {what}; put problems and selection back as they were, "
            "or train anew with another --out"
        )
    return [row.group(by_id[row.problem_id]) for row in rows]


def _measured(group: Group) -> Group:
    """The group as its own reference: it was drawn from the model that enters the phase (O1-Pruner's K samples)."""
    stats = problem_stats(group.problem.id, group.grades, group.lengths)
    rate = stats.solve_rate if stats.attempts else None
    return replace(group, ref_mean_tokens=stats.mean_tokens, ref_solve_rate=rate)


def _group_with_thinking(group: Group, tokenizer: Any) -> Group:
    mark = prompt_mark(group.prompt_ids, tokenizer)
    rollouts = (replace(r, response=with_thinking(r.response, tokenizer, mark)) for r in group.rollouts)
    return replace(group, rollouts=tuple(rollouts))


def solutions(setting: SourceSetting) -> Kept:
    """The problems' own solutions as responses, graded as usual. Raises the errors of `grade_solutions`."""
    field, lm = f"phases.{setting.phase.name}.rollouts", setting.lm
    team = setting.solver.team
    written, graded, _ = team.by_first(lambda: grade_solutions(setting.solver, lm, setting.problems, field))
    rollouts = [graded_rollout(one.response, result, 0) for one, result in zip(written, graded, strict=True)]
    groups = [Group(one.problem, one.prompt_ids, (r,)) for one, r in zip(written, rollouts, strict=True)]
    return Kept(groups, setting)


def pairs(setting: SourceSetting) -> Kept:
    """The problems' own pairs of responses: 1 is paid for the preferred one and 0 for the other, whatever the recipe pays. Raises
    the errors of `given_groups`."""
    field, team = f"phases.{setting.phase.name}.rollouts", setting.solver.team
    groups = team.by_first(lambda: given_groups(setting.solver, setting.lm, setting.problems, field))
    return Kept(groups, replace(setting, pay=list))


class Serial:
    """One trace per problem, drawn from the policy, and the exits from it."""

    def __init__(self, setting: SourceSetting) -> None:
        self.setting = setting

    def groups(self, problems: Sequence[Problem], step: int, draw: int = 0) -> list[Group]:
        """Groups of at most `group_size` rollouts: the exits, earliest first, then the whole trace."""
        setting, phase = self.setting, self.setting.phase
        seed = seed_of(setting.seed, "rollout", step, draw)
        with setting.progress("traces", len(problems)) as progress:
            traces = setting.solver.attempt(problems, 1, phase.sampler, seed=seed, on_progress=progress)
        exits = [(trace, cut) for trace in traces for cut in cuts_of(trace, phase.group_size - 1)]
        written = forced_ids(setting.lm.tokenizer)
        requests = [
            Request(f"{t.problem.id}/{cut}", t.prompt_ids + t.rollouts[0].response.token_ids[:cut] + written, 1)
            for t, cut in exits
        ]
        answering = phase.sampler.model_copy(update={"max_tokens": FORCED_ANSWER_TOKENS})
        solver, place = setting.solver, seed_of(seed, "exits")
        drawn = solver.share_out(requests, answering, lambda own: solver.sampler.sample(own, answering, seed=place))
        answers = [row[0] for row in drawn]
        joined = [_exit(setting.lm, t, cut, written, a) for (t, cut), a in zip(exits, answers, strict=True)]
        pairs = list(zip((t for t, _ in exits), joined, strict=True))
        graded = solver.team.share_out(pairs, lambda own: _grade(solver.grader, own, setting.lm.tokenizer))
        by_id: dict[str, list[Rollout]] = {}
        for (trace, _), rollout in zip(exits, graded, strict=True):
            by_id.setdefault(trace.problem.id, []).append(rollout)
        groups = [replace(t, rollouts=(*by_id.get(t.problem.id, []), t.rollouts[0])) for t in traces]
        return setting.pay(with_reference_prompts([_numbered(group) for group in groups], setting))


def cuts_of(trace: Group, num_exits: int) -> list[int]:
    """Positions at which the trace's thinking is cut, at even distances; fewer than `num_exits` if the thinking is too short."""
    response = trace.rollouts[0].response
    length = response.num_tokens if response.thinking_tokens is None else response.thinking_tokens
    return sorted({length * i // (num_exits + 1) for i in range(1, num_exits + 1)} - {0})


def longest_exit(tokenizer: Any, max_tokens: int, num_exits: int) -> int:
    """The most tokens of an exit from a trace of at most `max_tokens`, with the answer that is forced on it.

    Raises `InputError` where the tokenizer cannot write what forces it.
    """
    return max_tokens * num_exits // (num_exits + 1) + len(forced_ids(tokenizer)) + FORCED_ANSWER_TOKENS


def _exit(lm: CausalLM, whole: Group, cut: int, written: tuple[int, ...], answer: Response) -> Response:
    trace = whole.rollouts[0].response
    ids = trace.token_ids[:cut] + written + answer.token_ids
    logprobs = trace.logprobs[:cut] + (0.0,) * len(written) + answer.logprobs
    response = Response(ids, logprobs, lm.decode(ids), answer.finish_reason, forced=(cut, cut + len(written)))
    return with_thinking(response, lm.tokenizer, prompt_mark(whole.prompt_ids, lm.tokenizer))


def _grade(grader: AnyGrader, exits: Sequence[tuple[Group, Response]], tokenizer: Any) -> list[Rollout]:
    """Rollouts of responses that were made from traces."""
    marks = [prompt_mark(trace.prompt_ids, tokenizer) for trace, _ in exits]
    items = [(m + r.text, t.problem, r.is_truncated) for m, (t, r) in zip(marks, exits, strict=True)]
    grades = grader.grade_many(items)
    return [graded_rollout(response, graded, 0) for (_, response), graded in zip(exits, grades, strict=True)]


def _numbered(group: Group) -> Group:
    return replace(group, rollouts=tuple(replace(r, sample=i) for i, r in enumerate(group.rollouts)))


def with_reference_prompts(groups: Sequence[Group], setting: SourceSetting) -> list[Group]:
    """The groups, with the prompt that the reference reads if the reference has an instruction of its own."""
    instruction = setting.phase.algorithm.reference_instruction
    if instruction is None:
        return list(groups)
    tokenizer, system = setting.lm.tokenizer, setting.solver.prompt.system
    return [
        replace(g, ref_prompt_ids=tuple(render(tokenizer, g.problem, instruction=instruction, system=system)))
        for g in groups
    ]


SOURCES: Mapping[str, Callable[[SourceSetting], Source]] = {
    "on_policy": OnPolicy,
    "offline": offline,
    "solutions": solutions,
    "serial": Serial,
    "pairs": pairs,
}


OWN_TEXTS: Mapping[str, Callable[[Problem], tuple[str, ...]]] = {
    "solutions": lambda problem: (solution_text(problem),),
    "pairs": pair_texts,
}
"""Sources that learn from texts in the problems' own records, and what reads these, raising `ProblemsError` for one without."""

KEPT = ("offline", "solutions", "pairs")
"""Sources whose groups are made and paid once."""
