"""How long a run still takes: the tokens that its recipe still asks for, at the pace of the newest steps.

1. `plan_of` counts the responses of a recipe: those of each phase's probe, steps and watches, and those of the models that are
   measured on the reported set.
2. `work_left` turns the responses that are left into tokens. Lengths are forecast from the newest steps (`forecast`). A later
   phase begins with the lengths at which the present one ends, cut at its own cap.
3. `Pace` holds how many seconds a token took to sample and to train on. It goes by the median of the newest measurements: a
   slow step alone changes nothing, and other work on the machine shows after three.
4. `Clock` times a run's steps and watches, and puts the three together.

What is assumed, and is not known: every phase runs to its cap of steps, and a later phase costs per token and epoch as much as
the present one. So the result is an estimate and no bound. A run that is resumed has no measurements yet, and begins with its
first step.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, linear_regression, median

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.config.solver import SamplerConfig
from laconic.evaluation.evaluate import num_samples
from laconic.problems.sets import ProblemSets
from laconic.rollouts.sources import KEPT
from laconic.selection.pool import most_problems, needs_probe, pool_of, problems_per_step

NUM_NEWEST = 5
"""How many measurements the pace is the median of, and how many steps a change of length is read from."""

# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """The responses of a phase.

    `num_first` are drawn before its first step: by the probe, or as rollouts that are drawn only once. Every step trains on
    `per_step` responses, `epochs` times, and draws them first unless `is_kept`. `num_watched` are measured when the phase begins,
    every `watch_every` steps, and after its last step. `cap` is the largest number of tokens of a response.
    """

    steps: int
    per_step: int
    cap: int
    num_first: int = 0
    num_watched: int = 0
    watch_every: int = 1
    epochs: int = 1
    is_kept: bool = False

    def watches_after(self, phase_step: int) -> int:
        """How many watches follow step `phase_step` of the phase."""
        return sum(step % self.watch_every == 0 or step == self.steps for step in range(phase_step + 1, self.steps + 1))


@dataclass(frozen=True, slots=True)
class Plan:
    """The responses of a run: those of its phases, and `num_reported` for each model that is measured on the reported set."""

    phases: tuple[PhasePlan, ...]
    num_reported: int = 0


def plan_of(recipe: Recipe, sets: ProblemSets) -> Plan:
    """The plan of the recipe with these problems. Selections are taken to keep as many problems as they may."""
    decodings = [SamplerConfig(temperature=temperature) for temperature in recipe.report.temperatures]
    samples = sum(num_samples(recipe.report.samples, decoding) for decoding in decodings)
    return Plan(tuple(_phase_plan(phase, recipe, sets) for phase in recipe.phases), len(sets.report) * samples)


def _phase_plan(phase: PhaseConfig, recipe: Recipe, sets: ProblemSets) -> PhasePlan:
    num_problems = most_problems(phase, len(sets.train))
    num_probed = len(pool_of(phase, sets.train)) * phase.select.samples if needs_probe(phase) else 0
    return PhasePlan(
        steps=phase.steps,
        per_step=problems_per_step(phase, num_problems) * phase.group_size,
        cap=phase.sampler.max_tokens,
        num_first=num_probed + (num_problems * phase.group_size if phase.rollouts == "offline" else 0),
        num_watched=len(sets.watch) * recipe.watch.samples,
        watch_every=recipe.watch.every,
        epochs=phase.optimizer.epochs,
        is_kept=phase.rollouts in KEPT,
    )


# --- the work that is left -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens to sample, and tokens to train on, counted once for each epoch."""

    sampled_tokens: float = 0.0
    trained_tokens: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.sampled_tokens + other.sampled_tokens, self.trained_tokens + other.trained_tokens)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run is: after step `phase_step` of phase `index`.

    `step_tokens` holds the tokens of each step of the phase that was timed, and `lengths` those of the newest step's responses.
    `entry_tokens` is the mean length on the watched set when a phase began, by the phase's index. `unmeasured` lists the models
    that are still to be measured on the reported set: 0 is the base, and n the result of phase number n.
    """

    index: int
    phase_step: int
    step_tokens: Sequence[float]
    lengths: Sequence[int]
    entry_tokens: Mapping[int, float] = field(default_factory=dict)
    unmeasured: Sequence[int] = ()


def forecast(seen: Sequence[float], num_steps: int) -> list[float]:
    """The next `num_steps` values after those `seen`, which are at least one.

    A fall that the newest values show (their least-squares line) goes on at half its slope, for as many steps as it was observed
    in, but not below half of the newest value. A rise does not go on: training for brevity makes responses shorter, and most
    rises are noise.

    >>> forecast([100.0, 90.0, 80.0], 4), forecast([80.0, 90.0], 2)
    ([80.0, 75.0, 75.0, 75.0], [85.0, 85.0])
    """
    newest = list(seen[-NUM_NEWEST:])
    num_changes = len(newest) - 1
    slope = linear_regression(range(len(newest)), newest).slope if num_changes else 0.0
    slope = min(0.0, slope / 2)
    reached = fmean(newest) + slope * num_changes / 2
    return [max(newest[-1] / 2, reached + slope * min(step, num_changes)) for step in range(1, num_steps + 1)]


def work_left(plan: Plan, at: Position) -> Work:
    """What the run still has to do."""
    phase, num_steps = plan.phases[at.index], plan.phases[at.index].steps - at.phase_step
    steps = forecast(at.step_tokens, max(1, num_steps))
    tokens, length = sum(steps[:num_steps]), steps[-1] / len(at.lengths)
    work = Work(0.0 if phase.is_kept else tokens, tokens * phase.epochs)
    work += Work(phase.watches_after(at.phase_step) * phase.num_watched * length)
    reached = {**at.entry_tokens, at.index + 1: length}
    for number, later in enumerate(plan.phases[at.index + 1 :], start=at.index + 2):
        length *= sum(min(tokens, later.cap) for tokens in at.lengths) / sum(at.lengths)
        work += _whole(later, length)
        reached[number] = length
    return work + Work(plan.num_reported * sum(reached.get(model, length) for model in at.unmeasured))


def _whole(phase: PhasePlan, length: float) -> Work:
    """The work of a phase that has not begun, with responses of `length` tokens."""
    stepped = phase.steps * phase.per_step
    measured = phase.num_first + phase.num_watched * (1 + phase.watches_after(0))
    return Work(length * (measured + (0 if phase.is_kept else stepped)), length * stepped * phase.epochs)


# --- the pace --------------------------------------------------------------------------------------------------------


class Pace:
    """Seconds per token, of sampling and of training: the medians of the newest measurements."""

    def __init__(self) -> None:
        self.sampling: deque[float] = deque(maxlen=NUM_NEWEST)
        self.training: deque[float] = deque(maxlen=NUM_NEWEST)

    def seconds(self, work: Work) -> float:
        """How long the work takes; the kind of work that was never measured is left out."""
        sampling, training = (median(measured) if measured else 0.0 for measured in (self.sampling, self.training))
        return work.sampled_tokens * sampling + work.trained_tokens * training


class Clock:
    """Times the steps and watches of a run, as far as they are taken in this process, and estimates the rest.

    In each step `lap` is called after sampling and after the update, and `end_step` at the end.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.pace, self.index = plan, Pace(), 0
        self.entry_tokens: dict[int, float] = {}
        self.step_tokens: list[float] = []
        self.lengths: Sequence[int] = ()
        self.laps: list[float] = []

    def begin_phase(self, index: int, entry_tokens: float) -> None:
        """Note that phase `index` begins, or goes on, and the mean length on the watched set with which it began."""
        self.index, self.step_tokens = index, []
        self.entry_tokens[index] = entry_tokens

    def watched(self, num_tokens: int, seconds: float) -> None:
        """Note that a watch sampled `num_tokens` in so many seconds."""
        self.pace.sampling.append(seconds / num_tokens)

    def begin_step(self) -> None:
        """Note that a step begins."""
        self.laps = [time.monotonic()]

    def lap(self) -> None:
        """Note that a part of the step is done."""
        self.laps.append(time.monotonic())

    def end_step(self, lengths: Sequence[int]) -> dict[str, float]:
        """Note that a step with responses of these lengths ends; returns its `time/*` metrics."""
        began, sampled, updated = self.laps
        num_tokens, phase = sum(lengths), self.plan.phases[self.index]
        self.lengths = lengths
        self.step_tokens.append(num_tokens)
        if not phase.is_kept:
            self.pace.sampling.append((sampled - began) / num_tokens)
        self.pace.training.append((updated - sampled) / (num_tokens * phase.epochs))
        return {
            "time/sample_seconds": sampled - began,
            "time/update_seconds": updated - sampled,
            "time/step_seconds": time.monotonic() - began,
            "time/tokens_per_second": num_tokens / (updated - began),
        }

    def seconds_left(self, phase_step: int, unmeasured: Sequence[int]) -> float:
        """How long the run still takes after step `phase_step` of the phase; `unmeasured` as in `Position`."""
        at = Position(self.index, phase_step, self.step_tokens, self.lengths, self.entry_tokens, unmeasured)
        return self.pace.seconds(work_left(self.plan, at))
