"""The gateway passes on what an upstream answers, asks another one where one is gone, and leaves one record of each request."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from played_upstream import STREAM, TWO_PLUS_TWO, USAGE, playing, run_async, scripted, stream, whole

from laconic.serving.routing import CandidateShares
from laconic.traffic.decisions import CandidateAction, Decision, add_decision, current_share
from laconic.traffic.tables import FEEDBACK, TEXTS


def events_of(content: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in content.split(b"\n\n") if line]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@run_async
async def test_a_reply_is_passed_on_under_the_gateways_id_and_name(tmp_path: Path) -> None:
    async with playing(tmp_path) as play:
        reply = await play.chat(temperature=0.5, user="ann")
        body, (row,) = reply.json(), play.rows()
    assert reply.status_code == 200 and body["choices"][0]["message"]["content"] == "4"
    assert body["id"] == reply.headers["x-laconic-request-id"] == row["id"]
    assert body["model"] == "m" and body["usage"] == USAGE
    assert play.upstreams["a"].bodies == [{"model": "inner", "messages": TWO_PLUS_TWO, "temperature": 0.5}]
    wanted = {"route": "m", "model": "inner", "version": "inner", "status": 200, "finish": "stop", "tag": ""}
    wanted |= {"prompt_tokens": 5, "completion_tokens": 7, "thinking_tokens": 3, "first_token_seconds": None}
    assert {key: row[key] for key in wanted} == wanted
    assert not row["is_streamed"] and row["cost"] is None and "ann" not in row["user"]


@run_async
async def test_a_stream_is_passed_on_without_the_counts_that_nobody_asked_for(tmp_path: Path) -> None:
    async with playing(tmp_path) as play:
        plain = await play.chat(stream=True)
        counted = await play.chat(stream=True, stream_options={"include_usage": True})
        rows = play.rows()
    assert plain.headers["content-type"].startswith("text/event-stream")
    texts = [chunk["choices"][0]["delta"] for chunk in events_of(plain.content)]
    assert texts == [{"role": "assistant", "content": ""}, {"reasoning_content": "two and two"}, {"content": "4"}, {}]
    assert {chunk["id"] for chunk in events_of(plain.content)} == {plain.headers["x-laconic-request-id"]}
    assert events_of(counted.content)[-1]["usage"] == USAGE
    assert all(body["stream_options"] == {"include_usage": True} for body in play.upstreams["a"].bodies)
    for row in rows:
        assert (row["completion_tokens"], row["thinking_tokens"], row["finish"]) == (7, 3, "stop")
        assert 0 < row["first_token_seconds"] <= row["seconds"]


@run_async
async def test_a_completion_is_answered_too(tmp_path: Path) -> None:
    body = {"choices": [{"index": 0, "text": "4", "finish_reason": "length"}], "usage": USAGE}
    async with playing(tmp_path, {"a": lambda _: whole(**body)}) as play:
        reply = await play.chat(path="completions", prompt="2+2=")
        (row,) = play.rows()
    assert reply.json()["choices"][0]["text"] == "4" and row["finish"] == "length"


@run_async
async def test_a_stream_survives_any_cut_into_pieces(tmp_path: Path) -> None:
    """Of one byte each, and with the line ends of Windows and comments between."""
    content = b": hello\r\n\r\n" + b"".join(STREAM).replace(b"\n", b"\r\n")
    pieces = [content[i : i + 1] for i in range(len(content))]
    async with playing(tmp_path, {"a": lambda _: stream(*pieces), "b": lambda _: stream()}) as play:
        first, second = [events_of((await play.chat(stream=True)).content) for _ in range(2)]
    for chunk in (*first, *second):
        chunk.pop("id")
    assert first == second


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    ("policy", "header", "is_kept"), [("consent", "text", True), ("consent", "yes", False), ("never", "text", False)]
)
@run_async
async def test_a_text_is_kept_by_consent_alone(
    tmp_path: Path, is_streamed: bool, policy: str, header: str, is_kept: bool
) -> None:
    async with playing(tmp_path, route={"texts": policy}) as play:
        await play.chat(
            {"x-laconic-consent": header}, stream=is_streamed, messages=[{"role": "user", "content": "Ann: 2+2?"}]
        )
        await play.chat(stream=is_streamed)
        assert len(play.rows()) == 2
        texts = play.desk.writer.store.rows(TEXTS)
    if is_kept:
        (text,) = texts
        assert json.loads(text["prompt"]) == [{"role": "user", "content": "Ann: 2+2?"}]
        assert text["response"] == ("<think>two and two</think>4" if is_streamed else "4")
    else:
        assert texts == []
        assert b"Ann" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@run_async
async def test_thinking_is_counted_in_the_text_where_a_tokenizer_is_known_and_the_upstream_counts_none(
    tmp_path: Path,
) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    async with playing(tmp_path, {"a": lambda _: whole("<think>two and two</think> 4", usage=usage)}) as play:
        await play.chat()
        play.desk.routes["m"].count = lambda text: len(text.split())
        await play.chat()
        assert [row["thinking_tokens"] for row in play.rows()] in ([None, 3], [3, None])  # rows are ordered by id
        assert play.desk.writer.store.rows(TEXTS) == []


# --- words and figures -----------------------------------------------------------------------------------------------


@run_async
async def test_only_words_of_the_operator_are_stored_and_shown(tmp_path: Path) -> None:
    route = {"tags": ["law"], "prices": {"prompt": 2.0, "completion": 10.0}, "version": "v1"}
    async with playing(tmp_path, route=route) as play:
        for tag in ("law", "my-secret"):
            await play.chat({"x-laconic-tag": tag}, user="ann-secret")
        await play.chat(model="my-secret")
        async with play.client as client:
            shown = (await client.get("/metrics")).text
        rows = play.rows()
    assert sorted(row["tag"] for row in rows) == ["", "law"]
    assert rows[0]["cost"] == pytest.approx((5 * 2 + 7 * 10) / 1e6)
    assert 'laconic_requests_total{route="m",status="200",version="v1"} 2.0' in shown
    assert 'laconic_denials_total{reason="model_not_found"} 1.0' in shown and "laconic_store_written_total 2.0" in shown
    assert "secret" not in shown and not any("secret" in str(value) for row in rows for value in row.values())


@run_async
async def test_models_and_health_are_told(tmp_path: Path) -> None:
    async with playing(tmp_path) as play, play.client as client:
        assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["m"]
        assert (await client.get("/healthz")).json() == {"status": "ok", "store": "ok"}


# --- candidates ------------------------------------------------------------------------------------------------------


@run_async
async def test_a_candidate_answers_its_share_of_users_and_the_same_ones_each_time(tmp_path: Path) -> None:
    candidate = {"upstreams": ["candidate"], "version": "v2", "share": 0.5}
    route = {"version": "v1", "candidate": candidate}
    async with playing(tmp_path, {"a": scripted, "candidate": scripted}, route=route) as play:
        for _ in range(2):
            for number in range(12):
                await play.chat(user=f"u{number}")
        rows = play.rows()
        by_user = {
            user: {row["version"] for row in rows if row["user"] == user} for user in {row["user"] for row in rows}
        }
        assert len(by_user) == 12 and all(len(versions) == 1 for versions in by_user.values())
        assert set().union(*by_user.values()) == {"v1", "v2"}
        add_decision(play.desk.writer.store, Decision("m", "v2", 1.0, CandidateAction.STOP, "rule", {}))
        await CandidateShares(play.desk.routes, partial(current_share, play.desk.writer.store)).refresh()
        for number in range(12):
            await play.chat(user=f"u{number}")
        assert sum(row["version"] == "v2" for row in play.rows()) == sum(row["version"] == "v2" for row in rows)


@run_async
async def test_a_share_that_cannot_be_read_stays_as_it_is(tmp_path: Path) -> None:
    candidate = {"upstreams": ["candidate"], "version": "v2", "share": 0.5}
    async with playing(tmp_path, {"a": scripted, "candidate": scripted}, route={"candidate": candidate}) as play:
        shares = CandidateShares(play.desk.routes, lambda name, version, share: 1 / 0)
        await shares.refresh()
        assert play.desk.routes["m"].share == 0.5 and shares.failures == 1


# --- feedback --------------------------------------------------------------------------------------------------------


@run_async
async def test_feedback_names_the_response_by_its_id_and_comes_from_its_user_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("ann = key-of-ann-0123456789\nbob = key-of-bob-0123456789\n")
    async with playing(tmp_path, keys=str(tmp_path / "keys")) as play, play.client as client:
        ann, bob = ({"authorization": f"Bearer key-of-{name}-0123456789"} for name in ("ann", "bob"))
        body = {"id": (await play.chat(ann, user="u")).json()["id"], "user": "u", "rating": "bad"}
        plain = {"content-type": "text/plain"}
        replies = [
            await client.post(
                "/v1/feedback", content=json.dumps(body), headers={"content-type": "application/json"} | headers
            )
            for headers in (ann, bob, {}, ann | plain)
        ]
        (row,) = play.desk.writer.store.rows(FEEDBACK)
    assert [reply.status_code for reply in replies] == [200, 404, 401, 415]
    assert (row["request_id"], row["rating"]) == (body["id"], "bad")
