"""How the two sets that are not trained on are measured: the watched set during a run, the reported set after it."""

from laconic.config.defaults import EVALUATION_SAMPLES, MARGIN
from laconic.config.node import Fraction, Node, NonNegative, Positive


class WatchConfig(Node):
    """How the watched set is measured: before a phase, every `every` steps, and after its last step."""

    every: Positive = 5
    samples: Positive = 2


class ReportConfig(Node):
    """How the reported set is measured after the run, at each of `temperatures` (greedy decoding, at 0, takes one sample).

    `max_tokens` caps a response of the reported and of the watched set. Without it the cap is that of the phases; the reported
    set then takes the largest of theirs. `margin` is the loss of accuracy that still counts as no loss.
    """

    temperatures: tuple[NonNegative, ...] = (1.0, 0.0)
    samples: Positive = EVALUATION_SAMPLES
    max_tokens: Positive | None = None
    margin: Fraction = MARGIN
