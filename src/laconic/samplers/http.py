"""The http sampler: any OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, `transformers serve`, a provider's API).

1. Every sample is a separate request with its own seed, so that the server's count of generated tokens is that of one response.
   `wire.py` makes the requests and reads the replies.
2. `batch_size` workers take samples in order and send them over kept connections; a window says how many may be in flight
   (`pacing.py`). Answers are put in their places, whatever order they come in.
3. After a failure that may pass (a rate limit, a server that is busy or restarting, a broken connection, a reply that cannot be
   read where others could) the request is sent again after a random wait, at most `ATTEMPTS` times; while other requests succeed,
   a rate limit does not use up attempts. A failure that will not pass (a wrong key, an unknown model, a cap beyond the context)
   ends the work at once, with one line that quotes the server.
4. A server may send anything. A reply is bounded in size and time (`fetching.py`), an impossible count is replaced and marked
   (`counting.py`), and every error is printable and at most two lines long.

The key is read from the environment and sent in a header; it is never written to a file, a message or a name. Every call has its
own event loop: Ctrl-C cancels the requests in flight, closes the connections (vLLM then stops those responses) and returns at
once.

The seed of a sample depends on its address alone. Whether the same seed gives the same response depends on the server. What is
left out: streaming, so a response must arrive within `REPLY_SECONDS`, or `seconds` of the address; and cookies, which are
not kept.
"""

import asyncio
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http.cookiejar import CookieJar
from typing import Any

import httpx2

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import LaconicWarning, ModelError, RunFailed
from laconic.prompts.thinking import decode_response
from laconic.rng import stream
from laconic.samplers.counting import DOUBTS, LOST_CHARACTERS, THINKING, UNCOUNTED, text_counter
from laconic.samplers.endpoints import CAP_FIELDS, KEY_VARIABLES, Endpoint, RemoteModel, api_key, parse_endpoint
from laconic.samplers.fetching import Reply, ReplyLimits, UnfitReplyError, fetch, in_own_loop, what_ended
from laconic.samplers.pacing import Window, backoff_seconds, retry_after_seconds
from laconic.samplers.protocol import Request
from laconic.samplers.refusals import Refusal, UnreadReplyError, json_in, refusal_in, refusal_of
from laconic.samplers.wire import WIRES, body_of, check_omitted, has_too_much_thinking, read_reply, uncounted_in
from laconic.system.text import brief, in_two_lines
from laconic.types import LengthSource, Progress, Response

ATTEMPTS = 8
REACH_ATTEMPTS = 3  # where nothing has answered yet, most often a typing error, and after replies that took too long
CONNECT_SECONDS = 10.0
MOST_WAIT_SECONDS = 600.0  # where a server asks for a longer wait, its quota is used up, and the work ends
SHOWN_MODELS = 8


def open_endpoint(address: str) -> tuple[RemoteModel, "HttpSampler"]:
    """The model behind an address and its sampler, as a solver takes them. Raises as `HttpSampler.connect` does."""
    sampler = HttpSampler.connect(address)
    return RemoteModel(sampler.name, sampler.tokenizer if sampler.endpoint.api == "ids" else None), sampler


