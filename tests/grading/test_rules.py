"""Grading by text alone: extraction, exact comparison, and what must never be accepted or computed."""

import json
import time
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.grading.extraction import extract_answer, extract_boxed
from laconic.grading.normal_form import MAX_CHARS, clean, compact, is_dangerous, matrix_rows, parts
from laconic.grading.numbers import exact_number, quantity
from laconic.grading.rules import RULES, Graded, Undecided, grade_response, same_answer
from laconic.types import Grade

# --- extraction ------------------------------------------------------------------------------------------------------

balanced = st.recursive(
    st.text(alphabet="ab1+ ,", max_size=4) | st.sampled_from([r"\{", r"\}", r"\\", r"\frac", r"\{1,2\}"]),
    lambda inner: st.lists(inner | inner.map(lambda text: "{" + text + "}"), max_size=4).map("".join),
    max_leaves=12,
)


@given(content=balanced, before=balanced, after=balanced)
def test_any_balanced_content_comes_out_of_its_box_whole(content, before, after):
    r"""Nested braces and escaped ones: what went into the last \boxed{} comes out, whatever stands around it."""
    text = rf"{before} \boxed{{x{content}y}} {after}"
    assert extract_boxed(text) == f"x{content}y"
    assert extract_boxed(rf"\boxed{{1}} {text}") == f"x{content}y"
    assert extract_boxed(rf"\fbox{{{content}y") is None


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{41}, no, \boxed{42}", "42"),
        (r"\boxed{42} and again \boxed{4", "42"),
        (r"\boxed{\boxed{42}}", r"\boxed{42}"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\fbox{7}", "7"),
        (r"\boxed 7", "7"),
        (r"\boxed {7}", "7"),
        (r"\\boxed{-3}", "-3"),
        (r"\boxed{42} \boxed{}", None),
        (r"\boxed{", None),
        (r"\boxed{4", None),
        (r"\framebox{4}", None),
        ("boxed{4}", None),
        ("", None),
    ],
)
def test_the_last_closed_box_counts(text, content):
    """The last one that closes; an empty last box is none, and an unclosed one is not there."""
    assert extract_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think>\boxed{41}</think> \boxed{42}", "42"),
        (r"<think>\boxed{42}</think> Some other text.", None),
        (r"<think>so it is \boxed{42}", None),
        (r"<think>a</think> \boxed{41} <think>no, \boxed{42}", None),
        (r"<think><think>\boxed{41}</think> \boxed{42}", "42"),
        (r"[THINK]Try \boxed{41}. Wait,", None),
        (r"<|channel|>analysis<|message|>\boxed{41}<|channel|>final<|message|>\boxed{42}", "42"),
        (r"a</think>\boxed{1}</think>\boxed{2}", "2"),
        ("The answer is 41. No, the answer is 42.", "42"),
        ("Answer: 42\n\nExplanation: 6*7 = 42", "42"),
        ("**Answer:** **42**", "42"),
        ("**Final Answer**\n\n$42$", "$42$"),
        ("Answer $42$", "$42$"),
        ("Working.\n#### 1,234", "1,234"),
        ("####: 55", "55"),
        ("<think>x</think><answer> 2x + 3 </answer>", "2x + 3"),
        ("Final Answer: The final answer is $[2,5)$. I hope it is correct.", "$[2,5)$"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("The answer is 42 because geometry proves it", "42"),
        ("The answer is 42.5 cm.", "42.5 cm"),
        ("The answer is (B).", "(B)"),
        (r"\boxed{7} or \boxed{8}", "7 , 8"),
        (r"$y_1 = \boxed{1}$ and $y_2 = \boxed{2}$", "1 , 2"),
        (r"\boxed{7}, \boxed{7}", "7"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"First \boxed{1}, and after a long way and much more work \boxed{2}", "2"),
        (r"The answer is 42. \boxed{", None),
        (r"The final answer is $\frac{1}{", None),
        ("The answer is", None),
        ("#### ####", None),
        ("<answer></answer>", None),
        ("just 42", None),
        ("work mentions 42", None),
        ("I think A or C.", None),
        (r"\framebox{42}", None),
        ("6*7=42", None),
        ("<think>so it is 42.", None),
        ("__import__('os').system('true') or 42", None),
        ("It cannot be 42.", None),
        ("Option B is correct.", "B"),
        ("Work.\n42", "42"),
        ("42 because geometry proves it", "42"),
        ("B. Because A is not valid", "B"),
        ("The angle is [41], no, [42].", "42"),
        ("so 6*7 = **42**", "42"),
        ("Therefore $x > 5$ is the solution.", "$x > 5$"),
        (r"We find \(y\). The sum is \(42\).", r"\(42\)"),
        ("$f(x)=x^a$ for some $a>0$", "$f(x)=x^a$ for some $a>0$"),
        ("There were 6. The area is 42 cm.", "42 cm"),
        ("There were 6 of 7. Therefore, there are 42 ways. I hope it is correct. <|im_start|>user", "42"),
        ("Therefore 6 of them make 42 ways", None),
        ("Final Answer: Jane started growing roses 3 hours ago.", "3"),
        ("Answer $ \n 9 \n $", None),
        ("", None),
        ("**Answer: 5**\n\nThis answer is consistent with the constraints.", "5"),
        ("The answer is 5. I checked that the answer is within the range.", "5"),
        ("Final answer: 5\n\n(The answer is an integer, as required.)", "5"),
        ("The answer is an integer", "an integer"),
        ("(B)", "(B)"),
        ("Option (B)", "B"),
        ("(A) is wrong", None),
    ],
)
def test_the_answer_is_the_last_box_else_what_follows_the_last_marker(text, answer):
    """After the thinking; without box and marker there is no answer, whatever numbers stand in the text."""
    assert extract_answer(text) == answer


DENIED = [
    *("So it is not {}.", "Therefore, there are not {} ways.", "Therefore {} is not the answer.", "Hence it isn't {}."),
    *(
        "Therefore, x never equals {}.",
        "So we cannot get {}.",
        "So ${}$ does not work.",
        "Therefore $n={}$ is impossible.",
    ),
    *("Therefore, there are at least {} such numbers.", "So the number is less than {}.", "So {} is too large."),
    *(
        "I don't think x is {}.",
        "So I cannot say that n is {}.",
        "So n is divisible by {}.",
        "Therefore, n must exceed {}.",
    ),
    *("Is it ${}$?", "Suppose that $n={}$."),
    *("So the answer would be {} if x were odd.", "So it is not **{}**.", "The area is $13$, not ${}$."),
]
STATED = [
    *("So it is {}.", "Therefore, there are {} ways.", "So the number of those that are not prime is {}."),
    *(
        "So no other n works, hence n equals {}.",
        "So the two are not similar, and the area is {}.",
        "So it would be {} dollars.",
    ),
    *("Therefore there are {} students who do not swim.", "{} because it is not 7"),
    *("So the number of subsets with no consecutive elements = {}.", "So the number of false statements is {}."),
    *(
        "So the number of paths not passing through A: ${}$",
        "Therefore, the number of students who take neither is ${}$.",
    ),
    *("Therefore he got {} wrong.", "Therefore, {} answers were incorrect.", "So the remaining {} are not red."),
]


