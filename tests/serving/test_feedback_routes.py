"""Feedback is taken of one's own responses alone, and its texts with consent alone."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("starlette", reason="needs the extra serve")

from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from laconic.serving.denials import Denial
from laconic.serving.feedback import feedback_routes as routes
from laconic.serving.feedback.feedback_routes import feedback_routes
from laconic.traffic.consent import CONSENT_HEADER, TextPolicy
from laconic.traffic.records import TrafficRecord
from laconic.traffic.store import StoredRequest, open_store
from laconic.traffic.tables import FEEDBACK
from laconic.traffic.writer import TrafficWriter

WORDS = "the-answer-of-ann ann@example.org"
CONSENT = {CONSENT_HEADER: "text"}


def request_of(name: str, user: str, route: str = "open") -> StoredRequest:
    figures = (200, "stop", False, 5, 7, 3, None, None, 0.1, 0.2, None)
    return StoredRequest(TrafficRecord(name, 100.0, route, "m", "v1", "", user, *figures))


@contextmanager
def entering(request: Request) -> Iterator[str]:
    key = request.headers.get("authorization")
    if key is None:
        raise Denial(401, "no such key", reason="invalid_api_key")
    yield key


class Desk:
    """A client of the routes over a store with two responses of a user `ann` of the key `k`."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store(f"sqlite:///{folder}/traffic.db")
        self.writer = TrafficWriter(self.store)
        self.store.write([request_of("a", "k/ann"), request_of("closed", "k/ann", "closed")])
        policies = {"open": TextPolicy.CONSENT}
        served = Starlette(
            routes=feedback_routes(self.writer, entering, "{}/{}".format, lambda r: policies.get(r, TextPolicy.NEVER))
        )
        self.client = TestClient(served, raise_server_exceptions=False)

    def says(self, body: Any, headers: dict[str, str] | list[tuple[str, str]] = (), key: str = "k") -> Any:
        """The reply to a feedback."""
        sent = [*dict(headers).items()] if isinstance(headers, dict) else list(headers)
        return self.client.post("/v1/feedback", json=body, headers=[*sent, *([("authorization", key)] if key else [])])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What is stored."""
        return self.store.rows(FEEDBACK)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(routes, "ON_ITS_WAY_SECONDS", 0.1)
    opened = Desk(tmp_path)
    yield opened
    opened.store.close()


def test_a_rating_is_stored_without_consent_and_the_last_one_counts(desk: Desk) -> None:
    for rating in ("good", "bad"):
        reply = desk.says({"id": "a", "user": "ann", "rating": rating, "length": "too_long"})
        assert reply.status_code == 200
    assert [(row["rating"], row["length"], row["comment"]) for row in desk.rows] == [("bad", "too_long", "")]


def test_texts_are_stored_redacted_where_route_and_header_allow_it(desk: Desk) -> None:
    reply = desk.says({"id": "a", "user": "ann", "correction": WORDS, "comment": WORDS}, CONSENT)
    assert reply.status_code == 200
    assert [(row["correction"], row["comment"]) for row in desk.rows] == [("the-answer-of-ann [email]",) * 2]


@pytest.mark.parametrize("field", ["correction", "comment"])
@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("a", []),
        ("a", [(CONSENT_HEADER, "yes")]),
        ("a", [(CONSENT_HEADER, "text"), (CONSENT_HEADER, "none")]),
        ("closed", [(CONSENT_HEADER, "text")]),
        ("closed", []),
    ],
)
def test_a_text_without_consent_is_refused_whole_in_one_line(desk: Desk, name: str, headers: Any, field: str) -> None:
    reply = desk.says({"id": name, "user": "ann", "rating": "bad", field: WORDS}, headers)
    assert reply.status_code == 403 and "\n" not in reply.json()["error"]["message"]
    assert desk.rows == [] and WORDS not in reply.text


def test_what_is_anothers_and_what_is_not_there_is_the_same_404(desk: Desk) -> None:
    asked = [
        ({"id": "zzz", "user": "ann", "rating": "good"}, "k"),
        ({"id": "a", "user": "bob", "rating": "good"}, "k"),
        ({"id": "a", "rating": "good"}, "k"),
        ({"id": "a", "user": "ann", "rating": "good"}, "another-key"),
        ({"id": "a", "user": "bob", "comment": "x"}, "k"),
    ]
    replies = [desk.says(body, CONSENT, key) for body, key in asked]
    assert {reply.status_code for reply in replies} == {404} and len({reply.text for reply in replies}) == 1
    assert desk.rows == [] and desk.says(asked[0][0], key="").status_code == 401


def test_a_record_that_is_still_on_its_way_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "ON_ITS_WAY_SECONDS", 30.0)
    looked = threading.Event()
    look = desk.store.route_of
    monkeypatch.setattr(desk.store, "route_of", lambda *asked: (look(*asked), looked.set())[0])
    late = threading.Thread(target=lambda: (looked.wait(30), desk.store.write([request_of("late", "k/ann")])))
    late.start()
    assert desk.says({"id": "late", "user": "ann", "rating": "good"}).status_code == 200
    late.join()


@pytest.mark.parametrize(
    "body",
    [
        {"id": "a"},
        {"rating": "good"},
        {"id": "a", "rating": "fine"},
        {"id": "a", "length": "long"},
        {"id": "a", "rating": "good", "other": "x"},
        {"id": "a", "rating": 1},
        {"id": 5, "rating": "good"},
        {"id": "a", "comment": "x" * 4001},
        {"id": "a" * 65, "rating": "good"},
        ["a"],
        "a",
    ],
)
def test_what_is_no_feedback_is_refused_and_not_quoted(desk: Desk, body: Any) -> None:
    reply = desk.says(body, CONSENT)
    assert reply.status_code == 400 and "xxx" not in reply.text and "fine" not in reply.text and desk.rows == []


def test_bodies_have_a_limit_and_must_be_json(desk: Desk) -> None:
    def sent(content: bytes, kind: str = "application/json") -> int:
        headers = {"authorization": "k", "content-type": kind}
        return desk.client.post("/v1/feedback", content=content, headers=headers).status_code

    assert sent(b'{"id": "a", "user": "ann", "rating": "good"}', "text/plain") == 415 and desk.rows == []

    assert sent(b" " * (routes.MOST_FEEDBACK_BYTES + 1)) == 413
    broken = (b"", b"{", b'{"id": "\\ud800"}', b"[" * 5000, b'{"id": "a\\u0000", "rating": "good"}')
    assert [sent(content) for content in broken] == [400] * len(broken)
    assert desk.client.get("/v1/feedback").status_code == 405


def test_a_redaction_that_fails_stores_nothing(desk: Desk) -> None:
    desk.writer.redacts = lambda text: None
    reply = desk.says({"id": "a", "user": "ann", "rating": "good", "comment": WORDS}, CONSENT)
    assert reply.status_code == 503 and desk.rows == []


def test_a_store_that_fails_is_said_and_no_404(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.writer._is_well = False
    assert desk.says({"id": "zzz", "rating": "good"}).status_code == 503

    def fail(*asked: object) -> None:
        raise OperationalError("select", {"user": WORDS}, ValueError("away"))

    desk.writer._is_well = True
    monkeypatch.setattr(desk.store, "route_of", fail)
    reply = desk.says({"id": "a", "user": "ann", "rating": "good"})
    assert reply.status_code == 503 and WORDS not in reply.text


def test_a_user_who_is_forgotten_has_no_response_to_speak_of(desk: Desk) -> None:
    desk.says({"id": "a", "user": "ann", "comment": "fine"}, CONSENT)
    desk.store.forget("k/ann", now=time.time())
    assert desk.rows == [] and desk.says({"id": "a", "user": "ann", "rating": "good"}).status_code == 404