class HttpSampler:
    """Draws responses from an endpoint, as the head of this module describes.

    `retries` counts the failures after which a request was sent again: by status, or as `connection`, `timeout` or `reply`.
    `doubts` counts the responses whose counts cannot be true or leave out thinking, or whose texts could not be read whole, by
    the keys of `counting.DOUBTS`, and those that were withheld, by their finish reasons.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        attempts: int = ATTEMPTS,
        limits: ReplyLimits | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.endpoint = endpoint
        self.attempts = attempts
        self.limits = limits or ReplyLimits(endpoint.seconds)
        self.tokenizer = tokenizer
        self.count = None if tokenizer is None else text_counter(tokenizer)
        self.decode = partial(decode_response, tokenizer) if endpoint.api == "ids" else None
        self.retries: Counter[str] = Counter()
        self.doubts: Counter[str] = Counter()
        self.cap_field = CAP_FIELDS[0]
        self.in_flight = float("inf")  # the window's size at the end of the last call
        self.num_answers = 0
        self._key = api_key()

    @classmethod
    def connect(cls, address: str, *, limits: ReplyLimits | None = None) -> "HttpSampler":
        """The sampler of an address (`endpoints.parse_endpoint`); for one without a model's name, that of the only model there.

        Raises `ModelError` where the address is malformed, cannot be reached, serves several models, or names no tokenizer.
        """
        endpoint = parse_endpoint(address)
        sampler = cls(endpoint, limits=limits, tokenizer=_tokenizer_of(endpoint))
        if not endpoint.model:
            sampler.endpoint = replace(endpoint, model=sampler._only_model())
        return sampler

    @property
    def name(self) -> str:
        """The address, as reports show it."""
        return self.endpoint.name

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """Responses to each request, in the order of requests and samples; at most `decoding.batch_size` requests in flight.

        Raises `ModelError` where the endpoint refuses the request, `RunFailed` where it stays out of reach.
        """
        check_omitted(self.endpoint, decoding)
        call = _Call(self, requests, decoding, seed, on_progress)
        return in_own_loop(call.run())

    def client_settings(self) -> dict[str, Any]:
        """Arguments that every client of this endpoint is made with. How long a reply may take is bounded as a whole."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = httpx2.Timeout(None, connect=min(CONNECT_SECONDS, self.limits.seconds))
        has_tls = self.endpoint.url.startswith("https:")  # else nothing is verified, and certificates load slowly
        return {"headers": headers, "timeout": timeout, "cookies": _NoCookies(), "verify": has_tls}

    def refused(self, why: Refusal) -> ModelError:
        """The error to raise for a refusal that will not pass."""
        hint = ""
        if why.status == 401 and not self._key:
            hint = f" (no key was sent: set {KEY_VARIABLES[0]})"
        if why.status == 404 and not self.endpoint.url.endswith("/v1"):
            hint = " (an address ends in /v1 on most servers)"
        return ModelError(f"{self.name}: {why}{hint}")

    def cleaned(self, error: BaseException) -> BaseException:
        """The error as a person may read it: without the key, which some servers quote, printable, and at most two lines long."""
        if isinstance(error, ModelError | RunFailed):
            return type(error)(in_two_lines(self.without_key(str(error))))
        return error

    def without_key(self, text: str) -> str:
        """`text` with the key replaced."""
        return text.replace(self._key, "[key]") if self._key else text

    def doubt(self, kind: str) -> None:
        """Note a response by a key of `DOUBTS`; the first of a kind is a warning."""
        if not self.doubts[kind]:
            warnings.warn(in_two_lines(f"{self.name}: {DOUBTS[kind]}"), LaconicWarning, stacklevel=2)
        self.doubts[kind] += 1

    def _only_model(self) -> str:
        """The name of the only model that the endpoint lists."""
        url = f"{self.endpoint.url}/models"
        try:
            models = self._listed(url)
        except (httpx2.HTTPError, httpx2.InvalidURL, UnfitReplyError, OSError, UnicodeError) as error:
            raise self.cleaned(ModelError(f"{url}: cannot be reached ({_error_text(error)})")) from None
        if len(models) != 1:
            some = ", ".join(models[:SHOWN_MODELS])
            listed = f"{url}: lists {len(models)} models ({some}); name one as {self.endpoint.url}#MODEL"
            raise self.cleaned(ModelError(listed))
        return models[0]

    def _listed(self, url: str) -> list[str]:
        """The names of the models that an endpoint lists, those that a person could type."""
        limits = replace(self.limits, seconds=min(CONNECT_SECONDS, self.limits.seconds))

        async def ask() -> Reply:
            async with httpx2.AsyncClient(**self.client_settings()) as client:
                return await fetch(client, "GET", url, limits)

        reply = in_own_loop(ask())
        if not reply.is_success:
            raise self.cleaned(self.refused(refusal_of(reply, self.without_key(reply.text))))
        try:
            names = {entry["id"] for entry in json_in(reply, url)["data"]}
            return sorted(name for name in names if isinstance(name, str) and name.strip() and name.isprintable())
        except (KeyError, TypeError, AttributeError):
            raise ModelError(f"{url}: expected a list of models, got {brief(reply.text)}") from None


class _NoCookies(CookieJar):
    """A jar that keeps nothing: a server's cookies would grow with every reply."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep none."""


