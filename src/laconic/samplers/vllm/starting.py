"""A vLLM server that is started for a run, on this machine, and ended with it.

1. The command is `vllm` of this environment or of another, or a Python that has it, with what a person adds:
   `/venv/bin/vllm --enforce-eager`. What the trainer needs of the server is added by `serve_command`.
2. It listens at a free port of this machine only. Its output goes to a file, which is quoted where it dies.
3. It is ended with the trainer's process, with every process that it started; on Linux even where the trainer is killed. What a
   server that died has left behind is ended before another takes its place.
4. Of the environment it gets neither this one's packages nor the place of the trainer among several processes, by which vLLM and
   torch would take it for one of them.
"""

import atexit
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from laconic.errors import ModelError
from laconic.system.confinement import kill_group

ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "4"}  # GiB; without it vLLM takes most of the machine's memory
SERVED_AS = "policy"
OWN_MODE = "processed_logprobs"
CPU_PREFILL_TOKENS = 8192
SERVER_MODULE = "vllm.entrypoints.openai.api_server"  # as `vllm serve`, which vllm-cpu 0.32 cannot start
GRACE_SECONDS = 20.0
KEPT_BACK = re.compile(
    r"PYTHONPATH|((LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_.*|LACONIC_LAUNCHER)"
)
CAUSE = re.compile(r"\w*(Error|Exception): (?!Engine core initialization failed)")
"""In a line of output that says why a process ended. The one left out points at another line."""
LAST_BYTES = 100_000
"""Of the output, in which the cause is looked for."""
ENDING_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes the program of its arguments, after it asked Linux for a SIGTERM when the process that started it dies, however it dies
(prctl(2), PR_SET_PDEATHSIG)."""


def command_words(command: str) -> list[str]:
    """The words of `command`, as a shell reads them. Raises `ModelError` where it reads none."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ModelError(f"sampler.server: {command!r} is no command: {error}") from None


def executable_of(command: str) -> list[str]:
    """The words of `command`, the first of which is a program that is there: one on the path, or beside this Python.

    Raises `ModelError` where there is none.
    """
    words = command_words(command)
    beside = Path(sys.executable).parent
    found = shutil.which(words[0]) or shutil.which(words[0], path=str(beside)) if words else None
    if found is None:
        raise ModelError(
            f"sampler.server: there is no program {command!r} to start vLLM with; expected the address of a server, "
            "http://HOST:PORT, or the path of `vllm` in the environment in which it is installed"
        )
    return [found, *words[1:]]


def serve_command(
    words: Sequence[str], model: Path, port: int, *, context: int, rows: int, dtype: str, is_on_cpu: bool
) -> list[str]:
    """The command of a server of the model in the folder `model`; what a person added to `words` comes last, so that it holds.

    On a CPU prompts are not cut into chunks: there vLLM 0.32 dies of a request that has a seed and is cut.
    """
    own = {
        "--served-model-name": SERVED_AS,
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": dtype,
        "--max-model-len": str(context),
        "--max-num-seqs": str(rows),
        "--logprobs-mode": OWN_MODE,
        "--generation-config": "vllm",
    }
    if is_on_cpu:
        own["--max-num-batched-tokens"] = str(max(context, CPU_PREFILL_TOKENS))
    flags = ["--disable-uvicorn-access-log", *(["--no-enable-chunked-prefill"] if is_on_cpu else [])]
    is_python = Path(words[0]).name.startswith("python")
    program = [words[0], "-m", SERVER_MODULE, "--model"] if is_python else [words[0], "serve"]
    return [*program, str(model), *[word for pair in own.items() for word in pair], *flags, *words[1:]]


class OwnServer:
    """A server process: `command`, whose first word is the path of a program. `log` is the file of its output; `has_worked` says
    whether it ever answered."""

    def __init__(self, command: Sequence[str], log: Path, *, is_on_cpu: bool) -> None:
        is_linux = sys.platform == "linux"
        self.command = [*([sys.executable, "-I", "-S", "-c", ENDING_WITH_PARENT] if is_linux else []), *command]
        self.name, self.log = command[0], log
        inherited = {name: value for name, value in os.environ.items() if not KEPT_BACK.fullmatch(name)}
        self.environment = {**(CPU_ENVIRONMENT if is_on_cpu else {}), **inherited, **ENVIRONMENT}
        self.process: subprocess.Popen[bytes] | None = None
        self.log_start = 0  # of this process's output
        self.has_worked = False
        atexit.register(self.end)

    def begin(self) -> None:
        """Start the process, or start it again where it has died; what that one had started is ended first."""
        if self.process is not None:
            kill_group(self.process.pid)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.log_start = output.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """How the process ended, None while it lives."""
        return None if self.process is None else self.process.poll()

    def last_words(self) -> str:
        """The last line of its output that names an error, else the last that is not blank."""
        if not self.log.exists():
            return "no output"
        with self.log.open("rb") as output:
            output.seek(max(self.log_start, self.log.stat().st_size - LAST_BYTES))
            lines = [line.strip() for line in output.read().decode("utf-8", "replace").splitlines() if line.strip()]
        causes = [line[found.start() :] for line in lines if (found := CAUSE.search(line))]
        return (causes or lines or ["no output"])[-1]

    def end(self) -> None:
        """End the process and those that it started."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(GRACE_SECONDS)
        kill_group(process.pid)  # with what it had started and left behind
        process.wait()
