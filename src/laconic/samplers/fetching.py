"""One reply of a server, bounded in size and in time.

1. A reply takes at most `seconds` from the request to its end. Servers may send blank bytes while they work, to keep the
   connection open; from the first other byte on the reply must be complete within `arrival_seconds`.
2. A reply has at most `num_bytes` bytes, after decompression, which is done in small pieces: reading ends where the limit is
   passed, whatever would have come. A reply that announces a greater length is not read at all.

Headers are bounded by the HTTP library. What is left out: what a reply means (`wire.py`), and whether the request is sent again
(`http.py`).
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from laconic.config.defaults import ARRIVAL_SECONDS, REPLY_BYTES, REPLY_SECONDS
from laconic.errors import LaconicError

_R = TypeVar("_R")

ENCODINGS = frozenset({"latin-1", "latin1", "iso-8859-1", "iso-8859-15", "windows-1252", "cp1252"})


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """How long one reply may take in all, how long after its first byte that is not blank, and how large it may be."""

    seconds: float = REPLY_SECONDS
    arrival_seconds: float = ARRIVAL_SECONDS
    num_bytes: int = REPLY_BYTES


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: its status, its headers and its content, decompressed."""

    status: int
    headers: httpx2.Headers
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status says that the request succeeded."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The content as UTF-8, else in the encoding that the server names; what is in neither becomes U+FFFD."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return self.content.decode(self._named_encoding, "replace")

    @property
    def has_lost_characters(self) -> bool:
        """Whether a part of the content could not be decoded."""
        return "\ufffd" in self.text and b"\xef\xbf\xbd" not in self.content

    @property
    def _named_encoding(self) -> str:
        """One of `ENCODINGS`, which give every byte its character, where the server names it; else UTF-8."""
        named = re.search(r"charset=[\"']?([\w-]+)", self.headers.get("content-type", ""))
        return named[1].lower() if named and named[1].lower() in ENCODINGS else "utf-8"


class UnfitReplyError(Exception):
    """A reply that is not read to its end; the text says why."""


async def fetch(
    client: httpx2.AsyncClient, method: str, url: str, limits: ReplyLimits, content: bytes | None = None
) -> Reply:
    """The reply to one request, whose `content` is JSON.

    Raises `UnfitReplyError` where the reply is too large or packed more than once, `httpx2.ReadTimeout` where it takes too long,
    and `httpx2.RequestError` where the connection fails.
    """
    headers = {} if content is None else {"content-type": "application/json"}
    try:
        async with (
            asyncio.timeout(limits.seconds) as deadline,
            client.stream(method, url, content=content, headers=headers) as reply,
        ):
            _check_head(reply.headers, limits)
            return Reply(reply.status_code, reply.headers, await _read(reply, limits, deadline))
    except TimeoutError:
        raise httpx2.ReadTimeout(
            f"no whole reply within {limits.seconds:g} s, or {limits.arrival_seconds:g} s of its first byte"
        ) from None


def _check_head(headers: httpx2.Headers, limits: ReplyLimits) -> None:
    announced = headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limits.num_bytes):
        raise UnfitReplyError(f"the reply has {announced:.20} bytes, more than {limits.num_bytes:,}")
    if "," in headers.get("content-encoding", ""):
        raise UnfitReplyError("the reply is compressed more than once")


async def _read(reply: httpx2.Response, limits: ReplyLimits, deadline: asyncio.Timeout) -> bytes:
    pieces: list[bytes] = []
    num_bytes, has_begun, clock = 0, False, asyncio.get_running_loop().time
    async for piece in reply.aiter_bytes():
        num_bytes += len(piece)
        if num_bytes > limits.num_bytes:
            raise UnfitReplyError(f"the reply has more than {limits.num_bytes:,} bytes")
        if not has_begun and piece.strip():
            has_begun = True
            deadline.reschedule(min(deadline.when() or 0.0, clock() + limits.arrival_seconds))
        pieces.append(piece)
    return b"".join(pieces)


def in_own_loop(work: Coroutine[Any, Any, _R]) -> _R:
    """Run `work` in a new event loop; in a thread where the caller already runs a loop, as notebooks do. What interrupts the
    caller, such as a notebook's stop button, cancels the work, and is raised once that has ended."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    begun: Future[Callable[[], object]] = Future()

    async def stoppable() -> _R:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "asyncio.run makes a task"
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        return await work

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, stoppable())
        try:
            return done.result()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the loop is closed, since the work itself has failed
                begun.result()()
            raise


def what_ended(failures: "BaseExceptionGroup[BaseException]") -> BaseException:
    """The failure that ended a group of tasks: the first that is no `Exception`, such as a signal, else the first that is a
    `LaconicError`, else the first."""
    return min(_leaves(failures), key=lambda leaf: (isinstance(leaf, Exception), not isinstance(leaf, LaconicError)))


def _leaves(failures: "BaseExceptionGroup[BaseException]") -> Iterator[BaseException]:
    for failure in failures.exceptions:
        yield from _leaves(failure) if isinstance(failure, BaseExceptionGroup) else [failure]
