"""Rules end a candidate once, on intervals that hold at any time, and the decision is written down."""

import json
from math import nan
from pathlib import Path

import pytest
from traffic_rows import stored_request

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from simulated_traffic import Crowd, Served, fill

from laconic.config.serving import CandidateRules, parse_serving, read_serving
from laconic.errors import InputError
from laconic.monitoring.candidates import (
    DECIDE_SECONDS,
    CandidateKeeper,
    RuledCandidate,
    candidate_lines,
    configured_pairs,
    decide_candidate,
    find_candidate,
    judge_candidate,
)
from laconic.monitoring.requests import Scope
from laconic.monitoring.versions import VersionComparison, compare_live, comparison_sentence, find_pair
from laconic.statistics.intervals import Interval
from laconic.traffic.decisions import CandidateAction, Decision, add_decision, current_share, read_decisions
from laconic.traffic.store import SECONDS_OF_A_DAY, TrafficStore, open_store
from laconic.traffic.tables import DECISIONS

BEGIN = 20_000 * SECONDS_OF_A_DAY
EVEN = Interval(0.0, -0.01, 0.01)


def comparison(requests: int = 1000, **changes: Interval) -> VersionComparison:
    usual = dict.fromkeys(("bad", "truncated", "failed", "seconds"), EVEN)
    usual["tokens"] = Interval(-0.4, -0.5, -0.3)
    return VersionComparison("v1", "v2", (400, 100), (4000, requests), usual | changes)


RULES = CandidateRules(promote_after=1000, give_up_after=5000)


@pytest.mark.parametrize(
    ("found", "action", "says"),
    [
        (comparison(), CandidateAction.PROMOTE, "after 1,000 requests bad feedback"),
        (comparison(999), None, "1 more request of the candidate"),
        (comparison(bad=Interval(0.05, 0.021, 0.08)), CandidateAction.STOP, "lies above +2"),
        (comparison(bad=Interval(0.05, 0.019, 0.08)), None, "bad feedback +5.0 points"),  # not wholly above
        (comparison(truncated=Interval(0.09, 0.03, 0.2)), CandidateAction.STOP, "truncated"),
        (comparison(failed=Interval(0.09, 0.03, 0.2)), CandidateAction.STOP, "failed or left +9.0 points"),
        (comparison(failed=Interval(0.01, -0.01, 0.03)), None, "failed or left +1.0 points"),  # not surely as few
        (comparison(seconds=Interval(9.0, 8.0, 9.9)), CandidateAction.PROMOTE, "after"),  # no rule about seconds
        (comparison(tokens=Interval(-0.1, -0.2, 0.001)), None, "tokens −10.0%"),
        (comparison(5000, tokens=Interval(-0.1, nan, nan)), CandidateAction.STOP, "undecided after 5,000"),
    ],
)
def test_rules_act_on_whole_intervals(found: VersionComparison, action: CandidateAction | None, says: str) -> None:
    judged = judge_candidate(found, RULES)
    assert judged.action is action and says in " ".join((judged.rule, *judged.missing))


def test_without_a_number_nothing_is_promoted() -> None:
    assert judge_candidate(comparison(10**6), CandidateRules()).missing == ("no rule promotes",)