@pytest.mark.parametrize("sentence", DENIED)
def test_a_result_that_is_denied_bounded_or_conditional_is_no_answer(sentence):
    """Where a text has neither box nor marker."""
    assert extract_answer(sentence.format(12)) is None


@pytest.mark.parametrize("sentence", STATED)
def test_a_denial_of_something_else_leaves_the_result(sentence):
    """A clause with a verb of its own, a reason, and what someone does not do."""
    assert (extract_answer(sentence.format(12)) or "").strip("$") == "12"


# --- numbers, units, parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-12", Fraction(-12)),
        ("--5", Fraction(5)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("1,234.50", Fraction(2469, 2)),
        ("1 000", Fraction(1000)),
        ("6/8", Fraction(3, 4)),
        (r"-\frac{1}{2}", Fraction(-1, 2)),
        (r"\frac{-1}{-2}", Fraction(1, 2)),
        (r"7\frac{3}{4}", Fraction(31, 4)),
        ("7 3/4", Fraction(31, 4)),
        (r"1.5\times10^{3}", Fraction(1500)),
        ("6.02e23", Fraction(602 * 10**21)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        ("2^{-1}", Fraction(1, 2)),
        ("(1/2)^{2}", Fraction(1, 4)),
        ("2^{64}", Fraction(18446744073709551616)),
        ("1/0", None),
        (r"\frac{1}{0}", None),
        (r"1\frac{1}{0}", None),
        ("0^{-1}", None),
        ("9^{999999999}", None),
        ("1e999999999", None),
        ("9" * 1001, None),
        ("999^{4000}", None),
        ("1,23", None),
        ("1, 234", None),
        ("4 2", None),
        ("x", None),
        ("", None),
        (".", None),
    ],
)
def test_numbers_are_read_exactly_or_not_at_all(text, value):
    """Fractions, not floats; powers that would be large are not computed; 1,23 and 4 2 are no numbers."""
    assert exact_number(text) == value


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**6))
def test_every_spelling_of_a_fraction_is_equal(above, below):
    """a/b, the LaTeX fraction, the grouped integer and the reduced fraction are one number."""
    reduced = Fraction(above, below)
    for spelling in (f"{above}/{below}", rf"\dfrac{{{above}}}{{{below}}}", f"${above} / {below}$"):
        assert same_answer(f"{reduced.numerator}/{reduced.denominator}", spelling) is True
        assert same_answer(f"{reduced.numerator + reduced.denominator}/{reduced.denominator}", spelling) is False
    assert same_answer(str(above), f"{above:,}") is True


def test_units_are_split_off_but_letters_are_not():
    """`5 m` in text is five metres, `5m` five times m, and `12 or 13` is no quantity."""
    assert quantity(clean(r"15\mbox{ cm}^2")).unit == "cm^2"
    assert quantity("12 square feet").unit == "ft^2"
    assert quantity("3 cubic meters").unit == quantity(clean(r"3\text{ m}^3")).unit == "m^3"
    assert quantity("5 miles per hour").unit == quantity("5 mph").unit == "mph"
    assert quantity("2 million dollars").body == "2000000"
    assert quantity("2.5 million").body == "2500000"
    assert quantity("x million").body == "x million"
    assert not any(quantity(text).has_unit for text in ("5m", "5i", r"5\pi", "12 or 13", "12 hours 30 minutes", "n"))


def test_parts_keep_their_brackets_and_thousands_together():
    """A grouped number is one part; plus-minus is two; semicolons hold tuples."""
    assert parts("1,234,567").items == ("1,234,567",)
    assert parts("(2,251,252)").items == ("2", "251", "252")
    assert parts(r"x=1\pm\sqrt{2}").items == (r"x=1+\sqrt{2}", r"x=1-\sqrt{2}")
    assert parts("p=5,q=2;p=7,q=2").items == ("(p=5,q=2)", "(p=7,q=2)")
    assert parts(r"[0,1)\cup(2,3]").left == "cup"
    assert matrix_rows(r"\begin{pmatrix}1&2\\3&4\\\end{pmatrix}") == (("1", "2"), ("3", "4"))
    assert matrix_rows("5") is None


def test_cleaning_is_idempotent_on_its_own_results():
    """A cleaned answer is its own clean form: comparing twice cannot differ."""
    for text in (r"$\dfrac{1}{2}\text{ cm}$.", r"x = 5\,", r"\left(1,\frac\pi2\right)", "50 percent", "½", "4²", "x≥3"):
        assert clean(clean(text)) == clean(text)
    assert compact(clean(r"\sin  x + 4 2")) == r"\sin x+4 2"


# --- comparison ------------------------------------------------------------------------------------------------------

