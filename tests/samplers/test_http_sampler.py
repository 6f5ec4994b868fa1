"""What the http sampler claims: each sample is asked once, in its place and with its own seed; what may pass is tried again and
what will not ends in one line; a rate limit is found rather than hit; a length is what the server counted.

A small server in this process plays the endpoint: a script says what it answers to each request. One test asks a real server,
`transformers serve`, where what it needs is installed.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import Answer, Endpoint, error, in_turn, reply

from laconic.config.solver import PenalizedSampler, PromptConfig, SamplerConfig
from laconic.errors import InputError, LaconicWarning, ModelError, RunFailed, Terminated
from laconic.grading.grader import Grader
from laconic.rng import seed_of
from laconic.rollouts.rows import ResponseRow, rows_of
from laconic.rollouts.solver import Solver
from laconic.samplers import http, pacing
from laconic.samplers.endpoints import APIS, KEY_VARIABLES, RemoteModel, parse_endpoint
from laconic.samplers.fetching import ReplyLimits, what_ended
from laconic.samplers.http import HttpSampler
from laconic.samplers.pacing import Window, backoff_seconds, retry_after_seconds
from laconic.samplers.protocol import Request
from laconic.samplers.refusals import refusal
from laconic.samplers.wire import SEED_MASK, WIRES, body_of, read_reply
from laconic.types import FinishReason, Grade, Problem

DECODING = SamplerConfig(max_tokens=64, batch_size=4)
PATIENCE = 60.0  # seconds after which the server stops waiting for an event; only a test that fails waits for them
CHECKPOINT = Path(http.__file__).parents[1] / "tiny" / "checkpoint"


def ask(key: str, num_samples: int = 1, first_sample: int = 0) -> Request:
    return Request(key, (), num_samples, first_sample, ({"role": "user", "content": key},))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """The server; waits between attempts are a hundredth of the real ones, and no key is set."""
    monkeypatch.setattr(pacing, "BASE_SECONDS", 0.005)
    for variable in KEY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    server = Endpoint()
    yield server
    server.close()


# --- what is asked, and where answers go -----------------------------------------------------------------------------


def test_answers_stand_in_the_order_of_requests_whatever_order_they_come_in(endpoint: Endpoint) -> None:
    """The server answers with the problem and the seed it was sent; the first request is answered after another one."""
    progress: list[tuple[int, int]] = []
    another = threading.Event()

    def script(body: dict[str, Any], number: int) -> Answer:
        assert number > 0 or another.wait(PATIENCE)
        return Answer(reply(f"{body['messages'][0]['content']} {body['seed']}", tokens=number + 1))

    def note(responses: int, tokens: int) -> None:
        progress.append((responses, tokens))
        another.set()

    endpoint.script = script
    rows = endpoint.sampler().sample([ask("a", 2), ask("b", 3, first_sample=7)], DECODING, seed=5, on_progress=note)
    expected = [
        [f"{key} {seed_of(5, key, sample) & SEED_MASK}" for sample in samples]
        for key, samples in (("a", range(2)), ("b", range(7, 10)))
    ]
    assert [[response.text for response in row] for row in rows] == expected
    assert len(progress) == 5 and sum(tokens for _, tokens in progress) == 1 + 2 + 3 + 4 + 5
    assert progress[0] != (1, 1), "the server was to answer out of order"


def test_a_request_states_every_decoding_setting_and_one_sample(endpoint: Endpoint) -> None:
    """Neutral settings are sent too: a server's own defaults are not neutral. min_p is sent where it is above 0."""
    endpoint.sampler().sample([ask("a")], DECODING, seed=0)
    endpoint.sampler().sample([ask("a")], DECODING.model_copy(update={"min_p": 0.1, "temperature": 0.0}), seed=0)
    plain, cut = (seen.body for seen in endpoint.seen)
    seed = seed_of(0, "a", 0) & SEED_MASK
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}], "seed": seed, "max_tokens": 64, "top_p": 1.0}
    assert plain == asked | {"temperature": 1.0}
    assert cut == asked | {"temperature": 0.0, "min_p": 0.1}
    assert 0 <= seed < 2**31


def test_connections_are_kept_and_no_more_requests_fly_than_asked_for(endpoint: Endpoint) -> None:
    """40 requests, 4 at a time: at most 4 connections, and 4 are in flight together, for the first waits for the fourth."""
    together = threading.Barrier(4)

    def script(body: dict[str, Any], number: int) -> Answer:
        if number < 4:
            together.wait(PATIENCE)
        return Answer(reply())

    endpoint.script = script
    endpoint.sampler().sample([ask("a", 40)], DECODING, seed=0)
    assert len(endpoint.seen) == 40
    assert len({seen.connection for seen in endpoint.seen}) <= 4
    assert max(seen.in_flight for seen in endpoint.seen) == 4


