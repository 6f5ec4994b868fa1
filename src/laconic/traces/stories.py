"""Families of word problems: things that are got and given away, purchases, ages, journeys, sharing."""

from random import Random

from laconic.traces.steps import Reasoning, apply, arithmetic

_PEOPLE = (
    "Anna",
    "Ben",
    "Carla",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Ida",
    "Jack",
    "Kate",
    "Leo",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tina",
    "Victor",
)
_THINGS = (
    "apples",
    "pears",
    "coins",
    "stickers",
    "marbles",
    "cards",
    "shells",
    "books",
    "pencils",
    "stones",
    "nuts",
    "stamps",
    "balloons",
    "cookies",
)
_WARES = ("pens", "books", "caps", "cups", "lamps", "bags", "toys", "plates", "hats", "maps", "tickets")
_GOT = ("gets {n} more", "finds {n} more", "is given {n} more", "buys {n} more")
_GAVE = ("gives away {n}", "loses {n}", "sells {n}", "gives {n} to a friend")


def things(rng: Random, level: int) -> Reasoning:
    """Someone has some things, gets more, and gives some away: one or two changes at level 1, up to three at level 3."""
    top = (9, 30, 60)[level - 1]
    who, what = rng.choice(_PEOPLE), rng.choice(_THINGS)
    start = x = rng.randint(3, top)
    told, steps = [], []
    for _ in range(rng.randint(1, 2) if level < 3 else rng.randint(2, 3)):
        n = rng.randint(1, top)
        op = "-" if n <= x and rng.random() < 0.5 else "+"
        change = rng.choice(_GOT if op == "+" else _GAVE).format(n=n)
        told.append(change)
        steps.append(arithmetic(rng, x, op, n, f"{who} {change}"))
        x = apply(x, op, n)
    question = f"{who} has {start} {what}. {who} {', then '.join(told)}. How many {what} does {who} have now?"
    aim = f"find how many {what} {who} has at the end"
    return Reasoning("things", level, question, str(x), aim, tuple(steps), f"{who} has {x} {what}")


def shopping(rng: Random, level: int) -> Reasoning:
    """What some wares cost: one kind at level 1, a second thing at level 2, the change from a note at level 3."""
    who, (ware, other) = rng.choice(_PEOPLE), rng.sample(_WARES, 2)
    n, price = rng.randint(2, 6), rng.randint(2, 9)
    told = f"{who} buys {n} {ware} for {price} dollars each"
    steps, x = [arithmetic(rng, n, "*", price, f"the {ware} cost {n} times {price} dollars")], n * price
    if level > 1:
        extra = rng.randint(2, 20)
        told += f" and some {other} for {extra} dollars"
        steps.append(arithmetic(rng, x, "+", extra, f"the {other} cost {extra} dollars more"))
        x += extra
    if level < 3:
        question = f"{told}. How many dollars does {who} pay?"
        aim, closing = f"find what {who} pays", f"{who} pays {x} dollars"
    else:
        note = next(value for value in (20, 50, 100) if value > x)
        steps.append(arithmetic(rng, note, "-", x, f"{who} pays with {note} dollars"))
        x = note - x
        question = f"{told}. {who} pays with {note} dollars. How many dollars of change does {who} get?"
        aim, closing = f"find the change that {who} gets", f"the change is {x} dollars"
    return Reasoning("shopping", level, question, str(x), aim, tuple(steps), closing)


def ages(rng: Random, level: int) -> Reasoning:
    """How old someone is who is older or younger than another, perhaps some years later."""
    first, second = rng.sample(_PEOPLE, 2)
    age, gap, years = (
        rng.randint(6, (12, 30, 60)[level - 1]),
        rng.randint(1, 5 if level == 1 else 12),
        rng.randint(2, 9),
    )
    op = "-" if gap < age and rng.random() < 0.5 else "+"
    relation = f"{gap} years {'younger' if op == '-' else 'older'} than {first}"
    steps, x = [arithmetic(rng, age, op, gap, f"{second} is {relation}")], apply(age, op, gap)
    asked = f"How old is {second}?"
    if level > 1:
        steps.append(arithmetic(rng, x, "+", years, f"{years} years pass"))
        x += years
        asked = f"How old will {second} be in {years} years?"
    question = f"{first} is {age} years old. {second} is {relation}. {asked}"
    return Reasoning("ages", level, question, str(x), f"find the age of {second}", tuple(steps), f"the age is {x}")


_MOVERS = ("bus", "train", "car", "boat", "truck", "bicycle")


def journeys(rng: Random, level: int) -> Reasoning:
    """How far something goes at a steady speed, perhaps after some way that it has gone already."""
    mover, speed, hours = rng.choice(_MOVERS), rng.randint(2, 9), rng.randint(2, 6)
    if level > 1:
        speed = 5 * rng.randint(2, 12)
    steps, x = [arithmetic(rng, speed, "*", hours, f"it goes {speed} miles in each of {hours} hours")], speed * hours
    told = f"A {mover} goes {speed} miles in an hour"
    if level == 3:
        begun = rng.randint(3, 20)
        told += f" and has gone {begun} miles already"
        steps.append(arithmetic(rng, x, "+", begun, f"it had gone {begun} miles already"))
        x += begun
        asked = f"How many miles has it gone after {hours} more hours?"
    else:
        asked = f"How many miles does it go in {hours} hours?"
    aim = f"find how far the {mover} goes"
    return Reasoning("journeys", level, f"{told}. {asked}", str(x), aim, tuple(steps), f"it goes {x} miles")


def sharing(rng: Random, level: int) -> Reasoning:
    """Things that are shared equally, perhaps after some of them are gone."""
    what, people, each = rng.choice(_THINGS), rng.randint(2, 4 + 2 * level), rng.randint(2, 9)
    whole, gone = people * each, rng.randint(1, 9) if level == 3 else 0
    steps = [arithmetic(rng, whole + gone, "-", gone, f"{gone} {what} are lost")] if gone else []
    steps.append(arithmetic(rng, whole, "/", people, f"{people} children share {whole} {what}"))
    lost = f" {gone} of them are lost." if gone else ""
    question = (
        f"There are {whole + gone} {what}.{lost} {people} children share {'the rest' if gone else 'them'} equally. "
        f"How many {what} does each child get?"
    )
    aim = f"find how many {what} each child gets"
    return Reasoning("sharing", level, question, str(each), aim, tuple(steps), f"each child gets {each} {what}")
