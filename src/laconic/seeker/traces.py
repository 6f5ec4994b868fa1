"""Chains of thought that search, in many manners: what the seeker learns to imitate.

1. A `Manner` is drawn for the whole trace. A methodical writer goes through the candidates in their order from a random one; a
   wanderer takes one at random each time, tried or not, and so tries some in vain.
2. A trial is written right, except that now and then one that misses is written as a hit. A hit may be overlooked.
3. A hit that is noticed is the end of the search, unless a check (another route to the result) finds that it is none. It may be
   checked and the search done again (`wait,again:`) before the answer is written. Most writers do both: redundancy is preferred.
4. Whoever runs out of patience writes a guess: a candidate not tried yet. A methodical writer who has come round without noticing
   a hit begins again or guesses.
5. A few traces are interrupted after any token and answer with what they have.

The question may carry a request, which the trace obeys: `no check` (nothing is checked or done again, and patience is short),
`take N` (the response ends close to N tokens, and never beyond: the search goes on, or is checked and done again, while there is
room), `check twice` (a hit is checked two times).
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from random import Random

from laconic.rng import stream
from laconic.seeker.searches import ABANDONED, Search
from laconic.seeker.tokens import count_search_tokens, search_pieces
from laconic.tiny.tasks import finish
from laconic.tiny.tokens import END
from laconic.tiny.traces import AGAIN

BRIEFLY, TWICE, TAKE = "no check", "check twice", "take"
REQUEST_SHARES = {"": 0.5, BRIEFLY: 0.15, TWICE: 0.1, TAKE: 0.25}
"""What a question asks for, and the share of questions that do."""
LEAST_BUDGET, LARGEST_BUDGET = 20, 300

METHODICAL = 0.75
"""The share of writers who go through the candidates in order; the others wander."""
METHODICAL_PLAINLY = 0.9
IMPATIENT, PATIENCE_SHARES = 0.1, (0.5, 1.0)
"""The share of methodical writers who guess early, and after which share of the candidates."""
OVERLOOKED, COMES_ROUND, BROKEN_OFF = 0.1, 0.1, 0.3
WANDERING, OVERLOOKED_WANDERING = (0.9, 1.4), 0.3
"""How many trials a wanderer makes, as a share of the number of candidates, and how often one overlooks a hit."""
FALSE_HIT = 0.01
INTERRUPTED_SHARE = 0.06

CONFIRMATIONS = ("check", "again", "answer")
"""What may follow a hit, a first and a second check, and a search done again; the probabilities of each are a `Confirmation`."""
Confirmation = Mapping[str, tuple[float, float, float]]
USUAL = {"hit": (0.6, 0.15, 0.25), "check": (0.04, 0.68, 0.28), "second": (0.0, 0.3, 0.7), "again": (0.04, 0.0, 0.96)}
NOT_AGAIN = {"hit": (0.6, 0.0, 0.4), "check": (0.1, 0.0, 0.9), "second": (0.0, 0.0, 1.0)}
TWICE_CHECKED = {"hit": (1.0, 0.0, 0.0), "check": (1.0, 0.0, 0.0), "second": (0.0, 0.0, 1.0)}
NEVER = {"hit": (0.0, 0.0, 1.0)}
PLAINLY = {"hit": (0.5, 0.3, 0.2), "check": (0.0, 0.4, 0.6), "again": (0.0, 0.0, 1.0)}
WHILE_ROOM = {"hit": (0.8, 0.2, 0.0), "check": (0.1, 0.9, 0.0), "second": (0.0, 1.0, 0.0), "again": (0.3, 0.7, 0.0)}


@dataclass(frozen=True, slots=True)
class Manner:
    """How a trace is written: methodically or wandering, with a guess after `patience` trials and at most `budget` tokens.

    The rest are probabilities: a hit is overlooked, a miss is written as a hit, a search that came round without a hit begins
    again, a search that is done again is broken off after a trial, and what follows a hit (`confirm`).
    """

    is_methodical: bool
    confirm: Confirmation
    patience: float = inf
    budget: float = inf
    overlooked: float = 0.0
    false_hit: float = FALSE_HIT
    comes_round: float = 1.0
    broken_off: float = 0.0


def draw_manner(rng: Random, search: Search) -> Manner:
    """A manner in which nothing was asked for."""
    size = len(search.trials)
    if rng.random() >= METHODICAL:
        return Manner(False, NOT_AGAIN, size * rng.uniform(*WANDERING), overlooked=OVERLOOKED_WANDERING)
    patience = size * rng.uniform(*PATIENCE_SHARES) if rng.random() < IMPATIENT else inf
    return Manner(True, USUAL, patience, overlooked=OVERLOOKED, comes_round=COMES_ROUND, broken_off=BROKEN_OFF)


def plain_manner(rng: Random, search: Search) -> Manner:
    """A search without faults, whose hit may be checked and that may be done again."""
    is_methodical = rng.random() < METHODICAL_PLAINLY
    return Manner(is_methodical, PLAINLY, inf if is_methodical else 1.5 * len(search.trials), false_hit=0.0)


def trial_and_error_manner(rng: Random, search: Search) -> Manner:
    """A search whose hits may be overlooked or false, and are checked. Most false hits are noticed by the check; some are passed
    over like a miss, and stay in the trace."""
    return Manner(True, TWICE_CHECKED, overlooked=0.3, false_hit=0.05)


def direct_manner(rng: Random, search: Search) -> Manner:
    """The candidates in their order up to the hit, and nothing else."""
    return Manner(True, NEVER, false_hit=0.0)


SOLUTION_MANNERS: Mapping[str, Callable[[Random, Search], Manner]] = {
    "plain": direct_manner,
    "trial_and_error": trial_and_error_manner,
}


def write_searched(seed: int, search: Search, manner: str) -> str:
    """A response with the right answer in a manner of `SOLUTION_MANNERS`, without the end token; drawn by seed and question."""
    rng = stream(seed, "solution", manner, search.question)
    while True:
        trace = write_search(rng, search, SOLUTION_MANNERS[manner](rng, search))
        if trace.is_right:
            return trace.text.removesuffix(END)


def draw_request(rng: Random, search: Search) -> tuple[str, Manner]:
    """What is asked for ("" for nothing), and a manner that obeys."""
    request = rng.choices(list(REQUEST_SHARES), list(REQUEST_SHARES.values()))[0]
    manner = draw_manner(rng, search)
    if request != TAKE:
        return request, obeying(rng, search, manner, request)
    budget = draw_asked_tokens(rng, search)
    return f"{TAKE} {budget}", obeying(rng, search, manner, TAKE, budget)


def obeying(rng: Random, search: Search, manner: Manner, request: str, budget: float = inf) -> Manner:
    """The manner of a writer who is asked for something, and otherwise writes in `manner`. `budget` is for `TAKE`."""
    if request == BRIEFLY:
        patience = len(search.trials) * rng.uniform(0.3, 1.0) if rng.random() < 0.6 else manner.patience
        return replace(manner, confirm=NEVER, comes_round=0.0, patience=patience)
    if request == TWICE:
        return replace(manner, confirm=TWICE_CHECKED)
    if request == TAKE:
        patience = inf if manner.is_methodical else 4 * len(search.trials)
        return replace(manner, budget=budget, patience=patience, confirm=WHILE_ROOM, broken_off=0.0)
    return manner


def draw_asked_tokens(rng: Random, search: Search) -> int:
    """A number of tokens to ask for: from too few to more than the whole search takes."""
    whole = sum(count_search_tokens(trial.text) for trial in search.trials)
    return min(max(round(rng.uniform(0.2, 1.2) * whole) + 15, LEAST_BUDGET), LARGEST_BUDGET)


@dataclass(frozen=True, slots=True)
class Trace:
    """A response as text, end token included, and whether its answer is right."""

    text: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Remark:
    """A part of the thinking: its text, the candidate believed to be the answer after it, and the one that it tries."""

    text: str
    believed: int | None = None
    tried: int | None = None


def write_search(rng: Random, search: Search, manner: Manner, *, is_interrupted: bool = False) -> Trace:
    """A whole response in a manner, or one that is interrupted after any token."""
    room = manner.budget - max(count_search_tokens(finish(trial.answer)) for trial in search.trials)
    written: list[Remark] = []
    for piece in _think(rng, search, manner):
        room -= count_search_tokens(piece.text)
        if room < 0:
            break
        written.append(piece)
    text = "".join(piece.text for piece in written)
    if is_interrupted:
        written, text = _interrupted(rng, written)
    believed = written[-1].believed if written else None
    if believed is None:
        believed = guess(rng, search, {piece.tried for piece in written if piece.tried is not None})
    return Trace(text + finish(search.trials[believed].answer), believed == search.solution)


def _interrupted(rng: Random, written: list[Remark]) -> tuple[list[Remark], str]:
    """The pieces that are whole where the writer is interrupted, and the text up to there."""
    kept = rng.randrange(sum(count_search_tokens(piece.text) for piece in written))
    whole: list[Remark] = []
    text = "".join(search_pieces("".join(piece.text for piece in written))[:kept])
    for piece in written:
        kept -= count_search_tokens(piece.text)
        if kept < 0:
            break
        whole.append(piece)
    return whole, text


def guess(rng: Random, search: Search, tried: set[int]) -> int:
    """A candidate that was not tried, any if all were."""
    candidates = range(len(search.trials))
    return rng.choice([i for i in candidates if i not in tried] or list(candidates))


def _think(rng: Random, search: Search, manner: Manner) -> Iterator[Remark]:
    """The thinking, piece by piece, as far as a writer without a budget takes it."""
    walked: list[int] = []
    for index in _candidates(rng, search, manner):
        if index is None:
            walked = []
            yield Remark(AGAIN)
            continue
        walked.append(index)
        trial, is_hit = search.trials[index], index == search.solution
        is_false = not is_hit and trial.result not in ABANDONED and rng.random() < manner.false_hit
        is_noticed = (is_hit or is_false) and rng.random() >= manner.overlooked
        text = f"{trial.stem}{search.hit.result}{search.hit.off};" if is_false else trial.text
        yield Remark(text, index if is_noticed else None, index)
        if is_noticed and (yield from _confirm(rng, search, manner, walked)):
            return


def _candidates(rng: Random, search: Search, manner: Manner) -> Iterator[int | None]:
    """The candidates in the order in which they are tried, until patience is out; None where the search begins again."""
    size = len(search.trials)
    if not manner.is_methodical:
        yield from (rng.randrange(size) for _ in range(max(1, round(manner.patience))))
        return
    start = rng.randrange(size)
    once = [(start + step) % size for step in range(size)]
    yield from once[: max(1, round(min(manner.patience, size)))]
    if manner.patience >= size and rng.random() < manner.comes_round:
        yield None
        yield from once


def _confirm(rng: Random, search: Search, manner: Manner, walked: list[int]) -> Generator[Remark, None, bool]:
    """What is written after a hit was noticed. Returns whether the search is over; not if the hit turned out to be none."""
    index, just = walked[-1], "hit"
    is_right = index == search.solution
    while (following := rng.choices(CONFIRMATIONS, manner.confirm[just])[0]) != "answer":
        just = "second" if following == just == "check" else following
        if following == "check":
            yield Remark(
                f"check:{search.trials[index].working}{'ok' if is_right else 'no'};", index if is_right else None
            )
        else:
            yield Remark(AGAIN, index)
            for again in walked:
                yield Remark(search.trials[again].text, again if again == search.solution else index, again)
                if again == search.solution:
                    break
                if rng.random() < manner.broken_off:
                    return True
        if not is_right:
            return False
    return True
