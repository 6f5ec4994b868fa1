"""What `stats` claims: small arithmetic by hand, and intervals that cover as often as they say."""

from itertools import combinations
from math import isnan, nan

import numpy as np
import pytest

from laconic.statistics.claims import (
    aes,
    frontier,
    length_difference,
    mean_pass_at_k,
    non_inferior,
    num_mixed,
    pass_at_k,
    per_problem,
)
from laconic.statistics.intervals import (
    Interval,
    accuracy_interval,
    length_interval,
    mean_interval,
    paired_difference,
    paired_relative_change,
    with_two_changed,
)
from laconic.types import Grade

C, W, N, T, U = Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED, Grade.UNGRADABLE


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_attempt():
    """Against a slow oracle that draws every subset of k of n attempts."""
    for n, c, k in [(4, 1, 2), (6, 2, 3), (5, 0, 2), (5, 5, 1), (7, 3, 7), (6, 4, 3)]:
        attempts = [True] * c + [False] * (n - c)
        share = np.mean([any(subset) for subset in combinations(attempts, k)])
        assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-12)


def test_pass_at_k_without_k_attempts_does_not_exist():
    """Two attempts say nothing unbiased about pass@3; impossible counts are refused."""
    assert isnan(pass_at_k(2, 1, 3))
    for attempts, correct, k in [(2, 3, 1), (2, -1, 1), (2, 1, 0)]:
        with pytest.raises(ValueError, match="pass_at_k"):
            pass_at_k(attempts, correct, k)


def test_mean_pass_at_k_leaves_out_problems_with_too_few_gradable_attempts():
    """a: 1 of 2 correct, pass@2 = 1. b: one gradable attempt, left out. c: 0 of 2, pass@2 = 0. Mean 0.5."""
    problems = per_problem(list("aabbcc"), [C, W, C, U, W, N], [1] * 6)
    assert mean_pass_at_k(problems, 2) == 0.5
    assert isnan(mean_pass_at_k(problems, 3))


def test_per_problem_keeps_ungradable_apart_and_counts_every_other_failure_as_not_correct():
    """a: 1 correct of 4 gradable and 1 ungradable; its tokens (100) still enter the mean length."""
    problems = per_problem(["a"] * 5 + ["b"], [C, W, N, T, U, U], [10, 20, 30, 40, 100, 7])
    assert problems.attempts.tolist() == [4, 0]
    assert problems.ungradable.tolist() == [1, 1]
    assert problems.correct.tolist() == [1, 0]
    assert problems.accuracy[0] == 0.25
    assert isnan(problems.accuracy[1])
    assert problems.mean_tokens.tolist() == [40.0, 7.0]  # (10 + 20 + 30 + 40 + 100) / 5
    assert problems.correct_tokens[0] == 10.0
    assert problems.wrong_tokens[0] == 20.0  # neither the answerless 30 nor the truncated 40


def test_per_problem_gathers_samples_in_any_order_and_can_be_reordered():
    """Rows come in order of first appearance; `ordered` permutes all of them and refuses another set."""
    problems = per_problem(["b", "a", "b"], [C, W, W], [10, 30, 20])
    turned = problems.ordered(["a", "b"])
    assert turned.problem_ids == ("a", "b")
    assert turned.accuracy.tolist() == [0.0, 0.5]
    assert turned.mean_tokens.tolist() == [30.0, 15.0]
    for other in (["a"], ["a", "c"], ["a", "b", "b"]):
        with pytest.raises(ValueError, match="not the same set"):
            problems.ordered(other)
    with pytest.raises(ValueError, match="2 ids, 1 grades"):
        per_problem(["a", "b"], [C], [1, 2])


def test_a_problem_counts_once_however_many_samples_it_has():
    """a is right 8 of 8 times and b wrong once: the mean over problems is 1/2, not 8/9."""
    problems = per_problem(["a"] * 8 + ["b"], [C] * 8 + [W], [1] * 9)
    assert mean_interval(problems.accuracy, seed=0).estimate == 0.5