def test_the_completions_api_takes_token_ids_or_the_text_of_the_turns(endpoint: Endpoint) -> None:
    endpoint.script = lambda body, number: Answer(
        {"choices": [{"text": "4</think>4", "finish_reason": "stop"}], "usage": {"completion_tokens": 5}}
    )
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"})
    rows = endpoint.sampler("?api=completions").sample(
        [Request("ids", (7, 8), 1), Request("text", (), 1, messages=turns)], DECODING, seed=0
    )
    assert {seen.path for seen in endpoint.seen} == {"/v1/completions"}
    assert {json.dumps(seen.body["prompt"]) for seen in endpoint.seen} == {"[7, 8]", '"Be brief.\\n2+2?\\n"'}
    assert [(row[0].text, row[0].num_tokens) for row in rows] == [("4</think>4", 5)] * 2


def test_the_ids_api_gives_token_ids_and_log_probabilities_as_the_local_sampler_does(endpoint: Endpoint) -> None:
    """The tokenizer of the address renders the prompt and reads the response: "4" and the end token."""
    address = f"{endpoint.url}#m?api=ids&tokenizer=tiny"
    model, sampler = http.open_endpoint(address)
    four = [*model.tokenizer.encode("4", add_special_tokens=False), model.tokenizer.eos_token_id]
    choice: dict[str, Any] = {"text": "4", "finish_reason": "stop", "token_ids": four}
    logprobs = {"token_logprobs": [-0.5] * len(four)}
    endpoint.script = lambda body, number: Answer({"choices": [choice | {"logprobs": logprobs}]})
    with Grader() as grader:
        group = Solver(model, sampler, grader, PromptConfig()).attempt([Problem("p", "2+2?", "4")], 1, DECODING, seed=0)
    response = group[0].rollouts[0].response
    assert endpoint.seen[0].path == "/v1/completions"
    body = endpoint.seen[0].body
    assert tuple(body["prompt"]) == group[0].prompt_ids and body["return_token_ids"] and body["top_k"] == 0
    assert (response.token_ids, response.text, set(response.logprobs)) == (tuple(four), "4", {-0.5})
    for odd in ({}, {"token_ids": [10**12] * len(four)}, {"token_ids": [True] * len(four)}):
        told = choice | ({"logprobs": logprobs} if odd else {}) | odd
        endpoint.script = lambda body, number, told=told: Answer({"choices": [told]})
        with pytest.raises(RunFailed, match=r"expected 1 to 64 token_ids with as many log-prob.*api=ids needs vLLM"):
            sampler.sample([Request("p", (1, 2), 1)], DECODING, seed=0)
    for number in (3.0, 10**400, float("nan"), None):
        told = choice | {"logprobs": {"token_logprobs": [number] * len(four)}}
        endpoint.script = lambda body, count, told=told: Answer({"choices": [told]})
        with pytest.raises(RunFailed, match=r"expected 1 to 64 token_ids with as many log-prob"):
            sampler.sample([Request("p", (1, 2), 1)], DECODING, seed=0)
    with pytest.raises(ModelError, match="api=ids renders prompts here; expected tokenizer=NAME"):
        parse_endpoint(f"{endpoint.url}#m?api=ids")


def test_an_address_can_add_fields_and_omit_those_a_server_refuses(endpoint: Endpoint) -> None:
    sampler = endpoint.sampler("?omit=seed,top_p&body.top_k=-1&body.reasoning_effort=low")
    sampler.sample([ask("a")], DECODING, seed=0)
    body = endpoint.seen[0].body
    assert body["top_k"] == -1 and body["reasoning_effort"] == "low"
    assert not {"seed", "top_p"} & set(body)
    assert sampler.name.endswith("#m?omit=seed,top_p&body.top_k=-1&body.reasoning_effort=low")
    with pytest.raises(ModelError, match=r"omit=top_p is only true at top_p 1\.0, and it is 0\.9"):
        sampler.sample([ask("a")], DECODING.model_copy(update={"top_p": 0.9}), seed=0)


