"""`laconic traffic` says what is stored, and forgets a user by name."""

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from laconic.traffic.pseudonyms import pseudonym, salt_of
from laconic.traffic.records import TrafficRecord
from laconic.traffic.store import StoredRequest, open_store
from laconic.traffic.tables import REQUESTS


def test_what_is_stored_is_said_with_a_reason(laconic):
    code, out, _ = laconic("traffic", "what")
    assert code == 0 and "  user: a salted hash" in out and "30 days" in out


def test_a_user_is_forgotten_by_name_and_key(laconic, tmp_path):
    salt = salt_of(tmp_path / "traffic" / "salt", has_users=False)
    store = open_store("sqlite:///traffic/traffic.db")
    for name, user in (("a", "ann"), ("b", "bob")):
        hidden = pseudonym(salt, "support", user)
        row = TrafficRecord(
            name, 1.0, "r", "m", "", "", hidden, 200, "stop", False, 1, 2, 1, None, None, 0.1, 0.2, None
        )
        store.write([StoredRequest(row)])
    code, out, _ = laconic("traffic", "forget", "--user", "ann", "--key", "support")
    assert code == 0 and out.startswith("forgotten: 1 requests")
    assert [row["id"] for row in store.rows(REQUESTS)] == ["b"]
    store.close()


def test_without_a_store_or_its_salt_the_error_is_one_line(laconic):
    code, _, err = laconic("traffic", "forget", "--user", "ann")
    assert code == 2 and "the salt of the store cannot be read" in err and len(err.splitlines()) == 1
