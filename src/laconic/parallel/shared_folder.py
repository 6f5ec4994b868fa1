"""Whether the processes of several machines see one folder: a note that rank 0 leaves there, all others must find."""

import contextlib
import time
import uuid
from pathlib import Path

from laconic.errors import InputError
from laconic.parallel.place import host_name
from laconic.parallel.team import Team

SHOWN_SECONDS = 60.0
"""How long a file may take to be seen on another machine: network disks remember what they did not find."""


def check_shared(team: Team, folder: Path) -> None:
    """Raises `InputError`, on every process, where one does not see in `folder` what rank 0 writes there."""
    is_new = team.by_first(lambda: not folder.exists())
    note = team.by_first(lambda: _left_note(folder))
    seen = team.share_out(range(team.size), lambda own: [(host_name(), _appears(note)) for _ in own])
    team.by_first(lambda: _removed(note, is_new))
    for rank, (host, is_seen) in enumerate(seen):
        if not is_seen:
            raise InputError(
                f"{folder}: rank {rank} (on {host}) does not see what rank 0 (on {seen[0][0]}) writes there; expected a folder "
                "that all machines share"
            )


def _appears(file: Path) -> bool:
    """Whether the file is there, or comes within the time that it may take."""
    deadline = time.monotonic() + SHOWN_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _left_note(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f".{uuid.uuid4().hex}.partial"
    note.touch()
    return note


def _removed(note: Path, is_new: bool) -> None:
    note.unlink()
    if is_new:
        with contextlib.suppress(OSError):
            note.parent.rmdir()
