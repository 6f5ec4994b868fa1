"""Evaluates a recipe's model under a prompt, without training, in the same way as the result of a training run.

1. The base is evaluated under the recipe's own prompt in `eval/base-<tag>/`, or copied from a run that did.
2. The same model is evaluated under the entry's prompt in `eval/prompted-<tag>/`.
3. Both are compared, paired over problems, in `comparison-<tag>.json`, the same file as a training run has.

Left out: training. The models, problems, seeds, caps and numbers of samples are those of `training/measure_run.py`.
"""

import torch

from laconic.comparison.compare import compare_evaluations
from laconic.evaluation.folder_names import temperature_tag
from laconic.evaluation.planned_prompts import PLANNERS, longest_ask
from laconic.evaluation.shared_draws import SharedDraws
from laconic.models.loading import load_model
from laconic.problems.load import load_problems
from laconic.prompts.instructions import resolve_instruction
from laconic.rollouts.graders import open_grader
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.sweep.config import SweepRun
from laconic.system.files import write_json_atomically
from laconic.system.progress import Reporter
from laconic.training.measure_run import evaluate_reported, report_cap

PROMPTED = "prompted"


def check_entry_prompt(run: SweepRun) -> None:
    """Raises `InputError` if the prompt is neither a known name nor a text."""
    if run.entry.prompt is not None and run.entry.prompt not in PLANNERS:
        resolve_instruction(run.entry.prompt)


def measure_prompt(run: SweepRun, reporter: Reporter) -> None:
    """Evaluate base and prompt at each temperature, and compare them. Evaluations that exist already are kept."""
    recipe, instruction = run.recipe, run.entry.prompt
    assert recipe.problems.report is not None and instruction is not None, "runs_of and the caller saw to it"
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    problems = load_problems(recipe.problems.report, seed=recipe.seed)
    prompts = {"base": recipe.prompt, PROMPTED: recipe.prompt.model_copy(update={"instruction": instruction})}
    plain = recipe.policy.model_copy(update={"lora": None})
    with open_grader(recipe.grader) as grader:
        lm = load_model(recipe.model, plain, is_trained=False)
        for name, prompt in prompts.items():
            solver = Solver(lm, LocalSampler(lm), grader, prompt)
            solver.check_length(*longest_ask(solver, problems), report_cap(recipe), f"{run.entry.label}: max_tokens")
            held, draws = recipe.model_copy(update={"policy": plain}), SharedDraws(run.draws)
            evaluate_reported(solver, held, problems, run.folder, name, reporter, draws=draws)
    for temperature in recipe.report.temperatures:
        tag = temperature_tag(temperature)
        base, prompted = (run.folder / "eval" / f"{name}-{tag}" for name in prompts)
        comparison = compare_evaluations(base, [prompted], margin=recipe.report.margin)
        write_json_atomically(run.folder / f"comparison-{tag}.json", comparison.to_json())
