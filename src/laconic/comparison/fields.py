"""Reads a JSON object field by field: each value has the expected type, or the error names its place in one line.

An absent key reads like null: the value is unknown. Files of older versions lack keys, and their readers say so or leave the part
out. A value of another type is refused with its dotted place (`candidates.0.tokens_change`) and never converted. This module
opens no files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from types import NoneType
from typing import Any

from laconic.errors import InputError
from laconic.statistics.intervals import Interval

Kinds = type | tuple[type, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object. `file` names the file it was read from, `place` its dotted place in the file ("" at the top)."""

    held: Mapping[str, Any]
    file: str
    place: str = ""

    def text(self, key: str) -> str | None:
        """A string, `None` if it is unknown."""
        value: str | None = self._value(key, str, "a string")
        return value

    def count(self, key: str) -> int | None:
        """A whole number, `None` if it is unknown."""
        value: int | None = self._value(key, int, "a whole number")
        return value

    def number(self, key: str) -> float:
        """A number, `nan` if it is unknown."""
        value: float | None = self._value(key, (int, float), "a number")
        return _known(value)

    def flag(self, key: str) -> bool:
        """True or false; an unknown flag is false, because a claim must have been shown."""
        return self._value(key, bool, "true or false") is True

    def texts(self, key: str) -> tuple[str, ...]:
        """The strings of a list, empty if it is unknown."""
        return tuple(self._items(key, str, "a string"))

    def inner(self, key: str) -> "Fields":
        """The object under `key`, an empty one if it is unknown."""
        return Fields(self._value(key, Mapping, "an object") or {}, self.file, self._dotted(key))

    def inner_by_name(self, key: str) -> "dict[str, Fields]":
        """The objects inside the object under `key`, by name; empty if it is unknown."""
        outer = self.inner(key)
        return {name: outer.inner(name) for name in outer.held}

    def listed(self, key: str) -> "list[Fields]":
        """The objects of a list, empty if it is unknown."""
        items = self._items(key, Mapping, "an object")
        return [Fields(item, self.file, self._dotted(key, index)) for index, item in enumerate(items)]

    def interval(self, key: str) -> Interval:
        """`{"estimate": ..., "ci95": [low, high]}`, as `Interval.to_json` writes it; `nan` for what is unknown."""
        inner = self.inner(key)
        ends = [_known(end) for end in inner._items("ci95", (int, float, NoneType), "a number")] or [nan, nan]
        if len(ends) != 2:
            raise inner._refusal("two numbers", f"{len(ends)} of them", "ci95")
        return Interval(inner.number("estimate"), *ends)

    def _items(self, key: str, kinds: Kinds, words: str) -> list[Any]:
        """A list whose items are all of the given types."""
        items: list[Any] = self._value(key, list, "a list") or []
        return [self._checked(item, kinds, words, key, index) for index, item in enumerate(items)]

    def _value(self, key: str, kinds: Kinds, words: str) -> Any:
        value = self.held.get(key)
        return None if value is None else self._checked(value, kinds, words, key)

    def _checked(self, value: Any, kinds: Kinds, words: str, *where: object) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise self._refusal(words, "null" if value is None else type(value).__name__, *where)
        return value

    def _refusal(self, expected: str, found: str, *where: object) -> InputError:
        return InputError(f"{self.file}: {self._dotted(*where)}: expected {expected}, found {found}")

    def _dotted(self, *where: object) -> str:
        return ".".join(str(part) for part in (self.place, *where) if part != "")


def _known(value: float | None) -> float:
    return nan if value is None else float(value)
