"""Do the 95% intervals cover 95 times in 100? `python benchmarks/interval_coverage.py [--experiments 2000] [--resamples 1000]`.

1. An experiment draws problems from a population whose true figures are known (`simulated_problems.py`), samples each for
   a base and for a candidate that resembles it, and asks the package for its four intervals.
2. The package resamples as ever, except that draws are remembered from experiment to experiment (`quick_means`).
3. Shares of experiments whose interval holds the truth, lies above it, lies below it, go to `benchmarks/coverage.md`
   with machine and date; intervals that were tried and not taken stand beside them.
"""

import argparse
import datetime
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from simulated_problems import MEDIANS, POPULATIONS, SHIFT, STRESS, Experiment, Population, draw

from laconic.rng import seed_of
from laconic.statistics import intervals as estimates
from laconic.statistics.intervals import (
    Interval,
    accuracy_interval,
    mean_interval,
    paired_difference,
    paired_relative_change,
)

FloatArray = NDArray[np.float64]
Ends = tuple[float, float]

HERE = Path(__file__).parent
NUM_PROBLEMS = (30, 100, 500)
PLAIN = (0.025, 0.975)
MANY_SAMPLED = ("easy (MATH-like)", "hard (AIME-like)", "nearly solved")  # measured with sixteen samples too
NUM_SEEDS = 8  # bootstrap seeds that experiments take in turn


@dataclass(frozen=True, slots=True)
class Statistic:
    """A figure with its true value and the intervals that claim to hold it; the first is the package's."""

    truth: Callable[[Population], float]
    intervals: Mapping[str, Callable[[Experiment, int, int], Ends]]


def ends(interval: Interval) -> Ends:
    """The two ends alone."""
    return interval.low, interval.high


# --- the package's resampling, made quick ------------------------------------------------------------------------------


@cache
def counts(num_problems: int, seed: int, resamples: int) -> FloatArray:
    """How often each problem occurs in each of the package's resamples [P, R] under this seed."""
    rng = np.random.default_rng(seed_of(seed, "bootstrap"))
    drawn = rng.integers(num_problems, size=(resamples, num_problems))
    cells = drawn + num_problems * np.arange(resamples)[:, None]
    table_of_counts = np.bincount(cells.ravel(), minlength=resamples * num_problems)
    return table_of_counts.reshape(resamples, num_problems).T.astype(np.float64)


def quick_means(columns: FloatArray, seed: int, resamples: int) -> FloatArray:
    """The package's resampled means [C, R], by one product with remembered counts; few seeds, so that they are few."""
    num_problems = columns.shape[1]
    means: FloatArray = columns @ counts(num_problems, seed % NUM_SEEDS, resamples) / num_problems
    return means


DRAWN_MEANS = estimates._resampled_means


@contextmanager
def quick_resampling() -> Iterator[None]:
    """The package draws as ever, but each set of draws once."""
    estimates._resampled_means = quick_means
    try:
        yield
    finally:
        estimates._resampled_means = DRAWN_MEANS


# --- what was tried beside the package's own -------------------------------------------------------------------------


def percentiles(draws: FloatArray, levels: Ends) -> Ends:
    """Quantiles of bootstrap draws [R]."""
    low, high = np.quantile(draws, levels)
    return float(low), float(high)


def student(values: FloatArray) -> Ends:
    """mean -+ t s / sqrt(P)."""
    half = scipy_stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def bca(draws: FloatArray, estimate: float, left_one_out: FloatArray) -> Ends:
    """Bias-corrected and accelerated percentiles (Efron 1987)."""
    share = (np.mean(draws < estimate) + np.mean(draws <= estimate)) / 2
    bias = scipy_stats.norm.ppf(np.clip(share, 1e-4, 1 - 1e-4))
    away = left_one_out.mean() - left_one_out
    cubes, squares = (away**3).sum(), (away**2).sum()
    acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    z = bias + scipy_stats.norm.ppf([0.025, 0.975])
    low, high = scipy_stats.norm.cdf(bias + z / (1 - acceleration * z))
    return percentiles(draws, (float(low), float(high)))


def of_mean(values: FloatArray, method: str, seed: int, resamples: int) -> Ends:
    """An interval of the mean over problems by one of the methods that were tried."""
    if method == "Student's t":
        return student(values)
    draws = quick_means(values[None], seed, resamples)[0]
    if method == "BCa":
        return bca(draws, float(values.mean()), (values.sum() - values) / (len(values) - 1))
    return percentiles(draws, estimates.expanded_levels(len(values)) if method == "expanded percentile" else PLAIN)


