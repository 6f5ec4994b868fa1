"""The endpoints behind the gateway: asking one, and knowing when another one should be asked.

1. An upstream keeps its own connections (`connections.upstream_side`). `objects` sends a request and gives the JSON objects of
   the reply as they come.
2. `Lost` is raised where another upstream may still answer: no connection, a connection that breaks, silence for too long, an
   answer of the kind that passes (busy, out of order) or that only this upstream gives (a wrong key, a model that it does not
   have). What would be refused everywhere is a `Denial`: it goes to the client at once.
3. `in_turn` gives the upstreams in the order in which they are to be tried: those that answered lately first, and among them
   the one with the fewest requests in flight.

Redirects are not followed and cookies not kept. What an upstream says of an error goes to the client in one line, without the
key. What is left out: proxies that the environment names.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp

from laconic.errors import InputError
from laconic.samplers.pacing import retry_after_seconds
from laconic.samplers.refusals import refusal
from laconic.serving.connections.upstream_side import open_session
from laconic.serving.cutting import Cutter
from laconic.serving.denials import Denial
from laconic.serving.events import DONE, EventReader, dumped
from laconic.system.files import Json
from laconic.system.text import parse_json

REST_SECONDS = 5.0
"""For so long an upstream that could not be reached is tried last."""
PASSING = frozenset({401, 403, 404, 408, 425, 429})
"""Statuses below 500 after which another upstream is asked."""
MOST_ERROR_BYTES = 1 << 16
LEFT_SECONDS = 0.1
"""A stream has so long to end after its end mark: the last bytes come a moment later. Then its connection is closed."""
UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, UnicodeError)
ASKING_FAILURES = (aiohttp.ClientError, OSError, UnicodeError)


@dataclass(frozen=True, slots=True)
class AskLimits:
    """How long an upstream may take to be connected to and between two pieces of a stream, and how large a reply or an event
    may be. How long a reply may take in all is for the caller to say."""

    connect_seconds: float
    idle_seconds: float
    reply_bytes: int


class Lost(Exception):  # noqa: N818  (what happened to a request, not a mistake)
    """An upstream gives no answer, and another one may. `status` is what the client gets where none does."""

    def __init__(self, reason: str, status: int, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.status, self.message, self.wait_seconds = reason, status, message, wait_seconds


@dataclass(slots=True, eq=False)
class Upstream:
    """An OpenAI-compatible endpoint. `url` ends in `/v1`; `model` is what it calls the model, `key` what it wants to see, and
    `cutter` keeps thinking budgets on it."""

    name: str
    url: str
    key: str | None
    model: str
    connect: Callable[[], aiohttp.ClientSession] | None = None
    in_flight: int = 0
    rests_until: float = 0.0
    cutter: Cutter = field(default_factory=Cutter)
    _headers: dict[str, str] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if self.key:
            self._headers["authorization"] = f"Bearer {self.key}"
        if self.connect is None:
            self.connect = partial(open_session, is_encrypted=self.url.startswith("https:"))

    async def objects(self, path: str, body: Mapping[str, Any], limits: AskLimits) -> AsyncGenerator[list[Json], None]:
        """The objects of the reply to a request, as lists of those that came together: one for a whole reply, those of all events
        for a stream (`"stream": true` in the body). The connection is free again, or closed, when the iterator is.

        Raises `Lost` and `Denial` as this module says.
        """
        self.in_flight += 1
        try:
            response = await self._send(path, body, limits)
            try:
                await self._check(response)
                if body.get("stream"):
                    async for found in self._events(response, limits):
                        yield found
                else:
                    yield [self._object(await self._content(response, limits))]
            except BaseException:
                response.close()
                raise
            self._let_end(response)
        finally:
            self.in_flight -= 1

    def _let_end(self, response: aiohttp.ClientResponse) -> None:
        """Keep the connection of a reply that ends at once."""
        if not response.closed:
            task = asyncio.ensure_future(_end(response))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*self._ending)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _send(self, path: str, body: Mapping[str, Any], limits: AskLimits) -> aiohttp.ClientResponse:
        """The reply, when its head is there."""
        idle = limits.idle_seconds if body.get("stream") else None  # a whole reply is silent until it is there
        timeout = aiohttp.ClientTimeout(total=None, connect=limits.connect_seconds, sock_read=idle)
        content = dumped({**body, "model": self.model} if self.model else body)
        assert self.connect is not None
        self._session = self._session or self.connect()
        try:
            return await self._session.post(
                self.url + path, data=content, headers=self._headers, timeout=timeout, allow_redirects=False
            )
        except ASKING_FAILURES as error:
            raise self.lost(error) from None

    def lost(self, error: Exception) -> Lost:
        """What a failed connection means. An upstream that cannot be reached rests."""
        if isinstance(error, aiohttp.SocketTimeoutError):
            return Lost("silent", 504, f"the upstream {self.name} does not go on")
        self.rests_until = time.monotonic() + REST_SECONDS
        reason = "unreachable" if isinstance(error, UNREACHABLE) else "connection"
        return Lost(reason, 502, f"the upstream {self.name} is gone ({type(error).__name__})")

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        """Raise `Lost` or `Denial` where the reply is none to pass on."""
        status = response.status
        if status == 200:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise self._unreadable("it compresses its replies")
            return
        said = refusal(status, self._without_key((await self._beginning(response)).decode("utf-8", "replace")))
        wait = retry_after_seconds(response.headers.get("retry-after"), time.time())
        if status == 429:
            raise Lost("busy", 429, f"the upstream {self.name} is busy", wait)
        if status >= 500 or status in PASSING or status < 400:
            raise Lost(f"status {status}", 502, f"the upstream {self.name} answers with status {status}")
        raise Denial(status, self._without_key(said.message), reason="refused_by_upstream")

    def _without_key(self, text: str) -> str:
        """A text without the key, which some servers quote, and write as JSON may be written."""
        for form in (self.key, self.key.replace("/", "\\/")) if self.key else ():
            text = text.replace(form, "[key]")
        return text

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        content = b""
        async for piece in self._pieces(response):
            content += piece
            if len(content) > MOST_ERROR_BYTES:
                break
        return content[:MOST_ERROR_BYTES]

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `Lost` where it breaks off."""
        try:
            async for piece in response.content.iter_any():
                yield piece
        except ASKING_FAILURES as error:
            raise self.lost(error) from None

    async def _content(self, response: aiohttp.ClientResponse, limits: AskLimits) -> bytes:
        pieces, size = [], 0
        async for piece in self._pieces(response):
            size += len(piece)
            if size > limits.reply_bytes:
                raise self._unreadable("a reply is too large")
            pieces.append(piece)
        return b"".join(pieces)

    async def _events(self, response: aiohttp.ClientResponse, limits: AskLimits) -> AsyncGenerator[list[Json], None]:
        """The objects in a stream, up to its end mark, or to the proper end of its body after a finish reason: not every upstream
        sends the mark. Raises `Lost` where it breaks off before, or holds nothing."""
        reader, is_empty, has_finished = EventReader(limits.reply_bytes), True, False
        async for events in self._event_lists(response, reader):
            found, failure = self._objects_before_failure(events)
            is_empty = is_empty and not found
            has_finished = has_finished or any(map(_has_finish, found))
            if found:
                yield found
            if failure is not None:
                raise failure
            if DONE in events and not is_empty:
                return
        if not has_finished:
            raise Lost("connection", 502, f"the stream of the upstream {self.name} breaks off")

    async def _event_lists(self, response: aiohttp.ClientResponse, reader: EventReader) -> AsyncIterator[list[bytes]]:
        """The data of the events of a stream, those that came together, and at last what its end completes."""
        async for piece in self._pieces(response):
            try:
                yield reader.feed(piece)
            except ValueError as error:
                raise self._unreadable(str(error)) from None
        yield reader.end()

    def _objects_before_failure(self, events: Sequence[bytes]) -> tuple[list[Json], Lost | None]:
        """The objects of events that came together, up to the first that is none or says that the upstream failed."""
        found: list[Json] = []
        try:
            for data in events:
                if data == DONE:
                    break
                found.append(self._object(data))
        except Lost as failure:
            return found, failure
        return found, None

    def _object(self, content: bytes) -> Json:
        """The JSON object in a reply. Raises `Lost` where it is none, or says that the upstream failed."""
        try:
            body = parse_json(content, "the reply", is_reply=True)
        except InputError:
            body = None
        if not isinstance(body, dict):
            raise self._unreadable("a reply is no JSON object")
        if body.get("error"):
            raise Lost("error", 502, f"the upstream {self.name} gave up in the middle of its reply")
        return body

    def _unreadable(self, why: str) -> Lost:
        return Lost("unreadable", 502, f"the upstream {self.name}: {why}")


def _has_finish(body: Json) -> bool:
    """Whether an object of a stream says that its choice has ended."""
    choices = body.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") is not None for choice in choices
    )


async def _end(response: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of a reply, and close the connection where it does not come."""
    with suppress(*ASKING_FAILURES):
        async with asyncio.timeout(LEFT_SECONDS):
            async for _ in response.content.iter_any():
                pass
    if not response.closed:
        response.close()


def in_turn(upstreams: Sequence[Upstream]) -> Iterator[Upstream]:
    """The upstreams in the order in which they are to be tried; looked at anew for each, since all of it changes meanwhile."""
    waiting = list(upstreams)
    while waiting:
        now = time.monotonic()
        best = min(waiting, key=lambda upstream: (upstream.rests_until > now, upstream.in_flight))
        waiting.remove(best)
        yield best


async def close_all(upstreams: Sequence[Upstream]) -> None:
    """Close the connections of all of them."""
    await asyncio.gather(*(upstream.close() for upstream in upstreams))
