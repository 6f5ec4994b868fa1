"""Why a step taught nothing.

A step teaches nothing where no gradient moved the policy or the critic: no group was admitted, the algorithm found nothing to
learn from (no pair, no correct response), or all advantages are 0 because every group is uniform.
"""

from collections.abc import Mapping
from typing import Any

GRADIENTS = ("update/policy_grad_norm", "update/critic_grad_norm")


def why_nothing_learnt(line: Mapping[str, Any]) -> str | None:
    """The reason in words, from the step's line of metrics.jsonl; None where something was learnt.

    A gradient that is not a number is no gradient of 0: such a step is not idle.

    >>> rollouts = {"rollouts/truncated_frac": 0.0, "rollouts/uniform_groups_frac": 1.0, "rollouts/accuracy_frac": 1.0}
    >>> why_nothing_learnt(rollouts | {"update/policy_grad_norm": 0.0})
    'in every group all rewards are the same, 100% correct'
    >>> why_nothing_learnt(rollouts | {"update/policy_grad_norm": 0.1}) is None
    True
    """
    if any(line.get(key, 0.0) != 0.0 for key in GRADIENTS):
        return None
    accuracy = line["rollouts/accuracy_frac"]
    if accuracy is None:
        return "no response could be graded"
    if line["rollouts/truncated_frac"] == 1.0:
        return "every response was cut off at the cap"
    if line["rollouts/uniform_groups_frac"] == 1.0:
        return f"in every group all rewards are the same, {accuracy:.0%} correct"
    if line.get("rollouts/admitted_frac") == 0.0:
        return "no group was admitted"
    return f"the algorithm found nothing to learn from, {accuracy:.0%} correct"
