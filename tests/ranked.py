"""Forks of this process that are a team, in place of processes that would load torch anew. Not a test module."""

import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from laconic.parallel.joining import join_team
from laconic.parallel.team import Team
from laconic.system.foreign_code import quiet_fork

T = TypeVar("T")
PATIENCE_SECONDS = 120.0  # what hangs is ended and fails; no test takes nearly as long


def in_team(size: int, work: Callable[[Team], T], folder: Path) -> list[T]:
    """What `work` returns in each of `size` processes that are one team, by rank; their results lie in `folder` meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [folder / f"rank-{rank}.pickle" for rank in range(size)]
    with quiet_fork():
        children = [_fork(rank, size, port, work, file) for rank, file in enumerate(files)]
    _wait_for(children, files)
    return [pickle.loads(file.read_bytes()) for file in files]


def _fork(rank: int, size: int, port: int, work: Callable[[Team], T], file: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        named = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        os.environ.update({name: str(value) for name, value in named.items()})
        with join_team("cpu") as team:
            file.write_bytes(pickle.dumps(work(team)))
        code = 0
    except BaseException as error:
        file.with_suffix(".failure").write_text(f"rank {rank}: {type(error).__name__}: {error}")
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait_for(children: list[int], files: list[Path]) -> None:
    """Wait until all have ended. Where one fails, or none makes an end of it, the others are ended too, and what the failed ones
    said beside their `files` is said again."""
    waiting, codes, began = list(children), [], time.monotonic()
    while waiting:
        for pid in list(waiting):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                waiting.remove(pid)
                codes.append(os.waitstatus_to_exitcode(status))
        if any(codes) or time.monotonic() - began > PATIENCE_SECONDS:
            for pid in waiting:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            words = [said.read_text() for file in files if (said := file.with_suffix(".failure")).exists()]
            raise AssertionError("; ".join([f"ended with {codes}, {len(waiting)} had to be ended", *words]))
        time.sleep(0.02)
