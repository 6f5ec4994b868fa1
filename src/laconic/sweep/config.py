"""A sweep file: which recipes, variants and prompts are run at which seeds, as one list of runs.

1. `load_sweep` reads the TOML file. Each of its `recipes`, `[[variants]]` and `[[prompts]]` is an `Entry` with a label.
2. `runs_of` loads every entry's recipe at every seed, with its overrides, so that any mistake is reported in one line before a
   run begins. Runs are ordered seed by seed, so that all entries have their first seed before one has its second.
3. `begin_sweep` writes to `sweep.json` what the sweep's folder holds, and refuses a folder with other runs.

What is left out: grids. A sweep lists what it runs.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from laconic.config.difference import first_difference
from laconic.config.load import dump, load_recipe, parse_recipe
from laconic.config.node import Name, Processes, SeedNumber, Text, checked_name, first_mistake
from laconic.config.recipe import Recipe
from laconic.errors import InputError, RecipeError, RunError
from laconic.evaluation.folder_names import temperature_tag
from laconic.recipes.find import recipe_paths
from laconic.system.fields import Fields
from laconic.system.files import read_bytes, read_json, write_json_atomically
from laconic.system.locks import LOCK_FILE
from laconic.system.text import brief, parse_toml

DRAWS = ".draws"

_OWN_LABEL = re.compile(r"base|base of .*|.* · phase-\d+", re.DOTALL)
"""Rows of the table that are no entries: untrained bases and stages of runs."""


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VariantConfig(_Node):
    """A recipe under another label, with changes."""

    label: Text
    recipe: Text
    overrides: tuple[str, ...] = ()


class AskedConfig(_Node):
    """A prompt under which the model of `recipe` is evaluated in the same way as the recipe's result; nothing is trained."""

    label: Text
    prompt: Text
    recipe: Text
    overrides: tuple[str, ...] = ()


