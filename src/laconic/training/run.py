"""Train: a recipe's phases, one after the other, as one resumable object.

1. `start` checks everything that can be checked before the run's directory is touched: recipe, problems, model, prompts.
2. `Trainer.train` runs the phases (`phase.py`); each hands its result step's weights to the next, the last one writes the
   run's `model/`.
3. `phases.json` lists finished phases. A phase that has a checkpoint of its own goes on from the newest; one that has none
   begins from the weights that the phase before it handed on. So a run that was killed anywhere ends, resumed, with the
   weights of an uninterrupted one: on a CPU, bit for bit.

Left out: measuring the result on the reported set, which chooses nothing (`measure_run.py`).
"""

from pathlib import Path

import torch

from laconic.config.load import dump
from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.errors import InputError, RecipeError, RunError
from laconic.grading.pool import Grader
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import MEMORY, memory_name
from laconic.models.policy import load_policy
from laconic.models.teachers import check_teacher
from laconic.problems.sets import load_problem_sets
from laconic.prompts.instructions import resolve_instruction
from laconic.rewards.from_recipe import reward_terms
from laconic.rewards.paying import check_terms, try_terms
from laconic.rollouts.solver import Solver
from laconic.rollouts.sources import check_source
from laconic.samplers.local import LocalSampler
from laconic.selection.rules import select
from laconic.system.files import read_json
from laconic.system.progress import Reporter
from laconic.training.algorithms import critic_kind, find_algorithm
from laconic.training.phase import NO_SELECTION, PhaseRun, Run
from laconic.training.phase_end import PhaseRecord, Verdict
from laconic.training.run_directory import Checkpoint, RunDirectory, check_is_new, describe_environment


def check_recipe(recipe: Recipe) -> None:
    """Everything about a recipe that needs no model. Raises `RecipeError` naming the field."""
    resolve_instruction(recipe.prompt.instruction)
    for phase in recipe.phases:
        check_source(phase)
        find_algorithm(phase)
        _check_prompts(phase)
        if phase.entry_share and (phase.end.patience is not None or phase.end.keep == "best"):
            raise RecipeError(
                f"phases.{phase.name}.entry_share: the average is taken after the phase's last step; expected no patience and "
                "keep = 'last'"
            )
        if phase.algorithm.critic == "lora" and critic_kind(phase) == "lora" and recipe.policy.lora is None:
            raise RecipeError(f"phases.{phase.name}.algorithm.critic: 'lora' needs [policy.lora]")
        if critic_kind(phase) == "lora" and recipe.policy.gradient_checkpointing:
            raise RecipeError(
                f"phases.{phase.name}.algorithm.critic: 'lora' shares layers whose activations would be recomputed with the "
                "policy's adapter; expected policy.gradient_checkpointing = false, or another critic"
            )
        try:
            check_terms(reward_terms(phase.rewards), folder=Path())
            try_terms(
                reward_terms(phase.rewards),
                Path(),
                max_tokens=phase.sampler.max_tokens,
                budget_tokens=phase.budget.high if phase.budget else None,
                has_reference=phase.rollouts == "offline" or phase.select.how != NO_SELECTION,
            )
            if phase.select.how != NO_SELECTION:
                select(phase.select.how, [], phase.select.count, 0, phase.select.options)
        except ValueError as error:
            raise RecipeError(f"phases.{phase.name}: {error}") from None


def _check_prompts(phase: PhaseConfig) -> None:
    """Raises `RecipeError` where a budget's or a reference's instruction is no name."""
    budget, told = phase.budget, phase.algorithm.reference_instruction
    asked = {
        "budget.prompt": f"{budget.prompt}:{budget.high}" if budget else None,
        "algorithm.reference_instruction": told,
    }
    for field, name in asked.items():
        try:
            resolve_instruction(name or "")
        except InputError as error:
            raise RecipeError(f"phases.{phase.name}.{field}: {error}") from None


