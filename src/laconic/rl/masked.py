"""Masked sums, means and standardisation, and the convention for masks.

True always means "counts". Padding may hold any values, inf and nan included: it is replaced by 0 before any arithmetic, never
multiplied by 0. No function here writes to its inputs. A mask of another shape than its tensor raises `ValueError` (`shapes.py`).

Legend: `B` responses, `T` response tokens (padded on the right).
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from laconic.rl.shapes import check_shapes

Aggregation = Literal["response", "token", "constant", "sum"]


def zeroed(x: Tensor, mask: Tensor) -> Tensor:
    """`x` with 0 wherever `mask` is False; same shape."""
    check_shapes("zeroed", x=(x, "..."), mask=(mask, "..."))
    return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))


def masked_sum(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum of the counted entries, over all dimensions (a scalar) or along `dim`."""
    check_shapes("masked_sum", x=(x, "..."), mask=(mask, "..."))
    return zeroed(x, mask).sum() if dim is None else zeroed(x, mask).sum(dim)


def masked_mean(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of the counted entries, over all dimensions (a scalar) or along `dim`; nan where no entry counts."""
    check_shapes("masked_mean", x=(x, "..."), mask=(mask, "..."))
    count = mask.sum() if dim is None else mask.sum(dim)
    return masked_sum(x, mask, dim) / count


def standardize(x: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """(x - mean) / (standard deviation + eps) over all counted entries; population standard deviation; 0 elsewhere.

    This is the whitening with which Fatemi et al. 2025 train, over all tokens of a step's rollouts.
    `x`, `mask` and the result have one shape.
    """
    check_shapes("standardize", x=(x, "..."), mask=(mask, "..."))
    wide = x.double()  # in float32 the mean of equal numbers is off by rounding, which the division would turn into +-1
    centred = zeroed(wide - masked_mean(wide, mask), mask)
    std = masked_mean(centred.square(), mask).sqrt()
    return zeroed(centred / (std + eps), mask).to(x.dtype)


def token_weights(
    mask: Tensor, aggregation: Aggregation, *, num_responses: int, num_tokens: int, max_tokens: int
) -> Tensor:
    """Weights [B, T] for the tokens counted by `mask` [B, T]: the sum of weight times loss over tokens is the aggregated loss.
    0 outside `mask`.

    response   1 / (T_i * num_responses): mean over a response's tokens, then over responses (GRPO; Fatemi et al. 2025)
    token      1 / num_tokens: mean over all tokens (DAPO, arXiv 2503.14476)
    constant   1 / (max_tokens * num_responses): sum over tokens divided by a constant (Dr. GRPO, arXiv 2503.20783)
    sum        1 / num_responses: sum over tokens, mean over responses (a likelihood; DPO)

    `num_responses` and `num_tokens` are those of the whole update, not of this micro-batch, so that any split into
    micro-batches gives the same gradient. T_i is the number of counted tokens of response i, at least 1. Raises `ValueError` for
    an unknown aggregation.
    """
    check_shapes("token_weights", mask=(mask, "BT"))
    counted = mask.to(torch.float32)
    if aggregation == "token":
        return counted / num_tokens
    if aggregation == "constant":
        return counted / (max_tokens * num_responses)
    if aggregation == "sum":
        return counted / num_responses
    if aggregation == "response":
        lengths = counted.sum(dim=1, keepdim=True).clamp(min=1.0)
        return counted / (lengths * num_responses)
    raise ValueError(f"token_weights: unknown aggregation {aggregation!r}; known: {', '.join(get_args(Aggregation))}")
