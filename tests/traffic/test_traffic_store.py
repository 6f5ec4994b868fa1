"""The store keeps each record once, texts only of those who consented, and nothing of a user who was forgotten."""

import asyncio
import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import count
from math import isnan
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from postgres import Server, find_postgres
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from laconic.errors import InputError
from laconic.monitoring.columns import read_columns
from laconic.problems.forgotten import read_forgotten
from laconic.traffic import exports, redaction
from laconic.traffic import writer as writing
from laconic.traffic.consent import KeptText, TextPolicy, keep_text, may_keep
from laconic.traffic.consented import consented_rows
from laconic.traffic.conversations import messages_of, to_prompt
from laconic.traffic.copies import clean_file
from laconic.traffic.exports import clean_exports, forget_everywhere, write_export
from laconic.traffic.labels import ExpertLabel, add_label
from laconic.traffic.migrations import first_tables
from laconic.traffic.pseudonyms import pseudonym, salt_of
from laconic.traffic.records import FeedbackRecord, TrafficRecord
from laconic.traffic.redaction import redact, with_hook
from laconic.traffic.store import StoredRequest, StoreError, TrafficStore, migrate, open_store
from laconic.traffic.tables import FEEDBACK, LABELS, METADATA, PURPOSES, REQUESTS, TEXTS
from laconic.traffic.writer import TrafficWriter

SECRET = "the-words-of-ann"
NUMBERS = count()


def record(name: str, user: str = "u1", at: float = 100.0) -> TrafficRecord:
    return TrafficRecord(
        name, at, "maths", "m", "v1", "", user, 200, "stop", False, 5, 7, 3, None, None, 0.1, 0.2, None
    )


def with_text(name: str, user: str = "u1", at: float = 100.0, words: str = SECRET) -> StoredRequest:
    return StoredRequest(record(name, user, at), KeptText(name, user, at, prompt_of(words), f"answer to {words}"))


def prompt_of(words: str) -> str:
    return to_prompt([{"role": "user", "content": words}])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One PostgreSQL server for all tests, each with a database of its own."""
    why_not = find_postgres()
    if why_not is not None:
        pytest.skip(why_not)
    running = Server()
    yield running
    running.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrafficStore]:
    """An empty store, of each kind of database."""
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        opened = open_store(f"sqlite:///{tmp_path}/deep/traffic.db")
    else:
        opened = open_store(request.getfixturevalue("server").address(f"t{next(NUMBERS)}"))
    yield opened
    opened.close()


@pytest.fixture
def on_disk(request: pytest.FixtureRequest, store: TrafficStore, tmp_path: Path) -> Callable[[], bytes]:
    """Every byte that lies on the disk: of the folder, and of PostgreSQL's tables."""

    def read() -> bytes:
        files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        if store.engine.dialect.name == "sqlite":
            return files
        held: Server = request.getfixturevalue("server")
        return files + held.on_disk(str(store.engine.url.database))

    return read


# --- consent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [[], [""], ["yes"], ["texts"], ["text", "text"], ["text", "none"], ["text, none"]])
def test_nothing_but_the_word_itself_once_is_consent(headers: list[str]) -> None:
    assert not may_keep(TextPolicy.CONSENT, headers)


def test_consent_needs_the_operator_and_the_user() -> None:
    words = {"request_id": "r", "user": "u", "at": 1.0, "messages": [{"role": "user", "content": "p"}], "response": "a"}
    assert keep_text(TextPolicy.NEVER, ["text"], **words) is None
    assert keep_text(TextPolicy.CONSENT, [], **words) is None
    assert keep_text(TextPolicy.CONSENT, [" Text "], **words) == KeptText("r", "u", 1.0, prompt_of("p"), "a")


def test_a_kept_text_is_made_behind_one_door() -> None:
    """No other module of the package makes one, so none can be stored that consent did not let in."""
    package = Path(__file__).parents[2] / "src" / "laconic"
    makers = [path.name for path in package.rglob("*.py") if "KeptText(" in path.read_text("utf-8")]
    assert makers == ["consent.py"]


def test_a_record_has_no_field_for_words_of_others(store: TrafficStore, on_disk: Callable[[], bytes]) -> None:
    """Every text in it is the operator's or from a list, and the disk has no word of a request without consent."""
    store.write([StoredRequest(record("a"))])
    assert store.rows(TEXTS) == [] and SECRET.encode() not in on_disk()