def _tokenizer_of(endpoint: Endpoint) -> Any:
    """The model's tokenizer, where the address names it."""
    if not endpoint.tokenizer:
        return None
    from laconic.models.loading import load_tokenizer

    return load_tokenizer(endpoint.tokenizer, PolicyConfig())


def _error_text(error: Exception) -> str:
    """Kind and text of a transport error in one line; some errors have no text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class _Setback:
    """A failed attempt after which the request is sent again. `wait_seconds` is the wait that the server asked for; `counts` says
    whether the failure uses up an attempt."""

    kind: str
    reason: str
    wait_seconds: float | None = None
    counts: bool = True


class _Call:
    """One call of `sample`: its samples, its window and its answers."""

    def __init__(
        self,
        sampler: HttpSampler,
        requests: Sequence[Request],
        decoding: SamplerConfig,
        seed: int,
        on_progress: Progress | None,
    ) -> None:
        self.sampler, self.requests, self.decoding, self.seed = sampler, requests, decoding, seed
        self.on_progress = on_progress
        self.url = sampler.endpoint.url + WIRES[sampler.endpoint.api].path
        self.window = Window(decoding.batch_size, sampler.in_flight)
        self.answers: list[list[Response | None]] = [[None] * request.num_samples for request in requests]

    async def run(self) -> list[list[Response]]:
        """The responses to each request, in the order of requests and samples."""
        jobs = iter([(row, place) for row, answers in enumerate(self.answers) for place in range(len(answers))])
        num_jobs = sum(map(len, self.answers))
        most = min(self.decoding.batch_size, num_jobs)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=most)
        try:
            async with (
                httpx2.AsyncClient(limits=limits, **self.sampler.client_settings()) as client,
                asyncio.TaskGroup() as workers,
            ):
                for _ in range(most):
                    workers.create_task(self._work(client, jobs))
        except BaseExceptionGroup as failures:  # a signal may be among them
            raise self.sampler.cleaned(what_ended(failures)) from None
        self.sampler.in_flight = self.window.size
        responses = [[answer for answer in answers if answer is not None] for answers in self.answers]
        self._warn_of_withheld([response for row in responses for response in row])
        return responses

    def _warn_of_withheld(self, responses: Sequence[Response]) -> None:
        """Say how many of the responses the endpoint withheld, by reason."""
        for reason, number in Counter(r.finish_reason for r in responses if r.is_withheld).items():
            said = f"{number} of {len(responses)} responses ended with finish_reason {reason}, and count as without an answer"
            warnings.warn(in_two_lines(f"{self.sampler.name}: {said}"), LaconicWarning, stacklevel=2)

    async def _work(self, client: httpx2.AsyncClient, jobs: Iterator[tuple[int, int]]) -> None:
        for row, place in jobs:
            answer = await self._draw(client, self.requests[row], self.requests[row].first_sample + place)
            self.answers[row][place] = answer
            if self.on_progress is not None:
                self.on_progress(1, answer.num_tokens)

    async def _draw(self, client: httpx2.AsyncClient, request: Request, sample: int) -> Response:
        """One response, after as many attempts as the limit allows."""
        jitter = stream(self.seed, "http/backoff", request.key, sample)
        num_failures, num_answers = 0, self.sampler.num_answers
        while True:
            outcome = await self._attempt(client, request, sample)
            if isinstance(outcome, Response):
                return outcome
            if outcome.kind == "429" and self.sampler.num_answers > num_answers:
                num_failures, num_answers = 0, self.sampler.num_answers
            num_failures += outcome.counts
            self._check_limit(outcome, num_failures, request, sample)
            if outcome.counts:
                await asyncio.sleep((outcome.wait_seconds or 0.0) + backoff_seconds(num_failures, jitter))

    async def _attempt(self, client: httpx2.AsyncClient, request: Request, sample: int) -> Response | _Setback:
        sampler = self.sampler
        async with self.window.turn() as turn:
            cap_field = sampler.cap_field
            body = body_of(sampler.endpoint, request, sample, self.decoding, seed=self.seed, cap_field=cap_field)
            reply = await self._fetch(client, json.dumps(body).encode())
            outcome = reply if isinstance(reply, _Setback) else self._judge(reply, request, cap_field)
            if isinstance(outcome, Response):
                sampler.num_answers += 1
                self.window.grow()
            elif outcome.kind == "429":
                self.window.shrink(turn)
                self.window.close_for(outcome.wait_seconds or 0.0)
            return outcome

    async def _fetch(self, client: httpx2.AsyncClient, body: bytes) -> Reply | _Setback:
        """The whole reply, or the setback that came in its place. Raises `ModelError` for an address that none can use."""
        try:
            return await fetch(client, "POST", self.url, self.sampler.limits, body)
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL, UnicodeError) as error:
            raise ModelError(f"{self.url}: {_error_text(error)}") from None
        except UnfitReplyError as error:
            return self._unread(f"{self.url}: {error}")
        except (httpx2.RequestError, OSError) as error:
            kind = "timeout" if isinstance(error, httpx2.ReadTimeout) else "connection"
            self.sampler.retries[kind] += 1
            return _Setback(kind, _error_text(error))

    def _judge(self, reply: Reply, request: Request, cap_field: str) -> Response | _Setback:
        """A response, a setback, or the error that ends the work."""
        sampler = self.sampler
        if not reply.is_success:
            return self._refused(refusal_of(reply, sampler.without_key(reply.text)), reply, request, cap_field)
        try:
            body = json_in(reply, sampler.name)
            if why := refusal_in(body, sampler.without_key(reply.text)):
                return self._refused(why, reply, request, cap_field)
            response = read_reply(sampler.endpoint, body, self.decoding.max_tokens, sampler.count, sampler.decode)
        except UnreadReplyError as error:
            return self._unread(str(error))
        if response.length_source is not LengthSource.ENGINE:
            sampler.doubt(response.length_source)
        if has_too_much_thinking(body, response):
            sampler.doubt(THINKING)
        if not response.token_ids and uncounted_in(body):
            sampler.doubt(UNCOUNTED)
        if reply.has_lost_characters:
            sampler.doubt(LOST_CHARACTERS)
        if response.is_withheld:
            sampler.doubts[response.finish_reason] += 1
        return response

    def _unread(self, reason: str) -> _Setback:
        """A reply that could not be read: a page of a proxy, one that is too large, or no API at all."""
        self.sampler.retries["reply"] += 1
        return _Setback("reply", reason)

    def _refused(self, why: Refusal, reply: Reply, request: Request, cap_field: str) -> _Setback:
        """The setback that a refusal means. Raises the error that ends the work where it will not pass."""
        sampler = self.sampler
        if why.wants_other_cap and cap_field == CAP_FIELDS[0]:
            sampler.cap_field = CAP_FIELDS[1]
            return _Setback("400", why.message, counts=False)
        if why.is_about_context:
            raise ModelError(
                f"{sampler.name}: max_tokens {self.decoding.max_tokens} and the prompt of problem {request.key} do "
                f"not fit the model's context: {why.message}"
            )
        if why.is_about_turns:
            roles = ", ".join(turn["role"] for turn in request.messages)
            raise ModelError(
                f"{sampler.name}: its chat template refuses the turns {roles}: {why}\n"
                "leave out the system text or the prompt's examples, or add ?api=completions to the address (no template)"
            )
        if not why.is_passing:
            raise sampler.refused(why)
        sampler.retries[str(why.status)] += 1
        wait = retry_after_seconds(reply.headers.get("retry-after"), time.time())
        return _Setback(str(why.status), str(why), wait)

    def _check_limit(self, outcome: _Setback, num_failures: int, request: Request, sample: int) -> None:
        """Raise the error that ends the work where there is no use in trying again."""
        attempts = self.sampler.attempts
        is_unreached = outcome.kind in ("connection", "timeout", "reply") and self.sampler.num_answers == 0
        if is_unreached or outcome.kind == "timeout":
            attempts = min(REACH_ATTEMPTS, attempts)
        if is_unreached and num_failures >= attempts:
            reason = outcome.reason
            raise ModelError(reason if outcome.kind == "reply" else f"{self.url}: cannot be reached ({reason})")
        if (outcome.wait_seconds or 0.0) > MOST_WAIT_SECONDS:
            raise RunFailed(f"{self.url}: asks to wait {outcome.wait_seconds:.0f} seconds: {outcome.reason}")
        if num_failures >= attempts:
            raise RunFailed(
                f"{self.url}: gave up on problem {request.key}, sample {sample}, after {num_failures} attempts: "
                f"{outcome.reason}"
            )
