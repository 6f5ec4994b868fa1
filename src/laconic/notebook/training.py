"""The function `train`: trains a recipe, which may be a name, a file or an object."""

import warnings
from pathlib import Path

from laconic.config.load import dump, parse_recipe
from laconic.config.recipe import Recipe
from laconic.errors import InputError
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import ModelSource
from laconic.notebook.results import ComparisonResult, TrainingResult, evaluation_in
from laconic.notebook.solvers import load_model
from laconic.recipes.find import find_recipe
from laconic.system.progress import Reporter
from laconic.training.check import warnings_about
from laconic.training.measure_run import measure_run
from laconic.training.run import start


def train(
    recipe: str | Path | Recipe,
    *changes: str,
    model: ModelSource | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    show_progress: bool = False,
) -> TrainingResult:
    """Train the recipe's phases and evaluate their results.

    `recipe` is a TOML file, a shipped recipe's name or a `Recipe`. `changes` are written as in the command, such as "seed=1".
    `model` replaces the recipe's model. A model in memory is copied and stays unchanged; the same model must be passed to resume
    the run. `out` is the run's folder (`runs/<name>` by default); with `resume` the run in it is continued. What the recipe says
    in vain is a warning. Raises an `InputError` if an argument is wrong, before anything is written.
    """
    changed = _recipe_of(recipe, changes)
    handed: CausalLM | None = None
    if isinstance(model, str | Path):
        changed = changed.model_copy(update={"model": str(model)})
    elif model is not None:
        handed = load_model(model)
    folder = Path(out) if out is not None else Path("runs") / changed.name
    reporter = Reporter(is_silent=not show_progress)
    trainer = start(changed, folder, resume=resume, reporter=reporter, given=handed)
    if not show_progress:  # else the reporter has said them
        for found in warnings_about(changed, trainer.run.phases, trainer.run.sets.train):
            warnings.warn(str(found), stacklevel=2)
    trained = trainer.train()
    comparisons = measure_run(trainer.run, trainer.finished)
    return TrainingResult(
        folder=folder,
        model=trained,
        evaluations={path.parent.name: evaluation_in(path.parent) for path in _summaries(folder)},
        comparisons={tag: ComparisonResult(found) for tag, found in comparisons.items()},
    )


def _recipe_of(recipe: str | Path | Recipe, changes: tuple[str, ...]) -> Recipe:
    if not isinstance(recipe, Recipe):
        return find_recipe(recipe, changes)
    if changes:
        raise InputError(f"{changes[0]}: changes are for a recipe's file or name; change a Recipe with model_copy")
    return parse_recipe(dump(recipe), "recipe")  # model_copy checks nothing


def _summaries(folder: Path) -> list[Path]:
    return sorted(folder.glob("eval/*/summary.json"))