# --- redaction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ann.b@mail.example.org", "email"),
        ("4111 1111 1111 1111", "card"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("sk-abcdefghijklmnop1234", "key"),
        ("sk-proj-" + "Ab1" * 90, "key"),
        ("github_pat_11ABCDEFG0abcdefghijkl_" + "aB3" * 20, "key"),
        ("ghs_16C7e42F292c6912E7710c838347Ae178B4a", "key"),
        ("ghu_16C7e42F292c6912E7710c838347Ae178B4a", "key"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "key"),
        ("npm_" + "a1" * 18, "key"),
        ("eyJ" + "a" * 40 + "." + "b" * 5000 + "." + "c" * 43, "token"),
        ("Bearer abcdef0123456789abcdef0123456789", "token"),
        ("Bearer abcdefghijklmnopqrstuvwxyzabcdef", "token"),
        ("-----BEGIN RSA PRIVATE KEY-----\n" + "a/+B" * 4000 + "\n-----END RSA PRIVATE KEY-----", "private key"),
        ("https://ann:pass!word@host.org/x", "url with secret"),
        ("postgres://ann:pw@host/db", "url with secret"),
        ("redis://:" + "p" * 300 + "@host", "url with secret"),
        ("password=hunter2", "password"),
        ("passwd = 'hunter two'", "password"),
        ("api_key: a1b2c3d4e5", "password"),
        ("10.20.30.40", "ip address"),
        ("2001:db8::1", "ip address"),
        ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "ip address"),
        ("fe80::1ff:fe23:4567:890a", "ip address"),
        ("00:1a:2B:3C:4D:5E", "mac address"),
        ("078-05-1120", "social security number"),
        ("+49 170 1234567", "phone"),
        ("+49 (0)170-1234567", "phone"),
        ("+1.555.123.4567", "phone"),
        ("+491701234567", "phone"),
        ("0170 1234567", "phone"),
        ("01701234567", "phone"),
        ("030/12345678", "phone"),
        ("(030) 1234567", "phone"),
        ("020 7946 0958", "phone"),
        ("06 12 34 56 78", "phone"),
        ("(555) 123-4567", "phone"),
        ("555.123.4567", "phone"),
        ("555-123-4567", "phone"),
    ],
)
def test_what_names_a_person_is_replaced(text: str, name: str) -> None:
    assert redact(f"see {text} there") == f"see [{name}] there"


@pytest.mark.parametrize(
    "text",
    [
        "What is 17 + 25 * 3 - 4/2? It is \\boxed{90}, and 3.14 is no address.",
        "1/2, 3.14159, +3.14159265, 0.0712345678, 10^6, 6.022e23, 2147483647, 12,345,678 and 1 000 000",
        "at 12:30 on 2024-01-15, or on 07/08/2024 at 09:30, 0900 to 1030",
        "the answers 0123456, 0123456789, 0110101101 and 0010 0111 1010",
        "ratios 3:4:5, 1:2:3:4:5, 10:20:30:40:50:60 and 2001:1999",
        "(10) 25 - 13 = 12, (12) 100 / 25, 5 +12 (3 - 4) / 2, 030 - 5 = 25",
        "a::b, face::bed, std::vector<int>::iterator, x[2000::5] and http://localhost:8080/a",
        "sklearn_model_selection_split, ghost_particle_position_x and the bearer's responsibilities",
        "The password has 8 characters. Password: 8-20 signs. password = input('?'); if password == stored:",
    ],
)
def test_mathematics_and_code_are_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "piece",
    ["a", "0", "1:", "1.", "2001::", "eyJ-", "eyJaaaaaaaa.", "sk-", "a://b:", "password=", "password=a(", "0170 ", "+1 ",
     "Bearer a", "-----BEGIN PRIVATE KEY-----", "(030) ", "a@a."],
)  # fmt: skip
def test_no_text_makes_redaction_slow(piece: str) -> None:
    """Of 100,000 characters it takes about ten times as long as of 10,000, where a pattern that tries all places again from each
    would take a hundred times."""

    def seconds(size: int) -> float:
        text = (piece * size)[:size]
        begun = time.thread_time()
        redact(text)
        return time.thread_time() - begun

    assert seconds(100_000) < 40 * max(min(seconds(10_000) for _ in range(3)), 0.001)


