"""A page on this machine alone, on which an expert labels stored responses side by side.

1. `open_desk` draws secrets for one sitting. The address that is printed holds a token that works once; it leaves a cookie,
   without which nothing is shown.
2. The page has the conversation and one or two responses. Which versions wrote them is not in it, nor are the requests' ids: a
   task is named by a keyed hash. The page needs no script; one adds keys to its choices.
3. What is sent back must come with the page's own token. Names of hosts other than this machine's are refused, so that no page of
   another site can ask through a name of its own.
4. A task whose texts were deleted meanwhile is passed over.

Everything is escaped by the template, and the policy of the page lets no script but its own run.
"""

import hmac
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from laconic.errors import InputError
from laconic.grading.thought import find_thought
from laconic.reporting.page_templates import load_templates, template_text
from laconic.system.text import counted
from laconic.traffic.labels import LabelTask, Shown, add_label, label_tasks, labelled_by, make_label, texts_of
from laconic.traffic.store import StoreError, TrafficStore
from laconic.types import THINK

LOOPBACK = "127.0.0.1"
MOST_FORM_BYTES = 8 << 10
PAGE_HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
KEY_LETTERS = {"left": "qweasd", "right": "uiojkl"}
"""The keys of each side's six choices: three for whether it is right, three for its length."""


@dataclass(slots=True)
class LabelDesk:
    """One sitting of a labeller: the tasks that are left, those that were answered last, and the secrets of the sitting."""

    store: TrafficStore
    labeller: str
    seed: int
    tasks: list[LabelTask]
    done: int
    token: str | None
    answered: list[LabelTask] = field(default_factory=list)
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    name: str = field(default_factory=lambda: f"laconic-{secrets.token_hex(4)}")

    def code_of(self, task: LabelTask) -> str:
        """The name of a task on the page, which says nothing of its requests."""
        return hmac.new(self.secret, f"{task.first}/{task.second}".encode(), "sha256").hexdigest()[:32]

    def next_task(self) -> tuple[LabelTask, Shown] | None:
        """The first task that is left and its texts; tasks whose texts are gone are dropped."""
        while self.tasks:
            shown = texts_of(self.store, self.tasks[0])
            if shown is not None:
                return self.tasks[0], shown
            self.tasks.pop(0)
        return None

    def task_named(self, code: str) -> LabelTask | None:
        """The task that is left under a name on the page."""
        return next((task for task in self.tasks if _is_same(code, self.code_of(task))), None)


def open_desk(store: TrafficStore, labeller: str, *, seed: int, tasks: Sequence[LabelTask] | None = None) -> LabelDesk:
    """A sitting of a labeller over those of the `tasks`, in their order, that the labeller has not labelled; if none are given,
    over everything. Raises `InputError` where there is nothing."""
    every = label_tasks(store, seed) if tasks is None else tasks
    done = labelled_by(store, labeller)
    if not every:
        raise InputError("nothing to label: the store holds no text of a user who consented")
    left = [task for task in every if task not in done]
    return LabelDesk(store, labeller, seed, left, len(every) - len(left), secrets.token_urlsafe(32))


