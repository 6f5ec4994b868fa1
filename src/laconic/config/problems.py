"""Where problems come from, and which of them a phase trains on."""

from laconic.config.defaults import PROBE_SAMPLES
from laconic.config.node import Flag, Node, OneLine, OptionValue, ProblemCount, Repeats


class ProblemsConfig(Node):
    """The sources of the three sets, which never share a problem: trained on, watched during training, reported after it.

    A file is looked up from the working directory, as by every command that takes problems.
    """

    train: OneLine
    watch: OneLine
    report: OneLine | None = None


class SelectConfig(Node):
    """Which problems a phase trains on, chosen from a probe of the model that enters it.

    The first `pool` problems of the training source (by default all) are probed with `samples` responses each. `how` names a row
    of `selection.SELECTIONS`, `options` are options of that row, and at most `count` problems are chosen. With `in_order` the
    phase trains on them in the order of the selection, as a curriculum; else they are shuffled in every epoch. With
    `how = "everything"` nothing is probed, and the phase trains on the first `count` problems (by default all).
    """

    how: OneLine = "everything"
    options: dict[str, OptionValue] = {}
    count: ProblemCount | None = None
    in_order: Flag = False
    pool: ProblemCount | None = None
    samples: Repeats = PROBE_SAMPLES
