"""A vLLM server, seen from the trainer: its doors, and what it says of itself.

1. `facts` asks which model it serves, how, and by which rules it reports log-probabilities. Most doors stand open only where the
   server was started with VLLM_SERVER_DEV_MODE=1; where they are closed, the error says so.
2. `draw` sends many requests for responses at once, over kept connections. While anything is asked it is looked now and then
   whether the server still lives: one that hangs answers nothing, and breaks no connection.
3. A connection that fails and a reply of status 500 or above raise `ServerGone`: the server has died, or is about to. Any other
   refusal raises `ModelError` and quotes the server, since it would be the same again.

The weights have a version, a text that the trainer sets when it hands weights over. The server forgets it when it is started
again, so a version that is still there says that the weights are too.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
import torch

from laconic.config.defaults import REPLY_SECONDS
from laconic.errors import ModelError
from laconic.samplers.endpoints import api_key, parse_endpoint
from laconic.samplers.fetching import ReplyLimits, UnfitReplyError, fetch, in_own_loop, what_ended
from laconic.samplers.refusals import json_in, refusal_of
from laconic.samplers.vllm.starting import OWN_MODE
from laconic.system.text import brief

HEALTH_SECONDS = 5.0
WATCH_SECONDS = 60.0  # between two looks at whether the server lives, and how long it may take to say so
MOST_RESETS, RESET_PAUSE_SECONDS = 60, 0.5
HOW_TO_START = f"VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode {OWN_MODE} --max-model-len N"
INITIAL_VERSION = "default"

Taken = TypeVar("Taken")


class ServerGone(Exception):  # noqa: N818  (the name says what happened)
    """The server does not answer, or not as a server that works; the text says how."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself: the name it serves the model by, the folder or hub name it loaded, the largest number of
    tokens of prompt and response together, the dtype of its weights, how they are quantized (empty if they are not), how it
    reports log-probabilities, and by which backend it receives weights (empty if by none)."""

    served_as: str
    loaded_from: str
    context: int
    dtype: torch.dtype
    quantization: str
    logprobs_mode: str
    transfer: str


class VllmServer:
    """The server at `url`, with or without /v1. One request takes at most `seconds`. Raises `ModelError` where `url` is not the
    address of a server and of nothing else."""

    def __init__(self, url: str, seconds: float = REPLY_SECONDS) -> None:
        endpoint = parse_endpoint(url)
        if endpoint.model or endpoint.options:
            raise ModelError(f"sampler.server: {url}: expected the address of the server alone, {endpoint.url}")
        self.url = endpoint.url.removesuffix("/v1")
        self.limits = ReplyLimits(seconds)
        self._key = api_key()

    # --- what it is --------------------------------------------------------------------------------------------------

    def facts(self) -> ServerFacts:
        """What the server says of itself. Raises `ServerGone`, and `ModelError` where it is no vLLM server that takes weights."""
        listed = self.ask("GET", "/v1/models")
        config = self.ask("GET", "/server_info?config_format=json")
        try:
            card, model = listed["data"][0], config["vllm_config"]["model_config"]
            transfer = config["vllm_config"].get("weight_transfer_config") or {}
            return ServerFacts(
                served_as=str(card["id"]),
                loaded_from=str(card.get("root") or model["model"]),
                context=int(model["max_model_len"]),
                dtype=getattr(torch, str(model["dtype"]).removeprefix("torch.")),
                quantization=str(model.get("quantization") or ""),
                logprobs_mode=str(model["logprobs_mode"]),
                transfer=str(transfer.get("backend", "")),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise ModelError(
                f"{self.url}: is no vLLM server that this version knows: start it as  {HOW_TO_START}"
            ) from None

    def token_ids(self, model: str, text: str) -> list[int]:
        """The ids that the server's tokenizer makes of a text, special tokens left out."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        reply = self.ask("POST", "/tokenize", body)
        return self._read(reply, "the tokens of a text", lambda held: [int(token) for token in held["tokens"]])

    def scores(self, model: str, ids: Sequence[int]) -> list[float]:
        """The log-probability of every one of the `ids` but the first, given those before it."""
        body = {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        reply = self.ask("POST", "/v1/completions", body)

        def scores_in(reply: Any) -> list[float]:
            listed = reply["choices"][0]["prompt_logprobs"][1:]
            return [float(entry[str(token)]["logprob"]) for token, entry in zip(ids[1:], listed, strict=True)]

        return self._read(reply, f"prompt_logprobs of {len(ids)} tokens", scores_in)

    def is_healthy(self) -> bool:
        """Whether the server answers and its engine lives. Raises `ModelError` where something else answers there."""
        try:
            self.ask("GET", "/health", limits=ReplyLimits(HEALTH_SECONDS))
        except ServerGone:
            return False
        return True

    # --- weights -----------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """The version of the weights that the server has."""
        return self._read(self.ask("GET", "/weight_info"), "a weight_version", lambda held: str(held["weight_version"]))

    def set_version(self, version: str) -> None:
        """Name the weights that the server has."""
        self.ask("POST", "/update_weight_version", {"new_version": version})

    def checksums(self) -> dict[str, str]:
        """The SHA-256 of every weight as the server holds it, by worker and name."""
        reply = self.ask("POST", "/weight_checker", {"action": "checksum"})
        return self._read(reply, "the checksums of weights", lambda held: dict(held["checksums"]))

    def reload(self, folder: str) -> None:
        """Let every worker read its weights anew from `folder`."""
        self.ask("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": folder}})

    def forget_prefixes(self) -> None:
        """Drop the cached keys and values of prompts, which other weights made. Requests that were broken off may still hold some
        for a moment."""
        for _ in range(MOST_RESETS):
            reply = self.ask("POST", "/reset_prefix_cache", {})
            if self._read(reply, "whether the cache is empty", lambda held: held.get("success")) is not False:
                return
            time.sleep(RESET_PAUSE_SECONDS)
        raise ServerGone(
            f"{self.url}: the cache of prefixes cannot be emptied, since requests of another program are running"
        )

    # --- requests ----------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, limits: ReplyLimits | None = None) -> Any:
        """The JSON of the reply to one request; an empty object for an empty reply."""

        async def once() -> Any:
            async with httpx2.AsyncClient(**self._client_settings()) as client:
                return await self._fetched(client, method, path, body, limits or self.limits)

        return in_own_loop(self._watched(once()))

    def _read(self, reply: Any, what: str, how: Callable[[Any], Taken]) -> Taken:
        """What `how` finds in a reply. Raises `ModelError` where it has another form."""
        try:
            return how(reply)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise ModelError(f"{self.url}: expected {what}, got {brief(reply)}") from None

    def draw(self, bodies: Sequence[dict[str, Any]], most: int, on_reply: Callable[[int, Any], None]) -> None:
        """Ask for completions, at most `most` at once; `on_reply` gets the place of each request and its reply's JSON, in any
        order. The first failure ends the work and is raised."""
        in_own_loop(self._watched(self._draw(bodies, most, on_reply)))

    async def _draw(self, bodies: Sequence[dict[str, Any]], most: int, on_reply: Callable[[int, Any], None]) -> None:
        jobs = iter(enumerate(bodies))
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=most)
        async with (
            httpx2.AsyncClient(limits=limits, **self._client_settings()) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(min(most, len(bodies))):
                tasks.create_task(self._work(client, jobs, on_reply))

    async def _watched(self, work: Coroutine[Any, Any, Taken]) -> Taken:
        """What `work` returns. It ends where the server hangs; of several failures the one of `what_ended` is raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch())
                done = await work
                watch.cancel()
        except BaseExceptionGroup as failures:  # a signal may be among them
            raise what_ended(failures) from None
        return done

    async def _work(
        self,
        client: httpx2.AsyncClient,
        jobs: Iterator[tuple[int, dict[str, Any]]],
        on_reply: Callable[[int, Any], None],
    ) -> None:
        for place, body in jobs:
            on_reply(place, await self._fetched(client, "POST", "/v1/completions", body, self.limits))

    async def _watch(self) -> None:
        """Raise `ServerGone` where the server no longer answers."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            async with httpx2.AsyncClient(**self._client_settings()) as client:
                await self._fetched(client, "GET", "/health", None, ReplyLimits(WATCH_SECONDS))

    async def _fetched(self, client: httpx2.AsyncClient, method: str, path: str, body: Any, limits: ReplyLimits) -> Any:
        url = self.url + path
        try:
            reply = await fetch(client, method, url, limits, None if body is None else json.dumps(body).encode())
        except (httpx2.RequestError, OSError, UnfitReplyError) as error:
            raise ServerGone(f"{url}: {type(error).__name__} {error}".rstrip()) from None
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise ModelError(f"{url}: {error}") from None
        if reply.is_success:
            return json_in(reply, url) if reply.content.strip() else {}
        why = refusal_of(reply, reply.text)
        if reply.status >= 500:
            raise ServerGone(f"{url}: {why}")
        hint = f"; the server must be started as  {HOW_TO_START}" if reply.status in (404, 405) else ""
        raise ModelError(f"{url}: {why}{hint}")

    def _client_settings(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        has_tls = self.url.startswith("https:")  # else nothing is verified, and certificates load slowly
        return {"headers": headers, "timeout": httpx2.Timeout(None, connect=HEALTH_SECONDS), "verify": has_tls}


def wait_until_healthy(server: VllmServer, seconds: float, pause: float, look: Callable[[], None]) -> bool:
    """Whether the server became healthy within `seconds`; `look` is called before each try and may raise."""
    deadline = time.monotonic() + seconds
    while True:
        look()
        if server.is_healthy():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
