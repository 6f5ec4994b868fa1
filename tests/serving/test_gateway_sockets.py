"""Over real connections: they are kept, found closed, and closed when a client leaves."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from played_upstream import STREAM, run_async

from laconic.serving.program import listen_at
from laconic.serving.upstreams import AskLimits, Lost, Upstream

LIMITS = AskLimits(connect_seconds=5.0, idle_seconds=0.3, reply_bytes=2000)
HEAD = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Server:
    """A server that speaks as its script says, and counts connections, requests and clients that left."""

    script: Any
    port: int = 0
    num_connections: int = 0
    num_requests: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(int(length.split(b":")[1]))
                self.num_requests += 1
                await self.script(self, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        writer.close()


def whole(body: dict[str, Any], *, more: bytes = b"") -> bytes:
    content = json.dumps(body).encode()
    return HEAD + more + b"content-length: %d\r\n\r\n" % len(content) + content


@asynccontextmanager
async def served(script: Any) -> AsyncIterator[tuple[Server, Upstream]]:
    played = Server(script)
    listening = await asyncio.start_server(played.serve, "127.0.0.1", 0)
    played.port = listening.sockets[0].getsockname()[1]
    upstream = Upstream("a", f"http://127.0.0.1:{played.port}/v1", None, "m")
    try:
        yield played, upstream
    finally:
        await upstream.close()
        listening.close()


async def ask(upstream: Upstream, *, is_streamed: bool = False) -> list[dict[str, Any]]:
    async with aclosing(upstream.objects("/chat/completions", {"stream": is_streamed}, LIMITS)) as objects:
        return [body async for found in objects for body in found]


@run_async
async def test_a_connection_is_used_again_and_several_at_once_where_they_are_needed() -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(whole({"a": server.num_requests}))

    async with served(script) as (server, upstream):
        for _ in range(3):
            await ask(upstream)
        assert (server.num_connections, server.num_requests) == (1, 3)
        await asyncio.gather(*(ask(upstream) for _ in range(4)))
        assert server.num_connections == 4 and upstream.in_flight == 0


@run_async
async def test_a_kept_connection_that_the_upstream_closed_costs_nothing() -> None:
    """It says that it keeps the connection and closes it, at once or when the next request has come."""

    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        if server.num_requests != 2:
            writer.write(whole({"a": server.num_requests}))
        if server.num_requests in (2, 3):
            writer.close()

    async with served(script) as (server, upstream):
        for _ in range(4):
            assert await ask(upstream)
        assert server.num_requests == 5


@run_async
async def test_a_stream_that_is_left_closes_its_connection() -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"connection: close\r\n\r\n")
        while not server.left.is_set():
            writer.write(STREAM[1])
            await writer.drain()
            await asyncio.sleep(0.01)
            if writer.transport.is_closing():
                server.left.set()

    async with served(script) as (server, upstream):
        async with aclosing(upstream.objects("/chat/completions", {"stream": True}, LIMITS)) as objects:
            assert await anext(objects)
            assert upstream.in_flight == 1
        await asyncio.wait_for(server.left.wait(), 5)
        assert upstream.in_flight == 0


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (HEAD + b"content-length: 50\r\n\r\n{", "connection"),
        (whole({"a": "x" * 3000}), "unreadable"),
        (HEAD + b"\r\ndata: " + b"x" * 3000, "unreadable"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "connection"),
        (b"SSH-2.0-OpenSSH\r\n", "connection"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "connection"),
        (b"", "connection"),
    ],
)
@run_async
async def test_what_is_no_reply_is_lost(sent: bytes, reason: str) -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    async with served(script) as (_, upstream):
        with pytest.raises(Lost) as lost:
            await ask(upstream, is_streamed=b"data" in sent)
        assert lost.value.reason == reason


@run_async
async def test_a_silent_stream_is_lost_and_so_is_a_port_on_which_nobody_listens() -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"connection: close\r\n\r\n" + STREAM[0])
        await asyncio.sleep(5.0)

    async with served(script) as (_, upstream):
        with pytest.raises(Lost) as silent:
            await ask(upstream, is_streamed=True)
        assert (silent.value.reason, silent.value.status) == ("silent", 504)
    with pytest.raises(Lost) as unreachable:
        await ask(upstream)
    assert unreachable.value.reason == "unreachable" and upstream.rests_until > 0


@run_async
async def test_small_pieces_leave_at_once() -> None:
    """Without this, the second piece of every reply waits 40 ms for the client's acknowledgement of the first."""
    nodelay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nodelay.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listen_at("127.0.0.1", 0)
    async with await asyncio.start_server(accept, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await nodelay
        writer.close()
