"""A folder in which one process works at a time.

1. A `FolderLock` locks the file `.lock` in the folder. The kernel gives the lock back when the process ends, however it ends, and
   processes that it forks do not hold it. A process that gives it back itself removes the file.
2. Another process is refused with one line. Nobody waits, and within one process nobody is refused.

`waiting_turn` is for those who rather wait: one process at a time is inside, and the others follow.

Where files cannot be locked (no Unix system, or a file system without locks) nobody is refused, and nobody waits.
"""

import contextlib
import errno
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from laconic.errors import RunError
from laconic.system.text import printable

LOCK_FILE = ".lock"
_IS_LOCKED = (errno.EACCES, errno.EAGAIN)


class FolderLock:
    """The lock of `folder`, or of what a file of another name in it stands for: held inside `with`, or between `take` and
    `release`. One that is not `needed`, because another process holds it for this one too, is never taken."""

    def __init__(self, folder: Path, name: str = LOCK_FILE, *, needed: bool = True) -> None:
        self.file, self.needed = folder / name, needed
        self._held: IO[str] | None = None

    def take(self) -> None:
        """Take the lock, making the folder where it is missing. Raises `RunError` where another process holds it."""
        if self._held is None and self.needed:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._held = _locked(self.file)

    def release(self) -> None:
        """Give the lock back, if it is held."""
        held, self._held = self._held, None
        if held is not None:
            self.file.unlink(missing_ok=True)
            held.close()

    def __enter__(self) -> None:
        self.take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextlib.contextmanager
def waiting_turn(file: Path) -> Iterator[None]:
    """Inside, no other process is inside with the same lock file, which is made and stays. Raises `OSError` where it cannot be
    made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as held:
        with contextlib.suppress(ImportError, OSError):  # no Unix system, or a file system without locks
            import fcntl

            fcntl.lockf(held, fcntl.LOCK_EX)
        yield


def _locked(path: Path) -> IO[str]:
    """The file, opened and locked. One that its last holder removed before we had it locks nobody out, so we try again. Errors
    name what it stands for: the folder, or the file X of `.X.lock`."""
    stands_for = path.parent if path.name == LOCK_FILE else path.with_name(path.name[1 : -len(LOCK_FILE)])
    if os.path.lexists(path) and not path.is_file():
        raise RunError(f"{path}: is not the plain file that a lock is; remove it")
    while True:
        file = path.open("a+", encoding="utf-8")
        if not _lock(file):
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            file.close()
            raise RunError(f"{stands_for}: {holder} is at work on it; wait until it is done, or end it")
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            with contextlib.suppress(OSError):  # on a full disk the lock holds, and tells nobody by whom
                file.truncate(0)
                file.write(f"{_purpose()} on {platform.node()}\n")
                file.flush()
            return file
        file.close()


def _purpose() -> str:
    """This process in words: its number, and the command where it is one of ours."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "") if "laconic" in program else ""
    return f"process {os.getpid()}" + (f" (laconic {printable(command)})" if command else "")


def _lock(file: IO[str]) -> bool:
    """Whether no other process holds the file's lock, which is ours then. A process's lock does not pass to its forks."""
    try:
        import fcntl
    except ImportError:  # not a Unix system
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _IS_LOCKED
    return True
