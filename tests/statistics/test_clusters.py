"""Intervals from sums over users are those of the users themselves."""

import math

import numpy as np
import pytest

from laconic.statistics.clusters import ClusterSums, clustered_mean, clustered_rate, coin_flips, worse_rate_p_value
from laconic.statistics.intervals import accuracy_interval, mean_interval


def test_where_every_user_has_one_request_intervals_are_the_usual_ones() -> None:
    values = np.array([0.0] * 36 + [1.0] * 4)
    ones = ClusterSums(40, 40.0, 4.0, 4.0, 4.0, 40.0)
    usual, found = accuracy_interval(values), clustered_rate(ones)
    assert (found.low, found.high) == pytest.approx((usual.low, usual.high))
    few = np.array([3.0, 5.0, 10.0])
    found = clustered_mean(ClusterSums(3, 3.0, few.sum(), (few**2).sum(), few.sum(), 3.0))
    usual = mean_interval(few, seed=0)  # Student's t, with so few
    assert (found.low, found.high) == pytest.approx((usual.low, usual.high))


def test_a_rate_s_p_value_is_that_of_two_shares() -> None:
    """10 of 100 against 20 of 100, one request a user: z = 0.1 / sqrt(0.15 * 0.85 * 2 / 99) = 1.97, p = 0.0244 (99 flips,
    for a variance estimated with n - 1)."""
    sides = [ClusterSums(100, 100.0, bad, bad, bad, 100.0) for bad in (10.0, 20.0)]
    assert worse_rate_p_value(*sides) == pytest.approx(0.0244, abs=1e-4)
    assert worse_rate_p_value(*reversed(sides)) > 0.95


def test_users_who_resemble_themselves_tell_less() -> None:
    """20 users with 10 requests each, two of them with nothing but complaints: as informative as 19 coin flips, not 200."""
    apart = ClusterSums(20, 200.0, 20.0, 200.0, 200.0, 2000.0)
    assert coin_flips(apart) == pytest.approx(19.0)
    spread = ClusterSums(20, 200.0, 20.0, 24.0, 200.0, 2000.0)  # two users have 2, sixteen have 1
    assert coin_flips(spread) == 200.0


def test_without_two_users_there_is_no_interval() -> None:
    one = ClusterSums(1, 5.0, 1.0, 1.0, 5.0, 25.0)
    assert clustered_rate(one).estimate == clustered_mean(one).estimate == 0.2
    assert math.isnan(clustered_rate(one).low) and math.isnan(clustered_mean(one).high)
    assert math.isnan(worse_rate_p_value(one, one)) and math.isnan(ClusterSums(0, 0.0, 0.0, 0.0, 0.0, 0.0).ratio)


def test_where_nobody_complains_users_are_counted() -> None:
    none = ClusterSums(30, 300.0, 0.0, 0.0, 0.0, 3000.0)
    assert coin_flips(none) == 30.0 and clustered_rate(none).low == 0.0 and worse_rate_p_value(none, none) == 1.0
