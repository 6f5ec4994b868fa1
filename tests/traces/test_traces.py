"""Written-out reasoning: every trace is right, takes back what it says that is false, and keeps the length it is asked for.

The oracle reads a trace as text: it finds every statement of arithmetic and every comparison, and works it out anew.
"""

import ast
import re
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from random import Random
from statistics import mean

import pytest

from laconic.errors import ProblemsError
from laconic.grading.rules import grade_response
from laconic.grading.thought import find_thought
from laconic.problems.load import load_problems
from laconic.splits import SPLITS
from laconic.traces.expressions import expression_steps
from laconic.traces.families import TRAINED, UNSEEN, WORD_GROUPS, WORD_LEVELS
from laconic.traces.gym_tasks import GYM_REASONINGS, reason_about
from laconic.traces.lengths import count_text, without_request
from laconic.traces.linear import equation_steps
from laconic.traces.writing import MIXTURE, VERBOSITIES
from laconic.types import Grade

NUMBER = r"-?\d+"
EQUATION = re.compile(rf"(?<![\w*+/.-])(?<![-+*/] )({NUMBER}(?: [-+*/] {NUMBER})+) = ({NUMBER})")
SPOKEN = {
    re.compile(rf"({NUMBER}) plus ({NUMBER}) is ({NUMBER})"): lambda a, b: a + b,
    re.compile(rf"({NUMBER}) minus ({NUMBER}) is ({NUMBER})"): lambda a, b: a - b,
    re.compile(rf"({NUMBER}) times ({NUMBER}) is ({NUMBER})"): lambda a, b: a * b,
    re.compile(rf"({NUMBER}) divided by ({NUMBER}) is ({NUMBER})"): Fraction,
    re.compile(rf"adding ({NUMBER}) to ({NUMBER}) gives ({NUMBER})"): lambda a, b: b + a,
    re.compile(rf"taking ({NUMBER}) from ({NUMBER}) leaves ({NUMBER})"): lambda a, b: b - a,
}
CHOICES = re.compile(r"of (\d+) and (\d+), (\d+) is (larger|smaller)")
COMPARISONS = re.compile(r"(\d+) (<|>|is larger than|is smaller than) (\d+)")
TAKEN_BACK = re.compile(r"(?:[^.]*)\. (?:Wait,|No, wait\.|Hold on,) [^.]*\.")


