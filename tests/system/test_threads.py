"""As many threads as there are cores, and how much of the cores other processes use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from laconic.system import threads
from laconic.system.threads import Ticks, read_ticks

has_stat = pytest.mark.skipif(not threads.STAT.exists(), reason="this system has no /proc/stat")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that does not say how many threads there are, put back afterwards, and two cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "allowed_cores", lambda: {0, 1})
    monkeypatch.setattr(threads, "CPU_MAX", Path("absent"))
    return monkeypatch


def test_as_many_threads_as_cores_unless_the_user_says_otherwise(bare: pytest.MonkeyPatch) -> None:
    threads.settle()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    bare.setenv("OMP_NUM_THREADS", "7")
    threads.settle()
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(("text", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64)])
def test_a_control_group_may_grant_less_than_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: int
) -> None:
    """1.5 cores are two threads, half a core is one, no limit is all 64."""
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert threads.available_cores() == cores


def test_the_load_is_read_for_the_cores_that_may_be_used(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Busy are all fields but idle and iowait; core 7 is not ours."""
    line = "cpu{} 100 10 20 5000 50 1 2 3 0 0"
    (tmp_path / "stat").write_text("\n".join(line.format(name) for name in ("", 0, 1, 7)) + "\nintr 1 2 3\n")
    bare.setattr(threads, "STAT", tmp_path / "stat")
    bare.setattr(os, "sysconf", lambda name: 100)
    ticks = read_ticks()
    assert ticks is not None and ticks.busy == pytest.approx(2 * 1.36)
    bare.setattr(threads, "STAT", tmp_path / "absent")
    assert read_ticks() is None


def test_other_work_is_what_this_process_did_not_do() -> None:
    """Ten seconds in which two cores worked 18 s, 12 of them for us: 0.6 cores. Rounding never makes it negative."""
    began = Ticks(busy=100.0, own=50.0, clock=0.0)
    assert Ticks(118.0, 62.0, 10.0).others_since(began) == pytest.approx(0.6)
    assert Ticks(118.0, 68.1, 10.0).others_since(began) == 0.0


@has_stat
def test_a_busy_core_is_noticed() -> None:
    """A process that has counted for a second is most of a core of other work, and this process's own work is none."""
    code = "import time\nbegan = time.process_time()\nwhile time.process_time() < began + 1: pass\nprint(flush=True)\ninput()"
    before = read_ticks()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        after = read_ticks()
    assert before is not None and after is not None
    assert after.others_since(before) * (after.clock - before.clock) > 0.9
