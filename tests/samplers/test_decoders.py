"""The fused decoder of a larger model keeps the model's own weights, and says what the joined weights of a small one say."""

from typing import Any

import oracles
import pytest
import torch

from laconic.config.solver import SamplerConfig
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
        return [weight.data_ptr() not in held for weight in (*layer.qkv, *layer.gate_up, layer.out, layer.down)]

    assert copied() == [True, True, False, False]
    monkeypatch.setattr(decoders, "JOINED_BYTES", 0)
    assert copied() == [False] * 7
