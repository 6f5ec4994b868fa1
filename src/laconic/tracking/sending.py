"""Sends a tracker what it lacks of a run.

1. `catch_up` reads metrics.jsonl, which is the truth about a run, and sends every step after the last one that was sent. So a
   step is sent once, however often a kill makes the run train it again. `conclude` does so with the results.
2. A tracker that is written anew is opened afresh where steps that it has were trained again with another result.
3. tracking.json says how far the tracker is: after each step, or for one that is written anew after each round.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from laconic.errors import LaconicError, RunError, RunFailed
from laconic.system.files import read_json, sound_lines
from laconic.system.locks import LOCK_FILE, FolderLock
from laconic.tracking.content import Numbers, numbers_of_step, results_of, settings_by_key
from laconic.tracking.tracked_runs import TrackedRun, change_tracked_runs, read_tracked_runs, without_passwords
from laconic.tracking.tracker import RunToTrack, Tracker
from laconic.tracking.trackers import TrackerRow, find_tracker

LoggedStep = Mapping[str, Any]
LOCK_POLL_SECONDS = 0.5


def send_run(folder: Path, name: str, *, is_anew: bool = False) -> TrackedRun:
    """Send the run in the folder to the tracker of that name, as far as it has come; with `is_anew` as a new run of the tracker.

    Raises an `InputError` if there is no run, the tracker is unknown or its package is missing, and `RunFailed` if it fails.
    """
    row = find_tracker(name, "--to")
    if not (folder / "config.json").exists():
        raise RunError(f"{folder}: no run here (no config.json)")
    try:
        with lock_of(folder, name):
            sending = Sending(folder, name, row, is_followed=False, is_anew=is_anew)
            sending.catch_up()
            sending.conclude()
    except LaconicError:
        raise
    except Exception as error:  # a tracker may raise anything
        raise RunFailed(f"{folder}: {name} did not take the run ({tracker_words(error)})") from error
    return sending.tracked


def tracker_words(error: BaseException) -> str:
    """What a tracker raised, without the passwords of its address."""
    return without_passwords(f"{type(error).__name__}: {error}")


class Sending:
    """One run on its way to one tracker. With `is_anew` the tracker gets a new run with every step."""

    def __init__(self, folder: Path, name: str, row: TrackerRow, *, is_followed: bool, is_anew: bool = False) -> None:
        self.folder, self.name, self.row = folder, name, row
        before = None if is_anew else read_tracked_runs(folder).get(name)
        self._sent: dict[int, LoggedStep] = {}
        self._read: tuple[int, ...] | None = None
        self._run = RunToTrack(
            folder, settings_by_key(read_json(folder / "config.json")), before.run_id if before else None
        )
        self._tracker = self._open()
        self.step, self._results = 0, Numbers()
        if before is not None and not row.is_rewritten:
            self.step, self._results = before.step, dict(before.results)
        self._is_followed = is_followed or (before is not None and before.is_followed)
        if is_followed:
            self._take_over()
        self._write()

    def _open(self) -> Tracker:
        tracker = self.row.open(self._run)
        self._run = replace(self._run, run_id=tracker.run_id)
        return tracker

    @property
    def tracked(self) -> TrackedRun:
        """The run as the tracker has it now."""
        tracker = self._tracker
        link, shown_by = without_passwords(tracker.link), without_passwords(tracker.shown_by)
        return TrackedRun(tracker.run_id, self.step, link, shown_by, self._is_followed, self._results)

    def catch_up(self) -> None:
        """Send the steps that the tracker lacks."""
        state = _state_of(self.folder / "metrics.jsonl")
        if state is not None and state == self._read:
            return
        self._read = state
        steps = {row["step"]: row for row in self._logged()}
        if self.row.is_rewritten and any(steps.get(number) != row for number, row in self._sent.items()):
            self._tracker.close()
            self._sent, self.step, self._tracker = {}, 0, self._open()
        lacking = [row for number, row in sorted(steps.items()) if number > self.step]
        for row in lacking:
            self._tracker.send(row["step"], numbers_of_step(row))
            self.step = row["step"]
            if self.row.is_rewritten:
                self._sent[self.step] = row
            else:  # whatever happens to the next step, this one is not sent again
                self._write()
        if lacking and self.row.is_rewritten:
            self._write()

    def _logged(self) -> list[dict[str, Any]]:
        return sound_lines(self.folder / "metrics.jsonl", lambda row: isinstance(row.get("step"), int))[0]

    def conclude(self) -> None:
        """Send the results, as far as they have been measured and are not there yet, and close the run."""
        found = results_of(self.folder)
        if new := {key: value for key, value in found.items() if self._results.get(key) != value}:
            self._tracker.conclude(self.step, new)
        self._tracker.close()
        self._results = found
        self._write()

    def _take_over(self) -> None:
        """A run that is resumed is followed by the newest tracker alone."""
        change_tracked_runs(
            self.folder, lambda runs: {name: replace(found, is_followed=False) for name, found in runs.items()}
        )

    def _write(self) -> None:
        change_tracked_runs(self.folder, lambda runs: runs | {self.name: self.tracked})


def _state_of(file: Path) -> tuple[int, ...] | None:
    """What changes whenever the file does; None if there is none."""
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


@contextlib.contextmanager
def lock_of(folder: Path, name: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """One process at a time sends a run to a tracker. Raises `RunError` where another still does after `patience_seconds`."""
    lock, until = FolderLock(folder, f".{name}{LOCK_FILE}"), time.monotonic() + patience_seconds
    while True:
        try:
            lock.take()
            break
        except RunError:
            if time.monotonic() >= until:
                raise
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
