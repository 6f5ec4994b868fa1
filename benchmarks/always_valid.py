"""Do intervals that are looked at after every request exclude the truth? `python benchmarks/always_valid.py [--experiments 2000]`

1. Simulated users (`Visitors`) send requests in random order, half of them or fewer to a candidate that is no different. Each has
   a rate of bad feedback and a mean length, which differ between users as strongly as `spread` says.
2. After every request the always-valid intervals of `laconic.statistics.sequential` are computed, each at 95%, and beside them
   that of a fixed sample (Welch's, of users' means and of single requests). An experiment fails where one ever excludes 0.
3. `requests_until_seen` asks how many requests it takes until a true difference is seen.

The betting interval is computed only at looks where users' means differ by `NEAR` standard errors or more; at a sample of the
other looks it is computed too, and has to hold 0. Results go to `benchmarks/always_valid.md`, with machine and date.
"""

import argparse
import datetime
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, log, nan
from pathlib import Path
from statistics import median

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from laconic.rng import seed_of
from laconic.statistics.sequential import (
    FRACTIONS,
    MIN_USERS,
    mean_ratio_sequence,
    mixture_factor,
    rate_difference_sequence,
)

FloatArray = NDArray[np.float64]

HERE = Path(__file__).parent
ALPHA, NAIVE = 0.05, 1.96
BATCH = 250  # experiments that share the order in which users come
NEAR, STEPS, SPARE = 2.8, 10, 0.002
FIGURES = ("bad feedback", "tokens")
KINDS = ("always valid", "fixed, over users", "fixed, over requests")


@dataclass(frozen=True, slots=True)
class Visitors:
    """Users, requests of each, the candidate's share of the users, and how strongly users differ (0: not at all)."""

    users: int
    requests: int
    share: float
    spread: float
    bad: float = 0.06


CROWDS = {
    "300 users, 5 requests each": Visitors(300, 5, 0.5, 1.0),
    "800 users, one request each": Visitors(800, 1, 0.5, 1.0),
    "60 busy users, 25 requests each": Visitors(60, 25, 0.5, 1.0),
    "60 busy users who do not differ": Visitors(60, 25, 0.5, 0.0),
    "500 users, a tenth get the candidate": Visitors(500, 3, 0.1, 1.0),
}


# --- the experiments -------------------------------------------------------------------------------------------------


