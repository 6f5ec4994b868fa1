"""Groups to the `rollouts/*` metrics of a step or a watch.

1. Shares and lengths by grade, and rewards, are counted over the rollouts.
2. `repeated_frac` counts tokens inside n-grams that occurred before in the same response (Yeo et al. 2025, arXiv 2502.03373).
   Loops last until the response ends, so its newest tokens are enough, and the cost of a long response is bounded.
3. `end_probability_frac` is the mean probability with which end tokens were drawn. It falls before responses stop to end.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from laconic.rewards.text_rules import count_repeated
from laconic.types import GRADES, FinishReason, Grade, Group, Response

LOOP_NGRAM, LOOP_WINDOW = 20, 512
"""The length of an n-gram in `repeated_frac`, and how many of a response's newest tokens it reads."""


def rollout_metrics(groups: Sequence[Group]) -> dict[str, Any]:
    """The `rollouts/*` metrics of some groups: accuracy over the gradable rollouts, shares and lengths by grade, rewards, and the
    signs of a collapse."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    gradable = [rollout for rollout in rollouts if rollout.grade is not Grade.UNGRADABLE]
    num_correct = sum(rollout.grade is Grade.CORRECT for rollout in gradable)
    return {
        "rollouts/accuracy_frac": num_correct / len(gradable) if gradable else None,
        "rollouts/mean_tokens": sum(rollout.num_tokens for rollout in rollouts) / len(rollouts),
        "rollouts/reward_mean": statistics.fmean(rollout.reward for rollout in gradable) if gradable else None,
        "rollouts/reward_std": statistics.pstdev(rollout.reward for rollout in gradable) if gradable else None,
        "rollouts/uniform_groups_frac": sum(group.is_uniform for group in groups) / len(groups),
        "rollouts/repeated_frac": repeated_share([rollout.response for rollout in rollouts]),
        "rollouts/end_probability_frac": end_probability([rollout.response for rollout in rollouts]),
        **{f"rollouts/{g.value}_frac": sum(r.grade is g for r in rollouts) / len(rollouts) for g in GRADES},
        **{f"rollouts/{g.value}_tokens": mean_tokens(groups, g) for g in GRADES if g is not Grade.UNGRADABLE},
    }


def mean_tokens(groups: Sequence[Group], grade: Grade) -> float | None:
    """Mean length in tokens of the responses with this grade; None if no response has it."""
    lengths = [r.num_tokens for group in groups for r in group.rollouts if r.grade is grade]
    return sum(lengths) / len(lengths) if lengths else None


def repeated_share(responses: Sequence[Response]) -> float | None:
    """Share of the responses' newest tokens that lie in an n-gram which occurred before in its response; None without ids."""
    rows = [response.token_ids[-LOOP_WINDOW:] for response in responses]
    num_tokens = sum(map(len, rows))
    return sum(count_repeated(row, LOOP_NGRAM) for row in rows) / num_tokens if num_tokens else None


def end_probability(responses: Sequence[Response]) -> float | None:
    """Mean probability of the end tokens that were drawn; None if none was drawn, or the sampler returns no log-probabilities."""
    ends = [r.logprobs[-1] for r in responses if r.finish_reason is FinishReason.STOP and r.logprobs]
    return sum(map(math.exp, ends)) / len(ends) if ends else None
