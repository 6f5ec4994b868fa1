"""Over how many GPUs a run is spread, and how the copies for sampling lie on them."""

from dataclasses import dataclass
from math import ceil

GPUS_PER_MACHINE = 8
"""How many GPUs one machine is taken to have, as the makers' own do."""
ENGINES = (1, 2, 4, 8)
"""How many GPUs, all of one machine, may hold one copy of the weights together."""


@dataclass(frozen=True, slots=True)
class GpuSpread:
    """Over how many GPUs a run is spread. `engine` of them hold one copy of the weights together while responses are drawn, each
    a part of every map (tensor parallelism); if it is 1, each has a whole copy."""

    gpus: int
    engine: int = 1

    @property
    def is_sharded(self) -> bool:
        """Whether a GPU holds only its part of the weights."""
        return self.gpus > 1

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
    """How the run lies on its GPUs, in words."""
    if spread.engine == 1:
        copies = "to draw responses each has a whole copy"
    else:
        words = f"hold one copy together, as vLLM does with tensor_parallel_size={spread.engine}"
        copies = f"to draw responses {spread.engine} {words}"
    return f"spread: over {spread.gpus} GPUs; each holds 1/{spread.gpus} of weights, gradients and moments; {copies}"
