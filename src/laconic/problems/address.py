"""Reads an address of problems, `NAME?arg=value&arg=value`, which looks the same for every kind of source.

1. `read_address` splits the arguments off the name. A file whose own name contains a question mark is found under that name.
2. `count` takes the first problems of a source. It means the same everywhere, so it is read here. The other arguments are
   left to the kind of source, which refuses unknown ones with `refuse_unknown`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from laconic.config.node import MOST_PROBLEMS
from laconic.errors import ProblemsError
from laconic.rng import LARGEST_SEED
from laconic.system.text import brief

COMMON_ARGUMENTS = ("count",)
"""Arguments that every kind of source understands."""

Value = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address. `source` is the whole text; `count` is None if neither the address nor the caller limits it."""

    source: str
    name: str
    count: int | None
    arguments: Mapping[str, Value]

    def refuse_unknown(self, *known: str) -> None:
        """Raises `ProblemsError` for an argument that is neither common to all sources nor among `known`."""
        for key in self.arguments:
            if key not in known:
                expected = ", ".join((*COMMON_ARGUMENTS, *known))
                one_of = "one of " if known else ""
                raise ProblemsError(f"{self.source}: unknown argument {key!r}; expected {one_of}{expected}")

    def whole_number(self, key: str, default: int, least: int, most: int = LARGEST_SEED) -> int:
        """The argument `key`. Raises `ProblemsError` where it is not a whole number from `least` to `most`."""
        value = self.arguments.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ProblemsError(f"{self.source}: {key} must be a whole number of at least {least}, got {brief(value)}")
        if value > most:
            raise ProblemsError(f"{self.source}: {key} must be a whole number of at most {most}, got {brief(value)}")
        return value


def read_address(source: str, count: int | None = None) -> Address:
    """Read an address. The caller may ask for `count` problems, but not for more than the address itself states.

    Raises `ProblemsError` for an argument without a value or given twice, and for a count that is invalid or larger than the
    one in the address.

    >>> address = read_address("gym:chain_sum?max_terms=4&count=50", count=20)
    >>> address.name, address.count, address.arguments
    ('gym:chain_sum', 20, {'max_terms': 4})
    """
    name, text = _halves(source)
    address = Address(source, name, count, {} if text is None else _arguments(source, text))
    if "count" not in address.arguments:
        return address
    most = address.whole_number("count", 1, least=1, most=MOST_PROBLEMS)
    if count is not None and count > most:
        raise ProblemsError(f"{source}: {count} problems asked for, but its count is {most}")
    arguments = {key: value for key, value in address.arguments.items() if key != "count"}
    return Address(source, name, most if count is None else count, arguments)


def name_of(source: str) -> str:
    """An address without its arguments.

    >>> name_of("gsm8k?count=50"), name_of("data/math500.jsonl")
    ('gsm8k', 'data/math500.jsonl')
    """
    return _halves(source)[0]


def _halves(source: str) -> tuple[str, str | None]:
    """The name, and the text after its last question mark; `None` if there is none, or if a file has the whole text as name."""
    name, question_mark, text = source.rpartition("?")
    if not question_mark or _is_path(source):
        return source, None
    return name, text


def _is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # it is too long for a name
        return False


def _arguments(source: str, text: str) -> dict[str, Value]:
    arguments: dict[str, Value] = {}
    for piece in text.split("&"):
        key, equals, value = piece.partition("=")
        if not (key and equals and value) or key in arguments:
            raise ProblemsError(f"{source}: {piece!r} must be one arg=value, each argument once")
        arguments[key] = parsed(value)
    return arguments


def parsed(value: str) -> Value:
    """An int, a finite float or a bool if the text spells one, otherwise the text itself.

    >>> parsed("3"), parsed("0.5"), parsed("true"), parsed("easy"), parsed("inf")
    (3, 0.5, True, 'easy', 'inf')
    """
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for read in (int, float):
        try:
            number = read(value)
        except ValueError:
            continue
        return value if isinstance(number, float) and not isfinite(number) else number
    return value
