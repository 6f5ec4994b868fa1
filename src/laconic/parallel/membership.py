"""This process as one of a team: it meets the others, compares itself with them, and ends with them.

1. All meet in a store (torch's TCPStore): that of torchrun, or one that rank 0 holds. torchrun's outlives a team that failed, so
   that each attempt has keys of its own.
2. Each says where it runs and what it was started with. One that was started with another recipe, seed or version than rank 0,
   or sees another folder, is refused.
3. From then on the heartbeats watch over all (`heartbeats.py`). An error that ends this process ends all others, and is said
   once. How a process ends is decided here: an error of ours by its text, another with its traceback, and one that only follows
   from the end of another process not at all.

Ranks other than the first print nothing but the reason for which the team ends.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NoReturn, TextIO

from torch.distributed import PrefixStore, TCPStore

from laconic.config.difference import differences
from laconic.errors import InputError, RunFailed, Terminated
from laconic.parallel.endings import beginning_of, breaks_off, ending_of, is_unforeseen
from laconic.parallel.heartbeats import HASTY_BEATS, SILENT_BEATS, Failure, Heartbeats, beat_of, leave_at_once
from laconic.parallel.place import RankPlace, host_name
from laconic.system.termination import HEEDED
from laconic.system.text import in_two_lines

MEETING_SECONDS = 300.0
"""How long a process waits for the others to come: they may read large libraries from a slow disk."""
UNSAID_SECONDS = 10.0
"""How long it waits without saying so."""
PREFIX = "laconic"
ANSWER = timedelta(seconds=60)


class Membership:
    """This process among those of its team, from when it has met them on."""

    def __init__(self, place: RankPlace, hint: Callable[[], str], said: Mapping[str, Any]) -> None:
        self.place, self.hint, self.said = place, hint, dict(said)
        self.error_output = _silence(place.rank > 0)
        store = _open_store(place, self._say_what_it_waits_for)
        prefix = f"{PREFIX}/{place.attempt}"
        self.store = PrefixStore(prefix, store)
        self.members = self._meet()
        hosts = [member["host"] for member in self.members]
        self.heartbeats = Heartbeats(PrefixStore(prefix, store.clone()), place, hosts, hint, self.say)
        self.heartbeats.start()

    def say(self, text: str, details: str) -> None:
        """Print a line for a person, from whichever rank, and before it the details."""
        print(f"{details}{in_two_lines(f'laconic: {text}')}", file=self.error_output, flush=True)

    def _meet(self) -> list[dict[str, Any]]:
        """What every process says of itself, by rank."""
        own = {"host": host_name(), "said": self.said}
        self.store.set(beat_of(self.place.rank), "0")
        self.store.set(f"here/{self.place.rank}", json.dumps(own))
        keys = [f"here/{rank}" for rank in range(self.place.size)]

        def missing() -> str:
            return ", ".join(str(rank) for rank, key in enumerate(keys) if not self.store.check([key]))

        if not _comes(lambda: self.store.check(keys), lambda: self._say_what_it_waits_for(f"rank {missing()}")):
            raise RunFailed(f"of {self.place.size} processes these did not come: rank {missing()}")
        return [json.loads(found) for found in self.store.multi_get(keys)]

    def _say_what_it_waits_for(self, what: str) -> None:
        """Tell a person who may have forgotten to start the others; one process of each machine does. A launcher has started
        all of them, and looks after them."""
        if self.place.local_rank == 0 and self.place.launcher is None:
            here = f"rank {self.place.rank} of {self.place.size} (on {host_name()})"
            self.say(f"{here} waits for {what}, and gives up after {MEETING_SECONDS / 60:.0f} minutes", "")

    # --- what must agree ---------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Raises `InputError` where this process was started otherwise than that of rank 0, or two claim one place."""
        first, own = self.members[0]["said"], self.members[self.place.rank]["said"]
        for found in differences(first, own):
            raise InputError(
                f"was started otherwise than rank 0: {found.key} is {json.dumps(found.theirs, default=str)}, there "
                f"{json.dumps(found.ours, default=str)}; start all processes with the same command and versions"
            )
        hosts = [member["host"] for member in self.members]
        twins = [rank for rank, host in enumerate(hosts) if host == hosts[self.place.rank]]
        if len(twins) > self.place.local_size and self.place.launcher is None and not self.place.is_elastic:
            raise InputError(
                f"ranks {twins[0]} and {twins[1]} are both on {hosts[self.place.rank]}; set LOCAL_RANK and LOCAL_WORLD_SIZE too, "
                "or start them with torchrun"
            )

    # --- the end -----------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Leave the team, whose work is done; rank 0 leaves last."""
        self.heartbeats.leave()

    def end(self, error: BaseException) -> NoReturn:
        """End this process, and the team with it, for an error that nothing here has caught."""
        for number in HEEDED:
            signal.signal(number, signal.SIG_IGN)
        self.heartbeats.is_ending = True
        failure = self._failure(error)
        self._await_cause(error)
        self.heartbeats.announce(failure.text)
        details = "".join(traceback.format_exception(error)) if is_unforeseen(error) else ""
        settled = self.heartbeats.settle(failure, details)
        self.heartbeats.linger()
        leave_at_once(settled.exit_code)

    def _await_cause(self, error: BaseException) -> None:
        """Where the error may only follow from the end of another process, wait until it is known which one that was. torchrun
        ends the others of one that has failed, by a signal that may also come from a person and to all."""
        if breaks_off(error):
            self.heartbeats.await_cause(SILENT_BEATS + 2)
        elif isinstance(error, Terminated) and self.place.is_elastic:
            self.heartbeats.store.set(f"signal/{self.place.rank}", "")
            signalled = [f"signal/{rank}" for rank in range(self.place.size)]
            self.heartbeats.await_cause(HASTY_BEATS + 3, unless=signalled)

    def _failure(self, error: BaseException) -> Failure:
        text, code = ending_of(error)
        tells_all = isinstance(error, InputError | Terminated) or "--resume" in text
        return Failure(self.place.rank, host_name(), text, code, "" if tells_all else self.hint(), self.place.rank)


