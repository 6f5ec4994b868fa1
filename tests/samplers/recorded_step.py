"""What stands for a CUDA graph on a CPU: the operations of a step, recorded once and repeated on the same memory.

1. `record` runs a step and keeps every operation with its arguments, as a capture does. Numbers that Python computed are part of
   the record, so whatever changes from step to step must be in a tensor that was there before.
2. A replay first fills everything that the recorded step made with garbage, since graphs share one pool of memory and others ran
   in between. Then it repeats the operations, each into the memory of its recorded result.
3. An operation that hands a number to the host is refused, as it is in a capture.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from laconic.samplers import drawing

HOST_READS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")
GARBAGE = 7  # as an index it is in range, as a number it is wrong


class _Recorder(TorchDispatchMode):
    """The operations that run inside, with their arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.made: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in HOST_READS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, out))
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        self.made += [tensor for tensor in _tensors(out) if tensor.untyped_storage().data_ptr() not in given]
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def record(step: Callable[[], None]) -> Callable[[], None]:
    """What replays `step`. Its first call does nothing, since recording has run the step already, and a capture has not."""
    recorder, is_run = _Recorder(), True
    with recorder:
        step()

    def replay() -> None:
        nonlocal is_run
        if is_run:
            is_run = False
            return
        for tensor in recorder.made:
            tensor.fill_(GARBAGE)
        for func, args, kwargs, out in recorder.operations:
            again = func(*args, **kwargs)
            for old, new in zip(_tensors(out), _tensors(again), strict=True):
                if new.data_ptr() != old.data_ptr():
                    old.copy_(new)

    return replay


class Captures:
    """`record`, counted by captures and replays."""

    def __init__(self) -> None:
        self.num_captures = self.num_replays = 0

    def __call__(self, step: Callable[[], None]) -> Callable[[], None]:
        """What replays `step`."""
        self.num_captures += 1
        replay = record(step)

        def counted() -> None:
            self.num_replays += 1
            replay()

        return counted


def refusing(step: Callable[[], None]) -> Callable[[], None]:
    """What a capture does that fails in the middle of a step."""
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore lines")


def fits_captures(patch: Any) -> None:
    """Let a CPU find top-p's cut as other devices do, without a look at any number."""
    patch.setattr(drawing, "least_by_rank", drawing.least_by_halving)
