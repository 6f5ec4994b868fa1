"""A step of reasoning in several wordings, and what a writer may add to it: a slip, a check by the inverse, a second way.

1. `arithmetic` makes the step `a op b = r` for whole numbers. Its slip is a plausible wrong result.
2. `Reasoning` is a whole task: the question, the steps in order, and the answer that the last one reaches.

Every statement that a step holds is true, except its slip; a slip is written only together with the words that mend it.
"""

from dataclasses import dataclass
from random import Random

INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}

_WORDINGS = {
    "+": ("{a} + {b} = {r}", "{a} plus {b} is {r}", "adding {b} to {a} gives {r}"),
    "-": ("{a} - {b} = {r}", "{a} minus {b} is {r}", "taking {b} from {a} leaves {r}"),
    "*": ("{a} * {b} = {r}", "{a} times {b} is {r}"),
    "/": ("{a} / {b} = {r}", "{a} divided by {b} is {r}"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `bare` states it alone, `wordings` in sentences without a full stop; `lead` says what it is for.

    `slip` is a wrong statement and `mended` what is said once it is noticed; `check` undoes the step and `detour` reaches the
    same result in another way. Each of these is empty where there is none.
    """

    bare: str
    wordings: tuple[str, ...]
    lead: str = ""
    slip: str = ""
    mended: str = ""
    check: str = ""
    detour: str = ""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A task and the way to its answer. `aim` restates what is asked for, `proof` confirms the answer by the question's own terms
    (empty where there is no such way), and `closing` is the answer as a sentence without a full stop."""

    family: str
    level: int
    question: str
    answer: str
    aim: str
    steps: tuple[Step, ...]
    closing: str
    proof: str = ""


def apply(a: int, op: str, b: int) -> int:
    """`a op b` for whole numbers.

    >>> apply(7, "+", 8), apply(12, "/", 4)
    (15, 3)
    """
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[op]


def arithmetic(rng: Random, a: int, op: str, b: int, lead: str = "") -> Step:
    """The step `a op b`; a division must leave no remainder."""
    r = apply(a, op, b)
    wrong = rng.choice([w for w in (r + 1, r - 1, r + 2, r + 10) if (w >= 0) == (r >= 0)])
    return Step(
        bare=f"{a} {op} {b} = {r}",
        wordings=tuple(text.format(a=a, b=b, r=r) for text in _WORDINGS[op]),
        lead=lead,
        slip=f"{a} {op} {b} = {wrong}",
        mended=f"{a} {op} {b} is {r}, not {wrong}",
        check=_check(a, op, b, r),
        detour=_detour(a, op, b, r),
    )


def _check(a: int, op: str, b: int, r: int) -> str:
    return "" if op == "*" and b == 0 else f"{r} {INVERSE[op]} {b} = {a}"


def _detour(a: int, op: str, b: int, r: int) -> str:
    """Another way to the same result: by tens and units, over the next ten, by repeated addition; empty where none is natural."""
    if min(a, b, r) < 0:
        return ""
    if op in "+-":
        return _by_tens(a, op, b, r) if b > 10 and b % 10 else _over_the_ten(a, op, b, r)
    if op == "*" and a > 10 and a % 10 and b > 1:
        tens, units = a - a % 10, a % 10
        return f"{tens} * {b} = {tens * b}, {units} * {b} = {units * b}, and {tens * b} + {units * b} = {r}"
    if op == "*" and 2 <= b <= 4 and a:
        return f"{' + '.join([str(a)] * b)} = {r}"
    return ""


def _by_tens(a: int, op: str, b: int, r: int) -> str:
    """The tens first, then the units.

    >>> _by_tens(49, "+", 47, 96)
    '49 + 40 = 89, and 89 + 7 = 96'
    """
    middle = apply(a, op, b - b % 10)
    return f"{a} {op} {b - b % 10} = {middle}, and {middle} {op} {b % 10} = {r}"


def _over_the_ten(a: int, op: str, b: int, r: int) -> str:
    """To the next ten first, then the rest; empty where a number of one digit does not cross it.

    >>> _over_the_ten(8, "+", 7, 15), _over_the_ten(12, "-", 5, 7), _over_the_ten(2, "+", 5, 7)
    ('8 + 2 = 10, and 10 + 5 = 15', '12 - 2 = 10, and 10 - 3 = 7', '')
    """
    gap = 10 - a % 10 if op == "+" else a % 10
    if not 0 < gap < b < 10:
        return ""
    middle = apply(a, op, gap)
    return f"{a} {op} {gap} = {middle}, and {middle} {op} {b - gap} = {r}"