class SweepConfig(_Node):
    """A sweep file as it is written. `overrides` go to every run that has none of its own for the same key; `parallel` is the
    number of processes at a time."""

    name: Name
    seeds: Annotated[tuple[SeedNumber, ...], Field(min_length=1)]
    parallel: Processes = 1
    overrides: tuple[str, ...] = ()
    recipes: tuple[Text, ...] = ()
    variants: tuple[VariantConfig, ...] = ()
    prompts: tuple[AskedConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What is run at every seed. `recipe` is the text in the sweep file, `path` the file that it refers to; `prompt` is None if
    the recipe is trained."""

    label: str
    recipe: str
    path: Path
    overrides: tuple[str, ...] = ()
    prompt: str | None = None

    def runs_as(self, other: "Entry") -> bool:
        """Whether the other entry would have the same results, though their labels differ."""
        is_same = (self.path, self.prompt) == (other.path, other.prompt) and set(self.overrides) == set(other.overrides)
        return is_same and self.slug != other.slug

    @property
    def recipe_name(self) -> str:
        """The recipe as an argument of `laconic train`: its name, or its path from the working directory."""
        return self.recipe if recipe_paths().get(self.recipe) == self.path else str(self.path)

    @property
    def slug(self) -> str:
        """The label as a folder's name.

        >>> Entry("two_phase, no whitening", "", Path()).slug
        'two_phase-no-whitening'
        """
        return re.sub(r"[^A-Za-z0-9_.]+", "-", self.label).strip("-.").lower()


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One entry at one seed: its resolved recipe and its folder. `shared` is a folder of draws other than the sweep's own."""

    entry: Entry
    seed: int
    recipe: Recipe
    folder: Path
    shared: Path | None = None

    @property
    def name(self) -> str:
        """The run's name in messages: its label and its seed."""
        return f"{self.entry.label}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """The file of the run's output."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def draws(self) -> Path:
        """The folder in which runs share what the start model answered."""
        return self.shared or self.folder.parents[1] / DRAWS

    @property
    def tags(self) -> list[str]:
        """How files of the run name the temperatures of its report."""
        return [temperature_tag(temperature) for temperature in self.recipe.report.temperatures]

    @property
    def comparisons(self) -> list[Path]:
        """The comparison files that a finished run has, one per temperature."""
        return [self.folder / f"comparison-{tag}.json" for tag in self.tags]

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained and measured to its end."""
        return all(file.exists() for file in self.comparisons)

    @property
    def arguments(self) -> list[str]:
        """The arguments of `laconic train`; for a prompt they name the recipe whose settings are used."""
        return [str(self.entry.path), f"seed={self.seed}", *self.entry.overrides]


def load_sweep(path: Path) -> tuple[SweepConfig, list[Entry]]:
    """The sweep at `path` and its entries. Raises `InputError`, one line with file and field."""
    config = _parse(path)
    for index, override in enumerate(config.overrides):
        _check_override(override, f"{path}: overrides.{index}")
    entries = list(_entries(config, path))
    if not entries:
        raise InputError(f"{path}: expected recipes, [[variants]] or [[prompts]]; there is nothing to run")
    for entry in entries:
        if not entry.slug:
            raise InputError(f"{path}: label {entry.label!r}: expected a letter or a digit in it")
        if _OWN_LABEL.fullmatch(entry.label):
            raise InputError(
                f"{path}: label {brief(entry.label)}: the table has a row of its own of this name; expected another"
            )
        try:
            checked_name(entry.slug)
        except ValueError as error:
            raise InputError(f"{path}: label {brief(entry.label)}: {error}") from None
    for number, entry in enumerate(entries):
        if twin := next((other for other in entries[:number] if other.runs_as(entry)), None):
            raise InputError(
                f"{path}: label {entry.label!r}: runs what {twin.label!r} runs; expected another recipe, or overrides"
            )
    for what, values in (("seed", map(str, config.seeds)), ("label", (entry.slug for entry in entries))):
        twice = [value for value, times in Counter(values).items() if times > 1]
        if twice:
            raise InputError(f"{path}: {what} {twice[0]} occurs twice; each needs one of its own")
    return config, entries


def runs_of(config: SweepConfig, entries: Sequence[Entry], out: Path) -> list[SweepRun]:
    """Every entry at every seed, in the order in which they are started. Raises `InputError` if a recipe is wrong."""
    return [_run(entry, seed, out) for seed in config.seeds for entry in entries]


def _run(entry: Entry, seed: int, out: Path) -> SweepRun:
    try:
        recipe = load_recipe(entry.path, [f"seed={seed}", *entry.overrides])
    except RecipeError as error:
        raise RecipeError(f"{entry.label}: {error}") from None
    if not recipe.problems.report:
        raise RecipeError(f"{entry.label}: {entry.path}: problems.report: missing, but a sweep compares on it")
    return SweepRun(entry, seed, recipe, out / entry.slug / f"seed-{seed}")


# --- the file --------------------------------------------------------------------------------------------------------


def _parse(path: Path) -> SweepConfig:
    try:
        content = read_bytes(path)
    except InputError as error:
        raise InputError(f"{error}; expected a sweep in TOML") from None
    try:
        return SweepConfig.model_validate(parse_toml(content, str(path)))
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error, _KEYS)}") from None


_KEYS = sorted({name for node in _Node.__subclasses__() for name in node.model_fields})


def _entries(config: SweepConfig, path: Path) -> Iterator[Entry]:
    for index, recipe in enumerate(config.recipes):
        yield Entry(Path(recipe).stem, recipe, _find(recipe, path, f"recipes.{index}"), config.overrides)
    for field, node in _listed(config):
        for number, override in enumerate(node.overrides):
            _check_override(override, f"{path}: {field}.overrides.{number}")
        found = _find(node.recipe, path, f"{field}.recipe")
        prompt = node.prompt if isinstance(node, AskedConfig) else None
        overrides = not_replaced(config.overrides, node.overrides) + node.overrides
        yield Entry(node.label, node.recipe, found, overrides, prompt)


def not_replaced(shared: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """The `shared` overrides of which no key, nor a table around it, is set by one of an entry's `own`."""
    keys = [f"{override.partition('=')[0].strip()}." for override in own]
    return tuple(o for o in shared if not any(f"{o.partition('=')[0].strip()}.".startswith(key) for key in keys))


def _listed(config: SweepConfig) -> Iterator[tuple[str, VariantConfig | AskedConfig]]:
    yield from ((f"variants.{index}", node) for index, node in enumerate(config.variants))
    yield from ((f"prompts.{index}", node) for index, node in enumerate(config.prompts))


def _find(recipe: str, sweep: Path, field: str) -> Path:
    """A path relative to the sweep file, or the name of a recipe that comes with the package."""
    beside, known = sweep.parent / recipe, recipe_paths()
    if beside.is_file():
        return beside
    if recipe in known:
        return known[recipe]
    near = difflib.get_close_matches(recipe, known, n=3) or sorted(known)
    raise InputError(f"{sweep}: {field}: no recipe {recipe!r} (no file {beside}); near it: {', '.join(near)}")


def _check_override(override: str, where: str) -> None:
    key, equals, _ = override.partition("=")
    if not equals or not key:
        raise InputError(f"{where}: expected key=value, got {override!r}")
    if key.strip() == "seed":
        raise InputError(f"{where}: seeds are what `seeds` says, got {override!r}")


# --- what stands in a folder -----------------------------------------------------------------------------------------


def begin_sweep(out: Path, config: SweepConfig, runs: Sequence[SweepRun]) -> None:
    """Write to `sweep.json` what `out` will hold. Entries and seeds may be added to an existing sweep.

    Raises `RunError` if `out` holds runs that are not of this sweep, or an entry that has changed since its runs began.
    """
    file = out / "sweep.json"
    if not file.exists() and out.exists() and any(held.name != LOCK_FILE for held in out.iterdir()):
        raise RunError(f"{out}: is not empty and holds no sweep.json; expected a new folder or that of this sweep")
    content = sweep_content(config, runs)
    if file.exists():
        _refuse_others(out, stored_sweep(out), content)
    write_json_atomically(file, content)


def stored_sweep(out: Path) -> dict[str, Any]:
    """The content of sweep.json. Raises an `InputError` that names file and key where it is not as `sweep_content` makes it."""
    file = out / "sweep.json"
    fields = Fields(read_json(file), str(file))
    fields.text("name")
    fields.integers("seeds")
    for entry in fields.objects("entries"):
        entry.need(("overrides", "prompt"))
        for key in ("label", "folder", "recipe"):
            entry.text(key)
        entry.texts("overrides")
        entry.maybe("prompt", entry.text)
        entry.maybe("variant_of", entry.text)
        entry.object("config").object("problems").text("report")
        entry.object("config").object("report").numbers("temperatures")
    return dict(fields.record)


def sweep_content(config: SweepConfig, runs: Sequence[SweepRun]) -> dict[str, Any]:
    """The content of sweep.json: every entry with its resolved recipe, without the seed."""
    first = {run.entry.label: run for run in reversed(runs)}
    return {
        "name": config.name,
        "seeds": list(config.seeds),
        "entries": [
            {
                "label": run.entry.label,
                "folder": run.entry.slug,
                "recipe": run.entry.recipe_name,
                "overrides": list(run.entry.overrides),
                "prompt": run.entry.prompt,
                "variant_of": _variant_of(run.entry, [other.entry for other in first.values()], config),
                "config": _without_seed(run.recipe),
            }
            for run in sorted(first.values(), key=runs.index)
        ],
    }


def _variant_of(entry: Entry, entries: Sequence[Entry], config: SweepConfig) -> str | None:
    """The label under which the entry's recipe is run unchanged in the same sweep, or None."""
    plain = [e.label for e in entries if e.path == entry.path and e.overrides == config.overrides and e.prompt is None]
    return next((label for label in plain if label != entry.label), None) if entry.prompt is None else None


def _without_seed(recipe: Recipe) -> dict[str, Any]:
    return {key: value for key, value in dump(recipe).items() if key != "seed"}


def _refuse_others(out: Path, held: dict[str, Any], content: dict[str, Any]) -> None:
    if held["name"] != content["name"]:
        raise RunError(f"{out}: holds the sweep {held['name']!r}, not {content['name']!r}; choose another --out")
    entries = {entry["label"]: entry for entry in content["entries"]}
    for entry in held["entries"]:
        folder, now = out / entry["folder"], entries.get(entry["label"])
        if not any(folder.glob("seed-*/")):
            continue
        mend = f"choose another --out, or remove {folder}"
        if now is None:
            raise RunError(f"{out}: holds runs of {entry['label']!r}, which the sweep no longer has; {mend}")
        if change := _changed(entry, now):
            raise RunError(f"{folder}: {entry['label']!r} has changed since its runs began: {change}; {mend}")
        if lost := sorted(set(held["seeds"]) - set(content["seeds"])):
            raise RunError(f"{out}: holds seed {lost[0]}, which the sweep no longer has; {mend}")


def _changed(held: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The difference between two entries in words. Keys that recipes did not have at the time count as their defaults."""
    try:
        known = _without_seed(parse_recipe(dict(held["config"]), "sweep.json"))
    except RecipeError as error:  # the file of a reward has changed
        return str(error)
    found = first_difference({"prompt": held["prompt"]}, {"prompt": now["prompt"]})
    found = found or first_difference(known, now["config"])
    return found.sentence if found else None
