"""Where a process stands among the processes of its team, as its environment says.

torchrun and its like set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT, and so does `launching.py`,
which adds LACONIC_LAUNCHER: the number of the process that started the others. Nothing here needs torch.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from laconic.errors import InputError

LAUNCHER = "LACONIC_LAUNCHER"
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Process `rank` of `size`, and `local_rank` of the `local_size` on its machine; all are counted from 0.

    The processes meet at `address` and `port`: in the store of rank 0, or in that of torchrun (`has_agent_store`). `launcher` is
    the number of the process that started this one and all others; None where another program did, of which `is_elastic` says
    whether it is torchrun or works as it does. torchrun starts all again where one failed (`--max-restarts`), in the same store:
    `attempt` counts from 0.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int
    launcher: int | None = None
    is_elastic: bool = False
    has_agent_store: bool = False
    attempt: int = 0

    @property
    def parent(self) -> int | None:
        """The process whose end this one must not outlive; None where nobody knows it."""
        return self.launcher or (os.getppid() if self.is_elastic else None)

    @property
    def holds_store(self) -> bool:
        """Whether this process is the one where all others meet."""
        return self.rank == 0 and not self.has_agent_store

    def again(self, command: str) -> str:
        """How a command, `laconic ...`, is started again by as many processes.

        >>> RankPlace(0, 2, 0, 2, "127.0.0.1", 29500, launcher=1).again("laconic train demo")
        'laconic train demo --processes 2'
        >>> RankPlace(0, 2, 0, 2, "127.0.0.1", 29500, is_elastic=True).again("laconic train demo")
        'torchrun --nproc-per-node 2 -m laconic train demo'
        """
        if self.launcher is not None:
            return f"{command} --processes {self.size}"
        nodes = "" if self.size == self.local_size else "... "
        return f"torchrun {nodes}--nproc-per-node {self.local_size} -m {command}" if self.is_elastic else command


def read_place(environment: Mapping[str, str] = os.environ) -> RankPlace | None:
    """The place of this process; None where it is alone. Raises `InputError` where the variables contradict one another."""
    if not environment.get("WORLD_SIZE"):
        return None
    size = _whole(environment, "WORLD_SIZE", 1)
    if size == 1:
        return None
    for name in NEEDED:
        if not environment.get(name):
            raise InputError(
                f"WORLD_SIZE is {size} in the environment, but {name} is not there; start all processes with torchrun or with "
                "--processes, or unset WORLD_SIZE to run in one"
            )
    local = "LOCAL_RANK" in environment
    place = RankPlace(
        rank=_whole(environment, "RANK", 0, size - 1),
        size=size,
        local_rank=_whole(environment, "LOCAL_RANK", 0, size - 1) if local else 0,
        local_size=_whole(environment, "LOCAL_WORLD_SIZE", 1, size) if "LOCAL_WORLD_SIZE" in environment else 1,
        address=environment["MASTER_ADDR"],
        port=_whole(environment, "MASTER_PORT", 1, 65535),
        launcher=_whole(environment, LAUNCHER, 1) if LAUNCHER in environment else None,
        is_elastic="TORCHELASTIC_RUN_ID" in environment,
        has_agent_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=_whole(environment, RESTARTS, 0) if environment.get(RESTARTS) else 0,
    )
    if local and place.local_rank >= place.local_size:
        raise InputError(
            f"LOCAL_RANK is {place.local_rank} in the environment, but LOCAL_WORLD_SIZE is {place.local_size}; "
            "start all processes with torchrun or with --processes"
        )
    return place


def check_alone(what: str, remedy: str) -> None:
    """Raises `InputError` where this process is one of several and `what` is not shared out; `remedy` says what to do."""
    place = read_place()
    if place is not None:
        raise InputError(f"{what}: runs in one process, and this is rank {place.rank} of {place.size}; {remedy}")


def speaks_for_machine(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the one that says what all processes of its machine would say, such as that an option is wrong.

    Where the variables contradict one another, nobody knows whether there is another process that would say it.
    """
    try:
        place = read_place(environment)
    except InputError:
        return True
    return place is None or (place.local_rank if "LOCAL_RANK" in environment else place.rank) == 0


def _whole(environment: Mapping[str, str], name: str, least: int, most: int | None = None) -> int:
    text = environment[name]
    number = int(text) if text.isdecimal() and len(text) < 10 else -1
    if number < least or (most is not None and number > most):
        upper = "" if most is None else f" and at most {most}"
        raise InputError(f"{name} is {text[:40]!r} in the environment; expected a number of at least {least}{upper}")
    return number


def host_name() -> str:
    """The name of this machine."""
    return platform.node() or "this machine"
