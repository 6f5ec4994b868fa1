"""Signs of life, with the processes of a team played by objects of one process that share a store."""

import threading

import pytest

torch = pytest.importorskip("torch")
from torch.distributed import HashStore  # noqa: E402

from laconic.parallel import heartbeats  # noqa: E402
from laconic.parallel.endings import ending_of  # noqa: E402
from laconic.parallel.heartbeats import Failure, Heartbeats, beat_of  # noqa: E402
from laconic.parallel.place import RankPlace  # noqa: E402


class Told(Exception):  # noqa: N818
    """What `leave_at_once` raises here."""


@pytest.fixture
def team(monkeypatch):
    """Three members, two of them on host `a`, with what each has said; none of their threads runs."""

    def leave(code):
        raise Told(code)

    monkeypatch.setattr(heartbeats, "leave_at_once", leave)
    monkeypatch.setattr(heartbeats, "SAME_SECONDS", 0.0)
    store, hosts, said = HashStore(), ["a", "a", "b"], {0: [], 1: [], 2: []}
    for rank in range(3):
        store.set(beat_of(rank), "0")
    places = [RankPlace(0, 3, 0, 2, "a", 1), RankPlace(1, 3, 1, 2, "a", 1), RankPlace(2, 3, 0, 1, "a", 1)]

    def says(rank):
        return lambda text, details: said[rank].append(details + text)

    members = [Heartbeats(store, place, hosts, lambda: "go on", says(place.rank)) for place in places]
    return members, said


def test_a_process_that_falls_silent_is_named_once_on_every_host(team):
    """Rank 2 never beats. Rank 0 says so on its host; on the other host it is said by its first process, should that live."""
    members, said = team
    for _ in range(heartbeats.SILENT_BEATS + 1):
        members[0]._look()
        members[1]._look()
        assert not said[0] or members[0].failure
    line = "rank 2 of 3 (on b): is gone or hangs: no sign of life for 30 seconds; all others end; go on"
    assert said == {0: [line], 1: [], 2: []}
    members[1]._look()
    members[2]._look()
    assert said == {0: [line], 1: [], 2: [line]}
    assert [member.failure.exit_code for member in members] == [1, 1, 1]


def test_the_first_process_is_looked_after_by_all_others(team):
    members, said = team
    for _ in range(heartbeats.SILENT_BEATS + 1):
        members[1]._look()
    assert said[1] and said[1][0].startswith("rank 0 of 3 (on a): is gone or hangs")


def test_one_that_beats_slowly_is_alive(team):
    """It gives a sign at every 29th look of the others."""
    members, said = team
    for look in range(200):
        members[0]._look()
        members[2]._look()
        if look % 29 == 0:
            members[1]._look()
    assert said == {0: [], 1: [], 2: []}


def test_a_broken_connection_shortens_the_wait(team):
    members, said = team
    members[1].await_cause(0)
    for _ in range(heartbeats.HASTY_BEATS + 1):
        members[0]._look()
        members[1]._look()
    assert said[0] == [
        "rank 2 of 3 (on b): is gone or hangs: no sign of life for 5 seconds since a connection broke; all others end; go on"
    ]


def test_one_that_has_left_may_be_silent(team):
    members, said = team
    members[2].leave()
    for _ in range(2 * heartbeats.SILENT_BEATS):
        members[0]._look()
        members[1]._look()
    assert said == {0: [], 1: [], 2: []}


def test_what_happens_everywhere_is_said_without_a_rank(team):
    """All three end for the same reason, the last claims first; then for two reasons."""
    members, said = team
    for member in members:
        member.announce("the recipe is wrong")
    ends = [m.settle(Failure(m.place.rank, "x", "the recipe is wrong", 2, "", m.place.rank)) for m in reversed(members)]
    assert {end.exit_code for end in ends} == {2} and ends[0].claimed_by == 2
    assert said == {0: ["the recipe is wrong"], 1: [], 2: ["the recipe is wrong"]}


def test_a_person_who_leaves_at_once_waits_for_nobody(team, monkeypatch):
    """One process has come to know of it; the others wait in a collective operation and say nothing."""
    members, said = team
    monkeypatch.setattr(heartbeats, "SAME_SECONDS", 1e9)
    text, code = ending_of(KeyboardInterrupt())
    assert members[0].settle(Failure(0, "a", text, code, "go on", 0)).exit_code == 130
    assert said[0] == ["left at once; go on"] and said[1] == []


def test_the_first_claim_counts(team):
    members, said = team
    members[1].announce("out of memory")
    members[1].settle(Failure(1, "a", "out of memory", 1, "go on", 1), "where: ")
    late = members[0].settle(Failure(0, "a", "a connection broke", 1, "go on", 0))
    assert late.text == "out of memory"
    assert said == {0: [], 1: ["where: rank 1 of 3 (on a): out of memory; go on"], 2: []}


def test_a_process_does_not_outlive_the_one_that_started_it(team, monkeypatch):
    """Its number is no longer that of the parent; without one that is known nothing ends."""
    members, _ = team
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.0)
    members[0].parent = -1
    with pytest.raises(Told):
        members[0]._guard()


def test_a_store_that_hangs_ends_the_process(team, monkeypatch):
    """The thread that asks it is stuck; the other one counts."""
    members, said = team
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.0)
    with pytest.raises(Told):
        members[1]._guard()
    assert "rank 0 of 3 (on a): all meet there, and nobody answers for 30 seconds" in said[1][0]


def test_the_first_process_leaves_last(team):
    members, _ = team
    leaving = threading.Thread(target=members[0].leave)
    leaving.start()
    members[1].leave()
    leaving.join(0.3)
    assert leaving.is_alive()
    members[2].leave()
    leaving.join(20)
    assert not leaving.is_alive()
