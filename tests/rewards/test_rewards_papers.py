"""What each paper's reward claims, reckoned by hand, and what becomes of it where a group leaves nothing to compare."""

from math import cos, log, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewarded import MEMORY, group

from laconic.rewards.budgets import cosine, dast, dast_budget, discounted, l1_exact, l1_max
from laconic.rewards.laser import laser, laser_d, laser_de
from laconic.rewards.lead import lead
from laconic.rewards.paying import pay
from laconic.rewards.penalties import garbled, overlong, repetition
from laconic.rewards.relative import alp, gr3, grpo_lambda, optimal_length, serial_exits, shorterbetter, smartthinker
from laconic.rewards.remembering import acoer, hapo, short_rl
from laconic.rewards.table import REWARDS


def test_l1_exact_pays_by_the_distance_to_the_budget_asked_for():
    """The published case: n = 512, L = 700, correct: 1 - 0.0003 * 188 = 0.9436; the same distance below costs the same."""
    numbers = group([700, 324, 700, 512], "CCWT", budget_tokens=512.0)
    assert l1_exact(numbers) == pytest.approx([0.9436, 0.9436, -0.0564, 0.0], abs=1e-12)


def test_l1_max_is_half_at_the_budget_and_a_product():
    """0.5 + 0.0003 * 1000 = 0.8 below, 0 from 1,667 tokens above, 1 from 1,667 below; wrong answers get 0."""
    numbers = group([2000, 1000, 3000, 3700, 300, 2000], "CCCCCW", budget_tokens=2000.0, max_tokens=4000)
    assert l1_max(numbers) == pytest.approx([0.5, 0.8, 0.2, 0.0, 1.0, 0.0], abs=1e-12)


def test_cosine_runs_from_its_start_to_its_end():
    """A quarter of the way (1 + cos(pi/4)) / 2 = 0.853553; at the cap, or cut off before it, the exceed penalty."""
    numbers = group([250, 500, 250, 500, 1000, 400], "CCWNCT")
    start = 0.8535533905932737
    assert cosine(numbers) == pytest.approx([1 + start, 1.5, -10 * start, -5.0, -10.0, -10.0], abs=1e-12)


def test_cosine_punishes_a_longer_wrong_answer_less():
    """Their schedule for wrong answers rises from -10 to 0; with levels that fall it is the other way round."""
    first, later = cosine(group([100, 900], "WW"))
    assert first < later
    first, later = cosine(group([100, 900], "WW"), wrong_start=0.0, wrong_end=-1.0)
    assert first > later


def test_dast_budget_moves_from_the_correct_length_to_the_cap():
    """p = 0.8, mean 100, cap 4,096: 80 + 819.2 = 899.2; all correct: their mean; none correct: the cap."""
    numbers = group([80, 120, 100, 100, 4000], "CCCCW", max_tokens=4096)
    assert dast_budget(numbers) == pytest.approx(899.2, abs=1e-9)
    assert dast_budget(group([100, 300], "CC")) == 200.0
    assert dast_budget(group([100, 300], "WT")) == 1000.0
    assert np.isnan(dast_budget(group([100], "U")))


def test_dast_shapes_both_sides_of_its_budget():
    """All correct, budget 400: d = -0.75 and 2.25, held at 0.1. None correct, budget 1,000: d = -0.9 and 0. Beyond it: -0.1."""
    assert dast(group([100, 100, 100, 1300], "CCCC")) == pytest.approx([0.875] * 3 + [0.1], abs=1e-12)
    assert dast(group([100, 1000], "WT")) == pytest.approx([0.9 * -0.9 - 0.1, -0.1], abs=1e-12)
    assert dast(group([100, 300], "CW", max_tokens=300)) == pytest.approx(
        [0.75, -0.1], abs=1e-12
    )  # budget 200, d = 0.5


def test_shorterbetter_measures_from_the_shortest_correct_answer():
    """SOL 100; without a correct answer SOL is the mean length, 200."""
    assert shorterbetter(group([100, 300, 50], "CCW"), correct=1.0) == pytest.approx([1.0, 0.8, -0.05], abs=1e-12)
    assert shorterbetter(group([100, 300], "WT")) == pytest.approx([-0.1, -0.1], abs=1e-12)


