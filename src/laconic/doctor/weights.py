"""How many weights a decoder of a shape has, and how wide its parts are: what memory and operations are counted from.

Where the shape does not state the weights of its layers, they are those of a gated dense decoder.
"""

import re
from dataclasses import dataclass

from laconic.config.policy import PolicyConfig, ShapeConfig


@dataclass(frozen=True, slots=True)
class Weights:
    """Numbers of weights: the layers' linear maps, the embedding, the output head (0 if tied), one role's adapters."""

    maps: int
    embedding: int
    head: int
    adapters: int

    @property
    def total(self) -> int:
        """Weights of the model as it is stored."""
        return self.maps + self.embedding + self.head

    @property
    def body(self) -> int:
        """Weights without the output head: what a separate critic copies."""
        return self.maps + self.embedding


def query_width(shape: ShapeConfig) -> int:
    """Numbers of one position's queries in a layer."""
    return (shape.head_dim or shape.hidden // shape.heads) * shape.heads


def key_width(shape: ShapeConfig) -> int:
    """Numbers of one position's keys in a layer, and of its values."""
    return query_width(shape) // shape.heads * shape.kv_heads


def position_numbers(shape: ShapeConfig) -> int:
    """Numbers that the cache holds for one position: its keys and values in all layers."""
    return shape.layers * 2 * key_width(shape)


def linear_maps(shape: ShapeConfig) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of one layer's linear maps, by name: gated MLP, grouped-query attention."""
    queries, keys = query_width(shape), key_width(shape)
    attention = {"q": (shape.hidden, queries), "k": (shape.hidden, keys), "v": (shape.hidden, keys)}
    maps = {f"self_attn.{name}_proj": sides for name, sides in attention.items()}
    maps["self_attn.o_proj"] = (queries, shape.hidden)
    for name in ("gate", "up"):
        maps[f"mlp.{name}_proj"] = (shape.hidden, shape.intermediate)
    return maps | {"mlp.down_proj": (shape.intermediate, shape.hidden)}


def count_weights(shape: ShapeConfig, policy: PolicyConfig) -> Weights:
    """The decoder's weights. Where the shape does not state those of its layers, they are those of a gated dense decoder; norms
    and biases are left out (under 0.1%).

    >>> shape = ShapeConfig(layers=2, hidden=8, heads=2, kv_heads=1, intermediate=16, vocabulary=100, tied=True)
    >>> count_weights(shape, PolicyConfig())  # 2 x (2 x 8x8 + 2 x 8x4 + 3 x 8x16) and 100 x 8
    Weights(maps=1152, embedding=800, head=0, adapters=0)
    """
    sides = linear_maps(shape)
    table = shape.vocabulary * shape.hidden
    adapted = [sides[name] for name in adapted_maps(shape, policy)]
    rank = policy.lora.rank if policy.lora else 0
    return Weights(
        maps=shape.layer_weights or shape.layers * sum(a * b for a, b in sides.values()),
        embedding=table,
        head=0 if shape.tied else table,
        adapters=shape.layers * rank * sum(a + b for a, b in adapted),
    )


def adapted_maps(shape: ShapeConfig, policy: PolicyConfig) -> list[str]:
    """The linear maps that carry adapters; `targets` is read as peft reads it: "all-linear", a pattern, or endings. Experts of a
    mixture carry none."""
    is_mixture = (shape.active_weights or 0) < (shape.layer_weights or 0)
    names = [name for name in linear_maps(shape) if not (is_mixture and name.startswith("mlp"))]
    if policy.lora is None or policy.lora.targets == "all-linear":
        return names if policy.lora else []
    targets = policy.lora.targets
    if isinstance(targets, str):
        return [name for name in names if re.fullmatch(targets, f"model.layers.0.{name}")]
    return [name for name in names if name.endswith(targets)]
