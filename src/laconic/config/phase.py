"""A phase: a stretch of training with its own problems, rewards and algorithm, and a rule for when it ends."""

from typing import Literal

from pydantic import model_validator

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.node import Fraction, Name, Node, OneLine, PartOfOne, Positive, ProblemCount, Repeats
from laconic.config.optimizer import OptimizerConfig
from laconic.config.problems import SelectConfig
from laconic.config.rewards import RewardsConfig
from laconic.config.solver import SamplerConfig

Action = Literal["off", "warn", "stop", "rollback"]
"""Say nothing; say it; say it and end the phase where it is; say it and end the phase at a step from before the collapse."""


SHORT_PHASE_PARTS, LEAST_STEPS = 8, 2


class AlarmsConfig(Node):
    """The action of each alarm, a row of `collapse.alarms.ALARMS`.

    An alarm is raised when its sign is seen in most of the newest `steps` steps, or, in a phase of fewer than 40 steps, in most
    of an eighth of its steps (in both of two), so that less than a fifth of the rollouts are wasted. By default every alarm warns
    and ends nothing: watched accuracy decides whether a phase ends (`guard_drop`), unless the recipe asks for more.
    """

    steps: Positive = 5
    truncation: Action = "warn"
    rewards: Action = "warn"
    lengths: Action = "warn"
    entropy: Action = "warn"
    repetition: Action = "warn"
    ending: Action = "warn"
    kl: Action = "warn"
    format: Action = "warn"

    def patience(self, num_steps: int) -> int:
        """The steps that an alarm reads in a phase of `num_steps`: as configured, or in a short phase an eighth of it.

        >>> [AlarmsConfig().patience(num_steps) for num_steps in (4, 16, 24, 40, 400)]
        [2, 2, 3, 5, 5]
        """
        return min(self.steps, max(LEAST_STEPS, num_steps // SHORT_PHASE_PARTS))


class EndConfig(Node):
    """When a phase ends before its cap of `steps`. Only the watched set decides.

    goal        which step is better: the one with higher "accuracy", or the one with fewer "tokens" while its accuracy is above
                the guard's floor
    patience    after so many measurements of the watched set without a better step, the phase ends as a plateau (none: never)
    guard_drop  where accuracy falls more than this (absolute) below that of the first or of the best step, whichever is higher,
                the phase ends and goes back to its best step (none: no guard)
    keep        which weights the phase hands on: those of its "last" step, or of its "best" by the watched set
    alarms      what the phase does when it collapses
    """

    goal: Literal["accuracy", "tokens"] = "accuracy"
    patience: Positive | None = None
    guard_drop: Fraction | None = 0.1
    keep: Literal["last", "best"] = "last"
    alarms: AlarmsConfig = AlarmsConfig()


class BudgetConfig(Node):
    """A budget: a number of tokens that the prompt asks for, drawn for each problem and step between `low` and `high` (L1,
    arXiv 2503.04697). `prompt` is the name of the instruction, without its number."""

    low: Positive
    high: Positive
    prompt: OneLine = "l1_max"

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> "BudgetConfig":
        if self.low > self.high:
            raise ValueError(f"expected low <= high, got {self.low} and {self.high}")
        return self


GIVEN_TEXTS = ("solutions", "pairs")
"""The `rollouts` of a phase that come with its problems."""


class PhaseConfig(Node):
    """One phase of a run: up to `steps` steps of `problems_per_step` problems with `group_size` rollouts each.

    `rollouts` says where the rollouts come from, as a row of `sources.SOURCES`: drawn from the policy as it learns ("on_policy"),
    drawn once from the model that enters the phase ("offline"), the problems' own worked solutions ("solutions"), exits of one
    trace ("serial"), or the problems' own pairs of responses of which one is preferred ("pairs"). The phase hands on the average
    of the weights it began with and those it ended with; `entry_share` is the share of the former (Kimi k1.5's model merging,
    arXiv 2501.12599).
    """

    name: Name
    steps: Positive
    rollouts: OneLine = "on_policy"
    budget: BudgetConfig | None = None
    entry_share: PartOfOne = 0.0
    problems_per_step: ProblemCount = 8
    group_size: Repeats = 8
    select: SelectConfig = SelectConfig()
    sampler: SamplerConfig = SamplerConfig()
    rewards: RewardsConfig = RewardsConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    end: EndConfig = EndConfig()

    @property
    def temperature(self) -> float:
        """The temperature of the distribution that is trained: that of the responses, or 1 for texts that nothing drew.

        >>> sampler = SamplerConfig(temperature=0.6)
        >>> [PhaseConfig(name="p", steps=1, rollouts=r, sampler=sampler).temperature for r in ("on_policy", "solutions")]
        [0.6, 1.0]
        """
        return 1.0 if self.rollouts in GIVEN_TEXTS else self.sampler.temperature
