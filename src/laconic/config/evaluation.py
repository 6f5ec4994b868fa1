"""How the sets that train nothing are measured: the watched one during a run, the reported one after it."""

from laconic.config.defaults import EVALUATION_SAMPLES, MARGIN
from laconic.config.node import Fraction, Node, NonNegative, Positive


class WatchConfig(Node):
    """How the watched set is measured: before a phase, every `every` steps, and after its last step."""

    every: Positive = 5
    samples: Positive = 2


class ReportConfig(Node):
    """How the reported set is measured after the run, at each of `temperatures` (greedy takes one sample).

    `max_tokens` caps a response there and on the watched set; none: the cap of the phases, whose largest counts here.
    """

    temperatures: tuple[NonNegative, ...] = (1.0, 0.0)
    samples: Positive = EVALUATION_SAMPLES
    max_tokens: Positive | None = None
    margin: Fraction = MARGIN
