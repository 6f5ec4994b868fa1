r"""Exact numbers and quantities in cleaned answers.

1. `exact_number` reads integers, decimals, fractions, mixed and repeating numbers, scientific notation and small powers
   as a `Fraction`: nothing is rounded, and no power that would be large is computed.
2. `quantity` splits an answer into its number and its unit.

What is left out: conversion between units (two different units disagree), and floating point.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from math import prod

from laconic.grading.latex_tables import UNIT_NAMES, UNITS
from laconic.grading.normal_form import MAX_CHARS, compact, unit_formula

MAX_DIGITS = 1000
MAX_EXPONENT = 4000
MAX_TEN_DIGITS = 200
_NUMBER_WORDS = {
    "hundred": 100, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "mio": 10**6, "crore": 10**7, "billion": 10**9,
    "bn": 10**9, "trillion": 10**12, "quadrillion": 10**15,
}  # fmt: skip

_PLAIN = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)?(?:\.\d*)?"
_SIGNED = r"[+-]?" + _PLAIN
_DECIMAL = re.compile(
    r"(?P<digits>" + _PLAIN + r")(?:[eE](?P<e>[+-]?\d+)|(?:\\times|\\cdot|\*)10\^\{?(?P<ten>[+-]?\d+)\}?)?"
)
_RATIO = re.compile(rf"\\frac\{{({_SIGNED})\}}\{{({_SIGNED})\}}|({_PLAIN})/({_PLAIN})")
_MIXED = re.compile(r"(\d+)(?:\\frac\{(\d+)\}\{(\d+)\}| (\d+)/(\d+))")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\{?(\d+)\}?")
_MONTH, _DAY = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_SUM = re.compile(r"[+-]?\d{1,15}(?:[+-]\d{1,15})+")
_DATE = re.compile(rf"\d{{4}}-{_MONTH}-{_DAY}|(?:{_MONTH}-{_DAY}|{_DAY}-{_MONTH})-\d{{4}}|\d+(?:-\d+)*-0\d+(?:-\d+)*")
_POWER = re.compile(r"(?:\((?P<group>[^()]+)\)|(?P<base>[\d.,]+))\^(?:\{(?P<long>[+-]?\d+)\}|(?P<short>\d+))")
_SPACED_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?: \d{3})+(?![\d ])")
_TEN_POWER = re.compile(r"10\^(?:\{([+-]?\d+)\}|(\d+))")


def exact_number(text: str) -> Fraction | None:
    r"""The rational number that a cleaned answer spells; None where it spells none, or one that would be very long.

    Integers, decimals, thousands separators, scientific notation, fractions, mixed numbers, repeating decimals and
    small powers are read exactly.

    >>> exact_number(r"7\frac{3}{4}"), exact_number("1,234.50"), exact_number("9^{9999999}")
    (Fraction(31, 4), Fraction(2469, 2), None)
    """
    is_spaced_list = ", " in text
    text = _SPACED_THOUSANDS.sub(lambda m: m[0].replace(" ", ","), compact(text))
    sign = 1
    while text[:1] in ("+", "-") and len(text) > 1:
        sign, text = (-sign if text[0] == "-" else sign), text[1:]
    if is_spaced_list or not any(char.isdigit() for char in text):
        return None
    if _SUM.fullmatch(text) and not is_date(text):
        first, *others = re.findall(r"[+-]?\d+", text)
        return Fraction(sign * int(first) + sum(map(int, others)))
    if len(text) > MAX_DIGITS:
        return None
    value = _decimal(text)
    for read in (_ratio, _mixed, _repeating, _power):
        value = read(text) if value is None else value
    return None if value is None else sign * value


def is_date(text: str) -> bool:
    """Whether a compact answer is a date such as 2020-03-05, or another code with hyphens in which a number begins with 0."""
    return _DATE.fullmatch(text) is not None


def _decimal(text: str) -> Fraction | None:
    match = _DECIMAL.fullmatch(text)
    if match is None or not any(char.isdigit() for char in match["digits"]):
        return None
    exponent = int((match["e"] or match["ten"] or "0")[:10])
    if abs(exponent) > MAX_EXPONENT or (len(match["digits"]) > MAX_TEN_DIGITS and abs(exponent) > MAX_DIGITS):
        return None  # so that no number has more digits than Python writes
    return Fraction(match["digits"].replace(",", "")) * Fraction(10) ** exponent


def _ratio(text: str) -> Fraction | None:
    match = _RATIO.fullmatch(text)
    if match is None:
        return None
    above, below = exact_number(match[1] or match[3] or ""), exact_number(match[2] or match[4] or "")
    return above / below if above is not None and below else None


def _mixed(text: str) -> Fraction | None:
    match = _MIXED.fullmatch(text)
    if match is None:
        return None
    above, below = int(match[2] or match[4]), int(match[3] or match[5])
    return int(match[1]) + Fraction(above, below) if below else None


def _repeating(text: str) -> Fraction | None:
    match = _REPEATING.fullmatch(text)
    if match is None:
        return None
    whole, fixed, period = match[1] or "0", match[2], match[3]
    head = Fraction(int(whole + fixed), 10 ** len(fixed))
    return head + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))


def _power(text: str) -> Fraction | None:
    match = _POWER.fullmatch(text)
    if match is None:
        return None
    base, exponent = exact_number(match["group"] or match["base"]), int((match["long"] or match["short"])[:10])
    if base is None or abs(exponent) > MAX_EXPONENT or (base == 0 and exponent < 0):
        return None
    digits = max(len(str(base.numerator)), len(str(base.denominator)))
    return base**exponent if digits * abs(exponent) <= MAX_EXPONENT else None


_LONG_DECIMAL = re.compile(r"-?\d*\.\d+")


def is_double_precision(text: str, value: Fraction) -> bool:
    """True for a decimal with at least 15 significant digits that is not an integer: it was printed in double precision."""
    digits = compact(text).lstrip("-0.").replace(".", "")
    return bool(_LONG_DECIMAL.fullmatch(compact(text))) and len(digits) >= 15 and value.denominator != 1


_POWER_OF_UNIT = r"\^\{?[23]\}?"
_WORDS_AFTER = re.compile(
    r"^(?P<body>.*?(?:[\d})!%.]|\\pi|\d[a-z](?=\s*\\unit)))"
    rf"(?:(?P<marked>\s*\\unit\{{.*)|(?P<words>\s+[A-Za-z][A-Za-z .'/\-]*(?:\s?{_POWER_OF_UNIT})?"
    rf"|[a-z]{{2,}}(?:{_POWER_OF_UNIT})?))$"
)
_NOT_UNITS = re.compile(
    r"(?<![A-Za-z\\])(?:and|or|to|not|times|plus|minus|over|mod|is|if|for|dozens?|half|(?:less|more|fewer|greater) than|per mille"
    r"|out of|base|root|divided by|below zero|in (?:thousand|million|billion)s)(?![a-z])|[\\+=<>,]|^(?:[kB]$|score$"
    r"|point (?:zero|one|two|three|four|five|six|seven|eight|nine)|(?:halves|[a-z-]*(?:third|fourth|fifth|sixth|seventh|eighth"
    r"|ninth|tenth|eleventh|twelfth|teenth|tieth|hundredth|thousandth|illionth)s?|squared|cubed|doubled|tripled|halved|factorial"
    r"|inverse)(?![a-z]))"
)
"""Words with which the letters after a number say another value, or no plain one."""
_UNIT_END = re.compile(r"\}(?=[A-Za-z])")
_UNIT_POWER = re.compile(r"\^(?:\{[+-]?\d\}|[+-]?\d)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An answer without its unit, and the canonical name of the unit: `""` where there is none, or a noun that is not a unit of
    measurement. The name begins with `bare` where the unit is Greek letters that may be variables as well."""

    body: str
    unit: str = ""
    has_unit: bool = False


