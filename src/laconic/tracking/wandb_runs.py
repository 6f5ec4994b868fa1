"""Weights & Biases: a run of the project `laconic`, offline in the run's folder unless the variable WANDB_MODE says otherwise.

Only what Laconic measured is recorded: no console output, code, git state, or load of the machine. WANDB_PROJECT and WANDB_ENTITY
are obeyed.
"""

import os
from collections.abc import Mapping
from typing import Any

from laconic.tracking.tracker import PROJECT, RunToTrack, Tracker

_QUIET = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_PROJECT": PROJECT}
"""What holds unless the user's own variables say otherwise."""


class WandbRun:
    """A run of Weights & Biases."""

    def __init__(self, opened: Any, shown_by: str) -> None:
        self._run = opened
        self.run_id, self.link, self.shown_by = str(opened.id), str(opened.url or ""), shown_by

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """The history's row of this step; a step that is sent twice stays one row."""
        self._run.log(dict(numbers), step=step)

    def conclude(self, step: int, results: Mapping[str, float]) -> None:
        """The results, in the run's summary."""
        self._run.summary.update(dict(results))

    def close(self) -> None:
        """Finish the run, which waits for what is still on its way."""
        self._run.finish()


def open_wandb(run: RunToTrack) -> Tracker:
    """The run under its id, or a new one."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import wandb

    run.files.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
    )
    opened = wandb.init(
        dir=run.files,
        id=run.run_id,
        resume="allow",
        name=run.name,
        config=dict(run.settings),
        settings=settings,
    )
    return WandbRun(opened, f"wandb sync {run.files / 'wandb' / 'offline-run-*'}" if not opened.url else "")
