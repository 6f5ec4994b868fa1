"""Other people's code, such as a reward in a file or a chat template, in a child process that cannot take this one with it.

1. `ForeignCode(prepare, seconds)` forks a child. There `prepare()` runs the code up to where it can answer, and returns the
   function that answers, with facts about it. The facts come back as `ForeignCode.facts`.
2. `ask(question)` sends the child a question and returns its answer. The child lives on, so what the code remembers stays.
3. Whatever else happens is a `ForeignCodeError` of one line: an exception, `sys.exit`, `os._exit`, a crash in C, no answer within
   `seconds`, or more memory than `max_bytes` beyond what this process had. A child without an answer is killed, with all
   processes that it started.
4. What the code prints is shown here, printable, up to `MAX_PRINTED_CHARS` in all. It reads an empty input, and has no file or
   socket of ours.

Why a child: a thread cannot be stopped, an alarm reaches only the main thread and no loop in C, and nothing inside a process
survives `os._exit` or the end of its memory. Why a fork and no new interpreter: closures and objects in memory can be called,
nothing is loaded again, and it takes milliseconds. The child computes with one thread, because torch's threads do not survive a
fork. An answer costs one round trip of about 0.1 ms.

What is left out: protection from code that wants to do harm; it may still write files and use the network. Where there is no such
fork (outside Linux) the code runs in this process: exceptions and `sys.exit` are recognised, and nothing is limited.
"""

import contextlib
import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from laconic.errors import RunFailed
from laconic.system.child_processes import MAX_SECONDS, ending_words
from laconic.system.confinement import Answer, Serving, kill_group, line_of, receive, send, words_of
from laconic.system.text import printable

CAN_FORK = sys.platform == "linux"


class ForeignCodeError(Exception):
    """What other people's code did instead of answering, as words such as "ValueError: no luck" or "no end within 20 seconds".

    `line` is the last line of the code's `file` that was reached, where an exception says so. `is_late` is true at the limit, and
    `has_ended` where the process was gone, which may not be the code's own doing.
    """

    def __init__(self, what: str, line: int | None = None, *, is_late: bool = False, has_ended: bool = False) -> None:
        super().__init__(what)
        self.line, self.is_late, self.has_ended = line, is_late, has_ended


class ForeignCode:
    """Code that answers questions in a child of its own, from any thread: the preparation and each answer within `seconds`,
    or the preparation within `start_seconds`.

    The code may take `max_bytes` more memory than this process has. `file` is the code's file, for the lines of errors. Raises
    `ForeignCodeError` where the code cannot be prepared, and `RunFailed` where no child can be started. After an answer that did
    not come, every later question raises the same error.
    """

    def __init__(
        self,
        prepare: Callable[[], tuple[Answer, Any]],
        seconds: float,
        max_bytes: int,
        file: Path | None = None,
        *,
        start_seconds: float | None = None,
    ) -> None:
        self._seconds, self._file = min(seconds, MAX_SECONDS), file
        start = self._seconds if start_seconds is None else min(start_seconds, MAX_SECONDS)
        self._lock = threading.Lock()
        self._here: Answer | None = None
        self._child: _Child | None = None
        if CAN_FORK:
            self._child = _Child(Serving(prepare, max(start, self._seconds), max_bytes, file))
            self.facts = self._child.begin(start)
        else:
            self._here, self.facts = _attempt(prepare, file)

    def ask(self, question: Any) -> Any:
        """The code's answer, as JSON holds it. Raises `ForeignCodeError`."""
        with self._lock:
            if self._child is not None:
                return self._child.exchange(pickle.dumps(question), self._seconds)
            assert self._here is not None, "without a child the code is here"
            answer = self._here
            return _attempt(lambda: answer(question), self._file)

    def close(self) -> None:
        """End the child. It also ends with this object."""
        if self._child is not None:
            self._child.end()


def _attempt(call: Callable[[], Any], file: Path | None) -> Any:
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ForeignCodeError(words_of(error), line_of(error, file)) from error


class _Child:
    """The forked process, and the socket to it. It ends with this object, or when its socket closes."""

    def __init__(self, serving: Serving) -> None:
        self._end: ForeignCodeError | None = None
        try:
            with quiet_fork():
                self._socket, theirs = socket.socketpair()
                self._pid = os.fork()
                if self._pid == 0:
                    serving.serve(theirs)
                theirs.close()
        except OSError as error:
            raise RunFailed(f"no child process can be started: {error.strerror}") from None
        self._finalizer = weakref.finalize(self, _stop, self._pid, self._socket, os.getpid())

    def begin(self, seconds: float) -> Any:
        """The facts of the preparation. Where they do not come, the child is ended."""
        try:
            return self.exchange(None, seconds)
        except BaseException:
            self.end()
            raise

    def exchange(self, question: bytes | None, seconds: float) -> Any:
        """Send the question, unless it is None, and return the answer to it. Raises `ForeignCodeError`."""
        if self._end is not None:
            raise self._end
        deadline = time.monotonic() + seconds
        try:
            if question is not None:
                self._socket.settimeout(max(1e-3, seconds))
                send(self._socket, question)
            reply = json.loads(receive(self._socket, deadline))
        except TimeoutError:
            self._end = ForeignCodeError(f"no end within {seconds:g} seconds", is_late=True)
        except (OSError, EOFError, ValueError):
            self._end = ForeignCodeError(f"the end of its process ({self._stopped()})", has_ended=True)
        except BaseException:  # interrupted: the answer to this question must not become that to the next
            self.end()
            raise
        if self._end is not None:
            self.end()
            raise self._end
        if reply["printed"]:
            print(printable(reply["printed"]), end="", file=sys.stderr, flush=True)
        if "error" in reply:
            raise ForeignCodeError(*reply["error"])
        return reply["answer"]

    def end(self) -> None:
        """Kill the child, with all that it started."""
        self._finalizer()

    def _stopped(self) -> str:
        """How the process ended: "exit code 3" or the name of a signal. One that still runs is killed."""
        for _ in range(20):  # its socket closes a moment before it has ended
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self._pid, os.WNOHANG)
                if pid:
                    self._finalizer.detach()
                    kill_group(self._pid)
                    self._socket.close()
                    return ending_words(os.waitstatus_to_exitcode(status))
            time.sleep(0.01)
        return "its connection is closed"


def _stop(pid: int, connection: socket.socket, parent: int) -> None:
    """End the child with all that it started, and wait for it; a fork of this process leaves it alone."""
    if os.getpid() != parent:
        return
    connection.close()
    kill_group(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


@contextlib.contextmanager
def quiet_fork() -> Iterator[None]:
    """Fork without a warning about threads: those of torch and tokenizers are idle, and the child starts none.

    One thread at a time is inside: what is changed for a moment, the environment and the filters of warnings, belongs to all
    threads, and a child that was forked meanwhile would hold the end of another's connection that only that one may hold.
    """
    name = "TOKENIZERS_PARALLELISM"
    with _FORKING:
        before = os.environ.get(name)
        os.environ[name] = "false"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                yield
        finally:
            os.environ.pop(name, None)
            if before is not None:
                os.environ[name] = before


_FORKING = threading.RLock()
"""Who forks. A child begins inside the `with` of the thread that forked it, which is its only one, so it may fork too."""
