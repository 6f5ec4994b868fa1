"""What `summaries` claims: the figures of summary.json from rows, by hand arithmetic, and the same every time."""

import json
import random
import sys
from dataclasses import replace

import pytest
from counting import calls_of

from laconic.errors import InputError, MissingExtraError
from laconic.evaluation.figures import Figures
from laconic.evaluation.summary import summarise
from laconic.rollouts.rows import ResponseRow
from laconic.statistics.claims import mean_pass_at_k, per_problem
from laconic.statistics.intervals import accuracy_interval, length_interval
from laconic.system.fields import Fields
from laconic.types import Grade, LengthSource


def figures_of(*args, **settings):
    """The figures as summary.json says them."""
    return summarise(*args, **settings).to_json()


def row(problem_id, grade, num_tokens, answer="7", **more):
    """One line of samples.jsonl, as far as a summary looks at it."""
    return ResponseRow(problem_id, 0, Grade(grade), num_tokens, answer=answer, **{"text": "x", **more})


ROWS = [
    row("a", "correct", 10, thinking_tokens=6),
    row("a", "correct", 20, thinking_tokens=8),
    row("a", "correct", 30, thinking_tokens=10),
    row("a", "wrong", 40, "8", thinking_tokens=16),
    row("b", "wrong", 50, "1", thinking_tokens=20),
    row("b", "wrong", 60, "$1$", thinking_tokens=20),
    row("b", "correct", 70, thinking_tokens=20),
    row("b", "truncated", 100, None, thinking_tokens=100),
    row("c", "correct", 5, thinking_tokens=0),
    row("c", "ungradable", 5, None, thinking_tokens=0),
    row("c", "correct", 5, thinking_tokens=0),
    row("c", "no_answer", 9, None, thinking_tokens=4),
]


