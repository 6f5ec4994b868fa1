"""The fused decoder of a larger model keeps the model's own weights, and says what the joined weights of a small one say. Under
autocast and with LoRA it says what the model's own modules say."""

from typing import Any

import oracles
import pytest
import torch

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models.policy import Policy
from laconic.models.products.packed import MIN_PACKED_ROWS, packs_right
from laconic.models.products.product_path import product_path
from laconic.samplers import decoders
from laconic.samplers.decoders import FusedDecoder
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.types import Response

NAMES = [name for name in oracles.ARCHITECTURES if decoders.can_fuse(oracles.small_lm(name))]


def with_biases(name: str) -> Any:
    """The small model, whose biases are not zero: those would hide a mistake."""
    lm = oracles.small_lm(name)
    for parameter_name, parameter in lm.model.named_parameters():
        if parameter_name.endswith("_proj.bias"):
            torch.nn.init.normal_(parameter)
    return lm


def draw(lm: Any) -> list[Response]:
    """Responses to prompts of 3 and 20 tokens, the longer one longer than any window."""
    requests = (Request("a", (4, 5, 6), 4), Request("b", tuple(range(10, 30)), 3))
    decoding = SamplerConfig(max_tokens=24, batch_size=16)
    return [response for row in LocalSampler(lm).sample(requests, decoding, seed=0) for response in row]


