"""What a perfect pupil of the traces would show: `python -m laconic.seeker rehearse`, in seconds and without a model.

The figures are those of `measure`, over traces in place of responses. "T=1" are traces as they are drawn, "greedy" those of the
most usual choice at every turn. Where thinking is cut, the answer is right if the hit was written, else with a guess's chance.
"""

from collections.abc import Callable, Sequence
from random import Random

import numpy as np

from laconic.rng import stream
from laconic.seeker.anatomy import tokens_until_found
from laconic.seeker.measure import ASKED_BRIEFLY, ASKED_SAMPLES, ASKED_TWICE, SeekerFigures, seeker_figures
from laconic.seeker.searches import Search, draw_search, search_problem
from laconic.seeker.tokens import count_search_tokens
from laconic.seeker.traces import (
    BRIEFLY,
    INTERRUPTED_SHARE,
    TAKE,
    TWICE,
    USUAL,
    Confirmation,
    Manner,
    draw_manner,
    obeying,
    write_search,
)
from laconic.types import FinishReason, Grade, Group, Response, Rollout

Write = Callable[[Random, Search], str]
ASKED_AS = {ASKED_BRIEFLY: BRIEFLY, ASKED_TWICE: TWICE}


def rehearse(*, num_problems: int, samples: int, seed: int, family: str = "mix") -> SeekerFigures:
    """The figures of the traces, with `samples` traces for each problem."""
    rng = stream(seed, "seeker/rehearsal", family)
    searches = [draw_search(rng, family) for _ in range(num_problems)]
    groups = [_group(rng, search, _as_drawn, samples) for search in searches]
    found = {"T=1": groups, "greedy": [_group(rng, search, _most_usual, 1) for search in searches]}

    def cut(budgets: Sequence[int]) -> list[float]:
        return [_accuracy_when_cut(searches, groups, budget) for budget in budgets]

    def ask(request: str, budget: int | None) -> list[Group]:
        def write(rng: Random, search: Search) -> str:
            wanted, most = ASKED_AS.get(request, TAKE), float("inf") if budget is None else budget
            return write_search(rng, search, obeying(rng, search, draw_manner(rng, search), wanted, most)).text

        return [_group(rng, search, write, ASKED_SAMPLES) for search in searches]

    return seeker_figures(found, cut, ask)


def _as_drawn(rng: Random, search: Search) -> str:
    is_interrupted = rng.random() < INTERRUPTED_SHARE
    return write_search(rng, search, draw_manner(rng, search), is_interrupted=is_interrupted).text


def _most_usual(rng: Random, search: Search) -> str:
    certain: Confirmation = {just: _certain(probabilities) for just, probabilities in USUAL.items()}
    return write_search(rng, search, Manner(True, certain, false_hit=0.0)).text


def _certain(probabilities: tuple[float, float, float]) -> tuple[float, float, float]:
    """The most probable of three with probability 1."""
    check, again, answer = (float(p == max(probabilities)) for p in probabilities)
    return check, again, answer


def _group(rng: Random, search: Search, write: Write, samples: int) -> Group:
    boxed = f"\\boxed{{{search.hit.answer}}}"
    rollouts = []
    for sample in range(samples):
        text = write(rng, search)
        length = count_search_tokens(text)
        response = Response((0,) * length, (0.0,) * length, text, FinishReason.STOP)
        rollouts.append(Rollout(response, Grade.CORRECT if boxed in text else Grade.WRONG, sample))
    return Group(search_problem(search, search.question), (), tuple(rollouts))


def _accuracy_when_cut(searches: Sequence[Search], groups: Sequence[Group], budget: int) -> float:
    chances = []
    for search, group in zip(searches, groups, strict=True):
        for rollout in group.rollouts:
            found = tokens_until_found(rollout.response.text, search.hit.text)
            if rollout.num_tokens <= budget:
                chances.append(float(rollout.grade is Grade.CORRECT))
            else:
                chances.append(1.0 if found is not None and found <= budget else 1 / len(search.trials))
    return float(np.mean(chances))
