"""Whatever an endpoint sends, a call ends: in responses that can be stored, in a failure that was counted and made good, or in an
error of at most two printable lines. Nothing else is raised, and nothing is waited for beyond the limits, which are small here.

Every fault is played twice by a small server: as the first reply that the sampler sees, and after a good one.
"""

import gzip
import json
import warnings
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from broken_text import ANSI, DEEP, VALUES
from fake_endpoint import Answer, Endpoint, error, in_turn, reply

from laconic.config.solver import SamplerConfig
from laconic.errors import LaconicWarning, ModelError, RunFailed
from laconic.rollouts.rows import ResponseRow
from laconic.samplers import pacing
from laconic.samplers.counting import length_of, thinking_of
from laconic.samplers.endpoints import KEY_VARIABLES, parse_endpoint
from laconic.samplers.fetching import ReplyLimits
from laconic.samplers.http import HttpSampler
from laconic.samplers.protocol import Request
from laconic.samplers.wire import read_reply, uncounted_in
from laconic.system.text import MOST_LINE, parse_json, printable
from laconic.types import Grade, LengthSource, Response

DECODING = SamplerConfig(max_tokens=64, batch_size=1)
LIMITS = ReplyLimits(seconds=20.0, arrival_seconds=20.0, num_bytes=1 << 16)
IMPATIENT = ReplyLimits(seconds=0.3, arrival_seconds=0.1, num_bytes=1 << 16)
MARKED = ANSI + "[bold]no[/bold] [link=http://x]"


def ask(num_samples: int) -> Request:
    return Request("a", (), num_samples, 0, ({"role": "system", "content": "Hm."}, {"role": "user", "content": "a"}))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(pacing, "BASE_SECONDS", 0.002)
    for variable in KEY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    server = Endpoint()
    yield server
    server.close()


# --- the faults ------------------------------------------------------------------------------------------------------

FIELDS = {
    "choices": "choices",
    "choice": "choices.0",
    "message": "choices.0.message",
    "content": "choices.0.message.content",
    "reasoning": "choices.0.message.reasoning",
    "finish_reason": "choices.0.finish_reason",
    "usage": "usage",
    "completion_tokens": "usage.completion_tokens",
    "details": "usage.completion_tokens_details",
    "reasoning_tokens": "usage.completion_tokens_details.reasoning_tokens",
    "error": "error",
}


def with_value(path: str, value: str) -> bytes:
    """A good reply with this JSON in the place `path`."""
    whole: Any = reply("It is 4.") | {"error": None}
    whole["usage"]["completion_tokens_details"] = {"reasoning_tokens": 1}
    if path == "error":
        del whole["choices"]
    node = whole
    *parents, last = path.split(".")
    for key in parents:
        node = node[int(key) if key.isdigit() else key]
    node[int(last) if last.isdigit() else last] = "HERE"
    return json.dumps(whole).replace('"HERE"', value).encode()


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def fields_of_every_kind() -> Iterator[tuple[str, Answer]]:
    for field, path in FIELDS.items():
        for kind, value in VALUES.items():
            yield f"{field} is {kind}", Answer(with_value(path, value))


