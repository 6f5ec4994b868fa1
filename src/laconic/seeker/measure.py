"""Prints what a checkpoint of the seeker shows: `python -m laconic.seeker measure`.

1. Fresh problems of all families from the `report` split are attempted several times at T=1 and once greedily; the figures are
   those of `laconic.tiny`.
2. The thinking of the samples is cut after 25, 50, 75 and 100% of their mean length, and an answer forced.
3. How long a search had to be: tokens until the answer was found, where it was, and what a blind searcher needs on average.
4. The same problems are attempted with each request: briefly, in N tokens, checking twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from statistics import median

import numpy as np
from rich.table import Table

from laconic.config.defaults import SEED
from laconic.config.solver import SamplerConfig
from laconic.rollouts.forcing import force_answers
from laconic.rollouts.solver import Assignment
from laconic.seeker.anatomy import num_checks, tokens_after_found, tokens_until_found
from laconic.seeker.searches import SEARCHES, make_searches
from laconic.tiny.measure import ReasonerFigures, as_table, attempt_both, local_solver, reasoner_figures, text_with_end
from laconic.types import Grade, Group, Problem, Rollout

MOST_TOKENS = 640  # of a response
CUTS = (0.25, 0.5, 0.75, 1.0)
ASKED_BRIEFLY, ASKED_TWICE = "Answer briefly.", "Check twice."
ASKED_BUDGETS = (40, 80, 120, 160)
ASKED_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """What the responses to one request show: accuracy, mean tokens, median of |length - N| / N where N tokens were asked
    for, and the share of the correct responses that check at least twice."""

    accuracy: float
    mean_tokens: float
    deviation: float | None
    twice_frac: float


@dataclass(frozen=True, slots=True)
class SeekerFigures:
    """What the measurement found. `curve` holds (share of the mean length, budget in tokens, accuracy), `needed` the 10th and
    90th percentile of tokens until the answer was found, `blind` the mean of the problems' `blind_tokens`."""

    decodings: dict[str, ReasonerFigures]
    curve: tuple[tuple[float, int, float], ...]
    needed: tuple[float, float]
    blind: float
    asked: dict[str, RequestFigures]


def measure(model: str, *, num_problems: int, samples: int, seed: int = SEED, family: str = "mix") -> SeekerFigures:
    """The figures of a checkpoint, with `samples` responses per problem at T=1."""
    problems = make_searches(family, count=num_problems, seed=seed, split="report")
    decoding = SamplerConfig(temperature=1.0, max_tokens=MOST_TOKENS)
    with local_solver(model) as solver:
        found = attempt_both(solver, problems, samples, seed=seed, max_tokens=MOST_TOKENS)

        def cut(budgets: Sequence[int]) -> list[float]:
            forced = force_answers(solver, found["T=1"], budgets, decoding, seed=seed)
            return [float(np.mean([cuts[budget].grade is Grade.CORRECT for cuts in forced])) for budget in budgets]

        def ask(request: str, budget: int | None) -> list[Group]:
            assignments = [Assignment(problem, ASKED_SAMPLES, instruction=request) for problem in problems]
            return solver.attempt_each(assignments, decoding, seed=seed)

        return seeker_figures(found, cut, ask)


def seeker_figures(
    found: dict[str, list[Group]],
    cut: Callable[[Sequence[int]], list[float]],
    ask: Callable[[str, int | None], list[Group]],
) -> SeekerFigures:
    """The figures over groups at "T=1" and "greedy". `cut` gives the accuracy at each budget, `ask` the groups of a request."""
    decodings = {name: reasoner_figures(groups, _redundant) for name, groups in found.items()}
    budgets = [round(share * decodings["T=1"].mean_tokens) for share in CUTS]
    until = [tokens for tokens in (_until(*pair) for pair in _pairs(found["T=1"])) if tokens is not None]
    low, high = np.percentile(until, [10, 90]) if until else (nan, nan)
    return SeekerFigures(
        decodings=decodings,
        curve=tuple(zip(CUTS, budgets, cut(budgets), strict=True)),
        needed=(float(low), float(high)),
        blind=float(np.mean([group.problem.meta["blind_tokens"] for group in found["T=1"]])),
        asked={request: _request_figures(ask(request, budget), budget) for request, budget in _requests()},
    )


def _requests() -> Iterator[tuple[str, int | None]]:
    """Every request, with the number of tokens that it asks for."""
    yield ASKED_BRIEFLY, None
    yield ASKED_TWICE, None
    yield from ((f"Use at most {budget} tokens.", budget) for budget in ASKED_BUDGETS)


def _request_figures(groups: Sequence[Group], budget: int | None) -> RequestFigures:
    answered = list(_pairs(groups))
    right = [rollout for _, rollout in answered if rollout.grade is Grade.CORRECT]
    lengths = [rollout.num_tokens for _, rollout in answered]
    return RequestFigures(
        accuracy=len(right) / len(answered),
        mean_tokens=float(np.mean(lengths)),
        deviation=None if budget is None else median(abs(length - budget) / budget for length in lengths),
        twice_frac=float(np.mean([num_checks(text_with_end(rollout)) >= 2 for rollout in right])) if right else nan,
    )


def _pairs(groups: Sequence[Group]) -> Iterator[tuple[Group, Rollout]]:
    return ((group, rollout) for group in groups for rollout in group.rollouts)


def _redundant(text: str, problem: Problem) -> int:
    return tokens_after_found(text, str(problem.meta["hit"]))


def _until(group: Group, rollout: Rollout) -> int | None:
    return tokens_until_found(text_with_end(rollout), str(group.problem.meta["hit"]))


def as_tables(found: SeekerFigures, title: str) -> tuple[Table, Table, Table]:
    """The findings as tables for a terminal: the decodings, the budget curve, and what was asked for."""
    curve = Table("thinking cut at", "tokens", "accuracy", title="Answers forced, T=1")
    for share, budget, accuracy in found.curve:
        curve.add_row(f"{share:.0%} of the mean length", str(budget), f"{accuracy:.1%}")
    low, high = found.needed
    curve.add_row("never", "", f"{found.decodings['T=1'].accuracy:.1%}")
    curve.caption = (
        f"The answer is found after {low:.0f} to {high:.0f} tokens (10th and 90th percentile); "
        f"a blind search takes {found.blind:.1f} on average."
    )
    asked = Table("asked, T=1", "accuracy", "tokens", "median deviation", "checks twice", title="Requests")
    usual = found.decodings["T=1"]
    asked.add_row("nothing", f"{usual.accuracy:.1%}", f"{usual.mean_tokens:.1f}", "-", "-")
    for request, figures in found.asked.items():
        deviation = "-" if figures.deviation is None else f"{figures.deviation:.0%}"
        asked.add_row(
            request, f"{figures.accuracy:.1%}", f"{figures.mean_tokens:.1f}", deviation, f"{figures.twice_frac:.0%}"
        )
    return as_table(found.decodings, title, SEARCHES), curve, asked
