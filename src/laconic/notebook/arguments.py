"""Checks what the functions of the front door are given, before anything is read or drawn: one line for a value of another kind.

1. `sets_of` takes one set of problems, or several; paths are checked by `path_of` (`system/files.py`).
2. Numbers and names are checked by tables like those of a recipe (`config/node.py`), one beside each function.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from laconic.errors import InputError
from laconic.system.text import brief
from laconic.types import Problem


def sets_of(given: object, name: str) -> list[str | Path | Sequence[Problem]]:
    """The sets of problems that the argument `name` holds: each an address or a list of problems; one address is one set.
    Raises `InputError` for anything else."""
    wanted = f"{name}: expected a list of addresses or lists of problems"
    if isinstance(given, str | Path):
        return [given]
    if not isinstance(given, Iterable):
        raise InputError(f"{wanted}, got {brief(given)}")
    sets = list(given)
    for one in sets:
        if isinstance(one, str | Path):
            continue
        if not isinstance(one, Sequence) or not all(isinstance(problem, Problem) for problem in one):
            raise InputError(f"{wanted}; one of them is {brief(one)}")
    return sets