def worked_out(expression: str) -> Fraction:
    """The value of an expression of numbers and + - * /, as fractions."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant):
            return Fraction(node.value)
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        a, b = value(node.left), value(node.right)
        return (
            a / b if isinstance(node.op, ast.Div) else {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b}[type(node.op)]
        )

    return value(ast.parse(expression, mode="eval").body)


def statements(text: str) -> list[tuple[str, bool]]:
    """Every statement of arithmetic in a text, and whether it is true."""
    found = [(m[0], worked_out(m[1]) == int(m[2])) for m in EQUATION.finditer(text)]
    for pattern, rule in SPOKEN.items():
        found += [(m[0], rule(int(m[1]), int(m[2])) == int(m[3])) for m in pattern.finditer(text)]
    found += [
        (m[0], int(m[3]) == (max if m[4] == "larger" else min)(int(m[1]), int(m[2]))) for m in CHOICES.finditer(text)
    ]
    for m in COMPARISONS.finditer(text):
        a, b = int(m[1]), int(m[3])
        found.append((m[0], a < b if m[2] in ("<", "is smaller than") else a > b))
    return found


def problems_of(name: str, style: str, count: int = 60, more: str = "") -> list:
    return load_problems(f"words:{name}?solutions={style}&count={count}{more}", seed=3)


def numbers(text: str) -> list[int]:
    """The whole numbers in a text, in order."""
    return [int(number) for number in re.findall(r"\d+", text)]


def of_story(question: str) -> int:
    """The result of a story in which someone gets and gives away things: every number after the first is added or taken."""
    got = r"gets|finds|is given|buys"
    changes = re.findall(rf"(?:({got})|gives away|loses|sells|gives) (\d+)", question)
    return numbers(question)[0] + sum(int(n) if is_got else -int(n) for is_got, n in changes)


def of_shopping(question: str) -> int:
    """Number times price, what else costs, and the change if there is a note."""
    n, price, *others = numbers(question)
    paid = n * price + (others[0] if others else 0)
    return others[1] - paid if len(others) == 2 else paid


def of_row(question: str) -> int:
    """The next number of a row of equal steps."""
    row = numbers(question)
    assert len({b - a for a, b in pairwise(row)}) == 1
    return 2 * row[-1] - row[-2]


def of_ages(question: str) -> int:
    """Age, less or more the gap, and the years that pass."""
    age, gap, *years = numbers(question)
    return age + (-gap if "younger" in question else gap) + sum(years)


def of_sharing(question: str) -> int:
    """What is left, divided by the number of children."""
    whole, *gone, children = numbers(question)
    assert (whole - sum(gone)) % children == 0
    return (whole - sum(gone)) // children


def of_journey(question: str) -> int:
    """Speed times hours, after the way that is gone already."""
    speed, *begun, hours = numbers(question)
    return speed * hours + sum(begun)


def of_count(question: str) -> int:
    """How often the word that is named first occurs in the list."""
    target, row = re.search(r"(?:does|is|Count) (\w+) .*?((?:\w+, )+\w+)", question).groups()
    return row.split(", ").count(target)


GOLDS = {
    "sums": lambda q: worked_out(re.search(r"\d[\d +-]*\d|\d", q)[0]),
    "products": lambda q: worked_out(re.search(r"\d[\d +*-]*\d", q)[0]),
    "things": of_story,
    "shopping": of_shopping,
    "sequences": of_row,
    "counting": of_count,
    "largest": lambda q: max(numbers(q)),
    "ages": of_ages,
    "journeys": of_journey,
    "sharing": of_sharing,
    "smallest": lambda q: min(numbers(q)),
    "gaps": lambda q: abs(numbers(q)[1] - numbers(q)[0]),
}


@pytest.mark.parametrize("name", WORD_GROUPS["all"])
def test_the_gold_answer_follows_from_the_question(name):
    """Read from the question alone; an equation holds with the answer put in."""
    for problem in load_problems(f"words:{name}?count=80"):
        if name == "equations":
            factor, rest, right = re.search(r"(\d*)x((?: [+-] \d+)?) = (\d+)", problem.question).groups()
            assert worked_out(f"{factor or 1} * {problem.answer}{rest}") == int(right), problem
        else:
            assert GOLDS[name](problem.question) == int(problem.answer), problem


@pytest.mark.parametrize("style", VERBOSITIES)
@pytest.mark.parametrize("name", WORD_GROUPS["all"])
def test_every_trace_thinks_and_then_boxes_the_right_answer(name, style):
    """By the grader's own rules, without algebra: thought closed, answer correct."""
    for problem in problems_of(name, style):
        trace = problem.meta["solution"]
        graded = grade_response(trace, problem.answer, is_truncated=False)
        assert graded.grade is Grade.CORRECT, trace
        assert trace.startswith("<think>\n") and not find_thought(trace).is_open
        assert problem.meta["verbosity"] == style


@pytest.mark.parametrize("name", WORD_GROUPS["all"])
def test_every_statement_is_true_unless_it_is_taken_back_at_once(name):
    """A trace without its slips is true throughout, and states something; only what is followed by "Wait" is false."""
    for style in VERBOSITIES:
        for problem in problems_of(name, style):
            trace = problem.meta["solution"]
            kept = TAKEN_BACK.sub("", trace)
            false = [text for text, is_true in statements(kept) if not is_true]
            assert not false, trace
            if name != "counting" and style != "verbose":
                assert statements(kept), trace


def test_verbose_writers_slip_now_and_then_and_always_notice():
    """Some of the traces hold a false statement, few of them, and each is mended in the sentence that follows."""
    slipped = [p.meta["solution"] for p in problems_of("all", "verbose", 400) if TAKEN_BACK.search(p.meta["solution"])]
    assert 20 < len(slipped) < 120
    for trace in slipped:
        for place in TAKEN_BACK.finditer(trace):
            said, mended = re.split(r"\. (?:Wait,|No, wait\.|Hold on,) ", place[0], maxsplit=1)
            assert any(not is_true for _, is_true in statements(said)), trace
            truth = re.sub(rf"({NUMBER}) is ({NUMBER}), not {NUMBER}\.", r"\1 = \2", mended)
            assert statements(truth) and all(is_true for _, is_true in statements(truth)), trace


def test_the_oracle_finds_what_is_false():
    """Of these statements the second, fourth and sixth are false."""
    text = "2 + 3 * 4 = 14. 7 - 9 = 2. 12 / 4 = 3, 3 times 3 is 8, 5 < 7, 5 is larger than 7. 6x + 4 = 58"
    assert [is_true for _, is_true in statements(text)] == [True, False, True, False, True, False]


