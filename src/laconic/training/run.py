"""The program `train`: trains a recipe's phases, one after the other, as one resumable object.

1. `start` checks everything that can be checked before the run's directory is touched: recipe, problems, model, prompts.
2. `Trainer.train` runs the phases (`phase.py`). Each hands the weights of its result step to the next, and the last one writes
   the run's `model/`.
3. `phases.json` lists finished phases. A phase that has a checkpoint of its own continues from the newest; one that has none
   begins from the weights that the phase before it handed on. So a run that was killed anywhere and resumed ends with the weights
   of an uninterrupted run; on a CPU they are the same bit for bit.
4. A run is resumed with the recipe and the inputs with which it began: model, prompts, problems. What may change nevertheless is
   listed in `config/resumption.py`. Templates that write the date write that of the run's first day.

Left out: measuring the result on the report set, which chooses nothing (`measure_run.py`).
"""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from laconic.config.load import dump
from laconic.config.recipe import Recipe
from laconic.config.resumption import check_acceptance
from laconic.config.sense.complaints import Complaint
from laconic.errors import RunError
from laconic.evaluation.shared_draws import NOTHING_SHARED, SharedDraws
from laconic.models.causal_lm import CausalLM
from laconic.models.environment import describe_environment
from laconic.models.held_files import digests_of
from laconic.models.loading import MEMORY, memory_name
from laconic.models.policy import Policy, load_policy
from laconic.models.products.product_path import keep_product_path
from laconic.models.teachers import check_teacher, try_teacher
from laconic.parallel.team import ALONE, Team
from laconic.problems.made_from_traffic import note_made, note_models, refuse_made, refuse_models
from laconic.problems.sets import ProblemSets, load_problem_sets, statements_digest
from laconic.prompts.day import DAY, keep_day, kept_day, known_day, today
from laconic.rollouts.graders import open_grader
from laconic.rollouts.solver import Assignment, Solver
from laconic.samplers.vllm.engines import Engines
from laconic.selection.pool import needs_probe
from laconic.system.progress import Reporter
from laconic.training.check.context import check_caps
from laconic.training.check.model import complaints_about_adapters
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.problems import complaints_about_solutions
from laconic.training.check.recipe import check_recipe, warnings_about
from laconic.training.checkpoint_files import Checkpoint
from laconic.training.checkpoints import Checkpoints, lost_files
from laconic.training.phase import PhaseRun, Run
from laconic.training.phase_end import Ending
from laconic.training.run_directory import Circumstances, RunDirectory, check_is_new
from laconic.training.time_left import Clock, plan_of


class Trainer:
    """One run of a recipe in one directory. `train` starts it, or resumes it where it stopped. `warnings` are what its recipe and
    problems say in vain."""

    def __init__(self, run: Run, warnings: Sequence[Complaint]) -> None:
        self.run, self.warnings = run, tuple(warnings)
        self.finished = run.checkpoints.finished()

    @property
    def step(self) -> int:
        """The step after which the run goes on."""
        begun = self.run.checkpoints.newest_step(len(self.finished))
        return begun or max((record.last_step for record in self.finished), default=0)

    def train(self) -> Path:
        """Train every phase that is not finished; returns the folder of the run's result.

        Raises `RunFailed` where training diverges or the disk refuses, and `Terminated` on a signal, where the caller heeds it.
        The run can be resumed after any of them.
        """
        run = self.run
        with run.directory.lock, run.solver.grader, closing(run.sampler), run.team.holding_together():
            unfinished = range(len(self.finished), len(self.run.phases))
            for index in unfinished:
                self.run_phase(index)
            if not unfinished:
                self._mend_result()
        return self.run.directory.path / "model"

    def run_phase(self, index: int) -> None:
        """Train phase `index` from its newest checkpoint, or from the weights that the phase before handed on, and record it."""
        entry_step = self.finished[-1].result_step if self.finished else 0
        checkpoint = self.run.checkpoints.newest(index)
        team = self.run.team
        lost = [] if checkpoint is None else team.by_first(lambda: self._lost_files(index, checkpoint))
        lacks_files = team.by_first(lambda: self._lacks_files(index))
        needs_entry = checkpoint is None or lost or lacks_files or self.run.phases[index].compares_with_entry
        if entry_step > 0 and needs_entry:
            self.run.checkpoints.return_to(entry_step)
        work = PhaseRun(self.run, index, self.finished)
        if checkpoint is not None:
            work.restore(checkpoint)
        if damage := self.run.directory.forget_after(work.step, self.run.checkpoints.log_digest(work.step)):
            self.run.reporter.say(damage)
        self._hand_on(work, work.train())

    def _lacks_files(self, index: int) -> bool:
        """Whether the phase is yet to make a file that it makes from the model that enters it."""
        phase, folder = self.run.phases[index].config, self.run.phase_folder(index)
        made = {"probe.jsonl": needs_probe(phase), "offline.jsonl": phase.rollouts == "offline"}
        return any(is_made and not (folder / name).is_file() for name, is_made in made.items())

    def _lost_files(self, index: int, checkpoint: Checkpoint) -> list[Path]:
        """The files of the phase that are missing, or not as they were when the checkpoint was taken. They are removed, so that
        they are made again from the model that enters the phase."""
        lost = lost_files(self.run.phase_folder(index), checkpoint.state.get("files", {}))
        for file in lost:
            self.run.reporter.say(f"{file}: is damaged or missing; it is made again")
            file.unlink(missing_ok=True)
        return lost

    def _hand_on(self, work: PhaseRun, ending: Ending) -> None:
        """Load the phase's result into the policy, save it as the run's model after the last phase, and record the phase."""
        run = self.run
        run.reporter.say(f"{work.phase.name} is over: {ending.reason}")
        if ending.result_step != work.step:
            run.checkpoints.return_to(ending.result_step)
        if work.phase is run.phases[-1]:
            run.directory.save_result(run.policy.save)
        self.finished.append(work.record(ending))
        run.directory.write_phases([finished.to_json() for finished in self.finished])

    def _mend_result(self) -> None:
        """Write the model of a finished run again if it is damaged."""
        run = self.run
        if damage := run.team.by_first(run.directory.damage_of_result):
            run.reporter.say(f"{damage}; the model is written again")
            run.checkpoints.return_to(self.finished[-1].result_step)
            run.directory.save_result(run.policy.save)


