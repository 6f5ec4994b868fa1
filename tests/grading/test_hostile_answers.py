"""Texts that are made to cost time or memory: each is graded in this process at once, or in a child within its limit."""

import resource
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from laconic.errors import ProblemsError
from laconic.grading.extraction import extract_answer, extract_boxed
from laconic.grading.grader import Grader, tolerances
from laconic.grading.normal_form import clean
from laconic.grading.numbers import exact_number, quantity
from laconic.grading.rules import grade_response, same_answer
from laconic.types import Grade, Problem

GUARD_SECONDS = 30  # what hangs fails here; what is graded takes a small part of a second
GUARD_BYTES = 1 << 30
LARGE = 200_000


@pytest.fixture(autouse=True)
def guarded():
    """An alarm and a limit on memory end what would go on."""

    def late(*_: object) -> None:
        raise TimeoutError("it hangs")

    status = Path("/proc/self/status").read_text("utf-8").splitlines()
    used = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmData:"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(GUARD_SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (used + GUARD_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def nested(left: str, right: str, depth: int) -> str:
    return left * depth + "42" + right * depth


# Made when they are needed: some are megabytes long.
TEXTS: dict[str, Callable[[], str]] = {
    "nested boxes": lambda: nested(r"\boxed{", "}", 20_000),
    "nested boxes that do not close": lambda: r"\boxed{41}" + r"\boxed{" * 20_000,
    "boxes in a row": lambda: r"\boxed{42}," * 20_000,
    "boxes in a box": lambda: r"\boxed{" + r"\boxed{1} " * 20_000 + "}",
    "boxes without braces": lambda: r"\boxed 1 " * 20_000,
    "backslashes after a box": lambda: r"\boxed{41}" + "\\" * LARGE,
    "backslashes in a box": lambda: r"\boxed{" + "\\" * LARGE + "}",
    "braces": lambda: r"\boxed{" + nested("{", "}", LARGE) + "}",
    "brackets": lambda: r"\boxed{" + nested("(", ")", 20_000) + "}",
    "sets": lambda: r"\boxed{" + nested(r"\{", r"\}", 20_000) + "}",
    "open brackets": lambda: r"\boxed{" + "([{" * 800 + "}",
    "fractions": lambda: r"\boxed{" + nested(r"\frac{1}{", "}", 300) + "}",
    "roots": lambda: r"\boxed{" + nested(r"\sqrt{", "}", 400) + "}",
    "texts": lambda: r"\boxed{" + nested(r"\text{", "}", 20_000) + "}",
    "exponent": lambda: r"\boxed{1e1000000000}",
    "negative exponent": lambda: r"\boxed{1e-1000000000}",
    "power of ten": lambda: r"\boxed{7 \times 10^{999999999}}",
    "power": lambda: r"\boxed{9^{9999999999}}",
    "tower": lambda: r"\boxed{9^{9^{9^{9}}}}",
    "tower of spaces": lambda: r"\boxed{9 ^ ( 9 ^ ( 9 ) )}",
    "high tower": lambda: r"\boxed{" + "2^{" * 800 + "2" + "}" * 800 + "}",
    "factorial": lambda: r"\boxed{99999999!}",
    "factorials": lambda: r"\boxed{((9!)!)!}",
    "binomial": lambda: r"\boxed{\binom{99999999}{49999999}}",
    "digits": lambda: r"\boxed{" + "9" * LARGE + "}",
    "digits above the limit of int": lambda: r"\boxed{" + "9" * 4301 + "}",
    "decimals": lambda: r"\boxed{0." + "3" * LARGE + "}",
    "digits and an exponent": lambda: r"\boxed{" + "9" * 900 + "e3999 trillion}",
    "power of digits and an exponent": lambda: r"\boxed{(" + "9" * 900 + "e3999)^{1}}",
    "ratio": lambda: r"\boxed{" + "9" * 900 + "/" + "7" * 90 + "}",
    "thousands": lambda: r"\boxed{" + "123 " * 50_000 + "x}",
    "grouped thousands": lambda: r"\boxed{1" + ",000" * 50_000 + "}",
    "sum": lambda: r"\boxed{1" + "+1" * 20_000 + "}",
    "list": lambda: r"\boxed{" + "1," * 20_000 + "}",
    "spaces": lambda: r"\boxed{$" + " " * LARGE + "42}",
    "dollars and spaces": lambda: r"\boxed{" + "$ " * 20_000 + "(b)}",
    "stars": lambda: "the answer" + "*" * LARGE + " is " + "*" * LARGE + "42",
    "answers": lambda: "the answer is " * 20_000,
    "is": lambda: "So it " + "is " * 20_000,
    "lines": lambda: "\n" * LARGE + "42",
    "words": lambda: "The answer is " + "Aaa " * 20_000,
    "one word": lambda: "a" * LARGE,
    "signs": lambda: r"\boxed{" + "-" * LARGE + "42}",
    "small signs": lambda: r"\boxed{" + "-" * 2400 + "42}",
    "unicode": lambda: r"\boxed{" + "⁰½−" * 20_000 + "}",
    "thinking": lambda: "<think>" * 20_000 + "</think>" * 20_000,
    "code": lambda: r"\boxed{__import__('os').system('sleep 600')}",
    "equations": lambda: r"\boxed{" + "x=" * 1200 + "42}",
    "matrix": lambda: r"\boxed{\begin{pmatrix}" + "1 & " * 600 + r"\end{pmatrix}}",
    "nested matrices": lambda: r"\boxed{" + nested(r"\begin{pmatrix}", r"\end{pmatrix}", 60) + "}",
    "polynomial": lambda: r"\boxed{" + "x^2+" * 600 + "x}",
    "units": lambda: r"\boxed{42" + r"\text{cm}" * 250 + "}",
}
GOLDS = ("42", "B", r"\frac{1}{2}", "x+1", r"\{1,2\}", "(1,2)", "42 cm", "seven", "2^{64}")


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_is_graded_at_once(name):
    """In this process, against golds of all kinds: no verdict but a grade, or that algebra has to decide."""
    text = TEXTS[name]()
    answer = extract_answer(text) or ""
    for gold in GOLDS:
        assert same_answer(gold, answer) in (True, False, None)


