"""Traces for tasks of reasoning-gym: its own question and answer, and our reasoning, which must reach that answer.

1. `GYM_REASONINGS` is the table of tasks: arithmetic, equations, divisors, counting. Each reads what the item's metadata states.
2. `reason_about` returns nothing for an item whose reasoning is not known, or does not reach the answer (a division that leaves a
   remainder, an equation without its unknown): such an item is passed over, not taught.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from laconic.traces.expressions import expression_steps
from laconic.traces.linear import equation_steps
from laconic.traces.steps import Reasoning, Step, arithmetic

GymItem = Mapping[str, Any]
Steps = tuple[str, list[Step], str, str]
"""Aim, steps, answer, proof."""

MOST_LETTERS = 60
LEGS = {
    legs: frozenset(names.split(","))
    for legs, names in {
        0: "snake,sea slug,jellyfish,flatworm,leech",
        2: "chicken,bird,human,duck",
        4: "dog,cat,cow,horse,lion,elephant,giraffe,tiger,deer,sheep",
        5: "starfish",
        6: "insect,ant,butterfly,beetle,bee,wasp,grasshopper,cricket,cockroach,praying mantis,firefly",
        8: "spider,scorpion",
        10: "crab,lobster,shrimp",
        14: "woodlouse",
    }.items()
}


def _expression(rng: Random, item: GymItem) -> Steps:
    text = " ".join(str(item["expression"]).split())
    steps, result = expression_steps(rng, text)
    return f"work out {text}", steps, str(result), ""


def _equation(rng: Random, item: GymItem) -> Steps:
    equation, unknown = str(item["equation"]), str(item["variable"])
    steps, value, proof = equation_steps(rng, equation, unknown)
    return f"find {unknown} in {equation}", steps, str(value), proof


def _divisor_steps(rng: Random, a: int, b: int) -> tuple[list[Step], int]:
    """Euclid's algorithm: the larger number less as many of the smaller as fit, until nothing remains."""
    steps: list[Step] = []
    a, b = max(a, b), min(a, b)
    while b:
        fits, rest = divmod(a, b)
        statement = f"{a} - {fits} * {b} = {rest}"
        steps.append(
            Step(statement, (statement,), lead=f"{b} goes {fits} times into {a}", check=f"{fits} * {b} + {rest} = {a}")
        )
        a, b = b, rest
    return steps, a


def _divisor(rng: Random, item: GymItem) -> Steps:
    first, *others = item["numbers"]
    steps: list[Step] = []
    for other in others:
        more, first = _divisor_steps(rng, first, other)
        steps += more
    return f"find the greatest common divisor of {_listed(item['numbers'])}", steps, str(first), ""


def _multiple(rng: Random, item: GymItem) -> Steps:
    multiple, *others = item["numbers"]
    steps: list[Step] = []
    for other in others:
        more, divisor = _divisor_steps(rng, multiple, other)
        part = arithmetic(rng, other, "/", divisor, f"the common divisor is {divisor}")
        steps += [*more, part, arithmetic(rng, multiple, "*", other // divisor)]
        multiple *= other // divisor
    return f"find the least common multiple of {_listed(item['numbers'])}", steps, str(multiple), ""


def _legs(rng: Random, item: GymItem) -> Steps:
    """The legs of each kind, then their running sum."""
    steps, total = [], 0
    for animal, count in item["animals"].items():
        legs = next(legs for legs, names in LEGS.items() if animal in names)
        steps.append(arithmetic(rng, count, "*", legs, f"{count} times {legs} legs ({animal})"))
        if len(steps) > 1:
            steps.append(arithmetic(rng, total, "+", count * legs, "in all"))
        total += count * legs
    return "count the legs", steps, str(total), ""


def _letters(_rng: Random, item: GymItem) -> Steps:
    """Word by word, spelled, with the running count."""
    letter, words = str(item["target_letter"]), [str(word) for word in item["span"]]
    if sum(map(len, words)) > MOST_LETTERS:
        raise ValueError("too long to spell")
    steps, seen = [], 0
    for word in words:
        here = word.lower().count(letter.lower())
        seen += here
        spelled = "-".join(word)
        steps.append(Step(f"{spelled}: {here}, {seen}", (f"{spelled} has {here}, which makes {seen}",)))
    return f"count the letter {letter}", steps, str(seen), ""


def _listed(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))


GYM_REASONINGS: Mapping[str, Callable[[Random, GymItem], Steps]] = {
    "chain_sum": _expression,
    "products": _expression,
    "basic_arithmetic": _expression,
    "simple_equations": _equation,
    "gcd": _divisor,
    "lcm": _multiple,
    "leg_counting": _legs,
    "letter_counting": _letters,
}


def reason_about(rng: Random, task: str, question: str, answer: str, item: GymItem) -> Reasoning | None:
    """The reasoning for an item of a task of `GYM_REASONINGS`; `item` is its metadata. None where it does not reach `answer`."""
    try:
        aim, steps, reached, proof = GYM_REASONINGS[task](rng, item)
    except (ValueError, KeyError, StopIteration):
        return None
    if reached != answer or not steps:
        return None
    return Reasoning(task, 0, question, answer, aim, tuple(steps), f"the answer is {answer}", proof)
