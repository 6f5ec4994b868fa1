"""The model that is trained: how it is loaded and held."""

from typing import Literal

from laconic.config.defaults import DTYPE
from laconic.config.node import Fraction, Node, Positive, PositiveFloat


class LoraConfig(Node):
    """Low-rank adapters instead of full fine-tuning (Hu et al. 2021). `targets` names the adapted modules as peft does."""

    rank: Positive = 16
    alpha: PositiveFloat = 32.0
    dropout: Fraction = 0.0
    targets: str | tuple[str, ...] = "all-linear"


class ShapeConfig(Node):
    """The shape of a model's layers, from which a dry run predicts memory where the model's own config is out of reach."""

    layers: Positive
    hidden: Positive
    heads: Positive
    kv_heads: Positive
    intermediate: Positive
    vocabulary: Positive
    tied: bool = False
    stored_bytes: Positive = 2


class PolicyConfig(Node):
    """How models are loaded and held in memory. Only the dry run reads `shape`."""

    dtype: Literal["float32", "bfloat16", "auto"] = DTYPE
    device: str = "auto"
    lora: LoraConfig | None = None
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False
    shape: ShapeConfig | None = None
