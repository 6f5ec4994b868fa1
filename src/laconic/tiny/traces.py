"""Chains of thought in many styles, some of them wrong: what the embedded reasoner learns to imitate.

1. A `Style` is drawn for the whole trace: how often a step is worked in detail, how often it is checked by its inverse, how
   often the finished chain is done again, and how hesitant the writer is.
2. The chain is written step by step. A step may be a slip, more often if it is hard and the writer hesitant. A slip is noticed
   at once, at a check, or not at all; a slip that is noticed is mended after "wait". A hesitant writer also doubts right steps.
3. The whole chain may be done again (`wait,again:`). The last chain's result is the answer, right or wrong.

A model that learns these traces can write in all styles. Post-training has this to work with: short styles occur but are rare,
and so do the slips that make sampled answers wrong. Traces are not filtered for correctness, because a filtered set would leave
nothing for phase 1 to mend.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from laconic.rng import stream
from laconic.tiny.tasks import FAMILIES, Chain, Operation, finish
from laconic.tiny.tokens import END

SLIP = 0.11
MAX_SLIP, MAX_LONE_SLIP = 0.45, 0.28
NOTICED_AT_ONCE = 0.25
NOTICED_AT_CHECK = 0.5
DOUBTED = 0.06
AGAIN = "wait,again:"


@dataclass(frozen=True, slots=True)
class Style:
    """How a trace is written. The fields are probabilities, except `hesitancy`, which multiplies those of slips and doubts
    (1 is usual)."""

    detail: float
    check: float
    redo: float
    hesitancy: float


def draw_style(rng: Random) -> Style:
    """A style. Most writers check and redo: redundancy is what the reasoner prefers, at T=0 as well."""
    hesitancy = rng.choice((0.4, 1.0, 2.0))
    return Style(
        detail=rng.choice((0.0, 0.0, 0.0, 0.5, 0.95)),
        check=rng.choices((0.0, 0.5, 0.92), (0.18, 0.17, 0.65))[0],
        redo={0.4: 0.58, 1.0: 0.72, 2.0: 0.9}[hesitancy],
        hesitancy=hesitancy,
    )


def plain_style(rng: Random) -> Style:
    """A style without slips, checks or repetition: the steps alone, bare or in detail."""
    return Style(detail=rng.choice((0.0, 0.0, 0.95)), check=0.0, redo=0.0, hesitancy=0.0)


def trial_and_error_style(rng: Random) -> Style:
    """A style whose writer slips, notices, reflects and mends: T1 starts from such traces (arXiv 2501.11651, section 2.1).

    Most slips are noticed. Some are not, and cancel, or are repaired where the chain is done again: a trace whose answer is right
    may hold a false step that nobody takes back.
    """
    return Style(detail=rng.choice((0.0, 0.5)), check=0.7, redo=0.3, hesitancy=2.0)


SOLUTION_STYLES: Mapping[str, Callable[[Random], Style]] = {
    "plain": plain_style,
    "trial_and_error": trial_and_error_style,
}


def write_solution(seed: int, chain: Chain, style: str) -> str:
    """A response with the right answer to `chain` in a style of `SOLUTION_STYLES`, without the end token; drawn by seed and
    question."""
    rng = stream(seed, "solution", style, chain.question)
    while True:
        text, is_right = write_trace(rng, chain, SOLUTION_STYLES[style](rng))
        if is_right:
            return text.removesuffix(END)


def write_trace(rng: Random, chain: Chain, style: Style) -> tuple[str, bool]:
    """A whole response as text, end token included, and whether its answer is right."""
    text, result = _write_chain(rng, chain, style, is_again=False)
    while rng.random() < (style.redo if AGAIN not in text else 0.2 * style.hesitancy):
        again, result = _write_chain(rng, chain, style, is_again=True)
        text += AGAIN + again
        if text.count(AGAIN) == 2:
            break
    return text + finish(result), result == right_answer(chain)


def right_answer(chain: Chain) -> int:
    """The chain's correct final state."""
    family, x = FAMILIES[chain.family], chain.start
    for operation in chain.operations:
        x = family.apply(x, operation, chain.context)
    return x


def _write_chain(rng: Random, chain: Chain, style: Style, *, is_again: bool) -> tuple[str, int]:
    x, out = chain.start, ""
    for operation in chain.operations:
        step, x = _write_step(rng, chain, x, operation, style, may_check=not is_again)
        out += step
    return out, x


def slip_probability(chain: Chain, x: int, operation: Operation, hesitancy: float) -> float:
    """Chance that the step from `x` is written wrong: hardness times hesitancy times `SLIP`, up to a bound.

    The bound keeps the right result the most probable one, also where only one slip is plausible (`MAX_LONE_SLIP`).
    """
    family = FAMILIES[chain.family]
    bound = MAX_SLIP if len(family.slips(x, operation, chain.context)) > 2 else MAX_LONE_SLIP
    return min(bound, SLIP * hesitancy * family.hardness(x, operation, chain.context))


def _write_step(
    rng: Random, chain: Chain, x: int, operation: Operation, style: Style, *, may_check: bool
) -> tuple[str, int]:
    """The text of a step with the checks and remarks after it, and the state with which the writer goes on."""
    family, c = FAMILIES[chain.family], chain.context
    write = family.detailed if rng.random() < style.detail else family.bare
    right = family.apply(x, operation, c)
    slips = tuple(s for s in family.slips(x, operation, c) if s != right)
    has_slipped = bool(slips) and rng.random() < slip_probability(chain, x, operation, style.hesitancy)
    r = rng.choice(slips) if has_slipped else right
    text, is_noticed = write(x, operation, r, c) + ";", False
    if may_check and rng.random() < style.check:
        check, is_noticed = _write_check(rng, chain, x, operation, r)
        text += check
    elif rng.random() < (NOTICED_AT_ONCE if has_slipped else DOUBTED * style.hesitancy):
        is_noticed = True
    if is_noticed:
        return text + f"wait,{write(x, operation, right, c)};", right
    return text, r


def _write_check(rng: Random, chain: Chain, x: int, operation: Operation, r: int) -> tuple[str, bool]:
    """A check by the inverse, and whether it found a slip. A careless check writes the inverse of the right result instead."""
    family = FAMILIES[chain.family]
    inverse, is_right = family.inverse(x, operation, r, chain.context)
    if not is_right and rng.random() >= NOTICED_AT_CHECK:
        return (
            f"check{family.inverse(x, operation, family.apply(x, operation, chain.context), chain.context)[0]}ok;",
            False,
        )
    return f"check{inverse}{'ok' if is_right else 'no'};", not is_right
