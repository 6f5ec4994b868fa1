"""Sampling on several cores of a CPU: the rows are split into lanes, and each lane is decoded by a process of one thread.

1. A step of a small model is hundreds of operations of microseconds. Threads that share one operation wait for one another after
   each of them, so a second thread adds little, and where other work keeps a core busy they slow each other down several times
   over. Processes never wait for one another: two of one thread sample more than one of two threads, on idle and on busy cores
   (docs/speed.md).
2. The lanes depend on the requests and on the number of threads alone, not on the load. So a seed gives the same responses
   however busy the machine is.
3. Each lane is decoded by a child that `fork` makes for this one call: it sees the weights as they are now, without a copy, and
   its memory is given back when it ends. Where there is no such fork (outside Linux, in a daemon process) the lanes are decoded
   in turn, in this process.

A child only computes: it sends back its responses and nothing else, and it ends with its parent. Errors in it are raised here.
"""

import mmap
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.errors import RunFailed
from laconic.models.products.product_path import product_path
from laconic.samplers.protocol import Request
from laconic.system.foreign_code import quiet_fork
from laconic.types import Progress, Response

MIN_LANE_ROWS = 16  # with fewer rows a step takes as long as with these
PROGRESS_SECONDS = 0.1  # between two looks at the progress of children that are still at work

Decode = Callable[[Sequence[Request], Progress], list[list[Response]]]
"""Decodes some requests; called once for each lane."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a request that one lane decodes: the samples of request `index` from its `start`-th on."""

    index: int
    start: int
    request: Request


def num_lanes(num_rows: int) -> int:
    """The number of lanes for so many rows at once: one for each thread that torch may use, if each gets enough rows."""
    return max(1, min(torch.get_num_threads(), num_rows // MIN_LANE_ROWS))


def split_into_lanes(requests: Sequence[Request], lanes: int) -> list[list[Piece]]:
    """Deal the requests to `lanes` lanes in turn. Those left over are split by their samples, so that the lanes are equal."""
    dealt: list[list[Piece]] = [[] for _ in range(lanes)]
    whole = len(requests) - len(requests) % lanes
    for index, request in enumerate(requests):
        if index < whole:
            dealt[index % lanes].append(Piece(index, 0, request))
            continue
        bounds = [request.num_samples * lane // lanes for lane in range(lanes + 1)]
        for lane, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop:
                part = replace(request, num_samples=stop - start, first_sample=request.first_sample + start)
                dealt[lane].append(Piece(index, start, part))
    return dealt


def decode_in_lanes(
    decode: Decode, requests: Sequence[Request], lanes: int, on_progress: Progress
) -> list[list[Response]]:
    """The responses to each request, decoded by `decode` in `lanes` lanes of one thread each.

    Raises `RunFailed` where a child ends before it has answered, and whatever `decode` raises.
    """
    dealt = split_into_lanes(requests, lanes)
    product_path()  # decided here once, where it is not known yet, and not by every child for itself
    decoded = _side_by_side(decode, dealt, on_progress) if _can_fork() else _in_turn(decode, dealt, on_progress)
    responses: list[list[Response | None]] = [[None] * request.num_samples for request in requests]
    for pieces, rows in zip(dealt, decoded, strict=True):
        for piece, row in zip(pieces, rows, strict=True):
            responses[piece.index][piece.start : piece.start + len(row)] = row
    return [[response for response in row if response is not None] for row in responses]


def _can_fork() -> bool:
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _in_turn(decode: Decode, dealt: list[list[Piece]], on_progress: Progress) -> list[list[list[Response]]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [decode([piece.request for piece in pieces], on_progress) for pieces in dealt]
    finally:
        torch.set_num_threads(threads)


def _side_by_side(decode: Decode, dealt: list[list[Piece]], on_progress: Progress) -> list[list[list[Response]]]:
    children: list[_Child] = []
    try:
        children.extend(_Child(decode, [piece.request for piece in pieces]) for pieces in dealt)
        while working := [child.pipe for child in children if child.outcome is None]:
            ready = wait(working, timeout=PROGRESS_SECONDS)
            for child in children:
                child.look(on_progress, is_ready=child.pipe in ready)
        return [child.responses() for child in children]
    finally:
        for child in children:
            child.end()


class _Child:
    """A forked process that decodes one lane."""

    def __init__(self, decode: Decode, requests: Sequence[Request]) -> None:
        # responses and tokens so far, in memory that the child writes and this process reads
        self.progress = np.frombuffer(mmap.mmap(-1, 2 * 8), dtype=np.int64)
        self.passed_on = np.zeros(2, dtype=np.int64)
        self.outcome: list[list[Response]] | None = None
        context = multiprocessing.get_context("fork")
        with quiet_fork():
            self.pipe, theirs = context.Pipe(duplex=False)
            arguments = (decode, requests, theirs, self.progress, os.getpid())
            self.process: BaseProcess = context.Process(target=_serve, args=arguments, daemon=True)
            self.process.start()
            theirs.close()

    def look(self, on_progress: Progress, *, is_ready: bool) -> None:
        """Pass on what the child has done since the last look, and take its outcome where it `is_ready`. Raises what was raised
        in the child."""
        if is_ready:
            received = self._receive()
            if isinstance(received, Exception):
                raise received
            self.outcome = received
        new = self.progress - self.passed_on
        if new.any():
            self.passed_on += new
            on_progress(int(new[0]), int(new[1]))

    def _receive(self) -> list[list[Response]] | Exception:
        try:
            outcome: list[list[Response]] | Exception = self.pipe.recv()
        except (EOFError, OSError):  # the latter where it was killed while it sent
            self.process.join()
            return RunFailed(
                f"sampling: a child process ended by itself, exit code {self.process.exitcode}; where memory is short, "
                "lower sampler.batch_size or threads"
            )
        return outcome

    def responses(self) -> list[list[Response]]:
        """The responses of the lane."""
        assert self.outcome is not None, "every child has been waited for"
        return self.outcome

    def end(self) -> None:
        """End the child where it is still at work, and wait for it, so that its time counts as this process's."""
        if self.outcome is None:
            self.process.kill()
        self.process.join()
        self.pipe.close()


# --- in the child ----------------------------------------------------------------------------------------------------


def _serve(
    decode: Decode, requests: Sequence[Request], pipe: Connection, progress: NDArray[np.int64], parent: int
) -> None:
    """Decode, send the responses or the error, and end at once: cleaning up might wait for a lock that another thread of the
    parent held when it forked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)

    def count(responses: int, tokens: int) -> None:
        progress[:] += (responses, tokens)
        if os.getppid() != parent:
            os._exit(1)

    try:
        outcome: list[list[Response]] | Exception = decode(requests, count)
    except Exception as error:
        outcome = error
    with suppress(OSError):  # the parent is gone
        pipe.send(outcome)
    os._exit(0)
