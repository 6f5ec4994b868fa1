"""A connection to an upstream gives each request its own answer, or none; the head of a client's request is bounded."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")

import uvicorn
from played_upstream import STREAM, run_async
from test_gateway_sockets import HEAD, Server, ask, served, whole

from laconic.serving.connections.client_side import bounded_http
from laconic.serving.connections.upstream_side import MOST_WAITING_BYTES
from laconic.serving.program import listen_at
from laconic.serving.upstreams import LEFT_SECONDS, AskLimits, Lost

SPOILS = b"\x00"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


# --- what comes beyond a reply ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0.0, 0.02], ids=["in the same read", "later"])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("surplus", [whole({"a": "of nobody"}), HEAD, b"H", SPOILS])
@run_async
async def test_what_comes_beyond_a_reply_is_no_answer_to_the_next_request(
    surplus: bytes, is_chunked: bool, pause: float
) -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        body = {"a": server.num_requests}
        reply = CHUNKED + chunk(json.dumps(body).encode()) + chunk(b"") if is_chunked else whole(body)
        if pause:
            writer.write(reply)
            await asyncio.sleep(pause)
            writer.write(surplus)
        else:
            writer.write(reply + surplus)

    async with served(script) as (server, upstream):
        for number in (1, 2, 3):
            if surplus is SPOILS and not pause:  # aiohttp gives up what came before it in the same read
                with pytest.raises(Lost, match="gone"):
                    await ask(upstream)
            else:
                assert await ask(upstream) == [{"a": number}]
            await asyncio.sleep(2 * pause)
        assert (server.num_connections, server.num_requests) == (3, 3)


@run_async
async def test_a_reply_that_says_that_another_one_follows_is_passed_over() -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3 + whole({"a": server.num_requests}))

    async with served(script) as (server, upstream):
        assert [await ask(upstream) for _ in range(2)] == [[{"a": 1}], [{"a": 2}]]
        assert server.num_connections == 1


# --- connections that end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "num_requests"), [(b"", 3), (b"HTTP/1.1 200", 2), (HEAD + b"x: y\r\n", 2)])
@run_async
async def test_a_request_is_sent_again_only_where_no_byte_of_a_reply_has_come(said: bytes, num_requests: int) -> None:
    """Over a connection that was kept; over a new one never."""

    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(whole({"a": 1}) if server.num_requests == 1 else said)
        if server.num_requests > 1:
            writer.close()

    async with served(script) as (server, upstream):
        assert await ask(upstream)
        with pytest.raises(Lost) as lost:
            await ask(upstream)
        assert (lost.value.reason, server.num_requests) == ("connection", num_requests)
        with pytest.raises(Lost):
            await ask(upstream)
        assert server.num_requests == num_requests + 1


@run_async
async def test_a_kept_connection_that_is_reset_is_replaced_by_a_new_one_however_many_are_kept() -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        number = server.num_requests
        await asyncio.sleep(0.02)
        if number == 4:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.write(whole({"a": number}))

    async with served(script) as (server, upstream):
        await asyncio.gather(*(ask(upstream) for _ in range(3)))
        assert await ask(upstream) == [{"a": 5}]
        assert (server.num_connections, server.num_requests) == (4, 5)


@run_async
async def test_a_body_that_ends_with_its_connection_is_whole_unless_that_breaks() -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b'\r\n{"a": 1}')
        await writer.drain()
        if server.num_requests > 1:
            writer.transport.abort()
        writer.close()

    async def break_off(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b'content-length: 9\r\n\r\n{"a": 1}')
        writer.close()

    async with served(script) as (_, upstream):
        assert await ask(upstream) == [{"a": 1}]
    async with served(break_off) as (_, upstream):
        with pytest.raises(Lost):
            await ask(upstream)


@run_async
async def test_a_stream_whose_last_bytes_come_after_its_end_mark_keeps_its_connection() -> None:
    """A moment after; one that goes on for ever is closed."""

    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"".join(STREAM)))
        await asyncio.sleep(0.01 if server.num_requests < 3 else 9.0)
        writer.write(chunk(b""))

    async with served(script) as (server, upstream):
        for number in range(3):
            assert len(await ask(upstream, is_streamed=True)) == len(STREAM) - 1
            await asyncio.sleep(0.03)
            assert server.num_connections == 1, number
        await asyncio.sleep(LEFT_SECONDS)
        assert len(await ask(upstream, is_streamed=True)) and server.num_connections == 2


@run_async
async def test_a_head_without_an_end_is_given_up() -> None:
    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while not writer.transport.is_closing():
            writer.write(b"x: " + b"y" * 1000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)

    async with served(script) as (_, upstream):
        with pytest.raises(Lost) as lost:
            await ask(upstream)
        assert lost.value.reason == "connection"


@run_async
async def test_an_upstream_that_sends_faster_than_it_is_read_waits() -> None:
    sent = 0

    async def script(server: Server, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        while not writer.transport.is_closing():
            writer.write(chunk(STREAM[1] * 1000))
            await writer.drain()
            sent += len(STREAM[1]) * 1000

    limits = AskLimits(5.0, 5.0, 1 << 30)
    async with served(script) as (_, upstream):
        async with aclosing(upstream.objects("/chat/completions", {"stream": True}, limits)) as objects:
            await anext(objects)
            await asyncio.sleep(0.2)
            before = sent
            await asyncio.sleep(0.1)
            assert sent == before  # what fills the buffers of both systems has been sent, and no more
            for _ in range(100):
                await anext(objects)
            assert sent > before > MOST_WAITING_BYTES
        assert upstream.in_flight == 0


# --- clients ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(most_head_bytes: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that says how many bytes of a body it got."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        content = b"%d.%s" % (size, scope["path"].encode())
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    listener = listen_at("127.0.0.1", 0)
    settings: dict[str, Any] = {"log_config": None, "lifespan": "off", "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(application, http=bounded_http(most_head_bytes), **settings))
    serving = asyncio.ensure_future(server.serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await serving


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    assert head.startswith(b"HTTP/1.1 200"), head
    return await reader.readexactly(int(length.split(b":")[1]))


@run_async
async def test_the_head_of_a_request_is_bounded_while_it_comes() -> None:
    """Requests with heads that end are answered, one after the other over one connection; one without an end is refused."""
    async with listening(4096) as (reader, writer):
        for further in (b"", b"x: " + b"y" * 3000 + b"\r\n", b""):
            head = b"POST /a HTTP/1.1\r\nhost: a\r\n" + further + b"content-length: 10000\r\n\r\n"
            writer.write(head + b"z" * 10_000)
            assert await answer(reader) == b"10000./a"
        writer.write(b"GET / HTTP/1.1\r\n")
        refused = asyncio.ensure_future(reader.read())
        for _ in range(100):
            if refused.done():
                break
            writer.write(b"x: " + b"y" * 100 + b"\r\n")
            await asyncio.sleep(0.001)
        assert (await asyncio.wait_for(refused, 5)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@run_async
async def test_a_request_that_asks_for_another_protocol_is_answered_with_its_body(size: int) -> None:
    """In pieces of any size, and whatever follows in the same read."""
    asks = b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: A\r\n\r\n"
    sent = (
        b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n" + asks + b"abcde",
        b"POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n" + asks + chunk(b"abc") + chunk(b""),
        b"GET /c HTTP/1.1\r\nhost: a\r\n" + asks.replace(b"h2c", b"websocket"),
        b"POST /d HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab",
    )
    content = b"".join(sent)
    async with listening(4096) as (reader, writer):
        for begin in range(0, len(content), size):
            writer.write(content[begin : begin + size])
            await asyncio.sleep(0)
        assert [await answer(reader) for _ in sent] == [b"5./a", b"3./b", b"0./c", b"2./d"]