EQUAL = [
    ("Blv", "vBl"),
    ("Mgh", r"M \cdot g \cdot h"),
    ("mgg", "mg^2"),
    ("1 2 3", "1  2 3"),
    ("1 2 3", "(1, 2, 3)"),
    ("-1 0 2.5", "-1, 0, 2.50"),
    ("12 000", "12000"),
    ("1 1/2", "3/2"),
    ("0x1f", "1F"),
    ("x1", "x_1"),
    ("H2O", "H_{2}O"),
    ("2x1", "2*x_1"),
    ("m1v1", r"m_1 \cdot v_1"),
    ("42", "042"),
    ("42", "42.0"),
    ("42", "$42$."),
    ("42", r"\text{42}"),
    ("42", r"\boxed{42}"),
    ("42", "**42**"),
    ("42", "42<|im_end|>"),
    ("42", "The answer is 42"),
    ("42", "４２"),
    ("42", "٤٢"),
    ("-5", "−5"),
    ("1/2", r"\frac12"),
    (r"\frac{1}{2}", "½"),
    (r"\frac{1}{3}", "0.3333333333333333"),
    ("16", "4²"),
    ("7425000", r"7{,}425{,}000"),
    ("12345678", r"12\,345\,678"),
    ("32349", r"32,\! 349"),
    ("15", r"\$15"),
    ("15", "€15"),
    ("2000000", "2 million"),
    ("3.14", "3,14"),
    (r"25\%", "0.25"),
    (r"25\%", "25"),
    ("0.5", r"50\%"),
    ("10", "10 percent"),
    (r"\frac{1}{2}\%", "0.005"),
    ("5", "x=5"),
    ("x=5", "5"),
    ("2=x", "x=2"),
    ("5", "f(2)=5"),
    ("2", r"\sqrt{4} = 2"),
    ("1", r"\lim_{x \to 0} \frac{\sin x}{x} = 1"),
    ("11", r"x\approx11"),
    ("1/3", r"x=1/3\approx0.33"),
    (r"\frac{1}{3} \approx 0.33", "1/3"),
    ("(p,q)=(3,2)", "(3,2)"),
    ("10", r"10\text{ cm}"),
    (r"10\text{ cm}", "10 centimeters"),
    ("90", r"90^{\circ}"),
    ("12", "12 students"),
    (r"2\sqrt{3}\text{ cm}", r"2\sqrt{3}"),
    ("1,-2", "x=-2 or x=1"),
    ("1, 2 and 3", r"\{3,2,1\}"),
    (r"\pm 3", "3,-3"),
    (r"2 \pm \sqrt{3}", r"2-\sqrt3,\ 2+\sqrt3"),
    ("(3,4)", r"\left( \frac{6}{2}, 4 \right)"),
    ("(1,2),(3,4)", "(3,4),(1,2)"),
    ("(0;0),(1;2)", "(1,2),(0,0)"),
    ("[0,1)", "[0, 1.0)"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"),
    (r"\{5\}", "5"),
    (r"\emptyset", r"\{\}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix} 1.0 \\ 2 \end{bmatrix}"),
    ("1011_2", r"1011_{\text{two}}"),
    ("121_b", "121_{b}"),
    ("BEEF_{16}", "beef_{16}"),
    ("3:4", "3 : 4"),
    (r"\text{Evelyn}", "evelyn"),
    (r"\text{ellipse}", "an ellipse"),
    (r"\text{(B)}", "B) 7"),
    ("B", "(B)"),
    (r"\mathbb{R}", "all real numbers"),
    ("9^{9^{9}}", "9^{(9^{9})}"),
    ("2^{1000000}", "4^{500000}"),
    ("3001", "1" + "+1" * 3000),
    ("42", "0" * 3000 + "42"),
    ("42", "42." + "0" * 4000),
    ("42", r"\left(" * 200 + "42" + r"\right)" * 200),
    *[
        ("42", text)
        for text in (r"\underline{\mathbf{42}}", r"\colorbox{yellow}{42}", r"42 \tag{1}", r"{\bf 42}", "*42*")
    ],
    *[("42", text) for text in (r"\hspace{1em}42\phantom{0}", r"\SI{42}{cm}", r"\num{42}", r"\sim 42", "about 42")],
    *[("42", text) for text in ("the total is 42", "m+n=42", "m+n=40+2=42", r"\beginboxed{42}")],
    ("-3", "negative 3"),
    ("42", "42 (forty-two)"),
    ("42", "therefore 42"),
    ("-3", "{-}3"),
    ("1,22", "1.22"),
    ("0,111", "0.111"),
    ("1000000", "(1,000,000)"),
    ("(1,000)", "1000"),
    ("1234567", "1'234'567"),
    ("1234567", r"1\text{,}234\text{,}567"),
    (r"\frac{1}{3}", r"0.\bar{3}"),
    (r"\frac{1}{2}", r"\nicefrac{1}{2}"),
    (r"\frac{1}{2}", r"\frac{1}{2}\text{ or }0.5"),
    (r"1.5\times10^{-3}", "1.5 x 10^{-3}"),
    ("2\\pi", "2pi"),
    (r"25\pi", r"25\pi\text{ cm}^2"),
    (r"25\pi", r"25\pi\ \mathrm{cm}^2"),
    (r"25\pi", "25\\pi square inches"),
    (r"5\text{ m}^2", "5 m^2"),
    (r"5\text{ m/s}", r"5 \frac{\text{m}}{\text{s}}"),
    ("5", r"5\text{ kg}\cdot\text{m}^2"),
    ("12", "12cm^3"),
    ("1000.99", "1,000.99m²"),
    (r"30^\circ\text{C}", "30°C"),
    ("90", r"90\text{°}"),
    ("5", "USD 5"),
    ("B", "(b)"),
    ("B", "B, because it fits"),
    ("B", "The correct option is B"),
    ("3:45", "3:45 PM"),
    (r"10:30\text{ a.m.}", "10:30 AM"),
    ("3:4", r"3\text{ to }4"),
    ("3:4", "0.75"),
    ("3:4", "6:8"),
    (r"\frac{1}{3}", "0." + "3" * 4000),
    ("0.3", "0.30000000000000004"),
    ("2A3_{16}", "2a3_{16}"),
    (r"x \geq 3", r"[3,\infty)"),
    ("[0,1)", r"0 \le x < 1"),
    ("[0,1)", r"\{x \mid 0\le x<1\}"),
    ("[0,1)", "[0,1["),
    ("(0,1]", "]0,1]"),
    ("x>1", r"x\in(1,+\infty)"),
    (r"(-\infty,1)\cup(2,\infty)", r"x<1\text{ or }x>2"),
    (r"(-\infty,\infty)", r"\text{all real numbers}"),
    (r"\emptyset", r"\text{no real solutions}"),
    ("(3,4)", "x=3, y=4"),
    ("(a,b,c)=(1,2,3)", "b=2, a=1, c=3"),
    ("(1,2)", r"\langle 1,2\rangle"),
    ("(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[3,4]]"),
    ("x^2+2x+1", "1+x+x+x^{2}"),
    (r"\frac{1}{2}x-y", r"-y+0.5x"),
    (r"k\pi, k\in\mathbb{Z}", r"k\pi"),
    ("No", "NO"),
    ("xy", "x y"),
    (r"\text{well-known}", "well known"),
    ("0.001", "10^-3"),
    ("e^{-x}", "e^-x"),
    *[
        (r"\frac{\sqrt{65}}{2}", rf"\{wrapper}{{\frac{{\sqrt{{65}}}}{{2}}}}")
        for wrapper in ("mathbf", "bm", "text", "underline", "ensuremath")
    ],
    ("120,-120", r"-120,\,120"),
    ("16,3,1,1", "1,16,3,1"),
    (r"\{1,1,2\}", "2,1"),
    (r"\angle ABC", r"\angle CBA"),
    ("700000", r"7\text{ hundred thousand}"),
    ("700000", r"7\text{ lakh}"),
    ("7", r"7^{\text{th}}"),
    ("7", r"7\text{ in}"),
    (r"\$18", "18"),
    ("18", r"\$18"),
    (r"\$32,\!348", "32348 dollars"),
    (r"\$15", r"\$15\text{ per hour}"),
    ("1.5^2", "2.25"),
    (r"7\text{ hours }30\text{ minutes}", r"7\text{ hr }30\text{ min}"),
    *[
        ("3 hours 30 minutes", other)
        for other in (r"3\text{ hours }30\text{ minutes}", "3 hr 30 min", "3 hours and 30 minutes")
    ],
    *[("7 R 2", "7 remainder 2"), ("2 red 3 blue", "2 red, 3 blue"), ("2 out of 6", r"2\text{ out of }6")],
    *[("Row 3 Seat 5", "row 3, seat 5"), ("12 remainder 1", r"12\text{ R }1")],
    *[("Monday and Friday", "Friday and Monday"), (r"\text{Alice}, \text{Bob}", "Bob and Alice"), ("AB, CD", "CD, AB")],
    (r"\text{No, there are none}", "no there are none"),
    ("10", "15-3-2"),
    (r"30^\circ 15'", r"30^{\circ}15'"),
    *[("5000000", "5 millions"), ("500", "¥500"), ("500 yen", "¥500"), ("500 yuan", "¥500"), ("15 rupees", "₹15")],
    *[("15 rupees", "Rs. 15"), ("500", "INR 500"), ("500 dollars", "USD 500")],
    *[(f"12 {unit}", "12") for unit in ("quarts", "cups", "acres", "tons", "knots", "centuries", "pence")],
    *[("12 quarts", r"12 \text{ qt}"), ("4 centuries", r"4\text{ century}"), ("3", r"3\text{ cups of flour}")],
    *[(r"5\% \text{ increase}", "5\\%"), (r"20\text{ m north}", "20"), ("5", r"5 \text{ (increase)}")],
    *[("(4,5)", r"x=4 \quad y=5"), ("x=4, y=5", r"x=4,\quad y=5"), ("x=4, y=5", r"x=4 \quad\text{and}\quad y=5")],
    *[("AB=3, BC=4", "3, 4"), ("f(1)=3, f(2)=4", "3, 4"), (r"\text{length}=3, \text{width}=4", "3, 4")],
    *[("(3,4)", "AB=3, BC=4"), (r"\alpha=3, \beta=4", "3, 4")],
    *[("m=3, n=4", other) for other in ("3, 4", "3 and 4", "n=4, m=3", "(3,4)")],
    *[
        ("x_1=3, x_2=4", "4, 3"),
        ("(3,4)", "(m,n)=(3,4)"),
        ("(2,1)", "(y,x)=(1,2)"),
        ("(y,x)=(1,2)", "(1,2)"),
        ("(1,2),(2,1)", "(x,y)=(1,2) and (2,1)"),
        ("m=3, n=3", "3, 3"),
    ],
    *[(r"\mathbb R", r"\mathbb{R}"), (r"\mathbb{R}", r"\R"), (r"(-\infty,\infty)", r"\mathbb R")],
    (r"\binom{n}{k}", r"{n\choose k}"),
    *[(r"\tan\phi", r"\tan\varphi"), (r"\epsilon_0", r"\varepsilon_0")],
    ("(1,1)", "1,1"),
    ("x^2+C", "c+x^2"),
]
DIFFERENT = [
    *[("p - q", other) for other in ("pq", "-p-q", "q-p")],  # short words may be products
    *[("xy", other) for other in ("-xy", "x-y", "a xy")],
    ("xy'", "xy"),
    ("Mg", "mG"),
    ("AB", "ab"),
    ("D, E", "DE"),
    ("abcd", "-abcd"),
    *[("no", "on"), ("NE", "EN"), ("HT", "TH"), ("ACB", "ABC"), (r"\angle ABC", r"\angle ACB")],
    *[("3", rf"3\text{{ {unit} }}{rest}") for unit, rest in (("weeks", r"4\text{ days}"), ("R", "2"), ("base", "8"))],
    (r"3\text{ weeks}", r"3\text{ weeks }4\text{ days}"),
    (r"3\text{ weeks }4\text{ days}", r"3\text{ weeks }5\text{ days}"),
    *[("7", rf"7\text{{ {word}}}") for word in ("tenths", "squared", "factorial", "lakh", "bn", "k", "per mille")],
    *[("7", rf"7\text{{ {words} }}x") for words in ("less than", "more than")],
    ("2", r"2\text{ thirds}"),
    *[(r"\$18", other) for other in (r"18\text{ cents}", "18 €", r"18\text{ kg}")],
    (r"7\text{ cents}", r"\$7"),
    *[("16,3,1,1", other) for other in ("16,3,1", "16,16,3,1")],
    ("5100", r"5,\,100"),
    ("1 2 3", "3 2 1"),  # a row of numbers is no product
    ("1 2 3", "6"),
    ("1 2 3", "1 2"),
    ("0 1 0", "1 0 0"),
    ("1 2\n3 4", "4 3\n2 1"),
    ("3a0", "0"),  # nor is a numeral, or a name, with digits after letters
    ("1f0", "2c0"),
    ("0", "3a0"),
    ("0xa0a039", "0"),
    ("H2O", "2HO"),
    ("C3", "3C"),
    ("off", "ffo"),  # nor a word
    ("Yes", "esY"),
    ("HTH", "HHT"),
    ("V0", "v_0"),  # case counts in names
    ("1 -2", "-1"),  # and a row is no sum
    ("-1 -2 -3", "-6"),
    ("42", "43"),
    ("42", "-42"),
    ("42", "4 2"),
    ("42", "4,2"),
    ("42", "forty-two"),
    ("42", "42 or 43"),
    ("42", "42, 43"),
    ("42", r"42\pm1"),
    ("42", r"7\ (or\ 42)"),
    ("42", r"42\text{ thousand}"),
    ("42", "42 apples and 3 pears"),
    ("42", "x+1=42"),
    ("42", "1==42"),
    ("42", ","),
    ("1/3", "0.333333"),
    ("1/2", "1/0"),
    ("3.14", r"3.141"),
    ("12345", "12.345"),
    ("32349", "32350"),
    (r"25\%", "2500"),
    ("0.5", r"0.5\%"),
    (r"10\text{ cm}", r"10\text{ m}"),
    (r"10\text{ cm}", r"10\text{ cm}^2"),
    (r"2\sqrt{3}\text{ cm}", r"2\sqrt{3}\text{ m}"),
    ("x=5", "y=5"),
    ("x=5", "x=5, x=3"),
    ("7 = 11a+c", "11a+c"),
    ("1,-2", "1,2"),
    ("1,-2", "-2"),
    (r"\pm 2021", "2021"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(1,2,3)"),
    ("(1,2)", "12"),
    ("1,-2", "(1,-2)"),
    ("[0,1)", "[0,1]"),
    (r"\emptyset", r"\{\emptyset\}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    ("1011_2", "1011_3"),
    ("1011_2", "11"),
    ("5", "x=4 or x=5"),  # a list of guesses
    ("5", "x=4 and x=5"),
    (r"\frac12", r"x=\frac13\text{ or }x=\frac12"),
    ("2A_{16}", "42"),
    ("3:45", "345"),
    ("f'", "f"),
    ("x", "X"),
    (r"\text{even}", "odd"),
    (r"\text{even}", r"\text{not even}"),
    ("B", "C"),
    ("B", r"\beta"),
    ("B", "Because"),
    ("B", "A, B"),
    ("9^{9^{9}}", "9^9"),
    ("42", "S" * (MAX_CHARS + 1)),
    ("2^{1000000}", "2^{1000001}"),
    ("2^{1000000}", "3^{1000000}"),
    ("1", "1." + "0" * 5000 + "1"),
    ("1", "0." + "9" * 5000),
    ("1/2", "1:2"),
    ("8,4", "8.4"),
    ("f(n)=n, g(n)=1", "g(n)=1"),
    ("2.0", "2.00000000000000000001"),
    (r"10\text{ a.m.}", r"10\text{ p.m.}"),
    ("3:45", "3.75"),
    ("3:45", "6:90"),
    (r"10:30\text{ AM}", "10:30 PM"),
    ("(2,251,252)", "2251252"),
    ("12345", "(12,346)"),
    (r"30^\circ\text{C}", r"30^\circ\text{F}"),
    (r"25\pi\text{ cm}^2", r"25\pi\text{ cm}"),
    ("x+y=5", "5"),
    ("42", "m+n=41"),
    ("42", "the total is 41"),
    ("(3,4)", "x=4, y=3"),
    ("(3,4)", "y=3, x=4"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[4,3]]"),
    ("x^2+2x+1", "x^2+2x"),
    ("x^2y", "xy^2"),
    ("B", "(c)"),
    *[("3 hours 30 minutes", "30 hours 3 minutes"), ("5 ft 6 in", "6 ft 5 in"), ("2 red 3 blue", "3 red 2 blue")],
    *[("2 red 3 blue", "2 blue 3 red"), ("7 R 2", "2 R 7"), ("12 remainder 1", "3 remainder 4"), ("1 in 6", "6 in 1")],
    *[("2 out of 6", "3 out of 4"), ("10 by 20", "5 by 40"), ("Row 3 Seat 5", "Row 5 Seat 3")],
    *[("AB, CD", "ABCD"), ("ABCD", "AB, CD"), ("HHT, THH", "HHTTHH"), ("ab, cd", "abcd")],
    *[("2020-03-05", other) for other in ("2020-05-03", "2012")],
    *[("3-1-2", "3-2-1"), ("1-2-3-4", "1-4-3-2"), ("2012", "2020-03-05")],
    *[(r"45^\circ30'", r"453^\circ0'"), (r"45^\circ30'", r"30^\circ45'"), ("1234", r"12^\circ34")],
    *[("5", f"5 {words}") for words in ("twelfths", "ten-thousandths", "thousands", "millions", "dozens", "score")],
    *[("5", f"5 {words}") for words in ("point five", "divided by two", "root two", "degrees below zero")],
    *[("5 quarts", "5 gallons"), ("5 tons", "5 tonnes"), ("3 acres", "3 hectares"), ("20 pence", "20 cents")],
    *[("3 cups", "3 tablespoons"), ("3 decades", "3 years"), ("3 knots", "3 mph"), ("5 pints", "5 quarts")],
    *[(r"5\% \text{ increase}", r"5\% \text{ decrease}"), (r"\$20 \text{ profit}", r"\$20\text{ loss}")],
    *[(r"20^\circ\text{ north}", r"20^\circ\text{ south}"), (r"5\text{ more}", r"5 \text{ fewer}")],
    *[("5", r"x=4 \quad y=5"), ("4", r"x=4 \qquad y=5")],
    *[("AB=3, BC=4", "4, 3"), ("f(1)=3, f(2)=4", "4, 3"), (r"\text{length}=3, \text{width}=4", "4, 3")],
    *[("12", "12 base five"), ("5", r"5 \text{ (in millions)}"), ("5", "5...")],
    *[("m=3, n=4", "4, 3"), ("x=1 and y=2", "2, 1"), ("a=1,b=2,c=3", "3,2,1"), ("m=3, n=4", "3, 4, 4")],
    *[("(1,2)", "(y,x)=(1,2)"), ("(3,4)", "(n,m)=(3,4)"), ("(1,2)", "1,2,1")],
    *[(r"\$500", "¥500"), (r"\$500", "₹500"), ("15 dollars", "Rs. 15"), ("500 yen", "500 yuan"), (r"\$5", "EUR 5")],
    *[
        ("M+m", "m+m"),
        ("2A+b", "2a+b"),
        ("C+c+1", "c+1"),
        ("C", "c"),
        ("5", "5 (million)"),
        ("12", r"12\text{ (base seven)}"),
    ],
]
UNDECIDED = [
    *[("1", "1-2^{50}"), ("25", "2+3^2"), ("9/4", "3/2^2")],  # a power binds closer than a sum and a quotient
    *[("5", rf"\begin{{{kind}}}{rows}\end{{{kind}}}") for kind in ("pmatrix", "bmatrix") for rows in ("", r"\\")],
    ("x^2-1", "(x-1)(x+1)"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\{\sqrt{4},1\}", r"\{1,2\}"),
    (r"(2,3)\cup(3,\infty)", r"(2,3)\cup(3,5)\cup(3,\infty)"),
    (r"2\sqrt{3}\text{ cm}", r"\sqrt{12}"),
    ("y=2x+3", "2y=4x+6"),
    ("", "42"),
    ("[0,1)", r"0 \leq x \leq 1"),
    (r"y=\frac{1}{2}x", "2y=x"),
    ("42", "42 (mod 50)"),
    (r"\frac{\ln 5}{\ln 3}", r"\log_3 5"),
]


NAMED = [  # an equation, what equals it, and what does not: right without algebra, wrong or left to algebra
    (r"\frac{x^2}{4}+\frac{y^2}{9}=1", [], ["1", r"\frac{x^2}{9}+\frac{y^2}{4}=1", r"\frac{x^2}{4}-\frac{y^2}{9}=1"]),
    ("|z-1|=2", [], ["2", "|z+1|=2"]),
    ("|x|+|y|=1", [], ["1", "|x|-|y|=1"]),
    ("x(x-1)=0", [], ["0", "x(x+1)=0", "f(x)=0"]),
    (r"r\cos\theta=4", [], ["4", r"r\sin\theta=4"]),
    (r"\alpha+\beta=90", [], ["90", r"\alpha-\beta=90"]),
    (r"\frac{dy}{dx}=2x", [], [r"\frac{dx}{dy}=2x"]),
    ("xy=6", [], ["6", "x+y=6"]),
    ("abcd=24", [], ["24"]),
    ("y(x-2)=1", [], ["1", "y(x+2)=1"]),
    ("1", [r"\lim_{x\to 0}\frac{\sin x}{x}=1", "xy=1", "|z|=1"], ["x(x-1)=1", "|z-1|=1", r"\frac{x^2}{4}+y^2=1"]),
    ("2x", [r"\frac{dy}{dx}=2x", "f(x)=2x"], ["x+f(x)=2x"]),
    (r"\frac{NO}{BO}=\frac{1}{2}", ["0.5"], [r"\frac{BO}{NO}=\frac{1}{2}"]),
    ("|AB|=1", ["1", "BA=1", r"\overline{AB}=1"], ["|CD|=1", "x=1"]),
    (r"\angle ABC=90", ["90", r"\angle CBA=90^\circ"], [r"\angle ACB=90"]),
    ("P(A)=1/2", ["1/2", "P=1/2"], ["P(B)=1/2", "P(A|B)=1/2"]),
    ("P(A|B)=1/2", ["1/2"], ["P(B|A)=1/2"]),
    ("f(2)=5", ["5"], ["f(3)=5", "f(-2)=5"]),
    ("f(n)=n+1", ["n+1", "f(m)=m+1", "y=n+1"], ["f(m)=n+1", "f(n+1)=n+1", "g(n)=n+1"]),
    (r"\sin\theta=\frac{1}{2}", ["1/2"], [r"\cos\theta=\frac{1}{2}"]),
    (r"\log_2 x=3", ["3"], [r"\log_3 x=3"]),
    (r"\text{Total cost}=5", ["5"], ["6"]),
    (r"m_{\max}=n^2-1", ["n^2-1"], [r"m_{\min}=n^2-1"]),
]


@pytest.mark.parametrize(("gold", "right", "wrong"), NAMED)
def test_an_equation_is_a_value_only_where_its_left_side_is_a_name(gold, right, wrong):
    """A name holds no operator; equations that name different things are not compared by their right sides alone."""
    assert [answer for answer in right if same_answer(gold, answer) is not True] == []
    assert [answer for answer in wrong if same_answer(gold, answer) is True] == []


UNITS = [
    r"\,\mathrm{m}",
    r"\,\mathrm{N}",
    r"\ \mathrm{J}",
    r"~\mathrm{km\,s^{-1}}",
    r"\,\mathrm{erg\ s^{-1}\ cm^{-2}}",
    r"\text{ V}",
]
UNITS += [
    r"\,\mathrm{N\cdot m}",
    r"\,\mathrm{kg\cdot m/s}",
    r"\ \mathrm{m}\,\mathrm{s}^{-1}",
    r"\,\mathrm{W\,m^{-2}\,K^{-1}}",
    r"\ \Omega",
]
UNITS += [
    r"\,\mathrm{k\Omega}",
    r"\text{k}\Omega",
    r"\,\mu\text{m}",
    r"\,\mu\mathrm{s}",
    r"\,\mathrm{\mu C}",
    r"\ \AA",
    r"\,\mathring{A}",
]
UNITS += [
    r"\text{ Å}",
    r" M_\odot",
    r"\,\mathrm{M_\odot}",
    r"\,L_{\odot}",
    r"\,R_\oplus",
    r"\,M_\odot\,\mathrm{yr}^{-1}",
    r"/\text{day}",
]
UNITS += [
    r"\,\frac{\text{m}}{\text{s}}",
    r" \frac{m}{s}",
    r"\text{ J/(mol K)}",
    r"\text{ J mol}^{-1}\text{ K}^{-1}",
    r"\,\mathrm{cm}^{-3}",
]


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_after_a_number_is_read_whole(unit):
    """One unit expression after a complete number, in an equation and a tuple as well; the number still counts, and so does what
    follows it."""
    for number, gold in (("9.6", "9.6"), (r"9.6 \times 10^{3}", "9600"), (r"\frac{1}{2}", "0.5"), ("x=9.6", "9.6")):
        assert same_answer(gold, f"{number}{unit}") is True
        assert same_answer(f"{number}{unit}", gold) is True
        assert same_answer(gold + "1", f"{number}{unit}") is False
    assert same_answer("(9.6,3)", rf"(9.6{unit}, 3{unit})") is True
    assert same_answer("9.6", f"9.6{unit}+1") is not True
    assert same_answer(f"9.6{unit}", r"9.6\,\mathrm{mg\,mol}") is False


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (
            r"5\,\mathrm{m/s}",
            [r"5\text{ m s}^{-1}", r"5\,\mathrm{m}\,\mathrm{s}^{-1}"],
            [r"5\text{ m/s}^2", r"5\,\mathrm{km/s}"],
        ),
        (r"5\text{ N}", [r"5\,\mathrm{N}", "5 newtons"], [r"5\text{ J}", r"5\,\mathrm{kN}"]),
        (r"5\text{ ms}", [r"5\,\mathrm{ms}"], [r"5\text{ m}", r"5\text{ Ms}"]),
        (r"5\,\mathrm{W/m^2}", [r"5\,\mathrm{W\,m^{-2}}"], [r"5\,\mathrm{W\,m^{2}}"]),
        ("5 mph", [r"5\,\mathrm{mi/h}"], [r"5\,\mathrm{km/h}"]),
        (
            "5",
            [],
            [
                "5m",
                "5 m",
                r"5\mathrm{e}",
                r"5\mathrm{i}",
                r"5\mathrm{x}",
                r"5\mathrm{n}",
                r"5\mathrm{d}",
                r"5\frac{x}{y}",
            ],
        ),
        ("5m", [], ["5"]),
        ("5", ["5 Ω", "5 μm", r"5\,\text{kΩ}"], ["6 Ω"]),
        (r"50\%", ["50"], [r"50\text{ m}", r"50\,\mathrm{N}"]),
        (r"2\mu m", [], ["2", r"2\mu s"]),
        (r"2\Omega", [], ["2", r"3\Omega"]),
        ("2", [r"2\,\mu m", r"2\Omega"], [r"2GM_\odot", r"2\mu mg"]),
        (r"2GM_\odot", [], ["2"]),
        (r"3\mu mg", [], ["3", r"3\mu ms"]),
    ],
)
def test_units_agree_and_letters_are_no_unit(gold, right, wrong):
    """Symbols count by their case; bare letters stay algebra, and Greek letters in a gold answer may be variables."""
    assert [answer for answer in right if same_answer(gold, answer) is not True] == []
    assert [answer for answer in wrong if same_answer(gold, answer) is True] == []


COLUMN = r"\begin{pmatrix} 7 \\ -12 \\ 3 \end{pmatrix}"
SPELLINGS = [  # a gold answer, other spellings of it, near ones
    (
        "y'+ry=0",
        [r"y^{\prime}+ry=0", r"y^\prime+ry=0", r"y^{ \prime }+ry=0"],
        [r"y^{\prime\prime}+ry=0", r"y^{\prime}-ry=0", "y+ry=0"],
    ),
    (r"f^{\prime\prime}(x)", ["f''(x)", "f^{''}(x)"], ["f'(x)", r"f^{\prime}(x)"]),
    (
        COLUMN,
        [
            *(
                rf"\begin{{bmatrix}} 7 {end} -12 {end} 3 \end{{bmatrix}}"
                for end in (r"\\[4pt]", r"\\ [0.5em]", r"\\[-2mm]", r"\cr")
            ),
            *(rf"\begin{{{kind}}}7\\-12\\3\end{{{kind}}}" for kind in ("smallmatrix", "psmallmatrix", "matrix")),
            r"\left(\begin{smallmatrix}7\\-12\\3\end{smallmatrix}\right)",
            r"\left[\begin{smallmatrix}7\\-12\\3\end{smallmatrix}\right]",
            *(r"7U i-12U j+3U k".replace("U", unit) for unit in (r"\mathbf", r"\hat", r"\vec", r"\boldsymbol")),
            *(r"7U{i}-12U{j}+3U{k}".replace("U", unit) for unit in (r"\mathbf", r"\hat", r"\vec", r"\,\mathbf")),
            r"7\hat\imath-12\hat\jmath+3\hat k",
            r"3\hat{k}+7\hat{i}-12\hat{j}",
        ],
        [
            r"\begin{bmatrix} 7 \\[4pt] 12 \\[4pt] 3 \end{bmatrix}",
            r"\begin{bmatrix} 7 \cr 3 \cr -12 \end{bmatrix}",
            r"7\mathbf i+12\mathbf j+3\mathbf k",
            r"-12\mathbf i+7\mathbf j+3\mathbf k",
            r"7\mathbf i-12\mathbf j",
            r"7\hat i-12\hat i+3\hat k",
            r"7\hat i-12\hat j+3\hat k+1",
        ],
    ),
    (r"\begin{pmatrix} 0 \\ -1 \end{pmatrix}", [r"-\mathbf{j}"], [r"\mathbf{j}", r"-\mathbf{i}", "-k"]),
    (
        r"\begin{pmatrix} x+1 \\ \frac{1}{2} \end{pmatrix}",
        [r"(x+1)\mathbf{i}+\frac12\mathbf{j}"],
        [r"x+1\mathbf{i}+\frac12\mathbf{j}"],
    ),
    ("3i", [], [r"\begin{pmatrix} 3 \\ 0 \end{pmatrix}"]),
]


@pytest.mark.parametrize(("gold", "right", "wrong"), SPELLINGS)
def test_primes_rows_and_unit_vectors_have_many_spellings(gold, right, wrong):
    """Derivatives by their number of primes, matrices whatever ends their rows, vectors along their axes."""
    assert [answer for answer in right if same_answer(gold, answer) is not True] == []
    assert [answer for answer in wrong if same_answer(gold, answer) is True] == []


REGIONS = [  # a gold answer, what equals it, what does not
    ("a > b > c", ["c < b < a"], ["a > c > b", r"c \leq b < a", "c > b > a"]),
    ("b<a<c", ["c>a>b"], ["c<a<b", r"c>a\geq b"]),
    (
        "-3 < x < 2",
        [r"x>-3 \text{ and } x<2", "x>-3, x<2", r"x<2 \land x>-3"],
        [r"x>-3 \text{ or } x<2", r"x<-3 \text{ and } x>2", r"x\geq-3 \text{ and } x<2", r"x>-3 \text{ and } y<2"],
    ),
    (
        r"\{2\}\cup[3,\infty)",
        [r"x=2 \text{ or } x\geq 3", r"x \geq 3\text{ or }x=2"],
        [r"x=2 \text{ or } x>3", r"x=3 \text{ or } x\geq 2", r"\{3\}\cup[2,\infty)", r"x=2 \text{ and } x\geq 3"],
    ),
    (
        r"(1,3)\cup(3,5)",
        [r"1<x<5, x\neq3", r"1<x<5 \text{ and } x \ne 3"],
        ["1<x<5", r"1<x<5, x\neq4", r"1\leq x<5, x\neq3", r"1<x<5, y\neq3"],
    ),
    (r"(0,1)\cup(1,2)\cup(2,\infty)", [r"x>0, x\neq 2, x\neq 1"], [r"x>0, x\neq 1", r"x<0, x\neq 2, x\neq 1"]),
    (r"(2,\infty)", [r"\text{all } x>2", r"\text{all real numbers } x>2"], [r"\text{all } x\geq2", r"\text{all } x<2"]),
    (
        "f(x)=x+1",
        [
            rf"f(x)=x+1{end}"
            for end in (r"\text{ for all } x\in\mathbb R", r" \forall x\in\mathbb{R}", r"\text{ for all real }x")
        ],
        [r"f(x)=x-1 \text{ for all } x\in\mathbb R", r"f(x)=x+1 \text{ for all } x>0"],
    ),
    ("x>2", [], [r"x>2, x\neq 5", r"\{x\}\cup(2,\infty)"]),
    ("2, 3", [r"x=2 \text{ or } x=3"], [r"x=2 \text{ or } x>3"]),
]


@pytest.mark.parametrize(("gold", "right", "wrong"), REGIONS)
def test_inequalities_mean_their_intervals(gold, right, wrong):
    """Chains turned round, clauses that hold together, points beside intervals and points left out of them."""
    assert [answer for answer in right if same_answer(gold, answer) is not True] == []
    assert [answer for answer in wrong if same_answer(gold, answer) is True] == []


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_answers_are_equal_without_algebra(gold, answer):
    """One answer in two spellings."""
    assert same_answer(gold, answer) is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different_answers_are_different_without_algebra(gold, answer):
    """No false acceptance, and nothing left for the engine to be fooled by."""
    assert same_answer(gold, answer) is False


@pytest.mark.parametrize(("gold", "answer"), UNDECIDED)
def test_algebra_is_left_to_the_engine(gold, answer):
    """None, not a guess."""
    assert same_answer(gold, answer) is None


def test_every_rule_is_needed():
    """Without any one of the rules, some verdict of the tables above changes."""
    verdicts = {pair: same_answer(*pair) for pair in EQUAL + DIFFERENT + UNDECIDED}
    for rule in RULES:
        others = tuple(other for other in RULES if other is not rule)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("laconic.grading.rules.RULES", others)
            assert any(same_answer(*pair) is not verdict for pair, verdict in verdicts.items()), rule.__name__


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        *[(text, True) for text in ("B", "(b)", "b) 7", r"\text{(B) } 7", "Option B", "B. x = 7", "**B**")],
        *[(text, False) for text in ("A", "7", "A or B", "A, B", "A) 6 B) 7", "B) 7 A) 6", "", "Bees", "AB")],
    ],
)
def test_choices_are_compared_by_letter_alone(answer, is_right):
    """The value of the right choice is no answer, neither is more than one letter."""
    assert same_answer("B", answer, ("6", "7")) is is_right
    assert same_answer("(B)", answer, ("6", "7")) is is_right


