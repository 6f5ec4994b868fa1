"""Children that die while they start, over a question, or over every one: asked again, counted, and given up on in one line."""

import os
import signal
import subprocess

import pytest

from laconic.errors import RunFailed
from laconic.system import child_processes
from laconic.system.child_processes import CRASH, TIMEOUT, Children

FAKE = """
import os, signal, sys, time
from pathlib import Path

def first(name):
    mark = Path(__file__).with_name(name)
    is_first = not mark.exists()
    mark.touch()
    return is_first

def serve():
    if first("started"): os.kill(os.getpid(), signal.SIGKILL)
    answer()

def answer():
    for line in sys.stdin:
        if "once" in line and first("asked"): os._exit(3)
        if "always" in line: os._exit(4)
        if "hang" in line: time.sleep(600)
        print("ready" if line.strip() == "null" else line.strip(), flush=True)

def never():
    os._exit(5)

def decide():
    from laconic.system.child_processes import answer_lines
    answer_lines(lambda a, b: str(a // b), (1, 1))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A module of children that die, some of them once."""
    (tmp_path / "dying_children.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child_processes, "START_PAUSE_SECONDS", 0.0)
    made = []

    def children(function, seconds=60.0):
        made.append(Children(f"dying_children:{function}", 1, seconds))
        return made[-1]

    yield children
    for each in made:
        each.close()


def test_a_child_killed_while_it_starts_or_over_a_question_is_replaced(fake):
    """Its question is asked once more, and both deaths are counted."""
    children = fake("serve")
    assert children.ask(["a", "once", "b"]) == ['"a"', '"once"', '"b"']
    assert children.num_deaths == 2
    os.kill(children._all[0]._process.pid, signal.SIGKILL)
    assert children.ask(["c"]) == ['"c"']


def test_a_question_that_kills_every_child_is_a_crash(fake):
    """Two children died of it; the questions around it are answered."""
    children = fake("answer")
    assert children.ask(["a", "always", "b"]) == ['"a"', CRASH, '"b"']
    assert children.num_deaths == 2


def test_a_question_that_hangs_is_asked_once(fake):
    """Asking it again would take twice the limit."""
    children = fake("answer", 0.5)
    assert children.ask(["hang"]) == [TIMEOUT]
    assert children.num_deaths == 0


def test_children_that_die_of_every_question_fail_the_work(fake, monkeypatch):
    """One answer in between starts the count anew; the line says how the last one ended."""
    monkeypatch.setattr(child_processes, "MAX_LOST_IN_A_ROW", 3)
    children = fake("answer")
    assert children.ask(["always", "always", "a", "always", "always"]) == [CRASH, CRASH, '"a"', CRASH, CRASH]
    with pytest.raises(
        RunFailed, match=r"3 questions in a row have ended their child process, the last with exit code 4$"
    ):
        children.ask(["always"])


def test_a_child_that_never_starts_fails_the_work(fake):
    """After three tries, naming how the last one ended."""
    children = fake("never")
    with pytest.raises(RunFailed, match=r"does not start .* the last try ended with exit code 5$"):
        children.ask(["a"])
    assert children.num_deaths == 3


def test_a_process_that_cannot_be_made_is_tried_again(fake, monkeypatch):
    """Where the machine has none to give for a moment, the work goes on; where it never has, that is said."""
    refused, real = [], subprocess.Popen

    def scarce(*arguments, **options):
        if len(refused) < 2:
            refused.append(arguments)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", scarce)
    assert fake("answer").ask(["a"]) == ['"a"']
    refused.clear()
    monkeypatch.setattr(child_processes, "START_TRIES", 2)
    with pytest.raises(RunFailed, match="the last try ended with Resource temporarily unavailable"):
        fake("answer").ask(["a"])


def test_an_error_over_a_question_is_a_crash_that_kills_nothing(fake):
    """Another child would come to the same."""
    children = fake("decide")
    assert children.ask([[6, 3], [1, 0], [8, 2]]) == ["2", CRASH, "4"]
    assert children.num_deaths == 0