@pytest.mark.parametrize(
    "gold", ["9" * LARGE, nested("(", ")", 20_000), "1e999999999", "\\" * 20_000, "x" * 20_000, "1 " * 20_000]
)
def test_a_hostile_gold_is_compared_at_once(gold):
    """It equals itself, as a string, and nothing else."""
    assert grade_response(rf"\boxed{{{gold}}}", gold, is_truncated=False).grade in (Grade.CORRECT, Grade.NO_ANSWER)
    assert grade_response(r"\boxed{41}", gold, is_truncated=False).grade is Grade.WRONG


def test_what_algebra_decides_ends_within_the_limit():
    """All that this process leaves undecided, in one child, whatever it takes there; nothing is called correct."""
    with Grader(timeout_seconds=1.0) as grader:
        items = [(make(), Problem(name, "q", r"\sin x"), False) for name, make in TEXTS.items()]
        found = grader.grade_many(items)
    assert Grade.CORRECT not in {graded.grade for graded in found}


def test_long_texts_are_read_as_short_ones_are():
    """The bounds change no answer: the last box, its outermost content, and what stands around runs of backslashes."""
    assert extract_boxed(r"\boxed{\boxed{1} \boxed{2}}") == r"\boxed{1} \boxed{2}"
    assert extract_boxed(r"\boxed{1} \boxed{2" + r"\{\\\{" + "}") == r"2\{\\\{"
    assert extract_boxed(r"\\boxed{3}\\\\{4}\\\}") == "3"
    assert extract_answer(nested(r"\boxed{", "}", 20_000)) == nested(r"\boxed{", "}", 20_000 - 1)[len(r"\boxed{") - 7 :]
    assert clean(nested(r"\boxed{", "}", 200)) == "42"
    assert extract_answer(r"\boxed{1}, \boxed{2}" * 3) == "1 , 2"


@pytest.mark.parametrize("text", ["9" * 1000 + "e3999", "(" + "9" * 900 + "e3999)^{1}", "0." + "9" * 900 + "e-3999"])
def test_no_number_has_more_digits_than_python_writes(text):
    """So that it can be written anywhere; a shorter one beside it is still read."""
    number = exact_number(text)
    assert number is None or str(number)
    assert exact_number("1e4000") == Fraction(10) ** 4000 and str(exact_number("1e4000"))
    assert exact_number("1" * 200 + "e4000") is not None
    assert quantity("1e3999 trillion").body


# --- tolerances ------------------------------------------------------------------------------------------------------


NO_TOLERANCES = (
    *(
        "1e1000000000",
        "1e-1000000000",
        "9" * 5000,
        10**5000,
        "1/0",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        -0.1,
        True,
    ),
    *("", " ", "small", [], ["0.1", None], [[0.1]], {"a": 1}, "0.1 cm\x1b[31m", "9" * 1000 + "e3999"),
)
TOLERANCES = (
    *(("0.1", [Fraction(1, 10)]), (0, [0]), (1e-05, [Fraction(1, 100_000)]), ("1/3", [Fraction(1, 3)]), (None, [])),
    *(([1, "2.5"], [1, Fraction(5, 2)]), ((0.5,), [Fraction(1, 2)]), (" 1e-4 ", [Fraction(1, 10**4)])),
)


@pytest.mark.parametrize("index", range(len(NO_TOLERANCES)))
def test_a_tolerance_that_is_none_is_one_line(index):
    """It names the problem, and shows what was found, shortened."""
    problem = Problem("p7", "q", "7", meta={"tolerance": NO_TOLERANCES[index]})
    says = r"p7: tolerance: expected a number or a list of them, at least 0, found"
    with pytest.raises(ProblemsError, match=says) as caught:
        tolerances(problem)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize(("stated", "expected"), TOLERANCES)
def test_a_tolerance_is_read_exactly(stated, expected):
    assert list(tolerances(Problem("p7", "q", "7", meta={"tolerance": stated}))) == expected