def test_more_words_take_more_tokens():
    """In every family a terse trace is shorter than a plain one, and a verbose one is twice as long as a terse one or more."""
    for name in WORD_GROUPS["all"]:
        terse, plain, verbose = (
            mean(count_text(p.meta["solution"]) for p in problems_of(name, style)) for style in VERBOSITIES
        )
        assert terse < plain < verbose and verbose > 2 * terse, name


def test_the_mixture_is_the_one_that_is_stated():
    """Of 1,000 traces, within 4 points; most of what is written is waste."""
    drawn = [problem.meta["verbosity"] for problem in problems_of("all", "mixed", 1000)]
    for verbosity, share in MIXTURE.items():
        assert drawn.count(verbosity) / 1000 == pytest.approx(share, abs=0.04)
    assert sum(MIXTURE.values()) == pytest.approx(1.0)


ASKED = re.compile(r"(about|for|at most|less than) (\d+) tokens\.$")


def test_a_trace_has_the_length_that_its_question_asks_for():
    """Within 20% of "about N", not above "at most N"; "be brief" is asked of terse traces, and some ask nothing."""
    asked = problems_of("all", "mixed", 600, "&lengths=0.5")
    plain = {p.question for p in problems_of("all", "mixed", 600)}
    kinds = defaultdict(int)
    for problem in asked:
        found, count = ASKED.search(problem.question), count_text(problem.meta["solution"])
        requested = problem.meta.get("requested_tokens", 0)
        assert requested == (0 if problem.question in plain else int(found[2]) if found else None)
        if problem.question in plain:
            kinds["nothing"] += 1
        elif found and found[1] in ("about", "for"):
            kinds["about"] += 1
            assert abs(count - int(found[2])) <= 0.2 * int(found[2]), problem
        elif found:
            kinds["at most"] += 1
            assert count <= int(found[2]), problem
        elif re.search(r"(brief|concise|short|little as you can)\.$", problem.question):
            kinds["brief"] += 1
            assert problem.meta["verbosity"] == "terse"
        else:
            kinds["long"] += 1
            assert problem.meta["verbosity"] == "verbose"
    assert min(kinds.values()) >= 10 and len(kinds) == 5, kinds


def test_only_a_trace_that_checks_something_is_asked_to_check_its_work():
    """A third of the requests for long thinking would ask it; a trace that checks nothing is asked for something else."""
    checks = re.compile(r"check|To be sure|over it again|nother way|do it like this|in parts", re.IGNORECASE)
    asked = problems_of("all", "verbose", 600, "&lengths=0.5")
    traces = [p.meta["solution"] for p in asked if p.question.endswith("Check your work.")]
    assert len(traces) > 20 and all(map(checks.search, traces))
    assert any(not checks.search(p.meta["solution"]) for p in asked if p.question.endswith("Take your time."))
    assert not any("Check your work." in without_request(p.question) for p in asked)


def test_questions_and_traces_are_drawn_by_name():
    """The same address gives the same problems, more of them begin with the same, and another seed gives others."""
    ten, twenty = problems_of("mix", "mixed", 10), problems_of("mix", "mixed", 20)
    assert twenty[:10] == ten
    other = {p.question for p in load_problems("words:mix?count=20", seed=4)}
    assert len(other & {p.question for p in twenty}) < 6
    assert all("solution" not in p.meta for p in load_problems("words:mix?count=4"))


def test_splits_and_groups_share_no_question():
    """Whatever length is asked for: the words about length do not decide where a question belongs."""
    bare = re.compile(r" (?:[A-Z][a-z]+ (?:for|about|in|less|brief|concise|it|as|your)\b.*|Be \w+\.)$")
    sets = [
        {bare.sub("", p.question) for p in load_problems(f"words:mix?split={split}&count=150&lengths=0.5", seed=seed)}
        for seed, split in enumerate(SPLITS)
    ]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert not set(TRAINED) & set(UNSEEN)
    families = {p.meta["family"] for p in load_problems("words:unseen?count=50")}
    assert families == set(UNSEEN)


