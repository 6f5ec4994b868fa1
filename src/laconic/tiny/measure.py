"""Prints what a checkpoint of an embedded reasoner shows: `python -m laconic.tiny measure`, and part of `laconic.seeker`'s.

1. It makes fresh problems of all families from the `report` split, which no training has seen.
2. It draws several samples per problem at T=1, and one greedy response.
3. It prints accuracy, tokens compared with the shortest chain, what share of them was redundant, the spread of solve rates, and
   how much longer correct responses are than wrong ones to the same problem.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan

import numpy as np
from rich.table import Table

from laconic.config.defaults import PROBE_SAMPLES, SEED
from laconic.config.policy import PolicyConfig
from laconic.config.solver import GraderConfig, PromptConfig, SamplerConfig
from laconic.grading.grader import Grader
from laconic.models.loading import load_model
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.tiny.anatomy import dissect
from laconic.tiny.tasks import FAMILIES, make_problems
from laconic.tiny.tokens import END
from laconic.types import Grade, Group, Problem, Rollout

CAP_TOKENS = 400  # of a response
BINS = 10


@dataclass(frozen=True, slots=True)
class ReasonerFigures:
    """What the responses of one decoding show. Shares are fractions of 1, lengths are mean tokens per response."""

    accuracy: float
    mean_tokens: float
    oracle_tokens: float
    redundant_frac: float
    truncated_frac: float
    solve_rate_histogram: tuple[int, ...]
    correct_minus_wrong_tokens: float | None
    accuracy_by_family: dict[str, float]

    @property
    def times_shortest(self) -> float:
        """Mean length of the responses, divided by the mean length of the shortest correct ones."""
        return self.mean_tokens / self.oracle_tokens


def measure(
    model: str, *, num_problems: int = 240, samples: int = PROBE_SAMPLES, seed: int = SEED, family: str = "mix"
) -> dict[str, ReasonerFigures]:
    """Figures at "T=1" (`samples` responses per problem) and "greedy" (one response per problem)."""
    problems = make_problems(family, count=num_problems, seed=seed, split="report")
    with local_solver(model) as solver:
        found = attempt_both(solver, problems, samples, seed=seed, max_tokens=CAP_TOKENS)
    return {name: reasoner_figures(groups, lambda text, _: dissect(text).redundant) for name, groups in found.items()}


@contextmanager
def local_solver(model: str) -> Iterator[Solver]:
    """A solver with the model that draws in this process."""
    lm, grader_config = load_model(model, PolicyConfig()), GraderConfig()
    with Grader(grader_config.workers, grader_config.timeout_seconds) as grader:
        yield Solver(lm, LocalSampler(lm), grader, PromptConfig())


def attempt_both(
    solver: Solver, problems: Sequence[Problem], samples: int, *, seed: int, max_tokens: int
) -> dict[str, list[Group]]:
    """The groups of `samples` responses at "T=1", and those of one "greedy" response per problem."""
    found = {}
    for name, temperature, count in (("T=1", 1.0, samples), ("greedy", 0.0, 1)):
        decoding = SamplerConfig(temperature=temperature, max_tokens=max_tokens)
        found[name] = solver.attempt(problems, count, decoding, seed=seed)
    return found


def text_with_end(rollout: Rollout) -> str:
    """The text of a response with its end token, unless it was cut off at the cap."""
    return rollout.response.text + ("" if rollout.response.is_truncated else END)


def reasoner_figures(groups: Sequence[Group], redundant: Callable[[str, Problem], int]) -> ReasonerFigures:
    """The figures over graded groups. `redundant` counts the redundant tokens of a response to a problem."""
    rollouts = [(group, rollout) for group in groups for rollout in group.rollouts]
    is_correct = np.array([rollout.grade is Grade.CORRECT for _, rollout in rollouts])
    tokens = np.array([rollout.num_tokens for _, rollout in rollouts])
    texts = [(text_with_end(rollout), group.problem) for group, rollout in rollouts]
    rates = [np.mean([r.grade is Grade.CORRECT for r in group.rollouts]) for group in groups]
    families = np.array([str(group.problem.meta["family"]) for group, _ in rollouts])
    return ReasonerFigures(
        accuracy=float(is_correct.mean()),
        mean_tokens=float(tokens.mean()),
        oracle_tokens=float(np.mean([group.problem.meta["oracle_tokens"] for group, _ in rollouts])),
        redundant_frac=sum(redundant(*text) for text in texts) / int(tokens.sum()),
        truncated_frac=float(np.mean([r.response.is_truncated for _, r in rollouts])),
        solve_rate_histogram=tuple(np.histogram(rates, bins=BINS, range=(0.0, 1.0))[0].tolist()),
        correct_minus_wrong_tokens=_within_problem(groups),
        accuracy_by_family={f: float(is_correct[families == f].mean()) for f in dict.fromkeys(families.tolist())},
    )


def _within_problem(groups: Sequence[Group]) -> float | None:
    """Mean length of correct minus mean length of wrong responses to a problem, averaged over the problems that have both kinds;
    None if there is no such problem."""
    differences = []
    for group in groups:
        right = [r.num_tokens for r in group.rollouts if r.grade is Grade.CORRECT]
        wrong = [r.num_tokens for r in group.rollouts if r.grade is Grade.WRONG]
        if right and wrong:
            differences.append(np.mean(right) - np.mean(wrong))
    return float(np.mean(differences)) if differences else None


def as_table(found: dict[str, ReasonerFigures], title: str, families: Iterable[str] = FAMILIES) -> Table:
    """The findings as a table for a terminal."""
    table = Table("", *found, title=title)
    rows: dict[str, Callable[[ReasonerFigures], str]] = {
        "accuracy": lambda f: f"{f.accuracy:.1%}",
        "mean tokens": lambda f: f"{f.mean_tokens:.1f}",
        "shortest correct (oracle) tokens": lambda f: f"{f.oracle_tokens:.1f}",
        "times the shortest": lambda f: f"{f.times_shortest:.2f}",
        "redundant tokens": lambda f: f"{f.redundant_frac:.1%}",
        "truncated": lambda f: f"{f.truncated_frac:.1%}",
        "correct - wrong tokens, same problem": lambda f: _signed(f.correct_minus_wrong_tokens),
        "problems by solve rate, 0 to 1": lambda f: " ".join(map(str, f.solve_rate_histogram)),
    }
    for label, cell in rows.items():
        table.add_row(label, *(cell(findings) for findings in found.values()))
    for family in families:
        table.add_row(f"accuracy, {family}", *(f"{f.accuracy_by_family.get(family, nan):.1%}" for f in found.values()))
    return table


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"