def bodies() -> Iterator[tuple[str, Answer]]:
    good = json.dumps(reply("It is 4.")).encode()
    plain: dict[str, bytes] = {
        "nothing": b"",
        "blank": b" \n\t ",
        "html": b"<!DOCTYPE html><html><body>" + ANSI.encode() + b"</body></html>",
        "half a reply": good[: len(good) // 2],
        "two replies": good + good,
        "not UTF-8": good.replace(b"It is", b"\xff\xfe"),
        "surrogate bytes": good.replace(b"It is", b"\xed\xa0\x80"),
        "UTF-16": json.dumps(reply()).encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf" + good,
        "deep lists": b"[" * DEEP,
        "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        "moderately deep": b"[" * 500 + b"]" * 500,
        "null bytes": b"\0" * 100,
        "a text": b'"hello"',
        "a number": b"3",
        "null": b"null",
        "a list": b"[1, 2]",
        "an event stream": b"data: " + good + b"\n\ndata: [DONE]\n\n",
        "too large": b" " * (LIMITS.num_bytes + 1) + good,
        "a page on one line": b"x" * (LIMITS.num_bytes - 1),
        "a text beyond the cap": json.dumps(reply("wait " * 9000)).encode(),
    }
    for name, body in plain.items():
        yield name, Answer(body)
    bomb, zbomb = gzip.compress(bytes(1 << 24)), zlib.compress(bytes(1 << 24))
    coded = {
        "gzip": (gzip.compress(good), "gzip"),
        "a gzip bomb": (bomb, "gzip"),
        "a deflate bomb": (zbomb, "deflate"),
        "a bomb in a bomb": (gzip.compress(bomb), "gzip, gzip"),
        "a thousand codings": (good, ", ".join(["gzip"] * 1000)),
        "no gzip": (good, "gzip"),
        "half of gzip": (gzip.compress(good)[:-9], "gzip"),
        "unknown coding": (good, "rot13"),
    }
    for name, (body, coding) in coded.items():
        yield name, Answer(body, headers={"content-encoding": coding})
    for kind in (
        "text/html",
        "application/json; charset=zlib",
        "application/json; charset=utf-7",
        ANSI.encode("unicode_escape").decode(),
        "",
    ):
        yield f"content type {kind!r}", Answer(good, headers={"content-type": kind})


def statuses() -> Iterator[tuple[str, Answer]]:
    for status in (
        204,
        206,
        300,
        301,
        302,
        304,
        307,
        308,
        400,
        401,
        403,
        404,
        405,
        413,
        418,
        422,
        429,
        500,
        501,
        503,
        599,
        600,
        999,
    ):
        yield f"status {status}", Answer(b"" if status in (204, 304) else f"<h1>{MARKED}</h1>".encode(), status)
    for place in ("/elsewhere", "http://127.0.0.1:1/" + "x" * 5000, "javascript:alert(1)"):
        yield f"to {place:.20}", Answer(b"", 302, {"location": place})
    bodies = {
        "deep": "[" * DEEP,
        "control": json.dumps({"error": {"message": ANSI}}),
        "half": '{"error": "\\ud800"}',
        "long": json.dumps({"error": {"message": "no \n" * 9000}}),
        "list": '{"detail": [[["no"]]]}',
        "code": '{"error": {"message": "no", "code": [1]}}',
        "null": '{"error": null, "message": null}',
        "html": "<html>502</html>",
        "roles": '{"error": {"message": "Conversation roles must alternate user/assistant/user/..."}}',
        "system": '{"error": {"message": "System role not supported"}}',
    }
    for status, (name, body) in ((status, item) for status in (400, 500, 529) for item in bodies.items()):
        yield f"{status} with {name}", Answer(body.encode(), status)
    for code in (True, 200, 10**18, -1, "no", None, [500], 502, 401):
        yield f"error inside with code {code!r:.20}", Answer({"error": {"message": ANSI, "code": code}})
    for wait in (
        "-1",
        "1e99",
        "9" * 400,
        "soon",
        "Wed, 01 Jan 2020 00:00:00 +99999999999999",
        "Wed, 99 Foo 2020",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ):
        yield f"retry after {wait:.30}", error(429, "busy", retry_after=wait)


def transports() -> Iterator[tuple[str, Answer]]:
    good = json.dumps(reply("It is 4.")).encode()
    length, chunked = f"content-length: {len(good)}", "transfer-encoding: chunked"
    raw: dict[str, Sequence[bytes]] = {
        "no status line": [b"hello\r\n\r\n"],
        "binary": [bytes(range(256)) * 40],
        "nothing": [],
        "half a status line": [b"HTTP/1.1 2"],
        "headers alone": [head(length)],
        "half of the body": [head(length), good[:20]],
        "no length": [head(), good],
        "no length and half": [head(), good[:20]],
        "negative length": [head("content-length: -5"), good],
        "3 GB to come": [head("content-length: 3221225472"), b"{"],
        "a length of 99 digits": [head("content-length: " + "9" * 99), b"{"],
        "two lengths": [head(length, "content-length: 3"), good],
        "chunks of nonsense": [head(chunked), b"zz\r\n" + good + b"\r\n"],
        "a negative chunk": [head(chunked), b"-5\r\n" + good],
        "a chunk that never comes": [head(chunked), b"ffffff\r\n{"],
        "chunks without end": [head(chunked), b"1000\r\n" + b" " * 4096 + b"\r\n"]
        + [b"1000\r\n" + b" " * 4096 + b"\r\n"] * 20,
        "header flood": [head(*(f"x-{n}: {'y' * 100}" for n in range(3000))), good],
        "one long header": [head("x: " + "y" * 300_000), good],
        "headers that are none": [b"HTTP/1.1 200 OK\r\n: :\r\n\x1b[31m\r\n\r\n" + good],
        "cookies": [head(length, *(f"set-cookie: c{n}=1; expires=never; {n}" for n in range(200))), good],
        "early hints": [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 200, head(length), good],
        "switched protocols": [head("upgrade: x", "connection: upgrade", status="101 Switching"), good],
        "HTTP 0.9": [good],
        "HTTP 2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        "control in the reason": [head(length, status="200 \x1b[31mOK"), good],
    }
    for name, pieces in raw.items():
        yield name, Answer(raw=pieces)
    yield "hang up", Answer(is_dropped=True)
    dribbled = tuple(bytes([byte]) for byte in good)
    yield "drip of headers", Answer(raw=(b"HTTP/1.1 200 OK\r\nx: ", *[b"y"] * 40), pause=0.02)
    yield "drip of content", Answer(raw=(head(length), *dribbled), pause=0.02)
    yield "drip of blanks", Answer(raw=(head("content-length: 500"), *[b" "] * 40), pause=0.02)


@cache
def faults() -> dict[str, Answer]:
    makers = (fields_of_every_kind, bodies, statuses, transports)
    return {f"{make.__name__}: {name}": answer for make in makers for name, answer in make()}


# --- how each of them ends -------------------------------------------------------------------------------------------


def storable(response: Response) -> None:
    """The row of this response is written and read back as it is, and its length is possible."""
    assert 0 <= response.num_tokens <= DECODING.max_tokens
    assert response.thinking_tokens is None or 0 <= response.thinking_tokens <= response.num_tokens
    row = ResponseRow(
        "a", 0, Grade.WRONG, response.num_tokens, response.thinking_tokens, response.finish_reason, text=response.text
    )
    line = json.dumps(row.to_json(), ensure_ascii=False, allow_nan=False).encode()
    assert ResponseRow.from_json(parse_json(line, "row"), "row").text == response.text


def ending(sampler: HttpSampler, num_samples: int) -> str:
    """How a call ends: "rows", "retried", or the error's text, which is checked."""
    try:
        (row,) = sampler.sample([ask(num_samples)], DECODING, seed=0)
    except (ModelError, RunFailed) as caught:
        text = str(caught)
        assert text and text == printable(text) and len(text.splitlines()) <= 2, repr(text)
        assert max(map(len, text.splitlines())) <= MOST_LINE, text
        return text
    for response in row:
        storable(response)
    return "retried" if sampler.retries else "rows"


@pytest.mark.filterwarnings("ignore::laconic.errors.LaconicWarning")
def test_every_fault_ends_in_rows_a_counted_failure_or_two_lines(endpoint: Endpoint) -> None:
    played = faults()
    first, second = {}, {}
    for name, answer in played.items():
        limits = IMPATIENT if "drip" in name else LIMITS
        endpoint.seen.clear()
        endpoint.script = lambda body, number, answer=answer: answer
        first[name] = ending(endpoint.sampler(attempts=2, limits=limits), 1)
        endpoint.seen.clear()
        endpoint.script = in_turn(Answer(reply()), answer)
        second[name] = ending(endpoint.sampler(attempts=2, limits=limits), 2)
    assert len(played) >= 300
    assert set(second.values()) >= {"rows", "retried"}
    lasting = [name for name, end in first.items() if end == "retried"]
    assert not lasting, "a fault that is always there is no passing one"
    wrong = [name for name in played if first[name] == "rows" and second[name] != "rows"]
    assert not wrong, "what can be read can be read at any time"


@pytest.mark.filterwarnings("ignore::laconic.errors.LaconicWarning")
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("bodies: nothing", "the reply is empty; is this the address of an OpenAI API?"),
        ("bodies: html", "status 200, but the reply is not JSON (no content type): '<!DOCTYPE html>"),
        ("bodies: a gzip bomb", "the reply has more than 65,536 bytes"),
        ("bodies: a bomb in a bomb", "the reply is compressed more than once"),
        ("bodies: too large", "bytes, more than 65,536"),
        ("transports: 3 GB to come", "the reply has 3221225472 bytes, more than 65,536"),
        ("transports: drip of blanks", "ReadTimeout: no whole reply within 0.3 s, or 0.1 s of its first byte"),
        ("transports: drip of content", "ReadTimeout: no whole reply within 0.3 s, or 0.1 s of its first byte"),
        ("statuses: status 302", r"302 <h1>\x1b]0;owned\x07\x1b[31mred\x1b[0m \x9b2J\u202etxt [bold]no[/bold]"),
        (
            "statuses: 500 with system",
            "its chat template refuses the turns system, user: 500 System role not supported",
        ),
        ("fields_of_every_kind: usage is list", "the reply has no usage.completion_tokens"),
        (
            "fields_of_every_kind: finish_reason is list",
            "the reply is none of the chat API (finish_reason is [1], expected",
        ),
    ],
)
def test_the_line_says_what_came(endpoint: Endpoint, fault: str, said: str) -> None:
    answer = faults()[fault]
    endpoint.script = lambda body, number: answer
    limits = IMPATIENT if "drip" in fault else LIMITS
    assert said in ending(endpoint.sampler(attempts=2, limits=limits), 1)


