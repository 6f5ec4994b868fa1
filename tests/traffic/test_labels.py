"""Experts see the same tasks, blind and in a drawn order; what they say is stored in words of lists, and their agreement told."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from laconic.errors import InputError
from laconic.traffic.consent import TextPolicy, keep_text
from laconic.traffic.consented import consented_rows
from laconic.traffic.labels import (
    ExpertLabel,
    LabelTask,
    add_label,
    agreement_of,
    check_labeller,
    label_tasks,
    labelled_by,
    make_label,
    texts_of,
)
from laconic.traffic.records import TrafficRecord
from laconic.traffic.store import StoredRequest, TrafficStore, open_store
from laconic.traffic.tables import LABELS


def put(
    store: TrafficStore, name: str, question: str, version: str = "v1", at: float = 1.0, header: str = "text"
) -> None:
    figures = (200, "stop", False, 5, 7, 3, None, None, 0.1, 0.2, None)
    record = TrafficRecord(name, at, "maths", "m", version, "", "u1", *figures)
    said = [{"role": "user", "content": question}]
    text = keep_text(
        TextPolicy.CONSENT, [header], request_id=name, user="u1", at=at, messages=said, response=f"response {name}"
    )
    store.write([StoredRequest(record, text)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    opened = open_store(f"sqlite:///{tmp_path}/traffic.db")
    yield opened
    opened.close()


def test_tasks_pair_versions_and_leave_the_rest_alone(store: TrafficStore) -> None:
    """Of q1 both versions answered, v1 twice: the earlier counts. Of q2 one did. What was said without consent is in none."""
    put(store, "b", "q1", "v1", at=1.0)
    put(store, "a", "q1", "v2", at=2.0)
    put(store, "c", "q1", "v1", at=3.0)
    put(store, "d", "q2")
    put(store, "e", "q1", "v3", header="no")
    assert label_tasks(store, 0) == [LabelTask("a", "b"), LabelTask("d", "")]
    shown = texts_of(store, LabelTask("a", "b"))
    assert shown is not None and shown.responses == ("response a", "response b")
    assert shown.messages == [{"role": "user", "content": "q1"}] and texts_of(store, LabelTask("e", "")) is None


def test_the_order_is_one_for_all_and_drawn_and_sides_are_drawn_for_each(store: TrafficStore) -> None:
    for number in range(40):
        put(store, f"a{number:02}", f"q{number}", "v1")
        put(store, f"b{number:02}", f"q{number}", "v2")
    tasks, other = label_tasks(store, 0), label_tasks(store, 1)
    assert (
        tasks == label_tasks(store, 0)
        and tasks != other
        and set(tasks) == set(other)
        and tasks != sorted(tasks, key=lambda task: task.first)
    )
    sides = [[task.is_swapped(name, 0) for task in tasks] for name in ("ann", "bob")]
    assert sides[0] != sides[1] and all(10 <= sum(side) <= 30 for side in sides)


@pytest.mark.parametrize("seed", range(4))
def test_a_verdict_is_of_the_response_and_not_of_its_place(store: TrafficStore, seed: int) -> None:
    task = LabelTask("a", "b")
    answers = {
        "verdict": "left",
        "left_right": "yes",
        "right_right": "no",
        "left_length": "fine",
        "right_length": "too_long",
    }
    label = make_label(task, "ann", answers, seed=seed, at=1.0)
    left = "second" if label.is_swapped else "first"
    rights = {"first": label.first_right, "second": label.second_right}
    assert label.verdict == left and rights[left] == "yes" and sorted(rights.values()) == ["no", "yes"]
    lengths = {"first": label.first_length, "second": label.second_length}
    assert lengths[left] == "fine" and sorted(lengths.values()) == ["fine", "too_long"]


def test_a_response_alone_has_no_verdict_and_answers_must_be_of_the_lists() -> None:
    answers = {"left_right": "unsure", "left_length": "too_short"}
    label = make_label(LabelTask("a", ""), "ann", answers, seed=0, at=1.0)
    assert label == ExpertLabel("ann", "a", "", 1.0, "", "unsure", "", "too_short", "", False)
    for wrong in ({}, answers | {"left_right": "<b>"}, {"left_right": "yes"}):
        with pytest.raises(ValueError, match="left_"):
            make_label(LabelTask("a", ""), "ann", wrong, seed=0, at=1.0)
    both = {"left_right": "yes", "left_length": "fine", "right_right": "yes", "right_length": "fine"}
    with pytest.raises(ValueError, match="verdict"):
        make_label(LabelTask("a", "b"), "ann", both, seed=0, at=1.0)


def test_the_last_label_counts_and_none_is_of_a_text_that_is_gone(store: TrafficStore) -> None:
    put(store, "a", "q1", "v1")
    put(store, "b", "q1", "v2")
    for verdict in ("first", "second"):
        assert add_label(store, ExpertLabel("ann", "a", "b", 1.0, verdict, "yes", "no", "fine", "fine", False))
    assert [row["verdict"] for row in store.rows(LABELS)] == ["second"]
    assert labelled_by(store, "ann") == {LabelTask("a", "b")} and labelled_by(store, "bob") == frozenset()
    told = {row["traffic_request"]: row["labels"] for row in consented_rows(store)}
    assert told["a"] == [{"labeller": "ann", "right": "yes", "length": "fine", "verdict": "worse"}]
    store.forget("u1", now=5.0)
    assert not add_label(store, ExpertLabel("ann", "a", "b", 1.0, "same", "yes", "no", "fine", "fine", False))
    assert store.rows(LABELS) == []


def test_agreement_is_told_of_what_both_answered_from_thirty_on(store: TrafficStore) -> None:
    """Of 40 tasks they agree on 30 verdicts; each response is judged right or wrong, so that there are 80 of those."""
    for number in range(40):
        names = (f"a{number:02}", f"b{number:02}")
        for name, version in zip(names, ("v1", "v2"), strict=True):
            put(store, name, f"q{number}", version)
        for who in ("ann", "bob", "cy"):
            verdict = "second" if number % 4 == 0 and who == "bob" else "first" if number % 2 else "same"
            if who != "cy" or number < 10:
                right = "yes" if number % 2 else "no"
                add_label(store, ExpertLabel(who, *names, 1.0, verdict, right, "no", "fine", "fine", False))
    found = agreement_of(store, [], seed=0)
    assert {question: each.num_items for question, each in found.items()} == {"verdict": 40, "right": 80, "length": 80}
    assert found["verdict"].share.estimate == 0.75 and found["right"].kappa.estimate == 1.0
    assert (
        found == agreement_of(store, ["bob", "ann"], seed=0)
        or found["verdict"].kappa.estimate == agreement_of(store, ["bob", "ann"], seed=0)["verdict"].kappa.estimate
    )
    with pytest.raises(InputError, match="10 tasks are labelled by both, expected at least 30"):
        agreement_of(store, ["ann", "cy"], seed=0)
    for names in (["ann"], ["ann", "ann"], ["ann", "eve"]):
        with pytest.raises(InputError, match="--between"):
            agreement_of(store, names, seed=0)


def test_nobody_agrees_with_nobody(store: TrafficStore) -> None:
    with pytest.raises(InputError, match="expected two"):
        agreement_of(store, [], seed=0)


@pytest.mark.parametrize("name", ["", " ", " ann", "a" * 101, "ann\n", "ann\x1b[2J"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--as"):
        check_labeller(name)


def test_the_places_of_many_labellers_even_out() -> None:
    sides = Counter(LabelTask("a", "b").is_swapped(f"labeller {number}", 0) for number in range(400))
    assert 150 < sides[True] < 250
