"""Over how many GPUs a run is spread, and where the weights lie with which its responses are drawn."""

from dataclasses import dataclass
from math import ceil

GPUS_PER_MACHINE = 8
"""How many GPUs one machine is taken to have, as the makers' own do."""


@dataclass(frozen=True, slots=True)
class GpuSpread:
    """Over how many GPUs a run is spread, one process each.

    In a run of `laconic train` each process draws responses from a whole policy of its own (`models/sharded_policy.py`). Other
    trainers have an engine beside the weights that are trained, `engine` of whose GPUs hold one copy together, each a part of
    every map (tensor parallelism), in the dtype of the arithmetic. It is None where there is no such engine.
    """

    gpus: int
    engine: int | None = None

    @property
    def is_sharded(self) -> bool:
        """Whether a GPU holds only its part of the weights."""
        return self.gpus > 1

    @property
    def holds_whole_policy(self) -> bool:
        """Whether a GPU holds the policy whole beside its part of it."""
        return self.is_sharded and self.engine is None

    @property
    def drawing_together(self) -> int:
        """How many GPUs draw a response together."""
        return self.engine or 1

    def part(self, whole: int) -> int:
        """What one GPU has of something that is divided among all, rounded up.

        >>> GpuSpread(8).part(100)
        13
        """
        return -(-whole // self.gpus)

    def busiest_share(self, groups: float, sharers: int | None = None) -> float:
        """The share of the work that the busiest of the GPUs has, or of so many `sharers`, where whole groups are shared out.

        >>> GpuSpread(8).busiest_share(16), GpuSpread(8).busiest_share(4), GpuSpread(8).busiest_share(9)
        (0.125, 0.25, 0.2222222222222222)
        """
        return ceil(groups / (sharers or self.gpus)) / groups if groups and self.is_sharded else 1.0

    @property
    def machines(self) -> int:
        """How many machines there are."""
        return -(-self.gpus // GPUS_PER_MACHINE)


ONE_GPU = GpuSpread(1)


def spread_sentence(spread: GpuSpread) -> str:
    """How a run of `laconic train` lies on its GPUs, in words."""
    return (
        f"spread: over {spread.gpus} GPUs; each holds 1/{spread.gpus} of weights, gradients and moments, and beside them the "
        "whole policy, from which it draws responses"
    )
