"""What `complexity` claims: thresholds by hand, and an oracle that nothing beats."""

from itertools import product
from math import inf, isnan, nan

import numpy as np
import pytest

from laconic.statistics.token_complexity import (
    adaptivity,
    constant_accuracy,
    least_tokens,
    oracle_accuracy,
    token_complexity,
)


@pytest.mark.parametrize(
    ("tokens", "correct", "complexity"),
    [
        ([30, 10, 20], [True, True, True], 10),  # all right: the shortest
        ([30, 10, 20], [False, False, False], inf),  # all wrong
        ([10, 20, 30, 40], [False, False, True, True], 30),  # separates without an error
        ([10, 20, 30, 40, 50], [False, True, False, True, True], 20),  # one error at 20 and at 40: the smaller
        ([10, 20], [True, False], 10),  # one error at 10 and at infinity: the smaller
        ([10, 20, 30], [True, False, False], inf),  # 10: two errors, 20: three, 30: two, infinity: one
        ([20, 20, 20], [True, True, False], 20),  # equal lengths are one threshold
    ],
)
def test_the_threshold_judges_fewest_samples_wrongly(tokens, correct, complexity):
    assert token_complexity(tokens, correct) == complexity


def test_no_samples_have_no_complexity_and_shapes_must_agree():
    assert isnan(token_complexity([], []))
    with pytest.raises(ValueError, match="equal shapes"):
        token_complexity([1, 2], [True])
    with pytest.raises(ValueError, match="equal shapes"):
        adaptivity([1, 2], [1])
    with pytest.raises(ValueError, match="accuracy"):
        least_tokens([1, 2], 1.1)


def test_the_oracle_is_the_best_way_to_spend_a_budget():
    """Against every choice of which of 6 problems to fund, the others costing the smallest complexity."""
    needed = np.array([12.0, 5.0, 40.0, 7.0, inf, 23.0])

    def cost(funded):
        return sum(need if chosen else 5.0 for need, chosen in zip(needed, funded, strict=True)) / 6

    choices = list(product([False, True], repeat=6))
    for budget in (4.9, 5.0, 6.0, 8.0, 12.0, 14.5, 15.4, 100.0):
        best = max((sum(c) for c in choices if cost(c) <= budget and not c[4]), default=0)
        # funding nothing costs as much as funding the cheapest, so at 5.0 one is solved, below it none
        assert oracle_accuracy(needed, budget) == pytest.approx((best if budget >= 5.0 else 0) / 6)


def test_oracle_tokens_is_the_inverse_of_oracle_accuracy():
    """At the tokens it names the accuracy is reached, a hair below it is not."""
    needed = [12.0, 5.0, 40.0, 7.0, inf, 23.0]
    for accuracy in (1 / 6, 0.3, 0.5, 5 / 6):
        tokens = least_tokens(needed, accuracy)
        assert oracle_accuracy(needed, tokens) >= accuracy
        assert oracle_accuracy(needed, tokens - 0.01) < accuracy
    assert least_tokens(needed, 0.9) == inf  # five of six are solvable
    assert least_tokens(needed, 0.5) == (5 + 7 + 12 + 3 * 5) / 6


def test_problems_without_a_complexity_are_left_out_and_none_at_all_is_nan():
    assert oracle_accuracy([10.0, nan, 20.0], 15.0) == 1.0
    assert constant_accuracy([10.0, nan, 20.0], 15.0) == 0.5
    assert all(isnan(figure([nan], 0.5)) for figure in (oracle_accuracy, least_tokens, constant_accuracy))
    assert oracle_accuracy([inf, inf], 100.0) == 0.0


def test_constant_length_wastes_what_the_oracle_saves():
    """15 tokens each: the same length solves one of three (10); the oracle funds 10 and 20, and 10 on the third."""
    needed = [10.0, 20.0, 90.0]
    assert constant_accuracy(needed, 15.0) == pytest.approx(1 / 3)
    assert oracle_accuracy(needed, 15.0) == pytest.approx(2 / 3)


def test_adaptivity_ranks_lengths_against_needs_of_solvable_problems():
    """Same order 1, reversed -1, the unsolvable left out; a constant length has no order."""
    needed = [10.0, 20.0, 30.0, inf]
    assert adaptivity([1, 2, 3, 0], needed) == pytest.approx(1.0)
    assert adaptivity([3, 2, 1, 9], needed) == pytest.approx(-1.0)
    assert isnan(adaptivity([5, 5, 5, 9], needed))
    assert isnan(adaptivity([5, 6], [10.0, inf]))
    # tau-b with one tie in lengths: 2 concordant, 0 discordant of 3 pairs: 2 / sqrt(2 * 3)
    assert adaptivity([1, 1, 2], [10.0, 20.0, 30.0]) == pytest.approx(2 / np.sqrt(6))
