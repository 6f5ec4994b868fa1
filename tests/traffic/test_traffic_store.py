"""The store keeps each record once, texts only of those who consented, and nothing of a user who was forgotten."""

import asyncio
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from laconic.errors import InputError
from laconic.traffic.consent import KeptText, TextPolicy, keep_text, may_keep
from laconic.traffic.conversations import to_prompt
from laconic.traffic.pseudonyms import pseudonym, salt_of
from laconic.traffic.records import FeedbackRecord, TrafficRecord
from laconic.traffic.redaction import redact, with_hook
from laconic.traffic.store import StoredRequest, TrafficStore, migrate, open_store
from laconic.traffic.tables import METADATA, PURPOSES, REQUESTS, TEXTS
from laconic.traffic.writer import TrafficWriter

SECRET = "the-words-of-ann"


def record(name: str, user: str = "u1", at: float = 100.0) -> TrafficRecord:
    return TrafficRecord(
        name, at, "maths", "m", "v1", "", user, 200, "stop", False, 5, 7, 3, None, None, 0.1, 0.2, None
    )


def with_text(name: str, user: str = "u1", at: float = 100.0, words: str = SECRET) -> StoredRequest:
    return StoredRequest(record(name, user, at), KeptText(name, user, at, prompt_of(words), f"answer to {words}"))


def prompt_of(words: str) -> str:
    return to_prompt([{"role": "user", "content": words}])


@pytest.fixture
def store(tmp_path: Path):
    opened = open_store(f"sqlite:///{tmp_path}/deep/traffic.db")
    yield opened
    opened.close()


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


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


def test_a_record_has_no_field_for_words_of_others(store: TrafficStore, tmp_path: Path) -> None:
    """Every text in it is the operator's or from a list, and the disk has no word of a request without consent."""
    store.write([StoredRequest(record("a"))])
    assert store.rows(TEXTS) == [] and SECRET.encode() not in on_disk(tmp_path)


# --- redaction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ann.b@mail.example.org", "email"),
        ("4111 1111 1111 1111", "card"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("sk-abcdefghijklmnop1234", "key"),
        ("10.20.30.40", "ip address"),
        ("078-05-1120", "social security number"),
        ("+49 170 1234567", "phone"),
    ],
)
def test_what_names_a_person_is_replaced(text: str, name: str) -> None:
    assert redact(f"see {text} there") == f"see [{name}] there"


def test_arithmetic_is_left_alone() -> None:
    text = "What is 17 + 25 * 3 - 4/2? It is \\boxed{90}, and 3.14 is no address."
    assert redact(text) == text


def test_a_hook_sees_redacted_text_and_where_it_fails_nothing_is_kept(tmp_path: Path) -> None:
    hook = tmp_path / "mine.py"
    hook.write_text(
        "def hide(text):\n    return text.replace('Ann', '[name]')\ndef fail(text):\n    raise ValueError(text)\n"
        "def odd(text):\n    return 5\n"
    )
    assert with_hook(f"{hook}:hide")("Ann a@b.org") == "[name] [email]"
    assert with_hook(f"{hook}:fail")("Ann") is None and with_hook(f"{hook}:odd")("Ann") is None
    with pytest.raises(InputError, match="expected FILE"):
        with_hook("nothing.py:hide")


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


def test_a_forgotten_user_leaves_no_byte_and_late_records_are_not_written(store: TrafficStore, tmp_path: Path) -> None:
    store.write([with_text("a"), with_text("b", user="u2", words="of-another")])
    assert store.add_feedback(FeedbackRecord("a", 101.0, "u1", "bad", "", "a-correction-of-ann", ""))
    assert store.forget("u1", now=200.0) == 1
    store.write([with_text("late", at=150.0)])
    store.write([StoredRequest(record("new", at=250.0))])
    kept = on_disk(tmp_path)
    assert SECRET.encode() not in kept and b"a-correction-of-ann" not in kept and b"of-another" in kept
    assert store.tombstones() == {"a"} and [row["id"] for row in store.rows(REQUESTS)] == ["b", "new"]


def test_feedback_is_taken_of_ones_own_response_alone_and_the_last_counts(store: TrafficStore) -> None:
    store.write([StoredRequest(record("a"))])
    said = FeedbackRecord("a", 101.0, "u1", "good", "")
    assert not store.add_feedback(replace(said, user="u2")) and not store.add_feedback(replace(said, request_id="z"))
    assert store.add_feedback(said) and store.add_feedback(replace(said, rating="bad"))
    assert [row["rating"] for row in store.rows(METADATA.tables["feedback"])] == ["bad"]


def test_texts_end_before_figures(store: TrafficStore, tmp_path: Path) -> None:
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


def test_a_full_queue_drops_and_counts_instead_of_waiting(store: TrafficStore) -> None:
    writer = TrafficWriter(store, most_waiting=2)
    for number in range(5):
        writer.put(StoredRequest(record(str(number))))
    writer.start()
    writer.close()
    assert writer.counts.dropped == 3 and len(store.rows(REQUESTS)) == 2


def test_a_text_whose_redaction_fails_is_not_kept_but_its_figures_are(store: TrafficStore, tmp_path: Path) -> None:
    def fails(text: str) -> str:
        raise ValueError(text)

    writer = TrafficWriter(store, fails)
    writer.put(with_text("a"))
    writer.start()
    writer.close()
    assert store.rows(TEXTS) == [] and len(store.rows(REQUESTS)) == 1 and writer.counts.withheld_texts == 1
    assert SECRET.encode() not in on_disk(tmp_path)


def test_a_request_that_waits_finds_its_record_written(store: TrafficStore) -> None:
    writer = TrafficWriter(store)
    writer.start()
    asyncio.run(writer.settled(StoredRequest(record("a"))))
    writer.close()
    assert [row["id"] for row in store.rows(REQUESTS)] == ["a"]
