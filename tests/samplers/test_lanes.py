"""What lanes claim: a process of one thread for each, the same responses as in one process, and nothing left behind."""

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch

from laconic.config.solver import SamplerConfig
from laconic.errors import ModelError, RunFailed
from laconic.samplers import lanes, local
from laconic.samplers.lanes import decode_in_lanes, num_lanes, split_into_lanes
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.types import FinishReason, Progress, Response

REQUESTS = tuple(Request(f"r{n}", tuple(range(4, 5 + n)), 1 + 3 * n, first_sample=n) for n in range(5))
forks = pytest.mark.skipif(sys.platform != "linux", reason="lanes fork on Linux only")


@pytest.fixture
def three_threads() -> Iterator[None]:
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


def nothing(responses: int, tokens: int) -> None:
    """Progress that nobody watches."""


def response_of(text: str) -> Response:
    return Response(token_ids=(1,), logprobs=(0.0,), text=text, finish_reason=FinishReason.STOP)


def numbered(requests: Sequence[Request], on_progress: Progress) -> list[list[Response]]:
    """A response for each row, whose text names the row."""
    rows = []
    for request in requests:
        samples = range(request.first_sample, request.first_sample + request.num_samples)
        rows.append([response_of(f"{request.key}/{n}") for n in samples])
        on_progress(request.num_samples, request.num_samples)
    return rows


def expected_texts() -> list[list[str]]:
    return [[f"{r.key}/{r.first_sample + n}" for n in range(r.num_samples)] for r in REQUESTS]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7, 40])
def test_every_row_is_in_one_lane_and_lanes_are_equal(number: int) -> None:
    """Where all requests have as many samples, no lane has more than one row more than another for each request split."""
    dealt = split_into_lanes(REQUESTS, number)
    rows = [
        (piece.index, piece.start + n) for lane in dealt for piece in lane for n in range(piece.request.num_samples)
    ]
    assert sorted(rows) == [(i, n) for i, request in enumerate(REQUESTS) for n in range(request.num_samples)]
    same = [Request(str(n), (1,), 8) for n in range(11)]
    sizes = [sum(piece.request.num_samples for piece in lane) for lane in split_into_lanes(same, number)]
    assert max(sizes) - min(sizes) <= len(same) % number


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("can_fork", [pytest.param(True, marks=forks), False])
def test_responses_come_back_in_order(number: int, can_fork: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From children and from this process; every row is reported once."""
    monkeypatch.setattr(lanes, "_can_fork", lambda: can_fork)
    seen = []
    decoded = decode_in_lanes(numbered, REQUESTS, number, lambda responses, tokens: seen.append((responses, tokens)))
    assert [[response.text for response in row] for row in decoded] == expected_texts()
    total = sum(request.num_samples for request in REQUESTS)
    assert [sum(counts) for counts in zip(*seen, strict=True)] == [total, total]
    assert torch.get_num_threads() == 1


def test_lanes_are_as_many_as_threads_if_each_gets_enough_rows(three_threads: None) -> None:
    assert [num_lanes(rows) for rows in (1, 31, 32, 47, 48, 1000)] == [1, 1, 2, 2, 3, 3]


@forks
def test_the_sampler_draws_the_same_in_children_and_in_one_process(
    three_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit of every log-probability; three children are made, and they have ended."""
    lm, decoding = oracles.small_lm("llama"), SamplerConfig(max_tokens=24, batch_size=64)
    requests = [Request(str(n), (4, 5, 6 + n), 9) for n in range(8)]
    counted: list[int] = []
    made = lanes._Child.__init__
    monkeypatch.setattr(lanes._Child, "__init__", lambda self, *args: (counted.append(1), made(self, *args))[1])
    forked = LocalSampler(lm).sample(requests, decoding, seed=0)
    assert len(counted) == 3 and not multiprocessing.active_children()
    monkeypatch.setattr(lanes, "_can_fork", lambda: False)
    assert LocalSampler(lm).sample(requests, decoding, seed=0) == forked
    assert len(counted) == 3


@forks
def test_children_see_the_weights_as_they_are_now(three_threads: None) -> None:
    """A weight that changes between two calls changes the responses, as it does in one process."""
    lm, decoding = oracles.small_lm("llama"), SamplerConfig(max_tokens=8, batch_size=64)
    sampler, requests = LocalSampler(lm), [Request("a", (4, 5, 6), 48)]
    before = sampler.sample(requests, decoding, seed=0)
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.mul_(-1.0)
    after = sampler.sample(requests, decoding, seed=0)
    assert before != after
    assert after == LocalSampler(lm).sample(requests, decoding, seed=0)


def test_large_and_compiled_models_are_not_decoded_in_lanes(
    three_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads share their arithmetic, and a child would compile for itself."""
    lm = oracles.small_lm("llama")
    assert LocalSampler(lm)._takes_lanes(SamplerConfig())
    assert not LocalSampler(lm)._takes_lanes(SamplerConfig(compile=True))
    monkeypatch.setattr(local, "LANE_BYTES", 1)
    assert not LocalSampler(lm)._takes_lanes(SamplerConfig())


def raises(requests: Sequence[Request], on_progress: Progress) -> list[list[Response]]:
    if requests[0].key == "r1":
        raise ModelError("r1: the prompt is empty")
    return numbered(requests, on_progress)


def dies(requests: Sequence[Request], on_progress: Progress) -> list[list[Response]]:
    if requests[0].key == "r1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60.0)
    return []


@forks
@pytest.mark.parametrize(
    ("decode", "kind", "words"), [(raises, ModelError, "r1: the prompt is empty"), (dies, RunFailed, "exit code -9")]
)
def test_an_error_in_a_child_is_raised_here(decode: Callable[..., Any], kind: type[Exception], words: str) -> None:
    """What was raised there, or one line about a child that was killed; the others are ended at once."""
    with pytest.raises(kind, match=words):
        decode_in_lanes(decode, REQUESTS, 3, nothing)
    assert not multiprocessing.active_children()


@forks
def test_a_child_that_is_killed_while_it_sends_is_said_to_have_ended() -> None:
    """The pipe holds the length of what was to come, and a part of it."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"part")
    theirs.close()
    child = lanes._Child(dies, [request for request in REQUESTS if request.key == "r1"])
    child.pipe = ours
    with pytest.raises(RunFailed, match="a child process ended by itself, exit code -9"):
        child.look(nothing, is_ready=True)


def waits(requests: Sequence[Request], on_progress: Progress) -> list[list[Response]]:
    on_progress(1, 1)
    time.sleep(60.0)
    return []


@forks
def test_an_interrupt_ends_the_children() -> None:
    """Whatever is raised while they work, for instance by Ctrl-C."""

    def interrupt(responses: int, tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_in_lanes(waits, REQUESTS, 2, interrupt)
    assert not multiprocessing.active_children()


ORPHANED = """
import os, time
from laconic.samplers.lanes import decode_in_lanes
from laconic.samplers.protocol import Request

def decode(requests, on_progress):
    print(os.getpid(), flush=True)
    while True:
        time.sleep(0.05)
        on_progress(1, 1)

decode_in_lanes(decode, [Request("a", (1,), 2)], 2, lambda responses, tokens: None)
"""


@forks
def test_children_end_with_their_parent() -> None:
    """Where the parent is killed, they notice it with the next response that is done."""
    with subprocess.Popen([sys.executable, "-c", ORPHANED], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
        parent.wait()
        while any(state(child) != "Z" for child in children):
            time.sleep(0.05)  # the suite's time limit ends this where a child stays


def state(process: int) -> str:
    """The letter of its state; Z, as of a process that has ended, where it is not known any more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
