"""The process that follows a run while it trains, and sends its steps to a tracker.

It is a process of its own, so that a tracker can neither slow the run down nor end it, whatever it does: it has the lowest
priority, and reads nothing but the run's files. It ends when its input closes, which happens when the run ends, however it ends,
and then sends the rest. Where something goes wrong, it prints one line and ends with code 1.
"""

import contextlib
import os
import sys
import threading
from pathlib import Path

from laconic.system.child_processes import go_first
from laconic.system.text import printable
from laconic.tracking.sending import Sending, lock_of, tracker_words
from laconic.tracking.trackers import find_tracker

POLL_SECONDS = 1.0
LOCK_SECONDS = 60.0
"""How long a follower of a run that was killed may take to send the rest, before its successor gives up."""
LEAST_PRIORITY = 19
MARK, MOST_SAID = "laconic: ", 300


def main() -> None:
    """Follow the run in the folder `sys.argv[1]` for the tracker `sys.argv[2]`, until the input closes."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    is_over, listener = threading.Event(), _silence()
    threading.Thread(target=_wait_for_the_end, args=(is_over,), daemon=True).start()
    _step_back()
    try:
        follow(folder, name, is_over)
    except BaseException as error:  # a tracker may raise anything, and its threads may keep a process from ending
        line = printable(" ".join(tracker_words(error).split()))[:MOST_SAID]
        with contextlib.suppress(OSError):  # nobody listens where the run was killed
            os.write(listener, f"{MARK}{line}\n".encode())
        os._exit(1)


def _silence() -> int:
    """Whatever the tracker prints goes nowhere, so that printing neither waits nor fails; returns the file on which we speak."""
    listener = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    return listener


def follow(folder: Path, name: str, is_over: threading.Event) -> None:
    """Send the run's steps as they come, and the rest with the results once it `is_over`."""
    row = find_tracker(name, "--track")
    with lock_of(folder, name, LOCK_SECONDS):
        sending = Sending(folder, name, row, is_followed=True)
        while not is_over.wait(POLL_SECONDS):
            sending.catch_up()
        sending.catch_up()
        sending.conclude()


def _wait_for_the_end(is_over: threading.Event) -> None:
    sys.stdin.read()
    is_over.set()


def _step_back() -> None:
    """Let the run have the processor, and memory, first."""
    go_first()
    if hasattr(os, "nice"):
        os.nice(LEAST_PRIORITY)


if __name__ == "__main__":
    main()
