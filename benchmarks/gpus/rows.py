"""A line of the table, and what a section is handed."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from gpu_workloads import TOY, Scale, forget

LIMITS = "limits"
"""The section whose figures later ones are held against."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `limit` is the floor, peak or bound it is held against, in the same `unit`; `is_met` whether its target
    is met, None where there is none."""

    what: str
    measured: float
    unit: str = ""
    limit: float | None = None
    is_met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured over limit."""
        return self.measured / self.limit if self.limit else None

    def cells(self) -> list[str]:
        """What the table says, column by column."""
        limit = "-" if self.limit is None else f"{self.limit:.4g} {self.unit}"
        ratio = "-" if self.ratio is None else f"{self.ratio:.3g}"
        verdict = {None: "-", True: "pass", False: "FAIL"}[self.is_met]
        return [self.what, f"{self.measured:.4g} {self.unit}", limit, ratio, verdict, self.note or "-"]

    def to_json(self) -> dict[str, Any]:
        """As stored; a figure that does not exist is null."""
        return {key: None if _is_nan(value) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Row":
        """What `to_json` gave."""
        held = {field.name: stored[field.name] for field in fields(cls)}
        return cls(**held | {"measured": math.nan if held["measured"] is None else held["measured"]})


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def at_most(what: str, measured: float, bound: float, unit: str = "", note: str = "") -> Row:
    """A row whose figure must not exceed its bound."""
    return Row(what, measured, unit, bound, measured <= bound, note)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a section is handed: how much to measure, where, until when (`time.monotonic`), and the measured limits."""

    scale: Scale
    device: torch.device
    until: float
    limits: Mapping[str, float]

    @property
    def has_targets(self) -> bool:
        """Whether speed is held against targets, as it is not in a rehearsal."""
        return self.scale is not TOY

    @property
    def seconds_left(self) -> float:
        """How long the section may still take."""
        return self.until - time.monotonic()


def guarded(what: str, measure: Callable[[], Row], bench: Bench) -> Iterator[Row]:
    """The measured row, or the reason why there is none."""
    if bench.seconds_left <= 0:
        yield Row(what, math.nan, note="not measured: the time was over")
        return
    forget(bench.device)
    try:
        row = measure()
    except torch.OutOfMemoryError:
        row = Row(what, math.nan, note="out of memory")
    forget(bench.device)
    yield row
