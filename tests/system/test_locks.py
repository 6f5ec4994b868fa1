"""A folder in which one process works at a time."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from laconic.errors import RunError
from laconic.evaluation.evaluate import evaluate
from laconic.parallel.team import ALONE
from laconic.selection.probe import probe_to_file
from laconic.system import locks
from laconic.system.files import write_json_atomically
from laconic.system.locks import LOCK_FILE, FolderLock
from laconic.training.run_directory import RunDirectory

HOLDER = """
import sys
from pathlib import Path
from laconic.system.locks import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which holds the lock of the folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_has_died(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    """The message tells which process it is. A killed one leaves the file behind, but no lock."""
    with pytest.raises(
        RunError, match=rf"process {holder.pid} on .* is at work on it; wait until it is done, or end it"
    ):
        FolderLock(tmp_path).take()
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCK_FILE).exists()
    with FolderLock(tmp_path):
        pass
    assert not (tmp_path / LOCK_FILE).exists()


def test_one_process_may_take_a_lock_twice(tmp_path: Path) -> None:
    """And it makes the folder."""
    with FolderLock(tmp_path / "new"), FolderLock(tmp_path / "new"):
        assert (tmp_path / "new" / LOCK_FILE).exists()


def test_a_file_that_its_last_holder_removed_locks_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed between opening and locking: what is locked in the end is the file that others find."""
    plain, opened = locks._lock, []

    def slow(file: object) -> bool:
        opened.append(file)
        if len(opened) == 1:
            (tmp_path / LOCK_FILE).unlink()
        return plain(file)  # type: ignore[arg-type]

    monkeypatch.setattr(locks, "_lock", slow)
    with FolderLock(tmp_path):
        assert len(opened) == 2 and (tmp_path / LOCK_FILE).read_text().startswith("process ")


def test_nothing_is_written_where_another_process_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run, an evaluation and a probe; two probes with other names in one folder are at peace."""
    write_json_atomically(tmp_path / "run" / "config.json", {})
    monkeypatch.setattr(locks, "_lock", lambda file: False)
    nothing: Any = None
    alone: Any = SimpleNamespace(team=ALONE)
    for name, work in {
        "new": lambda: RunDirectory.create(tmp_path / "new", {}, {}),
        "run": lambda: RunDirectory.resume(tmp_path / "run", {}),
        "evaluation": lambda: evaluate(alone, nothing, tmp_path / "evaluation"),
        "probe.jsonl": lambda: probe_to_file(alone, [], 1, nothing, tmp_path / "probe.jsonl", seed=0),
    }.items():
        with pytest.raises(RunError, match=rf"/{name}: .* is at work on it; wait until it is done, or end it"):
            work()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        LOCK_FILE,
        "config.json",
        ".probe.jsonl.lock",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/usr/bin/laconic", "--x", "probe", "tiny"], r"process \d+ \(laconic probe\)$"),
        (["/usr/bin/laconic"], r"process \d+$"),
        (["pytest", "probe"], r"process \d+$"),
        ([], r"process \d+$"),
    ],
)
def test_a_process_of_ours_says_what_it_does(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", words)
    assert re.match(said, locks._purpose())


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_lock_that_is_no_plain_file_is_named(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / LOCK_FILE)
    with pytest.raises(RunError, match=r"/\.lock: is not the plain file that a lock is; remove it"):
        FolderLock(tmp_path).take()