def test_laser_pays_a_step_for_correct_answers_within_the_target():
    """A quarter of 1,000 by default; long but correct loses nothing, short but wrong gains nothing."""
    assert laser(group([250, 251, 100, 1000], "CCWT")).tolist() == [0.5, 0.0, 0.0, 0.0]
    assert laser(group([250, 251], "CC"), target_tokens=251, bonus=1.0).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="target_tokens"):
        laser(group([1], "C"), target_tokens=0)


@pytest.mark.parametrize(("grades", "target"), [("CCW", 300.0), ("CWW", 500.0), ("WWW", 700.0)])
def test_laser_d_takes_the_target_of_the_groups_difficulty(grades, target):
    """2/3 is high, 1/3 is medium, 0 is low; unremembered targets are the first one. -DE shows each target by its wrong."""
    memory = {f"laser_d{e}/target_{name}": t for e in ("", "e") for name, t in [("high", 300.0), ("medium", 500.0)]}
    memory = {**memory, "laser_d/target_low": 700.0, "laser_de/target_low": 700.0}
    for tokens, within in ((target, True), (target + 1, False)):
        numbers = group([int(tokens)] * 3, grades, memory=memory)
        assert laser_d(numbers).tolist() == [0.5 * (within and grade == "C") for grade in grades]
        assert laser_de(numbers).tolist() == [0.5 * (within == (grade == "C")) for grade in grades]
    assert laser_d(group([250, 251, 9], "CCC"), target_tokens=250).tolist() == [0.5, 0.0, 0.5]


def test_laser_de_pays_exploring_but_not_repetition_truncation_or_silence():
    """All beyond the target of 250: the wrong one explores; the one that repeats two tokens does not."""
    numbers = group([300] * 4, "WWTN", token_ids=((1, 2, 3, 4), (1, 2, 1, 2), (5,), (6,)))
    assert laser_de(numbers, ngram_tokens=2).tolist() == [0.5, 0.0, 0.0, 0.0]
    assert laser_de(numbers, ngram_tokens=0).tolist() == [0.5, 0.5, 0.0, 0.0]


def test_hapo_holds_against_the_shortest_correct_length_ever_seen():
    """h = 200: f = cos(pi/4), 0, -1 (held at -0.7) for correct; wrong ones pay min(f, 0)."""
    numbers = group([100, 200, 500, 100, 300, 500], "CCCWWT", memory=MEMORY)
    half = cos(pi / 4)
    assert hapo(numbers) == pytest.approx([1 + half, 1.0, 0.3, 0.0, -half, -1.0], abs=1e-12)
    assert hapo(numbers, weight=0.5)[2] == pytest.approx(0.65, abs=1e-12)


def test_hapo_never_pays_a_wrong_answer_more_than_a_right_one():
    """The longest right one, 1 - 1 * 1 = 0 at the ends of both ranges, and the shortest wrong one."""
    weight, floor = (REWARDS["hapo"].ranges[option] for option in ("weight", "floor"))
    numbers = group([900, 1], "CW", memory=MEMORY)
    assert hapo(numbers, weight=weight.high, floor=floor.low).tolist() == [0.0, 0.0]
    assert hapo(numbers, weight=2.0)[0] < 0.0


def test_hapo_before_the_first_correct_answer_is_plain_correctness():
    """No memory of this problem, no length term."""
    assert hapo(group([100, 500, 900], "CWT")).tolist() == [1.0, 0.0, 0.0]


def test_alp_prices_tokens_by_the_solve_rate_and_never_below_one_in_k():
    """beta 0.0001: all correct 0.0001 a token, none correct of two 0.00005; divided by 100 tokens, a hundredth."""
    assert alp(group([100, 300], "CC"), beta=1e-4) == pytest.approx([0.99, 0.97], abs=1e-12)
    assert alp(group([100, 300], "WT"), beta=1e-4) == pytest.approx([-0.005, -0.015], abs=1e-12)
    assert alp(group([100], "C"), beta=1e-4, normalizer_tokens=100) == pytest.approx([0.9999], abs=1e-12)
    with pytest.raises(ValueError, match="normalizer_tokens"):
        alp(group([100], "C"), normalizer_tokens=0)


