"""Parts of what one model was measured on, each beside the rest: where is it worst, before anything is trained?

1. Problems are sorted as in a comparison (`slices.py`), by every key whose values make two slices that are large enough.
2. The mean solve rate of a slice is compared with that of all other problems. The p-value is that of a permutation test: how
   often do as many problems drawn at random differ from the mean by as much? It holds for solve rates of any shape, and where
   all are alike.
3. All p-values are corrected for the number of decided slices (`statistics/several.py`).

What is left out: pairs. One model has no other side; what training changes in a slice is for `laconic compare`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np

from laconic.comparison.figures import FEW_PROBLEMS, SHOWN_LEVEL
from laconic.comparison.slices import Facts, rows_by_value, values_of
from laconic.config.defaults import RESAMPLES, SEED
from laconic.evaluation.problem_meta import MetaValue
from laconic.rng import seed_of
from laconic.statistics.intervals import FloatArray, Interval, accuracy_interval
from laconic.statistics.several import holm

MOST_SLICES = 12
"""A key of more slices than this names problems, and does not sort them."""

_VALUES_AT_ONCE = 2_000_000
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class MeasuredSlice:
    """A slice of one model's problems beside the rest. Solve rates are shares from 0 to 1; `p` is two-sided and corrected, `nan`
    where the slice or the rest is too small to decide."""

    key: str
    value: str
    num_problems: int
    solve_rate: Interval
    tokens: float
    rest_solve_rate: float
    rest_tokens: float
    p: float

    @property
    def is_worse(self) -> bool:
        """Whether it is shown to be solved less often than the rest, all slices considered."""
        return self.p < SHOWN_LEVEL and self.solve_rate.estimate < self.rest_solve_rate


def slices_of_one(
    solve_rates: FloatArray, tokens: FloatArray, facts: Facts, *, seed: int = SEED, resamples: int = RESAMPLES
) -> list[MeasuredSlice]:
    """Every slice by every telling key. `solve_rates` and `tokens` are [P], of problems that could be graded."""
    found = [
        _slice(key, name, rows, solve_rates, tokens, seed, resamples)
        for key, values in facts.items()
        if (parts := telling_parts(values))
        for name, rows in parts.items()
    ]
    return [replace(part, p=p) for part, p in zip(found, holm([part.p for part in found]), strict=True)]


def telling_parts(values: Sequence[MetaValue | None]) -> Mapping[str, list[int]]:
    """The rows of each slice of a key; none where fewer than two are large enough, or there are too many.

    >>> [len(rows) for rows in telling_parts(["a"] * 20 + ["b"] * 25).values()], telling_parts(["a"] * 44 + ["b"])
    ([20, 25], {})
    """
    parts = dict(rows_by_value(values_of(values), values))
    decided = [name for name, rows in parts.items() if len(rows) >= FEW_PROBLEMS]
    return parts if len(decided) >= 2 and len(parts) <= MOST_SLICES else {}


def worst_of_one(slices: Sequence[MeasuredSlice]) -> MeasuredSlice | None:
    """The slice that is solved least often, of those that are shown to be worse, or else of the decided ones."""
    decided = [part for part in slices if not isnan(part.p)]
    shown = [part for part in decided if part.is_worse]
    return min(shown or decided, key=lambda part: part.solve_rate.estimate, default=None)


def _slice(
    key: str, name: str, rows: Sequence[int], solve_rates: FloatArray, tokens: FloatArray, seed: int, resamples: int
) -> MeasuredSlice:
    inside = np.zeros(len(solve_rates), dtype=bool)
    inside[list(rows)] = True
    is_decided = min(inside.sum(), (~inside).sum()) >= FEW_PROBLEMS
    address = seed_of(seed, "slices_of_one", key, name)
    return MeasuredSlice(
        key=key,
        value=name,
        num_problems=len(rows),
        solve_rate=accuracy_interval(solve_rates[inside]),
        tokens=float(tokens[inside].mean()),
        rest_solve_rate=float(solve_rates[~inside].mean()),
        rest_tokens=float(tokens[~inside].mean()),
        p=_permutation_p(solve_rates, inside, address, resamples) if is_decided else nan,
    )


def _permutation_p(values: FloatArray, inside: "np.typing.NDArray[np.bool_]", seed: int, resamples: int) -> float:
    """p = (1 + draws that differ from the mean by as much) / (1 + draws), each the mean of as many values drawn at random."""
    rng, size, mean = np.random.default_rng(seed), int(inside.sum()), values.mean()
    seen = abs(values[inside].mean() - mean) - _ROUNDING
    num_extreme, left = 0, resamples
    while left:
        draws = min(left, max(1, _VALUES_AT_ONCE // len(values)))
        shuffled = rng.permuted(np.broadcast_to(values, (draws, len(values))), axis=1)
        num_extreme += int((abs(shuffled[:, :size].mean(axis=1) - mean) >= seen).sum())
        left -= draws
    return (1 + num_extreme) / (1 + resamples)
