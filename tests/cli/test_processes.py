"""Commands in several processes: what is started, what is refused, and that two give what one gives."""

import os
import subprocess
import sys

import pytest
from small import save_small_model

from laconic.cli.processes import MOST_PER_CORE
from laconic.parallel import launching
from laconic.system.threads import available_cores

TWO = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "h",
    "MASTER_PORT": "1",
}
PROBLEMS = "tiny:count?count=4&split=report"


@pytest.fixture
def laconic(laconic, monkeypatch):
    """Run a command in an empty folder, with more environment; gives back exit code, standard output and standard error, and
    how many processes it would have started."""
    started = []

    def launch(num_processes, how_to_go_on):
        started.append(num_processes)
        return 7

    monkeypatch.setattr(launching, "launch", launch)

    def call(*arguments, **environment):
        started.clear()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return (*laconic(*arguments), list(started))

    return call


@pytest.mark.parametrize(
    "command",
    [("demo",), ("train", "laser_d"), ("evaluate", "tiny", PROBLEMS), ("probe", "tiny", PROBLEMS)],
    ids=lambda command: command[0],
)
def test_a_command_that_is_shared_out_starts_its_processes(laconic, command):
    """Their exit code is its own, and it does nothing else."""
    code, out, _, started = laconic(*command, "--processes", 2)
    assert (code, out, started) == (7, "", [2])


def test_more_processes_than_cores_are_warned_of(laconic):
    many = MOST_PER_CORE * available_cores()
    _, _, err, started = laconic("probe", "tiny", PROBLEMS, "--processes", many)
    assert started == [many] and f"warning: {many} processes on" in err


@pytest.mark.parametrize("more", [1, 10**9])
def test_processes_that_no_machine_could_hold_are_refused(more, laconic):
    """Each would load a model: the machine would be lost before the first had read it."""
    most = MOST_PER_CORE * available_cores()
    code, _, err, started = laconic("probe", "tiny", PROBLEMS, "--processes", most + more)
    assert code == 2 and f"expected at most {most}" in err and not started


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("train", "no_such_recipe"), "no_such_recipe"),
        (("evaluate", "tiny", "no_such_file.jsonl"), "no_such_file.jsonl"),
        (("evaluate", "http://127.0.0.1:9/v1#m", PROBLEMS), "draws the responses, so there is nothing to share out"),
        (("train", "demo", "--dry-run"), "--processes"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_started(laconic, command, says):
    code, _, err, started = laconic(*command, "--processes", 2)
    assert code == 2 and says in err and not started and len(err.strip().splitlines()) <= 2


def test_no_process_at_all_is_refused(laconic):
    code, _, err, started = laconic("demo", "--processes", 0)
    assert code == 2 and "--processes" in err and "greater than or equal to 1" in err and not started


@pytest.mark.parametrize(
    ("environment", "command", "says"),
    [
        ({"WORLD_SIZE": "2"}, ("demo",), "WORLD_SIZE is 2 in the environment, but RANK is not there"),
        (TWO, ("demo", "--processes", "2"), "--processes 2: 2 processes were started already"),
        (TWO, ("list", "rewards"), "list: runs in one process"),
        (TWO, ("train", "demo", "--dry-run"), "--dry-run: runs in one process"),
    ],
)
def test_an_environment_that_does_not_fit_is_one_line_of_the_first_process(laconic, environment, command, says):
    code, _, err, _ = laconic(*command, **environment | {"LOCAL_RANK": "0"})
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1
    if "LOCAL_RANK" in environment:
        assert laconic(*command, **environment)[::2] == (2, "")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


def test_two_processes_evaluate_as_one_does(model, tmp_path):
    """The whole command, with a budget curve: it prints the same and leaves the same files but for the times."""
    arguments = ["evaluate", str(model), PROBLEMS, "--samples", "2", "--max-tokens", "6", "--budgets", "2"]

    def run(out, *more):
        command = [sys.executable, "-m", "laconic", *arguments, "--out", str(out), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout.replace(str(out), "OUT")

    one, two = tmp_path / "one", tmp_path / "two"
    assert run(one) == run(two, "--processes", "2")
    assert files_of(one) == files_of(two)


def files_of(folder):
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.stem != "timing")
    return {str(name): (folder / name).read_bytes() for name in names}