def draw_users(
    rng: Generator, crowd: Visitors, shape: tuple[int, ...], lift: float = 0.0, factor: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """A rate of bad feedback and a mean length in tokens for each user; `lift` is added to rates, `factor` multiplies lengths."""
    wide = max(crowd.spread, 1e-9)
    rates = rng.beta(crowd.bad * 12 / wide, (1 - crowd.bad) * 12 / wide, size=shape)
    return np.minimum(rates + lift, 1.0), 300.0 * factor * np.exp(0.4 * crowd.spread * rng.normal(size=shape))


def draw_tokens(rng: Generator, means: FloatArray) -> FloatArray:
    """The tokens of one request of each user."""
    return means * np.exp(0.6 * rng.normal(size=means.shape) - 0.18)


class Side:
    """The sums of one group in a batch of experiments: over users' means, over requests, and each user's own [E, U]."""

    def __init__(self, experiments: int, users: int) -> None:
        self.numbers = np.zeros(users)
        self.totals = np.zeros((experiments, users))
        self.requests, self.users = 0, 0
        self.means, self.squares = np.zeros(experiments), np.zeros(experiments)
        self.request_sum, self.request_squares = np.zeros(experiments), np.zeros(experiments)

    def add(self, user: int, values: FloatArray) -> None:
        """One more request of a user, in every experiment."""
        old = self.totals[:, user] / max(self.numbers[user], 1.0)
        self.users += self.numbers[user] == 0
        self.numbers[user] += 1
        self.totals[:, user] += values
        new = self.totals[:, user] / self.numbers[user]
        self.means += new - old
        self.squares += new**2 - old**2
        self.requests += 1
        self.request_sum += values
        self.request_squares += values**2

    def user_means(self) -> FloatArray:
        """The means of the users who have come, [E, users]."""
        here = self.numbers > 0
        return self.totals[:, here] / self.numbers[here]

    def moments(self, is_over_users: bool) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of the mean in each experiment, over users or over requests."""
        number = self.users if is_over_users else self.requests
        total, squares = (self.means, self.squares) if is_over_users else (self.request_sum, self.request_squares)
        mean = total / number
        return mean, np.maximum(squares / number - mean**2, 0.0) / (number - 1)


def ever_excluded(crowd: Visitors, experiments: int, seed: int) -> dict[str, dict[str, float]]:
    """For each figure and kind of interval, the share of experiments in which it excluded 0 after any request."""
    failed = {figure: dict.fromkeys(KINDS, 0) for figure in FIGURES}
    for batch in range(experiments // BATCH):
        for figure, kinds in _batch(crowd, seed_of(seed, "always valid", batch)).items():
            for kind, marks in kinds.items():
                failed[figure][kind] += int(marks.sum())
    number = experiments // BATCH * BATCH
    return {figure: {kind: count / number for kind, count in kinds.items()} for figure, kinds in failed.items()}


def _batch(crowd: Visitors, seed: int) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Which experiments of a batch failed."""
    rng = np.random.default_rng(seed)
    rates, lengths = draw_users(rng, crowd, (BATCH, crowd.users))
    is_candidate = rng.permutation(crowd.users) < crowd.users * crowd.share
    failed = {figure: {kind: np.zeros(BATCH, dtype=bool) for kind in KINDS} for figure in FIGURES}
    sides = {figure: [Side(BATCH, crowd.users) for _ in range(2)] for figure in failed}
    for user in rng.permutation(np.repeat(np.arange(crowd.users), crowd.requests)):
        drawn = {
            "bad feedback": (rng.random(BATCH) < rates[:, user]) * 1.0,
            "tokens": draw_tokens(rng, lengths[:, user]),
        }
        for figure, values in drawn.items():
            sides[figure][int(is_candidate[user])].add(user, values)
        if min(side.users for side in sides["tokens"]) >= MIN_USERS:
            for figure, kinds in _excluded(rng, sides, failed).items():
                for kind, marks in kinds.items():
                    failed[figure][kind] |= marks
    return failed


def _excluded(
    rng: Generator, sides: dict[str, list[Side]], failed: dict[str, dict[str, NDArray[np.bool_]]]
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Which intervals exclude 0 now."""
    found = {}
    for figure, (base, candidate) in sides.items():
        gaps = [_standardised(base, candidate, is_over_users) for is_over_users in (True, False)]
        is_always = (
            _betting_excludes(rng, base, candidate, gaps[0], ~failed[figure][KINDS[0]])
            if figure == "bad feedback"
            else _mixture_excludes(base, candidate)
        )
        found[figure] = dict(zip(KINDS, (is_always, *(np.abs(gap) > NAIVE for gap in gaps)), strict=True))
    return found


def _standardised(base: Side, candidate: Side, is_over_users: bool) -> FloatArray:
    (low, first), (high, second) = base.moments(is_over_users), candidate.moments(is_over_users)
    error = np.sqrt(first + second)
    return np.divide(high - low, error, out=np.zeros_like(error), where=error > 0)


def _mixture_excludes(base: Side, candidate: Side) -> NDArray[np.bool_]:
    """`mean_ratio_sequence` of each experiment, from its sums."""
    (low, first), (high, second) = base.moments(True), candidate.moments(True)
    variance = first / low**2 + second / high**2
    gap = np.abs(np.log(high / low)) / np.sqrt(variance)
    excluded = np.zeros(len(gap), dtype=bool)
    near = np.flatnonzero(gap > NAIVE)
    excluded[near] = gap[near] > [mixture_factor(float(v), ALPHA) for v in variance[near]]
    return excluded


def _betting_excludes(
    rng: Generator, base: Side, candidate: Side, gap: FloatArray, is_open: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """`rate_difference_sequence` of each experiment that has not failed before; see the head of the file for those left out."""
    is_near = np.abs(gap) > NEAR
    is_spare = ~is_near & (rng.random(len(gap)) < SPARE)
    asked = np.flatnonzero(is_open & (is_near | is_spare))
    excluded = np.zeros(len(gap), dtype=bool)
    if asked.size:
        sides = [side.user_means()[asked] for side in (base, candidate)]
        is_up = gap[asked] > 0
        excluded[asked[is_up]] = separates(sides[0][is_up], sides[1][is_up])
        excluded[asked[~is_up]] = separates(sides[1][~is_up], sides[0][~is_up])
        assert not excluded[is_spare].any(), "an interval excluded 0 where users' means hardly differ"
    return excluded


def separates(lower: FloatArray, upper: FloatArray) -> NDArray[np.bool_]:
    """Whether the two sequences of means have no point in common: `lower` [E, L] ends below the beginning of `upper` [E, U].

    There is an m between them where both players have won. One falls with m and the other rises, so it is where they are equal.
    """
    if not len(lower):
        return np.zeros(0, dtype=bool)
    low, high = lower.mean(axis=1), upper.mean(axis=1)
    is_possible = high > low
    won = np.full(len(low), -np.inf)
    for _ in range(STEPS):
        m = np.clip((low + high) / 2.0, 1e-6, 1.0 - 1e-6)
        above, below = log_capitals(upper, m), log_capitals(1.0 - lower, 1.0 - m)
        won = np.maximum(won, np.minimum(above, below))
        low, high = np.where(above > below, m, low), np.where(above > below, high, m)
    return is_possible & (won >= -log(ALPHA / 4.0))


def log_capitals(values: FloatArray, means: FloatArray) -> FloatArray:
    """The logarithm of K(m) of `sequential.py` for each row of `values` [E, U]."""
    gains = np.log1p(FRACTIONS[:, None, None] * (values / means[:, None] - 1.0)).sum(axis=2)
    return np.logaddexp.reduce(gains, axis=0) - log(len(FRACTIONS))


# --- power -----------------------------------------------------------------------------------------------------------


def requests_until_seen(figure: str, share: float, experiments: int, seed: int, most: int) -> list[float]:
    """For each experiment, how many requests in all it took until the interval excluded 0; `nan` where `most` were not enough.

    Users send five requests each. Bad feedback rises from 6 to 8%, or tokens fall by 10%. One looks whenever 5% more have come.
    """
    return [
        next(_looks(figure, share, np.random.default_rng(seed_of(seed, figure, f"{share}", number)), most))
        for number in range(experiments)
    ]


def _looks(figure: str, share: float, rng: Generator, most: int) -> Iterator[float]:
    crowd = Visitors(most // 5, 5, share, 1.0)
    number = round(crowd.users * share)
    groups = []
    for size, lift, factor in ((crowd.users - number, 0.0, 1.0), (number, 0.02, 0.9)):
        rates, lengths = draw_users(rng, crowd, (size,), lift, factor)
        if figure == "tokens":
            groups.append(np.mean([draw_tokens(rng, lengths) for _ in range(crowd.requests)], axis=0))
        else:
            groups.append(rng.binomial(crowd.requests, rates) / crowd.requests)
    users = float(MIN_USERS) / share
    while users * crowd.requests <= most:
        base, candidate = groups[0][: round(users * (1 - share))], groups[1][: round(users * share)]
        if figure == "tokens":
            is_seen = mean_ratio_sequence(base, candidate, alpha=ALPHA).high < 0.0
        else:
            is_seen = rate_difference_sequence(base, candidate, alpha=ALPHA).low > 0.0
        if is_seen:
            yield round(users) * crowd.requests
        users *= 1.05
    yield nan


# --- the report ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--power-experiments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    lines = [
        "# Intervals that are looked at after every request",
        "",
        "Written by `python benchmarks/always_valid.py`. Users and requests are simulated, and candidate and base do not",
        f"differ. The table has the share of {given.experiments:,} experiments in which an interval of 95% excluded 0 after at",
        f"least one of the requests; looking begins at {MIN_USERS} users on each side.",
        "",
        "| users | figure | " + " | ".join(KINDS) + " |",
        "|---|---|---|---|---|",
    ]
    for name, crowd in CROWDS.items():
        for figure, kinds in ever_excluded(crowd, given.experiments, given.seed).items():
            lines.append(f"| {name} | {figure} | " + " | ".join(f"{100 * kinds[kind]:.2f}%" for kind in KINDS) + " |")
    lines += ["", *_power_lines(given.power_experiments, given.seed), ""]
    lines.append(
        f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}, numpy {np.__version__}, "
        f"{datetime.date.today()}; {time.perf_counter() - began:.0f} s on one core."
    )
    (HERE / "always_valid.md").write_text("\n".join(lines) + "\n", "utf-8")


def _power_lines(experiments: int, seed: int) -> list[str]:
    lines = [
        f"How many requests in all until a true difference is seen, medians of {experiments} experiments (in brackets those",
        "of the quickest and slowest tenth). Users differ and send five requests each.",
        "",
        "| true difference | candidate's share of users | requests |",
        "|---|---|---|",
    ]
    for figure, words in (("bad feedback", "bad feedback 6% to 8%"), ("tokens", "10% fewer tokens")):
        for share in (0.5, 0.2, 0.05):
            found = requests_until_seen(figure, share, experiments, seed, most=400_000)
            known = sorted(400_000 if isnan(number) else number for number in found)
            tenth = len(known) // 10
            lines.append(
                f"| {words} | {100 * share:.0f}% | {median(known):,.0f} ({known[tenth]:,.0f} to {known[-1 - tenth]:,.0f}) |"
            )
    return lines


if __name__ == "__main__":
    main()
