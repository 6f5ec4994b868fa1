"""The grading pool: algebra under a hard limit, in processes that leave nothing behind."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from laconic import grader as module
from laconic.errors import RunFailed
from laconic.grader import Grader, decide
from laconic.types import Grade, Problem

CASES = Path(__file__).parents[2] / "shared" / "data" / "grading_cases.jsonl"
ALGEBRA = (r"so \boxed{(x-1)(x+1)}", Problem("a", "q", "x^2-1"), False)


def boxed(answer, gold, *choices):
    return rf"\boxed{{{answer}}}", Problem("p", "q", gold, choices=choices), False


@pytest.fixture(scope="module")
def pool():
    with Grader(workers=2, timeout_seconds=20.0) as grader:
        yield grader


def test_grades_come_back_in_order_whoever_decided_them(pool):
    """Pure and symbolic items mixed; the five kinds of outcome keep their places."""
    items = [boxed("42", "42"), ALGEBRA, boxed("x+1", "x^2-1"), ("no box", Problem("b", "q", "1"), False)]
    items += [(ALGEBRA[0], ALGEBRA[1], True), boxed("b", "B", "1", "2"), boxed("41", "42")]
    expected = [Grade.CORRECT, Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED, Grade.CORRECT, Grade.WRONG]
    assert pool.grade_many(items) == expected
    assert pool.grade_many(items * 3) == expected * 3
    assert pool.grade_many([]) == []


RIGHT = [
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    (r"x \geq 5", r"5 \leq x"),
    ("y=2x+3", "2y=4x+6"),
    (r"(1,\sqrt{16})", "(1,4)"),
    (r"\{\sqrt{4},1\}", r"\{1,2\}"),
    (r"0<f(x)<1", "(0,1)"),
    ("3+4i", "4 i + 3"),
    ("i", r"e^{i\pi/2}"),
    ("x", "x+0"),
    (r"\sqrt{2}", "1.4142135623730951"),
    ("0", "x^2-x^2"),
    ("-3./2", r"-\sqrt{9}/2"),
    ("1e5", r"\sqrt{10^{10}}"),
    (r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", r"\frac{E_1+2E_2}{3}"),
    (r"F_n = \sum_{k=0}^{n-1} F_k F_{n-k-1}", r"F_n = \sum_{k=0}^{n-1} F_{n-k-1} F_k"),
]
WRONG = [
    ("1/2", r"\frac{1}{2}x"),
    ("5", "5i"),
    ("5", r"5\pi"),
    (r"\pi", "3.14159265"),
    (r"\sqrt{2}", "1.414214"),
    (r"x<1", "x>-1"),
    ("x^2+y^2=25", "x^2+y^2=5"),
    (r"\{\sqrt{4},1\}", r"\{1,3\}"),
    ("42", "S(42)"),
    ("a^2+b^2", "a^2-b^2"),
    ("x^2-1", r"\notacommand{"),
    ("1e5", "5e"),
    ("0.333", r"\frac{\sqrt{1}}{3}"),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_algebraically_equal_answers_are_right(gold, answer):
    """What the child says of a pair that text alone cannot decide."""
    assert decide(gold, answer) == "right"


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_no_false_acceptance_by_the_engine(gold, answer):
    """Rounded, other variable, other unit, unreadable: wrong."""
    assert decide(gold, answer) == "wrong"


def test_a_gold_answer_nobody_can_read_is_ungradable_and_counted(pool):
    """It says nothing about the response."""
    before = pool.reasons["gold"]
    assert pool.grade_many([boxed("x", r"\frac{dM}{\odot}{"), boxed("y", "")]) == [Grade.UNGRADABLE] * 2
    assert pool.reasons["gold"] == before + 2


FAKE = (
    "import sys, time, os\n"
    "for line in sys.stdin:\n"
    "    if 'hang' in line: time.sleep(600)\n"
    "    if 'die' in line: os._exit(3)\n"
    "    print('ready' if line.strip() == 'null' else 'right', flush=True)\n"
)


def test_a_hung_child_is_killed_at_the_limit_and_a_dead_one_replaced(monkeypatch):
    """Ungradable with its reason, within the limit, and the items after it are graded as if nothing had happened."""
    monkeypatch.setattr(module, "_SERVE", FAKE)
    items = [boxed("x+1", "x"), boxed("hang+x", "x"), boxed("x+2", "x"), boxed("die+x", "x"), boxed("x+3", "x")]
    began = time.monotonic()
    with Grader(workers=1, timeout_seconds=0.5) as grader:
        grades = grader.grade_many(items)
        assert grader.reasons == Counter(timeout=1, crash=1)
    right, lost = Grade.CORRECT, Grade.UNGRADABLE
    assert grades == [right, lost, right, lost, right]
    assert time.monotonic() - began < 10.0


def test_real_algebra_that_hangs_is_cut_off():
    """An integral without an end, in the real child: never correct, and the limit holds."""
    began = time.monotonic()
    with Grader(timeout_seconds=1.0) as grader:
        grades = grader.grade_many([boxed(r"\int_0^1 \frac{\sin(x^x)}{x^{x^x}}\,dx", "1"), ALGEBRA])
    assert grades == [Grade.UNGRADABLE, Grade.CORRECT]
    assert time.monotonic() - began < 30.0


def test_a_child_that_cannot_start_fails_the_work(monkeypatch):
    """That is no verdict about any response."""
    monkeypatch.setattr(module, "_SERVE", "raise SystemExit(1)")
    with Grader() as grader, pytest.raises(RunFailed, match="math-verify"):
        grader.grade_many([ALGEBRA])


def test_it_works_from_many_threads_at_once(pool):
    """No signal is used, and threads share the children without mixing up their answers."""
    results = {}

    def work(number):
        items = [boxed(f"(x-{number})(x+{number})", f"x^2-{number * number}"), boxed(f"x+{number}", f"x^2-{number}")]
        results[number] = pool.grade_many(items)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: [Grade.CORRECT, Grade.WRONG] for number in range(2, 8)}


def test_nothing_is_left_behind():
    """After closing, the child is gone and waited for; a closed grader starts anew when asked."""
    grader = Grader(timeout_seconds=20.0)
    assert grader._all[0]._process is None, "children start when they are needed"
    assert grader.grade_many([ALGEBRA]) == [Grade.CORRECT]
    process = grader._all[0]._process
    assert process is not None and process.poll() is None
    grader.close()
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    assert multiprocessing.active_children() == []
    assert grader.grade_many([boxed("(x-3)(x+3)", "x^2-9")]) == [Grade.CORRECT]
    grader.close()


def test_a_child_imports_no_torch():
    """It starts fast and small; the check runs in a process of its own."""
    code = (
        "import sys, laconic.grader as g; g._equal_by_algebra('2', '1+1'); "
        "print([m for m in ('torch', 'transformers', 'laconic.policy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_arguments_must_be_positive():
    """Zero workers would wait forever."""
    for wrong in ({"workers": 0}, {"timeout_seconds": 0.0}):
        with pytest.raises(ValueError, match="positive"):
            Grader(**wrong)


@pytest.mark.skipif(not CASES.exists(), reason="shared/data/grading_cases.jsonl is not here")
def test_it_agrees_with_the_collected_cases(capsys):
    """At least 95% of the cases with a mathematical verdict, and no wrong answer accepted in 99.5% of those."""
    cases = [case for line in CASES.open(encoding="utf-8") if not (case := json.loads(line))["policy"]]
    responses = [c["prediction"] if c["mode"] == "text" else rf"\boxed{{{c['prediction']}}}" for c in cases]
    began = time.monotonic()
    with Grader(workers=2, timeout_seconds=5.0) as grader:
        items = [(text, Problem(c["id"], "q", c["gold"]), False) for text, c in zip(responses, cases, strict=True)]
        grades = grader.grade_many(items)
    agree = [(grade is Grade.CORRECT) == case["expected"] for grade, case in zip(grades, cases, strict=True)]
    accepted = [c["id"] for grade, c in zip(grades, cases, strict=True) if grade is Grade.CORRECT and not c["expected"]]
    with capsys.disabled():
        counts = f"{sum(agree)}/{len(agree)} = {sum(agree) / len(agree):.4f} agree, {len(accepted)} accepted wrongly"
        print(f"\ngrading cases: {counts}, {time.monotonic() - began:.0f} s")
    assert sum(agree) >= 0.95 * len(agree)
    assert len(accepted) <= 0.005 * len(agree), accepted
