"""What the gateway refuses: strangers, too much, and what is not text. And what a user may be told apart by."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from played_upstream import TWO_PLUS_TWO, playing, run_async

from laconic.errors import InputError
from laconic.serving.callers import KeyRing, Turnstile, read_keys
from laconic.serving.demands import read_demand
from laconic.serving.denials import Denial

KEYS = "# two customers\nann = key-of-ann-0123456789\n\nmetrics = key-of-metrics-0123456789\n"
AS_ANN = {"authorization": "Bearer key-of-ann-0123456789"}


# --- bodies ----------------------------------------------------------------------------------------------------------


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi", **fields}]}


def picture(kind: str = "image_url") -> dict[str, Any]:
    return message(content=[{"type": "text", "text": "what is it?"}, {"type": kind, kind: {"url": "http://10.0.0.1/"}}])


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (picture(), "messages.0.content", "not_text"),
        (picture("input_audio"), "messages.0.content", "not_text"),
        (picture("file"), "messages.0.content", "not_text"),
        (
            message(content={"type": "text", "text": "x"}) | {"tools": [{"type": "web_search"}]},
            "tools",
            "invalid_value",
        ),
        (message(content=5), "messages.0.content", "not_text"),
        (message(role="root"), "messages.0", "invalid_value"),
        (message(audio={"id": "x"}), "messages.0.audio", "unknown_field"),
        (message(annotations=[{"type": "url_citation"}]), "messages.0.annotations", "unknown_field"),
        (message(function_call=False), "messages.0.function_call", "unknown_field"),
        (message(tool_calls=[{"type": "mcp"}]), "messages.0.tool_calls", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "hi"}, "messages", "invalid_value"),
        ({"messages": [TWO_PLUS_TWO[0]] * 11}, "messages", "too_many_messages"),
        ({"guided_regex": ".*"}, "guided_regex", "unknown_field"),
        ({"chat_template": "{{ x }}"}, "chat_template", "unknown_field"),
        ({"chat_template_kwargs": {"chat_template": "{{ x }}"}}, "chat_template_kwargs", "invalid_value"),
        ({"n": 2}, "n", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_value"),
        ({"stream_options": {"other": 1}}, "stream_options", "invalid_value"),
        ({"user": 5}, "user", "invalid_value"),
        ({"user": "x" * 257}, "user", "invalid_value"),
        ({"thinking_budget": -1}, "thinking_budget", "invalid_value"),
        ({"thinking_budget": True}, "thinking_budget", "invalid_value"),
        ({"model": 5}, "model", "invalid_value"),
        ({"model": None}, "model", "invalid_value"),
    ],
)
def test_a_body_that_cannot_be_passed_on_is_refused_by_its_field(body: dict[str, Any], field: str, reason: str) -> None:
    fields = {"model": "m", "messages": TWO_PLUS_TWO, **body}
    with pytest.raises(Denial) as refused:
        read_demand("chat", json.dumps(fields).encode(), 10)
    assert (refused.value.status, refused.value.field, refused.value.reason) == (400, field, reason)
    assert refused.value.message.startswith(field) and "\n" not in refused.value.message


def test_a_response_is_taken_back_as_openai_s_sdk_has_it() -> None:
    """`messages.append(reply.choices[0].message)` sends fields that say nothing; no upstream sees them."""
    said = {"role": "assistant", "content": "4", "refusal": None, "tool_calls": []}
    empty = {"annotations": [], "audio": None, "function_call": None, "further": {}}
    body = {"model": "m", "messages": [*TWO_PLUS_TWO, said | empty, {"role": "user", "content": "and 3+3?"}]}
    demand = read_demand("chat", json.dumps(body).encode(), 10)
    assert demand.fields["messages"] == [*TWO_PLUS_TWO, said, {"role": "user", "content": "and 3+3?"}]
    assert demand.conversation == demand.fields["messages"]


@run_async
async def test_what_is_refused_reaches_no_upstream_and_leaves_no_record(tmp_path: Path) -> None:
    async with playing(tmp_path) as play:
        reply = await play.chat(**picture())
        assert play.upstreams["a"].bodies == [] and play.rows() == []
    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["code"]) == (400, "messages.0.content", "not_text")


UNREADABLE: list[tuple[bytes, dict[str, str], int]] = [
    (b"{", {}, 400),
    (b"[]", {}, 400),
    (b'{"a":' * 200 + b"1" + b"}" * 200, {}, 400),
    (b"[" * 3999, {}, 400),
    (b'{"model": "m", "model": "n"}', {}, 400),
    (b'{"temperature": NaN}', {}, 400),
    (b"\xff", {}, 400),
    (b'{"model": "' + b"x" * 5000 + b'"}', {}, 413),
    (b"{}", {"content-type": "text/plain"}, 415),
    (b"{}", {"x-a": "y" * 2000}, 431),
    (b"{}", {"host": "evil.example"}, 400),
]


@run_async
async def test_what_is_no_json_too_large_or_from_a_page_of_another_name_is_refused(tmp_path: Path) -> None:
    limits, usual = {"body_bytes": 4000, "header_bytes": 1000}, {"content-type": "application/json"}
    async with playing(tmp_path, limits=limits) as play, play.client as client:
        for content, headers, status in UNREADABLE:
            reply = await client.post("/v1/chat/completions", content=content, headers=usual | headers)
            assert reply.status_code == status and len(reply.text) < 600, content[:20]
            assert reply.json()["error"]["message"], content[:20]
        assert "names none of 127.0.0.1, localhost" in reply.json()["error"]["message"]
        assert reply.json()["error"]["code"] == "foreign_host"


@run_async
async def test_an_address_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    async with playing(tmp_path) as play, play.client as client:
        for method, path, status in (("POST", "/chat/completions", 404), ("GET", "/v1/chat/completions", 405)):
            reply = await client.request(method, path)
            error = reply.json()["error"]
            assert (reply.status_code, error["code"]) == (status, "no_address")
            assert "POST /v1/chat/completions" in error["message"] and "GET /metrics" in error["message"]


@run_async
async def test_a_body_that_hides_its_size_is_refused_too(tmp_path: Path) -> None:
    async def pieces() -> Any:
        for _ in range(10):
            yield b"x" * 1000

    async with playing(tmp_path, limits={"body_bytes": 4000}) as play, play.client as client:
        reply = await client.post(
            "/v1/chat/completions", content=pieces(), headers={"content-type": "application/json"}
        )
    assert reply.status_code == 413


@run_async
async def test_fields_about_the_person_stay_here_and_an_operator_may_let_more_through(tmp_path: Path) -> None:
    async with playing(tmp_path, route={"further_fields": ["guided_regex"]}) as play:
        reply = await play.chat(user="ann", metadata={"name": "ann"}, store=True, guided_regex="4")
        (row,) = play.rows()
    assert reply.status_code == 200 and row["budget"] is None
    assert play.upstreams["a"].bodies == [{"model": "inner", "messages": TWO_PLUS_TWO, "guided_regex": "4"}]


# --- keys ------------------------------------------------------------------------------------------------------------


@run_async
async def test_without_a_key_of_the_ring_nothing_is_answered(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEYS)
    async with playing(tmp_path, keys=str(tmp_path / "keys")) as play, play.client as client:
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic key-of-ann-0123456789"}):
            reply = await play.chat(headers)
            assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer"
            assert [(await client.get(path, headers=headers)).status_code for path in ("/v1/models", "/metrics")] == [
                401,
                401,
            ]
        assert (await play.chat(AS_ANN)).status_code == 200
        assert (await client.get("/v1/models", headers=AS_ANN)).status_code == 200
        assert (await client.get("/metrics", headers=AS_ANN)).status_code == 403
        metrics = {"authorization": "Bearer key-of-metrics-0123456789"}
        assert (await client.get("/metrics", headers=metrics)).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        assert "authorization" not in play.upstreams["a"].headers[0]


@run_async
async def test_two_keys_never_share_a_user(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEYS)
    async with playing(tmp_path, keys=str(tmp_path / "keys")) as play:
        for key in ("ann", "metrics"):
            await play.chat({"authorization": f"Bearer key-of-{key}-0123456789"}, user="same")
        assert len({row["user"] for row in play.rows()}) == 2


def test_a_file_of_keys_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbfsupport = sk-a-long-random-text\r\n")
    assert read_keys(tmp_path / "keys").find("Bearer sk-a-long-random-text") == "support"


def test_every_key_is_compared_wherever_the_right_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("".join(f"k{number} = key-number-{number}-0123456789\n" for number in range(5)))
    ring, compared = read_keys(tmp_path / "keys"), []
    monkeypatch.setattr("laconic.serving.callers.hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    for number in (0, 4):
        assert ring.find(f"Bearer key-number-{number}-0123456789") == f"k{number}"
    assert len(compared) == 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        ("ann\n", r":1: expected  name = key"),
        ("a b = 0123456789abcdef\n", ":1: expected"),
        ("\nann = short\n", ":2: the key ann is short"),
        ("ann = 0123456789abcdef\nann = 0123456789abcdeg\n", ":2: ann: each name"),
        ("ann = 0123456789abcdef\nbob = 0123456789abcdef\n", ":2: bob: each name"),
    ],
)
def test_a_file_of_keys_that_cannot_be_meant_is_refused_without_quoting_a_key(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(InputError, match=says) as error:
        read_keys(tmp_path / "keys")
    assert "0123" not in str(error.value)


def test_an_empty_ring_lets_everyone_in() -> None:
    assert KeyRing({}).find(None) == ""


# --- how much --------------------------------------------------------------------------------------------------------


def test_a_caller_has_so_many_requests_per_minute_and_another_has_its_own() -> None:
    """Two at once, and one more after half a minute."""
    now = [0.0]
    gate = Turnstile(9, 2, clock=lambda: now[0])

    def ask(caller: str = "ann") -> int | None:
        try:
            with gate.passing(caller):
                return None
        except Denial as denial:
            assert denial.status == 429 and denial.headers["retry-after"] == str(denial.wait_seconds)
            return denial.wait_seconds

    assert [ask(), ask(), ask(), ask("bob")] == [None, None, 30, None]
    now[0] = 30.0
    assert [ask(), ask()] == [None, 30]


def test_a_caller_has_so_many_requests_in_flight() -> None:
    gate = Turnstile(1, None)
    refused = pytest.raises(Denial, match="1 requests of this key are in flight")
    with gate.passing("ann"), gate.passing("bob"), refused, gate.passing("ann"):
        pass
    with gate.passing("ann"):
        pass


@run_async
async def test_a_client_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with playing(tmp_path, limits={"per_minute": 1}) as play:
        replies = [await play.chat() for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 429]
    assert 1 <= int(replies[1].headers["retry-after"]) <= 60
    assert json.loads(replies[1].content)["error"]["code"] == "rate_limit_exceeded"
