"""Checks of tensor shapes: a mask of the wrong shape fails in the function that received it, as in rlax, instead of being
broadcast silently.

Only shapes are compared, in Python: no value is read, so the device is not waited for. While a graph is compiled the checks are
left out of it, so that they cost a compiled or captured step nothing.
"""

import torch
from torch import Tensor


def check_shapes(function: str, /, **tensors: tuple[Tensor, str]) -> None:
    """Raise `ValueError`, naming `function` and every shape, unless each tensor has the shape that is passed with it.

    A shape is one letter per dimension ("BT"), where the same letter means the same size in all tensors, or "...", which means
    any shape, the same for all tensors that have it. Names say what a tensor holds: `mask` and `is_...` must be boolean.

    >>> check_shapes("gae", values=(torch.ones(2, 3), "BT"), last_values=(torch.ones(3), "B"))
    Traceback (most recent call last):
    ValueError: gae: expected values [B, T], last_values [B]; got values [2, 3], last_values [3]
    """
    if torch.compiler.is_compiling():
        return
    sizes: dict[str, object] = {}
    for name, (tensor, letters) in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{function}: expected {name} as a tensor, got {type(tensor).__name__}")
        if (name == "mask" or name.startswith("is_")) and tensor.dtype != torch.bool:
            raise ValueError(f"{function}: expected {name} as booleans, got {tensor.dtype}")
        shape = tensor.shape
        if letters == "...":
            fits = sizes.setdefault(letters, shape) == shape
        else:
            has_rank = len(shape) == len(letters)
            fits = has_rank and all(sizes.setdefault(a, n) == n for a, n in zip(letters, shape, strict=True))
        if not fits:
            raise ValueError(f"{function}: expected {_expected(tensors)}; got {_actual(tensors)}")


def _expected(tensors: dict[str, tuple[Tensor, str]]) -> str:
    words = {name: letters if letters == "..." else ", ".join(letters) for name, (_, letters) in tensors.items()}
    return ", ".join(f"{name} [{word}]" for name, word in words.items())


def _actual(tensors: dict[str, tuple[Tensor, str]]) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, (tensor, _) in tensors.items())
