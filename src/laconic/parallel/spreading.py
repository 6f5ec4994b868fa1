"""Spreads the weights of a model over the processes of a team, by torch's FSDP2.

1. `spread_over` wraps each layer, and around all of them a `Spread`, which holds what lies outside the layers: embedding, norms,
   output map, a value head. Each process keeps its share of every weight, of its gradient and of its optimiser's moments.
2. Calling a `Spread` runs a computation in which the weights of the parts are whole: those of a layer while the layer runs, all
   others from the beginning to the end of the computation and of its backward pass. The computation may call the parts as it
   likes: a body without its head, a head in chunks, the head's weight itself.
3. Gradients are summed over the processes, not averaged: losses are divided by counts of the whole team already.

Every process has to make the same calls in the same order; one that has nothing to compute joins with an empty computation.
The arithmetic is that of one process, autocast included: weights travel in the dtype in which they are held.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

Computed = TypeVar("Computed")


class Spread(nn.Module):
    """Modules whose weights are spread over the processes."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, compute: Callable[[], Computed]) -> Computed:
        """What `compute` returns, a tensor or a tuple of tensors, copied: FSDP2 finds the backward pass by them, which it might
        not where they share memory with others."""
        copied: Computed = tree_map_only(Tensor, Tensor.clone, compute())
        return copied

    def rest(self) -> None:
        """Let every process keep no more than its share of the weights."""
        for module in _wrapped(self):
            module.reshard()


def mesh_of(device: torch.device, size: int) -> DeviceMesh:
    """All processes of a team of `size`, in a row."""
    return init_device_mesh(device.type, (size,))


def spread_over(mesh: DeviceMesh, *parts: nn.Module) -> Spread:
    """Spread the weights of `parts` over `mesh`, in place. Every process must hold the same weights before.

    The layers are the modules that transformers names as never to be split; without such names, there are none.
    """
    for part in parts:
        for layer in _layers(part):
            fully_shard(layer, mesh=mesh)
    root = Spread(*parts)
    fully_shard(root, mesh=mesh)
    for module in _wrapped(root):
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # without it the factor needs an operation that gloo lacks
    return root


def share_of(value: Tensor, like: Tensor) -> Tensor:
    """`value`, which every process has whole, spread as `like` is."""
    assert isinstance(like, DTensor)
    placed = value.to(like.device)
    share: Tensor = distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)
    return share


def put_together(value: Tensor) -> Tensor:
    """`value` put together on every process, if it is spread."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _layers(part: nn.Module) -> list[nn.Module]:
    names = frozenset(getattr(part, "_no_split_modules", None) or ())
    return [module for module in part.modules() if type(module).__name__ in names]


def _wrapped(root: nn.Module) -> Iterator[Any]:
    return (module for module in root.modules() if isinstance(module, FSDPModule))
