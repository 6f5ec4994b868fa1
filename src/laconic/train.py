"""Train: a recipe's phases, one after the other, as one resumable object.

    for each phase:
        select problems from a probe of the model that enters it
        until the phase is over:
            draw problems, roll out groups, pay rewards, admit groups, estimate advantages, update, log
            now and then watch the watched set, checkpoint, judge
        hand on the result step's weights
    write the result, then measure base and every phase on the reported set

1. All randomness is addressed by name (`rng.py`), so a run has no generator to save: weights, optimiser moments and the
   phase's bookkeeping are its whole state. A resumed CPU run ends with the weights of an uninterrupted one, bit for bit.
2. `phases.json` lists finished phases. A phase that has a checkpoint of its own goes on from the newest; one that has none
   begins from the weights that the phase before it handed on.
3. Trained, watched and reported problems never meet: a question of the reported set is dropped from the other two, one of
   the watched set from the trained (`load_problem_sets`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from laconic.algorithms import critic_kind, estimate_advantages, find_algorithm, gather_experience
from laconic.batching import collate
from laconic.compare import compare_evaluations
from laconic.config import PhaseConfig, Recipe, SamplerConfig, dump
from laconic.errors import ProblemsError, RecipeError, RunError, SelectionError
from laconic.evaluate import evaluate, mean_tokens, num_samples
from laconic.files import write_json_atomically, write_text_atomically
from laconic.grader import Grader
from laconic.phases import PhaseRecord, Verdict, Watch, judge
from laconic.policy import CausalLM, Policy, load_model
from laconic.probe import probe, read_probe, write_probe
from laconic.problems import load_problems
from laconic.progress import Reporter
from laconic.prompts import resolve_instruction
from laconic.rewards import check_terms
from laconic.rng import seed_of, stream
from laconic.rollouts import Solver, pay, reward_terms
from laconic.runs import Checkpoint, RunDirectory, describe_environment, to_jsonl
from laconic.samplers.local import LocalSampler
from laconic.selection import ProblemStats, select
from laconic.types import GRADES, Grade, Group, Problem
from laconic.updates import Updater

NO_SELECTION = "everything"


@dataclass(frozen=True, slots=True)
class ProblemSets:
    """The three sets that never meet; `report` may be empty."""

    train: tuple[Problem, ...]
    watch: tuple[Problem, ...]
    report: tuple[Problem, ...]


def load_problem_sets(recipe: Recipe) -> ProblemSets:
    """The recipe's three sets, made disjoint by question. Raises `ProblemsError` where that leaves a set empty."""
    sources = recipe.problems
    report = load_problems(sources.report, seed=recipe.seed) if sources.report else []
    watch = _without(load_problems(sources.watch, seed=recipe.seed), report)
    train = _without(load_problems(sources.train, seed=recipe.seed), [*report, *watch])
    for name, problems in (("train", train), ("watch", watch)):
        if not problems:
            raise ProblemsError(f"problems.{name}: no problem is left that is not in a set reported or watched")
    return ProblemSets(tuple(train), tuple(watch), tuple(report))


def _without(problems: Sequence[Problem], others: Sequence[Problem]) -> list[Problem]:
    taken = {" ".join(problem.question.split()) for problem in others}
    return [problem for problem in problems if " ".join(problem.question.split()) not in taken]


def check_recipe(recipe: Recipe) -> None:
    """Everything about a recipe that needs no model. Raises `RecipeError` naming the field."""
    resolve_instruction(recipe.prompt.instruction)
    for phase in recipe.phases:
        find_algorithm(phase)
        if phase.algorithm.critic == "lora" and critic_kind(phase) == "lora" and recipe.policy.lora is None:
            raise RecipeError(f"phases.{phase.name}.algorithm.critic: 'lora' needs [policy.lora]")
        try:
            check_terms(reward_terms(phase.rewards))
            if phase.select.how != NO_SELECTION:
                select(phase.select.how, [], phase.select.count, 0, phase.select.options)
        except ValueError as error:
            raise RecipeError(f"phases.{phase.name}: {error}") from None


