"""The file that tells verl's processes which phase they serve: `phase.json` in the exported folder.

It holds the whole recipe, the name of the phase, and the tokens that end a response. The problems are beside it, in the
parquet files that verl reads too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from laconic.config.load import dump, parse_recipe
from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.integrations.verl.demands import why_grades
from laconic.problems.made_from_traffic import refuse_made
from laconic.rewards.from_recipe import reward_table
from laconic.rewards.table import Reward
from laconic.system.fields import Fields
from laconic.system.files import read_json, write_json_atomically

PHASE_FILE, TRAIN_FILE, WATCH_FILE = "phase.json", "train.parquet", "val.parquet"


@dataclass(frozen=True)
class ExportedPhase:
    """A phase of a recipe in an exported folder. `stop_ids` are the tokens that end a response of its model."""

    folder: Path
    recipe: Recipe
    name: str
    stop_ids: frozenset[int]

    @cached_property
    def phase(self) -> PhaseConfig:
        """The phase's part of the recipe."""
        return next(phase for phase in self.recipe.phases if phase.name == self.name)

    @cached_property
    def rewards(self) -> Mapping[str, Reward]:
        """Every reward term by name."""
        return reward_table(self.phase.rewards)

    @property
    def carries_grades(self) -> bool:
        """Whether verl carries each response's grade to the advantages, instead of its reward."""
        return why_grades(self.phase) is not None

    def write(self) -> None:
        """Write `phase.json`."""
        content: dict[str, Any] = {"recipe": dump(self.recipe), "phase": self.name, "stop_ids": sorted(self.stop_ids)}
        write_json_atomically(self.folder / PHASE_FILE, content)


def read_exported_phase(folder: Path) -> ExportedPhase:
    """The phase that `write` wrote. Raises an `InputError` that names the file if there is none, or it is wrong, and where a
    request of which the folder was made has been forgotten."""
    refuse_made(folder)
    file = folder / PHASE_FILE
    fields = Fields(read_json(file), str(file))
    recipe = parse_recipe(dict(fields.object("recipe").record), str(file))
    return ExportedPhase(folder, recipe, fields.text("phase"), frozenset(fields.integers("stop_ids")))
