"""Every set of LoRA targets on tied and untied models: what is adapted learns, and the saved model is the trained one."""

import oracles
import pytest
import torch
from examined import Ward, said

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.doctor import examination
from laconic.doctor.checks.model import check_layers
from laconic.errors import ModelError
from laconic.models.loading import TINY, load_model
from laconic.models.policy import Policy
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request

TARGETS = (
    "all-linear",
    ("q_proj", "v_proj"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("gate_proj", "up_proj", "down_proj"),
    ("lm_head",),
    ("embed_tokens",),
    ("embed_tokens", "lm_head", "q_proj"),
    ("model.layers.1.mlp.up_proj",),
    r".*\.layers\.0\.self_attn\.[qv]_proj",
    r"lm_head|.*down_proj",
    r".*(_proj|embed_tokens)",
)
IDS = torch.arange(4, 14)[None]
CONFIG = PolicyConfig(device="cpu")


def adapted(lm, targets, critic="zero"):
    """A policy at the beginning of a phase with a reference, whose adapter has learned something."""
    config = PolicyConfig(device="cpu", lora=LoraConfig(rank=2, alpha=4.0, targets=targets))
    policy = Policy(lm, config, seed=0)
    generator = torch.Generator().manual_seed(1)
    policy.begin_phase(critic=critic, needs_reference=True)
    with torch.no_grad():
        for parameter in policy.policy_parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return policy


@pytest.mark.parametrize("targets", TARGETS, ids=str)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])  # qwen2 and gemma3 tie their embeddings
def test_what_is_adapted_learns_and_is_saved_as_it_was_trained(architecture, targets, tmp_path):
    policy = adapted(oracles.small_lm(architecture), targets)
    base = oracles.small_model(architecture)(input_ids=IDS).logits
    live = policy.lm.head(policy.lm.backbone(IDS).last_hidden_state)
    assert (live - base).abs().max() > 1e-2
    live.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in policy.policy_parameters().values())
    policy.save(tmp_path)
    assert (load_model(str(tmp_path), CONFIG).model(input_ids=IDS).logits - live).abs().max() < 1e-4
    again = adapted(load_model(str(tmp_path), CONFIG), targets)  # what was untied can be adapted and saved again
    again.save(tmp_path / "again")
    live = again.lm.head(again.lm.backbone(IDS).last_hidden_state)
    assert (load_model(str(tmp_path / "again"), CONFIG).model(input_ids=IDS).logits - live).abs().max() < 1e-4


@pytest.mark.parametrize("targets", [("lm_head",), ("embed_tokens",), ("embed_tokens", "lm_head", "q_proj")], ids=str)
def test_the_roles_of_an_adapted_head_or_embedding_stay_apart(targets):
    """The reference keeps what entered the phase, and the sampler draws with the adapter; exact KL is that of both heads."""
    policy = adapted(oracles.small_lm("qwen2"), targets, critic="lora")
    mask = torch.ones(1, 5, dtype=torch.bool)
    positions = torch.arange(4, 9)[None]
    logits = policy.lm.model(input_ids=IDS).logits[:, 4:9].log_softmax(-1)
    with policy.reference.lm_at_work() as lm:
        reference = lm.model(input_ids=IDS).logits[:, 4:9].log_softmax(-1)
    assert torch.allclose(
        reference, oracles.small_model("qwen2")(input_ids=IDS).logits[:, 4:9].log_softmax(-1), atol=1e-5
    )
    kl = policy.exact_kl(IDS, positions, mask, temperature=1.0)
    assert torch.allclose(kl, (logits.exp() * (logits - reference)).sum(-1), atol=1e-5)
    assert kl.max() > 1e-3
    kl.sum().backward()
    assert all(parameter.grad is not None for parameter in policy.policy_parameters().values())
    request = Request("a", tuple(IDS[0, :5].tolist()), 1)
    ((drawn,),) = LocalSampler(policy.lm).sample([request], SamplerConfig(temperature=0.0, max_tokens=1), seed=0)
    assert drawn.logprobs[0] == pytest.approx(logits[0, 0].max().item(), abs=1e-4)


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (("c_attn",), r"'c_attn' matches no layer of tiny; it has embed_tokens, q_proj, .*lm_head"),
        (("q_proj", "v_porj"), "'v_porj' matches no layer"),
        ("q_proj", "'q_proj' matches no layer"),  # a pattern must match the whole name
        (("mlp",), "'mlp' matches model.layers.0.mlp, a LlamaMLP, which LoRA cannot adapt"),
        (("norm",), "'norm' matches model.norm, a LlamaRMSNorm"),
        (".*", "which LoRA cannot adapt"),
    ],
)
def test_targets_that_adapt_nothing_are_refused_in_one_line(targets, says):
    config = PolicyConfig(device="cpu", lora=LoraConfig(targets=targets))
    with pytest.raises(ModelError, match=f"policy.lora.targets: .*{says}") as caught:
        Policy(load_model(TINY, config), config, seed=0)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_doctor_knows_targets_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "outside_bytes", lambda recipe: 2**29)
    ward = Ward(tmp_path)
    assert all(line.startswith("fine") for line in said(check_layers, ward.examine("policy.lora.rank=2")))
    (_, line) = said(check_layers, ward.examine("policy.lora.rank=2", "policy.lora.targets=['v_porj']"))
    assert line.startswith("error: policy.lora.targets: 'v_porj' matches no layer of ")
