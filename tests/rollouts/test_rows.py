"""The stored response: what was written is read back, old files too, and whatever is wrong with a line is named."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.errors import InputError
from laconic.rollouts.rows import ForcedAnswer, GroupRow, ResponseRow, paid_rows_of, read_group_rows, read_rows, rows_of
from laconic.system.files import to_jsonl
from laconic.types import WITHHELD, FinishReason, Grade, Group, Problem, Response, Rollout

SRC = Path(__file__).parents[2] / "src" / "laconic"

# Lines as the programs wrote them before there was a record.
EVALUATED = (
    '{"problem_id": "chain_sum-0", "sample": 1, "grade": "wrong", "num_tokens": 12, "thinking_tokens": 5, '
    '"finish_reason": "stop", "question": "3 + 4?", "gold": "7", "answer": "8", "text": "3+4=8;</think>\\\\boxed{8}"}\n'
)
WITH_CHOICES = (
    '{"problem_id": "q", "sample": 0, "grade": "truncated", "num_tokens": 64, "thinking_tokens": null, '
    '"finish_reason": "length", "question": "Été?", "gold": "B", "choices": ["no", "oui"], "answer": null, "text": "…", '
    '"forced": {"8": {"grade": "correct", "num_tokens": 11, "is_cut": true}, '
    '"64": {"grade": "truncated", "num_tokens": 64, "is_cut": false}}}\n'
)
TRAINED = (
    '{"problem_id": "chain_sum-0", "sample": 2, "grade": "correct", "num_tokens": 3, "finish_reason": "stop", '
    '"question": "3 + 4?", "gold": "7", "text": "\\\\boxed{7}", "reward": 0.8, '
    '"reward_terms": {"levels": 1.0, "length": -0.2}}\n'
)
OLD = (
    '{"problem_id": "a", "sample": 0, "grade": "correct", "num_tokens": 20, "finish_reason": "stop", "question": "a?", '
    '"gold": "7", "text": "7"}\n'
)
OFFLINE = (
    '{"problem_id": "a", "prompt_ids": [1, 2], "rollouts": [{"token_ids": [5, 3], "logprobs": [-0.5, -0.25], '
    '"text": "7", "finish_reason": "stop", "grade": "correct", "sample": 0}]}\n'
)


def group_of(
    response: Response, grade: Grade, sample: int = 0, problem: Problem | None = None, **more: object
) -> Group:
    rollout = Rollout(response, grade, sample, **more)  # type: ignore[arg-type]
    return Group(problem or Problem("chain_sum-0", "3 + 4?", "7"), (1, 2), (rollout,))


def row_of(line: str) -> ResponseRow:
    return ResponseRow.from_json(json.loads(line), "samples.jsonl, line 1")


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_an_evaluation_s_line_has_the_bytes_it_always_had() -> None:
    response = Response((), (), "3+4=8;</think>\\boxed{8}", FinishReason.STOP, reported_tokens=12, thinking_tokens=5)
    rows = rows_of(group_of(response, Grade.WRONG, 1, answer="8"))
    assert to_jsonl(row.to_json() for row in rows) == EVALUATED


def test_a_training_step_s_line_has_the_bytes_it_always_had() -> None:
    """The reward and its terms; neither thinking tokens nor the answer."""
    response = Response((4, 5, 6), (0.0,) * 3, "\\boxed{7}", FinishReason.STOP, thinking_tokens=0)
    terms = {"levels": 1.0, "length": -0.2}
    rows = paid_rows_of(group_of(response, Grade.CORRECT, 2, reward=0.8, reward_terms=terms, answer="7"))
    assert to_jsonl(row.to_json() for row in rows) == TRAINED


def test_a_training_step_s_line_has_the_choices_that_a_second_grader_needs() -> None:
    problem = Problem("a", "2 + 2?", "B", choices=("3", "4"))
    response = Response((4,), (0.0,), "\\boxed{b}", FinishReason.STOP)
    (row,) = paid_rows_of(group_of(response, Grade.CORRECT, problem=problem, reward=1.0))
    assert row_of(to_jsonl([row.to_json()])).choices == ("3", "4")


def test_an_offline_group_has_the_bytes_it_always_had() -> None:
    group = group_of(
        Response((5, 3), (-0.5, -0.25), "7", FinishReason.STOP), Grade.CORRECT, problem=Problem("a", "", "7")
    )
    assert to_jsonl([GroupRow.of(group).to_json()]) == OFFLINE


def test_the_answer_of_a_truncated_response_is_stored_though_the_grader_did_not_read_it() -> None:
    response = Response((), (), r"\boxed{7} and", FinishReason.LENGTH, reported_tokens=3)
    (row,) = rows_of(group_of(response, Grade.TRUNCATED))
    assert row.answer == "7"


@pytest.mark.parametrize("line", [EVALUATED, WITH_CHOICES, TRAINED, OLD])
def test_a_line_that_was_read_is_written_back_as_it_stood(line: str) -> None:
    assert to_jsonl([row_of(line).to_json()]) == line


def test_what_an_older_file_lacks_is_remembered() -> None:
    assert row_of(OLD).absent == {"answer", "thinking_tokens"} and row_of(EVALUATED).absent == frozenset()
    assert (row_of(OLD).answer, row_of(OLD).thinking_tokens) == (None, None)


def test_offline_groups_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "offline.jsonl").write_text(OFFLINE)
    (found,) = read_group_rows(tmp_path / "offline.jsonl")
    assert to_jsonl([found.to_json()]) == OFFLINE
    assert found.group(Problem("a", "a?", "7")).grades == (Grade.CORRECT,)


# --- round trip ------------------------------------------------------------------------------------------------------

TOKENS = st.integers(0, 10**6)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def agrees(row: ResponseRow) -> bool:
    """Whether its values may stand together: no more thinking than tokens, cut off where its grade says so, and not right where
    the endpoint withheld it."""
    if row.finish_reason in WITHHELD and row.grade is Grade.CORRECT:
        return False
    is_cut = row.finish_reason and row.finish_reason is FinishReason.LENGTH
    return (row.thinking_tokens or 0) <= row.num_tokens and is_cut in (None, row.grade is Grade.TRUNCATED)


ROWS = st.builds(
    ResponseRow,
    problem_id=TEXT,
    sample=TOKENS,
    grade=st.sampled_from(Grade),
    num_tokens=TOKENS,
    thinking_tokens=st.none() | TOKENS,
    finish_reason=st.none() | st.sampled_from(FinishReason),
    question=TEXT,
    gold=TEXT,
    choices=st.lists(TEXT, max_size=3).map(tuple),
    answer=st.none() | TEXT,
    text=TEXT,
    forced=st.dictionaries(TOKENS, st.builds(ForcedAnswer, st.sampled_from(Grade), TOKENS, st.booleans()), max_size=3),
    reward=st.floats(allow_nan=False),
    reward_terms=st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=3),
).filter(agrees)


@given(ROWS, st.sets(st.sampled_from(["thinking_tokens", "finish_reason", "question", "gold", "answer", "text"])))
def test_whatever_is_written_is_read_back(row: ResponseRow, absent: set[str]) -> None:
    """Also from files that lack some keys: then the line is the same, and the row is read the same again."""
    assert row_of(json.dumps(row.to_json())) == row
    line = json.dumps({key: value for key, value in row.to_json().items() if key not in absent})
    old = row_of(line)
    assert old.absent == absent and json.dumps(old.to_json()) == line and row_of(json.dumps(old.to_json())) == old


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"problem_id": 7}, "problem_id is 7, expected text"),
        ({"sample": -1}, "sample is -1, expected a whole number from 0 up"),
        ({"grade": "right"}, "grade is 'right', expected one of correct, wrong, no_answer, truncated, ungradable"),
        ({"grade": None}, "grade is None, expected one of correct"),
        ({"num_tokens": "9"}, "num_tokens is '9', expected a whole number from 0 up"),
        ({"num_tokens": True}, "num_tokens is True, expected a whole number"),
        ({"num_tokens": 1.5}, "num_tokens is 1.5, expected a whole number"),
        ({"thinking_tokens": "all"}, "thinking_tokens is 'all', expected a whole number"),
        ({"finish_reason": "tired"}, "finish_reason is 'tired', expected one of stop, length"),
        ({"question": None}, "question is None, expected text"),
        ({"gold": 7}, "gold is 7, expected text"),
        ({"choices": ["a", 1]}, "choices.1 is 1, expected text"),
        ({"choices": ["a"] * 27}, "choices is ['a', 'a', 'a', 'a', 'a', 'a', ...], expected at most 26, one for each"),
        ({"answer": 7}, "answer is 7, expected text"),
        ({"text": ["7"]}, "text is ['7'], expected text"),
        ({"forced": 8}, "forced is 8, expected an object"),
        ({"forced": {"many": {}}}, "forced: 'many' is no budget, expected a number of tokens"),
        ({"forced": {"8": 1}}, "forced.8 is 1, expected an object"),
        ({"forced": {"8": {"grade": "correct", "num_tokens": 9}}}, "forced.8.is_cut is missing"),
        ({"reward": "much"}, "reward is 'much', expected a number"),
        ({"reward_terms": [1]}, "reward_terms is [1], expected an object"),
        ({"reward_terms": {"levels": None}}, "reward_terms.levels is None, expected a number"),
        ({"thinking_tokens": 4}, "thinking_tokens is 4, expected at most num_tokens, 3"),
        ({"finish_reason": "length"}, "finish_reason is 'length', expected stop, for grade is 'correct'"),
        ({"num_tokens": 10**18}, "num_tokens is 1000000000000000000, expected a whole number up to 9007199254740992"),
    ],
)
def test_a_value_that_is_none_is_named_by_file_line_and_key(tmp_path: Path, change: dict, says: str) -> None:
    """In one line; the lines before it are read."""
    file = tmp_path / "samples.jsonl"
    file.write_text(TRAINED + json.dumps(json.loads(TRAINED) | change) + "\n")
    rows = read_rows(file)
    assert next(rows).sample == 2
    with pytest.raises(InputError) as error:
        next(rows)
    assert str(error.value).startswith(f"{file}, line 2: {says}") and "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["problem_id", "sample", "grade", "num_tokens", "gold"])
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    """The four that every row has, and what the reader says that it needs."""
    (tmp_path / "samples.jsonl").write_text(json.dumps({k: v for k, v in json.loads(OLD).items() if k != key}) + "\n")
    with pytest.raises(InputError, match=f"samples.jsonl, line 1: {key} is missing"):
        list(read_rows(tmp_path / "samples.jsonl", needs=("gold",)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rollouts": 1}, "rollouts is 1, expected a list"),
        ({"prompt_ids": ["a"]}, r"prompt_ids.0 is 'a', expected a whole number"),
        ({"rollouts": [{"token_ids": [1], "logprobs": []}]}, r"rollouts\.0: holds 1 token_ids and 0 logprobs"),
    ],
)
def test_what_is_no_group_is_named(tmp_path: Path, change: dict, says: str) -> None:
    (tmp_path / "offline.jsonl").write_text(json.dumps(json.loads(OFFLINE) | change) + "\n")
    with pytest.raises(InputError, match=f"offline.jsonl, line 1: {says}"):
        list(read_group_rows(tmp_path / "offline.jsonl"))


# --- one owner -------------------------------------------------------------------------------------------------------


def keys_indexed(source: str) -> set[str]:
    """The constant keys by which a source indexes anything, or asks for with `get`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            key = node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            key = node.args[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.add(key.value)
    return found


def test_nobody_else_indexes_a_stored_response() -> None:
    """`num_tokens` belongs to rows, and to the clock of `timing.json`, which stands in `rollouts/log.py`."""
    indexing = {p.relative_to(SRC).as_posix() for p in SRC.rglob("*.py") if "num_tokens" in keys_indexed(p.read_text())}
    assert indexing <= {"rollouts/log.py"}
    assert keys_indexed("row['num_tokens'], row.get('text')") == {"num_tokens", "text"}


def test_reading_rows_needs_no_torch() -> None:
    code = "import sys, laconic.rollouts.rows; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
