"""Answers in Unicode, as a careful mathematician reads them: what is meant is accepted, what may be something else is not."""

from itertools import product

import pytest

from laconic.grading.grader import outcome_of
from laconic.grading.normal_form import clean, parts
from laconic.grading.rules import same_answer
from laconic.grading.thousands import without_thousands
from laconic.grading.unicode_maths import has_unread, in_latex

SAME = [
    *[("42", text) for text in ("４２", "٤٢", "۴۲", "४२", "๔๒", "𝟒𝟐", "𝟺𝟸", "④②")],
    *[("-42", f"{minus}42") for minus in "−－﹣–—‒‑˗➖"],
    *[("1234567", f"1{space}234{space}567") for space in ("\u00a0", "\u2009", "\u202f", "\u2007", "\u200a", " ")],
    *[("42", text) for text in ("\u200e42\u200e", "\u200f42", "\u202a42\u202c", "\u206642\u2069", "\u061c42")],
    *[
        ("42", text)
        for text in ("4\u200b2", "\ufeff42", "42\u2060", "4\u200d2", "\u180e42", "42\ufe0f", "4️⃣2️⃣", "“42”", "42 ✓")
    ],
    ("1234.5", "١٬٢٣٤٫٥"),
    ("3.14", "３．１４"),
    ("(1,2)", "（１，２）"),
    ("(1,2)", "〈1,2〉"),
    ("1,2", "1، 2"),
    ("1,2", "1、2"),
    ("50\\%", "50٪"),
    ("3:4", "3∶4"),
    ("\\frac{1}{2}", "½"),
    ("\\frac{1}{5}", "⅕"),
    ("\\frac{7}{8}", "⅞"),
    ("\\frac{1}{10}", "⅒"),
    ("\\frac{1}{2}", "¹⁄₂"),
    ("\\frac{1}{2}", "1⁄2"),
    ("3\\frac{1}{5}", "3⅕"),
    ("\\frac{7}{2}", "3½"),
    ("\\frac{7}{2}", "3 ½"),
    ("-\\frac{3}{2}", "−1½"),
    ("\\frac{7}{2}", "3¹⁄₂"),
    ("0.1\\overline{6}", "0.16̅"),
    ("\\frac{1}{3}", "0.3̅"),
    ("\\frac{1}{3}", "0.3̇"),
    ("\\frac{1}{7}", "0.1̇42857̇"),
    ("\\frac{12}{99}", "0.1̅2̅"),
    ("16", "4²"),
    ("x^2", "x²"),
    ("x^{10}", "x¹⁰"),
    ("x^{-1}", "x⁻¹"),
    ("x^{n+1}", "xⁿ⁺¹"),
    ("2^n", "2ⁿ"),
    ("a_n", "aₙ"),
    ("x_1", "x₁"),
    ("3000", "3×10³"),
    ("0.003", "3 × 10⁻³"),
    ("3000", "3⋅10³"),
    ("3000", "3∙10³"),
    ("3000", "3 x 10³"),
    ("602000", "6.02×10⁵"),
    ("\\pi", "π"),
    ("2\\pi", "2𝜋"),
    ("\\frac{\\pi}{2}", "π/2"),
    ("\\sqrt{2}", "√2"),
    ("\\sqrt{2}", "√ 2"),
    ("\\sqrt{12}", "√12"),
    ("\\sqrt{2.5}", "√2.5"),
    ("\\sqrt{1000}", "√1,000"),
    ("\\sqrt{x}", "√x"),
    ("\\sqrt{x+1}", "√(x+1)"),
    ("\\sqrt{f(x)+1}", "√(f(x)+1)"),
    ("\\sqrt{\\frac{1}{2}}", "√½"),
    ("\\sqrt{\\pi}", "√π"),
    ("\\sqrt{\\sqrt{2}}", "√√2"),
    ("\\sqrt{2+\\sqrt{3}}", "√(2+√3)"),
    ("\\sqrt[3]{10}", "∛10"),
    ("\\sqrt[4]{3}", "∜3"),
    ("2\\sqrt{3}", "2√3"),
    ("\\sqrt{2}x", "√(2)x"),
    ("\\sqrt{2} x", "√2 x"),
    ("1+\\sqrt{3}i", "1+√3i"),
    ("\\sqrt{12}", "\\sqrt12"),
    ("30^\\circ", "30º"),
    ("5\\text{ m}^2", "5㎡"),
    ("5\\text{ cm}", "5㎝"),
    ("x \\geq 3", "x⩾3"),
    ("x \\leq 3", "x≦3"),
    ("[0,\\infty)", "[0, ∞)"),
    ("6", "2\u20623"),
    ("B", "Ｂ"),
    ("B", "Ⓑ"),
]
OTHER = [
    ("42", "４３"),
    ("42", "\u202e42\u202c"),
    ("24", "\u202e42\u202c"),
    ("42", "4̸2"),
    ("42", "42☃"),
    ("42", "⁴2"),
    ("42", "4₂"),
    ("42", "-４２"),
    ("-42", "⁻42"),
    ("2n", "2ⁿ"),
    ("an", "aₙ"),
    ("31/5", "3⅕"),
    ("31/2", "3½"),
    ("31/2", "3¹⁄₂"),
    ("0.3", "0.3̅"),
    ("0.3", "0.3̇"),
    ("13", "1³"),
    ("23", "2\u20623"),
    ("24", "2\u20644"),
    ("12", "1\u20632"),
    ("2", "√12"),
    ("2", "\\sqrt12"),
    ("6", "∛27"),
    ("300", "3×10³"),
    ("103", "10³"),
    ("4", "√2"),
    ("A", "А"),
    ("42", "٤٣"),
    ("1234567", "1 234 56"),
    ("50", "50‰"),
]
AMBIGUOUS = ["√2x", "√x²", "√ab", "√2π"]


