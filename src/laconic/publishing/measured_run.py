"""A finished run as it is published: its recipe, its phases, and what was measured of its result beside its base.

1. The run must be finished: each phase of its recipe is in phases.json, and `model/` is as it was written.
2. Its result must be measured: at each temperature of the recipe's report there are the evaluations of the base and of the last
   phase. What is missing is refused in one line with the command that makes it.
3. Every figure is held against the stored responses: those of a summary are computed again from the responses beside it, the ends
   of intervals too, and the comparison is made again. So no figure is published that was written by hand.

What is left out: whether the responses were graded rightly, which `laconic audit` looks at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, isnan
from pathlib import Path
from typing import Any

from laconic.comparison.compare import compare_evaluations
from laconic.comparison.folders import check_evaluation, read_samples
from laconic.comparison.places import SUMMARY, stands
from laconic.comparison.records import CandidateComparison
from laconic.config.load import with_defaults
from laconic.config.recipe import Recipe
from laconic.config.resumption import resume_command
from laconic.errors import InputError, RunError
from laconic.evaluation.figures import Summary
from laconic.evaluation.folder_names import temperature_tag
from laconic.evaluation.summary import summarise
from laconic.reporting.data import Record
from laconic.reporting.read import read_phases
from laconic.statistics.intervals import Interval
from laconic.system.checksums import damage_in
from laconic.system.files import read_json

MODEL_FOLDER = "model"
CLOSE = 1e-6
"""How far a stored end of an interval may be from the computed one, absolutely and relatively."""


@dataclass(frozen=True, slots=True)
class MeasuredChange:
    """What was measured at one temperature: the base, the result, the comparison of the two, and the first question asked."""

    before: Summary
    after: Summary
    change: CandidateComparison
    question: str


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
    changes = tuple(_change(path, recipe, temperature_tag(temperature)) for temperature in temperatures)
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


def _change(path: Path, recipe: Recipe, tag: str) -> MeasuredChange:
    before, after = (path / "eval" / f"{label}-{tag}" for label in ("base", f"phase-{len(recipe.phases)}"))
    for needed in (before / SUMMARY, after / SUMMARY):
        if not stands(needed):
            raise RunError(f"{needed}: is missing, so its report was not measured; do it with  {resume_command(path)}")
    found = compare_evaluations(before, [after], margin=recipe.report.margin)
    question = next(read_samples(after)).question
    return MeasuredChange(_held(before), _held(after), found.candidates[0], question)


def _held(folder: Path) -> Summary:
    """The summary of an evaluation. Raises `InputError` where a figure is not the one that the responses beside it give, with
    intervals of length that end at the cap or, as older versions had them, may not."""
    summary = check_evaluation(folder)
    assert summary.setup.seed is not None, "every summary has it"
    again, older = (
        summarise(read_samples(folder), summary.setup.seed, cap=cap) for cap in (summary.setup.max_tokens, None)
    )
    for name in ("accuracy", "tokens"):
        told, computed = getattr(summary.figures, name), getattr(again, name)
        if told is not None and not (_is_same(told, computed) or _is_same(told, getattr(older, name))):
            raise InputError(
                f"{folder / SUMMARY}: the interval of {name} is {told.low:.6g} to {told.high:.6g}, but its samples have "
                f"{computed.low:.6g} to {computed.high:.6g}; remove the file, and evaluate again"
            )
    return summary


def _is_same(told: Interval, computed: Interval) -> bool:
    ends = ((told.low, computed.low), (told.high, computed.high))
    return all(
        (isnan(one) and isnan(other)) or isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE) for one, other in ends
    )
