"""Records of which no problem can be made: empty gold answers, choices that repeat, tolerances, numbers that are none."""

import datetime
import json
from decimal import Decimal
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from laconic.errors import LaconicWarning, ProblemsError
from laconic.problems.load import load_problems, write_problems
from laconic.problems.records import to_problem

GOOD = {"id": "a", "problem": "1+1?", "answer": "2"}

REFUSED = [
    ({"answer": nan}, "'answer' is nan, expected a string or a finite number"),
    ({"answer": inf}, "'answer' is inf, expected a string or a finite number"),
    ({"answer": -inf}, "'answer' is -inf"),
    ({"answer": Decimal("NaN")}, "'answer' is NaN"),
    ({"answer": None}, "no 'answer'"),
    ({"answer": "nan"}, "'answer' is 'nan', which is how a table spells a missing one"),
    ({"answer": " NaN "}, "how a table spells a missing one"),
    ({"answer": "<NA>"}, "how a table spells a missing one"),
    ({"answer": "null"}, "how a table spells a missing one"),
    ({"answer": ""}, "'answer' is empty"),
    ({"answer": "$$"}, "'answer' is '$$', which says nothing"),
    ({"answer": r"\boxed{}"}, "which says nothing"),
    ({"answer": "..."}, "which says nothing"),
    ({"answer": "\u200b\u200f"}, "which says nothing"),
    ({"answer": []}, "'answer' must be a string or a number, found list"),
    ({"id": nan}, "no 'id'"),
    ({"problem": nan}, "'problem' must be a string, found float"),
    ({"choices": ["1", "2", "1"], "answer": "B"}, "'choices' holds '1' twice, as A and C"),
    ({"choices": ["1 x", " 1  x"], "answer": "A"}, "twice, as A and B"),
    ({"choices": [1, "1"], "answer": "A"}, "twice, as A and B"),
    ({"choices": ["1", ""], "answer": "A"}, "'choices' must be a list of strings"),
    ({"choices": ["1", None], "answer": "A"}, "'choices' must be a list of strings"),
    ({"choices": ["1", nan], "answer": "A"}, "'choices' must be a list of strings"),
    ({"choices": ["1", True], "answer": "A"}, "'choices' must be a list of strings"),
    ({"choices": [str(i) for i in range(11)], "answer": "K"}, "'choices' holds 11, expected at most 10, A to J"),
    ({"tolerance": ""}, "'tolerance' must be a number from 0 up, or a list of some, found ''"),
    ({"tolerance": []}, "'tolerance' must be a number from 0 up, or a list of some, found []"),
    ({"tolerance": "small"}, "'tolerance' must be a number from 0 up, or a list of some, found 'small'"),
    ({"tolerance": -0.1}, "'tolerance' must be a number from 0 up"),
    ({"tolerance": [0.1, "-1"]}, "'tolerance' must be a number from 0 up"),
    ({"tolerance": inf}, "'tolerance' is inf, expected a finite number"),
    ({"tolerance": "1/0"}, "'tolerance' must be a number from 0 up, or a list of some"),
    ({"tolerance": True}, "'tolerance' must be a number from 0 up, or a list of some"),
    ({"tolerance": [0.1, 0.2]}, "'tolerance' holds 2 numbers, but 'answer' has 1 parts"),
    ({"answer": "inf"}, "'answer' is 'inf', which is how a table spells what is out of range; write"),
    ({"answer": "-Inf"}, "out of range"),
    ({"problem": "\u200b"}, "'problem' is '\\u200b', which says nothing"),
    ({"id": "\u2060 "}, "which says nothing"),
    ({"choices": ["x"], "answer": "A"}, "'choices' holds only 'x', expected at least 2, or none"),
    ({"choices": ["x", "\u200b"], "answer": "A"}, "'choices' must be a list of strings"),
    ({"tolerance": 1e300}, "'tolerance' 1e+300 would accept any answer; expected at most 2000"),
    ({"tolerance": 0.1, "answer": "cat"}, "'tolerance' is for numbers, and 'answer' is one of words, 'cat'"),
    ({"tolerance": 0.1, "choices": ["x", "y"], "answer": "A"}, "is one of letters of choices"),
    ({"solution": 5}, "'solution' must be a string, found int"),
    ({"level": inf}, "'level' is inf, expected a finite number"),
    ({"tags": {"deep": [1, -inf]}}, "'tags' is -inf, expected a finite number"),
]