def test_a_hook_sees_redacted_text_and_where_it_fails_nothing_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = tmp_path / "mine.py"
    hook.write_text(
        "def hide(text):\n    return text.replace('Ann', '[name]')\ndef fail(text):\n    raise ValueError(text)\n"
        "def odd(text):\n    return 5\ndef talk(text):\n    print(text)\n    return text\n"
    )
    assert with_hook(f"{hook}:hide")("Ann a@b.org") == "[name] [email]"
    assert with_hook(f"{hook}:fail")("Ann") is None and with_hook(f"{hook}:odd")("Ann") is None
    assert with_hook(f"{hook}:talk")("Ann") == "Ann" and capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match="expected FILE"):
        with_hook("nothing.py:hide")


HOOK = """
import os, time
def hide(text):
    if "slow" in text:
        time.sleep(60)
    if "deadly" in text:
        os._exit(3)
    return text.replace("Ann", "[name]")
"""


def test_a_text_that_ends_the_hook_is_the_only_one_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it takes too long or kills the process; texts of other threads that wait meanwhile are not lost either."""
    monkeypatch.setattr(redaction, "HOOK_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(redaction, "REOPEN_SECONDS", 0.0)
    hook = tmp_path / "mine.py"
    hook.write_text(HOOK)
    said: list[str] = []
    hides = with_hook(f"{hook}:hide", said.append)
    texts = ["Ann", "slow Ann", "Ann", "deadly Ann", "Ann", "Ann"]
    assert [hides(text) for text in texts] == ["[name]", None, "[name]", None, "[name]", "[name]"]
    assert len(said) == 1 and "no end within 0.5 seconds on a text" in said[0] and "Ann" not in said[0]
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(hides, ["slow", "b", "c", "d"]), key=str) == [None, "b", "c", "d"]


def test_a_hook_that_dies_at_every_text_is_opened_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deadly texts at once: the second child is gone too, and texts are withheld until the time is over."""
    hook = tmp_path / "mine.py"
    hook.write_text(HOOK)
    hides = with_hook(f"{hook}:hide")
    assert isinstance(hides, redaction.RedactionHook)
    monkeypatch.setattr(redaction, "REOPEN_SECONDS", 3600.0)
    opened, opens = count(), hides.opens
    monkeypatch.setattr(hides, "opens", lambda: (next(opened), opens())[1])
    assert [hides(text) for text in ("deadly", "deadly", "Ann", "Ann")] == [None] * 4 and next(opened) == 1
    monkeypatch.setattr(redaction, "REOPEN_SECONDS", 0.0)
    assert hides("Ann") == "[name]"


# --- pseudonyms ------------------------------------------------------------------------------------------------------


def test_pseudonyms_differ_by_salt_key_and_user(tmp_path: Path) -> None:
    salt = salt_of(tmp_path / "salt", has_users=False)
    assert salt == salt_of(tmp_path / "salt", has_users=True) and (tmp_path / "salt").stat().st_mode & 0o077 == 0
    names = {pseudonym(salt, "k", "ann"), pseudonym(salt, "ka", "nn"), pseudonym(b"x" * 32, "k", "ann")}
    assert len(names) == 3
    with pytest.raises(InputError, match="the salt of the store cannot be read"):
        salt_of(tmp_path / "lost", has_users=True)


# --- the store -------------------------------------------------------------------------------------------------------


def test_the_migrations_make_the_tables_of_the_code_and_every_column_has_a_purpose(store: TrafficStore) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    migrate(store.engine)  # again: nothing to do
    assert {table.name: {c.name for c in table.columns} for table in METADATA.tables.values()} == {
        name: set(columns) for name, columns in PURPOSES.items()
    }


def test_a_record_is_stored_once_however_often_it_is_written(store: TrafficStore) -> None:
    for _ in range(2):
        store.write([with_text("a"), StoredRequest(record("b"))])
    assert [row["id"] for row in store.rows(REQUESTS)] == ["a", "b"]
    assert [row["prompt"] for row in store.rows(TEXTS)] == [prompt_of(SECRET)]


