r"""From the text of a response to a grade, where comparing strings and exact numbers suffices.

1. `extract_answer` takes the last closed box after the thinking; without a box, the text after the last answer marker; without
   a marker, the result that the last line states (`extraction.py`).
2. `same_answer` tries the rules of the table `RULES` in order, and the first that decides, decides: rules for single values
   (`scalar_rules.py`: numbers as fractions, choices by letter, words, polynomials) and rules for answers made of parts
   (`composite_rules.py`: lists, tuples, intervals, matrices, units, equations). None means undecided: only algebra can tell.
3. `grade_response` does both and returns `Graded` (truncated, no answer, correct or wrong) or `Undecided`. Both hold the
   extracted answer, so that it is extracted once.

Rounding is not equality: 0.333 does not equal 1/3, but 1/3 printed in double precision does. A list of guesses is wrong. The
prompt is never graded. What is left out: algebra (`grader.py` hands undecided pairs to it), files, time limits, and any
evaluation of text as code.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from string import ascii_uppercase
from typing import NamedTuple

from laconic.grading.composite_rules import by_equation, by_interval, by_matrix, by_parts, by_phrase, by_unit
from laconic.grading.extraction import extract_answer, extract_boxed
from laconic.grading.latex_tables import OPPOSITES
from laconic.grading.normal_form import clean, compact, is_grouped_number, parts
from laconic.grading.scalar_rules import (
    OPEN,
    Equal,
    Leaf,
    Open,
    Rule,
    Verdict,
    by_clock,
    by_code,
    by_danger,
    by_guesses,
    by_letter,
    by_notation,
    by_number,
    by_polynomial,
    by_power,
    by_row,
    by_words,
    choice_letter,
)
from laconic.types import Grade

__all__ = [
    "OPEN",
    "Graded",
    "Undecided",
    "Verdict",
    "extract_answer",
    "extract_boxed",
    "grade_response",
    "same_answer",
    "same_answer_with",
]

RULES_VERSION = 7
"""Raised with every change that may alter a verdict: evaluations that were graded under different versions are not compared."""

MAX_READ_CHARS = 20_000

# --- comparison ------------------------------------------------------------------------------------------------------


def same_answer(
    gold: str, answer: str, choices: Sequence[str] = (), tolerances: Sequence[Fraction] = ()
) -> bool | None:
    r"""Whether `answer` equals `gold`: True, False, or None where only a symbolic engine can tell.

    `tolerances` are absolute: one for every number of the gold answer, or one for each of a list's.

    >>> same_answer("1/2", "0.5"), same_answer("1/3", "0.333"), same_answer("1,2", "2,1"), same_answer("x^2-1", "(x-1)(x+1)")
    (True, False, True, None)
    """
    verdict = same_answer_with(gold, answer, _left_open, choices, tolerances)
    return None if isinstance(verdict, Open) else verdict


def _left_open(_gold: str, _answer: str, _limit: Fraction) -> Open:
    return OPEN


_INTEGER = re.compile(r"-?[0-9]{1,100}")


def same_answer_with(
    gold: str, answer: str, leaf: Leaf, choices: Sequence[str] = (), tolerances: Sequence[Fraction] = ()
) -> Verdict:
    """Like `same_answer`, but where no rule decides, the verdict is that of `leaf(gold, answer, tolerance)` on cleaned strings.

    An answer that `is_dangerous` never reaches `leaf`: it is equal only as a string. So is one of more than `MAX_READ_CHARS`,
    which no rule reads: their time grows with the square of the length.
    """
    if gold and max(len(gold), len(answer)) > MAX_READ_CHARS:
        return gold.strip() == answer.strip()
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return abs(int(gold) - int(answer)) <= (tolerances[0] if tolerances else 0)
    if choices:
        return _same_choice(choice_letter(clean(gold), True) or gold, choice_letter(clean(answer), True), choices)
    if _say_opposites(gold, answer):
        return False
    if _CHOICE.fullmatch(gold) and (small := _BRACKETED_LETTER.fullmatch(answer)):
        return small[1].upper() == gold
    return _equal(clean(gold), clean(answer), leaf, tuple(tolerances))


def _say_opposites(gold: str, answer: str) -> bool:
    """Whether the gold answer has a word, and the answer only its opposite: an increase by a number is no decrease by it."""
    if not (_WORD.search(gold) and _WORD.search(answer)):
        return False
    words, others = ({word.lower() for word in _WORD.findall(text)} for text in (gold, answer))
    return any(
        (words & one and others & other and not (words & other or others & one))
        for pair in OPPOSITES
        for one, other in (pair, pair[::-1])
    )


_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}(?:-[a-z]+)?")


def _same_choice(gold: str, answer: str | None, choices: Sequence[str]) -> bool:
    """Whether two letters stand for the same choice: published benchmarks have some choices twice."""
    letters = ascii_uppercase[: len(choices)]
    if answer == gold or answer is None or not (gold in letters and answer in letters):
        return answer == gold
    return choices[letters.index(gold)].split() == choices[letters.index(answer)].split()


_CHOICE = re.compile(r"[A-J]")
_BRACKETED_LETTER = re.compile(r"[\s$*]*(?:\\(?:text|math)(?:bf|rm|it)?\{)?\s*\(([a-j])\)\s*\}?[\s$*.]*")


def _equal(gold: str, answer: str, leaf: Leaf, limits: tuple[Fraction, ...] = ()) -> Verdict:
    """The verdict of the first rule that decides, else of `leaf`; numbers that differ by at most the limit are equal."""
    limit = limits[0] if limits else _EXACT
    if not gold:
        return leaf(gold, answer, limit)
    if not answer:
        return False
    if compact(gold) == compact(answer) and not (is_grouped_number(gold) and ", " in answer):  # 1,234 is not 1, 234
        return True
    equal = _with_own_limits(gold, leaf, limits) if len(limits) > 1 else partial(_equal, leaf=leaf, limits=limits)
    for rule in _rules_within(limit) if limit else RULES:
        verdict = rule(gold, answer, equal)
        if verdict is not None:
            return verdict
    return leaf(gold, answer, limit)


_EXACT = Fraction(0)


def _rules_within(limit: Fraction) -> tuple[Rule, ...]:
    """The rules, of which those that compare numbers use the limit."""
    near: dict[Rule, Rule] = {rule: partial(rule, limit=limit) for rule in (by_row, by_number, by_polynomial)}
    return tuple(near.get(rule, rule) for rule in RULES)


def _with_own_limits(gold: str, leaf: Leaf, limits: tuple[Fraction, ...]) -> Equal:
    """What compares parts of an answer that is a list: each by its own limit if there is one for each, else all by the first."""
    items = parts(gold).items

    def equal(item: str, other: str) -> Verdict:
        own = [limit for part, limit in zip(items, limits, strict=True) if part == item] if each else []
        return _equal(item, other, leaf, (min(own),) if own else limits)

    each = len(items) == len(limits)
    return equal


RULES: tuple[Rule, ...] = (
    by_row,
    by_number,
    by_letter,
    by_words,
    by_code,
    by_power,
    by_danger,
    by_clock,
    by_notation,
    by_interval,
    by_matrix,
    by_phrase,
    by_parts,
    by_unit,
    by_equation,
    by_polynomial,
    by_guesses,
)

# --- grades ----------------------------------------------------------------------------------------------------------


class Graded(NamedTuple):
    """The grade of a response, and the answer that was extracted from it.

    `answer` is None where there is none, and where the response is truncated, since it is not read then. `reason` says why a
    response is ungradable: `timeout`, `crash` or `gold`; it is empty for the other grades.
    """

    grade: Grade
    answer: str | None = None
    reason: str = ""


class Undecided(NamedTuple):
    """The extracted answer of a response that only algebra can grade."""

    answer: str


_TRUNCATED, _NO_ANSWER = Graded(Grade.TRUNCATED), Graded(Grade.NO_ANSWER)


def grade_response(
    text: str, gold: str, *, is_truncated: bool, choices: Sequence[str] = (), tolerances: Sequence[Fraction] = ()
) -> Graded | Undecided:
    r"""The grade and the answer of one response, or the answer alone where only algebra can decide.

    `text` is the response without its prompt, which may hold a box or the gold answer. A truncated response is graded
    `TRUNCATED`, whatever its text says.

    >>> grade_response(r"<think>7?</think> \boxed{42}", "42", is_truncated=False)
    Graded(grade=<Grade.CORRECT: 'correct'>, answer='42', reason='')
    """
    if is_truncated:
        return _TRUNCATED
    answer = extract_answer(text)
    if answer is None:
        return _NO_ANSWER
    verdict = same_answer(gold, answer, choices, tolerances)
    if verdict is None:
        return Undecided(answer)
    return Graded(Grade.CORRECT if verdict else _not_correct(answer), answer)


def _not_correct(answer: str) -> Grade:
    return Grade.WRONG if clean(answer) else Grade.NO_ANSWER
