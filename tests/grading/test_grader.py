"""The grading pool: algebra under a hard limit, in processes that leave nothing behind."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from laconic.config.defaults import GRADER_TIMEOUT_SECONDS
from laconic.errors import ProblemsError, RunFailed
from laconic.grading import grader as module
from laconic.grading.grader import Grader, outcome_of, with_names_apart
from laconic.grading.rules import grade_response, same_answer
from laconic.grading.second_graders import SECOND_GRADERS
from laconic.system import child_processes
from laconic.types import Grade, Problem

CASES = Path(__file__).parents[3] / "shared" / "data" / "grading_cases.jsonl"
PATIENCE = 60.0  # seconds for algebra that takes a fraction of one on idle cores
ALGEBRA = (r"so \boxed{(x-1)(x+1)}", Problem("a", "q", "x^2-1"), False)


def boxed(answer, gold, *choices):
    return rf"\boxed{{{answer}}}", Problem("p", "q", gold, choices=choices), False


def grades_of(grader, items):
    return [graded.grade for graded in grader.grade_many(items)]


@pytest.fixture(scope="module")
def pool():
    with Grader(workers=2, timeout_seconds=PATIENCE) as grader:
        yield grader


def test_grades_come_back_in_order_whoever_decided_them(pool):
    """Pure and symbolic items mixed; the five kinds of outcome keep their places."""
    items = [boxed("42", "42"), ALGEBRA, boxed("x+1", "x^2-1"), ("no box", Problem("b", "q", "1"), False)]
    items += [(ALGEBRA[0], ALGEBRA[1], True), boxed("b", "B", "1", "2"), boxed("41", "42")]
    expected = [Grade.CORRECT, Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED, Grade.CORRECT, Grade.WRONG]
    assert grades_of(pool, items) == expected
    assert grades_of(pool, items * 3) == expected * 3
    assert grades_of(pool, []) == []


RIGHT = [
    (r"\frac{4}{2^{2022}}", r"\frac{1}{2^{2020}}"),
    (r"\frac{e^{-50}}{2}", r"\frac{1}{2e^{50}}"),
    (r"\frac{(n-1)!}{k!}\frac{n}{(n-k)!}", r"\frac{n!}{k!(n-k)!}"),
    ("11", "2+3^2"),
    (r"\ln 2", "ln(2)"),
    ("log 2", r"\log 2"),
    (r"\log_2 3", "log_2(3)"),
    (r"\frac{\sin x}{2}", "sin(x)/2"),
    (r"\tan^2 x", "tan^2(x)"),
    ("e^2", "exp(2)"),
    (r"2\sqrt{3}", "2sqrt3"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    (r"x \geq 5", r"5 \leq x"),
    ("y=2x+3", "2y=4x+6"),
    (r"\binom{2n}{n}", r"\frac{(2n)!}{n!^2}"),
    (r"y=\frac{1}{2}x", "2y=x"),
    (r"\frac{\ln 5}{\ln 3}", r"\log_3 5"),
    (r"\frac{1}{2}+\frac{\sqrt{3}}{2}i", r"e^{i\pi/3}"),
    (r"\sqrt{12}", "12^{0.5}"),
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
    ("y(x-2)=1", r"y=\frac{1}{x-2}"),
    (r"\frac{x^2}{4}+\frac{y^2}{9}=1", "9x^2+4y^2=36"),
    (r"m\frac{dv}{dt}+bv=f", r"m\frac{dv}{dt}=f-bv"),
    (r"2\mu m", r"2m\mu"),
    (r"\frac{dP}{dt}=kP", r"\frac{dP}{dt}-kP=0"),
    (r"\frac{d}{dx}x^2", "2x"),
    ("|x|+|y|=1", "|y|=1-|x|"),
    (r"2m\mu", r"2\mu m"),
    (r"2\Omega", r"\Omega\cdot 2"),
    ("r_0", r"\sqrt{r_0^2}"),  # an index that can be no base belongs to a name
    ("2v_0", "v_0+v_0"),
    ("3x_1", r"\frac{6x_1}{2}"),
    ("x_{1}", "x_1"),
    ("2x=4", "4x=8"),
    ("2x=4", "x=2"),
    ("2x+4=0", "x+2=0"),
    ("x^2=4", "2x^2=8"),
    ("x^2-x=0", "x(x-1)=0"),
    (r"\frac{h}{2\pi}", r"h/2\pi"),
    ("3x/4y", r"\frac{3x}{4y}"),
    *[(r"\frac{3\pi}{4}", r"3/4 \pi"), (r"\frac43\pi r^3", r"4/3 \pi r^3"), (r"\frac{\sqrt3}{2}", r"1/2\sqrt{3}")],
    *[(r"\frac{\sqrt3 x}{2}", r"\sqrt{3}/2 x"), (r"\frac{x^2\sin x}{2}", r"1/2 x^2 \sin x")],
    *[("P(1+r)^T", "(1+r)^TP"), ("2^T", "2^{T}"), ("e^{-T}", r"\frac{1}{e^T}"), ("2^T", "2^t")],
    *[(r"\sqrt3", r"\tan 60^\circ"), (r"\frac14", r"\sin^2 30^\circ"), (r"\sin 20^\circ", r"\cos(70^{\circ})")],
    *[("2", r"4\cos60°"), ("10", r"{5\choose2}"), ("x^2+C", "x^2+c")],
    *[("-2", r"\sqrt[3]{-8}"), (r"-\sqrt[3]2", r"\sqrt[3]{-2}")],
]
WRONG = [
    *[(r"\frac{3}{4\pi}", r"3/4 \pi"), (r"\frac{1}{2\sqrt3}", r"1/2 \sqrt3"), (r"y=\frac{1}{2x}+3", "y=1/2 x+3")],
    *[("2^T", "2"), ("e^T", "e"), ("P(1+r)^T", "P(1+r)"), ("A^T", "A"), ("x^T y", "xy"), ("B^TA^T", "AB")],
    *[(r"\sin 20^\circ", r"\sin 20"), (r"\sin 20^\circ", r"\cos 20^\circ"), (r"1+\sqrt3 i", r"\sqrt[3]{-8}")],
    *[("5", "5 (million)"), ("12", r"12\text{ (base seven)}"), ("M+m", "m+m")],
    ("2v_0", "3v_0"),
    ("x_1", "x_2"),
    ("12_{37}", "12"),
    ("2x=4", "x=3"),
    (r"\frac{h\pi}{2}", r"h/2\pi"),
    ("x^2=4", "x=2"),
    ("x(x-1)=0", "x=1"),
    (r"\frac{1}{2^{2022}}", r"\frac{3}{2^{2022}}"),
    (r"\frac{1}{2^{2022}}", "0"),
    (r"\frac{1}{20!}", r"\frac{1}{19!}"),
    ("e^{-50}", "e^{-60}"),
    (r"2-\frac{1}{2^{99}}", r"2-\frac{1}{2^{100}}"),
    (r"1-\frac{1}{2^{2022}}", "1"),
    ("1-2^{-50}", "1"),
    ("1-2^{50}", "1"),
    (r"\sqrt{2}-\frac{1}{2^{60}}", r"\sqrt{2}"),
    (r"x+\frac{1}{10^{20}}", "x"),
    (r"\frac{x}{10^{20}}", r"\frac{2x}{10^{20}}"),
    (r"\ln 2", "ln(3)"),
    (r"\sin x", "cos(x)"),
    ("5", "5 ln 2"),
    ("1/2", r"\frac{1}{2}x"),
    ("5", "5i"),
    ("5", r"5\pi"),
    (r"\pi", "3.14159265"),
    (r"\sqrt{2}", "1.414214"),
    (r"x<1", "x>-1"),
    ("x^2+y^2=25", "x^2+y^2=5"),
    (r"\{\sqrt{4},1\}", r"\{1,3\}"),
    ("42", "S(42)"),
    ("f(n)=n, g(n)=1", "g(n)=1"),
    ("42", "42 (mod 50)"),
    ("y=2x", "x=2y"),
    (r"\sin 2x", r"2\sin x"),
    ("a^2+b^2", "a^2-b^2"),
    ("x^2-1", r"\notacommand{"),
    ("1e5", "5e"),
    ("0.333", r"\frac{\sqrt{1}}{3}"),
    ("y(x-2)=1", r"y=\frac{1}{x+2}"),
    ("a>b>c", "a>c>b"),
    (r"(1,3)\cup(3,5)", r"1<x<5, x\neq4"),
    (r"\{2\}\cup[3,\infty)", r"x=3 \text{ or } x\geq 2"),
    ("-3<x<2", r"x>-3 \text{ or } x<2"),
    (r"\frac{x^2}{4}+\frac{y^2}{9}=1", r"\frac{x^2}{9}+\frac{y^2}{4}=1"),
    ("|z-1|=2", "|z+1|=2"),
    ("|x|+|y|=1", "|x|-|y|=1"),
    ("|x|+|y|=1", "|x+y|=1"),
    ("|x|+|y|=1", "x+y=1"),
    ("|x-y|=1", "|x+y|=1"),
    (r"x+\sin(xy)=e^{y}", r"x+\cos(xy)=e^{y}"),
    (r"\frac{dP}{dt}=kP", r"\frac{dt}{dP}=kP"),
    (r"\frac{dP}{dt}=kP", r"\frac{dQ}{dt}=kP"),
    (r"\frac{\partial u}{\partial t}=ku", r"\frac{\partial u}{\partial x}=ku"),
    (r"\alpha+\beta=90", r"\alpha-\beta=90"),
    (r"m\frac{dv}{dt}+bv=f", r"m\frac{dv}{dt}=f+bv"),
    (r"\frac{d^2v_o}{dt^2}+\frac{v_o}{LC}=0", r"\frac{d^2v_o}{dt^2}-\frac{v_o}{LC}=0"),
]
SYMBOLS = [  # a gold answer, what equals it, what does not
    ("x^2+1", ["(x-i)(x+i)"], ["(x-i)(x+2i)", "(x-1)(x+1)"]),
    (r"2\cos\theta", [r"e^{i\theta}+e^{-i\theta}"], [r"e^{i\theta}-e^{-i\theta}", r"e^{\theta}+e^{-\theta}"]),
    (r"\frac{1}{1+i\omega T}", [r"\frac{1-i\omega T}{1+\omega^2T^2}"], [r"\frac{1+i\omega T}{1+\omega^2T^2}"]),
    ("v_{i}t", ["t v_i"], ["t v_f", "t+v_i"]),
    (r"T_{i}+\frac qk", ["T_i+q/k"], ["T_i-q/k", "T_i+k/q"]),
    ("x=v_{i}t", ["x=t v_i"], ["x=t v_f"]),
    (r"\sum_{i=1}^n i", [r"\frac{n(n+1)}{2}"], [r"\frac{n(n-1)}{2}"]),
    (r"m(\gamma-1)", [r"(\gamma-1)m"], [r"(\gamma+1)m", r"(\gamma-1)n"]),
    (r"\gamma(\gamma+1)", [r"\gamma^2+\gamma"], [r"\gamma^2+1", "1"]),
    (r"\Gamma(n+1)", [r"n\Gamma(n)"], [r"n\Gamma(n+1)"]),
    (
        r"\sqrt{4\pi G\rho_0r_0^2}",
        [r"r_0\sqrt{4\pi G\rho_0}", r"2r_0\sqrt{\pi G\rho_0}"],
        [r"r_0\sqrt{2\pi G\rho_0}", r"-r_0\sqrt{4\pi G\rho_0}", r"r_0^2\sqrt{4\pi G\rho_0}", r"\sqrt{4\pi G\rho_0}"],
    ),
    ("|x_1|", [], ["x_1"]),
    (r"\sqrt{x^2}", ["|x|"], ["x"]),
    (r"\frac{x}{2}-i", [r"-i+\frac x2"], [r"\frac{x}{2}-I", r"\frac{x}{2}+i"]),
]


CASES_OF_LETTERS = [  # a gold answer, what equals it, what does not
    (r"\pi(R^2-r^2)", [r"\pi(R-r)(R+r)"], ["0", r"\pi(r^2-R^2)"]),
    (r"\frac{M}{M+m}", [r"1-\frac{m}{M+m}"], [r"\frac12", r"\frac{m}{M+m}"]),
    (r"\binom Nn", [r"\frac{N!}{n!(N-n)!}"], ["1", r"\binom nN"]),
    (r"\frac{GMm}{r^2}", ["GmMr^{-2}"], [r"\frac{Gm^2}{R^2}", r"\frac{GM^2}{r^2}"]),
    (r"\frac12(B+b)h", [r"\frac{Bh+bh}{2}"], ["bh", "Bh"]),
    (r"\Omega-\omega", [r"-(\omega-\Omega)"], ["0", r"\omega-\Omega"]),
    (r"\frac\Delta\delta", [r"\Delta\delta^{-1}"], ["1", r"\frac\delta\Delta"]),
    (r"\frac{1}{2}", [], [r"\frac{M}{M+m}"]),
    ("v_M-v_m", ["-(v_m-v_M)"], ["0"]),
    (r"(\sqrt{M},\sqrt{m})", ["(M^{1/2},m^{1/2})"], [r"(\sqrt{m},\sqrt{M})"]),
    (r"\frac{dN}{dt}=kN-n", [r"n+\frac{dN}{dt}=kN"], [r"\frac{dN}{dt}=kn-n"]),
    ("2^N", ["2^n"], ["2^{n+1}"]),
    ("y'+ry=1", ["y'=1-ry"], ["y+ry'=1"]),
    ("I^2R", ["RI^2"], ["-R"]),
    ("3+4i", ["4I+3"], ["3-4I"]),
    (r"E_0e^{-t}", [r"\frac{E_0}{e^t}"], ["E_0e^t"]),
]


@pytest.mark.parametrize(("gold", "right", "wrong"), CASES_OF_LETTERS)
def test_a_capital_is_not_its_small_letter_where_an_answer_has_both(gold, right, wrong):
    """Math-Verify reads everything in lower case; two answers that differ in case alone remain equal."""
    assert [answer for answer in right if outcome_of(gold, answer) != "right"] == []
    assert [answer for answer in wrong if outcome_of(gold, answer) != "wrong"] == []


@pytest.mark.parametrize(("gold", "right", "wrong"), SYMBOLS)
def test_a_symbol_is_the_same_in_both_answers_whatever_stands_beside_it(gold, right, wrong):
    """An i, an index i and a gamma change what Math-Verify assumes; quantities with an index may be taken out of a root."""
    assert [answer for answer in right if outcome_of(gold, answer) != "right"] == []
    assert [answer for answer in wrong if outcome_of(gold, answer) != "wrong"] == []


def test_names_that_are_too_many_to_be_told_apart_are_not_compared():
    """An answer with all letters in both cases."""
    letters = "".join(
        rf"+\{name}" for name in ("kappa", "eta", "nu", "chi", "psi", "zeta", "mu", "tau", "sigma", "rho")
    )
    letters += "".join(rf"+\{name}" for name in ("lambda", "alpha", "beta", "phi", "theta", "omega"))
    every = "+".join("qwzkuvpstmnabcrxylQWZKUVPSTMNABCRXYL") + letters
    assert with_names_apart(every, "0") is None
    assert outcome_of(every, "0+0x") == "wrong"


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_algebraically_equal_answers_are_right(gold, answer):
    """What the child says of a pair that text alone cannot decide."""
    assert outcome_of(gold, answer) == "right"


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_no_false_acceptance_by_the_engine(gold, answer):
    """Rounded, other variable, other unit, unreadable: wrong."""
    assert outcome_of(gold, answer) == "wrong"


def test_a_gold_answer_nobody_can_read_is_ungradable_and_counted(pool):
    """It says nothing about the response."""
    before = pool.reasons["gold"]
    assert grades_of(pool, [boxed("x", r"\frac{dM}{\odot}{"), boxed("y", "")]) == [Grade.UNGRADABLE] * 2
    assert pool.reasons["gold"] == before + 2


def test_a_fault_of_the_rules_ends_one_grade_and_not_the_run(monkeypatch, caplog):
    """It is ungradable, counted as a crash and logged; the others are graded."""

    def failing(text, gold, **kwargs):
        return ()[len(text)] if text == "hit" else grade_response(text, gold, **kwargs)

    monkeypatch.setattr(module, "grade_response", failing)
    with Grader(workers=1) as grader:
        found = grader.grade_many([boxed("7", "7"), ("hit", Problem("b", "q", "7"), False), boxed("8", "7")])
        assert grader.reasons == Counter(crash=1)
    assert [one.grade for one in found] == [Grade.CORRECT, Grade.UNGRADABLE, Grade.WRONG]
    assert found[1].reason == "crash" and "'b'" in caplog.text and "IndexError" in caplog.text
    audited = [boxed("7", "7"), ("hit", Problem("b", "q", "7"), False)]
    assert SECOND_GRADERS["exact"](1, PATIENCE).verdicts(audited) == ["correct", "crash"]


FAKE = """
import os, sys, time
def serve():
    for line in sys.stdin:
        if 'hang' in line: time.sleep(600)
        if 'die' in line: os._exit(3)
        print('ready' if line.strip() == 'null' else 'right', flush=True)
