"""The connections to an upstream: a session of aiohttp that follows no redirect, keeps no cookie and decompresses nothing.

What is beyond aiohttp's own:

1. `CheckedConnector` gives a kept connection only where nothing came beyond its last reply. aiohttp looks no more once a reply
   has ended, and the next request would get for its answer what came then. An empty line before a message means nothing to a
   parser (RFC 9112, section 2.2), and completes or spoils what it has begun.
2. A kept connection that the upstream closes before a byte of the reply has come is replaced by a new one, once: it was closed
   in the moment in which the request was sent. aiohttp does so for idempotent methods alone.
"""

from typing import Any
from weakref import WeakSet

import aiohttp
import httpx2
from aiohttp.connector import Connection

MOST_HEAD_LINE_BYTES = 1 << 14
"""Of the head of a reply, which has at most 128 lines (aiohttp's `max_headers`)."""
MOST_WAITING_BYTES = 1 << 18
"""Of a reply's body that nobody has read yet. Where there is more, the upstream waits."""
KEPT_SECONDS = 30.0
"""For so long a connection is kept that nobody uses."""


def open_session(*, is_encrypted: bool) -> aiohttp.ClientSession:
    """A session with connections of its own, as many as are needed at once. It must be closed."""
    # httpx2 knows certificates where Python's own context has none, and they are those that the samplers trust
    security = httpx2.create_ssl_context() if is_encrypted else True
    connector = CheckedConnector(limit=0, keepalive_timeout=KEPT_SECONDS, ssl=security)
    return aiohttp.ClientSession(
        connector=connector,
        middlewares=(connector.send,),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=MOST_WAITING_BYTES // 2,  # aiohttp lets the upstream wait at twice as much
        max_line_size=MOST_HEAD_LINE_BYTES,
        max_field_size=MOST_HEAD_LINE_BYTES,
    )


class CheckedConnector(aiohttp.TCPConnector):
    """Connections that are kept while they are in order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._known: WeakSet[Any] = WeakSet()
        self._sent_over_kept: WeakSet[aiohttp.ClientRequest] = WeakSet()

    async def send(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """The reply, when its head is there: a middleware of aiohttp."""
        try:
            return await handler(request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            has_spoken = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
            if has_spoken or request not in self._sent_over_kept:
                raise
        return await handler(request)

    async def connect(self, req: aiohttp.ClientRequest, traces: Any, timeout: aiohttp.ClientTimeout) -> Connection:
        """A kept connection, or a new one: always that for a request that was sent over a kept one before."""
        is_sent_again = req in self._sent_over_kept
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol not in self._known:
                self._known.add(connection.protocol)
                self._sent_over_kept.discard(req)
                return connection
            if not is_sent_again and _is_in_order(connection):
                self._sent_over_kept.add(req)
                return connection
            connection.close()


def _is_in_order(connection: Connection) -> bool:
    """Whether a kept connection is open and nothing came beyond its last reply."""
    protocol = connection.protocol
    assert protocol is not None
    if not protocol.should_close:
        protocol.data_received(b"\r\n\r\n")
    return not protocol.should_close and protocol.is_connected()
