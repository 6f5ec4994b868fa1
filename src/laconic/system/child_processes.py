"""Child processes that answer questions within a hard time limit: a line of JSON goes in, a line of text comes out.

1. `Children(serve, workers, timeout_seconds)` keeps up to `workers` children, each started when it is first needed.
   `serve` names the function that a child runs, as `module:function`; it calls `answer_lines` with the function that decides.
2. A child that exceeds the limit is killed, and the outcome of its question is `timeout`. Where a child has died, its question is
   asked once more, of a new child, and the outcome is `crash` where that dies too. A new child gets the next question.
3. A child that dies while it starts is started again; only where it never starts, or question after question ends it, does the
   work fail, with how the last one ended.
4. A child also ends itself: when its input closes, when one question outlasts the limit, or when it exceeds its memory.

Children are plain subprocesses. Signals are not used (they work in the main thread only), nor is `fork` (threads and GPUs do
not survive it), and the caller's main module is not imported again (it may load torch). The questions mean nothing here.
"""

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from laconic.errors import RunFailed

START_SECONDS, PATIENCE_SECONDS = 120.0, 0.2
MAX_SECONDS = 1e6
"""A longer limit is none; timers take no number of any size."""
START_TRIES, START_PAUSE_SECONDS = 3, 0.5
QUESTION_TRIES = 2
MAX_LOST_IN_A_ROW = 20
"""So many questions that all ended their child mean that the children cannot work here, and not that the questions are hard."""
MAX_CHILD_BYTES = 4 << 30
TIMEOUT = "timeout"
CRASH = "crash"


class Children:
    """Answers at most `workers` questions at once, each within `timeout_seconds`. Usable from any thread.

    Raises `RunFailed` where a child cannot start at all, or many questions in a row have ended theirs.
    """

    def __init__(self, serve: str, workers: int, timeout_seconds: float) -> None:
        if workers < 1 or timeout_seconds <= 0:
            raise ValueError(f"Children: workers {workers} and timeout_seconds {timeout_seconds} must be positive")
        self._workers = workers
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        self._all = [_Child(serve, min(timeout_seconds, MAX_SECONDS)) for _ in range(workers)]
        for child in self._all:
            self._idle.put(child)
        self._finalizer = weakref.finalize(self, _stop_all, self._all)

    def ask(self, questions: Sequence[Any]) -> list[str]:
        """The outcome of each question (anything that JSON can hold), in order: the child's line, `timeout` or `crash`."""
        if min(self._workers, len(questions)) < 2:
            return [self._ask_one(question) for question in questions]
        with ThreadPoolExecutor(min(self._workers, len(questions))) as threads:
            return list(threads.map(self._ask_one, questions))

    def _ask_one(self, question: Any) -> str:
        child = self._idle.get()
        try:
            return child.ask(question)
        finally:
            self._idle.put(child)

    @property
    def num_deaths(self) -> int:
        """How many children have died by themselves, while they started or over a question."""
        return sum(child.num_deaths for child in self._all)

    def close(self) -> None:
        """End every child and wait for it; a later `ask` starts new ones."""
        _stop_all(self._all)


