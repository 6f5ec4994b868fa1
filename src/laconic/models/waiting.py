"""How torch's threads wait for one another on a CPU: on idle cores they spin, on busy ones they sleep.

Threads that share an operation wait for one another after each one. On idle cores they do best to spin while they wait. Where
other work keeps a core busy, spinning threads wait for one that is not running, and everything slows down several times over
(docs/speed.md): then they had better sleep. `look_at_load` decides, again and again while a program works, because other work
comes and goes. What others did while this process waited (for a grader, or for its next call) says nothing of its own time.

Both ways of waiting compute the same numbers. GCC's OpenMP, which torch uses on Linux, has no switch between them. But it lets
threads sleep, after a short spin, while more of them exist than there are cores (GOMP_SPINCOUNT in its manual). So they are sent
to sleep by a second team of threads that does nothing, and they spin again when that team is disbanded.

On systems without /proc/stat threads spin, and where OMP_WAIT_POLICY or GOMP_SPINCOUNT is set, that holds.
"""

import os
import threading
import time

import torch

from laconic.system.threads import Ticks, allowed_cores, read_ticks

SECONDS_BETWEEN_LOOKS = 0.5  # less would count too few of the system's ticks, of 10 ms each
SECONDS_BEFORE_FIRST_LOOK = 0.2  # at the start and after a pause: 20 ticks of each core are enough to begin with
BUSY_CORES = 0.5  # with this much other work more than there are cores to spare, threads sleep
IDLE_CORES = 0.2  # with this much or less they spin again
PAUSE_SECONDS = 0.2  # between two calls; shorter ones count as work, and cost little where they were none
PAUSE_SHARE = 0.25  # of a core that this process used meanwhile; two threads get more even beside a dozen others
SHARED_ELEMENTS = 1 << 20  # an operation on so many numbers is shared by all threads


class Waiting:
    """How torch's threads wait for one another: `look` sends them to sleep where other work needs their cores, and wakes them."""

    def __init__(self) -> None:
        self.is_settled = "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ
        self.team: _IdleTeam | None = None  # there while threads sleep
        self.ticks: Ticks | None = None
        self.next_look = 0.0
        self.last_call = (0.0, 0.0)  # time of day, and this process's processor time
        self.looking = threading.Lock()

    def look(self, num_threads: int) -> None:
        """Look at the load since the last look, and let `num_threads` threads that compute spin or sleep accordingly.

        To be called often, while no child of this process computes. A call too soon after the last look does nothing, and one
        after a pause begins anew.
        """
        if self.is_settled or num_threads < 2:
            return
        if self.looking.acquire(blocking=False):
            try:
                if self._was_pause():
                    self.ticks, self.next_look = None, 0.0
                if time.monotonic() >= self.next_look:
                    self._decide(num_threads)
            finally:
                self.looking.release()

    def _was_pause(self) -> bool:
        """Whether this process did next to nothing since the last call."""
        (then, used_then), self.last_call = self.last_call, (time.monotonic(), time.process_time())
        clock, used = self.last_call
        return clock - then > PAUSE_SECONDS and used - used_then < PAUSE_SHARE * (clock - then)

    def _decide(self, num_threads: int) -> None:
        before, self.ticks = self.ticks, read_ticks()
        self.next_look = time.monotonic() + (SECONDS_BEFORE_FIRST_LOOK if before is None else SECONDS_BETWEEN_LOOKS)
        if before is None or self.ticks is None:
            return
        needed = self.ticks.others_since(before) - (len(allowed_cores()) - num_threads)
        if self.team is None and needed >= BUSY_CORES:
            self.team = _IdleTeam()
        elif self.team is not None and needed <= IDLE_CORES:
            self.team.disband()
            self.team = None


class _IdleTeam:
    """Threads that do nothing but exist, so that there are more threads than cores."""

    def __init__(self) -> None:
        self.is_there, self.may_go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._stay, name="laconic-idle-team", daemon=True)
        self.thread.start()
        self.is_there.wait()

    def _stay(self) -> None:
        torch.zeros(SHARED_ELEMENTS).add_(1.0)  # the first shared operation of a thread makes a team for it
        self.is_there.set()
        self.may_go.wait()

    def disband(self) -> None:
        """End the thread and with it its team."""
        self.may_go.set()
        self.thread.join()


_waiting = Waiting()


def look_at_load() -> None:
    """Let torch's threads spin or sleep while they wait, as the load of the machine has it now. To be called in loops."""
    _waiting.look(torch.get_num_threads())
