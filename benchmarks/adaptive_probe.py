"""What does an adaptive probe save, and does it decide alike? `python benchmarks/adaptive_probe.py`.

1. A problem has a solve rate; it is probed by the package's rules (`laconic.selection.stopping`), and the samples that were not
   drawn are drawn too, to see on which side of the band all `MAX_SAMPLES` would have put it.
2. Nothing is simulated: for each solve rate the chance of every (attempts, correct) the probe can meet is computed, so
   agreement and cost are exact for the populations below.
3. A table for each rule goes to `benchmarks/adaptive_probe.md`.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from laconic.selection.stopping import MIN_ATTEMPTS, curtailed, first_round, settled

FloatArray = NDArray[np.float64]

HERE = Path(__file__).parent
MAX_SAMPLES = 64
BANDS = ((0.3, 0.9), (0.1, 0.9), (0.0625, 0.375))
POPULATIONS: Mapping[str, Sequence[float]] = {  # problems by tenths of the solve rate
    "testbed": (13, 8, 3, 17, 10, 31, 41, 20, 52, 45),
    "uniform": (1,) * 10,
}
RATES_A_TENTH = 20
RATES = (np.arange(10 * RATES_A_TENTH) + 0.5) / (10 * RATES_A_TENTH)


@dataclass(frozen=True, slots=True)
class Rule:
    """How the probe stops; `confidence` None stops by curtailment alone."""

    confidence: float | None
    round_size: int

    def side(self, attempts: int, correct: int, low: float, high: float) -> str | None:
        """The package's decision on a problem without ungradable samples."""
        by_posterior = None if self.confidence is None else settled(attempts, correct, low, high, self.confidence)
        return by_posterior or curtailed(attempts, correct, low, high, MAX_SAMPLES - attempts)


RULES = (
    *(Rule(confidence, size) for confidence in (0.8, 0.9, 0.95, 0.98) for size in (4, 8)),
    Rule(0.9, 16),
    Rule(None, 8),
)
CHOSEN = Rule(0.9, 8)


@dataclass(frozen=True, slots=True)
class Outcome:
    """By solve rate [R]: the chance that the side is that of `MAX_SAMPLES` samples, and the samples expected."""

    agreement: FloatArray
    samples: FloatArray

    def over(self, population: Sequence[float]) -> tuple[float, float]:
        """Agreement and mean samples over problems spread by tenths of the solve rate."""
        weights = np.repeat(np.asarray(population, dtype=np.float64), RATES_A_TENTH)
        return float(np.average(self.agreement, weights=weights)), float(np.average(self.samples, weights=weights))


def outcome(rule: Rule, low: float, high: float) -> Outcome:
    """Follow every path of a probe, round by round; `open_paths` holds the chance [R] of each number correct so far."""
    agreement, samples = np.zeros(len(RATES)), np.zeros(len(RATES))
    open_paths: dict[int, FloatArray] = {0: np.ones(len(RATES))}
    attempts, drawn = 0, first_round(MAX_SAMPLES, rule.round_size)
    while open_paths:
        open_paths = after(open_paths, drawn)
        attempts += drawn
        for correct, chance in list(open_paths.items()):
            side = rule.side(attempts, correct, low, high)
            if side is not None:
                samples += chance * attempts
                agreement += chance * chance_of_side(side, attempts, correct, low, high)
                del open_paths[correct]
        drawn = min(rule.round_size, MAX_SAMPLES - attempts)
    return Outcome(agreement, samples)


def after(paths: Mapping[int, FloatArray], drawn: int) -> dict[int, FloatArray]:
    """Chances [R] of each number correct after `drawn` samples more."""
    more: dict[int, FloatArray] = {}
    for correct, chance in paths.items():
        for new in range(drawn + 1):
            more[correct + new] = more.get(correct + new, 0.0) + chance * binom.pmf(new, drawn, RATES)
    return more


def chance_of_side(side: str, attempts: int, correct: int, low: float, high: float) -> FloatArray:
    """Chance [R] that all `MAX_SAMPLES` end on this side of the band, `attempts` of them being known."""
    left = MAX_SAMPLES - attempts
    ends = np.arange(left + 1)
    inside = [low <= (correct + end) / MAX_SAMPLES <= high for end in ends]
    chance: FloatArray = binom.pmf(ends[:, None], left, RATES[None])[np.array(inside) == (side == "inside")].sum(axis=0)
    return chance


def rows() -> list[list[str]]:
    """A row for each rule: agreement and samples for each band and population."""
    found = []
    for rule in RULES:
        cells = []
        for band in BANDS:
            seen = outcome(rule, *band)
            for population in POPULATIONS.values():
                agreement, samples = seen.over(population)
                cells.append(f"{100 * agreement:.1f}%, {samples:.1f}")
        name = "curtailment alone" if rule.confidence is None else f"{rule.confidence:g}"
        words = [name, str(rule.round_size), *cells]
        found.append([f"**{word}**" for word in words] if rule == CHOSEN else words)
    return found


def main() -> None:
    columns = [f"{low:g}:{high:g} {name}" for low, high in BANDS for name in POPULATIONS]
    header = ["confidence", "round", *columns]
    lines = [header, ["---"] * len(header), *rows()]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = TEXT.format(date=datetime.date.today(), most=MAX_SAMPLES, least=MIN_ATTEMPTS, table=table)
    (HERE / "adaptive_probe.md").write_text(text, encoding="utf-8")
    print(table)


TEXT = """# What an adaptive probe saves

`python benchmarks/adaptive_probe.py`, {date}. Computed exactly, without simulation. Each cell says how often the problem is put
on the side of the band on which {most} samples would have put it, and the mean number of samples it takes. A round is the
number of samples drawn before a problem is checked again, the first at least {least}. The default is in bold. "testbed" is the
embedded reasoner's spread of solve rates (docs/tiny.md), "uniform" has all solve rates equally often.

{table}

Problems on an edge of the band are sampled to the end, so their number sets the cost.
"""


if __name__ == "__main__":
    main()
