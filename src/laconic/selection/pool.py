"""Decides which problems a phase trains on. Training uses the decision; doctor and the dry run predict it with the same code.

1. A phase may train on the train set, without the problems that are watched or reported (`problems/sets.py`). The phase looks at
   the first `select.pool` of them.
2. Without a selection the phase trains on the first `select.count` of these.
3. With a selection, the model that enters the phase attempts them (a probe), and a row of `SELECTIONS` keeps at most
   `select.count` of them, in the order of the train set or in that of the selection.
4. A step takes `problems_per_step` of the kept problems, each at most once.

What is left out: probing, which needs a model, and the message if too few problems are left (programs do both).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from laconic.config.phase import PhaseConfig
from laconic.rng import seed_of
from laconic.selection.decisions import Choice
from laconic.selection.rules import select
from laconic.statistics.solve_rate import ProblemStats, problem_stats
from laconic.types import Grade, Problem

MOST_SAMPLES = 64  # of a probe, up to which every outcome is tried
NO_SELECTION = "everything"
"""The `select.how` of a phase that trains on all problems it looks at, without a probe."""


@dataclass(frozen=True, slots=True)
class TrainingProblems:
    """The problems that a phase trains on. `stats` holds what the probe measured of them, by id, and `choices` the decision on
    every problem that was probed; both are empty without a selection."""

    problems: tuple[Problem, ...]
    stats: Mapping[str, ProblemStats] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()


def needs_probe(phase: PhaseConfig) -> bool:
    """Whether the phase chooses its problems by how often the model solves them, which a probe must measure."""
    return phase.select.how != NO_SELECTION


def check_rule(phase: PhaseConfig) -> None:
    """Raises `ValueError` if the phase's selection, or an option of it, is unknown or out of range, or keeps no problem whatever
    a probe measures: of two samples, no share lies in a band from 0.26 to 0.3."""
    if not needs_probe(phase):
        return
    samples = phase.select.samples
    right = range(samples + 1) if samples <= MOST_SAMPLES else ()
    grades = {c: [Grade.CORRECT] * c + [Grade.WRONG] * (samples - c) for c in right}
    outcomes = [problem_stats(str(c), found, [1] * samples) for c, found in grades.items()]
    choices = decide(phase, outcomes, phase.select.count, seed=0, index=0)
    if outcomes and not any(choice.is_kept for choice in choices):
        raise ValueError(f"select: keeps no problem, however many of its {samples} samples are correct")


def pool_of(phase: PhaseConfig, trainable: Sequence[Problem]) -> Sequence[Problem]:
    """The problems that the phase looks at: it trains on all of them, or, with a selection, probes them and chooses.

    `trainable` is the train set without the problems that are watched or reported.
    """
    return trainable[: phase.select.pool if needs_probe(phase) else limit_of(phase)]


def limit_of(phase: PhaseConfig) -> int | None:
    """The most problems that the phase may train on, however many there are; None if the recipe states no limit."""
    limits = [limit for limit in (phase.select.pool, phase.select.count) if limit is not None]
    return min(limits, default=None)


def most_problems(phase: PhaseConfig, available: int) -> int:
    """The most problems that the phase can train on if `available` problems are trainable."""
    return min(available, limit_of(phase) or available)


def decide(
    phase: PhaseConfig, stats: Sequence[ProblemStats], count: int | None, *, seed: int, index: int
) -> list[Choice]:
    """The decision of the phase's selection on every probed problem. It keeps at most `count` (None: all that qualify). `seed` is
    the recipe's seed, `index` the number of the phase in the recipe."""
    return select(phase.select.how, stats, count, seed_of(seed, "select", index), phase.select.options)


def choose_from_probe(
    phase: PhaseConfig, pool: Sequence[Problem], stats: Sequence[ProblemStats], *, seed: int, index: int
) -> TrainingProblems:
    """The problems on which a phase with a probe trains, given its pool and what the probe measured; empty if none qualify."""
    choices = decide(phase, stats, phase.select.count, seed=seed, index=index)
    kept = kept_problems(pool, choices, in_order=phase.select.in_order)
    names = {problem.id for problem in kept}
    return TrainingProblems(
        tuple(kept), {stat.problem_id: stat for stat in stats if stat.problem_id in names}, tuple(choices)
    )


def kept_problems(problems: Sequence[Problem], choices: Sequence[Choice], *, in_order: bool) -> list[Problem]:
    """The problems that the choices keep, in the order of the choices if `in_order`, otherwise in that of `problems`."""
    place = {choice.problem_id: n for n, choice in enumerate(choices) if choice.is_kept}
    kept = [problem for problem in problems if problem.id in place]
    return sorted(kept, key=lambda problem: place[problem.id]) if in_order else kept


def lacking(phase: PhaseConfig, num_kept: int) -> int:
    """How many more problems the phase's `select.count` asks for than were kept.

    >>> from laconic.config.problems import SelectConfig
    >>> phase = PhaseConfig(name="p", steps=1, select=SelectConfig(count=8))
    >>> lacking(phase, 6), lacking(phase, 9)
    (2, 0)
    """
    return max(0, (phase.select.count or 0) - num_kept)


def problems_per_step(phase: PhaseConfig, num_problems: int) -> int:
    """How many of the phase's `num_problems` problems each step takes."""
    return min(phase.problems_per_step, num_problems)


def visits(phase: PhaseConfig, num_problems: int) -> float:
    """How often each of `num_problems` problems is trained on if the phase runs to its cap of steps."""
    return phase.steps * problems_per_step(phase, num_problems) / num_problems
