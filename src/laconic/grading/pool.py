"""The pool that grades responses, with a hard time limit on everything that needs algebra.

1. Each response goes through `rules.grade_response` in this process; most are decided there.
2. What is undecided is asked of Math-Verify in child processes (`system/child_processes.py`): the answer that was extracted and
   the gold answer, nothing else.
3. A child that exceeds the limit is killed and replaced, and its item is `UNGRADABLE`; so is the item of a child that
   died and an item whose gold answer Math-Verify cannot read. None of these is ever `WRONG`.
"""

import re
import threading
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, partial
from types import TracebackType
from typing import Any

from laconic.config.defaults import GRADER_TIMEOUT_SECONDS, GRADER_WORKERS
from laconic.errors import ProblemsError
from laconic.grading.normal_form import clean
from laconic.grading.numbers import exact_number, is_double_precision
from laconic.grading.rules import Graded, Undecided, grade_response, same_answer_with
from laconic.system.child_processes import CRASH, Children, answer_lines
from laconic.types import Grade, Problem

MAX_KNOWN = 100_000
MAX_SYMBOLS = 12
FLOAT_DIGITS = 12
"""Decimals Math-Verify compares of a printed double: 1.4142135623730951 is the square root of 2, 1.414214 is not."""

AnswerPair = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""Gold answer, extracted answer, choices, tolerances."""

SERVE = "laconic.grading.pool:serve"
_GRADES = {"right": Grade.CORRECT, "wrong": Grade.WRONG}


class Grader:
    """Grades responses; at most `workers` answers are under algebra at once, each for at most `timeout_seconds`.

    Use it as a context manager, from any thread. `reasons` counts ungradable items: `timeout`, `crash`, `gold`.
    Children start when they are first needed; `RunFailed` is raised where one cannot start at all.
    """

    def __init__(self, workers: int = GRADER_WORKERS, timeout_seconds: float = GRADER_TIMEOUT_SECONDS) -> None:
        self.timeout_seconds = timeout_seconds
        self.reasons: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._known: dict[AnswerPair, str] = {}
        self._children = Children(SERVE, workers, timeout_seconds)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every child and wait for it; a later `grade_many` starts new ones."""
        self._children.close()

    def grade_many(self, items: Sequence[tuple[str, Problem, bool]]) -> list[Graded]:
        """Grade, answer and reason for each (response text, problem, is_truncated), in order; the text must not contain the
        prompt."""
        found = [
            grade_response(
                text,
                problem.answer,
                is_truncated=is_truncated,
                choices=problem.choices,
                tolerances=tolerances(problem),
            )
            for text, problem, is_truncated in items
        ]
        pairs = {i: _pair(one.answer, items[i][1]) for i, one in enumerate(found) if isinstance(one, Undecided)}
        outcomes = self._ask(list(dict.fromkeys(pairs.values())))
        with self._lock:
            self.reasons.update(outcome for pair in pairs.values() if (outcome := outcomes[pair]) not in _GRADES)
        return [
            one if isinstance(one, Graded) else _decided(one.answer, outcomes[pairs[i]]) for i, one in enumerate(found)
        ]

    def _ask(self, pairs: list[AnswerPair]) -> dict[AnswerPair, str]:
        """`right`, `wrong`, or the reason why neither is known, for each pair; all but a crash is remembered."""
        with self._lock:
            known = {pair: self._known[pair] for pair in pairs if pair in self._known}
        new = [pair for pair in pairs if pair not in known]
        found = dict(zip(new, self._children.ask(new), strict=True))
        with self._lock:
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known.update({pair: outcome for pair, outcome in found.items() if outcome != CRASH})
        return known | found


def _pair(answer: str, problem: Problem) -> AnswerPair:
    return problem.answer, answer, problem.choices, tuple(map(str, tolerances(problem)))


def _decided(answer: str, outcome: str) -> Graded:
    grade = _GRADES.get(outcome)
    return Graded(Grade.UNGRADABLE, answer, outcome) if grade is None else Graded(grade, answer)


def tolerances(problem: Problem) -> tuple[Fraction, ...]:
    """The absolute tolerance that a problem grants its answer, `meta["tolerance"]`: a number, or a list of them.

    Raises `ProblemsError` where it is neither.

    >>> tolerances(Problem("a", "q", "7", meta={"tolerance": "0.1"}))
    (Fraction(1, 10),)
    """
    granted = problem.meta.get("tolerance")
    if granted is None:
        return ()
    try:
        return tuple(Fraction(str(value)) for value in (granted if isinstance(granted, list | tuple) else [granted]))
    except ValueError as error:
        raise ProblemsError(
            f"{problem.id}: tolerance: expected a number or a list of them, found {granted!r}"
        ) from error


# --- in the child ----------------------------------------------------------------------------------------------------


class _GoldUnreadableError(Exception):
    """Math-Verify cannot read the gold answer."""


def serve() -> None:
    """The child's loop: a line [gold, answer, choices, tolerances] is answered with its `outcome_of`."""
    answer_lines(outcome_of, (r"2\sqrt{3}", r"\sqrt{12}"))


