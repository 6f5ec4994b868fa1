"""A short torture: some cases of every part, at a seed of its own."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_nothing_breaks_in_a_short_torture() -> None:
    command = [sys.executable, str(BENCHMARKS / "torture.py"), "--seed", "1", "--scale", "0.02"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 failed") == 5
