"""What `rewards` claims: sums that add up, nothing for what could not be graded, and the first seven terms' numbers."""

import re
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewarded import MEMORY, C, N, T, U, W, group

from laconic.rewards.budgets import truncation
from laconic.rewards.numbers import GroupNumbers, Memory, numbers_of
from laconic.rewards.parts import kimi_length, levels, linear_length, soft_overlong
from laconic.rewards.paying import check_terms, pay
from laconic.rewards.relative import arora_zanette, length_harmonizing
from laconic.rewards.table import REWARDS, Need, Reward
from laconic.types import FinishReason, Group, Problem, Response, Rollout

LENGTH_TERMS = {name for name, reward in REWARDS.items() if reward.reads_length}
TWO_SIDED_TERMS = {name for name, reward in REWARDS.items() if reward.is_two_sided}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "rewards.md"


def words(text):
    """The names that stand in backquotes."""
    return set(re.findall(r"`(\w+)`", text))


def test_levels_pay_each_grade_its_own():
    """The published levels, and others by name."""
    numbers = group([1, 2, 3, 4, 5], [C, W, N, T, U])
    assert levels(numbers).tolist() == [1.0, -0.5, -1.0, -1.0, 0.0]
    assert levels(numbers, correct=2, wrong=0, no_answer=-3, truncated=-4).tolist() == [2, 0, -3, -4, 0]


def test_linear_length_charges_by_the_token():
    """500 tokens at 1 a thousand cost 0.5; `only_correct` spares the others."""
    numbers = group([500, 250, 100], [C, W, U])
    assert linear_length(numbers).tolist() == [-0.5, -0.25, 0.0]
    assert linear_length(numbers, per_tokens=100, only_correct=True).tolist() == [-5.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="per_tokens"):
        linear_length(numbers, per_tokens=0)


def test_soft_overlong_is_dapos_ramp():
    """L_max 20,480, cache 4,096: free to 16,384, half way down at 18,432, -1 at the cap."""
    numbers = group([16_384, 18_432, 20_480, 25_000, 20_480], [C, W, T, T, U], max_tokens=20_480)
    assert soft_overlong(numbers).tolist() == pytest.approx([0.0, -0.5, -1.0, -1.0, 0.0], abs=1e-12)
    for frac in (0.0, 1.5):
        with pytest.raises(ValueError, match="buffer_frac"):
            soft_overlong(numbers, buffer_frac=frac)


def test_kimi_length_pays_by_place_in_the_range_and_never_rewards_a_wrong_answer():
    """Range 100..500: lam 0.5, 0.25, 0, -0.5; wrong ones get at most 0."""
    numbers = group([100, 200, 300, 500, 100, 500], [C, C, C, C, W, T])
    assert kimi_length(numbers).tolist() == [0.5, 0.25, 0.0, -0.5, 0.0, -0.5]


@pytest.mark.parametrize(("lengths", "grades"), [([7, 7, 7], [C, W, C]), ([7], [C]), ([7, 9], [C, U]), ([7], [U])])
def test_kimi_length_is_silent_without_a_range(lengths, grades):
    """Equal lengths, one answer, or one gradable answer: all 0."""
    assert kimi_length(group(lengths, grades)).tolist() == [0.0] * len(grades)


def test_arora_zanette_compares_correct_answers_with_correct_answers():
    """Correct 100 and 300: mean 200, std 100, sigmoid(-1) = 0.2689, sigmoid(1) = 0.7311; the wrong 9,999 is ignored."""
    numbers = group([100, 300, 9_999, 50], [C, C, W, T])
    assert arora_zanette(numbers, alpha=0.2) == pytest.approx([1 - 0.2 * 0.268941, 1 - 0.2 * 0.731059, 0, 0], abs=1e-6)


def test_arora_zanette_without_spread_takes_half_of_alpha():
    """One correct answer, or equal lengths: deviation 0, 1 - 0.1/2; no correct answer: all 0."""
    assert arora_zanette(group([80, 90], [C, W])).tolist() == [0.95, 0.0]
    assert arora_zanette(group([80, 80], [C, C])).tolist() == [0.95, 0.95]
    assert arora_zanette(group([80, 90], [W, N])).tolist() == [0.0, 0.0]


