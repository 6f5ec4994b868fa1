"""A JSON object read key by key: each method returns a value of one kind, or raises an error of one line.

1. `Fields` knows where its object stands: the file, its line, and the dotted place in it. All of that opens every complaint:
   `FILE, line 3: rollouts.0.num_tokens is '9', expected a whole number from 0 up`.
2. A key that is missing is refused. Files of older versions lack keys, and whoever reads them says what that means: `maybe` gives
   None, `figure` gives `nan`, `claim` false, `texts` and `figures` nothing, `object` an object without keys. For these null is
   as good as missing.

3. A key that nobody reads is a warning (`warn_of_unknown`, `warn_of_unread`): a newer version may have written it, but where a
   name was mistyped, the value that was meant would be missing without a word.

A value is never converted. What is left out: reading files (`files.py`), and what the values mean.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Any, TypeGuard, TypeVar

from laconic.errors import InputError, LaconicWarning
from laconic.system.text import brief

MAX_INTEGER = 2**64
"""Whole numbers are below it, as seeds are; greater ones would overflow where they are computed with."""

MAX_WHOLE = 2**53
"""No count is larger: beyond it floating point, with which means are computed, no longer tells whole numbers apart."""

_T = TypeVar("_T")
_W = TypeVar("_W", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object. `origin` names file and line, `place` where in it the object stands ("" at the top).

    Every method raises `InputError` naming both and the key where the value is of another kind.
    """

    record: Mapping[str, Any]
    origin: str
    place: str = ""

    def __contains__(self, key: str) -> bool:
        return key in self.record

    @property
    def where(self) -> str:
        """Origin and place."""
        return f"{self.origin}: {self.place}" if self.place else self.origin

    def need(self, keys: Sequence[str]) -> None:
        """Raise `InputError` unless all of `keys` are there."""
        for key in keys:
            if key not in self.record:
                raise self.wrong(key, "")

    def wrong(self, key: str, expected: str) -> InputError:
        """The error to raise for a value of another kind than `expected`."""
        if key not in self.record:
            return InputError(f"{self.origin}: {self._dotted(key)} is missing")
        return self._refusal(self.record[key], expected, key)

    def maybe(self, key: str, read: Callable[[str], _T]) -> _T | None:
        """What `read` makes of the key; None where it is missing or null."""
        return None if self.record.get(key) is None else read(key)

    def text(self, key: str, default: str | None = None) -> str:
        """The text under the key; `default` where the key is missing."""
        value = self.record.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where the key is missing or null."""
        return tuple(self.maybe(key, lambda key: self._items(key, "text", lambda item: isinstance(item, str))) or ())

    def whole(self, key: str) -> int:
        """The whole number under the key, from 0 up to `MAX_WHOLE`."""
        value = self.record.get(key)
        if not _is_integer(value) or value < 0:
            raise self.wrong(key, "a whole number from 0 up")
        if value > MAX_WHOLE:
            raise self.wrong(key, f"a whole number up to {MAX_WHOLE}")
        return value

    def integer(self, key: str) -> int:
        """A whole number, which may be negative, as a seed may."""
        value = self.record.get(key)
        if not _is_integer(value):
            raise self.wrong(key, "a whole number")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(self._items(key, "a whole number", _is_integer))

    def number(self, key: str) -> float:
        """The number under the key, as an int where it is written as one."""
        value = self.record.get(key)
        if not _is_number(value):
            raise self.wrong(key, "a number")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        return tuple(self._items(key, "a number", _is_number))

    def figure(self, key: str) -> float:
        """A statistic: `nan` where it is missing or null, for it does not exist."""
        value = self.maybe(key, self.number)
        return nan if value is None else float(value)

    def figures(self, key: str) -> tuple[float, ...]:
        """A list of statistics, null ones as `nan`; empty where the key is missing or null."""
        items = self.maybe(key, lambda key: self._items(key, "a number", lambda n: n is None or _is_number(n))) or ()
        return tuple(nan if item is None else float(item) for item in items)

    def truth(self, key: str) -> bool:
        """The truth value under the key."""
        value = self.record.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def claim(self, key: str) -> bool:
        """True or false; false where it is missing or null, for what was not shown is not claimed."""
        return self.maybe(key, self.truth) is True

    def word(self, key: str, kind: type[_W]) -> _W:
        """One of the words of `kind`."""
        try:
            return kind(str(self.record.get(key)))
        except ValueError:
            raise self.wrong(key, f"one of {', '.join(kind)}") from None

    def object(self, key: str) -> "Fields":
        """The object under the key; an empty one where the key is missing or null."""
        value = self.record.get(key)
        if not isinstance(value, dict | None):
            raise self.wrong(key, "an object")
        return Fields(value or {}, self.origin, self._dotted(key))

    def objects(self, key: str) -> "Iterator[Fields]":
        """The objects of the list under the key."""
        items = self._items(key, "an object", lambda item: isinstance(item, dict))
        return (Fields(item, self.origin, self._dotted(key, index)) for index, item in enumerate(items))

    def _items(self, key: str, expected: str, is_one: Callable[[Any], bool]) -> list[Any]:
        """The list under the key, if all its items are of the kind."""
        value = self.record.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        for index, item in enumerate(value):
            if not is_one(item):
                raise self._refusal(item, expected, key, index)
        return value

    def _refusal(self, value: Any, expected: str, *keys: str | int) -> InputError:
        return InputError(f"{self.origin}: {self._dotted(*keys)} is {brief(value)}, expected {expected}")

    def _dotted(self, *keys: str | int) -> str:
        return ".".join(str(part) for part in (self.place, *keys) if part != "")


def warn_of_unknown(keys: Iterable[str], where: str) -> None:
    """Warn of keys that this version does not know, if there are any; `where` names the file, and the line where it has lines."""
    if found := sorted(keys):
        named, others = brief(found[0]), f" and {len(found) - 1} others" if len(found) > 1 else ""
        what = f"{where}: nothing reads {named}{others}; mistyped, or written by another version"
        warnings.warn(what, LaconicWarning, stacklevel=3)


def warn_of_unread(record: Mapping[str, Any], again: Mapping[str, Any], where: str) -> None:
    """Warn of what a record says that is lost `again` when it is read and written. A key without a value says nothing."""
    warn_of_unknown(_lost(record, again, ()), where)


def _lost(record: Any, again: Any, place: tuple[str, ...]) -> Iterator[str]:
    if isinstance(record, Mapping) and isinstance(again, Mapping):
        for key, value in record.items():
            if key in again:
                yield from _lost(value, again[key], (*place, key))
            elif value not in (None, {}, []):
                yield ".".join((*place, key))
    elif isinstance(record, list) and isinstance(again, list):
        for index, (value, other) in enumerate(zip(record, again, strict=False)):
            yield from _lost(value, other, (*place, str(index)))


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a file is a number, neither nan nor infinite, that floating point can hold.

    >>> [is_finite_number(value) for value in (1, 0.5, True, "1", float("nan"), 10**400)]
    [True, True, False, False, False, False]
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_INTEGER


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, float) or _is_integer(value)
