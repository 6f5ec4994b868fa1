"""Thousands separators in lists: which commas belong to numbers, and which stand between them.

1. A group of three digits that begins with 0 belongs to the number before it: `1,000` is no pair.
2. Where a list has another separator as well (a comma with a space, a semicolon, a word), a comma without a space that is
   followed by three digits separates thousands: `(1,234, 5)` is a pair. Each bracket is judged by its own separators, so
   `(1,100), (2,200)` are two points.
3. Otherwise the commas may be either, and they stay as they are: `(1,234,5)` is a triple.

What is left out: a number that stands alone, `1,234` (`numbers.py`).
"""

import re

_TIGHT_COMMA = re.compile(r"\d,\d{3}(?!\d)")
_ZERO_GROUP = re.compile(r"(?<![\d.])[1-9]\d{0,2}(?:,\d{3})*?,0\d\d(?:,\d{3})*(?!\d)")
_GROUPED = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d+)?(?!,\d)")
_MARKS = re.compile(
    r"(?P<separator>[,;]|(?<![A-Za-z\\])(?:and|or)(?![a-z]))|(?P<open>\\\{|[{(\[])|(?P<close>\\\}|[})\]])|\\.",
    re.DOTALL,
)


def without_thousands(text: str) -> str:
    """The text of an answer whose lists have no thousands separators any more.

    >>> without_thousands("(1,234, 5)"), without_thousands("[1,000,2,000]"), without_thousands("(1,234,5)")
    ('(1234, 5)', '[1000,2000]', '(1,234,5)')
    """
    if not _TIGHT_COMMA.search(text):
        return text
    text = _ZERO_GROUP.sub(_joined, text)
    commas = _commas_of_numbers(text)
    return _GROUPED.sub(lambda m: _joined(m) if text.index(",", m.start()) in commas else m[0], text)


def _joined(match: re.Match[str]) -> str:
    return match[0].replace(",", "")


def _commas_of_numbers(text: str) -> set[int]:
    """The places of commas without a space, in brackets that have another separator as well."""
    found: set[int] = set()
    levels: list[tuple[list[int], list[int]]] = [([], [])]  # commas without a space, and other separators
    for match in _MARKS.finditer(text):
        if match["separator"]:
            is_tight = match[0] == "," and text[match.end() : match.end() + 1].isdigit()
            levels[-1][0 if is_tight else 1].append(match.start())
        elif match["open"]:
            levels.append(([], []))
        elif match["close"] and len(levels) > 1:
            tight, others = levels.pop()
            found.update(tight if others else ())
    for tight, others in levels:
        found.update(tight if others else ())
    return found
