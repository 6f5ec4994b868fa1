"""Which layers of a model LoRA adapts: the recipe's `policy.lora.targets`, held against the model before adapters are made.

1. `targets` is "all-linear", a pattern that a layer's whole name must match, or a list of names or ends of names, as peft has it.
2. Every target must match a layer: a name that matches none would silently adapt nothing.
3. What it matches must be a layer that LoRA can adapt: a linear map or an embedding.
"""

import re
from collections.abc import Iterator, Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from laconic.errors import ModelError

ALL_LINEAR = "all-linear"
ADAPTABLE = (nn.Linear, nn.Embedding, Conv1D)
MOST_NAMES = 12  # of layers that an error names

FIELD = "policy.lora.targets"


def check_targets(model: nn.Module, targets: str | Sequence[str], name: str) -> None:
    """Raise `ModelError` where a target matches no layer of `model`, or one that LoRA cannot adapt.

    `name` is what errors call the model. The weights are not read.
    """
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return
    for target in [targets] if isinstance(targets, str) else targets:
        found = dict(_matching(model, target, is_pattern=isinstance(targets, str)))
        if not found:
            raise ModelError(f"{FIELD}: {target!r} matches no layer of {name}; it has {', '.join(_names(model))}")
        for path, module in found.items():
            if not isinstance(module, ADAPTABLE):
                kind = type(module).__name__
                raise ModelError(
                    f"{FIELD}: {target!r} matches {path or 'the whole model'}, a {kind}, which LoRA cannot adapt; {name} has "
                    + ", ".join(_names(model))
                )


def adapts_embeddings_alone(model: nn.Module, targets: str | Sequence[str]) -> bool:
    """Whether every layer that the targets match is an embedding, whose adapters have no dropout (peft's `lora.Embedding`).
    `model` may have its adapters already."""
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return False
    found = [
        getattr(module, "base_layer", module)
        for target in ([targets] if isinstance(targets, str) else targets)
        for _, module in _matching(model, target, is_pattern=isinstance(targets, str))
    ]
    return all(isinstance(layer, nn.Embedding) for layer in found if isinstance(layer, ADAPTABLE))


def _matching(model: nn.Module, target: str, *, is_pattern: bool) -> Iterator[tuple[str, nn.Module]]:
    pattern = re.compile(target if is_pattern else rf"(?:.*\.)?{re.escape(target)}")
    return ((path, module) for path, module in model.named_modules() if pattern.fullmatch(path))


def _names(model: nn.Module) -> list[str]:
    """The last parts of the names of the layers that can be adapted, each once, in the model's order."""
    paths = [path for path, module in model.named_modules() if isinstance(module, ADAPTABLE)]
    names = list(dict.fromkeys(path.rpartition(".")[2] for path in paths))
    return [*names[:MOST_NAMES], *(["..."] if len(names) > MOST_NAMES else [])]
