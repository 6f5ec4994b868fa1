"""Doctor: what can be checked before the first GPU hour.

1. The recipe is checked as a dry run checks it, its problems and its model's shape are read.
2. Every row of `CHECKS` looks at that and yields findings: how bad, what, where, and what would mend it.
3. An error among them means that the run cannot succeed as written.

Memory: a phase whose predicted peak exceeds the device is an error; one that comes within the prediction's own error is a
warning. The remedies are predicted too, so that each comes with the peak it would leave.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from laconic.batching import token_budget
from laconic.config import LoraConfig, PhaseConfig, Recipe, dump, parse_recipe
from laconic.errors import RecipeError
from laconic.memory import GIB
from laconic.models import pick_device
from laconic.needs import (
    CUDA_CONTEXT_BYTES,
    Needs,
    Shape,
    Sources,
    find_shape,
    memory_table,
    outside_bytes,
    predict_needs,
    read_sources,
    resident_bytes,
)
from laconic.train import check_recipe

TOLERANCE = 0.15  # predictions are held to this share of the measured peak: docs/memory.md
NUM_REMEDIES = 3
SMALLER = 4  # by how much a remedy divides micro-batches and the sampler's batch


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: how bad it is, what, in which field, and what would mend it."""

    level: Literal["fine", "warning", "error"]
    what: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Examined:
    """A recipe with what was read for it. `room` is what its device has to give, in bytes; None where it does not say."""

    recipe: Recipe
    shape: Shape
    sources: Sources
    process_bytes: int
    room: int | None

    def needs(self, recipe: Recipe) -> list[Needs]:
        """The memory of `recipe`'s phases: this one, or one that was changed."""
        return predict_needs(recipe, self.shape, self.sources, self.process_bytes)


def examine(recipe: Recipe) -> Examined:
    """Read what the checks look at. Raises an `InputError` where the recipe, a problem file or the model is wrong."""
    check_recipe(recipe)
    sources, shape = read_sources(recipe), find_shape(recipe)
    return Examined(recipe, shape, sources, outside_bytes(recipe), device_room(pick_device(recipe.policy.device)))


def device_room(device: torch.device) -> int | None:
    """Bytes that a fresh process could take on `device`: what is free, and what this process holds of it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + CUDA_CONTEXT_BYTES
    if device.type != "cpu":
        return None
    return _free_memory() + resident_bytes()


def _free_memory() -> int:
    """Memory that can be had without swapping; where the system does not say, all there is."""
    table = Path("/proc/meminfo")
    if table.exists():
        lines = table.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# --- checks ----------------------------------------------------------------------------------------------------------


def check_memory(examined: Examined) -> Iterator[Finding]:
    """Does every phase's peak fit the device?"""
    for phase, need in zip(examined.recipe.phases, examined.needs(examined.recipe), strict=True):
        where, moment = f"phases.{phase.name}", need.peak
        needed = f"needs {_gib(moment.total)} ({moment.name})"
        if examined.room is None:
            yield Finding("warning", f"{needed}; the device does not say what it has", where)
            continue
        needed = f"{needed}, the device has {_gib(examined.room)}"
        if moment.total > examined.room:
            yield Finding("error", needed, where, _remedies(examined, phase))
        elif moment.total * (1 + TOLERANCE) > examined.room:
            yield Finding("warning", f"{needed}: close", where, _remedies(examined, phase))
        else:
            yield Finding("fine", needed, where)


CHECKS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (check_memory,)


def _remedies(examined: Examined, phase: PhaseConfig) -> str:
    """Changes that lower the phase's peak, each with the peak it would leave, the smallest first."""
    index = examined.recipe.phases.index(phase)
    before = examined.needs(examined.recipe)[index].peak.total
    after: dict[str, int] = {}
    for change, changed in _changed_recipes(examined.recipe, index):
        total = examined.needs(changed)[index].peak.total
        if total < before:
            after[change] = total
    ranked = sorted(after, key=lambda change: after[change])[:NUM_REMEDIES]
    return "try " + ", or ".join(f"{c} ({_gib(after[c])})" for c in ranked) if ranked else "needs a larger device"


def _changed_recipes(recipe: Recipe, index: int) -> Iterator[tuple[str, Recipe]]:
    """Changes that may save memory, written as overrides, with the recipe that has them; those it cannot have are left out."""
    for changes in _candidates(recipe.phases[index], pick_device(recipe.policy.device)):
        tree = dump(recipe)
        for key, value in changes.items():
            _put(tree["policy"] if key.startswith("policy.") else tree["phases"][index], key.split(".")[-2:], value)
        overrides = " ".join(f"{key}={str(value).lower()}" for key, value in changes.items())
        try:
            changed = parse_recipe(tree, overrides)
            check_recipe(changed)
        except RecipeError:
            continue
        yield overrides, changed


def _candidates(phase: PhaseConfig, device: torch.device) -> Iterator[dict[str, Any]]:
    """Sets of changes by dotted key: each alone, and the cheapest of everything."""
    here = f"phases.{phase.name}"
    checkpointing = {"policy.gradient_checkpointing": True}
    budget = token_budget(phase.optimizer, device)
    tokens = {f"{here}.optimizer.micro_batch_tokens": max(1, budget // SMALLER)}
    rows = {f"{here}.sampler.batch_size": max(1, phase.sampler.batch_size // SMALLER)}
    no_critic = {f"{here}.algorithm.critic": "zero"}
    lora = {"policy.lora.rank": LoraConfig().rank}
    yield from (checkpointing, tokens, rows, no_critic)
    yield lora | {f"{here}.algorithm.critic": "lora"}
    yield lora | no_critic
    yield lora | no_critic | checkpointing | tokens | rows


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set `path` in a raw tree; the table it is in is made where there is none."""
    table, name = path
    if table == "policy":
        tree[name] = value
    else:
        tree[table] = (tree[table] or {}) | {name: value}


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


# --- the program -----------------------------------------------------------------------------------------------------


def run_doctor(recipe: Recipe, console: Console) -> Sequence[Finding]:
    """Examine the recipe and print the memory it needs and every finding; returns the findings."""
    examined = examine(recipe)
    console.print(f"recipe {recipe.name}: model {recipe.model}", markup=False, highlight=False)
    console.print(memory_table(examined.needs(recipe)))
    findings = [finding for check in CHECKS for finding in check(examined)]
    for finding in findings:
        console.print(f"{finding.level}: {finding}", markup=False, highlight=False, soft_wrap=True)
    return findings
