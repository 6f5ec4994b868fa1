"""The pool that grades responses, with a hard time limit on every answer that needs algebra.

1. Each response goes through `rules.grade_response` in this process; most are decided there.
2. For the undecided ones, Math-Verify compares the extracted answer with the gold answer in child processes
   (`system/child_processes.py`). It sees nothing else of the response.
   Names that it would confuse get other names first, and what it calls equal equations is confirmed.
3. A child that exceeds the limit is killed and replaced, and its response is `UNGRADABLE`; so is a response over which two
   children died, one whose gold answer Math-Verify cannot read, and one over which our own rules fail. None of these is ever
   graded `WRONG`.
"""

import logging
import re
import reprlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
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

_log = logging.getLogger(__name__)

MAX_KNOWN = 100_000
MAX_SYMBOLS = 12
FLOAT_DIGITS = 12
"""How many decimals Math-Verify compares: 1.4142135623730951 equals the square root of 2, 1.414214 does not."""
KNOWN_BITS = 40
"""How much of a value must be known to tell it from another by its size: twelve digits."""

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
        results = [grade_by_rules(*item) for item in items]
        pairs = {i: _pair(one.answer, items[i][1]) for i, one in enumerate(results) if isinstance(one, Undecided)}
        outcomes = self._ask(list(dict.fromkeys(pairs.values())))
        graded = [
            one if isinstance(one, Graded) else _decided(one.answer, outcomes[pairs[i]])
            for i, one in enumerate(results)
        ]
        with self._lock:
            self.reasons.update(one.reason for one in graded if one.reason)
        return graded

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


def grade_by_rules(text: str, problem: Problem, is_truncated: bool) -> Graded | Undecided:
    """What the rules say of a response. A fault of theirs is logged, and ends one grade instead of the run."""
    granted = tolerances(problem)
    try:
        return grade_response(
            text, problem.answer, is_truncated=is_truncated, choices=problem.choices, tolerances=granted
        )
    except Exception:
        _log.exception("the rules could not grade a response to %r, which is ungradable", problem.id)
        return Graded(Grade.UNGRADABLE, None, CRASH)


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
        capitals = frozenset().union(*(capitals_beside_small_letters(clean(text)) for text in (gold, answer)))
        leaf = partial(_by_algebra, capitals=capitals)
        return "right" if same_answer_with(gold, answer, leaf, choices, limits) is True else "wrong"
    except _GoldUnreadableError:
        return "gold"


def _by_algebra(gold: str, answer: str, limit: Fraction, capitals: frozenset[str]) -> bool:
    """Whether two cleaned answers are equal, or differ by at most `limit` where there is one."""
    return bool(limit and _near_by_algebra(gold, answer, limit)) or _equal_by_algebra(gold, answer, capitals)


def _equal_by_algebra(gold: str, answer: str, capitals: frozenset[str] = frozenset()) -> bool:
    """Math-Verify's verdict on two cleaned answers; False where it cannot read the second, an error where it cannot read the gold
    answer."""
    from math_verify import verify

    gold_expressions, expressions = _parsed_alike(gold, answer, capitals)
    if not expressions:
        return False
    gold_expression, expression = _over_one_alphabet(
        *map(_with_named_derivatives, (gold_expressions[0], expressions[0]))
    )
    if _are_multiples(gold_expression, expression):
        return True
    if _differs_at_a_point(gold_expression, expression):
        return False
    if verify(
        [gold_expression],
        [expression],
        float_rounding=FLOAT_DIGITS,
        allow_set_relation_comp=True,
        timeout_seconds=None,
    ):
        return _is_confirmed(gold_expression, expression)
    return _vanishes(gold_expression, expression) or _vanishes_for_positive_names(gold_expression, expression)


def _near_by_algebra(gold: str, answer: str, limit: Fraction) -> bool:
    """Whether two cleaned answers differ by at most `limit`, evaluated to 30 digits."""
    from math_verify.parser import sympy

    gold_expressions, expressions = _parsed_alike(gold, answer)
    if not (expressions and isinstance(gold_expressions[0], sympy.Expr) and isinstance(expressions[0], sympy.Expr)):
        return False
    try:
        distance = sympy.N(sympy.Abs((gold_expressions[0] - expressions[0]).doit()), 30)
        is_near = (
            distance.is_number and distance.is_finite and distance <= sympy.Rational(limit.numerator, limit.denominator)
        )
    except _UNREAL:
        return False
    return bool(is_near)


