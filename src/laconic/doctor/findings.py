"""The result of a check (`Finding`), and a row of the table of checks (`Check`).

1. A check looks at what was read for a recipe and yields findings. Each says how bad it is, what it is, where it is, and what
   would mend it.
2. A row names what its check requires. If that could not be read, the check is skipped and reported as not made.

Levels, from good to bad: "fine", "unknown" (it could not be checked, with the reason), "warning" (the run may disappoint),
"error" (the run would be wasted).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from laconic.config.sense.complaints import Complaint

if TYPE_CHECKING:
    from laconic.doctor.examination import Examined

Level = Literal["fine", "unknown", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)
FEWEST_RESPONSES = 16
"""From fewer responses of a probe no run is called wasted. Where all of 16 are alike, the share of others is below 18% with a
confidence of 95%: 0.82^16 = 0.04."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: how bad it is, what, in which field or file, and what would mend it."""

    level: Level
    what: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


def found_in(complaint: Complaint) -> Finding:
    """What training would say of the recipe, as a finding."""
    return Finding(complaint.level, complaint.what, complaint.where)


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the table. `look` is not called if one of `needs` is missing; those of `partly` may be missing."""

    title: str
    look: Callable[["Examined"], Iterator[Finding]]
    needs: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
