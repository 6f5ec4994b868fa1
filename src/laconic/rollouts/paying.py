"""Graded groups to paid ones: each rollout gets its reward, with the named terms that sum to it.

1. `pay_groups` pays the groups of a step, or of a whole phase if its groups are made once.
2. Some terms remember from step to step. A `Payer` holds what the terms of a phase remember, and what a probe measured of each
   problem.
3. Every process of a team pays all groups itself, since the terms of the table pay the same everywhere. A user's own reward may
   not (the order of a set, a clock, a judge), and the processes would then train on different rewards: the first one pays.

What is left out: what a term pays (`rewards/`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum, sqrt

from laconic.config.phase import PhaseConfig
from laconic.config.rewards import RewardsConfig
from laconic.errors import RunFailed
from laconic.parallel.team import ALONE, Team
from laconic.rewards import paying
from laconic.rewards.from_recipe import own_terms, reward_terms
from laconic.rewards.numbers import FloatArray, GroupNumbers, Memory, numbers_of
from laconic.rewards.table import REWARDS, Reward
from laconic.statistics.solve_rate import ProblemStats
from laconic.types import Grade, Group, Rollout

_ROUNDING = 1e-9  # relative: a spread of rewards below it is that of floating point


class Payer:
    """Pays a phase's groups. `references` are the probe's lines by problem id. `table` holds the reward terms by name, including
    those that a user added. `memory` is what the terms remember of the steps so far."""

    def __init__(
        self,
        phase: PhaseConfig,
        references: Mapping[str, ProblemStats],
        table: Mapping[str, Reward],
        team: Team = ALONE,
    ) -> None:
        self.phase, self.references, self.table, self.team = phase, references, table, team
        self.memory = Memory()

    def pay(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with their rewards, as the terms pay now. Raises `RunFailed` if a term that could pay when it was checked
        cannot pay them."""
        return self.team.by_first(lambda: self._pay(groups)) if own_terms(self.phase.rewards) else self._pay(groups)

    def _pay(self, groups: Sequence[Group]) -> list[Group]:
        phase = self.phase
        try:
            return pay_groups(groups, phase.rewards, self.references, phase.sampler.max_tokens, self.memory, self.table)
        except ValueError as error:
            remedy = "once it is mended, go on with --resume (and --accept-changes, where its file has changed)"
            raise RunFailed(f"phases.{phase.name}.rewards: {error}\n{remedy}") from None

    def remember(self, groups: Sequence[Group]) -> None:
        """Let the terms remember a step's paid groups."""
        self.memory = memory_after(self.memory, groups, self.phase.rewards, self.phase.sampler.max_tokens)


def pay_groups(
    groups: Sequence[Group],
    rewards: RewardsConfig,
    references: Mapping[str, ProblemStats],
    max_tokens: int,
    memory: Memory | None = None,
    table: Mapping[str, Reward] = REWARDS,
) -> list[Group]:
    """The groups with every rollout's reward and its terms.

    `references` are the probe's lines by problem id, `memory` is what terms remember from earlier steps, and `table` holds the
    reward terms by name, including those that a user added.
    """
    known = [_with_reference(group, references.get(group.problem.id)) for group in groups]
    terms = reward_terms(rewards)
    paid = [_paid(group, paying.pay(numbers_of(group, max_tokens, memory), terms, table)) for group in known]
    return standardized(paid) if rewards.standardize else paid


def memory_after(memory: Memory, groups: Sequence[Group], rewards: RewardsConfig, max_tokens: int) -> Memory:
    """What the terms remember after a step with these paid groups, given what they remembered before it."""
    draws: dict[str, list[Group]] = {}
    for group in groups:
        draws.setdefault(group.problem.id, []).append(group)
    numbers = {problem_id: _together(drawn, max_tokens, memory) for problem_id, drawn in draws.items()}
    return paying.remember(memory, reward_terms(rewards), numbers)


def _together(draws: Sequence[Group], max_tokens: int, memory: Memory) -> GroupNumbers:
    """The numbers of a problem that a step drew once or more often, all draws together."""
    whole = replace(draws[0], rollouts=tuple(rollout for group in draws for rollout in group.rollouts))
    size = max(sum(grade is not Grade.UNGRADABLE for grade in group.grades) for group in draws)
    return replace(numbers_of(whole, max_tokens, memory), group_size=size)


def standardized(groups: Sequence[Group]) -> list[Group]:
    """Rewards centred and divided by their population standard deviation over all gradable rollouts. What was subtracted
    becomes the term "centre", so that the terms still sum to the reward. Equal rewards all become 0."""
    rewards = [r.reward for g in groups for r in g.rollouts if r.grade is not Grade.UNGRADABLE]
    mean = fsum(rewards) / max(1, len(rewards))
    std = sqrt(fsum((reward - mean) ** 2 for reward in rewards) / max(1, len(rewards)))
    if std <= _ROUNDING * max(map(abs, rewards), default=0.0):  # equal rewards, up to rounding
        std = 1.0

    def scaled(rollout: Rollout) -> Rollout:
        if rollout.grade is Grade.UNGRADABLE:
            return rollout
        terms = {name: paid / std for name, paid in rollout.reward_terms.items()} | {"centre": -mean / std}
        return replace(rollout, reward=(rollout.reward - mean) / std, reward_terms=terms)

    return [replace(group, rollouts=tuple(map(scaled, group.rollouts))) for group in groups]


def _with_reference(group: Group, reference: ProblemStats | None) -> Group:
    """The group with the probe's figures, unless it has its own: groups that are drawn once are their own reference."""
    if reference is None or group.ref_mean_tokens is not None:
        return group
    rate = reference.solve_rate if reference.attempts else None
    return replace(group, ref_mean_tokens=reference.mean_tokens, ref_solve_rate=rate)


def _paid(group: Group, pay: tuple[FloatArray, Mapping[str, FloatArray]]) -> Group:
    total, terms = pay
    rollouts = tuple(
        replace(rollout, reward=float(total[i]), reward_terms={name: float(paid[i]) for name, paid in terms.items()})
        for i, rollout in enumerate(group.rollouts)
    )
    return replace(group, rollouts=rollouts)
