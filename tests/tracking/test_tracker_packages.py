"""The real packages, where they are installed: a run is sent, goes on and is sent again, and is read back with the package's own
reader. `pip install tensorboard wandb mlflow trackio` to run them all."""

import json
import os
import sqlite3

import pytest

from laconic.tracking.sending import send_run
from laconic.tracking.tracked_runs import read_tracked_runs

STEPS = {1: 0.5, 2: 0.25, 3: 0.125}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of two steps, and trackers that keep everything in the test's folder."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"name": "mine", "seed": 3}))
    log(folder, 1, 2)
    return folder


def log(folder, *steps):
    rows = [
        {"step": step, "phase": "p", "update/policy_loss": STEPS[step], "rollouts/wrong_tokens": None} for step in steps
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def sent_twice(run, tracker):
    """Two steps, then all three: the tracker's own record of the run."""
    first = send_run(run, tracker)
    log(run, 1, 2, 3)
    second = send_run(run, tracker)
    assert (first.step, second.step, second.run_id) == (2, 3, first.run_id) and read_tracked_runs(run)[
        tracker
    ] == second
    return second


def test_tensorboard_reads_what_was_written(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracked = sent_twice(run, "tensorboard")
    events = EventAccumulator(str(run / "tracking" / "tensorboard")).Reload()
    assert {event.step: event.value for event in events.Scalars("update/policy_loss")} == STEPS
    assert (
        len(events.Scalars("update/policy_loss")) == 3
        and b'"seed": 3' in events.Tensors("recipe")[0].tensor_proto.string_val[0]
    )
    assert tracked.shown_by == f"tensorboard --logdir {run / 'tracking' / 'tensorboard'}" and not tracked.link


def test_mlflow_has_every_step_once(run):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    tracked = sent_twice(run, "mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.parent / 'mlflow.db'}")
    history = client.get_metric_history(tracked.run_id, "update/policy_loss")
    assert {point.step: point.value for point in history} == STEPS and len(history) == 3
    stored = client.get_run(tracked.run_id)
    assert stored.data.params["seed"] == "3" and stored.info.run_name == "mine" and stored.info.status == "FINISHED"


def test_trackio_has_every_step_once(run):
    pytest.importorskip("trackio")
    tracked = sent_twice(run, "trackio")
    (database,) = (run.parent / "trackio").rglob("laconic*.db")
    rows = sqlite3.connect(database).execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    assert [(name, step, json.loads(metrics)["update/policy_loss"]) for name, step, metrics in rows] == [
        (tracked.run_id, step, value) for step, value in STEPS.items()
    ]


def test_wandb_writes_offline_runs_of_one_id(run):
    pytest.importorskip("wandb")
    tracked = sent_twice(run, "wandb")
    folders = sorted((run / "tracking" / "wandb").glob("offline-run-*"))
    assert len(folders) == 2 and all(folder.name.endswith(tracked.run_id) for folder in folders)
    stored = b"".join(file.read_bytes() for folder in folders for file in folder.glob("*.wandb"))
    assert stored.count(b"update/policy_loss") >= 3 and tracked.link == ""
