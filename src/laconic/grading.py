r"""From the text of a response to a grade, as far as string and exact number comparison reach.

1. `extract_answer` takes the last closed box of what follows the thinking, or else what follows the last answer marker.
2. `compare` decides equality in the order of a visible table of rules: numbers as fractions, choices by letter, words,
   lists and tuples part by part, matrices, units, equations. None means undecided: ask the symbolic engine.
3. `grade_response` puts both together: truncated, no answer, correct, wrong, or None for undecided.

Rounding is not equality: 0.333 is not 1/3, a printed double is. A list of guesses is wrong. The prompt is never graded.
What is left out: algebra (`grader.py` hands undecided pairs to it), files, clocks, and any evaluation of text as code.
"""

import re
from collections.abc import Callable, Sequence
from enum import Enum
from fractions import Fraction

from laconic.answers import (
    MAX_PARTS,
    Parts,
    clean,
    compact,
    is_dangerous,
    matrix_rows,
    parts,
    split_top,
)
from laconic.extraction import extract_answer, extract_boxed
from laconic.quantities import exact_number, is_double_precision, quantity
from laconic.types import Grade


class Open(Enum):
    """The verdict that string and number comparison cannot give."""

    OPEN = "open"


OPEN = Open.OPEN
Verdict = bool | Open
Leaf = Callable[[str, str], Verdict]
Rule = Callable[[str, str, Leaf], Verdict | None]
"""What a rule says of (gold, answer); None where the pair is none of its business."""

__all__ = ["OPEN", "Verdict", "compare", "compare_with", "extract_answer", "extract_boxed", "grade_response"]

# --- comparison ------------------------------------------------------------------------------------------------------


def compare(gold: str, answer: str, choices: Sequence[str] = ()) -> bool | None:
    r"""Whether `answer` equals `gold`: True, False, or None where only a symbolic engine can tell.

    >>> compare("1/2", "0.5"), compare("1/3", "0.333"), compare("1,2", "2,1"), compare("x^2-1", "(x-1)(x+1)")
    (True, False, True, None)
    """
    verdict = compare_with(gold, answer, lambda _gold, _answer: OPEN, choices)
    return None if isinstance(verdict, Open) else verdict


_INTEGER = re.compile(r"-?[0-9]{1,100}")


def compare_with(gold: str, answer: str, leaf: Leaf, choices: Sequence[str] = ()) -> Verdict:
    """Like `compare`, with `leaf(gold, answer)` asked, on cleaned strings, wherever no rule decides.

    What `is_dangerous` names never reaches `leaf`: such an answer is equal only as a string.
    """
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return int(gold) == int(answer)
    if choices:
        return _letter(clean(answer), True) == (_letter(clean(gold), True) or gold)
    return _equal(clean(gold), clean(answer), leaf)


def _equal(gold: str, answer: str, leaf: Leaf) -> Verdict:
    """The rules in order; the first that decides, decides."""
    if not gold:
        return leaf(gold, answer)
    if not answer:
        return False
    if compact(gold) == compact(answer):
        return True
    for rule in RULES:
        verdict = rule(gold, answer, leaf)
        if verdict is not None:
            return verdict
    return leaf(gold, answer)


def _by_number(gold: str, answer: str, _leaf: Leaf) -> Verdict | None:
    """Two numbers, with percent signs and units, are compared as fractions; a number never equals plain words."""
    wanted, given = quantity(gold), quantity(answer)
    value = _value(wanted.body)
    if value is None:
        return None
    other = _value(given.body)
    if other is None:
        return False if _words(answer).isalpha() and answer.isascii() else _decimal_comma(gold, answer)
    return not _units_disagree(wanted.unit, given.unit) and _same_number(wanted.body, value, given.body, other)


def _value(body: str) -> Fraction | None:
    return exact_number(body.rstrip("% "))


def _decimal_comma(gold: str, answer: str) -> Verdict | None:
    """`3,14` for 3.14, where the gold answer is a decimal and so cannot be a list."""
    if "." in gold and re.fullmatch(r"-?\d+,\d+", answer):
        return exact_number(gold) == exact_number(answer.replace(",", "."))
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
    return is_double and abs(value - other) <= Fraction(2, 10**15) * abs(value)


