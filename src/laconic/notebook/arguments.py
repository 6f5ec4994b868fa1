"""Checks what the functions of the front door are given, before anything is read or drawn: one line for a value of another kind.

1. `path_of` takes a text or a path.
2. `sets_of` takes one set of problems, or several.
3. Numbers and names are checked by tables like those of a recipe (`config/node.py`), one beside each function.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.system.text import brief
from laconic.types import Problem


def path_of(given: object, name: str, expected: str = "a path") -> Path:
    """The path that the argument `name` is. Raises `InputError`, which says what is `expected`, for anything else.

    >>> path_of(3, "out")
    Traceback (most recent call last):
    ...
    laconic.errors.InputError: out: expected a path, got 3
    """
    path: Any = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(path, str) or not path:
        raise InputError(f"{name}: expected {expected}, got {brief(given)}")
    return Path(path)


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
