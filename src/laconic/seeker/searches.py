"""Problems that are solved by search: four families, five levels each, every candidate known.

A search has a row of candidates, one of which is the answer. Trying one costs a few tokens and tells a blind searcher nothing
about the others, so how long a search must be differs from problem to problem and by luck.

    inverse   7*x=22 mod 31                       the numbers 1 to 30      12:22off0;       7*12 = 84 = 22 mod 31
    divisor   prime below 20 of 1261              the primes 3 to 19       13:12,126:9,91:0;  remainders, digit by digit
    pair      14 25 8 30 sum 39                   all pairs                14+25=39off0;
    signs     3 7 5 make 16 by plus minus times   all rows of two signs    times21minus16off0;  from left to right

1. A `Trial` holds what is written when a candidate is tried, what it comes to, how far off the target that is, and how it is
   checked by another route. A divisor's remainder is itself how far it is off.
2. A trial hits if its result is the search's target. Exactly one does.
3. Two bounds are known for each search: the shortest response that shows its answer to be right (`shortest_tokens`: the one
   trial that hits, then the answer), and what a blind searcher needs on average if it makes no mistake (`blind_tokens`).

In `signs` a row is abandoned, with the result `<` or `>`, where its value leaves 0 to 99; the rows that begin alike are then one
candidate. The question does not say so: of one problem in ten, an abandoned row would come to the target as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, combinations
from math import gcd
from random import Random

from laconic.config.defaults import SEED
from laconic.seeker.tokens import SIGNS, count_search_tokens
from laconic.tiny.tasks import Wanted, distinct_problems, finish
from laconic.types import Problem

BELOW, ABOVE = "<", ">"
ABANDONED = (BELOW, ABOVE)
LARGEST_VALUE = 99  # of a row of signs


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate. `stem`, `result` and `off` are what is written when it is tried, `answer` what is boxed if it is the one,
    `working` how its result is found by another route."""

    stem: str
    result: str
    answer: str
    working: str
    off: str = ""

    @property
    def text(self) -> str:
        """What is written when the candidate is tried."""
        return self.stem + self.result + self.off + ";"


@dataclass(frozen=True, slots=True)
class Search:
    """One problem. `trials` are its candidates in their natural order; exactly one has the result `target`."""

    family: str
    level: int
    question: str
    trials: tuple[Trial, ...]
    target: str

    @property
    def solution(self) -> int:
        """The index of the trial that hits."""
        return next(i for i, trial in enumerate(self.trials) if trial.result == self.target)

    @property
    def hit(self) -> Trial:
        """The trial that hits."""
        return self.trials[self.solution]


def shortest_tokens(search: Search) -> int:
    """Tokens of the shortest response that shows its answer to be right: the trial that hits, the answer, the end token.

    >>> trials = (Trial("1:", "3", "1", "3*1=3"), Trial("2:", "1", "2", "3*2=6-5=1"))
    >>> shortest_tokens(Search("inverse", 1, "", trials, "1"))  # 2 : 1 ; </think> \\\\boxed{ 2 } <|end|>
    9
    """
    return count_search_tokens(search.hit.text + finish(search.hit.answer))


def blind_tokens(search: Search) -> float:
    """Expected tokens of the best response of a blind searcher, end token included.

    Each of the N candidates is the answer with the same probability. The searcher tries the cheapest first, stops at the hit, and
    needs no trial for the last one: answer + (S_1 + ... + S_(N-1) + S_(N-1)) / N, with S_k the cost of the k cheapest trials.

    >>> trials = (Trial("1:", "3", "1", ""), Trial("2:", "1", "2", ""))
    >>> blind_tokens(Search("inverse", 1, "", trials, "1"))  # answer 5, one trial of 4 tokens that decides: 5 + (4 + 4) / 2
    9.0
    """
    sums = list(accumulate(sorted(count_search_tokens(trial.text) for trial in search.trials)))
    return count_search_tokens(finish(search.hit.answer)) + (sum(sums[:-1]) + sums[-2]) / len(sums)


def _off(result: int, target: int) -> str:
    """How far a result is off the target, as it is written: a hit is off by 0."""
    return f"off{abs(result - target)}"