class _Child:
    """One subprocess. It is started for the first question, and again after it was killed or has died."""

    def __init__(self, serve: str, timeout_seconds: float) -> None:
        self._serve = serve
        self._timeout_seconds = timeout_seconds
        self._process: subprocess.Popen[str] | None = None
        self._lost_in_a_row = 0
        self._last_end = ""
        self.num_deaths = 0

    def ask(self, question: Any) -> str:
        """The child's line; `timeout` where it was killed at the limit, `crash` where it died, and the next one too."""
        for _ in range(QUESTION_TRIES):
            outcome = self._ask_once(question)
            if outcome is not None:
                self._lost_in_a_row = 0
                return outcome
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= MAX_LOST_IN_A_ROW:
            raise RunFailed(
                f"{self._serve}: {self._lost_in_a_row} questions in a row have ended their child process, the last with "
                f"{self._last_end}"
            )
        return CRASH

    def _ask_once(self, question: Any) -> str | None:
        """The outcome, or None where the child has died."""
        process = self._process if self._process and self._process.poll() is None else self._start()
        reply, is_late = None, False
        try:
            reply, is_late = _exchange(process, json.dumps(question), self._timeout_seconds)
        finally:
            if reply is None or is_late:  # an interrupted child would answer the next question with this one's outcome
                self._last_end = self.stop(0.0 if is_late else PATIENCE_SECONDS)
        if reply is None and not is_late:
            self.num_deaths += 1
        return reply or (TIMEOUT if is_late else None)

    def _start(self) -> "subprocess.Popen[str]":
        for attempt in range(START_TRIES):
            self.stop()
            time.sleep(attempt * START_PAUSE_SECONDS)
            try:
                self._process = self._open()
            except OSError as error:  # no process, memory or file is left for it
                self._last_end = error.strerror or str(error)
                continue
            reply, is_late = _exchange(self._process, json.dumps(None), START_SECONDS)
            if reply == "ready" and not is_late:
                return self._process
            self._last_end = self.stop(PATIENCE_SECONDS)
            self.num_deaths += 1
            if is_late:
                self._last_end = f"no answer within {START_SECONDS:g} seconds"
                break
        raise RunFailed(
            f"{self._serve}: the child process does not start (is math-verify installed?); the last try ended with "
            f"{self._last_end}"
        )

    def _open(self) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        module, _, function = self._serve.partition(":")
        code = f"from {module} import {function}; {function}()"
        return subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(self._timeout_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )

    def stop(self, patience_seconds: float = 0.0) -> str:
        """Kill the process if there is one, and wait for it, so that nothing is left behind. Returns words for how it ended.

        One whose output has closed ends by itself; given `patience_seconds` for it, the words say how.
        """
        process, self._process = self._process, None
        if process is None:
            return "no process"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return ending_words(code)


def _exchange(process: "subprocess.Popen[str]", line: str, limit_seconds: float) -> tuple[str | None, bool]:
    """Write one line and read one. Returns (the line, or None where the process died; whether it was killed at the limit)."""
    assert process.stdin is not None and process.stdout is not None, "the process was started with pipes"
    is_late = threading.Event()
    timer = threading.Timer(limit_seconds, _kill, (process, is_late))
    timer.daemon = True
    timer.start()
    reply = ""
    try:
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
    finally:
        timer.cancel()
        timer.join()
    return (reply.strip() if reply.endswith("\n") else None), is_late.is_set()


def _kill(process: "subprocess.Popen[str]", is_late: threading.Event) -> None:
    is_late.set()
    process.kill()


def ending_words(code: int) -> str:
    """How a process ended, from its exit code as `subprocess` gives it.

    >>> ending_words(3), ending_words(-11)
    ('exit code 3', 'SIGSEGV')
    """
    if code >= 0:
        return f"exit code {code}"
    return f"{signal.Signals(-code).name}{', as where memory runs out' if -code == signal.SIGKILL else ''}"


def _stop_all(children: Sequence[_Child]) -> None:
    for child in children:
        child.stop()


# --- in the child ----------------------------------------------------------------------------------------------------


def answer_lines(decide: Callable[..., str], warm_up: Sequence[Any]) -> None:
    """The child's loop: it answers the line `null` with `ready` once `decide(*warm_up)` has run, a list with `decide(*list)`."""
    import faulthandler

    limit_seconds = float(sys.argv[1])
    _limit_memory()
    logging.disable(logging.CRITICAL)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        for line in sys.stdin:
            question = json.loads(line)
            limit = START_SECONDS if question is None else limit_seconds
            faulthandler.dump_traceback_later(limit + 1.0, exit=True, file=nowhere)
            try:
                outcome = decide(*(warm_up if question is None else question))
            except Exception:
                if question is None:
                    raise
                outcome = CRASH  # another child would come to the same
            faulthandler.cancel_dump_traceback_later()
            print("ready" if question is None else outcome, flush=True)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a Unix system
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_CHILD_BYTES, MAX_CHILD_BYTES))
    go_first()


def go_first() -> None:
    """Where the machine's memory ends, this process is killed before its parent is."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