@contextlib.contextmanager
def membership(place: RankPlace, hint: Callable[[], str], said: Mapping[str, Any]) -> Iterator[None]:
    """Inside, this process is one of a team. `hint` says how to go on after a failure; `said` is what every process must
    have been started with. An error that leaves the context ends the process, and the team."""
    member = Membership(place, hint, said)
    try:
        member.compare()
        yield
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            member.end(error)
        member.leave()
        raise
    member.leave()


# --- meeting ---------------------------------------------------------------------------------------------------------


def _comes(is_there: Callable[[], bool], say_so: Callable[[], None]) -> bool:
    """Wait until what is waited for is there; False where it does not come in time. After a while `say_so` is called, once."""
    began, has_said = time.monotonic(), False
    while not is_there():
        seconds = time.monotonic() - began
        if seconds > MEETING_SECONDS:
            return False
        if seconds > UNSAID_SECONDS and not has_said:
            has_said = True
            say_so()
        time.sleep(0.1)
    return True


def _open_store(place: RankPlace, say_what_it_waits_for: Callable[[str], None]) -> TCPStore:
    """The store where all meet. Raises `RunFailed` where there is none."""
    if place.holds_store:
        _await_name(place, say_what_it_waits_for)
    else:
        _await_port(place, say_what_it_waits_for)
    try:
        return TCPStore(
            place.address,
            place.port,
            is_master=place.holds_store,
            timeout=ANSWER,
            wait_for_workers=False,
            multi_tenant=True,  # torch's own group of processes meets there too
        )
    except RuntimeError as error:
        raise RunFailed(f"the processes cannot meet at {place.address}:{place.port}: {beginning_of(error)}") from None


def _await_name(place: RankPlace, say_what_it_waits_for: Callable[[str], None]) -> None:
    """Wait until the meeting place's host has an address, which may come late; torch itself would wait in silence."""

    def is_known() -> bool:
        try:
            return bool(socket.getaddrinfo(place.address, place.port))
        except OSError:
            return False

    if not _comes(
        is_known, lambda: say_what_it_waits_for(f"the host {place.address} (MASTER_ADDR), which has no address")
    ):
        raise RunFailed(f"the host {place.address} (MASTER_ADDR), where all are to meet, has no address")


def _await_port(place: RankPlace, say_what_it_waits_for: Callable[[str], None]) -> None:
    """Wait until somebody listens where all are to meet; torch itself would print a warning for each attempt."""
    meeting = f"{place.address}:{place.port}, where all are to meet"
    refused: list[OSError] = []

    def answers() -> bool:
        try:
            socket.create_connection((place.address, place.port), timeout=5.0).close()
        except OSError as error:
            refused[:] = [error]
        else:
            return True
        return False

    if not _comes(answers, lambda: say_what_it_waits_for(f"rank 0, whom it looks for at {meeting}")):
        here = f"rank {place.rank} of {place.size} (on {host_name()})"
        raise RunFailed(f"{here}: nobody answers at {meeting} ({refused[0].strerror or refused[0]})")


def _silence(is_silent: bool) -> TextIO:
    """The stream for errors. Where the process is to be silent, everything else that it prints goes nowhere from now on."""
    errors = sys.stderr
    if is_silent:
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (to the end of the process)
        sys.stdout = sys.stderr = nowhere
        os.dup2(nowhere.fileno(), 1)
        warnings.simplefilter("ignore")
    return errors
