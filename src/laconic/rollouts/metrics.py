"""Groups to the `rollouts/*` metrics of a step or a watch."""

from collections.abc import Sequence
from typing import Any

from laconic.types import GRADES, Grade, Group


def rollout_metrics(groups: Sequence[Group]) -> dict[str, Any]:
    """The `rollouts/*` metrics of some groups: accuracy over the gradable rollouts, shares and lengths by grade, mean reward."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    gradable = [rollout for rollout in rollouts if rollout.grade is not Grade.UNGRADABLE]
    num_correct = sum(rollout.grade is Grade.CORRECT for rollout in gradable)
    return {
        "rollouts/accuracy_frac": num_correct / len(gradable) if gradable else None,
        "rollouts/mean_tokens": sum(rollout.num_tokens for rollout in rollouts) / len(rollouts),
        "rollouts/reward_mean": sum(rollout.reward for rollout in rollouts) / len(rollouts),
        "rollouts/uniform_groups_frac": sum(group.is_uniform for group in groups) / len(groups),
        **{f"rollouts/{g.value}_frac": sum(r.grade is g for r in rollouts) / len(rollouts) for g in GRADES},
        **{f"rollouts/{g.value}_tokens": mean_tokens(groups, g) for g in GRADES if g is not Grade.UNGRADABLE},
    }


def mean_tokens(groups: Sequence[Group], grade: Grade) -> float | None:
    """Mean length in tokens of the responses with this grade; None if no response has it."""
    lengths = [r.num_tokens for group in groups for r in group.rollouts if r.grade is grade]
    return sum(lengths) / len(lengths) if lengths else None
