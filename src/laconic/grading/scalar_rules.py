r"""Rules that compare two answers of one part each: numbers, rows of them, letters, words, codes, powers, clock times, numerals,
polynomials.

1. A rule takes the cleaned gold answer, the cleaned answer, and `equal`, which compares parts of them by all the rules.
2. It returns True or False where it decides, `OPEN` where only an algebra engine can tell, and None where the rule does not
   apply to the pair. `rules.RULES` lists the rules in the order in which they are tried.

What is left out: answers made of parts and equations (`composite_rules.py`), and algebra.
"""

import re
from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from functools import partial
from math import gcd

from laconic.grading.latex_tables import UNFINISHED
from laconic.grading.normal_form import MAX_POWER, compact, is_dangerous, parts
from laconic.grading.numbers import exact_number, is_date, is_double_precision, quantity
from laconic.grading.polynomials import Monomial, read_polynomial

DOUBLE_DIGITS = 18
_UNFINISHED = re.compile(rf"[+-]?[\d,]+{UNFINISHED}")


class Open(Enum):
    """The type of `OPEN`: comparing strings and numbers cannot decide."""

    OPEN = "open"


OPEN = Open.OPEN
Verdict = bool | Open
Equal = Callable[[str, str], Verdict]
Leaf = Callable[[str, str, Fraction], Verdict]
"""`leaf(gold, answer, tolerance)`: the verdict on a pair that no rule decides; a tolerance of 0 is none."""
Rule = Callable[[str, str, Equal], Verdict | None]
"""`rule(gold, answer, equal)`: its verdict, or None where the rule does not apply to the pair."""


_EXACT = Fraction(0)
_ODD_QUANTITY = re.compile(r"[\d.,]+\s*(?:\\unit\{[A-Za-z ()-]+\}\s*[A-Za-z]?|\s\(?[A-Za-z][A-Za-z-]{3}[A-Za-z -]*\)?)")
"""A number with words that are no unit: `7 tenths`, `7 less than x`. An algebra engine would pass over them."""


def by_number(gold: str, answer: str, _equal: Equal, limit: Fraction = _EXACT) -> Verdict | None:
    """Two numbers, with percent signs and units, are compared as fractions, which may differ by at most `limit`.

    A number never equals plain words, nor a whole number one of which only the first digits are written.
    """
    if _UNFINISHED.fullmatch(answer) and not gold.endswith(UNFINISHED):
        return False
    gold, answer = gold.rstrip(UNFINISHED), answer.rstrip(UNFINISHED)
    gold_quantity, answer_quantity = quantity(_unbracketed(gold, r"0\d\d")), quantity(_unbracketed(answer, r"\d{3}"))
    value = _value(gold_quantity.body)
    if value is None:
        return _decimal_comma(answer, gold, limit) if re.fullmatch(r"-?(?:0,\d+|\d+,\d\d+)", gold) else None
    other = _value(answer_quantity.body)
    if other is None:
        is_word = _words(answer).removeprefix("-").isalpha() and answer.isascii() and not (limit and answer == "e")
        is_odd = _ODD_QUANTITY.fullmatch(answer_quantity.body)
        return False if is_word or is_odd else _decimal_comma(gold, answer, limit)
    if (gold_quantity.unit and answer_quantity.body.endswith("%")) or (
        answer_quantity.unit and gold_quantity.body.endswith("%")
    ):
        return False
    return not units_disagree(gold_quantity.unit, answer_quantity.unit) and _same_number(
        gold_quantity.body, value, answer_quantity.body, other, limit
    )


def _value(body: str) -> Fraction | None:
    return exact_number(body.rstrip("% "))


def _unbracketed(text: str, group: str) -> str:
    """`(1,000)` without its brackets, where all groups of digits after a comma match and the first of them matches `group`. For a
    gold answer `group` begins with 0, so that the answer cannot be a tuple."""
    return text[1:-1] if re.fullmatch(rf"\([1-9]\d{{0,2}}(?:,\d{{3}})*,{group}(?:,\d{{3}})*\)", text) else text


def _decimal_comma(point: str, comma: str, limit: Fraction) -> Verdict | None:
    """Whether `3,14` means 3.14: since the other answer is a number with a point, this one is not taken for a list."""
    if re.fullmatch(r"-?\d*\.\d+", point) and re.fullmatch(r"-?\d+,\d+", comma):
        value, other = exact_number(point), exact_number(comma.replace(",", "."))
        return value is not None and other is not None and abs(value - other) <= limit
    return None


