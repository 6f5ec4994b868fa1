"""The local server: OpenAI's API over the parts of the local sampler, rows that join and leave, budgets, cancelled requests."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import oracles
import pytest
from transformers import DiffLlamaConfig, DiffLlamaForCausalLM

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import load_model
from laconic.prompts.forced_answers import force_text
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.serving.local_server.app import LocalServer
from laconic.serving.local_server.jobs import Cut, Job, LiveRow, News
from laconic.serving.local_server.replies import Unsent

QUESTION = [{"role": "user", "content": "start 7 then +5 *3 mod 10"}]
NUM_SLOTS = 8


@pytest.fixture(scope="module")
def lm() -> CausalLM:
    return load_model("tiny", PolicyConfig())


@pytest.fixture(scope="module")
def server(lm: CausalLM) -> Iterator[LocalServer]:
    server = LocalServer(lm, "tiny", NUM_SLOTS, 512)
    server.drawing.start()
    yield server
    server.drawing.close()


def post(server: LocalServer, *bodies: dict[str, Any], path: str = "/v1/chat/completions") -> list[httpx2.Response]:
    """The replies to requests that are sent at once."""

    async def send() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=server.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://local") as client:
            return list(await asyncio.gather(*(client.post(path, json=body) for body in bodies)))

    return asyncio.run(send())


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": QUESTION, "max_tokens": 200, **fields}


def said(reply: httpx2.Response) -> list[str]:
    return [choice["message"]["content"] for choice in reply.json()["choices"]]


def events(reply: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_a_seed_gives_what_the_local_sampler_draws_with_it(server: LocalServer, lm: CausalLM) -> None:
    """The sampler's rows of the request "served" have the same random numbers, and here the same texts and lengths."""
    (reply,) = post(server, chat(seed=3, n=4))
    ids = tuple(lm.tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False))
    decoding = SamplerConfig(max_tokens=200, batch_size=4)
    (drawn,) = LocalSampler(lm).sample([Request("served", ids, 4)], decoding, seed=3)
    assert said(reply) == [response.text for response in drawn]
    assert reply.json()["usage"]["completion_tokens"] == sum(response.num_tokens for response in drawn)
    assert len(set(said(reply))) > 1


def test_a_seed_gives_the_same_response_in_any_company(server: LocalServer) -> None:
    """Alone, among 19 others of other temperatures and caps (more than there are slots), and streamed."""
    (alone,) = post(server, chat(seed=5))
    others = [chat(seed=100 + i, temperature=(0.5, 1.0, 0.0)[i % 3], max_tokens=20 + 9 * i) for i in range(19)]
    assert said(post(server, *others[:10], chat(seed=5), *others[10:])[10]) == said(alone)
    (streamed,) = post(server, chat(seed=5, stream=True))
    deltas = [event["choices"][0]["delta"] for event in events(streamed)]
    assert ["".join(delta.get("content", "") for delta in deltas)] == said(alone)


def test_greedy_rows_and_drawn_rows_lie_in_one_batch(server: LocalServer) -> None:
    """At temperature 0 all seeds agree, beside rows at temperature 1 that do not."""
    bodies = [chat(seed=i, temperature=float(i % 2)) for i in range(8)]
    texts = [said(reply)[0] for reply in post(server, *bodies)]
    assert len(set(texts[::2])) == 1
    assert len(set(texts[1::2])) > 1


