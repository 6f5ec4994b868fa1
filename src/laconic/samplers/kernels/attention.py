"""Attention of one token per row over a single page, as a Triton kernel: every row is read to its own end, and no further.

1. PyTorch's fused attention takes a mask and reads each row as far as the longest one, so the host must say how far that is. Here
   the rows' lengths are on the device, and a step is the same whatever its rows hold.
2. `part`: one program for a row, a key-value head and a part of `PART_POSITIONS` positions. It takes all queries of the head
   together and writes the part's attention with the logarithm of its sum of weights (flash-decoding, Dao et al. 2023). Where the
   row does not reach the part, or its window has left it behind, it writes a weight of zero and ends.
3. `joined`: one program for a row and a query head, which adds the parts by their weights.

Triton comes with PyTorch for CUDA; elsewhere `attention_kernel` gives None. A kernel is checked once, on the device, against
plain attention before it is used; where it does not compile or says something else, that is reported and None is given.

Legend: `R` rows, `Q` query heads, `H` key-value heads, `G` = Q / H, `D` head size, `P` positions of the page.
"""

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PART_POSITIONS = 256  # a part, so that few long rows keep as many programs at work as many short ones
BLOCK_POSITIONS = 64  # read at once
PARTS_AT_ONCE = 16  # of those that are added
MIN_SIDE = 16  # the smallest side of a product of two blocks
LARGEST_HEAD = 256
KERNEL_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}

_log = logging.getLogger(__name__)

Attend = Callable[..., Tensor]
"""`attend(q, keys, values, positions, scaling=..., window=..., softcap=...)`: see `kernel_attention`."""


@functools.cache
def attention_kernel(device: torch.device, dtype: torch.dtype, group: int, size: int) -> Attend | None:
    """The kernel for queries in groups of `group` and heads of `size`; None where there is none, which is said once."""
    if device.type != "cuda":
        return None
    if reason := _objection(device, dtype, group, size):
        _log.warning("attention reads every row to the longest one, without the Triton kernel: %s", reason)
        return None
    return kernel_attention


def _objection(device: torch.device, dtype: torch.dtype, group: int, size: int) -> str | None:
    """Why the kernel does not serve, in words."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if size > LARGEST_HEAD or dtype not in KERNEL_TOLERANCE:
        return f"heads of {size} numbers in {dtype}"
    try:
        error = largest_error(device, dtype, group, size)
    except Exception as failure:  # whatever a compiler of a machine that nobody has seen may raise
        (line, *_) = str(failure).strip().splitlines() or [""]
        return f"{type(failure).__name__}: {line}"
    return None if error <= KERNEL_TOLERANCE[dtype] else f"it is off by {error:.2g}"


def largest_error(device: torch.device, dtype: torch.dtype, group: int, size: int) -> float:
    """The largest difference from plain attention in float32, over rows of 1 to 600 positions, with a window and a soft cap."""
    generator = torch.Generator().manual_seed(0)
    shape, lengths = (4, 2, 640, size), (1, 70, 257, 600)
    q, keys, values = (
        torch.randn(part, generator=generator).to(device, dtype) for part in ((4, 2 * group, size), shape, shape)
    )
    positions = torch.tensor([length - 1 for length in lengths], device=device)
    options: list[dict[str, Any]] = [{"window": None, "softcap": None}, {"window": 100, "softcap": 5.0}]
    differences = [
        kernel_attention(q, keys, values, positions, scaling=size**-0.5, **option).float()
        - plain_attention(q, keys, values, positions, scaling=size**-0.5, **option)
        for option in options
    ]
    return float(torch.stack(differences).abs().nan_to_num(nan=float("inf")).max())


def plain_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    positions: Tensor,
    *,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """What `kernel_attention` computes, in float32 and by a mask over all positions."""
    rows, heads, num_positions, size = keys.shape
    grouped = q.float().view(rows, heads, -1, size)
    scores = grouped @ keys.float().transpose(-1, -2) * scaling
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    columns = torch.arange(num_positions, device=q.device)
    is_seen = columns <= positions[:, None]
    if window is not None:
        is_seen &= columns > positions[:, None] - window
    weights = scores.masked_fill(~is_seen[:, None, None], float("-inf")).softmax(-1)
    return (weights @ values.float()).view(q.shape)


def kernel_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    positions: Tensor,
    *,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """The attention [R, Q, D] of queries [R, Q, D] over keys and values [R, H, P, D], of which row `r` holds positions 0 to
    `positions[r]` and sees, with a window, the last `window`; scores are capped at `softcap` by its tanh (Gemma 2).

    All are of one dtype, in which the last dimension is contiguous; sums are in float32."""
    part, joined = _compiled_kernels()
    rows, num_queries, size = q.shape
    heads, num_parts = keys.shape[1], -(-keys.shape[2] // PART_POSITIONS)
    q, out = q.contiguous(), torch.empty(q.shape, dtype=q.dtype, device=q.device)
    parts = torch.empty(rows, num_queries, num_parts, size, dtype=torch.float32, device=q.device)
    weights = torch.empty(rows, num_queries, num_parts, dtype=torch.float32, device=q.device)
    group, width = num_queries // heads, max(MIN_SIDE, _power_of_two(size))
    part[(rows, heads, num_parts)](
        q,
        keys,
        values,
        positions,
        parts,
        weights,
        keys.stride(0),
        keys.stride(1),
        keys.stride(2),
        values.stride(0),
        values.stride(1),
        values.stride(2),
        scaling,
        softcap or 0.0,
        window or 0,
        num_parts,
        HEADS=heads,
        GROUP=group,
        GROUP_BLOCK=max(MIN_SIDE, _power_of_two(group)),
        SIZE=size,
        WIDTH=width,
        PART=PART_POSITIONS,
        BLOCK=BLOCK_POSITIONS if width <= 128 else BLOCK_POSITIONS // 2,
        HAS_CAP=softcap is not None,
        HAS_WINDOW=window is not None,
        num_stages=2,  # with three, blocks of the widest heads do not fit beside one another
    )
    joined[(rows * num_queries,)](
        parts, weights, out, num_parts, SIZE=size, WIDTH=width, PARTS=_power_of_two(num_parts), STEP=PARTS_AT_ONCE
    )
    return out


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()


@functools.cache
def _compiled_kernels() -> tuple[Any, Any]:
    """The two kernels. Triton is imported here, since it is there only where PyTorch is built for CUDA."""
    import triton

    from laconic.samplers.kernels import sources

    return triton.jit(sources.part), triton.jit(sources.joined)