@pytest.mark.parametrize(
    "models", [*(Answer(value.encode()) for value in VALUES.values()), Answer(b"x" * (1 << 17)), Answer(b"")]
)
def test_a_list_of_models_may_be_anything(endpoint: Endpoint, models: Answer) -> None:
    endpoint.models = models.body
    for content in (models.body, b'{"data": [{"id": ' + models.body + b"}]}"):
        endpoint.models = content
        try:
            name = HttpSampler.connect(endpoint.url, limits=LIMITS).endpoint.model
        except ModelError as caught:
            assert str(caught) == printable(str(caught)) and "\n" not in str(caught)
        else:
            assert name == "x"


@pytest.mark.parametrize(
    "address",
    ["http://[::1/v1#m", "http://h:99999/v1#m", "http://h:x/v1#m", "http://a..b/v1#m", f"http://{'a' * 300}/v1#m", "http://h\x1b[1m/v1#m",
     "http://h/v1#m\ud800", "http://\u2028/v1#m", "http:///v1", "https://127.0.0.1:1/v1#m", "http://h/v1#m?body.x=" + "[" * DEEP],
)  # fmt: skip
def test_an_address_may_be_anything(address: str) -> None:
    try:
        HttpSampler(parse_endpoint(address), attempts=1).sample([ask(1)], DECODING, seed=0)
    except ModelError as caught:
        assert len(str(caught).splitlines()) <= 2
    else:
        raise AssertionError("nothing answers there")


