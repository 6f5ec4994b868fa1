"""A finished run as it is published: its recipe, its phases, and what was measured of its result beside its base.

1. The run must be finished: each phase of its recipe is in phases.json, and `model/` is as it was written.
2. Its result must be measured: at each temperature of the recipe's report there are the evaluations of the base and of the last
   phase, and the comparison of the two. What is missing is refused in one line with the command that makes it.
3. Nothing is computed here: every figure is one that the run has stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.comparison.folders import read_summary
from laconic.comparison.places import SUMMARY, stands
from laconic.comparison.records import CandidateComparison, read_comparison
from laconic.config.load import with_defaults
from laconic.config.recipe import Recipe
from laconic.config.resumption import resume_command
from laconic.errors import RunError
from laconic.evaluation.figures import Summary
from laconic.evaluation.folder_names import temperature_tag
from laconic.reporting.data import Record
from laconic.reporting.read import read_phases
from laconic.system.checksums import damage_in
from laconic.system.files import read_json

MODEL_FOLDER = "model"


@dataclass(frozen=True, slots=True)
class MeasuredChange:
    """What was measured at one temperature: the base, the result, and the comparison of the two."""

    before: Summary
    after: Summary
    change: CandidateComparison


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """A run that can be published. `environment` is the content of its environment.json, `phases` that of phases.json."""

    path: Path
    recipe: Recipe
    environment: Record
    phases: tuple[Record, ...]
    changes: tuple[MeasuredChange, ...]

    @property
    def model(self) -> Path:
        """The folder of its result."""
        return self.path / MODEL_FOLDER


def read_measured_run(path: Path) -> MeasuredRun:
    """The run in the folder `path`. Raises `RunError`, one line, where it is not finished, not measured, or damaged."""
    if not (path / "config.json").is_file():
        raise RunError(f"{path}: no run here (no config.json); expected the folder of a finished laconic train")
    recipe = recipe_of(path)
    phases = read_phases(path)
    _check_finished(path, recipe, phases)
    temperatures = sorted(recipe.report.temperatures)
    changes = tuple(_change(path, len(phases), temperature_tag(temperature)) for temperature in temperatures)
    return MeasuredRun(path, recipe, read_json(path / "environment.json"), phases, changes)


def recipe_of(path: Path) -> Recipe:
    """The recipe of the run in the folder `path`. Raises `RunError` where its config.json is damaged."""
    file = path / "config.json"
    tree: dict[str, Any] = with_defaults(read_json(file))
    try:
        return Recipe.model_validate(tree)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{file}: is no recipe ({reason:.160}); put back a copy of it") from None


def _check_finished(path: Path, recipe: Recipe, phases: Sequence[Record]) -> None:
    if len(phases) < len(recipe.phases) or not (path / MODEL_FOLDER).is_dir():
        done = f"{len(phases)} of {len(recipe.phases)} phases"
        raise RunError(f"{path}: is not finished ({done}); go on with  {resume_command(path)}")
    if damage := damage_in(path / MODEL_FOLDER):
        raise RunError(f"{damage}; the run makes it again:  {resume_command(path)}")
    if recipe.problems.report is None:
        again = resume_command(path, "problems.report=PROBLEMS").removesuffix(" --accept-changes")
        raise RunError(f"{path}: nothing was measured, since its recipe has no problems.report; name some:  {again}")


def _change(path: Path, number: int, tag: str) -> MeasuredChange:
    before, after = (path / "eval" / f"{label}-{tag}" for label in ("base", f"phase-{number}"))
    comparison = path / f"comparison-{tag}.json"
    for needed in (before / SUMMARY, after / SUMMARY, comparison):
        if not stands(needed):
            raise RunError(f"{needed}: is missing, so its report was not measured; do it with  {resume_command(path)}")
    found = read_comparison(comparison).candidates
    ours = [candidate for candidate in found if Path(candidate.name).name == after.name]
    if not ours:
        raise RunError(f"{comparison}: says nothing of {after.name}; remove it, then  {resume_command(path)}")
    return MeasuredChange(read_summary(before), read_summary(after), ours[0])
