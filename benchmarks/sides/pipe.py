"""One pipe, two ends: how the harness and a side's process talk.

1. `Worker` (the harness's end) starts `python -m sides.NAME` with that side's own interpreter and waits until it has loaded.
2. `serve` (the side's end) loads once, says which versions it runs, then answers each line of JSON with a line of JSON.
3. The harness waits for every answer, so one side works at a time; the others sleep, blocked in `readline`.

An answer is what the task returned, plus the process's peak of resident memory so far, or an `error`. Whatever a side's
libraries print goes to a log file, whose end is quoted where the side dies. Standard library only: every side imports this.
"""

import json
import os
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1]
CHECKOUT = BENCHMARKS.parent
LOG_LINES = 3

Answer = dict[str, Any]
Task = Callable[..., Answer]


class SideFailed(Exception):  # noqa: N818
    """A side could not start, or died."""


class Worker:
    """The harness's end. Starts the side, of this checkout or another, and blocks until it is ready; `versions` are those it
    reported."""

    def __init__(
        self,
        python: Path,
        module: str,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        log: Path,
        checkout: Path = CHECKOUT,
    ) -> None:
        self._log = log
        benchmarks, sources = checkout / "benchmarks", checkout / "src"
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", module, json.dumps(settings)],
                cwd=benchmarks,
                env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, (benchmarks, sources)))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            ready = self._read()
        except SideFailed:
            self.close()
            raise
        self.versions: dict[str, str] = ready["versions"]

    def ask(self, task: str, **arguments: Any) -> Answer:
        """The side's answer, which may be `{"error": ...}`. Raises `SideFailed` where the process died."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise SideFailed(self._last_words()) from None
        return self._read()

    def close(self) -> None:
        """End the side: it leaves when its input closes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def cpu_seconds(self) -> float:
        """Processor time the side has used so far (Linux): an idle side must not use any."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SideFailed(self._last_words())
        answer: Answer = json.loads(line)
        if "error" in answer and "versions" not in answer and answer.get("is_fatal"):
            raise SideFailed(str(answer["error"]))
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()][-LOG_LINES:]
        return "the process ended" + (f": {' / '.join(said)}" if said else "")


def serve(load: Callable[[dict[str, Any]], Mapping[str, Task]], packages: Sequence[str]) -> None:
    """The side's end: `load` gets the settings and returns the tasks by name."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        tasks = load(json.loads(sys.argv[1]))
    except Exception as error:
        traceback.print_exc()
        say({"error": _one_line(error), "is_fatal": True})
        os._exit(1)
    say({"versions": {"python": sys.version.split()[0]} | {name: _version(name) for name in packages}})
    for line in sys.stdin:
        say(_answer(tasks, json.loads(line)))
    os._exit(0)  # some engines wait for their threads forever


def _answer(tasks: Mapping[str, Task], request: dict[str, Any]) -> Answer:
    try:
        return tasks[request.pop("task")](**request) | {"peak_mib": peak_mib()}
    except Exception as error:
        traceback.print_exc()
        return {"error": _one_line(error)}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def peak_mib() -> float:
    """Peak resident memory of this process in MiB.

    Linux's VmHWM where there is one: `ru_maxrss` of a process counts what its parent held when it was started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text(encoding="utf-8").splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
