"""One step of decoding: from one token and position per row to logits, with keys and values written to a `SlotCache`.

There are two ways to compute the same numbers:

1. `TransformersDecoder` runs the model's own modules. It serves every architecture whose attention goes through
   transformers' attention functions, adapters included.
2. `FusedDecoder` runs the layers of the Llama family (Llama, Mistral, Qwen2, Qwen3: one layer, with or without biases and norms
   on queries and keys) in a third of the operations. Rotations are read from a table. In small models there is one product for
   queries, keys and values, and one for gate and up: the time of a small model's step depends on the number of operations, not
   on arithmetic. That takes a second copy of most weights, so larger models keep the weights and the products that they have.

`make_decoder` chooses the fused one for models of that family. The sampler checks either one against the model's own forward pass
before it is first used.

Legend: `R` live rows, `Q`, `H` query and key-value heads, `D` head size, `E` hidden size, `V` vocabulary.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache

from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.onednn import linear
from laconic.samplers.cache import SlotCache

FUSED_LAYERS = frozenset({"LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer"})
JOINED_BYTES = 2**28  # in models with more weights, arithmetic takes most of the time
CHANGING_ROTATIONS = frozenset({"dynamic", "longrope"})  # their angles depend on the length of the sequence


Prefilled = tuple[Tensor, list[tuple[Tensor, Tensor]]]
"""The last logits [N, V] of N prompts, and the keys and values [N, H, longest, D] of each layer."""


class Decoder(Protocol):
    """Runs whole prompts at once, and then one step at a time."""

    def prefill(self, ids: Tensor, last: Tensor) -> Prefilled:
        """Run the prompts `ids` [N, longest], padded on the right, whose last tokens are at positions `last` [N]."""
        ...

    def __call__(self, tokens: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Logits [R, V] in float32 after feeding `tokens` [R] at `positions` [R]; `cache.begin_step` has been called."""
        ...

    def refresh(self) -> None:
        """Take over the model's present weights, each at the address where it was before."""
        ...


