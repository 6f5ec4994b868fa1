"""A grader of one's own: the five grades, the limits on time and on failing, and what is said of a broken one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from laconic.errors import InputError, LaconicWarning, RunFailed
from laconic.grading.own import OwnGrader
from laconic.grading.rules import Graded
from laconic.types import Grade, Problem

TICKET = Problem("t1", "When?", "14 days", meta={"topic": "billing"})
Open = Callable[..., OwnGrader]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """A grader whose file has these lines as the body of `grade(attempt)`."""

    def open_grader(*body: str, **limits: float) -> OwnGrader:
        lines = "\n".join(f"    {line}" for line in body)
        (tmp_path / "mine.py").write_text(f"import os, time\n\ndef grade(attempt):\n{lines}\n")
        return OwnGrader("mine.py:grade", tmp_path, **limits)

    return open_grader


def graded(grader: OwnGrader, *texts: str, is_cut: bool = False) -> list[Graded]:
    with grader:
        return grader.grade_many([(text, TICKET, is_cut) for text in texts])


def test_every_value_that_a_grader_may_return(opened: Open) -> None:
    body = "return {'a': 'correct', 'b': 'wrong', 'c': 'no_answer', 'd': 'ungradable', 'e': True, 'f': False, 'g': None}.get("
    grader = opened(body + "attempt.reply, ('correct', 'billing'))")
    found = graded(grader, *"abcdefgh")
    words = ["correct", "wrong", "no_answer", "ungradable", "correct", "wrong", "no_answer", "correct"]
    assert [one.grade.value for one in found] == words
    assert (found[3].reason, found[7].answer, found[0].answer) == ("unsure", "billing", None)
    assert grader.reasons == {"unsure": 1}


def test_the_function_sees_the_reply_and_the_problem_and_never_what_was_cut(opened: Open) -> None:
    """Thinking is not the reply; what the cap ended, what never left its thinking and what is empty is graded unasked."""
    seen = "attempt.reply == 'In 14 days.' and attempt.gold == '14 days' and attempt.meta == {'topic': 'billing'}"
    text = "<think>today?</think> In 14 days.\n"
    grader = opened(f"return {seen} and attempt.text.startswith('<think>') and attempt.question == 'When?'")
    assert graded(grader, text, "<think>hm", "  ") == [
        Graded(Grade.CORRECT),
        Graded(Grade.NO_ANSWER),
        Graded(Grade.NO_ANSWER),
    ]
    assert graded(opened("raise ValueError"), text, is_cut=True) == [Graded(Grade.TRUNCATED)]


def test_a_call_that_does_not_end_is_ungradable_and_the_next_one_is_asked(opened: Open) -> None:
    """The child is killed at the limit, with a warning that names the file; a new one goes on."""
    grader = opened("time.sleep(60 * (attempt.reply == 'slow'))", "return True", timeout_seconds=0.3)
    with pytest.warns(LaconicWarning, match=r"mine.py: grade fails on a response: no end within 0.3 seconds"):
        found = graded(grader, "slow", "quick")
    assert found == [Graded(Grade.UNGRADABLE, None, "timeout"), Graded(Grade.CORRECT)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "raise ValueError('no luck')",
            r"mine.py, line 4: grade fails on a response: ValueError: no luck; such responses are",
        ),
        ("os._exit(3)", r"mine.py: grade fails on a response: the end of its process \(exit code 3\)"),
        ("raise SystemExit(1)", r"mine.py, line 4: .*sys.exit\(1\)"),
    ],
)
def test_a_call_that_fails_is_ungradable_and_said_once(opened: Open, line: str, said: str) -> None:
    with pytest.warns(LaconicWarning, match=said) as warned:
        found = graded(opened(f"if attempt.reply != 'fine': {line}", "return True"), "a", "fine", "b")
    assert found == [
        Graded(Grade.UNGRADABLE, None, "crash"),
        Graded(Grade.CORRECT),
        Graded(Grade.UNGRADABLE, None, "crash"),
    ]
    assert len(warned) == 1


def test_a_function_that_always_fails_ends_the_work(opened: Open) -> None:
    with (
        pytest.warns(LaconicWarning),
        pytest.raises(RunFailed, match=r"line 5: .*KeyError: 'x'; as on the 19 before it"),
    ):
        graded(opened("if attempt.reply == 'a': return True", "return attempt.meta['x']"), "a", *map(str, range(30)))


def test_a_function_that_fails_from_the_start_ends_a_small_trial(opened: Open) -> None:
    with pytest.warns(LaconicWarning), pytest.raises(RunFailed, match=r"KeyError: 'x'; as on the 4 before it"):
        graded(opened("return attempt.meta['x']"), *map(str, range(6)))


@pytest.mark.parametrize("value", ["0.7", "'truncated'", "'right'", "(True, 3)", "[True]"])
def test_a_value_that_is_no_grade_ends_the_work(opened: Open, value: str) -> None:
    with pytest.raises(
        InputError, match=r"mine.py: grade returned .* for problem t1; expected one of correct, wrong, no_answer"
    ):
        graded(opened(f"return {value}"), "a")


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("none.py:grade", "", "none.py: no such file; grader 'none.py:grade' is looked up from the folder"),
        ("mine.py:other", "def grade(attempt): ...", "expected a function 'other'; it has: grade"),
        (
            "mine.py:grade",
            "def grade(attempt): yield 1",
            "grade is a generator: expected a function that returns a grade",
        ),
        ("mine.py:grade", "1 / 0", "mine.py, line 1: expected a file that runs, got ZeroDivisionError"),
        ("mine.py:grade", "def grade(", "expected a file that runs, got SyntaxError"),
    ],
)
def test_a_file_that_cannot_grade_is_one_line(tmp_path: Path, name: str, source: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(InputError) as raised:
        OwnGrader(name, tmp_path)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_two_files_have_two_names_wherever_they_stand(tmp_path: Path, opened: Open) -> None:
    with opened("return True") as first:
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "mine.py").write_bytes((tmp_path / "mine.py").read_bytes())
        with OwnGrader("copy/mine.py:grade", tmp_path) as copy, opened("return False") as other:
            assert first.name == copy.name != other.name
            assert first.name.startswith("mine.py:grade, sha256 ")


def test_a_file_that_changes_while_it_grades_ends_the_work(tmp_path: Path, opened: Open) -> None:
    """A child that is started anew would otherwise grade by another function than the ones before it."""
    grader = opened("return True")
    grader.close()
    (tmp_path / "mine.py").write_text("def grade(attempt): return False")
    with pytest.raises(InputError, match=r"mine.py: has changed while it was grading"):
        graded(grader, "a")


def test_several_workers_grade_in_order(opened: Open) -> None:
    texts = [str(number) for number in range(12)]
    found = graded(opened("return int(attempt.reply) % 3 == 0", workers=3), *texts)
    assert [one.grade is Grade.CORRECT for one in found] == [number % 3 == 0 for number in range(12)]


def test_what_a_grader_returns_can_be_stored(opened: Open) -> None:
    """Half a character in an answer, which no file can hold, and numpy's truth values."""
    halved = opened("return True, '4\\ud800'")
    assert graded(halved, "x")[0] == Graded(Grade.CORRECT, "4\N{REPLACEMENT CHARACTER}")
    numpys = opened("import numpy", "return numpy.float64(len(attempt.reply)) > 2")
    assert [one.grade for one in graded(numpys, "long", "x")] == [Grade.CORRECT, Grade.WRONG]
