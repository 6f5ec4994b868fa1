"""A claim of a paper: what it says, what would falsify it, and where the figures come from that decide it.

1. A `Claim` quotes methods.md, section 7: the claim, its test, and what falsifies it. `falsifier` is the same as inequalities of
   named figures, which `laconic.statistics.verdicts` decides.
2. Its figures come from one of four sources. `Trained`: the arms of a sweep, measured seed by seed. `Evaluated`: one evaluation
   of the start model, with intervals over problems. `Computed`: arithmetic, which needs no model.

A `measure` is a pure function, and so is the verdict.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from laconic.statistics.intervals import Interval
from laconic.statistics.verdicts import Falsifier
from laconic.sweep.arms import SweepArm

Arms = Mapping[str, SweepArm]
"""The finished arms of one seed, by their labels."""


@dataclass(frozen=True)
class Trained:
    """Figures of one seed from the arms of the sweep file of that name. An arm that is not finished raises `KeyError` where it
    is read."""

    sweep: str
    figures: Mapping[str, Callable[[Arms], float]]


@dataclass(frozen=True)
class Evaluated:
    """Figures of an evaluation of the start model on `problems` (an address without its kind), by `laconic evaluate` with
    `options`."""

    name: str
    problems: str
    options: tuple[str, ...]
    measure: Callable[[Path], Mapping[str, Interval]]


@dataclass(frozen=True)
class Probed:
    """Figures of one seed from evaluations of the start model and of every phase's result of one arm of a sweep.

    `measure` gets their folders in this order, as far as they are there: where the arm is not trained yet, that of the start
    model.
    """

    sweep: str
    arm: str
    name: str
    problems: str
    options: tuple[str, ...]
    measure: Callable[[Sequence[Path]], Mapping[str, float]]


@dataclass(frozen=True)
class Computed:
    """Figures that are exact."""

    measure: Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Claim:
    """One row of section 7. `reading` says how the falsifier's words became numbers, where that is not plain."""

    name: str
    paper: str
    says: str
    test: str
    falsified_if: str
    source: Trained | Evaluated | Probed | Computed
    falsifier: Falsifier
    premise: Falsifier | None = None
    reading: str = ""
