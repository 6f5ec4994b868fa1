"""A fork of this process in place of one that would load torch anew, which takes seconds. Not a test module."""

import os
import signal
import subprocess
import sys
import threading
import traceback
from typing import IO, Any

from laconic.cli.app import main

POPEN = subprocess.Popen  # a test may have put `Forked` in its place


class Forked:
    """As much of `subprocess.Popen` as a sweep uses, for commands of `laconic`: `main` with the command's arguments."""

    def __init__(self, command: list[str], *, stdout: IO[bytes], env: dict[str, str], **_: Any) -> None:
        self.returncode: int | None = None
        self._waiting = threading.Lock()
        self.pid = os.fork()
        if self.pid == 0:
            _answer(command[command.index("laconic") :], stdout, env)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; the time limit is the test's own."""
        with self._waiting:
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self.returncode

    def terminate(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def _answer(arguments: list[str], log: IO[bytes], environment: dict[str, str]) -> None:
    """Run the command with its output in `log`, and end the fork."""
    code: Any = 1
    try:
        subprocess.Popen = POPEN  # type: ignore[misc]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.update(environment)
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)
        sys.argv = arguments
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
