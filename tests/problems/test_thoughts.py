"""Published solutions as thoughts: any source that holds solutions, GSM8K as it is published, and what has no solution."""

import json
import warnings
from pathlib import Path

import pytest

from laconic.errors import LaconicWarning, ProblemsError
from laconic.grading.rules import grade_response
from laconic.problems.load import load_problems
from laconic.types import Grade

SOLVED = {"id": "a", "problem": "2+2?", "answer": "4", "solution": "2+2=<<2+2=4>>4."}
PUBLISHED = {"id": "b", "question": "Half of 48?", "answer": "Half is 48/2=<<48/2=24>>24.\n#### 1,024"}


def written(folder: Path, *rows: dict) -> str:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_solution_is_thought_before_the_answer_is_boxed(tmp_path):
    """The calculator's notes and the hashes are gone, and the gold answer of a published row is its result alone."""
    first, second = load_problems(written(tmp_path, SOLVED, PUBLISHED) + "?solutions=thought")
    assert first.meta["solution"] == "<think>\n2+2=4.\n</think>\nThe answer is \\boxed{4}."
    assert (second.answer, second.meta["solution"]) == (
        "1024",
        "<think>\nHalf is 48/2=24.\n</think>\nThe answer is \\boxed{1024}.",
    )


def test_without_the_argument_nothing_is_rewritten(tmp_path):
    """The file is read as it is."""
    assert load_problems(written(tmp_path, SOLVED))[0].meta["solution"] == SOLVED["solution"]


def test_a_solution_that_thinks_already_is_left_alone(tmp_path):
    """Its own marks and its own ending."""
    thought = "<think>easy</think> \\boxed{4}"
    source = written(tmp_path, SOLVED | {"solution": thought})
    assert load_problems(f"{source}?solutions=thought")[0].meta["solution"] == thought


@pytest.mark.parametrize(
    ("row", "argument", "said"),
    [
        (SOLVED | {"solution": " "}, "thought", "problem a has no 'solution'"),
        ({"id": "a", "problem": "q", "answer": "4"}, "thought", "problem a has no 'solution'"),
        (PUBLISHED | {"answer": "words ####"}, "thought", "problem b has no 'solution'"),
        (SOLVED, "plain", "solutions must be thought, got plain"),
    ],
)
def test_what_cannot_be_rewritten_is_one_line(tmp_path, row, argument, said):
    """With the source before it."""
    source = written(tmp_path, row)
    with pytest.raises(ProblemsError) as caught:
        load_problems(f"{source}?solutions={argument}")
    assert str(caught.value).startswith(source) and said in str(caught.value)


def test_the_training_solutions_of_gsm8k_are_graded_correct(shared_data):
    """Every hundredth of 7,473."""
    path = shared_data / "gsm8k_train.jsonl"
    if not path.exists():
        pytest.skip("shared/data/gsm8k_train.jsonl is not here")
    problems = load_problems(f"{path}?solutions=thought")[::100]
    grades = [grade_response(p.meta["solution"], p.answer, is_truncated=False).grade for p in problems]
    assert len(grades) == 75 and set(grades) == {Grade.CORRECT}
    assert not [p for p in problems if "<<" in p.meta["solution"] or "####" in p.meta["solution"]]


@pytest.mark.parametrize(
    ("golds", "said"),
    [
        (["2+3=<<2+3=5>>5\n#### 5", "4*300\n#### 1,200"], "2 of 2 gold answers hold a whole solution; problem 1 has"),
        (["7", "2+3\n#### 5"], "1 of 2 gold answers hold a whole solution; problem 2 has"),
        ([r"so \boxed{5}", "7"], "1 of 2 gold answers hold a whole solution"),
        (["The answer is 4."], "1 of 1 gold answers hold a whole solution"),
    ],
)
def test_gold_answers_that_are_solutions_are_said(tmp_path: Path, golds: list[str], said: str) -> None:
    """Every response to them would be graded wrong, and the accuracy be 0 without a word."""
    file = tmp_path / "p.jsonl"
    lines = [json.dumps({"id": str(i), "problem": f"question {i}", "answer": a}) for i, a in enumerate(golds, 1)]
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(LaconicWarning, match=said) as told:
        load_problems(str(file))
    asks = "?solutions=thought" in str(told[0].message)
    assert asks == ("####" in golds[0])
    if len(golds) == 1:
        file.write_text(json.dumps({"id": "1", "problem": "?", "answer": "4"}), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_problems(str(file))
