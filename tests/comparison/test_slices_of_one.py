"""Slices of one model: the worst is named, and chance alone names none."""

import numpy as np
import pytest

from laconic.comparison.slices_of_one import slices_of_one, worst_of_one

LEVELS = [1] * 40 + [5] * 40


def test_the_slice_that_is_solved_less_often_is_named() -> None:
    """Level 5 is solved one time in four, level 1 always; the other key sorts both alike."""
    rates = np.array([1.0] * 40 + [0.25] * 40)
    found = slices_of_one(rates, np.array([10.0] * 40 + [30.0] * 40), {"level": LEVELS, "parity": ["a", "b"] * 40})
    worst = worst_of_one(found)
    assert worst is not None and worst.is_worse and (worst.key, worst.value) == ("level", "5")
    assert (worst.solve_rate.estimate, worst.rest_solve_rate, worst.tokens, worst.rest_tokens) == (
        0.25,
        1.0,
        30.0,
        10.0,
    )
    assert worst.p == pytest.approx(4 / 10_001)  # no draw of 10,000 is as far off: 1/10,001, times the four slices
    assert [part.is_worse for part in found if part.key == "parity"] == [False, False]


def test_slices_of_equal_problems_are_worse_by_chance_at_most_one_time_in_twenty() -> None:
    """Two keys, eight slices, 60 trials of 80 coins: the level counts any slice that is called worse."""
    keys = {"quarter": [i // 20 for i in range(80)], "other": [i % 4 for i in range(80)]}
    coins = np.random.default_rng(3).integers(0, 2, size=(60, 80)).astype(float)
    found = [worst_of_one(slices_of_one(row, row, keys, resamples=400)) for row in coins]
    assert sum(worst is not None and worst.is_worse for worst in found) <= 5


def test_what_cannot_sort_is_left_out_and_what_is_small_is_not_decided() -> None:
    """Ids make 80 slices; three problems of a third subject stay undecided; alike rates differ nowhere."""
    subjects = ["algebra"] * 40 + ["logic"] * 37 + ["puzzle"] * 3
    found = slices_of_one(np.full(80, 0.5), np.ones(80), {"id": [f"p{i}" for i in range(80)], "subject": subjects})
    assert [(part.value, part.p) for part in found][:2] == [("algebra", 1.0), ("logic", 1.0)]
    assert np.isnan(found[2].p) and len(found) == 3
