"""Rewards and settings that pay something, and probably not what was meant: each is a warning of one line.

What cannot be served at all is an error (`settings.py`).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.config.rewards import RewardsConfig
from laconic.errors import LaconicWarning
from laconic.rewards.from_recipe import options_above, own_terms, whole_terms


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: the `rewards` of the function that is called, those of all functions of ours in the trainer, and the
    trainer with its arguments."""

    rewards: RewardsConfig
    ours: Sequence[RewardsConfig]
    trainer: Any

    @property
    def scales_again(self) -> bool:
        """Whether the trainer divides by a standard deviation."""
        args = self.trainer.args
        is_scaled = getattr(args, "scale_rewards", "none") != "none" or self.scales_each
        return bool(getattr(args, "normalize_advantages", False)) or is_scaled

    @property
    def scales_each(self) -> bool:
        """Whether the trainer divides what each function pays by that function's own standard deviation, and then adds."""
        return getattr(self.trainer.args, "multi_objective_aggregation", "") == "normalize_then_sum"

    @property
    def has_others(self) -> bool:
        """Whether a reward function that is not of ours is paid beside them."""
        return len(self.trainer.reward_funcs) > len(self.ours)

    @property
    def whole_term(self) -> str | None:
        """The first term that is the whole reward of a paper."""
        return next(iter(whole_terms(self.rewards)), None)

    @property
    def long_options(self) -> tuple[str, ...]:
        """Options that nobody set, and whose defaults are above the cap, in words."""
        return options_above(self.rewards, self.trainer.max_completion_length)


def has_levels(rewards: RewardsConfig) -> bool:
    """Whether grades are paid."""
    return any((rewards.correct, rewards.wrong, rewards.no_answer, rewards.truncated))


def pays_for_correct(rewards: RewardsConfig) -> bool:
    """Whether a correct answer earns more for being correct, as far as is known: a user's own reward may."""
    return rewards.correct > rewards.wrong or bool(whole_terms(rewards) or own_terms(rewards))


DOUBTFUL: tuple[tuple[Callable[[Asked], bool], str], ...] = (
    (
        lambda asked: bool(getattr(asked.trainer.args, "mask_truncated_completions", False)),
        "mask_truncated_completions: truncated responses train nothing, and what they are paid only moves the baseline of the "
        "others; expected False where truncation has a price",
    ),
    (
        lambda asked: asked.rewards.standardize and asked.scales_again,
        "standardize: the trainer divides by a standard deviation again, which undoes it; expected scale_rewards = 'none' "
        "(RLOO: normalize_advantages = False) and not multi_objective_aggregation = 'normalize_then_sum', or standardize = False",
    ),
    (
        lambda asked: asked.scales_each and len(asked.trainer.reward_funcs) > 1,
        "multi_objective_aggregation = 'normalize_then_sum': each function counts as much as any other, whatever it pays, and "
        "weights and levels of a paper lose their sizes; expected 'sum_then_normalize'",
    ),
    (
        lambda asked: not asked.has_others and not any(map(pays_for_correct, asked.ours)),
        "reward_funcs: no reward pays for being correct; add reward('levels'), or a whole reward such as reward('truncation')",
    ),
    (
        lambda asked: has_levels(asked.rewards) and asked.whole_term is not None,
        "{asked.whole_term} is a whole reward, and the levels are paid beside it; set correct, wrong, no_answer and truncated "
        "to 0",
    ),
    (
        lambda asked: asked.has_others,
        "reward_funcs: a response that cannot be graded earns nothing here, yet trains by what the other functions pay; expected "
        "them to return None where the grade is unknown",
    ),
    (
        lambda asked: bool(asked.long_options),
        "{asked.long_options[0]} is by default more than max_completion_length = {asked.trainer.max_completion_length}; set it",
    ),
)
"""Whether something is doubtful, and the sentence that says so."""


def warn_of_doubts(asked: Asked) -> None:
    """Say each doubt about what was asked for, once per process."""
    for is_doubtful, text in DOUBTFUL:
        if is_doubtful(asked):
            warnings.warn(text.format(asked=asked), LaconicWarning, stacklevel=2)
