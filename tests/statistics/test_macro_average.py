"""Averages over benchmarks: each counts the same, and the interval is that of problems drawn within each."""

import numpy as np
import pytest
from scipy.stats import norm, t

from laconic.statistics.intervals import expanded_levels, paired_difference, paired_relative_change
from laconic.statistics.macro_average import _levels, macro_difference, macro_mean, macro_relative_change

NAN = float("nan")


def drawn(seed: int, num_problems: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Base and candidate on one benchmark: the candidate moves by `shift`, with noise of the same size as the base's."""
    rng = np.random.default_rng(seed)
    base = rng.normal(10.0, 1.0, num_problems)
    return base, base + shift + rng.normal(0.0, 1.0, num_problems)


def attempted(seed: int, num_problems: int, before: float, after: float) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies of 4 samples a problem; solve rates spread 0.2 to both sides of their means, the same for both."""
    rng = np.random.default_rng(1000 + seed)
    spread = rng.uniform(-0.2, 0.2, num_problems)
    return rng.binomial(4, before + spread) / 4, rng.binomial(4, after + spread) / 4


def test_every_benchmark_counts_the_same():
    """2 problems that gain 1 and 98 that gain 0: half a point, where pooling would say 0.02."""
    small, large = (np.zeros(2), np.ones(2)), (np.zeros(98), np.zeros(98))
    assert macro_difference([small, large], seed=0, resamples=100).estimate == 0.5
    assert macro_mean([[1.0, 0.0], [1.0] * 4, [NAN, 0.75]]) == 0.75  # (0.5 + 1 + 0.75) / 3


def test_a_relative_change_is_that_of_the_averages():
    """(50 + 300) / (100 + 300) - 1: the benchmark with long responses weighs more, as it costs more."""
    short, long = ([90, 110], [40, 60]), ([290, 310], [280, 320])
    assert macro_relative_change([short, long], seed=0, resamples=100).estimate == -0.125


def test_one_benchmark_has_its_own_interval():
    """The same numbers as without any averaging."""
    base, candidate = drawn(0, 30)
    assert macro_difference([(base, candidate)], seed=1) == paired_difference(base, candidate, seed=1)
    assert macro_relative_change([(base, candidate)], seed=1) == paired_relative_change(base, candidate, seed=1)


def test_problems_are_drawn_within_benchmarks():
    """Two benchmarks far apart, each exact to 0.01: what lies between them is not noise, so the interval is narrow."""
    rng = np.random.default_rng(0)
    pairs = [(np.ones(50), level + rng.normal(0.0, 0.01, 50)) for level in (1.0, 11.0)]
    change = macro_relative_change(pairs, seed=0, resamples=500)
    assert 4.99 < change.low < change.estimate < change.high < 5.01


def test_the_interval_of_an_average_of_equals_is_narrower_by_the_root_of_their_number():
    """Four benchmarks of 100: half the width of one."""
    widths = []
    for count in (1, 4):
        change = macro_relative_change([drawn(seed, 100) for seed in range(count)], seed=0, resamples=4000)
        widths.append(change.high - change.low)
    assert widths[1] / widths[0] == pytest.approx(0.5, rel=0.15)


def test_each_benchmark_draws_problems_of_its_own():
    """The same 100 problems under two names: two independent draws, so the width falls by the root of 2, not by 1."""
    pair = drawn(0, 100)
    alone, twice = (macro_relative_change([pair] * count, seed=0, resamples=4000) for count in (1, 2))
    assert (twice.high - twice.low) / (alone.high - alone.low) == pytest.approx(0.5**0.5, rel=0.1)


def test_equal_strata_have_the_levels_of_all_their_problems_but_one_a_stratum():
    """5 benchmarks of 10 alike: t with 45 degrees of freedom, widened by sqrt(10/9); a ratio has 40 and sqrt(10/8)."""
    for num_means, df in ((1, 45), (2, 40)):
        low = norm.cdf(t.ppf(0.025, df) * np.sqrt(10 / (10 - num_means)))
        assert _levels([2.0] * 5, [10] * 5, num_means) == pytest.approx((low, 1 - low))
        assert _levels([2.0], [10], num_means) == pytest.approx(expanded_levels(10, num_means))


def test_intervals_cover_the_truth_about_95_times_in_100():
    """Benchmarks of 10 and 40 problems, 400 repetitions: 0.95 with a standard error of 0.011."""
    hits = np.zeros(2)
    for seed in range(400):
        lengths = [drawn(2 * seed, 10, shift=1.0), drawn(2 * seed + 1, 40, shift=3.0)]
        tokens = macro_relative_change(lengths, seed=seed, resamples=300)  # truth: 24/20 - 1
        solved = [attempted(2 * seed, 10, 0.5, 0.7), attempted(2 * seed + 1, 40, 0.7, 0.8)]
        accuracy = macro_difference(solved, seed=seed, resamples=300)  # truth: (0.2 + 0.1) / 2
        hits += [tokens.low <= 0.2 <= tokens.high, accuracy.low <= 0.15 <= accuracy.high]
    assert all(0.91 <= share <= 0.985 for share in hits / 400), hits / 400


def test_what_cannot_be_said_is_nan():
    """A benchmark without problems has no average, with one problem no interval; nor has a change by one factor."""
    whole, empty, single = ([1.0, 2.0], [2.0, 3.0]), ([NAN], [1.0]), ([1.0], [2.0])
    for macro in (macro_difference, macro_relative_change):
        assert np.isnan(macro([whole, empty], seed=0).estimate)
        change = macro([whole, single], seed=0)
        assert np.isfinite(change.estimate) and np.isnan([change.low, change.high]).all()
    alike = macro_relative_change([([1.0, 2.0], [2.0, 4.0]), ([3.0, 5.0], [6.0, 10.0])], seed=0)
    assert alike.estimate == 1.0 and np.isnan([alike.low, alike.high]).all()
    assert np.isnan(macro_mean([[1.0], [NAN]]))


def test_a_problem_unknown_on_one_side_counts_on_neither():
    """The second problem of the first benchmark leaves both its sides: (3 - 1 + 0) / 2."""
    pairs = [([1.0, 9.0], [3.0, NAN]), ([1.0, 1.0], [1.0, 1.0])]
    assert macro_difference(pairs, seed=0, resamples=100).estimate == 1.0
