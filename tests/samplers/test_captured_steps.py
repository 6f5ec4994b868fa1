"""Captured steps, without a GPU: nothing in a step makes a device's host wait, and a replayed step does what the step does.

1. PyTorch's `meta` device has tensors without numbers in them. A step on it meets every operation that a capture would meet, and
   `_NoWaiting` refuses those that copy between host and device or hand a number to the host. (Numbers that Python adds or
   compares with are arguments of a kernel and may stay on the host.)
2. `recorded_step` repeats the operations of a step on the same memory, as a CUDA graph does.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import oracles
import pytest
import recorded_step
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy
from laconic.samplers import slots
from laconic.samplers.decoders import can_fuse, make_decoder
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.samplers.slots import Slots
from laconic.types import Response

DECODING = SamplerConfig(max_tokens=24, batch_size=16)
REQUESTS = (
    Request("a", (4, 5, 6), 4),
    Request("b", (7,), 2),
    Request("c", tuple(range(10, 30)), 3),
    Request("d", tuple(range(5, 14)), 1),
)
DRAWS = (
    SamplerConfig(temperature=0.0),
    SamplerConfig(temperature=0.7),
    SamplerConfig(top_p=0.9),
    SamplerConfig(min_p=0.05),
)
READS_NUMBERS = frozenset(  # kernels that take a number of the host as an argument
    (
        *("add", "sub", "rsub", "mul", "div", "pow", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"),
        *("bitwise_and", "bitwise_or", "bitwise_xor", "__rshift__", "__lshift__", "floor_divide", "remainder"),
    )
)


class HostWaitedError(AssertionError):
    """An operation made the host wait for the device."""


class _NoWaiting(TorchDispatchMode):
    """Refuses what must not happen in a capture."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        out = func(*args, **(kwargs or {}))
        tensors += [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        is_number = (
            name in ("index_put", "index_put_") and args[2].dim() == 0
        )  # x[i] = 1.0: CUDA takes it from the host
        is_mixed = len(devices) > 1 and name.rstrip("_") not in READS_NUMBERS
        if is_number or is_mixed or name in recorded_step.HOST_READS:
            raise HostWaitedError(str(func))
        return out


class _NoCopies(TorchFunctionMode):
    """Refuses tensors that are made of Python's numbers on a device, whose copy `_NoWaiting` does not see."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.tensor, torch.as_tensor) and str((kwargs or {}).get("device") or "cpu") != "cpu":
            raise HostWaitedError(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps on the `meta` device are captured, as they are on CUDA."""
    monkeypatch.setattr(slots, "capture_on", lambda device: recorded_step.record)
    with torch.no_grad():
        yield


def lm_on_device(architecture: str, kind: str) -> CausalLM:
    """A small model without numbers: in float32, in bfloat16, under autocast, or adapted by LoRA."""
    lm: CausalLM = oracles.small_lm(architecture)
    model: torch.nn.Module = lm.model
    if kind.endswith("lora"):
        Policy(lm, PolicyConfig(device="cpu", lora=LoraConfig(rank=2)), seed=0)
    model.to("meta")
    if kind in ("bfloat16", "bfloat16 lora"):
        model.to(torch.bfloat16)
    if kind in ("autocast", "bfloat16 lora"):
        lm.settle_dtype(torch.bfloat16, computes_in_bfloat16=True)
    return lm


def step_on_device(lm: CausalLM, decoding: SamplerConfig) -> Callable[[], None]:
    """A step of eight rows."""
    held = Slots(lm, 8, 64, 32)
    held.cache._allocate([(2, _head_size(lm))] * len(getattr(lm.model, lm.model.base_model_prefix).layers))
    held.cache.plan_step(torch.arange(20, 28).numpy())
    held.stops = torch.zeros(2, dtype=torch.long, device="meta")
    held.decoder = make_decoder(lm, 64)

    def step() -> None:
        assert held.decoder is not None
        with held.decoder.arithmetic(), _NoWaiting(), _NoCopies():
            held._step(8, decoding)

    return step


def _head_size(lm: CausalLM) -> int:
    return int(getattr(lm.model, lm.model.base_model_prefix).layers[0].self_attn.head_dim)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "autocast", "lora", "bfloat16 lora"])