def test_an_address_does_not_replace_what_the_run_sends(endpoint: Endpoint) -> None:
    """A penalty is sent as logit_bias, and `ids` sends neutral settings: figures would be those of something else."""
    penalized = PenalizedSampler(**DECODING.model_dump(), penalty=3.0, words=("wait",), tokens=(11, 12))
    sampler = endpoint.sampler('?body.logit_bias={"50":-1}')
    with pytest.raises(ModelError, match=r"body\.logit_bias is set by the run, to .*; leave it out"):
        sampler.sample([ask("a")], penalized, seed=0)
    endpoint.sampler('?body.logit_bias={"50":-1}').sample([ask("a")], DECODING, seed=0)
    assert endpoint.seen[-1].body["logit_bias"] == {"50": -1}
    ids = parse_endpoint(f"{endpoint.url}#m?api=ids&tokenizer=tiny&body.top_k=5")
    with pytest.raises(ModelError, match=r"body\.top_k is set by the run, to 0; leave it out"):
        body_of(ids, Request("p", (1, 2), 1), 0, DECODING, seed=0, cap_field="max_tokens")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http:///v1#m", "expected an endpoint of the form"),
        ("http://host/v1?version=2#m", "expected an endpoint of the form"),
        ("http://me:secret@host/v1#m", "give the key in LACONIC_API_KEY"),
        ("http://host/v1#m?api=chatt", "no option api=chatt"),
        ("http://host/v1#m?top_k=3", "no option top_k=3"),
        ("http://host/v1#m?body.temperature=0.2", r"no option body\.temperature"),
        ("http://host/v1#m?omit=max_tokens", "no option omit=max_tokens"),
        ("http://host/v1#m?seconds=5&seconds=6", "'seconds' is given twice"),
        ("http://host/v1#m?body.top_k=3&body.top_k=4", r"'body\.top_k' is given twice"),
    ],
)
def test_an_address_that_is_none_says_what_was_expected(address: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        parse_endpoint(address)
    assert "secret" not in str(caught.value)


def test_every_api_an_address_can_ask_for_has_a_wire_format() -> None:
    assert tuple(WIRES) == APIS


# --- the model and the key -------------------------------------------------------------------------------------------


def test_without_a_name_the_only_listed_model_is_taken(endpoint: Endpoint) -> None:
    endpoint.models = {"data": [{"id": "org/only"}]}
    model, sampler = http.open_endpoint(endpoint.url)
    assert model == RemoteModel(f"{endpoint.url}#org/only") and model.fingerprint() == model.name
    sampler.sample([ask("a")], DECODING, seed=0)
    assert endpoint.seen[0].body["model"] == "org/only"
    assert HttpSampler.connect(f"{endpoint.url}#named").name == f"{endpoint.url}#named"


def test_several_models_or_none_are_refused_by_name(endpoint: Endpoint) -> None:
    endpoint.models = {"data": [{"id": "b"}, {"id": "a"}]}
    with pytest.raises(ModelError, match=re.escape(f"lists 2 models (a, b); name one as {endpoint.url}#MODEL")):
        HttpSampler.connect(endpoint.url)
    endpoint.models = ["not", "a", "list"]
    with pytest.raises(ModelError, match="expected a list of models"):
        HttpSampler.connect(endpoint.url)


def test_the_key_comes_from_the_environment_and_is_never_shown(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LACONIC_API_KEY before OPENAI_API_KEY; a server that quotes the key is not quoted."""
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("LACONIC_API_KEY", "sk-secret\n")
    endpoint.script = in_turn(error(401, "Incorrect API key: sk-secret"))
    with pytest.raises(ModelError) as caught:
        endpoint.sampler().sample([ask("a")], DECODING, seed=0)
    assert endpoint.seen[0].headers["authorization"] == "Bearer sk-secret"
    assert str(caught.value) == f"{endpoint.url}#m: 401 Incorrect API key: [key]"
    monkeypatch.delenv("LACONIC_API_KEY")
    endpoint.sampler().sample([ask("a")], DECODING, seed=0)
    assert endpoint.seen[-1].headers["authorization"] == "Bearer other"


def test_a_key_that_no_header_can_carry_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACONIC_API_KEY", "schlüssel")
    with pytest.raises(InputError, match="LACONIC_API_KEY: holds characters"):
        HttpSampler.connect("http://127.0.0.1:9/v1#m")


def test_401_without_a_key_says_where_one_is_read_from(endpoint: Endpoint) -> None:
    endpoint.script = in_turn(error(401, "Unauthorized"))
    with pytest.raises(ModelError, match="401 Unauthorized \\(no key was sent: set LACONIC_API_KEY\\)"):
        endpoint.sampler().sample([ask("a")], DECODING, seed=0)
    assert "authorization" not in endpoint.seen[0].headers


# --- what a reply says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_parsed_reasoning_stands_before_the_answer_and_its_tokens_are_the_servers(
    endpoint: Endpoint, name: str
) -> None:
    said = reply("It is 4.", tokens=40, **{name: "2+2"})
    said["usage"]["completion_tokens_details"] = {"reasoning_tokens": 30}
    endpoint.script = in_turn(Answer(said))
    response = endpoint.sampler().sample([ask("a")], DECODING, seed=0)[0][0]
    assert response.text == "<think>2+2</think>It is 4."
    assert (response.num_tokens, response.thinking_tokens, response.finish_reason) == (40, 30, FinishReason.STOP)


def test_thinking_that_the_cap_cut_off_stays_open(endpoint: Endpoint) -> None:
    """A closed box inside unfinished thinking must not read as an answer after it."""
    said = reply("", tokens=64, reason="length", reasoning="2+2 is")
    said["choices"][0]["message"]["content"] = None
    endpoint.script = in_turn(Answer(said))
    response = endpoint.sampler().sample([ask("a")], DECODING, seed=0)[0][0]
    assert response.text == "<think>2+2 is"
    assert response.is_truncated and response.num_tokens == 64


@pytest.mark.parametrize(
    ("details", "text", "expected"),
    [
        (None, "<think>a</think>4", None),
        ({"reasoning_tokens": 0}, "<think>a</think>4", None),  # filled in, not counted
        ({"reasoning_tokens": 0}, "4", 0),
        ({"reasoning_tokens": 2}, "4", 2),  # hidden thinking
        ({"reasoning_tokens": 99}, "4", None),  # more than there are
    ],
)
def test_thinking_tokens_are_none_where_the_server_did_not_count_them(
    details: Any, text: str, expected: int | None
) -> None:
    said = reply(text)
    said["usage"] |= {"prompt_tokens": 5, "total_tokens": 8, "completion_tokens_details": details}
    assert read_reply(parse_endpoint("http://h/v1#m"), said, cap=64).thinking_tokens == expected


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (reply() | {"usage": None}, ModelError, "no usage.completion_tokens"),
        (reply(reason="abort"), ModelError, 'finish_reason is \'abort\', expected "stop" or "length"'),
        (reply([{"type": "image_url"}]), ModelError, "a part of content is 'image_url', expected text"),
        ({"choices": reply()["choices"] * 2}, ModelError, "'2 choices' came, expected one choice"),
        ({"choices": [reply()["choices"][0] | {"index": 5}]}, ModelError, "the choice's index is 5, expected 0"),
        (reply() | {"error": {"message": "broke off", "code": 400}}, ModelError, "in a reply of status 200: broke off"),
        ({"choices": []}, ModelError, "the reply is none of the chat API"),
        ("hello", ModelError, "the reply is none of the chat API"),
        (b"<html>", ModelError, "the reply is not JSON"),
    ],
)
def test_a_reply_that_cannot_be_counted_or_read_ends_the_work_in_one_line(
    endpoint: Endpoint, said: Any, kind: type[Exception], message: str
) -> None:
    endpoint.script = lambda body, number: Answer(said)
    with pytest.raises(kind, match=message) as caught:
        endpoint.sampler().sample([ask("a", 6)], DECODING, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "It is "}, {"type": "text", "text": "4."}], "It is 4."),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}, {"type": "text", "text": "4"}],
            "<think>2+2</think>4",
        ),
        ([], ""),
    ],
)
def test_a_text_may_come_in_parts(content: Any, text: str) -> None:
    assert read_reply(parse_endpoint("http://h/v1#m"), reply(content), cap=64).text == text


@pytest.mark.parametrize(
    ("said", "kept"), [("content_filter",) * 2, ("tool_calls",) * 2, ("function_call", "tool_calls")]
)
def test_a_response_that_was_withheld_is_one_without_an_answer(endpoint: Endpoint, said: str, kept: str) -> None:
    """Whatever its text says: `7` may be the beginning of 70. The warning says how many there were."""
    withheld = reply("The answer is 7", reason=said)
    empty = reply(None, reason=said) | {"usage": None}  # type: ignore[arg-type]
    endpoint.script = in_turn(Answer(reply()), Answer(withheld), Answer(empty))
    sampler = endpoint.sampler()
    solver = Solver(RemoteModel("m"), sampler, Grader(1, 3.0), PromptConfig())
    with pytest.warns(LaconicWarning, match=f"2 of 4 responses ended with finish_reason {kept}"):
        (group,) = solver.attempt(
            [Problem("a", "3 + 4?", "7")], 4, DECODING.model_copy(update={"batch_size": 1}), seed=0
        )
    rows = list(rows_of(group))
    assert [row.finish_reason for row in rows] == ["stop", kept, kept, "stop"]
    assert [row.grade for row in rows[1:3]] == [Grade.NO_ANSWER] * 2 and sampler.doubts == {kept: 2}
    assert rows[1].text and ResponseRow.from_json(rows[1].to_json(), "row").read_text == ""
    with pytest.raises(InputError, match="expected no_answer"):
        ResponseRow.from_json(rows[1].to_json() | {"grade": "correct"}, "row")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("page", [b"<html>maintenance</html>", b" " * (1 << 12)])
def test_a_page_in_place_of_a_reply_is_asked_again(endpoint: Endpoint, number: int, page: bytes) -> None:
    """Also as the first reply, since other replies may be on their way, and answers may have come before a resume."""
    endpoint.script = in_turn(*[Answer(reply())] * number, Answer(page, headers={"content-type": "text/html"}))
    sampler = endpoint.sampler(limits=ReplyLimits(num_bytes=1 << 10))
    assert [response.text for response in sampler.sample([ask("a", 3)], DECODING, seed=0)[0]] == ["fine"] * 3
    assert sampler.retries == {"reply": 1}


@pytest.mark.parametrize(
    ("charset", "text", "is_lost"),
    [("", "4 \ufffd", True), ("; charset=latin-1", "4 é", False), ("; charset=rot13", "4 \ufffd", True)],
)
def test_a_reply_that_is_not_utf_8_is_read_as_it_says_or_with_a_warning(
    endpoint: Endpoint, charset: str, text: str, is_lost: bool
) -> None:
    content = json.dumps(reply("4 é"), ensure_ascii=False).encode("latin-1")
    endpoint.script = lambda body, number: Answer(content, headers={"content-type": f"application/json{charset}"})
    sampler = endpoint.sampler()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert sampler.sample([ask("a")], DECODING, seed=0)[0][0].text == text
    assert len(caught) == is_lost and sampler.doubts == ({"characters": 1} if is_lost else {})


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 402, 403, 404, 422, 501])
def test_what_will_not_pass_fails_at_once_with_the_servers_words(endpoint: Endpoint, status: int) -> None:
    endpoint.script = in_turn(*[error(status, "no\nsuch thing")] * 9)
    with pytest.raises(ModelError, match=f"#m: {status} no such thing$"):
        endpoint.sampler().sample([ask("a")], DECODING, seed=0)
    assert len(endpoint.seen) == 1


def test_404_at_an_address_without_v1_says_how_addresses_end(endpoint: Endpoint) -> None:
    endpoint.url = endpoint.url.removesuffix("/v1")
    endpoint.script = in_turn(error(404, "Not Found"))
    with pytest.raises(ModelError, match=r"#m: 404 Not Found \(an address ends in /v1 on most servers\)$"):
        endpoint.sampler().sample([ask("a")], DECODING, seed=0)


def test_an_account_without_credit_is_not_waited_for(endpoint: Endpoint) -> None:
    endpoint.script = in_turn(Answer({"error": {"message": "pay first", "code": "insufficient_quota"}}, 429))
    with pytest.raises(ModelError, match="429 pay first"):
        endpoint.sampler().sample([ask("a")], DECODING, seed=0)


def test_a_cap_beyond_the_context_is_one_line_that_names_max_tokens(endpoint: Endpoint) -> None:
    """vLLM's message names `max_completion_tokens` too; it must not be taken for a wish to rename the cap."""
    said = "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum context length is 32 tokens"
    endpoint.script = in_turn(*[error(400, said)] * 9)
    with pytest.raises(ModelError, match="max_tokens 64 and the prompt of problem a do not fit the model's context"):
        endpoint.sampler().sample([ask("a")], DECODING, seed=0)
    assert len(endpoint.seen) == 1


def test_a_server_that_wants_max_completion_tokens_gets_it_from_then_on(endpoint: Endpoint) -> None:
    """Eight samples, four in flight: those sent under the old name are sent again, nothing else is."""

    def script(body: dict[str, Any], number: int) -> Answer:
        if "max_tokens" in body:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return Answer(reply(tokens=body["max_completion_tokens"]))

    endpoint.script = script
    sampler = endpoint.sampler(attempts=1)
    rows = sampler.sample([ask("a", 8)], DECODING, seed=0)
    assert [response.num_tokens for response in rows[0]] == [64] * 8
    assert 1 <= sum("max_tokens" in seen.body for seen in endpoint.seen) <= 4
    sampler.sample([ask("a")], DECODING, seed=0)
    assert "max_tokens" not in endpoint.seen[-1].body


# --- what may pass ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_asked_again_with_the_same_seed(endpoint: Endpoint, status: int) -> None:
    endpoint.script = in_turn(error(status, "busy"), error(status, "busy"))
    sampler = endpoint.sampler()
    assert sampler.sample([ask("a")], DECODING, seed=0)[0][0].text == "fine"
    assert len({seen.body["seed"] for seen in endpoint.seen}) == 1 and len(endpoint.seen) == 3
    assert sampler.retries == {str(status): 2}


def test_a_dropped_connection_is_asked_again(endpoint: Endpoint) -> None:
    endpoint.script = in_turn(Answer(is_dropped=True), Answer(is_dropped=True))
    sampler = endpoint.sampler()
    assert sampler.sample([ask("a")], DECODING, seed=0)[0][0].text == "fine"
    assert sampler.retries == {"connection": 2}


def test_a_reply_that_takes_too_long_is_asked_again(endpoint: Endpoint) -> None:
    """The first reply would come after the same sample was asked for again."""
    again = threading.Event()

    def script(body: dict[str, Any], number: int) -> Answer:
        if number == 0:
            again.wait(PATIENCE)
            return Answer(reply("late"))
        again.set()
        return Answer(reply())

    endpoint.script = script
    assert endpoint.sampler(limits=ReplyLimits(seconds=0.5)).sample([ask("a")], DECODING, seed=0)[0][0].text == "fine"


def test_an_error_inside_a_reply_of_status_200_is_an_error(endpoint: Endpoint) -> None:
    """Routers report a model's own error so."""
    endpoint.script = in_turn(Answer({"error": {"message": "upstream", "code": 502}}))
    assert endpoint.sampler().sample([ask("a")], DECODING, seed=0)[0][0].text == "fine"
    assert len(endpoint.seen) == 2


def test_attempts_have_an_end_that_names_url_status_and_message(endpoint: Endpoint) -> None:
    endpoint.script = in_turn(*[error(503, "out to lunch")] * 99)
    expected = f"{endpoint.url}/chat/completions: gave up on problem a, sample 0, after 4 attempts: 503 out to lunch"
    with pytest.raises(RunFailed, match=re.escape(expected)):
        endpoint.sampler(attempts=4).sample([ask("a")], DECODING, seed=0)
    assert len(endpoint.seen) == 4


def test_an_address_where_nothing_answers_is_given_up_early() -> None:
    with socket.socket() as held:  # bound and not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(ModelError, match=r"/chat/completions: cannot be reached \(ConnectError"):
            HttpSampler.connect(f"{address}#m").sample([ask("a")], DECODING, seed=0)
        with pytest.raises(ModelError, match=r"/models: cannot be reached \(ConnectError"):
            HttpSampler.connect(address)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_holds_every_request_back(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, as_date: bool
) -> None:
    """Four requests go together and the first is refused for a second: the four samples nobody asked for yet wait too. The other
    three are answered once the refusal has been read."""
    together, refused = threading.Barrier(4), threading.Event()
    closed: list[tuple[float, float]] = []  # when, and for how many seconds
    close_for = Window.close_for

    def close(window: Window, seconds: float) -> None:
        close_for(window, seconds)
        closed.append((time.monotonic(), seconds))
        refused.set()

    def script(body: dict[str, Any], number: int) -> Answer:
        if number < 4:
            together.wait(PATIENCE)
        if number == 0:  # a date has whole seconds: 2 to 3 from now
            value = formatdate(time.time() + 3, usegmt=True) if as_date else "1"
            return error(429, "slow down", retry_after=value)
        assert refused.wait(PATIENCE)
        return Answer(reply())

    monkeypatch.setattr(Window, "close_for", close)
    endpoint.script = script
    endpoint.sampler().sample([ask("a", 8)], DECODING, seed=0)
    [(at, seconds)] = closed
    assert 0.0 < seconds <= 3.0 if as_date else seconds == 1.0
    times = [seen.at for seen in endpoint.seen]
    assert len(times) == 9 and max(times[:4]) < at
    assert min(times[4:]) >= at + 0.95 * seconds


def test_a_wait_that_nobody_would_sit_through_is_a_failure(endpoint: Endpoint) -> None:
    endpoint.script = in_turn(error(429, "daily limit", retry_after="86400"))
    with pytest.raises(RunFailed, match="asks to wait 86400 seconds: 429 daily limit"):
        endpoint.sampler().sample([ask("a")], DECODING, seed=0)


def test_a_rate_limit_is_found_and_nothing_is_lost(endpoint: Endpoint) -> None:
    """A server that bears 4 at once is asked by 32 workers for 200 samples: it refuses a fraction, and every sample comes,
    although an attempt limit of 4 would soon end a request that is refused each time."""

    def script(body: dict[str, Any], number: int) -> Answer:
        return error(429, "too many") if endpoint.in_flight > 4 else Answer(reply(str(body["seed"])), delay=0.03)

    endpoint.script = script
    sampler = endpoint.sampler(attempts=4)
    rows = sampler.sample([ask("a", 200)], DECODING.model_copy(update={"batch_size": 32}), seed=0)
    assert [response.text for response in rows[0]] == [str(seed_of(0, "a", s) & SEED_MASK) for s in range(200)]
    assert sampler.retries["429"] < 100, "about 28 refusals come before the window has shrunk, then one now and then"
    assert sampler.in_flight < 10, "the window that was found is kept for the next call"


def test_a_refusal_under_which_others_get_through_uses_up_no_attempt(endpoint: Endpoint) -> None:
    """The first sample is refused six times, more than the limit of 3; a second worker's samples are answered in between: at
    least one that has been read before each refusal, at most five."""
    unlucky = seed_of(0, "a", 0) & SEED_MASK
    turn = threading.Condition()
    counts = {"refused": 0, "answered": 0, "read": 0}  # the last two since the last refusal

    def script(body: dict[str, Any], number: int) -> Answer:
        with turn:
            if body["seed"] != unlucky:
                assert turn.wait_for(lambda: counts["answered"] < 5 or counts["refused"] == 6, PATIENCE)
                counts["answered"] += 1
                return Answer(reply())
            if counts["refused"] == 6:
                return Answer(reply())
            assert turn.wait_for(lambda: counts["read"] > 0, PATIENCE)
            counts.update(refused=counts["refused"] + 1, answered=0, read=0)
            turn.notify_all()
            return error(429, "not you")

    def note(responses: int, tokens: int) -> None:
        with turn:
            counts["read"] += 1
            turn.notify_all()

    endpoint.script = script
    sampler = endpoint.sampler(attempts=3)
    rows = sampler.sample([ask("a", 60)], DECODING.model_copy(update={"batch_size": 2}), seed=0, on_progress=note)
    assert len(rows[0]) == 60 and sampler.retries == {"429": 6}


def test_the_window_halves_once_for_requests_sent_together_and_grows_by_one_a_round() -> None:
    """8 in flight, three of them refused: 4, not 1. Then 4 answers: 4 + 1/4 + 1/4.25 + ... = 4.92."""

    async def story() -> tuple[float, float, float]:
        window = Window(8, float("inf"))
        async with asyncio.TaskGroup() as tasks:
            turns: list[int] = []
            over = asyncio.Event()

            async def enter() -> None:
                async with window.turn() as turn:
                    turns.append(turn)
                    await over.wait()

            for _ in range(8):
                tasks.create_task(enter())
            while len(turns) < 8:
                await asyncio.sleep(0)
            for turn in turns[:3]:
                window.shrink(turn)
            over.set()
        shrunk = window.size
        for _ in range(4):
            window.grow()
        grown = window.size
        async with window.turn() as turn:
            window.shrink(turn)
        return shrunk, grown, window.size

    shrunk, grown, last = asyncio.run(story())
    assert shrunk == 4.0
    assert grown == pytest.approx(4.9206, abs=1e-4)
    assert last == 1.0, "one was in flight, so one is all that is known to be too many"


def test_waits_double_up_to_a_minute_and_are_spread_from_zero() -> None:
    """Means of uniform waits are half the bounds 0.5, 1, 2 and 60 (reached at the 8th failure: 0.5 * 2^7 = 64)."""
    jitter = random.Random(0)
    for num_failures, bound in ((1, 0.5), (2, 1.0), (3, 2.0), (8, 60.0), (10_000, 60.0)):
        waits = [backoff_seconds(num_failures, jitter) for _ in range(2000)]
        assert 0.0 <= min(waits) < 0.05 * bound and 0.95 * bound < max(waits) <= bound
        assert sum(waits) / 2000 == pytest.approx(bound / 2, rel=0.05)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("0", 0.0), (" 7 ", 7.0), ("-3", None), ("Wed, 01 Jan 2020 00:00:00 GMT", 0.0), ("²", None)],
)
def test_retry_after_is_read_or_is_none(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, now=1.7e9) == seconds


