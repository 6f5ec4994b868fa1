"""Problems out of stored traffic: gold answers by corrections and by agreement, each question once, none that is reported on."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from laconic.harvest.golds import GoldRule, stated_answer
from laconic.harvest.problems import Harvest, harvest_problems
from laconic.harvest.questions import AnsweredRequest, ExpertWord, Question, read_questions
from laconic.harvest.votes import tally
from laconic.problems.load import load_problems
from laconic.problems.sets import question_key
from laconic.traffic.consent import KeptText
from laconic.traffic.records import FeedbackRecord, TrafficRecord
from laconic.traffic.store import StoredRequest, TrafficStore, open_store
from laconic.types import Problem


def asked(name: str, answer: str, *, user: str = "", question: str = "2 + 2", **said: str) -> AnsweredRequest:
    words = {"rating": "", "length": "", "correction": ""} | said
    return AnsweredRequest(
        name, float(ord(name[0])), "", user or name, question, f"</think>\\boxed{{{answer}}}", True, 9, **words
    )


def harvest(*requests: AnsweredRequest, reported: Sequence[Problem] = (), **rule: object) -> Harvest:
    by_key: dict[str, list[AnsweredRequest]] = {}
    for request in requests:
        by_key.setdefault(question_key(Problem("", request.question, "")), []).append(request)
    stored = [Question(key, tuple(some)) for key, some in by_key.items()]

    class Stored:
        questions, left_out = stored, {}

    return harvest_problems(Stored, GoldRule(**rule), {}, [reported] if reported else [])


def golds(found: Harvest) -> dict[str, str]:
    return {row["problem"]: row["answer"] for row in found.rows}


# --- the right answer ------------------------------------------------------------------------------------------------


def test_a_correction_is_taken_from_as_many_users_as_asked_for() -> None:
    two = [asked("a", "5", correction="4"), asked("b", "5", correction="It is 4."), asked("c", "5", correction="3")]
    assert golds(harvest(*two)) == golds(harvest(*two, min_agreeing=2)) == {"2 + 2": "4"}
    row = harvest(*two).rows[0]
    assert row["traffic_request"] == ["a", "b"] and row["gold_from"] == "correction" and row["num_agreeing"] == 2
    assert harvest(two[0], min_agreeing=2).left_out == {"with a correction by too few users": 1}


def test_what_would_make_the_file_unreadable_is_left_out() -> None:
    """A response whose box holds an empty box, and a question that says nothing."""
    empty = [asked(name, "\\boxed{}", question="3 + 3") for name in "abcd"]
    silent = [asked(name, "4", question="\u200b") for name in "efgh"]
    found = harvest(*empty, *silent, *(asked(name, "4") for name in "ijkl"))
    assert golds(found) == {"2 + 2": "4"} and found.left_out == {"that no file of problems may hold": 2}


def test_a_question_with_many_answers_takes_no_square_of_time() -> None:
    """Each of 5,000 answers is compared with a few, not with each."""
    answers = [*(f"{n}" for n in range(5_000)), "0.0", "4999"]
    votes = dict(tally(answers).votes)
    assert len(votes) == 5_000 and votes["0"] == votes["4999"] == 2 and votes["7"] == 1


def test_one_user_who_repeats_a_correction_is_one_user() -> None:
    again = [asked(name, "4", user="mallory", correction="9") for name in "abc"]
    assert not harvest(*again, min_agreeing=2).rows


def test_a_confirmed_correction_needs_the_votes() -> None:
    wrong = [asked("a", "4", correction="9"), *(asked(name, "4") for name in "bcd")]
    right = [asked("a", "5", correction="4"), *(asked(name, "4") for name in "bcd")]
    assert golds(harvest(*wrong)) == {"2 + 2": "9"}  # a user's word alone
    assert harvest(*wrong, is_confirmed=True).left_out == {
        "on which corrections and votes, or corrections among themselves, disagree": 1
    }
    assert golds(harvest(*right, is_confirmed=True)) == {"2 + 2": "4"}


def test_a_majority_of_enough_responses_is_taken() -> None:
    three_of_four = [asked("a", "4"), asked("b", "4"), asked("c", "8/2"), asked("d", "5")]
    found = harvest(*three_of_four, min_share=0.75, min_votes=4)
    assert golds(found) == {"2 + 2": "4"} and found.counts == {"agreement": 1}
    assert found.rows[0]["vote_share"] == 0.75 and found.rows[0]["num_votes"] == 4
    assert found.rows[0]["traffic_request"] == ["a", "b", "c"]
    assert not harvest(*three_of_four, min_share=0.8).rows
    assert not harvest(*three_of_four[:3], min_share=0.5, min_votes=4).rows


def test_what_a_user_called_bad_does_not_vote_and_a_tie_leads_to_nothing() -> None:
    bad = [asked("a", "4"), asked("b", "4", rating="bad"), asked("c", "5"), asked("d", "5")]
    assert golds(harvest(*bad, min_share=0.5)) == {"2 + 2": "5"}
    assert not harvest(*bad[:1], *bad[2:3], min_share=0.5, min_votes=2).rows


def test_an_experts_word_is_gold_before_users_and_votes() -> None:
    right = replace(asked("a", "5"), expert=ExpertWord(is_right=True))
    others = [asked("b", "4", correction="4"), *(asked(name, "4") for name in "cdef")]
    row = harvest(right, *others).rows[0]
    assert (row["answer"], row["gold_from"], row["traffic_request"]) == ("5", "expert", ["a"])
    wrong = replace(asked("c", "4"), expert=ExpertWord(is_right=False))
    assert not harvest(wrong, *(asked(name, "4") for name in "de"), min_votes=3).rows  # two of three


def test_what_was_redacted_is_neither_a_vote_nor_a_gold_answer() -> None:
    found = harvest(asked("a", "[card]"), asked("b", "5", correction="It is [card]"), asked("c", "[card]"), min_votes=2)
    assert found.left_out == {"with a correction in which no answer can be read": 1}


def test_two_contradicting_users_leave_a_question_out() -> None:
    found = harvest(asked("a", "5", correction="4"), asked("b", "5", correction="3"))
    assert not found.rows and sum(found.left_out.values()) == 1


@pytest.mark.parametrize(
    ("correction", "answer"),
    [
        ("4", "4"),
        ("The answer is 4.", "4"),
        ("x+1", "x+1"),
        ("12 apples", "12 apples"),
        ("\\frac12", "\\frac12"),
        ("wrong!", None),
        ("It is wrong since 2 + 2 was meant, I believe", None),
        ("x^2 + 2x + 1", "x^2 + 2x + 1"),
        ("60 km/h", "60 km/h"),
        ("the answer is Paris", "Paris"),
        ("the answer is 7, not 12", "7"),
        ("It's not 6. The answer is 7.", "7"),
        ("Step 2 is wrong, so \\boxed{7}", "7"),
    ],
)
def test_an_answer_is_read_out_of_a_correction_or_none_is(correction: str, answer: str | None) -> None:
    assert stated_answer(correction) == answer


@pytest.mark.parametrize(
    "remark",
    [
        "41 is wrong",
        "step 2 wrong",
        "not 6",
        "why 5??",
        "12?",
        "2x slower",
        "404 error",
        "see #5",
        "7 or 8",
        "The answer is not 6.",
        "The answer isn't 6.",
        "The answer is wrong.",
        "The answer is 6, which is wrong",
        "I don't think the answer is 6",
        "You say the answer is 6, but it should be 7",
        "You are off by 2.",
        "So it cannot be 4.",
        "It's not \\boxed{6}",
        "\\boxed{6} is wrong",
    ],
)
def test_a_remark_or_a_denial_states_no_answer(remark: str) -> None:
    assert stated_answer(remark) is None
    assert harvest(asked("a", "6", correction=remark)).left_out == {
        "with a correction in which no answer can be read": 1
    }


def test_a_grader_of_ones_own_needs_no_gold_answer(tmp_path: Path) -> None:
    found = harvest(asked("a", "4"), grader="mine.py:grade")
    assert found.rows[0]["answer"] == "" and found.rows[0]["graded_by"] == "mine.py:grade"
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({key: value for key, value in found.rows[0].items() if key != "traffic_request"}))
    assert load_problems(str(file))[0].answer == ""


def test_votes_are_shares_of_all_responses() -> None:
    assert tally(["1", None, None, "1"]).share == 0.5
    assert tally([]).leader is None and tally(["1", "2"]).leader is None


# --- each question once, none that is reported on --------------------------------------------------------------------


def test_a_question_in_other_writing_is_one_problem_and_with_another_gold_none() -> None:
    def asks(name: str, question: str, correction: str) -> AnsweredRequest:
        return asked(name, "0", question=question, correction=correction)

    found = harvest(asks("a", "What is 2 + 2?", "4"), asks("b", "what is $2+2$", "4"), asks("c", "3 + 3", "6"))
    assert golds(found) == {"What is 2 + 2?": "4", "3 + 3": "6"} and found.left_out == {"like another one": 1}
    assert not harvest(asks("a", "What is 2 + 2?", "4"), asks("b", "what is $2+2$", "5")).rows


def test_what_is_reported_on_is_left_out() -> None:
    found = harvest(asked("a", "4", correction="4"), reported=[Problem("r", "2+2", "4")])
    assert not found.rows and found.left_out == {"that are reported on": 1}


# --- from the store to a file ----------------------------------------------------------------------------------------


def chat(*turns: tuple[str, str]) -> str:
    return json.dumps([{"role": role, "content": words} for role, words in turns], separators=(",", ":"))


def keep(store: TrafficStore, name: str, prompt: str, response: str = "</think>\\boxed{4}", tag: str = "") -> None:
    record = TrafficRecord(
        name, ord(name[0]), "r", "m", "v1", tag, f"u{name}", 200, "stop", False, 5, 7, 3, None, None, 0.1, 0.2, None
    )
    store.write([StoredRequest(record, KeptText(name, f"u{name}", record.at, prompt, response))])


@pytest.fixture
def store(tmp_path: Path):
    opened = open_store(f"sqlite:///{tmp_path}/traffic/traffic.db")
    yield opened
    opened.close()


def test_only_single_questions_are_read_and_the_others_are_counted(store: TrafficStore) -> None:
    keep(store, "a", chat(("user", "2 + 2")))
    keep(store, "b", chat(("user", "2  +  2")), tag="maths")
    keep(store, "c", chat(("system", "Be brief."), ("user", "2 + 2")))
    keep(store, "d", chat(("user", "Call [phone] at 2 + 2")))
    keep(store, "e", "no conversation")
    keep(store, "f", json.dumps([{"role": "user", "content": "[image_url]\nWhat is it?"}]))
    found = read_questions(store)
    assert [[request.id for request in question.requests] for question in found.questions] == [["a", "b"]]
    assert sorted(found.left_out.values()) == [1, 1, 2] and found.left_out["redacted"] == 1
    assert [
        request.id for question in read_questions(store, tag="maths").questions for request in question.requests
    ] == ["b"]


def test_the_command_writes_a_file_that_loads_as_problems(laconic, store: TrafficStore) -> None:
    for name in "abcd":
        keep(store, name, chat(("user", "2 + 2")))
    keep(store, "e", chat(("user", "2 + 5")), response="</think>\\boxed{9}")
    store.add_feedback(FeedbackRecord("e", 1.0, "ue", "bad", "", "7"))
    code, out, _ = laconic("traffic", "problems", "--out", "new.jsonl")
    assert code == 0 and out.strip() == "new.jsonl: problems: 2 (agreement 1, correction 1)"
    found = load_problems("new.jsonl")
    assert [(problem.question, problem.answer) for problem in found] == [("2 + 2", "4"), ("2 + 5", "7")]
    assert found[0].meta["traffic_request"] == ["a", "b", "c", "d"]
    code, _, err = laconic("traffic", "problems", "--out", "new.jsonl", "--apart-from", "new.jsonl")
    assert code == 2 and "nothing to write; left out: 2 that are reported on" in err
    assert len(load_problems("new.jsonl")) == 2  # it stays as it was


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--samples", 4], "--samples: is read only with --model"),
        (["--min-share", "nan"], "Invalid value for '--min-share'"),
        (["--grader", "mine.py"], "is no grader"),
        (["--apart-from", "none.jsonl"], "none.jsonl: cannot be read"),
        ([], "there is no store of traffic"),
    ],
)
def test_what_makes_no_sense_is_one_line(laconic, options: list[object], says: str) -> None:
    code, _, err = laconic("traffic", "problems", *options)
    assert code == 2 and says in err and len(err.splitlines()) == 1


def test_responses_of_a_model_vote_beside_the_stored_one(laconic, store: TrafficStore) -> None:
    keep(store, "a", chat(("user", "largest of 10, 20")), response="</think>\\boxed{20}")
    code, out, _ = laconic("traffic", "problems", "--model", "tiny", "--samples", 4, "--max-tokens", 60)
    assert code == 0 and out.endswith("problems: 1 (agreement 1)\n")
    assert load_problems("problems.jsonl")[0].meta["num_votes"] == 5
