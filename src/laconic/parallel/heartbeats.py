"""Signs of life between the processes of a team, and the end of all where one of them has failed.

A process that waits in a collective operation for one that is gone cannot be interrupted, so each has two threads besides:

1. Every second the first says in the store, where all processes meet, that its process is alive, and asks whether another has
   failed. The process of rank 0 looks after all others, and all others look after it. One that gives no sign for `SILENT_BEATS`
   looks is gone or hangs; it needs `HASTY_BEATS` only where a connection to it broke.
2. The second ends this process, hard, where another has failed, where the store answers no more, or where the process that
   started this one is gone.

What is counted are looks and not seconds, so that a machine that slept, or a person who pressed Ctrl-Z, ends nothing.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import NoReturn

from torch.distributed import Store

from laconic.parallel.endings import INTERRUPTION, beginning_of
from laconic.parallel.place import RankPlace

BEAT_SECONDS = 1.0
SILENT_BEATS, HASTY_BEATS = 30, 5
GRACE_BEATS = 3
"""How long the main thread may take to end by itself, once it is known that a process has failed."""
SAME_SECONDS = 3.0
"""How long it is waited whether all processes end for the same reason."""
FAILURE, LINE, BROKEN = "failure", "line", "broken"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a team ends: what happened, on which rank and host, the exit code of all, and how to go on, where that is of use."""

    rank: int
    host: str
    text: str
    exit_code: int
    hint: str
    claimed_by: int

    def line(self, size: int, *, is_everyones: bool) -> str:
        """The line for a person. What happened on every rank needs no rank."""
        where = "" if is_everyones else f"rank {self.rank} of {size} (on {self.host}): "
        return f"{where}{self.text}{f'; {self.hint}' if self.hint else ''}"