class Trainer:
    """One run of a recipe in one directory. `run` starts it or takes it up where it stopped."""

    def __init__(
        self, recipe: Recipe, directory: RunDirectory, lm: CausalLM, sets: ProblemSets, reporter: Reporter
    ) -> None:
        self.recipe, self.directory, self.lm, self.sets, self.reporter = recipe, directory, lm, sets, reporter
        self.grader = Grader(recipe.grader.workers, recipe.grader.timeout_seconds)
        self.solver = Solver(lm, LocalSampler(lm), self.grader, recipe.prompt)
        self.policy = Policy(lm, recipe.policy, seed=seed_of(recipe.seed, "policy"))
        self.finished = [PhaseRecord.from_json(record) for record in directory.phases()]
        self.step = 0

    def run(self) -> Path:
        """Train every phase that is not finished, write the result, measure it; returns the result's folder."""
        with self.grader:
            while len(self.finished) < len(self.recipe.phases):
                self.run_phase(len(self.finished))
            return self.directory.path / "model"

    # --- one phase ---------------------------------------------------------------------------------------------------

    def run_phase(self, index: int) -> None:
        """Train phase `index` to its end and record it."""
        phase = self.recipe.phases[index]
        checkpoint = self._own_checkpoint(index)
        entry = self._entry_step()
        self.step = self.finished[-1].last_step if self.finished else 0
        if checkpoint is None:
            self._load_policy(entry)
        work = PhaseWork(self, index, phase, entry)
        if checkpoint is not None:
            work.restore(checkpoint)
        self.directory.forget_after(self.step)
        verdict = work.train()
        self._hand_on(index, phase, work, verdict)

    def _entry_step(self) -> int:
        """The step whose weights the next phase begins from; 0 is the model as loaded."""
        return self.finished[-1].result_step if self.finished else 0

    def _own_checkpoint(self, index: int) -> Checkpoint | None:
        newest = self.directory.latest_checkpoint()
        if newest is None:
            return None
        checkpoint = self.directory.load_checkpoint(newest)
        return checkpoint if checkpoint.state["phase"] == index else None

    def _load_policy(self, step: int) -> None:
        """Put the policy's weights of a checkpoint back (of step 0: those it was loaded with, still in place)."""
        if step > 0:
            self.policy.load_trainable_state(self.directory.load_checkpoint(step).tensors, roles=("policy",))

    def _hand_on(self, index: int, phase: PhaseConfig, work: "PhaseWork", verdict: Verdict) -> None:
        """Write the phase down; its result becomes the live policy, and after the last phase the run's model."""
        self.reporter.say(f"{phase.name}: {verdict.reason}")
        if verdict.result_step != self.step:
            self.policy.load_trainable_state(work.best_tensors(verdict.result_step), roles=("policy",))
        if index == len(self.recipe.phases) - 1:
            self.policy.save(self.directory.path / "model")
        record = PhaseRecord(
            name=phase.name,
            algorithm=phase.algorithm.name,
            first_step=work.first_step,
            last_step=self.step,
            result_step=verdict.result_step,
            reason=verdict.reason,
            num_problems=len(work.problems),
            watches=tuple(work.watches),
        )
        self.finished.append(record)
        self.directory.write_phases([finished.to_json() for finished in self.finished])


