"""The one place where a process finds out that it is one of several."""

from contextlib import AbstractContextManager, nullcontext

from laconic.parallel.place import read_place
from laconic.parallel.team import ALONE, Team


def join_team(device: str) -> AbstractContextManager[Team]:
    """The team of this process, which it leaves in the end: the one that the environment names, or `ALONE`. `device` is that of
    the recipe ("auto", "cpu", "cuda"). Raises `InputError` where the environment contradicts itself."""
    if read_place() is None:
        return nullcontext(ALONE)
    from laconic.parallel.processes import process_team

    return process_team(device)
