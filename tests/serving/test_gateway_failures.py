"""What fails: upstreams, clients, the store, the gateway itself. No request is lost that an upstream could have answered."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from played_upstream import (
    STREAM,
    TWO_PLUS_TWO,
    USAGE,
    Play,
    Played,
    event,
    playing,
    refused,
    run_async,
    scripted,
    stream,
)
from sqlalchemy.exc import OperationalError

from laconic.serving import gateway
from laconic.serving.upstreams import Upstream, in_turn

REFUSED = aiohttp.ClientConnectorError(ConnectionKey("a.test", 80, False, True, None, None, None), OSError("refused"))
DEAD = Played(failure=REFUSED)
BREAKS_BEFORE, BREAKS_AFTER = stream(fails_after=0), stream(fails_after=3)


# --- upstreams -------------------------------------------------------------------------------------------------------


NO_ANSWERS = [
    DEAD,
    Played(failure=aiohttp.SocketTimeoutError()),
    Played(failure=aiohttp.ClientPayloadError()),
    Played([b"<html>"]),
    Played([b'{"error": {"message": "engine died"}}']),
    Played([b'data: {"error": "engine died"}\n\n']),
    Played([b"x"], headers={"content-encoding": "gzip"}),
    stream(b"data: [DONE]\n\n"),
    stream(b": nothing\n\n"),
    BREAKS_BEFORE,
    *(refused(status, "no") for status in (302, 401, 403, 404, 429, 500, 503)),
]


@pytest.mark.parametrize("is_streamed", [False, True])
@run_async
async def test_another_upstream_answers_in_place_of_one_that_does_not(tmp_path: Path, is_streamed: bool) -> None:
    async with playing(tmp_path, {"a": scripted, "b": scripted}) as play:
        for number, answer in enumerate(NO_ANSWERS, start=1):
            play.upstreams["a"].script = partial(given, answer)
            play.desk.routes["m"].base.upstreams[0].rests_until = 0.0
            reply = await play.chat(stream=is_streamed)
            assert reply.status_code == 200 and "4" in reply.text and "died" not in reply.text, answer
            assert len(play.upstreams["b"].bodies) == number, answer
        rows = play.rows()
    assert {(row["status"], row["finish"], row["completion_tokens"]) for row in rows} == {(200, "stop", 7)}


def given(answer: Played, body: dict[str, Any]) -> Played:
    return answer


@run_async
async def test_a_mistake_of_the_client_is_told_at_once(tmp_path: Path) -> None:
    """In the upstream's words, without its key; no other upstream is asked."""
    script = {"a": lambda _: refused(400, "the context is too short for key SECRET"), "b": scripted}
    async with playing(tmp_path, script) as play:
        for upstream in play.desk.routes["m"].base.upstreams:
            upstream.key = "SECRET"
        reply, (row,) = await play.chat(), play.rows()
    assert reply.status_code == row["status"] == 400 and row["finish"] == "error"
    assert reply.json()["error"]["message"] == "the context is too short for key [key]"
    assert play.upstreams["b"].bodies == []


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        (DEAD, 502),
        (Played(failure=aiohttp.SocketTimeoutError()), 504),
        (refused(503, "restarting"), 502),
        (refused(401, "bad key"), 502),
        (refused(429, "busy", **{"retry-after": "7"}), 429),
    ],
    ids=repr,
)
@run_async
async def test_where_no_upstream_answers_the_client_gets_one_error(
    tmp_path: Path, answers: Played, status: int
) -> None:
    async with playing(tmp_path, {"a": lambda _: answers}) as play:
        reply, (row,) = await play.chat(), play.rows()
    assert reply.status_code == row["status"] == status and row["finish"] == "error"
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.headers.get("retry-after") == ("7" if status == 429 else None)
    assert row["id"] == reply.headers["x-laconic-request-id"]


@run_async
async def test_a_stream_that_has_begun_ends_with_an_error(tmp_path: Path) -> None:
    """No second upstream goes on where the first broke off: the two would not fit together."""
    async with playing(tmp_path, {"a": lambda _: BREAKS_AFTER, "b": scripted}) as play:
        reply, (row,) = await play.chat(stream=True), play.rows()
    *_, last = reply.text.strip().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "upstream_error" and "[DONE]" not in reply.text
    assert (row["status"], row["finish"], play.upstreams["b"].bodies) == (502, "error", [])


SLOW = stream(b": queued\n\n", *STREAM, pause=0.15)
SLOW_AND_DEAD = stream(b": queued\n\n", *STREAM, pause=0.15, fails_after=1)


