"""A phase: a stretch of training with its own problems, rewards and algorithm, and a rule for when it ends."""

from typing import Literal

from pydantic import model_validator

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.node import Fraction, Node, Positive
from laconic.config.optimizer import OptimizerConfig
from laconic.config.problems import SelectConfig
from laconic.config.rewards import RewardsConfig
from laconic.config.solver import SamplerConfig


class EndConfig(Node):
    """When a phase ends before its cap of `steps`, judged on the watched set alone.

    goal        what a better step is: higher "accuracy", or fewer "tokens" at an accuracy above the guard's floor
    patience    watches without a better step before the phase ends as a plateau (none: run to the cap)
    guard_drop  the phase ends, rolled back to its best watched step, where accuracy falls this far below the higher of its
                first and its best step's (absolute; none: no guard)
    keep        whether the phase hands on its "last" or its watched-"best" step
    """

    goal: Literal["accuracy", "tokens"] = "accuracy"
    patience: Positive | None = None
    guard_drop: Fraction | None = 0.1
    keep: Literal["last", "best"] = "last"


class BudgetConfig(Node):
    """A number of tokens asked for in the prompt, drawn for each problem and step between `low` and `high` (L1, arXiv
    2503.04697); `prompt` is the instruction's name without its number."""

    low: Positive
    high: Positive
    prompt: str = "l1_max"

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> "BudgetConfig":
        if self.low > self.high:
            raise ValueError(f"expected low <= high, got {self.low} and {self.high}")
        return self


class PhaseConfig(Node):
    """One phase of a run: up to `steps` steps of `problems_per_step` problems with `group_size` rollouts each.

    `rollouts` says where they come from, a row of `sources.SOURCES`: drawn from the policy as it learns ("on_policy"), drawn once
    from the model that enters the phase ("offline"), the problems' own worked solutions ("solutions"), or exits of one trace
    ("serial"). `entry_share` is what the weights that enter the phase keep in the average that leaves it (Kimi's merging).
    """

    name: str
    steps: Positive
    rollouts: str = "on_policy"
    budget: BudgetConfig | None = None
    entry_share: Fraction = 0.0
    problems_per_step: Positive = 8
    group_size: Positive = 8
    select: SelectConfig = SelectConfig()
    sampler: SamplerConfig = SamplerConfig()
    rewards: RewardsConfig = RewardsConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    end: EndConfig = EndConfig()
