"""One step of decoding: from one token and position per row to logits, with keys and values written to a `SlotCache`.

There are two ways to compute the same numbers:

1. `TransformersDecoder` runs the model's own modules. It serves every architecture whose attention goes through
   transformers' attention functions, adapters included.
2. `FusedDecoder` runs the layers of the Llama family (Llama, Mistral, Qwen2, Qwen3: one layer, with or without biases and norms
   on queries and keys) in a third of the operations. Rotations are read from a table. In small models there is one product for
   queries, keys and values, and one for gate and up: the time of a small model's step depends on the number of operations, not
   on arithmetic. That takes a second copy of most weights. Larger models keep the products that they have; on a CPU in float32
   their second copy is packed (`models/products/packed.py`), where the machine's memory is large enough.

The fused decoder computes what the model does, in the same precision:

- Under bfloat16 autocast it has bfloat16 copies of the matrices; states, norms and rotations keep the dtype of the weights. So
  nothing is cast in a step but the inputs of products, and a captured step stays valid when the call ends.
- LoRA is merged into float32 copies of the matrices that it adapts. In bfloat16, where a merged weight would round away most of
  what a young adapter adds, its two thin products stay by themselves.
- `refresh` writes the copies anew, each where it was, when the weights have changed.

`make_decoder` chooses the fused one for models of that family. The sampler checks either one against the model's own forward pass
before it is first used.

Legend: `R` live rows, `Q`, `H` query and key-value heads, `D` head size, `E` hidden size, `V` vocabulary.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache

from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.lora.adapters import is_plain_map, low_rank
from laconic.models.products.onednn import linear
from laconic.models.products.packed import MAX_PACKED_ROWS, MIN_PACKED_ROWS, packed_copy, packed_linear
from laconic.samplers.cache import SlotCache
from laconic.system.processor import machine_memory

FUSED_LAYERS = frozenset({"LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer"})
WINDOW_IN_CONFIG = "MistralDecoderLayer"
JOINED_BYTES = 2**28  # in models with more weights, arithmetic takes most of the time
PACKED_SHARE = 1 / 16  # of the machine's memory: up to there a copy of all weights is packed
LAYER_MAPS = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
CHANGING_ROTATIONS = frozenset({"dynamic", "longrope"})  # their angles depend on the length of the sequence


Prefilled = tuple[Tensor, list[tuple[Tensor, Tensor]]]
"""The last logits [N, V] of N prompts, and the keys and values [N, H, longest, D] of each layer."""


Held = list[tuple[Tensor, Tensor]]
"""The keys and values [1, H, P, D] of each layer, of P tokens with which prompts begin."""


class Decoder(Protocol):
    """Runs whole prompts at once, and then one step at a time."""

    @property
    def continues(self) -> bool:
        """Whether `prefill` takes a beginning."""
        ...

    def prefill(self, ids: Tensor, last: Tensor, beginning: Held | None = None) -> Prefilled:
        """Run the prompts `ids` [N, longest], padded on the right, whose last tokens are at positions `last` [N] of `ids`. With a
        `beginning`, `ids` is what follows it; the keys and values that are returned are those of the whole prompts."""
        ...

    def __call__(self, tokens: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Logits [R, V] in float32 after feeding `tokens` [R] at `positions` [R]; `cache.begin_step` has been called."""
        ...

    def refresh(self) -> None:
        """Take over the model's present weights, each at the address where it was before."""
        ...

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """The context of all its calls."""
        ...

    @property
    def is_lasting(self) -> bool:
        """Whether every weight that a step reads lies where it lies after `arithmetic` has ended too."""
        ...

    @property
    def num_bytes(self) -> int:
        """The size in bytes of its copies of weights."""
        ...


