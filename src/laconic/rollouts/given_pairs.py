"""Two responses to a problem of which people preferred one, as responses to learn from.

1. A problem's record holds both texts, `chosen` and `rejected`; `laconic traffic pairs` writes such records.
2. `given_groups` puts them into tokens as worked solutions are put (`worked_solutions.py`), and grades them as usual.
3. The reward is the preference: 1 for the preferred response and 0 for the other. The rule `given` of `PAIRS`
   (`training/preferences.py`) reads it. A pair of which one response cannot be graded teaches nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

from laconic.errors import ProblemsError
from laconic.grading.rules import Graded
from laconic.models.causal_lm import CausalLM
from laconic.rollouts.solver import Solver, graded_rollout
from laconic.rollouts.worked_solutions import WorkedSolution, write_texts
from laconic.types import Grade, Group, Problem, Rollout

PAIR_SIZE = 2


def pair_texts(problem: Problem) -> tuple[str, str]:
    """The preferred text of a problem and the other one. Raises `ProblemsError` where one is missing, or both are the same."""
    texts = [problem.meta.get(key) for key in ("chosen", "rejected")]
    for key, text in zip(("chosen", "rejected"), texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ProblemsError(
                f'problem {problem.id}: has no {key!r}; rollouts = "pairs" needs both texts in every problem\'s record'
            )
    chosen, rejected = map(str, texts)
    if chosen.strip() == rejected.strip():
        raise ProblemsError(f"problem {problem.id}: 'chosen' and 'rejected' are the same text; expected two")
    return chosen, rejected


def given_groups(solver: Solver, lm: CausalLM, problems: Sequence[Problem], field: str) -> list[Group]:
    """A group of two paid rollouts for each problem, the preferred one first. Raises the errors of `pair_texts` and of
    `write_solutions`."""
    texts = [(problem, text) for problem in problems for text in pair_texts(problem)]
    written = write_texts(solver, lm, texts, field, "response")
    graded = solver.grader.grade_many([(one.read_text, one.problem, False) for one in written])
    rows = list(zip(written, graded, strict=True))
    return [_group(rows[place : place + PAIR_SIZE]) for place in range(0, len(rows), PAIR_SIZE)]


def _group(pair: Sequence[tuple[WorkedSolution, Graded]]) -> Group:
    rollouts = tuple(_paid(graded_rollout(one.response, graded, n)) for n, (one, graded) in enumerate(pair))
    if any(rollout.grade is Grade.UNGRADABLE for rollout in rollouts):
        rollouts = tuple(replace(rollout, grade=Grade.UNGRADABLE) for rollout in rollouts)
    first = pair[0][0]
    return Group(first.problem, first.prompt_ids, rollouts)


def _paid(rollout: Rollout) -> Rollout:
    reward = 1.0 if rollout.sample == 0 else 0.0
    return replace(rollout, reward=reward, reward_terms={"preferred": reward})