def _same_number(gold: str, value: Fraction, answer: str, other: Fraction, limit: Fraction) -> bool:
    r"""Whether the fractions differ by at most `limit`, in the unit of the gold answer, or one is the other printed in double
    precision. `25\%` equals 25 as well as 0.25."""
    if gold.endswith("%") != answer.endswith("%"):
        scaled = other * 100 if gold.endswith("%") else other / 100
        is_unambiguous = gold.endswith("%") or abs(other) > 1
        return abs(scaled - value) <= limit or (is_unambiguous and abs(other - value) <= limit)
    if abs(value - other) <= limit:
        return True
    is_double = is_double_precision(answer, other) or is_double_precision(gold, value)
    return (
        is_double and abs(value - other) <= Fraction(2, 10**15) * abs(value) and not _is_longer(answer, value - other)
    )


def _is_longer(answer: str, error: Fraction) -> bool:
    """True for a decimal with more digits than double precision has, some of them wrong: it was not printed from a double."""
    decimals = len(compact(answer).partition(".")[2])
    return decimals > DOUBLE_DIGITS and abs(error) * 10**decimals >= 1


def units_disagree(unit: str, other: str) -> bool:
    """True for two different units of measurement, and for letters in the gold answer that may be variables as well as a unit.

    A sum of money may leave out for what it is paid: 15 dollars, or 15 per hour.
    """
    if not other:
        return unit.startswith("bare ")
    if not unit or unit.removeprefix("bare ") == other.removeprefix("bare ") or {unit, other} in _SIGN_OF_TWO:
        return False
    return not any(_is_rate_of(one, rate) for one, rate in ((unit, other), (other, unit)))


def _is_rate_of(money: str, rate: str) -> bool:
    return money in _MONEY and "^-1" in rate and not (_MONEY - {money}).intersection(rate.split())


_MONEY = frozenset(("dollar", "cent", "euro", "yuan", "yen", "yenyuan", "rupee", "won", "ruble"))
_SIGN_OF_TWO = ({"yenyuan", "yen"}, {"yenyuan", "yuan"})


_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Ja-j])"
    r"(?:\s*[).:](?!\s*(?:or|and|,|/))(?!.*\b[A-J]\s*[).:]).*"  # (B) 7
    r"|,?\s+(?:because|since|as)\b.*|\s+(?!or\b|and\b|[A-J]\b|[=+\-*/^<>,]).*)?",  # B because
    re.IGNORECASE | re.DOTALL,
)


_REASON = re.compile(r",?\s+(?:because|since|as)\b.*", re.IGNORECASE | re.DOTALL)
_UNSURE = re.compile(r"(?<![A-Za-z\\'])[A-HJ](?![A-Za-z'])|\b(?:not|isn't|wrong|incorrect|false|except|but)\b")
_SAYS = re.compile(r"\s+(?:is|seems|appears|looks|fits|works|holds|only|alone|correct|right)\b|\s*$")


def choice_letter(text: str, has_choices: bool) -> str | None:
    """The one choice that a cleaned answer names: `B`, `(B)`, `B) 7`, `Option B`; lower case only with choices.

    None where the words after the letter name another choice or deny something (`A is wrong`), or the letter is an article.
    """
    match = _LETTER.fullmatch(text)
    if match is None or not (has_choices or match[1].isupper()):
        return None
    words = _REASON.sub("", text[match.end(1) :])
    if words[:1].isspace() and (_UNSURE.search(words) or (match[1] in "Aa" and not _SAYS.match(words))):
        return None
    return match[1].upper()


