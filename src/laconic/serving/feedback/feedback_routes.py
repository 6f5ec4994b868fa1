"""`POST /v1/feedback`: what a user says of a response, by the id that came with it.

1. The body is one JSON object: the response's `id`; `rating` good or bad; `length` too_long or too_short; the right answer
   (`correction`); free text (`comment`); and `user`, as in the request. At least one of the middle four says something.
2. A correction or a comment is a text. It needs the consent header with this very request, and a route whose policy allows texts;
   without both, nothing of the feedback is stored (403). Texts are redacted before they are stored.
3. A response belongs to a user of a key. One of another user and one that does not exist are the same 404, after the same wait:
   the record of a response may still be on its way to the store.
4. A later feedback for the same response takes the place of the earlier one, texts included.

Replies quote nothing that a client wrote.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from laconic.errors import InputError
from laconic.serving.denials import Denial
from laconic.system.text import parse_json
from laconic.traffic.consent import CONSENT_HEADER, CONSENT_WORD, TextPolicy, may_keep
from laconic.traffic.records import FeedbackRecord
from laconic.traffic.store import StoreError
from laconic.traffic.writer import TrafficWriter

FEEDBACK_PATH = "/v1/feedback"
RATINGS, LENGTH_WORDS = ("good", "bad"), ("too_long", "too_short")
MOST_FEEDBACK_BYTES = 64 << 10
MOST_SAID_CHARACTERS: Mapping[str, int] = {"id": 64, "user": 256, "correction": 4_000, "comment": 4_000}
ON_ITS_WAY_SECONDS, PEEK_SECONDS, FEEDBACK_BODY_SECONDS = 1.0, 0.05, 10.0

Entering = Callable[[Request], AbstractContextManager[str]]
"""Lets the caller of a request in and yields the caller's name. Raises `Denial` where it is not known, or asks too often."""


@dataclass(frozen=True, slots=True)
class FeedbackDesk:
    """What the route needs: where feedback goes, who asks, and what may be kept on the route on which a response was given."""

    writer: TrafficWriter
    entering: Entering
    user_of: Callable[[str, str], str]
    policy_of: Callable[[str], TextPolicy]

    async def answer(self, request: Request) -> Response:
        """The reply to one feedback."""
        try:
            with self.entering(request) as caller:
                said = _read(await _content(request))
                user = self.user_of(caller, said["user"])
                await self._store(said, user, request.headers.getlist(CONSENT_HEADER))
        except Denial as denial:
            return _reply(denial)
        except StoreError:
            return _reply(_refused(503, "feedback cannot be stored now; send it again"))
        return JSONResponse({"id": said["id"], "object": "feedback", "stored": True})

    async def _store(self, said: Mapping[str, str], user: str, headers: list[str]) -> None:
        has_texts = bool(said["correction"] or said["comment"])
        if has_texts and not may_keep(TextPolicy.CONSENT, headers):
            raise _refused(403, f"a correction or comment needs the header {CONSENT_HEADER}: {CONSENT_WORD}")
        if not self.writer.is_well:
            raise _away()
        route = await self._route_of(said["id"], user)
        if has_texts and not may_keep(self.policy_of(route), headers):
            raise _refused(403, "texts are not kept for this model; send the rating alone")
        if not await run_in_threadpool(self._add, said, user):
            raise _unknown()

    async def _route_of(self, request_id: str, user: str) -> str:
        """The route on which the user got the response. Raises `Denial` where there is none after a moment."""
        deadline = time.monotonic() + ON_ITS_WAY_SECONDS
        while True:
            route = await run_in_threadpool(self.writer.store.route_of, request_id, user)
            if route is not None:
                return route
            if time.monotonic() >= deadline:
                raise _unknown() if self.writer.is_well else _away()
            await asyncio.sleep(PEEK_SECONDS)

    def _add(self, said: Mapping[str, str], user: str) -> bool:
        texts = {name: self.writer.redacted(said[name]) for name in ("correction", "comment")}
        if None in texts.values():
            raise _refused(503, "the texts cannot be redacted, so nothing is stored; send the rating alone")
        kept = {name: text or "" for name, text in texts.items()}
        record = FeedbackRecord(said["id"], time.time(), user, said["rating"], said["length"], **kept)
        return self.writer.store.add_feedback(record)


def feedback_routes(
    writer: TrafficWriter,
    entering: Entering,
    user_of: Callable[[str, str], str],
    policy_of: Callable[[str], TextPolicy],
) -> list[Route]:
    """The routes of feedback, to be mounted beside those of requests.

    `user_of` makes the pseudonym of a caller's user exactly as for a request; `policy_of` says of a served name what may be kept,
    `NEVER` for one that is no longer served.
    """
    return [Route(FEEDBACK_PATH, FeedbackDesk(writer, entering, user_of, policy_of).answer, methods=["POST"])]


def _reply(denial: Denial) -> Response:
    return Response(denial.content, denial.status, denial.headers, media_type="application/json")


# --- reading ---------------------------------------------------------------------------------------------------------


def _refused(status: int, message: str) -> Denial:
    """Why a feedback is not stored."""
    return Denial(status, message, reason="no_feedback")


def _away() -> Denial:
    return _refused(503, "the store is away; send it again")


def _unknown() -> Denial:
    return _refused(404, "no response of this id was given to this user")


async def _content(request: Request) -> bytes:
    """The body. Raises `Denial` where it is too large or too slow, or is no JSON by its header: a page of another site can send
    a text without asking, and JSON cannot."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _refused(415, "expected content-type: application/json")
    content = b""
    try:
        async with asyncio.timeout(FEEDBACK_BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > MOST_FEEDBACK_BYTES:
                    raise _refused(413, f"the body has more than {MOST_FEEDBACK_BYTES:,} bytes")
    except TimeoutError:
        raise _refused(408, f"no whole body within {FEEDBACK_BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise _refused(400, "the body ended early") from None
    return content


def _read(content: bytes) -> dict[str, str]:
    """The fields, "" for each that is not said. Raises `Denial` for what is no feedback."""
    try:
        body = parse_json(content, "body")
    except InputError:
        raise _refused(400, "the body is no JSON") from None
    known = (*MOST_SAID_CHARACTERS, "rating", "length")
    if not isinstance(body, dict) or not body.keys() <= set(known):
        raise _refused(400, f"expected one JSON object with id and some of {', '.join(known[1:])}")
    said = {name: "" if body.get(name) is None else body[name] for name in known}
    for name, value in said.items():
        most = MOST_SAID_CHARACTERS.get(name, 20)
        if not isinstance(value, str) or len(value) > most or "\0" in value:  # PostgreSQL has no such character
            raise _refused(400, f"{name}: expected a text of at most {most:,} characters, none of them NUL")
    fields = cast(dict[str, str], said)
    for name, words in (("rating", RATINGS), ("length", LENGTH_WORDS)):
        if fields[name] not in ("", *words):
            raise _refused(400, f"{name}: expected {' or '.join(words)}")
    if not fields["id"] or not any(fields[name] for name in ("rating", "length", "correction", "comment")):
        raise _refused(400, "expected an id, and a rating, a length, a correction or a comment")
    return fields
