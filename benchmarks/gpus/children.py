"""A section in a process of its own: read line by line, and killed with all it started when its time is over."""

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpus.table import CUT, DONE, FAILED

MARK = "row: "
"""What a line of a child's output begins with that the table takes up; all other lines go to the log."""

Take = Callable[[dict[str, Any]], None]


def run_child(command: Sequence[str], changes: Mapping[str, str], seconds: float, take: Take, log: Path) -> str:
    """Run the command with `changes` to the environment, hand each marked line to `take`, and return how it ended. Everything
    else that it prints, a traceback too, is added to `log`."""
    until = time.monotonic() + seconds
    with log.open("ab") as errors:
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | changes,
            start_new_session=True,
        )
        try:
            has_ended = _read(child, until, take, errors)
            if not has_ended:
                return CUT
            return DONE if child.wait(max(0.1, until - time.monotonic())) == 0 else FAILED
        except subprocess.TimeoutExpired:
            return CUT
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _read(child: "subprocess.Popen[bytes]", until: float, take: Take, errors: Any) -> bool:
    """Read to the end of the child's output; False where the time is over before."""
    assert child.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, until - time.monotonic())):
            data = os.read(child.stdout.fileno(), 65536)
            if not data:
                return True
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.startswith(MARK.encode()):
                    take(json.loads(line[len(MARK) :]))
                else:
                    errors.write(line + b"\n")
                    errors.flush()
    return False