def test_the_figures_of_three_problems_by_hand():
    """Accuracies 3/4, 1/4, 2/3; mean lengths 25, 70, 6; thinking 10, 40, 1."""
    summary = figures_of(ROWS, seed=0)
    assert summary["accuracy"]["mean"] == pytest.approx((3 / 4 + 1 / 4 + 2 / 3) / 3)
    assert summary["tokens"]["mean"] == pytest.approx((25 + 70 + 6) / 3)
    assert summary["tokens"]["median"] == 25.0  # 5 5 5 9 10 20 | 30 40 50 60 70 100
    assert summary["thinking_tokens"]["mean"] == pytest.approx((10 + 40 + 1) / 3)
    assert summary["answer_tokens"]["mean"] == pytest.approx((15 + 30 + 5) / 3)
    assert summary["tokens_by_grade"] == {"correct": 140 / 6, "wrong": 50.0, "no_answer": 9.0, "truncated": 100.0}
    shares = {"correct": 6, "wrong": 3, "no_answer": 1, "truncated": 1, "ungradable": 1}
    assert summary["grade_frac"] == {grade: count / 12 for grade, count in shares.items()}
    # a and b have four gradable attempts, c three: pass@2 is 1, 1/2 and 1
    assert summary["pass_at_k"]["2"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert summary["pass_at_k"]["4"] == 1.0  # a and b
    # four votes: a's 7 leads with three, b's 1 with two; c has only three gradable samples
    assert summary["maj_at_k"] == {"4": 0.5}
    # within a problem: a 20 - 40, b 70 - 55
    assert summary["length_difference"]["estimate"] == pytest.approx((-20 + 15) / 2)
    assert summary["length_difference"]["num_problems"] == 2


def test_token_complexity_of_three_problems_by_hand():
    """a: 10 (one error, the 40). b: 70 and infinity misjudge one each, so 70. c: the 5s right, the 9 not: 5, one error."""
    figures = figures_of(ROWS, seed=0)["token_complexity"]
    assert (figures["median"], figures["solvable_frac"]) == (10.0, 1.0)
    assert figures["constant_accuracy"] == pytest.approx(2 / 3)  # 33.7 tokens each pay for 10 and 5
    assert figures["oracle_accuracy"] == 1.0  # 5 + 10 + 70 = 85 <= 101
    assert figures["oracle_tokens"] == pytest.approx(20 / 3)  # accuracy 0.556: two of three, 5 + 10 + 5
    assert figures["kendall_tau"] == 1.0  # 6 < 25 < 70 as 5 < 10 < 70


def test_intervals_are_those_of_the_problems():
    """Accuracy and lengths enter by problem; the same seed gives the same ends."""
    summary = figures_of(ROWS, seed=3)
    table = per_problem([r.problem_id for r in ROWS], [r.grade for r in ROWS], [r.num_tokens for r in ROWS])
    assert summary["accuracy"] == accuracy_interval(table.accuracy).to_json("mean")
    assert summary["tokens"]["ci95"] == length_interval(table.mean_tokens, seed=3).to_json()["ci95"]
    assert summary["pass_at_k"]["1"] == mean_pass_at_k(table, 1)


def test_no_mean_length_ends_above_the_cap():
    """3 and 60 tokens: the mean may be thought to be 31.5 -+ 362 by Student's t, and no response has more than 64."""
    rows = [row("a", "correct", 3, thinking_tokens=1), row("b", "wrong", 60, thinking_tokens=50)]
    free, capped = figures_of(rows, seed=0), figures_of(rows, seed=0, cap=64)
    for key in ("tokens", "thinking_tokens"):
        assert free[key]["ci95"][1] > 64.0 == capped[key]["ci95"][1] and free[key]["mean"] == capped[key]["mean"]
    assert figures_of(rows, seed=0, cap=32)["tokens"]["ci95"][1] == 60.0


def test_what_older_files_do_not_know_is_null():
    """No thinking length in one row, no answer key in another: null, not a guess from the rest."""
    without_thinking = [*ROWS[:-1], row("c", "no_answer", 9, None)]
    summary = figures_of(without_thinking, seed=0)
    assert summary["thinking_tokens"] is None
    assert summary["answer_tokens"] is None
    assert summary["maj_at_k"] is not None
    old = [replace(r, answer=None, absent=frozenset({"answer"})) for r in ROWS]
    assert figures_of(old, seed=0)["maj_at_k"] is None


def test_one_sample_a_problem_has_no_majority_and_no_complexity():
    """Greedy: nothing to vote on, and one length cannot be a threshold."""
    summary = figures_of([row("a", "correct", 10), row("b", "wrong", 20)], seed=0)
    assert summary["maj_at_k"] == {}
    assert summary["token_complexity"] is None
    assert list(summary["pass_at_k"]) == ["1"]


def test_what_does_not_exist_is_null_and_the_rest_stands():
    """Nothing gradable: no accuracy, no pass@k, no complexity; tokens were spent."""
    summary = figures_of([row("a", "ungradable", 10), row("a", "ungradable", 30)], seed=0)
    assert summary["accuracy"] == {"mean": None, "ci95": [None, None]}
    assert summary["pass_at_k"] == {"1": None, "2": None}
    assert set(summary["token_complexity"].values()) == {None}
    assert summary["tokens"]["mean"] == 20.0
    json.dumps(summary, allow_nan=False)


def test_oracle_tokens_stand_only_where_every_problem_knows_them():
    assert figures_of(ROWS, seed=0, oracle={"a": 8, "b": 16, "c": 6})["oracle_tokens"] == 10.0
    assert "oracle_tokens" not in figures_of(ROWS, seed=0, oracle={"a": 8, "b": 16})
    assert "bleu" not in figures_of(ROWS, seed=0)


def test_the_same_rows_give_the_same_bytes_and_are_read_once():
    again = json.dumps(figures_of(iter(ROWS), seed=5))
    assert json.dumps(figures_of(ROWS, seed=5)) == again
    lengths = [row(f"p{n}", "correct", n**2) for n in range(8)]
    first, other = (figures_of(lengths, seed=seed)["tokens"]["ci95"] for seed in (5, 6))
    assert first != other


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        figures_of([], seed=0)


def test_bleu_over_rows_is_sacrebleus_over_the_whole_corpus():
    """Added one at a time, the corpus score of all samples of the problems that have a reference."""
    sacrebleu = pytest.importorskip("sacrebleu", reason="the extra `eval` is not installed")
    texts = {
        "a": ["so the sum of 3 and 4 is 7, the answer is 7.", "3 + 4 = 7, so the answer must be 7."],
        "b": ["the cat sat on the mat all day long", "no cat was seen"],
    }
    references = {"a": "the sum of 3 and 4 is 7, so the answer is 7.", "b": "a cat sat on the mat all day"}
    rows = [row(name, "correct", 9, text=text) for name, samples in texts.items() for text in samples]
    rows.append(row("without a reference", "correct", 9))
    whole = sacrebleu.corpus_bleu(
        [text for samples in texts.values() for text in samples], [[references[name] for name in "aabb"]]
    )
    assert 10 < whole.score < 90
    assert figures_of(rows, seed=0, references=references)["bleu"] == pytest.approx(whole.score, abs=1e-9)
    assert figures_of(rows, seed=0, references={})["bleu"] is None


def test_bleu_without_sacrebleu_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(MissingExtraError, match="the extra eval: pip install 'sacrebleu"):
        figures_of(ROWS, seed=0, references={"a": "7"})


def test_the_work_grows_with_the_rows_and_not_with_their_square():
    """8,000 rows against 2,000, 16 samples per problem, nearly all wrong answers different: 4 times the calls, not 16 times."""
    rng = random.Random(0)
    rows = [
        row(
            f"p{number // 16}",
            rng.choice(["correct", "wrong"]),
            rng.randint(1, 3000),
            rf"\frac{{{number % 2000}}}{{7}}",
        )
        for number in range(8_000)
    ]

    def calls(rows) -> int:
        return calls_of(lambda: figures_of(rows, seed=0))

    calls(rows)  # answers that were read once are remembered
    assert calls(rows) < 5 * calls(rows[:2_000])


def test_lengths_that_no_engine_counted_are_counted_and_come_back():
    """Two of twelve rows; the key is missing where there are none."""
    marked = [replace(ROWS[0], length_source=LengthSource.BOUND), replace(ROWS[1], length_source=LengthSource.TEXT)]
    figures = summarise([*marked, *ROWS[2:]], seed=0)
    stored = figures.to_json()
    assert stored["length_sources"] == {"text": 1, "bound": 1} and "length_sources" not in figures_of(ROWS, seed=0)
    assert Figures.from_fields(Fields(stored, "summary.json")).length_sources == figures.length_sources
    with pytest.raises(
        InputError, match=r"summary.json: length_sources.guess is 3, expected one of engine, text, bound"
    ):
        Figures.from_fields(Fields(stored | {"length_sources": {"guess": 3}}, "summary.json"))
