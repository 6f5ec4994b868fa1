"""Float32 weights in the order in which a CPU's library reads them, for products that are computed many times with few rows.

A product with few rows spends up to a third of its time on bringing its weight into that order. Where the same weights are used
for many steps, as in decoding, that is done once:

1. `packed_copy` makes such a copy of a weight, by the library that this machine's products take (`product_path.py`): MKL or
   oneDNN. A copy is as large as the weight.
2. `packed_linear` multiplies by it.

MKL is told a number of rows when it packs, and computes with any number: the order depends on the weight alone. Its manual does
not say so; other engines rely on it (Paddle packs for one row), and `packs_right` tries it out.
"""

import functools
import logging

import torch
from torch import Tensor
from torch.nn import functional

from laconic.models.products.onednn import linear
from laconic.models.products.product_path import ProductPath, product_path

MIN_PACKED_ROWS, MAX_PACKED_ROWS = 4, 128  # with fewer and with more rows the weight as it is is as fast, or faster
PACKED_FOR_ROWS = 64
TRIED_ROWS = (4, 63, 128)
TRIED_SIDES = (1536, 576)
"""Outputs and inputs of the weight that is tried out."""

_log = logging.getLogger(__name__)


def packed_copy(weight: Tensor) -> Tensor | None:
    """A packed copy of `weight` [out, in]; None where this machine's library has no such order, or `weight` is not of float32 on
    a CPU."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not packs_right(product_path()):
        return None
    return _packed(weight.detach(), product_path())


def packed_linear(x: Tensor, weight: Tensor, packed: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x` [R, in] times `weight` [out, in] transposed, plus `bias` [out]: [R, out]. `packed` is the weight's packed copy."""
    if not MIN_PACKED_ROWS <= len(x) <= MAX_PACKED_ROWS:
        return linear(x, weight, bias)
    return _product(x, weight, packed, bias, product_path())


@functools.cache
def packs_right(path: ProductPath) -> bool:
    """Whether a path's library packs, and gives right products for other numbers of rows than it packed for."""
    if path == "pytorch" and not torch.backends.mkl.is_available():
        return False
    outputs, inputs = TRIED_SIDES
    weight = torch.sin(torch.arange(outputs * inputs, dtype=torch.float32)).view(outputs, inputs)
    tried = [torch.cos(torch.arange(rows * inputs, dtype=torch.float32)).view(rows, inputs) for rows in TRIED_ROWS]
    try:
        packed = _packed(weight, path)
        products = [_product(x, weight, packed, None, path) for x in tried]
    except (AttributeError, RuntimeError) as error:  # an operator that this build of PyTorch or this processor lacks
        _log.debug("weights are not packed here: %s", error)
        return False
    plain = [functional.linear(x, weight) for x in tried]
    return all(torch.allclose(ours, theirs, atol=1e-3) for ours, theirs in zip(products, plain, strict=True))


def _packed(weight: Tensor, path: ProductPath) -> Tensor:
    if path == "onednn":
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS)
    else:
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, PACKED_FOR_ROWS)
    return packed


def _product(x: Tensor, weight: Tensor, packed: Tensor, bias: Tensor | None, path: ProductPath) -> Tensor:
    if path == "onednn":
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    else:
        out = torch.ops.mkl._mkl_linear(
            x, packed, weight, bias, len(x)
        )  # with another number it would not use `packed`
    return out
