"""The function `train`: trains a recipe, which may be a name, a file or an object."""

import sys
import warnings
from pathlib import Path

from laconic.config.load import dump, parse_recipe
from laconic.config.recipe import Recipe
from laconic.errors import InputError, LaconicWarning, Terminated
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import ModelSource
from laconic.notebook.results import ComparisonResult, TrainingResult, evaluation_in
from laconic.notebook.solvers import load_model
from laconic.parallel.place import check_alone
from laconic.recipes.find import find_recipe
from laconic.system.files import path_of
from laconic.system.progress import Reporter
from laconic.system.termination import INTERRUPTED, heeding_signals
from laconic.tracking.following import following, tracker_to_follow
from laconic.training.measure_run import measure_run
from laconic.training.run import start


def train(
    recipe: str | Path | Recipe,
    *changes: str,
    model: ModelSource | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    show_progress: bool = False,
    track: str | None = None,
) -> TrainingResult:
    """Train the recipe's phases and evaluate their results.

    `recipe` is a TOML file, a shipped recipe's name or a `Recipe`. `changes` are written as in the command, such as "seed=1".
    `model` replaces the recipe's model. A model in memory is copied and stays unchanged; the same model must be passed to resume
    the run. `out` is the run's folder (`runs/<name>` by default); with `resume` the run in it is continued, and with
    `accept_changes` too although rates, rewards or inputs have changed, which its environment.json then records. `track` names
    a tracker that is sent the metrics, such as "tensorboard"; a run that is resumed goes on in its own. What the recipe
    says in vain is a warning. Raises an `InputError` if an argument is wrong, before anything is written, and `RunFailed` if the
    work fails. It trains in one process, and is refused in one of several, which `torchrun -m laconic train` starts.

    SIGTERM ends the program with exit code 143. Ctrl-C, or a notebook's stop button, raises `KeyboardInterrupt` at the end of the
    step, and a second one at once. The last whole step is saved.
    """
    check_alone("laconic.train", "share it out with  torchrun -m laconic train , or unset WORLD_SIZE")
    changed = _recipe_of(recipe, changes, accept_changes)
    handed: CausalLM | None = None
    if isinstance(model, str | Path):
        changed = changed.model_copy(update={"model": str(model)})
    elif model is not None:
        handed = load_model(model)
    folder = path_of(out, "out") if out is not None else Path("runs") / changed.name
    tracker = tracker_to_follow(track, folder, resume=resume)
    reporter = Reporter(is_silent=not show_progress)
    try:
        with heeding_signals(lambda: "go on with resume=True"):
            trainer = start(
                changed, folder, resume=resume, reporter=reporter, given=handed, accept_changes=accept_changes
            )
            if not show_progress:  # else the reporter has said them
                for found in trainer.warnings:
                    warnings.warn(str(found), stacklevel=2)
            with following(folder, tracker, lambda line: warnings.warn(line, LaconicWarning, stacklevel=2)):
                trained = trainer.train()
                comparisons = measure_run(trainer.run, trainer.finished)
    except Terminated as error:
        print(f"laconic: {error}", file=sys.stderr)
        if error.exit_code == INTERRUPTED:
            raise KeyboardInterrupt from None
        sys.exit(error.exit_code)
    return TrainingResult(
        folder=folder,
        model=trained,
        evaluations={path.parent.name: evaluation_in(path.parent) for path in _summaries(folder)},
        comparisons={tag: ComparisonResult(found) for tag, found in comparisons.items()},
    )


def _recipe_of(recipe: str | Path | Recipe, changes: tuple[str, ...], accept_changes: bool) -> Recipe:
    if not isinstance(recipe, Recipe):
        return find_recipe(recipe, changes, accept_changes=accept_changes)
    if changes:
        raise InputError(f"{changes[0]}: changes are for a recipe's file or name; change a Recipe with model_copy")
    return parse_recipe(dump(recipe), "recipe")  # model_copy checks nothing


def _summaries(folder: Path) -> list[Path]:
    return sorted(folder.glob("eval/*/summary.json"))
