r"""Rules that compare two answers as one thing each: numbers, letters, words, powers, clock times, numerals, polynomials.

1. A rule takes the cleaned gold answer, the cleaned answer, and `equal`, which compares parts of them by all the rules.
2. It returns True or False where it decides, `OPEN` where only an algebra engine can tell, and None where the pair is none
   of its business. `grading.RULES` says in which order the rules are asked.

What is left out: answers made of parts and equations (`composite_rules.py`), and algebra.
"""

import re
from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from math import gcd

from laconic.grading.normal_form import MAX_POWER, compact, is_dangerous
from laconic.grading.numbers import exact_number, is_double_precision, quantity
from laconic.grading.polynomials import read_polynomial

DOUBLE_DIGITS = 18


class Open(Enum):
    """The verdict that string and number comparison cannot give."""

    OPEN = "open"


OPEN = Open.OPEN
Verdict = bool | Open
Equal = Callable[[str, str], Verdict]
Rule = Callable[[str, str, Equal], Verdict | None]
"""What a rule says of (gold, answer); None where the pair is none of its business."""


def by_number(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Two numbers, with percent signs and units, are compared as fractions; a number never equals plain words."""
    wanted, given = quantity(_unbracketed(gold, r"0\d\d")), quantity(_unbracketed(answer, r"\d{3}"))
    value = _value(wanted.body)
    if value is None:
        return _decimal_comma(answer, gold) if re.fullmatch(r"-?(?:0,\d+|\d+,\d\d+)", gold) else None
    other = _value(given.body)
    if other is None:
        return False if _words(answer).isalpha() and answer.isascii() else _decimal_comma(gold, answer)
    return not units_disagree(wanted.unit, given.unit) and _same_number(wanted.body, value, given.body, other)


def _value(body: str) -> Fraction | None:
    return exact_number(body.rstrip("% "))


def _unbracketed(text: str, group: str) -> str:
    """`(1,000)` as a number; of a gold answer only where a group begins with 0, so that it cannot be a tuple."""
    return text[1:-1] if re.fullmatch(rf"\([1-9]\d{{0,2}}(?:,\d{{3}})*,{group}(?:,\d{{3}})*\)", text) else text


def _decimal_comma(point: str, comma: str) -> Verdict | None:
    """`3,14` for 3.14: the number with a point says that the other is no list."""
    if re.fullmatch(r"-?\d*\.\d+", point) and re.fullmatch(r"-?\d+,\d+", comma):
        return exact_number(point) == exact_number(comma.replace(",", "."))
    return None


def _same_number(gold: str, value: Fraction, answer: str, other: Fraction) -> bool:
    r"""Equal fractions, or one a printed double of the other. `25\%` is 25 as well as 0.25."""
    if gold.endswith("%") != answer.endswith("%"):
        bare, percent = (other, value) if gold.endswith("%") else (value, other)
        is_unambiguous = gold.endswith("%") or abs(percent) > 1
        return bare == percent / 100 or (is_unambiguous and bare == percent)
    if value == other:
        return True
    is_double = is_double_precision(answer, other) or is_double_precision(gold, value)
    return (
        is_double and abs(value - other) <= Fraction(2, 10**15) * abs(value) and not _is_longer(answer, value - other)
    )


def _is_longer(answer: str, error: Fraction) -> bool:
    """A decimal with more digits than a double has, not all of them right: no printed double."""
    decimals = len(compact(answer).partition(".")[2])
    return decimals > DOUBLE_DIGITS and abs(error) * 10**decimals >= 1


def units_disagree(unit: str, other: str) -> bool:
    """Two units that measure something, and not the same."""
    return bool(unit and other) and unit != other


_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Ja-j])"
    r"(?:\s*[).:](?!\s*(?:or|and|,|/))(?!.*\b[A-J]\s*[).:]).*"  # (B) 7
    r"|,?\s+(?:because|since|as)\b.*|\s+(?!or\b|and\b|[A-J]\b|[=+\-*/^<>,]).*)?",  # B because
    re.IGNORECASE | re.DOTALL,
)


def choice_letter(text: str, has_choices: bool) -> str | None:
    """The one choice that a cleaned answer names: `B`, `(B)`, `B) 7`, `Option B`; lower case only with choices."""
    match = _LETTER.fullmatch(text)
    if match is None or not (has_choices or match[1].isupper()):
        return None
    return match[1].upper()


def by_letter(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """A gold answer that is one capital letter is a choice."""
    if re.fullmatch(r"[A-J]", gold) is None:
        return None
    return choice_letter(answer, False) == gold


def by_words(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Words are compared without case and articles; a gold answer of words equals nothing else."""
    wanted, given = _words(gold), _words(answer)
    if not wanted.isalpha() or len(wanted) < 2 or "=" in answer:
        return None
    if wanted == given:
        return True
    return False if len(wanted) >= 4 else None


def _words(text: str) -> str:
    return re.sub(r"^(?:the|an?)(?=\s)|[\s\-.,']", "", text.strip().lower())


def by_danger(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """What must not be computed is equal only as a string, and the strings differ."""
    return False if is_dangerous(answer) or is_dangerous(gold) else None


_POWER = re.compile(r"(\d{1,30})\^\{?(\d{1,10})\}?")


def by_power(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Two powers of whole numbers, however large: a^n = c^m where a^(n/g) = c^(m/g), g the common divisor of n and m."""
    wanted, given = _POWER.fullmatch(compact(gold)), _POWER.fullmatch(compact(answer))
    if wanted is None or given is None or 0 in (int(wanted[2]), int(given[2])):
        return None
    (base, exponent), (other, power) = (map(int, wanted.groups()), map(int, given.groups()))
    common = gcd(exponent, power)
    if max(exponent, power) // common > MAX_POWER:
        return base == other and (exponent == power or base < 2)
    return bool(base ** (exponent // common) == other ** (power // common))


_CLOCK = re.compile(r"(\d+(?::\d+)+)(?:([AaPp])\.?[Mm]\.?)?")
_BASED = re.compile(r"\(?[0-9A-Za-z]+\)?_(?:\{[0-9a-z ()]+\}|\d)")


def by_clock(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Clock times as written, with am and pm where both have it; ratios also as fractions where no time can be meant."""
    wanted, given = _CLOCK.fullmatch(compact(gold)), _CLOCK.fullmatch(compact(answer))
    if "=" in gold + answer or not (wanted or given):
        return None
    if wanted and given:
        halves = {half.lower() for half in (wanted[2], given[2]) if half}
        return len(halves) < 2 and (wanted[1] == given[1] or _ratio(wanted[0]) == (_ratio(given[0]) or -1))
    return wanted is not None and (_ratio(wanted[0]) or -1) == exact_number(answer)


def _ratio(text: str) -> Fraction | None:
    """3:4 as 3/4; None for a time of day (minutes have two digits) and for more than two terms."""
    match = re.fullmatch(r"(\d+):([1-9])|(\d{3,}):(\d+)", text)
    return Fraction(int(match[1] or match[3]), int(match[2] or match[4]) or 1) if match else None


def by_notation(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Numerals in a base are compared as written; `4 2` is not 42; primes agree in number."""
    if _BASED.fullmatch(gold) or _BASED.fullmatch(answer):
        return None if "=" in gold + answer else _numeral(gold) == _numeral(answer)
    are_letters = len(gold) == len(answer) == 1 and gold.isalpha() and answer.isalpha()
    is_spaced = re.search(r"(?<!_)\d \d", compact(answer)) and not re.search(r"\d \d", compact(gold))
    return False if are_letters or is_spaced or gold.count("'") != answer.count("'") else None


_NUMERALS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}


def _numeral(text: str) -> str:
    text = re.sub(r"[{}()]", "", compact(text))
    head, _, base = text.partition("_")
    return f"{head.upper() if any(c.isdigit() for c in head) else head}_{_NUMERALS.get(base.strip(), base.strip())}"


def by_polynomial(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Two plain sums of terms are equal where their coefficients are."""
    wanted = read_polynomial(gold)
    given = None if wanted is None else read_polynomial(answer)
    return None if given is None else wanted == given


def by_guesses(_gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """What still says "or" is a list of guesses."""
    return False if re.search(r"(?<![A-Za-z])or(?![a-z])", answer) else None
