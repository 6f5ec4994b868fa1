r"""Text from outside: what a file, a server or a person wrote, when it is read and when it is shown.

1. `parse_json` and `parse_toml` are the doors through which written values come in. What goes through can be written again: it
   is nested at most `MOST_DEPTH` deep, its texts have a UTF-8 form, and in JSON numbers are finite and a key stands only once.
   Anything else is one `InputError` of one line.
2. `well_formed` makes text that has a UTF-8 form of any text, for replies, which nobody can mend.
3. `printable` is what a terminal may show of a text: control characters, which could move the cursor, recolour the screen or
   turn the direction of writing, are shown as escapes. `in_two_lines` is the form of every error that a person reads, and
   `brief` shows any value in a message.

JSON has `\ud800` for half of a character, which no encoding can write, and Python reads `NaN` where JSON has no such number.
What is left out: what the values mean (`fields.py`), and which file they are in (`files.py`).
"""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterable
from math import isfinite
from typing import Any, NoReturn

from laconic.errors import InputError

MOST_DEPTH = 100
MOST_BITS = 4096
MOST_LINE = 1000  # characters of a line of an error
MOST_VALUE = 80  # characters of a value in a message
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
_LARGE_EXPONENT = re.compile(r"[eE]\+?\d{3}")


# --- reading ---------------------------------------------------------------------------------------------------------


def parse_json(content: bytes, where: str, *, is_reply: bool = False) -> Any:
    """The value that `content` spells in JSON. Raises `InputError` beginning with `where` where it spells none that can be
    stored.

    A reply is read as far as it can be: broken UTF-8 is replaced, NaN and infinities are null, halves of characters stay.
    """
    try:
        text = content.decode("utf-8-sig", "replace" if is_reply else "strict")
        reader = _READERS[is_reply, _LARGE_EXPONENT.search(text) is not None]
        value = reader.decode(text)
    except UnicodeDecodeError as error:
        place = f"byte {content[error.start]:#04x} at position {error.start}"
        raise InputError(f"{where}: not UTF-8 ({place})") from error
    except RecursionError:
        raise InputError(f"{where}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({_long_number(error) or error})") from error
    has_halves = not is_reply and ("\\ud" in text or "\\uD" in text)
    if has_halves or text.count("[") + text.count("{") > MOST_DEPTH:
        check_values(value, where, is_checked_inside=not is_reply)
    return value


def parse_toml(content: bytes, where: str) -> dict[str, Any]:
    """The table that `content` spells in TOML. Raises `InputError` beginning with `where` as `parse_json` does, but for
    its numbers: TOML has infinities, and whether one is meant is for the field's owner to say."""
    import tomllib  # late: the command line imports this module for every command

    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise InputError(f"{where}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise InputError(f"{where}: {_long_number(error) or error}") from None
    check_values(table, where)
    return table


def _long_number(error: ValueError) -> str:
    """What is wrong where Python refuses to read a number for its length, and advises a programmer; else nothing."""
    return "a number of thousands of digits" if "set_int_max_str_digits" in str(error) else ""


def check_values(tree: Any, where: str, *, is_checked_inside: bool = True, refused: str = "") -> None:
    """Raise `InputError` where `tree` is nested too deep or, inside it, a text or a number cannot be written again: half of a
    character, one of `refused`, a number of more digits than Python writes."""
    level = [tree]
    for _ in range(MOST_DEPTH + 1):
        for value in level if is_checked_inside else ():
            _check_value(value, where, refused)
        level = [part for value in level for part in _parts(value)]
        if not level:
            return
    raise InputError(f"{where}: {_TOO_DEEP}")


def _check_value(value: Any, where: str, refused: str) -> None:
    if isinstance(value, str) and (half := _HALF.search(value)):
        raise InputError(f"{where}: holds {half[0]!a}, half of a character, which no text can hold")
    if isinstance(value, str) and (found := set(value) & set(refused)):
        raise InputError(f"{where}: holds {found.pop()!a} in {brief(value)}, expected text without it")
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise InputError(f"{where}: holds a number that is too large")


def well_formed(text: str) -> str:
    """The text with a replacement character for each half of a character.

    >>> well_formed("4\\ud800"), well_formed("fine")
    ('4\ufffd', 'fine')
    """
    return _HALF.sub("\ufffd", text)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (*value, *value.values())
    return value if isinstance(value, list | tuple) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys differ: Python would keep the last of two values without a word."""
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {brief(twice)} stands twice in one object")
    return record


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number; what does not exist is null")


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{text:.40} is beyond the range of floating point")
    return value


_TOO_DEEP = f"nested more than {MOST_DEPTH} deep"


def _finite_or_none(text: str) -> float | None:
    return value if isfinite(value := float(text)) else None


_READERS = {
    (False, False): json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse),
    (False, True): json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite),
    (True, False): json.JSONDecoder(parse_constant=lambda _: None),
    (True, True): json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite_or_none),
}
"""What reads a file or a reply, by whether it has an exponent of three digits: a function for each number takes time."""


# --- showing ---------------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    r"""The text as a terminal may show it: control characters as escapes; line ends and tabs stay.

    >>> printable("\x1b[31mred\x1b[0m\n\tplain")
    '\\x1b[31mred\\x1b[0m\n\tplain'
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def in_two_lines(text: str) -> str:
    """At most two printable lines of at most `MOST_LINE` characters: the first line that is not empty, and all others as one.

    >>> in_two_lines("what\\n\\nand\\nwhere")
    'what\\nand where'
    """
    half = 50 * MOST_LINE  # of a text that nobody would read to its end
    text = text if len(text) <= 2 * half else f"{text[:half]}\n{text[-half:]}"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return "\n".join(_cut(line) for line in (*lines[:1], " ".join(lines[1:])) if line)


def brief(value: object, most: int = MOST_VALUE) -> str:
    """The value as Python writes it, in at most `most` characters, however large and deep it is.

    >>> brief("x" * 100, 11), brief([1.5, None])
    ("'xx...xxx'", '[1.5, None]')
    """
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = shown.maxlong = most
    try:
        text = printable(shown.repr(value))
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def put(text: object = "") -> None:
    """Print a result, as a terminal may show it."""
    print(printable(str(text)))


def _cut(line: str) -> str:
    """The line without its middle where it is too long: what is wrong stands at the front, the remedy at the end."""
    line = printable(line)
    half = (MOST_LINE - 5) // 2
    return line if len(line) <= MOST_LINE else f"{line[:half]} ... {line[-half:]}"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "problem"), counted(1200, "problem")
    ('1 problem', '1,200 problems')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
