"""Threads are settled before torch is loaded: as many as there are cores, asleep while they wait where cores are shared."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from laconic.system import threads


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of threads, put back afterwards."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(("busy", "policy"), [(0.0, None), (0.4, None), (1.0, "PASSIVE")])
def test_threads_sleep_where_other_work_runs(bare: pytest.MonkeyPatch, busy: float, policy: str | None) -> None:
    """Half a core of other work is the threshold; the line says how much was found."""
    bare.setattr(threads, "busy_cores", lambda: busy)
    bare.setattr(threads, "available_cores", lambda: 3)
    said = threads.settle()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert (said is None) is (policy is None)
    assert said is None or said.startswith("other work keeps 1.0 cores busy")


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_user_set_stays(bare: pytest.MonkeyPatch, name: str) -> None:
    """No look at other work either."""
    bare.setenv(name, "ACTIVE")
    bare.setenv("OMP_NUM_THREADS", "7")
    bare.setattr(threads, "busy_cores", lambda: 99.0)
    assert threads.settle() is None
    assert (os.environ[name], os.environ["OMP_NUM_THREADS"]) == ("ACTIVE", "7")


@pytest.mark.parametrize(("text", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64)])
def test_a_control_group_may_grant_less_than_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: int
) -> None:
    """1.5 cores are two threads, half a core is one, no limit is all 64."""
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert threads.available_cores() == cores


@pytest.mark.skipif(not threads.STAT.exists(), reason="this system has no /proc/stat")
def test_a_busy_core_is_noticed() -> None:
    """A process that counts for a while: at least most of one core, more than before it came."""
    code = "import time; end = time.time() + 20\nwhile time.time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as worker:
        try:
            assert threads.busy_cores(1.0) > 0.6
        finally:
            worker.kill()


def test_a_system_that_does_not_say_has_no_busy_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc: threads spin."""
    monkeypatch.setattr(threads, "STAT", tmp_path / "absent")
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "absent too")
    assert threads.busy_cores(0.0) == 0.0
    assert threads.available_cores() >= 1