def _units_disagree(unit: str, other: str) -> bool:
    return bool(unit and other) and unit != other


_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Ja-j])"
    r"(?:\s*[).:](?!\s*(?:or|and|,|/))(?!.*\b[A-J]\s*[).:]).*"  # (B) 7
    r"|\s+(?!or\b|and\b|[A-J]\b|[=+\-*/^<>,]).*)?",  # B because
    re.IGNORECASE | re.DOTALL,
)


def _letter(text: str, has_choices: bool) -> str | None:
    """The one choice that a cleaned answer names: `B`, `(B)`, `B) 7`, `Option B`; lower case only with choices."""
    match = _LETTER.fullmatch(text)
    if match is None or not (has_choices or match[1].isupper()):
        return None
    return match[1].upper()


def _by_letter(gold: str, answer: str, _leaf: Leaf) -> Verdict | None:
    """A gold answer that is one capital letter is a choice."""
    if re.fullmatch(r"[A-J]", gold) is None:
        return None
    return _letter(answer, False) == gold


def _by_words(gold: str, answer: str, _leaf: Leaf) -> Verdict | None:
    """Words are compared without case and articles; a gold answer of words equals nothing else."""
    wanted, given = _words(gold), _words(answer)
    if not wanted.isalpha() or len(wanted) < 2 or "=" in answer:
        return None
    if wanted == given:
        return True
    return False if len(wanted) >= 4 else None


def _words(text: str) -> str:
    return re.sub(r"^(?:the|an?)(?=\s)|[\s\-.,']", "", text.strip().lower())


def _by_danger(gold: str, answer: str, _leaf: Leaf) -> Verdict | None:
    """What must not be computed is equal only as a string, and the strings differ."""
    return False if is_dangerous(answer) or is_dangerous(gold) else None


def _by_notation(gold: str, answer: str, _leaf: Leaf) -> Verdict | None:
    """Clock times, ratios and numerals in a base are compared as written; `4 2` is not 42; primes agree in number."""
    for pattern in (r"\d+\s*:\s*\d+(?:\s*:\s*\d+)*", r"\(?[0-9A-Z]+\)?_(?:\{[0-9a-z ]+\}|\d)"):
        if re.fullmatch(pattern, gold) or re.fullmatch(pattern, answer):
            return _by_equation(gold, answer, _leaf) if "=" in gold + answer else _numeral(gold) == _numeral(answer)
    are_letters = len(gold) == len(answer) == 1 and gold.isalpha() and answer.isalpha()
    is_spaced = re.search(r"\d \d", compact(answer)) and not re.search(r"\d \d", compact(gold))
    return False if are_letters or is_spaced or gold.count("'") != answer.count("'") else None


_NUMERALS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}


def _numeral(text: str) -> str:
    text = re.sub(r"[{}()]", "", compact(text))
    head, _, base = text.partition("_")
    return f"{head}_{_NUMERALS.get(base.strip(), base.strip())}"


