"""A model's own dropout stays off in an update, whatever else training mode is needed for."""

from typing import Any

import oracles
import pytest
import torch
import transformers

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy

COMMON = {"vocab_size": 40, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = torch.arange(4, 12).repeat(3, 1)
INPUTS = (IDS, torch.arange(3, 7).repeat(3, 1), IDS[:, 4:], torch.ones(3, 4, dtype=torch.bool))


def dropping_model(name: str) -> CausalLM:
    """A model that drops half of everything in training mode: by modules, in attention, and (OPT) in its layers' own code."""
    torch.manual_seed(0)
    config: Any
    model: Any
    if name == "phi":
        shares = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attention_dropout": 0.5}
        config = transformers.PhiConfig(**COMMON, **WIDTHS, intermediate_size=48, **shares)
        model = transformers.PhiForCausalLM(config)
    elif name == "gpt2":
        shares = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}
        config = transformers.GPT2Config(vocab_size=40, n_positions=64, n_embd=32, n_layer=2, n_head=4, **shares)
        model = transformers.GPT2LMHeadModel(config)
    else:
        shares = {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5}
        config = transformers.OPTConfig(**COMMON, **WIDTHS, ffn_dim=48, word_embed_proj_dim=32, **shares)
        model = transformers.OPTForCausalLM(config)
    return CausalLM(model.eval(), oracles.small_tokenizer(), name)


def score(policy: Policy) -> torch.Tensor:
    return policy.logprobs(*INPUTS, temperature=1.0)[0]


@pytest.mark.parametrize("critic", ["zero", "separate"])
@pytest.mark.parametrize("name", ["phi", "gpt2", "opt"])
def test_recomputed_activations_score_as_the_sampler_does(name: str, critic: str) -> None:
    """Gradient checkpointing is on, and scores and values are those outside of an update."""
    policy = Policy(dropping_model(name), PolicyConfig(device="cpu", gradient_checkpointing=True), seed=0)
    policy.begin_phase(critic=critic, needs_reference=False)
    calls = count_calls(policy.lm)
    with torch.no_grad():
        expected = score(policy)
    before = len(calls)
    with policy.learning():
        found = score(policy)
        assert len(calls) - before == 2
        torch.autograd.backward(found.sum())
        assert len(calls) - before == 4, "both layers are computed again"
        if policy.critic is not None:
            torch.nn.init.ones_(policy.critic.value_head.weight)
            assert torch.equal(policy.values(IDS, INPUTS[1]), policy.values(IDS, INPUTS[1]))
    assert torch.allclose(found, expected, atol=1e-6)
    assert policy.lm.model.config.to_dict().get("attention_dropout", 0.5) == 0.5


def count_calls(lm: CausalLM) -> list[int]:
    """A list that grows whenever a layer's feed-forward part is computed."""
    calls: list[int] = []
    for path, module in lm.model.named_modules():
        if path.endswith((".fc1", ".c_fc")):
            module.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("name", ["phi", "gpt2", "opt"])
def test_only_adapters_drop_out(name: str) -> None:
    """LoRA's dropout makes two scores of an update differ; where adapters are zero, nothing does."""
    lora = LoraConfig(rank=2, alpha=4.0, dropout=0.5)
    policy = Policy(dropping_model(name), PolicyConfig(device="cpu", lora=lora), seed=0)
    with policy.learning(), torch.no_grad():
        assert torch.equal(score(policy), score(policy))
        for parameter in policy.policy_parameters().values():
            torch.nn.init.normal_(parameter)
        assert not torch.equal(score(policy), score(policy))
        with policy._settled():
            assert torch.equal(score(policy), score(policy))
        assert not torch.equal(score(policy), score(policy))
