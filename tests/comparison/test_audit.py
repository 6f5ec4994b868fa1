"""The audit: stored grades beside a second grader's verdicts, counted and listed."""

import io
import json
import tracemalloc

import pytest
from rich.console import Console

from laconic.comparison.audit import MEANINGS, audit, kind_of, print_audit
from laconic.errors import InputError, RunError
from laconic.evaluation.problem_meta import add_meta
from laconic.grading import second_graders
from laconic.grading.second_graders import VERDICTS, by_math_verify
from laconic.types import GRADES, Problem


def row(problem_id, grade, gold, text, finish_reason="stop", **more):
    return {
        "problem_id": problem_id,
        "sample": 0,
        "grade": grade,
        "num_tokens": 3,
        "finish_reason": finish_reason,
        "question": "q",
        "gold": gold,
        "text": text,
        **more,
    }


ROWS = [
    row("right", "correct", "42", r"<think>6*7</think>\boxed{42}"),
    row("swapped", "correct", "42", r"<think>6*7</think>\boxed{41}"),
    row("missed", "no_answer", "1/2", r"so \boxed{0.5}"),
    row("cut", "truncated", "7", r"\boxed{7} and then", "length"),
    row("cut early", "truncated", "7", "let me", "length"),
    row("lost", "wrong", "7", "no box, no marker"),
    row("algebra", "correct", "x^2-1", r"\boxed{(x-1)(x+1)}"),
    row("broken", "ungradable", "3", r"\boxed{3}"),
]
EXACT = {"right": "correct", "swapped": "wrong", "missed": "correct", "cut": "correct", "cut early": "no_answer"}
EXACT |= {"lost": "no_answer", "algebra": "undecided", "broken": "correct"}


def write(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in rows), encoding="utf-8")
    return file


def write_evaluation(folder, rows):
    """Rows with the summary that they need to be an evaluation."""
    write(folder / "samples.jsonl", rows)
    counts = {"num_problems": len(rows), "num_samples": 1, "temperature": 1.0, "max_tokens": 64, "seed": 0}
    (folder / "summary.json").write_text(json.dumps({"benchmark": "mix", "model": "tiny", **counts}), encoding="utf-8")


@pytest.fixture
def run(tmp_path):
    """An evaluation with half the rows, a step of training with the other half."""
    write_evaluation(tmp_path / "eval" / "tiny-t1", ROWS[:4])
    write(tmp_path / "rollouts" / "step-000001.jsonl", ROWS[4:])
    return tmp_path


