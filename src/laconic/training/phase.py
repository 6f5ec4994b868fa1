"""One phase of a run, step by step.

    choose problems from a probe of the model that enters the phase
    until the phase is over:
        draw problems, roll out groups, pay rewards, admit groups, estimate advantages, update, log
        now and then watch the watched set, checkpoint, judge

A phase's whole state is its weights, its optimisers' moments and its watches: every random number is addressed by name, so
there is no generator to save, and a phase that is restored from a checkpoint goes on as if nothing had happened.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.errors import RecipeError, SelectionError
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy, load_policy
from laconic.problems.sets import ProblemSets
from laconic.rewards.from_recipe import reward_table
from laconic.rewards.numbers import Memory
from laconic.rng import seed_of, stream
from laconic.rollouts.solver import Solver, describe, pay, remember
from laconic.rollouts.sources import SOURCES, Asking, Source
from laconic.selection.probe import probe, read_probe, write_probe
from laconic.selection.rules import select
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.files import to_jsonl, write_text_atomically
from laconic.system.progress import Reporter
from laconic.training.algorithms import critic_kind, estimate_advantages, find_algorithm, needs_reference
from laconic.training.batching import collate
from laconic.training.experience import gather_experience
from laconic.training.phase_end import Verdict, Watch, best_watch, judge
from laconic.training.reference_cache import ReferenceCache
from laconic.training.run_directory import Checkpoint, RunDirectory
from laconic.training.updates import Updater
from laconic.types import Grade, Group, Problem

NO_SELECTION = "everything"


@dataclass(frozen=True, slots=True)
class Run:
    """What all phases of a run share. `given` is the model that the run began from, where it was handed over in memory."""

    recipe: Recipe
    directory: RunDirectory
    policy: Policy
    solver: Solver
    sets: ProblemSets
    reporter: Reporter
    given: CausalLM | None = None


class PhaseRun:
    """One phase at work: its problems, roles, optimisers and watches.

    It begins from the weights of `entry_step` (0: the model as loaded); its steps count on from `last_step`. Checkpoints of
    the steps in `pinned` are other phases' results and stay.
    """

    def __init__(self, run: Run, index: int, *, entry_step: int, last_step: int, pinned: set[int]) -> None:
        self.run, self.index, self.entry_step, self.pinned = run, index, entry_step, pinned
        self.recipe, self.directory, self.policy = run.recipe, run.directory, run.policy
        self.phase = phase = run.recipe.phases[index]
        self.algorithm = find_algorithm(phase)
        self.step, self.first_step = last_step, last_step + 1
        self.folder = self.directory.path / "phases" / f"{index + 1}-{phase.name}"
        self.problems, self.references = self.choose_problems()
        self.memory = Memory()
        self.terms = reward_table(phase.rewards)
        self.source = self.open_source()
        self.policy.begin_phase(
            critic=critic_kind(phase),
            needs_reference=needs_reference(phase),
            reference_model=phase.algorithm.reference_model,
        )
        self.updater = Updater(self.policy, phase, seed=seed_of(self.recipe.seed, "updates", index))
        self.reference_cache = ReferenceCache()
        self.watches: list[Watch] = []
        self.order: tuple[int, list[Problem]] | None = None
        self.started, self.done_before = time.monotonic(), 0

    @property
    def phase_step(self) -> int:
        """Steps of this phase that are done."""
        return self.step - self.first_step + 1

    def train(self) -> Verdict:
        """Steps until the phase is over."""
        if not self.watches:
            self.watches.append(self.watch(self.entry_step))
            self._say_where_it_starts()
        while True:
            verdict = self._verdict_so_far()
            if verdict.is_over:
                return verdict
            self.take_step()

    def _verdict_so_far(self) -> Verdict:
        is_watched = self.watches[-1].step in (self.step, self.entry_step if self.phase_step == 0 else -1)
        return (
            judge(self.watches, self.phase, self.phase_step) if is_watched and self.phase_step > 0 else Verdict(False)
        )

    def take_step(self) -> None:
        """One step: the loop of design section 2."""
        began = time.monotonic()
        self.step += 1
        step, phase = self.step, self.phase
        groups, admitted = self.roll_out(step)
        sampled = time.monotonic()
        metrics = describe(groups) | {"rollouts/admitted_frac": 0.0}
        if admitted:
            batch = collate(admitted, truncated=phase.algorithm.truncated)
            experience = gather_experience(
                self.policy, batch, phase, self.reference_cache, needs_logprobs=self.algorithm.needs_logprobs
            )
            advantages = estimate_advantages(self.algorithm, experience, phase.algorithm)
            metrics |= self.updater.update(experience, advantages, step, self.phase_step - 1)
            metrics["rollouts/admitted_frac"] = len(admitted) / len(groups)
            self.move_reference()
        self.average_with_entry()
        updated = time.monotonic()
        self.directory.log_rollouts(step, groups)
        metrics |= self.watch_now_and_then()
        seconds = time.monotonic() - began
        tokens = sum(sum(group.lengths) for group in groups)
        metrics |= {
            "time/sample_seconds": sampled - began,
            "time/update_seconds": updated - sampled,
            "time/step_seconds": seconds,
            "time/tokens_per_second": tokens / (updated - began),
        }
        self.log(metrics)
        self.checkpoint_now_and_then()

    def log(self, metrics: dict[str, Any]) -> None:
        """One line of metrics.jsonl and one for the person watching."""
        line = {"step": self.step, "phase": self.phase.name, "phase_step": self.phase_step, **metrics}
        self.directory.log_metrics(line)
        self.done_before += 1
        left = (time.monotonic() - self.started) / self.done_before * (self.phase.steps - self.phase_step)
        self.run.reporter.step(line, self.phase.steps, left)

    # --- problems and rollouts ---------------------------------------------------------------------------------------

    def choose_problems(self) -> tuple[list[Problem], dict[str, ProblemStats]]:
        """The phase's problems and what the probe knows of them, probing the model that enters the phase where asked to."""
        chosen = self.phase.select
        pool = self.run.sets.train[: chosen.pool]
        if chosen.how == NO_SELECTION:
            problems = list(pool[: chosen.count])
            return problems, {}
        file = self.folder / "probe.jsonl"
        if not file.exists():
            with self.run.reporter.bar(f"{self.phase.name}: probe", len(pool) * chosen.samples) as progress:
                seed = seed_of(self.recipe.seed, "probe", self.index)
                stats = probe(
                    self.run.solver, pool, chosen.samples, self.phase.sampler, seed=seed, on_progress=progress
                )
            write_probe(file, pool, stats)
        problems, stats = read_probe(file)
        choices = select(
            chosen.how, stats, chosen.count, seed_of(self.recipe.seed, "select", self.index), chosen.options
        )
        write_text_atomically(self.folder / "selection.jsonl", to_jsonl(choice.to_json() for choice in choices))
        kept = {choice.problem_id for choice in choices if choice.is_kept}
        if not kept:
            raise SelectionError(
                f"phases.{self.phase.name}.select: none of {len(stats)} probed problems qualifies; the first: "
                f"{choices[0].reason}; every reason is in {self.folder / 'selection.jsonl'}"
            )
        if chosen.count is not None and len(kept) < chosen.count:
            self.run.reporter.say(f"{self.phase.name}: {len(kept)} problems qualify, {chosen.count} were asked for")
        chosen_ones = [p for p in problems if p.id in kept]
        if chosen.in_order:
            place = {choice.problem_id: n for n, choice in enumerate(choices)}
            chosen_ones.sort(key=lambda p: place[p.id])
        return chosen_ones, {s.problem_id: s for s in stats if s.problem_id in kept}

    def draw_problems(self) -> list[Problem]:
        """The step's problems: the phase's in a new order every epoch, or in the selection's, at most each once a step."""
        per_step = min(self.phase.problems_per_step, len(self.problems))
        position = (self.phase_step - 1) * per_step
        drawn: list[Problem] = []
        while len(drawn) < per_step:
            problem = self.in_epoch(position // len(self.problems))[position % len(self.problems)]
            if problem not in drawn:
                drawn.append(problem)
            position += 1
        return drawn

    def in_epoch(self, epoch: int) -> list[Problem]:
        """The phase's problems in the order of that epoch; the newest order is kept, since steps go through it in turn."""
        if self.order is None or self.order[0] != epoch:
            shuffled = list(self.problems)
            if not self.phase.select.in_order:
                stream(self.recipe.seed, "problems", self.index, epoch).shuffle(shuffled)
            self.order = (epoch, shuffled)
        return self.order[1]

    def open_source(self) -> Source:
        """Where this phase's rollouts come from."""
        asking = Asking(
            solver=self.run.solver,
            lm=self.policy.lm,
            phase=self.phase,
            problems=self.problems,
            seed=self.recipe.seed
            if self.phase.rollouts == "on_policy"
            else seed_of(self.recipe.seed, "phase", self.index),
            folder=self.folder,
            pay=self.pay,
            progress=lambda what, count: self.run.reporter.bar(f"{self.phase.name}: {what}", count),
        )
        return SOURCES[self.phase.rollouts](asking)

    def pay(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with their rewards, as the recipe's terms pay now."""
        cap = self.phase.sampler.max_tokens
        try:
            return pay(groups, self.phase.rewards, self.references, cap, self.memory, self.terms)
        except ValueError as error:
            raise RecipeError(f"phases.{self.phase.name}.rewards: {error}") from None

    def roll_out(self, step: int) -> tuple[list[Group], list[Group]]:
        """All paid groups of the step, and those that train. With `uniform_groups = "resample"` other problems are drawn until
        the step is full of groups that train, `max_draws` times at most (DAPO, arXiv 2503.14476, section 3.2)."""
        problems = self.draw_problems()
        groups = self.source.groups(problems, step)
        admitted = admit(groups, self.phase)
        config = self.phase.algorithm
        for draw in range(1, config.max_draws if config.uniform_groups == "resample" else 1):
            missing = len(problems) - len(admitted)
            if missing <= 0:
                break
            more = self.source.groups(self._others({g.problem.id for g in groups}, missing, step, draw), step, draw)
            groups, admitted = groups + more, admitted + admit(more, self.phase)
        self.memory = remember(self.memory, groups, self.phase.rewards, self.phase.sampler.max_tokens)
        return groups, admitted[: len(problems)]

    def _others(self, taken: set[str], count: int, step: int, draw: int) -> list[Problem]:
        """Up to `count` problems that were not drawn in this step; where none is left, any."""
        others = [p for p in self.problems if p.id not in taken] or list(self.problems)
        return stream(self.recipe.seed, "resample", self.index, step, draw).sample(others, min(count, len(others)))

    def average_with_entry(self) -> None:
        """After the phase's last step: the average with the weights that entered it, where the phase asks for that."""
        share = self.phase.entry_share
        if share > 0 and self.phase_step == self.phase.steps:
            self.policy.average_with(self._entry_weights(), share)

    def _entry_weights(self) -> Mapping[str, Tensor]:
        if self.entry_step > 0:
            return self.directory.load_checkpoint(self.entry_step).tensors
        return load_policy(self.recipe, self.run.given).trainable_state()

    def move_reference(self) -> None:
        """Let the reference follow the policy, where the recipe has it moving."""
        config = self.phase.algorithm
        moves = self.policy.has_moving_reference and config.reference != "frozen"
        if moves and self.phase_step % config.reference_every == 0:
            self.policy.update_reference(config.ema_decay if config.reference == "ema" else 0.0)
            self.reference_cache.clear()

    # --- watching and checkpoints ------------------------------------------------------------------------------------

    def watch(self, step: int) -> Watch:
        """The watched set now. The same random numbers every time, so that two watches differ by the policy alone."""
        config = self.recipe.watch
        seed = seed_of(self.recipe.seed, "watch")
        cap = self.recipe.report.max_tokens or self.phase.sampler.max_tokens
        decoding = self.phase.sampler.model_copy(update={"max_tokens": cap})
        groups = self.run.solver.attempt(self.run.sets.watch, config.samples, decoding, seed=seed)
        metrics = describe(groups)
        return Watch(step, metrics["rollouts/accuracy_frac"] or 0.0, metrics["rollouts/mean_tokens"])

    def watch_now_and_then(self) -> dict[str, float]:
        """Every few steps and after the cap's last: watch, and give the figures to the log."""
        if self.phase_step % self.recipe.watch.every and self.phase_step < self.phase.steps:
            return {}
        newest = self.watch(self.step)
        self.watches.append(newest)
        return {"watch/accuracy_frac": newest.accuracy, "watch/mean_tokens": newest.mean_tokens}

    def checkpoint_now_and_then(self) -> None:
        """A checkpoint every few steps, at each watch (a later one may roll back to it), and at the cap."""
        step, config = self.step, self.recipe.checkpoints
        is_watched = self.watches[-1].step == step
        if not is_watched and self.phase_step % config.every:
            return
        state = {
            "phase": self.index,
            "watches": [[w.step, w.accuracy, w.mean_tokens] for w in self.watches],
            "memory": self.memory.to_json(),
        }
        tensors = self.policy.trainable_state() | {f"updater/{k}": v for k, v in self.updater.state().items()}
        self.directory.save_checkpoint(Checkpoint(step, state, tensors), self.policy.save)
        self.reference_cache.clear()
        keep = self.pinned | {best_watch(self.watches, self.phase.end).step}
        self.directory.prune_checkpoints(config.keep, keep)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this phase."""
        self.policy.load_trainable_state(checkpoint.tensors)
        moments = {k.removeprefix("updater/"): v for k, v in checkpoint.tensors.items() if k.startswith("updater/")}
        self.updater.load_state(moments)
        self.watches = [Watch(int(step), accuracy, tokens) for step, accuracy, tokens in checkpoint.state["watches"]]
        self.memory = Memory.from_json(checkpoint.state["memory"])
        self.step = checkpoint.step

    def _say_where_it_starts(self) -> None:
        first = self.watches[0]
        self.run.reporter.say(
            f"{self.phase.name}: {len(self.problems)} problems, watched accuracy {first.accuracy:.1%} "
            f"at {first.mean_tokens:.0f} tokens"
        )


def admit(groups: Sequence[Group], phase: PhaseConfig) -> list[Group]:
    """The groups that train: those with a gradable rollout, and, unless uniform ones are kept, with more than one reward."""
    drops_uniform = phase.algorithm.uniform_groups != "keep"
    gradable = [g for g in groups if any(grade is not Grade.UNGRADABLE for grade in g.grades)]
    admitted = [group for group in gradable if not (drops_uniform and group.is_uniform)]
    keeps_rows = phase.algorithm.truncated != "mask" or any(
        not r.response.is_truncated for g in admitted for r in g.rollouts
    )
    return admitted if keeps_rows else []
