"""What each response earns: a level for each grade, and further terms."""

from laconic.config.defaults import CORRECT, NO_ANSWER, TRUNCATED, WRONG
from laconic.config.node import Node


class RewardTermConfig(Node):
    """One row of `rewards.table.REWARDS`, or `FILE.py:FUNCTION` of one's own, with its weight and options.

    `sha256` is the file's, filled in when the recipe is loaded: a run goes on with the reward that it began with.
    """

    name: str
    sha256: str | None = None
    weight: float = 1.0
    options: dict[str, float | bool] = {}


class RewardsConfig(Node):
    """The level each grade pays, and further terms. Defaults: Fatemi et al. 2025 (truncated counts as "no box": -1).

    With `standardize` rewards are centred and divided by their standard deviation over all rollouts that are paid at once: a
    step's, or, with `rollouts = "offline"`, the phase's (O1-Pruner's code).
    """

    correct: float = CORRECT
    wrong: float = WRONG
    no_answer: float = NO_ANSWER
    truncated: float = TRUNCATED
    standardize: bool = False
    terms: tuple[RewardTermConfig, ...] = ()
