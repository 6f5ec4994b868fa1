"""A linear equation with one unknown on its left side, `56 - 98*e = -1218`, as the steps that solve it.

The left side is one term with the unknown and numbers added to or subtracted from it; anything else is refused.
"""

import re
from random import Random

from laconic.traces.steps import Step, apply, arithmetic

_TERM = re.compile(r"([+-])(?:(\d+)\*?)?([a-z])?")


def equation_steps(rng: Random, equation: str, unknown: str) -> tuple[list[Step], int, str]:
    """The steps, the value of the unknown, and the equation with that value put in.

    Raises `ValueError` for another form of equation, and where the value is no whole number.

    >>> steps, value, proof = equation_steps(Random(0), "56 - 98*e = -1218", "e")
    >>> [step.bare for step in steps], value, proof
    (['-1218 - 56 = -1274', '-1274 / -98 = 13'], 13, '56 - 98 * 13 = -1218')
    """
    left, _, right = equation.partition("=")
    factor, constant = _sides(left, unknown)
    result = int(right)
    steps = []
    if constant:
        op, n = ("-", constant) if constant > 0 else ("+", -constant)
        doing = f"subtract {n} from" if op == "-" else f"add {n} to"
        steps.append(arithmetic(rng, result, op, n, f"{doing} both sides"))
        result = apply(result, op, n)
    if not factor or result % factor:
        raise ValueError(f"{equation!r} has no whole solution")
    value = result // factor
    if factor != 1:
        steps.append(arithmetic(rng, result, "/", factor, f"divide both sides by {factor}"))
    return steps, value, _with_value(equation, unknown, value)


def _sides(left: str, unknown: str) -> tuple[int, int]:
    """The factor of the unknown and the sum of the numbers."""
    text = left.replace(" ", "")
    text = text if text.startswith("-") else f"+{text}"
    factor = constant = 0
    place = 0
    while place < len(text):
        found = _TERM.match(text, place)
        if found is None or not (found[2] or found[3]) or found[3] not in (None, unknown) or (found[3] and factor):
            raise ValueError(f"{left!r} is not a sum of numbers and one term with {unknown}")
        amount = int(found[2] or 1) * (1 if found[1] == "+" else -1)
        factor, constant = (factor + amount, constant) if found[3] else (factor, constant + amount)
        place = found.end()
    return factor, constant


def _with_value(equation: str, unknown: str, value: int) -> str:
    """The equation with the value in place of the unknown."""
    text = equation.replace(f"*{unknown}", f" * {value}")
    return re.sub(rf"\b{unknown}\b", str(value), text).strip()