class PhaseWork:
    """A phase at work: its problems, roles, optimisers and watches."""

    def __init__(self, trainer: Trainer, index: int, phase: PhaseConfig, entry_step: int) -> None:
        self.trainer, self.index, self.phase, self.entry_step = trainer, index, phase, entry_step
        self.recipe, self.directory, self.policy = trainer.recipe, trainer.directory, trainer.policy
        self.algorithm = find_algorithm(phase)
        self.first_step = trainer.step + 1
        self.folder = self.directory.path / "phases" / f"{index + 1}-{phase.name}"
        self.problems, self.references = self.choose_problems()
        self.policy.begin_phase(critic=critic_kind(phase), needs_reference=phase.algorithm.kl_coef > 0)
        self.updater = Updater(self.policy, phase, seed=seed_of(self.recipe.seed, "updates", index))
        self.watches: list[Watch] = []
        self.started, self.done_before = time.monotonic(), 0

    @property
    def phase_step(self) -> int:
        """Steps of this phase that are done."""
        return self.trainer.step - self.first_step + 1

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
        is_watched = self.watches[-1].step in (self.trainer.step, self.entry_step if self.phase_step == 0 else -1)
        return (
            judge(self.watches, self.phase, self.phase_step) if is_watched and self.phase_step > 0 else Verdict(False)
        )

    def take_step(self) -> None:
        """One step: the loop of design section 2."""
        began = time.monotonic()
        self.trainer.step += 1
        step, phase = self.trainer.step, self.phase
        groups = self.roll_out(self.draw_problems(), step)
        sampled = time.monotonic()
        metrics = describe_rollouts(groups) | {"rollouts/admitted_frac": 0.0}
        admitted = admit(groups, phase)
        if admitted:
            batch = collate(admitted, truncated=phase.algorithm.truncated)
            experience = gather_experience(self.policy, batch, phase)
            advantages = estimate_advantages(self.algorithm, experience, phase.algorithm)
            metrics |= self.updater.update(experience, advantages, step, self.phase_step - 1)
            metrics["rollouts/admitted_frac"] = len(admitted) / len(groups)
            self.move_reference()
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
        line = {"step": self.trainer.step, "phase": self.phase.name, "phase_step": self.phase_step, **metrics}
        self.directory.log_metrics(line)
        self.done_before += 1
        left = (time.monotonic() - self.started) / self.done_before * (self.phase.steps - self.phase_step)
        self.trainer.reporter.step(line, self.phase.steps, left)

    # --- problems and rollouts ---------------------------------------------------------------------------------------

    def choose_problems(self) -> tuple[list[Problem], dict[str, ProblemStats]]:
        """The phase's problems and what the probe knows of them, probing the model that enters the phase where asked to."""
        chosen = self.phase.select
        pool = self.trainer.sets.train[: chosen.pool]
        if chosen.how == NO_SELECTION:
            problems = list(pool[: chosen.count])
            return problems, {}
        file = self.folder / "probe.jsonl"
        if not file.exists():
            with self.trainer.reporter.bar(f"{self.phase.name}: probe", len(pool) * chosen.samples) as progress:
                seed = seed_of(self.recipe.seed, "probe", self.index)
                stats = probe(
                    self.trainer.solver, pool, chosen.samples, self.phase.sampler, seed=seed, on_progress=progress
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
            self.trainer.reporter.say(f"{self.phase.name}: {len(kept)} problems qualify, {chosen.count} were asked for")
        return [p for p in problems if p.id in kept], {s.problem_id: s for s in stats if s.problem_id in kept}

    def draw_problems(self) -> list[Problem]:
        """The step's problems: the phase's in a new order every epoch, at most each once a step."""
        per_step = min(self.phase.problems_per_step, len(self.problems))
        start = (self.phase_step - 1) * per_step
        drawn: list[Problem] = []
        for position in range(start, start + len(self.problems) + per_step):
            problem = self._in_epoch(position // len(self.problems))[position % len(self.problems)]
            if len(drawn) < per_step and problem not in drawn:
                drawn.append(problem)
        return drawn

    def _in_epoch(self, epoch: int) -> list[Problem]:
        order = list(self.problems)
        stream(self.recipe.seed, "problems", self.index, epoch).shuffle(order)
        return order

    def roll_out(self, problems: Sequence[Problem], step: int) -> list[Group]:
        """Graded and paid groups."""
        num_rollouts = len(problems) * self.phase.group_size
        with self.trainer.reporter.bar(f"{self.phase.name}: step {self.phase_step}", num_rollouts) as progress:
            groups = self.trainer.solver.attempt(
                problems,
                self.phase.group_size,
                self.phase.sampler,
                seed=seed_of(self.recipe.seed, "rollout", step),
                on_progress=progress,
            )
        return pay(groups, self.phase.rewards, self.references, self.phase.sampler.max_tokens)

    def move_reference(self) -> None:
        """Let the reference follow the policy, where the recipe has it moving."""
        config = self.phase.algorithm
        if config.kl_coef > 0 and config.reference != "frozen" and self.phase_step % config.reference_every == 0:
            self.policy.update_reference(config.ema_decay if config.reference == "ema" else 0.0)

    # --- watching and checkpoints ------------------------------------------------------------------------------------

    def watch(self, step: int) -> Watch:
        """The watched set now. The same random numbers every time, so that two watches differ by the policy alone."""
        config = self.recipe.watch
        seed = seed_of(self.recipe.seed, "watch")
        groups = self.trainer.solver.attempt(self.trainer.sets.watch, config.samples, self.phase.sampler, seed=seed)
        metrics = describe_rollouts(groups)
        return Watch(step, metrics["rollouts/accuracy_frac"] or 0.0, metrics["rollouts/mean_tokens"])

    def watch_now_and_then(self) -> dict[str, float]:
        """Every few steps and after the cap's last: watch, and give the figures to the log."""
        if self.phase_step % self.recipe.watch.every and self.phase_step < self.phase.steps:
            return {}
        newest = self.watch(self.trainer.step)
        self.watches.append(newest)
        return {"watch/accuracy_frac": newest.accuracy, "watch/mean_tokens": newest.mean_tokens}

    def checkpoint_now_and_then(self) -> None:
        """A checkpoint every few steps, at each watch (a later one may roll back to it), and at the cap."""
        step, config = self.trainer.step, self.recipe.checkpoints
        is_watched = self.watches[-1].step == step
        if not is_watched and self.phase_step % config.every:
            return
        state = {"phase": self.index, "watches": [[w.step, w.accuracy, w.mean_tokens] for w in self.watches]}
        tensors = self.policy.trainable_state() | {f"updater/{k}": v for k, v in self.updater.state().items()}
        self.directory.save_checkpoint(Checkpoint(step, state, tensors), self.policy.save)
        keep = {record.result_step for record in self.trainer.finished} | {w.step for w in self._contenders()}
        self.directory.prune_checkpoints(config.keep, keep)

    def _contenders(self) -> list[Watch]:
        """Watches whose step the phase may still hand on: the best by its goal."""
        from laconic.phases import best_watch

        return [best_watch(self.watches, self.phase.end)]

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this phase."""
        self.policy.load_trainable_state(checkpoint.tensors)
        moments = {k.removeprefix("updater/"): v for k, v in checkpoint.tensors.items() if k.startswith("updater/")}
        self.updater.load_state(moments)
        self.watches = [Watch(int(step), accuracy, tokens) for step, accuracy, tokens in checkpoint.state["watches"]]
        self.trainer.step = checkpoint.step

    def best_tensors(self, step: int) -> dict[str, torch.Tensor]:
        """The checkpoint that a rollback or `keep = "best"` hands on."""
        return self.directory.load_checkpoint(step).tensors

    def _say_where_it_starts(self) -> None:
        first = self.watches[0]
        self.trainer.reporter.say(
            f"{self.phase.name}: {len(self.problems)} problems, watched accuracy {first.accuracy:.1%} "
            f"at {first.mean_tokens:.0f} tokens"
        )


def admit(groups: Sequence[Group], phase: PhaseConfig) -> list[Group]:
    """The groups that train: those with a gradable rollout, and, with `uniform_groups = "drop"`, with more than one reward."""
    drops_uniform = phase.algorithm.uniform_groups == "drop"
    gradable = [g for g in groups if any(grade is not Grade.UNGRADABLE for grade in g.grades)]
    admitted = [group for group in gradable if not (drops_uniform and group.is_uniform)]
    keeps_rows = phase.algorithm.truncated != "mask" or any(
        not r.response.is_truncated for g in admitted for r in g.rollouts
    )
    return admitted if keeps_rows else []


def describe_rollouts(groups: Sequence[Group]) -> dict[str, Any]:
    """The `rollouts/*` metrics of some groups: accuracy of gradable ones, shares and lengths by grade, rewards."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    gradable = [rollout for rollout in rollouts if rollout.grade is not Grade.UNGRADABLE]
    num_correct = sum(rollout.grade is Grade.CORRECT for rollout in gradable)
    return {
        "rollouts/accuracy_frac": num_correct / len(gradable) if gradable else None,
        "rollouts/mean_tokens": sum(rollout.num_tokens for rollout in rollouts) / len(rollouts),
        "rollouts/reward_mean": sum(rollout.reward for rollout in rollouts) / len(rollouts),
        "rollouts/uniform_groups_frac": sum(group.is_uniform for group in groups) / len(groups),
        **{f"rollouts/{g.value}_frac": sum(r.grade is g for r in rollouts) / len(rollouts) for g in GRADES},
        **{f"rollouts/{g.value}_tokens": mean_tokens(groups, g) for g in GRADES if g is not Grade.UNGRADABLE},
    }


def start(recipe: Recipe, out: Path, *, resume: bool, reporter: Reporter) -> Trainer:
    """A trainer over `out`, new or resumed. All input is checked before the directory is touched."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    check_recipe(recipe)
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: is not empty; expected a new folder, or --resume to go on with the run in it")
    sets = load_problem_sets(recipe)
    lm = load_model(recipe.model, recipe.policy)
    with Grader() as grader:
        solver = Solver(lm, LocalSampler(lm), grader, recipe.prompt)
        for phase in recipe.phases:
            field = f"phases.{phase.name}.sampler.max_tokens"
            solver.check_prompts([*sets.train, *sets.watch, *sets.report], phase.sampler.max_tokens, field)
    config = dump(recipe)
    directory = (
        RunDirectory.resume(out, config)
        if resume
        else RunDirectory.create(out, config, describe_environment(lm.device))
    )
    return Trainer(recipe, directory, lm, sets, reporter)


def measure_run(trainer: Trainer) -> dict[str, Any]:
    """Base and every phase's result on the reported set, at each temperature; comparison-<tag>.json for each.

    What was evaluated already is kept. Returns the comparisons by tag; empty without a reported set.
    """
    recipe, path = trainer.recipe, trainer.directory.path
    if not trainer.sets.report:
        return {}
    models = {"base": recipe.model} | {
        f"phase-{i}": str(trainer.directory.checkpoint_path(record.result_step)) if record.result_step else recipe.model
        for i, record in enumerate(trainer.finished, start=1)
    }
    cap = max(phase.sampler.max_tokens for phase in recipe.phases)
    with Grader(recipe.grader.workers, recipe.grader.timeout_seconds) as grader:
        for label, model in models.items():
            _evaluate_model(trainer, grader, label, model, cap)
    comparisons = {}
    for temperature in recipe.report.temperatures:
        tag = temperature_tag(temperature)
        folders = [path / "eval" / f"{label}-{tag}" for label in models]
        comparisons[tag] = compare_evaluations(folders[0], folders[1:], margin=recipe.report.margin, seed=recipe.seed)
        write_json_atomically(path / f"comparison-{tag}.json", comparisons[tag])
    return comparisons


def _evaluate_model(trainer: Trainer, grader: Grader, label: str, model: str, cap: int) -> None:
    recipe, path = trainer.recipe, trainer.directory.path
    folders = {t: path / "eval" / f"{label}-{temperature_tag(t)}" for t in recipe.report.temperatures}
    if all((folder / "summary.json").exists() for folder in folders.values()):
        return
    lm = load_model(model, recipe.policy.model_copy(update={"lora": None}))
    solver = Solver(lm, LocalSampler(lm), grader, recipe.prompt)
    batch_size = max(phase.sampler.batch_size for phase in recipe.phases)
    for temperature, folder in folders.items():
        decoding = SamplerConfig(temperature=temperature, max_tokens=cap, batch_size=batch_size)
        count = len(trainer.sets.report) * num_samples(recipe.report.samples, decoding)
        with trainer.reporter.bar(f"{label} at T={temperature:g}", count) as progress:
            evaluate(
                solver,
                trainer.sets.report,
                recipe.report.samples,
                decoding,
                folder,
                benchmark="report",
                seed=seed_of(recipe.seed, "report"),
                on_progress=progress,
            )


def temperature_tag(temperature: float) -> str:
    """How a folder names a temperature: "greedy", "t1", "t0.6".

    >>> temperature_tag(0.6)
    't0.6'
    """
    return "greedy" if temperature == 0 else f"t{temperature:g}"
