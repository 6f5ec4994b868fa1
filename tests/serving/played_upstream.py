"""Upstreams without a network: a script says what each answers, and a gateway in this process asks them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
from starlette.applications import Starlette

from laconic.config.serving import parse_serving
from laconic.serving.gateway import Desk
from laconic.serving.program import build_app, open_gateway
from laconic.serving.routing import upstreams_of
from laconic.traffic.tables import REQUESTS

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 3}}
TWO_PLUS_TWO = [{"role": "user", "content": "2+2?"}]


@dataclass
class Played:
    """What an upstream answers: pieces of a body with pauses, a failure instead, or one after so many pieces."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0
    failure: Exception | None = None
    fails_after: int | None = None


Script = Callable[[dict[str, Any]], Played]


def whole(text: str = "4", *, status: int = 200, **further: Any) -> Played:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "chatcmpl-up", "object": "chat.completion", "model": "inner", "choices": [choice], "usage": USAGE}
    return Played([json.dumps(body | further).encode()], status)


def event(delta: Mapping[str, Any] | None = None, **further: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": further.pop("finish", None)}]
    chunk = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "model": "inner", "choices": choices, **further}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


STREAM = (
    event({"role": "assistant", "content": ""}),
    event({"reasoning_content": "two and two"}),
    event({"content": "4"}),
    event({}, finish="stop"),
    event(usage=USAGE),
    b"data: [DONE]\n\n",
)


def stream(*pieces: bytes, **further: Any) -> Played:
    return Played(pieces or STREAM, headers={"content-type": "text/event-stream"}, **further)


def refused(status: int, message: str, **headers: str) -> Played:
    return Played([json.dumps({"error": {"message": message}}).encode()], status, headers)


class _Reply:
    """What the gateway asks of a reply of aiohttp."""

    def __init__(self, played: Played, session: "PlayedSession") -> None:
        self.status, self.headers, self.content, self.closed = played.status, played.headers, self, False
        self._played, self._session = played, session

    async def iter_any(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self._played.pieces):
            if number == self._played.fails_after:
                raise aiohttp.ClientPayloadError("gone")
            await asyncio.sleep(self._played.pause)
            self._session.num_sent += 1
            yield piece
        self.closed = True

    def close(self) -> None:
        self._session.num_closed += not self.closed
        self.closed = True


class PlayedSession:
    """In place of a session of aiohttp: remembers what came in, and how many replies were closed before their end."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.num_sent = self.num_closed = 0

    async def post(self, url: str, *, data: bytes, headers: Mapping[str, str], **_: Any) -> _Reply:
        self.bodies.append(json.loads(data))
        self.headers.append(dict(headers))
        played = self.script(self.bodies[-1])
        if played.failure is not None:
            raise played.failure
        return _Reply(played, self)

    async def close(self) -> None:
        pass


def scripted(body: dict[str, Any]) -> Played:
    """Answers as asked: whole, or as a stream."""
    return stream() if body.get("stream") else whole()


@dataclass
class Play:
    """A gateway, its desk, and the upstreams behind it by name."""

    app: Starlette
    desk: Desk
    upstreams: dict[str, PlayedSession]
    said: list[str]

    @property
    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url="http://127.0.0.1")

    async def chat(
        self, headers: Mapping[str, str] | None = None, path: str = "chat/completions", **body: Any
    ) -> httpx2.Response:
        fields = {"model": "m", **({} if path == "completions" else {"messages": TWO_PLUS_TWO}), **body}
        async with self.client as client:
            return await client.post(f"/v1/{path}", json=fields, headers=headers)

    def rows(self) -> list[dict[str, Any]]:
        """The records of every request that has ended, once the store has them all."""
        requests = self.desk.metrics.requests.collect()[0].samples
        ended = sum(sample.value for sample in requests if sample.name.endswith("_total"))
        while self.desk.writer.counts.written < ended:
            time.sleep(0.002)
        return self.desk.writer.store.rows(REQUESTS)


@asynccontextmanager
async def playing(folder: Path, scripts: Mapping[str, Script] | None = None, **settings: Any) -> AsyncIterator[Play]:
    """A gateway with a route "m" over all upstreams of `scripts`; `settings` are keys of its file."""
    scripts = scripts or {"a": scripted}
    route = {"upstreams": [name for name in scripts if name != "candidate"], **settings.pop("route", {})}
    tree = {
        "upstreams": {name: {"url": f"http://{name}.test/v1", "model": "inner"} for name in scripts},
        "routes": {"m": route},
        "store": f"sqlite:///{folder}/traffic.db",
        "salt": f"{folder}/salt",
        **settings,
    }
    said: list[str] = []
    desk = open_gateway(parse_serving(tree, "serve.toml: "), said.append)
    sessions = {name: PlayedSession(script) for name, script in scripts.items()}
    for upstream in upstreams_of(desk.routes):
        upstream.connect = partial(sessions.__getitem__, upstream.name)
    app = build_app(desk)
    async with app.router.lifespan_context(app):
        yield Play(app, desk, sessions, said)


def run_async(test: Any) -> Any:
    """A test that is a coroutine, in a loop of its own."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 20))

    return run