def test_length_harmonizing_measures_against_the_reference():
    """L_ref 200, A_ref 0.5, lambda 2: 100 tokens right 1 + 1, 400 wrong -0.5 - 1, 200 right 0 + 1."""
    numbers = group([100, 400, 200, 9], [C, W, C, U])
    assert length_harmonizing(numbers).tolist() == [2.0, -1.5, 1.0, 0.0]
    assert length_harmonizing(numbers, accuracy_coef=0).tolist() == [1.0, -0.5, 0.0, 0.0]


def test_length_harmonizing_can_pay_a_short_wrong_answer_as_the_paper_does():
    """L_ref / L = 4: 3 - 2 * 0.5 = 2 for a wrong answer; the released clamp holds it in [-2, 4]."""
    assert length_harmonizing(group([50], [W])).tolist() == [2.0]
    assert length_harmonizing(group([10, 800], [C, W], ref_solve_rate=0.9), is_clamped=True).tolist() == [4.0, -2.0]


@pytest.mark.parametrize(("tokens", "rate"), [(None, 0.5), (200.0, None)])
def test_length_harmonizing_needs_the_probe(tokens, rate):
    """Without the reference's numbers there is no reward, and no silent default."""
    with pytest.raises(ValueError, match="a select that probes"):
        length_harmonizing(group([1], [C], ref_mean_tokens=tokens, ref_solve_rate=rate))


def test_truncation_pays_correct_answers_within_the_budget():
    """At the budget still; beyond it nothing; by default the budget is the cap."""
    numbers = group([99, 100, 101, 50], [C, C, C, W])
    assert truncation(numbers, budget_tokens=100).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert truncation(numbers).tolist() == [1.0, 1.0, 1.0, 0.0]


answers = st.lists(st.tuples(st.integers(1, 1000), st.sampled_from([C, W, N, T])), min_size=1, max_size=8)
memories = st.sampled_from([{}, MEMORY])


@pytest.mark.parametrize("name", sorted(REWARDS))
@settings(max_examples=40)
@given(answers=answers, memory=memories, place=st.integers(0, 8), tokens=st.integers(1, 10_000))
def test_an_ungradable_response_earns_nothing_and_changes_nothing(name, answers, memory, place, tokens):
    """Slip one in anywhere, of any length: it gets 0 and the others get what they got without it."""
    lengths, grades = map(list, zip(*answers, strict=True))
    alone = REWARDS[name].pay(group(lengths, grades, memory=memory))
    place = min(place, len(grades))
    lengths.insert(place, tokens)
    grades.insert(place, U)
    mixed = REWARDS[name].pay(group(lengths, grades, memory=memory))
    assert mixed.dtype == np.float64
    assert mixed[place] == 0.0
    assert np.delete(mixed, place) == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("name", sorted(REWARDS))
@settings(max_examples=40)
@given(answers=answers, memory=memories, random=st.randoms(use_true_random=False))
def test_permuting_a_group_permutes_its_pay(name, answers, memory, random):
    """No term looks at the order in which responses were drawn."""
    shuffled = random.sample(range(len(answers)), len(answers))
    first, again = (
        REWARDS[name].pay(group(*map(list, zip(*rows, strict=True)), memory=memory))
        for rows in (answers, [answers[i] for i in shuffled])
    )
    assert again == pytest.approx(first[shuffled], abs=1e-9)


@pytest.mark.parametrize("name", sorted(LENGTH_TERMS - TWO_SIDED_TERMS))
@settings(max_examples=40)
@given(answers=answers, memory=memories)
def test_a_shorter_correct_answer_never_earns_less_than_a_longer_one(name, answers, memory):
    """Whatever else is in the group; two-sided terms are the documented exceptions."""
    numbers = group(*map(list, zip(*answers, strict=True)), memory=memory)
    paid = REWARDS[name].pay(numbers)[numbers.is_correct]
    by_length = paid[np.argsort(numbers.correct_lengths, kind="stable")]
    assert (np.diff(by_length) <= 1e-9).all()


