"""Problems whose shortest chain of steps is known: four families, five levels each.

Every problem is a chain that is worked from left to right: a first state, a row of operations, and the family's rule for applying
one operation to the state.

    chain_sum   12 + 7 - 30            state: running sum       step: 12+7=19
    largest     largest of 23, 71, 45  state: largest so far    step: 23<71
    count       how many 3 in 5 3 1 3  state: how many so far   step: 3:1
    modular     7 times 3 plus 5 mod 11  state: residue         step: 7*3=10

A family says how a step is written bare and in detail, how it is checked by its inverse, which slips are plausible, and how
hard a step is; `traces.py` turns that into chains of thought. `oracle_tokens` is the length of the shortest correct response
in this language: every step bare, nothing checked, then the boxed answer and the end token.

The splits share no problem: under every seed, a question belongs to the split that its text hashes to (`laconic.splits`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, TypeVar

from laconic.config.defaults import SEED
from laconic.rng import stream
from laconic.splits import SPLITS, split_of
from laconic.tiny.tokens import BOX_START, END, count_tokens
from laconic.types import END_THINK, Problem

CHAIN_LEVELS = (1, 2, 3, 4, 5)
MAX_MISSES = 5000  # draws in a row without a new problem: the family is taken to be exhausted
Operation = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Chain:
    """One problem: `start` is the first state, `operations` are applied from left to right, `context` is the modulus or the
    number that is counted (0 where the family has none)."""

    family: str
    level: int
    question: str
    start: int
    operations: tuple[Operation, ...]
    context: int = 0


@dataclass(frozen=True, slots=True)
class Family:
    """The rules of one family. `x` is the state before a step, `r` the result written for it (right or not), `c` the context."""

    draw: Callable[[Random, int], Chain]
    apply: Callable[[int, Operation, int], int]
    bare: Callable[[int, Operation, int, int], str]
    detailed: Callable[[int, Operation, int, int], str]
    inverse: Callable[[int, Operation, int, int], tuple[str, bool]]
    slips: Callable[[int, Operation, int], tuple[int, ...]]
    hardness: Callable[[int, Operation, int], float]


def states(chain: Chain) -> list[int]:
    """The correct state after each step, shape [number of operations]."""
    family, state, out = FAMILIES[chain.family], chain.start, []
    for operation in chain.operations:
        state = family.apply(state, operation, chain.context)
        out.append(state)
    return out


def bare_chain(chain: Chain) -> str:
    """The shortest correct chain: every step once and bare.

    >>> bare_chain(Chain("chain_sum", 2, "", 12, (("+", 7), ("-", 30))))
    '12+7=19;19-30=-11;'
    """
    family, x, out = FAMILIES[chain.family], chain.start, []
    for operation, r in zip(chain.operations, states(chain), strict=True):
        out.append(family.bare(x, operation, r, chain.context) + ";")
        x = r
    return "".join(out)


def finish(answer: int | str) -> str:
    """What follows the thinking: the closing tag, the boxed answer, the end token."""
    return f"{END_THINK}{BOX_START}{answer}}}{END}"


def oracle_tokens(chain: Chain) -> int:
    """Tokens of the shortest correct response, end token included.

    >>> oracle_tokens(Chain("chain_sum", 1, "", 12, (("+", 7),)))  # 1 2 + 7 = 1 9 ; </think> \\boxed{ 1 9 } <|end|>
    14
    """
    return count_tokens(bare_chain(chain) + finish(states(chain)[-1]))


# --- chain_sum -------------------------------------------------------------------------------------------------------

_SUM_PHRASES = (
    "{}",
    "Compute {}",
    "What is {} ?",
    "Calculate {} .",
    "State the final answer to the following arithmetic problem: {} =",
    "Find the value of {}",
)


def _draw_sum(rng: Random, level: int) -> Chain:
    top = 9 if rng.random() < 0.45 else 99
    low = 0 if top == 9 else 10
    numbers = [rng.randint(low, top) for _ in range(level + 1)]
    if top == 99 and rng.random() < 0.4:
        numbers = [n if rng.random() < 0.5 else n % 10 for n in numbers]
    signs = [rng.choice("+-") for _ in range(level)]
    expression = str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(signs, numbers[1:], strict=True))
    question = rng.choice(_SUM_PHRASES).format(expression)
    return Chain("chain_sum", level, question, numbers[0], tuple(zip(signs, numbers[1:], strict=True)))


def _plus(x: int, operation: Operation) -> int:
    sign, n = operation
    return x + n if sign == "+" else x - n


def _sum_detail(x: int, operation: Operation, r: int, c: int) -> str:
    sign, n = operation
    tens, units = n - n % 10, n % 10
    if not tens or not units:
        return _sum_bare(x, operation, r, c)
    middle = _plus(x, (sign, tens))
    return f"{x}{sign}{n}:{x}{sign}{tens}={middle},{middle}{sign}{units}={r}"


def _sum_bare(x: int, operation: Operation, r: int, c: int) -> str:
    return f"{x}{operation[0]}{operation[1]}={r}"


def _sum_inverse(x: int, operation: Operation, r: int, c: int) -> tuple[str, bool]:
    sign, n = operation
    back = _plus(r, ("-" if sign == "+" else "+", n))
    return f"{r}{'-' if sign == '+' else '+'}{n}={back}", back == x


def _sum_slips(x: int, operation: Operation, c: int) -> tuple[int, ...]:
    r = _plus(x, operation)
    return tuple(s for s in (r + 1, r - 1, r + 10, r - 10, r + 2) if s * r >= 0)


def _sum_hardness(x: int, operation: Operation, c: int) -> float:
    sign, n = operation
    r = _plus(x, operation)
    carries = (abs(x) % 10 + n % 10 > 9) if sign == "+" and x >= 0 else (abs(x) % 10 < n % 10)
    crosses = (x >= 0) != (r >= 0)
    return 0.15 + 0.6 * (n > 9) + 1.2 * carries + 1.6 * (carries and n > 9) + 1.0 * crosses + 0.5 * (x < 0)


# --- largest ---------------------------------------------------------------------------------------------------------

_LARGEST_PHRASES = ("max {}", "largest of {}", "What is the largest number in {} ?", "Find the max of {}")


def _draw_largest(rng: Random, level: int) -> Chain:
    decade = 10 * rng.randint(1, 9)
    near = rng.random() < 0.15 * level
    pool = range(decade, decade + 10) if near else range(10, 100)
    numbers = rng.sample(pool, level + 2)
    question = rng.choice(_LARGEST_PHRASES).format(", ".join(map(str, numbers)))
    return Chain("largest", level, question, numbers[0], tuple((",", n) for n in numbers[1:]))


def _relation(a: int, b: int, larger: int) -> str:
    return f"{a}{'>' if larger == a else '<'}{b}"


def _largest_detail(x: int, operation: Operation, r: int, c: int) -> str:
    n = operation[1]
    if x // 10 == n // 10:
        digits = f"{x // 10}={n // 10},{_relation(x % 10, n % 10, r % 10)}"
    else:
        digits = _relation(x // 10, n // 10, r // 10)
    return f"{x},{n}:{digits},{_relation(x, n, r)}"


def _largest_inverse(x: int, operation: Operation, r: int, c: int) -> tuple[str, bool]:
    n = operation[1]
    return _relation(n, x, max(x, n)), r == max(x, n)


# --- count -----------------------------------------------------------------------------------------------------------

_COUNT_PHRASES = ("count {} in {}", "How many {} are there in {} ?", "How many times does {} occur in {} ?")


def _draw_count(rng: Random, level: int) -> Chain:
    target = rng.randint(0, 9)
    share = rng.uniform(0.2, 0.7)
    items = [target if rng.random() < share else rng.randint(0, 9) for _ in range(level + 2)]
    question = rng.choice(_COUNT_PHRASES).format(target, " ".join(map(str, items)))
    return Chain("count", level, question, 0, tuple((":", n) for n in items), target)


def _count_inverse(x: int, operation: Operation, r: int, c: int) -> tuple[str, bool]:
    one = int(operation[1] == c)
    return f"{r}-{one}={r - one}", r - one == x


# --- modular ---------------------------------------------------------------------------------------------------------

_MODULAR_PHRASES = ("{} mod {}", "start {} mod {}", "Start {} then take modulo {}")
_SIGN_WORDS = {"+": "plus", "*": "times"}


def _draw_modular(rng: Random, level: int) -> Chain:
    modulus = rng.choice((7, 8, 9, 10, 11))
    start = rng.randint(1, modulus - 1)
    operations = tuple((rng.choice("+**"), rng.randint(2, 9)) for _ in range(level))
    words = str(start) + "".join(f" {_SIGN_WORDS[s]} {n}" for s, n in operations)
    return Chain("modular", level, rng.choice(_MODULAR_PHRASES).format(words, modulus), start, operations, modulus)


def _whole(x: int, operation: Operation) -> int:
    sign, n = operation
    return x + n if sign == "+" else x * n


def _modular_detail(x: int, operation: Operation, r: int, c: int) -> str:
    whole = _whole(x, operation)
    return f"{x}{operation[0]}{operation[1]}:{whole}-{whole - whole % c}={r}"


def _modular_inverse(x: int, operation: Operation, r: int, c: int) -> tuple[str, bool]:
    sign, n = operation
    true = _whole(x, operation) % c
    if sign == "+":
        return f"{r}-{n}={(r - n) % c}", r == true
    return f"{n}*{x}={true}", r == true


def _modular_hardness(x: int, operation: Operation, c: int) -> float:
    whole = _whole(x, operation)
    return 0.2 + 0.6 * (whole >= c) + 1.4 * (whole >= 2 * c) + 2.0 * (whole >= 4 * c)


FAMILIES: dict[str, Family] = {
    "chain_sum": Family(
        draw=_draw_sum,
        apply=lambda x, operation, c: _plus(x, operation),
        bare=_sum_bare,
        detailed=_sum_detail,
        inverse=_sum_inverse,
        slips=_sum_slips,
        hardness=_sum_hardness,
    ),
    "largest": Family(
        draw=_draw_largest,
        apply=lambda x, operation, c: max(x, operation[1]),
        bare=lambda x, operation, r, c: _relation(x, operation[1], r),
        detailed=_largest_detail,
        inverse=_largest_inverse,
        slips=lambda x, operation, c: (min(x, operation[1]),),
        hardness=lambda x, operation, c: (
            0.3 + 1.5 * (x // 10 == operation[1] // 10) + 0.7 * (abs(x - operation[1]) < 12)
        ),
    ),
    "count": Family(
        draw=_draw_count,
        apply=lambda x, operation, c: x + (operation[1] == c),
        bare=lambda x, operation, r, c: f"{operation[1]}:{r}",
        detailed=lambda x, operation, r, c: f"{operation[1]},{c}{'yes' if operation[1] == c else 'no'}:{r}",
        inverse=_count_inverse,
        slips=lambda x, operation, c: (x,) if operation[1] == c else (x + 1,),
        hardness=lambda x, operation, c: 0.15 + 0.55 * x * (operation[1] == c),
    ),
    "modular": Family(
        draw=_draw_modular,
        apply=lambda x, operation, c: _whole(x, operation) % c,
        bare=_sum_bare,
        detailed=_modular_detail,
        inverse=_modular_inverse,
        slips=lambda x, operation, c: tuple({(_whole(x, operation) + d) % c for d in (1, -1, 2)}),
        hardness=_modular_hardness,
    ),
}


def draw_chain(rng: Random, family: str, levels: tuple[int, int] = (1, 5)) -> Chain:
    """One chain of `family` ("mix" draws the family too) at a level drawn from `levels`, both ends included."""
    name = rng.choice(list(FAMILIES)) if family == "mix" else family
    return FAMILIES[name].draw(rng, rng.randint(*levels))


def make_problems(
    family: str,
    *,
    count: int,
    seed: int = SEED,
    split: str | None = None,
    levels: tuple[int, int] | None = None,
    solve: Callable[[Chain], str] | None = None,
) -> list[Problem]:
    """`count` distinct problems of `family` ("mix" takes the families in turn), all from `split` if one is named.

    `meta` holds `family`, `level` and `oracle_tokens`, and under `solution` what `solve` writes. Raises `ValueError` for an
    unknown family, split or level, and if the family has fewer than `count` distinct problems.
    """
    wanted = Wanted("tiny", family, count, seed, split, levels)
    return distinct_problems(wanted, FAMILIES, draw_chain, _as_problem, solve)


class Drawable(Protocol):
    """What a generator draws: it has a question."""

    @property
    def question(self) -> str:
        """The question, which makes it distinct from others."""
        ...


_Drawn = TypeVar("_Drawn", bound=Drawable)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which problems a generator is to make. `generator` is the part of their addresses before the colon."""

    generator: str
    family: str
    count: int
    seed: int
    split: str | None
    levels: tuple[int, int] | None


