"""Rewards of one's own that do what no reward should: each ends in one line that names its file, and none takes the run along."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from rewarded import group
from small import write_small_recipe

from laconic.config.load import load_recipe
from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.config.rewards import RewardsConfig
from laconic.errors import RecipeError, RunFailed
from laconic.rewards import own
from laconic.rewards.from_recipe import reward_table
from laconic.rewards.own import load_own
from laconic.rewards.paying import pay, try_terms
from laconic.system import foreign_code
from laconic.system.confinement import MAX_PRINTED_CHARS
from laconic.training.check.phases import resolve_phase

PATIENCE, SHORT = 60.0, 0.5  # seconds for code that answers at once, and for code that never does

# What the file does when it runs, and what is said of it.
FILES = {
    "sys.exit(0)": r"sys\.exit\(0\)$",
    "raise SystemExit": r"sys\.exit\(\)$",
    "quit('bye\\nnow')": r"sys\.exit\('bye\\nnow'\)$",
    "os._exit(0)": r"the end of its process \(exit code 0\)$",
    "os._exit(7)": r"the end of its process \(exit code 7\)$",
    "while True: pass": r"no end within 0\.5 seconds \(rewards\.timeout_seconds\)$",
    "time.sleep(600)": r"no end within 0\.5 seconds",
    "os.kill(os.getpid(), signal.SIGSTOP)": r"no end within 0\.5 seconds",
    "input()": r"EOFError",
    "raise KeyboardInterrupt": r"KeyboardInterrupt$",
    "raise BaseException('odd')": r"BaseException: odd$",
    "class E(Exception): __str__ = None\nraise E": r"E$",
    "raise ValueError('red \\x1b[31m' + 'x' * 10**7)": r"ValueError: red \\x1b\[31mx{100,300}$",
    "x = bytearray(10**12)": r"MemoryError: it may take 64 MiB$",
    "x = []\nwhile True: x.append(bytes(10**6))": r"MemoryError: it may take 64 MiB$",
    "def again(): again()\nagain()": r"RecursionError: maximum recursion depth exceeded",
    "os.killpg(0, signal.SIGKILL)": r"the end of its process \(SIGKILL, as where memory runs out\)$",
    "import ctypes; ctypes.string_at(0)": r"the end of its process \(SIGSEGV\)$",
    "def f(numbers:": r"SyntaxError",
    "\\0": r"SyntaxError|ValueError",
}
# What the function does with a group of six, and what is said of it.
CALLS = {
    "sys.exit(0)": r"fails on a group: sys\.exit\(0\)$",
    "os._exit(0)": r"fails on a group: the end of its process \(exit code 0\)$",
    "os.abort()": r"fails on a group: the end of its process \(SIGABRT\)$",
    "while True: pass": r"fails on a group: no end within 0\.5 seconds \(rewards\.timeout_seconds\)$",
    "time.sleep(600)": r"fails on a group: no end within 0\.5 seconds",
    "signal.pause()": r"fails on a group: no end within 0\.5 seconds",
    "return 10 ** 10 ** 9": r"fails on a group: no end within 0\.5 seconds",
    "re.match('(a+)+$', 'a' * 60 + 'b')": r"fails on a group: no end within 0\.5 seconds",
    "threading.Thread(target=time.sleep, args=(600,)).start(); sys.exit(1)": r"fails on a group: sys\.exit\(1\)$",
    "raise KeyboardInterrupt": r"line 3: f fails on a group: KeyboardInterrupt$",
    "raise GeneratorExit": r"line 3: f fails on a group: GeneratorExit$",
    "return numbers.shares": r"line 3: f fails on a group: AttributeError",
    "return f(numbers)": r"fails on a group: RecursionError",
    "return bytearray(10**12)": r"fails on a group: MemoryError: it may take 64 MiB$",
    "return np.zeros(6) / numbers.lengths[9]": r"fails on a group: IndexError",
    "os.closerange(0, 4096); return [0.0] * 6": r"fails on a group: the end of its process",
    "return None": r"expected 6 finite numbers, got None$",
    "return [0.0] * 5": r"expected 6 finite numbers, got \[0\.0, 0\.0, 0\.0, 0\.0, 0\.0\]$",
    "return [0.0] * 10**6": r"expected 6 finite numbers, got \[0\.0, .*\.\.\.\]$",
    "return [float('nan')] * 6": r"expected 6 finite numbers, got \[nan",
    "return [0, 0, 0, 0, 0, -np.inf]": r"expected 6 finite numbers, got \[.*-inf\]$",
    "return ['a'] * 6": r"expected 6 finite numbers, got \['a'",
    "return [[1], [2, 3]]": r"expected 6 finite numbers, got \[\[1\], \[2, 3\]\]$",
    "return [1j] * 6": r"expected 6 finite numbers, got \[1j",
    "return {n: 0.0 for n in range(6)}": r"expected 6 finite numbers, got \{0: 0\.0",
    "return (0.0 for _ in range(6))": r"expected 6 finite numbers, got <generator",
    "return [10 ** 400] * 6": r"expected 6 finite numbers, got \[1000",
    "return [1e300] * 6": r"expected numbers of at most 1e\+09, got 1e\+300 times the weight 1$",
    "return type('E', (), {'__repr__': None})()": r"fails on a group: TypeError|expected 6 finite numbers, got <E instance",
    "return np.zeros((6, 1))": r"expected 6 finite numbers, got array",
}
# What the function does beside paying 0 to 5, which harms nobody.
HARMLESS = (
    "print('x' * 10**7)",
    "os.write(1, b'x' * 10**6)",
    "numbers.lengths[:] = 1",
    "numbers.memory['hapo/shortest_correct'] = -1.0",
    "threading.Thread(target=time.sleep, args=(600,)).start()",
    "os.fork()",
    "os.chdir('/'); os.environ.clear(); sys.path.clear()",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.alarm(600)",
    "sys.stdout.close(); sys.stderr = None",
)
HEAD = "import os, re, signal, sys, threading, time; import numpy as np\n"


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """So that taking all of it takes no time."""
    monkeypatch.setattr(own, "MAX_REWARD_BYTES", 64 << 20)


def said_of(folder: Path, source: str, seconds: float) -> str:
    """The one line that a recipe with this reward ends in, before anything of it is run."""
    (folder / "mine.py").write_text(source, encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.py") as caught:
        try_terms([("mine.py:f", 1.0, {})], folder, group_size=6, max_tokens=9, timeout_seconds=seconds)
    line = str(caught.value)
    assert line.isprintable() and len(line) < 600, line
    return line


def limit_for(says: str) -> float:
    return SHORT if "no end" in says else PATIENCE


@pytest.mark.parametrize(("does", "says"), FILES.items())
def test_a_file_that_does_not_run_is_one_line(tmp_path, does, says):
    """It names the file, and what the file did."""
    line = said_of(tmp_path, HEAD + does.replace("\\0", "\0") + "\ndef f(numbers): return [0.0] * 6\n", limit_for(says))
    assert line.startswith(f"{tmp_path / 'mine.py'}")
    assert re.search(f"expected a file that runs, got .*(?:{says})", line), line


@pytest.mark.parametrize(("does", "says"), CALLS.items())
def test_a_function_that_does_not_pay_is_one_line(tmp_path, does, says):
    """It names the file and the function, and what the function did."""
    line = said_of(tmp_path, f"{HEAD}def f(numbers):\n    {does}\n", limit_for(says))
    assert "mine.py" in line and re.search(says, line), line


@pytest.mark.parametrize("does", HARMLESS)
def test_what_a_function_does_beside_paying_stays_with_it(tmp_path, does, capsys):
    """The numbers that it was given, its output, threads and signals: the same pay again and again, and little is shown."""
    (tmp_path / "mine.py").write_text(
        f"{HEAD}def f(numbers):\n    {does}\n    return np.arange(6.0)\n", encoding="utf-8"
    )
    reward, numbers = load_own("mine.py:f", tmp_path, PATIENCE), group([5, 6, 7, 8, 9, 10], "CCWWNT")
    for _ in range(3):
        assert reward(numbers).tolist() == [0, 1, 2, 3, 4, 5]
    assert numbers.lengths.tolist() == [5, 6, 7, 8, 9, 10] and numbers.memory == {}
    assert len(capsys.readouterr().err) < 2 * MAX_PRINTED_CHARS


CLOSURE = """
def make(start):
    count = start
    def f(numbers, step=1.0):
        nonlocal count
        count += step
        return [count] * len(numbers.grades)
    return f