def verdict(gold, answer):
    """That of the rules, or of algebra where the rules leave it open."""
    by_rules = same_answer(gold, answer)
    return outcome_of(gold, answer) == "right" if by_rules is None else by_rules


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_what_is_meant_is_accepted_as_answer_and_as_gold(gold, answer):
    assert verdict(gold, answer) is True
    assert verdict(answer, gold) is True


@pytest.mark.parametrize(("gold", "answer"), OTHER)
def test_what_is_something_else_is_refused(gold, answer):
    assert verdict(gold, answer) is False


@pytest.mark.parametrize("answer", AMBIGUOUS)
def test_what_may_be_one_of_two_things_equals_neither_but_itself(answer):
    """Nobody knows how far the radical reaches; an algebra engine would drop it and go on."""
    assert has_unread(clean(answer))
    assert same_answer(answer, answer) is True
    for gold in ("\\sqrt{2}x", "\\sqrt{2x}", "x", "|x|", "\\sqrt{ab}", "\\sqrt{a}b", "\\sqrt{2}\\pi", "2x"):
        assert outcome_of(gold, answer) == "wrong"
    assert outcome_of(answer, "2x") == "gold"


@pytest.mark.parametrize("gold", ["1234", "1,234", "(1234)"])
def test_one_number_in_round_brackets_is_that_number_where_the_gold_answer_is_one(gold):
    """The gold answer says which it is. A gold `(1,234)` is a pair, but where a group begins with 0 it can only be a number."""
    for answer in ("(1,234)", r"\left(1,234\right)", r"(1{,}234)", "((1,234))"):
        assert same_answer(gold, answer) is True, answer
    for answer in ("[1,234]", r"\{1,234\}", "(1, 234)", "(1,235)", "(1,234,567)", "(12,34)", "(1,234]"):
        assert same_answer(gold, answer) is False, answer
    assert same_answer("(1,234)", "1,234") is False and same_answer("(1,234)", "1234") is False
    assert same_answer("(1,000)", "1000") is True and same_answer("(1,000)", "(1,0)") is False


