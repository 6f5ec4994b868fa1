"""Checks at the door of the tensor functions: a mask of the wrong shape fails in the function that got it, as in rlax, instead of
being broadcast in silence.

Shapes alone are looked at, in Python: no value is read and nothing is waited for. While a graph is compiled the checks are left
out of it, so that they cost a compiled or captured step nothing.
"""

import torch
from torch import Tensor


def check_shapes(function: str, /, **tensors: tuple[Tensor, str]) -> None:
    """Raise `ValueError`, naming `function` and every shape, unless the tensors have the shapes that stand beside them.

    A shape is a letter for each dimension ("BT"), one letter meaning one size everywhere, or "..." for any one shape.

    >>> check_shapes("gae", values=(torch.ones(2, 3), "BT"), last_values=(torch.ones(3), "B"))
    Traceback (most recent call last):
    ValueError: gae: expected values [B, T], last_values [B]; got values [2, 3], last_values [3]
    """
    if torch.compiler.is_compiling():
        return
    sizes: dict[str, object] = {}
    for tensor, letters in tensors.values():
        shape = tensor.shape
        if letters == "...":
            fits = sizes.setdefault(letters, shape) == shape
        else:
            has_rank = len(shape) == len(letters)
            fits = has_rank and all(sizes.setdefault(a, n) == n for a, n in zip(letters, shape, strict=True))
        if not fits:
            raise ValueError(f"{function}: expected {_expected(tensors)}; got {_given(tensors)}")


def _expected(tensors: dict[str, tuple[Tensor, str]]) -> str:
    words = {name: letters if letters == "..." else ", ".join(letters) for name, (_, letters) in tensors.items()}
    return ", ".join(f"{name} [{word}]" for name, word in words.items())


def _given(tensors: dict[str, tuple[Tensor, str]]) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, (tensor, _) in tensors.items())