def distinct_problems(
    wanted: Wanted,
    families: Iterable[str],
    draw: Callable[[Random, str, tuple[int, int]], _Drawn],
    as_problem: Callable[[_Drawn, str], Problem],
    solve: Callable[[_Drawn], str] | None,
) -> list[Problem]:
    """The distinct problems that a generator with five levels makes of what `draw` gives. `mix` takes the `families` in turn.

    Raises `ValueError` for an unknown family, split or level, and for too few distinct problems.
    """
    family, split, names = wanted.family, wanted.split, list(families)
    low, high = wanted.levels or (CHAIN_LEVELS[0], CHAIN_LEVELS[-1])
    if family != "mix" and family not in names:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(names)}, mix")
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    if not CHAIN_LEVELS[0] <= low <= high <= CHAIN_LEVELS[-1]:
        raise ValueError(f"levels {low}-{high}: expected a range inside {CHAIN_LEVELS[0]}-{CHAIN_LEVELS[-1]}")
    names = names if family == "mix" else [family]
    rng = stream(wanted.seed, wanted.generator, family, split or "any", low, high)
    problems: dict[str, Problem] = {}
    attempt, misses = -1, 0
    while len(problems) < wanted.count and misses < MAX_MISSES:
        attempt, misses = attempt + 1, misses + 1
        drawn = draw(rng, names[len(problems) % len(names)], (low, high))
        if drawn.question in problems or (split is not None and split_of(drawn.question) != split):
            continue
        misses = 0
        problem = as_problem(drawn, f"{wanted.generator}:{family}/{split or 'any'}/{wanted.seed}/{attempt}")
        problems[drawn.question] = (
            replace(problem, meta={**problem.meta, "solution": solve(drawn)}) if solve else problem
        )
    if len(problems) < wanted.count:
        raise ValueError(f"{family} has fewer than {wanted.count} distinct problems at levels {low}-{high}")
    return list(problems.values())


def _as_problem(chain: Chain, problem_id: str) -> Problem:
    meta = {"family": chain.family, "level": chain.level, "oracle_tokens": oracle_tokens(chain)}
    answer = str(states(chain)[-1])
    return Problem(problem_id, chain.question, answer, source=f"tiny:{chain.family}", meta=meta)
