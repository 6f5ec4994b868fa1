r"""Answers that are forced: what would a response have said, had its thinking been cut after so many tokens?

1. The thinking of a response is cut after `budget` tokens. The end of thinking and the beginning of a box are written after it,
   and the model completes the answer greedily within a few tokens. (In T1, Hou et al. 2025, section on inference scaling, a
   summariser model answers; here the model itself does, as in s1's budget forcing, Muennighoff et al. 2025.)
2. A response whose thinking ends within the budget is counted unchanged.

Cutting needs token ids, so only the local sampler can be used.
"""

from collections.abc import Mapping, Sequence

from laconic.config.solver import SamplerConfig
from laconic.errors import InputError
from laconic.prompts.forced_answers import force_text, forced_ids
from laconic.rollouts.rows import ForcedAnswer
from laconic.rollouts.solver import Solver
from laconic.samplers.protocol import Request
from laconic.types import Group, Rollout

ANSWER_TOKENS = 32  # cap of a forced answer


def check_budgets(budgets: Sequence[int], max_tokens: int, option: str) -> None:
    """Raise `InputError`, which begins with `option`, for a budget that no response of at most `max_tokens` tokens exceeds."""
    if budgets and max(budgets) >= max_tokens:
        raise InputError(f"{option} {max(budgets)}: cuts nothing, since responses have at most {max_tokens} tokens")


def check_room(
    solver: Solver, longest: int, problem_id: str, budgets: Sequence[int], max_tokens: int, option: str
) -> None:
    """Raise `InputError`, which begins with `option`, where the thinking of a response of at most `max_tokens` tokens, cut at the
    largest of the `budgets`, leaves no room in the context for the forced words and the answer, or an endpoint gives no tokens
    to cut. The longest prompt has `longest` tokens and is that of `problem_id`."""
    if solver.lm.tokenizer is None:
        raise InputError(f"{option}: an endpoint gives no tokens to cut; expected a local model")
    limit, cutting = solver.lm.context_length, [budget for budget in budgets if budget < max_tokens]
    after = len(forced_ids(solver.lm.tokenizer)) + ANSWER_TOKENS
    if limit is not None and cutting and longest + max(cutting) + after > limit:
        raise InputError(
            f"{option} {max(cutting)}: with the prompt of problem {problem_id} ({longest} tokens) and {after} tokens for the "
            f"forced answer it exceeds the context of {solver.lm.name}, {solver.lm.context_words}; expected at most "
            f"{limit - longest - after}"
        )


def force_answers(
    solver: Solver, groups: Sequence[Group], budgets: Sequence[int], decoding: SamplerConfig, *, seed: int
) -> Sequence[Mapping[int, ForcedAnswer]]:
    """The grade and tokens of each rollout, in order, at every budget. `check_room` has been called."""
    text = force_text(solver.lm.tokenizer)
    cuts = [
        (index, group, rollout, budget)
        for index, (group, rollout) in enumerate((g, r) for g in groups for r in g.rollouts)
        for budget in budgets
        if _thinking(rollout) > budget
    ]
    requests = [
        Request(
            f"{group.problem.id}/{rollout.sample}/{budget}",
            _cut(group, rollout, budget) + forced_ids(solver.lm.tokenizer),
            1,
        )
        for _, group, rollout, budget in cuts
    ]
    answering = decoding.model_copy(update={"temperature": 0.0, "max_tokens": ANSWER_TOKENS})
    drawn = (
        solver.share_out(requests, answering, lambda own: solver.sampler.sample(own, answering, seed=seed))
        if requests
        else []
    )
    answers = [row[0] for row in drawn]
    items = [(text + a.text, group.problem, False) for a, (_, group, _, _) in zip(answers, cuts, strict=True)]
    forced: list[dict[int, ForcedAnswer]] = [
        {budget: _as_it_is(rollout) for budget in budgets} for group in groups for rollout in group.rollouts
    ]
    grades = solver.team.share_out(items, solver.grader.grade_many)
    for (index, _, _, budget), answer, graded in zip(cuts, answers, grades, strict=True):
        forced[index][budget] = ForcedAnswer(graded.grade, budget + answer.num_tokens, is_cut=True)
    return forced


def _as_it_is(rollout: Rollout) -> ForcedAnswer:
    return ForcedAnswer(rollout.grade, rollout.num_tokens, is_cut=False)


def _thinking(rollout: Rollout) -> int:
    """Number of tokens that a budget may cut: the thinking, or the whole response if the model marks no thinking."""
    num_thinking = rollout.response.thinking_tokens
    return rollout.num_tokens if num_thinking is None else num_thinking


def _cut(group: Group, rollout: Rollout, budget: int) -> tuple[int, ...]:
    return group.prompt_ids + rollout.response.token_ids[:budget]