class TransformersDecoder:
    """The model's own modules, attending through the cache."""

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm

    @property
    def continues(self) -> bool:
        """No: what a model's own modules make of a cache that is there already differs between architectures."""
        return False

    def prefill(self, ids: Tensor, last: Tensor, beginning: Held | None = None) -> Prefilled:
        """One pass over right-padded prompts."""
        assert beginning is None
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

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """That of the model, whose autocast copies weights once and frees the copies at the end."""
        return self.lm.autocast()

    @property
    def is_lasting(self) -> bool:
        """Not under autocast."""
        return self.lm.autocast_dtype is None

    @property
    def num_bytes(self) -> int:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class _Map:
    """A linear map [out, in] as a step reads it, and the thin matrices [rank, in] and [out, rank] that an adapter adds by
    themselves, if any. `packed` is the weight's packed copy, where it has one."""

    weight: Tensor
    down: Tensor | None = None
    up: Tensor | None = None
    packed: Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's weights as a step reads them; `qk_norm` [Q + H, D] where there is one. `qkv` and `gate_up` are one map each
    where they are joined, and the model's own maps where not."""

    qkv: tuple[_Map, ...]
    qkv_bias: Tensor | None
    out: _Map
    out_bias: Tensor | None
    gate_up: tuple[_Map, ...]
    down: _Map
    attention_norm: Tensor
    mlp_norm: Tensor
    qk_norm: Tensor | None
    window: int | None

    def maps(self) -> list[_Map]:
        """All of its maps, in the order of its fields."""
        return [*self.qkv, self.out, *self.gate_up, self.down]

    def tensors(self) -> list[Tensor]:
        """All of its tensors but the packed ones, in the order of its fields."""
        values = [value for one in self.maps() for value in (one.weight, one.down, one.up)]
        values += [self.qkv_bias, self.out_bias, self.attention_norm, self.mlp_norm, self.qk_norm]
        return [value for value in values if value is not None]


@dataclass(frozen=True, slots=True)
class _Heads:
    """What all layers share: how many query and key-value heads there are, their size, the norms' epsilon, whether weights are
    joined or packed, the scale of the scores that is not yet in the weights, and the dtype of the products."""

    queries: int
    keys: int
    size: int
    eps: float
    is_joined: bool
    is_packed: bool
    scaling: float
    dtype: torch.dtype


