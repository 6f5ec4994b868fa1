"""The sampler on a CUDA device; skipped where there is none. What can be shown without one is in `test_captured_steps.py` and
`test_kernels.py`."""

import gc
import importlib.util
from collections.abc import Iterator
from typing import Any

import oracles
import pytest
import torch

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy
from laconic.samplers import local, slots
from laconic.samplers.drawing import least_by_halving, least_by_rank
from laconic.samplers.kernels import attention as kernels
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.types import Response

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

KINDS = ("float32", "bfloat16", "autocast", "lora", "bfloat16 lora")
DECODING = SamplerConfig(max_tokens=24, batch_size=4)
REQUESTS = (
    Request("a", (4, 5, 6), 4),
    Request("b", (7,), 2),
    Request("c", tuple(range(10, 30)), 3),
    Request("d", tuple(range(5, 14)), 1),
)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Float32 products in float32, not in TensorFloat-32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def lm_on_cuda(architecture: str, kind: str) -> CausalLM:
    """A small random model on the device: its weights in float32 or bfloat16, under autocast, with an adapter."""
    lm: CausalLM = oracles.small_lm(architecture)
    model: torch.nn.Module = lm.model
    if kind in ("bfloat16", "bfloat16 lora"):
        model.to(torch.bfloat16)
    if kind.endswith("lora"):
        policy = Policy(lm, PolicyConfig(device="cpu", lora=LoraConfig(rank=2)), seed=0)
        for parameter in policy.policy_parameters().values():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    if kind in ("autocast", "bfloat16 lora"):
        lm.settle_dtype(torch.bfloat16, computes_in_bfloat16=True)
    model.to("cuda")
    return lm


def full_forward(lm: CausalLM, prompt: tuple[int, ...], response: Response) -> list[float]:
    """The log-probabilities of a response by the model's own forward pass."""
    ids = torch.tensor([[*prompt, *response.token_ids]], device="cuda")
    with torch.no_grad(), lm.autocast():
        logits = lm.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    drawn = ids[0, len(prompt) :, None]
    found: list[float] = logits.log_softmax(-1).gather(-1, drawn)[:, 0].tolist()
    return found


def token_ids(responses: list[list[Response]]) -> list[list[tuple[int, ...]]]:
    return [[response.token_ids for response in row] for row in responses]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma2"])
def test_captured_and_eager_steps_say_what_a_full_forward_says(
    architecture: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten rows in four slots, which are refilled. The same seed twice, the second time replayed: the same bits. Without captures:
    the same tokens in float32. Log-probabilities to 1e-3 in float32 and 0.3 in bfloat16."""
    lm = lm_on_cuda(architecture, kind)
    sampler = LocalSampler(lm)
    first, second = (sampler.sample(REQUESTS, DECODING, seed=0) for _ in range(2))
    assert sampler.slots is not None
    assert sampler.slots.graphs is not None
    assert sampler.slots.graphs.capture is not None, "a capture failed"
    assert first == second
    tolerance = 1e-3 if kind in ("float32", "lora") else 0.3
    for request, row in zip(REQUESTS, first, strict=True):
        for response in row:
            expected = full_forward(lm, request.prompt_ids, response)
            assert list(response.logprobs) == pytest.approx(expected, abs=tolerance)
    if tolerance < 0.1:
        monkeypatch.setattr(slots, "capture_on", lambda device: None)
        assert token_ids(LocalSampler(lm).sample(REQUESTS, DECODING, seed=0)) == token_ids(first)


@pytest.mark.parametrize("kind", ["float32", "autocast", "lora"])
def test_replayed_steps_read_the_weights_of_now(kind: str) -> None:
    """After a change of all weights in place: what a sampler that begins then says."""
    lm = lm_on_cuda("qwen3", kind)
    sampler = LocalSampler(lm)
    before = [sampler.sample(REQUESTS, DECODING, seed=0) for _ in range(2)]
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(1.1)
    after = sampler.sample(REQUESTS, DECODING, seed=0)
    assert token_ids(after) != token_ids(before[0])
    assert token_ids(after) == token_ids(LocalSampler(lm).sample(REQUESTS, DECODING, seed=0))


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_steps_do_not_make_the_host_wait(architecture: str, top_p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether captured, replayed or run: an operation that waits for the device raises. (A first call compiles kernels.)"""
    sampler, decoding = LocalSampler(lm_on_cuda(architecture, "float32")), DECODING.model_copy(update={"top_p": top_p})
    sampler.sample(REQUESTS, decoding, seed=0)
    advance, num_steps = local._Decoding._advance, 0

    def watched(self: Any) -> None:
        nonlocal num_steps
        torch.cuda.set_sync_debug_mode("error")
        try:
            advance(self)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        num_steps += 1

    monkeypatch.setattr(local._Decoding, "_advance", watched)
    sampler.sample(REQUESTS, decoding, seed=1)
    assert num_steps >= local.LOOKS_EVERY


def test_memory_comes_back() -> None:
    """What a sampler took, caches, graphs and copies of weights, is free after `release`, without the collector's help."""
    lm = lm_on_cuda("llama", "autocast")
    LocalSampler(lm).sample(REQUESTS, DECODING, seed=0)  # what libraries keep once they have been used
    gc.collect()
    before = torch.cuda.memory_allocated()
    sampler = LocalSampler(lm)
    for seed in range(3):
        sampler.sample(REQUESTS, DECODING, seed=seed)
    assert torch.cuda.memory_allocated() > before
    gc.disable()
    try:
        sampler.release()
        assert torch.cuda.memory_allocated() <= before
    finally:
        gc.enable()


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("size", [8, 64, 80, 96, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_serves(dtype: torch.dtype, size: int) -> None:
    """It compiles and says what plain attention says, for groups of 1 to 7 queries a head."""
    for group in (1, 3, 7):
        assert kernels.largest_error(torch.device("cuda"), dtype, group, size) <= kernels.KERNEL_TOLERANCE[dtype]
        assert kernels.attention_kernel(torch.device("cuda"), dtype, group, size) is kernels.kernel_attention


def test_top_p_cuts_where_it_cuts_on_a_cpu() -> None:
    """64 rows over 50,000 tokens, by halving there and by rank here."""
    probs = (3 * torch.randn(64, 50_000, generator=torch.Generator().manual_seed(0))).softmax(-1)
    limit = 0.95 * probs.sum(-1, keepdim=True, dtype=torch.float64)
    assert torch.equal(least_by_halving(probs.cuda(), limit.cuda()).cpu(), least_by_rank(probs, limit))
