"""The gateway: one request on its way from a client to an upstream and back.

1. `Gateway` lets a caller in (`callers.py`), reads what it asks for (`demands.py`) and finds the route (`routing.py`).
2. An `Exchange` asks the upstreams of the route in turn until one answers. A reply that does not come as a stream is passed
   on when all of it is there, and a stream from its first event on; before that another upstream may be asked, after it no
   more.
3. A client of a stream that has heard nothing for `SILENCE_SECONDS` gets a comment, with the head of the reply before the first
   one: a proxy in between would take a long queue for an upstream that is gone. From then on an error is an event of the stream.
4. The client that leaves ends the request to the upstream.
5. Every exchange leaves one record. It is written before the last bytes go to the client, as far as the store is quick
   (`TrafficWriter.settled`); whatever the store does, the response goes on.

Texts are kept through `consent.keep_text` alone. Nothing that a client or a model wrote stands in a message of this process.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from laconic.config.serving import ServingConfig
from laconic.samplers.counting import TextCounter, thinking_of
from laconic.serving.budgets import ThinkingBudget
from laconic.serving.callers import KeyRing, Turnstile
from laconic.serving.connections.client_side import EVENTS, ClientLeft, ClientReply, read_content
from laconic.serving.cutting import PATHS, UncutError
from laconic.serving.demands import PASSED, Demand, RequestKind, read_demand
from laconic.serving.denials import Denial
from laconic.serving.events import DONE, STILL_WAITING, ResponseReading, as_event, dumped
from laconic.serving.metrics import GatewayMetrics
from laconic.serving.routing import Arm, Route
from laconic.serving.upstreams import AskLimits, Lost, Upstream, in_turn
from laconic.system.files import Json
from laconic.traffic.consent import CONSENT_HEADER, keep_text, may_keep
from laconic.traffic.pseudonyms import pseudonym
from laconic.traffic.records import TrafficRecord
from laconic.traffic.store import StoredRequest
from laconic.traffic.writer import TrafficWriter

TAG_HEADER = "x-laconic-tag"
SILENCE_SECONDS = 10.0
"""After so long a client of a stream gets a sign of life. Proxies usually wait for a minute, some for half of one."""
CLIENT_LEFT, BROKE_OFF = 499, 502
"""Statuses of records: 499 as nginx has it, 502 for a stream that broke off."""


@dataclass(slots=True)
class Desk:
    """What every request needs: the configuration, who may ask, the routes, and where records go."""

    config: ServingConfig
    keys: KeyRing
    turnstile: Turnstile
    routes: Mapping[str, Route]
    salt: bytes
    writer: TrafficWriter
    metrics: GatewayMetrics
    say: Callable[[str], None]

    @property
    def limits(self) -> AskLimits:
        """What an upstream may take."""
        timeouts = self.config.timeouts
        return AskLimits(timeouts.connect_seconds, timeouts.idle_seconds, self.config.reply_bytes)

    @property
    def store_address(self) -> str:
        """Where records go, without a password."""
        return self.writer.store.engine.url.render_as_string()

    def user_of(self, caller: str, name: str) -> str:
        """The pseudonym of a caller's user."""
        return pseudonym(self.salt, caller, name)


# --- coming in -------------------------------------------------------------------------------------------------------


class Gateway:
    """What answers the requests of one kind; an application in the sense of ASGI."""

    def __init__(self, desk: Desk, kind: RequestKind) -> None:
        self.desk, self.kind = desk, kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = ClientReply(send, f"req-{secrets.token_hex(16)}")
        try:
            await self._answer(Headers(scope=scope), receive, reply)
        except Denial as denial:
            self.desk.metrics.denials.labels(denial.reason).inc()
            await reply.deny(denial)
        except ClientLeft:
            pass
        except Exception as error:  # a mistake of ours; its text could hold what a client wrote
            self.desk.say(f"a request failed: {type(error).__name__} at {_place_of(error)}")
            await reply.deny(
                Denial(500, "the gateway failed; the request id says which request", reason="gateway_failed")
            )

    async def _answer(self, headers: Headers, receive: Receive, reply: ClientReply) -> None:
        caller = self.desk.keys.find(headers.get("authorization"))
        with self.desk.turnstile.passing(caller):
            content = await read_content(headers, receive, self.desk.config.limits)
            demand, route = self._read(content)
            exchange = Exchange(self.desk, route, demand, caller, headers, reply)
            await exchange.run(receive)

    def _read(self, content: bytes) -> tuple[Demand, Route]:
        further = {field for route in self.desk.routes.values() for field in route.further_fields}
        demand = read_demand(self.kind, content, self.desk.config.limits.messages, further)
        route = self.desk.routes.get(demand.model)
        if route is None:
            raise Denial(404, "no such model; GET /v1/models lists them", reason="model_not_found", field="model")
        if unknown := set(demand.fields) - PASSED[self.kind] - set(route.further_fields):
            raise Denial(
                400, f"{min(unknown)}: is not passed on to this model", reason="unknown_field", field=min(unknown)
            )
        return demand, route


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"


