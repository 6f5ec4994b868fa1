"""Where problems come from, and which of them a phase trains on."""

from laconic.config.defaults import PROBE_SAMPLES
from laconic.config.node import Node, Positive


class ProblemsConfig(Node):
    """Sources of the three sets that never meet (design section 3)."""

    train: str
    watch: str
    report: str | None = None


class SelectConfig(Node):
    """Which problems a phase trains on, chosen from a probe of the model that enters it.

    The first `pool` problems of the training source are probed with `samples` responses each (none: all of them); `how`
    names a row of `selection.SELECTIONS` and `options` are its own. With `in_order` they are trained on in the selection's order,
    a curriculum; else shuffled every epoch. Without a probe (`how = "everything"`) the phase trains on
    all problems of its source.
    """

    how: str = "everything"
    options: dict[str, float | bool] = {}
    count: Positive | None = None
    in_order: bool = False
    pool: Positive | None = None
    samples: Positive = PROBE_SAMPLES
