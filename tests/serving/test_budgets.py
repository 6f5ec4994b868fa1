"""Which budget a curve gives, and a budget that is enforced by two requests on an upstream that cannot enforce it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from folders import BASE, Run

from laconic.errors import InputError
from laconic.serving.budgets import ThinkingBudget, budget_from
from laconic.serving.cutting import Cutter, UncutError

FORCED = "</think>\\boxed{"

# --- the curve -------------------------------------------------------------------------------------------------------


def with_curve(folder: Path, points: Mapping[int, tuple[float, float]], accuracy: float = 0.8) -> Path:
    """An evaluation whose curve has (accuracy, share cut) at each budget."""
    figures = {
        "accuracy": {"mean": accuracy, "ci95": [max(accuracy - 0.1, 0.0), accuracy + 0.1]},
        "tokens": {"mean": 50.0, "ci95": [40.0, 60.0]},
    }
    curve = [
        {
            "budget": budget,
            "accuracy": {"mean": mean, "ci95": [max(mean - 0.1, 0.0), mean + 0.1]},
            "tokens": {"mean": float(budget), "ci95": [budget - 1.0, budget + 1.0]},
            "cut_frac": cut,
        }
        for budget, (mean, cut) in points.items()
    ]
    Run(BASE, figures).write(folder)
    text = json.dumps({"force_text": FORCED, "answer_max_tokens": 32, "points": curve})
    (folder / "budget_curve.json").write_text(text)
    return folder


def test_the_smallest_budget_that_keeps_the_share_is_chosen(tmp_path: Path) -> None:
    """0.95 of 0.8 is 0.76: 64 has 0.75, 128 has 0.77; the text and the cap are those of the curve."""
    points = {32: (0.5, 0.9), 64: (0.75, 0.4), 128: (0.77, 0.1), 256: (0.8, 0.0)}
    chosen = budget_from(with_curve(tmp_path / "run", points), 0.95)
    assert chosen.budget == ThinkingBudget(128, FORCED, 32)
    assert "cut after 128 tokens" in chosen.words
    assert "77.0% (67.0% to 87.0%)" in chosen.words
    assert "80.0% (70.0% to 90.0%) without a budget" in chosen.words


@pytest.mark.parametrize(
    ("points", "accuracy", "keep", "words"),
    [
        ({32: (0.5, 0.9), 64: (0.7, 0.4)}, 0.8, 0.99, "no budget keeps 0.99 of the accuracy 80.0%"),
        ({32: (0.8, 0.0), 64: (0.8, 0.0)}, 0.8, 0.99, "no budget of its curve cut any thinking"),
        ({32: (0.0, 0.9)}, 0.0, 0.5, "no budget keeps"),
        ({32: (0.5, 0.9)}, 0.8, 1.5, "--keep-accuracy: 1.5, expected a share"),
        ({}, 0.8, 0.9, "no evaluation here has a budget curve; measure one"),
    ],
)
def test_a_curve_that_gives_no_budget_is_refused(
    tmp_path: Path, points: Mapping[int, tuple[float, float]], accuracy: float, keep: float, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        budget_from(with_curve(tmp_path / "run", points, accuracy), keep)


def test_of_two_curves_one_must_be_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with_curve(tmp_path / "eval" / name, {32: (0.8, 0.5)})
    with pytest.raises(InputError, match="several evaluations have a budget curve"):
        budget_from(tmp_path, 0.9)
    assert budget_from(tmp_path / "eval" / "a", 0.9).budget.tokens == 32


# --- two requests ----------------------------------------------------------------------------------------------------

THOUGHT = [f"t{i} " for i in range(10)]
ANSWER = ["</think>", "The ", "answer ", "is ", "4."]


@dataclass
class Upstream:
    """A scripted model: it writes `tokens` after the prompt, one token per text, and "7}" after forced words.

    Where it does not `continue`, a message of the assistant is dropped from the conversation, as many servers do.
    """

    tokens: Sequence[str] = (*THOUGHT, *ANSWER)
    continues: bool = True
    has_field: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[list[dict[str, Any]], None]:
        self.asked.append({"path": path, **body})
        begun = self._begun(body)
        rest = ["7", "}"] if begun.endswith("{") else list(self.tokens)[self._place(begun) :]
        cap = body.get("max_tokens") or len(rest)
        said, finish = rest[:cap], "stop" if cap >= len(rest) else "length"
        usage = {"prompt_tokens": 5 + len(begun.split()), "completion_tokens": len(said)}
        if not body.get("stream"):
            yield [self._object(path, "".join(said), finish, is_piece=False) | {"usage": usage}]
            return
        for token in said:
            yield [self._object(path, token, None, is_piece=True)]
        yield [self._object(path, "", finish, is_piece=True), {"id": "up", "choices": [], "usage": usage}]

    def _begun(self, body: Mapping[str, Any]) -> str:
        if "prompt" in body:
            return str(body["prompt"]).removeprefix("Q?<think>")
        last = body["messages"][-1]
        return last["content"] if last["role"] == "assistant" and self.continues else ""

    def _place(self, begun: str) -> int:
        texts = ["".join(list(self.tokens)[:i]) for i in range(len(self.tokens) + 1)]
        return texts.index(begun) if begun in texts else 0

    def _object(self, path: str, text: str, finish: str | None, *, is_piece: bool) -> dict[str, Any]:
        name = "reasoning_content" if self.has_field and text.startswith("t") else "content"
        said = {"delta" if is_piece else "message": {name: text}} if "chat" in path else {"text": text}
        return {"id": "up", "choices": [{"index": 0, **said, "finish_reason": finish}]}


COMPLETION = {"model": "m", "prompt": "Q?<think>", "seed": 3}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Q?"}]}


def objects(
    upstream: Upstream, fields: Mapping[str, Any], budget: ThinkingBudget, *, is_streamed: bool = False
) -> list[dict[str, Any]]:
    kind = "chat" if "messages" in fields else "completions"

    async def collect() -> list[dict[str, Any]]:
        made = Cutter().objects(upstream.ask, kind, fields, budget, is_streamed=is_streamed)  # type: ignore[arg-type]
        return [one async for found in made for one in found]

    return asyncio.run(collect())


def text_of(made: Sequence[Mapping[str, Any]]) -> str:
    def text(choice: Mapping[str, Any]) -> str:
        said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        return str(said.get("content") or "")

    return "".join(text(choice) for one in made for choice in one["choices"])


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_thought_is_cut_and_its_answer_asked_for(is_streamed: bool) -> None:
    """Three tokens of thought, the words that force, and the two tokens of the answer, drawn greedily: five tokens in all."""
    upstream = Upstream()
    made = objects(upstream, COMPLETION, ThinkingBudget(3, FORCED, 32), is_streamed=is_streamed)
    assert text_of(made) == "t0 t1 t2 </think>\\boxed{7}"
    assert made[-1]["choices"][0]["is_cut"] is True
    assert made[-1]["choices"][0]["finish_reason"] == "stop"
    assert made[-1]["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 5,
        "total_tokens": 10,
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert [asked["max_tokens"] for asked in upstream.asked] == [3, 32]
    assert [asked.get("temperature") for asked in upstream.asked] == [None, 0]
    assert len(made) == (7 if is_streamed else 1)  # 3 tokens, the words, 2 tokens, the end


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_response_within_its_budget_is_asked_for_once(is_streamed: bool) -> None:
    upstream = Upstream()
    made = objects(upstream, COMPLETION, ThinkingBudget(15), is_streamed=is_streamed)
    assert text_of(made) == "".join((*THOUGHT, *ANSWER))
    assert made[-1]["choices"][0]["is_cut"] is False
    assert len(upstream.asked) == 1


def test_a_thought_that_ended_in_time_keeps_its_whole_answer() -> None:
    """The thought has ten tokens and its mark, the budget twelve: the answer goes on after it, and nothing is forced."""
    upstream = Upstream()
    made = objects(upstream, COMPLETION, ThinkingBudget(12), is_streamed=True)
    assert text_of(made) == "".join((*THOUGHT, *ANSWER))
    assert made[-1]["choices"][0]["is_cut"] is False
    assert made[-1]["usage"]["completion_tokens"] == 15
    assert upstream.asked[1]["prompt"].endswith("</think>The ")


def test_a_thought_that_never_ends_is_cut_all_the_same() -> None:
    made = objects(Upstream(tokens=[f"t{i} " for i in range(1000)]), COMPLETION, ThinkingBudget(2, FORCED, 32))
    assert text_of(made) == "t0 t1 </think>\\boxed{7}"


def test_a_budget_of_nothing_forces_the_answer_with_one_request() -> None:
    upstream = Upstream()
    made = objects(upstream, COMPLETION, ThinkingBudget(0, FORCED, 32))
    assert text_of(made) == FORCED + "7}"
    assert made[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert len(upstream.asked) == 1


def test_a_stream_without_thinking_begins_with_the_upstream_s_head() -> None:
    """The words are written for the model, and come with the first object that the upstream sends."""
    upstream = Upstream()
    made = objects(upstream, COMPLETION, ThinkingBudget(0, FORCED, 32), is_streamed=True)
    assert text_of(made) == FORCED + "7}" and text_of(made[:1]) == FORCED
    assert [one["id"] for one in made] == ["up"] * len(made)


def test_the_cap_of_the_request_comes_before_the_budget() -> None:
    """Two tokens are all that may be drawn, so the response ends by its length, and is not cut."""
    made = objects(Upstream(), {**COMPLETION, "max_tokens": 2}, ThinkingBudget(3, FORCED, 32))
    assert text_of(made) == "t0 t1 "
    assert made[-1]["choices"][0] == {"index": 0, "text": "t0 t1 ", "finish_reason": "length", "is_cut": False}


def test_a_cap_is_shared_by_thought_and_answer() -> None:
    upstream = Upstream()
    made = objects(upstream, {**COMPLETION, "max_tokens": 4}, ThinkingBudget(3, FORCED, 32))
    assert text_of(made) == "t0 t1 t2 </think>\\boxed{7"
    assert [asked["max_tokens"] for asked in upstream.asked] == [3, 1]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_conversation_is_continued_by_an_upstream_that_can(is_streamed: bool) -> None:
    """Two requests find out that it can; without a known mark the thought is closed by the usual one."""
    upstream = Upstream(tokens=["<think>", *THOUGHT])
    made = objects(upstream, CHAT, ThinkingBudget(3, FORCED, 32), is_streamed=is_streamed)
    assert text_of(made) == "<think>t0 t1 </think>\\boxed{7}"
    assert upstream.asked[3]["continue_final_message"] is True
    assert upstream.asked[3]["messages"][-1] == {"role": "assistant", "content": "<think>t0 t1 " + FORCED}


def test_an_upstream_that_ignores_a_begun_response_is_found_out_before_anything_is_drawn() -> None:
    upstream = Upstream(continues=False)
    with pytest.raises(UncutError, match="does not continue a response"):
        objects(upstream, CHAT, ThinkingBudget(3))
    assert [asked["max_tokens"] for asked in upstream.asked] == [1, 1]


def test_thinking_in_a_field_of_its_own_stays_there() -> None:
    """What is written for the model is seen from the end of the thought on."""
    upstream = Upstream(tokens=THOUGHT, has_field=True)
    (whole,) = objects(upstream, CHAT, ThinkingBudget(3, FORCED, 32))
    message = whole["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "\\boxed{7}", "reasoning_content": "t0 t1 t2 "}
    assert upstream.asked[3]["messages"][-1]["content"] == "<think>t0 t1 t2 " + FORCED


def test_a_field_that_asks_for_nothing_is_left_out() -> None:
    neutral = {
        "response_format": {"type": "text"},
        "tool_choice": "none",
        "tools": [],
        "logprobs": False,
        "logit_bias": {},
    }
    upstream = Upstream(tokens=["<think>", *THOUGHT])
    made = objects(upstream, {**CHAT, **neutral, "top_logprobs": None}, ThinkingBudget(3, FORCED, 32))
    assert text_of(made) == "<think>t0 t1 </think>\\boxed{7}"
    assert not {*neutral, "top_logprobs"}.intersection(*map(set, upstream.asked))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**CHAT, "tools": [{}]}, "tools: not together with a thinking budget"),
        ({**CHAT, "tool_choice": "auto"}, "tool_choice: not together with a thinking budget"),
        ({**CHAT, "response_format": {"type": "json_object"}}, "response_format: not together with a thinking budget"),
        ({**COMPLETION, "logprobs": 0}, "logprobs: not together with a thinking budget"),  # those of the drawn tokens
        ({**COMPLETION, "prompt": [1, 2]}, "prompt: expected one text"),
    ],
)
def test_what_cannot_be_cut_in_two_is_refused_before_it_is_asked(fields: dict[str, Any], words: str) -> None:
    upstream = Upstream()
    with pytest.raises(UncutError, match=words):
        objects(upstream, fields, ThinkingBudget(3))
    assert not upstream.asked