DANGEROUS = [
    "9**9**9",
    "9^{9^{9}}",
    "2^{2^{2^{49}}}",
    "x^{x^{x^{x}}}",
    "((9!)!)!",
    "99999!",
    r"\binom{1000000}{500000}",
    "1e999999999",
    "2^{1000000}-2^{1000000}",
    r"\prod_{n=1}^{100000000} n",
    r"\sum_{k=1}^{10^{12}} k",
    "(" * 200 + "1" + ")" * 200 + "+0",
    r"\sin(" * 50 + "1" + ")" * 50,
    "1+" * 3000 + "1",
    "__import__('os').system('true')",
    "(lambda: 42)()",
    "print(42)",
    "eval('42')",
    "'42'",
    r"\frac{42}{0}",
]


def ordinary_seconds() -> float:
    """For a pair that text decides: some tens of microseconds. What explodes takes more than millions of them."""
    laps = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(20):
            same_answer("x^2+1", "x+1/2")
        laps.append((time.process_time() - began) / 20)
    return min(laps)


@pytest.mark.parametrize("answer", DANGEROUS)
def test_nothing_dangerous_reaches_an_engine_or_takes_time(answer):
    """It is wrong at once, for a number, an expression and a tuple, and right only as the gold answer's own string."""
    began = time.process_time()
    assert [same_answer(gold, answer) for gold in ("42", "x^2+1", "(1,2)")] == [False, False, False]
    assert same_answer(answer, answer) is True
    assert time.process_time() - began < 10_000 * ordinary_seconds()
    assert is_dangerous(clean(answer))


