"""How many more samples a problem gets in an adaptive probe, which stops as soon as its side of the band is clear.

1. Every problem first gets `first_round` samples.
2. A problem stops once its solve rate's posterior has settled inside or outside the band (`settled`), or once the
   samples that are left cannot carry it over an edge of the band (`curtailed`).
3. All others get `round_size` more, up to `max_samples` each (`next_samples`).

A problem is settled only if the observed rate and the posterior agree. The posterior alone would not do, because a narrow band
holds little of any posterior. A problem on an edge of the band never settles: it is sampled to the end, and its observed rate
decides, as it would without this module. `benchmarks/adaptive_probe.py` measures how often the decisions agree with those of
`max_samples` samples, and how many samples they need.

What is left out: sampling itself, and the choice among the problems inside the band (`rules.py`).
"""

from collections.abc import Sequence
from typing import Literal

from laconic.statistics.solve_rate import ProblemStats, mass_inside

Side = Literal["inside", "outside"]

MIN_ATTEMPTS = 8
"""A problem with fewer attempts is never settled: with 0/4, 83% of the posterior is below a band from 0.3, on four samples."""


def settled(attempts: int, correct: int, low: float, high: float, confidence: float) -> Side | None:
    """On which side of the band [low, high] a solve rate lies, if at least `confidence` of its posterior agrees with the
    observed rate; None if that is still open, or if there are fewer than `MIN_ATTEMPTS` gradable attempts.

    Raises `ValueError` unless 0.5 < confidence < 1, 0 <= low <= high <= 1 and 0 <= correct <= attempts.

    >>> [settled(16, correct, low=0.3, high=0.9, confidence=0.95) for correct in (1, 4, 10)]
    ['outside', None, 'inside']
    """
    _check_band(low, high, confidence)
    if not 0 <= correct <= attempts:
        raise ValueError(f"correct: expected 0 to {attempts} of {attempts} attempts, got {correct}")
    if attempts < MIN_ATTEMPTS:
        return None
    inside = mass_inside(attempts, correct, low, high)
    if low <= correct / attempts <= high:
        return "inside" if inside >= confidence else None
    return "outside" if 1.0 - inside >= confidence else None


def curtailed(attempts: int, correct: int, low: float, high: float, remaining: int) -> Side | None:
    """The side on which the observed rate ends whatever the `remaining` samples bring; None if they can still change it.

    The rate ends between correct / (attempts + remaining) and (correct + remaining) / (attempts + remaining), however
    many of the remaining samples turn out to be gradable. Exact: it never disagrees with sampling to the end.

    >>> curtailed(60, 15, low=0.3, high=0.9, remaining=4)  # at best 19/64 = 0.297
    'outside'
    """
    total = attempts + remaining
    if total == 0:
        return None
    least, most = correct / total, (correct + remaining) / total
    if low <= least and most <= high:
        return "inside"
    return "outside" if most < low or least > high else None


def side_of(stat: ProblemStats, low: float, high: float, confidence: float, max_samples: int) -> Side | None:
    """The side on which a problem lies, either settled or curtailed at `max_samples` samples; None if it is still open."""
    remaining = max(0, max_samples - num_drawn(stat))
    return settled(stat.attempts, stat.correct, low, high, confidence) or curtailed(
        stat.attempts, stat.correct, low, high, remaining
    )


def first_round(max_samples: int, round_size: int) -> int:
    """Samples every problem gets before any can settle: a round, at least `MIN_ATTEMPTS`, at most `max_samples`."""
    return min(max_samples, max(round_size, MIN_ATTEMPTS))


def next_samples(
    stats: Sequence[ProblemStats], low: float, high: float, confidence: float, max_samples: int, round_size: int
) -> dict[str, int]:
    """How many samples each undecided problem gets next, by problem id, in the order given; empty if the probe is done.

    A problem's samples, including those that could not be graded, never exceed `max_samples`. Raises `ValueError` if
    `max_samples` or `round_size` is below 1, and for the same arguments as `settled`.
    """
    _check_band(low, high, confidence)
    if max_samples < 1 or round_size < 1:
        raise ValueError(f"max_samples, round_size: expected at least 1, got {max_samples} and {round_size}")
    still_open = {
        stat.problem_id: max_samples - num_drawn(stat)
        for stat in stats
        if num_drawn(stat) < max_samples and side_of(stat, low, high, confidence, max_samples) is None
    }
    return {name: min(round_size, left) for name, left in still_open.items()}


def num_saved(stats: Sequence[ProblemStats], max_samples: int) -> int:
    """Samples that were not drawn, of `max_samples` for each problem."""
    return sum(max(0, max_samples - num_drawn(stat)) for stat in stats)


def num_drawn(stat: ProblemStats) -> int:
    """Samples drawn of a problem, ungradable ones included."""
    return sum(stat.counts.values())


def _check_band(low: float, high: float, confidence: float) -> None:
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"band: expected 0 <= low <= high <= 1, got {low}:{high}")
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"confidence: expected more than 0.5 and less than 1, got {confidence}")
