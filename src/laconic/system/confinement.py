"""The life of a child process that runs other people's code: what it may reach and use, and how it answers.

1. `Serving.serve` leaves the parent's terminal, files and signals, and bounds the memory.
2. It prepares the code, answers question after question, and ends at once when the parent closes the connection, when the code
   outlasts the limit by a second (the parent, which would have killed it, was killed itself), or when an answer cannot be sent.
3. A message is its length in eight bytes and then its bytes: questions are pickled, replies are JSON, since a pickle could run
   code in the parent.
4. An exception becomes one line of plain characters (`words_of`), whatever its own text does.

The parent's side is `foreign_code.py`.
"""

import contextlib
import gc
import io
import json
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from laconic.system.child_processes import go_first
from laconic.system.text import printable

MAX_PRINTED_CHARS = 2_000
MAX_REPLY_BYTES = 256 << 20
MAX_WORDS_CHARS = 300

Answer = Callable[[Any], Any]
"""Answers a question, which pickle can hold, with something that JSON can hold."""


# --- messages --------------------------------------------------------------------------------------------------------


def send(connection: socket.socket, message: bytes) -> None:
    """Send a message within the connection's own time limit."""
    connection.sendall(len(message).to_bytes(8, "big") + message)


def receive(connection: socket.socket, deadline: float | None) -> bytes:
    """The next message. Raises `TimeoutError` at the deadline, `EOFError` where the other side is gone, and `ValueError` where it
    cannot be one."""
    size = int.from_bytes(_read(connection, 8, deadline), "big")
    if size > MAX_REPLY_BYTES and deadline is not None:
        raise ValueError(f"a message of {size} bytes")
    return _read(connection, size, deadline)


def _read(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    pieces, missing = [], size
    while missing:
        if deadline is not None:
            connection.settimeout(max(1e-3, deadline - time.monotonic()))
        piece = connection.recv(min(missing, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


# --- in the child ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Serving:
    """What the child does: prepare, answer until the parent closes the connection, and end."""

    prepare: Callable[[], tuple[Answer, Any]]
    seconds: float
    max_bytes: int
    file: Path | None

    def serve(self, connection: socket.socket) -> NoReturn:
        """The life of the child. It ends at once: cleaning up might wait for a lock that a thread of the parent held."""
        try:
            printed, child = _settle(connection), os.getpid()
            _limit(self.max_bytes)
            answer: Answer | None = None
            while True:
                question = None if answer is None else pickle.loads(receive(connection, None))
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, self.seconds + 1.0)  # where the parent was killed meanwhile
                answer, reply = self._reply(answer, question)
                message = json.dumps(reply | {"printed": printed.taken()}).encode()
                if os.getpid() != child:  # the code has forked, and one answer is enough
                    break
                send(connection, message)
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                if answer is None:
                    break
        except EOFError:  # the parent is done, or gone
            kill_group(0)
        except BaseException:
            pass
        finally:
            os._exit(1)

    def _reply(self, answer: Answer | None, question: Any) -> tuple[Answer | None, dict[str, Any]]:
        """The function that answers, None where it could not be prepared, and what is sent back."""
        try:
            if answer is not None:
                return answer, {"answer": answer(question)}
            answer, facts = self.prepare()
        except BaseException as error:
            return answer, {"error": (words_of(error, self.max_bytes), line_of(error, self.file))}
        return answer, {"answer": facts}


def _settle(connection: socket.socket) -> "_Printed":
    """Leave the parent's terminal, files and signals, and catch what is printed."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in {0, 1, 2, *(int(path.name) for path in Path("/proc/self/fd").iterdir())} - {
        nothing,
        connection.fileno(),
    }:
        os.dup2(
            nothing, file
        )  # closed, the number would be given out again, and closed once more by an object of the parent
    printed = _Printed()
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), printed, printed
    gc.freeze()  # pages with what the parent holds stay shared
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    return printed


def _limit(max_bytes: int) -> None:
    """At most `max_bytes` more than the process has now, and no dump of its memory."""
    import resource  # Unix alone has it

    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    limit = max_bytes + next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    go_first()


class _Printed(io.StringIO):
    """What the code prints, up to a number of characters in all."""

    def __init__(self) -> None:
        super().__init__()
        self._left = MAX_PRINTED_CHARS

    def write(self, text: str) -> int:
        """Keep what still has room."""
        if self._left > 0:
            super().write(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                super().write("\n[what it prints beyond this is left out]\n")
        return len(text)

    def close(self) -> None:
        """The code may close its output; what it printed is still shown."""

    def taken(self) -> str:
        """What was printed since the last call."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def kill_group(pid: int) -> None:
    """Kill a process with all that it started; 0 is this one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


# --- words -----------------------------------------------------------------------------------------------------------


def words_of(error: BaseException, max_bytes: int | None = None) -> str:
    """An exception as one line of plain characters; its own text may raise, too. `max_bytes` is the limit of the memory."""
    try:
        if isinstance(error, SystemExit):
            return plainly(f"sys.exit({'' if error.code is None else repr(error.code)})")
        text = plainly(str(error))
    except BaseException:
        text = ""
    name = plainly(type(error).__name__)
    if isinstance(error, MemoryError) and max_bytes is not None:
        text = f"it may take {max_bytes >> 20:,} MiB"
    return f"{name}: {text}" if text else name


def plainly(text: str) -> str:
    """Text of unknown origin as one line of at most `MAX_WORDS_CHARS` printable characters.

    >>> plainly("no\\nluck \\x1b[31m")
    'no luck \\\\x1b[31m'
    """
    line = " ".join(text[: 4 * MAX_WORDS_CHARS].split())[:MAX_WORDS_CHARS]
    return printable(line)


def line_of(error: BaseException, file: Path | None) -> int | None:
    """The last line of `file` that the exception passed through."""
    steps = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in steps if file is not None and frame.f_code.co_filename == str(file)]
    return lines[-1] if lines else None