@pytest.mark.parametrize("name", sorted(TWO_SIDED_TERMS))
def test_a_two_sided_term_pays_less_on_both_sides_of_its_target(name):
    """450 of 500, 200 and 850 tokens: L1 asks for 500; for LEAD the mean correct length is 500."""
    options = {"min_target_tokens": 1.0} if name == "lead" else {}
    short, near, long = REWARDS[name].pay(group([200, 450, 850], [C, C, C]), **options)
    assert near > short
    assert near > long


TELLS_APART = {
    "truncation": {"budget_tokens": 300},
    "laser": {"target_tokens": 300},
    "laser_d": {"target_tokens": 300},
    "laser_de": {"target_tokens": 300},
    "short_rl": {"length_tolerance": 10},
    "soft_overlong": {"buffer_frac": 1.0},
    "grpo_lambda": {"min_accuracy_frac": 0.5},
}


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_length_terms_are_those_whose_pay_depends_on_length(name):
    """250 against 350 tokens, both correct, and one wrong: every length term tells them apart, no other does."""
    short, long, _ = REWARDS[name].pay(group([250, 350, 500], [C, C, W], memory=MEMORY), **TELLS_APART.get(name, {}))
    assert (short != long) == (name in LENGTH_TERMS)


@pytest.mark.parametrize("name", sorted(REWARDS))
@pytest.mark.parametrize("grade", [C, W, N, T, U])
@pytest.mark.parametrize("lengths", [[7], [200, 200, 200]])
@pytest.mark.parametrize("memory", [{}, MEMORY])
def test_equal_responses_earn_the_same_in_any_uniform_group(name, grade, lengths, memory):
    """One answer, or equal lengths, all of one grade: finite, and no difference for a group baseline to see."""
    paid = REWARDS[name].pay(group(lengths, [grade] * len(lengths), memory=memory))
    assert np.isfinite(paid).all()
    assert len(set(paid.tolist())) == 1


def test_every_reward_has_a_row_in_the_docs_and_says_part_or_whole():
    """The table of docs/rewards.md against the table of the package; every option is named there."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert sorted(rows) == sorted(REWARDS)
    for name, row in rows.items():
        assert row.split("|")[2].strip() == REWARDS[name].kind, name
        for option in REWARDS[name].options:
            assert f"`{option}" in row, (name, option)


def test_the_docs_say_what_a_reward_needs():
    """docs/rewards.md has a line for each field that is needed, and the rewards that need it."""
    lines = re.findall(r"^- (`.*`): (`.*)$", DOCS.read_text(encoding="utf-8"), re.M)
    told = {(need, name) for needs, names in lines for need in words(needs) for name in words(names) & set(REWARDS)}
    assert told == {(need, name) for name, reward in REWARDS.items() for need in reward.needs}


def test_the_docs_name_the_rewards_that_remember_and_those_that_are_two_sided():
    """docs/rewards.md tells them in a sentence each."""
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    (remembering,) = re.findall(r"## Terms that remember (.*?) remember,", text)
    assert words(remembering) == {name for name, reward in REWARDS.items() if reward.remember}
    (two_sided,) = re.findall(r"exceptions: (.*?) draw length to a target from both sides", text)
    assert words(two_sided) == TWO_SIDED_TERMS


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_a_reward_needs_what_its_row_says_and_nothing_else(name):
    """Without one of the six it raises, naming it, if it stands in the row; else it pays what it paid with it."""
    lengths, grades = [250, 350, 500], [C, C, W]
    paid = REWARDS[name].pay(group(lengths, grades, memory=MEMORY))
    for need in get_args(Need):
        numbers = group(lengths, grades, memory=MEMORY, **{need: () if need in ("token_ids", "texts") else None})
        if need in REWARDS[name].needs:
            with pytest.raises(ValueError, match=f"{name}: needs .*{need}"):
                REWARDS[name].pay(numbers)
        else:
            assert REWARDS[name].pay(numbers).tolist() == paid.tolist()


def test_pay_returns_weighted_terms_that_sum_to_the_reward():
    """levels 1 and -1, half of Kimi's 0.5 and -0.5: 1.25 and -1.25."""
    total, parts = pay(group([100, 300], [C, W]), [("levels", 1.0, {"wrong": -1.0}), ("kimi_length", 0.5, {})])
    assert total.tolist() == [1.25, -1.25]
    assert parts["levels"].tolist() == [1.0, -1.0]
    assert parts["kimi_length"].tolist() == [0.25, -0.25]
    assert np.array_equal(total, sum(parts.values()))