# --- the pages -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelPages:
    """What answers a sitting's requests, one at a time: a form may be sent twice at once."""

    desk: LabelDesk
    one_at_a_time: Lock = field(default_factory=Lock)

    @cached_property
    def template(self) -> Any:
        """The page's template."""
        return load_templates("laconic.serving.feedback").get_template("labelling.html.j2")

    async def show(self, request: Request) -> Response:
        """The next task; with the printed token, the cookie first."""
        desk, token = self.desk, request.query_params.get("token")
        if token is not None and desk.token is not None and _is_same(token, desk.token):
            desk.token = None
            entered = RedirectResponse("/", 303)
            entered.set_cookie(desk.name, desk.cookie, httponly=True, samesite="lax", path="/")
            return entered
        if not self._is_known(request):
            return _refused("this address works once; run laconic traffic label again for another")
        try:
            return Response(await run_in_threadpool(self._alone, self._page), media_type="text/html")
        except StoreError:
            return _refused("the store cannot be read now; load the page again", 503)

    async def label(self, request: Request) -> Response:
        """Store an answer."""
        return await self._act(request, self._store)

    async def skip(self, request: Request) -> Response:
        """Lay the task behind all others."""
        return await self._act(request, self._skip)

    async def back(self, request: Request) -> Response:
        """Show the task that was answered last once more."""
        return await self._act(request, self._go_back)

    async def _act(self, request: Request, act: Callable[[Mapping[str, str]], str | None]) -> Response:
        answers = await _form(request)
        if not self._is_known(request) or not _is_same(answers.get("csrf", ""), self.desk.csrf):
            return _refused("this form is not of this sitting; open the address that was printed")
        try:
            mistake = await run_in_threadpool(self._alone, act, answers)
        except StoreError:
            return _refused("the store does not take it now; go back, and send it again", 503)
        return RedirectResponse("/", 303) if mistake is None else _refused(mistake, 400)

    def _alone(self, act: Callable[..., Any], *arguments: Any) -> Any:
        with self.one_at_a_time:
            return act(*arguments)

    def _is_known(self, request: Request) -> bool:
        return _is_same(request.cookies.get(self.desk.name, ""), self.desk.cookie)

    def _store(self, answers: Mapping[str, str]) -> str | None:
        desk, task = self.desk, self.desk.task_named(answers.get("task", ""))
        if task is None:  # sent twice, or from a window that was left open
            return None
        try:
            label = make_label(task, desk.labeller, answers, seed=desk.seed, at=time.time())
        except ValueError as error:
            return str(error)
        is_stored = add_label(desk.store, label)
        desk.tasks.remove(task)
        if is_stored:
            desk.answered.append(task)
            desk.done += 1
        return None

    def _skip(self, answers: Mapping[str, str]) -> None:
        task = self.desk.task_named(answers.get("task", ""))
        if task is not None:
            self.desk.tasks.remove(task)
            self.desk.tasks.append(task)

    def _go_back(self, _answers: Mapping[str, str]) -> None:
        if self.desk.answered:
            self.desk.tasks.insert(0, self.desk.answered.pop())
            self.desk.done -= 1

    def _page(self) -> str:
        desk, found = self.desk, self.desk.next_task()
        task = None if found is None else self._told(*found)
        facts = {"csrf": desk.csrf, "done": desk.done, "left": len(desk.tasks), "can_go_back": bool(desk.answered)}
        return str(self.template.render(task=task, **facts))

    def _told(self, task: LabelTask, shown: Shown) -> dict[str, Any]:
        """A task as the template shows it."""
        is_swapped = task.is_swapped(self.desk.labeller, self.desk.seed)
        texts = shown.responses[::-1] if is_swapped else shown.responses
        titles = ("A", "B") if len(texts) > 1 else ("Response",)
        responses = [
            {"title": title, "side": side, "letters": KEY_LETTERS[side], **_parts(text)}
            for title, side, text in zip(titles, KEY_LETTERS, texts, strict=False)
        ]
        return {"code": self.desk.code_of(task), "messages": shown.messages, "responses": responses}


def _parts(text: str) -> dict[str, Any]:
    """Thinking and answer of a response; one that ends while it thinks has no answer."""
    found = find_thought(text)
    end = len(text) if found.is_open else found.end
    thought = text[:end].removesuffix(found.closes).strip().removeprefix(THINK).strip()
    return {
        "thought": thought,
        "thought_words": counted(len(thought.split()), "word"),
        "answer": text[end : found.stop].strip(),
    }


def _is_same(said: str, known: str) -> bool:
    return hmac.compare_digest(said.encode("utf-8", "surrogatepass"), known.encode())


def _refused(why: str, status: int = 403) -> Response:
    return PlainTextResponse(why + "\n", status)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; none where it is too large or not text."""
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > MOST_FORM_BYTES:
            return {}
    return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))


# --- the server ------------------------------------------------------------------------------------------------------


def labelling_app(desk: LabelDesk) -> Starlette:
    """The application of one sitting."""
    pages = LabelPages(desk)
    style = template_text("laconic.reporting", "page.css") + template_text("laconic.serving.feedback", "labelling.css")
    keys = template_text("laconic.serving.feedback", "keys.js")
    return Starlette(
        routes=[
            Route("/", pages.show),
            Route("/label", pages.label, methods=["POST"]),
            Route("/skip", pages.skip, methods=["POST"]),
            Route("/back", pages.back, methods=["POST"]),
            Route("/style.css", _file(style, "text/css")),
            Route("/keys.js", _file(keys, "text/javascript")),
        ],
        middleware=[
            Middleware(_WithHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"], www_redirect=False),
        ],
    )


def _file(text: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return Response(text, media_type=media_type)

    return answer


class _WithHeaders:
    """Adds the headers of a page to every reply."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in PAGE_HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def serve_labelling(desk: LabelDesk, port: int, say: Callable[[str], None]) -> int:
    """Serve one sitting on this machine until it is interrupted; how many tasks were labelled. Port 0 takes a free one.

    Nothing that is asked or answered is logged. Raises `InputError` where the port is taken.
    """
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
        except OSError as error:
            raise InputError(f"--port {port}: cannot be listened on ({error.strerror})") from None
        say(f"open http://{LOOPBACK}:{listening.getsockname()[1]}/?token={desk.token}  (works once; Ctrl-C ends)")
        before = desk.done
        config = uvicorn.Config(labelling_app(desk), access_log=False, log_level="critical", server_header=False)
        with suppress(KeyboardInterrupt):  # which uvicorn raises again once it has ended
            uvicorn.Server(config).run(sockets=[listening])
    return desk.done - before