@pytest.mark.parametrize(
    "answer", ["x^2+y^2+z^2", r"\sin^2 t+\cos^2 t", "e^{x^2}", "2^{3^2}", "10^{3}", "(x+y)^{60}", "100!"]
)
def test_ordinary_powers_are_not_dangerous(answer):
    """The guard against towers does not catch sums of squares."""
    assert not is_dangerous(clean(answer))


@given(st.text(alphabet="\\{}()[]^_,;=$ 1a-+/!.", max_size=200), st.sampled_from(["42", "x^2", "(1,2)", r"\{1,2\}"]))
def test_no_text_breaks_the_grader(text, gold):
    """Whatever the response says, the result is a grade, or that it is undecided, soon."""
    for response in (text, rf"\boxed{{{text}}}", f"The answer is {text}"):
        assert isinstance(grade_response(response, gold, is_truncated=False), Graded | Undecided)


@pytest.mark.parametrize(
    "piece",
    ["f(", "(a,", "is ", "a_", r"\alpha", r"\frac{1}{", "#### ", r"\boxed{", "1,", "{", "-", "or ", "$", "a=1,", "x^"],
)
def test_long_repetitions_are_graded_in_linear_time(piece):
    """No pattern backtracks without bound."""
    text = piece * 2000
    began = time.process_time()
    for response in (
        rf"\boxed{{{text[:MAX_CHARS]}}}",
        rf"\boxed{{{text}}}",
        f"The answer is {text}=1",
        f"Answer: {text}",
        text,
        f"So {text} 4 {text}",
        f"${text}$ is {text}",
    ):
        grade_response(response, "x^2+1", is_truncated=False)
    assert time.process_time() - began < 40_000 * ordinary_seconds()