class Trainer:
    """One run of a recipe in one directory. `train` starts it or takes it up where it stopped."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.finished = [PhaseRecord.from_json(record) for record in run.directory.phases()]

    def train(self) -> Path:
        """Train every phase that is not finished; returns the folder of the run's result."""
        with self.run.solver.grader:
            for index in range(len(self.finished), len(self.run.recipe.phases)):
                self.run_phase(index)
        return self.run.directory.path / "model"

    def run_phase(self, index: int) -> None:
        """Train phase `index` from its newest checkpoint, or from what the phase before it handed on, and record it."""
        last_step, entry_step = (
            (self.finished[-1].last_step, self.finished[-1].result_step) if self.finished else (0, 0)
        )
        checkpoint = self._own_checkpoint(index)
        if checkpoint is None and entry_step > 0:
            self._load_policy(entry_step)
        pinned = {record.result_step for record in self.finished}
        work = PhaseRun(self.run, index, entry_step=entry_step, last_step=last_step, pinned=pinned)
        if checkpoint is not None:
            work.restore(checkpoint)
        self.run.directory.forget_after(work.step)
        self._hand_on(work, work.train())

    def _own_checkpoint(self, index: int) -> Checkpoint | None:
        newest = self.run.directory.latest_checkpoint()
        if newest is None:
            return None
        checkpoint = self.run.directory.load_checkpoint(newest)
        return checkpoint if checkpoint.state["phase"] == index else None

    def _load_policy(self, step: int) -> None:
        """Put the policy's weights of a checkpoint back; step 0 is the model as loaded, which is loaded again."""
        if step > 0:
            tensors = self.run.directory.load_checkpoint(step).tensors
        else:
            tensors = load_policy(self.run.recipe, self.run.given).trainable_state()
        self.run.policy.load_trainable_state(tensors, roles=("policy",))

    def _hand_on(self, work: PhaseRun, verdict: Verdict) -> None:
        """The phase's result becomes the live policy, after the last phase also the run's model; then it is written down."""
        run, phase = self.run, work.phase
        run.reporter.say(f"{phase.name}: {verdict.reason}")
        if verdict.result_step != work.step:
            self._load_policy(verdict.result_step)
        if work.index == len(run.recipe.phases) - 1:
            run.policy.save(run.directory.path / "model")
        record = PhaseRecord(
            name=phase.name,
            algorithm=phase.algorithm.name,
            first_step=work.first_step,
            last_step=work.step,
            result_step=verdict.result_step,
            reason=verdict.reason,
            num_problems=len(work.problems),
            watches=tuple(work.watches),
        )
        self.finished.append(record)
        run.directory.write_phases([finished.to_json() for finished in self.finished])


def start(recipe: Recipe, out: Path, *, resume: bool, reporter: Reporter, given: CausalLM | None = None) -> Trainer:
    """A trainer over `out`, new or resumed. All input is checked before the directory is touched.

    `given` is a model in memory that is trained in the place of the recipe's; it is copied and stays as it is. The run's
    config.json then holds its name and a hash of its weights, and only with the same model is the run resumed.
    """
    if given is not None:
        recipe = recipe.model_copy(update={"model": memory_name(given)})
    if resume:
        _check_same_model(out, recipe.model)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    check_recipe(recipe)
    if not resume:
        check_is_new(out)
    sets = load_problem_sets(recipe)
    policy = load_policy(recipe, given)
    grader = Grader(recipe.grader.workers, recipe.grader.timeout_seconds)
    solver = Solver(policy.lm, LocalSampler(policy.lm), grader, recipe.prompt)
    for phase in recipe.phases:
        check_teacher(recipe, phase, policy.lm.tokenizer, next(iter(sets.train), None))
        field = f"phases.{phase.name}.sampler.max_tokens"
        solver.check_prompts([*sets.train, *sets.watch, *sets.report], phase.sampler.max_tokens, field)
    if sets.dropped_line:
        reporter.say(sets.dropped_line)
    config = dump(recipe)
    if resume:
        directory = RunDirectory.resume(out, config)
    else:
        directory = RunDirectory.create(out, config, describe_environment(policy.lm.device))
    return Trainer(Run(recipe, directory, policy, solver, sets, reporter, given))


def _check_same_model(out: Path, model: str) -> None:
    """Raises `RunError` where the run in `out` began from a model in memory, and `model` is another."""
    file = out / "config.json"
    began_from = str(read_json(file).get("model", "")) if file.is_file() else ""
    if began_from.startswith(MEMORY) and began_from != model:
        raise RunError(
            f"{out}: the run began from {began_from}, a model in memory, not from {model}; "
            "to resume it hand the same model to laconic.train(..., model=...)"
        )