class Heartbeats:
    """The signs of life of this process, and what it knows of the others. `store` is for these threads alone; `hosts` are the
    names of all processes' machines; `say` prints a line for a person, and before it what is beyond one line."""

    def __init__(
        self,
        store: Store,
        place: RankPlace,
        hosts: Sequence[str],
        hint: Callable[[], str],
        say: Callable[[str, str], None],
    ) -> None:
        self.store, self.place, self.hosts, self.hint, self.say = store, place, hosts, hint, say
        self.lock, self.is_settled = threading.Lock(), False
        self.failure: Failure | None = None
        self.watched = list(range(1, place.size)) if place.rank == 0 else [0]
        self.last: dict[int, bytes] = {}
        self.silent = dict.fromkeys(self.watched, 0)
        self.unanswered, self.beats, self.parent = 0, 0, place.parent
        self.is_over, self.is_ending = threading.Event(), False

    def start(self) -> None:
        """Start both threads."""
        for work in (self._beat, self._guard):
            threading.Thread(target=work, name=f"laconic{work.__name__}", daemon=True).start()

    def leave(self) -> None:
        """End the signs of life, since the work is done. Rank 0 waits for all others, and looks after them till then."""
        if self.place.rank == 0:
            self._waits_for([_left_by(rank) for rank in range(1, self.place.size)], inf)
        self.is_over.set()
        with contextlib.suppress(RuntimeError):
            self.store.set(_left_by(self.place.rank), "")

    # --- the first thread --------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self.is_over.wait(BEAT_SECONDS):
            try:
                self._look()
            except RuntimeError as error:  # the store is gone
                self._settle_alone(
                    f"all meet there, and nobody answers ({beginning_of(error)}); all others end", is_hanging=False
                )

    def _look(self) -> None:
        self.beats += 1
        self.store.set(beat_of(self.place.rank), str(self.beats))
        if self.store.check([FAILURE]):
            self.settle(Failure(**json.loads(self.store.get(FAILURE))))
            self.store.set(_seen_by(self.place.rank), "")
        else:
            self._look_after_others()
        self.unanswered = 0

    def _look_after_others(self) -> None:
        most = HASTY_BEATS if self.store.check([BROKEN]) else SILENT_BEATS
        for rank, beat in zip(
            self.watched, self.store.multi_get([beat_of(rank) for rank in self.watched]), strict=True
        ):
            self.silent[rank] = self.silent[rank] + 1 if beat == self.last.get(rank) else 0
            self.last[rank] = beat
            if self.silent[rank] >= most and not self.store.check([_left_by(rank)]):
                broke = " since a connection broke" if most == HASTY_BEATS else ""
                text = f"is gone or hangs: no sign of life for {most * BEAT_SECONDS:.0f} seconds{broke}; all others end"
                self.settle(Failure(rank, self.hosts[rank], text, 1, self.hint(), self.place.rank))
                return

    # --- the second thread -------------------------------------------------------------------------------------------

    def _guard(self) -> None:
        known = 0
        while not self.is_over.wait(BEAT_SECONDS):
            self.unanswered += 1
            if self.parent is not None and os.getppid() != self.parent:
                leave_at_once(1)  # nobody is there to be told
            if self.unanswered > SILENT_BEATS and self.failure is None:
                text = f"all meet there, and nobody answers for {SILENT_BEATS} seconds; all others end"
                self._settle_alone(text, is_hanging=True)
            known += self.failure is not None
            if self.failure is not None and known > (8 if self.is_ending else 1) * GRACE_BEATS:
                leave_at_once(self.failure.exit_code)

    # --- the end -----------------------------------------------------------------------------------------------------

    def settle(self, failure: Failure, details: str = "") -> Failure:
        """The failure for which the team ends: the one that was claimed first, by any process. Whoever claimed it says it, after
        its `details`, and one process on every other machine says it too."""
        with self.lock:
            if not self.is_settled:
                try:
                    self.failure = self._settle(failure, details)
                except RuntimeError:  # the store is gone, or hangs
                    self.failure = self.failure or failure
                    self.say(self.failure.line(self.place.size, is_everyones=False), details)
                self.is_settled = True
        assert self.failure is not None, "it was just settled"
        return self.failure

    def _settle(self, failure: Failure, details: str) -> Failure:
        held = Failure(**json.loads(self.store.compare_set(FAILURE, "", json.dumps(asdict(failure)))))
        if held.claimed_by == self.place.rank:
            line = held.line(self.place.size, is_everyones=self._is_everyones(failure.text))
            self.store.set(LINE, line)
            self.say(line, details)
        elif self._speaks_for_host(held) and self._waits_for([LINE], 2 * SAME_SECONDS):
            self.say(self.store.get(LINE).decode(), "")
        return held

    def _speaks_for_host(self, failure: Failure) -> bool:
        """Whether this process says what one on another machine has found."""
        return self.hosts[failure.claimed_by] != self.hosts[self.place.rank] and self.place.local_rank == 0

    def _is_everyones(self, text: str) -> bool:
        """Whether every process ends with the same text; those that have not ended yet are given a moment, but where a person
        does not want to wait."""
        if text == INTERRUPTION:
            return True
        keys = [f"end/{rank}" for rank in range(self.place.size)]
        return self._waits_for(keys, SAME_SECONDS) and {end.decode() for end in self.store.multi_get(keys)} == {text}

    def announce(self, text: str) -> None:
        """Tell the others for which reason this process ends by itself."""
        with contextlib.suppress(RuntimeError):
            self.store.set(f"end/{self.place.rank}", text)

    def await_cause(self, beats: int, *, unless: Sequence[str] = ()) -> None:
        """Wait so many beats at most until it is known which process has failed, or the store has the keys in `unless`."""
        with contextlib.suppress(RuntimeError):
            self.store.set(BROKEN, "")
            deadline = time.monotonic() + beats * BEAT_SECONDS
            while self.failure is None and time.monotonic() < deadline:
                if unless and self.store.check(list(unless)):
                    return
                time.sleep(0.1)

    def linger(self) -> None:
        """Give the others a moment to learn of the failure, before the process is gone where all meet."""
        with contextlib.suppress(RuntimeError):
            self.store.set(_seen_by(self.place.rank), "")
            if self.place.holds_store:
                self._waits_for([_seen_by(rank) for rank in range(1, self.place.size)], SAME_SECONDS)

    def _waits_for(self, keys: Sequence[str], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.store.check(list(keys)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _settle_alone(self, text: str, *, is_hanging: bool) -> None:
        """End this process without a store. A launcher says by itself that rank 0 has ended; else one process of each machine
        speaks, on that of rank 0, which may be gone, the next one."""
        failure = Failure(0, self.hosts[0], text, 1, self.hint(), self.place.rank)
        is_at_home = self.hosts[self.place.rank] == self.hosts[0] and not self.place.has_agent_store
        is_speaker = self.place.local_rank == int(is_at_home)
        if is_speaker and (is_hanging or self.place.launcher is None) and not self.is_settled:
            self.say(failure.line(self.place.size, is_everyones=False), "")
        self.failure = self.failure or failure
        leave_at_once(self.failure.exit_code)


def leave_at_once(code: int) -> NoReturn:
    """End the process without cleaning up, which might wait for processes that are gone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def beat_of(rank: int) -> str:
    """The key in the store under which a rank gives its signs of life."""
    return f"beat/{rank}"


def _seen_by(rank: int) -> str:
    return f"seen/{rank}"


def _left_by(rank: int) -> str:
    return f"left/{rank}"