def test_alp_at_its_published_price_is_half_a_thousandth_for_five_thousand_tokens():
    """1e-7 * 5,000 = 0.0005: what the notes call negligible outside uniform groups."""
    assert alp(group([5000], "C")) == pytest.approx([0.9995], abs=1e-12)


def test_the_optimal_length_is_where_the_normals_part_most():
    """All: mean 250, variance 12,500; correct: 150, 2,500: (12500 * 150 - 2500 * 250) / 10000 = 125."""
    four = np.array([100, 200, 300, 400])
    assert optimal_length(four, np.array([100, 200])) == pytest.approx(125.0)
    assert optimal_length(four, np.array([300])) == 300.0  # one correct answer: its own length
    assert (
        optimal_length(four, np.array([200, 400])) == 400.0
    )  # (12500 * 300 - 10000 * 250) / 2500 = 500, beyond the longest
    assert optimal_length(four, four) == 100.0
    assert optimal_length(four, four[:0]) == 400.0
    assert optimal_length(np.array([100, 200, 200, 300]), np.array([100, 300])) == 100.0  # the correct vary more


@given(st.lists(st.tuples(st.integers(1, 1000), st.booleans()), min_size=2, max_size=8))
def test_smartthinker_leaves_every_correct_answer_at_or_above_the_mean(answers):
    """Its weight is the largest that does: where any penalty is paid in a mixed group, the worst equals the mean."""
    numbers = group([length for length, _ in answers], ["C" if right else "W" for _, right in answers])
    paid = smartthinker(numbers)
    if numbers.is_correct.any():
        worst = paid[numbers.is_correct].min()
        assert worst >= paid.mean() - 1e-9
        if worst < 1.0:
            assert worst == pytest.approx(paid.mean(), abs=1e-9)


@pytest.mark.parametrize("lengths", [[13, 12, 9], [501, 654, 255, 67, 910]])
def test_smartthinker_charges_nothing_for_the_only_correct_answer(lengths):
    """Its own length is the optimal one, up to 1e-14 tokens in these two: the weight must not blow that up to a penalty."""
    paid = smartthinker(group(lengths, ["C"] + ["W"] * (len(lengths) - 1)))
    assert paid.tolist() == [1.0] + [0.0] * (len(lengths) - 1)


@pytest.mark.parametrize(("grades", "paid"), [("CC", [1.0, 1.0]), ("WW", [0.0, 0.0]), ("UU", [0.0, 0.0])])
def test_smartthinker_is_silent_in_uniform_groups(grades, paid):
    """All correct: no price at all; nobody correct: nothing to pay."""
    assert smartthinker(group([100, 900], grades)).tolist() == paid


def test_lead_adds_two_z_scores():
    """L* = 200: e = 0, 1, 0, clipped -1 (deviations 0.5 * sqrt(2)); c = 0, 1, 0, 0 has mean 1/4, deviation sqrt(3)/4."""
    numbers = group([400, 200, 400, 900], "WCWW")
    root3, root2 = 3**0.5, 2**0.5
    z_c, z_e = [-1 / root3, root3, -1 / root3, -1 / root3], [0.0, root2, 0.0, -root2]
    expected = [0.5 * c + 0.5 * e for c, e in zip(z_c, z_e, strict=True)]
    assert lead(numbers, min_target_tokens=1) == pytest.approx(expected, abs=1e-9)


def test_lead_weighs_by_its_memory_and_never_below_the_floor():
    """All correct: only efficiency speaks. 100 and 500 about L* = 300 are equally far; 100, 300, 500: z = -1, 2, -1 / sqrt(2)."""
    memory = {"lead/correct_weight": 0.1}
    numbers = group([100, 300, 500], "CCC", memory=memory)
    expected = [0.7 * z / 2**0.5 for z in (-1, 2, -1)]
    assert lead(numbers, min_target_tokens=1) == pytest.approx(expected, abs=1e-9)
    assert lead(numbers, min_target_tokens=1, min_correct_weight=0.0)[1] == pytest.approx(0.9 * 2**0.5, abs=1e-9)


