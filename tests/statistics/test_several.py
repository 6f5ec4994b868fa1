"""Claims made several at once, and the p-values that they start from."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from laconic.statistics.intervals import difference_evidence, relative_change_evidence
from laconic.statistics.several import holm

NAN = float("nan")


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.01], [0.02, 0.02]),
        ([0.5, 0.9, 0.001], [1.0, 1.0, 0.003]),
        ([NAN, 0.02, NAN, 0.04], [NAN, 0.04, NAN, 0.04]),
    ],
)
def test_holm_by_hand(given: list[float], corrected: list[float]) -> None:
    assert holm(given) == pytest.approx(corrected, nan_ok=True)


def test_a_p_value_is_below_the_level_where_the_interval_leaves_zero_out() -> None:
    """For both kinds of change, over many sets that are near the border."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        base = rng.random(30) + 0.5
        candidate = base + rng.normal(0.08, 0.2, 30)
        for test in (difference_evidence, relative_change_evidence):
            change, p_value = test(base, candidate, seed=0, resamples=2000)
            if abs(p_value - 0.05) > 0.004:  # nearer, the 2,000 resamples do not tell
                assert (p_value < 0.05) == (change.low > 0 or change.high < 0)


def test_a_p_value_is_near_that_of_the_paired_t_test() -> None:
    """100 problems with normal changes, of which the t test is exact: within a fifth of it."""
    base = np.zeros(100)
    candidate = np.random.default_rng(5).normal(0.2, 1.0, 100)
    ours = difference_evidence(base, candidate, seed=0).p_value
    theirs = scipy_stats.ttest_rel(candidate, base).pvalue
    assert ours == pytest.approx(theirs, rel=0.2)


def test_without_an_interval_there_is_no_p_value() -> None:
    assert np.isnan(difference_evidence([1.0], [0.0], seed=0).p_value)
    assert np.isnan(relative_change_evidence([10.0, 20.0], [5.0, 10.0], seed=0).p_value)
    assert difference_evidence([1.0] * 30, [1.0] * 30, seed=0).p_value > 0.9


def test_chance_is_called_a_change_no_more_often_than_it_may_be() -> None:
    """60 pairs of the same model on 8 slices of 25 problems: at 5% for each slice 20 pairs would have a false change; corrected
    it is 3, and more than 9 would be a chance below 0.002."""
    rng, num_false = np.random.default_rng(7), 0
    for _ in range(60):
        rates = rng.random((8, 25))
        sides = [rng.binomial(2, rates) / 2 for _ in range(2)]
        ps = [difference_evidence(*pair, seed=0, resamples=500).p_value for pair in zip(*sides, strict=True)]
        num_false += min(holm(ps)) < 0.05
    assert num_false <= 9
