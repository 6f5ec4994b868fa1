"""Trackio: a run of the project `laconic` in Trackio's own database on this machine, or in the Space that TRACKIO_SPACE_ID names.

TRACKIO_DIR and TRACKIO_PROJECT are obeyed. A run is found again by its name alone, so a new one gets letters of its own after the
name of the folder.
"""

import os
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from laconic.tracking.tracker import PROJECT, RunToTrack, Tracker

_QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


class TrackioRun:
    """A run of Trackio."""

    link = ""

    def __init__(self, opened: Any, project: str) -> None:
        self._run = opened
        self.run_id, self.shown_by = str(opened.name), f"trackio show --project {project}"

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """One row of the run."""
        self._run.log(dict(numbers), step=step)

    def conclude(self, step: int, results: Mapping[str, float]) -> None:
        """The results, as a row of the last step."""
        self.send(step, results)

    def close(self) -> None:
        """Write what is still in the queue."""
        self._run.finish()


def open_trackio(run: RunToTrack) -> Tracker:
    """The run under its name, or a new one."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import trackio

    project = os.environ.get("TRACKIO_PROJECT") or PROJECT
    opened = trackio.init(
        project=project,
        name=run.run_id or f"{run.name}-{uuid4().hex[:6]}",
        space_id=os.environ.get("TRACKIO_SPACE_ID") or None,
        config=dict(run.settings),
        resume="allow" if run.run_id else "never",
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    return TrackioRun(opened, project)