def of_ratio(pairs: FloatArray, method: str, seed: int, resamples: int) -> Ends:
    """The same for the ratio of two means less one; Student's t by linearisation."""
    base, candidate = pairs
    factor = candidate.mean() / base.mean()
    if method == "Student's t":
        low, high = student((candidate - factor * base) / base.mean())
        return factor - 1 + low, factor - 1 + high
    means = quick_means(pairs, seed, resamples)
    draws = means[1] / means[0] - 1
    if method == "BCa":
        left_out = (candidate.sum() - candidate) / (base.sum() - base) - 1
        return bca(draws, float(factor - 1), left_out)
    return percentiles(draws, estimates.expanded_levels(len(base)) if method == "expanded percentile" else PLAIN)


METHODS = ("plain percentile", "expanded percentile", "Student's t", "BCa")


def tried(
    take: Callable[[Experiment], FloatArray], methods: Sequence[str], of: Callable[..., Ends]
) -> dict[str, Callable[[Experiment, int, int], Ends]]:
    """The methods as functions of an experiment."""
    return {m: lambda seen, seed, resamples, m=m: of(take(seen), m, seed, resamples) for m in methods}


STATISTICS: Mapping[str, Statistic] = {
    "accuracy": Statistic(
        lambda population: population.accuracy(0.0),
        {"Wilson, effective number": lambda seen, seed, resamples: ends(accuracy_interval(seen.accuracy[0]))}
        | tried(lambda seen: seen.accuracy[0], METHODS, of_mean),
    ),
    "change of accuracy": Statistic(
        lambda population: population.accuracy(SHIFT) - population.accuracy(0.0),
        {
            "expanded percentile, two added": lambda seen, seed, resamples: ends(
                paired_difference(*seen.accuracy, seed=seed, resamples=resamples)
            )
        }
        | tried(lambda seen: seen.accuracy[1] - seen.accuracy[0], METHODS, of_mean),
    ),
    "mean tokens": Statistic(
        lambda population: population.mean_tokens(MEDIANS[0]),
        {
            "studentised bootstrap": lambda seen, seed, resamples: ends(
                mean_interval(seen.tokens[0], seed=seed, resamples=resamples)
            )
        }
        | tried(lambda seen: seen.tokens[0], METHODS, of_mean),
    ),
    "relative change of tokens": Statistic(
        lambda population: population.mean_tokens(MEDIANS[1]) / population.mean_tokens(MEDIANS[0]) - 1.0,
        {
            "expanded percentile, P - 2": lambda seen, seed, resamples: ends(
                paired_relative_change(*seen.tokens, seed=seed, resamples=resamples)
            )
        }
        | tried(lambda seen: seen.tokens, METHODS, of_ratio),
    ),
}


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all experiments: how many intervals held the truth, lay below it, lay above it, or did not exist."""

    held: float
    below: float
    above: float

    def __str__(self) -> str:
        return f"{100 * self.held:.1f} ({100 * self.below:.1f}, {100 * self.above:.1f})"


def coverage(
    population: Population,
    num_problems: int,
    *,
    num_samples: int = 4,
    experiments: int,
    resamples: int,
    seed: int = 0,
    only_chosen: bool = False,
) -> dict[str, dict[str, Shares]]:
    """`Shares` by statistic and method."""
    rng = np.random.default_rng([seed, num_problems, num_samples])
    truths = {name: statistic.truth(population) for name, statistic in STATISTICS.items()}
    methods = {
        name: dict(list(statistic.intervals.items())[: 1 if only_chosen else None])
        for name, statistic in STATISTICS.items()
    }
    misses = {(name, method): np.zeros(3) for name in methods for method in methods[name]}
    with quick_resampling():
        for number in range(experiments):
            seen = draw(population, num_problems, num_samples, rng)
            for name, method in misses:
                low, high = methods[name][method](seen, number, resamples)
                truth = truths[name]
                misses[name, method] += [low <= truth <= high, high < truth, low > truth]
    return {
        name: {method: Shares(*(misses[name, method] / experiments)) for method in methods[name]} for name in methods
    }


# --- the table -------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def chosen_rows(
    populations: Mapping[str, Population], num_samples: int, experiments: int, resamples: int
) -> list[list[str]]:
    """A row for each population and number of problems, a column for each statistic, by the package's intervals."""
    rows = []
    for name, population in populations.items():
        for num_problems in NUM_PROBLEMS:
            found = coverage(
                population,
                num_problems,
                num_samples=num_samples,
                experiments=experiments,
                resamples=resamples,
                only_chosen=True,
            )
            shares = [str(next(iter(found[statistic].values()))) for statistic in STATISTICS]
            rows.append([name, f"{population.accuracy(0.0):.2f}", str(num_problems), *shares])
            print(rows[-1], flush=True)
    return rows