def listed(run):
    return [json.loads(line) for line in (run / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_pair_of_verdicts_is_counted_once_and_what_differs_is_listed(run):
    """Eight responses in two files; of the two that both called correct or wrong, one agrees."""
    found = audit(run, "exact")
    assert found.num_regraded == 8 and found.num_files == 2
    assert found.table == {(record["grade"], EXACT[record["problem_id"]]): 1 for record in ROWS}
    assert (found.num_compared, found.agreement_frac) == (2, 0.5)
    kinds = {line["problem_id"]: line["kind"] for line in listed(run)}
    expected = {"swapped": "disagreement", "missed": "answer_found", "cut": "answer_found", "lost": "answer_lost"}
    assert kinds == expected | {"broken": "ungradable"}
    assert found.kinds == {
        "same": 2,  # right, cut early
        "disagreement": 1,
        "answer_found": 2,
        "answer_lost": 1,
        "undecided": 1,
        "ungradable": 1,
    }


def test_a_listed_row_says_where_it_stands_and_how_it_ends(run):
    """File below the audited folder, line, answer as extracted, the last 200 characters."""
    long = "x" * 300 + r" \boxed{41}"
    write_evaluation(run / "eval" / "tiny-t1", [*ROWS[:1], row("long", "correct", "42", long)])
    audit(run, "exact")
    line = next(line for line in listed(run) if line["problem_id"] == "long")
    assert (line["file"], line["line"]) == ("eval/tiny-t1/samples.jsonl", 2)
    assert (line["stored"], line["second"], line["gold"], line["answer"]) == ("correct", "wrong", "42", "41")
    assert line["tail"] == long[-200:]


def test_the_file_holds_the_table_stored_by_second(run):
    """Rows that occur, every column; a share that does not exist is null."""
    audit(run, "exact")
    stored = json.loads((run / "audit.json").read_text(encoding="utf-8"))
    assert stored["table"]["truncated"]["correct"] == stored["table"]["truncated"]["no_answer"] == 1
    assert set(stored["table"]) == {record["grade"] for record in ROWS}
    assert sum(sum(line.values()) for line in stored["table"].values()) == stored["num_regraded"] == 8
    assert not list(run.glob(".*partial"))
    only = write(run / "only.jsonl", ROWS[5:6])
    assert audit(only, "exact").agreement_frac is None
    assert json.loads((run / "audit.json").read_text(encoding="utf-8"))["agreement_frac"] is None


def test_the_present_grader_does_its_algebra_and_keeps_truncation(run):
    """`laconic` calls (x-1)(x+1) correct and a truncated response truncated; only the swapped grade differs."""
    found = audit(run, "laconic", timeout_seconds=20.0)
    assert found.table["correct", "correct"] == 2
    assert found.table["truncated", "truncated"] == 2
    assert found.agreement_frac == pytest.approx(2 / 3)  # right and algebra against swapped


def test_math_verify_reads_the_whole_text_in_a_child(run):
    """It finds the box of the truncated response, and does the algebra."""
    found = audit(run, "math_verify", timeout_seconds=20.0)
    assert found.table["truncated", "correct"] == 1
    assert found.table["correct", "correct"] == 2 and found.table["correct", "wrong"] == 1


def test_math_verify_reports_what_it_cannot_read():
    """No answer and an unreadable gold answer stay apart from wrong."""
    assert by_math_verify("42", r"so \boxed{42}") == "correct"
    assert by_math_verify("42", r"so \boxed{43}") == "wrong"
    assert by_math_verify("42", "no number here") == "no_answer"
    assert by_math_verify("", "42") == "gold"


HANGING = """
import sys, time
def serve():
    for line in sys.stdin:
        if 'hang' in line: time.sleep(600)
        print('ready' if line.strip() == 'null' else 'correct', flush=True)
"""


def test_a_second_grader_that_hangs_is_listed_as_a_timeout(tmp_path, monkeypatch):
    """Within its limit, apart from every verdict."""
    (tmp_path / "fake_math_verify.py").write_text(HANGING, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(second_graders, "MATH_VERIFY", "fake_math_verify:serve")
    run = tmp_path / "run"
    write_evaluation(run, [row("a", "correct", "1", "hang"), row("b", "correct", "1", "1")])
    found = audit(run, "math_verify", timeout_seconds=0.5)
    assert found.table == {("correct", "timeout"): 1, ("correct", "correct"): 1}
    assert [(line["problem_id"], line["kind"], line["second"]) for line in listed(run)] == [
        ("a", "ungradable", "timeout")
    ]
    assert found.to_json()["num_timeouts"] == 1


def test_choices_are_read_where_the_row_has_them(tmp_path):
    """A lower-case letter is an answer only beside choices."""
    rows = [row("a", "correct", "B", r"\boxed{b}", choices=["1", "2"]), row("b", "wrong", "B", r"\boxed{b}")]
    assert audit(write(tmp_path / "samples.jsonl", rows), "exact").agreement_frac == 1.0


def test_a_step_s_rollouts_are_graded_again_with_what_the_source_says_of_their_problems(tmp_path):
    """3.14 for 3.1416 within 0.01; the file beside the rollouts is no response."""
    write(tmp_path / "rollouts" / "step-000001.jsonl", [row("pi", "correct", "3.1416", r"\boxed{3.14}")])
    assert audit(tmp_path, "laconic").agreement_frac == 0.0
    add_meta([Problem("pi", "q", "3.1416", meta={"tolerance": 0.01})], tmp_path / "rollouts")
    add_meta([Problem("e", "q", "2.718", meta={"tolerance": 0.1})], tmp_path / "rollouts")
    found = audit(tmp_path, "laconic")
    assert (found.num_files, found.num_regraded, found.agreement_frac) == (1, 1, 1.0)


def test_a_list_of_tolerances_is_granted_again(tmp_path):
    """Two answers, each with its own: 3.14 within 0.01 and 2.7 within 0.1, and not the other way round."""
    rows = [row("two", "correct", "3.1416, 2.718", r"\boxed{3.14, 2.7}")]
    write(tmp_path / "rollouts" / "step-000001.jsonl", rows)
    for tolerance, agreement in (([0.01, 0.1], 1.0), ([0.0001, 0.1], 0.0)):
        meta = {"tolerance": tolerance}
        add_meta([Problem("two", "q", "3.1416, 2.718", meta=meta)], tmp_path / "rollouts")
        assert audit(tmp_path, "laconic").agreement_frac == agreement


def test_every_pair_has_a_kind():
    """No verdict is left without a name."""
    for grade in GRADES:
        for verdict in VERDICTS:
            assert kind_of(grade.value, verdict) in MEANINGS
    assert kind_of("no_answer", "wrong") == "answer_found"
    assert kind_of("truncated", "no_answer") == "same"


def test_what_is_printed_names_the_numbers(run):
    """The table, the caption, and the first disagreement with its place."""
    found = audit(run, "exact")
    print_audit(found, Console(width=160, file=(out := io.StringIO())), 1)
    text = out.getvalue()
    assert "8 responses" in text and "50.00% of 2 agree" in text
    assert "an answer was found where none was: 2" in text
    assert "eval/tiny-t1/samples.jsonl:2: correct -> wrong: gold '42', answer '41'" in text
    assert text.count(" -> ") == 1
    assert str(run / "audit.jsonl") in text


def test_the_files_stand_where_they_are_asked_for(run, tmp_path_factory):
    """Not in a run that must not change."""
    out = tmp_path_factory.mktemp("elsewhere") / "audit"
    assert audit(run, "exact", out=out).listing == out / "audit.jsonl"
    assert (out / "audit.json").exists() and not (run / "audit.json").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"gold": None}, "line 1: gold is None, expected text"),
        ({"grade": "right"}, "line 1: grade is 'right', expected one of correct, wrong"),
        ({"text": 5}, "line 1: text is 5, expected text"),
    ],
)
def test_a_row_that_is_no_response_is_named(tmp_path, change, complaint):
    """One line: file, line, what was expected; nothing is written."""
    file = write(tmp_path / "samples.jsonl", [ROWS[0] | change])
    with pytest.raises(InputError, match=complaint):
        audit(file, "exact")
    assert list(tmp_path.iterdir()) == [file]


def test_bad_arguments_are_named(tmp_path):
    """An unknown grader, a folder without responses."""
    with pytest.raises(InputError, match="expected one of exact, math_verify, laconic"):
        audit(tmp_path, "qwen")
    with pytest.raises(RunError, match="no stored responses"):
        audit(tmp_path, "exact")


def test_memory_does_not_grow_with_the_run(tmp_path):
    """A file of 12 MB, every row of it listed, is audited in less than half of that."""
    rows = (row(str(i), "correct", "42", "x" * 4000 + r"\boxed{41}") for i in range(3000))
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in rows), encoding="utf-8")
    tracemalloc.start()
    found = audit(file, "exact")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.kinds["disagreement"] == 3000
    assert peak < 6e6
