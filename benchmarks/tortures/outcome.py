"""Runs `laconic` as a person would, in a child of this process, and says what was wrong with the way it ended.

A child is forked from a parent that has imported everything, so that a command costs what it does and not what importing torch
does. It is killed at a time limit. What is wrong: a traceback, a hang, an exit code that means nothing, more than two lines for
an error, and, where the case expects a refusal, an acceptance.

Legend: exit codes are 0 (done), 1 (failed while running), 2 (bad input), 129, 130 and 143 (interrupted), -9 (killed by the case).
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MEANT = (0, 1, 2, 129, 130, 143)
MOST_LINES = 2
LIMIT_SECONDS = 60.0
UNEXPECTED = 70  # the exit code of a child whose command let an exception through
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float
    is_late: bool = False

    @property
    def complaint(self) -> str:
        """What it said on standard error after the progress lines: the lines from the last that begins with `laconic:`."""
        lines = self.err.rstrip("\n").split("\n")
        begins = [number for number, line in enumerate(lines) if line.startswith("laconic: ")]
        return "\n".join(lines[begins[-1] :]) if begins else ""


def run(
    arguments: Sequence[str], folder: Path, limit_seconds: float = LIMIT_SECONDS, kill_after: float | None = None
) -> Outcome:
    """`laconic ARGUMENTS` in `folder`; killed as kill -9 does after `kill_after` seconds, where given."""
    began = time.monotonic()
    child = begin(lambda: _command(arguments), folder)
    deadline = began + (limit_seconds if kill_after is None else kill_after)
    code = wait(child, deadline)
    is_late = code is None
    if code is None:
        os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout.txt", "stderr.txt")]
    return Outcome(code, *texts, time.monotonic() - began, is_late and kill_after is None)


def begin(work: Callable[[], int], folder: Path) -> int:
    """A forked child that does `work` in `folder`, with its output in files there; returns its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = UNEXPECTED
    try:
        os.setsid()
        os.chdir(folder)
        for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, deadline: float) -> int | None:
    """The child's exit code; None where it still runs at the deadline."""
    while True:
        is_over = (
            time.monotonic() >= deadline
        )  # before the look: where this process was stopped, the child may have ended meanwhile
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if is_over:
            return None
        time.sleep(POLL_SECONDS)


def _command(arguments: Sequence[str]) -> int:
    from laconic.cli.app import main

    sys.argv = ["laconic", *arguments]
    try:
        main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def trouble(outcome: Outcome, *, must_refuse: bool = False) -> str:
    """What is wrong with the way a command ended; empty where nothing is."""
    lines = outcome.complaint.split("\n")
    faults = {
        f"still running after {outcome.seconds:.0f} s": outcome.is_late,
        f"a traceback: {outcome.err.rstrip().rpartition(chr(10))[2][:200]}": "Traceback (most recent call"
        in outcome.err,
        f"exit code {outcome.code}": outcome.code not in MEANT,
        "accepted": must_refuse and outcome.code == 0,
        f"exit code {outcome.code} without a word: {outcome.err[-200:]!r}": outcome.code != 0 and lines == [""],
        f"{len(lines)} lines for one mistake": outcome.code != 0 and len(lines) > MOST_LINES,
    }
    return next((what for what, is_so in faults.items() if is_so), "")
