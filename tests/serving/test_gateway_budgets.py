"""Thinking budgets through the gateway: who keeps them, what the client gets, and what the record says."""

import json
from pathlib import Path
from typing import Any

import pytest
from played_upstream import Played, playing, run_async, stream, whole

UPSTREAM = {"url": "http://a.test/v1", "model": "inner"}
CURVE = {"budget": 3, "budget_end": "</think>\\boxed{", "budget_answer_tokens": 32}


def completion(text: str, finish: str, num_tokens: int) -> dict[str, Any]:
    usage = {"prompt_tokens": 5, "completion_tokens": num_tokens}
    return {"id": "up", "choices": [{"index": 0, "text": text, "finish_reason": finish}], "usage": usage}


def thinking_on(body: dict[str, Any]) -> Played:
    """A model that thinks on and on, until the words of the curve are written for it."""
    forced = str(body["prompt"]).endswith("{")
    said = completion("7}", "stop", 2) if forced else completion("a b c ", "length", 3)
    if not body.get("stream"):
        return Played([json.dumps(said).encode()])
    return stream(f"data: {json.dumps(said)}\n\n".encode(), b"data: [DONE]\n\n")


@pytest.mark.parametrize("is_streamed", [False, True])
@run_async
async def test_two_requests_are_one_response_and_one_record(tmp_path: Path, is_streamed: bool) -> None:
    """Three tokens of thought and two of the answer; the budget is the route's."""
    async with playing(tmp_path, {"a": thinking_on}, route=CURVE) as play:
        reply = await play.chat(path="completions", prompt="Q?<think>", stream=is_streamed)
        told = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line and "[DONE]" not in line]
        choices = [json.loads(line)["choices"][0] for line in told]
        assert "".join(choice["text"] for choice in choices) == "a b c </think>\\boxed{7}"
        assert choices[-1]["finish_reason"] == "stop"
        assert {json.loads(line)["id"] for line in told} == {reply.headers["x-laconic-request-id"]}
        (row,) = play.rows()
        figures = ("prompt_tokens", "completion_tokens", "thinking_tokens", "budget", "is_cut", "finish")
        assert [row[name] for name in figures] == [5, 5, 3, 3, True, "stop"]
        assert [body["max_tokens"] for body in play.upstreams["a"].bodies] == [3, 32]


@run_async
async def test_a_stream_without_thinking_is_answered_by_another_upstream_where_one_is_gone(tmp_path: Path) -> None:
    """Nothing is passed on before an upstream has spoken, the words that are written for the model neither."""
    gone = Played(status=503)
    async with playing(tmp_path, {"a": lambda _: gone, "b": thinking_on}, route={**CURVE, "budget": 0}) as play:
        reply = await play.chat(path="completions", prompt="Q?<think>", stream=True)
    told = [json.loads(line.removeprefix("data: ")) for line in reply.text.split("\n\n")[:-2]]
    assert "".join(chunk["choices"][0]["text"] for chunk in told) == "</think>\\boxed{7}"


@pytest.mark.parametrize(
    ("kept_by", "told"),
    [
        ("vllm", {"thinking_token_budget": 9}),
        ("laconic", {"thinking_token_budget": 9, "thinking_end": "</think>\\boxed{", "thinking_answer_tokens": 32}),
    ],
)
@run_async
async def test_an_upstream_that_keeps_budgets_is_told_of_them(
    tmp_path: Path, kept_by: str, told: dict[str, Any]
) -> None:
    """The request's own number comes before the route's; its reply says three tokens of thinking, so nothing was cut."""
    upstreams = {"a": {**UPSTREAM, "budgets": kept_by}}
    async with playing(tmp_path, {"a": lambda _: whole()}, route=CURVE, upstreams=upstreams) as play:
        await play.chat(thinking_budget=9)
        (body,) = play.upstreams["a"].bodies
        assert {key: value for key, value in body.items() if key.startswith("thinking")} == told
        (row,) = play.rows()
        assert (row["budget"], row["thinking_tokens"], row["is_cut"]) == (9, 3, False)


@run_async
async def test_a_request_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    """The upstream does not continue a message: its prompt has as many tokens with one that was begun as without."""
    async with playing(tmp_path, {"a": lambda _: whole()}) as play:
        reply = await play.chat(thinking_budget=3)
        assert reply.status_code == 400
        assert "does not continue a response" in reply.json()["error"]["message"]
        assert (await play.chat()).status_code == 200