def _parsed_alike(
    gold: str, answer: str, capitals: frozenset[str] = frozenset()
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The expressions of the gold answer and of the answer, none where they would be confused.

    An error where the gold answer cannot be read.
    """
    renamed = with_names_apart(_with_braces(gold), _with_braces(answer), capitals)
    gold_expressions = _parsed(renamed[0] if renamed else gold)
    if not gold_expressions:
        raise _GoldUnreadableError(gold)
    return gold_expressions, _parsed(renamed[1]) if renamed else ()


_SINGLE = (
    r"(\\(?:pi|[Gg]amma|[Dd]elta|[Tt]heta|[Ll]ambda|[Ss]igma|[Pp]hi|[Pp]si|[Oo]mega|alpha|beta|mu|nu|rho|tau)(?![A-Za-z])"
    r"|\w)"
)
_BARE_ARGUMENTS = (
    (re.compile(rf"\\(frac|binom)\s*{_SINGLE}"), r"\\\1{\2}"),
    (re.compile(rf"\\(frac|binom)\s*(\{{[^{{}}]*\}})\s*{_SINGLE}"), r"\\\1\2{\3}"),
    (re.compile(r"(?<=[A-Za-z])(_(?:\{[^{}]*\}|\w))('+)"), r"\2\1"),
)


def _with_braces(text: str) -> str:
    r"""`\binom Nn` as `\binom{N}{n}`, and `x_0'` as `x'_0`."""
    for pattern, replacement in _BARE_ARGUMENTS:
        text = pattern.sub(replacement, text)
    return text


_NAME_TOKENS = re.compile(
    r"\\(?:math(?:bb|cal|frak|scr)|begin|end|operatorname|unit)\s*\{[^{}]*\}|\\Gamma\s*\(|E(?=\s*_)|\\[A-Za-z]+'*|[A-Za-z]'*|."
)
_SPARE_NAMES = (
    *"qwzkuvpstmnabcrxyl",
    *(
        rf"\{name} "
        for name in ("kappa", "eta", "nu", "chi", "psi", "zeta", "mu", "tau", "sigma", "rho", "lambda", "alpha")
    ),
    *(rf"\{name} " for name in ("beta", "phi", "theta", "omega")),
)


def with_names_apart(gold: str, answer: str, capitals: frozenset[str] = frozenset()) -> tuple[str, str] | None:
    r"""Two cleaned answers in which no two names are one to Math-Verify; None where the alphabet does not suffice.

    It reads every letter in lower case, \gamma as a constant, I as i, and drops primes.

    A capital is renamed where the small letter stands in the same answer (2^N remains 2^n), and where it is one of `capitals`.

    >>> with_names_apart(r"\frac{M}{M+m}", "m"), with_names_apart("2^N", "2^n"), with_names_apart(r"\gamma m", "m'")
    (('\\frac{q}{q+m}', 'm'), ('2^N', '2^n'), ('q m', 'w'))
    """
    tokens, answer_tokens = _name_tokens(gold), _name_tokens(answer)
    confused = _confused(tokens, answer_tokens, capitals)
    if not confused:
        return gold, answer
    used = {token.lower().rstrip("'") for token in (*tokens, *answer_tokens)}
    spare = [name for name in _SPARE_NAMES if name.strip() not in used]
    names = dict(zip(confused, spare, strict=False))
    if len(names) < len(confused):
        return None
    return _with_names(tokens, names), _with_names(answer_tokens, names)


def _name_tokens(text: str) -> list[str]:
    return [match[0] for match in _NAME_TOKENS.finditer(text)]


def _with_names(tokens: Sequence[str], names: Mapping[str, str]) -> str:
    """The text with other names; a letter that follows a command stands apart from it."""
    pairs = zip(("", *tokens), tokens, strict=False)
    return "".join(
        (" " if token in names and before[:1] == "\\" and before[-1].isalpha() else "") + names.get(token, token)
        for before, token in pairs
    )


def capitals_beside_small_letters(text: str) -> frozenset[str]:
    r"""The capitals of an answer, Latin and Greek, whose small letters it holds as well.

    >>> capitals_beside_small_letters(r"\frac{GMm}{r^2}")
    frozenset({'M'})
    """
    names = {token.rstrip("'") for token in _name_tokens(text)}
    return frozenset(
        name for name in names if name.lstrip("\\")[:1].isupper() and name != name.lower() and name.lower() in names
    )


def _confused(tokens: Sequence[str], answer_tokens: Sequence[str], capitals: frozenset[str]) -> list[str]:
    """The names, in the order of their letters, that Math-Verify would take for another of the same answer, or for a constant."""
    both = {*tokens, *answer_tokens}
    capitals = (
        capitals
        | capitals_beside_small_letters("".join(tokens))
        | capitals_beside_small_letters("".join(answer_tokens))
    )
    special = {name for name in both if name in (r"\gamma", r"\Gamma") or (name.endswith("'") and len(name) > 1)}
    letters = {name for name in both if len(name) == 1 and name.isalpha()} - set("iIeE")
    return sorted((capitals & both) | special | (both & {"I"} if letters else set()))  # 3+4I is a number


# Spellings that Math-Verify's grammar misreads, and others with the intended meaning.
_RESERVED = (
    (re.compile(r"(?<=\d) (?=i(?![A-Za-z]))"), ""),  # 4 i is imaginary as 4i is
    (re.compile(r"(?<![A-Za-z\\])E(?=_)"), r"\\Xi"),  # E_1 is a name, not Euler's number
    (re.compile(r"(?<![\w.})/^])(\d+)/(\d+)(?=\s*(?:\\[A-Za-z]|[A-Za-z(]))"), r"\\frac{\1}{\2}"),  # 3/4 x is no 3/(4x)
    (re.compile(r"/(\d+(?:\.\d+)?)(?![\d.])(?=\s+(?:\\[A-Za-z]|[A-Za-z(]))"), r"\\cdot\\frac{1}{\1}"),
    (
        re.compile(r"\\sqrt\[(\d*[13579])\]\{\s*-\s*(\d+(?:\.\d+)?|\\frac\{\d+\}\{\d+\})\s*\}"),
        r"(-\\sqrt[\1]{\2})",  # the real root
    ),
    (re.compile(r"\^(?:T|\{T\})"), "^{t}"),  # a power, and no transpose
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


def _is_confirmed(gold_expression: Any, expression: Any) -> bool:
    """False for two equations that Math-Verify calls equal because it could solve neither; True for all else it calls equal.

    The equations are no multiples of each other; confirmed are those which have solutions to compare.
    """
    from math_verify.parser import sympy

    if not all(isinstance(one, sympy.Equality) for one in (gold_expression, expression)):
        return True
    try:
        return bool(sympy.solve(gold_expression, gold_expression.free_symbols))
    except _UNREAL:
        return True


def _are_multiples(gold_expression: Any, expression: Any) -> bool:
    """Whether both are equations, and one is a multiple of the other at points of all signs."""
    from math_verify.parser import sympy

    if not all(isinstance(one, sympy.Equality) for one in (gold_expression, expression)):
        return False
    symbols = sorted(gold_expression.free_symbols | expression.free_symbols, key=str)
    try:
        gold_side, side = (one.lhs - one.rhs for one in (gold_expression, expression))
        ratios = [_ratio_at(gold_side, side, symbols, signs) for signs in range(4)]
        return all(
            ratio is not None and abs(ratio - ratios[0]) < sympy.Float("1e-9") * (1 + abs(ratio)) for ratio in ratios
        )
    except _UNREAL:
        return False


def _ratio_at(gold_side: Any, side: Any, symbols: Sequence[Any], signs: int) -> Any:
    """The quotient of two expressions at one point, None where it has none. `signs` says which of two names are negative."""
    from math_verify.parser import sympy

    sizes = [2 + sympy.Rational(1 + signs * (k + 1), 3 + 4 * k) for k in range(len(symbols))]
    point = {s: -size if signs >> k % 2 & 1 else size for k, (s, size) in enumerate(zip(symbols, sizes, strict=True))}
    ratio = sympy.N((gold_side / side).subs(point), 20)
    return ratio if ratio.is_number and ratio.is_finite else None


def _with_named_derivatives(expression: Any) -> Any:
    """The expression with a symbol for each derivative of a symbol: it would be 0, whichever of the two is the variable."""
    from math_verify.parser import sympy

    if not isinstance(expression, sympy.Basic):
        return expression
    found = [one for one in expression.atoms(sympy.Derivative) if one.expr.is_Symbol and one.expr not in one.variables]
    try:
        return expression.xreplace({one: sympy.Symbol(str(one), real=True) for one in found}) if found else expression
    except _UNREAL:
        return expression


def _over_one_alphabet(gold_expression: Any, expression: Any) -> tuple[Any, Any]:
    """Two expressions in which every name is one symbol, and a free i the imaginary unit.

    Math-Verify assumes of the symbols of an answer that holds an i that they are not real, so that its x is not the x of another.
    """
    from math_verify.parser import sympy

    both = (gold_expression, expression)
    if not all(isinstance(one, sympy.Basic) for one in both):
        return both
    symbols = {symbol for one in both for symbol in one.atoms(sympy.Symbol)}
    limits = sympy.concrete.expr_with_limits.ExprWithLimits
    counted = {variable for one in both for sum_ in one.atoms(limits) for variable in sum_.variables}
    is_complex = any(symbol.name == "i" and symbol not in counted for symbol in symbols)
    if not is_complex and len({symbol.name for symbol in symbols}) == len(symbols):
        return both
    alphabet = {symbol: sympy.Symbol(symbol.name, real=None if is_complex else True) for symbol in symbols}
    alphabet |= {symbol: sympy.I for symbol in symbols if symbol.name == "i" and symbol not in counted}
    try:
        return gold_expression.xreplace(alphabet), expression.xreplace(alphabet)
    except _UNREAL:
        return both


def _vanishes_for_positive_names(gold_expression: Any, expression: Any) -> bool:
    """Whether the difference simplifies to zero where names with an index are positive: the root of (r_0)^2 is r_0.

    Absolute values are left alone: who writes them means a name that may be negative.
    """
    from math_verify.parser import sympy

    both = (gold_expression, expression)
    if not all(isinstance(one, sympy.Expr) and not one.has(sympy.Abs) for one in both):
        return False
    symbols = {symbol for one in both for symbol in one.free_symbols}
    positive = {symbol: sympy.Symbol(symbol.name, positive=True) for symbol in symbols if "_" in symbol.name}
    if not positive or len(symbols) > MAX_SYMBOLS or not any(one.has(sympy.Pow) for one in both):
        return False
    try:
        return _vanishes(gold_expression.xreplace(positive), expression.xreplace(positive))
    except _UNREAL:
        return False


_UNREAL = (TypeError, ValueError, AttributeError, NotImplementedError, ArithmeticError, RecursionError)


def _differs_at_a_point(gold_expression: Any, expression: Any) -> bool:
    """Whether two expressions have different values at one point, at which every name is a positive number.

    This finds most wrong answers before anything is simplified, and those that differ by less than Math-Verify looks at.
    """
    from math_verify.parser import sympy

    if not (isinstance(gold_expression, sympy.Expr) and isinstance(expression, sympy.Expr)):
        return False
    symbols = sorted(gold_expression.free_symbols | expression.free_symbols, key=str)
    if len(symbols) > MAX_SYMBOLS:
        return False
    point = {s: sympy.I if str(s) == "i" else 2 + 1 / sympy.Integer(3 + 4 * k) for k, s in enumerate(symbols)}
    try:
        gold_number, number = (side.subs(point) for side in (gold_expression, expression))
        gold_value, value = (sympy.N(side, 20) for side in (gold_number, number))
        if not all(side.is_number and side.is_finite for side in (gold_value, value)):
            return False
        size = abs(gold_value) if _is_known(gold_value) and _is_known(value) else 1 + abs(gold_value)
        return bool(abs(gold_value - value) > sympy.Float("1e-9") * size) or _differ_slightly(gold_number, number)
    except _UNREAL:
        return False


def _is_known(value: Any) -> bool:
    """Whether a value has digits that are right: a difference of equal numbers has none."""
    from math_verify.parser import sympy

    return max((one._prec for one in value.atoms(sympy.Float)), default=0) >= KNOWN_BITS


def _differ_slightly(gold_number: Any, number: Any) -> bool:
    """Whether two numbers without decimals differ: rational ones at all, others by more than 1e-40 of the larger one."""
    from math_verify.parser import sympy

    inexact = (
        sympy.Float,
        sympy.Integral,
        sympy.concrete.expr_with_limits.ExprWithLimits,
        sympy.Limit,
        sympy.Derivative,
    )
    if gold_number.has(*inexact) or number.has(*inexact):
        return False
    difference = gold_number - number
    if _is_rational(gold_number) and _is_rational(number):
        return bool(difference.doit() != 0)
    distance, *sizes = (abs(sympy.N(one, 60)) for one in (difference, gold_number, number))
    return bool(distance > sympy.Float("1e-40", 60) * max(sizes))


def _is_rational(number: Any) -> bool:
    """Whether nothing but whole numbers, sums, products and whole powers makes a number, so that it is computed exactly."""
    from math_verify.parser import sympy

    if isinstance(number, sympy.Pow):
        return number.exp.is_Integer and _is_rational(number.base)
    if isinstance(number, sympy.factorial | sympy.binomial):
        return all(one.is_Integer for one in number.args)
    return number.is_Rational or (isinstance(number, sympy.Add | sympy.Mul) and all(map(_is_rational, number.args)))


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