def test_pay_of_nothing_is_nothing():
    """No terms: zeros, one a response."""
    total, parts = pay(group([1, 2], [C, W]), [])
    assert total.tolist() == [0.0, 0.0]
    assert parts == {}


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ([("brevity", 1.0, {})], "unknown reward 'brevity'; known: acoer, alp, arora_zanette"),
        ([("levels", 1.0, {"right": 2.0})], "'levels' has no option 'right'; it has: correct, wrong"),
        ([("kimi_length", 1.0, {"alpha": 2.0})], "it has: none"),
        ([("levels", 1.0, {"numbers": 2.0})], "no option 'numbers'"),
        ([("levels", 1.0, {}), ("levels", 0.5, {})], "'levels' is used twice"),
        ([("levels", float("nan"), {})], "weight nan"),
    ],
)
def test_pay_refuses_what_it_does_not_know(terms, says):
    """Names, options, repetitions and weights; `check_terms` says so before there is a group."""
    with pytest.raises(ValueError, match=says):
        pay(group([1], [C]), terms)
    with pytest.raises(ValueError, match=says):
        check_terms(terms)


def test_a_term_of_ones_own_joins_by_the_table_and_is_checked():
    """Its ungradable responses earn 0 all the same; a wrong shape or a nan is refused by name."""
    numbers = group([100, 300], [C, U])
    mine = dict(REWARDS, mine=Reward(lambda numbers, scale=1.0: scale * np.ones(2)))
    total, _ = pay(numbers, [("levels", 1.0, {}), ("mine", 2.0, {"scale": 3.0})], mine)
    assert total.tolist() == [7.0, 0.0]
    for wrong in (np.ones(3), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="'mine': expected 2 finite numbers"):
            pay(numbers, [("mine", 1.0, {})], {"mine": Reward(lambda numbers, values=wrong: values)})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"lengths": np.array([1, 2])}, "lengths: expected shape"),
        ({"lengths": np.array([0])}, "at least one token"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"budget_tokens": 0.0}, "budget_tokens: expected a positive"),
        ({"thinking_tokens": np.array([1, 1])}, "thinking_tokens: expected shape"),
        ({"thinking_tokens": np.array([2])}, "between 0 and the length"),
        ({"texts": ("a", "b")}, "texts: expected 1 or none, got 2"),
        ({"token_ids": ((1,), (2,))}, "token_ids: expected 1 or none, got 2"),
    ],
)
def test_group_numbers_refuse_what_cannot_be(arguments, says):
    """Shapes that differ, empty responses, no cap."""
    with pytest.raises(ValueError, match=says):
        GroupNumbers(**({"lengths": np.array([1]), "grades": (C,), "max_tokens": 9} | arguments))


@pytest.mark.parametrize("kind", [np.uint8, np.uint32, np.int32])
def test_lengths_of_every_kind_of_whole_number_earn_the_same(kind):
    """Differences of unsigned numbers wrap around: lengths are held as int64."""
    earned = [
        pay(
            GroupNumbers(np.array([100, 200, 50], dtype), (C, C, W), max_tokens=255, budget_tokens=150), terms, REWARDS
        )[0]
        for dtype in (np.int64, kind)
        for terms in [[("linear_length", 1.0, {}), ("shorterbetter", 1.0, {}), ("l1_exact", 1.0, {})]]
    ]
    assert earned[0].tolist() == earned[1].tolist()


