"""What a phase does when it collapses: an action for each of eight alarms."""

from typing import Literal

from laconic.config.node import Node, Positive

Action = Literal["off", "warn", "stop", "rollback"]
"""Say nothing; say it; say it and end the phase where it is; say it and end the phase at a step from before the collapse."""


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
