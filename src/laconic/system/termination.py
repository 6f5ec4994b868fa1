"""SIGTERM, which clusters send before they kill: a program ends at the next point at which nothing is lost.

1. Inside `heeding_sigterm` the signal raises `Terminated` wherever the program is.
2. Inside `held_back` it waits. It is raised where the stretch ends, or inside `let_through`, which marks a part of the stretch
   that may be broken off.

Only the main thread receives signals; elsewhere, and outside `heeding_sigterm`, SIGTERM ends the process as it always does.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from laconic.errors import Terminated

EXIT_CODE = 143  # what a shell shows of a process that SIGTERM, signal 15, has ended: 128 + 15


@dataclass(slots=True)
class _Heeded:
    """Whether the signal has come, whether it waits, and what to tell the person."""

    has_come: bool = False
    is_held_back: bool = False
    hint: Callable[[], str] = str


_HEEDED: Final = _Heeded()


@contextmanager
def heeding_sigterm(hint: Callable[[], str]) -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`, whose text ends with what `hint` gives then: how to go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _HEEDED.has_come, _HEEDED.hint = False, hint
    before = signal.signal(signal.SIGTERM, _receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _HEEDED.has_come = False


@contextmanager
def held_back() -> Iterator[None]:
    """Inside, the signal waits; it is raised at the end, unless the stretch ends by an error."""
    before, _HEEDED.is_held_back = _HEEDED.is_held_back, True
    try:
        yield
    finally:
        _HEEDED.is_held_back = before
    _raise_if_due()


@contextmanager
def let_through() -> Iterator[None]:
    """Inside, the signal is raised at once, and so is one that has come before."""
    before, _HEEDED.is_held_back = _HEEDED.is_held_back, False
    try:
        _raise_if_due()
        yield
    finally:
        _HEEDED.is_held_back = before


def _receive(number: int, frame: FrameType | None) -> None:
    _HEEDED.has_come = True
    _raise_if_due()


def _raise_if_due() -> None:
    if _HEEDED.has_come and not _HEEDED.is_held_back:
        raise Terminated(f"ended by SIGTERM; {_HEEDED.hint()}")