def test_a_forgotten_user_leaves_no_byte_and_late_records_are_not_written(
    store: TrafficStore, on_disk: Callable[[], bytes], tmp_path: Path
) -> None:
    """Neither in the tables and their log nor in exports, with what a killed writer of an export left beside it."""
    store.write([with_text("a"), with_text("b", user="u2", words="of-another")])
    assert store.add_feedback(FeedbackRecord("a", 101.0, "u1", "bad", "", "a-correction-of-ann", ""))
    assert add_label(store, ExpertLabel("ines", "a", "b", 102.0, "first", "yes", "no", "fine", "fine", False))
    assert write_export(store, tmp_path / "out.jsonl", consented_rows(store)) == 2
    (tmp_path / ".out.jsonl.999999999.partial").write_text(SECRET)
    assert SECRET.encode() in on_disk()
    done = forget_everywhere(store, "u1", now=200.0)
    assert (done.num_requests, done.num_rows, done.unreached) == (1, 1, ())
    store.write([with_text("late", at=150.0)])
    store.write([StoredRequest(record("new", at=250.0))])
    kept = on_disk()
    assert SECRET.encode() not in kept and b"a-correction-of-ann" not in kept and b"of-another" in kept
    assert store.tombstones() == {"a"} and [row["id"] for row in store.rows(REQUESTS)] == ["b", "new"]
    assert store.rows(LABELS) == [] and read_forgotten(store.forgotten_list) == {"a"}


def test_a_clock_that_was_set_back_spares_no_record(store: TrafficStore, tmp_path: Path) -> None:
    """The record came at 100, and its user is forgotten at 50; what was on its way from 100 is not written."""
    store.write([with_text("a", at=100.0)])
    write_export(store, tmp_path / "out.jsonl", consented_rows(store))
    assert forget_everywhere(store, "u1", now=50.0).num_rows == 1 and store.rows(REQUESTS) == []
    store.write([with_text("late", at=100.0)])
    assert store.rows(REQUESTS) == [] and SECRET not in (tmp_path / "out.jsonl").read_text()


def test_an_export_that_was_moved_is_named_until_it_is_reached(store: TrafficStore, tmp_path: Path) -> None:
    store.write([with_text("a"), with_text("b", user="u2")])
    out, moved = tmp_path / "out.jsonl", tmp_path / "moved.jsonl"
    write_export(store, out, consented_rows(store))
    out.rename(moved)
    assert forget_everywhere(store, "u1", now=200.0).unreached == (out,)
    assert forget_everywhere(store, "u1", now=201.0).unreached == (out,)
    assert clean_file(moved) == 1 and clean_file(moved) == 0
    moved.rename(out)
    assert clean_exports(store) == (0, [])
    assert [json.loads(line)["traffic_request"] for line in out.read_text().splitlines()] == ["b"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"traffic_request": "a", ', ""),
        lambda text: text.replace('"traffic_request": "a"', '"traffic_request": "z"'),
        lambda text: text + "{broken\n",
    ],
)
def test_an_export_that_was_edited_is_not_called_reached(
    edit: Callable[[str], str], store: TrafficStore, tmp_path: Path
) -> None:
    store.write([with_text("a"), with_text("b", "u2", words="other")])
    out = tmp_path / "x.jsonl"
    write_export(store, out, consented_rows(store))
    out.write_text(edit(out.read_text()))
    assert forget_everywhere(store, "u1", now=200.0).unreached == (out,)
    assert forget_everywhere(store, "u1", now=201.0).unreached == (out,)