def start(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool,
    reporter: Reporter,
    given: CausalLM | None = None,
    accept_changes: bool = False,
    team: Team = ALONE,
    draws: SharedDraws = NOTHING_SHARED,
) -> Trainer:
    """A trainer over `out`, new or resumed. All input is checked before the directory is touched, but for its lock.

    `given` is a model in memory that is trained in place of the recipe's. It is copied and stays unchanged. The run's config.json
    then holds its name and a hash of its weights, and the run can only be resumed with the same model. With `accept_changes` a
    run is resumed in spite of changes to rates, rewards and inputs, which are recorded in its environment.json. What the start
    model answers is shared through `draws`. Every process of a `team` calls this with the same arguments.
    """
    check_acceptance(resume=resume, accept_changes=accept_changes)
    if given is not None:
        recipe = recipe.model_copy(update={"model": memory_name(given)})
    config = dump(recipe)
    with ExitStack() as undo:
        directory = None
        if resume:
            _check_same_model(out, recipe.model)
            directory = RunDirectory.resume(out, config, accept_changes=accept_changes, team=team)
            undo.callback(directory.lock.release)
            _keep_products(directory)
        keep_day(team.by_first(lambda: _first_day(directory)))
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        phases = check_recipe(recipe)
        if directory is None:
            team.by_first(lambda: check_is_new(out))
        sets = load_problem_sets(recipe)
        whole = load_policy(recipe, given)
        sampler = Engines(whole, out)
        solver = Solver(
            whole.lm,
            sampler,
            open_grader(recipe.grader),
            recipe.prompt,
            team,
        )
        unfinished = phases[directory.num_finished() if directory else 0 :]
        models = team.by_first(lambda: _unforgotten(recipe, unfinished, out))
        _check_prompts(recipe, unfinished, solver, sets)
        _connect(sampler, unfinished, team)
        warnings = warnings_about(recipe, phases, sets.train)
        warnings += complaints_about_solutions(unfinished, solver, whole.lm, sets.train)
        warnings += complaints_about_adapters(recipe, whole.lm.model)
        for warning in warnings:
            reporter.say(f"warning: {warning}")
        if sets.dropped_line:
            reporter.say(sets.dropped_line)
        inputs = team.by_first(lambda: _inputs(solver, sets) | _models(recipe, unfinished, given))
        now = Circumstances(inputs, describe_environment(whole.lm.device))
        if directory is None:
            begun = {**now.environment, DAY: kept_day(), "inputs": now.inputs}
            directory = RunDirectory.create(out, config, begun, team)
            undo.callback(directory.lock.release)
        team.by_first(lambda: _note(out, sets, models))
        num_weights = sum(weight.numel() for weight in whole.lm.model.parameters())
        policy = _spread_over(team, whole)
        checkpoints = Checkpoints(recipe, phases, directory, policy, reporter.say, given)
        clock = Clock(replace(plan_of(recipe, sets), num_weights=num_weights))
        reporter.on_sampled = clock.sampled
        run = Run(recipe, phases, directory, checkpoints, policy, solver, sampler, sets, reporter, clock, given, draws)
        trainer = Trainer(run, warnings)
        if resume:
            step = trainer.step
            for change in directory.take_up(step, config, now, accept_changes=accept_changes):
                reporter.say(f"from step {step} on, as environment.json records: {change}")
        undo.pop_all()
        return trainer


