"""Puts another embedded reasoner into a sweep: its name as the model, and its problems in the place of those of `tiny`."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deciding.records import TINY

from laconic.config.load import dump, load_recipe
from laconic.errors import InputError
from laconic.reporting.read import read_phases
from laconic.sweep.config import Entry, SweepConfig, load_sweep, not_replaced, stored_sweep
from laconic.system.files import write_text_atomically
from laconic.training.checkpoint_files import step_name

FAMILIES = {"seeker": {"chain_sum": "inverse", "modular": "divisor"}}
"""By the name of a reasoner: which of its families stands for one of `tiny`'s, where a claim trains on one alone."""


def address_of(address: str, model: str) -> str:
    """The problems of `model` that stand for those of `tiny`.

    >>> address_of("tiny:mix?count=8&split=train", "seeker"), address_of("tiny:modular?count=8", "seeker")
    ('seeker:mix?count=8&split=train', 'seeker:divisor?count=8')
    """
    kind, colon, rest = address.partition(":")
    if kind != TINY or not colon or model == TINY:
        return address
    family, question, arguments = rest.partition("?")
    return f"{model}:{FAMILIES.get(model, {}).get(family, family)}{question}{arguments}"


def sweep_for(
    file: Path, model: str, seeds: Sequence[int], changes: Sequence[str], out: Path, arms: Sequence[str] = ()
) -> Path:
    """The sweep file to run: `file` itself, or, where something is changed, a copy of it in `out` with the changes in every
    entry, or only in the `arms` of these labels.

    With `seeds` it has these and the ones that its folder in `out` already holds. Raises `InputError` where an arm is not there.
    """
    if not (model != TINY or seeds or changes or arms):
        return file
    config, entries = load_sweep(file)
    if unknown := set(arms) - {entry.label for entry in entries}:
        raise InputError(f"--arms: {file} has no arm {min(unknown)!r}; it has {', '.join(e.label for e in entries)}")
    entries = [entry for entry in entries if not arms or entry.label in arms]
    held = stored_sweep(out / file.stem)["seeds"] if (out / file.stem / "sweep.json").exists() else []
    out.mkdir(parents=True, exist_ok=True)
    copy = out / f"{file.stem}.toml"
    wanted = sorted({*seeds, *held}) if seeds else config.seeds
    changed = [(entry, _changed(entry, model, changes)) for entry in entries]
    write_text_atomically(copy, "\n".join(sweep_lines(config, wanted, changed)) + "\n")
    return copy


def setup_of(file: Path) -> str:
    """A digest of everything that a sweep's arms are, without their seeds: figures under another digest are of another
    experiment."""
    recipes = {entry.label: dump(load_recipe(entry.path, entry.overrides)) for entry in load_sweep(file)[1]}
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()[:16]


def models_of(run: Path, start: str) -> list[str]:
    """What every phase of a finished run handed on: the folder of a checkpoint, or the start model where a phase was rolled back
    to its beginning."""
    steps = [int(phase["result_step"]) for phase in read_phases(run)]
    return [str(run / "checkpoints" / step_name(step)) if step else start for step in steps]


def sweep_lines(
    config: SweepConfig, seeds: Sequence[int], entries: Iterable[tuple[Entry, Sequence[str]]]
) -> Iterator[str]:
    """A sweep file in TOML, whose texts are written as in JSON: the entries with these overrides in the place of their own."""
    yield f"name = {json.dumps(config.name)}"
    yield f"seeds = {json.dumps(list(seeds))}"
    yield f"parallel = {config.parallel}"
    for entry, overrides in entries:
        recipe = entry.recipe if entry.recipe_name == entry.recipe else str(entry.path.resolve())
        yield "\n[[variants]]" if entry.prompt is None else "\n[[prompts]]"
        yield f"label = {json.dumps(entry.label)}"
        yield f"recipe = {json.dumps(recipe)}"
        yield from () if entry.prompt is None else (f"prompt = {json.dumps(entry.prompt)}",)
        yield f"overrides = {json.dumps(list(overrides))}"


def _changed(entry: Entry, model: str, changes: Sequence[str]) -> list[str]:
    """The entry's overrides, on another model and with changes."""
    own = not_replaced(_of_model(entry, model), changes) + tuple(changes)
    return [*not_replaced(entry.overrides, own), *own]


def _of_model(entry: Entry, model: str) -> list[str]:
    if model == TINY:
        return []
    problems = load_recipe(entry.path, entry.overrides).problems
    sources = {"train": problems.train, "watch": problems.watch, "report": problems.report}
    addresses = [f"problems.{name}={address_of(source, model)}" for name, source in sources.items() if source]
    return [f"model={model}", *addresses]
