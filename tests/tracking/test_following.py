"""The process that follows a run: it sends what the run logs, and whatever becomes of it, the run goes on."""

import json
import os
import sys
import textwrap
import time

import pytest

from laconic.tracking import following
from laconic.tracking.tracked_runs import read_tracked_runs

STAND_IN = """
import json, os, sys, time
from pathlib import Path

out = Path(os.environ["STAND_IN_OUT"])

def note(**what):
    with out.open("a") as file:
        file.write(json.dumps(what) + "\\n")

class Settings:
    def __init__(self, **options):
        self.options = options

class Run:
    id, url, summary = "an-id", None, {}
    def log(self, numbers, step):
        print("chatter " * 10_000, flush=True)
        FAULT
        note(step=step, **numbers)
    def finish(self):
        note(finished=True)

def init(**options):
    note(mode=os.environ["WANDB_MODE"], nice=os.nice(0), resume=options["resume"], id=options["id"])
    return Run()
"""
"""A package `wandb` that notes what it is asked, prints far more than a pipe holds, and may have a fault."""


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text('{"name": "mine"}')
    return folder


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Installs the package with a fault, a line of Python; gives back what it noted."""

    def install(fault="pass"):
        package = tmp_path / "packages" / "wandb"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(textwrap.dedent(STAND_IN).replace("FAULT", fault))
        monkeypatch.syspath_prepend(str(package.parent))
        monkeypatch.setenv("STAND_IN_OUT", str(tmp_path / "noted"))
        monkeypatch.delenv("WANDB_MODE", raising=False)
        return lambda: [json.loads(line) for line in (tmp_path / "noted").read_text().splitlines()]

    return install


def log(folder, *steps):
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step, "a": step / 2}) + "\n" for step in steps)


def test_what_is_logged_meanwhile_is_there_at_the_end(run, stand_in):
    """Offline, at the lowest priority, under the id of the run's file when it is resumed; nothing is said."""
    noted, said = stand_in(), []
    for steps in ((1, 2), (3,)):
        with following.following(run, "wandb", said.append):
            log(run, *steps)
    assert [row for row in noted() if "step" in row] == [{"step": step, "a": step / 2} for step in (1, 2, 3)]
    opened = [row for row in noted() if "mode" in row]
    assert [(row["mode"], row["id"]) for row in opened] == [("offline", None), ("offline", "an-id")]
    assert sum("finished" in row for row in noted()) == 2 and not said
    if hasattr(os, "nice"):
        assert {row["nice"] for row in opened} == {19}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ('raise OSError(28, "No space left on device")', "OSError: [Errno 28] No space left on device"),
        ("os._exit(3)", "exit code 3"),
        ("time.sleep(600)", "SIGKILL"),
    ],
)
def test_a_tracker_that_fails_is_one_line_and_never_the_runs_fault(run, stand_in, monkeypatch, fault, why):
    """A full disk, a crash, and one that hangs, which is killed when its time is over."""
    stand_in(fault)
    monkeypatch.setattr(following, "SENDING_SECONDS", 6.0)
    said, begun = [], time.monotonic()
    with following.following(run, "wandb", said.append):
        log(run, 1)
        during = time.monotonic() - begun
    (line,) = said
    assert line.startswith(f"warning: wandb no longer gets this run's steps ({why}") and "\n" not in line
    assert line.endswith(f"laconic track {run} --to wandb")
    assert during < (time.monotonic() - begun) / 2, "the body waited for the tracker"
    assert read_tracked_runs(run)["wandb"].step == 0


def test_a_run_that_is_killed_has_its_steps_sent_all_the_same(run, stand_in):
    """Nobody reads what the process prints, and its input closes; it sends the rest and ends well."""
    noted = stand_in()
    process = following._start(run, "wandb")
    process.stdout.close()
    log(run, 1, 2)
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert [row["step"] for row in noted() if "step" in row] == [1, 2] and "finished" in noted()[-1]


def test_an_error_of_the_run_passes_and_a_process_that_cannot_start_is_one_line(run, stand_in, monkeypatch):
    said = []
    stand_in()
    monkeypatch.setattr(sys, "executable", str(run / "no-such-python"))
    with pytest.raises(KeyError, match="mine"), following.following(run, "wandb", said.append):
        raise KeyError("mine")
    assert len(said) == 1 and "No such file or directory" in said[0]


def test_without_a_tracker_nothing_is_started(run, monkeypatch):
    monkeypatch.setattr(following, "_start", lambda *_: pytest.fail("a process was started"))
    with following.following(run, None, pytest.fail):
        log(run, 1)
    assert not (run / "tracking.json").exists()