# --- inverse ---------------------------------------------------------------------------------------------------------

_INVERSE_PHRASES = ("{}*x={} mod {}", "Find x with {}*x={} mod {}")
_MODULI = {1: (13, 17), 2: (19, 21), 3: (23, 26), 4: (29, 31), 5: (34, 37)}


def _draw_inverse(rng: Random, level: int) -> Search:
    modulus = rng.choice(_MODULI[level])
    factor = rng.choice([a for a in range(2, min(10, modulus)) if gcd(a, modulus) == 1])
    target = factor * rng.randrange(1, modulus) % modulus
    question = rng.choice(_INVERSE_PHRASES).format(factor, target, modulus)
    trials = tuple(_inverse_trial(factor, x, modulus, target) for x in range(1, modulus))
    return Search("inverse", level, question, trials, str(target))


def _inverse_trial(factor: int, x: int, modulus: int, target: int) -> Trial:
    whole = factor * x
    rest = whole % modulus
    reduced = f"-{whole - rest}={rest}" if whole >= modulus else ""
    return Trial(f"{x}:", str(rest), str(x), f"{factor}*{x}={whole}{reduced}", _off(rest, target))


# --- divisor ---------------------------------------------------------------------------------------------------------

_DIVISOR_PHRASES = ("prime below {} of {}", "Which prime below {} divides {} ?")
_BOUNDS = {1: 18, 2: 20, 3: 30, 4: 32, 5: 38}
_LEAST_NUMBER, _LARGEST_NUMBER = 1000, 4999


@cache
def _primes(low: int, high: int) -> tuple[int, ...]:
    """The primes from `low` up to `high` - 1."""
    return tuple(n for n in range(max(low, 2), high) if all(n % d for d in range(2, int(n**0.5) + 1)))


