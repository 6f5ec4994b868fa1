"""The program `train`: trains a recipe's phases, one after the other, as one resumable object.

1. `start` checks everything that can be checked before the run's directory is touched: recipe, problems, model, prompts.
2. `Trainer.train` runs the phases (`phase.py`). Each hands the weights of its result step to the next, and the last one writes
   the run's `model/`.
3. `phases.json` lists finished phases. A phase that has a checkpoint of its own continues from the newest; one that has none
   begins from the weights that the phase before it handed on. So a run that was killed anywhere and resumed ends with the weights
   of an uninterrupted run; on a CPU they are the same bit for bit.

Left out: measuring the result on the report set, which chooses nothing (`measure_run.py`).
"""

from pathlib import Path

import torch

from laconic.config.load import dump
from laconic.config.recipe import Recipe
from laconic.errors import RunError
from laconic.grading.grader import Grader
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import MEMORY, memory_name
from laconic.models.policy import load_policy
from laconic.models.product_path import keep_product_path
from laconic.models.teachers import check_teacher
from laconic.problems.sets import load_problem_sets
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.system.files import read_json
from laconic.system.progress import Reporter
from laconic.training.check import check_caps, check_recipe, warnings_about
from laconic.training.checkpoints import Checkpoints
from laconic.training.phase import PhaseRun, Run
from laconic.training.phase_end import Ending, PhaseRecord
from laconic.training.run_directory import RunDirectory, check_is_new, describe_environment
from laconic.training.time_left import Clock, plan_of


class Trainer:
    """One run of a recipe in one directory. `train` starts it, or resumes it where it stopped."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.finished = [PhaseRecord.from_json(record) for record in run.directory.phases()]

    def train(self) -> Path:
        """Train every phase that is not finished; returns the folder of the run's result."""
        with self.run.solver.grader:
            for index in range(len(self.finished), len(self.run.phases)):
                self.run_phase(index)
        return self.run.directory.path / "model"

    def run_phase(self, index: int) -> None:
        """Train phase `index` from its newest checkpoint, or from the weights that the phase before handed on, and record it."""
        last_step, entry_step = (
            (self.finished[-1].last_step, self.finished[-1].result_step) if self.finished else (0, 0)
        )
        checkpoint = self.run.checkpoints.newest(index)
        if checkpoint is None and entry_step > 0:
            self.run.checkpoints.return_to(entry_step)
        pinned = {record.result_step for record in self.finished}
        work = PhaseRun(self.run, index, entry_step=entry_step, last_step=last_step, pinned=pinned)
        if checkpoint is not None:
            work.restore(checkpoint)
        self.run.directory.forget_after(work.step)
        self._hand_on(work, work.train())

    def _hand_on(self, work: PhaseRun, ending: Ending) -> None:
        """Load the phase's result into the policy, save it as the run's model after the last phase, and record the phase."""
        run = self.run
        run.reporter.say(f"{work.phase.name} is over: {ending.reason}")
        if ending.result_step != work.step:
            run.checkpoints.return_to(ending.result_step)
        if work.phase is run.phases[-1]:
            run.policy.save(run.directory.path / "model")
        self.finished.append(work.record(ending))
        run.directory.write_phases([finished.to_json() for finished in self.finished])


def start(recipe: Recipe, out: Path, *, resume: bool, reporter: Reporter, given: CausalLM | None = None) -> Trainer:
    """A trainer over `out`, new or resumed. All input is checked before the directory is touched.

    `given` is a model in memory that is trained in place of the recipe's. It is copied and stays unchanged. The run's config.json
    then holds its name and a hash of its weights, and the run can only be resumed with the same model.
    """
    if given is not None:
        recipe = recipe.model_copy(update={"model": memory_name(given)})
    if resume:
        _check_same_model(out, recipe.model)
        _keep_products(out)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    phases = check_recipe(recipe)
    if not resume:
        check_is_new(out)
    sets = load_problem_sets(recipe)
    warnings = warnings_about(recipe, phases, sets.train)
    policy = load_policy(recipe, given)
    grader = Grader(recipe.grader.workers, recipe.grader.timeout_seconds)
    solver = Solver(policy.lm, LocalSampler(policy.lm), grader, recipe.prompt)
    for phase in recipe.phases:
        check_teacher(
            phase,
            policy.lm.tokenizer,
            next(iter(sets.train), None),
            student=recipe.model,
            policy=recipe.policy,
            prompt=recipe.prompt,
        )
    check_caps(recipe, phases, solver, [*sets.train, *sets.watch, *sets.report])
    for warning in warnings:
        reporter.say(f"warning: {warning}")
    if sets.dropped_line:
        reporter.say(sets.dropped_line)
    config = dump(recipe)
    if resume:
        directory = RunDirectory.resume(out, config)
    else:
        directory = RunDirectory.create(out, config, describe_environment(policy.lm.device))
    checkpoints, clock = Checkpoints(recipe, directory, policy, given), Clock(plan_of(recipe, sets))
    reporter.on_sampled = clock.sampled
    return Trainer(Run(recipe, phases, directory, checkpoints, policy, solver, sets, reporter, clock, given))


def _keep_products(out: Path) -> None:
    """Let matrix products take the path that the run in `out` was begun with, whatever this machine would choose now."""
    if path := RunDirectory(out).products():
        keep_product_path(path)


def _check_same_model(out: Path, model: str) -> None:
    """Raises `RunError` if the run in `out` began from a model in memory that is not `model`."""
    file = out / "config.json"
    began_from = str(read_json(file).get("model", "")) if file.is_file() else ""
    if began_from.startswith(MEMORY) and began_from != model:
        raise RunError(
            f"{out}: the run began from {began_from}, a model in memory, not from {model}; "
            "to resume it hand the same model to laconic.train(..., model=...)"
        )
