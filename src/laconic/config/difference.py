"""The keys at which two JSON trees differ, named as overrides name them.

A run or a sweep that is resumed with another recipe names this key in its error.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """The dotted key at which two JSON trees differ, with both values; `owner` is the table that holds the key in the first."""

    key: str
    ours: Any
    theirs: Any
    owner: Any = None

    @property
    def is_addition(self) -> bool:
        """Whether the first tree lacks the key."""
        return self.ours is _ABSENT

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the key, and its value before and after; null where one tree lacks it."""
        before, after = (None if value is _ABSENT else value for value in (self.ours, self.theirs))
        return {"key": self.key, "was": before, "is": after}

    @property
    def sentence(self) -> str:
        """The difference in words.

        >>> Difference("seed", 0, 1).sentence
        'seed was 0 and is now 1'
        """
        return f"{self.key} was {_shown(self.ours)} and is now {_shown(self.theirs)}"


def first_difference(ours: Any, theirs: Any) -> Difference | None:
    """The first difference of two JSON trees, or None. Items of a list that have names are addressed by them, as in overrides.

    >>> first_difference({"phases": [{"name": "short", "steps": 8}]}, {"phases": [{"name": "short", "steps": 9}]}).key
    'phases.short.steps'
    """
    return next(differences(ours, theirs), None)


def differences(ours: Any, theirs: Any, key: str = "", owner: Any = None) -> Iterator[Difference]:
    """Every difference of two JSON trees, in the order of the first. Lists of different lengths are one difference."""
    if isinstance(ours, dict) and isinstance(theirs, Mapping):
        keys = [*ours, *(name for name in theirs if name not in ours)]
        pairs = [(name, ours.get(name, _ABSENT), theirs.get(name, _ABSENT)) for name in keys]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(_place(a, i), a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True))]
    else:
        if ours != theirs:
            yield Difference(key or "recipe", ours, theirs, owner)
        return
    for name, a, b in pairs:
        yield from differences(a, b, f"{key}.{name}".lstrip("."), ours)


def _place(item: Any, index: int) -> str:
    """How overrides address a list's item: by its name, or by its number where it has none; a reward's file goes without its
    folder."""
    name = item.get("name") if isinstance(item, dict) else None
    return str(index) if name is None else Path(str(name)).name


def _shown(value: Any) -> str:
    """A value as a recipe would write it; for a table or a list of tables, its number of items."""
    if value is _ABSENT:
        return "absent"
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
        return f"{len(value)} items"
    return json.dumps(value, ensure_ascii=False)
