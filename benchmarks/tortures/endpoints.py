"""Endpoints that misbehave: a server that follows an evil script, which the seed draws, and then either goes on so or behaves.

The evaluation must end: with every response accounted for, with failures that are counted, or with two lines at most.
"""

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tortures.case import Case
from tortures.outcome import run, trouble

LIMIT_SECONDS = 90.0
ROWS = [{"id": f"p{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(3)]


@dataclass(slots=True)
class Reply:
    """What is sent: a status, headers and a body; `is_dropped` for no answer at all."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    is_dropped: bool = False


def chat(text: Any = "\\boxed{2}", reason: Any = "stop", **usage: Any) -> dict[str, Any]:
    """A reply as an OpenAI-compatible server gives it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return {"object": "chat.completion", "choices": [choice], "usage": {"completion_tokens": 3} | usage}


def packed(value: Any) -> Reply:
    """A value as JSON, surrogates included."""
    return Reply(json.dumps(value).encode())


ODD: tuple[Any, ...] = (None, -1, 0, 10**18, 2.5, float("nan"), True, "3", [], {}, 10**400)
TEXTS: tuple[Any, ...] = (
    None,
    5,
    [],
    {},
    "",
    "\ud800",
    "\x1b[31m\x07\x00",
    "[red]x[/red]",
    "x" * 10**6,
    "\u202e12",
    "</think>",
)


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in chat().items() if name != key}


SCRIPTS: Mapping[str, Callable[[random.Random], Reply]] = {
    "a count": lambda rng: packed(chat(completion_tokens=rng.choice(ODD))),
    "a text": lambda rng: packed(chat(text=rng.choice(TEXTS))),
    "a reason": lambda rng: packed(chat(reason=rng.choice((None, 5, [], "", "nope", "length", "content_filter")))),
    "a usage": lambda rng: packed(chat() | {"usage": rng.choice((None, 5, [], "x", {}))}),
    "choices": lambda rng: packed(
        chat() | {"choices": rng.choice((None, [], {}, "x", [None], [5], chat()["choices"] * 9))}
    ),
    "a key less": lambda rng: packed(_without(rng.choice(("choices", "usage", "object")))),
    "a status": lambda rng: Reply(b'{"error": {"message": "no"}}', rng.choice((400, 401, 403, 404, 413, 422))),
    "a page": lambda rng: Reply(
        b"<html><h1>Welcome</h1></html>", rng.choice((200, 404)), {"Content-Type": "text/html"}
    ),
    "no body": lambda rng: Reply(b"", rng.choice((200, 204, 404))),
    "no JSON": lambda rng: Reply(rng.choice((b"{", b"null", b"[]", b"5", b"\xff\xfe", b"[" * 100_000))),
    "an error of another form": lambda rng: Reply(
        rng.choice((b'{"error": 5}', b'{"error": []}', b'{"detail": {}}')), 400
    ),
    "a long error": lambda rng: Reply(json.dumps({"error": {"message": "\x1b[2J" + "no\n" * 9999}}).encode(), 400),
    "hanging up": lambda rng: Reply(b"", is_dropped=True),
    "a wrong length": lambda rng: Reply(
        json.dumps(chat()).encode(), headers={"Content-Length": rng.choice(("9999", "3"))}
    ),
    "a wrong encoding": lambda rng: Reply(json.dumps(chat()).encode(), headers={"Content-Encoding": "gzip"}),
    "a redirection": lambda rng: Reply(b"", 302, {"Location": rng.choice(("/v1/chat/completions", "ftp://x", ""))}),
}


class QuietServer(ThreadingHTTPServer):
    """Clients that hang up are part of the play."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


class Server:
    """A server in this process that answers the first `num_evil` requests by a script, and all others well."""

    def __init__(self) -> None:
        self.script: Callable[[], Reply] = lambda: packed(chat())
        self.num_evil = 0
        self.lock = threading.Lock()
        self.server = QuietServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1#m"

    def next_reply(self) -> Reply:
        """The script's reply while there are evil ones left."""
        with self.lock:
            self.num_evil -= 1
            return self.script() if self.num_evil >= 0 else packed(chat())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send(packed({"data": [{"id": "m"}]}))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send(outer.next_reply())

            def send(self, reply: Reply) -> None:
                if reply.is_dropped:
                    self.connection.close()
                    return
                self.send_response(reply.status)
                for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def cases(place: Path, seed: int, count: int) -> Iterator[Case]:
    """`count` evaluations of a server that misbehaves once, twice or always."""
    server, names = Server(), list(SCRIPTS)
    file = place / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    for number in range(count):
        rng = random.Random(f"{seed} endpoints {number}")
        name = names[number % len(names)]
        reply = SCRIPTS[name](rng)
        server.script, server.num_evil = lambda reply=reply: reply, rng.choice((1, 2, 10**9))
        out = ["--out", f"out-{number}", "--samples", "1", "--max-tokens", "16"]
        outcome = run(["evaluate", server.url, str(file), *out], place, LIMIT_SECONDS)
        yield Case(f"{name} ({reply.body[:60]!r}, {reply.status}), seed {seed}, number {number}", trouble(outcome))