@pytest.mark.parametrize("name", NAMES)
def test_joined_weights_and_the_models_own_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = with_biases(name)
    joined = draw(lm)
    monkeypatch.setattr(decoders, "JOINED_BYTES", 0)
    own = draw(lm)
    assert [response.token_ids for response in own] == [response.token_ids for response in joined]
    for one, other in zip(own, joined, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_models_matrices_are_not_copied(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix of a layer is in the memory of one of the model's; a small model's joined ones are not."""
    lm = oracles.small_lm(name)
    held = {parameter.data_ptr() for parameter in lm.model.parameters()}

    def copied() -> list[bool]:
        layer = FusedDecoder(lm, 32).layers[0]
        maps = (*layer.qkv, *layer.gate_up, layer.out, layer.down)
        return [one.weight.data_ptr() not in held for one in maps]

    assert copied() == [True, True, False, False]
    monkeypatch.setattr(decoders, "JOINED_BYTES", 0)
    assert copied() == [False] * 7


# --- what the fused decoder copies: bfloat16 weights, and adapters ---------------------------------------------------


def full_forward(lm: Any, prompt: tuple[int, ...], response: Response) -> torch.Tensor:
    """The log-probabilities of a response by the model's own forward pass, adapters and autocast included."""
    sequence = torch.tensor([[*prompt, *response.token_ids]])
    with torch.no_grad(), lm.autocast():
        logits = lm.model(input_ids=sequence, use_cache=False).logits[0].float()
    log_p = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return log_p.gather(-1, torch.tensor(response.token_ids)[:, None])[:, 0]


def adapted(name: str, targets: Any, dtype: torch.dtype) -> Any:
    """A model with a LoRA adapter that is not zero; in bfloat16 as it is loaded: base weights in it, adapters in float32."""
    lm = with_biases(name)
    if dtype == torch.bfloat16:
        lm.model.to(dtype)
        lm.settle_dtype(dtype, computes_in_bfloat16=True)
    policy = Policy(lm, PolicyConfig(device="cpu", lora=LoraConfig(rank=2, targets=targets)), seed=0)
    for parameter in policy.policy_parameters().values():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    return lm


@pytest.mark.parametrize("joined_bytes", [0, decoders.JOINED_BYTES])
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj")])
@pytest.mark.parametrize("name", NAMES)
def test_a_merged_adapter_says_what_the_unmerged_one_says(
    name: str, targets: Any, joined_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float32, all maps or two of them adapted: log-probabilities to 1e-4 of the model's own forward pass, before and after a
    change of the adapter; the model's own weights stay as they are."""
    monkeypatch.setattr(decoders, "JOINED_BYTES", joined_bytes)
    lm = adapted(name, targets, torch.float32)
    assert decoders.can_fuse(lm)
    base = lm.model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    sampler = LocalSampler(lm)
    for _ in range(2):
        requests = (Request("a", (4, 5, 6), 4),)
        for response in sampler.sample(requests, SamplerConfig(max_tokens=24, batch_size=4), seed=0)[0]:
            assert list(response.logprobs) == pytest.approx(full_forward(lm, (4, 5, 6), response).tolist(), abs=1e-4)
        with torch.no_grad():
            lm.model.model.layers[1].mlp.down_proj.lora_B["default"].weight.mul_(-3.0)
    assert torch.equal(base, lm.model.model.layers[0].self_attn.q_proj.weight)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_adapted", [False, True])
def test_bfloat16_copies_say_what_autocast_says(name: str, is_adapted: bool) -> None:
    """The fused decoder's log-probabilities are as near to a forward pass in float32 as autocast's own are, up to a factor of 2
    and 0.02."""
    lm = adapted(name, "all-linear", torch.bfloat16) if is_adapted else with_biases(name)
    lm.settle_dtype(torch.bfloat16, computes_in_bfloat16=True)
    assert decoders.can_fuse(lm)
    responses = draw(lm)[:4]
    plain = [full_forward(lm, (4, 5, 6), response) for response in responses]
    lm.settle_dtype(torch.float32, computes_in_bfloat16=False)
    lm.model.float()
    exact = [full_forward(lm, (4, 5, 6), response) for response in responses]
    ours = torch.cat([torch.tensor(response.logprobs) - row for response, row in zip(responses, exact, strict=True)])
    theirs = torch.cat([one - row for one, row in zip(plain, exact, strict=True)])
    assert ours.abs().mean() <= 2 * theirs.abs().mean() + 0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_is_held_rounded_says_the_same_and_is_not_copied(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit where matrices are joined. Where they are not, each is in the model's own memory, and sums may be rounded
    otherwise."""
    lm = with_biases(name)
    lm.settle_dtype(torch.bfloat16, computes_in_bfloat16=True)
    copied = draw(lm)
    lm.hold_rounded()
    assert draw(lm) == copied
    monkeypatch.setattr(decoders, "JOINED_BYTES", 0)
    for one, other in zip(draw(lm), copied, strict=True):
        assert one.logprobs[0] == pytest.approx(other.logprobs[0], abs=0.1) or one.token_ids[0] != other.token_ids[0]
    held = {parameter.data_ptr() for parameter in lm.model.parameters()}
    layer = FusedDecoder(lm, 32).layers[0]
    assert all(one.weight.data_ptr() in held for one in (*layer.qkv, *layer.gate_up, layer.out, layer.down))


def test_in_bfloat16_an_adapter_stays_beside_the_weight() -> None:
    """Merged, what is less than half a unit in the last place of the base weight would be rounded away."""
    lm = adapted("llama", "all-linear", torch.bfloat16)
    layer = FusedDecoder(lm, 32).layers[0]
    assert layer.down.up is not None
    assert layer.down.down is not None
    assert layer.down.weight.data_ptr() == lm.model.model.layers[0].mlp.down_proj.weight.data_ptr()


def test_copies_are_counted_and_the_models_own_weights_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Width 32, 4 and 2 heads of 8, 2 layers: joined are (32 + 16 + 16 + 48 + 48) x 32 numbers a layer; the tables of rotations
    have 64 positions of 8, twice. In bfloat16 all maps and the head of 40 words are copied, in two bytes; in float32, where they
    are not joined, they are packed, on a machine with memory for that."""
    lm = oracles.small_lm("llama")
    tables = 4 * 2 * 64 * 8
    assert FusedDecoder(lm, 64).num_bytes == 4 * 2 * (64 + 96) * 32 + tables
    monkeypatch.setattr(decoders, "JOINED_BYTES", 0)
    all_maps = 2 * (64 + 96 + 32 + 48) * 32 + 40 * 32
    assert FusedDecoder(lm, 64).num_bytes == 4 * all_maps * packs_right(product_path()) + tables
    assert FusedDecoder(lm, 64, num_rows=MIN_PACKED_ROWS - 1).num_bytes == tables
    monkeypatch.setattr(decoders, "machine_memory", lambda: 16 * decoders.weight_bytes(lm) - 16)
    assert FusedDecoder(lm, 64).num_bytes == tables
    lm.settle_dtype(torch.float32, computes_in_bfloat16=True)
    assert FusedDecoder(lm, 64).num_bytes == 2 * all_maps + tables