def outcome_of(gold: str, answer: str, choices: Sequence[str] = (), granted: Sequence[str] = ()) -> str:
    """`right`, `wrong`, or `gold` where Math-Verify cannot read the gold answer. No time limit: a child's work."""
    try:
        limits = [Fraction(limit) for limit in granted]
        leaf = partial(_near_by_algebra, limit=limits[0]) if limits else _equal_by_algebra
        return "right" if same_answer_with(gold, answer, leaf, choices, limits) is True else "wrong"
    except _GoldUnreadableError:
        return "gold"


def _equal_by_algebra(gold: str, answer: str) -> bool:
    """Math-Verify's verdict on two cleaned answers; an answer it cannot read is no answer to anything."""
    from math_verify import verify

    wanted, given = _parsed(gold), _parsed(answer)
    if not wanted:
        raise _GoldUnreadableError(gold)
    if not given:
        return False
    if _differs_at_a_point(wanted[0], given[0]):
        return False
    if verify(
        list(wanted), list(given), float_rounding=FLOAT_DIGITS, allow_set_relation_comp=True, timeout_seconds=None
    ):
        return True
    return _vanishes(wanted[0], given[0])


def _near_by_algebra(gold: str, answer: str, limit: Fraction) -> bool:
    """Whether two cleaned answers differ by at most `limit`, evaluated to 30 digits."""
    from math_verify.parser import sympy

    wanted, given = _parsed(gold), _parsed(answer)
    if not wanted:
        raise _GoldUnreadableError(gold)
    if not (given and isinstance(wanted[0], sympy.Expr) and isinstance(given[0], sympy.Expr)):
        return False
    difference = sympy.N(wanted[0] - given[0], 30)
    return bool(difference.is_number and abs(difference) <= sympy.Rational(limit.numerator, limit.denominator))


# What Math-Verify's grammar reads otherwise than it is meant.
_RESERVED = (
    (re.compile(r"(?<=\d) (?=i(?![A-Za-z]))"), ""),  # 4 i is imaginary as 4i is
    (re.compile(r"(?<![A-Za-z\\])E(?=_)"), r"\\Xi"),  # E_1 is a name, not Euler's number
    (re.compile(r"\^\{?0?\.5\}?(?!\d)"), r"^{\\frac{1}{2}}"),
    (re.compile(r"(\w)!(?=\s*\^)"), r"(\1!)"),
    (re.compile(r"_\{?\s*\\odot\s*\}?"), "_{o}"),
)


@lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[Any, ...]:
    """What Math-Verify reads in a cleaned answer, nothing where it reads nothing; a number is handed to it exactly."""
    from math_verify.parser import LatexExtractionConfig, NormalizationConfig, parse, sympy

    value = exact_number(text)
    if value is not None and not is_double_precision(text, value):
        return (sympy.Rational(value.numerator, value.denominator),)

    reading = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    target = LatexExtractionConfig(boxed_match_priority=-1, normalization_config=reading)
    latex = clean(text).replace("$", "")
    for pattern, replacement in _RESERVED:
        latex = pattern.sub(replacement, latex)
    return tuple(parse(f"${latex}$", [target], fallback_mode="no_fallback", parsing_timeout=None))


_UNREAL = (TypeError, ValueError, AttributeError, NotImplementedError, ArithmeticError, RecursionError)


def _differs_at_a_point(wanted: Any, given: Any) -> bool:
    """Whether two expressions have plainly different values where every name has one positive value: then they differ.

    Most wrong answers end here, before anything is simplified.
    """
    from math_verify.parser import sympy

    if not (isinstance(wanted, sympy.Expr) and isinstance(given, sympy.Expr)):
        return False
    symbols = sorted(wanted.free_symbols | given.free_symbols, key=str)
    if len(symbols) > MAX_SYMBOLS:
        return False
    point = {s: sympy.I if str(s) == "i" else 2 + 1 / sympy.Integer(3 + 4 * k) for k, s in enumerate(symbols)}
    try:
        ours, theirs = (sympy.N(side.subs(point), 20) for side in (wanted, given))
        numbers = all(side.is_number and side.is_finite for side in (ours, theirs))
        return bool(numbers and abs(ours - theirs) > sympy.Float("1e-9") * (1 + abs(ours)))
    except _UNREAL:
        return False


def _vanishes(wanted: Any, given: Any) -> bool:
    """Whether the difference simplifies to zero: Math-Verify compares a lone symbol by its name only."""
    from math_verify.parser import sympy

    if not (isinstance(wanted, sympy.Expr) and isinstance(given, sympy.Expr)):
        return False
    try:
        difference = (wanted - given).doit()
        units = {symbol: sympy.I for symbol in difference.free_symbols if str(symbol) == "i"}
        difference = sympy.simplify(difference.subs(units))
        return bool(difference == 0) or (not difference.free_symbols and difference.equals(0) is True)
    except _UNREAL:
        return False
