"""The HTTP side: what a client asks for goes to the drawing thread, and what comes back to the client.

1. `/v1/chat/completions` and `/v1/completions` make jobs and wait for them, or send their text as it comes. A client that leaves
   takes its jobs back, and nobody waits for them.
2. `/v1/models` names the one model, `/health` says whether it is drawn from.
3. What is refused gets an object `error` with a message, and status 400, 404 or 413; a failure of drawing has status 500.

There are no keys here: it listens on this machine alone, and a gateway that checks keys stands in front of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from laconic.errors import InputError
from laconic.models.causal_lm import CausalLM
from laconic.samplers.local import LocalSampler
from laconic.serving.local_server.bodies import (
    RefusedError,
    chat_prompt_ids,
    completion_prompt_ids,
    make_jobs,
    read_fields,
)
from laconic.serving.local_server.jobs import Job, News
from laconic.serving.local_server.replies import END_OF_STREAM, ReplyForm, Unsent, event, usage_of, whole_text
from laconic.serving.local_server.worker import DrawingThread
from laconic.system.text import brief, parse_json

MOST_BODY_BYTES = 8 * 2**20
FAILED, NOBODY_THERE = 500, 499

Place = tuple[int, News]
"""News, and which of a request's jobs they are of."""


class LocalServer:
    """Serves `lm` under the name `served_as`; at most `num_slots` responses are drawn at once.

    Raises `ModelError` where the local sampler's parts do not decode `lm` as its own forward pass does.
    """

    def __init__(self, lm: CausalLM, served_as: str, num_slots: int, max_positions: int) -> None:
        LocalSampler(lm).check_decoding()
        self.lm, self.served_as = lm, served_as
        self.drawing = DrawingThread(lm, num_slots, max_positions)

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/completions", self.completions, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/health", self.health),
            ],
            exception_handlers={RefusedError: _refusal},
        )

    async def models(self, request: Request) -> Response:
        """The one model."""
        card = {"id": self.served_as, "object": "model", "created": 0, "owned_by": "laconic"}
        return JSONResponse({"object": "list", "data": [{**card, "max_model_len": self.drawing.max_positions}]})

    async def health(self, request: Request) -> Response:
        """Whether responses are drawn."""
        failure = self.drawing.failure
        return JSONResponse({"status": failure or "ok"}, status_code=503 if failure else 200)

    async def chat(self, request: Request) -> Response:
        """A response to a conversation."""
        body, fields = await self._read(request, "messages")
        continues = bool(fields["continue_final_message"])
        if continues == fields["add_generation_prompt"] and "add_generation_prompt" in body:
            raise RefusedError("continue_final_message and add_generation_prompt exclude one another")
        ids = await to_thread.run_sync(lambda: chat_prompt_ids(self.lm, body["messages"], continues=continues))
        return await self._reply(request, ids, fields, is_chat=True)

    async def completions(self, request: Request) -> Response:
        """A text that goes on from a prompt."""
        body, fields = await self._read(request, "prompt")
        return await self._reply(request, completion_prompt_ids(self.lm, body["prompt"]), fields, is_chat=False)

    async def _read(self, request: Request, prompt_field: str) -> tuple[dict[str, Any], dict[str, Any]]:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MOST_BODY_BYTES:
                raise RefusedError(f"the body has more than {MOST_BODY_BYTES} bytes", status=413)
        try:
            body = parse_json(bytes(content), "the body")
        except InputError as error:
            raise RefusedError(str(error)) from None
        fields = read_fields(body, prompt_field)
        if body.get("model") not in (None, "", self.served_as):
            raise RefusedError(
                f"the model {brief(body['model'])} does not exist; here is {self.served_as}", "model", 404
            )
        return body, fields

    async def _reply(
        self, request: Request, ids: tuple[int, ...], fields: dict[str, Any], *, is_chat: bool
    ) -> Response:
        jobs = make_jobs(self.lm, ids, fields, self.drawing.max_positions)
        form = ReplyForm.new(self.served_as, is_chat=is_chat)
        if fields["stream"]:
            has_usage = bool(fields["stream_options"].get("include_usage"))
            return StreamingResponse(self._events(jobs, form, has_usage=has_usage), media_type="text/event-stream")
        drawn = await self._whole(request, jobs)
        if drawn is None:
            return Response(status_code=NOBODY_THERE)
        choices = [
            form.choice(i, whole_text(self.lm, news), news, job)
            for i, (job, news) in enumerate(zip(jobs, drawn, strict=True))
        ]
        return JSONResponse(form.whole(choices, usage_of(self.lm, jobs, drawn)))

    async def _whole(self, request: Request, jobs: Sequence[Job]) -> list[News] | None:
        """The last news of every job; None where the client leaves before. Its jobs are then taken back."""
        waiting = asyncio.ensure_future(_collect(self._submitted(jobs), len(jobs)))
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            _take_back(jobs)
            waiting.cancel()
            leaving.cancel()

    async def _events(self, jobs: Sequence[Job], form: ReplyForm, *, has_usage: bool) -> AsyncIterator[bytes]:
        """The events of a stream. Jobs of a client that leaves are taken back."""
        unsent, last = [Unsent(self.lm, job) for job in jobs], [News()] * len(jobs)
        news_of = self._submitted(jobs)
        try:
            while any(news.finish is None for news in last):
                place, news = await anext(news_of)
                if news.failure:
                    yield event(error_body(news.failure, FAILED))
                    return
                last[place] = news
                text, waits = unsent[place].next(news), unsent[place]
                if text or news.finish or waits.num_pieces == 0:
                    yield form.piece(place, text, news, jobs[place], is_first=waits.num_pieces == 0)
                    waits.num_pieces += 1
            if has_usage:
                yield form.usage_piece(usage_of(self.lm, jobs, last))
            yield END_OF_STREAM
        finally:
            _take_back(jobs)

    def _submitted(self, jobs: Sequence[Job]) -> AsyncIterator[Place]:
        """What is told of the jobs, which are submitted now."""
        loop, arriving = asyncio.get_running_loop(), asyncio.Queue[Place]()

        def teller(place: int) -> Callable[[News], None]:
            def tell(news: News) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(arriving.put_nowait, (place, news))

            return tell

        for place, job in enumerate(jobs):
            self.drawing.submit(replace(job, tell=teller(place)))
        return _taken_from(arriving)


async def _taken_from(arriving: "asyncio.Queue[Place]") -> AsyncIterator[Place]:
    while True:
        yield await arriving.get()


async def _collect(news_of: AsyncIterator[Place], num_jobs: int) -> list[News]:
    last: dict[int, News] = {}
    async for place, news in news_of:
        if news.failure:
            raise RefusedError(news.failure, status=FAILED)
        last[place] = news
        if len(last) == num_jobs:
            break
    return [last[place] for place in range(num_jobs)]


async def _left(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _take_back(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.left.set()


def error_body(message: str, status: int, field: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's API words it."""
    kind = "invalid_request_error" if status < FAILED else "server_error"
    return {"error": {"message": message, "type": kind, "param": field, "code": status}}


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return JSONResponse(error_body(str(error), error.status, error.field), status_code=error.status)
