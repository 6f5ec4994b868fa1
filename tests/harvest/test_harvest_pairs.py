"""Pairs out of feedback, and which responses to label next."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("starlette", reason="needs the extra serve")

from test_harvest_problems import asked, chat, keep, store

from laconic.harvest.golds import GoldRule
from laconic.harvest.labelling import next_labels, wish_of
from laconic.harvest.pairs import harvest_pairs
from laconic.harvest.questions import AnsweredRequest, ExpertWord, Question, expert_words
from laconic.problems.load import load_problems
from laconic.rollouts.given_pairs import pair_texts
from laconic.serving.feedback.labelling import open_desk
from laconic.traffic.labels import LabelTask, tasks_of_file
from laconic.traffic.records import FeedbackRecord
from laconic.traffic.store import TrafficStore

__all__ = ["store"]  # the fixture


def answered(name: str, tokens: int, answer: str = "4", **said: str) -> AnsweredRequest:
    found = asked(name, answer, **said)
    return replace(found, num_tokens=tokens, response=f"{'so ' * tokens}{found.response}")


def pairs(*requests: AnsweredRequest, **rule: object) -> list[tuple[str, str, str]]:
    class Stored:
        questions, left_out = [Question("q", requests)], {}

    rows = harvest_pairs(Stored, GoldRule(**rule)).rows
    return [(row["id"].split("/")[1], row["id"].split("/")[2], row["preferred_by"]) for row in rows]


def test_the_shortest_good_response_is_preferred_to_bad_ones_and_to_long_ones() -> None:
    good, bad = answered("a", 50, rating="good"), answered("b", 10, "5", rating="bad")
    assert pairs(answered("c", 90, rating="good"), good, bad) == [("a", "b", "rating"), ("a", "c", "length")]
    assert pairs(good, answered("d", 60, rating="good")) == []  # 60 is not above 1.25 times 50
    assert pairs(good, answered("e", 60, rating="good", length="too_long")) == [("a", "e", "too_long")]


def test_what_was_called_too_short_gives_way_to_a_longer_right_one() -> None:
    short = answered("a", 5, rating="good", length="too_short")
    assert pairs(short, answered("b", 9, rating="good")) == [("b", "a", "too_short")]
    assert pairs(short) == []


def test_an_empty_response_and_the_same_words_again_are_in_no_pair() -> None:
    good, bad = answered("a", 5, "4", rating="good"), answered("b", 5, "4", rating="bad")
    assert pairs(good, replace(bad, response=" \n")) == pairs(good, bad) == []
    assert pairs(good, replace(bad, response=f"{bad.response}!")) == [("a", "b", "rating")]


def test_a_gold_answer_judges_the_responses_that_nobody_rated() -> None:
    agreeing = [answered(name, 20 + n) for n, name in enumerate("abc")]
    assert pairs(*agreeing, answered("d", 9, "5"), min_share=0.75, min_votes=4) == [("a", "d", "rating")]
    contradicted = answered("e", 8, "5", rating="good")  # its user says right, four others' answers say wrong
    assert pairs(*agreeing, contradicted, min_share=0.75, min_votes=4) == []


def test_a_response_whose_thinking_was_cut_is_in_no_pair() -> None:
    cut = replace(answered("a", 5, rating="good"), is_cut=True)
    assert pairs(cut, answered("b", 50, rating="good"), answered("c", 50, "5", rating="bad")) == [("b", "c", "rating")]


def test_lengths_are_compared_in_one_unit() -> None:
    """One engine counted no tokens: 120 tokens are more characters than 60, and the shorter text is preferred."""
    long, short = answered("a", 120, rating="good"), replace(answered("b", 60, rating="good"), num_tokens=None)
    assert pairs(long, short) == [("b", "a", "length")]


def test_responses_to_other_words_are_not_compared() -> None:
    """Users asked for care and for brevity, and both were content; the wrong response was one to the second. The gold answer of
    all wordings still judges."""

    def asks(name: str, tokens: int, words: str, answer: str = "4", **said: str) -> AnsweredRequest:
        return replace(answered(name, tokens, answer, **said), question=f"2 + 2? {words}")

    careful, brief = asks("a", 120, "Check your work.", rating="good"), asks("b", 6, "Be brief.", rating="good")
    assert pairs(careful, brief) == []
    assert pairs(careful, brief, asks("c", 9, "Be  brief.", "5", rating="bad")) == [("b", "c", "rating")]
    stored = (careful, brief, asks("d", 30, "Check your work.", "5", rating=""))
    assert pairs(*stored, min_votes=3, min_share=0.6) == [("a", "d", "rating")]

    class Stored:
        questions, left_out = [Question("q", stored)], {}

    (row,) = harvest_pairs(Stored, GoldRule(min_votes=3, min_share=0.6)).rows
    assert row["problem"] == "2 + 2? Check your work." and row["traffic_request"] == ["a", "d"]


def test_experts_words_count_before_those_of_users() -> None:
    """Labelled right though its user called it bad; and of two of which nobody knows more, the one found better."""
    right = replace(answered("a", 50, "5", rating="bad"), expert=ExpertWord(is_right=True))
    wrong = replace(answered("b", 40, "4", rating="good"), expert=ExpertWord(is_right=False))
    assert pairs(right, wrong) == [("a", "b", "rating")]
    better = replace(answered("c", 90), expert=ExpertWord(better_than=frozenset({"d", "z"})))
    assert pairs(better, answered("d", 30, "5")) == [("c", "d", "expert")]


def test_labels_become_words_by_majority_of_verdicts_and_agreement_on_right() -> None:
    def label(first: str, second: str, verdict: str, *rights: str) -> dict[str, str]:
        return {
            "first": first,
            "second": second,
            "verdict": verdict,
            "first_right": rights[0],
            "second_right": rights[1],
        }

    words = expert_words(
        [
            label("a", "b", "first", "yes", "no"),
            label("a", "b", "first", "unsure", "yes"),
            label("a", "b", "second", "yes", "no"),
            label("c", "", "", "no", ""),
        ]
    )
    assert words["a"] == ExpertWord(is_right=True, better_than=frozenset({"b"}))  # two of three verdicts
    assert words["b"] == ExpertWord() and words["c"].is_right is False and set(words) == {"a", "b", "c"}


def test_one_response_and_unjudged_ones_make_no_pair() -> None:
    assert pairs(answered("a", 9, rating="good")) == [] == pairs(answered("a", 9), answered("b", 90, "5"))


def test_the_command_writes_pairs_that_training_reads(laconic, store: TrafficStore) -> None:
    for name, answer in (("a", "4"), ("b", "5"), ("c", "[phone] 4")):
        keep(store, name, chat(("user", "2 + 2")), response=f"2+2;</think>\\boxed{{{answer}}}")
        store.add_feedback(FeedbackRecord(name, 1.0, f"u{name}", "bad" if answer == "5" else "good", ""))
    code, out, _ = laconic("traffic", "pairs")
    assert code == 0 and out.strip() == "pairs.jsonl: pairs: 1 (rating 1)"
    (problem,) = load_problems("pairs.jsonl")
    assert pair_texts(problem) == ("2+2;</think>\\boxed{4}", "2+2;</think>\\boxed{5}")
    assert problem.answer == "4" and problem.meta["traffic_request"] == ["a", "b"]


def test_without_a_pair_it_says_what_was_left_out(laconic, store: TrafficStore) -> None:
    code, _, err = laconic("traffic", "pairs")
    assert code == 2 and err.endswith("nothing to write; no question with the consent of its user is stored\n")
    keep(store, "a", chat(("user", "2 + 2")), response="2+2;</think>\\boxed{4}")
    code, _, err = laconic("traffic", "pairs")
    assert code == 2 and "nothing to write; left out: 1 without two responses" in err


# --- what to label next ----------------------------------------------------------------------------------------------


def test_the_split_question_is_labelled_before_the_agreed_one() -> None:
    """Two and two: belief 9 / (9 + 9 + 1); four of four: 81 / 82, whose label tells less."""
    split = Question("split", tuple(answered(name, 9, answer) for name, answer in zip("abcd", "4455", strict=True)))
    agreed = Question("agreed", tuple(answered(name, 9) for name in "efgh"))
    judged = Question("judged", (answered("i", 9, rating="good"), answered("j", 9, "5")))
    first, second = next_labels([agreed, judged, split])
    assert (first.question.key, first.first.id, first.second.id) == ("split", "a", "c")
    assert first.information > second.information and second.question.key == "agreed"
    assert next_labels([agreed, judged, split], 1) == [first]


def test_a_question_without_an_answer_is_not_listed() -> None:
    assert wish_of(Question("q", (answered("a", 9, ""),))) is None


def test_the_command_lists_ids_and_no_words(laconic, store: TrafficStore) -> None:
    for name, answer in (("a", "4"), ("b", "5")):
        keep(store, name, chat(("user", "2 + 2")), response=f"2+2;</think>\\boxed{{{answer}}}")
    code, out, _ = laconic("traffic", "next")
    assert code == 0 and out.splitlines() == [
        "0.683 nats  a  b",
        "1 response to label next: what a label is expected to tell, the response, one to show beside it",
    ]


def test_the_page_shows_what_was_chosen_in_the_order_of_the_file(laconic, store: TrafficStore, tmp_path: Path) -> None:
    """Two agree on 3 + 3, two disagree on 2 + 2, which tells more: the page shows it first, and the file names requests alone."""
    asked = {"a": ("3 + 3", "6"), "b": ("3 + 3", "6"), "d": ("2 + 2", "5"), "c": ("2 + 2", "4")}
    for name, (question, answer) in asked.items():
        keep(store, name, chat(("user", question)), response=f"so</think>\\boxed{{{answer}}}")
    code, out, _ = laconic("traffic", "next", "--out", "next.jsonl")
    assert code == 0 and out.endswith("laconic traffic label --as NAME --from next.jsonl\n")
    assert Path("next.jsonl").read_text() == '{"first": "c", "second": "d"}\n{"first": "a", "second": "b"}\n'
    tasks = tasks_of_file(store, tmp_path / "next.jsonl")
    assert tasks == [LabelTask("c", "d"), LabelTask("a", "b")]
    assert open_desk(store, "ines", seed=0, tasks=tasks).tasks == tasks
    store.forget("uc", now=200.0)
    assert tasks_of_file(store, tmp_path / "next.jsonl") == tasks[1:]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('{"first": "a", "second": "b"}\n', "line 1: these are responses to two conversations"),
        ('{"first": "a"}\n{"first": "a", "second": ""}\n', "line 2: expected the id of a response, or of two"),
        ('{"first": "b", "second": "b"}\n', "line 1: expected the id of a response, or of two"),
        ('{"response": "a"}\n', "line 1: "),
        ('{"first": "z"}\n', "names 1 task, of which none has its texts in the store"),
    ],
)
def test_a_file_that_names_no_tasks_is_one_line(laconic, store: TrafficStore, lines: str, says: str) -> None:
    keep(store, "a", chat(("user", "2 + 2")))
    keep(store, "b", chat(("user", "3 + 3")))
    Path("mine.jsonl").write_text(lines)
    code, _, err = laconic("traffic", "label", "--as", "ines", "--from", "mine.jsonl")
    assert code == 2 and says in err and len(err.splitlines()) == 1
