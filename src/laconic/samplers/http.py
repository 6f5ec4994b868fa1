"""The http sampler: any OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, `transformers serve`, a provider's API).

1. Every sample is a separate request with its own seed, so that the server's count of generated tokens is that of one response.
   `wire.py` makes the requests and reads the replies.
2. `batch_size` workers take samples in order and send them over kept connections; a window says how many may be in flight
   (`pacing.py`). Answers are put in their places, whatever order they come in.
3. After a failure that may pass (a rate limit, a server that is busy or restarting, a broken connection) the request is sent
   again after a random wait, at most `ATTEMPTS` times; while other requests succeed, a rate limit does not use up attempts. A
   failure that will not pass (a wrong key, an unknown model, a cap beyond the context) ends the work at once, with one line that
   quotes the server.

The key is read from the environment and sent in a header; it is never written to a file, a message or a name. Every call has its
own event loop: Ctrl-C cancels the requests in flight, closes the connections (vLLM then stops those responses) and returns at
once.

The seed of a sample depends on its address alone. Whether the same seed gives the same response depends on the server. What is
left out: streaming, so a response must arrive within `READ_SECONDS`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from laconic.config.solver import SamplerConfig
from laconic.errors import LaconicError, ModelError, RunFailed
from laconic.rng import stream
from laconic.samplers.endpoints import CAP_FIELDS, KEY_VARIABLES, Endpoint, RemoteModel, api_key, parse_endpoint
from laconic.samplers.pacing import Window, backoff_seconds, retry_after_seconds
from laconic.samplers.protocol import Request
from laconic.samplers.wire import (
    WIRES,
    Refusal,
    body_of,
    check_omitted,
    read_reply,
    refusal,
)
from laconic.types import Progress, Response

ATTEMPTS = 8
REACH_ATTEMPTS = 3  # at an address where nothing has answered yet: most often a typing error
CONNECT_SECONDS = 10.0
READ_SECONDS = 3600.0
MOST_WAIT_SECONDS = 600.0  # where a server asks for a longer wait, its quota is used up, and the work ends
SHOWN_MODELS = 8


def open_endpoint(address: str) -> tuple[RemoteModel, "HttpSampler"]:
    """The model behind an address and its sampler, as a solver takes them. Raises as `HttpSampler.connect` does."""
    sampler = HttpSampler.connect(address)
    return RemoteModel(sampler.name), sampler


class HttpSampler:
    """Draws responses from an endpoint, as the head of this module describes.

    `retries` counts the failures after which a request was sent again, by status or as `connection`.
    """

    def __init__(self, endpoint: Endpoint, *, attempts: int = ATTEMPTS) -> None:
        self.endpoint = endpoint
        self.attempts = attempts
        self.retries: Counter[str] = Counter()
        self.cap_field = CAP_FIELDS[0]
        self.in_flight = float("inf")  # the window's size at the end of the last call
        self.num_answers = 0
        self._key = api_key()

    @classmethod
    def connect(cls, address: str) -> "HttpSampler":
        """The sampler of an address (`endpoints.parse_endpoint`); for one without a model's name, that of the only model there.

        Raises `ModelError` where the address is malformed, cannot be reached, or serves several models.
        """
        endpoint = parse_endpoint(address)
        return cls(endpoint) if endpoint.model else cls(endpoint)._with_only_model()

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
        return _run(call.run())

    def client_settings(self) -> dict[str, Any]:
        """Arguments that every client of this endpoint is made with."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {"headers": headers, "timeout": httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=None)}

    def refused(self, why: Refusal) -> ModelError:
        """The error to raise for a refusal that will not pass."""
        hint = ""
        if why.status == 401 and not self._key:
            hint = f" (no key was sent: set {KEY_VARIABLES[0]})"
        if why.status == 404 and not self.endpoint.url.endswith("/v1"):
            hint = " (an address ends in /v1 on most servers)"
        return ModelError(self.without_key(f"{self.name}: {why}{hint}"))

    def without_key(self, text: str) -> str:
        """`text` with the key replaced, since some servers quote the key that they refuse."""
        return text.replace(self._key, "[key]") if self._key else text

    def _with_only_model(self) -> "HttpSampler":
        """This sampler with the only model that the endpoint lists."""
        url = f"{self.endpoint.url}/models"
        try:
            with httpx2.Client(**self.client_settings()) as client:
                reply = client.get(url, timeout=CONNECT_SECONDS)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ModelError(f"{url}: cannot be reached ({_error_text(error)})") from None
        if not reply.is_success:
            raise self.refused(refusal(reply.status_code, reply.text))
        models = _listed(url, reply)
        if len(models) != 1:
            some = ", ".join(models[:SHOWN_MODELS])
            raise ModelError(f"{url}: lists {len(models)} models ({some}); name one as {self.endpoint.url}#MODEL")
        return HttpSampler(replace(self.endpoint, model=models[0]), attempts=self.attempts)