f = make(10.0)

class Counting:
    def __init__(self): self.count = 0
    def __call__(self, numbers): self.count += 1; return [self.count]

g, h = Counting(), lambda numbers, scale=2.0: [scale]
print("loaded")
"""


def test_closures_and_what_they_remember_work(tmp_path, capsys):
    """As they would in this process: a closure, an object and a lambda, each counting its own calls as long as it is held."""
    (tmp_path / "mine.py").write_text(CLOSURE, encoding="utf-8")
    f, g, h = (load_own(f"mine.py:{name}", tmp_path) for name in "fgh")
    one = group([5], "C")
    assert [f(one).tolist(), f(one, step=5.0).tolist(), g(one).tolist(), g(one).tolist()] == [[11], [16], [1], [2]]
    assert h(one).tolist() == [2]
    assert pay(one, [("mine.py:f", 1.0, {"step": 2.0})], folder=tmp_path)[0].tolist() == [12], "loaded anew"
    assert capsys.readouterr().err == "loaded\n" * 4


def test_a_reward_that_did_not_answer_stays_an_error(tmp_path):
    """What it remembered is gone, so that nothing is paid by a fresh one in its place."""
    source = "import time\ndef f(numbers, wait=0.0):\n    time.sleep(wait)\n    return [1.0]\n"
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    reward, one = load_own("mine.py:f", tmp_path, SHORT), group([5], "C")
    for wait in (600.0, 0.0):
        with pytest.raises(ValueError, match=r"f fails on a group: no end within 0\.5 seconds"):
            reward(one, wait=wait)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def test_nothing_that_a_reward_started_is_left_behind(tmp_path):
    """A program that it started ends with it, and so does its own process; a thread or a failed call changes nothing."""
    source = (
        "import os, subprocess\ndef f(numbers):\n    return [os.getpid(), subprocess.Popen(['sleep', '600']).pid]\n"
    )
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    reward = load_own("mine.py:f", tmp_path, PATIENCE)
    pids = reward(group([5, 6], "CC")).astype(int).tolist()
    assert os.getpid() not in pids and all(map(is_running, pids))
    del reward
    for _ in range(100):
        if not any(map(is_running, pids)):
            break
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def test_a_recipe_is_refused_with_its_own_limit(tmp_path):
    """The dry run, doctor and training all begin with this check; the message names the phase, file, function and key."""
    (tmp_path / "mine.py").write_text("def f(numbers):\n    while True: pass\n", encoding="utf-8")
    rewards = RewardsConfig.model_validate({"terms": [{"name": f"{tmp_path / 'mine.py'}:f"}], "timeout_seconds": SHORT})
    phase = PhaseConfig(name="first", steps=1, rewards=rewards)
    with pytest.raises(
        RecipeError, match=r"phases\.first: .*mine\.py: f fails .* within 0\.5 .*rewards\.timeout_seconds"
    ):
        resolve_phase(phase, PolicyConfig())


def test_a_pipe_is_no_reward(tmp_path):
    """Reading it for its hash would wait for a writer."""
    os.mkfifo(tmp_path / "mine.py")
    recipe = write_small_recipe(tmp_path / "small.toml", tmp_path)
    with pytest.raises(RecipeError, match=r"phases\.second\.rewards\.terms: .*mine\.py: is no file"):
        load_recipe(recipe, ["phases.second.rewards.terms=[{name='mine.py:f'}]"])


def test_a_process_that_cannot_be_started_fails_the_work(tmp_path, monkeypatch):
    """It says nothing about the reward."""
    (tmp_path / "mine.py").write_text("def f(numbers): return [0.0]\n", encoding="utf-8")

    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(RunFailed, match="no child process can be started: Resource temporarily unavailable"):
        reward_table(RewardsConfig.model_validate({"terms": [{"name": "mine.py:f"}]}), tmp_path)


def test_without_fork_the_code_runs_here(tmp_path, monkeypatch):
    """Exceptions and sys.exit are errors of one line there too."""
    monkeypatch.setattr(foreign_code, "CAN_FORK", False)
    assert "expected a file that runs, got sys.exit(0)" in said_of(tmp_path, "raise SystemExit(0)", PATIENCE)
    assert "line 2: f fails on a group: sys.exit(3)" in said_of(
        tmp_path, "def f(n):\n    raise SystemExit(3)", PATIENCE
    )
    (tmp_path / "mine.py").write_text("def f(numbers): return numbers.lengths\n", encoding="utf-8")
    assert np.array_equal(load_own("mine.py:f", tmp_path)(group([5, 6], "CC")), [5.0, 6.0])


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_reward_is_tried_on_groups_of_the_size_that_it_will_get(tmp_path, size):
    """A reward made for it passes; so does every grade, one after the other where groups are small."""
    (tmp_path / "mine.py").write_text(
        f"def f(numbers):\n    assert len(numbers.grades) == {size}\n    return [0.0] * {size}\n"
        "def g(numbers):\n    assert 'truncated' not in numbers.grades\n    return [0.0] * len(numbers.grades)\n"
    )
    try_terms([("mine.py:f", 1.0, {})], tmp_path, group_size=size, max_tokens=9)
    for name, other in (("f", size + 1), ("g", size)):
        with pytest.raises(ValueError, match=rf"{name} fails on a group: AssertionError"):
            try_terms([(f"mine.py:{name}", 1.0, {})], tmp_path, group_size=other, max_tokens=9)
