"""A JSON object read key by key: each method returns a value of one kind, or raises an error of one line.

`Fields` knows where its object comes from (file and line) and begins every error with it: `FILE, line 3: num_tokens is '9',
expected a whole number from 0 up`. What is left out: reading files (`files.py`), and what the values mean.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from laconic.errors import InputError

T = TypeVar("T")
W = TypeVar("W", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Fields:
    """The keys of one JSON object, which comes from `where`. A value of another kind than a method returns raises `InputError`,
    which names place and key."""

    record: Mapping[str, Any]
    where: str

    def __contains__(self, key: str) -> bool:
        return key in self.record

    def need(self, keys: Sequence[str]) -> None:
        """Raise `InputError` unless all of `keys` are there."""
        for key in keys:
            if key not in self.record:
                raise InputError(f"{self.where}: {key} is missing")

    def wrong(self, key: str, expected: str) -> InputError:
        """The error to raise for a value of another kind than `expected`."""
        if key not in self.record:
            return InputError(f"{self.where}: {key} is missing")
        return InputError(f"{self.where}: {key} is {self.record[key]!r:.80}, expected {expected}")

    def maybe(self, key: str, read: Callable[[str], T]) -> T | None:
        """`read(key)`; None where the key is missing or null."""
        return None if self.record.get(key) is None else read(key)

    def text(self, key: str, default: str | None = None) -> str:
        """The text under the key; `default` where the key is missing."""
        value = self.record.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of the list under the key; none where the key is missing or null."""
        value = self.record.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def whole(self, key: str) -> int:
        """The whole number under the key, from 0 up."""
        value = self.record.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, "a whole number from 0 up")
        return value

    def number(self, key: str) -> float:
        """The number under the key, as an int where it is written as one."""
        value = self.record.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """The numbers of the list under the key."""
        value = self.record.get(key)
        if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
            raise self.wrong(key, "a list of numbers")
        return tuple(value)

    def wholes(self, key: str) -> tuple[int, ...]:
        """The whole numbers of the list under the key."""
        value = self.record.get(key)
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise self.wrong(key, "a list of whole numbers")
        return tuple(value)

    def truth(self, key: str) -> bool:
        """The truth value under the key."""
        value = self.record.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def word(self, key: str, kind: type[W]) -> W:
        """The word under the key, as a member of `kind`."""
        try:
            return kind(str(self.record.get(key)))
        except ValueError:
            raise self.wrong(key, f"one of {', '.join(kind)}") from None

    def object(self, key: str) -> "Fields":
        """The object under the key; an empty one where the key is missing or null."""
        value = self.record.get(key)
        if not isinstance(value, dict | None):
            raise self.wrong(key, "an object")
        return Fields(value or {}, f"{self.where}: {key}")

    def objects(self, key: str) -> Iterator["Fields"]:
        """The objects of the list under the key."""
        value = self.record.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, "a list of objects")
        return (Fields(item, f"{self.where}: {key}[{i}]") for i, item in enumerate(value))