def test_usage_says_what_was_drawn_and_how_much_of_it_is_thinking(server: LocalServer, lm: CausalLM) -> None:
    """The thinking ends with the mark; what follows is the box and the end token."""
    (reply,) = post(server, chat(seed=1))
    usage, (text,) = reply.json()["usage"], said(reply)
    answer = text.split("</think>")[1]
    num_answer = len(lm.tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1
    assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"] - num_answer
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("budget", [0, 6])
def test_thinking_is_cut_at_its_budget_and_an_answer_forced(server: LocalServer, lm: CausalLM, budget: int) -> None:
    """The first `budget` tokens are those of the response without a budget; the words written for the model are not counted."""
    end = force_text(lm.tokenizer)
    cut_body = chat(seed=1, thinking_token_budget=budget, thinking_end=end, thinking_answer_tokens=32)
    whole, cut = post(server, chat(seed=1), cut_body)
    choice, usage = cut.json()["choices"][0], cut.json()["usage"]
    thought, answer = choice["message"]["content"].split("</think>")
    assert said(whole)[0].startswith(thought)
    assert len(lm.tokenizer(thought, add_special_tokens=False)["input_ids"]) == budget
    assert answer.startswith("\\boxed{")
    assert answer.endswith("}")
    assert choice["is_cut"] is True
    assert usage["completion_tokens_details"]["reasoning_tokens"] == budget
    assert budget < usage["completion_tokens"] <= budget + 32


def test_where_no_thought_is_opened_none_is_counted_or_cut(server: LocalServer, lm: CausalLM) -> None:
    """A raw prompt: what decides that a budget cuts nothing decides that no token was one of thinking."""
    body = {"model": "tiny", "prompt": "1+2=", "seed": 1, "max_tokens": 6}
    budgeted = {"thinking_token_budget": 2, "thinking_end": force_text(lm.tokenizer), "thinking_answer_tokens": 32}
    whole, kept = post(server, body, body | budgeted, path="/v1/completions")
    for reply in (whole, kept):
        (choice,), usage = reply.json()["choices"], reply.json()["usage"]
        assert "think>" not in choice["text"] and choice["text"] == whole.json()["choices"][0]["text"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] == 0
    assert kept.json()["choices"][0]["is_cut"] is False


def test_a_thought_within_its_budget_is_left_as_it_is(server: LocalServer) -> None:
    """A budget of as many tokens as the thought has cuts nothing; one token less does."""
    (whole,) = post(server, chat(seed=1))
    num_thinking = whole.json()["usage"]["completion_tokens_details"]["reasoning_tokens"]
    same, less = post(server, *(chat(seed=1, thinking_token_budget=num_thinking - i) for i in (0, 1)))
    assert said(same) == said(whole)
    assert same.json()["choices"][0]["is_cut"] is False
    assert less.json()["choices"][0]["is_cut"] is True


def test_a_stop_ends_the_response_before_it_streamed_or_not(server: LocalServer) -> None:
    """The text up to the stop, and no token after the one that completed it."""
    (whole,) = post(server, chat(seed=1))
    whole_reply, streamed = post(server, chat(seed=1, stop=["check"]), chat(seed=1, stop="check", stream=True))
    expected = said(whole)[0].split("check")[0]
    assert said(whole_reply) == [expected]
    assert whole_reply.json()["choices"][0]["finish_reason"] == "stop"
    assert whole_reply.json()["usage"]["completion_tokens"] < whole.json()["usage"]["completion_tokens"]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events(streamed)) == expected


