"""How long a run still takes: the tokens that its recipe still asks for, at the pace of the newest steps.

1. `plan_of` counts the responses of a recipe: those of each phase's probe, steps and watches, and those of the models that are
   measured on the reported set.
2. `work_left` turns the responses that are left into tokens. They are as long as those of the newest steps, become shorter step
   by step (`ASSUMED_FALL`), and are cut at the cap of their phase.
3. `Pace` holds how many seconds a token took to sample and to train on. It goes by the median of the newest measurements: a
   slow step alone changes nothing, and other work on the machine shows after three.
4. `Clock` times a run's steps, hears from the reporter how long everything took that was sampled, and puts the three together.

What is assumed, and is not known: that lengths fall as they do here on the embedded reasoner, that every phase runs to its cap of
steps, and that a later phase costs per token and epoch as much as the present one. So the result is an estimate and no bound. A
run that is resumed has no measurements yet, and begins with its first step.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import fmean

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.config.solver import SamplerConfig
from laconic.evaluation.evaluate import num_samples
from laconic.problems.sets import ProblemSets
from laconic.rollouts.sources import KEPT
from laconic.selection.pool import most_problems, needs_probe, pool_of, problems_per_step
from laconic.training.algorithms import find_algorithm

NEWEST_PACES = 5
"""How many measurements the pace is the median of."""

NEWEST_LENGTHS = 3
"""Over how many of the newest steps lengths are averaged."""

EVALUATION_TOKENS = 10_000
"""Loading a model, summing up its evaluation and comparing it takes about as long as sampling so many tokens with the embedded
reasoner; with a larger model as many tokens fewer as it has more weights, since each takes so much longer."""

EMBEDDED_WEIGHTS = 650_000
"""How many weights the embedded reasoner has."""

ASSUMED_FALL = 0.4
"""The share of their length that responses lose over all steps of a run in which they are drawn anew. LOG.md, 2026-11-28, has
the runs of the embedded reasoner by which it was chosen, and what else was tried."""

# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """The responses of a phase.

    `num_probed` are drawn by the probe before its first step, and `num_offline` are rollouts that are drawn there, once. Every
    step trains on `per_step` responses, `epochs` times, and draws them first unless `is_kept`. `num_watched` are measured when
    the phase begins, every `watch_every` steps, and after its last step. `cap` is the largest number of tokens of a response.
    `trained_share` is the share of responses that train at most: some algorithms pick a part of each group.
    """

    steps: int
    per_step: int
    cap: int
    epochs: int
    num_probed: int = 0
    num_offline: int = 0
    num_watched: int = 0
    watch_every: int = 1
    is_kept: bool = False
    trained_share: float = 1.0

    def watches_after(self, phase_step: int) -> int:
        """How many watches follow step `phase_step` of the phase."""
        every, steps = self.watch_every, self.steps
        return steps // every - phase_step // every + (phase_step < steps and steps % every > 0)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The responses of a run: those of its phases, and `num_reported` for each model that is measured on the reported set, in
    `num_evaluations` evaluations. The model has `num_weights`."""

    phases: tuple[PhasePlan, ...]
    num_reported: int = 0
    num_evaluations: int = 0
    num_weights: int = EMBEDDED_WEIGHTS


def plan_of(recipe: Recipe, sets: ProblemSets) -> RunPlan:
    """The plan of the recipe with these problems. Selections are taken to keep as many problems as they may."""
    decodings = [SamplerConfig(temperature=temperature) for temperature in recipe.report.temperatures]
    samples = sum(num_samples(recipe.report.samples, decoding) for decoding in decodings)
    phases = tuple(_phase_plan(phase, recipe, sets) for phase in recipe.phases)
    return RunPlan(phases, len(sets.report) * samples, len(decodings) if sets.report else 0)


def _phase_plan(phase: PhaseConfig, recipe: Recipe, sets: ProblemSets) -> PhasePlan:
    num_problems = most_problems(phase, len(sets.train))
    num_probed = len(pool_of(phase, sets.train)) * phase.select.samples if needs_probe(phase) else 0
    return PhasePlan(
        steps=phase.steps,
        per_step=problems_per_step(phase, num_problems) * group_of(phase),
        cap=phase.sampler.max_tokens,
        num_probed=num_probed,
        num_offline=num_problems * group_of(phase) if phase.rollouts == "offline" else 0,
        num_watched=len(sets.watch) * recipe.watch.samples,
        watch_every=recipe.watch.every,
        epochs=phase.optimizer.epochs,
        is_kept=phase.rollouts in KEPT,
        trained_share=_trained_share(phase),
    )


def _trained_share(phase: PhaseConfig) -> float:
    return most_trained_of(phase) / group_of(phase)


def group_of(phase: PhaseConfig) -> int:
    """How many rollouts a group of the phase has at most: a problem has one worked solution, whatever `group_size` says.

    >>> [group_of(PhaseConfig(name="p", steps=1, rollouts=r, group_size=8)) for r in ("on_policy", "solutions")]
    [8, 1]
    """
    return 1 if phase.rollouts == "solutions" else phase.group_size


def most_trained_of(phase: PhaseConfig) -> int:
    """How many rollouts of a group go through an update at most."""
    return find_algorithm(phase).most_trained(group_of(phase), **phase.algorithm.options)


