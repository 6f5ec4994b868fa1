"""How the two sets that are not trained on are measured: the watched set during a run, the reported set after it."""

from typing import Annotated

from pydantic import AfterValidator, Field

from laconic.config.defaults import EVALUATION_SAMPLES, MARGIN
from laconic.config.node import Node, PartOfOne, Positive, Repeats, Temperature, first_repeated


def _distinct_in_names(temperatures: tuple[float, ...]) -> tuple[float, ...]:
    """The temperatures, if the names of their evaluations, which have six digits, differ."""
    if twice := first_repeated(temperatures, "{:g}".format):
        raise ValueError(f"expected each temperature once, {twice[0]} and {twice[1]} have one name")
    return temperatures


class WatchConfig(Node):
    """How the watched set is measured: before a phase, every `every` steps, and after its last step."""

    every: Positive = 5
    samples: Repeats = 2


class ReportConfig(Node):
    """How the reported set is measured after the run, at each of `temperatures` (greedy decoding, at 0, takes one sample).

    `max_tokens` caps a response of the reported and of the watched set. Without it the cap is that of the phases; the reported
    set then takes the largest of theirs. `margin` is the loss of accuracy that still counts as no loss.
    """

    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=1), AfterValidator(_distinct_in_names)] = (
        1.0,
        0.0,
    )
    samples: Repeats = EVALUATION_SAMPLES
    max_tokens: Positive | None = None
    margin: PartOfOne = MARGIN
