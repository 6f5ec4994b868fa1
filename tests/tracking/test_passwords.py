"""Names, passwords and keys in the address of a tracker are stored nowhere, shown nowhere and said in no error."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from laconic.reporting.read import read_settings
from laconic.tracking.content import settings_by_key
from laconic.tracking.tracked_runs import TRACKING_FILE, read_tracked_runs, without_passwords

SECRET = "pw-of-ann"


class PlayedMlflow:
    """The client of MLflow, as far as a run is sent; `breaks` lets it fail as the real one does, with its address."""

    breaks = False

    def __init__(self, tracking_uri):
        self.address = tracking_uri

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id=1)

    def create_run(self, experiment, run_name):
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def update_run(self, run_id, status):
        pass

    def log_batch(self, run_id, params=(), metrics=()):
        if self.breaks:
            raise OSError(f"API request to {self.address}/api/2.0/mlflow failed with exception 500")

    def set_terminated(self, run_id):
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of one step, and an MLflow that is played."""
    package, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    package.__spec__, package.MlflowClient = ModuleSpec("mlflow", None), PlayedMlflow
    entities.Param = entities.Metric = lambda *values: values
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"name": "mine"}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "phase": "p", "update/policy_loss": 0.5}) + "\n")
    return folder


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"https://ann:{SECRET}@host.example:5000", "https://host.example:5000/#/experiments/1/runs/r1"),
        (f"https://{SECRET}@host.example", "https://host.example/#/experiments/1/runs/r1"),
        (f"postgresql://ann:{SECRET}/@host/runs", "mlflow ui --backend-store-uri postgresql://host/runs"),
        (
            f"postgresql://host/runs?user=ann&password={SECRET}&sslmode=require",
            "mlflow ui --backend-store-uri postgresql://host/runs?user=ann&password=...&sslmode=require",
        ),
    ],
)
def test_an_address_is_shown_and_stored_without_passwords(laconic, run, monkeypatch, address, shown):
    """By the command, by tracking.json, and by the report's page."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    code, out, err = laconic("track", run, "--to", "mlflow")
    assert (code, out, err) == (0, f"mlflow: 1 steps of r1; {shown}\n", "")
    assert SECRET not in (run / TRACKING_FILE).read_text()
    assert laconic("report", run)[0] == 0
    page = (run / "report.html").read_text()
    assert SECRET not in page and "Metrics in mlflow" in page


def test_what_was_stored_before_is_shown_without_passwords(run):
    stored = {"run_id": "r1", "step": 1, "is_followed": False, "results": {}}
    stored |= {"link": f"https://ann:{SECRET}@host/#/runs/r1", "shown_by": f"mlflow ui postgresql://a:{SECRET}@host/db"}
    (run / TRACKING_FILE).write_text(json.dumps({"mlflow": stored}))
    found = read_tracked_runs(run)["mlflow"]
    assert (found.link, found.shown_by) == ("https://host/#/runs/r1", "mlflow ui postgresql://host/db")


def test_an_error_of_a_tracker_says_no_password(laconic, run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://ann:{SECRET}@host.example")
    monkeypatch.setattr(PlayedMlflow, "breaks", True)
    code, _, err = laconic("track", run, "--to", "mlflow")
    assert code == 1 and SECRET not in err and "API request to https://host.example/api/2.0/mlflow failed" in err


@pytest.mark.parametrize("text", ["sqlite:////home/ann@corp/mlflow.db", "https://wandb.example/r?a=1&b=2", "a@b, c"])
def test_what_holds_no_password_stays(text):
    assert without_passwords(text) == text


def test_no_command_of_a_server_is_sent():
    """It may hold a key; an option of one's own that is called so is sent."""
    phase = {"name": "p", "sampler": {"server": "vllm --api-key sk-123", "top_p": 1.0}, "options": {"server": "here"}}
    assert settings_by_key({"phases": [phase]}) == {
        "phases.p.name": "p",
        "phases.p.sampler.top_p": 1.0,
        "phases.p.options.server": "here",
    }


def test_keys_of_commands_do_not_stand_on_the_page(tmp_path):
    """The recipe's server and the run's own command, wherever they stand in the settings; what only looks like a key stays."""
    recipe = {"phases": [{"sampler": {"server": f"vllm --api-key {SECRET} --max-tokens 9", "top_p": 0.5}}], "seed": 3}
    (tmp_path / "config.json").write_text(json.dumps(recipe))
    (tmp_path / "environment.json").write_text(json.dumps({"command": f"laconic train r.toml --key='{SECRET} 2'"}))
    shown = dict(read_settings(tmp_path))
    assert SECRET not in json.dumps(shown)
    sampler = {"server": "vllm --api-key ... --max-tokens 9", "top_p": 0.5}
    assert shown["Recipe as resolved"] == {"phases": [{"sampler": sampler}], "seed": 3}
    assert shown["Environment"]["command"] == "laconic train r.toml --key=..."