@pytest.mark.parametrize("architecture", oracles.ARCHITECTURES)
def test_no_step_makes_the_host_wait(device: None, architecture: str, kind: str) -> None:
    """Every architecture, dtype and way of drawing. (Only CUDA and the like have an autocast: of those, what is fused.)"""
    lm = lm_on_device(architecture, kind)
    if lm.autocast_dtype is not None and not can_fuse(lm):
        lm.autocast_dtype = None
    for decoding in DRAWS if kind == "float32" else DRAWS[1:2]:
        step_on_device(lm, decoding)()


@pytest.mark.parametrize(
    ("waits", "error"),
    [
        (lambda x: x.__setitem__((torch.arange(2, device="meta"), 0), 1.0), HostWaitedError),
        (lambda x: x + torch.tensor([1.0, 2.0], device="meta"), HostWaitedError),
        (lambda x: x.cpu(), (HostWaitedError, NotImplementedError)),
        (lambda x: x.max().item(), (HostWaitedError, RuntimeError)),
        (lambda x: x[x > 0], (HostWaitedError, NotImplementedError)),
    ],
)
def test_what_makes_the_host_wait_is_noticed(device: None, waits: Callable[[Tensor], Any], error: Any) -> None:
    """A number put through an index, or copied, is noticed by the modes alone; what reads numbers on the host, a device without
    numbers may refuse by itself."""
    x = torch.zeros(2, 2, device="meta")
    with pytest.raises(error), _NoWaiting(), _NoCopies():
        waits(x)


