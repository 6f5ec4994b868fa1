"""Signals that ask a program to end: it does at the next point at which nothing is lost.

They are SIGTERM, which clusters send before they kill, SIGINT, which Ctrl-C sends, and SIGHUP, which a closed terminal sends.

1. Inside `heeding_signals` a signal raises `Terminated` wherever the program is.
2. Inside `held_back` it waits. It is raised where the stretch ends, or inside `let_through`, which marks a part of the stretch
   that may be broken off. A person who pressed Ctrl-C is told so at once, and a second Ctrl-C leaves at once.

Only the main thread receives signals; elsewhere, and outside `heeding_signals`, they end the process as they always do. A signal
that the program was started to ignore, as SIGHUP under nohup, is left alone.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from laconic.errors import Terminated

INTERRUPTED: Final = 128 + signal.SIGINT  # what a shell shows of a process that Ctrl-C has ended
HEEDED: Final = {
    signal.SIGTERM: "ended by SIGTERM",
    signal.SIGINT: "ended by Ctrl-C",
    signal.SIGHUP: "ended by SIGHUP, as its terminal was closed",
}
"""Each signal, and what is said of a program that it ended."""


@dataclass(slots=True)
class _Heeded:
    """The signal that has come, whether it waits, what to tell the person, whether another process tells it, whether all of
    several processes together tell that they leave, and which of the outputs are terminals."""

    has_come: signal.Signals | None = None
    is_held_back: bool = False
    hint: Callable[[], str] = str
    is_silent: bool = False
    leaves_together: bool = False
    terminals: tuple[int, ...] = ()


_HEEDED: Final = _Heeded()


@contextmanager
def heeding_signals(
    hint: Callable[[], str], *, is_silent: bool = False, leaves_together: bool = False
) -> Iterator[None]:
    """Inside, the signals raise `Terminated`, whose text ends with what `hint` gives then: how to go on. Of several processes,
    which leave together, all but one are to be silent; that they leave at once is said where they end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _HEEDED.has_come, _HEEDED.hint = None, hint
    _HEEDED.is_silent, _HEEDED.leaves_together = is_silent, leaves_together
    _HEEDED.terminals = tuple(file for file in (1, 2) if os.isatty(file))
    before = {number: signal.getsignal(number) for number in HEEDED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _HEEDED.has_come = None


@contextmanager
def held_back() -> Iterator[None]:
    """Inside, the signals wait; they are raised at the end, unless the stretch ends by an error."""
    before, _HEEDED.is_held_back = _HEEDED.is_held_back, True
    try:
        yield
    finally:
        _HEEDED.is_held_back = before
    _raise_if_due()


@contextmanager
def let_through() -> Iterator[None]:
    """Inside, a signal is raised at once, and so is one that has come before."""
    before, _HEEDED.is_held_back = _HEEDED.is_held_back, False
    try:
        _raise_if_due()
        yield
    finally:
        _HEEDED.is_held_back = before


def _receive(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        _leave_terminals()
    if number == signal.SIGINT:
        if _HEEDED.has_come is not None:
            if not _HEEDED.leaves_together:
                _say(f"left at once; {_HEEDED.hint()}")
            raise KeyboardInterrupt
        if _HEEDED.is_held_back:
            _say("stops after this step; Ctrl-C again leaves at once")
    _HEEDED.has_come = _HEEDED.has_come or signal.Signals(number)
    _raise_if_due()


def _say(text: str) -> None:
    """Print a line from within a handler, where the stream may be in the middle of another line."""
    if not _HEEDED.is_silent:
        os.write(2, f"\nlaconic: {text}\n".encode())


def _leave_terminals() -> None:
    """Write to nothing from now on: a closed terminal refuses what is printed, which would end the step that is to be saved."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for file in _HEEDED.terminals:
        os.dup2(nothing, file)
    os.close(nothing)


def _raise_if_due() -> None:
    came = _HEEDED.has_come
    if came is not None and not _HEEDED.is_held_back:
        raise Terminated(f"{HEEDED[came]}; {_HEEDED.hint()}", 128 + came)
