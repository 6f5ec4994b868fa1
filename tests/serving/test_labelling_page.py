"""The page for experts is blind and escaped, opens once, and takes answers from itself alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("jinja2", reason="needs the extra report")

from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from laconic.errors import InputError
from laconic.serving.feedback import labelling
from laconic.serving.feedback.labelling import LabelDesk, labelling_app, open_desk
from laconic.traffic.consent import TextPolicy, keep_text
from laconic.traffic.records import TrafficRecord
from laconic.traffic.store import StoredRequest, TrafficStore, open_store
from laconic.traffic.tables import LABELS

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
HERE = "http://127.0.0.1:8123"


def put(store: TrafficStore, name: str, question: str, version: str, response: str) -> None:
    figures = (200, "stop", False, 5, 7, 3, None, None, 0.1, 0.2, None)
    record = TrafficRecord(name, 1.0, "secret-route", "secret-model", version, "secret-tag", "secret-user", *figures)
    said = [{"role": "user", "content": question}]
    words = keep_text(
        TextPolicy.CONSENT, ["text"], request_id=name, user="secret-user", at=1.0, messages=said, response=response
    )
    store.write([StoredRequest(record, words)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    opened = open_store(f"sqlite:///{tmp_path}/traffic.db")
    put(
        opened,
        "secret-a",
        f"question {HOSTILE}",
        "secret-old",
        f"<think>long {HOSTILE} thought</think>old answer {HOSTILE}",
    )
    put(opened, "secret-b", f"question {HOSTILE}", "secret-new", "new answer")
    put(opened, "secret-c", "alone", "secret-old", "<think>without an end")
    yield opened
    opened.close()


@pytest.fixture
def desk(store: TrafficStore) -> LabelDesk:
    return open_desk(store, "ines", seed=0)


@pytest.fixture
def client(desk: LabelDesk) -> TestClient:
    entered = TestClient(labelling_app(desk), base_url=HERE)
    assert entered.get(f"/?token={desk.token}").status_code == 200
    return entered


def form_of(page: str, **answers: str) -> dict[str, str]:
    return {name: re.findall(f'name="{name}" value="([^"]+)"', page)[0] for name in ("csrf", "task")} | answers


JUDGED = {
    "left_right": "yes",
    "right_right": "no",
    "left_length": "fine",
    "right_length": "too_long",
    "verdict": "left",
}


def test_the_page_is_blind_escaped_and_self_contained(client: TestClient) -> None:
    reply = client.get("/")
    assert "secret" not in reply.text and "question" in reply.text and "new answer" in reply.text
    assert "<script>alert" not in reply.text and "<img" not in reply.text and "&lt;script&gt;" in reply.text
    assert set(re.findall(r'(?:src|href|action)="([^"]+)"', reply.text)) == {
        "/style.css",
        "/keys.js",
        "/label",
        "/skip",
    }
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert reply.headers["content-security-policy"].startswith("default-src 'none'") and "Thinking, " in reply.text
    for asset in ("/style.css", "/keys.js"):
        assert "http" not in client.get(asset).text.replace("http://www.w3.org", "")


def test_answers_are_stored_and_the_last_can_be_changed(client: TestClient, store: TrafficStore) -> None:
    page = client.get("/").text
    page = client.post("/label", data=form_of(page, **JUDGED)).text
    assert "1 labelled, 1 left" in page and "alone" in page and "It ends without an answer" in page
    page = client.post("/back", data=form_of(page)).text
    page = client.post("/label", data=form_of(page, **JUDGED | {"verdict": "same"})).text
    page = client.post("/skip", data=form_of(page)).text
    page = client.post("/label", data=form_of(page, left_right="unsure", left_length="too_short")).text
    assert "Nothing is left to label" in page
    assert sorted((row["first"], row["second"], row["verdict"]) for row in store.rows(LABELS)) == [
        ("secret-a", "secret-b", "same"),
        ("secret-c", "", ""),
    ]
    assert open_desk(store, "ines", seed=0).tasks == [] and len(open_desk(store, "bob", seed=0).tasks) == 2


def test_an_answer_that_is_sent_twice_counts_once_and_a_wrong_one_is_said(client: TestClient, desk: LabelDesk) -> None:
    form = form_of(client.get("/").text, **JUDGED)
    assert client.post("/label", data=form | {"verdict": HOSTILE}).status_code == 400
    for _ in range(2):
        assert client.post("/label", data=form).status_code == 200
    assert desk.done == 1 and len(desk.tasks) == 1
    assert client.post("/label", data=form | {"task": "x" * 10_000}).status_code == 403


def test_the_address_works_once_and_nothing_is_shown_without_it(desk: LabelDesk) -> None:
    token = desk.token
    for path in ("/", "/?token=", "/?token=wrong", "/?token=%ff"):
        reply = TestClient(labelling_app(desk), base_url=HERE).get(path)
        assert reply.status_code == 403 and "question" not in reply.text and desk.csrf not in reply.text
    first = TestClient(labelling_app(desk), base_url=HERE).get(f"/?token={token}", follow_redirects=False)
    assert first.status_code == 303 and "httponly" in first.headers["set-cookie"].lower()
    assert token not in first.headers["location"]
    assert TestClient(labelling_app(desk), base_url=HERE).get(f"/?token={token}").status_code == 403


@pytest.mark.parametrize("path", ["/label", "/skip", "/back"])
def test_a_form_of_another_page_is_refused(client: TestClient, store: TrafficStore, path: str) -> None:
    form = form_of(client.get("/").text, **JUDGED)
    assert client.post(path, data=form | {"csrf": "x"}).status_code == 403
    client.cookies.clear()
    assert client.post(path, data=form).status_code == 403 and store.rows(LABELS) == []
    assert client.get(path).status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_another_hosts_name_is_refused(client: TestClient, host: str) -> None:
    reply = client.get("/", headers={"host": host})
    assert reply.status_code == 400 and "question" not in reply.text


def test_a_user_who_is_forgotten_meanwhile_is_not_shown(client: TestClient, store: TrafficStore) -> None:
    form = form_of(client.get("/").text, **JUDGED)
    store.forget("secret-user", now=10.0)
    page = client.post("/label", data=form).text
    assert "Nothing is left" in page and store.rows(LABELS) == []
    with pytest.raises(InputError, match="nothing to label"):
        open_desk(store, "ines", seed=0)


def test_an_answer_that_the_store_does_not_take_can_be_sent_again(
    client: TestClient, desk: LabelDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a name of no task that is not even ASCII is one of no task."""

    def busy(*_: object) -> bool:
        raise OperationalError("", {}, Exception("database is locked"))

    form = form_of(client.get("/").text, **JUDGED)
    with monkeypatch.context() as patched:
        patched.setattr(labelling, "add_label", busy)
        assert client.post("/label", data=form).status_code == 503
        patched.setattr(labelling, "texts_of", busy)
        assert client.get("/").status_code == 503
    assert client.post("/label", data=form | {"task": "\u00e9"}).status_code == 200 and desk.done == 0
    assert client.post("/label", data=form).status_code == 200 and desk.done == 1
