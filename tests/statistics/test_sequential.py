"""Always-valid intervals hold at every look, and those of a fixed sample do not."""

import math

import always_valid
import numpy as np
import pytest
from always_valid import KINDS, Visitors, ever_excluded, separates

from laconic.statistics.sequential import (
    FRACTIONS,
    MIN_USERS,
    mean_ratio_sequence,
    mixture_factor,
    rate_difference_sequence,
    rate_ends,
)


def test_the_low_end_is_where_the_players_have_won_enough() -> None:
    """K(m) by its formula, one user after the other, at the end and a little beside it."""
    values, alpha = np.array([0.0, 0.2, 0.5, 1.0] * 20), 0.0125
    low, high = rate_ends(values, alpha)
    for end, sign, numbers in ((low, 1.0, values), (1.0 - high, 1.0, 1.0 - values)):
        for shift, is_won in ((-1e-4, True), (1e-4, False)):
            m = end + sign * shift
            capital = np.mean([math.prod(1 + f * (x - m) / m for x in numbers) for f in FRACTIONS])
            assert bool(capital >= 1 / alpha) is is_won


def test_bets_on_the_true_mean_win_nothing_on_average() -> None:
    """E K(m) = 1 at the true mean, since each factor has mean 1: over all 2^10 outcomes of 10 users with a rate of 0.5."""
    outcomes = ((np.arange(1024)[:, None] >> np.arange(10)) & 1).astype(float)
    capitals = np.exp(always_valid.log_capitals(outcomes, np.full(1024, 0.5)))
    assert capitals.mean() == pytest.approx(1.0)


def test_a_larger_difference_and_more_users_are_seen() -> None:
    base, worse = [0.0] * 95 + [1.0] * 5, [0.0] * 80 + [1.0] * 20
    few, many = (rate_difference_sequence(base * n, worse * n, alpha=0.05) for n in (1, 10))
    assert few.low < 0.0 < many.low < 0.15 < many.high < few.high
    assert few.estimate == many.estimate == pytest.approx(0.15)


def test_no_feedback_at_all_says_little_of_few_users() -> None:
    """Of 50 users without a complaint the rate may be log(80) / 50 = 8.8% for one player, and a little more for many."""
    found = rate_difference_sequence([0.0] * 50, [0.0] * 50, alpha=0.05)
    assert found.estimate == 0.0 and found.low == -found.high and 0.088 < found.high < 0.15


def test_ratios_need_users_and_a_spread() -> None:
    few = mean_ratio_sequence([100.0, 200.0] * 12, [50.0, 100.0] * 12, alpha=0.05)
    assert few.estimate == pytest.approx(-0.5) and math.isnan(few.low) and MIN_USERS > 2 * 12
    alike = mean_ratio_sequence([100.0] * 50, [50.0] * 50, alpha=0.05)
    assert alike.estimate == pytest.approx(-0.5) and math.isnan(alike.high)
    assert math.isnan(mean_ratio_sequence([], [1.0], alpha=0.05).estimate)


def test_the_ratio_s_interval_is_that_of_its_logarithm() -> None:
    """v = s^2 / (n m^2) on both sides: 0.1^2 (40/39) / 40 * 2 for values 10% from their mean."""
    found = mean_ratio_sequence([90.0, 110.0] * 20, [180.0, 220.0] * 20, alpha=0.05)
    variance = 2 * 0.1**2 / 39
    half = math.sqrt(variance) * mixture_factor(variance, 0.05)
    assert found.high == pytest.approx(2 * math.exp(half) - 1) and found.low == pytest.approx(2 * math.exp(-half) - 1)


@pytest.mark.parametrize("wrong", [[-0.1], [1.1], [math.nan]])
def test_values_that_are_no_rates_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        rate_difference_sequence([0.5], wrong, alpha=0.05)
    if wrong != [1.1]:
        with pytest.raises(ValueError, match="from 0 up"):
            mean_ratio_sequence([0.5], wrong, alpha=0.05)


def test_the_benchmark_s_quick_question_is_the_package_s() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.binomial(4, 0.1, size=(60, 80)) / 4, rng.binomial(4, 0.33, size=(60, 50)) / 4
    exact = [rate_difference_sequence(a, b, alpha=0.05).low > 0.0 for a, b in zip(low, high, strict=True)]
    assert 10 < sum(exact) < 50 and separates(low, high).tolist() == exact


def test_under_no_difference_looking_after_every_request_is_no_sin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `benchmarks/always_valid.md` says of 2,000 experiments, for 300: at most 5% and 3 standard errors exclude 0, where
    intervals of a fixed sample exclude it in more than a fifth."""
    monkeypatch.setattr(always_valid, "BATCH", 300)
    found = ever_excluded(Visitors(100, 4, 0.5, 1.0), 300, seed=1)
    always, users, requests = KINDS
    for kinds in found.values():
        assert kinds[always] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
        assert min(kinds[users], kinds[requests]) > 0.2


def test_values_that_are_all_the_same_have_no_interval_and_a_chance_lies_between_0_and_1() -> None:
    """Rounding makes a variance of 1e-33 of them, which is none."""
    same = [0.1 + 0.2, 0.3] * 30
    found = mean_ratio_sequence(same, [0.2] * 60, alpha=0.05)
    assert np.isnan(found.low) and np.isnan(found.high) and abs(found.estimate + 1 / 3) < 1e-9
    for alpha in (0.0, 1.0, -1.0, float("nan")):
        for sequence in (rate_difference_sequence, mean_ratio_sequence):
            with pytest.raises(ValueError, match="alpha: expected a chance of error"):
                sequence([0.0] * 30, [1.0] * 30, alpha=alpha)
    with pytest.raises(ValueError, match="means"):
        mean_ratio_sequence([1.0] * 30, [float("inf")] * 30, alpha=0.05)
