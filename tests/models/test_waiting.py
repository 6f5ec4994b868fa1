"""Threads spin while they wait on idle cores and sleep on busy ones, and compute the same bits either way."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from laconic.models import waiting
from laconic.models.waiting import Waiting
from laconic.system.threads import Ticks


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of how threads wait, two cores, and a look at every call."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(waiting, "allowed_cores", lambda: {0, 1})
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(waiting, "SECONDS_BEFORE_FIRST_LOOK", 0.0)
    return monkeypatch


def looks(bare: pytest.MonkeyPatch, others: list[float], num_threads: int = 2) -> list[bool]:
    """Whether threads sleep after each look, where other work was so much since the look before."""
    ticks = iter(Ticks(busy=sum(others[:n]), own=0.0, clock=float(n)) for n in range(len(others) + 1))
    bare.setattr(waiting, "read_ticks", lambda: next(ticks))
    state, out = Waiting(), []
    for _ in range(len(others) + 1):
        state.look(num_threads)
        out.append(state.team is not None)
    if state.team is not None:
        state.team.disband()
    return out


def test_threads_sleep_while_other_work_needs_their_cores(bare: pytest.MonkeyPatch) -> None:
    """The first look only begins; between the two limits nothing changes."""
    assert looks(bare, [0.0, 0.4, 0.9, 0.4, 0.1, 0.4]) == [False, False, False, True, True, False, False]


def test_other_work_may_have_the_cores_that_are_spare(bare: pytest.MonkeyPatch) -> None:
    """Two threads on three cores leave one to others; one thread waits for nobody."""
    bare.setattr(waiting, "allowed_cores", lambda: {0, 1, 2})
    assert looks(bare, [1.0, 1.6]) == [False, False, True]
    assert looks(bare, [9.0, 9.0], num_threads=1) == [False, False, False]


@pytest.mark.parametrize(("own_share", "sleeps"), [(0.0, False), (1.0, True)])
def test_what_others_do_while_this_process_waits_says_nothing(
    bare: pytest.MonkeyPatch, own_share: float, sleeps: bool
) -> None:
    """Five seconds between two calls with another's two threads: if this process waited for them they take nothing from it, and
    the look begins anew; if it computed, as with a larger model, they do."""
    clock = SimpleNamespace(now=10.0, used=1.0)
    fake = SimpleNamespace(monotonic=lambda: clock.now, process_time=lambda: clock.used)
    bare.setattr(waiting, "time", fake)
    bare.setattr(waiting, "read_ticks", lambda: Ticks(busy=2.0 * clock.now, own=0.0, clock=clock.now))
    state = Waiting()
    state.look(2)
    clock.now, clock.used = clock.now + 5.0, clock.used + 5.0 * own_share
    state.look(2)
    assert (state.team is not None) == sleeps
    clock.now, clock.used = clock.now + 0.1, clock.used + 0.1  # the look after the pause has an interval of its own
    state.look(2)
    assert state.team is not None
    state.team.disband()


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_user_set_stays(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "ACTIVE")
    assert looks(bare, [9.0, 9.0]) == [False, False, False]


COMPARE = """
import json, torch
from laconic.models import waiting

torch.set_num_threads(2)
x, y = torch.randn(300, 400, generator=torch.manual_seed(0)), torch.randn(400, 300)
def result(): return (x @ y).sum().item(), x.softmax(-1).sum(0).norm().item()

spinning = [result() for _ in range(20)]
team = waiting._IdleTeam()
asleep = [result() for _ in range(20)]
team.disband()
print(json.dumps([spinning, asleep, [result() for _ in range(20)]]))
"""


def test_sleeping_threads_compute_the_same_bits() -> None:
    """Before a second team exists, beside it and after it has been disbanded."""
    out = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, check=True).stdout
    spinning, asleep, again = json.loads(out)
    assert spinning == asleep == again