def test_numbers_of_a_sampled_group():
    """Lengths, grades and the probe's numbers go over; the record is frozen."""
    rollout = Rollout(Response((5, 6, 7), (-0.1,) * 3, "x", FinishReason.STOP), C, sample=0)
    numbers = numbers_of(Group(Problem("p", "q", "a"), (1,), (rollout,), 12.0, 0.25), max_tokens=64)
    assert numbers.lengths.tolist() == [3]
    assert numbers.grades == (C,)
    assert (numbers.ref_mean_tokens, numbers.ref_solve_rate, numbers.max_tokens) == (12.0, 0.25, 64)
    assert (numbers.texts, numbers.token_ids, numbers.budget_tokens) == (("x",), ((5, 6, 7),), None)
    assert numbers.thinking_tokens is None
    with pytest.raises(FrozenInstanceError):
        numbers.max_tokens = 1


def test_numbers_of_take_thinking_memory_and_no_ids_from_an_endpoint():
    """Reported tokens instead of ids; thinking counts where every response has it; the memory is that of the problem."""
    told = [Response((), (), "x", FinishReason.STOP, reported_tokens=9, thinking_tokens=t) for t in (4, 0, None)]
    rollouts = tuple(Rollout(response, C, sample) for sample, response in enumerate(told))
    memory = Memory({"p": {"hapo/shortest_correct": 8.0}}, {"lead/correct_weight": 0.5})
    known = numbers_of(Group(Problem("p", "q", "a"), (), rollouts[:2]), 64, memory)
    assert known.token_ids == ()
    assert known.thinking_tokens.tolist() == [4, 0]
    assert dict(known.memory) == {"hapo/shortest_correct": 8.0, "lead/correct_weight": 0.5}
    assert numbers_of(Group(Problem("p", "q", "a"), (), rollouts), 64).thinking_tokens is None


# --- what a row says of its term -------------------------------------------------------------------------------------


def paid(name, lengths, grades, **options):
    """What the term pays after some steps, with options under which lengths of 50 to 900 tokens make a difference."""
    defaults = {
        "truncation": {"budget_tokens": 500.0},
        "lead": {"min_target_tokens": 1.0},
        "short_rl": {"length_tolerance": 1.0},
        "alp": {"beta": 0.001},
    }
    numbers = group(lengths, grades, memory=MEMORY)
    return REWARDS[name].pay(numbers, **{**defaults.get(name, {}), **options}).round(9).tolist()


@pytest.mark.parametrize("name", REWARDS)
def test_a_row_says_what_the_pay_of_a_single_response_depends_on(name):
    """Of 50 and of 900 tokens, right and wrong: all the same for "nothing", the same for right ones for "grade"."""
    if not REWARDS[name].reads_length:
        assert REWARDS[name].alone == "all"  # of what it reads, as the text
        return
    by_grade = {grade: {tuple(paid(name, [length], grade)) for length in (50, 900)} for grade in "CW"}
    is_one = by_grade["C"] == by_grade["W"] and len(by_grade["C"]) == 1
    assert REWARDS[name].alone == ("nothing" if is_one else "grade" if len(by_grade["C"]) == 1 else "all")


@pytest.mark.parametrize("name", REWARDS)
def test_a_row_says_whether_its_term_pays_for_being_right(name):
    """Of a right and a wrong answer of 200 tokens beside a longer wrong one the right one earns more. `kimi_length` pays a short
    right answer more than a short wrong one, and a long one the same: it is a price on length alone."""
    right, wrong, _ = paid(name, [200, 200, 900], "CWW")
    assert REWARDS[name].pays_correct == (right > wrong) or name == "kimi_length"


@pytest.mark.parametrize("name", [name for name, row in REWARDS.items() if row.plain])
def test_an_option_that_leaves_plain_correctness_does(name):
    for option, value in REWARDS[name].plain.items():
        assert paid(name, [50, 300, 900], "CCW", **{option: value}) == [1.0, 1.0, 0.0]
        assert paid(name, [50, 300, 900], "CCW", **{option: 0.9 * value})[1] < 1.0
