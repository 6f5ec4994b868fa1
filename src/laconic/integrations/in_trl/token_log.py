"""The callback that makes a trainer log tokens by grade, and that checks it before it draws anything.

1. When training begins, the trainer's arguments and the columns of its data set are checked.
2. A reward of ours that is called by a trainer with this callback logs the metrics of its rollouts (`rollouts/metrics.py`) by the
   door that TRL opens to reward functions, so they stand beside the trainer's own in every log and tracker. Where a trainer has
   several rewards of ours, the first one does.

TRL averages what is logged over the calls since its last log. What a reward earns on average it logs itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback

from laconic.integrations.in_trl.settings import check_arguments, check_columns
from laconic.rollouts.metrics import rollout_metrics
from laconic.types import Group

LEFT_OUT = (
    "rollouts/reward_mean",
    "rollouts/reward_std",
    "rollouts/uniform_groups_frac",
    "rollouts/end_probability_frac",
)
"""What the trainer logs itself, and what takes log-probabilities, which a reward function does not get."""


class TokenLog(TrainerCallback):
    """The callback; a reward of ours looks for it in the trainer that calls."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Raise `InputError` for arguments or a data set that our rewards cannot serve."""
        check_arguments(args)
        names = getattr(getattr(known.get("train_dataloader"), "dataset", None), "column_names", None)
        if names is not None:
            check_columns(names)


def logs_tokens(trainer: Any, reward: Any) -> bool:
    """Whether this reward function logs the rollouts: it is the trainer's first of ours, and the trainer has the callback."""
    ours = [function for function in trainer.reward_funcs if isinstance(function, type(reward))]
    has_log = any(isinstance(one, TokenLog) for one in trainer.callback_handler.callbacks)
    return has_log and ours[:1] == [reward]


def log_rollouts(groups: Sequence[Group], log_metric: Callable[[str, float], None]) -> None:
    """Log the metrics of these groups, under the names of our own log; those that do not exist are left out."""
    for name, value in rollout_metrics(groups).items():
        if value is not None and name not in LEFT_OUT:
            log_metric(name, float(value))
