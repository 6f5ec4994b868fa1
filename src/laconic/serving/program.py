"""`laconic serve`: the application with all its addresses, and the server that runs it until it is asked to end.

1. `open_gateway` opens what every request needs: keys, routes, the store with its writer, the figures.
2. `build_app` puts the addresses together. Where the gateway listens on this machine alone, a request must name this machine
   as its host, so that a page in a browser which resolves its own name to 127.0.0.1 gets nothing.
3. `run_gateway` listens. SIGTERM and Ctrl-C stop new requests; those in flight have `drain_seconds` to end, and records are
   written.

There is no log of requests: the store has their figures, and lines hold no word of theirs.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import disable_created_metrics
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Address
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laconic.config.serving import ServingConfig, is_loopback
from laconic.errors import InputError
from laconic.serving.callers import KeyRing, Turnstile, read_keys
from laconic.serving.connections.client_side import bounded_http
from laconic.serving.denials import Denial
from laconic.serving.feedback.feedback_routes import feedback_routes
from laconic.serving.gateway import Desk, Gateway
from laconic.serving.metrics import GatewayMetrics
from laconic.serving.routing import CandidateShares, ShareReader, open_routes, upstreams_of
from laconic.serving.upstreams import close_all
from laconic.system.termination import heeding_signals
from laconic.traffic.consent import TextPolicy
from laconic.traffic.decisions import current_share
from laconic.traffic.pseudonyms import salt_of
from laconic.traffic.redaction import redact, with_hook
from laconic.traffic.store import open_store
from laconic.traffic.writer import TrafficWriter

THIS_MACHINE = ("127.0.0.1", "localhost", "::1", "[::1]")
METRICS_KEY = "metrics"
"""The name of the key that may read the figures, where there are keys."""
BACKLOG = 2048
SWITCH_SECONDS = 0.0005
"""How long the thread that writes records may keep the one that answers waiting; Python's usual 5 ms would be felt."""


def open_gateway(config: ServingConfig, say: Callable[[str], None]) -> Desk:
    """What every request needs. Raises `InputError` where something of it cannot be opened."""
    keys = KeyRing({}) if config.keys is None else read_keys(Path(config.keys))
    routes = open_routes(config)
    redacts = redact if config.redact is None else with_hook(config.redact, say)
    store = open_store(config.store)
    salt = salt_of(Path(config.salt), has_users=store.has_requests())
    writer = TrafficWriter(store, redacts, text_days=config.text_days, figure_days=config.figure_days, say=say)
    turnstile = Turnstile(config.limits.in_flight, config.limits.per_minute)
    return Desk(config, keys, turnstile, routes, salt, writer, GatewayMetrics(writer), say)


# --- the application -------------------------------------------------------------------------------------------------


def build_app(desk: Desk) -> Starlette:
    """The application."""
    addresses = [
        Address("/v1/chat/completions", Gateway(desk, "chat"), methods=["POST"]),
        Address("/v1/completions", Gateway(desk, "completions"), methods=["POST"]),
        *feedback_routes(desk.writer, partial(_entering, desk), desk.user_of, partial(_policy_of, desk)),
        Address("/v1/models", partial(_models, desk), methods=["GET"]),
        Address("/healthz", partial(_health, desk), methods=["GET"]),
        Address("/metrics", partial(_metrics, desk), methods=["GET"]),
    ]
    middleware = [Middleware(HeaderLimit, most_bytes=desk.config.limits.header_bytes)]
    if is_loopback(desk.config.host):
        hosts = [*THIS_MACHINE, desk.config.host]
        middleware.append(Middleware(OwnNames, hosts=hosts))
    handlers: dict[Any, Any] = {Denial: _denied, HTTPException: partial(_misaddressed, _listed(addresses))}
    return Starlette(
        routes=addresses, middleware=middleware, exception_handlers=handlers, lifespan=partial(_life, desk)
    )


@contextmanager
def _entering(desk: Desk, request: Request) -> Iterator[str]:
    """Let a caller in, as for a request of the model."""
    caller = desk.keys.find(request.headers.get("authorization"))
    with desk.turnstile.passing(caller):
        yield caller


def _policy_of(desk: Desk, route: str) -> TextPolicy:
    return desk.routes[route].policy if route in desk.routes else TextPolicy.NEVER


def share_reader(desk: Desk) -> ShareReader:
    """What says the share of a candidate, and lets its rules decide once a minute. Without candidates nothing of it is loaded."""
    if all(route.candidate is None for route in desk.routes.values()):
        return partial(current_share, desk.writer.store)
    from laconic.monitoring.candidates import CandidateKeeper

    bases = {name: route.base.version for name, route in desk.routes.items()}
    return CandidateKeeper.of_gateway(desk.writer.store, desk.config, bases, desk.say)