# --- grades ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "gold", "is_truncated", "grade"),
    [
        (r"\boxed{42}", "42", False, Grade.CORRECT),
        (r"\boxed{42}", "42", True, Grade.TRUNCATED),
        ("", "42", True, Grade.TRUNCATED),
        (r"\boxed{41}", "42", False, Grade.WRONG),
        (r"\boxed{}", "42", False, Grade.NO_ANSWER),
        (r"\boxed{\quad}", "42", False, Grade.NO_ANSWER),
        (r"\boxed{...}", "42", False, Grade.NO_ANSWER),
        ("I do not know", "42", False, Grade.NO_ANSWER),
        (r"\boxed{6\sqrt{49}}", "42", False, Undecided(r"6\sqrt{49}")),
    ],
)
def test_the_five_grades_stay_apart(text, gold, is_truncated, grade):
    """Truncated whatever it says; no answer is not wrong; undecided has the answer alone."""
    found = grade_response(text, gold, is_truncated=is_truncated)
    assert (found.grade if isinstance(found, Graded) else found) == grade


def test_choices_reach_the_comparison():
    """A lower-case letter counts only where choices are given."""
    assert grade_response(r"\boxed{b}", "B", is_truncated=False, choices=("1", "2")).grade is Grade.CORRECT
    assert grade_response(r"\boxed{b}", "B", is_truncated=False).grade is Grade.WRONG


