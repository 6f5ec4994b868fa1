"""The pool that grades responses, with a hard time limit on every answer that needs algebra.

1. Each response goes through `rules.grade_response` in this process; most are decided there.
2. For the undecided ones, Math-Verify compares the extracted answer with the gold answer in child processes
   (`system/child_processes.py`). It sees nothing else of the response.
3. A child that exceeds the limit is killed and replaced, and its response is `UNGRADABLE`; so is a response over which two
   children died, and one whose gold answer Math-Verify cannot read. None of these is ever graded `WRONG`.
"""

import re
import reprlib
import threading
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, partial
from importlib.metadata import version
from types import TracebackType
from typing import Any, Protocol, Self

from laconic.config.defaults import GRADER_TIMEOUT_SECONDS, GRADER_WORKERS
from laconic.errors import ProblemsError
from laconic.grading.normal_form import clean
from laconic.grading.numbers import exact_number, is_double_precision
from laconic.grading.rules import RULES_VERSION, Graded, Undecided, grade_response, same_answer_with
from laconic.grading.unicode_maths import has_unread
from laconic.system.child_processes import CRASH, Children, answer_lines
from laconic.system.confinement import plainly
from laconic.types import Grade, Problem

MAX_KNOWN = 100_000
MAX_SYMBOLS = 12
FLOAT_DIGITS = 12
"""How many decimals Math-Verify compares: 1.4142135623730951 equals the square root of 2, 1.414214 does not."""

AnswerPair = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""Gold answer, extracted answer, choices, tolerances."""

Item = tuple[str, Problem, bool]
"""The text of a response, its problem, and whether the cap cut it off; the text must not contain the prompt."""


class AnyGrader(Protocol):
    """What grades responses: the pool below, a user's own function (`own.py`), a model that judges (`rollouts/rubric.py`)."""

    @property
    def name(self) -> str:
        """What evaluations record of it; two that may grade a response differently have two names."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """End what it started."""
        ...

    def grade_many(self, items: Sequence[Item]) -> list[Graded]:
        """The grade, answer and reason of each response, in order."""
        ...


class Closing:
    """A context at whose end it is closed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing, unless something was started."""


SERVE = "laconic.grading.grader:serve"
_GRADES = {"right": Grade.CORRECT, "wrong": Grade.WRONG}


class Grader(Closing):
    """Grades responses. At most `workers` answers are compared by algebra at once, each for at most `timeout_seconds`.

    Use it as a context manager, from any thread. `reasons` counts why responses were ungradable: `timeout`, `crash`, `gold`.
    Children start when they are first needed; raises `RunFailed` where one cannot start at all, or question after question ends
    its child.
    """

    def __init__(self, workers: int = GRADER_WORKERS, timeout_seconds: float = GRADER_TIMEOUT_SECONDS) -> None:
        self.timeout_seconds = timeout_seconds
        self.reasons: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._known: dict[AnswerPair, str] = {}
        self._children = Children(SERVE, workers, timeout_seconds)

    @property
    def name(self) -> str:
        """The versions of the rules and of Math-Verify, by which evaluations recognise it."""
        return f"laconic rules {RULES_VERSION}, math-verify {version('math-verify')}"

    @property
    def num_deaths(self) -> int:
        """How many children have died by themselves. A question whose child died was asked once more."""
        return self._children.num_deaths

    def close(self) -> None:
        """End every child and wait for it; a later `grade_many` starts new ones."""
        self._children.close()

    def grade_many(self, items: Sequence[Item]) -> list[Graded]:
        """The grade, answer and reason for each response, in order."""
        results = [
            grade_response(
                text,
                problem.answer,
                is_truncated=is_truncated,
                choices=problem.choices,
                tolerances=tolerances(problem),
            )
            for text, problem, is_truncated in items
        ]
        pairs = {i: _pair(one.answer, items[i][1]) for i, one in enumerate(results) if isinstance(one, Undecided)}
        outcomes = self._ask(list(dict.fromkeys(pairs.values())))
        with self._lock:
            self.reasons.update(outcome for pair in pairs.values() if (outcome := outcomes[pair]) not in _GRADES)
        return [
            one if isinstance(one, Graded) else _decided(one.answer, outcomes[pairs[i]])
            for i, one in enumerate(results)
        ]

    def _ask(self, pairs: list[AnswerPair]) -> dict[AnswerPair, str]:
        """For each pair `right`, `wrong`, or the reason why it is not known. Every outcome but a crash is remembered."""
        with self._lock:
            known = {pair: self._known[pair] for pair in pairs if pair in self._known}
        new = [pair for pair in pairs if pair not in known]
        outcomes = dict(zip(new, self._children.ask(new), strict=True))
        with self._lock:
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known.update({pair: outcome for pair, outcome in outcomes.items() if outcome != CRASH})
        return known | outcomes


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
    stated = problem.meta.get("tolerance")
    if stated is None:
        return ()
    found = [_tolerance(value) for value in (stated if isinstance(stated, list | tuple) else [stated])]
    granted = tuple(value for value in found if value is not None)
    if not granted or len(granted) < len(found):
        raise ProblemsError(
            f"{problem.id}: tolerance: expected a number or a list of them, at least 0, found {_shown(stated)}"
        )
    return granted


def _tolerance(value: object) -> Fraction | None:
    """The number that a tolerance states; None where it states none, or one that `exact_number` would not compute."""
    try:
        number = exact_number(str(value).strip())
    except ValueError:  # a whole number of more digits than Python writes
        return None
    return number if number is not None and number >= 0 else None


def _shown(value: object) -> str:
    try:
        return plainly(reprlib.repr(value))
    except ValueError:
        return "a number of thousands of digits"


# --- in the child ----------------------------------------------------------------------------------------------------


class _GoldUnreadableError(Exception):
    """Math-Verify cannot read the gold answer."""


def serve() -> None:
    """The child's loop: it answers a line [gold, answer, choices, tolerances] with the outcome of `outcome_of`."""
    answer_lines(outcome_of, (r"2\sqrt{3}", r"\sqrt{12}"))


