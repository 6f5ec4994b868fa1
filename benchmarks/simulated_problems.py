"""Populations of problems whose true figures are known, and measurements drawn from them; for `interval_coverage.py`.

1. A `Population` is a mix of solve rates (some always solved, some never, the rest Beta) with lengths that are lognormal,
   longer where solve rates are lower, and cut at a cap. Its true means have formulas.
2. `draw` measures some of its problems with a base, and with a candidate that resembles it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import exp, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

FloatArray = NDArray[np.float64]

ALIKE = 0.85  # correlation of a problem's difficulty for base and candidate
SHIFT = 0.1  # how much easier, in standard deviations of difficulty, the candidate finds them
HARDNESS = 0.6  # correlation of difficulty and log length
SAMPLE_LOG_SD = 0.35  # spread of log length within a problem
MEDIANS = (600.0, 400.0)  # median lengths of base and candidate, in tokens

GRID = np.linspace(0.0, 1.0, 4001)


@cache
def beta_quantiles(a: float, b: float) -> FloatArray:
    """Quantiles of Beta(a, b) on `GRID`."""
    quantiles: FloatArray = scipy_stats.beta.ppf(GRID, a, b)
    return quantiles


@dataclass(frozen=True, slots=True)
class Population:
    """Where problems come from: shares always and never solved, Beta(a, b) for the others, log lengths and their cap.

    `log_sd` is the spread of log length between problems; `cap` is in medians of the base.
    """

    always: float
    never: float
    beta: tuple[float, float]
    log_sd: float
    cap: float

    def solve_rate(self, difficulty: FloatArray) -> FloatArray:
        """Solve rates of problems by difficulty, a standard normal: the harder the lower."""
        rank = scipy_stats.norm.cdf(-difficulty)
        between = np.clip((rank - self.never) / (1.0 - self.never - self.always), 0.0, 1.0)
        rates = np.interp(between, GRID, beta_quantiles(*self.beta))
        return np.where(rank < self.never, 0.0, np.where(rank > 1.0 - self.always, 1.0, rates))

    def accuracy(self, shift: float) -> float:
        """True mean solve rate of one to whom every problem is easier by `shift`."""
        grid = np.linspace(-8.0, 8.0, 200_001)
        weights = scipy_stats.norm.pdf(grid)
        return float(np.average(self.solve_rate(grid - shift), weights=weights))

    def mean_tokens(self, median: float) -> float:
        """True mean of the capped lognormal lengths with this median."""
        variance = self.log_sd**2 + SAMPLE_LOG_SD**2
        whole = median * exp(variance / 2)
        if self.cap == inf:
            return whole
        cap = self.cap * MEDIANS[0]
        z = log(cap / median) / sqrt(variance)
        below, above = scipy_stats.norm.cdf(z - sqrt(variance)), scipy_stats.norm.cdf(-z)
        return float(whole * below + cap * above)


POPULATIONS: Mapping[str, Population] = {
    "easy (MATH-like)": Population(always=0.62, never=0.02, beta=(3.0, 1.2), log_sd=0.6, cap=8.0),
    "middling (testbed)": Population(always=0.05, never=0.03, beta=(1.7, 0.8), log_sd=0.5, cap=5.0),
    "hard (AIME-like)": Population(always=0.10, never=0.35, beta=(0.8, 0.8), log_sd=0.7, cap=4.0),
    "very hard": Population(always=0.02, never=0.55, beta=(0.6, 1.4), log_sd=0.7, cap=4.0),
}
STRESS: Mapping[str, Population] = {
    "nearly solved": Population(always=0.85, never=0.005, beta=(4.0, 1.0), log_sd=0.6, cap=8.0),
    "heavy tail, no cap": Population(always=0.10, never=0.35, beta=(0.8, 0.8), log_sd=0.9, cap=inf),
    "nearly all cut off": Population(always=0.02, never=0.55, beta=(0.6, 1.4), log_sd=0.6, cap=0.25),
}


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """What one measurement of P problems saw: accuracies and mean lengths, arrays [2, P], base first."""

    accuracy: FloatArray
    tokens: FloatArray


def draw(population: Population, num_problems: int, num_samples: int, rng: np.random.Generator) -> Experiment:
    """Problems drawn afresh, and `num_samples` responses to each from base and candidate."""
    noise = rng.standard_normal((4, num_problems))
    hard = noise[0]
    hard_for_candidate = ALIKE * hard + sqrt(1.0 - ALIKE**2) * noise[1]
    rates = population.solve_rate(np.stack([hard, hard_for_candidate - SHIFT]))
    own = sqrt(1.0 - HARDNESS**2)
    base_length = HARDNESS * hard + own * noise[2]
    candidate_length = HARDNESS * hard + own * (ALIKE * noise[2] + sqrt(1.0 - ALIKE**2) * noise[3])
    mean_log = np.log(MEDIANS)[:, None] + population.log_sd * np.stack([base_length, candidate_length])
    within = SAMPLE_LOG_SD * rng.standard_normal((2, num_problems, num_samples))
    lengths = np.minimum(np.exp(mean_log[:, :, None] + within), population.cap * MEDIANS[0])
    return Experiment(rng.binomial(num_samples, rates) / num_samples, lengths.mean(axis=2))