def test_an_export_that_fails_leaves_what_it_would_have_replaced_within_reach(
    store: TrafficStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what a killed writer left beside it is removed, whatever the file is called."""
    store.write([with_text("a"), with_text("b", "u2", words="other")])
    out, partial = tmp_path / "x[1].jsonl", tmp_path / ".x[1].jsonl.999999999.partial"
    write_export(store, out, consented_rows(store))
    partial.write_text(SECRET)

    def full(*_: object, **_mode: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(exports, "write_text_atomically", full)
        write_export(store, out, [row for row in consented_rows(store) if row["traffic_request"] == "b"])
    assert forget_everywhere(store, "u1", now=200.0).num_rows == 1
    assert SECRET not in out.read_text() and "other" in out.read_text() and not partial.exists()


def test_forgetting_reaches_exports_whose_figures_are_gone(store: TrafficStore, tmp_path: Path) -> None:
    store.write([with_text("a", at=0.0)])
    write_export(store, tmp_path / "out.jsonl", consented_rows(store))
    store.prune(1, 1, now=10 * 86_400.0)
    assert store.rows(REQUESTS) == []
    assert forget_everywhere(store, "u1").num_rows == 1 and (tmp_path / "out.jsonl").read_text() == ""
    assert read_forgotten(store.forgotten_list) == {"a"}


def test_an_export_holds_rows_of_stored_texts_alone(store: TrafficStore, tmp_path: Path) -> None:
    """Rows without consent, of forgotten requests and of nobody are left out; one that names no request is our mistake."""
    store.write([with_text("a"), StoredRequest(record("figures")), with_text("gone", user="u2")])
    store.forget("u2", now=200.0)
    names = ["a", "figures", "gone", "nobody", ["a", "figures"], ["a"]]
    rows = [{"traffic_request": name, "words": SECRET} for name in names]
    assert write_export(store, tmp_path / "out.jsonl", rows) == 2
    with pytest.raises(ValueError, match="traffic_request"):
        write_export(store, tmp_path / "other.jsonl", [{"words": SECRET}])
    assert not (tmp_path / "other.jsonl").exists()


def test_who_is_forgotten_while_an_export_is_written_is_not_in_it(
    store: TrafficStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([with_text("a"), with_text("b", user="u2")])
    write = exports.write_text_atomically

    def write_late(path: Path, text: str, **mode: int) -> None:
        monkeypatch.setattr(exports, "write_text_atomically", write)
        assert forget_everywhere(store, "u1", now=200.0).num_rows == 0  # the file is not there yet
        write(path, text, **mode)

    monkeypatch.setattr(exports, "write_text_atomically", write_late)
    assert write_export(store, tmp_path / "out.jsonl", consented_rows(store)) == 1
    assert "answer to" in (tmp_path / "out.jsonl").read_text() and '"a"' not in (tmp_path / "out.jsonl").read_text()


def test_an_export_that_is_reached_through_a_link_is_cleaned_where_it_lies(store: TrafficStore, tmp_path: Path) -> None:
    """A file that was moved, with a link in its place, and a copy behind a link: the words go, the links stay."""
    store.write([with_text("a"), with_text("b", user="u2", words="of-another")])
    out, moved, copy, link = (tmp_path / name for name in ("out.jsonl", "disk/moved.jsonl", "copy.jsonl", "link.jsonl"))
    write_export(store, out, consented_rows(store))
    copy.write_text(out.read_text())
    link.symlink_to(copy)
    moved.parent.mkdir()
    out.rename(moved)
    out.symlink_to(moved)
    (moved.parent / ".moved.jsonl.999999999.partial").write_text(SECRET)
    done = forget_everywhere(store, "u1", now=200.0)
    assert (done.num_rows, done.unreached) == (1, ()) and clean_file(link) == 1
    assert out.is_symlink() and link.is_symlink()
    assert [SECRET in file.read_text() for file in (moved, copy)] == [False, False]
    assert [path.name for path in moved.parent.iterdir()] == ["moved.jsonl"]


def test_an_export_is_its_owners_until_he_says_otherwise(store: TrafficStore, tmp_path: Path) -> None:
    """A new one is private like the store; writing it again, forgetting and cleaning leave what was set since."""
    store.write([with_text("a"), with_text("b", user="u2"), with_text("c", user="u3")])
    out = tmp_path / "new" / "out.jsonl"
    write_export(store, out, consented_rows(store))
    assert out.stat().st_mode & 0o777 == 0o600
    out.chmod(0o640)
    write_export(store, out, consented_rows(store))
    assert forget_everywhere(store, "u1", now=200.0).num_rows == 1 and out.stat().st_mode & 0o777 == 0o640
    copy = tmp_path / "copy.jsonl"
    copy.write_text(out.read_text())
    copy.chmod(0o600)
    store.forget("u2", now=201.0)
    assert clean_file(copy) == 1 and copy.stat().st_mode & 0o777 == 0o600


def test_a_damaged_ledger_is_said_after_what_was_deleted(
    laconic: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """Its sound lines count, the others are named, and so is an export that could not be reached."""
    store = open_store(f"sqlite:///{tmp_path}/traffic/traffic.db")
    user = pseudonym(salt_of(tmp_path / "traffic" / "salt", has_users=False), "", "ann")
    store.write([with_text("a", user=user)])
    write_export(store, tmp_path / "out.jsonl", consented_rows(store))
    store.close()
    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "run").mkdir()
    sound = json.dumps({"path": str(tmp_path / "run"), "requests": ["a"]})
    ledger = tmp_path / "traffic" / "made_from_traffic.jsonl"
    ledger.write_text(f'{{"path": "/x", "req\n{sound}\n{{"path": 5}}\n{{"pa')
    code, out, _ = laconic("traffic", "forget", "--user", "ann")
    assert code == 0 and "forgotten: 1 request" in out and f"not reached: {tmp_path}/out.jsonl" in out
    assert f"made of what was forgotten: {tmp_path}/run; delete it" in out
    assert f"{ledger}: damaged in line 1, 3; correct or remove it" in out


def test_that_there_was_a_correction_outlives_its_text(store: TrafficStore) -> None:
    day = 86_400.0
    store.write([StoredRequest(record(name, at=day)) for name in ("a", "b")])
    assert store.add_feedback(FeedbackRecord("a", 2 * day, "u1", "bad", "", SECRET, SECRET))
    assert store.add_feedback(FeedbackRecord("b", 2 * day, "u1", "bad", ""))
    store.prune(10, 365, now=50 * day)
    rows = [(row["correction"], row["comment"], row["is_corrected"]) for row in store.rows(FEEDBACK)]
    assert rows == [("", "", True), ("", "", False)]


def test_an_older_store_knows_of_corrections_as_far_back_as_its_texts_reach(tmp_path: Path) -> None:
    """Texts until 5 were deleted: of the feedback of 3 it is not known whether it had a correction."""
    address = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(address)
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        first_tables.upgrade()
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('first_tables')"))
        for name, at, correction, comment in (("a", 3, "", ""), ("b", 5, "", "x"), ("c", 7, "", ""), ("d", 9, "7", "")):
            connection.execute(REQUESTS.insert().values(asdict(record(name, at=at - 1.0))))
            said = {"id": name, "at": at, "correction": correction, "comment": comment}
            connection.execute(
                text("INSERT INTO feedback VALUES (:id, :at, 'u1', 'bad', '', :correction, :comment)"), said
            )
    engine.dispose()
    opened = open_store(address)
    assert [row["is_corrected"] for row in opened.rows(FEEDBACK)] == [None, False, False, True]
    corrected = read_columns(opened).values["corrected"].tolist()  # of requests at 2, 4, 6 and 8
    assert isnan(corrected[0]) and corrected[1:] == [0.0, 0.0, 1.0]
    opened.close()


def test_feedback_is_taken_of_ones_own_response_alone_and_the_last_counts(store: TrafficStore) -> None:
    store.write([StoredRequest(record("a"))])
    said = FeedbackRecord("a", 101.0, "u1", "good", "")
    assert not store.add_feedback(replace(said, user="u2")) and not store.add_feedback(replace(said, request_id="z"))
    assert store.add_feedback(said) and store.add_feedback(replace(said, rating="bad"))
    assert [row["rating"] for row in store.rows(METADATA.tables["feedback"])] == ["bad"]


def test_texts_end_before_figures(store: TrafficStore) -> None:
    day = 86_400.0
    store.write([with_text("old", at=0.0), with_text("middle", at=50 * day), with_text("new", at=99 * day)])
    assert store.prune(30, 90, now=100 * day) == (2, 1)
    assert [row["request_id"] for row in store.rows(TEXTS)] == ["new"]
    assert [row["id"] for row in store.rows(REQUESTS)] == ["middle", "new"]


@pytest.mark.parametrize(
    "address", ["nothing", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "sqlite:////proc/x/y.db"]
)
def test_an_address_that_is_no_store_is_one_line(address: str) -> None:
    with pytest.raises((InputError, OSError)) as error:
        open_store(address)
    assert "\n" not in str(error.value)


def test_a_store_of_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/traffic.db"
    open_store(address).close()
    with sqlite3.connect(tmp_path / "traffic.db") as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.close()
    with pytest.raises(InputError, match="is of version 9999, which this laconic does not know"):
        open_store(address)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_new_store_is_made_once_by_many_and_whole_or_not_at_all(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A program that ends between the tables and the note of their version leaves nothing; then eight open the store at once."""
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path}/traffic.db"
    if kind == "postgresql":
        address = request.getfixturevalue("server").address(f"t{next(NUMBERS)}")

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(MigrationContext, "stamp", ended)
        open_store(address)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(open_store, [address] * 8))
    opened[0].write([StoredRequest(record("a"))])
    assert [row["id"] for row in opened[7].rows(REQUESTS)] == ["a"]
    for one in opened:
        one.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database" * 100)
    with pytest.raises(InputError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(InputError, match="there is no store"):
        open_store(f"sqlite:///{tmp_path}/y.db", must_exist=True)


# --- the writer ------------------------------------------------------------------------------------------------------


class Failing:
    """A store that fails so many times."""

    def __init__(self, store: TrafficStore, times: int) -> None:
        self.store, self.times = store, times

    def write(self, batch: list[StoredRequest]) -> None:
        self.times -= 1
        if self.times >= 0:
            raise OperationalError("insert", {"prompt": SECRET}, sqlite3.OperationalError("disk full"))
        self.store.write(batch)

    def prune(self, *days: float) -> None:
        pass


def test_a_store_that_fails_for_a_while_loses_and_doubles_nothing(store: TrafficStore) -> None:
    said: list[str] = []
    writer = TrafficWriter(Failing(store, 2), say=said.append)  # type: ignore[arg-type]
    for number in range(20):
        writer.put(with_text(str(number), words="mail ann@example.org"))
    writer.start()
    while writer.counts.written < 20:
        time.sleep(0.01)
    writer.close()
    assert len(store.rows(REQUESTS)) == 20 and {row["prompt"] for row in store.rows(TEXTS)} == {
        prompt_of("mail [email]")
    }
    assert writer.counts.failures == 2 and len(said) == 2 and SECRET not in "".join(said)


class Refusing:
    """A store that never takes some values: the words of a text, the id of a record."""

    def __init__(self, store: TrafficStore) -> None:
        self.store = store

    def write(self, batch: list[StoredRequest]) -> None:
        if any(item.record.id == "bad" or (item.text and "\0" in item.text.response) for item in batch):
            raise OverflowError(SECRET)  # as a driver may, outside the tree of the database's errors
        self.store.write(batch)

    def prune(self, *days: float) -> None:
        raise PermissionError(SECRET)


def test_whatever_a_store_raises_the_writer_goes_on_and_loses_only_what_cannot_be_written(store: TrafficStore) -> None:
    said: list[str] = []
    writer = TrafficWriter(Refusing(store), lambda text: text + "\0" * (text == SECRET), say=said.append)  # type: ignore[arg-type]
    for name in ("first", "bad", "last"):
        writer.put(StoredRequest(record(name)))
    held = with_text("held", words="fine")
    assert held.text is not None
    writer.put(replace(held, text=replace(held.text, response=SECRET)))
    writer.start()
    writer.close()
    assert {row["id"] for row in store.rows(REQUESTS)} == {"first", "last", "held"} and store.rows(TEXTS) == []
    assert (writer.counts.dropped, writer.counts.withheld_texts, writer.is_well) == (1, 1, True)
    assert SECRET not in "".join(said) and "was not tidied (PermissionError)" in said[0]


def test_a_store_whose_file_is_gone_says_so_instead_of_writing_into_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gone.db"
    store = open_store(f"sqlite:///{path}")
    store.write([StoredRequest(record("before"))])
    path.rename(tmp_path / "away.db")
    with pytest.raises(StoreError, match="was removed or replaced"):
        store.write([StoredRequest(record("1"))])
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="was removed or replaced"):
        store.write([StoredRequest(record("1"))])
    (tmp_path / "away.db").rename(path)
    store.write([StoredRequest(record("after"))])
    assert {row["id"] for row in store.rows(REQUESTS)} == {"before", "after"}
    store.close()


