"""Families about rows of numbers or words: what comes next, how many there are, which is the largest or the smallest."""

from random import Random

from laconic.traces.steps import Reasoning, Step, arithmetic

_NEXT = ("What number comes next: {}?", "Continue the sequence: {}, ...", "Which number follows in {}, ...?")


def sequences(rng: Random, level: int) -> Reasoning:
    """The next number of a row that grows or falls by equal steps; the steps grow with the level."""
    gap, start = rng.randint(2, (5, 9, 15)[level - 1]), rng.randint(1, (9, 20, 40)[level - 1])
    falls = level > 1 and rng.random() < 0.35
    row = [start + gap * i for i in range(rng.randint(3, 4))]
    row, op = (row[::-1], "-") if falls else (row, "+")
    if falls and row[-1] < gap:
        row = [n + gap for n in row]
    high, low = max(row[:2]), min(row[:2])
    moves = "goes down" if falls else "goes up"
    result = row[-1] - gap if falls else row[-1] + gap
    steps = (
        arithmetic(rng, high, "-", low, f"from {row[0]} to {row[1]} it {moves}"),
        arithmetic(rng, row[-1], op, gap, f"the row {moves} by {gap} each time"),
    )
    text = ", ".join(map(str, row))
    question = rng.choice(_NEXT).format(text)
    aim = f"find the number after {text}"
    return Reasoning("sequences", level, question, str(result), aim, steps, f"the next number is {result}")


_ITEMS = (
    "cat",
    "dog",
    "cow",
    "hen",
    "pig",
    "red",
    "blue",
    "green",
    "tree",
    "sun",
    "moon",
    "star",
    "cup",
    "ball",
    "car",
)


def counting(rng: Random, level: int) -> Reasoning:
    """How often a word or a digit stands in a row of 3 to 8."""
    items = _ITEMS if rng.random() < 0.6 else tuple("123456789")
    kinds = rng.sample(items, 3)
    target, row = (
        kinds[0],
        [rng.choice(kinds[:2] if rng.random() < 0.7 else kinds) for _ in range(rng.randint(3, 4) + level)],
    )
    steps, seen = [], 0
    for item in row:
        if item == target:
            seen += 1
            steps.append(Step(f"{item}: {seen}", (f"{item} makes {seen}",)))
        else:
            steps.append(Step(f"{item}: no", (f"{item} does not count",)))
    text = ", ".join(row)
    question = rng.choice(
        ("How many times does {t} occur in {r}?", "How often is {t} in this list: {r}?", "Count {t} in {r}.")
    ).format(t=target, r=text)
    closing = f"the count is {seen}"
    return Reasoning("counting", level, question, str(seen), f"count {target} in the list", tuple(steps), closing)


def _extreme(rng: Random, level: int, family: str, word: str) -> Reasoning:
    """The largest or smallest of 3 to 5 numbers, found by comparing each with the best so far."""
    row = rng.sample(range(1, 10), 3) if level == 1 else rng.sample(range(10, 100), level + 2)
    more, best, choose = ("larger", "largest", max) if family == "largest" else ("smaller", "smallest", min)
    sign = "<" if family == "largest" else ">"
    steps, x = [], row[0]
    for n in row[1:]:
        r = choose(x, n)
        other = x if r == n else n
        steps.append(
            Step(
                bare=f"{other} {sign} {r}",
                wordings=(f"{r} is {more} than {other}", f"of {x} and {n}, {r} is {more}"),
                lead=f"compare {x} and {n}",
                slip=f"{other} is {more} than {r}",
                mended=f"{r} is {more} than {other}",
            )
        )
        x = r
    question = rng.choice(
        (f"What is the {best} of {{}}?", f"Which number is the {best}: {{}}?", f"Find the {best} of {{}}.")
    )
    text = ", ".join(map(str, row))
    aim = f"find the {best} of {text}"
    return Reasoning(family, level, question.format(text), str(x), aim, tuple(steps), f"the {word} number is {x}")


def largest(rng: Random, level: int) -> Reasoning:
    """The largest of 3 to 5 numbers."""
    return _extreme(rng, level, "largest", "largest")


def smallest(rng: Random, level: int) -> Reasoning:
    """The smallest of 3 to 5 numbers."""
    return _extreme(rng, level, "smallest", "smallest")