def test_lead_without_a_correct_answer_draws_towards_the_upper_target():
    """L* = 1,000: 100 and 300 tokens have e = 0.1 and 0.3, so the longer one is better: 0.5 * z."""
    assert lead(group([100, 300], "WW"), min_target_tokens=1) == pytest.approx([-0.5, 0.5], abs=1e-9)


def test_lead_refuses_targets_above_the_cap():
    """Its published least target of 1,000 tokens means nothing on problems with a cap of 320."""
    with pytest.raises(ValueError, match="min_target_tokens 1000 is not between 1 and the cap of 320"):
        lead(group([100], "C", max_tokens=320))


def test_gr3_divides_by_the_relative_length():
    """Mean 200, alpha 0.33: 1 / 1.165 and 1 / 1.495; wrong answers 0; equal lengths 1 / 1.33."""
    assert gr3(group([100, 300, 200], "CCW")) == pytest.approx([1 / 1.165, 1 / 1.495, 0.0], abs=1e-12)
    assert gr3(group([7, 7], "CC")) == pytest.approx([1 / 1.33] * 2, abs=1e-12)
    assert gr3(group([7, 9], "WT")).tolist() == [0.0, 0.0]


def test_acoer_pays_what_is_saved_of_its_budget():
    """B = 400, weight 0.5, scale 5: half saved log(3.5)/log(6), nothing saved beyond B; wrong answers 0."""
    numbers = group([200, 400, 900, 10], "CCCW", memory=MEMORY)
    assert acoer(numbers) == pytest.approx([1 + 0.5 * log(3.5) / log(6), 1.0, 1.0, 0.0], abs=1e-12)
    assert acoer(group([500], "C")) == pytest.approx([1 + 0.02 * log(3.5) / log(6)], abs=1e-12)


def test_discounted_counts_thinking_and_not_the_answer():
    """gamma^0, gamma^10, and nothing for a wrong answer; the lengths do not matter."""
    numbers = group([100, 100, 100], "CCW", thinking_tokens=np.array([0, 10, 1]))
    assert discounted(numbers, gamma=0.9) == pytest.approx([1.0, 0.9**10, 0.0], abs=1e-12)
    assert discounted(numbers, gamma=1.0).tolist() == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="gamma"):
        discounted(numbers, gamma=0.0)


def test_serial_exits_halve_with_each_earlier_correct_exit():
    """Positions 100 (wrong), 200, 300, 400: 0, 1, 1/2, 1/4; equal positions share their place."""
    assert serial_exits(group([400, 300, 200, 100], "CCCW")).tolist() == [0.25, 0.5, 1.0, 0.0]
    assert serial_exits(group([7, 7, 9], "CCC")).tolist() == [1.0, 1.0, 0.25]
    assert serial_exits(group([7, 9], "WT")).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="decay"):
        serial_exits(group([7], "C"), decay=0.0)


def test_grpo_lambda_prices_length_only_in_groups_that_are_mostly_right():
    """3 of 4 correct: sigmoid prices; 2 of 4: plain 1 and 0."""
    priced = grpo_lambda(group([100, 200, 300, 50], "CCCW"))
    assert priced == pytest.approx(REWARDS["arora_zanette"].pay(group([100, 200, 300, 50], "CCCW")), abs=1e-12)
    assert priced[0] > priced[1] > priced[2]
    assert grpo_lambda(group([100, 200, 300, 50], "CCWW")).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_short_rl_pays_kimis_place_beyond_a_tolerance():
    """Shortest 100, longest 600: 250 and 300 tokens are within 200, 350 is at 0.5 - 250/500 = 0."""
    numbers = group([100, 250, 300, 350, 600, 50], "CCCCCW", memory=MEMORY)
    assert short_rl(numbers) == pytest.approx([0.5, 0.5, 0.5, 0.0, -0.5, 0.0], abs=1e-12)


