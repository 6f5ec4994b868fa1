"""Measures a run: evaluates the base and every phase's result on the report set, and compares each with the base.

1. Each model is evaluated at each of the recipe's temperatures, with the cap of its phases: `eval/<model>-<tag>/`. The base may
   be evaluated before training (`measure_base`), which gives the same files.
2. Each temperature has one comparison, paired over problems: `comparison-<tag>.json`.

A finished evaluation is kept, and an interrupted one resumes where it stopped. The base's may be another run's.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from laconic.comparison.compare import compare_evaluations
from laconic.comparison.records import Comparison
from laconic.config.recipe import Recipe
from laconic.config.solver import SamplerConfig
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.evaluation.figures import Summary
from laconic.evaluation.folder_names import temperature_tag
from laconic.evaluation.shared_draws import NOTHING_SHARED, SharedDraws
from laconic.grading.grader import AnyGrader
from laconic.models.loading import load_model
from laconic.models.policy import load_entry
from laconic.rng import seed_of
from laconic.rollouts.graders import open_grader
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.system.files import write_json_atomically
from laconic.system.progress import Reporter
from laconic.training.phase import Run
from laconic.training.phase_end import PhaseRecord
from laconic.training.run_directory import model_label
from laconic.types import Problem

OnSummary = Callable[[Summary], None]
"""Called with the summary of each evaluation as soon as it is there."""


def measure_base(run: Run, on_summary: OnSummary) -> None:
    """Evaluate the base on the report set as `measure_run` does, which then finds it done; the lowest temperature comes first."""
    with open_grader(run.recipe.grader) as grader:
        _evaluate_model(run, grader, model_label(0), run.recipe.model, on_summary)


def measure_run(run: Run, finished: Sequence[PhaseRecord]) -> dict[str, Comparison]:
    """Evaluate the base and every phase's result on the report set, at each temperature, and write comparison-<tag>.json for
    each.

    Returns the comparisons by tag; empty if there is no report set. Raises `RunError` if the checkpoint of a phase's result is
    damaged.
    """
    if not run.sets.report:
        return {}
    lock = run.directory.lock
    with run.team.holding_together():
        run.team.by_first(lock.take)
        try:
            return _measure(run, finished)
        finally:
            lock.release()


def _measure(run: Run, finished: Sequence[PhaseRecord]) -> dict[str, Comparison]:
    recipe, path, team = run.recipe, run.directory.path, run.team
    temperatures = recipe.report.temperatures
    steps = [0, *(record.result_step for record in finished)]
    labels = [model_label(number) for number in range(len(steps))]
    with open_grader(recipe.grader) as grader:
        for label, step in zip(labels, steps, strict=True):
            if not team.by_first(partial(run.directory.is_measured, label, temperatures)):
                _evaluate_model(run, grader, label, _model_after(run, step))
    tags = [temperature_tag(temperature) for temperature in temperatures]
    return team.by_first(lambda: {tag: _compare(recipe, path, labels, tag) for tag in tags})


def _compare(recipe: Recipe, path: Path, labels: Sequence[str], tag: str) -> Comparison:
    folders = [path / "eval" / f"{label}-{tag}" for label in labels]
    comparison = compare_evaluations(folders[0], folders[1:], margin=recipe.report.margin)
    write_json_atomically(path / f"comparison-{tag}.json", comparison.to_json())
    return comparison


def _model_after(run: Run, step: int) -> str:
    """The name of the model after `step`: the folder of its checkpoint, or that of the base."""
    if step == 0:
        return run.recipe.model
    run.team.by_first(lambda: run.directory.checkpoints.bookkeeping(step))  # raises if the checkpoint is damaged
    return str(run.directory.checkpoints.place(step))


def _evaluate_model(run: Run, grader: AnyGrader, label: str, model: str, on_summary: OnSummary | None = None) -> None:
    plain = run.recipe.policy.model_copy(update={"lora": None})
    recipe = run.recipe.model_copy(update={"policy": plain})
    is_base = model == recipe.model
    if is_base:
        lm = load_entry(recipe, plain, run.given, is_trained=False)
    else:
        lm = load_model(model, plain, is_trained=False)
    solver = Solver(lm, LocalSampler(lm), grader, recipe.prompt, run.team)
    draws = run.draws if is_base else NOTHING_SHARED
    evaluate_reported(solver, recipe, run.sets.report, run.directory.path, label, run.reporter, on_summary, draws)


def report_cap(recipe: Recipe) -> int:
    """The largest number of tokens of a response on the report set."""
    return recipe.report.max_tokens or max(phase.sampler.max_tokens for phase in recipe.phases)


def evaluate_reported(
    solver: Solver,
    recipe: Recipe,
    problems: Sequence[Problem],
    path: Path,
    label: str,
    reporter: Reporter,
    on_summary: OnSummary | None = None,
    draws: SharedDraws = NOTHING_SHARED,
) -> None:
    """Evaluate the report set at each of the recipe's temperatures, to `path`/eval/<label>-<tag>/, or copy it from `draws`. The
    lowest comes first: greedy decoding takes one response per problem, so it is done soonest."""
    batch_size = max(phase.sampler.batch_size for phase in recipe.phases)
    for temperature in sorted(recipe.report.temperatures):
        decoding = SamplerConfig(temperature=temperature, max_tokens=report_cap(recipe), batch_size=batch_size)
        request = EvaluationRequest("report", problems, recipe.report.samples, decoding, seed_of(recipe.seed, "report"))
        with reporter.bar(f"{label} at T={temperature:g}", request.num_responses) as progress:
            folder = path / "eval" / f"{label}-{temperature_tag(temperature)}"
            with draws.lending(recipe, solver, request, folder):
                summary = evaluate(solver, request, folder, on_progress=progress)
        if on_summary:
            on_summary(summary)
