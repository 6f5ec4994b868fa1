"""Families of bare numbers: sums, products, equations in one unknown, missing numbers."""

from random import Random

from laconic.traces.steps import Reasoning, Step, apply, arithmetic

_ASKED = ("What is {}?", "Compute {}.", "Calculate {}.", "Find the value of {}.", "Work out {}.", "How much is {}?")


def chain_steps(rng: Random, start: int, operations: list[tuple[str, int]]) -> tuple[list[Step], int]:
    """The steps of a chain worked from left to right, and its result."""
    steps, x = [], start
    for op, b in operations:
        steps.append(arithmetic(rng, x, op, b))
        x = apply(x, op, b)
    return steps, x


def draw_operations(rng: Random, start: int, count: int, top: int) -> list[tuple[str, int]]:
    """Additions and subtractions of numbers from 1 to `top` whose running result never goes below zero."""
    operations, x = [], start
    for _ in range(count):
        b = rng.randint(1, top)
        op = "-" if b <= x and rng.random() < 0.45 else "+"
        operations.append((op, b))
        x = apply(x, op, b)
    return operations


def sums(rng: Random, level: int) -> Reasoning:
    """Two to four numbers with + and -: one digit at level 1, up to 50 at level 2, up to 99 at level 3."""
    top = (9, 50, 99)[level - 1]
    start = rng.randint(2, top)
    operations = draw_operations(rng, start, rng.randint(1, 3) if level == 1 else rng.randint(1, level), top)
    text = f"{start}" + "".join(f" {op} {b}" for op, b in operations)
    steps, result = chain_steps(rng, start, operations)
    question = rng.choice(_ASKED).format(text)
    return Reasoning("sums", level, question, str(result), f"work out {text}", tuple(steps), f"{text} is {result}")


def products(rng: Random, level: int) -> Reasoning:
    """A product of two numbers: of one digit at level 1, of two and one at level 2; with a sum after it at level 3."""
    a, b = rng.randint(2, 9) if level == 1 else rng.randint(11, 30), rng.randint(2, 9 if level == 1 else 5)
    operations = [("*", b)] + ([(rng.choice("+-"), rng.randint(1, 20))] if level == 3 else [])
    text = f"{a}" + "".join(f" {op} {n}" for op, n in operations)
    steps, result = chain_steps(rng, a, operations)
    question = rng.choice(_ASKED).format(text)
    return Reasoning("products", level, question, str(result), f"work out {text}", tuple(steps), f"{text} is {result}")


_SOLVE = ("Solve for x: {}.", "Find x if {}.", "What is x if {}?", "For which x is {}?")


def equations(rng: Random, level: int) -> Reasoning:
    """x + b = c or x - b = c at level 1, a x = c at level 2, a x + b = c or a x - b = c at level 3."""
    x, op = rng.randint(2, 12), rng.choice("+-")
    a = 1 if level == 1 else rng.randint(2, 6)
    b = rng.randint(1, 9) if level != 2 else 0
    if op == "-" and a * x < b:
        op = "+"
    c = apply(a * x, op, b)
    left = ("x" if a == 1 else f"{a}x") + (f" {op} {b}" if b else "")
    steps = []
    if b:
        back = "-" if op == "+" else "+"
        doing = f"subtract {b} from" if op == "+" else f"add {b} to"
        steps.append(arithmetic(rng, c, back, b, f"{doing} both sides"))
    if a > 1:
        steps.append(arithmetic(rng, a * x, "/", a, f"divide both sides by {a}"))
    proof = (f"{a} * {x}" if a > 1 else f"{x}") + (f" {op} {b}" if b else "") + f" = {c}"
    question = rng.choice(_SOLVE).format(f"{left} = {c}")
    return Reasoning("equations", level, question, str(x), f"find x in {left} = {c}", tuple(steps), f"x is {x}", proof)


_GAPS = (
    ("+", "What number must be added to {a} to get {c}?"),
    ("+", "{a} plus some number is {c}. What is the number?"),
    ("-", "What number must be taken from {a} to get {c}?"),
    ("-", "{a} minus some number is {c}. What is the number?"),
)


def gaps(rng: Random, level: int) -> Reasoning:
    """The number that is missing in a sum or difference."""
    top = (9, 30, 60)[level - 1]
    op, text = rng.choice(_GAPS)
    a, b = rng.randint(2, top), rng.randint(1, top)
    if op == "-":
        a, b = max(a, b) + 1, min(a, b)
    c = apply(a, op, b)
    step = arithmetic(rng, c, "-", a) if op == "+" else arithmetic(rng, a, "-", c)
    aim = f"find the number that turns {a} into {c}"
    proof = f"{a} {op} {b} = {c}"
    return Reasoning("gaps", level, text.format(a=a, c=c), str(b), aim, (step,), f"the number is {b}", proof)
