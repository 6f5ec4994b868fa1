"""Starts the process that follows a run, and says what became of it: one line, and never an error of the run.

1. `tracker_to_follow` says which tracker a run is for, before the run begins: the one that is asked for, or for a run that is
   resumed the one that followed it before. Of several processes of one run, only that of rank 0 has one.
2. `following` starts the process. While the run trains, nothing is asked of it. At the end its input closes, and it has
   `SENDING_SECONDS` to send the rest.
3. Where it fails, at whatever time, one line says so, and with which command the rest can be sent later.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from laconic.errors import InputError
from laconic.parallel.place import read_place
from laconic.system.child_processes import ending_words
from laconic.tracking.follower import MARK
from laconic.tracking.tracked_runs import TRACKING_FILE, followed_tracker
from laconic.tracking.trackers import find_tracker

NO_TRACKER = "none"
SENDING_SECONDS = 60.0
LINES_KEPT = 20
Say = Callable[[str], None]


def tracker_to_follow(asked: str | None, run: Path, *, resume: bool) -> str | None:
    """The tracker to which the run is sent while it trains, None if there is none; `asked` is what `--track` says.

    Raises an `InputError` for one that is unknown or whose package is missing.
    """
    place = read_place()
    if place is not None and place.rank > 0:
        return None
    if asked is None:
        return _tracker_before(run) if resume else None
    if asked != NO_TRACKER:
        find_tracker(asked, "--track")
    return None if asked == NO_TRACKER else asked


def _tracker_before(run: Path) -> str | None:
    """The tracker that followed the run in the folder before. An `InputError` says how to go on without it."""
    try:
        name = followed_tracker(run)
        if name is not None:
            find_tracker(name, f"{run / TRACKING_FILE}")
    except InputError as error:
        raise InputError(f"{error}; or go on without a tracker:  --track {NO_TRACKER}") from None
    return name


@contextlib.contextmanager
def following(run: Path, name: str | None, say: Say) -> Iterator[None]:
    """While the body runs, the run in the folder is sent to the tracker; to none, if that is None."""
    if name is None:
        yield
        return
    try:
        process = _start(run, name)
    except OSError as error:
        say(_warning(run, name, error.strerror or str(error)))
        yield
        return
    watch = threading.Thread(target=_watch, args=(process, lambda why: say(_warning(run, name, why))), daemon=True)
    watch.start()
    try:
        yield
    finally:
        _end(process, watch)


def _start(run: Path, name: str) -> "subprocess.Popen[str]":
    """The process, in a session of its own: Ctrl-C in the run's terminal ends the run, and the process then sends the rest."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "laconic.tracking.follower", str(run), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        start_new_session=True,
    )


def _watch(process: "subprocess.Popen[str]", complain: Say) -> None:
    """Read what the process prints, so that it never waits for us, and say how it ended, if that is not well."""
    assert process.stdout is not None, "the process was started with pipes"
    lines = deque((line.strip() for line in process.stdout if line.strip()), LINES_KEPT)
    code = process.wait()
    if code:
        ours = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
        complain(ours[-1] if ours else ending_words(code))


def _end(process: "subprocess.Popen[str]", watch: threading.Thread) -> None:
    """Close the input of the process, and end it if it takes too long."""
    assert process.stdin is not None, "the process was started with pipes"
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        watch.join(SENDING_SECONDS)
    finally:
        if watch.is_alive():
            _kill_all(process)
            watch.join()


def _kill_all(process: "subprocess.Popen[str]") -> None:
    """Kill the process, and those that a tracker has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _warning(run: Path, name: str, why: str) -> str:
    command = shlex.join(["laconic", "track", str(run), "--to", name])
    return f"warning: {name} no longer gets this run's steps ({why}); the run goes on. Send them later:  {command}"