def quantity(text: str) -> Quantity:
    r"""Split a cleaned answer into its number and its unit.

    >>> quantity("12 students"), quantity(r"5 \unit{cm}^2").unit
    (Quantity(body='12', unit='', has_unit=True), 'cm^2')
    """
    match = _WORDS_AFTER.match(text) if len(text) <= MAX_CHARS else None
    if match is None or re.search(r"\d\s+[A-Za-z]{2,}", match["body"]):  # 12 hours 30 minutes
        return Quantity(text)
    words = _UNIT_END.sub("} ", match["marked"] or match["words"])
    words = re.sub(r"\\unit\{([^{}]*)\}", r"\1", words).strip(" .")
    if not words:
        return Quantity(text)
    unit = _unit_name(words)
    bare = "bare " if words.startswith("bare ") else ""
    formula = (
        bare + unit_formula(words.removeprefix("bare "))
        if match["marked"] or unit or len(words.split(maxsplit=1)[0]) >= 4
        else ""
    )
    if re.search(r"\d", _UNIT_POWER.sub("", words)) or _NOT_UNITS.search(words):  # 3 weeks 4 days
        return Quantity(text)
    if not (match["marked"] or _reads_as_unit(match["words"], unit)):
        return Quantity(text)
    # 5 million, and 5 millions
    numbers = (_NUMBER_WORDS.get(word.removesuffix("s"), 0) for word in words.lower().split())
    scales = [*takewhile(bool, numbers)]
    return _scaled(match["body"], words, scales) if scales else Quantity(match["body"].strip(), formula or unit, True)


def _reads_as_unit(words: str, unit: str) -> bool:
    """Bare letters after a number are a unit where they are a known one of two letters or more, or a separate word of four."""
    is_known = bool(unit) and len(words.strip()) > 1
    return is_known or (words[0] == " " and len(words.split(maxsplit=1)[0]) >= 4)


def _scaled(body: str, words: str, scales: Sequence[int]) -> Quantity:
    value = exact_number(body)
    rest = words.split(maxsplit=len(scales))[len(scales) :]
    if value is None:
        return Quantity(f"{body} {words}")
    scaled = value * prod(scales)
    spelled = str(scaled) if scaled.denominator > 1 else str(scaled.numerator)
    return Quantity(spelled, _unit_name(rest[0]) if rest else "", True)


def _unit_name(words: str) -> str:
    """The canonical name of a unit of measurement, `""` for any other noun."""
    words = re.sub(r"\s*(?:/|\bper\b)\s*", "/", words.strip().lower().rstrip("."))
    power = re.search(r"\^\{?(\d)\}?$|\b(squared|cubed)$|^(square|sq|cubic|cu)\b\.?", words)
    base = (words[: power.start()] + words[power.end() :]).strip() if power else words
    singular = "/".join(UNITS.get(w, UNITS.get(w.removesuffix("s"), w)) for w in base.split("/"))
    unit = UNITS.get(singular, singular if all(w in UNIT_NAMES for w in singular.split("/")) else "")
    if not unit or power is None:
        return unit
    word = power[2] or power[3] or ""
    return f"{unit}^{power[1] or ('3' if word.startswith('cu') else '2')}"