def outcome_of(gold: str, answer: str, choices: Sequence[str] = (), granted: Sequence[str] = ()) -> str:
    """`right`, `wrong`, or `gold` where Math-Verify cannot read the gold answer. It has no time limit: children call it."""
    try:
        limits = [Fraction(limit) for limit in granted]
        leaf = partial(_near_by_algebra, limit=limits[0]) if limits else _equal_by_algebra
        return "right" if same_answer_with(gold, answer, leaf, choices, limits) is True else "wrong"
    except _GoldUnreadableError:
        return "gold"


def _equal_by_algebra(gold: str, answer: str) -> bool:
    """Math-Verify's verdict on two cleaned answers; False where it cannot read the second, an error where it cannot read the gold
    answer."""
    from math_verify import verify

    gold_expressions, expressions = _parsed(gold), _parsed(answer)
    if not gold_expressions:
        raise _GoldUnreadableError(gold)
    if not expressions:
        return False
    if _differs_at_a_point(gold_expressions[0], expressions[0]):
        return False
    if verify(
        list(gold_expressions),
        list(expressions),
        float_rounding=FLOAT_DIGITS,
        allow_set_relation_comp=True,
        timeout_seconds=None,
    ):
        return True
    return _vanishes(gold_expressions[0], expressions[0])


def _near_by_algebra(gold: str, answer: str, limit: Fraction) -> bool:
    """Whether two cleaned answers differ by at most `limit`, evaluated to 30 digits."""
    from math_verify.parser import sympy

    gold_expressions, expressions = _parsed(gold), _parsed(answer)
    if not gold_expressions:
        raise _GoldUnreadableError(gold)
    if not (expressions and isinstance(gold_expressions[0], sympy.Expr) and isinstance(expressions[0], sympy.Expr)):
        return False
    difference = sympy.N(gold_expressions[0] - expressions[0], 30)
    return bool(difference.is_number and abs(difference) <= sympy.Rational(limit.numerator, limit.denominator))


# Spellings that Math-Verify's grammar misreads, and others with the intended meaning.
_RESERVED = (
    (re.compile(r"(?<=\d) (?=i(?![A-Za-z]))"), ""),  # 4 i is imaginary as 4i is
    (re.compile(r"(?<![A-Za-z\\])E(?=_)"), r"\\Xi"),  # E_1 is a name, not Euler's number
    (re.compile(r"\^\{?0?\.5\}?(?!\d)"), r"^{\\frac{1}{2}}"),
    (re.compile(r"(\w)!(?=\s*\^)"), r"(\1!)"),
    (re.compile(r"_\{?\s*\\odot\s*\}?"), "_{o}"),
)


@lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[Any, ...]:
    """The expressions that Math-Verify reads in a cleaned answer, empty where it reads none; a number is read by us, exactly."""
    from math_verify.parser import LatexExtractionConfig, NormalizationConfig, parse, sympy

    if has_unread(text):  # Math-Verify would pass over what it does not know
        return ()
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


def _differs_at_a_point(gold_expression: Any, expression: Any) -> bool:
    """Whether two expressions have clearly different values at one point, at which every name is a positive number.

    This finds most wrong answers before anything is simplified.
    """
    from math_verify.parser import sympy

    if not (isinstance(gold_expression, sympy.Expr) and isinstance(expression, sympy.Expr)):
        return False
    symbols = sorted(gold_expression.free_symbols | expression.free_symbols, key=str)
    if len(symbols) > MAX_SYMBOLS:
        return False
    point = {s: sympy.I if str(s) == "i" else 2 + 1 / sympy.Integer(3 + 4 * k) for k, s in enumerate(symbols)}
    try:
        gold_value, value = (sympy.N(side.subs(point), 20) for side in (gold_expression, expression))
        are_numbers = all(side.is_number and side.is_finite for side in (gold_value, value))
        return bool(are_numbers and abs(gold_value - value) > sympy.Float("1e-9") * (1 + abs(gold_value)))
    except _UNREAL:
        return False


def _vanishes(gold_expression: Any, expression: Any) -> bool:
    """Whether the difference simplifies to zero. Math-Verify alone compares a single symbol by its name only."""
    from math_verify.parser import sympy

    if not (isinstance(gold_expression, sympy.Expr) and isinstance(expression, sympy.Expr)):
        return False
    try:
        difference = (gold_expression - expression).doit()
        units = {symbol: sympy.I for symbol in difference.free_symbols if str(symbol) == "i"}
        difference = sympy.simplify(difference.subs(units))
        return bool(difference == 0) or (not difference.free_symbols and difference.equals(0) is True)
    except _UNREAL:
        return False
