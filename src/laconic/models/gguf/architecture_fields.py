"""What a GGUF file states of its model's architecture, field by field: each is true of the config, or the file is refused.

transformers reads a fixed list of fields, another one for each architecture, and passes over the rest: a scaled rotary embedding,
a sliding window, a size of the heads. The model that it builds is then another one, and nothing says so.

1. `settle_fields` goes through every field that begins with the architecture's name. A number is compared with the attribute of
   the config that it means (`ATTRIBUTES`), and written there where it differs.
2. Of rotary embeddings, base, rotated part of a head and scaling (linear, YaRN) are written into the config's own table.
3. Some fields change nothing (`HARMLESS`), others only at some values (`HARMLESS_VALUES`). Whatever is left is refused by its
   name.

What a field means, and what holds where it is missing, is as in llama.cpp, for which these files are written.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from laconic.models.gguf.header import GgufHeader, StoredList

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "use_parallel_residual": ("use_parallel_residual",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_weights_norm": ("norm_topk_prob",),
    "shortconv.l_cache": ("conv_L_cache",),
}
"""The attributes of which a config has one for each field, read as a number."""

HEAD_SIZES = ("key_length", "value_length", "key_length_swa", "value_length_swa")
HARMLESS = frozenset({"tensor_data_layout", "rope.scaling.finetuned"})
"""Fields that describe the file or its making."""

HARMLESS_VALUES: Mapping[str, tuple[float, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.scale": (0,),
    "embedding_scale": (0, 1),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "expert_shared_count": (0,),
    "expert_weights_scale": (0, 1),
    "leading_dense_block_count": (0,),
    "logit_scale": (0, 1),
    "nextn_predict_layers": (0,),
    "pooling_type": (0,),
    "residual_scale": (0, 1),
    "rope.scaling.attn_factor": (0, 1),
    "rope.scaling.yarn_attn_factor": (1,),
    "rope.scaling.yarn_ext_factor": (1,),
    "rope.scaling.yarn_log_multiplier": (0,),
}
"""Fields of which nothing in a config is known to say the same, and the values at which they change nothing."""

SOFTMAX, SIGMOID = 1, 2  # how a router makes weights of its scores, in `expert_gating_func`
EXACT = 1e-6  # the relative difference of a float32 from the number that it was written for
WINDOW_FIELD = "attention.sliding_window"
SCALINGS = ("none", "linear", "yarn")
ROPE_FIELDS = frozenset(
    {
        "rope.freq_base",
        "rope.freq_base_swa",
        "rope.dimension_count",
        "rope.dimension_count_swa",
        "rope.scale_linear",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
    }
)
SCALED_QUERIES = {"gemma2": 46, "gemma3_text": 62}
"""Architectures whose queries are scaled by the size of a head, and the number of layers of the one model of each in which they
are scaled by the hidden size per head instead. No field says so."""


class _RefusedError(ValueError):
    """What a field states cannot be written into the config."""

    def __init__(self, field: str, value: object) -> None:
        super().__init__(
            f"states {field} = {_shown(value)}, which transformers does not read from GGUF; "
            "use the model's Hugging Face folder"
        )


def settle_fields(config: Any, header: GgufHeader) -> None:
    """Write what the file's fields state into `config`, which transformers made of some of them. Raises `ValueError`, naming the
    field, where it cannot be written."""
    prefix = f"{header.fields['general.architecture']}."
    stated = {name.removeprefix(prefix): value for name, value in header.fields.items() if name.startswith(prefix)}
    try:
        for name, value in stated.items():
            _settle(config, name, value)
        _settle_window(config, stated.get(WINDOW_FIELD, 0))
        _settle_rope(config, stated)
    except _RefusedError as refused:
        raise ValueError(str(refused).replace("states ", f"states {prefix}", 1)) from None
    if config.model_type in SCALED_QUERIES:
        is_wide = config.num_hidden_layers == SCALED_QUERIES[config.model_type]
        config.query_pre_attn_scalar = (
            config.hidden_size // config.num_attention_heads if is_wide else _head_size(config)
        )


def _settle(config: Any, name: str, value: Any) -> None:
    """Settle one field, but for those of sliding windows and rotary embeddings, which belong together."""
    if name == WINDOW_FIELD or name in ROPE_FIELDS or name in HARMLESS:
        return
    if name in ATTRIBUTES:
        _settle_number(config, name, value)
    elif name.startswith("attention.") and name.removeprefix("attention.") in HEAD_SIZES:
        _settle_head_size(config, name, value)
    elif name == "attention.sliding_window_pattern":
        _check_pattern(config, name, value)
    elif name == "expert_gating_func":
        if value != (SIGMOID if config.model_type == "minimax_m2" else SOFTMAX):
            raise _RefusedError(name, value)
    elif name not in HARMLESS_VALUES or isinstance(value, str | StoredList) or value not in HARMLESS_VALUES[name]:
        raise _RefusedError(name, value)


def _settle_number(config: Any, name: str, value: Any) -> None:
    if name == "attention.head_count_kv" and config.model_type == "lfm2":
        return  # a list, of which transformers makes the kinds of its layers
    number = _one_number(name, value)
    attribute = next((each for each in ATTRIBUTES[name] if each in _attributes(config)), None)
    held = _implied(config, name) if attribute is None else getattr(config, attribute, None)
    if held is None and attribute is not None and not number:
        return
    if _is_same(held, number) or (attribute is None and (not number or name == "context_length")):
        return
    if attribute is None:
        raise _RefusedError(name, value)
    setattr(config, attribute, number)


def _attributes(config: Any) -> frozenset[str]:
    """The attributes that the class of a config knows; others that were passed to it are held too, and are read by nobody."""
    return frozenset(field.name for field in dataclasses.fields(config)) | frozenset(config.attribute_map)


def _implied(config: Any, name: str) -> int | None:
    """What follows from other attributes, where a config has none for the field."""
    if name == "feed_forward_length":
        return 4 * int(config.hidden_size)
    return int(config.num_attention_heads) if name == "attention.head_count_kv" else None


def _one_number(name: str, value: Any) -> float:
    """The number of a field, which some architectures state once for each layer."""
    numbers = set(value.values) if isinstance(value, StoredList) else {value}
    if len(numbers) != 1 or isinstance(value, str):
        raise _RefusedError(name, value)
    return float(number) if isinstance(number := numbers.pop(), float) else number


def _is_same(held: Any, number: float) -> bool:
    return isinstance(held, int | float) and math.isclose(held, number, rel_tol=EXACT)


# --- heads and windows -----------------------------------------------------------------------------------------------


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _settle_head_size(config: Any, name: str, value: Any) -> None:
    """The size of keys decides; values of another one are refused. Where a model's code knows no such size, its weights are
    refused by their shape when they are read."""
    number = _one_number(name, value)
    if number == _head_size(config):
        return
    if name != "attention.key_length":
        raise _RefusedError(name, value)
    config.head_dim = number


def _settle_window(config: Any, value: Any) -> None:
    """The positions that a layer looks back, 0 for all. Where a config says which layers have a window, some must."""
    number, kinds = _one_number(WINDOW_FIELD, value) or None, getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        if number is not None:
            raise _RefusedError(WINDOW_FIELD, value)
    elif "sliding_window" in _attributes(config):
        if number is not None or kinds is None:  # where only some layers have one, it is known without a field
            config.sliding_window = number
    elif number is not None:
        raise _RefusedError(WINDOW_FIELD, value)


def _check_pattern(config: Any, name: str, value: Any) -> None:
    """Which layers have a window: a list, or the distance between those that have none."""
    kinds = getattr(config, "layer_types", None) or []
    held = [kind == "sliding_attention" for kind in kinds]
    listed = isinstance(value, StoredList)
    said = list(map(bool, value.values)) if listed else [(layer + 1) % value != 0 for layer in range(len(kinds))]
    if said != held:
        raise _RefusedError(name, value)


# --- rotary embeddings -----------------------------------------------------------------------------------------------


def _settle_rope(config: Any, stated: Mapping[str, Any]) -> None:
    """Base, rotated part and scaling. Where layers with a window have a table of their own, they are not scaled."""
    rope = getattr(config, "rope_parameters", None)
    if not rope:
        if found := next((name for name in stated if name in ROPE_FIELDS), None):
            raise _RefusedError(found, stated[found])
        return
    whole = dict(rope.get("full_attention", rope))
    windowed = dict(rope.get("sliding_attention", whole))
    _settle_base(stated, "rope.freq_base", whole)
    _settle_rotated(config, stated, whole)
    if "full_attention" in rope:
        _settle_base(stated, "rope.freq_base_swa", windowed)
        config.rope_parameters = {
            **rope,
            "sliding_attention": windowed,
            "full_attention": whole | _scaling(config, stated),
        }
        return
    if not _is_same(whole["rope_theta"], (base := stated.get("rope.freq_base_swa", whole["rope_theta"]))):
        raise _RefusedError("rope.freq_base_swa", base)
    config.rope_parameters = whole | _scaling(config, stated)


def _settle_base(stated: Mapping[str, Any], name: str, table: dict[str, Any]) -> None:
    if name in stated and not _is_same(table.get("rope_theta"), stated[name]):
        table["rope_theta"] = float(_one_number(name, stated[name]))


def _settle_rotated(config: Any, stated: Mapping[str, Any], table: dict[str, Any]) -> None:
    """How many numbers of a head are rotated: all of them, if no field states it."""
    size = _head_size(config)
    for name in ("rope.dimension_count", "rope.dimension_count_swa"):
        if name.endswith("swa") and name not in stated:
            continue
        rotated = _one_number(name, stated.get(name, size))
        held = getattr(config, "rotary_dim", None) or int(size * table.get("partial_rotary_factor", 1))
        if rotated == held:
            continue
        if "partial_rotary_factor" not in table or int(size * (rotated / size)) != rotated or name.endswith("swa"):
            raise _RefusedError(name, stated.get(name, size))
        table["partial_rotary_factor"] = rotated / size


def _scaling(config: Any, stated: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling of the rotary embedding as entries of its table; empty where the file states none and the config has none.

    A factor without a type is linear. YaRN's attention factor is that of its paper on both sides, 0.1 ln(factor) + 1.
    """
    factor = float(stated.get("rope.scaling.factor", stated.get("rope.scale_linear", 0)) or 1)
    kind = stated.get("rope.scaling.type", "linear")
    if kind not in SCALINGS:
        raise _RefusedError("rope.scaling.type", kind)
    if kind == "none" or (kind == "linear" and factor == 1):
        return {"rope_type": "default"}
    if kind == "linear":
        return {"rope_type": kind, "factor": factor}
    betas = {
        key: float(stated[f"rope.scaling.yarn_{key}"])
        for key in ("beta_fast", "beta_slow")
        if f"rope.scaling.yarn_{key}" in stated
    }
    original = stated.get("rope.scaling.original_context_length", config.max_position_embeddings)
    return {"rope_type": kind, "factor": factor, "original_max_position_embeddings": int(original)} | betas


def _shown(value: object) -> str:
    if isinstance(value, StoredList):
        return f"a list of {int(value)}"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