def by_letter(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """A gold answer that is one capital letter is a choice."""
    if re.fullmatch(r"[A-J]", gold) is None:
        return None
    return choice_letter(answer, False) == gold


_SHORT_WORD = re.compile(r"[A-Z](?=[a-z]*[aeiou])[a-z]{2}|(?=.*(.).*\1)(?:(?=.*[aeiou])[a-z]{3}|[A-Z]{3})")
"""Three letters that are a word, or throws of a coin, rather than a product: `Yes`, `off`, `HTH`, and not `Mgh` or `xxy`."""
_LITTLE_WORDS = frozenset(("no", "on", "is", "to", "up", "yes", "not", "odd", "off"))
_LONG_WORD = re.compile(r"[^\W\d_]{4}")
_NAME_OF_CAPITALS = re.compile(r"[A-Z]{3}|[NS][EW]|[EW][NS]|HT|TH")
"""Three letters, directions and throws of a coin, whose order counts; two letters may be a segment or a product."""


def by_words(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Words are compared without case and articles; a gold answer that is words equals no other kind of answer."""
    gold_words, answer_words = _words(gold), _words(answer)
    if not gold_words.isalpha() or len(gold_words) < 2 or "=" in answer:
        return None
    # a comma between words may be punctuation; AB, CD is a list
    if max(len(parts(gold).items), len(parts(answer).items)) > 1:
        has_words = _LONG_WORD.search(gold) and _LONG_WORD.search(answer)
        return True if has_words and _spaced_words(gold) == _spaced_words(answer) else None
    if not (_LONG_WORD.search(gold) or _LONG_WORD.search(answer)):
        return _by_letters(*(re.sub(r"^the(?=\s)|\s", "", text.strip()) for text in (gold, answer)))
    if gold_words == answer_words:
        return True
    return False if len(gold_words) >= 4 else None


def _words(text: str) -> str:
    """The letters alone; a minus before them stays."""
    return re.sub(r"^(?:the|an?)(?=\s)|(?<=.)-|[\s.,']", "", text.strip().lower())


def _spaced_words(text: str) -> list[str]:
    return [_words(word) for word in text.replace(",", " ").split()]


def _by_letters(gold: str, answer: str) -> Verdict | None:
    """Answers of at most three letters in a row may be products, in which signs, primes and case count: `xy` is neither `-xy` nor
    `x-y`. Only short words are compared without case, and not in another order."""
    is_word = any(_SHORT_WORD.fullmatch(text) or text.lower() in _LITTLE_WORDS for text in (gold, answer))
    if gold == answer:
        return True
    if is_word and gold.lower() == answer.lower() and all(map(_has_one_case, (gold, answer))):
        return True
    is_name = is_word or _NAME_OF_CAPITALS.fullmatch(gold)
    return False if is_name and sorted(gold.lower()) == sorted(answer.lower()) and answer.isalpha() else None


def _has_one_case(text: str) -> bool:
    return text in (text.lower(), text.upper(), text.capitalize())


_ENTRY = r"[+-]?\d*\.?\d+'{0,2}"
_ROW = re.compile(rf"{_ENTRY}(?:\s+{_ENTRY})+")
_HYPHENATED = re.compile(r"\d+(?:-\d+){2,}")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?: \d{3})+")
_LIST = re.compile(r"[(\[]?([^()\[\]]*)[)\]]?")


def by_row(gold: str, answer: str, _equal: Equal, limit: Fraction = _EXACT) -> Verdict | None:
    """Numbers with nothing but spaces between them are a row, not a product or a sum: compared in their order, also with a list;
    each may differ by at most `limit`. Minutes and seconds of an angle keep their marks. A date, and two rows with hyphens
    (`3-1-2`), are no sums: they are compared as written."""
    codes = compact(gold), compact(answer)
    if any(map(is_date, codes)) or all(map(_HYPHENATED.fullmatch, codes)):
        return False  # as strings they differ
    if _ROW.fullmatch(gold) is None or _THOUSANDS.fullmatch(gold):
        return None
    entries, others = gold.split(), re.split(r"[\s,;]+", _LIST.sub(r"\1", answer).strip())
    return len(entries) == len(others) and all(map(partial(_same_entry, limit=limit), entries, others))


def _same_entry(entry: str, other: str, limit: Fraction) -> bool:
    number, other_number = entry.rstrip("'"), other.rstrip("'")
    value, other_value = exact_number(number), exact_number(other_number)
    if value is None or other_value is None or entry[len(number) :] != other[len(other_number) :]:
        return False
    return abs(value - other_value) <= limit


_CODE = re.compile(r"-?(?=[0-9A-Za-z]*[A-Za-z][0-9])[0-9A-Za-z]+")
_HEX = re.compile(r"^(-?)0[xX]")
_DIGITS = re.compile(r"-?[0-9A-Fa-f]+")
_NO_CODE = re.compile(r"-?(?!0x)\d+[A-Za-z]+[23]|-?\d+[eE]\d+")
"""A square or cubic unit after a number, and a number with an exponent."""


def by_code(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    r"""A digit after a letter is none of a product: `3a0`, `H2O` and `x1` are compared as written, but for marks between signs
    (`x_1`, `x*1`, `x^1`) and the case of hexadecimal digits; none of them is a number."""
    if exact_number(gold) is not None and _CODE.fullmatch(answer) and _NO_CODE.fullmatch(answer) is None:
        return False
    if _CODE.fullmatch(gold) is None or _NO_CODE.fullmatch(gold):
        return None
    written = re.sub(r"\\cdot|\\times|[\s_{}$*^]", "", answer)
    code, other = _HEX.sub(r"\1", gold), _HEX.sub(r"\1", written)
    are_digits = _DIGITS.fullmatch(code) and _DIGITS.fullmatch(other)
    return code.lower() == other.lower() if are_digits else code == other


def by_danger(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Answers that must not be computed are equal only as strings, and these strings differ."""
    return False if is_dangerous(answer) or is_dangerous(gold) else None


_POWER = re.compile(r"(\d{1,30})\^\{?(\d{1,10})\}?")


def by_power(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Two powers of whole numbers, however large: a^n = c^m where a^(n/g) = c^(m/g), g the common divisor of n and m."""
    gold_power, answer_power = _POWER.fullmatch(compact(gold)), _POWER.fullmatch(compact(answer))
    if gold_power is None or answer_power is None or 0 in (int(gold_power[2]), int(answer_power[2])):
        return None
    (base, exponent), (other, power) = (map(int, gold_power.groups()), map(int, answer_power.groups()))
    common = gcd(exponent, power)
    if max(exponent, power) // common > MAX_POWER:
        return base == other and (exponent == power or base < 2)
    return bool(base ** (exponent // common) == other ** (power // common))


_CLOCK = re.compile(r"(\d+(?::\d+)+)(?:([AaPp])\.?[Mm]\.?)?")
_BASED = re.compile(r"\(?[0-9A-Za-z]+\)?_(?:\{[0-9a-z ()]+\}|\d)")


def by_clock(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Clock times are compared as written, am and pm only where both have them; ratios that cannot be times also as fractions."""
    gold_time, answer_time = _CLOCK.fullmatch(compact(gold)), _CLOCK.fullmatch(compact(answer))
    if "=" in gold + answer or not (gold_time or answer_time):
        return None
    if gold_time and answer_time:
        halves = {half.lower() for half in (gold_time[2], answer_time[2]) if half}
        return len(halves) < 2 and (
            gold_time[1] == answer_time[1] or _ratio(gold_time[0]) == (_ratio(answer_time[0]) or -1)
        )
    return gold_time is not None and (_ratio(gold_time[0]) or -1) == exact_number(answer)


def _ratio(text: str) -> Fraction | None:
    """3:4 as 3/4; None for a time of day (minutes have two digits) and for more than two terms."""
    match = re.fullmatch(r"(\d+):([1-9])|(\d{3,}):(\d+)", text)
    return Fraction(int(match[1] or match[3]), int(match[2] or match[4]) or 1) if match else None


def by_notation(gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """Numerals in a base are compared as written; `4 2` is not 42; primes agree in number."""
    if _is_numeral(gold) or _is_numeral(answer):
        return None if "=" in gold + answer else _numeral(gold) == _numeral(answer)
    are_letters = len(gold) == len(answer) == 1 and gold.isalpha() and answer.isalpha()
    is_spaced = re.search(r"(?<!_)\d \d", compact(answer)) and not re.search(r"\d \d", compact(gold))
    return False if are_letters or is_spaced or gold.count("'") != answer.count("'") else None


_NUMERALS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}


def _numeral(text: str) -> str:
    text = re.sub(r"[{}()]", "", compact(text))
    head, _, base = text.partition("_")
    return f"{head.upper()}_{_NUMERALS.get(base.strip(), base.strip())}"


def _is_numeral(text: str) -> bool:
    """Whether digits stand before an index that can be their base, as in 1011_2, 3F_{16} and 121_b; v_0 and 2v_0 are names."""
    if not _BASED.fullmatch(text):
        return False
    head, _, base = _numeral(text).partition("_")
    if head.isdecimal() or not base.isdecimal():
        return head.isdecimal()
    try:
        return len(head) > 1 and int(base) > 1 and int(head, int(base)) >= 0
    except ValueError:  # the base is not one, or the digits are not of it
        return False


def by_polynomial(gold: str, answer: str, _equal: Equal, limit: Fraction = _EXACT) -> Verdict | None:
    """Two plain sums of terms are equal where their coefficients are; two sums of numbers alone may differ by at most `limit`.

    The constant of an integral may be called C or c.
    """
    gold_coefficients = read_polynomial(gold)
    coefficients = None if gold_coefficients is None else read_polynomial(answer)
    if gold_coefficients is None or coefficients is None:
        return None
    if limit and not (gold_coefficients.keys() | coefficients.keys()) - {()}:
        return abs(gold_coefficients.get((), _EXACT) - coefficients.get((), _EXACT)) <= limit
    return gold_coefficients == coefficients or _with_small_constant(gold_coefficients) == _with_small_constant(
        coefficients
    )


def _with_small_constant(coefficients: dict[Monomial, Fraction]) -> dict[Monomial, Fraction]:
    """A sum that ends in +C, ending in +c; unchanged where c stands in it already."""
    small, capital = (("c", 1),), (("C", 1),)
    if len(coefficients) < 2 or small in coefficients or coefficients.get(capital) != 1:
        return coefficients
    return {small if name == capital else name: value for name, value in coefficients.items()}


def by_guesses(_gold: str, answer: str, _equal: Equal) -> Verdict | None:
    """An answer that still has an "or" when this rule is tried is a list of guesses, which is wrong."""
    return False if re.search(r"(?<![A-Za-z])or(?![a-z])", answer) else None
