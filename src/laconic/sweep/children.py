"""The processes of a sweep: `laconic train` for each run, with its output in a file. They are ended when the sweep ends.

1. `RunProcesses.train` starts a run, or resumes the one in its folder, and waits for it.
2. Each process keeps its output file locked. So if a sweep was killed with SIGKILL and its runs are still working, this is
   noticed, and they are not started a second time.
3. `RunProcesses.end` ends the processes that are still running.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from laconic.errors import RunError
from laconic.sweep.config import SweepRun
from laconic.system.threads import available_cores

AT_WORK = "another process is at work on it"
LAST_LINE_CHARS = 300
END_SECONDS = 10.0  # a process that was asked to end is killed after this


def arguments(run: SweepRun) -> list[str]:
    """The arguments with which `laconic` trains the run, or resumes it."""
    resume = ["--resume"] if (run.folder / "config.json").exists() else []
    return ["train", *run.arguments, "--out", str(run.folder), "--draws", str(run.draws), *resume]


class RunProcesses:
    """The processes of training runs, and how they are ended."""

    def __init__(self, parallel: int) -> None:
        self.environment = _environment(parallel)
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.lock, self.is_over = threading.Lock(), False

    def train(self, run: SweepRun) -> tuple[str | None, float]:
        """Start the run and wait for it; returns what went wrong, or None, and the seconds it took."""
        began = time.monotonic()
        run.log.parent.mkdir(parents=True, exist_ok=True)
        with run.log.open("ab") as log:
            if not lock(log):
                return AT_WORK, 0.0
            process = self._start(run, log)
            code = process.wait() if process else 0
            with self.lock:
                self.processes.discard(process) if process else None
        why = f"exit code {code}: {last_line(run.log)}" if code else None
        return why, time.monotonic() - began

    def _start(self, run: SweepRun, log: IO[bytes]) -> "subprocess.Popen[bytes] | None":
        with self.lock:
            if self.is_over:
                return None
            command = [sys.executable, "-m", "laconic", *arguments(run)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.environment
            )
            self.processes.add(process)
            return process

    def end(self) -> None:
        """Ask the running processes to end, then kill those that do not; no more are started."""
        with self.lock:
            self.is_over = True
            left = list(self.processes)
        for process in left:
            process.terminate()
        for process in left:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()


def _environment(parallel: int) -> dict[str, str]:
    """The environment of a run. Parallel runs share the cores, so their threads must sleep while they wait."""
    shared = {"OMP_NUM_THREADS": str(max(1, available_cores() // parallel)), "OMP_WAIT_POLICY": "passive"}
    return {**os.environ, **(shared if parallel > 1 else {})}


def last_line(log: Path) -> str:
    """The last line of a run's output that is not empty."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
        lines = file.read().decode("utf-8", "replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return last[:LAST_LINE_CHARS]


def check_idle(runs: Sequence[SweepRun]) -> None:
    """Raises `RunError` if a process is working on a run, either of another sweep or left over from one that was killed."""
    for run in runs:
        if not run.is_finished and run.log.exists():
            with run.log.open("ab") as log:
                if not lock(log):
                    raise RunError(f"{run.folder}: {AT_WORK}; wait until it is done, or end it")


def lock(file: IO[Any]) -> bool:
    """Lock an open file until every process that holds it has ended. False if another process has locked it; True if the system
    cannot lock files."""
    try:
        import fcntl
    except ImportError:  # not a Unix system
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