def test_a_tolerance_that_the_problem_grants_is_used_and_no_more():
    """Absolute; one for all numbers or one for each; without it nothing is rounded."""
    tenth = [Fraction(1, 10)]
    assert same_answer("7.2", "7.3", (), tenth) is True
    assert same_answer("7.2", "7.31", (), tenth) is False
    assert same_answer("7.2", "7.3") is False
    assert same_answer("0.003, 5.2", "5.3, 0.1", (), tenth) is True
    assert same_answer("0.003, 5.2", "5.3, 0.1", (), [Fraction(1, 100), *tenth]) is False
    assert same_answer("0.003, 5.2", "5.3, 0.1, 7", (), tenth) is False
    assert same_answer("1.5 2.5", "1.55, 2.41", (), tenth) is True
    assert same_answer("1.5 2.5", "2.5 1.5", (), tenth) is False
    assert same_answer("7", "9^{9^{9}}", (), tenth) is False
    assert same_answer(r"\sqrt{2}", "1.4", (), tenth) is None
    assert grade_response(r"\boxed{7.3}", "7.2", is_truncated=False, tolerances=tenth).grade is Grade.CORRECT


def test_plain_integers_are_graded_fast():
    """50,000 a second and more on an idle core: a response costs at most 200 times what it takes to write it down as JSON."""
    text = r"<think>12+7=19;</think>\boxed{19}"

    def seconds(do: Callable[[], object]) -> float:
        began = time.process_time()
        for _ in range(2000):
            do()
        return time.process_time() - began

    graded = min(seconds(lambda: grade_response(text, "19", is_truncated=False)) for _ in range(3))
    assert graded < 200 * max(seconds(lambda: json.dumps(text)) for _ in range(3))