class FusedDecoder:
    """The layers of the Llama family in few operations."""

    def __init__(
        self, lm: CausalLM, num_positions: int, *, num_rows: int = MAX_PACKED_ROWS, is_compiled: bool = False
    ) -> None:
        self.before_attention: Callable[..., Any] = _compiled(_before_attention) if is_compiled else _before_attention
        self.after_attention: Callable[..., Any] = _compiled(_after_attention) if is_compiled else _after_attention
        body: Any = getattr(lm.model, lm.model.base_model_prefix)
        attention = body.layers[0].self_attn
        self.lm, size = lm, attention.head_dim
        queries, keys = attention.q_proj.out_features // size, attention.k_proj.out_features // size
        held = attention.q_proj.weight.dtype
        dtype = lm.autocast_dtype or held
        is_joined = _joins(lm, dtype != held)
        is_scaled = hasattr(attention, "q_norm") or (is_joined and dtype != torch.bfloat16)
        scaling = 1.0 if is_scaled else attention.scaling
        is_packed = not (is_joined or is_compiled) and num_rows >= MIN_PACKED_ROWS and packs(lm)
        self.heads = _Heads(queries, keys, size, body.norm.variance_epsilon, is_joined, is_packed, scaling, dtype)
        self.embedding, self.final_norm = body.embed_tokens.weight, body.norm.weight
        self.layers = [_fused_layer(layer, self.heads) for layer in body.layers]
        self.head_weight = self._cast_head()
        self.packed_head = self._packed_head()
        positions = torch.arange(num_positions, device=lm.device)
        cos, sin = body.rotary_emb(self.embedding[:1], positions[None])
        half = size // 2
        self.cos = cos[0, :, None].contiguous()
        self.sin = torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], dim=-1)

    @property
    def continues(self) -> bool:
        """Yes."""
        return True

    def prefill(self, ids: Tensor, last: Tensor, beginning: Held | None = None) -> Prefilled:
        """One pass over right-padded prompts."""
        num_prompts, longest = ids.shape
        first = beginning[0][0].shape[2] if beginning else 0
        cos, sin = (table[first : first + longest].repeat(num_prompts, 1, 1) for table in (self.cos, self.sin))
        x, held = self.embedding[ids].flatten(0, 1), []
        for index, layer in enumerate(self.layers):
            parts = _before_attention(x, layer, self.heads, cos, sin)
            q, k, v = (part.to(self.heads.dtype).unflatten(0, ids.shape).transpose(1, 2) for part in parts)
            if beginning:
                k, v = (
                    torch.cat([old.expand(num_prompts, -1, -1, -1), new], dim=2)
                    for old, new in zip(beginning[index], (k, v), strict=True)
                )
            mask = _attended(first, longest, layer.window, ids.device)
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
        return self._head(ends), held

    def __call__(self, tokens: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Logits [R, V]."""
        cos, sin = self.cos[positions], self.sin[positions]
        x = self.embedding[tokens]
        for index, layer in enumerate(self.layers):
            q, k, v = self.before_attention(x, layer, self.heads, cos, sin)
            attended = cache.attend(index, q, k, v, scaling=self.heads.scaling, window=layer.window, softcap=None)
            x = self.after_attention(x, attended, layer, self.heads)
        return self._head(x)

    def _head(self, x: Tensor) -> Tensor:
        """Logits [..., V] from the last layer's states [..., E]."""
        normed = _norm(x, self.final_norm, self.heads.eps)
        if self.packed_head is not None and self.packed_head.packed is not None:
            return self.lm.scaled(_product(normed, self.packed_head, self.lm.model.get_output_embeddings().bias))
        if self.head_weight is None:
            return self.lm.head(normed)
        return self.lm.scaled(functional.linear(normed.to(self.heads.dtype), self.head_weight).float())

    def _cast_head(self) -> Tensor | None:
        """The head's weight in the dtype of the products, where it is another."""
        weight: Tensor = self.lm.model.get_output_embeddings().weight
        return None if weight.dtype == self.heads.dtype else weight.to(self.heads.dtype)

    def _packed_head(self) -> _Map | None:
        """The head with its packed copy, where matrices are packed and it is a plain map."""
        head: Any = self.lm.model.get_output_embeddings()
        return _packed(_Map(head.weight)) if self.heads.is_packed and type(head) is nn.Linear else None

    def refresh(self) -> None:
        """Copy the weights anew, in place, layer by layer."""
        assert not self.heads.is_packed, "packed copies serve one call"
        body: Any = getattr(self.lm.model, self.lm.model.base_model_prefix)
        for held, layer in zip(self.layers, body.layers, strict=True):
            for old, new in zip(held.tensors(), _fused_layer(layer, self.heads).tensors(), strict=True):
                if old is not new:
                    old.copy_(new)
        if self.head_weight is not None:
            self.head_weight.copy_(self.lm.model.get_output_embeddings().weight)

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """An empty context: what autocast would cast in each step is cast already."""
        return contextlib.nullcontext()

    @property
    def is_lasting(self) -> bool:
        """Where it has copies in the model's own order, or none. Packed ones are made anew for each call."""
        return not self.heads.is_packed

    @property
    def num_bytes(self) -> int:
        """The tensors that are not the model's own."""
        own = {tensor.data_ptr() for tensor in self.lm.model.parameters()}
        held = [*(tensor for layer in self.layers for tensor in layer.tensors()), self.cos, self.sin]
        held += [] if self.head_weight is None else [self.head_weight]
        maps = [one for layer in self.layers for one in layer.maps()]
        maps += [] if self.packed_head is None else [self.packed_head]
        copied = [tensor for tensor in held if tensor.data_ptr() not in own]
        return sum(tensor.nbytes for tensor in (*copied, *(one.weight for one in maps if one.packed is not None)))


def _before_attention(
    x: Tensor, layer: _Layer, heads: _Heads, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From states [R, E]: rotated queries [R, Q, D], which include attention's scale where the weights do, and rotated keys and
    values [R, H, D]."""
    rotated = heads.queries + heads.keys
    normed = _norm(x, layer.attention_norm, heads.eps).to(heads.dtype)
    qkv = _products(normed, layer.qkv, layer.qkv_bias).view(len(x), -1, heads.size)
    qk, v = qkv[:, :rotated], qkv[:, rotated:]
    if layer.qk_norm is not None:
        qk = functional.rms_norm(qk, (heads.size,), None, heads.eps) * layer.qk_norm
    qk = qk.to(cos.dtype)
    qk = torch.addcmul(qk * cos, qk.roll(heads.size // 2, -1), sin)
    return qk[:, : heads.queries], qk[:, heads.queries :], v


def _after_attention(x: Tensor, attended: Tensor, layer: _Layer, heads: _Heads) -> Tensor:
    """The layer's output states [R, E], from its input states `x` [R, E] and the result of attention [R, Q, D]."""
    x = _plus(_product(attended.reshape(len(x), -1), layer.out, layer.out_bias), x)
    normed = _norm(x, layer.mlp_norm, heads.eps).to(heads.dtype)
    if heads.is_joined:
        gate, up = _product(normed, layer.gate_up[0]).chunk(2, dim=-1)
    else:
        gate, up = (_product(normed, one) for one in layer.gate_up)
    return _plus(_product(functional.silu(gate).mul_(up), layer.down), x)


def _plus(product: Tensor, x: Tensor) -> Tensor:
    """Their sum in the dtype of the states `x`, in the memory of `product` where that has it too."""
    return product.add_(x) if product.dtype == x.dtype else product + x


def _products(x: Tensor, maps: tuple[_Map, ...], bias: Tensor | None) -> Tensor:
    """`x` [R, E] through the maps, one below the other, plus their bias."""
    if len(maps) == 1:
        return _product(x, maps[0], bias)
    products = torch.cat([_product(x, one) for one in maps], dim=-1)
    return products if bias is None else products.add_(bias)


def _product(x: Tensor, one: _Map, bias: Tensor | None = None) -> Tensor:
    """`x` [R, in] through a map: [R, out]."""
    if one.packed is not None:
        return packed_linear(x, one.weight, one.packed, bias)
    out = linear(x, one.weight, bias)
    if one.down is None or one.up is None:
        return out
    return torch.addmm(out, functional.linear(x, one.down), one.up.t())


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight, eps)


@functools.cache
def _compiled(half: Callable[..., Any]) -> Callable[..., Any]:
    """One half of a layer, compiled once for all layers, models and numbers of rows."""
    return torch.compile(half, dynamic=True)


def _joins(lm: CausalLM, are_cast: bool) -> bool:
    """Whether matrices that read the same states are joined: where the model is small, or there are copies of all matrices
    anyway. Not in bfloat16 with an adapter, whose products stay by themselves."""
    is_adapted = any(hasattr(module, "lora_A") for module in lm.model.modules())
    if is_adapted and torch.bfloat16 in (lm.autocast_dtype, lm.model.dtype):
        return False
    return are_cast or weight_bytes(lm) <= JOINED_BYTES


def _fused_layer(layer: Any, heads: _Heads) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    inputs = [attention.q_proj, attention.k_proj, attention.v_proj]
    has_norms = hasattr(attention, "q_norm")  # norms undo a scale, so it is put into the norms' weights
    scale = 1.0 if has_norms or heads.scaling != 1.0 else attention.scaling
    norms = None
    if has_norms:
        q_norm, k_norm = attention.q_norm.weight * attention.scaling, attention.k_norm.weight
        norms = torch.cat([q_norm.expand(heads.queries, -1), k_norm.expand(heads.keys, -1)])
    qkv = tuple(_read_map(module, heads) for module in inputs)
    gate_up = tuple(_read_map(module, heads) for module in (mlp.gate_proj, mlp.up_proj))
    biases = None if inputs[0].bias is None else [module.bias for module in inputs]
    return _Layer(
        qkv=_joined_maps(qkv, scale) if heads.is_joined else qkv,
        qkv_bias=None if biases is None else _joined(biases, scale).to(heads.dtype),
        out=_read_map(attention.o_proj, heads),
        out_bias=None if attention.o_proj.bias is None else attention.o_proj.bias.to(heads.dtype),
        gate_up=_joined_maps(gate_up, 1.0) if heads.is_joined else gate_up,
        down=_read_map(mlp.down_proj, heads),
        attention_norm=layer.input_layernorm.weight,
        mlp_norm=layer.post_attention_layernorm.weight,
        qk_norm=norms,
        window=_window(layer),
    )


def _read_map(module: Any, heads: _Heads) -> _Map:
    """The map of a module, in the dtype of the products; what its adapters add is merged into a copy, in bfloat16 it stays by
    itself."""
    added, weight, dtype = low_rank(module), module.weight, heads.dtype
    if added is None:
        return _packed(_Map(weight.to(dtype))) if heads.is_packed else _Map(weight.to(dtype))
    down, up = added
    if dtype == torch.bfloat16:
        return _Map(weight.to(dtype), down.to(dtype), up.to(dtype))
    merged = _Map(torch.addmm(weight, up.to(weight.dtype), down.to(weight.dtype)).to(dtype))
    return _packed(merged) if heads.is_packed else merged


def _packed(one: _Map) -> _Map:
    return replace(one, packed=packed_copy(one.weight))


def _joined_maps(maps: tuple[_Map, ...], scale: float) -> tuple[_Map]:
    return (_Map(_joined([one.weight for one in maps], scale)),)


def _joined(parts: list[Tensor], scale: float) -> Tensor:
    """One tensor with the parts one below the other, the first times `scale`."""
    return torch.cat([parts[0] * scale, *parts[1:]])


def _attended(first: int, length: int, window: int | None, device: torch.device) -> Tensor | None:
    """True where one of `length` positions from `first` on may attend to another, [length, first + length]; None where each may
    attend to all before it, and they begin at 0."""
    end = first + length
    is_windowed = window is not None and end > window
    if first == 0 and not is_windowed:
        return None
    distance = torch.arange(first, end, device=device)[:, None] - torch.arange(end, device=device)
    return (distance >= 0) & (distance < (window if window is not None else end))


def _window(layer: Any) -> int | None:
    """The layer's sliding window. Mistral's layers have it in the config only; Llama's have none, whatever their config says."""
    holder = layer.self_attn.config if type(layer).__name__ == WINDOW_IN_CONFIG else layer.self_attn
    window: int | None = getattr(holder, "sliding_window", None)
    return window


def can_fuse(lm: CausalLM) -> bool:
    """Whether `FusedDecoder` serves this model: one of the Llama family with plain weights, LoRA's included, and with rotations
    that depend on the position alone. Quantized maps are computed by their library."""
    body: Any = getattr(lm.model, lm.model.base_model_prefix)
    layers = getattr(body, "layers", None)
    if lm.is_quantized:
        return False
    if not layers or type(layers[0]).__name__ not in FUSED_LAYERS or type(body.embed_tokens) is not nn.Embedding:
        return False
    if lm.autocast_dtype is not None and type(lm.model.get_output_embeddings()) is not nn.Linear:
        return False
    maps = [layer.get_submodule(path) for layer in layers for path in LAYER_MAPS]
    if not all(map(is_plain_map, maps)) or maps[4].bias is not None or lm.text_config.hidden_act != "silu":
        return False
    return not has_changing_rotations(lm)


def has_changing_rotations(lm: CausalLM) -> bool:
    """Whether the angles of a token depend on more than its position: to compute them makes a device's host wait."""
    rotation = (getattr(lm.text_config, "rope_parameters", None) or {}).get("rope_type", "default")
    return rotation in CHANGING_ROTATIONS


def packs(lm: CausalLM) -> bool:
    """Whether a larger model's matrices are packed: in float32 on a CPU, where the copy is small beside the machine's memory."""
    is_float32 = lm.model.dtype == torch.float32 and lm.autocast_dtype is None
    return lm.device.type == "cpu" and is_float32 and weight_bytes(lm) <= packed_limit()


def packed_limit() -> float:
    """The bytes of weights up to which they are packed on this machine. What is free at the moment does not count: the last bits
    of every response depend on the choice."""
    return PACKED_SHARE * machine_memory()


def weight_bytes(lm: CausalLM) -> int:
    """The size of the model's weights."""
    return sum(p.numel() * p.element_size() for p in lm.model.parameters())


def make_decoder(
    lm: CausalLM, num_positions: int, *, num_rows: int = MAX_PACKED_ROWS, is_compiled: bool = False
) -> Decoder:
    """The faster decoder that serves `lm` as it is now, for positions below `num_positions` of at most `num_rows` rows.

    Raises `ModelError` where `is_compiled` is set and only the model's own modules serve.
    """
    if can_fuse(lm):
        return FusedDecoder(lm, num_positions, num_rows=num_rows, is_compiled=is_compiled)
    if is_compiled:
        raise ModelError(f"{lm.name}: sampler.compile needs a model that the fused decoder serves: of the Llama family")
    return TransformersDecoder(lm)
