r"""Polynomials compared term by term, as they are written, without algebra.

1. `read_polynomial` reads a sum of terms such as `3x^2y`, `-\frac{1}{2}x` or `7` as coefficients by monomial.
2. It returns None for anything else: brackets, functions, names of several letters, and the constants e and i.

What is left out: multiplying out; that takes an algebra engine.
"""

import re
from fractions import Fraction

from laconic.grading.normal_form import compact
from laconic.grading.numbers import exact_number

MAX_TERMS = 1000
Monomial = tuple[tuple[str, int], ...]

_NUMBER = r"\d+(?:\.\d+)?(?:/\d+)?|\\frac\{\d+\}\{\d+\}"
_FACTOR = r"[a-df-hj-zA-DF-HJ-Z](?:\^(?:\{\d{1,4}\}|\d))?"
_TERM = re.compile(rf"([+-]?)({_NUMBER})?((?:(?:\*|\\cdot ?)?{_FACTOR})*)")
_FACTORS = re.compile(r"([A-Za-z])(?:\^\{?(\d+)\}?)?")


def read_polynomial(text: str) -> dict[Monomial, Fraction] | None:
    r"""The coefficients of a cleaned answer, by monomial; None where it is not a plain sum of terms.

    >>> read_polynomial("2x^2-x+1") == read_polynomial("1-x+x^2+x^2"), read_polynomial("(x+1)^2")
    (True, None)
    """
    text, start, count = compact(text), 0, 0
    coefficients: dict[Monomial, Fraction] = {}
    while start < len(text) and count < MAX_TERMS:
        match = _TERM.match(text, start)
        if match is None or not (match[2] or match[3]) or (start and not match[1]):
            return None
        coefficient = exact_number(match[2]) if match[2] else Fraction(1)
        if coefficient is None:
            return None
        name = _monomial(match[3])
        coefficients[name] = coefficients.get(name, Fraction(0)) + (-coefficient if match[1] == "-" else coefficient)
        start, count = match.end(), count + 1
    return {name: value for name, value in coefficients.items() if value} if start == len(text) and text else None


def _monomial(text: str) -> Monomial:
    powers: dict[str, int] = {}
    for letter, power in _FACTORS.findall(text.replace("\\cdot", "")):
        powers[letter] = powers.get(letter, 0) + int(power or 1)
    return tuple(sorted((letter, power) for letter, power in powers.items() if power))