def test_a_store_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = open_store(f"sqlite:///{tmp_path}/newer.db")
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    says = {
        f"sqlite:///{tmp_path}": "cannot be written",
        f"sqlite:///{tmp_path}/file/x.db": "cannot be written",
        f"sqlite:///{tmp_path}/{'x' * 300}.db": "cannot be written",
        f"sqlite:///{tmp_path}/newer.db": "use a newer laconic",
        f"sqlite:///file:{tmp_path}/x.db?uri=true": "expected a file after sqlite:///, without options",
        f"sqlite:///{tmp_path}/a\0.db": "expected sqlite:///FILE",
        "postgresql+psycopg://u:pw@host:port/x": "expected sqlite:///FILE",
    }
    for address, words in says.items():
        with pytest.raises(InputError, match=words) as error:
            open_store(address)
        assert "\n" not in str(error.value) and "pw" not in str(error.value)
    for place in ("file/salt", "x" * 300):
        with pytest.raises(InputError, match="the salt of the store cannot be"):
            salt_of(tmp_path / place, has_users=False)


def test_a_full_queue_drops_and_counts_instead_of_waiting(store: TrafficStore) -> None:
    writer = TrafficWriter(store, most_waiting=2)
    for number in range(5):
        writer.put(StoredRequest(record(str(number))))
    writer.start()
    writer.close()
    assert writer.counts.dropped == 3 and len(store.rows(REQUESTS)) == 2


