"""In verl's reward workers: from a response to the number that verl carries on, and to what it logs.

A response is read as our own sampler's is: decoded with its marks of thinking, cut off where its last token is not one that ends
a response (verl says nothing of why it stopped), and graded without its prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.grading.grader import AnyGrader
from laconic.integrations.verl.channel import grade_number, reward_number
from laconic.integrations.verl.exported_phase import ExportedPhase
from laconic.integrations.verl.problem_rows import ProblemRow
from laconic.prompts.thinking import decode_response
from laconic.rollouts.paying import pay_groups
from laconic.rollouts.solver import Drawn, grade_drawn
from laconic.types import GRADES, FinishReason, Grade, Group, Response, Rollout


@dataclass(frozen=True, slots=True)
class ResponseScorer:
    """Grades and pays the responses of an exported phase, one at a time, from any thread. `tokenizer` is a Hugging Face one."""

    exported: ExportedPhase
    tokenizer: Any
    grader: AnyGrader

    def score(
        self, prompt_ids: Sequence[int], response_ids: Sequence[int], row: ProblemRow
    ) -> tuple[float, dict[str, float]]:
        """The number that verl carries, and what it logs: `acc`, `tokens`, and 1 or 0 for each grade. Where the number is the
        reward, what each term paid is logged too."""
        rollout = self.graded(prompt_ids, response_ids, row)
        is_gradable = rollout.grade is not Grade.UNGRADABLE
        logged = {
            "acc": float(rollout.grade is Grade.CORRECT),
            "tokens": float(rollout.num_tokens),
            **{f"is_{grade}": float(rollout.grade is grade) for grade in GRADES},
        }
        if self.exported.carries_grades:
            return grade_number(rollout.grade, row.index), logged
        paid = self._paid(rollout, row)
        terms = {f"reward_{name}": paid.reward_terms.get(name, 0.0) for name in ("levels", *self._term_names)}
        return reward_number(paid.reward, is_gradable=is_gradable), logged | terms

    def graded(self, prompt_ids: Sequence[int], response_ids: Sequence[int], row: ProblemRow) -> Rollout:
        """The response as a graded rollout, not yet paid."""
        ids = tuple(map(int, response_ids))
        is_whole = bool(ids) and ids[-1] in self.exported.stop_ids
        reason = FinishReason.STOP if is_whole else FinishReason.LENGTH
        response = Response(ids, (0.0,) * len(ids), decode_response(self.tokenizer, ids), reason)
        drawn = Drawn(row.problem, tuple(prompt_ids), (response,))
        (group,) = grade_drawn([drawn], self.tokenizer, self.grader)
        return group.rollouts[0]

    @property
    def _term_names(self) -> list[str]:
        return [term.name for term in self.exported.phase.rewards.terms]

    def _paid(self, rollout: Rollout, row: ProblemRow) -> Rollout:
        """The rollout with its reward, as every term pays a response that is alone in its group."""
        phase = self.exported.phase
        alone = phase.rewards.model_copy(update={"standardize": False})  # over the step, where the whole step is known
        group = Group(row.problem, (), (rollout,), budget_tokens=row.budget_tokens)
        references = {} if row.reference is None else {row.problem.id: row.reference}
        (paid,) = pay_groups([group], alone, references, phase.sampler.max_tokens, table=self.exported.rewards)
        return paid.rollouts[0]
