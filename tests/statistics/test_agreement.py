"""Cohen's kappa by hand, and an interval that is neither of width 0 nor certain."""

from math import isnan

import numpy as np
import pytest

from laconic.statistics.agreement import agreement


def test_kappa_of_cohens_own_kind_of_table() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 35/50, p_e = 25/50 30/50 + 25/50 20/50 = 1/2, kappa = 0.2 / 0.5."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = agreement(first, second, seed=0)
    assert found.num_items == 50 and found.share.estimate == pytest.approx(0.7)
    assert found.kappa.estimate == pytest.approx(0.4)
    assert 0.1 < found.kappa.low < 0.3 and 0.5 < found.kappa.high < 0.7
    assert agreement(second, first, seed=0).kappa.estimate == pytest.approx(0.4)


def test_complete_agreement_is_no_certainty() -> None:
    found = agreement(["a", "b"] * 15, ["a", "b"] * 15, seed=0)
    assert found.kappa.estimate == 1.0 and found.kappa.low < 0.95 and found.kappa.high == 1.0


def test_one_answer_throughout_has_no_kappa() -> None:
    found = agreement(["a"] * 40, ["a"] * 40, seed=0)
    assert found.share.estimate == 1.0 and isnan(found.kappa.estimate) and isnan(found.kappa.low)
    assert isnan(agreement([], [], seed=0).kappa.estimate)


def test_one_label_of_one_labeller_throughout_has_no_interval() -> None:
    """Whatever is drawn, p_o = p_e: kappa is 0, of which that says nothing."""
    found = agreement(["a"] * 30, ["a"] * 29 + ["b"], seed=0)
    assert found.kappa.estimate == pytest.approx(0.0) and isnan(found.kappa.low) and isnan(found.kappa.high)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        agreement(["a"], ["a", "b"], seed=0)


def test_the_interval_covers_the_truth() -> None:
    """Labels of two equal kinds, the second labeller copies the first in 6 of 10 cases and else draws: kappa is 0.6."""
    rng, covered = np.random.default_rng(0), 0
    for number in range(200):
        first = rng.integers(2, size=50)
        second = np.where(rng.random(50) < 0.6, first, rng.integers(2, size=50))
        kappa = agreement(list(map(str, first)), list(map(str, second)), seed=number, resamples=300).kappa
        covered += kappa.low <= 0.6 <= kappa.high
    assert 0.9 <= covered / 200 <= 0.99