@pytest.mark.parametrize(
    ("accuracy", "best", "is_open"), [(0.70, 0.75, True), (0.6999, 0.75, False), (0.0, 0.0, True), (None, None, False)]
)
def test_short_rl_opens_within_a_tolerance_of_the_best_accuracy(accuracy, best, is_open):
    """Tolerance 0.05 (a little more for the float); closed before anything is known."""
    memory = {} if accuracy is None else {"short_rl/accuracy": accuracy, "short_rl/best_accuracy": best}
    paid = short_rl(group([100, 900], "CC", memory=memory), accuracy_tolerance=0.05 + 1e-9)
    assert paid.tolist() == ([0.5, -0.5] if is_open else [0.0, 0.0])


def test_short_rl_with_one_or_equal_correct_answers_pays_the_whole_bonus():
    """No range, nothing beyond the shortest."""
    assert short_rl(group([400, 10], "CW", memory=MEMORY)).tolist() == [0.5, 0.0]
    assert short_rl(group([400, 400], "CC", memory=MEMORY)).tolist() == [0.5, 0.5]
    assert short_rl(group([400, 400], "WT", memory=MEMORY)).tolist() == [0.0, 0.0]


def test_overlong_costs_one_where_the_cap_cut_off():
    """Truncated only: a response without an answer ended by itself."""
    assert overlong(group([9, 9, 9, 9], "TNWC")).tolist() == [-1.0, 0.0, 0.0, 0.0]


def test_repetition_costs_a_twentieth_a_repeated_token_up_to_one():
    """4 tokens of the second 1 2 3 4; 40 tokens of a second 40-gram, held at 1; ungradable ones pay nothing."""
    forty = tuple(range(40))
    numbers = group([8, 80, 80, 8], "CWCU", token_ids=((1, 2, 3, 4) * 2, forty * 2, tuple(range(80)), (1, 1) * 4))
    assert repetition(numbers, ngram_tokens=4) == pytest.approx([-0.2, -1.0, 0.0, 0.0], abs=1e-12)
    assert repetition(numbers) == pytest.approx([0.0, -1.0, 0.0, 0.0], abs=1e-12)
    assert repetition(numbers, max_penalty=5.0)[1] == pytest.approx(-2.0, abs=1e-12)


def test_garbled_costs_one_where_a_rule_is_broken():
    """Four broken characters, three words of mixed letters; mathematics is not garbled."""
    texts = ("\ufffd" * 4, "пpивeт кaк делa, mon aми", r"$\Delta x = Δx ≤ ℝ^2$ so \boxed{4}", "\ufffd" * 4)
    assert garbled(group([9] * 4, "CWCU", texts=texts)).tolist() == [-1.0, -1.0, 0.0, 0.0]
    assert garbled(group([9] * 4, "CWCU", texts=texts), penalty=0.5, max_broken=4).tolist() == [0.0, -0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("term", "missing", "says"),
    [
        (l1_exact, {"budget_tokens": None}, "l1_exact: needs budget_tokens"),
        (l1_max, {"budget_tokens": None}, "l1_max: needs budget_tokens"),
        (discounted, {"thinking_tokens": None}, "discounted: needs thinking_tokens"),
        (repetition, {"token_ids": ()}, "repetition: needs token_ids"),
        (laser_de, {"token_ids": ()}, "laser_de: needs token_ids"),
        (garbled, {"texts": ()}, "garbled: needs texts"),
    ],
)
def test_a_term_says_what_it_needs(term, missing, says):
    """No silent fallback where a field is absent."""
    with pytest.raises(ValueError, match=says):
        term(group([9], "C", **missing))


@pytest.mark.parametrize(
    ("term", "option", "value"),
    [(repetition, "ngram_tokens", 2.5), (repetition, "ngram_tokens", 0), (laser_de, "ngram_tokens", -1)],
)
def test_counts_among_options_must_be_whole(term, option, value):
    """Options come from TOML as numbers; half a token is a mistake."""
    with pytest.raises(ValueError, match=f"{option}: expected a whole number"):
        term(group([9], "C"), **{option: value})


def test_a_problem_of_which_nothing_could_be_graded_is_paid_0_and_stops_nothing() -> None:
    """Its own reference knows no solve rate then, and no term is asked."""
    numbers = group([9, 9], "UU", ref_mean_tokens=None, ref_solve_rate=None)
    total, parts = pay(numbers, [("length_harmonizing", 1.0, {})])
    assert total.tolist() == parts["length_harmonizing"].tolist() == [0.0, 0.0]
