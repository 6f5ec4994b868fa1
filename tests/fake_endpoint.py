"""A small server in this process that plays an OpenAI-compatible endpoint: a script says what it answers to each request."""

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from laconic.samplers.endpoints import parse_endpoint
from laconic.samplers.http import HttpSampler


@dataclass
class Answer:
    """What the server does with one request: wait, then answer so, or hang up. The pieces of `raw` are written as they are, with
    `pause` seconds between them, and then the connection is closed."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    is_dropped: bool = False
    raw: Sequence[bytes] | None = None
    pause: float = 0.0


@dataclass
class Seen:
    """One request as it came in."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    connection: int
    in_flight: int


def reply(text: str = "fine", tokens: int = 3, reason: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}
    return {"object": "chat.completion", "choices": [choice], "usage": {"completion_tokens": tokens}}


def error(status: int, message: str, **headers: str) -> Answer:
    return Answer({"error": {"message": message}}, status, headers)


Script = Callable[[dict[str, Any], int], Answer]
"""The body and how many requests came before it; an answer."""


class QuietServer(ThreadingHTTPServer):
    """Clients that hang up are part of the play."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Endpoint:
    """A server that follows `script` and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: Script = lambda body, number: Answer(reply())
        self.models: Any = {"data": [{"id": "m"}]}
        self.seen: list[Seen] = []
        self.in_flight = 0
        self.lock = threading.Lock()
        self.server = QuietServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def sampler(self, options: str = "", **settings: Any) -> HttpSampler:
        return HttpSampler(parse_endpoint(f"{self.url}#m{options}"), **settings)

    def _handler(endpoint: "Endpoint") -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer: without it the second waits for the first one's receipt

            def do_GET(self) -> None:
                self.give(Answer(endpoint.models))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with endpoint.lock:
                    number, endpoint.in_flight = len(endpoint.seen), endpoint.in_flight + 1
                    headers = {key.lower(): value for key, value in self.headers.items()}
                    port = self.client_address[1]
                    endpoint.seen.append(Seen(self.path, body, headers, time.monotonic(), port, endpoint.in_flight))
                answer = endpoint.script(body, number)
                time.sleep(answer.delay)
                with endpoint.lock:
                    endpoint.in_flight -= 1
                self.give(answer)

            def give(self, answer: Answer) -> None:
                if answer.is_dropped:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if answer.raw is not None:
                    self.write_raw(answer.raw, answer.pause)
                    return
                content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for key, value in {"content-length": str(len(content)), **answer.headers}.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(content)

            def write_raw(self, pieces: Sequence[bytes], pause: float) -> None:
                self.close_connection = True
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(pause)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def in_turn(*answers: Answer) -> Script:
    """These answers to the first requests, then good ones."""
    return lambda body, number: answers[number] if number < len(answers) else Answer(reply())