def test_a_refusal_is_one_line_of_bounded_length() -> None:
    assert len(str(refusal(500, "x\n" * 10_000))) <= 304
    assert str(refusal(502, "")) == "502"


# --- leaving ---------------------------------------------------------------------------------------------------------


def test_an_error_stops_what_is_in_flight(endpoint: Endpoint) -> None:
    """Three answers that come late beside one refusal: the refusal is raised before they come."""
    left, answered = threading.Event(), []

    def script(body: dict[str, Any], number: int) -> Answer:
        if number == 3:
            return error(404, "no such model")
        left.wait(PATIENCE)
        answered.append(number)
        return Answer(reply())

    endpoint.script = script
    with pytest.raises(ModelError, match="no such model"):
        endpoint.sampler().sample([ask("a", 8)], DECODING, seed=0)
    assert not answered
    left.set()


def test_an_error_of_the_caller_comes_through_as_it_is(endpoint: Endpoint) -> None:
    def full(responses: int, tokens: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        endpoint.sampler().sample([ask("a", 8)], DECODING, seed=0, on_progress=full)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal: a shell starts its background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(left: threading.Event, answered: list[int]) -> Callable[[dict[str, Any], int], Answer]:
    """Ctrl-C with the fourth request; nothing is answered before the caller has `left`."""

    def script(body: dict[str, Any], number: int) -> Answer:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        left.wait(PATIENCE)
        answered.append(number)
        return Answer(reply())

    return script


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_promptly(endpoint: Endpoint) -> None:
    """Nothing is answered before it has left; the signal comes with the fourth request."""
    left, answered = threading.Event(), list[int]()
    endpoint.script = interrupting(left, answered)
    with pytest.raises(KeyboardInterrupt):
        endpoint.sampler().sample([ask("a", 8)], DECODING, seed=0)
    assert not answered
    left.set()


def test_a_signal_ends_a_call_as_the_signal_that_it_is(endpoint: Endpoint) -> None:
    """It may come while a reply is read, inside a group of tasks, where others fail too."""

    def interrupted(responses: int, tokens: int) -> None:
        raise Terminated("ended by SIGTERM", 143)

    with pytest.raises(Terminated, match="ended by SIGTERM"):
        endpoint.sampler().sample([ask("a", 8)], DECODING, seed=0, on_progress=interrupted)


def test_of_several_failures_a_signal_is_told_before_an_error_and_ours_before_others() -> None:
    """Wherever in the groups they are."""
    ours, signalled = ModelError("ours"), Terminated("ended", 143)
    failures = ExceptionGroup("outer", [ValueError("first"), ExceptionGroup("inner", [ours])])
    assert what_ended(failures) is ours
    assert what_ended(BaseExceptionGroup("outer", [failures, BaseExceptionGroup("inner", [signalled])])) is signalled
    assert str(what_ended(ExceptionGroup("outer", [ValueError("first"), ValueError("second")]))) == "first"


@pytest.mark.usefixtures("interruptible")
def test_a_notebooks_stop_button_leaves_promptly(endpoint: Endpoint) -> None:
    """A loop runs already, in which the work cannot: it is left before anything is answered."""
    left, answered = threading.Event(), list[int]()

    async def notebook() -> None:
        with pytest.raises(KeyboardInterrupt):
            endpoint.sampler().sample([ask("a", 8)], DECODING, seed=0)

    endpoint.script = interrupting(left, answered)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(notebook())
    assert not answered
    left.set()


def test_it_works_inside_a_running_event_loop(endpoint: Endpoint) -> None:
    """Notebooks run one."""

    async def notebook() -> str:
        return endpoint.sampler().sample([ask("a")], DECODING, seed=0)[0][0].text

    assert asyncio.run(notebook()) == "fine"


# --- a real server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """`transformers serve` with the bundled reasoner on a free port."""
    for package in ("fastapi", "uvicorn", "openai"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: transformers serve needs pip install 'transformers[serving]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", code, "serve", str(CHECKPOINT), "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy())
    try:
        wait_until_listening(port, server)
        yield f"http://127.0.0.1:{port}/v1#{CHECKPOINT}"
    finally:
        server.terminate()
        server.wait(20)


def wait_until_listening(port: int, server: "subprocess.Popen[bytes]") -> None:
    """The test's own time limit ends a wait in vain."""
    while True:
        if server.poll() is not None:
            pytest.skip(f"transformers serve ended with code {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)


@pytest.mark.slow
def test_a_real_server_gives_what_the_local_sampler_gives_when_greedy(served: str) -> None:
    """Same checkpoint, temperature 0: the same texts, and lengths that count the same tokens."""
    from laconic.config.policy import PolicyConfig
    from laconic.models.loading import load_model
    from laconic.problems.load import load_problems
    from laconic.prompts.instructions import messages, render
    from laconic.samplers.local import LocalSampler

    problems = load_problems("tiny:mix?count=6&split=report")
    decoding = SamplerConfig(temperature=0.0, max_tokens=200, batch_size=3)
    remote = HttpSampler.connect(served).sample(
        [Request(p.id, (), 1, messages=tuple(messages(p))) for p in problems], decoding, seed=0
    )
    lm = load_model(str(CHECKPOINT), PolicyConfig())
    local = LocalSampler(lm).sample(
        [Request(p.id, tuple(render(lm.tokenizer, p)), 1) for p in problems], decoding, seed=0
    )
    assert [(row[0].text, row[0].num_tokens) for row in remote] == [(row[0].text, row[0].num_tokens) for row in local]
