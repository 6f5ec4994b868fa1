"""The leakage check finds what was copied, keeps apart what only looks like it, and is quiet about templates."""

import json
import random
from pathlib import Path

import pytest
from counting import calls_of

from laconic.problems.leakage import COMMON, Leak, LeakKind, find_leaks, leaked_ids
from laconic.problems.load import load_problems
from laconic.types import Problem

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
with_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the benchmark files of ../shared/data")

STORY = (
    "A farmer keeps 12 goats and 30 hens behind the old mill. Every morning each goat eats 3 bundles of hay and each hen "
    "takes 2 cups of grain. How many bundles of hay does the farmer need in a week?"
)


def problem(question, answer="252", identity="a", choices=()):
    return Problem(identity, question, answer, choices=choices)


def kinds(train, test):
    return [leak.kind.value for leak in find_leaks([train], [test])]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("12+7-3=?", "12 + 7 - 3 = ?"),
        ("What is $2^5$?", "what is 2^5"),
        (r"Find $\left( 1,000 \right) x$.", "Find $(1000) x$"),
        ("Find f(1, 2)", "Find f(1,2)."),
        (r"Compute $\dfrac{1}{2}$", r"Compute $\frac{1}{2}$."),
        ("求 12 与 7 的和。", "求12与7的和。"),
        (r"Compute \(\sin 60^\circ\).", r"Compute $\sin 60^{\circ}$."),
        (r"Compute \[\sin 60°\]", r"Compute $\sin 60^\circ$."),
        (r"Find $x$ if $x \leq 3$.", r"Find $x$ if $x \le 3$"),
        ("Find x if x ≥ 3.", r"Find $x$ if $x \geq 3$"),
        (r"What is $3 \cdot 4$?", r"What is $3 \times 4$?"),
        ("What is 3 × 4?", r"What is $3 \cdot 4$?"),
        ("What is 5 \u2212 3?", "What is 5 - 3?"),
        ("What is 5 \u2013 3?", "What is 5 - 3?"),
        (r"What is $\frac12$ of 4?", r"What is $\frac{1}{2}$ of 4?"),
        ("What is $x^{2}$ at 3?", "What is $x^2$ at 3?"),
        ("What is x² at 3?", "What is $x^2$ at 3?"),
        ("What is √12 − ½?", r"What is $\sqrt{12} - \frac12$?"),
        ("What is 2+2?", "What is 2+2?\nPlease reason step by step, and put your final answer within \\boxed{}."),
        ("What is 2+2?", "What is 2+2? Let's think step by step."),
        ("What is 2+2?", "What is 2+2? Put your answer in \\boxed{}."),
        (r"Compute $\sqrt2$", r"Compute $\sqrt{2}$"),
        (r"Compute $\sqrt x$", r"Compute $\sqrt{x}$"),
        ("What is 2^10?", "What is $2^{10}$?"),
        ("What is 10^-3?", "What is $10^{-3}$?"),
        ("What is 4^0.5?", "What is $4^{0.5}$?"),
        ("What is f'(2)?", r"What is $f^\prime(2)$?"),
        ("What is f′(2)?", "What is f'(2)?"),
        ("Spell 'cat' in John's way", "Spell “cat” in John’s way."),
        ("The ratio is 3 : 2", "The ratio is $3:2$."),
    ],
)
def test_spacing_case_and_typesetting_do_not_hide_an_exact_copy(train, test):
    """However short the text is."""
    assert kinds(problem(train), problem(test)) == ["exact"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("12+7-3=?", "12+7-4=?"),
        ("12-(7-3)=?", "(12-7)-3=?"),
        ("Compute 3.5 + 1", "Compute 35 + 1"),
        ("Find f(1, 2)", "Find f(12)"),
        ("What is 5! + 1?", "What is 5 + 1?"),
        ("Find x if 2x = 6.", "Find y if 3y = 6."),
        ("Please think step by step. Find x if 2x = 6.", "Please think step by step. Find y if 3y = 6."),
        ("What is 2^{1}0?", "What is 2^{10}?"),
        ("What is 2^1 + 0?", "What is 2^10?"),
        (r"Compute $\sqrt2 3$", r"Compute $\sqrt{23}$"),
        ("What is f'(2)?", "What is f(2)?"),
        ("What is f''(2)?", "What is f'(2)?"),
        ("Compute A'B and AB'", "Compute AB' and A'B"),
        (r"Find $\alpha'$.", r"Find $\alpha$."),
        ("The ratio of a to b is 3:2. Find a.", "The ratio of a to b is 32. Find a."),
        ("How many seconds are in 1:05?", "How many seconds are in 105?"),
        ("Find x < 3.", "Find x <= 3."),
        (r"Find $x \le 3$", r"Find $x \ge 3$"),
    ],
)
def test_short_texts_are_only_compared_exactly(train, test):
    """Brackets, points and operators change what is asked, and so few words prove nothing."""
    assert kinds(problem(train), problem(test)) == []