# --- one exchange ----------------------------------------------------------------------------------------------------


class Exchange:
    """One request that has a route: the upstreams are asked, the answer is passed on, and one record is left."""

    def __init__(
        self, desk: Desk, route: Route, demand: Demand, caller: str, headers: Headers, reply: ClientReply
    ) -> None:
        self.desk, self.route, self.demand, self.reply = desk, route, demand, reply
        self.at, self.began = time.time(), time.perf_counter()
        self.user = desk.user_of(caller, demand.user)
        self.tag = route.tag_of(headers.get(TAG_HEADER))
        self.consents = headers.getlist(CONSENT_HEADER)
        self.arms = route.arms_for(self.user if demand.user else reply.request_id)
        self.arm: Arm = self.arms[0]
        self.model = self.arm.upstreams[0].model or route.name
        self.budget = route.budget_for(demand.budget)
        self.reading = self._new_reading()
        self.first_token_seconds: float | None = None
        self.counted_thinking: int | None = None
        self.is_recorded = False
        self.has_passed = False
        self._heard_at = self.began
        self._writing = asyncio.Lock()

    def _new_reading(self) -> ResponseReading:
        keeps_text = self.route.count is not None or may_keep(self.route.policy, self.consents)
        return ResponseReading(self.reply.request_id, self.route.name, keeps_text)

    async def run(self, receive: Receive) -> None:
        """Answer, unless the client leaves before. Raises `Denial` where no upstream answers."""
        self.desk.metrics.in_flight.inc()
        working = asyncio.ensure_future(self._work())
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if working.done() or self.reply.is_complete:
                await working
                return
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working
            if self.demand.is_streamed and self.reading.finish:  # it has the whole response, and waits for no usage
                self._record(200, self.reading.finish)
            else:
                self._record(CLIENT_LEFT, "client_left")
        except asyncio.CancelledError:  # the gateway ends, and has waited long enough
            working.cancel()
            self._record(BROKE_OFF, "error")
            raise
        finally:
            leaving.cancel()
            self.desk.metrics.in_flight.dec()

    async def _work(self) -> None:
        timeouts = self.desk.config.timeouts
        try:
            async with asyncio.timeout(timeouts.total_seconds), self._never_silent():
                await self._ask_in_turn()
        except TimeoutError:
            await self._settle(504, "error")
            text = f"no whole response within {timeouts.total_seconds:g} s"
            raise Denial(504, text, reason="too_slow") from None
        except Denial as denial:
            await self._settle(denial.status, "error")
            raise
        except Exception:
            self._record(500, "error")
            raise

    async def _ask_in_turn(self) -> None:
        """Ask the upstreams one after the other until one answers. Raises `Denial` where none does."""
        lost: Lost | None = None
        for arm in self.arms:
            for upstream in in_turn(arm.upstreams):
                self.arm, self.model = arm, upstream.model or self.route.name
                self.reading = self._new_reading()
                try:
                    await self._ask(upstream)
                except Lost as error:
                    lost = error
                    self.desk.metrics.losses.labels(upstream.name, error.reason).inc()
                    if self.has_passed:
                        raise _denial_of(error) from None
                else:
                    return
        assert lost is not None
        raise _denial_of(lost)

    async def _ask(self, upstream: Upstream) -> None:
        stream = {"stream": True, "stream_options": {"include_usage": True}} if self.demand.is_streamed else {}
        body = {"model": self.route.name, **self.demand.fields, **stream}
        replies = upstream.objects(PATHS[self.demand.kind], body, self.desk.limits)
        if self.budget is not None:
            replies = self._within_budget(upstream, self.budget)
        try:
            async with aclosing(replies) as objects:
                await (self._pass_stream(objects) if self.demand.is_streamed else self._pass_whole(objects))
        except UncutError as error:  # another upstream may keep budgets by itself
            raise Lost("budget", 400, str(error)) from None

    def _within_budget(self, upstream: Upstream, budget: ThinkingBudget) -> AsyncGenerator[list[Json], None]:
        """The objects of a reply whose thinking is kept within the budget, by one request or by two."""
        fields, demand = {"model": self.route.name, **self.demand.fields}, self.demand

        def ask(path: str, body: Mapping[str, Any]) -> AsyncGenerator[list[Json], None]:
            return upstream.objects(path, body, self.desk.limits)

        return upstream.cutter.objects(ask, demand.kind, fields, budget, is_streamed=demand.is_streamed)

    # --- passing on --------------------------------------------------------------------------------------------------

    async def _pass_whole(self, objects: AsyncIterator[list[Json]]) -> None:
        content = [dumped(self.reading.take(body)) async for found in objects for body in found][-1]
        await self._settle(200, self.reading.finish or "other")
        await self.reply.whole(200, content)

    async def _pass_stream(self, objects: AsyncIterator[list[Json]]) -> None:
        async for found in objects:
            if passed := b"".join(map(self._event, found)):
                await self._write(passed)
        await self._settle(200, self.reading.finish or "other")
        await self._write(as_event(DONE), is_last=True)

    def _event(self, said: Json) -> bytes:
        """An event as the client gets it; nothing where it is the token counts that the client did not ask for."""
        body = self.reading.take(said)
        if self.reading.has_token and self.first_token_seconds is None:
            self.first_token_seconds = time.perf_counter() - self.began
        if not self.demand.wants_usage and "usage" in body:
            if not body.get("choices"):
                return b""
            del body["usage"]
        return as_event(dumped(body))

    async def _write(self, content: bytes, *, is_last: bool = False) -> None:
        """Pass a piece of the stream on."""
        self.has_passed = True
        async with self._writing:
            await self._speak(content, is_last=is_last)

    async def _speak(self, content: bytes, *, is_last: bool = False) -> None:
        if not self.reply.has_begun:
            await self.reply.begin(200, EVENTS)
        await self.reply.write(content, is_last=is_last)
        self._heard_at = time.perf_counter()

    @asynccontextmanager
    async def _never_silent(self) -> AsyncIterator[None]:
        """While the context lasts, a client of a stream is not left in silence."""
        if not self.demand.is_streamed:
            yield
            return
        speaking = asyncio.ensure_future(self._break_silence())
        try:
            yield
        finally:
            async with self._writing:  # a comment that is being written is written whole
                speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _break_silence(self) -> None:
        while True:
            await asyncio.sleep(self._heard_at + SILENCE_SECONDS - time.perf_counter())
            async with self._writing:
                if self.reply.is_complete:
                    return
                if time.perf_counter() - self._heard_at >= SILENCE_SECONDS:
                    await self._speak(STILL_WAITING)

    # --- the record --------------------------------------------------------------------------------------------------

    async def _settle(self, status: int, finish: str) -> None:
        """Leave the record, and wait a moment for it to be written."""
        if self.route.count is not None and status == 200:
            self.counted_thinking = await asyncio.to_thread(self._count_thinking, self.route.count)
        if kept := self._record_once(status, finish):
            await self.desk.writer.settled(kept)

    def _record(self, status: int, finish: str) -> None:
        """Leave the record, without waiting."""
        if kept := self._record_once(status, finish):
            self.desk.writer.put(kept)

    def _record_once(self, status: int, finish: str) -> StoredRequest | None:
        if self.is_recorded:
            return None
        self.is_recorded = True
        kept = self._kept(status, finish)
        self.desk.metrics.note(kept.record)
        return kept

    def _kept(self, status: int, finish: str) -> StoredRequest:
        reading = self.reading
        thinking = reading.reasoning_tokens if self.counted_thinking is None else self.counted_thinking
        record = TrafficRecord(
            id=self.reply.request_id,
            at=self.at,
            route=self.route.name,
            model=self.model,
            version=self.arm.version,
            tag=self.tag,
            user=self.user,
            status=status,
            finish=finish,
            is_streamed=self.demand.is_streamed,
            prompt_tokens=reading.prompt_tokens,
            completion_tokens=reading.completion_tokens,
            thinking_tokens=thinking,
            budget=None if self.budget is None else self.budget.tokens,
            is_cut=self._is_cut(thinking),
            first_token_seconds=self.first_token_seconds,
            seconds=time.perf_counter() - self.began,
            cost=self.route.cost(reading.prompt_tokens, reading.completion_tokens),
        )
        messages = self.demand.conversation
        if status != 200 or messages is None:
            return StoredRequest(record)
        text = keep_text(
            self.route.policy,
            self.consents,
            request_id=record.id,
            user=self.user,
            at=self.at,
            messages=messages,
            response=reading.text,
        )
        return StoredRequest(record, text)

    def _is_cut(self, thinking_tokens: int | None) -> bool | None:
        """Whether a budget cut the thinking: as the reply says, else where there is more of it, with its forced end, than
        that."""
        if self.budget is None or self.reading.is_cut is not None or thinking_tokens is None:
            return self.reading.is_cut
        return thinking_tokens > self.budget.tokens

    def _count_thinking(self, count: TextCounter) -> int | None:
        """The upstream's count where it can be true, else that of the text."""
        reading = self.reading
        if reading.completion_tokens is None:
            return reading.reasoning_tokens
        return thinking_of(reading.reasoning_tokens, reading.text, reading.completion_tokens, count)


def _denial_of(lost: Lost) -> Denial:
    wait = None if lost.wait_seconds is None else max(1, round(lost.wait_seconds))
    return Denial(lost.status, lost.message, reason="no_upstream", wait_seconds=wait)


async def _left(receive: Receive) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
