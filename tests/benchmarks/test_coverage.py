"""What `benchmarks/coverage.md` claims, on a small scale: the intervals cover, and a plain one is seen not to."""

import sys
from pathlib import Path

import numpy as np
import pytest

from laconic.statistics import intervals
from laconic.statistics.intervals import mean_interval

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import interval_coverage

EXPERIMENTS = 600
BAND = (0.92, 0.98)  # 0.95 -+ 3.4 standard errors of 600 experiments


@pytest.mark.parametrize("num_problems", [30, 100])
@pytest.mark.parametrize("population", ["easy (MATH-like)", "middling (testbed)"])
def test_the_four_intervals_hold_the_truth_95_times_in_100(population, num_problems):
    found = interval_coverage.coverage(
        interval_coverage.POPULATIONS[population],
        num_problems,
        experiments=EXPERIMENTS,
        resamples=600,
        seed=1,
        only_chosen=True,
    )
    held = {name: next(iter(shares.values())).held for name, shares in found.items()}
    assert len(held) == 4
    assert all(BAND[0] <= share <= BAND[1] for share in held.values()), held


def test_the_same_experiments_catch_an_interval_that_is_too_narrow(monkeypatch):
    """30 problems, nearly all solved: percentiles of the accuracy leave the band, nearly always by lying too high."""
    monkeypatch.setattr(interval_coverage, "STATISTICS", {"accuracy": interval_coverage.STATISTICS["accuracy"]})
    found = interval_coverage.coverage(
        interval_coverage.STRESS["nearly solved"], 30, experiments=EXPERIMENTS, resamples=600, seed=1
    )
    plain = found["accuracy"]["plain percentile"]
    assert plain.held < BAND[0] <= found["accuracy"]["Wilson, effective number"].held
    assert plain.above > 3 * plain.below


def test_ten_problems_plain_percentiles_fail_where_studentised_ones_hold():
    """Normal values: about 90 times in 100 against 95; 0.925 lies three standard errors from either."""
    rng = np.random.default_rng(2)
    hits = plain_hits = 0
    for seed in range(1000):
        values = rng.normal(0, 1, 10)
        interval = mean_interval(values, seed=seed, resamples=500)
        hits += interval.low <= 0 <= interval.high
        low, high = np.quantile(rng.choice(values, (500, 10)).mean(axis=1), [0.025, 0.975])
        plain_hits += low <= 0 <= high
    assert plain_hits / 1000 < 0.925 <= hits / 1000 <= 0.975


def test_the_mean_of_lengths_that_nearly_all_are_cut_off(monkeypatch):
    """100 problems, two or three of them below the cap. Of the intervals that exist 90 in 100 hold the truth; of the studentised
    bootstrap's, whose resamples mostly have no spread, 73."""
    monkeypatch.setattr(interval_coverage, "STATISTICS", {"mean tokens": interval_coverage.STATISTICS["mean tokens"]})
    population = interval_coverage.STRESS["nearly all cut off"]
    held = {}
    for most_alike in (intervals._MOST_ALIKE, 1.0):
        monkeypatch.setattr(intervals, "_MOST_ALIKE", most_alike)
        found = interval_coverage.coverage(
            population, 100, num_samples=1, experiments=EXPERIMENTS, resamples=300, seed=1, only_chosen=True
        )
        shares = found["mean tokens"]["studentised bootstrap"]
        held[most_alike] = shares.held / (shares.held + shares.below + shares.above)
    assert held[1.0] < 0.8
    assert held[0.01] > 0.86


@pytest.mark.parametrize("name", ["easy (MATH-like)", "hard (AIME-like)"])
def test_the_true_values_are_those_of_many_problems(name):
    """100,000 problems drawn: the exact means lie within five standard errors of theirs."""
    population = interval_coverage.POPULATIONS[name]
    seen = interval_coverage.draw(population, 100_000, 4, np.random.default_rng(0))
    truths = [
        population.accuracy(0.0),
        population.accuracy(interval_coverage.SHIFT),
        *(population.mean_tokens(median) for median in interval_coverage.MEDIANS),
    ]
    for truth, values in zip(truths, [*seen.accuracy, *seen.tokens], strict=True):
        assert abs(values.mean() - truth) < 5 * values.std() / np.sqrt(len(values))


def test_remembered_resamples_are_the_packages_own():
    """The benchmark's product with counts gives the means that the package draws."""
    columns = np.random.default_rng(0).normal(size=(2, 17))
    quick = interval_coverage.quick_means(columns, 3, 50)
    assert np.abs(quick - interval_coverage.DRAWN_MEANS(columns, 3, 50)).max() < 1e-12