def _by_parts(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """Tuples and intervals in order with their brackets, sets and bare lists in any order, unions in any order."""
    wanted, given = _single(parts(gold)), _single(parts(answer))
    if len(wanted.items) < 2 and len(given.items) < 2 and wanted.left == given.left:
        return _inside(gold, answer, wanted, given, leaf)
    if len(wanted.items) < 2 or len(given.items) < 2:
        return _unlike(gold, answer, wanted, given)
    if len(wanted.items) != len(given.items) or len(given.items) > MAX_PARTS:
        return None if "cup" in (wanted.left, given.left) else False
    if not _brackets_agree(wanted, given):
        return None if "cup" in (wanted.left, given.left) else False
    is_ordered = wanted.left in ("(", "[")
    verdict = _in_order(wanted, given, leaf) if is_ordered else _in_any_order(wanted, given, leaf)
    return None if verdict is False and wanted.left == "cup" else verdict


def _inside(gold: str, answer: str, wanted: Parts, given: Parts, leaf: Leaf) -> Verdict | None:
    """Two single parts in brackets of one kind are compared without them."""
    if not wanted.items or not given.items or (wanted.items[0], given.items[0]) == (gold, answer):
        return None
    return _equal(wanted.items[0], given.items[0], leaf)


def _single(found: Parts) -> Parts:
    r"""`\{5\}` is 5; equal parts of a set or list count once."""
    items = found.items if found.left in ("(", "[") else tuple({compact(item): item for item in found.items}.values())
    if found.left == r"\{" and len(items) == 1 and items[0] != r"\emptyset":
        return Parts(items)
    return Parts(items, found.left, found.right)


_REGION = re.compile(r"[<>]|\\(?:leq|geq|neq|cup|cap|mathbb|begin)(?![a-z])")


def _unlike(gold: str, answer: str, wanted: Parts, given: Parts) -> Verdict | None:
    """A list against what is no list: wrong, except where algebra may turn one into the other.

    An interval may solve an inequality, a union may simplify, a tuple be written as a vector.
    """
    if _REGION.search(gold) or _REGION.search(answer) or _relations(gold) or _relations(answer):
        return None
    is_many = max(len(wanted.items), len(given.items)) > 1
    return False if is_many or r"\{" in (wanted.left, given.left) else None


def _brackets_agree(wanted: Parts, given: Parts) -> bool:
    """The same brackets; a bare list may stand for a gold tuple or set, and a set for a bare list."""
    if (wanted.left, wanted.right) == (given.left, given.right):
        return True
    sets = {("", ""), (r"\{", "}")}
    if (wanted.left, wanted.right) in sets:
        return (given.left, given.right) in sets
    return wanted.left == "(" and wanted.right == ")" and not given.left


def _in_order(wanted: Parts, given: Parts, leaf: Leaf) -> Verdict:
    return _all([_equal(a, b, leaf) for a, b in zip(wanted.items, given.items, strict=True)])


def _in_any_order(wanted: Parts, given: Parts, leaf: Leaf) -> Verdict:
    """Equality is transitive, so the first equal part may be taken."""
    left, found = list(given.items), []
    for item in wanted.items:
        verdicts = [_equal(item, other, leaf) for other in left]
        found.append(_any(verdicts))
        if True in verdicts:
            left.pop(verdicts.index(True))
    return _all(found)


def _all(verdicts: Sequence[Verdict]) -> Verdict:
    return False if False in verdicts else OPEN if OPEN in verdicts else True


def _any(verdicts: Sequence[Verdict]) -> Verdict:
    return True if True in verdicts else OPEN if OPEN in verdicts else False


def _by_matrix(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """Two matrices of one shape, entry by entry."""
    wanted, given = matrix_rows(gold), matrix_rows(answer)
    if wanted is None or given is None:
        return None
    if [len(row) for row in wanted] != [len(row) for row in given]:
        return False
    pairs = zip(sum(wanted, ()), sum(given, ()), strict=True)
    return _all([_equal(a, b, leaf) for a, b in pairs])


def _by_unit(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """A unit counts only where both sides have one that measures something."""
    wanted, given = quantity(gold), quantity(answer)
    if not (wanted.has_unit or given.has_unit):
        return None
    if _units_disagree(wanted.unit, given.unit):
        return False
    return _equal(clean(wanted.body), clean(given.body), leaf)


_EQUALS = r"(?<![<>!=:\\])=(?!=)|\\(?:approx|in|equiv)(?![a-z])"
_SYMBOLS = r"\(?(?>(?>\\?[A-Za-z]++'*+(?:\s*_\s*(?:\{[^{}]*\}|\w))?(?:\([^()=]*\))?[\s,:*]*+)+)\)?"
_NAME_OR_SYMBOL = re.compile(_SYMBOLS)
_NAME = re.compile(
    _SYMBOLS + r"|\|[^|]+\||\\(?:angle|triangle)\s*\w+|\\(?:frac|lim|overline|vec|hat|bar|mathbb)(?![A-Za-z]).*"
)
_VARIABLE = re.compile(r"(?<!\\)(?<![A-Za-z\\])(?!e(?![A-Za-z])|i(?![A-Za-z]))[A-Za-z]")


def _by_equation(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """`x = 5` is 5 and `f(2) = 5` is 5, `x + 1 = 5` is not. Two equations of one name compare their right sides."""
    (name, wanted), (other, given) = _assignment(gold), _assignment(answer)
    if name is None and other is None:
        return _one_sided(gold, answer)
    if name and other and name != other and _is_symbol(name) and _is_symbol(other):
        return False
    if (name is None and _relations(gold)) or (other is None and _relations(answer)):
        return _one_sided(gold, answer)
    return _equal(clean(wanted), clean(given), leaf)


def _assignment(text: str) -> tuple[str | None, str]:
    """(name, value) of `name = ... = value`, `value = name`, or a chain of numbers; (None, text) for anything else."""
    pieces = _pieces(text)
    if len(pieces) < 2 or re.search(r"[<>]|\\[lg]eq", text):
        return None, text
    kept = split_top(text.partition(r"\approx")[0], _EQUALS) if text.count("=") else pieces
    value = kept[-1].strip() or pieces[-1].strip()
    if r"\approx" in text and "=" not in text and not _NAME_OR_SYMBOL.fullmatch(pieces[0].strip()):
        return "", pieces[0].strip()
    if _NAME.fullmatch(pieces[0].strip()):
        return compact(pieces[0].strip()), value if len(kept) > 1 else pieces[1].strip()
    if _is_symbol(pieces[-1].strip()):
        return pieces[-1].strip(), pieces[0].strip()
    return ("", value) if not _has_variable(pieces[0]) and not _has_variable(value) else (None, text)


def _has_variable(text: str) -> bool:
    """True where a letter stands that is no command and neither e nor i."""
    return _VARIABLE.search(re.sub(r"\\[A-Za-z]+(?:\{[a-z]*matrix\})?", "", text)) is not None


def _pieces(text: str) -> tuple[str, ...]:
    return split_top(text, _EQUALS)


def _relations(text: str) -> bool:
    return len(_pieces(text)) > 1


def _is_symbol(text: str) -> bool:
    return re.fullmatch(r"\\?[A-Za-z]+(?:_(?:\{\w+\}|\w))?", text) is not None


def _one_sided(gold: str, answer: str) -> Verdict | None:
    """An equation that assigns nothing is not a value."""
    return False if _relations(gold) != _relations(answer) else None


def _by_guesses(_gold: str, answer: str, _leaf: Leaf) -> Verdict | None:
    """What still says "or" is a list of guesses."""
    return False if re.search(r"(?<![A-Za-z])or(?![a-z])", answer) else None


RULES: tuple[Rule, ...] = (
    _by_number,
    _by_letter,
    _by_words,
    _by_danger,
    _by_notation,
    _by_parts,
    _by_matrix,
    _by_unit,
    _by_equation,
    _by_guesses,
)

# --- grades ----------------------------------------------------------------------------------------------------------


def grade_response(text: str, gold: str, *, is_truncated: bool, choices: Sequence[str] = ()) -> Grade | None:
    r"""The grade of one response, or None where the symbolic engine must decide.

    `text` is the response alone: the prompt may hold a box or the gold answer, so it must never be part of it.
    A truncated response is `TRUNCATED` whatever it says.

    >>> grade_response(r"<think>7?</think> \boxed{42}", "42", is_truncated=False)
    <Grade.CORRECT: 'correct'>
    """
    if is_truncated:
        return Grade.TRUNCATED
    answer = extract_answer(text)
    if answer is None:
        return Grade.NO_ANSWER
    verdict = compare(gold, answer, choices)
    if verdict is None:
        return None
    return Grade.CORRECT if verdict else _not_correct(answer)


def _not_correct(answer: str) -> Grade:
    return Grade.WRONG if clean(answer) else Grade.NO_ANSWER