def test_rotations_that_depend_on_the_length_are_not_captured(
    device: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama with dynamic rotations, whose step does make the host wait: its slots have no graphs, and say so once."""
    slots._say_once.cache_clear()
    lm = lm_on_device("llama", "float32")
    assert Slots(lm, 8, 64, 32).graphs is not None
    rotation = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    monkeypatch.setattr(lm.model.config, "rope_parameters", rotation)
    with caplog.at_level(logging.WARNING):
        assert [Slots(lm, 8, 64, 32).graphs for _ in range(2)] == [None, None]
    (said,) = caplog.messages
    assert "without CUDA graphs" in said
    lm.model.model.rotary_emb = type(lm.model.model.rotary_emb)(lm.model.config).to("meta")
    with pytest.raises((HostWaitedError, RuntimeError, NotImplementedError)):
        step_on_device(lm, DRAWS[1])()


# --- replays ---------------------------------------------------------------------------------------------------------


def ids(responses: list[list[Response]]) -> list[list[tuple[int, ...]]]:
    return [[response.token_ids for response in row] for row in responses]


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2"])
def test_replayed_steps_say_what_the_steps_say(monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    """Ten rows in four slots, which are refilled, with top-p: bit for bit what the steps say that run each time."""
    lm, decoding = oracles.small_lm(architecture), DECODING.model_copy(update={"batch_size": 4, "top_p": 0.9})
    recorded_step.fits_captures(monkeypatch)
    drawn = []
    for capture in (recorded_step.Captures(), lambda step: step):
        monkeypatch.setattr(slots, "capture_on", lambda device, capture=capture: capture)
        sampler = LocalSampler(lm)
        drawn.append([sampler.sample(REQUESTS, decoding, seed=seed) for seed in (0, 1, 0)])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] == drawn[0][2]
    monkeypatch.setattr(slots, "capture_on", lambda device: None)
    assert ids(LocalSampler(lm).sample(REQUESTS, decoding, seed=0)) == ids(drawn[0][0])


def test_a_captured_step_has_as_many_rows_whatever_was_drawn_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows are computed as eight, in slots that were made for them as in those that an earlier call of ten left."""
    monkeypatch.setattr(slots, "capture_on", lambda device: lambda step: step)
    lm, widths, step = oracles.small_lm("qwen3"), list[int](), Slots._step

    def noted(held: Slots, live: int, decoding: SamplerConfig) -> None:
        widths.append(live)
        step(held, live, decoding)

    fresh, used = LocalSampler(lm), LocalSampler(lm)
    used.sample(REQUESTS, DECODING, seed=1)
    monkeypatch.setattr(Slots, "_step", noted)
    for sampler in (fresh, used):
        sampler.sample(REQUESTS[:1], DECODING, seed=0)
    assert set(widths) == {8} and used.slots is not None and used.slots.num_slots == 16


def test_a_record_notices_a_number_that_python_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in itself: a step that writes where a Python counter says writes there again, as a graph would."""
    out, counter = torch.zeros(3), iter(range(3))

    def step() -> None:
        out[next(counter)] += 1

    replay = recorded_step.record(step)
    for _ in range(3):
        replay()
    assert out.tolist() == [3, 0, 0]


def test_a_later_call_replays_the_steps_of_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call three times captures in the first two at most; other weights at the same place are read by the same steps;
    a weight that moved and another temperature are captured anew. Always the responses without captures."""
    lm, captures = oracles.small_lm("qwen3"), recorded_step.Captures()
    plain = LocalSampler(lm)
    monkeypatch.setattr(slots, "capture_on", lambda device: captures)
    sampler = LocalSampler(lm)

    def new_captures(**changes: Any) -> int:
        before, decoding = captures.num_captures, DECODING.model_copy(update=changes)
        with monkeypatch.context() as patch:
            patch.setattr(slots, "capture_on", lambda device: None)
            expected = ids(plain.sample(REQUESTS, decoding, seed=0))
        assert ids(sampler.sample(REQUESTS, decoding, seed=0)) == expected
        return captures.num_captures - before

    assert new_captures() > 0
    new_captures()
    decoder = sampler.slots.decoder if sampler.slots else None
    assert new_captures() == 0
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(1.1)
    new_captures()
    assert sampler.slots is not None
    assert sampler.slots.decoder is decoder  # it has the new weights, since the responses are right
    assert new_captures(temperature=0.5) > 0
    assert sampler.slots.decoder is decoder
    lm.model.model.norm.weight.data = lm.model.model.norm.weight.data.clone()
    assert new_captures() > 0
    assert sampler.slots.decoder is not decoder
    assert captures.num_replays > captures.num_captures


def autocast_lm(architecture: str) -> CausalLM:
    lm: CausalLM = oracles.small_lm(architecture)
    lm.settle_dtype(torch.float32, computes_in_bfloat16=True)
    return lm


def test_under_autocast_only_copies_of_the_decoders_own_outlive_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast's copies of weights are freed with its context, and a graph that reads them would read what came after. So the
    graphs of the model's own modules are dropped, and those of the fused decoder, which has copies itself, stay."""
    captures = recorded_step.Captures()
    monkeypatch.setattr(slots, "capture_on", lambda device: captures)
    kept = {}
    for architecture in ("llama", "gemma2"):
        sampler = LocalSampler(autocast_lm(architecture))
        sampler.sample(REQUESTS, DECODING, seed=0)
        assert sampler.slots is not None
        assert sampler.slots.graphs is not None
        kept[architecture] = len(sampler.slots.graphs.replays)
    assert captures.num_captures > 0
    assert kept["llama"] > 0
    assert kept["gemma2"] == 0


def test_copies_under_autocast_follow_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an update the replayed steps read the new weights: what a sampler that begins then says."""
    monkeypatch.setattr(slots, "capture_on", lambda device: recorded_step.record)
    lm = autocast_lm("llama")
    sampler = LocalSampler(lm)
    before = ids(sampler.sample(REQUESTS, DECODING, seed=0))
    decoder = sampler.slots.decoder if sampler.slots else None
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    after = ids(sampler.sample(REQUESTS, DECODING, seed=0))
    assert sampler.slots is not None
    assert sampler.slots.decoder is decoder
    assert after != before
    assert after == ids(LocalSampler(lm).sample(REQUESTS, DECODING, seed=0))


def test_a_capture_that_fails_is_said_once_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The responses are those without captures; two samplers, one line."""
    slots._say_once.cache_clear()
    lm = oracles.small_lm("llama")
    expected = ids(LocalSampler(lm).sample(REQUESTS, DECODING, seed=0))
    monkeypatch.setattr(slots, "capture_on", lambda device: recorded_step.refusing)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert ids(LocalSampler(lm).sample(REQUESTS, DECODING, seed=0)) == expected
    (said,) = caplog.messages
    assert said.endswith("so steps run without: CUDA error: operation not permitted when stream is capturing")
