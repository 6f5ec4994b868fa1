"""MLflow: a run of the experiment `laconic`, in a database beside the run's folder unless MLFLOW_TRACKING_URI says otherwise.

The database lies beside the folder, so that runs which lie side by side are compared in one place. MLFLOW_EXPERIMENT_NAME is
obeyed.
"""

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from laconic.tracking.tracker import PROJECT, RunToTrack, Tracker

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
MOST_PARAMETERS, VALUE_LETTERS = 100, 500
"""How many parameters one request may bring, and how long their values may be, in MLflow's REST API."""
REFUSED = r"[^\w\-.:/ ]"
"""What may not stand in the name of a parameter."""


class MlflowRun:
    """A run of MLflow."""

    def __init__(self, client: Any, run_id: str, link: str, shown_by: str) -> None:
        self._client = client
        self.run_id, self.link, self.shown_by = run_id, link, shown_by

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """All numbers of the step in one request."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self.run_id, metrics=[Metric(key, value, now, step) for key, value in numbers.items()])

    def conclude(self, step: int, results: Mapping[str, float]) -> None:
        """The results, as metrics of the last step."""
        self.send(step, results)

    def close(self) -> None:
        """Mark the run as finished; opening it again marks it as running."""
        self._client.set_terminated(self.run_id)


def open_mlflow(run: RunToTrack) -> Tracker:
    """The run under its id, or a new one with its settings as parameters."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    here = f"sqlite:///{run.folder.resolve().parent / 'mlflow.db'}"
    address = os.environ.get("MLFLOW_TRACKING_URI") or here
    client = MlflowClient(tracking_uri=address)
    experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT)
    if run.run_id is None:
        run_id = client.create_run(experiment, run_name=run.name).info.run_id
        _send_settings(client, run_id, run)
    else:
        run_id = run.run_id
        client.update_run(run_id, status="RUNNING")
    link = f"{address}/#/experiments/{experiment}/runs/{run_id}" if address.startswith("http") else ""
    return MlflowRun(client, run_id, link, "" if link else f"mlflow ui --backend-store-uri {address}")


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _send_settings(client: Any, run_id: str, run: RunToTrack) -> None:
    from mlflow.entities import Param

    found = [Param(re.sub(REFUSED, "_", key), str(value)[:VALUE_LETTERS]) for key, value in run.settings.items()]
    for start in range(0, len(found), MOST_PARAMETERS):
        client.log_batch(run_id, params=found[start : start + MOST_PARAMETERS])
