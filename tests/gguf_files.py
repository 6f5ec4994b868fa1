"""A small random Llama as a GGUF file, written with the package `gguf` as llama.cpp's converter writes it. Not a test module."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
START, END = 1, 2
MERGES = ("Ċ Ċ", "Ġ Ġ", "Ġ t", "Ġt h")
WORDS = (*SPECIAL, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES))
SYSTEM = "You are a helpful assistant"
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\n"
    + SYSTEM
    + "<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL, NORMAL = 3, 1
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def small_llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A random Llama of 2 layers with tied embeddings, whose rows are of whole quantized blocks; `changes` are of its config."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
        **changes,
    )
    return LlamaForCausalLM(config).eval()


def write_gguf(
    path: Path,
    model: LlamaForCausalLM,
    *,
    quantized: str = "F32",
    fields: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """`model` as a GGUF file whose matrices are in the format `quantized`; `fields` and tensors in `extra` are added."""
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    writer, config = GGUFWriter(path, "llama"), model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _write_tokenizer(writer)
    _write_fields(writer, fields or {})
    kind = GGMLQuantizationType[quantized]
    for name, tensor in (_named(model) | (extra or {})).items():
        if tensor.ndim == 1 or kind == GGMLQuantizationType.F32:
            writer.add_tensor(name, tensor)
        else:
            writer.add_tensor(name, quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_header(path: Path, architecture: str, fields: dict[str, Any]) -> Path:
    """A GGUF file of another architecture without its layers: `fields` (named without the architecture), a tokenizer and an
    embedding of zeros. Its config can be read, its weights cannot."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, architecture)
    _write_fields(writer, {f"{architecture}.{name}": value for name, value in fields.items()})
    _write_tokenizer(writer)
    writer.add_tensor("token_embd.weight", np.zeros((len(WORDS), fields["embedding_length"]), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_fields(writer: Any, fields: dict[str, Any]) -> None:
    adders = {str: "add_string", bool: "add_bool", float: "add_float32", list: "add_array", int: "add_uint32"}
    for name, value in fields.items():
        getattr(writer, adders[type(value)])(name, value)


def _write_tokenizer(writer: Any) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(WORDS))
    writer.add_token_types([CONTROL if word in SPECIAL else NORMAL for word in WORDS])
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(START)
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _named(model: LlamaForCausalLM) -> dict[str, np.ndarray]:
    """The weights under llama.cpp's names; rows of queries and keys in its order, where halves of a head alternate."""
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    named = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    for layer in range(model.config.num_hidden_layers):
        for ours, theirs in NAMES.items():
            weight = weights[f"model.layers.{layer}.{ours}.weight"]
            if theirs in heads:
                rows = weight.reshape(heads[theirs], 2, -1, weight.shape[1])
                weight = np.ascontiguousarray(rows.swapaxes(1, 2).reshape(weight.shape))
            named[f"blk.{layer}.{theirs}.weight"] = weight
    return named
