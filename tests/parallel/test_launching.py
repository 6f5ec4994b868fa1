"""Processes that one process starts: their exit codes, the signals that reach them, and what is left of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from laconic.parallel.launching import FOLLOWING_SECONDS, free_port, launch, shared_out

RANK = "import os, signal, sys, time; rank = int(os.environ['RANK']); "
"""The beginning of what each process runs; none of it needs torch."""


@pytest.fixture
def run(capfd):
    """Run a program in two processes; gives back the exit code, and what they and the launcher printed."""

    def call(program, num_processes=2):
        code = launch(num_processes, lambda: "go on with  this", ["-c", RANK + program])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def test_each_process_knows_its_place_and_its_share(run):
    """Both print; the one that ends first does not end the other."""
    names = "'RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'LACONIC_LAUNCHER'"
    code, out, err = run(f"time.sleep(0.3 * rank); print(*(os.environ[name] for name in ({names})))")
    assert code == 0 and not err
    assert out.splitlines() == [f"{rank} 2 {rank} 2 127.0.0.1 {os.getpid()}" for rank in (0, 1)]


def test_threads_are_shared_out_unless_a_person_has_set_them(monkeypatch):
    """Eight cores: two processes get four threads each, sixteen get one."""
    monkeypatch.setattr("laconic.parallel.launching.available_cores", lambda: 8)
    assert [shared_out(n, {})["OMP_NUM_THREADS"] for n in (2, 3, 16)] == ["4", "2", "1"]
    assert "OMP_NUM_THREADS" not in shared_out(2, {"OMP_NUM_THREADS": "3"})


def test_the_code_of_a_process_that_fails_is_that_of_all(run, monkeypatch):
    """It has said why itself; the other, which does not end by itself, is ended with what it started."""
    monkeypatch.setattr("laconic.parallel.launching.FOLLOWING_SECONDS", 0.3)
    program = "rank and sys.exit('why'); import subprocess; subprocess.Popen(['sleep', '77.25']); time.sleep(60)"
    code, _, err = run(program)
    assert (code, err) == (1, "why\n")
    assert not is_running("sleep 77.25")


def test_a_process_that_is_killed_is_named(run):
    code, _, err = run("rank and os.kill(os.getpid(), 9); time.sleep(60)")
    assert code == 1
    assert "rank 1 of 2 (process" in err and "was ended by SIGKILL, as where memory runs out" in err
    assert err.strip().endswith("go on with  this") and err.count("\n") == 1


def test_a_process_that_is_stopped_before_it_meets_the_others_is_given_up(run, monkeypatch):
    """Nobody but the process that started it can notice."""
    monkeypatch.setattr("laconic.parallel.launching.STOPPED_GLANCES", 5)
    code, _, err = run("rank and os.kill(os.getpid(), signal.SIGSTOP); time.sleep(60)")
    assert code == 1 and err.count("\n") == 1
    assert (
        "rank 1 of 2 (process" in err
        and "no sign of life for 0 seconds, since it is stopped; all others end" in err
        and err.strip().endswith("go on with  this")
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 7), (signal.SIGTERM, 7)])
def test_a_signal_reaches_every_process_once(number, code, tmp_path):
    """Each counts them, and ends with a code of its own choice a moment later."""
    program = (
        "counted = []; [signal.signal(n, lambda *_: counted.append(1)) for n in (2, 15)]; "
        f"open({str(tmp_path)!r} + f'/{{rank}}', 'w').close()\n"
        "while not counted: time.sleep(0.02)\n"
        "time.sleep(0.3); sys.exit(6 + len(counted))"
    )
    launcher = start_launcher(program)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    launcher.send_signal(number)
    assert launcher.wait(20) == code


def test_nothing_outlives_a_process_that_was_told_to_end(tmp_path):
    """One that does not heed the signal yet ends by it."""
    launcher = start_launcher(f"open({str(tmp_path)!r} + f'/{{rank}}', 'w').write(str(os.getpid())); time.sleep(60)")
    wait_until(
        lambda: [p.read_text() for p in tmp_path.iterdir()].count("") == 0 and len(list(tmp_path.iterdir())) == 2
    )
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    launcher.terminate()
    _, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 143 and err.decode() == "laconic: ended by SIGTERM; go on with  this\n"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_ports_are_free_and_below_those_of_connections():
    assert 20_000 <= free_port() < 32_000
    assert FOLLOWING_SECONDS < 60, "the others end within a minute"


def start_launcher(program):
    """A launcher in a process of its own."""
    command = "import signal, sys; from laconic.parallel.launching import launch; "
    command += "signal.signal(signal.SIGINT, signal.default_int_handler); "  # ignored in a background job
    command += f"sys.exit(launch(2, lambda: 'go on with  this', ['-c', {RANK + program!r}]))"
    return subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.PIPE)


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(words):
    commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    return words.replace(" ", "\0") in "".join(command.decode(errors="replace") for command in commands)