def test_a_text_whose_redaction_fails_is_not_kept_but_its_figures_are(
    store: TrafficStore, on_disk: Callable[[], bytes]
) -> None:
    def fails(text: str) -> str:
        raise ValueError(text)

    writer = TrafficWriter(store, fails)
    writer.put(with_text("a"))
    writer.start()
    writer.close()
    assert store.rows(TEXTS) == [] and len(store.rows(REQUESTS)) == 1 and writer.counts.withheld_texts == 1
    assert SECRET.encode() not in on_disk()


def test_a_store_that_hangs_is_not_waited_for(store: TrafficStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a frozen server does, it takes a batch and says nothing: then nobody waits, and nothing is lost when it goes on."""

    class Hanging:
        goes_on = threading.Event()

        def prune(self, *_days: float) -> None:
            return

        def write(self, batch: list[StoredRequest]) -> None:
            assert self.goes_on.wait(60.0)
            store.write(batch)

    monkeypatch.setattr(writing, "STUCK_SECONDS", 0.01)
    writer = TrafficWriter(Hanging())  # type: ignore[arg-type]  # a stand-in: the writer calls these two alone
    writer.start()
    writer.put(StoredRequest(record("first")))
    while writer.is_well:
        time.sleep(0.001)
    monkeypatch.setattr(writing, "SETTLE_SECONDS", 60.0)
    asyncio.run(writer.settled(StoredRequest(record("second"))))
    Hanging.goes_on.set()
    writer.close()
    assert {row["id"] for row in store.rows(REQUESTS)} == {"first", "second"} and writer.is_well


def test_a_request_that_waits_finds_its_record_written(store: TrafficStore) -> None:
    writer = TrafficWriter(store)
    writer.start()
    asyncio.run(writer.settled(StoredRequest(record("a"))))
    writer.close()
    assert [row["id"] for row in store.rows(REQUESTS)] == ["a"]


def test_words_that_no_text_can_hold_do_not_end_the_writer(store: TrafficStore) -> None:
    """Half of a character, and NUL, which PostgreSQL cannot store."""
    text = keep_text(
        TextPolicy.CONSENT,
        ["text"],
        request_id="a",
        user="u1",
        at=1.0,
        messages=[{"role": "ann\ud800", "content": ["x", {"type": "text", "text": "y\0\ud800"}, 5]}, "z"],
        response="\ud800\0",
    )
    writer = TrafficWriter(store)
    writer.put(StoredRequest(record("a"), text))
    writer.put(with_text("b"))
    writer.start()
    writer.close()
    assert [row["request_id"] for row in store.rows(TEXTS)] == ["a", "b"]
    expected = [{"role": "other", "content": "x\ny\ufffd\n[other]"}, {"role": "other", "content": "z"}]
    assert messages_of(store.rows(TEXTS)[0]["prompt"]) == expected


def _write_on(address: str, start: int) -> None:
    """Write records until killed, or 100 of them."""
    opened = open_store(address)
    for number in range(start, start + 100):
        opened.write([with_text(f"{number:05}")])


def test_two_processes_write_and_one_is_killed(store: TrafficStore) -> None:
    """The store opens, and holds whole records alone, without gaps before the last."""
    address = store.engine.url.render_as_string(hide_password=False)
    fork = multiprocessing.get_context("fork")
    store.engine.dispose()
    killed, whole = (fork.Process(target=_write_on, args=(address, start)) for start in (0, 1000))
    for process in (killed, whole):
        process.start()
    while len(store.rows(TEXTS)) < 20:
        time.sleep(0.01)
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    for process in (killed, whole):
        process.join()
    again = open_store(address, must_exist=True)
    requests, texts = ([row[key] for row in again.rows(t)] for t, key in ((REQUESTS, "id"), (TEXTS, "request_id")))
    again.close()
    of_killed = [name for name in requests if name < "01000"]
    assert requests == texts and len(requests) - len(of_killed) == 100
    assert of_killed == [f"{number:05}" for number in range(len(of_killed))]