def test_a_password_in_an_address_is_not_repeated() -> None:
    for address in ("http://me:secret@h:99999/v1#m", "http://me:secret@h/v1?a=b#m", "http://me:secret@h/v1#m"):
        with pytest.raises(ModelError) as caught:
            parse_endpoint(address)
        assert "secret" not in str(caught.value)


def test_an_address_bounds_the_time_of_a_reply_and_stays_the_same_model(endpoint: Endpoint) -> None:
    endpoint.script = lambda body, number: faults()["transports: drip of blanks"]
    sampler = HttpSampler.connect(f"{endpoint.url}#m?seconds=0.2&api=chat")
    assert sampler.name == f"{endpoint.url}#m?api=chat"
    assert "no whole reply within 0.2 s" in ending(sampler, 1)
    for wrong in ("0", "nan", "1e9", "-1", ""):
        with pytest.raises(ModelError, match="no option seconds="):
            parse_endpoint(f"{endpoint.url}#m?seconds={wrong}")


def test_https_to_a_server_without_it_is_one_line(endpoint: Endpoint) -> None:
    sampler = HttpSampler(parse_endpoint(f"{endpoint.url.replace('http:', 'https:')}#m"), attempts=1)
    with pytest.raises(ModelError, match="cannot be reached \\(ConnectError"):
        sampler.sample([ask(1)], DECODING, seed=0)