def test_levels_bound_the_difficulty():
    """Sums of level 1 have one digit only; every family has every level."""
    easy = load_problems("words:sums?levels=1&count=50")
    assert all(len(number) == 1 for p in easy for number in re.findall(r"\d+", p.question))
    for name in WORD_GROUPS["all"]:
        assert {p.meta["level"] for p in load_problems(f"words:{name}?count=40")} == set(WORD_LEVELS)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("words:sum", "unknown family 'sum': expected one of mix, unseen, all, sums"),
        ("words:mix?levels=0-2", "levels 0-2: expected a range inside 1-3"),
        ("words:mix?solutions=long", "solutions must be one of terse, plain, verbose, mixed, got long"),
        ("words:mix?lengths=2", "lengths must be a share from 0 to 1, got 2"),
        ("words:mix?lengths=true", "lengths must be a share from 0 to 1, got True"),
        ("words:products?levels=1&count=1000", "fewer than 1000 distinct problems"),
        ("words:mix?colour=red", "unknown argument 'colour'"),
    ],
)
def test_a_wrong_address_is_one_line(address, said):
    """That says what was expected."""
    with pytest.raises(ProblemsError) as caught:
        load_problems(address)
    assert said in str(caught.value) and "\n" not in str(caught.value)


# --- reasoning-gym ---------------------------------------------------------------------------------------------------

SMALL = {
    "chain_sum": "max_terms=4&max_digits=2",
    "products": "max_terms=3&max_digits=2",
    "basic_arithmetic": "max_terms=5&max_digits=2",
    "simple_equations": "max_value=30",
    "gcd": "max_numbers=3&max_value=200",
    "lcm": "max_value=60",
    "leg_counting": "max_animals=4",
    "letter_counting": "max_words=8",
}


@pytest.mark.parametrize("task", GYM_REASONINGS)
def test_a_task_of_reasoning_gym_gets_traces_that_reach_its_answer(task):
    """Right by the grader and true throughout; the questions are its own."""
    pytest.importorskip("reasoning_gym")
    problems = load_problems(f"gym:{task}?{SMALL[task]}&count=25&solutions=mixed", seed=1)
    untouched = {" ".join(p.question.split()) for p in load_problems(f"gym:{task}?{SMALL[task]}&count=60", seed=1)}
    for problem in problems:
        trace = problem.meta["solution"]
        assert grade_response(trace, problem.answer, is_truncated=False).grade is Grade.CORRECT, trace
        assert all(is_true for _, is_true in statements(TAKEN_BACK.sub("", trace))), trace
    assert sum(" ".join(p.question.split()) in untouched for p in problems) > 15


@pytest.mark.parametrize("task", GYM_REASONINGS)
def test_the_steps_of_a_task_are_true_and_reach_the_answer(task):
    """Of the items that the library itself makes; one with another answer gets no reasoning."""
    gym = pytest.importorskip("reasoning_gym")
    options = {key: int(value) for key, value in (part.split("=") for part in SMALL[task].split("&"))}
    reasoned = 0
    for item in gym.create_dataset(task, seed=1, size=20, **options):
        found = reason_about(Random(0), task, item["question"], str(item["answer"]), item["metadata"])
        if found is None:
            continue
        reasoned += 1
        assert found.answer == str(item["answer"]) and found.steps
        assert all(is_true for step in found.steps for _, is_true in statements(step.bare)), found.steps
        assert reason_about(Random(0), task, item["question"], f"{item['answer']}0", item["metadata"]) is None
    assert reasoned >= 10


def test_what_is_too_long_to_spell_gets_no_reasoning():
    """More than 60 letters."""
    item = {"target_letter": "a", "span": ["banana"] * 11}
    assert reason_about(Random(0), "letter_counting", "q", "33", item) is None
    assert reason_about(Random(0), "letter_counting", "q", "30", item | {"span": ["banana"] * 10}) is not None


def test_a_task_without_traces_says_which_have_some():
    """One line."""
    pytest.importorskip("reasoning_gym")
    with pytest.raises(ProblemsError, match=r"solutions are written for chain_sum, .*, not for dice"):
        load_problems("gym:dice?solutions=mixed")


@pytest.mark.parametrize("text", ["7", "7 / 2", "7 / 0", "x + 1", "2 ** 9", "1.5 + 1", "True + 1", "(", "f(3) + 1"])
def test_what_is_no_arithmetic_of_whole_numbers_is_refused(text):
    """So is a division that leaves a remainder, and a number that needs no step."""
    with pytest.raises(ValueError):
        expression_steps(Random(0), text)


@pytest.mark.parametrize("text", ["3*x = 7", "0 = 4", "x*x = 4", "x + x = 4", "3*y = 6", "x ** 2 = 4"])
def test_what_is_no_equation_with_one_whole_solution_is_refused(text):
    """An unknown that occurs twice or not at all, another unknown, a fraction."""
    with pytest.raises(ValueError):
        equation_steps(Random(0), text, "x")
