"""An expression of whole numbers as the steps that work it out, in the order of the rules of arithmetic.

1. `expression_steps` parses `3 + 4 * (2 - 5)` and writes one step for each operation; a minus before brackets is taken from 0.
2. Nothing is evaluated as code: the tree is walked, and anything but whole numbers, + - * / and brackets is refused, so is a
   division that leaves a remainder.
"""

import ast
from random import Random

from laconic.traces.steps import Step, apply, arithmetic

MOST_OPERATIONS = 12
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def expression_steps(rng: Random, expression: str) -> tuple[list[Step], int]:
    """The steps and the result. Raises `ValueError` for an expression that has none: it is no arithmetic of whole numbers, needs
    more than `MOST_OPERATIONS` steps, or is a number already.

    >>> steps, result = expression_steps(Random(0), "3 + 4 * (2 - 5)")
    >>> [step.bare for step in steps], result
    (['2 - 5 = -3', '4 * -3 = -12', '3 + -12 = -9'], -9)
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"{expression!r} is no expression") from error
    steps: list[Step] = []
    result = _walk(rng, tree, steps)
    if not 0 < len(steps) <= MOST_OPERATIONS:
        raise ValueError(f"{expression!r} takes {len(steps)} steps, expected 1 to {MOST_OPERATIONS}")
    return steps, result


def _walk(rng: Random, node: ast.expr, steps: list[Step]) -> int:
    """The value of a part of the tree; its steps are appended."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _walk(rng, node.operand, steps)
        return -inner if isinstance(node.operand, ast.Constant) else _stepped(rng, 0, "-", inner, steps)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        left, right = _walk(rng, node.left, steps), _walk(rng, node.right, steps)
        return _stepped(rng, left, _SIGNS[type(node.op)], right, steps)
    raise ValueError(f"{ast.unparse(node)} is no arithmetic of whole numbers")


def _stepped(rng: Random, a: int, op: str, b: int, steps: list[Step]) -> int:
    if op == "/" and (b == 0 or a % b):
        raise ValueError(f"{a} / {b} is no whole number")
    steps.append(arithmetic(rng, a, op, b))
    return apply(a, op, b)