@run_async
async def test_a_client_of_a_stream_is_not_left_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before the first event nor between two; an upstream that dies in the silence is still replaced."""
    monkeypatch.setattr(gateway, "SILENCE_SECONDS", 0.1)
    async with playing(tmp_path, {"a": lambda _: SLOW, "b": scripted}) as play:
        reply = await play.chat(stream=True)
        first, *further = reply.text.split("data: ", 1)[0], *reply.text.split("data: ")[1:]
        assert first.startswith(": still waiting\n\n") and any(": still waiting" in piece for piece in further[:-1])
        assert reply.text.endswith("data: [DONE]\n\n") and reply.headers["content-type"].startswith("text/event-stream")
        play.upstreams["a"].script = partial(given, SLOW_AND_DEAD)
        reply = await play.chat(stream=True)
        assert (
            reply.text.startswith(": still waiting\n\n")
            and '"4"' in reply.text
            and len(play.upstreams["b"].bodies) == 1
        )
        play.upstreams["b"].script = partial(given, DEAD)
        reply, whole_reply = await play.chat(stream=True), await play.chat()
        rows = play.rows()
    assert reply.status_code == 200 and reply.text.split("\n\n")[-2].startswith('data: {"error"')
    assert "still waiting" not in whole_reply.text
    assert sorted(row["status"] for row in rows) == [200, 200, 502, 502]


END = event({}, finish="stop")


@pytest.mark.parametrize(
    "pieces",
    [
        (event({"content": "4"}), END),
        (event({"content": "4"}), END, b"data: [DONE]\n"),
        (event({"content": "4"}), END.rstrip(b"\n")),
        (event({"content": "4"}), END, event(usage=USAGE).rstrip(b"\n") + b"\r\n"),
    ],
    ids=["no mark", "no empty line", "no line end", "counts without an empty line"],
)
@run_async
async def test_a_stream_that_ends_properly_after_its_finish_reason_is_whole(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    async with playing(tmp_path, {"a": lambda _: stream(*pieces)}) as play:
        reply, (row,) = await play.chat(stream=True, stream_options={"include_usage": True}), play.rows()
    assert (
        reply.text.endswith("data: [DONE]\n\n") and "error" not in reply.text and '"finish_reason":"stop"' in reply.text
    )
    assert (row["status"], row["finish"]) == (200, "stop")
    assert row["completion_tokens"] == (7 if "usage" in reply.text else None)


@pytest.mark.parametrize(
    "pieces", [(event({"content": "4"}),), (event({"content": "4"}), END[:-20]), (b"data: [DONE]",)]
)
@run_async
async def test_a_stream_that_ends_without_a_finish_reason_is_none(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    async with playing(tmp_path, {"a": lambda _: stream(*pieces)}) as play:
        reply, (row,) = await play.chat(stream=True), play.rows()
    assert '"error"' in reply.text and "[DONE]" not in reply.text and row["status"] == 502


@pytest.mark.parametrize(
    "last", [b'data: {"error": {"message": "boom"}}\n\n', b"data: {broken\n\n", b"data: " + b"x" * 3000]
)
@run_async
async def test_events_that_come_with_a_failure_are_passed_on_before_it(tmp_path: Path, last: bytes) -> None:
    content = event({"content": "b"}) + event({"content": "c"}) + last
    script = {"a": lambda _: stream(event({"content": "a"}), content, b"x")}
    async with playing(tmp_path, script, reply_bytes=2000) as play:
        reply = await play.chat(stream=True)
    *said, error = [json.loads(line.removeprefix("data: ")) for line in reply.text.strip().split("\n\n")]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in said] == ["a", "b", "c"] and "error" in error


@run_async
async def test_a_candidate_out_of_reach_costs_nobody_an_answer(tmp_path: Path) -> None:
    candidate = {"upstreams": ["candidate"], "version": "v2", "share": 1.0}
    script = {"a": scripted, "candidate": lambda _: DEAD}
    async with playing(tmp_path, script, route={"candidate": candidate, "version": "v1"}) as play:
        reply, (row,) = await play.chat(user="ann"), play.rows()
    assert reply.status_code == 200 and row["version"] == "v1"


@run_async
async def test_a_response_that_takes_too_long_in_all_is_given_up(tmp_path: Path) -> None:
    slow = stream(*STREAM, pause=0.05)
    async with playing(tmp_path, {"a": lambda _: slow}, timeouts={"total_seconds": 0.12}) as play:
        reply, (row,) = await play.chat(stream=True), play.rows()
    assert "no whole response within 0.12 s" in reply.text and row["status"] == 504
    assert play.upstreams["a"].num_closed == 1


def test_upstreams_are_tried_by_their_requests_in_flight_and_those_that_rest_last() -> None:
    one, two, three = (Upstream(name, "http://x/v1", None, "m") for name in ("one", "two", "three"))
    one.in_flight, two.in_flight = 2, 1
    three.lost(REFUSED)
    assert [upstream.name for upstream in in_turn([one, two, three])] == ["two", "one", "three"]


# --- clients ---------------------------------------------------------------------------------------------------------


async def leave_after(play: Play, num_pieces: int, **body: Any) -> bytes:
    """Ask, and hang up after so many pieces of the body; what came until then."""
    content = json.dumps({"model": "m", "messages": TWO_PLUS_TWO, **body}).encode()
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": content, "more_body": False})
    came: list[bytes] = []

    async def send(message: Any) -> None:
        came.append(message.get("body", b""))
        if len([piece for piece in came if piece]) == num_pieces:
            incoming.put_nowait({"type": "http.disconnect"})

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers, "query_string": b""}
    if num_pieces == 0:
        asyncio.get_running_loop().call_later(0.02, incoming.put_nowait, {"type": "http.disconnect"})
    await play.app(scope, incoming.get, send)
    return b"".join(came)


@pytest.mark.parametrize(("num_pieces", "is_streamed"), [(0, False), (0, True), (2, True)])
@run_async
async def test_a_client_that_leaves_ends_the_request_to_the_upstream(
    tmp_path: Path, num_pieces: int, is_streamed: bool
) -> None:
    pieces = [event({"content": "4"})] * 1000 if num_pieces else [b" "] * 1000
    async with playing(tmp_path, {"a": lambda _: stream(*pieces, pause=0.001)}, route={"texts": "consent"}) as play:
        await leave_after(play, num_pieces, stream=is_streamed)
        upstream = play.upstreams["a"]
        assert upstream.num_closed == 1 and upstream.num_sent < 1000
        (row,) = play.rows()
    assert (row["status"], row["finish"]) == (499, "client_left")
    assert play.desk.routes["m"].base.upstreams[0].in_flight == 0


@run_async
async def test_a_client_that_leaves_with_the_whole_response_has_been_answered(tmp_path: Path) -> None:
    """It hangs up after the event with the reason why the response ended, before the token counts and the end of the stream."""
    pieces = (*STREAM[:4], *[b": waiting\n\n"] * 1000, *STREAM[4:])
    async with playing(tmp_path, {"a": lambda _: stream(*pieces, pause=0.001)}, route={"texts": "consent"}) as play:
        came = await leave_after(play, 4, stream=True)
        (row,) = play.rows()
    assert b'"finish_reason":"stop"' in came and b"[DONE]" not in came
    assert (row["status"], row["finish"], row["completion_tokens"]) == (200, "stop", None)


@run_async
async def test_a_request_in_flight_at_the_end_of_the_gateway_leaves_a_record(tmp_path: Path) -> None:
    async with playing(tmp_path, {"a": lambda _: stream(*STREAM, pause=9.0)}) as play:
        asking = asyncio.ensure_future(play.chat(stream=True))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        (row,) = play.rows()
    assert (row["status"], row["finish"]) == (502, "error")


# --- the store, and the gateway itself -------------------------------------------------------------------------------


@run_async
async def test_requests_go_on_while_the_store_fails_and_their_records_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(tmp_path) as play:
        write = play.desk.writer.store.write

        def full(batch: Any) -> None:
            raise OperationalError("INSERT", None, Exception("database or disk is full"))

        monkeypatch.setattr(play.desk.writer.store, "write", full)
        replies = [await play.chat(stream=is_streamed) for is_streamed in (False, True)]
        async with play.client as client:
            assert (await client.get("/healthz")).json()["store"] == "failing"
        monkeypatch.setattr(play.desk.writer.store, "write", write)
        rows = play.rows()
    assert [reply.status_code for reply in replies] == [200, 200]
    assert {row["id"] for row in rows} == {reply.headers["x-laconic-request-id"] for reply in replies}
    assert any("the store of traffic fails (OperationalError)" in line for line in play.said)


@run_async
async def test_a_mistake_of_ours_is_told_without_a_word_of_the_client(tmp_path: Path) -> None:
    def broken(body: dict[str, Any]) -> Played:
        raise RuntimeError(f"cannot bear {body}")

    async with playing(tmp_path, {"a": broken}) as play:
        reply = await play.chat(messages=[{"role": "user", "content": "SECRET"}])
        (row,) = play.rows()
    assert reply.status_code == row["status"] == 500 and reply.json()["error"]["code"] == "gateway_failed"
    (line,) = play.said
    assert "RuntimeError at broken" in line and "SECRET" not in line


@run_async
async def test_of_many_requests_at_once_none_is_lost_and_none_stands_twice_in_the_store(tmp_path: Path) -> None:
    """Over two upstreams of which one breaks off every third request."""
    counts = {"a": 0}

    def fickle(body: dict[str, Any]) -> Played:
        counts["a"] += 1
        return DEAD if counts["a"] % 3 == 0 else scripted(body)

    async with playing(tmp_path, {"a": fickle, "b": scripted}) as play:
        replies = await asyncio.gather(*(play.chat(stream=number % 2 == 0) for number in range(200)))
        rows = play.rows()
    assert all(reply.status_code == 200 for reply in replies)
    assert sorted(row["id"] for row in rows) == sorted(reply.headers["x-laconic-request-id"] for reply in replies)