def _draw_divisor(rng: Random, level: int) -> Search:
    bound = _BOUNDS[level]
    candidates = _primes(3, bound)
    divisor = rng.choice(candidates)
    others = _primes(max(bound, -(-_LEAST_NUMBER // divisor)), _LARGEST_NUMBER // divisor + 1)
    number = divisor * rng.choice(others)
    question = rng.choice(_DIVISOR_PHRASES).format(bound, number)
    return Search("divisor", level, question, tuple(_divisor_trial(number, p) for p in candidates), "0")


def _divisor_trial(number: int, prime: int) -> Trial:
    digits, rest = str(number), int(str(number)[0])
    steps, working = [], []
    for digit in digits[1:]:
        part = 10 * rest + int(digit)
        rest = part % prime
        steps.append(f"{part}:{rest}")
        working.append(f"{part}-{part - rest}={rest}")
    first = steps[0].partition(":")[2]
    stem = ",".join((f"{prime}:{first}", *steps[1:])).removesuffix(str(rest))
    return Trial(stem, str(rest), str(prime), ",".join(working))


# --- pair ------------------------------------------------------------------------------------------------------------

_PAIR_PHRASES = ("{} sum {}", "Which two of {} sum to {} ?")
_LARGEST_TERM = 49


def _draw_pair(rng: Random, level: int) -> Search:
    while True:
        numbers = rng.sample(range(2, _LARGEST_TERM + 1), level + 3)
        pairs = list(combinations(numbers, 2))
        target = sum(rng.choice(pairs))
        if sum(a + b == target for a, b in pairs) == 1:
            break
    question = rng.choice(_PAIR_PHRASES).format(" ".join(map(str, numbers)), target)
    return Search("pair", level, question, tuple(_pair_trial(a, b, target) for a, b in pairs), str(target))


def _pair_trial(a: int, b: int, target: int) -> Trial:
    tens, units = b - b % 10, b % 10
    working = f"{a}+{tens}={a + tens}+{units}={a + b}" if tens and units else f"{b}+{a}={a + b}"
    return Trial(f"{a}+{b}=", str(a + b), f"{a},{b}", working, _off(a + b, target))


# --- signs -----------------------------------------------------------------------------------------------------------

_SIGN_PHRASES = ("{} make {} by {}", "Reach {1} from {0} by {2}")
_SYMBOLS = {"plus": "+", "minus": "-", "times": "*"}
_ROWS = {
    1: (3, SIGNS[:2], 30),
    2: (4, SIGNS[:2], 5),
    3: (4, SIGNS[:2], 14),
    4: (4, SIGNS[:2], 40),
    5: (3, SIGNS, 12),
}
"""Number of signs, which signs, and the largest first number, for each level."""


def _draw_signs(rng: Random, level: int) -> Search:
    length, signs, largest = _ROWS[level]
    while True:
        numbers = [rng.randint(2, largest), *(rng.randint(2, 9) for _ in range(length))]
        trials = tuple(_rows(numbers, signs, numbers[0], "", (), str(numbers[0])))
        targets = [trial.result for trial in trials if trial.result not in ABANDONED]
        target = rng.choice(targets) if targets else ""
        if len(trials) > 2 and targets.count(target) == 1:
            break
    question = rng.choice(_SIGN_PHRASES).format(" ".join(map(str, numbers)), target, " ".join(signs))
    written = tuple(
        trial if trial.result in ABANDONED else replace(trial, off=_off(int(trial.result), int(target)))
        for trial in trials
    )
    return Search("signs", level, question, written, target)


def _rows(
    numbers: Sequence[int], signs: Sequence[str], value: int, stem: str, chosen: tuple[str, ...], working: str
) -> list[Trial]:
    """The trials of every row of signs that begins with `chosen` and has come to `value`."""
    number, is_last = numbers[len(chosen) + 1], len(chosen) + 2 == len(numbers)
    trials: list[Trial] = []
    for sign in signs:
        after = {"plus": value + number, "minus": value - number, "times": value * number}[sign]
        row, longer = (*chosen, sign), f"{working}{_SYMBOLS[sign]}{number}={after}"
        if not 0 <= after <= LARGEST_VALUE:
            trials.append(Trial(f"{stem}{sign}", BELOW if after < 0 else ABOVE, ",".join(row), longer))
        elif is_last:
            trials.append(Trial(f"{stem}{sign}", str(after), ",".join(row), longer))
        else:
            trials.extend(_rows(numbers, signs, after, f"{stem}{sign}{after}", row, longer))
    return trials


SEARCHES: Mapping[str, Callable[[Random, int], Search]] = {
    "inverse": _draw_inverse,
    "divisor": _draw_divisor,
    "pair": _draw_pair,
    "signs": _draw_signs,
}
"""How a search of each family is drawn at a level."""


def draw_search(rng: Random, family: str, levels: tuple[int, int] = (1, 5)) -> Search:
    """One search of `family` ("mix" draws the family too) at a level drawn from `levels`, both ends included."""
    name = rng.choice(list(SEARCHES)) if family == "mix" else family
    return SEARCHES[name](rng, rng.randint(*levels))


def make_searches(
    family: str,
    *,
    count: int,
    seed: int = SEED,
    split: str | None = None,
    levels: tuple[int, int] | None = None,
    solve: Callable[[Search], str] | None = None,
) -> list[Problem]:
    """`count` distinct problems of `family` ("mix" takes the families in turn), all from `split` if one is named.

    `meta` holds `family`, `level`, `candidates` (how many there are), `oracle_tokens`, `blind_tokens` and `hit` (the text of the
    trial that hits), and under `solution` what `solve` writes. Raises `ValueError` for an unknown family, split or level, and if
    the family has fewer than `count` distinct problems.
    """
    wanted = Wanted("seeker", family, count, seed, split, levels)
    return distinct_problems(wanted, SEARCHES, draw_search, search_problem, solve)


def search_problem(search: Search, problem_id: str) -> Problem:
    """The search as a problem, with the `meta` of `make_searches`."""
    meta = {
        "family": search.family,
        "level": search.level,
        "candidates": len(search.trials),
        "oracle_tokens": shortest_tokens(search),
        "blind_tokens": round(blind_tokens(search), 2),
        "hit": search.hit.text,
    }
    return Problem(problem_id, search.question, search.hit.answer, source=f"seeker:{search.family}", meta=meta)