def test_reading_twice_changes_nothing():
    for text in [text for pair in SAME + OTHER for text in pair]:
        assert clean(clean(text)) == clean(text)
        assert in_latex(in_latex(text)) == in_latex(text)


# --- thousands in lists ----------------------------------------------------------------------------------------------

PAIRS = [("1,234", "1234"), ("1,000", "1000"), ("12,345,678", "12345678"), ("-1,500.5", "-1500.5"), ("7", "7")]


@pytest.mark.parametrize("brackets", ["()", "[]", "[)", r"\{ \}", ""])
def test_numbers_with_separators_are_numbers_in_every_bracket(brackets):
    """Two of them with a space after the comma, in any brackets; never the digits of their groups."""
    left, right = brackets.split(" ") if " " in brackets else (brackets[:1], brackets[1:])
    for (one, plain_one), (two, plain_two) in product(PAIRS, PAIRS):
        grouped, plain = f"{left}{one}, {two}{right}", f"{left}{plain_one}, {plain_two}{right}"
        assert same_answer(plain, grouped) is True, (plain, grouped)
        assert same_answer(grouped, plain) is True, (plain, grouped)
        assert same_answer(f"{left}{plain_one}, {plain_two}1{right}", grouped) is False


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("(1234, 5)", "(1, 234, 5)"),
        ("(1,234, 5)", "(1, 234, 5)"),
        ("(1, 234, 5)", "(1,234, 5)"),
        ("(1,234,5)", "(1,234, 5)"),
        (r"\{1000, 2000\}", r"\{0, 1, 2\}"),
        (r"\{1,000, 2,000\}", r"\{0, 1, 2\}"),
        ("[1,000, 2,000]", "[1,0,2,0]"),
        ("(1,000; 2,000)", "(1,0;2,0)"),
        ("1,000 and 2,000", "0, 1, 2"),
        ("1,234", "1, 234"),
        ("1234", "1, 234"),
        ("(1,100), (2,200)", "1100, 2200"),
        ("(2,007)", "(2,7)"),
        ("125", "0{,}125"),
        ("1234567", "1234{,}567"),
    ],
)
def test_groups_of_digits_are_no_numbers_of_their_own(gold, answer):
    assert same_answer(gold, answer) is False


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("(1000,2000)", "(1,000,2,000)"),
        ("(1000,\\infty)", "(1,000,\\infty)"),
        ("(1234,\\infty)", "(1,234, \\infty)"),
        ("(1234,\\infty)", "x>1,234"),
        ("(1000,2000)", "1,000<x<2,000"),
        ("1234,5678", "1,234 and 5,678"),
        ("(1234,5)", r"(1{,}234,5)"),
        ("(1234,5)", r"(1\,234,5)"),
        ("(1,100), (2,200)", "(2,200),(1,100)"),
        ("(1, 234)", "(1,234)"),
        ("7, 103, 105", "7,103,105"),
        ("(1,7,103, 105), (3, 5, 101, 107)", "(3,5,101,107), (1,7,103,105)"),
        ("27,54,108", "108, 54, 27"),
        (r"\begin{pmatrix}1234&5\end{pmatrix}", r"\begin{pmatrix}1,234 & 5\end{pmatrix}"),
        ("1000\\pi", "1,000\\pi"),
        ("0.125", "0{,}125"),
        ("12345678", r"12\,345\,678"),
    ],
)
def test_lists_that_are_the_same(gold, answer):
    assert same_answer(gold, answer) is True


def test_what_may_be_a_list_stays_one():
    """Without another separator nobody knows, so the commas stand between numbers, as everywhere else."""
    assert without_thousands("(1,234,5)") == "(1,234,5)"
    assert parts("(2,251,252)").items == ("2", "251", "252")
    assert same_answer("(1234,5)", "(1,234,5)") is False
