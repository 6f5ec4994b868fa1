"""Values that nobody should send: in requests with a budget, in replies, in the settings of routes, in a Host header."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from played_upstream import TWO_PLUS_TWO, USAGE, Play, Played, event, playing, refused, run_async, stream, whole

from laconic.errors import InputError
from laconic.serving.cutting import DrawnText, ReplyPiece
from laconic.serving.events import ResponseReading

FUNCTION = {"type": "function"}
NO_CAPS: tuple[Any, ...] = (0, -1, True, 1.5, "5", [], {}, 10**20)
NO_COUNTS = (None, True, -1, 1.5, 1 << 40, "7", [7], {"n": 7})


def strict(text: str) -> dict[str, Any]:
    """The object that a reply is, for a client that knows JSON alone."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)  # type: ignore[no-any-return]


def given(answer: Played, body: dict[str, Any]) -> Played:
    return answer


def continuing(play: Play) -> None:
    """Let the upstream be one that goes on with a message."""
    play.desk.routes["m"].base.upstreams[0].cutter._continues = True


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@run_async
async def test_a_cap_that_no_budget_can_divide_is_refused_by_its_name(tmp_path: Path, field: str) -> None:
    async with playing(tmp_path, route={"budget": 4}) as play:
        continuing(play)
        for odd in NO_CAPS:
            reply = await play.chat(None, "chat/completions", **{field: odd})
            error = reply.json()["error"]
            assert (reply.status_code, error["message"]) == (400, f"{field}: expected a whole number above 0"), odd
        assert play.upstreams["a"].bodies == []


@run_async
async def test_of_two_caps_the_smaller_one_holds(tmp_path: Path) -> None:
    async with playing(tmp_path, route={"budget": 4}) as play:
        continuing(play)
        await play.chat(max_tokens=9, max_completion_tokens=3)
        assert [body["max_tokens"] for body in play.upstreams["a"].bodies] == [3]


@pytest.mark.parametrize("turn", [{"role": "tool", "content": "4"}, {"role": "assistant", "tool_calls": [FUNCTION]}])
@run_async
async def test_a_conversation_with_tools_is_not_rendered_without_them(tmp_path: Path, turn: dict[str, Any]) -> None:
    async with playing(tmp_path, route={"budget": 4}) as play:
        play.desk.routes["m"].base.upstreams[0].cutter.tokenizer = object()  # it is not reached
        reply = await play.chat(messages=[*TWO_PLUS_TWO, turn])
        assert reply.status_code == 400 and "no calls of tools" in reply.json()["error"]["message"]
        assert play.upstreams["a"].bodies == []


@run_async
async def test_a_field_of_one_route_is_refused_on_another_unless_it_is_a_usual_one(tmp_path: Path) -> None:
    routes = {"m": {"upstreams": ["a"]}, "w": {"upstreams": ["a"], "further_fields": ["top_k", "special"]}}
    async with playing(tmp_path, routes=routes) as play:
        assert [(await play.chat(top_k=1, model=name)).status_code for name in routes] == [200, 200]
        assert [(await play.chat(special=1, model=name)).status_code for name in routes] == [400, 200]


@pytest.mark.parametrize("field", ["user", "stream", "metadata", "thinking_budget"])
@run_async
async def test_a_field_that_is_never_passed_on_cannot_be_added_to_a_route(tmp_path: Path, field: str) -> None:
    with pytest.raises(InputError, match=f"routes.m.further_fields: {field} is for the gateway alone"):
        async with playing(tmp_path, route={"further_fields": [field]}):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
@run_async
async def test_the_address_at_which_the_gateway_listens_is_one_that_may_be_named(tmp_path: Path, host: str) -> None:
    async with playing(tmp_path, host=host) as play:
        named = f"[{host}]:8080" if ":" in host else f"{host}:8080"
        statuses = [(await play.chat({"host": name})).status_code for name in (named, "elsewhere.test", f"{host}.test")]
    assert statuses == [200, 400, 400]