def _connect(sampler: Engines, phases: Sequence[ResolvedPhase], team: Team) -> None:
    """Ask the servers that the phases name, by the first process alone; a signal may end the wait for one."""

    def connect(own: Sequence[Sequence[ResolvedPhase]]) -> list[None]:
        for whole in own:
            sampler.connect([phase.config.sampler for phase in whole])
        return [None for _ in own]

    team.share_out([phases], connect)


def _spread_over(team: Team, whole: Policy) -> Policy:
    """The policy that is trained: in one process the whole one, which draws responses too."""
    if team.size == 1:
        return whole
    from laconic.models.sharded_policy import ShardedPolicy

    return ShardedPolicy(whole, team)


def _check_prompts(recipe: Recipe, phases: Sequence[ResolvedPhase], solver: Solver, sets: ProblemSets) -> None:
    """Raises an `InputError` that names the field if a teacher cannot teach, or a prompt and its cap exceed the context."""
    for phase in phases:
        check_teacher(
            phase.config,
            solver.lm.tokenizer,
            next(iter(sets.train), None),
            student=recipe.model,
            policy=recipe.policy,
            prompt=recipe.prompt,
        )
    for name, field in {p.teacher: p.field_of_teacher for p in phases if p.teacher}.items():
        try_teacher(name, recipe.policy, field)
    check_caps(recipe, phases, solver, [*sets.train, *sets.watch, *sets.report])


def _inputs(solver: Solver, sets: ProblemSets) -> dict[str, Any]:
    """Digests of what a run reads: some of the model's weights, its first prompt, and its problems."""
    prompt_ids = solver.request(Assignment(sets.train[0], 1)).prompt_ids
    problems = {"train": sets.train, "watch": sets.watch, "report": sets.report}
    return {
        "model": solver.lm.fingerprint(),
        "problems": {name: statements_digest(found) for name, found in problems.items()},
        "prompt": hashlib.blake2b(str(prompt_ids).encode(), digest_size=8).hexdigest(),
    }


def _models(recipe: Recipe, phases: Sequence[ResolvedPhase], given: CausalLM | None) -> dict[str, Any]:
    """Digests of the files of the model that is trained, and of the teachers of the `phases`, by the number of the phase."""
    files = {"files": digests_of(recipe.model)} if given is None else {}
    return files | {"teachers": {str(p.index + 1): digests_of(p.teacher) for p in phases if p.teacher}}


def _unforgotten(recipe: Recipe, phases: Sequence[ResolvedPhase], out: Path) -> list[str]:
    """The models that the `phases` start from and learn from. Raises `ProblemsError` where one of them, or the run that is
    resumed, was made of a forgotten request."""
    models = [recipe.model, *(phase.teacher for phase in phases if phase.teacher)]
    refuse_models(models)
    refuse_made(out)
    return models


def _note(out: Path, sets: ProblemSets, models: Sequence[str]) -> None:
    """Note of which stored traffic the run is made: that of its problems, and what the models were made of."""
    note_made(out, [*sets.train, *sets.watch, *sets.report])
    note_models(out, models)


def _keep_products(directory: RunDirectory) -> None:
    """Let matrix products take the path that the run was begun with, whatever this machine would choose now. Runs that state none
    took `onednn`."""
    keep_product_path(str(directory.environment().get("products", "onednn")))


def _first_day(directory: RunDirectory | None) -> str:
    """The day of the run's prompts: that on which it began. Runs of an older version state none."""
    stored = {} if directory is None else directory.environment()
    return known_day(stored[DAY], str(directory.path / "environment.json")) if directory and DAY in stored else today()


def _check_same_model(out: Path, model: str) -> None:
    """Raises `RunError` if the run in `out` began from a model in memory that is not `model`."""
    began_from = str(RunDirectory(out).config().get("model", ""))
    if began_from.startswith(MEMORY) and began_from != model:
        raise RunError(
            f"{out}: the run began from {began_from}, a model in memory, not from {model}; "
            "to resume it hand the same model to laconic.train(..., model=...)"
        )
