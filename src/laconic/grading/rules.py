r"""From the text of a response to a grade, as far as string and exact number comparison reach.

1. `extract_answer` takes the last closed box of what follows the thinking, or else what follows the last answer marker, or
   else what the last line sets off (`extraction.py`).
2. `same_answer` decides equality in the order of a visible table of rules: single things (`scalar_rules.py`: numbers as
   fractions, choices by letter, words, polynomials) and answers of parts (`composite_rules.py`: lists, tuples, intervals,
   matrices, units, equations). None means undecided: ask the symbolic engine.
3. `grade_response` puts both together: `Graded` as truncated, no answer, correct or wrong, or `Undecided`. Either has the
   extracted answer with it, so that nobody extracts it again.

Rounding is not equality: 0.333 is not 1/3, a printed double is. A list of guesses is wrong. The prompt is never graded.
What is left out: algebra (`pool.py` hands undecided pairs to it), files, clocks, and any evaluation of text as code.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from laconic.grading.composite_rules import by_equation, by_interval, by_matrix, by_parts, by_unit
from laconic.grading.extraction import extract_answer, extract_boxed
from laconic.grading.normal_form import MAX_PARTS, clean, compact, is_dangerous, parts
from laconic.grading.numbers import exact_number
from laconic.grading.scalar_rules import (
    OPEN,
    Equal,
    Open,
    Rule,
    Verdict,
    by_clock,
    by_danger,
    by_guesses,
    by_letter,
    by_notation,
    by_number,
    by_polynomial,
    by_power,
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

RULES_VERSION = 1
"""Raised by every change that may alter a verdict: evaluations graded under different versions are not compared."""

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


def _left_open(_gold: str, _answer: str) -> Open:
    return OPEN


_INTEGER = re.compile(r"-?[0-9]{1,100}")


def same_answer_with(
    gold: str, answer: str, leaf: Equal, choices: Sequence[str] = (), tolerances: Sequence[Fraction] = ()
) -> Verdict:
    """Like `same_answer`, with `leaf(gold, answer)` asked, on cleaned strings, wherever no rule decides.

    What `is_dangerous` names never reaches `leaf`: such an answer is equal only as a string.
    """
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return int(gold) == int(answer)
    if choices:
        return choice_letter(clean(answer), True) == (choice_letter(clean(gold), True) or gold)
    if _CHOICE.fullmatch(gold) and (small := _BRACKETED_LETTER.fullmatch(answer)):
        return small[1].upper() == gold
    verdict = _equal(clean(gold), clean(answer), leaf)
    return verdict if verdict is True or not tolerances else _within(clean(gold), clean(answer), leaf, tolerances)


def _within(gold: str, answer: str, leaf: Equal, tolerances: Sequence[Fraction]) -> Verdict:
    """Whether every number of the answer lies within its tolerance of a number of the gold answer."""
    wanted, given = parts(gold).items, list(parts(answer).items)
    if len(wanted) != len(given) or len(given) > MAX_PARTS or is_dangerous(answer):
        return False
    limits = tolerances if len(tolerances) == len(wanted) else [tolerances[0]] * len(wanted)
    for item, limit in zip(wanted, limits, strict=True):
        value = exact_number(item)
        if value is None:
            return leaf(gold, answer) if len(wanted) == 1 else False
        near = [
            other for other in given if (number := exact_number(other)) is not None and abs(number - value) <= limit
        ]
        if not near:
            return False
        given.remove(near[0])
    return True


_CHOICE = re.compile(r"[A-J]")
_BRACKETED_LETTER = re.compile(r"[\s$*]*(?:\\(?:text|math)(?:bf|rm|it)?\{)?\s*\(([a-j])\)\s*\}?[\s$*.]*")


def _equal(gold: str, answer: str, leaf: Equal) -> Verdict:
    """The rules in order; the first that decides, decides."""
    if not gold:
        return leaf(gold, answer)
    if not answer:
        return False
    if compact(gold) == compact(answer):
        return True
    equal = partial(_equal, leaf=leaf)
    for rule in RULES:
        verdict = rule(gold, answer, equal)
        if verdict is not None:
            return verdict
    return leaf(gold, answer)


RULES: tuple[Rule, ...] = (
    by_number,
    by_letter,
    by_words,
    by_power,
    by_danger,
    by_clock,
    by_notation,
    by_interval,
    by_matrix,
    by_parts,
    by_unit,
    by_equation,
    by_polynomial,
    by_guesses,
)

# --- grades ----------------------------------------------------------------------------------------------------------


class Graded(NamedTuple):
    """The grade of a response, and the answer that was extracted from it.

    `answer` is None where there is none, and where the response is truncated: such a one is not read. `reason` says why an
    ungradable one is: `timeout`, `crash` or `gold`; it is empty for the others.
    """

    grade: Grade
    answer: str | None = None
    reason: str = ""


class Undecided(NamedTuple):
    """The extracted answer of a response that the symbolic engine must grade."""

    answer: str


_TRUNCATED, _NO_ANSWER = Graded(Grade.TRUNCATED), Graded(Grade.NO_ANSWER)


def grade_response(
    text: str, gold: str, *, is_truncated: bool, choices: Sequence[str] = (), tolerances: Sequence[Fraction] = ()
) -> Graded | Undecided:
    r"""The grade and the answer of one response, or the answer alone where the symbolic engine must decide.

    `text` is the response alone: the prompt may hold a box or the gold answer, so it must never be part of it.
    A truncated response is `TRUNCATED` whatever it says.

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