def test_intervals_are_reproducible_and_depend_on_the_seed():
    """The same seed draws the same problems; another seed draws others."""
    values = np.linspace(0, 1, 30) ** 2
    first, again, other = (mean_interval(values, seed=seed, resamples=500) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.low < first.estimate < first.high


def test_interval_does_not_depend_on_how_the_draws_are_blocked(monkeypatch):
    """10 draws at a time or all at once: the same stream, the same interval."""
    values = np.arange(20.0)
    whole = mean_interval(values, seed=3, resamples=100)
    monkeypatch.setattr("laconic.statistics.intervals._DRAWS_AT_ONCE", 200)
    assert mean_interval(values, seed=3, resamples=100) == whole


def test_statistics_that_do_not_exist_are_nan_and_null():
    """No problem: nothing. One problem: an estimate without an interval. In JSON: null."""
    assert mean_interval([], seed=0).to_json() == {"estimate": None, "ci95": [None, None]}
    assert mean_interval([nan, 0.25], seed=0).to_json("mean") == {"mean": 0.25, "ci95": [None, None]}
    assert paired_relative_change([0.0, 0.0], [1.0, 2.0], seed=0).to_json()["estimate"] is None
    assert paired_difference([0.25], [0.5], seed=0).to_json() == {"estimate": 0.25, "ci95": [None, None]}
    for change in (paired_difference, paired_relative_change):
        assert change([nan], [1.0], seed=0).to_json() == {"estimate": None, "ci95": [None, None]}


def test_problems_unknown_on_one_side_leave_both():
    """Only the last two rows are known on both sides: (0.5 + 1.0)/2 - (0.0 + 0.5)/2 = 0.5."""
    change = paired_difference([nan, 1.0, 0.0, 0.5], [1.0, nan, 0.5, 1.0], seed=0)
    assert change == paired_difference([0.0, 0.5], [0.5, 1.0], seed=0)
    assert change.estimate == 0.5
    with pytest.raises(ValueError, match="equal shapes"):
        paired_difference([1.0], [1.0, 2.0], seed=0)


def test_relative_change_is_the_ratio_of_means_on_the_same_problems():
    """(10 + 900) / (100 + 1000) - 1 = -0.17, though one problem fell by 90% and the other by 10%."""
    # ratio of means (10 + 900)/(100 + 1000) - 1 = -0.1727; the mean of ratios would say -0.5
    assert paired_relative_change([100, 1000], [10, 900], seed=0).estimate == pytest.approx(910 / 1100 - 1)


def test_pairing_narrows_the_interval():
    """A constant gain on very different problems is certain when paired and hidden when not."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 0.8, 60)
    candidate = base + 0.1 + rng.normal(0, 0.01, 60)
    paired = paired_difference(base, candidate, seed=0, resamples=1000)
    alone = mean_interval(candidate, seed=0, resamples=1000)
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_what_happened_to_be_alike_is_not_certain():
    """30 problems all solved, all unchanged: 3 in 30 could still be otherwise. All of one length: no interval."""
    solved = accuracy_interval([1.0] * 30)
    assert solved.high == 1.0
    assert 0.85 < solved.low < 0.91  # Wilson: 30 / (30 + t^2), t = 2.05
    unchanged = paired_difference([1.0] * 30, [1.0] * 30, seed=0)
    assert unchanged.estimate == 0.0
    assert -0.15 < unchanged.low < -0.05 < 0.05 < unchanged.high < 0.15
    assert not non_inferior(unchanged, margin=0.01)
    assert isnan(mean_interval([320.0] * 30, seed=0).low)
    lengths = np.array([10.0, 100.0, 1000.0, 40.0])
    halved = paired_relative_change(lengths, lengths / 2, seed=0)
    assert (halved.estimate, isnan(halved.low), isnan(halved.high)) == (-0.5, True, True)


def test_two_problems_are_added_that_changed_by_the_smallest_change_seen():
    """Changes 0, 0.25, -0.5 and 0.5: one more rises by 0.25 and one falls by it; without any change, by 1. Of one change alone,
    of 0.25, little is known, and it is a half."""
    pairs = np.array([[0.5, 0.5, 1.0, 0.5], [0.5, 0.75, 0.5, 1.0]])
    assert np.diff(with_two_changed(pairs), axis=0)[0].tolist() == [0.0, 0.25, -0.5, 0.5, 0.25, -0.25]
    assert np.diff(with_two_changed(pairs[:, :1]), axis=0)[0].tolist() == [0.0, 1.0, -1.0]
    assert np.diff(with_two_changed(pairs[:, :2]), axis=0)[0].tolist() == [0.0, 0.25, 0.5, -0.5]


@pytest.mark.parametrize(("problems", "samples"), [(30, 64), (100, 16), (200, 4)])
def test_one_response_lost_is_no_firmer_than_none(problems, samples):
    """All are right and unchanged, and then one response of one problem is not: intervals do not shrink to nothing by it."""
    right = np.ones(problems)
    lost = right.copy()
    lost[0] -= 1 / samples
    same, less = (paired_difference(right, after, seed=0) for after in (right, lost))
    assert less.low < 0.45 * same.low
    assert 1 - accuracy_interval(lost).low > 0.3 * (1 - accuracy_interval(right).low)


def test_accuracy_interval_is_wilsons_where_each_problem_has_one_sample():
    """20 of 30 once each: n = 30 * (2/3)(1/3) / s^2 with s^2 = (2/9)(30/29), so n = 29; t = 2.045.

    Centre (0.6667 + 4.183/58) / (1 + 4.183/29) = 0.6457; half 2.045 sqrt(0.2222/29 + 4.183/3364) / 1.1442 = 0.1687.
    """
    interval = accuracy_interval([1.0] * 20 + [0.0] * 10)
    assert (interval.low + interval.high) / 2 == pytest.approx(0.6457, abs=1e-4)
    assert (interval.high - interval.low) / 2 == pytest.approx(0.1687, abs=1e-4)


def test_accuracy_interval_narrows_where_problems_agree_more_than_coins_would():
    """Rates of 0.4 and 0.6 tell more of the mean than as many rights and wrongs; and it stays inside 0 to 1."""
    coins = accuracy_interval([0.0, 1.0] * 15)
    agreeing = accuracy_interval([0.4, 0.6] * 15)
    assert agreeing.high - agreeing.low < 0.25 * (coins.high - coins.low)
    assert accuracy_interval([0.0] * 5).low == 0.0
    with pytest.raises(ValueError, match="from 0 to 1"):
        accuracy_interval([0.5, 120.0])


def test_mean_interval_reaches_further_to_the_side_of_the_long_tail():
    """Skewed lengths: the truth lies above the mean by more than it lies below."""
    values = np.exp(np.linspace(-2, 2, 30))
    interval = mean_interval(values, seed=0, resamples=2000)
    assert interval.high - interval.estimate > 1.3 * (interval.estimate - interval.low)


def test_mean_interval_of_very_few_problems_is_students():
    """1, 2, 3: mean 2, s = 1, t = 4.303: 2 -+ 4.303 / sqrt(3) = 2 -+ 2.484. One problem has none."""
    interval = mean_interval([1.0, 2.0, 3.0], seed=0)
    assert (interval.low, interval.high) == pytest.approx((-0.484, 4.484), abs=1e-3)
    assert isnan(mean_interval([1.0], seed=0).low)


def test_few_lengths_that_differ_from_a_common_one_have_wilsons_interval():
    """One of 30 ends at 300 instead of at the cap of 1024. A share of 1/30 is worth 29 coin flips, whose interval is
    (0.0333 + 4.183/58 -+ 2.045 sqrt(0.0322/29 + 4.183/3364)) / (1 + 4.183/29) = 0.0054 to 0.1789; the mean lies 724 times as far
    below the cap. On the other side the same; no resample decides."""
    interval = length_interval([1024.0] * 29 + [300.0], seed=0)
    assert interval == length_interval([1024.0] * 29 + [300.0], seed=1, resamples=77)
    assert interval.estimate == pytest.approx(1024 - 724 / 30)
    assert (interval.low, interval.high) == pytest.approx((1024 - 724 * 0.1789, 1024 - 724 * 0.0054), abs=0.1)
    mirrored = length_interval([300.0] * 29 + [1024.0], seed=0)
    assert (mirrored.low, mirrored.high) == pytest.approx((300 + 724 * 0.0054, 300 + 724 * 0.1789), abs=0.1)


@pytest.mark.parametrize(
    "lengths",
    [[320.0] * 29 + [160.75, 153.25], [68.0] * 47 + [70.0], [0.0] * 9 + [1.0], [7.1] * 20 + [7.1000001, 90.3, 12.7]],
)
def test_an_interval_reaches_no_further_than_the_lengths_do(lengths):
    """Rounding of a variance that should be 0 must not become a studentised mean of a million."""
    interval = mean_interval(lengths, seed=0)
    assert min(lengths) <= interval.low < interval.estimate < interval.high <= max(lengths)


def test_studentised_where_enough_problems_differ():
    """Ten of 30 off the cap: all resamples have spread, and the interval depends on the draws again."""
    lengths = [1024.0] * 20 + [100.0 * n for n in range(10)]
    assert length_interval(lengths, seed=0) != length_interval(lengths, seed=1)


def test_a_mean_length_cannot_lie_below_nothing_or_above_the_cap():
    """2 and 42: mean 22, s/sqrt(2) = 20, t = 12.7: 22 - 254 is below 0 and clipped; the upper end stays at 276."""
    few = length_interval([2.0, 42.0], seed=0)
    assert (few.estimate, few.low) == (22.0, 0.0)
    assert few.high == mean_interval([2.0, 42.0], seed=0).high == pytest.approx(276.1, abs=0.1)
    assert length_interval([2.0, 42.0], seed=0, most=100).high == 100.0
    assert length_interval([2.0, 42.0], seed=0, most=30).high == 42.0  # one was longer than it should be
    assert length_interval([2.0, 42.0], seed=0, most=300) == few
    assert isnan(length_interval([42.0], seed=0, most=100).high)
    many = np.exp(np.linspace(2, 4, 30))
    assert length_interval(many, seed=0, resamples=500) == mean_interval(many, seed=0, resamples=500)
    assert isnan(length_interval([320.0] * 30, seed=0).low)
    with pytest.raises(ValueError, match="from 0 up, got -1"):
        length_interval([-1.0, 2.0], seed=0)


@pytest.mark.parametrize("num_problems", range(2, 60))
def test_none_correct_begins_at_nothing_and_all_correct_end_at_one(num_problems):
    """Exactly: an end of 1e-17 is rounding."""
    assert accuracy_interval([0.0] * num_problems).low == 0.0
    assert accuracy_interval([1.0] * num_problems).high == 1.0
    assert accuracy_interval([0.0] * num_problems + [1.0]).low > 0.0


def test_non_inferior_only_where_the_lower_end_clears_the_margin():
    """Lower end strictly above -margin; at it, below it, or unknown is not shown."""
    assert non_inferior(Interval(0.0, -0.009, 0.02), margin=0.01)
    assert not non_inferior(Interval(0.0, -0.01, 0.02), margin=0.01)
    assert not non_inferior(Interval(0.05, -0.02, 0.12), margin=0.01)  # a gain on average, not shown
    assert not non_inferior(Interval(0.05, nan, nan), margin=0.01)
    with pytest.raises(ValueError, match="margin"):
        non_inferior(Interval(0, 0, 0), margin=-0.01)


MARCO = {"MATH": (73.8, 1156), "GSM8K": (89.2, 530), "GaoKao": (57.1, 1112)}


@pytest.mark.parametrize(
    ("base", "candidate", "score"),
    [
        # O1-Pruner, Marco-o1: accuracy rose everywhere, e.g. MATH 499/1156 + 3 * 3.7/73.8 = 0.432 + 0.150
        (MARCO["MATH"], (77.5, 657), 0.58),
        (MARCO["GSM8K"], (91.4, 343), 0.43),
        (MARCO["GaoKao"], (61.6, 664), 0.64),
        # O1-Pruner, QwQ-32B-preview
        ((90.6, 2191), (91.0, 1385), 0.38),
        ((95.1, 777), (96.5, 534), 0.36),
        ((79.0, 2183), (80.3, 1446), 0.39),
        # baselines where accuracy fell: MATH fast prompt 43/1156 - 5 * 2.8/73.8 = 0.037 - 0.190
        (MARCO["MATH"], (71.0, 1113), -0.15),
        (MARCO["MATH"], (71.8, 761), 0.21),
        (MARCO["GSM8K"], (81.7, 447), -0.26),
        # Fatemi et al., R1-1.5B, mean of four benchmarks
        ((57.0, 6848), (58.4, 3119), 0.62),
    ],
)
def test_aes_signed_values(base, candidate, score):
    """The signed score from the accuracies and lengths that the papers print."""
    assert aes(*base, *candidate) == pytest.approx(score, abs=0.005)


def test_aes_erratum_the_printed_baseline_rows_need_a_fall_counted_as_a_rise():
    """Version 1 prints 0.15, 0.42 and 0.41 for rows whose accuracy fell: only gamma = -3 gives that, and we do not."""
    for base, candidate, printed in [
        (MARCO["MATH"], (71.0, 1113), 0.15),
        (MARCO["MATH"], (71.8, 761), 0.42),
        (MARCO["GSM8K"], (81.7, 447), 0.41),
    ]:
        assert aes(*base, *candidate, gamma=-3.0) == pytest.approx(printed, abs=0.005)
        assert aes(*base, *candidate) < printed - 0.2


def test_aes_constants_are_arguments_and_an_empty_base_has_no_score():
    """alpha 1, beta 5, gamma 10 as in other papers: 0.5 + 5 * 0.1 and 0.5 - 10 * 0.1."""
    assert aes(0.5, 100, 0.55, 50, beta=5, gamma=10) == pytest.approx(1.0)
    assert aes(0.5, 100, 0.45, 50, beta=5, gamma=10) == pytest.approx(-0.5)
    assert aes(0.5, 100, 0.5, 100) == 0.0
    assert isnan(aes(0.0, 100, 0.5, 50))
    assert isnan(aes(0.5, 0, 0.5, 50))
    assert isnan(aes(nan, 100, 0.5, 50))


def test_frontier_holds_what_no_other_point_beats():
    """From few tokens to many; equal points both stay; longer and no better goes; nan has no place."""
    accuracies = [0.9, 0.5, 0.8, 0.8, 0.9, nan, 0.7]
    tokens = [300, 100, 200, 200, 400, 50, 250]
    assert frontier(accuracies, tokens) == [1, 2, 3, 0]
    assert frontier([], []) == []
    assert frontier([0.1], [5]) == [0]
    with pytest.raises(ValueError):
        frontier([0.1], [])


def test_length_difference_holds_difficulty_still():
    """Inside each problem correct answers are 10 tokens LONGER; pooled they look shorter, as hard problems are long."""
    ids = ["easy"] * 4 + ["hard"] * 4 + ["always"] * 2 + ["never"] * 2
    grades = [C, C, C, W, C, W, W, W, C, C, W, T]
    tokens = [110, 110, 110, 100, 510, 500, 500, 500, 50, 50, 900, 1000]
    problems = per_problem(ids, grades, tokens)
    assert num_mixed(problems) == 2
    assert length_difference(problems, seed=0).estimate == 10.0
    pooled = np.mean([t for t, g in zip(tokens, grades, strict=True) if g is C]) - np.mean(
        [t for t, g in zip(tokens, grades, strict=True) if g is W]
    )
    assert pooled < 0


def test_length_difference_without_a_mixed_problem_does_not_exist():
    """All correct, or correct and truncated only: nothing to compare."""
    problems = per_problem(["a", "a", "b", "b"], [C, C, C, T], [1, 2, 3, 4])
    assert num_mixed(problems) == 0
    assert isnan(length_difference(problems, seed=0).estimate)
