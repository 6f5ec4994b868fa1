"""In verl's trainer: from a step's numbers to rewards and advantages, by the code of our own trainer.

1. The numbers become groups again. Where they are rewards, they stay what they are; where they are grades, the phase's terms pay
   the groups now, and remember the step (`StepPayer`).
2. The groups that train are admitted, and the algorithm's estimate is computed from them.
3. Responses that count in no loss (ungradable ones, for instance) get advantage 0. But verl divides its loss by everything that
   it drew. So the advantages are multiplied by what verl divides by, over what counts: the loss is then divided as ours is.

With several updates per step, step 3 is right on average only, since each of verl's updates holds another share of what counts.

Legend: `B` responses of verl's batch, `T` tokens (padded).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from laconic.integrations.verl.channel import read_grade, read_reward
from laconic.integrations.verl.exported_phase import TRAIN_FILE, ExportedPhase
from laconic.integrations.verl.problem_rows import ProblemRow, read_problem_rows
from laconic.rewards.numbers import Memory
from laconic.rollouts.paying import Payer, standardized
from laconic.training.algorithms import estimate_advantages, find_algorithm
from laconic.training.batching import RolloutBatch, collate
from laconic.training.curriculum import admit
from laconic.training.experience import Experience
from laconic.types import FinishReason, Grade, Group, Problem, Response, Rollout

UNASKED = Problem("", "", "")
"""The problem of a response whose reward is known, so that nothing else is asked of it."""


@dataclass(slots=True)
class StepPayer:
    """Turns the numbers of a step into paid groups, and remembers the step. `rows` are the problems by the number of their row,
    where grades are carried; there the terms of `payer` pay."""

    exported: ExportedPhase
    rows: Sequence[ProblemRow] = ()
    payer: Payer = field(init=False)

    def __post_init__(self) -> None:
        references = {row.problem.id: row.reference for row in self.rows if row.reference is not None}
        self.payer = Payer(self.exported.phase, references, self.exported.rewards)

    @property
    def memory(self) -> Memory:
        """What the terms remember of the steps so far."""
        return self.payer.memory

    def restore(self, memory: Memory) -> None:
        """Go on from what the terms remembered when a checkpoint was written."""
        self.payer.memory = memory

    def pay(self, numbers: Sequence[float], lengths: Sequence[int], uids: Sequence[str]) -> list[Group]:
        """The step's paid groups, in the order in which their first responses stand; a rollout's `sample` is the number of its
        response in verl's batch. Responses of length 0 are verl's padding, and left out. Each argument has B entries.
        """
        drawn: dict[str, list[int]] = {}
        for place, (uid, length) in enumerate(zip(uids, lengths, strict=True)):
            if length:
                drawn.setdefault(uid, []).append(place)
        if not self.exported.carries_grades:
            groups = [
                _rewarded([numbers[i] for i in places], [lengths[i] for i in places], places)
                for places in drawn.values()
            ]
            return standardized(groups) if self.exported.phase.rewards.standardize else groups
        graded = [
            self._graded([numbers[i] for i in places], [lengths[i] for i in places], places)
            for places in drawn.values()
        ]
        paid = self.payer.pay(graded)
        self.payer.remember(paid)
        return paid

    def _graded(self, numbers: Sequence[float], lengths: Sequence[int], places: Sequence[int]) -> Group:
        grades, rows = zip(*map(read_grade, numbers), strict=True)
        if len(set(rows)) > 1:
            raise ValueError(f"one group holds responses to the rows {sorted(set(rows))}; expected one row per group")
        row = self.rows[rows[0]]
        rollouts = tuple(_rollout(*one) for one in zip(grades, lengths, places, strict=True))
        return Group(row.problem, (), rollouts, budget_tokens=row.budget_tokens)


def open_step_payer(exported: ExportedPhase) -> StepPayer:
    """The payer of an exported phase, with its problems where it needs them. Nothing is remembered yet."""
    rows = read_problem_rows(exported.folder / TRAIN_FILE) if exported.carries_grades else []
    return StepPayer(exported, rows)


def step_advantages(payer: StepPayer, scores: Tensor, response_mask: Tensor, uids: Sequence[str]) -> Tensor:
    """The advantages [B, T] of a step; 0 outside `response_mask`.

    `scores` [B, T] hold each response's number on its last token, `response_mask` [B, T] is 1 on its tokens, which begin at the
    left and have no gaps, and `uids` [B] says which responses answer one prompt.
    """
    mask = response_mask.cpu().bool()
    lengths, config = mask.sum(dim=1), payer.exported.phase
    last = (lengths - 1).clamp(min=0)[:, None]
    numbers = scores.cpu().gather(1, last)[:, 0].tolist()
    groups = payer.pay(numbers, lengths.tolist(), list(map(str, uids)))
    out = torch.zeros(mask.shape, dtype=torch.float32)
    if admitted := admit(groups, config):
        batch = collate(admitted, truncated=config.algorithm.truncated)
        found, counted = _estimated(batch, payer)
        scale = _share(mask, lengths > 0, config.algorithm.aggregation) / _share(
            batch.loss_mask & counted[:, None], counted, config.algorithm.aggregation
        )
        out[_places(admitted), : found.shape[1]] = found * scale
    return out.to(scores.device)


def _estimated(batch: RolloutBatch, payer: StepPayer) -> tuple[Tensor, Tensor]:
    """The advantages [b, t] of the rows that train, 0 where a row counts in no loss, and which rows [b] count."""
    phase = payer.exported.phase
    nothing, last = torch.zeros(batch.response_mask.shape), (torch.arange(batch.num_rows), batch.lengths - 1)
    rewards = nothing.clone()
    rewards[last] = batch.rewards
    experience = Experience(batch, nothing, None, nothing, torch.zeros(batch.num_rows), rewards)
    estimated = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
    counted = batch.loss_rows if estimated.rows is None else batch.loss_rows & estimated.rows
    return estimated.advantages * (batch.response_mask & counted[:, None]), counted


def _share(mask: Tensor, rows: Tensor, aggregation: str) -> float:
    """What a loss over `mask` [B, T] and `rows` [B] is divided by: tokens, or responses. At least 1."""
    return max(1.0, float(mask.sum() if aggregation == "token" else rows.sum()))


def _places(groups: Sequence[Group]) -> list[int]:
    """The numbers, in verl's batch, of the responses that `collate` keeps, in its order."""
    return [r.sample for group in groups for r in group.rollouts if r.grade is not Grade.UNGRADABLE]


def _rewarded(numbers: Sequence[float], lengths: Sequence[int], places: Sequence[int]) -> Group:
    """A group of responses whose rewards are known; no one asks for the grade of those that could be graded."""
    rollouts = []
    for number, length, place in zip(numbers, lengths, places, strict=True):
        reward, is_gradable = read_reward(number)
        grade = Grade.NO_ANSWER if is_gradable else Grade.UNGRADABLE
        rollouts.append(_rollout(grade, length, place, reward))
    return Group(UNASKED, (), tuple(rollouts))


def _rollout(grade: Grade, length: int, place: int, reward: float = 0.0) -> Rollout:
    """A rollout of which verl tells only the length."""
    reason = FinishReason.LENGTH if grade is Grade.TRUNCATED else FinishReason.STOP
    return Rollout(Response((), (), "", reason, reported_tokens=length), grade, place, reward)