def test_a_key_is_cut_out_before_a_message_is_cut_off(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's message is quoted up to its 300th character, which lies in the middle of the key."""
    monkeypatch.setenv("LACONIC_API_KEY", "sk-secret-key")
    endpoint.script = lambda body, number: error(403, "x" * 293 + "sk-secret-key")
    with pytest.raises(ModelError) as caught:
        endpoint.sampler().sample([ask(1)], DECODING, seed=0)
    assert "sk-" not in str(caught.value)


def test_a_server_keeps_no_cookies_here(endpoint: Endpoint) -> None:
    endpoint.script = lambda body, number: Answer(reply(), headers={"set-cookie": f"c{number}=1"})
    endpoint.sampler().sample([ask(3)], DECODING, seed=0)
    assert all("cookie" not in seen.headers for seen in endpoint.seen)


# --- lengths that the server cannot have counted ---------------------------------------------------------------------


def words(text: str) -> int:
    """A tokenizer of which every word is a token."""
    return len(text.split())


@pytest.mark.parametrize(
    ("counted", "text", "with_tokenizer", "without"),
    [
        (5, "one two three four", (5, "engine"), (5, "engine")),
        (64, "one two", (64, "engine"), (64, "engine")),  # hidden thinking
        (0, "", (0, "engine"), (0, "engine")),
        (0, "one two", (3, "text"), (1, "bound")),  # the end token is one
        (65, "one two", (3, "text"), (64, "bound")),
        (10**18, "one two", (3, "text"), (64, "bound")),
        (1, "one two three four five", (6, "text"), (1, "engine")),  # fewer than half of 6
        (1, "x" * 1000, (1, "bound"), (4, "bound")),  # a token has 256 bytes at most
        (3, "x " * 100, (64, "text"), (3, "engine")),
        (3, "x" * 100_000, None, (64, "bound")),
    ],
)
def test_a_count_that_cannot_be_is_replaced_and_marked(counted, text, with_tokenizer, without) -> None:
    if with_tokenizer is not None and with_tokenizer[1] != "bound":
        assert length_of(counted, text, 64, is_ended=True, count=words) == with_tokenizer
    assert length_of(counted, text, 64, is_ended=True) == without


def test_a_missing_count_is_that_of_the_text_where_a_tokenizer_is_known() -> None:
    assert length_of(None, "one two", 64, is_ended=False, count=words) == (2, LengthSource.TEXT)
    assert length_of(None, "one two", 64, is_ended=False)[0] is None


@pytest.mark.parametrize(("counted", "expected"), [(2, 2), (6, 6), (7, 3), (8, 3), (0, 3), (None, 3), (10**18, 3)])
def test_thinking_beyond_the_response_is_counted_in_the_text_or_unknown(counted, expected) -> None:
    text = "<think> a b</think> 4"
    assert thinking_of(counted, text, 7, words) == expected
    assert thinking_of(counted, text, 7) == (expected if counted in (2, 6) else None)


def test_the_warning_comes_once_and_the_responses_say_so(endpoint: Endpoint) -> None:
    endpoint.script = lambda body, number: Answer(reply("It is 4.", tokens=999))
    sampler = endpoint.sampler()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (row,) = sampler.sample([ask(3)], DECODING, seed=0)
    assert [(response.num_tokens, response.length_source) for response in row] == [(64, LengthSource.BOUND)] * 3
    assert sampler.doubts == {LengthSource.BOUND: 3}
    (only,) = caught
    assert only.category is LaconicWarning and "tokenizer=NAME" in str(only.message) and "\n" not in str(only.message)


def counts(completion: int, reasoning: int | None, prompt: int | None, total: int | None) -> dict[str, Any]:
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    told = {"completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": total}
    return {key: value for key, value in told.items() if value is not None} | details


def test_more_thinking_than_tokens_is_unknown_and_a_warning(endpoint: Endpoint) -> None:
    """The total says that nothing was left out of the 20 tokens."""
    endpoint.script = lambda body, number: Answer(reply("It is 4.") | {"usage": counts(20, 21, 10, 30)})
    sampler = endpoint.sampler()
    with pytest.warns(LaconicWarning, match="their thinking tokens are unknown"):
        (row,) = sampler.sample([ask(2)], DECODING, seed=0)
    assert [(response.num_tokens, response.thinking_tokens) for response in row] == [(20, None)] * 2
    assert sampler.doubts == {"thinking": 2}


@pytest.mark.parametrize(
    ("usage", "text", "reason", "expected"),
    [
        (counts(1499, 2809, 10120, 14428), "It is 4.", "stop", (4308, 2809)),  # beyond the cap of 4096
        (counts(400, 300, 32, 732), "It is 4.", "stop", (700, 300)),
        (counts(198, None, 20, 623), "It is 4.", "stop", (603, None)),
        (counts(0, 60, 21, 81), "", "length", (60, 60)),
        (counts(40, 300, None, None), "It is 4.", "stop", (340, 300)),
        (counts(40, 300, 20, None), "It is 4.", "stop", (340, 300)),
    ],
)
def test_thinking_that_a_server_leaves_out_of_its_count_is_added(usage, text, reason, expected) -> None:
    said = reply(text, reason=reason) | {"usage": usage}
    for count in (None, words):
        response = read_reply(parse_endpoint("http://h/v1#m"), said, 4096, count)
        assert (response.num_tokens, response.thinking_tokens) == expected
        assert response.length_source is LengthSource.ENGINE and response.is_truncated == (reason == "length")
    assert uncounted_in(said) == expected[0] - usage["completion_tokens"]


@pytest.mark.parametrize(
    "usage",
    [
        counts(400, 300, 32, 432),  # as OpenAI counts: the thinking is among the 400
        counts(400, 300, None, None),
        counts(400, None, 32, None),
        counts(400, None, 32, 432),
        counts(400, 300, 32, 500),  # 68 tokens more, and not the 300 of thinking
        counts(400, 0, 32, 732),
        counts(400, None, 32, 10**18),  # no response has as many
        counts(400, 300, 32, 100),
        counts(400, None, 32, -1),
    ],
)
def test_a_count_from_which_nothing_is_left_out_stays(usage) -> None:
    said = reply("It is 4.") | {"usage": usage}
    assert read_reply(parse_endpoint("http://h/v1#m"), said, 4096).num_tokens == 400
    assert uncounted_in(said) == 0


def test_the_cap_bounds_the_tokens_without_the_thinking_that_is_left_out() -> None:
    said = reply("It is 4.") | {"usage": counts(5000, 300, 32, 5332)}
    response = read_reply(parse_endpoint("http://h/v1#m"), said, 4096)
    assert (response.num_tokens, response.length_source) == (4396, LengthSource.BOUND)


def test_thinking_that_is_left_out_is_said_once(endpoint: Endpoint) -> None:
    endpoint.script = lambda body, number: Answer(reply("It is 4.") | {"usage": counts(4, 300, 32, 336)})
    sampler = endpoint.sampler()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (row,) = sampler.sample([ask(2)], DECODING, seed=0)
    assert [response.num_tokens for response in row] == [304, 304]
    assert sampler.doubts == {"uncounted": 2}
    (only,) = caught
    assert only.category is LaconicWarning and "leave out thinking" in str(only.message)
    assert "\n" not in str(only.message)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1.5", 1.5),
        (" 0.25 ", 0.25),
        (".5", 0.5),
        ("2.", 2.0),
        ("7", 7.0),
        ("-1.5", None),
        ("1e3", None),
        ("nan", None),
    ],
)
def test_a_server_may_ask_for_a_wait_in_fractions_of_a_second(header, seconds) -> None:
    assert pacing.retry_after_seconds(header, now=0.0) == seconds


def test_an_address_may_name_the_tokenizer(endpoint: Endpoint) -> None:
    """The bundled one: a token for each of `\\boxed`, `{`, `4`, `}`, or fewer; and the end."""
    endpoint.script = lambda body, number: Answer(reply("4+3=7", tokens=0))
    sampler = HttpSampler.connect(f"{endpoint.url}#m?tokenizer=tiny")
    assert sampler.count is not None
    with pytest.warns(LaconicWarning, match="the tokens of the text are counted"):
        (row,) = sampler.sample([ask(1)], DECODING, seed=0)
    assert (row[0].num_tokens, row[0].length_source) == (sampler.count("4+3=7") + 1, LengthSource.TEXT)
    with pytest.raises(ModelError, match="no-such"):
        HttpSampler.connect(f"{endpoint.url}#m?tokenizer=./no-such")


def test_the_form_of_a_reply_is_checked_and_not_guessed() -> None:
    """False is no text, although it is as empty as a missing one."""
    with pytest.raises(ModelError, match="none of the chat API"):
        read_reply(parse_endpoint("http://h/v1#m"), reply(False), cap=64)  # type: ignore[arg-type]
