"""What each response earns: a level by its grade, and further terms."""

from laconic.config.defaults import CORRECT, NO_ANSWER, REWARD_TIMEOUT_SECONDS, TRUNCATED, WRONG
from laconic.config.node import Flag, Node, Number, OneLine, OptionValue, Seconds


class RewardTermConfig(Node):
    """One term: `name` is a row of `rewards.table.REWARDS`, or `FILE.py:FUNCTION` for a user's own reward.

    The file is looked up from the recipe's folder: it is code that belongs to the recipe, and goes where the recipe goes.

    `sha256` is the hash of that file. It is filled in when the recipe is loaded, so that a run can only be resumed with the
    reward that it began with.
    """

    name: OneLine
    sha256: OneLine | None = None
    weight: Number = 1.0
    options: dict[str, OptionValue] = {}


class RewardsConfig(Node):
    """The level that each grade pays, and further terms. The default levels are those of Fatemi et al. 2025, where a truncated
    response counts as one without a box: -1.

    With `standardize` rewards are centred and divided by their standard deviation over all rollouts that are paid together: those
    of a step, or, with `rollouts = "offline"`, those of the phase (O1-Pruner's code). `timeout_seconds` is how long a reward of
    one's own may take, over its file and over each group.
    """

    correct: Number = CORRECT
    wrong: Number = WRONG
    no_answer: Number = NO_ANSWER
    truncated: Number = TRUNCATED
    standardize: Flag = False
    timeout_seconds: Seconds = REWARD_TIMEOUT_SECONDS
    terms: tuple[RewardTermConfig, ...] = ()