def test_a_stream_ends_with_a_reason_and_with_usage_where_it_is_asked_for(server: LocalServer) -> None:
    (reply,) = post(server, chat(seed=1, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    *pieces, usage = events(reply)
    assert [piece["choices"][0]["finish_reason"] for piece in pieces][-1] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 20


def test_a_begun_response_goes_on_in_both_apis(server: LocalServer, lm: CausalLM) -> None:
    """Greedily, a response that is cut in two and continued is the response."""
    (whole,) = post(server, chat(temperature=0))
    text = said(whole)[0]
    begun = text[: text.index(";") + 1]
    turns = [*QUESTION, {"role": "assistant", "content": begun}]
    (rest,) = post(
        server,
        chat(temperature=0, messages=turns, continue_final_message=True, add_generation_prompt=False),
    )
    assert begun + said(rest)[0] == text
    prompt = lm.tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=False) + begun
    body = {"prompt": prompt, "temperature": 0, "max_tokens": 200}
    (completed,) = post(server, body, path="/v1/completions")
    assert begun + completed.json()["choices"][0]["text"] == text


def test_a_client_that_leaves_takes_its_row_with_it(server: LocalServer) -> None:
    """The reply to another request comes, and afterwards no row is left, though the first had 500 tokens to go."""

    async def leave() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=server.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://local") as client:
            endless = asyncio.create_task(
                client.post("/v1/completions", json={"prompt": "+", "max_tokens": 500, "n": NUM_SLOTS})
            )
            while not (server.drawing.live and server.drawing.live.rows):
                await asyncio.sleep(0.001)
            endless.cancel()
            return await client.post("/v1/chat/completions", json=chat(seed=1, max_tokens=4))

    assert asyncio.run(leave()).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"logprobs": True}, 400, "logprobs is not supported"),
        ({"logprobs": 0}, 400, "logprobs is not supported"),
        ({"tools": [{}]}, 400, "tools is not supported"),
        ({"wit": 1}, 400, "'wit' is no field"),
        ({"temperature": "hot"}, 400, "temperature is 'hot', expected 0 or a number from 0.01 to 10"),
        ({"temperature": 0.001}, 400, "temperature is 0.001, expected 0 or a number from 0.01 to 10"),
        ({"temperature": 10.5}, 400, "temperature is 10.5, expected 0 or a number from 0.01 to 10"),
        ({"temperature": 10**400}, 400, "expected 0 or a number from 0.01 to 10"),
        ({"temperature": True}, 400, "temperature is True, expected 0 or a number from 0.01 to 10"),
        ({"top_p": 0.005}, 400, "top_p is 0.005, expected a number from 0.01 to 1"),
        ({"min_p": 1}, 400, "min_p is 1, expected a number of at least 0 and below 1"),
        ({"n": 0}, 400, "n is 0"),
        ({"thinking_token_budget": -1}, 400, "thinking_token_budget is -1"),
        ({"thinking_end": "."}, 400, "thinking_end needs a thinking_token_budget"),
        ({"max_tokens": 512}, 400, "maximum context length is 512"),
        ({"model": "other"}, 404, "the model 'other' does not exist; here is tiny"),
        ({"messages": []}, 400, "expected a list of messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "expected a text"),
        ({"continue_final_message": True}, 400, "needs a last message of the assistant"),
        (
            {"continue_final_message": True, "messages": [{"role": "assistant", "content": "1"}]},
            400,
            "expected a turn before it",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_reason(
    server: LocalServer, fields: dict[str, Any], status: int, words: str
) -> None:
    (reply,) = post(server, chat(**fields))
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize("place", ["content", "thinking_end", "name"])
def test_half_of_a_character_is_refused_wherever_it_stands(server: LocalServer, place: str) -> None:
    half = "\ud800"
    fields = {
        "content": chat(messages=[{"role": "user", "content": half}]),
        "thinking_end": chat(thinking_token_budget=1, thinking_end=half),
        "name": chat(**{half: 1}),
    }[place]

    async def send() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(server.app()), base_url="http://local") as client:
            return await client.post("/v1/chat/completions", content=json.dumps(fields))

    reply = asyncio.run(send())
    assert reply.status_code == 400 and "half of a character" in reply.json()["error"]["message"]


def test_a_failure_of_drawing_fails_requests_and_health_and_hangs_nobody(lm: CausalLM) -> None:
    server = LocalServer(lm, "tiny", 2, 512)
    server.drawing.num_slots = -1  # no cache has so many
    server.drawing.start()
    (reply,) = post(server, chat())
    assert reply.status_code == 500
    assert "drawing failed" in reply.json()["error"]["message"]
    assert "drawing failed" in server.drawing.failure


# --- what a stop takes back, and what is checked before it listens ----------------------------------------------------


def taken(lm: CausalLM, words: str, **options: Any) -> tuple[LiveRow, list[News]]:
    """A row that draws `words` one by one, and all that it tells."""
    told: list[News] = []
    decoding = SamplerConfig(max_tokens=100)
    row = LiveRow(Job((1,), 0, decoding, told.append, is_streamed=True, **options), lm)
    for token in lm.tokenizer(words, add_special_tokens=False).input_ids:
        if row.finish is None:
            row.take(token)
            row.report()
    return row, told


def test_no_stream_begins_with_a_part_of_its_stop(lm: CausalLM) -> None:
    """A stop that is longer than what there is holds all of it back, and one in the first token is found there."""
    tokens = tuple(lm.tokenizer("check 1 2", add_special_tokens=False).input_ids)
    long_stop = lm.decode(tokens) + " 3 4"
    job = Job((1,), 0, SamplerConfig(max_tokens=100), lambda _: None, stops=(long_stop,))
    assert Unsent(lm, job).next(News(tokens)) == ""
    row, told = taken(lm, "check 1 2 3 4", stops=("heck",))
    assert row.text == "c"
    assert "".join(map(Unsent(lm, row.job).next, told)) == "c"


def test_a_stop_before_the_cut_leaves_no_forced_tokens(lm: CausalLM) -> None:
    """The stop is looked for after 8 tokens, of which thinking was cut after 4; it is completed by the third."""
    forced = tuple(lm.tokenizer("</think>", add_special_tokens=False).input_ids)
    cut = Cut(budget=4, forced=forced)
    row, told = taken(lm, "1 2 3 4 5 6 7 8 9", mark="<think>", stops=("3",), cut=cut)
    assert len(row.tokens) == 3
    assert (told[-1].num_forced, told[-1].is_cut, told[-1].finish) == (0, False, "stop")


def test_words_that_end_a_thought_hold_no_stop(lm: CausalLM) -> None:
    """A stop is in the words that are written after 4 tokens, begins before or ends behind them; in the answer it counts."""
    forced = tuple(lm.tokenizer("; check</think>", add_special_tokens=False).input_ids)
    for stop in ("; check", "</think>", "4;", "4; check", "</think>5"):
        row, told = taken(lm, "1 2 3 4" + " x" * len(forced) + "5", mark="<think>", stops=(stop,), cut=Cut(4, forced))
        assert row.finish is None, stop
    drawn = "1 2 3 4" + " x" * len(forced) + "5 check 6 7 8 9 1 2 3 4 5 6 7 8 9"
    row, told = taken(lm, drawn, mark="<think>", stops=("check",), cut=Cut(4, forced))
    assert row.finish == "stop" and row.text is not None and row.text.endswith("</think>5")
    assert (told[-1].num_forced, told[-1].is_cut) == (len(forced), True)


def test_a_model_that_is_decoded_wrongly_is_refused_before_the_server_listens() -> None:
    """Differential attention takes the difference of two attentions, of which the cache knows one; convolutions have no cache."""
    shape = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = DiffLlamaConfig(**shape, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2)
    lm = CausalLM(DiffLlamaForCausalLM(config).eval(), oracles.small_tokenizer(), "diff")
    with pytest.raises(ModelError, match="does not decode DiffLlamaForCausalLM as its own forward pass does"):
        LocalServer(lm, "m", 2, 64)
    lm = oracles.small_lm("llama")
    lm.text_config.layer_types = ["conv", "full_attention"]
    with pytest.raises(ModelError, match="no cache for layers of kind conv"):
        LocalServer(lm, "m", 2, 64)
