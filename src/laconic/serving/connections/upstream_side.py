"""A connection to an upstream: HTTP/1.1 over asyncio, read by httptools, one request at a time.

1. `KeptConnection` sends a request over the connection that it keeps, or over a new one, and gives the reply once its head is
   there. It has the form of a transport of httpx2.
2. A kept connection that the upstream closes before a byte of the reply has come is replaced by a new one, once: it was closed
   in the moment in which the request was sent. Whatever else goes wrong is the caller's to decide.
3. `UpstreamProtocol` holds what came until it is read, and lets the upstream wait where that is much.
4. After a reply the connection is kept where the upstream allows it and sent nothing more. What comes beyond the reply, then or
   later, closes the connection: the next request would get it for its answer.

What is left out: proxies, redirects, cookies, compressed replies, pipelining.
"""

import asyncio
import ssl
import time
from asyncio import AbstractEventLoop, Future, Transport
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx2
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MOST_HEAD_BYTES = 1 << 16
MOST_WAITING_BYTES = 1 << 18
"""Of a reply's body that nobody has read yet. Where there is more, the upstream waits."""
KEPT_SECONDS = 30.0
"""For so long a connection is kept that nobody uses."""
LEFT_SECONDS = 0.1
"""A reply that is left before its end has so long to end: of a stream, the end mark comes a moment before the last bytes."""
DEFAULT_PORTS = {"http": 80, "https": 443}


class KeptConnection(httpx2.AsyncBaseTransport):
    """At most one connection, made when a request needs it. With `security` it is encrypted."""

    def __init__(self, security: ssl.SSLContext | None = None) -> None:
        self._security = security
        self._protocol: UpstreamProtocol | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The reply to a request, when its head is there. Raises the errors of httpx2 where none comes."""
        content, seconds = _on_the_wire(request), request.extensions["timeout"]
        if (kept := self._kept()) is not None:
            try:
                return await kept.reply(content, seconds["read"])
            except (httpx2.RemoteProtocolError, httpx2.ReadError):
                if kept.has_spoken:
                    raise
        self._protocol = await self._connect(request.url, seconds["connect"])
        return await self._protocol.reply(content, seconds["read"])

    def _kept(self) -> "UpstreamProtocol | None":
        """The connection that is kept, where it can take a request."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None and not protocol.is_free:
            protocol.close()
            return None
        self._protocol = protocol
        return protocol

    async def _connect(self, url: httpx2.URL, seconds: float) -> "UpstreamProtocol":
        loop, host, port = asyncio.get_running_loop(), url.raw_host.decode(), url.port or DEFAULT_PORTS[url.scheme]
        try:
            async with asyncio.timeout(seconds):
                _, protocol = await loop.create_connection(
                    lambda: UpstreamProtocol(loop), host, port, ssl=self._security
                )
        except TimeoutError:
            raise httpx2.ConnectTimeout(f"no connection within {seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(type(error).__name__) from None
        return protocol

    async def aclose(self) -> None:
        """Close the connection."""
        if self._protocol is not None:
            self._protocol.close()


def _on_the_wire(request: httpx2.Request) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % line for line in request.headers.raw]
    return b"\r\n".join((*lines, b"", request.content))


