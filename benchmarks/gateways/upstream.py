"""An upstream with known delays in a process of its own: `python benchmarks/gateways/upstream.py PORT SECONDS CHUNKS`.

Request n takes between half of SECONDS and one and a half, by the fractions of n times the golden ratio, and says so in
microseconds in the field `created`. Equal delays would gather all requests into one wave after the first hiccup, for ever.

A plain application in the sense of ASGI, without a framework: it answers a chat after its delay, or streams CHUNKS pieces over
that time, each due at a time of its own, so that a late piece makes no other one late. `GET /v1/count` says how many requests it
has answered.
"""

import asyncio
import json
import sys
from typing import Any

import uvicorn

GOLDEN = 0.6180339887498949
TEXT = "Two and two are four, and four is the answer. " * 8
USAGE = {"prompt_tokens": 50, "completion_tokens": 200, "completion_tokens_details": {"reasoning_tokens": 150}}
HEAD = {"id": "chatcmpl-1", "object": "chat.completion", "created": 777, "model": "scripted"}
CHUNK = HEAD | {"object": "chat.completion.chunk"}


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": None, **fields}]}


WHOLE = json.dumps(
    HEAD | choice(message={"role": "assistant", "content": TEXT}, finish_reason="stop") | {"usage": USAGE}
).encode()
PIECE = b"data: " + json.dumps(CHUNK | choice(delta={"content": " four"})).encode() + b"\n\n"
LAST = b"data: " + json.dumps(CHUNK | choice(delta={}, finish_reason="stop")).encode() + b"\n\n"
COUNTS = b"data: " + json.dumps(CHUNK | {"choices": [], "usage": USAGE}).encode() + b"\n\ndata: [DONE]\n\n"


def told(content: bytes, delay: float) -> bytes:
    """The content with the delay in it."""
    return content.replace(b'"created": 777', b'"created": %d' % round(1e6 * delay))


class Scripted:
    """The application; `answered` counts the requests."""

    def __init__(self, seconds: float, chunks: int) -> None:
        self.seconds, self.chunks, self.answered = seconds, chunks, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        content, more = b"", True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["path"] == "/v1/count":
            await self.whole(send, json.dumps({"answered": self.answered}).encode())
            return
        self.answered += 1
        if b'"stream":true' in content.replace(b" ", b""):
            await self.stream(send, self.delay)
        else:
            delay = self.delay
            await asyncio.sleep(delay)
            await self.whole(send, told(WHOLE, delay))

    @property
    def delay(self) -> float:
        """Of the request that came last."""
        return self.seconds * (0.5 + self.answered * GOLDEN % 1.0)

    async def whole(self, send: Any, content: bytes) -> None:
        length = (b"content-length", str(len(content)).encode())
        headers = [(b"content-type", b"application/json"), length]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def stream(self, send: Any, delay: float) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(1, self.chunks + 1):
            await asyncio.sleep(began + number * delay / self.chunks - loop.time())
            await send({"type": "http.response.body", "body": told(PIECE, delay), "more_body": True})
        await send({"type": "http.response.body", "body": LAST + COUNTS})


if __name__ == "__main__":
    port, seconds, chunks = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    uvicorn.run(Scripted(seconds, chunks), port=port, log_level="error", access_log=False)