def _listed(url: str, reply: httpx2.Response) -> list[str]:
    """The names of the models that an endpoint lists."""
    try:
        return sorted({str(entry["id"]) for entry in reply.json()["data"]})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{url}: expected a list of models") from None


def _error_text(error: Exception) -> str:
    """Kind and text of a transport error in one line; some errors have no text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _run(work: Coroutine[Any, Any, list[list[Response]]]) -> list[list[Response]]:
    """Run `work` in a new event loop; in a thread where the caller already runs a loop, as notebooks do."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


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
        except ExceptionGroup as failures:
            raise _first(failures) from None
        self.sampler.in_flight = self.window.size
        return [[answer for answer in answers if answer is not None] for answers in self.answers]

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
            try:
                reply = await client.post(self.url, json=body)
            except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
                raise ModelError(f"{self.url}: {_error_text(error)}") from None
            except httpx2.RequestError as error:
                sampler.retries["connection"] += 1
                return _Setback("connection", _error_text(error))
            outcome = self._judge(reply, request, cap_field)
            if isinstance(outcome, Response):
                sampler.num_answers += 1
                self.window.grow()
            elif outcome.kind == "429":
                self.window.shrink(turn)
                self.window.close_for(outcome.wait_seconds or 0.0)
            return outcome

    def _judge(self, reply: httpx2.Response, request: Request, cap_field: str) -> Response | _Setback:
        """A response, a setback, or the error that ends the work."""
        why = _refusal_in(reply)
        if why is None:
            return read_reply(self.sampler.endpoint, reply.json())
        if why.wants_other_cap and cap_field == CAP_FIELDS[0]:
            self.sampler.cap_field = CAP_FIELDS[1]
            return _Setback("400", why.message, counts=False)
        if why.is_about_context:
            raise ModelError(
                f"{self.sampler.name}: max_tokens {self.decoding.max_tokens} and the prompt of problem {request.key} do "
                f"not fit the model's context: {self.sampler.without_key(why.message)}"
            )
        if not why.is_passing:
            raise self.sampler.refused(why)
        self.sampler.retries[str(why.status)] += 1
        wait = retry_after_seconds(reply.headers.get("retry-after"), time.time())
        return _Setback(str(why.status), self.sampler.without_key(str(why)), wait)

    def _check_limit(self, outcome: _Setback, num_failures: int, request: Request, sample: int) -> None:
        """Raise the error that ends the work where there is no use in trying again."""
        is_unreached = outcome.kind == "connection" and self.sampler.num_answers == 0
        if is_unreached and num_failures >= min(REACH_ATTEMPTS, self.sampler.attempts):
            raise ModelError(f"{self.url}: cannot be reached ({outcome.reason})")
        if (outcome.wait_seconds or 0.0) > MOST_WAIT_SECONDS:
            raise RunFailed(f"{self.url}: asks to wait {outcome.wait_seconds:.0f} seconds: {outcome.reason}")
        if num_failures >= self.sampler.attempts:
            raise RunFailed(
                f"{self.url}: gave up on problem {request.key}, sample {sample}, after {num_failures} attempts: "
                f"{outcome.reason}"
            )


def _refusal_in(reply: httpx2.Response) -> Refusal | None:
    """The refusal in a reply, or None. Some routers report a model's error with status 200 and the code inside the reply."""
    if not reply.is_success:
        target = reply.headers.get("location")
        return refusal(reply.status_code, f"redirects to {target}" if target else reply.text)
    try:
        body = reply.json()
    except ValueError:
        return Refusal(404, "the reply is not JSON")
    error = body.get("error") if isinstance(body, dict) and not body.get("choices") else None
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return refusal(code if isinstance(code, int) and code >= 400 else 502, reply.text)


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The failure that ended the work: the first one that is a `LaconicError`, else the first."""
    leaves: list[Exception] = []
    for failure in failures.exceptions:
        leaves += [_first(failure)] if isinstance(failure, ExceptionGroup) else [failure]
    return next((leaf for leaf in leaves if isinstance(leaf, LaconicError)), leaves[0])
