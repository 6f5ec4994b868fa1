"""Mixtures of experts: adapters stay off the tensors that hold all experts, and routers keep the dtype that they need."""

from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
import transformers
from safetensors.torch import load_file

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import copy_model
from laconic.models.policy import Policy

COMMON = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "num_experts_per_tok": 2,
}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
OWN: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8},
    "DeepseekV3": {"n_routed_experts": 4, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1, **LATENT}
    | {"first_k_dense_replace": 1},
}


def mixture(name: str) -> CausalLM:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**COMMON, **OWN[name])
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    return CausalLM(model, oracles.small_tokenizer(), name)


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        *((name, "all-linear") for name in OWN),
        ("Mixtral", ("q_proj", "o_proj")),
        ("DeepseekV3", ("o_proj", "down_proj")),
    ],
)
def test_adapters_of_a_mixture_merge_into_whole_weights(name: str, targets: Any, tmp_path: Path) -> None:
    """With dropout too: what is saved computes what the adapted model computes, and every expert is in it."""
    lora = LoraConfig(rank=2, targets=targets, dropout=0.1)
    policy = Policy(mixture(name), PolicyConfig(device="cpu", lora=lora), seed=0)
    policy.begin_phase(critic="lora", needs_reference=True)
    for parameter in policy.policy_parameters().values():
        torch.nn.init.normal_(parameter, std=0.3)
    policy.save(tmp_path)
    saved = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        assert torch.allclose(saved(ids).logits, policy.lm.model(ids).logits, atol=1e-4)
        assert not torch.allclose(saved(ids).logits, mixture(name).model(ids).logits, atol=1e-2)


def test_a_routers_bias_is_saved_in_float32(tmp_path: Path) -> None:
    """1 + 2^-12 is 1 in bfloat16; other weights of a checkpoint in bfloat16 are saved in it."""
    lm = mixture("DeepseekV3")
    key = "model.layers.1.mlp.gate.e_score_correction_bias"
    lm.model.get_buffer(key).fill_(1 + 2**-12)
    lm.settle_dtype(torch.bfloat16, computes_in_bfloat16=False)
    Policy(lm, PolicyConfig(device="cpu"), seed=0).save(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved[key].tolist() == [1 + 2**-12] * 4
    assert {tensor.dtype for name, tensor in saved.items() if name != key} == {torch.bfloat16}


def test_a_copy_under_adapters_holds_in_float32_what_a_loaded_model_does() -> None:
    lm = mixture("Mixtral")
    lm.model._keep_in_fp32_modules_strict = {"gate.weight"}
    config = PolicyConfig(device="cpu", dtype="bfloat16", lora=LoraConfig(rank=2))
    held = {name: p.dtype for name, p in copy_model(lm, config, "copy").model.named_parameters()}
    assert {dtype for name, dtype in held.items() if "gate.weight" in name} == {torch.float32}
    assert {dtype for name, dtype in held.items() if "gate.weight" not in name} == {torch.bfloat16}