def test_a_candidate_whose_long_responses_its_users_leave_is_not_promoted(tmp_path: Path) -> None:
    """Of every four requests the candidate never ends the longest, and its user presses stop; all that end are as good."""
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    rows = []
    for number in range(4000):
        user, tokens = number % 500, (200, 300, 400, 2000)[number // 500 % 4]
        for version in ("v1", "v2"):
            is_left = version == "v2" and tokens == 2000
            left = {"status": 499, "finish": "client_left", "prompt_tokens": None, "completion_tokens": None}
            ending = left if is_left else {"completion_tokens": tokens + number % 7}
            rows.append(stored_request(f"{version}-{number}", BEGIN + number, version, f"{version}-{user}", **ending))
    opened.write(rows)
    found = compare_live(opened, "v1", "v2", "r")
    assert found is not None and found.changes["tokens"].high < -0.4 and found.changes["bad"].high < 0.02
    assert found.changes["failed"].estimate == pytest.approx(0.25)
    judged = judge_candidate(found, CandidateRules(promote_after=2000))
    assert judged.action is CandidateAction.STOP and judged.rule.startswith("failed or left +25.0 points")
    assert "; but failed or left +25.0 points" in comparison_sentence(found)
    opened.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('traffic')}/t.db")
    fill(opened, Served("v1"), begin=BEGIN, days=2, seed=0, crowd=Crowd(users=150))
    fill(opened, Served("v2", 150.0), begin=BEGIN + 1, days=2, seed=0, group="new", crowd=Crowd(users=60))
    fill(opened, Served("v1"), begin=BEGIN, days=1, seed=0, route="poor", crowd=Crowd(users=100))
    fill(
        opened,
        Served("v3", 150.0, bad=0.7),
        begin=BEGIN,
        days=1,
        seed=0,
        route="poor",
        group="p",
        crowd=Crowd(users=60),
    )
    yield opened
    opened.close()


def test_a_poor_candidate_is_stopped_once_and_its_figures_are_written(store: TrafficStore) -> None:
    decision = decide_candidate(store, "poor", "v1", "v3", CandidateRules(), now=5.0)
    assert decision is not None and decision.action is CandidateAction.STOP and "bad feedback" in decision.rule
    assert decide_candidate(store, "poor", "v1", "v3", CandidateRules(), now=6.0) is None
    (row,) = [row for row in store.rows(DECISIONS) if row["route"] == "poor"]
    figures = json.loads(row["figures"])
    low, high = figures["changes"]["bad"]["always_valid"]
    assert 0.02 < low < figures["changes"]["bad"]["change"] < high and figures["users"] == [95, 57]
    assert read_decisions(store, "poor") == [decision]


def test_the_share_follows_the_decision(tmp_path: Path) -> None:
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    assert current_share(opened, "r", "v2", 0.05) == 0.05
    for route, action, share in (("r", CandidateAction.STOP, 0.0), ("s", CandidateAction.PROMOTE, 1.0)):
        assert add_decision(opened, Decision(route, "v2", 1.0, action, "by hand", {}))
        assert not add_decision(opened, Decision(route, "v2", 2.0, CandidateAction.PROMOTE, "again", {}))
        assert current_share(opened, route, "v2", 0.05) == share and current_share(opened, route, "v3", 0.05) == 0.05
    opened.close()


def test_the_keeper_decides_once_a_minute_and_says_so(store: TrafficStore) -> None:
    said: list[str] = []
    now = [100.0]
    ruled = {
        "assistant": RuledCandidate("v1", "v2", CandidateRules(promote_after=10, promote_bad=1.0, promote_failed=1.0))
    }
    keeper = CandidateKeeper(store, ruled, said.append, lambda: now[0])
    keeper._decided_at["assistant"] = 100.0
    assert keeper("assistant", "v2", 0.1) == 0.1 and not said
    now[0] += DECIDE_SECONDS
    assert keeper("assistant", "v2", 0.1) == 1.0 and keeper("assistant", "v2", 0.1) == 1.0
    assert len(said) == 1 and said[0].startswith("assistant: promote v2, since after 10 requests")


def test_live_users_are_compared_from_the_candidate_s_first_request(store: TrafficStore) -> None:
    found = compare_live(store, "v1", "v2", "assistant")
    assert found is not None and found.users == (150, 60) and found.changes["tokens"].high < -0.4
    assert "shorter" in comparison_sentence(found) and compare_live(store, "v1", "v9", "assistant") is None
    pair = find_pair(store, Scope(route="assistant"))
    assert pair is not None and (pair.base, pair.candidate, pair.is_live) == ("v1", "v2", True)
    assert find_pair(store, Scope(route="nowhere")) is None
    named = find_pair(store, Scope(route="assistant"), ("v2", "v1"))  # as a file has it, whichever came first
    assert named is not None and (named.base, named.candidate, named.is_live) == ("v2", "v1", True)
    assert find_pair(store, Scope(route="assistant"), ("v1", "v7")) == pair