@pytest.mark.parametrize(("change", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_record_that_nobody_can_answer_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ProblemsError) as refused:
        to_problem(GOOD | change, "p.parquet, row 3")
    assert str(refused.value).startswith("p.parquet, row 3: ") and says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"answer": 7}, "7"),
        ({"answer": 0.5}, "0.5"),
        ({"answer": Decimal("3.50")}, "3.50"),
        ({"answer": "1e400"}, "1e400"),
        ({"answer": r"\infty"}, r"\infty"),
        ({"answer": "infinity"}, "infinity"),
        ({"answer": "none"}, "none"),
        ({"answer": "½"}, "½"),
        ({"answer": r"\emptyset"}, r"\emptyset"),
        ({"answer": "1,2", "tolerance": [0.1, 0.2]}, "1,2"),
        ({"answer": "1,2", "tolerance": "0"}, "1,2"),
        ({"tolerance": None}, "2"),
        ({"tolerance": 0.1, "answer": r"\pi"}, r"\pi"),
        ({"question": "1+1?", "solution": nan}, "2"),
        ({"choices": [], "answer": "2"}, "2"),
    ],
)
def test_answers_that_say_something_are_kept(change: dict[str, Any], answer: str) -> None:
    assert to_problem(GOOD | change, "here").answer == answer


def test_the_same_question_with_another_answer_is_a_warning(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"id": "b", "answer": "2.0"}, GOOD | {"id": "c", "problem": "1+1? ", "answer": "3"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(LaconicWarning, match=r"line 3: the question of line 1 again, with another answer: '2' and '3'"):
        load_problems(str(tmp_path / "p.jsonl"))


def test_a_question_under_both_keys_is_a_warning(tmp_path: Path) -> None:
    rows = [GOOD | {"question": GOOD["problem"]}, GOOD | {"id": "b", "question": "2+2?"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(LaconicWarning, match=r"line 2: holds 'problem' and 'question', .*; 'problem' is asked$"):
        assert load_problems(str(tmp_path / "p.jsonl"))[1].question == GOOD["problem"]


def test_meta_can_be_written_again(tmp_path: Path) -> None:
    """A missing number becomes null, a date and a decimal their text."""
    record = GOOD | {
        "level": nan,
        "day": datetime.date(2026, 1, 2),
        "price": Decimal("1.50"),
        "tags": ("a", {"b": nan}),
    }
    problem = to_problem(record, "here")
    assert problem.meta == {"level": None, "day": "2026-01-02", "price": "1.50", "tags": ["a", {"b": None}]}
    write_problems(tmp_path / "p.jsonl", [problem])
    assert load_problems(str(tmp_path / "p.jsonl"))[0].meta == problem.meta


def test_a_missing_answer_in_parquet_is_named(tmp_path: Path) -> None:
    """A column of numbers with a gap, as a table of floating-point numbers has it."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for values in ([2.0, None], [2.0, nan]):
        table = pyarrow.table({"problem": ["1+1?", "2+2?"], "answer": pyarrow.array(values, pyarrow.float64())})
        parquet.write_table(table, tmp_path / "p.parquet")
        with pytest.raises(ProblemsError, match=r"p\.parquet, row 2: .*'answer'"):
            load_problems(str(tmp_path / "p.parquet"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "a", "problem": "q", "answer": NaN}', "NaN is no number; what does not exist is null"),
        ('{"id": "a", "problem": "q", "answer": Infinity}', "Infinity is no number"),
        ('{"id": "a", "problem": "q", "answer": -Infinity}', "-Infinity is no number"),
        ('{"id": "a", "problem": "q", "answer": 1e400}', "1e400 is beyond the range of floating point"),
        ('{"id": "a", "problem": "q", "answer": "1", "answer": "2"}', "the key 'answer' stands twice in one object"),
        ('{"id": "a", "problem": "q", "answer": "1", "x": {"y": 1, "y": 1}}', "the key 'y' stands twice"),
    ],
)
def test_what_is_no_json_is_named_by_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps(GOOD | {"id": "first"}) + "\n" + line + "\n")
    with pytest.raises(ProblemsError) as refused:
        load_problems(str(file))
    assert str(refused.value) == f"{file}, line 2: not JSON ({says})" or says in str(refused.value)
    assert str(refused.value).startswith(f"{file}, line 2: not JSON")


def test_a_benchmark_as_it_was_published_may_repeat_a_choice(tmp_path: Path) -> None:
    """MMLU and AQuA do. Either letter is then graded as the other; a file of one's own is refused."""
    line = json.dumps(GOOD | {"choices": ["687", "687", "1,493"], "answer": "A"}) + "\n"
    for name in ("mmlu_stem.jsonl", "own.jsonl"):
        (tmp_path / name).write_text(line)
    assert len(load_problems(str(tmp_path / "mmlu_stem.jsonl"))) == 1
    with pytest.raises(ProblemsError, match=r"own\.jsonl, line 1: 'choices' holds '687' twice"):
        load_problems(str(tmp_path / "own.jsonl"))
