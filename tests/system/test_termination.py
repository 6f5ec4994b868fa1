"""SIGTERM, Ctrl-C and SIGHUP end a program at the next point at which nothing is lost."""

import os
import signal
from collections.abc import Iterator

import pytest

from laconic.errors import Terminated
from laconic.system.termination import heeding_signals, held_back, let_through


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """A job in the background of a shell inherits signals that are ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "says", "code"),
    [
        (signal.SIGTERM, "ended by SIGTERM; again", 143),
        (signal.SIGINT, "ended by Ctrl-C; again", 130),
        (signal.SIGHUP, "ended by SIGHUP, as its terminal was closed; again", 129),
    ],
)
def test_each_signal_waits_and_has_its_exit_code(number: int, says: str, code: int) -> None:
    done = []
    with pytest.raises(Terminated, match=f"^{says}$") as ended, heeding_signals(lambda: "again"), held_back():
        ask(number)
        done.append("stretch")
    assert done and ended.value.exit_code == code


def test_a_second_ctrl_c_leaves_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Even where a signal waits; both times one line says what happens, and how to go on."""
    with pytest.raises(KeyboardInterrupt), heeding_signals(lambda: "go on so"), held_back():
        ask(signal.SIGINT)
        assert "laconic: stops after this step; Ctrl-C again leaves at once\n" in capfd.readouterr().err
        ask(signal.SIGINT)
        pytest.fail("went on")
    assert "laconic: left at once; go on so\n" in capfd.readouterr().err


def test_processes_that_leave_together_say_so_where_they_end(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), heeding_signals(str, leaves_together=True), held_back():
        ask(signal.SIGINT)
        assert "stops after this step" in capfd.readouterr().err
        ask(signal.SIGINT)
    assert capfd.readouterr().err == ""


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with heeding_signals(lambda: "again"):
        ask(signal.SIGHUP)
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN


def test_it_is_raised_at_once_and_tells_how_to_go_on() -> None:
    """No `except Exception` catches it, and the old handler comes back."""
    before, passed = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(Terminated, match="ended by SIGTERM; run it again"), heeding_signals(lambda: "run it again"):
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
    with pytest.raises(Terminated), heeding_signals(lambda: "again"):
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
        with pytest.raises(Terminated), heeding_signals(lambda: "again"), held_back():
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
    with pytest.raises(ZeroDivisionError), heeding_signals(lambda: "again"), held_back():
        ask()
        1 / 0  # noqa: B018
