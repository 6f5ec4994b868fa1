"""The one place where a process finds out that it is one of several."""

import os
from contextlib import AbstractContextManager, nullcontext

from laconic.parallel.team import ALONE, Team


def is_in_team() -> bool:
    """Whether this process was started as one of several: torchrun and its like set WORLD_SIZE, beside RANK, LOCAL_RANK,
    MASTER_ADDR and MASTER_PORT."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join_team(device: str) -> AbstractContextManager[Team]:
    """The team of this process, which it leaves in the end: the one that the environment names, or `ALONE`. `device` is that of
    the recipe ("auto", "cpu", "cuda")."""
    if not is_in_team():
        return nullcontext(ALONE)
    from laconic.parallel.processes import process_team

    return process_team(device)
