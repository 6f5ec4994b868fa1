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
    """10 of 100 against 20 of 100, one request a user: t = 0.1 / sqrt(0.15 * 0.85 * 2 / 99) = 1.97 with 198 degrees, p = 0.0251
    (99 flips, for a variance estimated with n - 1)."""
    sides = [ClusterSums(100, 100.0, bad, bad, bad, 100.0) for bad in (10.0, 20.0)]
    assert worse_rate_p_value(*sides) == pytest.approx(0.0251, abs=1e-4)
    assert worse_rate_p_value(*reversed(sides)) > 0.95


def skewed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Requests of 30 users, a few of whom send most, and each user's own rate, 5% in the mean."""
    return np.ceil(rng.lognormal(1, 1.6, 30)), rng.beta(0.5, 9.5, 30)


def sums_of(requests: np.ndarray, values: np.ndarray) -> ClusterSums:
    products = ((values**2).sum(), (values * requests).sum(), (requests**2).sum())
    return ClusterSums(len(requests), requests.sum(), values.sum(), *products)


def test_users_who_send_most_requests_do_not_make_an_interval_too_narrow() -> None:
    """1,000 simulations of skewed users: the rate is held in 93 to 97 of 100; a mean in 88 or more, short of 95, as the module
    says; two equal rates differ at the 5% level in at most 9. With the number of users in place of the effective one these are
    86, 78 and 12."""
    rng = np.random.default_rng(1)
    held_rates, held_means, false_alarms = 0, 0, 0
    for _ in range(1000):
        sides = []
        for _ in range(2):
            requests, rates = skewed(rng)
            sides.append(sums_of(requests, rng.binomial(requests.astype(int), rates).astype(float)))
        rate = clustered_rate(sides[0])
        requests, _ = skewed(rng)
        mean = clustered_mean(sums_of(requests, requests * rng.gamma(2, 50, 30)))
        held_rates += rate.low <= 0.05 <= rate.high
        held_means += mean.low <= 100 <= mean.high
        false_alarms += worse_rate_p_value(*sides) < 0.05
    assert 930 <= held_rates <= 970 and held_means >= 880 and false_alarms <= 90


def test_users_who_resemble_themselves_tell_less() -> None:
    """20 users with 10 requests each, two of them with nothing but complaints: as informative as 19 coin flips, not 200."""
    apart = ClusterSums(20, 200.0, 20.0, 200.0, 200.0, 2000.0)
    assert coin_flips(apart) == pytest.approx(19.0)
    spread = ClusterSums(20, 200.0, 20.0, 24.0, 200.0, 2000.0)  # two users have 2, sixteen have 1
    assert coin_flips(spread) == 200.0


def test_rare_events_in_much_traffic_are_counted_like_others() -> None:
    """10,000 users with 1,000 requests each, k of them with one event: k of 10^7 requests, all but independent. Nine times as
    many complaints are seen, and Wilson's interval is that of the requests."""

    def rare(events: int) -> ClusterSums:
        return ClusterSums(10_000, 1e7, events, events, 1000.0 * events, 1e10)

    for events in (1, 10, 90, 110):
        assert coin_flips(rare(events)) == pytest.approx(1e7, rel=1e-3)
    assert worse_rate_p_value(rare(10), rare(90)) < 1e-10
    assert clustered_rate(rare(90)).high < 1.3e-5


def test_without_two_users_there_is_no_interval() -> None:
    one = ClusterSums(1, 5.0, 1.0, 1.0, 5.0, 25.0)
    assert clustered_rate(one).estimate == clustered_mean(one).estimate == 0.2
    assert math.isnan(clustered_rate(one).low) and math.isnan(clustered_mean(one).high)
    assert math.isnan(worse_rate_p_value(one, one)) and math.isnan(ClusterSums(0, 0.0, 0.0, 0.0, 0.0, 0.0).ratio)


def test_where_nobody_complains_users_are_counted() -> None:
    none = ClusterSums(30, 300.0, 0.0, 0.0, 0.0, 3000.0)
    assert coin_flips(none) == 30.0 and clustered_rate(none).low == 0.0 and worse_rate_p_value(none, none) == 1.0