def test_a_version_that_came_after_another_is_not_served_beside_it(tmp_path: Path) -> None:
    """A last straggler of the old one does not make it so."""
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    for day, version in enumerate(("v1", "v2")):
        begin = BEGIN + 0.99 * day * SECONDS_OF_A_DAY
        fill(opened, Served(version), begin=begin, days=1, seed=0, group=version, crowd=Crowd(users=30))
    pair = find_pair(opened, Scope(route="assistant"))
    assert pair is not None and (pair.base, pair.candidate, pair.is_live) == ("v1", "v2", False)
    opened.close()


def test_a_candidate_is_found_in_the_gateway_s_file_or_in_the_store(store: TrafficStore, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(
        '[upstreams.a]\nurl = "http://127.0.0.1:1/v1"\nmodel = "v1"\n[upstreams.b]\nurl = "http://127.0.0.1:2/v1"\n'
        '[routes.poor]\nupstreams = ["a"]\n[routes.poor.candidate]\nupstreams = ["b"]\nversion = "v3"\n'
        "rules = {stop_bad = 0.05, promote_after = 7}\n"
    )
    keeper = CandidateKeeper.of_gateway(store, parse_serving(read_serving(file), ""), {"poor": "v1"}, print)
    configured = find_candidate(store, "poor", file, None)
    assert keeper.candidates == {"poor": configured} and configured_pairs(file) == {"poor": ("v1", "v3")}
    assert (configured.base, configured.version, configured.rules.stop_bad) == ("v1", "v3", 0.05)
    assert find_candidate(store, "poor", file, 9).rules.promote_after == 9
    found = find_candidate(store, "assistant", None, None)
    assert (found.base, found.version, found.rules) == ("v1", "v2", CandidateRules())
    with pytest.raises(InputError, match=r"routes\.other\.candidate: missing"):
        find_candidate(store, "other", file, None)
    with pytest.raises(InputError, match="no two versions were served at once"):
        find_candidate(store, "other", None, None)


@pytest.mark.parametrize(
    ("tokens", "bad", "claim"),
    [
        ((-0.4, -0.2), (-0.01, 0.01), "shorter, and not worse within 2 points of bad feedback."),
        ((-0.4, -0.2), (-0.5, 0.3), "shorter, but not shown to be as good within 2 points of bad feedback."),
        ((-0.1, 0.2), (-0.01, 0.01), "not shown to be shorter, but not worse within 2 points of bad feedback."),
        (
            (-0.1, 0.2),
            (-0.5, 0.3),
            "not shown to be shorter, and not shown to be as good within 2 points of bad feedback.",
        ),
        ((0.1, 0.2), (0.03, 0.3), "longer, and users are less content."),
    ],
)
def test_claims_that_disagree_are_joined_by_but(
    tokens: tuple[float, float], bad: tuple[float, float], claim: str
) -> None:
    changes = {"tokens": Interval(sum(tokens) / 2, *tokens), "bad": Interval(sum(bad) / 2, *bad)}
    sentence = comparison_sentence(comparison(**changes))
    assert sentence.endswith(f": {claim}")


def test_lines_say_what_is_missing_and_what_was_decided(store: TrafficStore) -> None:
    lines = candidate_lines(store, "assistant", RuledCandidate("v1", "v2", RULES), None)
    assert lines[0].startswith("bad feedback") and lines[-1].startswith(("decided before", "the rules say"))
    again = candidate_lines(store, "poor", RuledCandidate("v1", "v3", RULES), 9.0)
    assert again[-1].startswith("decided before: stop")
    with pytest.raises(InputError, match="v9: no stored request on poor"):
        candidate_lines(store, "poor", RuledCandidate("v1", "v9", RULES), None)
