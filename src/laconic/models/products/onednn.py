"""Float32 matrix products on a CPU through oneDNN.

PyTorch computes them by MKL, which runs at half speed or less on processors of other makers than its own; oneDNN, which comes
with PyTorch too, runs at full speed on all of them. `product_path.py` decides which one this machine uses. The operator used here
is the one by which PyTorch's compiler calls oneDNN.

1. `linear` computes what `torch.nn.functional.linear` does, with gradients.
2. Inside `fast_products`, every call of `torch.nn.functional.linear` in this thread becomes a call of `linear`, so that a Hugging
   Face model becomes faster without changes.

On other devices, in other dtypes, under autocast, for very small products, and where the machine's path is `pytorch`, PyTorch's
own function is called.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from laconic.models.products.product_path import product_path

MIN_ROWS = 32  # with fewer rows, starting a product takes longer than its arithmetic


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x` [..., in] times `weight` [out, in] transposed, plus `bias` [out]: [..., out]."""
    if not _is_served(x, weight):
        return functional.linear(x, weight, bias)
    if torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        out: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return out
    return _product(x, weight, bias)


@torch.no_grad()
def add_product(total: Tensor, x: Tensor, y: Tensor) -> None:
    """Add `x` [N, out] transposed times `y` [N, in] to `total` [out, in], in the dtype of `total`."""
    if _is_served(x.t(), y.t()):
        total.add_(_product(x.t(), y.t()))
    elif x.dtype == total.dtype:
        total.addmm_(x.t(), y)
    else:
        total.add_(x.t() @ y)


def _is_served(x: Tensor, weight: Tensor) -> bool:
    return (
        x.numel() >= MIN_ROWS * x.shape[-1]
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # the compiler takes this operator for constant weights only
        and product_path() == "onednn"
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class _Linear(torch.autograd.Function):
    """y = x W' + b, so dx = dy W, dW = dy' x, db = sum of dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (dy,), (x, weight) = grads, ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = dy.reshape(-1, dy.shape[-1])
        dx = _product(dy, weight.t()) if wants_x else None
        dw = _product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if wants_weight else None
        return dx, dw, rows.sum(0) if wants_bias else None


class _FastProducts(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear:
            return linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def fast_products(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which linear maps go through oneDNN; it changes nothing where `device` is not a CPU."""
    return _FastProducts() if device.type == "cpu" else contextlib.nullcontext()
