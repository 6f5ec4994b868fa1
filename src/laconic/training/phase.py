"""One phase of a run, step by step.

    choose problems from a probe of the model that enters the phase
    until the phase is over:
        draw problems, roll out groups, pay rewards, admit groups, estimate advantages, update, log
        now and then watch the watched set, checkpoint, judge

The `Curriculum` decides which problems a step takes and which of their groups train, and `Checkpoints` decides what is saved and
how long it is kept. A phase's whole state is its weights and a `PhaseState`, so a phase that is restored from a checkpoint
continues exactly as it would have without the interruption.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.config.recipe import Recipe
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy
from laconic.problems.sets import ProblemSets
from laconic.rng import seed_of
from laconic.rollouts.metrics import rollout_metrics
from laconic.rollouts.paying import Payer
from laconic.rollouts.solver import Solver
from laconic.rollouts.sources import Source, SourceSetting
from laconic.samplers.local import LocalSampler
from laconic.system.progress import Reporter
from laconic.training.algorithms import estimate_advantages
from laconic.training.batching import collate
from laconic.training.check import ResolvedPhase
from laconic.training.checkpoints import Checkpoints, PhaseState
from laconic.training.curriculum import Curriculum, choose_for_phase
from laconic.training.experience import Experience, gather_experience
from laconic.training.phase_end import Ending, PhaseRecord, Watch, best_watch, judge
from laconic.training.reference_cache import ReferenceCache
from laconic.training.run_directory import Checkpoint, RunDirectory
from laconic.training.updates import Updater
from laconic.types import Group, Problem


@dataclass(frozen=True, slots=True)
class Run:
    """What all phases of a run share. `given` is the model from which the run began, if it was passed in memory."""

    recipe: Recipe
    phases: tuple[ResolvedPhase, ...]
    directory: RunDirectory
    checkpoints: Checkpoints
    policy: Policy
    solver: Solver
    sets: ProblemSets
    reporter: Reporter
    given: CausalLM | None = None


class PhaseRun:
    """A phase that is being trained: its curriculum, source, optimisers and watches.

    It begins from the weights after `entry_step` (0: the loaded model); its steps are numbered from `last_step` on. Checkpoints
    of the steps in `pinned` are results of other phases and are kept.
    """

    def __init__(self, run: Run, index: int, *, entry_step: int, last_step: int, pinned: set[int]) -> None:
        self.run, self.phase = run, run.phases[index]
        self.entry_step, self.pinned = entry_step, pinned
        self.step, self.first_step = last_step, last_step + 1
        phase, config, seed = self.phase, self.phase.config, run.recipe.seed
        folder = run.directory.path / "phases" / f"{index + 1}-{phase.name}"
        chosen = choose_for_phase(phase, run.sets.train, run.solver, folder, run.reporter, seed=seed)
        self.curriculum = Curriculum(phase, chosen.problems, seed=seed)
        self.payer = Payer(config, chosen.stats, phase.rewards)
        self.source: Source = phase.open_source(
            SourceSetting(
                solver=run.solver,
                lm=run.policy.lm,
                phase=config,
                problems=chosen.problems,
                seed=seed if config.rollouts == "on_policy" else seed_of(seed, "phase", index),
                folder=folder,
                pay=self.payer.pay,
                progress=lambda what, count: run.reporter.bar(f"{phase.name}: {what}", count),
            )
        )
        run.policy.begin_phase(
            critic=phase.critic,
            needs_reference=phase.needs_reference,
            reference_model=config.algorithm.reference_model,
        )
        self.updater = Updater(run.policy, config, seed=seed_of(seed, "updates", index))
        self.reference_cache = ReferenceCache()
        self.watches: list[Watch] = []
        self.clock = PhaseClock()

    @property
    def phase_step(self) -> int:
        """The number of steps of this phase that are done."""
        return self.step - self.first_step + 1

    def train(self) -> Ending:
        """Take steps until the phase is over."""
        if not self.watches:
            self.watches.append(self.watch(self.entry_step))
            self._say_where_it_starts()
        while (ending := self.ending()) is None:
            self.take_step()
        return ending

    def ending(self) -> Ending | None:
        """How the phase ends, or None if it goes on; judged only after a step of it that was watched."""
        is_watched = self.phase_step > 0 and self.watches[-1].step == self.step
        return judge(self.watches, self.phase.config, self.phase_step) if is_watched else None

    # --- a step ------------------------------------------------------------------------------------------------------

    def take_step(self) -> None:
        """One step of the loop at the head of this module."""
        self.step += 1
        self.clock.begin_step()
        problems = self.curriculum.draw(self.phase_step)
        groups = self.roll_out(problems)
        admitted = self.curriculum.admit(groups)
        self.payer.remember(groups)
        self.clock.lap()
        metrics = rollout_metrics(groups) | {"rollouts/admitted_frac": len(admitted) / len(groups)}
        if admitted:
            experience = self.gather(admitted)
            advantages = estimate_advantages(self.phase.algorithm, experience, self.phase.config.algorithm)
            metrics |= self.updater.update(experience, advantages, self.step, self.phase_step - 1)
            self.move_reference()
        self.average_with_entry()
        self.clock.lap()
        self.run.directory.log_rollouts(self.step, groups)
        metrics |= self.watch_now_and_then()
        self.log(metrics | self.clock.metrics(num_tokens=sum(sum(group.lengths) for group in groups)))
        self.checkpoint_now_and_then()

    def roll_out(self, problems: Sequence[Problem]) -> list[Group]:
        """Paid groups of the step's problems, then of those that the curriculum draws to fill the step."""
        groups, draw = self.source.groups(problems, self.step), 1
        while more := self.curriculum.draw_more(groups, self.step, draw):
            groups, draw = groups + self.source.groups(more, self.step, draw), draw + 1
        return groups

    def gather(self, admitted: Sequence[Group]) -> Experience:
        """The groups with everything that the update needs, scored under the current roles."""
        config, sampler = self.phase.config, self.run.solver.sampler
        if isinstance(sampler, LocalSampler):
            sampler.make_room()
        return gather_experience(
            self.run.policy,
            collate(admitted, truncated=config.algorithm.truncated),
            config,
            self.reference_cache,
            needs_logprobs=self.phase.algorithm.needs_logprobs,
        )

    def move_reference(self) -> None:
        """Let the reference follow the policy, if the recipe asks for a moving reference."""
        config, policy = self.phase.config.algorithm, self.run.policy
        moves = policy.has_moving_reference and config.reference != "frozen"
        if moves and self.phase_step % config.reference_every == 0:
            policy.update_reference(config.ema_decay if config.reference == "ema" else 0.0)
            self.reference_cache.clear()

    def average_with_entry(self) -> None:
        """After the phase's last step, average the weights with those that entered the phase, if the phase asks for that."""
        share = self.phase.config.entry_share
        if share > 0 and self.phase_step == self.phase.config.steps:
            self.run.policy.average_with(self.run.checkpoints.weights_after(self.entry_step), share)

    def log(self, metrics: dict[str, Any]) -> None:
        """One line of metrics.jsonl and one for the person watching."""
        steps = self.phase.config.steps
        line = {"step": self.step, "phase": self.phase.name, "phase_step": self.phase_step, **metrics}
        self.run.directory.log_metrics(line)
        self.run.reporter.step(line, steps, self.clock.seconds_left(steps - self.phase_step))

    # --- now and then ------------------------------------------------------------------------------------------------

    def watch(self, step: int) -> Watch:
        """Measure the watch set. Every watch uses the same random numbers, so that two watches differ by the policy alone."""
        recipe, sampler = self.run.recipe, self.phase.config.sampler
        cap = recipe.report.max_tokens or sampler.max_tokens
        groups = self.run.solver.attempt(
            self.run.sets.watch,
            recipe.watch.samples,
            sampler.model_copy(update={"max_tokens": cap}),
            seed=seed_of(recipe.seed, "watch"),
        )
        metrics = rollout_metrics(groups)
        return Watch(step, metrics["rollouts/accuracy_frac"] or 0.0, metrics["rollouts/mean_tokens"])

    def watch_now_and_then(self) -> dict[str, float]:
        """Every few steps and after the phase's last step, watch and return the figures for the log."""
        if self.phase_step % self.run.recipe.watch.every and self.phase_step < self.phase.config.steps:
            return {}
        newest = self.watch(self.step)
        self.watches.append(newest)
        return {"watch/accuracy_frac": newest.accuracy, "watch/mean_tokens": newest.mean_tokens}

    def checkpoint_now_and_then(self) -> None:
        """Save a checkpoint every few steps, at each watch (a later watch may roll back to it), and at the cap."""
        is_watched = self.watches[-1].step == self.step
        if not is_watched and self.phase_step % self.run.recipe.checkpoints.every:
            return
        best = best_watch(self.watches, self.phase.config.end)
        self.run.checkpoints.save(self.state(), self.pinned | {best.step})
        self.reference_cache.clear()

    def state(self) -> PhaseState:
        """The state of the phase, apart from its weights."""
        return PhaseState(self.phase.index, self.step, tuple(self.watches), self.payer.memory, self.updater.state())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of this phase."""
        state = self.run.checkpoints.restore(checkpoint)
        self.updater.load_state(state.updater)
        self.watches, self.payer.memory, self.step = list(state.watches), state.memory, state.step

    def record(self, ending: Ending) -> PhaseRecord:
        """The record of the finished phase for the run's list of phases."""
        return PhaseRecord(
            name=self.phase.name,
            algorithm=self.phase.config.algorithm.name,
            first_step=self.first_step,
            last_step=self.step,
            result_step=ending.result_step,
            reason=ending.reason,
            num_problems=len(self.curriculum.problems),
            watches=tuple(self.watches),
        )

    def _say_where_it_starts(self) -> None:
        first = self.watches[0]
        self.run.reporter.say(
            f"{self.phase.name}: {len(self.curriculum.problems)} problems, watched accuracy {first.accuracy:.1%} "
            f"at {first.mean_tokens:.0f} tokens"
        )


class PhaseClock:
    """Measures what the time of a phase is spent on. In each step, `lap` is called after sampling and after the update."""

    def __init__(self) -> None:
        self.started, self.num_steps = time.monotonic(), 0
        self.laps: list[float] = []

    def begin_step(self) -> None:
        """Note that a step begins."""
        self.num_steps += 1
        self.laps = [time.monotonic()]

    def lap(self) -> None:
        """Note that a part of the step is done."""
        self.laps.append(time.monotonic())

    def metrics(self, num_tokens: int) -> dict[str, float]:
        """The step's `time/*` metrics up to now; `num_tokens` were sampled in it."""
        began, sampled, updated = self.laps
        return {
            "time/sample_seconds": sampled - began,
            "time/update_seconds": updated - sampled,
            "time/step_seconds": time.monotonic() - began,
            "time/tokens_per_second": num_tokens / (updated - began),
        }

    def seconds_left(self, steps_to_go: int) -> float:
        """The seconds that `steps_to_go` more steps take, if they take as long as those so far."""
        return (time.monotonic() - self.started) / self.num_steps * steps_to_go