def tried_rows(num_problems: int, experiments: int, resamples: int) -> list[list[str]]:
    """A row for each statistic and method, a column for each population, at this number of problems."""
    populations = {**POPULATIONS, **STRESS}
    found = {
        name: coverage(population, num_problems, experiments=experiments, resamples=resamples)
        for name, population in populations.items()
    }
    return [
        [
            statistic,
            f"**{method}**" if place == 0 else method,
            *(str(found[name][statistic][method]) for name in populations),
        ]
        for statistic in STATISTICS
        for place, method in enumerate(STATISTICS[statistic].intervals)
    ]


def num_outside(rows: Sequence[Sequence[str]]) -> str:
    """ "2 of 48": cells of `chosen_rows` whose share lies outside 93 to 97."""
    shares = [float(cell.split()[0]) for row in rows for cell in row[-len(STATISTICS) :]]
    return f"{sum(not 93.0 <= share <= 97.0 for share in shares)} of {len(shares)}"


def machine() -> str:
    """The processor's name where the system tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=HERE / "coverage.md")
    args = parser.parse_args()
    began = time.monotonic()
    header = ["population", "accuracy", "problems", *STATISTICS]
    numbers = args.experiments, args.resamples
    four = chosen_rows(POPULATIONS, 4, *numbers)
    stress = chosen_rows(STRESS, 4, *numbers)
    greedy = chosen_rows(POPULATIONS, 1, *numbers)
    sixteen = chosen_rows({name: {**POPULATIONS, **STRESS}[name] for name in MANY_SAMPLED}, 16, *numbers)
    beside = table(tried_rows(NUM_PROBLEMS[0], *numbers), ["figure", "interval", *POPULATIONS, *STRESS])
    minutes = (time.monotonic() - began) / 60
    command = f"python benchmarks/interval_coverage.py --experiments {args.experiments} --resamples {args.resamples}"
    args.out.write_text(
        TEXT.format(
            command=command,
            date=datetime.date.today(),
            machine=machine(),
            minutes=f"{minutes:.0f}",
            experiments=args.experiments,
            error=f"{100 * sqrt(0.05 * 0.95 / args.experiments):.1f}",
            four=table(four, header),
            stress=table(stress, header),
            greedy=table(greedy, header),
            sixteen=table(sixteen, header),
            outside_four=num_outside(four),
            outside_stress=num_outside(stress),
            outside_greedy=num_outside(greedy),
            outside_sixteen=num_outside(sixteen),
            beside=beside,
        ),
        encoding="utf-8",
    )


TEXT = """# Do the intervals cover?

`{command}`, {date}, {machine}, one core, {minutes} minutes.

Each cell: of {experiments} simulated experiments, the percentage whose 95% interval held the truth, and in brackets those
that lay completely below and completely above it. Monte Carlo standard error of a cell near 95: {error}. Populations are in the
script. Cells outside 93 to 97: {outside_four} with four samples per problem, {outside_greedy} with one, {outside_sixteen}
with sixteen, {outside_stress} beyond. Accuracies move in steps, so that with few problems, one response each, or few that are
not solved, no interval hits 95 in every population; a change of accuracy then errs to the side of covering too often. Where
nearly all responses are cut off, few problems differ from the cap and may not show how far others would; where none does there
is no interval: not held.

## Four samples per problem

{four}

## One response per problem (greedy)

{greedy}

## Sixteen samples per problem

{sixteen}

## Beyond: accuracies near 1, lengths without a cap

{stress}

## What was tried, 30 problems, four samples each

In bold what the package uses (`src/laconic/statistics/intervals.py`).

{beside}
"""


if __name__ == "__main__":
    main()
