"""Sampling: does a step ever wait for the device, what the device can do, and how far decoding is from it."""

import contextlib
import functools
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from gpu_workloads import decode_floor_seconds, draw, make_lm, matrix_rate, once, peak_gib, seconds_of
from gpus.rows import Bench, Row, guarded

from laconic.samplers import slots
from laconic.samplers.local import LocalSampler, _Decoding

BANDWIDTH, MATRIX_RATE = "bandwidth", "bfloat16 products in the model's shapes"
FLOOR_RATIO, FLOOR_ROWS = 3.0, 64  # target: with this many rows a step takes at most three times its floor
GUARDED_STEPS = 8
NEW_LENGTHS = 12  # prompts of so many lengths that attention has not seen


# --- synchronisation -------------------------------------------------------------------------------------------------


def synchronisation(bench: Bench) -> Iterator[Row]:
    """Steps under a mode in which an operation that waits for the device raises, after those in which graphs are captured."""
    captures: list[float] = []
    guard = _Guard(bench.device)
    lm = make_lm(bench.scale.shape, bench.device, torch.bfloat16)
    tokens = max(4 * GUARDED_STEPS, bench.scale.new_tokens)
    with _counting(captures, bench.device), mock.patch.object(_Decoding, "_advance", guard.around(_Decoding._advance)):
        draw(LocalSampler(lm), bench.scale.shape, [8] * 4, 2, max_tokens=tokens, batch_size=8)
    yield Row("steps that wait for nothing", guard.num_guarded, "steps", is_met=guard.num_guarded >= GUARDED_STEPS)
    has_captured = len(captures) > 0 if bench.device.type == "cuda" else None
    yield Row("captures of a step", len(captures), "graphs", is_met=has_captured, note=f"{tokens} steps of 8 rows")
    if captures:
        yield Row("a capture", 1e3 * sum(captures) / len(captures), "ms")


class _Guard:
    """Lets each step but the first ones run where no operation may wait for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.num_seen, self.num_guarded = device, 0, 0

    def around(self, advance: Any) -> Any:
        """`advance`, guarded."""

        def guarded_advance(decoding: Any) -> None:
            self.num_seen += 1
            if self.num_seen <= 2 * GUARDED_STEPS:
                advance(decoding)
                return
            with _refusing_to_wait(self.device):
                advance(decoding)
            self.num_guarded += 1

        return guarded_advance


@contextlib.contextmanager
def _refusing_to_wait(device: torch.device) -> Iterator[None]:
    """The context in which torch raises where an operation waits; nothing off CUDA."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextlib.contextmanager
def _counting(seconds: list[float], device: torch.device) -> Iterator[None]:
    """The context in which the seconds of every capture are added to a list."""
    capture_on = slots.capture_on

    def counted(device: torch.device) -> Any:
        capture = capture_on(device)
        if capture is None:
            return None

        def timed(step: Any) -> Any:
            began = time.perf_counter()
            replay = capture(step)
            seconds.append(time.perf_counter() - began)  # not reached where a capture fails
            return replay

        return timed

    with mock.patch.object(slots, "capture_on", counted):
        yield


# --- limits and decode -----------------------------------------------------------------------------------------------


def limits(bench: Bench) -> Iterator[Row]:
    """Bytes per second by reading and copying a large tensor, and operations per second of the model's own products."""
    scale, device, seconds = bench.scale, bench.device, bench.seconds_left / 10
    read, copied = bandwidths(scale.read_bytes, device, seconds)
    note = f"the better of reading ({read / 1e9:.4g}) and copying ({copied / 1e9:.4g})"
    yield Row(BANDWIDTH, max(read, copied) / 1e9, "GB/s", note=note)
    yield Row(MATRIX_RATE, matrix_rate(scale.shape, scale.matrix_rows, device, seconds) / 1e9, "GFLOP/s")


def bandwidths(num_bytes: int, device: torch.device, seconds: float) -> tuple[float, float]:
    """Bytes a second by reading, and by copying, a tensor of this size; what is copied is read and written."""
    x = torch.ones(num_bytes // 4, device=device)
    y = torch.empty_like(x)
    read = num_bytes / seconds_of(x.sum, device, seconds, inner=3)
    return read, 2 * num_bytes / seconds_of(lambda: y.copy_(x), device, seconds, inner=3)


def decode(bench: Bench) -> Iterator[Row]:
    """Seconds a step with bfloat16 weights, for every number of rows and every context of the scale."""
    sampler = LocalSampler(make_lm(bench.scale.shape, bench.device, torch.bfloat16))
    for rows, context in bench.scale.cells:
        what = f"a step of {rows} rows at context {context}"
        yield from guarded(what, functools.partial(_decode_row, bench, sampler, what, rows, context), bench)
        sampler.release()


def _decode_row(bench: Bench, sampler: LocalSampler, what: str, rows: int, context: int) -> Row:
    """A call of new_tokens + 1 less a call of one token, over new_tokens; the rows share their prompt."""
    scale, device = bench.scale, bench.device
    share = max(0.0, bench.seconds_left) / (4 * len(scale.cells))
    sample = functools.partial(draw, sampler, scale.shape, [context], rows, batch_size=rows)
    first = seconds_of(functools.partial(sample, max_tokens=1), device, share)
    whole = seconds_of(functools.partial(sample, max_tokens=scale.new_tokens + 1), device, share)
    step = (whole - first) / scale.new_tokens
    bandwidth, mean_context = bench.limits.get(BANDWIDTH), context + (scale.new_tokens + 1) / 2
    floor = bandwidth and decode_floor_seconds(scale.shape, rows, mean_context, bandwidth)
    is_met = step / floor <= FLOOR_RATIO if floor and rows == FLOOR_ROWS and bench.has_targets else None
    note = f"{rows / step:.0f} tokens/s, the first token after {first * 1e3:.3g} ms, peak {peak_gib(device):.2f} GiB"
    return Row(what, step * 1e3, "ms", floor and floor * 1e3, is_met, note)


def attention(bench: Bench) -> Iterator[Row]:
    """Prompts of lengths not seen before, then of the same lengths again, and a step of the first cell: run once as PyTorch is,
    and once with each variable that keeps cuDNN from building a plan for each shape."""
    scale, device = bench.scale, bench.device
    sampler = LocalSampler(make_lm(scale.shape, device, torch.bfloat16))
    lengths = [scale.prompt_tokens + 7 * number for number in range(NEW_LENGTHS)]
    draw(sampler, scale.shape, [max(lengths) + 1], 1, max_tokens=1)  # makes room for all of them

    def prefill() -> None:
        for length in lengths:
            draw(sampler, scale.shape, [length], 1, max_tokens=1)

    for which in ("new", "known"):
        yield Row(f"prefilling a prompt of a {which} length", 1e3 * once(prefill, device)[1] / NEW_LENGTHS, "ms")
    rows, context = scale.cells[0]
    what = f"a step of {rows} rows at context {context}"
    yield from guarded(what, functools.partial(_decode_row, bench, sampler, what, rows, context), bench)