class TransformersDecoder:
    """The model's own modules, attending through the cache."""

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm

    def prefill(self, ids: Tensor, last: Tensor) -> Prefilled:
        """One pass over right-padded prompts."""
        cache = DynamicCache()
        hidden = self.lm.backbone(ids, past_key_values=cache, use_cache=True).last_hidden_state
        held: list[Any] = cache.layers
        logits = self.lm.head(hidden[torch.arange(len(ids), device=ids.device), last])
        return logits, [(layer.keys, layer.values) for layer in held]

    def __call__(self, tokens: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Logits [R, V]."""
        with cache.attached(self.lm.text_config):
            hidden = self.lm.backbone(
                tokens[:, None], position_ids=positions[:, None], past_key_values=cache, use_cache=True
            ).last_hidden_state
        return self.lm.head(hidden[:, 0])

    def refresh(self) -> None:
        """Nothing to do: the model's own weights are read."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's weights as a step reads them; `qk_norm` [Q + H, D] where there is one. `qkv` and `gate_up` are one weight each
    where they are joined, and the model's own weights where not."""

    qkv: tuple[Tensor, ...]
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    gate_up: tuple[Tensor, ...]
    down: Tensor
    attention_norm: Tensor
    mlp_norm: Tensor
    qk_norm: Tensor | None
    window: int | None

    def tensors(self) -> list[Tensor]:
        """All of its tensors, in the order of its fields."""
        values = [getattr(self, field.name) for field in fields(self)]
        groups = [value if isinstance(value, tuple) else (value,) for value in values]
        return [value for group in groups for value in group if isinstance(value, Tensor)]


@dataclass(frozen=True, slots=True)
class _Heads:
    """What all layers share: how many query and key-value heads there are, their size, the norms' epsilon, whether weights are
    joined, and the scale of the scores that is not yet in the weights."""

    queries: int
    keys: int
    size: int
    eps: float
    is_joined: bool
    scaling: float


class FusedDecoder:
    """The layers of the Llama family in few operations."""

    def __init__(self, lm: CausalLM, num_positions: int, *, is_compiled: bool = False) -> None:
        self.before_attention: Callable[..., Any] = _compiled(_before_attention) if is_compiled else _before_attention
        self.after_attention: Callable[..., Any] = _compiled(_after_attention) if is_compiled else _after_attention
        body: Any = getattr(lm.model, lm.model.base_model_prefix)
        attention = body.layers[0].self_attn
        self.lm, size = lm, attention.head_dim
        queries, keys = attention.q_proj.out_features // size, attention.k_proj.out_features // size
        is_joined = weight_bytes(lm) <= JOINED_BYTES
        is_scaled = is_joined or hasattr(attention, "q_norm")
        scaling = 1.0 if is_scaled else attention.scaling
        self.heads = _Heads(queries, keys, size, body.norm.variance_epsilon, is_joined, scaling)
        self.embedding, self.final_norm = body.embed_tokens.weight, body.norm.weight
        self.layers = [_fused_layer(layer, self.heads) for layer in body.layers]
        positions = torch.arange(num_positions, device=lm.device)
        cos, sin = body.rotary_emb(self.embedding[:1], positions[None])
        half = size // 2
        self.cos = cos[0, :, None].contiguous()
        self.sin = torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], dim=-1)

    def prefill(self, ids: Tensor, last: Tensor) -> Prefilled:
        """One pass over right-padded prompts."""
        num_prompts, longest = ids.shape
        cos, sin = (table[:longest].repeat(num_prompts, 1, 1) for table in (self.cos, self.sin))
        x, held = self.embedding[ids].flatten(0, 1), []
        for layer in self.layers:
            parts = _before_attention(x, layer, self.heads, cos, sin)
            q, k, v = (part.unflatten(0, ids.shape).transpose(1, 2) for part in parts)
            mask = _windowed(longest, layer.window, ids.device)
            attended = functional.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None,
                scale=self.heads.scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            )
            x = _after_attention(x, attended.transpose(1, 2).flatten(0, 1), layer, self.heads)
            held.append((k, v))
        ends = x.unflatten(0, ids.shape)[torch.arange(num_prompts, device=ids.device), last]
        return self.lm.head(_norm(ends, self.final_norm, self.heads.eps)), held

    def __call__(self, tokens: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Logits [R, V]."""
        cos, sin = self.cos[positions], self.sin[positions]
        x = self.embedding[tokens]
        for index, layer in enumerate(self.layers):
            q, k, v = self.before_attention(x, layer, self.heads, cos, sin)
            attended = cache.attend(index, q, k, v, scaling=self.heads.scaling, window=layer.window, softcap=None)
            x = self.after_attention(x, attended, layer, self.heads)
        return self.lm.head(_norm(x, self.final_norm, self.heads.eps))

    def refresh(self) -> None:
        """Copy the weights anew, in place."""
        body: Any = getattr(self.lm.model, self.lm.model.base_model_prefix)
        for held, layer in zip(self.layers, body.layers, strict=True):
            for old, new in zip(held.tensors(), _fused_layer(layer, self.heads).tensors(), strict=True):
                if old is not new:
                    old.copy_(new)


def _before_attention(
    x: Tensor, layer: _Layer, heads: _Heads, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From states [R, E]: rotated queries [R, Q, D], which include attention's scale where the weights do, and rotated keys and
    values [R, H, D]."""
    rotated = heads.queries + heads.keys
    qkv = _product(_norm(x, layer.attention_norm, heads.eps), layer.qkv, layer.qkv_bias).view(len(x), -1, heads.size)
    qk, v = qkv[:, :rotated], qkv[:, rotated:]
    if layer.qk_norm is not None:
        qk = functional.rms_norm(qk, (heads.size,), None, heads.eps) * layer.qk_norm
    qk = torch.addcmul(qk * cos, qk.roll(heads.size // 2, -1), sin)
    return qk[:, : heads.queries], qk[:, heads.queries :], v


def _after_attention(x: Tensor, attended: Tensor, layer: _Layer, heads: _Heads) -> Tensor:
    """The layer's output states [R, E], from its input states `x` [R, E] and the result of attention [R, Q, D]."""
    x = linear(attended.reshape(len(x), -1), layer.out, layer.out_bias).add_(x)
    normed = _norm(x, layer.mlp_norm, heads.eps)
    if heads.is_joined:
        gate, up = linear(normed, *layer.gate_up).chunk(2, dim=-1)
    else:
        gate, up = (linear(normed, weight) for weight in layer.gate_up)
    return linear(functional.silu(gate).mul_(up), layer.down).add_(x)


def _product(x: Tensor, weights: tuple[Tensor, ...], bias: Tensor | None) -> Tensor:
    """`x` [R, E] times the weights, one below the other, plus their bias."""
    if len(weights) == 1:
        return linear(x, weights[0], bias)
    products = torch.cat([linear(x, weight) for weight in weights], dim=-1)
    return products if bias is None else products.add_(bias)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight, eps)


@functools.cache
def _compiled(half: Callable[..., Any]) -> Callable[..., Any]:
    """One half of a layer, compiled once for all layers, models and numbers of rows."""
    return torch.compile(half, dynamic=True)


def _fused_layer(layer: Any, heads: _Heads) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    inputs = [attention.q_proj, attention.k_proj, attention.v_proj]
    has_norms = hasattr(attention, "q_norm")  # norms undo a scale, so it is put into the norms' weights
    scale = attention.scaling if heads.is_joined and not has_norms else 1.0
    norms = None
    if has_norms:
        q_norm, k_norm = attention.q_norm.weight * attention.scaling, attention.k_norm.weight
        norms = torch.cat([q_norm.expand(heads.queries, -1), k_norm.expand(heads.keys, -1)])
    qkv, gate_up = [linear.weight for linear in inputs], [mlp.gate_proj.weight, mlp.up_proj.weight]
    return _Layer(
        qkv=_joined(qkv, scale) if heads.is_joined else tuple(qkv),
        qkv_bias=None if inputs[0].bias is None else _joined([linear.bias for linear in inputs], scale)[0],
        out=attention.o_proj.weight,
        out_bias=attention.o_proj.bias,
        gate_up=_joined(gate_up, 1.0) if heads.is_joined else tuple(gate_up),
        down=mlp.down_proj.weight,
        attention_norm=layer.input_layernorm.weight,
        mlp_norm=layer.post_attention_layernorm.weight,
        qk_norm=norms,
        window=_window(attention),
    )


def _joined(parts: list[Tensor], scale: float) -> tuple[Tensor]:
    """One tensor with the parts one below the other, the first times `scale`."""
    return (torch.cat([parts[0] * scale, *parts[1:]]),)


def _windowed(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """True where a position may attend to another, [length, length]; None where the window is no shorter than the prompt, so that
    a position may attend to all before it."""
    if window is None or length <= window:
        return None
    positions = torch.arange(length, device=device)
    distance = positions[:, None] - positions[None]
    return (distance >= 0) & (distance < window)


def _window(attention: Any) -> int | None:
    """The layer's sliding window; Mistral's layers have it in the config only."""
    if hasattr(attention, "sliding_window"):
        window: int | None = attention.sliding_window
        return window
    return getattr(attention.config, "sliding_window", None)


def can_fuse(lm: CausalLM) -> bool:
    """Whether `FusedDecoder` serves this model: one of the Llama family with plain float32 weights, and with rotations that
    depend on the position alone."""
    body: Any = getattr(lm.model, lm.model.base_model_prefix)
    layers = getattr(body, "layers", None)
    if not layers or type(layers[0]).__name__ not in FUSED_LAYERS or lm.autocast_dtype is not None:
        return False
    if type(body.embed_tokens) is not nn.Embedding:
        return False
    linears = [m for m in layers.modules() if isinstance(m, nn.Linear)]
    is_plain = all(type(m) is nn.Linear for m in linears) and len(linears) == 7 * len(layers)
    if not is_plain or layers[0].mlp.gate_proj.bias is not None or lm.text_config.hidden_act != "silu":
        return False
    rotation = (getattr(lm.text_config, "rope_parameters", None) or {}).get("rope_type", "default")
    return rotation not in CHANGING_ROTATIONS


def weight_bytes(lm: CausalLM) -> int:
    """The size of the model's weights."""
    return sum(p.numel() * p.element_size() for p in lm.model.parameters())


def make_decoder(lm: CausalLM, num_positions: int, *, is_compiled: bool = False) -> Decoder:
    """The faster decoder that serves `lm` as it is now, for positions below `num_positions`.

    Raises `ModelError` where `is_compiled` is set and only the model's own modules serve.
    """
    if can_fuse(lm):
        return FusedDecoder(lm, num_positions, is_compiled=is_compiled)
    if is_compiled:
        raise ModelError(
            f"{lm.name}: sampler.compile needs a model that the fused decoder serves: of the Llama family, in float32"
        )
    return TransformersDecoder(lm)
