"""What a tracker must be able to do. Every method may raise anything; whoever calls it says so, and goes on without it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from laconic.tracking.content import SettingValue

PROJECT = "laconic"
"""The project, or experiment, to which runs belong where the tracker's own variable names no other."""


@dataclass(frozen=True, slots=True)
class RunToTrack:
    """A run's folder and its settings. `run_id` is what the tracker called it before, None if the tracker does not know it."""

    folder: Path
    settings: Mapping[str, SettingValue]
    run_id: str | None = None

    @property
    def name(self) -> str:
        """How the run is called in a tracker: as its folder."""
        return self.folder.resolve().name

    @property
    def files(self) -> Path:
        """The folder for files that a tracker keeps with the run."""
        return self.folder / "tracking"


class Tracker(Protocol):
    """A run in a tracker, open for more steps."""

    run_id: str
    link: str
    shown_by: str

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add the numbers of one step."""

    def conclude(self, step: int, results: Mapping[str, float]) -> None:
        """Add the results of the run, which was measured after `step`."""

    def close(self) -> None:
        """Hand over what is still on its way; the run can be opened again."""
