"""One case of the campaign: what was tried, and what was wrong with the way it ended."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """`what` can be tried again by its seed and number; `trouble` is empty where the case ended as it should."""

    what: str
    trouble: str = ""