def test_a_reworded_copy_with_the_same_numbers_and_answer_is_near():
    """Two words of 41 differ: of 38 runs of four words at most 8 are lost on each side, (38-8)/(38+8) = 0.65."""
    reworded = STORY.replace("keeps", "owns").replace("takes", "eats")
    (leak,) = find_leaks([problem(reworded, identity="t")], [problem(STORY, identity="e")])
    assert (leak.train_id, leak.test_id, leak.kind) == ("t", "e", LeakKind.NEAR)
    assert 0.6 < leak.similarity < 0.9


def test_other_numbers_make_a_variant_and_not_a_leak():
    """The same text about 15 goats has another answer; it is told, and not counted among what leaks."""
    leaks = find_leaks([problem(STORY.replace("12", "15"), "315", "t")], [problem(STORY)])
    assert [(leak.kind, leak.similarity) for leak in leaks] == [(LeakKind.VARIANT, 1.0)]
    assert leaked_ids(leaks) == frozenset()


def test_another_question_about_the_same_story_is_a_variant():
    """The numbers agree, the answer does not: hay for a week, or for June."""
    assert kinds(problem(STORY.replace("in a week", "in June"), "1080"), problem(STORY)) == ["variant"]


def test_the_same_text_with_gold_spelled_otherwise_is_near():
    """All words agree; one sign keeps it from being exact, and 1/2 and 0.5 are one answer."""
    text = (
        "In the barn of the mill there are as many goats as hens and half of them are white: what part of all is white?"
    )
    assert kinds(problem(text, "1/2"), problem(text + "!", "0.5")) == ["near"]


def test_an_open_problem_is_found_where_choices_were_added_to_it():
    """MMLU took problems of MATH and added choices; the letter is compared by what it stands for."""
    choices = ("84", "252", "36", "420")
    assert kinds(problem(STORY), problem(STORY, "B", choices=choices)) == ["exact"]
    reworded = STORY.replace("old mill", "new mill")
    assert kinds(problem(reworded), problem(STORY, "B", choices=choices)) == ["near"]
    assert kinds(problem(reworded), problem(STORY, "A", choices=choices)) == ["variant"]


@pytest.mark.parametrize("gold", ["B", "b", "(B)", "B.", "B. 252", r"\text{B}"])
def test_a_gold_letter_stands_for_its_choice_however_it_is_spelled(gold):
    """The loader and the grader read all of these as B."""
    reworded = STORY.replace("old mill", "new mill")
    assert kinds(problem(reworded), problem(STORY, gold, choices=("84", "252"))) == ["near"]
    assert kinds(problem(reworded), problem(STORY, gold, choices=("252", "84"))) == ["variant"]


def test_one_stem_over_other_choices_is_another_problem():
    """ "Which is true?" is asked of many lists; the same list in another order is the same problem."""
    stem = (
        "Which of these statements about the growth of large populations in a closed habitat with limited food is true?"
    )
    first = problem(stem, "A", choices=("It stops.", "It doubles."))
    assert kinds(first, problem(stem, "B", choices=("It doubles.", "It stops."))) == ["exact"]
    assert kinds(first, problem(stem, "A", choices=("It oscillates.", "It stops."))) == ["variant"]


def test_a_template_of_a_generator_is_not_reported():
    """200 sums worded the same way share every run of words: with numbers masked all would be copies of all."""
    draw = random.Random(0)
    sums = [
        problem(
            f"State the final answer to the following arithmetic problem: {draw.randint(10, 99)} + {i} =",
            str(i),
            str(i),
        )
        for i in range(200)
    ]
    assert find_leaks(sums[:100], sums[100:]) == []
    copied = problem(sums[150].question, sums[150].answer, "copy")
    assert [(leak.train_id, leak.test_id) for leak in find_leaks([*sums[:100], copied], sums[100:])] == [
        ("copy", "150")
    ]


