"""The gateway's side of a client's connection: what it reads of a request, and how it replies.

1. `BoundedHttp` is uvicorn's protocol over httptools, which collects the lines of a head however many come. Here a head that has
   not ended after so many bytes is refused, and the connection closed. One that has ended is measured by the application
   (`program.py`), which can say more. A request that asks for another protocol is answered as if it did not.
2. `read_content` reads a body of bounded size within a bounded time.
3. `ClientReply` writes the reply, whole or as a stream. Every reply carries the request's id.
"""

import asyncio
from array import array
from collections.abc import Mapping
from functools import partial
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from starlette.datastructures import Headers
from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from laconic.config.serving import LimitsConfig
from laconic.serving.denials import Denial
from laconic.serving.events import as_event

FRAMING = (b"content-length", b"transfer-encoding")
ID_HEADER = "x-laconic-request-id"
JSON, EVENTS = b"application/json", b"text/event-stream; charset=utf-8"


class ClientLeft(Exception):  # noqa: N818  (what happened, not a mistake)
    """The client closed its connection."""


# --- reading ---------------------------------------------------------------------------------------------------------


class BoundedHttp(HttpToolsProtocol):
    """A client's connection. A head may have `most_head_bytes` before it ends."""

    def __init__(self, *settings: Any, most_head_bytes: int, **further: Any) -> None:
        super().__init__(*settings, **further)
        self.parser = _PlainParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._most_head_bytes = most_head_bytes
        self._is_in_head, self._num_head_bytes = True, 0
        self._goes_on = False

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self._num_head_bytes += len(data) if self._is_in_head else 0
        super().data_received(data)
        if self._is_in_head and self._num_head_bytes > self._most_head_bytes and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def framing(self) -> bytes:
        """The head of a request that has the body of the last one, which is then read on."""
        self._goes_on = True
        lines = [b"%s: %s" % line for line in self.headers if line[0] in FRAMING]
        return b"\r\n".join((b"POST / HTTP/1.1", *lines, b"", b""))

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_in_head, self._num_head_bytes = True, 0
        if not self._goes_on:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of what is asked for."""
        if not self._goes_on:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head."""
        if not self._goes_on:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._is_in_head = False
        if self._goes_on:
            self._goes_on = False
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request has ended, unless it is read on."""
        if not self.parser.should_upgrade():
            super().on_message_complete()


class _PlainParser(HttpRequestParser):
    """Reads a request that asks for another protocol, as Java's client does, like any other: httptools stops after its head."""

    def __init__(self, client: BoundedHttp) -> None:
        super().__init__(client)
        self._client = client

    def feed_data(self, data: "bytes | bytearray | memoryview[int] | array[int]") -> None:
        """Read on."""
        rest = memoryview(data)
        while rest:
            try:
                super().feed_data(rest)
                return
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                super().feed_data(self._client.framing())


def bounded_http(most_head_bytes: int) -> Any:
    """What makes connections for a server."""
    return partial(BoundedHttp, most_head_bytes=most_head_bytes)


async def read_content(headers: Headers, receive: Receive, limits: LimitsConfig) -> bytes:
    """The body of a request. Raises `Denial` where it is no JSON by its header, too large or too slow, `ClientLeft` where it
    ends."""
    check_is_json(headers)
    too_large = Denial(413, f"the body has more than {limits.body_bytes:,} bytes", reason="body_too_large")
    announced = headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limits.body_bytes):
        raise too_large
    pieces, size, is_whole = [], 0, False
    try:
        async with asyncio.timeout(limits.body_seconds):
            while not is_whole:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limits.body_bytes:
                    raise too_large
                is_whole = not message.get("more_body", False)
    except TimeoutError:
        raise Denial(408, f"no whole body within {limits.body_seconds:g} s", reason="slow_body") from None
    return b"".join(pieces)


def check_is_json(headers: Headers) -> None:
    """Raise `Denial` unless the body is JSON by its header. A page in a browser cannot send that to a host of another name."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Denial(415, "expected content-type: application/json", reason="not_json")


# --- replying --------------------------------------------------------------------------------------------------------


class ClientReply:
    """The client's side of an exchange. Every reply carries the request's id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self.request_id = send, request_id
        self.has_begun = self.is_complete = False

    async def begin(
        self, status: int, kind: bytes, headers: Mapping[str, str] | None = None, size: int | None = None
    ) -> None:
        """The head."""
        self.has_begun = True
        lines = [(b"content-type", kind), (ID_HEADER.encode(), self.request_id.encode())]
        lines += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        lines += [(b"cache-control", b"no-store")] if size is None else [(b"content-length", str(size).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def write(self, content: bytes, *, is_last: bool = False) -> None:
        """A piece of the body."""
        self.is_complete = is_last
        await self._send({"type": "http.response.body", "body": content, "more_body": not is_last})

    async def whole(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole reply."""
        await self.begin(status, JSON, headers, len(content))
        await self.write(content, is_last=True)

    async def deny(self, denial: Denial) -> None:
        """The error, as a reply or, where a stream has begun, as its last event."""
        if self.has_begun:
            await self.write(as_event(denial.content), is_last=True)
        else:
            await self.whole(denial.status, denial.content, denial.headers)
