"""Several processes on this machine that run one command together, started, watched and ended by the one that a person started.

1. `launch` starts `python -m laconic` with the arguments of this process, once for each rank, each with its share of the threads.
   Every rank leads a process group of its own, so that what it starts ends with it.
2. Signals that ask this process to end are passed on to every rank, once. Ctrl-Z stops all of them, and `fg` goes on.
3. A rank that a signal killed can say nothing, so it is said here, and the others are ended at once. One that ends with an error
   has said so itself; the others get a few seconds to end by themselves. One that somebody has stopped is given up after a while:
   the others notice it too (`heartbeats.py`), but only once they have met it.
4. If this process is killed, the ranks notice and end (`heartbeats.py`).

Nothing here needs torch. torchrun does the same on several machines.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

from laconic.errors import RunFailed
from laconic.parallel.place import LAUNCHER, host_name
from laconic.system.child_processes import ending_words
from laconic.system.confinement import kill_group
from laconic.system.termination import HEEDED
from laconic.system.text import in_two_lines
from laconic.system.threads import available_cores

ADDRESS = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below those that systems give to connections, so that no connection takes it before the first rank does."""
GLANCE_SECONDS = 0.1
FOLLOWING_SECONDS = 5.0
"""How long the other ranks may take to end, once one has ended with an error."""
STOPPED_GLANCES = 400
"""At how many glances in a row a rank may be stopped. The others, where they have met it, say so before."""


def launch(num_processes: int, how_to_go_on: Callable[[], str], arguments: Sequence[str] | None = None) -> int:
    """Run this command in so many processes; returns the exit code of all: 0, or that of the rank that failed first.

    `how_to_go_on` says how to go on once they have ended. `arguments` are those of Python, if not this command's own.
    """
    command = [sys.executable, *(("-m", "laconic", *sys.argv[1:]) if arguments is None else arguments)]
    ranks = Ranks(how_to_go_on)
    with ranks.passing_signals_on():
        try:
            ranks.start(command, num_processes)
            return ranks.wait()
        finally:
            ranks.kill()


@dataclass(slots=True)
class _Rank:
    """A process, until it has ended and what it had started is ended too."""

    number: int
    process: "subprocess.Popen[bytes]"
    is_over: bool = False
    num_stopped: int = 0  # glances in a row at which it was stopped

    def is_stuck(self) -> bool:
        """Whether somebody has stopped the process (SIGSTOP) and let it lie; to be asked once a glance."""
        is_stopped = not self.is_over and _is_stopped(self.process.pid)
        self.num_stopped = self.num_stopped + 1 if is_stopped else 0
        return self.num_stopped >= STOPPED_GLANCES

    def look(self) -> int | None:
        """The exit code, None while the process runs."""
        code = self.process.poll()
        if code is not None and not self.is_over:
            self.is_over = True
            kill_group(self.process.pid)
        return code

    def kill(self) -> None:
        """Kill the process with all that it started, and wait for it."""
        if not self.is_over:
            kill_group(self.process.pid)
            self.process.wait()
            self.is_over = True

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process with all that it started; a signal that asks to end, to the process alone."""
        if not self.is_over:
            with contextlib.suppress(ProcessLookupError):
                (os.kill if number in HEEDED else os.killpg)(self.process.pid, number)


class Ranks:
    """The processes of one command."""

    def __init__(self, how_to_go_on: Callable[[], str]) -> None:
        self.how_to_go_on = how_to_go_on
        self.all: list[_Rank] = []
        self.passed_on: set[int] = set()

    def start(self, command: Sequence[str], num_processes: int) -> None:
        """Start a process for each rank. Raises `RunFailed` where the system has no room for another."""
        port = free_port()
        for rank in range(num_processes):
            variables = os.environ | shared_out(num_processes) | place_variables(rank, num_processes, port)
            try:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=variables, start_new_session=True)
            except OSError as error:
                raise RunFailed(f"process {rank} of {num_processes} could not be started: {error.strerror}") from None
            self.all.append(_Rank(rank, process))

    def wait(self) -> int:
        """Wait until every rank has ended."""
        deadline, code = None, 0
        while None in [rank.look() for rank in self.all]:
            code = code or self._first_failure() or self._first_stuck()
            if code and deadline is None:
                deadline = time.monotonic() + FOLLOWING_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                self.kill()
            time.sleep(GLANCE_SECONDS)
        return code or self._first_failure()

    def _first_failure(self) -> int:
        """The exit code of a rank that failed, 0 if none has. Where a signal killed it, the others are killed and it is said."""
        failed = [(rank, rank.process.returncode) for rank in self.all if rank.process.returncode]
        for rank, code in failed:
            if code < 0:
                self.kill()
                return self._say_killed(rank, -code)
        return failed[0][1] if failed else 0

    def _say_killed(self, rank: _Rank, number: int) -> int:
        """Say that a signal killed the rank; returns the exit code of this process."""
        if number in self.passed_on:
            return self._say(HEEDED[signal.Signals(number)], 128 + number)
        return self._say(f"{self._place(rank)}: was ended by {ending_words(-number)}; all others end", 1)

    def _first_stuck(self) -> int:
        """1 if a rank is stopped and was given up, with all others, which is said; else 0."""
        stuck = [rank for rank in self.all if rank.is_stuck()]
        if not stuck:
            return 0
        self.kill()
        seconds = STOPPED_GLANCES * GLANCE_SECONDS
        text = f"is gone or hangs: no sign of life for {seconds:.0f} seconds, since it is stopped; all others end"
        return self._say(f"{self._place(stuck[0])}: {text}", 1)

    def _place(self, rank: _Rank) -> str:
        return f"rank {rank.number} of {len(self.all)} (process {rank.process.pid} on {host_name()})"

    def _say(self, what: str, code: int) -> int:
        """Say why all ended, and how to go on; returns the exit code."""
        print(in_two_lines(f"laconic: {what}; {self.how_to_go_on()}"), file=sys.stderr)
        return code

    def kill(self) -> None:
        """Kill every rank."""
        for rank in self.all:
            rank.kill()

    # --- signals -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def passing_signals_on(self) -> Iterator[None]:
        """Inside, signals that ask this process to end or to stop go to the ranks."""
        handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], None]] = {
            **dict.fromkeys(HEEDED, self._pass_on),
            signal.SIGTSTP: self._stop_all,
        }
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, handler)
        try:
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.passed_on.add(number)
        self._send(signal.Signals(number))

    def _stop_all(self, number: int, frame: FrameType | None) -> None:
        """Stop the ranks and this process, until it is told to go on."""
        self._send(signal.SIGSTOP)
        signal.raise_signal(signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        for rank in self.all:
            rank.send(number)


def _is_stopped(pid: int) -> bool:
    """Whether a child is stopped. On systems that do not say (macOS), False."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def place_variables(rank: int, size: int, port: int) -> dict[str, str]:
    """The variables that tell a process its place (`place.py`)."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    named = {name: str(number) for name, number in numbers.items()}
    return named | {"MASTER_ADDR": ADDRESS, LAUNCHER: str(os.getpid())}


def shared_out(num_processes: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables by which processes share the machine: an equal number of threads for each, unless a person has set it, and
    connections that do not leave it."""
    threads = str(max(1, available_cores() // num_processes))
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return {name: value for name, value in {"OMP_NUM_THREADS": threads, **loopback}.items() if name not in environment}


def free_port() -> int:
    """A port of this machine on which nothing listens. Raises `RunFailed` where there is none."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind((ADDRESS, port))
            return port
    raise RunFailed(f"no port between {PORTS[0]} and {PORTS[-1]} of this machine is free for the processes to meet")