class UpstreamProtocol(asyncio.Protocol):
    """An open connection, and what has come of the reply to the request that was sent last."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiter: Future[None] | None = None
        self._error: httpx2.TransportError | None = None
        self._free_since = time.monotonic()
        self._can_be_kept = self._is_complete = True
        self.has_spoken = False
        self._begin()

    def _begin(self) -> None:
        self._status, self._num_head_bytes = 0, 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._num_waiting_bytes = 0
        self._has_head = self._ends_with_connection = self._is_left = False

    @property
    def is_free(self) -> bool:
        """Whether another request can be sent."""
        is_new = time.monotonic() - self._free_since < KEPT_SECONDS
        return is_new and self._can_be_kept and self._is_complete and self._error is None

    # --- asking and reading ------------------------------------------------------------------------------------------

    async def reply(self, content: bytes, idle_seconds: float | None) -> httpx2.Response:
        """Send a request, and give the reply when its head is there. Silence of `idle_seconds` is an error."""
        assert self.is_free and self._transport is not None
        self._begin()
        self._is_complete = self.has_spoken = False
        self._transport.write(content)
        try:
            while not self._has_head:
                await self._wait(idle_seconds)
        except BaseException:
            self.close()
            raise
        return httpx2.Response(self._status, headers=self._headers, stream=_Body(self, idle_seconds))

    async def read(self, idle_seconds: float | None) -> bytes:
        """What has come of the body since the last time, as soon as there is something; nothing at its end."""
        while not self._pieces:
            if self._is_complete:
                return b""
            await self._wait(idle_seconds)
        pieces, self._pieces = self._pieces, []
        if self._num_waiting_bytes > MOST_WAITING_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._num_waiting_bytes = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait(self, seconds: float | None) -> None:
        """Until something happens. Raises what went wrong."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        alarm = None if seconds is None else self._loop.call_later(seconds, self._fail, httpx2.ReadTimeout("silence"))
        try:
            await self._waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()

    def leave(self) -> None:
        """Read no more of the reply. The connection is closed where the reply does not end at once."""
        if not self._is_complete:
            self._is_left, self._pieces = True, []
            if self._transport is not None:
                self._transport.resume_reading()
            self._loop.call_later(LEFT_SECONDS, self._close_if_left)

    def _close_if_left(self) -> None:
        if self._is_left and not self._is_complete:
            self.close()

    def close(self) -> None:
        """Close the connection, whatever still comes."""
        self._can_be_kept = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: httpx2.TransportError) -> None:
        self._error = self._error or error
        self.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- what the connection says ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._is_complete:
            self.close()
            return
        self.has_spoken = True
        self._num_head_bytes += 0 if self._has_head else len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._refuse("no reply of HTTP")
        if not self._has_head and self._num_head_bytes > MOST_HEAD_BYTES:
            self._refuse("the head of the reply is too large")
        self._wake()

    def _refuse(self, why: str) -> None:
        """Of what came, something is no part of the reply, or no reply at all."""
        if self._is_complete:
            self.close()
        else:
            self._fail(httpx2.RemoteProtocolError(why))

    def eof_received(self) -> None:
        """The upstream sends no more; it may be the end of the body."""
        self._can_be_kept = False
        if self._has_head and self._ends_with_connection:
            self._is_complete = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed."""
        self._can_be_kept = False
        if not self._is_complete:
            said = "the connection is closed" if error is None else type(error).__name__
            self._fail((httpx2.RemoteProtocolError if error is None else httpx2.ReadError)(said))

    # --- what the parser finds ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A reply begins; a second one is no answer to anything."""
        if self._is_complete:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head, or of what follows a body."""
        if not self._has_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there, or that of a reply which says that another one follows."""
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._headers = []
            return
        self._has_head = True
        self._can_be_kept = self._can_be_kept and self._parser.should_keep_alive()
        self._ends_with_connection = _ends_with_connection(self._headers)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._is_complete or self._is_left:
            return
        self._pieces.append(body)
        self._num_waiting_bytes += len(body)
        if self._num_waiting_bytes > MOST_WAITING_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The end of the reply."""
        if self._status >= 200:
            self._is_complete = True
            self._free_since = time.monotonic()


def _ends_with_connection(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body has no other end than that of the connection (RFC 9112, section 6.3)."""
    found: dict[bytes, Any] = {name.lower(): value.lower() for name, value in headers}
    if b"transfer-encoding" in found:
        return not found[b"transfer-encoding"].rstrip().endswith(b"chunked")
    return b"content-length" not in found


class _Body(httpx2.AsyncByteStream):
    def __init__(self, protocol: UpstreamProtocol, idle_seconds: float | None) -> None:
        self._protocol, self._idle_seconds = protocol, idle_seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._protocol.read(self._idle_seconds):
            yield piece

    async def aclose(self) -> None:
        self._protocol.leave()
