"""`laconic traffic` says what is stored, and forgets a user by name."""

import sqlite3
import time

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from simulated_traffic import Crowd, Served, fill

from laconic.problems.made_from_traffic import note_made
from laconic.traffic.pseudonyms import pseudonym, salt_of
from laconic.traffic.records import TrafficRecord
from laconic.traffic.store import SECONDS_OF_A_DAY, StoredRequest, open_store
from laconic.traffic.tables import REQUESTS
from laconic.types import Problem


def test_what_is_stored_is_said_with_a_reason_and_the_usual_times_are_not_said_to_be_those_of_a_gateway(laconic):
    code, out, _ = laconic("traffic", "what")
    assert code == 0 and "  user: a salted hash" in out and "none was named with --config" in out
    assert "A gateway without a file keeps texts for 30 days, of no route unless --texts consent allows it" in out


def test_the_times_and_routes_are_those_of_the_gateway_s_file(laconic, tmp_path):
    upstream, route = '[upstreams.u]\nurl = "http://127.0.0.1:8000/v1"\n', 'upstreams = ["u"]\n'
    routes = f"[routes.r]\n{route}[routes.s]\n{route}texts = 'consent'\n"
    (tmp_path / "serve.toml").write_text(f"text_days = 7\nfigure_days = 90.5\n{upstream}{routes}", encoding="utf-8")
    code, out, _ = laconic("traffic", "what", "--config", "serve.toml")
    assert code == 0 and "By serve.toml: texts stay for 7 days, of the routes s, and figures for 90.5." in out
    assert "30 days" not in out


def test_a_user_is_forgotten_by_name_and_key(laconic, tmp_path):
    salt = salt_of(tmp_path / "traffic" / "salt", has_users=False)
    store = open_store("sqlite:///traffic/traffic.db")
    for name, user in (("a", "ann"), ("b", "bob")):
        hidden = pseudonym(salt, "support", user)
        row = TrafficRecord(
            name, 1.0, "r", "m", "", "", hidden, 200, "stop", False, 1, 2, 1, None, None, 0.1, 0.2, None
        )
        store.write([StoredRequest(row)])
    (tmp_path / "run").mkdir()
    marks = {"traffic_request": "a", "tombstones": str(store.forgotten_list)}
    note_made(tmp_path / "run", [Problem("traffic/a", "2 + 2", "4", meta=marks)])
    code, out, _ = laconic("traffic", "forget", "--user", "ann", "--key", "support")
    assert code == 0 and out.startswith("forgotten: 1 request with texts, feedback and labels, 0 rows of exports")
    assert f"made of what was forgotten: {tmp_path}/run; delete it\n" in out
    code, out, _ = laconic("traffic", "forget", "--user", "ann", "--key", "suport")
    assert code == 0 and out.startswith("nothing is stored of this user; is it the right name, and --key suport")
    assert [row["id"] for row in store.rows(REQUESTS)] == ["b"]
    store.close()


def test_without_a_store_or_its_salt_the_error_is_one_line(laconic):
    code, _, err = laconic("traffic", "forget", "--user", "ann")
    assert code == 2 and "the salt of the store cannot be read" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["next", "agreement", "report", "problems", "pairs"])
def test_a_store_that_fails_while_it_is_read_is_one_line(laconic, tmp_path, command):
    open_store("sqlite:///traffic/traffic.db").close()
    with sqlite3.connect(tmp_path / "traffic" / "traffic.db") as damaged:
        for table in ("labels", "requests"):
            damaged.execute(f"DROP TABLE {table}")
    damaged.close()
    code, _, err = laconic("traffic", command)
    assert code == 1 and "the store of traffic fails: no such table" in err and len(err.splitlines()) == 1


@pytest.fixture
def served(tmp_path):
    """A store of simulated traffic of today, where v2 is a candidate beside v1."""
    begin = time.time() - SECONDS_OF_A_DAY
    store = open_store("sqlite:///traffic/traffic.db")
    fill(store, Served("v1"), begin=begin, days=1, seed=0, crowd=Crowd(users=60))
    fill(store, Served("v2", 150.0), begin=begin, days=1, seed=0, group="new", crowd=Crowd(users=40))
    yield
    store.close()


def test_a_page_is_written_and_what_changed_is_said(laconic, tmp_path, served):
    pytest.importorskip("jinja2", reason="needs the extra report")
    code, out, _ = laconic("traffic", "report")
    assert code == 0 and "Route assistant, live: v2 (" in out and "tokens −" in out
    assert out.endswith("traffic.html\n") and (tmp_path / "traffic.html").read_text("utf-8").startswith(
        "<!doctype html>"
    )
    code, _, err = laconic("traffic", "report", "--days", "0")
    assert code == 2 and err == "laconic: --days 0: expected a number of days above 0\n"


def test_two_versions_are_compared_from_either_door(laconic, tmp_path, served):
    code, out, _ = laconic("traffic", "compare", "v1", "v2")
    assert code == 0 and "users) against v1 (" in out and "shorter" in out
    written = (tmp_path / "comparison.json").read_bytes()
    again, same, _ = laconic("compare", "traffic:v1", "traffic:v2")
    assert (again, same) == (0, out) and (tmp_path / "comparison.json").read_bytes() == written
    for given, says in (
        (("compare", "traffic:v1", "runs/base"), "expected two versions, traffic:A traffic:B"),
        (("compare", "traffic:v1", "traffic:v9"), "v9: no stored request was answered by it; there are v1, v2"),
        (("compare", "traffic:v1", "traffic:v1"), "v1: given twice"),
    ):
        code, _, err = laconic(*given)
        assert code == 2 and says in err and len(err.splitlines()) == 1


def test_what_rules_say_is_written_down_once(laconic, served):
    code, out, _ = laconic("traffic", "candidate", "assistant", "--promote-after", "10")
    assert code == 0 and "the rules say: go on" in out and "tokens −" in out
    code, _, err = laconic("traffic", "candidate", "nowhere")
    assert code == 2 and "no two versions were served at once" in err


def test_the_store_is_where_the_gateways_file_says(laconic, tmp_path, served):
    """Unless `--store` says otherwise."""
    (tmp_path / "traffic").rename(tmp_path / "elsewhere")
    upstream, route = '[upstreams.u]\nurl = "http://127.0.0.1:8000/v1"\n', '[routes.assistant]\nupstreams = ["u"]\n'
    (tmp_path / "serve.toml").write_text(f'store = "sqlite:///elsewhere/traffic.db"\n{upstream}{route}', "utf-8")
    code, out, _ = laconic("traffic", "report", "--config", "serve.toml")
    assert code == 0 and "Route assistant" in out
    code, _, err = laconic("traffic", "report", "--config", "serve.toml", "--store", "sqlite:///traffic/traffic.db")
    assert code == 2 and "traffic/traffic.db" in err
    assert laconic("traffic", "report", "--store", "sqlite:///elsewhere/traffic.db")[0] == 0