# --- the work that is left -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkLeft:
    """Tokens to sample, and tokens to train on, counted once for each epoch."""

    sampled_tokens: float = 0.0
    trained_tokens: float = 0.0

    def __add__(self, other: "WorkLeft") -> "WorkLeft":
        return WorkLeft(self.sampled_tokens + other.sampled_tokens, self.trained_tokens + other.trained_tokens)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run is: after step `phase_step` of phase `index`, or before its first step where that is 0.

    `mean_lengths` holds the mean length of a response in each step of the phase that was timed, and `lengths` those of the newest
    step's responses. `entry_tokens` is the mean length on the watched set when a phase began, by the phase's index. `unmeasured`
    lists the models that are still to be measured on the reported set: 0 is the base, and n the result of phase number n.
    """

    index: int
    phase_step: int
    mean_lengths: Sequence[float]
    lengths: Sequence[int]
    entry_tokens: Mapping[int, float] = field(default_factory=dict)
    unmeasured: Sequence[int] = ()


def work_left(plan: RunPlan, at: Position) -> WorkLeft:
    """What the run still has to do."""
    begin, work, reached = fmean(at.mean_lengths[-NEWEST_LENGTHS:]), WorkLeft(), dict(at.entry_tokens)
    fall = begin * ASSUMED_FALL / max(1, sum(phase.steps for phase in plan.phases if not phase.is_kept))
    for number, phase in enumerate(plan.phases[at.index :], start=at.index):
        done = at.phase_step if number == at.index else 0
        end = begin if phase.is_kept else begin - fall * (phase.steps - done)
        cut = 1.0 if done else sum(min(length, phase.cap) for length in at.lengths) / sum(at.lengths)
        work += _phase_work(phase, done, len(at.lengths) if done else phase.per_step, begin * cut, end * cut)
        begin, reached[number + 1] = end, end * cut
    beside = plan.num_evaluations * EVALUATION_TOKENS * min(1.0, EMBEDDED_WEIGHTS / plan.num_weights)
    for model in at.unmeasured:
        work += WorkLeft(plan.num_reported * reached.get(model, begin) + beside)
    return work


def _phase_work(phase: PhasePlan, done: int, per_step: int, begin: float, end: float) -> WorkLeft:
    """The work of a phase after `done` steps, whose responses go from `begin` to `end` tokens."""
    middle = (begin + end) / 2
    stepped = (phase.steps - done) * per_step * middle
    measured = phase.watches_after(done) * phase.num_watched * middle
    if not done:
        measured += (phase.num_probed + phase.num_offline + phase.num_watched) * begin
    return WorkLeft(measured + (0.0 if phase.is_kept else stepped), stepped * phase.trained_share * phase.epochs)


# --- the pace --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Measured:
    """How many seconds a token took, over so many tokens."""

    pace: float
    num_tokens: int


class Pace:
    """Seconds per token, of sampling and of training: medians of the newest measurements, each weighted by its tokens, because a
    small task, such as a watch, takes longer per token."""

    def __init__(self) -> None:
        self.sampling: deque[Measured] = deque(maxlen=NEWEST_PACES)
        self.training: deque[Measured] = deque(maxlen=NEWEST_PACES)

    def seconds(self, work: WorkLeft) -> float:
        """How long the work takes; the kind of work that was never measured is left out."""
        sampling, training = (
            _median_pace(measured) if measured else 0.0 for measured in (self.sampling, self.training)
        )
        return work.sampled_tokens * sampling + work.trained_tokens * training


def _median_pace(measured: Sequence[Measured]) -> float:
    """The pace at which, or below which, half of the tokens were done."""
    ordered = sorted(measured)
    done = accumulate(one.num_tokens for one in ordered)
    half = sum(one.num_tokens for one in ordered) / 2
    return next(one.pace for one, tokens in zip(ordered, done, strict=True) if tokens >= half)


class Clock:
    """Times what a run does in this process, and estimates the rest.

    `sampled` is called whenever something was sampled. In each step `lap` is called after sampling and after the update, and
    `end_step` at the end.
    """

    def __init__(self, plan: RunPlan) -> None:
        self.plan, self.pace, self.index = plan, Pace(), 0
        self.entry_tokens: dict[int, float] = {}
        self.mean_lengths: list[float] = []
        self.lengths: Sequence[int] = ()
        self.laps: list[float] = []

    def begin_phase(self, index: int, entry_tokens: float) -> None:
        """Note that phase `index` begins, or goes on, and the mean length on the watched set with which it began."""
        self.index, self.mean_lengths = index, []
        self.entry_tokens[index] = entry_tokens

    def sampled(self, num_tokens: int, seconds: float) -> None:
        """Note that `num_tokens` were sampled in so many seconds."""
        self.pace.sampling.append(Measured(seconds / num_tokens, num_tokens))

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
        self.mean_lengths.append(num_tokens / len(lengths))
        num_trained = num_tokens * phase.trained_share
        self.pace.training.append(Measured((updated - sampled) / (num_trained * phase.epochs), round(num_trained)))
        return {
            "time/sample_seconds": sampled - began,
            "time/update_seconds": updated - sampled,
            "time/step_seconds": time.monotonic() - began,
            "time/tokens_per_second": num_tokens / (updated - began),
        }

    def seconds_left(self, phase_step: int, unmeasured: Sequence[int]) -> float:
        """How long the run still takes after step `phase_step` of the phase; `unmeasured` as in `Position`."""
        at = Position(self.index, phase_step, self.mean_lengths, self.lengths, self.entry_tokens, unmeasured)
        return self.pace.seconds(work_left(self.plan, at))
