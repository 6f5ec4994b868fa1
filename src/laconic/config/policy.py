"""The model that is trained: how it is loaded and held."""

import re
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from laconic.config.defaults import DTYPE
from laconic.config.node import (
    AdapterAlpha,
    Flag,
    Node,
    OneLine,
    PartOfOne,
    Positive,
    at_most,
    first_repeated,
    single_line,
)

MOST_RANK = 2**14  # no map of a model that fits a machine has so many rows


def _check_pattern(targets: str) -> None:
    try:
        re.compile(targets)
    except re.error as error:
        raise ValueError(f"expected a pattern of names of modules ({error})") from None


def _module_names(targets: object) -> str | tuple[str, ...]:
    """A pattern, or a list of distinct names of modules."""
    given = targets if isinstance(targets, list | tuple) else [targets]
    names = tuple(single_line(name) for name in given if isinstance(name, str))
    if not given or len(names) < len(given):
        raise ValueError('expected "all-linear", a pattern, or a list of names of modules')
    if isinstance(targets, str):
        _check_pattern(targets)
        return targets
    if twice := first_repeated(names):
        raise ValueError(f"expected each module once, {twice[0]} occurs twice")
    return names


def _as_data(targets: str | tuple[str, ...]) -> str | list[str]:
    """As JSON has it. Pydantic's own serialiser expects the first kind of a union, and warns of every other."""
    return targets if isinstance(targets, str) else list(targets)


Targets = Annotated[str | tuple[str, ...], PlainValidator(_module_names), PlainSerializer(_as_data)]
"""`"all-linear"`, a pattern, or a list of names of modules."""


class LoraConfig(Node):
    """Low-rank adapters instead of full fine-tuning (Hu et al. 2021). `targets` names the adapted modules as peft does."""

    rank: Annotated[int, Field(strict=True, gt=0), at_most(MOST_RANK)] = 16
    alpha: AdapterAlpha = 32.0
    dropout: PartOfOne = 0.0
    targets: Targets = "all-linear"


class ShapeConfig(Node):
    """The shape of a model's layers, from which a dry run predicts memory where the model's own config is out of reach.

    `head_dim` is the width of a head, hidden / heads if None. `layer_weights` are the weights of all layers, where they are not
    those of a gated dense decoder of this shape, and `active_weights` those that one token goes through: fewer in a mixture of
    experts. `float16` says that the two bytes of a stored weight are float16's: `dtype = "auto"` computes in float32 then.
    """

    layers: Positive
    hidden: Positive
    heads: Positive
    kv_heads: Positive
    intermediate: Positive
    vocabulary: Positive
    head_dim: Positive | None = None
    layer_weights: Positive | None = None
    active_weights: Positive | None = None
    tied: Flag = False
    stored_bytes: Annotated[int, Field(strict=True, gt=0), at_most(8)] = 2
    float16: Flag = False


class PolicyConfig(Node):
    """How models are loaded and held in memory. Only the dry run reads `shape`."""

    dtype: Literal["float32", "bfloat16", "auto"] = DTYPE
    device: OneLine = "auto"
    lora: LoraConfig | None = None
    gradient_checkpointing: Flag = False
    trust_remote_code: Flag = False
    shape: ShapeConfig | None = None

    @model_validator(mode="after")
    def _heads_share_the_shape(self) -> "PolicyConfig":
        """Models in files may have other shapes, so only a shape that a recipe states is held to this."""
        shape = self.shape
        if shape is not None and shape.head_dim is None and shape.hidden % shape.heads:
            raise ValueError(
                f"shape.heads: expected a divisor of hidden, or head_dim beside it, got {shape.heads} of {shape.hidden}"
            )
        if shape is not None and shape.heads % shape.kv_heads:
            raise ValueError(f"shape.kv_heads: expected a divisor of heads, got {shape.kv_heads} of {shape.heads}")
        return self