# --- replies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [{}, {"budget": 4}], ids=["", "budget"])
@pytest.mark.parametrize("is_streamed", [False, True])
@run_async
async def test_counts_that_cannot_be_are_no_counts(tmp_path: Path, budget: dict[str, int], is_streamed: bool) -> None:
    places = ("prompt_tokens", "completion_tokens", "completion_tokens_details")
    async with playing(tmp_path, route=budget) as play:
        continuing(play)
        for place in places:
            for odd in NO_COUNTS:
                usage = {**USAGE, place: odd}
                end = (event({"content": "4"}), event({}, finish="stop"), event(usage=usage), b"data: [DONE]\n\n")
                answer = stream(*end) if is_streamed else whole(usage=usage)
                play.upstreams["a"].script = partial(given, answer)
                reply = await play.chat(stream=is_streamed)
                assert reply.status_code == 200 and "gateway_failed" not in reply.text, (place, odd)
        rows = play.rows()
    assert len(rows) == len(places) * len(NO_COUNTS)
    assert {row["prompt_tokens"] for row in rows} == {5, None} and {row["thinking_tokens"] for row in rows} <= {3, None}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
@run_async
async def test_a_number_that_json_does_not_have_is_null_for_the_client(tmp_path: Path, number: str) -> None:
    async with playing(tmp_path) as play:
        spelled = whole(logprob="HERE").pieces[0].replace(b'"HERE"', number.encode())
        play.upstreams["a"].script = lambda _: Played([spelled])
        assert strict((await play.chat()).text)["logprob"] is None
        told = b"data: " + spelled.replace(b'"message"', b'"delta"') + b"\n\n"
        play.upstreams["a"].script = lambda _: stream(told, b"data: [DONE]\n\n")
        first, *_ = (await play.chat(stream=True)).text.split("\n\n")
        assert strict(first.removeprefix("data: "))["logprob"] is None


@run_async
async def test_an_upstream_that_refuses_to_continue_is_one_that_does_not(tmp_path: Path) -> None:
    async with playing(tmp_path, {"a": lambda _: refused(400, "unknown field continue_final_message")}) as play:
        reply = await play.chat(thinking_budget=3)
        assert reply.status_code == 400 and "does not continue a response" in reply.json()["error"]["message"]
        asked = len(play.upstreams["a"].bodies)
        await play.chat(thinking_budget=3)
        assert len(play.upstreams["a"].bodies) == asked


@pytest.mark.parametrize("spelled", ["sec/ret-key-0123456789", r"sec\/ret-key-0123456789"])
@run_async
async def test_no_part_of_a_key_comes_through_where_a_message_is_cut(tmp_path: Path, spelled: str) -> None:
    content = b'{"error": {"message": "' + b"x" * 290 + b" " + spelled.encode() + b'"}}'
    async with playing(tmp_path, {"a": lambda _: Played([content], 400)}) as play:
        play.desk.routes["m"].base.upstreams[0].key = "sec/ret-key-0123456789"
        reply = await play.chat(messages=TWO_PLUS_TWO)
    assert reply.status_code == 400 and "sec" not in reply.text and "[key]" in reply.text


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 32, "completion_tokens": 400, "total_tokens": 732, "reasoning_tokens": 300}, 700),
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, 603),
        ({"completion_tokens": 60, "completion_tokens_details": {"reasoning_tokens": 40}}, 60),
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, 7),
        ({"total_tokens": 12}, None),
    ],
)
def test_hidden_thinking_that_a_count_leaves_out_is_counted(usage: dict[str, Any], counted: int | None) -> None:
    """For the store and the cost of a request, and where the gateway cuts."""
    reading, drawn = ResponseReading("id", "m"), DrawnText()
    reading.take({"usage": usage})
    drawn.add(ReplyPiece(usage=usage))
    assert (reading.completion_tokens, drawn.completion_tokens) == (counted, counted)
