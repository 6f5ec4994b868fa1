"""The records of a sweep's results, and means over seeds. This module reads no files.

1. A `Point` is one model of one run at one temperature, with the changes against that seed's own base.
2. A `SweepRow` is an entry at one temperature over its seeds, with means over them (`statistics/seeds.py`). Each seed has its own
   problems, rollouts and report set, so their spread includes the noise of training, of problems and of sampling together.
3. A `Field` is what can be compared: the rows of one reported source at one temperature. `dominates` compares two rows over
   the seeds that both have, by their means. Rows of different graders are not compared: one of them may be more lenient.
4. `Against` compares a variant with the recipe that it changes, paired by seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from laconic.statistics.intervals import Interval
from laconic.statistics.seeds import SeedMean, over_seeds

__all__ = ["Against", "Field", "Point", "SeedMean", "SweepRow", "TrainingCost", "dominates", "over_seeds"]


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """The cost of training a model: rollouts and their tokens, responses probed to select problems, and seconds of its steps.
    Also the phases that the guard rolled back, each with the step."""

    num_rollouts: int = 0
    num_probed: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    rolled_back: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """One model of one run at one temperature. `stage` is "" for the run's result, "phase-1" for an earlier phase's.

    `changes` has `tokens_change` and `accuracy_change`, each with its interval over problems; a base has none. Tokens are means
    per response; `oracle_tokens` is `nan` if the problems do not state it. `grader` has name and version, None if an old summary
    lacks them.
    """

    seed: int
    tag: str
    stage: str
    accuracy: float
    tokens: float
    oracle_tokens: float
    num_problems: int
    num_samples: int
    max_tokens: int
    training: TrainingCost = TrainingCost()
    base: "Point | None" = None
    changes: Mapping[str, Interval] | None = None
    grader: str | None = None

    @property
    def distance(self) -> float:
        """Tokens / oracle tokens; `nan` if the latter are unknown."""
        return self.tokens / self.oracle_tokens if self.oracle_tokens > 0 else nan

    def value(self, key: str) -> float:
        """A figure by its name: of this model, "base_..." of its base, "..._change" against its base."""
        if key.startswith("base_"):
            return self.base.value(key.removeprefix("base_")) if self.base else nan
        if key.endswith("_change"):
            return self.changes[key].estimate if self.changes else nan
        found = self.training if hasattr(self.training, key) else self
        return float(getattr(found, key))


@dataclass(frozen=True, slots=True)
class SweepRow:
    """An entry at one temperature, with one point per finished seed. The `wanted` seeds are those of the sweep. `grader` is the
    one that its recipe names, "" for the package's own."""

    label: str
    kind: str  # "base", "trained", "prompt" or "stage"
    points: tuple[Point, ...]
    wanted: tuple[int, ...]
    parent: str | None = None  # of a stage: its run; of a variant: the recipe it changes, where that is in the sweep
    dominated_by: tuple[str, ...] = ()
    grader: str = ""

    @property
    def graders(self) -> tuple[str, ...]:
        """What graded its points, one of each: as the results say it, or as its recipe names it."""
        named = self.grader or "the package's rules"
        return tuple(dict.fromkeys(point.grader or named for point in self.points))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are finished."""
        return tuple(point.seed for point in self.points)

    @property
    def is_graded(self) -> bool:
        """Whether any response could be graded; without one there is no accuracy."""
        return bool(self.over_seeds("accuracy").num_seeds)

    @property
    def is_result(self) -> bool:
        """Whether it may dominate others: a stage of a run may not, nor what could not be graded."""
        return self.kind != "stage" and self.is_graded

    def over_seeds(self, key: str) -> SeedMean:
        """A figure over the seeds, by its name (`Point.value`)."""
        return over_seeds(point.value(key) for point in self.points)


@dataclass(frozen=True, slots=True)
class Field:
    """Rows that can be compared: one reported source at one temperature, from few tokens to many."""

    source: str
    tag: str
    rows: tuple[SweepRow, ...]

    @property
    def against_recipe(self) -> tuple["Against", ...]:
        """Every variant with the recipe that it changes, if both are finished at some seed."""
        trained = {row.label: row for row in self.rows if row.kind == "trained"}
        pairs = [(row, trained[row.parent]) for row in trained.values() if row.parent in trained]
        return tuple(
            Against(row, recipe)
            for row, recipe in pairs
            if (shared := set(row.seeds) & set(recipe.seeds)) and are_graded_alike(row, recipe, shared)
        )


@dataclass(frozen=True, slots=True)
class Against:
    """A variant and its recipe, paired by seed. Both have the same problems and the same base, so they share that noise."""

    variant: SweepRow
    recipe: SweepRow

    @property
    def tokens_change(self) -> SeedMean:
        """Tokens of the variant / tokens of the recipe - 1."""
        return over_seeds(one.tokens / other.tokens - 1.0 for one, other in self._pairs())

    @property
    def accuracy_change(self) -> SeedMean:
        """Accuracy of the variant - accuracy of the recipe."""
        return over_seeds(one.accuracy - other.accuracy for one, other in self._pairs())

    def _pairs(self) -> list[tuple[Point, Point]]:
        others = {point.seed: point for point in self.recipe.points}
        return [(point, others[point.seed]) for point in self.variant.points if point.seed in others]


def are_graded_alike(one: SweepRow, other: SweepRow, seeds: set[int]) -> bool:
    """Whether one grader graded both rows at these seeds, as far as it is known."""
    stated = {point.grader for row in (one, other) for point in row.points if point.seed in seeds} - {None}
    return one.grader == other.grader and len(stated) < 2


def dominates(one: SweepRow, other: SweepRow) -> bool:
    """Whether `one`, by its means over the seeds at which both could be graded, is at least as accurate as `other` with at most
    as many tokens, and better in one of the two."""
    shared = _graded_seeds(one) & _graded_seeds(other)
    if not shared or not are_graded_alike(one, other, shared):
        return False
    (accuracy, tokens), (its_accuracy, its_tokens) = (_means(row, shared) for row in (one, other))
    is_as_good = accuracy >= its_accuracy and tokens <= its_tokens
    return is_as_good and (accuracy, tokens) != (its_accuracy, its_tokens)


def _graded_seeds(row: SweepRow) -> set[int]:
    return {point.seed for point in row.points if isfinite(point.accuracy)}


def _means(row: SweepRow, seeds: set[int]) -> tuple[float, float]:
    points = [point for point in row.points if point.seed in seeds]
    return float(np.mean([p.accuracy for p in points])), float(np.mean([p.tokens for p in points]))