def test_boilerplate_around_every_problem_neither_makes_nor_hides_a_leak():
    """The same long instruction stands before 40 training problems (more than COMMON), one of which is the test's."""
    said = "Solve the following problem with care and write down every single step of your reasoning before you answer it. "
    others = [
        problem(f"{said}Zone{i} has word{i} and term{i} beside part{i} near side{i}.", str(i), str(i))
        for i in range(40)
    ]
    assert len(others) > COMMON
    leaks = find_leaks([*others, problem(said + STORY, identity="copy")], [problem(STORY)])
    assert [(leak.train_id, leak.kind) for leak in leaks] == [("copy", LeakKind.NEAR)]


def test_every_copy_is_listed_and_of_variants_the_nearest():
    """Three copies are three lines to drop; variants are a remark, and give way to a leak."""
    copies = [problem(STORY, identity=f"c{i}") for i in range(3)]
    variants = [problem(STORY.replace("12", str(n)), str(n), f"v{n}") for n in (15, 16)]
    leaks = find_leaks([*variants, *copies], [problem(STORY)])
    assert [leak.train_id for leak in leaks] == ["c0", "c1", "c2"] and leaked_ids(leaks) == {"c0", "c1", "c2"}
    assert [leak.kind.value for leak in find_leaks(variants, [problem(STORY)])] == ["variant"]


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1])
def test_a_similarity_lies_between_nothing_and_one(value):
    """The argument is named."""
    with pytest.raises(ValueError, match="near_similarity"):
        find_leaks([], [], near_similarity=value)
    with pytest.raises(ValueError, match="variant_similarity"):
        find_leaks([], [], variant_similarity=value)


# --- real files ------------------------------------------------------------------------------------------------------


def leaks_between(train, test):
    return find_leaks(load_problems(str(DATA / f"{train}.jsonl")), load_problems(str(DATA / f"{test}.jsonl")))


@with_data
def test_the_overlaps_that_the_data_marks_are_found():
    """Lines of the MATH training set marked as standing in OlympiadBench; all found pairs have the same gold answer."""
    marked = {
        row["id"]
        for row in map(json.loads, (DATA / "math_train_l5.jsonl").open(encoding="utf-8"))
        if "olympiadbench" in row.get("overlaps", [])
    }
    found = leaks_between("math_train_l5", "olympiadbench")
    assert marked and marked <= leaked_ids(found)
    answers = {
        p.id: p.answer
        for name in ("math_train_l5", "olympiadbench")
        for p in load_problems(str(DATA / f"{name}.jsonl"))
    }
    assert {leak.train_id for leak in found} == leaked_ids(found) and len(found) == 4
    assert all(answers[leak.train_id] == answers[leak.test_id] for leak in found)


@with_data
@pytest.mark.parametrize(
    ("train", "test", "num_variants"), [("math_train_l5", "math500", 11), ("gsm8k_train", "gsm8k_test", 1)]
)
def test_a_published_split_has_variants_and_no_leak(train, test, num_variants):
    """MATH's and GSM8K's own train and test sets: the same text with other numbers occurs, copies do not."""
    assert [leak.kind for leak in leaks_between(train, test)] == [LeakKind.VARIANT] * num_variants


@with_data
def test_math_stands_in_mmlu():
    """37 level-5 training problems of MATH are MMLU questions word for word, with choices added."""
    found = [leak for leak in leaks_between("math_train_l5", "mmlu_stem") if leak.kind is LeakKind.EXACT]
    assert len({leak.train_id for leak in found}) == 37


def test_the_work_grows_with_the_problems_and_not_with_their_pairs():
    """2,000 against 1,000 random texts, and a quarter of each: 4 times the calls, not 16 times. 40 words from a vocabulary of
    2,000 each; a planted copy is found."""
    draw = random.Random(1)
    texts = [" ".join(f"w{draw.randrange(2000)}" for _ in range(40)) for _ in range(3_000)]
    problems = [problem(text, str(i), str(i)) for i, text in enumerate(texts)]
    train, test = [problem(texts[2_150], "2150", "copy"), *problems[:1_999]], problems[2_000:]

    def calls(train: list[Problem], test: list[Problem]) -> int:
        found: list[Leak] = []
        number = calls_of(lambda: found.extend(find_leaks(train, test)))
        assert [(leak.train_id, leak.test_id) for leak in found] == [("copy", "2150")]
        return number

    assert calls(train, test) < 6 * calls(train[:500], test[:250])
