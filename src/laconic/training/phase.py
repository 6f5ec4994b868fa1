"""One phase of a run, step by step.

    choose problems from a probe of the model that enters the phase
    until the phase is over:
        draw problems, roll out groups, pay rewards, admit groups, estimate advantages, update, log
        look for a collapse; now and then watch the watched set, checkpoint, judge

The `Curriculum` decides which problems a step takes and which of their groups train, and `Checkpoints` decides what is saved and
how long it is kept. A phase's whole state is its weights and a `PhaseState`, so a phase that is restored from a checkpoint
continues exactly as it would have without the interruption. On a signal that asks the run to end, such as Ctrl-C, the phase is
left during the rollouts of a step, and its last whole step is saved. Where training diverges, the phase ends with an error that
says how to go on from the last checkpoint.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.collapse.alarms import Applicability
from laconic.collapse.idle import why_nothing_learnt
from laconic.collapse.vigil import RaisedAlarm, Vigil
from laconic.config.recipe import Recipe
from laconic.config.resumption import freedom, resume_command
from laconic.config.sense.unusual import unusual_levers
from laconic.errors import Diverged, EngineLost, RunError, RunFailed, Terminated
from laconic.evaluation.evaluate import EvaluationRequest
from laconic.evaluation.shared_draws import NOTHING_SHARED, SharedDraws
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy
from laconic.parallel.team import Team
from laconic.problems.sets import ProblemSets
from laconic.rng import seed_of
from laconic.rollouts.metrics import rollout_metrics
from laconic.rollouts.paying import Payer
from laconic.rollouts.solver import Solver
from laconic.rollouts.sources import KEPT, Source, SourceSetting
from laconic.samplers.vllm.engines import Engines
from laconic.system.progress import Reporter
from laconic.training.algorithms import estimate_advantages
from laconic.training.batching import collate
from laconic.training.check.phases import ResolvedPhase
from laconic.training.checkpoint_files import Checkpoint
from laconic.training.checkpoints import Checkpoints, PhaseState, lost_files, phase_digests
from laconic.training.curriculum import Curriculum, choose_for_phase
from laconic.training.experience import Experience, ReferenceCache, engine_figures, gather_experience
from laconic.training.phase_end import Ending, PhaseRecord, Watch, best_before, best_watch, judge
from laconic.training.run_directory import RunDirectory, model_label
from laconic.training.time_left import Clock
from laconic.training.updates import Updater
from laconic.types import Group, Problem, Progress


@dataclass(frozen=True, slots=True)
class Run:
    """What all phases of a run share. `policy` is what is trained; in a team its weights are spread, and the model of `solver`,
    which draws responses, is another. `given` is the model from which the run began, if it was passed in memory. `draws` are
    shared with other runs."""

    recipe: Recipe
    phases: tuple[ResolvedPhase, ...]
    directory: RunDirectory
    checkpoints: Checkpoints
    policy: Policy
    solver: Solver
    sampler: Engines
    sets: ProblemSets
    reporter: Reporter
    clock: Clock
    given: CausalLM | None = None
    draws: SharedDraws = NOTHING_SHARED

    @property
    def team(self) -> Team:
        """The processes that train together."""
        return self.directory.team

    def phase_folder(self, index: int) -> Path:
        """The folder of the files of phase `index`."""
        return self.directory.phase_folder(index, self.phases[index].name)

    def unmeasured(self) -> list[int]:
        """The models that are not yet measured on the reported set: 0 is the base, and n the result of phase number n."""
        is_measured, temperatures = self.directory.is_measured, self.recipe.report.temperatures
        return [number for number in range(len(self.phases) + 1) if not is_measured(model_label(number), temperatures)]


class PhaseRun:
    """A phase that is being trained: its curriculum, source, optimisers and watches.

    It begins from the weights that the last of the `finished` phases handed on, or from the loaded model (its `entry_step` is 0
    then), and its steps are numbered from the end of that phase on.
    """

    def __init__(self, run: Run, index: int, finished: Sequence[PhaseRecord]) -> None:
        self.run, self.phase, self.finished = run, run.phases[index], tuple(finished)
        self.entry_step = finished[-1].result_step if finished else 0
        self.step = finished[-1].last_step if finished else 0
        self.first_step = self.step + 1
        phase, config, seed = self.phase, self.phase.config, run.recipe.seed
        folder = run.phase_folder(index)
        draws = NOTHING_SHARED if self.entry_step else run.draws
        chosen = choose_for_phase(phase, run.sets.train, run.solver, folder, run.reporter, run.recipe, draws)
        run.directory.log_meta(chosen.problems)
        self.curriculum = Curriculum(phase, chosen.problems, seed=seed)
        self.payer = Payer(config, chosen.stats, phase.rewards, run.solver.team)
        setting = SourceSetting(
            solver=run.solver,
            lm=run.policy.lm,
            phase=config,
            problems=chosen.problems,
            seed=seed if config.rollouts == "on_policy" else seed_of(seed, "phase", index),
            folder=folder,
            pay=self.payer.pay,
            progress=lambda what, count: self.bar(what, count, leaves_line=config.rollouts in KEPT),
        )
        self.source: Source = _opened(phase, setting, run.recipe, draws)
        run.policy.begin_phase(
            critic=phase.critic,
            needs_reference=phase.needs_reference,
            reference_model=config.algorithm.reference_model,
            reference_moves=phase.has_moving_reference,
        )
        self.updater = Updater(run.policy, config, seed=seed_of(seed, "updates", index))
        self.files = run.team.by_first(lambda: phase_digests(folder))
        self.reference_cache = ReferenceCache()
        self.watches: list[Watch] = []
        self.vigil = Vigil(phase.name, config.end.alarms, config.steps, applicability(phase))
        self.ended_by: RaisedAlarm | None = None

    @property
    def phase_step(self) -> int:
        """The number of steps of this phase that are done."""
        return self.step - self.first_step + 1

    def bar(self, what: str, num_responses: int, *, leaves_line: bool) -> AbstractContextManager[Progress]:
        """A bar for responses of this phase; a step's rollouts leave no line, since the step has one."""
        return self.run.reporter.bar(f"{self.phase.name}: {what}", num_responses, leaves_line=leaves_line)

    def train(self) -> Ending:
        """Take steps until the phase is over. Alarms first read what the run has logged of it before it was resumed. Raises
        `RunFailed` where training diverges, and `Terminated`, with the last whole step saved."""
        for line in self.run.team.by_first(self.run.directory.metrics):
            if line["phase"] == self.phase.name:
                self.look(line)
        if not self.watches:
            self.watches.append(self.watch(self.entry_step))
            self._say_where_it_starts()
        self.run.clock.begin_phase(self.phase.index, self.watches[0].mean_tokens)
        with self.run.team.holding_back():
            while (ending := self.ending()) is None:
                try:
                    self.take_step()
                except Terminated:  # during rollouts, which change nothing
                    self.step -= 1
                    self.save_out_of_turn()
                    raise
                except Diverged as error:
                    raise RunFailed(self._divergence(error)) from error
        return ending

    def ending(self) -> Ending | None:
        """How the phase ends, or None if it goes on; judged only after a step of it that was watched."""
        is_watched = self.phase_step > 0 and self.watches[-1].step == self.step
        return judge(self.watches, self.phase.config, self.phase_step, self.ended_by) if is_watched else None

    # --- a step ------------------------------------------------------------------------------------------------------

    def take_step(self) -> None:
        """One step of the loop at the head of this module."""
        self.step += 1
        self.run.clock.begin_step()
        problems = self.curriculum.draw(self.phase_step)
        try:
            groups = self.roll_out(problems)
        except EngineLost:
            self.step -= 1
            self.save_out_of_turn()
            raise
        admitted = self.curriculum.admit(groups)
        self.payer.remember(groups)
        self.run.clock.lap()
        metrics = rollout_metrics(groups) | {"rollouts/admitted_frac": len(admitted) / len(groups)}
        if admitted:
            experience = self.gather(admitted)
            metrics |= engine_figures(experience, self.phase.config)
            advantages = estimate_advantages(self.phase.algorithm, experience, self.phase.config.algorithm)
            metrics |= self.updater.update(experience, advantages, self.step, self.phase_step - 1)
        self.move_reference()
        self.average_with_entry()
        self.run.policy.hand_over()
        self.run.clock.lap()
        self.run.directory.log_rollouts(self.step, groups)
        metrics |= {"update/nothing_learnt": why_nothing_learnt(metrics)}
        metrics |= {"alarms/raised": [alarm.line for alarm in self.look(self.line(metrics))]}
        metrics |= self.watch_now_and_then() | self.run.sampler.figures()
        self.log(metrics | self.run.clock.end_step([length for group in groups for length in group.lengths]))
        self.checkpoint_now_and_then()

    def roll_out(self, problems: Sequence[Problem]) -> list[Group]:
        """Paid groups of the step's problems, then of those that the curriculum draws to fill the step. A signal ends it."""
        with self.run.team.letting_through():
            groups, draw = self.source.groups(problems, self.step), 1
            while more := self.curriculum.draw_more(groups, self.step, draw):
                groups, draw = groups + self.source.groups(more, self.step, draw), draw + 1
        return groups

    def gather(self, admitted: Sequence[Group]) -> Experience:
        """The groups with everything that the update needs, scored under the current roles."""
        config = self.phase.config
        self.run.sampler.make_room()
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
        if policy.has_moving_reference and self.phase_step % config.reference_every == 0:
            policy.update_reference(config.ema_decay if config.reference == "ema" else 0.0)
            self.reference_cache.clear()

    def average_with_entry(self) -> None:
        """After the phase's last step, average the weights with those that entered the phase, if the phase asks for that."""
        share = self.phase.config.entry_share
        if share > 0 and self.phase_step == self.phase.config.steps:
            self.run.policy.average_with(self.run.checkpoints.weights_after(self.entry_step), share)

    def look(self, line: dict[str, Any]) -> list[RaisedAlarm]:
        """The alarms that the step's line raises. The first for which the recipe ends the phase does so after this step."""
        raised = self.vigil.see(line)
        self.ended_by = self.ended_by or next((alarm for alarm in raised if alarm.ends_phase), None)
        return raised

    def line(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The step's metrics with its place in the run."""
        return {"step": self.step, "phase": self.phase.name, "phase_step": self.phase_step, **metrics}

    def log(self, metrics: dict[str, Any]) -> None:
        """One line of metrics.jsonl and one for the person watching."""
        line = self.line(metrics)
        self.run.directory.log_metrics(line)
        seconds_left = self.run.clock.seconds_left(self.phase_step, self.run.unmeasured())
        is_kept = self.phase.config.rollouts in KEPT
        logprob = metrics.get("update/logprob_nats") if is_kept else None
        self.run.reporter.step(line, self.phase.config.steps, seconds_left, logprob)

    # --- now and then ------------------------------------------------------------------------------------------------

    def watch(self, step: int) -> Watch:
        """Measure the watch set. Every watch uses the same random numbers, so that two watches differ by the policy alone."""
        recipe, sampler = self.run.recipe, self.phase.config.sampler
        cap, problems = recipe.report.max_tokens or sampler.max_tokens, self.run.sets.watch
        with self.bar("watch", len(problems) * recipe.watch.samples, leaves_line=False) as progress:
            groups = self.run.solver.attempt(
                problems,
                recipe.watch.samples,
                sampler.model_copy(update={"max_tokens": cap}),
                seed=seed_of(recipe.seed, "watch"),
                on_progress=progress,
            )
        metrics = rollout_metrics(groups)
        accuracy = metrics["rollouts/accuracy_frac"]
        if accuracy is None:
            raise RunFailed(
                f"problems.watch: the grader could grade none of the {len(problems) * recipe.watch.samples} responses after "
                f"step {step}, so that nothing says how the phase goes; once it can, go on:  "
                + resume_command(self.run.directory.path)
            )
        return Watch(step, accuracy, metrics["rollouts/mean_tokens"])

    def watch_now_and_then(self) -> dict[str, float]:
        """Every few steps and after the phase's last step, watch and return the figures for the log."""
        is_last = self.phase_step == self.phase.config.steps or self.ended_by is not None
        if self.phase_step % self.run.recipe.watch.every and not is_last:
            return {}
        newest = self.watch(self.step)
        self.watches.append(newest)
        return {"watch/accuracy_frac": newest.accuracy, "watch/mean_tokens": newest.mean_tokens}

    def checkpoint_now_and_then(self) -> None:
        """Save a checkpoint every few steps, at each watch (a later watch may roll back to it), and at the cap."""
        is_watched = self.watches[-1].step == self.step
        if not is_watched and self.phase_step % self.run.recipe.checkpoints.every:
            return
        self.reference_cache.clear()
        self.save()

    def save_out_of_turn(self) -> None:
        """Save the last whole step, if there is one in this phase that is not saved yet."""
        if self.phase_step > 0 and self.step not in self.run.team.by_first(self.run.directory.checkpoints.steps):
            self.save()

    def save(self) -> None:
        """Save a checkpoint."""
        end, next_step = self.phase.config.end, self.step + 1
        first = self.vigil.since or next_step  # an alarm of this step or of the next may roll back to before this one
        kept = {best_before(self.watches, since, end).step for since in range(first, next_step + 1)}
        results = {record.result_step for record in self.finished}
        self.run.checkpoints.save(self.state(), results | kept)

    def state(self) -> PhaseState:
        """The state of the phase, apart from its weights."""
        return PhaseState(
            index=self.phase.index,
            step=self.step,
            watches=tuple(self.watches),
            memory=self.payer.memory,
            updater=self.updater.state(),
            cache=self.reference_cache.state(),
            files=self.files,
            finished=self.finished,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of this phase; after an accepted change the reference scores anew. Raises `RunError` where
        the phase has other files than it began with, or where its end rule has changed and now calls a step the best whose
        weights were not kept."""
        state = self.run.checkpoints.restore(checkpoint)
        folder = self.run.phase_folder(self.phase.index)
        if lost := self.run.team.by_first(lambda: lost_files(folder, state.files)):
            raise RunError(
                f"{lost[0]}: was damaged, and what was made again differs from it; put back a copy, "
                "or train anew with another --out"
            )
        self.updater.load_state(state.updater)
        if not self.run.team.by_first(lambda: self.run.directory.has_accepted_since(checkpoint.step)):
            self.reference_cache.load_state(state.cache)
        self.watches, self.payer.memory, self.step = list(state.watches), state.memory, state.step
        best = best_watch(self.watches, self.phase.config.end).step
        kept = {self.step, self.entry_step, *self.run.team.by_first(self.run.directory.checkpoints.steps)}
        if best not in kept:
            raise RunError(
                f"phases.{self.phase.name}.end: calls step {best} the best so far, whose checkpoint the rule before did not "
                "keep; go on with that rule, or with one that prefers a later step"
            )

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

    def _divergence(self, error: Diverged) -> str:
        """What diverged and when, and how to go on."""
        rate = "critic_lr" if "critic" in str(error) or "value" in str(error) else "lr"
        field = f"phases.{self.phase.name}.optimizer.{rate}"
        newest = self.run.directory.checkpoints.newest_words()
        return f"{self.phase.name}: training diverged in step {self.step}: {error}; {newest}. " + self._remedy(
            field, getattr(self.phase.config.optimizer, rate)
        )

    def _remedy(self, field: str, rate: float) -> str:
        """The levers that are unusually large, and what to do: lower these, or else the rate `field`."""
        unusual = unusual_levers(self.run.recipe, self.phase.config)
        named = ", ".join(f"{key}={value:g}" for key, (value, _) in unusual.items())
        blame = f"Unusually large: {named}. " if named else ""
        changes = {key: usual for key, (_, usual) in unusual.items()} or {field: rate / 10}
        fixed = [key for key in changes if freedom(key, is_trained=False) == "refused"]
        if fixed:
            return (
                f"{blame}A run keeps {fixed[0]} to its end: begin a new one with, say, {fixed[0]}={changes[fixed[0]]:g}"
            )
        words = [f"{key}={value:g}" for key, value in changes.items()]
        return f"{blame}Lower {'it' if named else 'the rate'} and go on:  {resume_command(self.run.directory.path, *words)}"

    def _say_where_it_starts(self) -> None:
        first = self.watches[0]
        self.run.reporter.say(
            f"{self.phase.name}: trains on {len(self.curriculum.problems)} problems; "
            f"watched problems: {first.accuracy:.1%} correct, {first.mean_tokens:.0f} tokens"
        )


def _opened(phase: ResolvedPhase, setting: SourceSetting, recipe: Recipe, draws: SharedDraws) -> Source:
    """The phase's source of rollouts. Offline ones may be another run's."""
    if setting.phase.rollouts != "offline":
        return phase.open_source(setting)
    group_size, place = setting.phase.group_size, seed_of(setting.seed, "offline")
    request = EvaluationRequest("offline", setting.problems, group_size, setting.phase.sampler, place)
    with draws.lending(recipe, setting.solver, request, setting.folder / "offline.jsonl"):
        return phase.open_source(setting)


def applicability(phase: ResolvedPhase) -> Applicability:
    """What alarms need to know about the phase."""
    config = phase.config.algorithm
    return Applicability(
        draws_rollouts=phase.config.rollouts not in KEPT,
        reads_rewards=phase.algorithm.reads_rewards,
        compares_groups=phase.algorithm.min_group_size > 1,
        has_teacher=config.reference_model is not None or config.reference_instruction is not None,
    )
