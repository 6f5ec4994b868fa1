"""SIGTERM ends a program at the next point at which nothing is lost."""

import os
import signal

import pytest

from laconic.errors import Terminated
from laconic.system.termination import heeding_sigterm, held_back, let_through


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_raised_at_once_and_tells_how_to_go_on() -> None:
    """No `except Exception` catches it, and the old handler comes back."""
    before, passed = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(Terminated, match="ended by SIGTERM; run it again"), heeding_sigterm(lambda: "run it again"):
        try:
            ask()
        except Exception:
            passed.append("caught")
        passed.append("went on")
    assert not passed
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_waits_until_a_stretch_ends() -> None:
    """Asked twice, it is raised once, after the last statement of the stretch."""
    done = []
    with pytest.raises(Terminated), heeding_sigterm(lambda: "again"):
        with held_back():
            ask()
            ask()
            done.append("stretch")
        done.append("after")
    assert done == ["stretch"]


def test_a_part_of_a_stretch_may_be_broken_off() -> None:
    """By a signal that came before, or comes inside; after that part it waits again."""
    for asks_before in (True, False):
        done = []
        with pytest.raises(Terminated), heeding_sigterm(lambda: "again"), held_back():
            if asks_before:
                ask()
            done.append("before")
            try:
                with let_through():
                    done.append("inside")
                    ask()
                    done.append("unreached")
            finally:
                ask()
                done.append("saved")
        assert done == (["before", "saved"] if asks_before else ["before", "inside", "saved"])


def test_an_error_of_the_stretch_is_not_replaced() -> None:
    with pytest.raises(ZeroDivisionError), heeding_sigterm(lambda: "again"), held_back():
        ask()
        1 / 0  # noqa: B018
