"""The Triton kernel against plain attention, by Triton's interpreter on a CPU; and the cache around any kernel of its kind.

The interpreter needs triton, which a PyTorch without CUDA lacks: `TRITON_INTERPRET=1 pytest tests/samplers/test_kernels.py`.
"""

import os
from typing import Any

import oracles
import pytest
import recorded_step
import torch
from torch import Tensor

from laconic.config.solver import SamplerConfig
from laconic.samplers import cache as cache_module
from laconic.samplers import slots
from laconic.samplers.cache import SlotCache
from laconic.samplers.kernels import attention as kernels
from laconic.samplers.kernels.attention import kernel_attention, plain_attention
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.types import Response

DECODING = SamplerConfig(max_tokens=24, batch_size=4)
REQUESTS = (
    Request("a", (4, 5, 6), 4),
    Request("b", (7,), 2),
    Request("c", tuple(range(10, 30)), 3),
    Request("d", tuple(range(5, 14)), 1),
)


@pytest.fixture
def interpreted() -> None:
    """Kernels run on a CPU, operation by operation."""
    pytest.importorskip("triton", reason="triton is not installed")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("triton's interpreter is off: TRITON_INTERPRET=1 is read when triton is first imported")


@pytest.mark.parametrize("size", [64, 80, 96, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_kernel_says_what_plain_attention_says(interpreted: None, size: int, dtype: torch.dtype) -> None:
    """Three queries a head, rows of 1, 70, 257 and 600 positions, with and without a window and a soft cap. (The interpreter
    multiplies bfloat16 numbers as if they were integers: float16 stands for both.)"""
    error = kernels.largest_error(torch.device("cpu"), dtype, 3, size)
    assert error <= (1e-5 if dtype == torch.float32 else kernels.KERNEL_TOLERANCE[dtype])


@pytest.mark.parametrize("group", [1, 7, 16])
def test_what_lies_behind_a_rows_end_is_not_read(interpreted: None, group: int) -> None:
    """NaN behind the end, before the window, and in heads that are padded to a block of queries; a window at every edge."""
    generator = torch.Generator().manual_seed(1)
    keys, values = torch.randn(2, 5, 2, 600, 16, generator=generator)
    q = torch.randn(5, 2 * group, 16, generator=generator)
    positions = torch.tensor([0, 63, 255, 256, 511])
    for window in (None, 1, 64, 256, 300):
        options: dict[str, Any] = {"scaling": 0.25, "window": window, "softcap": None}
        expected = plain_attention(q, keys, values, positions, **options)
        spoilt = [states.clone() for states in (keys, values)]
        for row, last in enumerate(positions.tolist()):
            for states in spoilt:
                states[row, :, last + 1 :] = float("nan")
                states[row, :, : max(0, last + 1 - (window or 600))] = float("nan")
        assert torch.allclose(kernel_attention(q, *spoilt, positions, **options), expected, atol=1e-5)


def test_no_kernel_on_a_cpu_and_none_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On CUDA one that fails or is off is reported and not used; heads of 512 have none."""
    assert kernels.attention_kernel(torch.device("cpu"), torch.float32, 3, 64) is None
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: object())
    cuda = torch.device("cuda")
    for size, error, said in ((64, 1.0, "it is off by 1"), (512, 0.0, "heads of 512"), (96, None, "RuntimeError: no")):

        def measured(*_: Any, error: float | None = error) -> float:
            if error is None:
                raise RuntimeError("no\nmore")
            return error

        monkeypatch.setattr(kernels, "largest_error", measured)
        kernels.attention_kernel.cache_clear()
        assert kernels.attention_kernel(cuda, torch.bfloat16, 3, size) is None
        assert said in caplog.messages[-1]
    monkeypatch.setattr(kernels, "largest_error", lambda *_: 0.0)
    kernels.attention_kernel.cache_clear()
    assert kernels.attention_kernel(cuda, torch.bfloat16, 3, 64) is kernel_attention
    kernels.attention_kernel.cache_clear()


def one_page(patch: pytest.MonkeyPatch, attend: Any) -> None:
    """Let caches on a CPU be as those on CUDA: a single page, which `attend` reads."""
    plain = SlotCache.__init__

    def init(self: SlotCache, num_slots: int, max_positions: int, *rest: Any) -> None:
        plain(self, num_slots, max_positions, *rest)
        self.is_paged, self.width_step, self.page_tokens, self.num_pages = False, 96, 96, 1
        self.bias, self.has_kernels = torch.full((num_slots, 96), float("-inf")), True

    patch.setattr(SlotCache, "__init__", init)
    patch.setattr(cache_module, "attention_kernel", lambda *_: attend)


def ids(responses: list[list[Response]]) -> list[list[tuple[int, ...]]]:
    return [[response.token_ids for response in row] for row in responses]


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral"])
def test_with_a_kernel_steps_are_captured_by_their_rows_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows in four slots, windows and soft caps: the responses of a paged cache, with one capture for as many rows."""
    lm = oracles.small_lm(name)
    expected = ids(LocalSampler(lm).sample(REQUESTS, DECODING, seed=0))

    def attend(q: Tensor, *states: Any, **options: Any) -> Tensor:
        return plain_attention(q, *states, **options)

    one_page(monkeypatch, attend)
    captures = recorded_step.Captures()
    monkeypatch.setattr(slots, "capture_on", lambda device: captures)
    sampler = LocalSampler(lm)
    assert ids(sampler.sample(REQUESTS, DECODING, seed=0)) == expected
    assert sampler.slots is not None
    assert sampler.slots.graphs is not None
    assert {kind[1] for kind in sampler.slots.graphs.replays} == {()}  # type: ignore[index]
    assert captures.num_captures <= 2 * DECODING.batch_size


def test_the_interpreted_kernel_samples_what_pages_sample(interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the whole sampler, with windows and soft caps."""
    lm = oracles.small_lm("gemma2")
    expected = ids(LocalSampler(lm).sample(REQUESTS[:2], DECODING, seed=0))
    one_page(monkeypatch, kernel_attention)
    assert ids(LocalSampler(lm).sample(REQUESTS[:2], DECODING, seed=0)) == expected