@asynccontextmanager
async def _life(desk: Desk, app: Starlette) -> AsyncIterator[None]:
    desk.writer.start()
    shares = CandidateShares(desk.routes, share_reader(desk))
    await shares.refresh()  # before the first user is assigned
    keeping = asyncio.ensure_future(shares.keep())
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(Exception):  # connections that are broken already
            await close_all(upstreams_of(desk.routes))
        await asyncio.to_thread(desk.writer.close)
        desk.writer.store.close()


async def _models(desk: Desk, request: Request) -> Response:
    desk.keys.find(request.headers.get("authorization"))
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "laconic"} for name in desk.routes]
    return JSONResponse({"object": "list", "data": data})


async def _health(desk: Desk, request: Request) -> Response:
    return JSONResponse({"status": "ok", "store": "ok" if desk.writer.is_well else "failing"})


async def _metrics(desk: Desk, request: Request) -> Response:
    caller = desk.keys.find(request.headers.get("authorization"))
    if caller not in ("", METRICS_KEY):
        raise Denial(403, f"figures are for the key that is called {METRICS_KEY}", reason="not_allowed")
    return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4")


async def _denied(request: Request, denial: Denial) -> Response:
    return Response(denial.content, denial.status, denial.headers, media_type="application/json")


def _listed(addresses: Iterable[Address]) -> str:
    """The addresses with their methods, for a message."""
    return ", ".join(f"{min((address.methods or {'GET'}) - {'HEAD'})} {address.path}" for address in addresses)


async def _misaddressed(listed: str, request: Request, error: HTTPException) -> Response:
    """A request to an address that is not there (404), or by another method than the one that is (405)."""
    denial = Denial(error.status_code, f"no such address; there are {listed}", reason="no_address")
    return Response(denial.content, denial.status, error.headers, media_type="application/json")


class HeaderLimit:
    """Refuses requests whose headers are larger than `most_bytes` together."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if sum(len(name) + len(value) for name, value in scope.get("headers", ())) > self.most_bytes:
            denial = Denial(431, f"the headers have more than {self.most_bytes:,} bytes", reason="headers_too_large")
            reply = Response(denial.content, denial.status, media_type="application/json")
            await reply(scope, receive, send)
            return
        await self.app(scope, receive, send)


class OwnNames:
    """Refuses requests that call the gateway by another name than one of `hosts`, as a page of a foreign site would that was led
    to this machine."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it in the shape of all refusals."""
        is_let_in = False

        async def let_in(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal is_let_in
            is_let_in = True
            await self.app(scope, receive, send)

        async def send_if_let_in(message: Message) -> None:
            if is_let_in:
                await send(message)

        guard = TrustedHostMiddleware(let_in, allowed_hosts=self.hosts, www_redirect=False)
        await guard(scope, receive, send_if_let_in)
        if not is_let_in:
            names = ", ".join(dict.fromkeys(self.hosts))
            what = f"the Host header names none of {names}, on which the gateway listens; --host and --keys let others call it"
            denial = Denial(400, what, reason="foreign_host")
            await Response(denial.content, denial.status, media_type="application/json")(scope, receive, send)


# --- the server ------------------------------------------------------------------------------------------------------


def check_gateway(config: ServingConfig) -> None:
    """Raise `InputError` where the gateway could not begin: its port is taken, or its keys cannot be read."""
    listen_at(config.host, config.port).close()
    if config.keys is not None:
        read_keys(Path(config.keys))


def run_gateway(config: ServingConfig, say: Callable[[str], None]) -> None:
    """Serve until a signal comes. Raises `InputError` where the gateway cannot begin, and `Terminated` at its end."""
    desk = open_gateway(config, say)
    listener = listen_at(config.host, config.port)
    _say_what_is_served(desk, listener, say)
    limits = config.limits
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(desk),
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            ws="none",
            loop="asyncio",
            http=bounded_http(limits.header_bytes),
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=round(config.timeouts.drain_seconds) or 1,
        )
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    disable_created_metrics()  # a second series for each, of when it began
    with heeding_signals(lambda: f"records are in {desk.store_address}"):
        server.run(sockets=[listener])
    say(f"ended; records are in {desk.store_address}")  # where the signal was to be ignored, and the server heeded it


def listen_at(host: str, port: int) -> socket.socket:
    """A listening socket that names its protocol. asyncio lets the connections of such a one alone send small pieces at once;
    elsewhere the second piece of every reply waits 40 ms for the client's acknowledgement of the first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot be listened on ({_reason_of(error)})") from None


def _reason_of(error: OSError) -> str:
    """What the system says; Python's own text goes on with the address."""
    return os.strerror(error.errno) if error.errno else str(error)


def _say_what_is_served(desk: Desk, listener: socket.socket, say: Callable[[str], None]) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
    keeping = sorted(name for name, route in desk.routes.items() if route.policy == "consent")
    texts = f"texts of those who consent on {', '.join(keeping)}" if keeping else "no texts"
    say(f"{address} serves {', '.join(sorted(desk.routes))}")
    say(f"{desk.store_address} keeps figures of requests, and {texts}")