def broken():
    raise SystemExit(1)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A module of children that hang and die when told to."""
    (tmp_path / "fake_children.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "fake_children"


def test_a_hung_child_is_killed_at_the_limit_and_a_dead_one_replaced(monkeypatch, fake):
    """Ungradable with its reason, within the limit, and the items after it are graded as if nothing had happened."""
    monkeypatch.setattr(module, "SERVE", f"{fake}:serve")
    items = [boxed(answer, r"\sin x") for answer in ("x+1", "hang+x", "x+2", "die+x", "x+3")]
    with Grader(workers=1, timeout_seconds=2.0) as grader:  # the hung child would answer after ten minutes
        grades = grades_of(grader, items)
        assert grader.reasons == Counter(timeout=1, crash=1)
    right, lost = Grade.CORRECT, Grade.UNGRADABLE
    assert grades == [right, lost, right, lost, right]


def test_real_algebra_that_hangs_is_cut_off():
    """An integral that takes seconds, in the real child: never correct, and cut off. Easy algebra has its own limit, since a busy
    machine may take longer than that over it."""
    with Grader(timeout_seconds=1.0) as grader:
        assert grades_of(grader, [boxed(r"\int_0^1 \frac{\sin(x^x)}{x^{x^x}}\,dx", "1")]) == [Grade.UNGRADABLE]
        assert grader.reasons == Counter(timeout=1)
    with Grader(timeout_seconds=PATIENCE) as grader:
        assert grades_of(grader, [ALGEBRA]) == [Grade.CORRECT]


def test_a_child_that_cannot_start_fails_the_work(monkeypatch, fake):
    """That is no verdict about any response."""
    monkeypatch.setattr(module, "SERVE", f"{fake}:broken")
    monkeypatch.setattr(child_processes, "START_PAUSE_SECONDS", 0.0)
    with Grader() as grader, pytest.raises(RunFailed, match="math-verify"):
        grades_of(grader, [ALGEBRA])


def test_it_works_from_many_threads_at_once(pool):
    """No signal is used, and threads share the children without mixing up their answers."""
    results = {}

    def work(number):
        items = [boxed(f"(x-{number})(x+{number})", f"x^2-{number * number}"), boxed(f"x+{number}", f"x^2-{number}")]
        results[number] = grades_of(pool, items)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: [Grade.CORRECT, Grade.WRONG] for number in range(2, 8)}


def test_nothing_is_left_behind():
    """After closing, the child is gone and waited for; a closed grader starts anew when asked."""
    grader = Grader(timeout_seconds=PATIENCE)
    assert grader._children._all[0]._process is None, "children start when they are needed"
    assert grades_of(grader, [ALGEBRA]) == [Grade.CORRECT]
    process = grader._children._all[0]._process
    assert process is not None and process.poll() is None
    grader.close()
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    assert multiprocessing.active_children() == []
    assert grades_of(grader, [boxed("(x-3)(x+3)", "x^2-9")]) == [Grade.CORRECT]
    grader.close()


def test_a_child_imports_no_torch():
    """It starts fast and small; the check runs in a process of its own."""
    code = (
        "import sys, laconic.grading.grader as g; g._equal_by_algebra('2', '1+1'); "
        "print([m for m in ('torch', 'transformers', 'laconic.models.policy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_arguments_must_be_positive():
    """Zero workers would wait forever."""
    for wrong in ({"workers": 0}, {"timeout_seconds": 0.0}):
        with pytest.raises(ValueError, match="positive"):
            Grader(**wrong)


def test_a_tolerance_reaches_the_engine(pool):
    """cos(pi/10)^10 is 0.60542...: within 1e-4 of 0.6054, not of 0.6052; a tolerance that is no number is named."""
    problem = Problem("a", "q", r"\cos^{10}(\frac{\pi}{10})", meta={"tolerance": "1e-4"})
    items = [(r"\boxed{0.6054}", problem, False), (r"\boxed{0.6052}", problem, False)]
    assert grades_of(pool, items) == [Grade.CORRECT, Grade.WRONG]
    assert grades_of(pool, [(items[0][0], replace(problem, meta={}), False)]) == [Grade.WRONG]
    with pytest.raises(
        ProblemsError, match="a: tolerance: expected a number or a list of them, at least 0, found 'small'"
    ):
        grades_of(pool, [(items[0][0], replace(problem, meta={"tolerance": "small"}), False)])


NEAR = [  # a gold answer, its tolerance, answers within it, and others
    (
        "7",
        "0.1",
        [r"7.05\text{ m}", "x=7.05", r"\frac{141}{20}", r"x \approx 7.05"],
        [r"7.15\text{ m}", "x=7.15", "7.05 or 9", "7.05i"],
    ),
    (r"7\text{ m}", "0.1", ["7.05", r"7.05\text{ m}"], ["7.15", r"7.05\text{ cm}"]),
    ("x=7", "0.1", ["7.05", "x=6.95"], ["y=7.05", "x=7.15"]),
    ("4.2", "0.1", [r"4.25\%"], [r"4.35\%"]),
    ("0.5", "0.1", [r"50.05\%"], [r"0.55\%", r"65\%"]),
    (r"25\%", "0.1", [r"25.05\%", "25.05", "0.2505"], [r"25.2\%", "25.2", "0.3", "0.24"]),
    ("3.14159", "0.01", [r"\pi", r"\frac{22}{7}"], [r"\pi+1", r"2\pi"]),
    ("2.72", "0.01", ["e"], ["x", "2e", "n"]),
    ("1.4", "0.1", [r"\sqrt2"], [r"\sqrt3", r"\sqrt{x}"]),
    (r"\sqrt2", "0.01", ["1.41"], ["1.4"]),
    ("7", "1", ["8", "6"], ["9"]),
    ("(1,2)", "0.1", ["(1.05,2)", "x=1.05, y=2"], ["(2,1.05)", "[1.05,2]", "(1.05,2.2)"]),
    ("[1,2)", "0.1", ["[1.05,2)", r"1.05 \leq x < 2"], ["(1.05,2]", "[1.05,2]", r"1.05 < x \leq 2"]),
    ("5,4.9", "0.1", ["4.95,5.05", r"\{5.05,4.95\}", "5,4.85"], ["4.95,5.15", "4.75,5", "5"]),
    (r"1 \pm 0.5", "0.1", ["0.55, 1.5"], ["0.55, 1.7"]),
    (
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        "0.1",
        [r"\begin{pmatrix}1.05\\2\end{pmatrix}"],
        [r"\begin{pmatrix}2\\1\end{pmatrix}"],
    ),
    ("x^2-1", "0.1", ["(x-1)(x+1)"], ["(x-1)(x+2)", "x^2-1.05"]),
]


@pytest.mark.parametrize(("gold", "tolerance", "right", "wrong"), NEAR)
def test_a_tolerance_loosens_numbers_and_nothing_else(gold, tolerance, right, wrong):
    """Units, names, percent signs, order and brackets count as they do without one."""
    assert [answer for answer in right if outcome_of(gold, answer, (), [tolerance]) != "right"] == []
    assert [answer for answer in wrong if outcome_of(gold, answer, (), [tolerance]) != "wrong"] == []


def test_the_rules_use_a_tolerance_as_the_engine_does():
    """What is no symbol is decided without algebra; one tolerance for each part of a list stays with its part."""
    for gold, tolerance, right, wrong in NEAR:
        found = {answer: same_answer(gold, answer, (), [Fraction(tolerance)]) for answer in right + wrong}
        assert not [answer for answer in right if found[answer] is False] + [
            answer for answer in wrong if found[answer]
        ]
    own = [Fraction(1), Fraction(1, 100)]
    assert same_answer("(5, 7)", "(5.5, 7.001)", (), own) is True
    assert same_answer("(5, 7)", "(5.001, 7.5)", (), own) is False


def test_the_rules_alone_know_the_tolerance_of_a_problem():
    """The second grader of an audit says what the first one said."""
    problem = Problem("a", "q", "7", meta={"tolerance": 0.1})
    items = [(r"\boxed{7.05}", problem, False), (r"\boxed{7.15}", problem, False)]
    exact = SECOND_GRADERS["exact"](1, PATIENCE)
    assert exact.verdicts(items) == ["correct", "wrong"]
    assert exact.verdicts([(items[0][0], replace(problem, meta={}), False)]) == ["wrong"]


def test_an_ungradable_grade_says_why(pool):
    """The reason stands beside the grade, and nothing beside the others."""
    found = pool.grade_many([boxed("42", "42"), ALGEBRA, boxed("y", "")])
    assert [(graded.grade, graded.reason) for graded in found] == [
        (Grade.CORRECT, ""),
        (Grade.CORRECT, ""),
        (Grade.UNGRADABLE, "gold"),
    ]


def test_the_answer_comes_with_the_grade(pool):
    """As extracted, whoever decided; a truncated response is not read."""
    items = [boxed("42", "42"), ALGEBRA, boxed("41", "42"), boxed("y", ""), ("no box", Problem("b", "q", "1"), False)]
    found = pool.grade_many([*items, (r"\boxed{42} and", Problem("c", "q", "42"), True)])
    assert [graded.answer for graded in found] == ["42", "(x-1)(x+1)", "41", "y", None, None]


# --- the collected cases ---------------------------------------------------------------------------------------------

PEERS = ("math_verify", "qwen", "prm800k", "hendrycks", "minerva")


@pytest.fixture(scope="module")
def graded():
    """Every collected case with what we say of it. Those that are made to take long have the usual limit; the others one that
    even a busy machine does not need."""
    if not CASES.exists():
        pytest.skip("shared/data/grading_cases.jsonl is not here")
    cases = [json.loads(line) for line in CASES.open(encoding="utf-8")]
    found = []
    for seconds, chosen in (
        (GRADER_TIMEOUT_SECONDS, [case for case in cases if "max_seconds" in case]),
        (PATIENCE, [case for case in cases if "max_seconds" not in case]),
    ):
        with Grader(timeout_seconds=seconds) as grader:
            found += zip(chosen, grader.grade_many([item_of(case) for case in chosen]), strict=True)
    return found


def item_of(case):
    text = case["prediction"] if case["mode"] == "text" else rf"\boxed{{{case['prediction']}}}"
    return text, Problem(case["id"], "q", case["gold"], meta={"tolerance": case.get("tolerance")}), False


def expected(graded):
    return [(found.grade is Grade.CORRECT) == case["expected"] for case, found in graded]


def test_it_agrees_with_the_cases_that_mathematics_decides(graded):
    """At least 98% of them."""
    agree = expected([row for row in graded if not row[0]["policy"]])
    assert sum(agree) >= 0.98 * len(agree), f"{sum(agree)} of {len(agree)}"


def test_it_agrees_with_the_cases_that_conventions_decide(graded):
    """At least 95% of them."""
    agree = expected([row for row in graded if row[0]["policy"]])
    assert sum(agree) >= 0.95 * len(agree), f"{sum(agree)} of {len(agree)}"


@pytest.mark.parametrize("peer", PEERS)
def test_it_agrees_more_often_than_each_grader_whose_votes_are_known(graded, peer):
    """On the cases without convention that the other voted on; a timeout or error accepts nothing."""
    rows = [row for row in graded if not row[0]["policy"] and peer in row[0].get("graders", {})]
    theirs = [(case["graders"][peer] is True) == case["expected"] for case, _ in rows]
    assert len(rows) > 800
    assert sum(expected(rows)) > sum(theirs)


def test_nothing_adversarial_is_accepted_and_nothing_else_needs_the_limit(graded):
    """No false acceptance at all without convention, none of the adversarial ones with it; only what is made to take long is cut
    off."""
    wrongly = [
        case["id"]
        for case, found in graded
        if found.grade is Grade.CORRECT
        and not case["expected"]
        and (case["category"] == "adversarial" or not case["policy"])
    ]
    late = [case["id"] for case, found in graded if found.reason == "timeout" and "max_seconds" not in case]
    assert wrongly == []
    assert late == []
