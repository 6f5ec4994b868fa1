"""Every tracker as a row of one table: its package, how a run is opened in it, and whether it is written anew each time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from laconic.errors import InputError
from laconic.tracking.mlflow_runs import open_mlflow
from laconic.tracking.tensorboard_files import open_tensorboard
from laconic.tracking.tracker import RunToTrack, Tracker
from laconic.tracking.trackio_runs import open_trackio
from laconic.tracking.wandb_runs import open_wandb


@dataclass(frozen=True, slots=True)
class TrackerRow:
    """A tracker. `summary` is what lists show; `is_rewritten` is true if opening a run in it begins with no step."""

    package: str
    open: Callable[[RunToTrack], Tracker]
    summary: str
    is_rewritten: bool = False


TRACKERS: Mapping[str, TrackerRow] = {
    "tensorboard": TrackerRow(
        "tensorboard", open_tensorboard, "event files in the run's folder, for tensorboard --logdir", is_rewritten=True
    ),
    "wandb": TrackerRow("wandb", open_wandb, "Weights & Biases: offline in the run's folder, or as WANDB_MODE says"),
    "mlflow": TrackerRow(
        "mlflow", open_mlflow, "MLflow: a database beside the run's folder, or what MLFLOW_TRACKING_URI names"
    ),
    "trackio": TrackerRow(
        "trackio", open_trackio, "Trackio: its database on this machine, or the Space that TRACKIO_SPACE_ID names"
    ),
}


def find_tracker(name: str, option: str) -> TrackerRow:
    """The tracker of that name, whose package is installed. Raises an `InputError` that begins with `option`."""
    row = TRACKERS.get(name)
    if row is None:
        raise InputError(f"{option}: unknown tracker {name!r}; expected one of {', '.join(TRACKERS)}")
    if find_spec(row.package) is None:
        raise InputError(f"{option} {name}: needs a package that is not installed: pip install {row.package}")
    return row
