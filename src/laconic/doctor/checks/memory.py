"""Does every phase fit the device's memory?

1. A phase whose predicted peak exceeds the device's memory is an error. A phase whose peak comes so close that the prediction's
   own error could matter is a warning.
2. The peak after each remedy is predicted too, so that the remedies can be compared.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from laconic.config.load import dump, parse_recipe
from laconic.config.phase import PhaseConfig
from laconic.config.policy import LoraConfig
from laconic.config.recipe import Recipe
from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding
from laconic.doctor.memory_model import GIB
from laconic.errors import RecipeError
from laconic.models.loading import named_device
from laconic.training.batching import token_budget
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.recipe import check_recipe

TOLERANCE = 0.15  # predictions are tested to be within this share of the measured peak: docs/memory.md
NUM_REMEDIES = 3
SMALLER = 4  # by how much a remedy divides micro-batches and the sampler's batch


def check_memory(examined: Examined) -> Iterator[Finding]:
    """Does every phase's peak fit the device?"""
    needs = examined.needs(examined.recipe, examined.phases)
    for phase, need in zip(examined.phases, needs, strict=True):
        where, moment = f"phases.{phase.name}", need.peak
        needed = f"needs {_gib(moment.total)} ({moment.name})"
        if examined.room is None:
            yield Finding("warning", f"{needed}; the device does not say what it has", where)
            continue
        needed = f"{needed}, the device has {_gib(examined.room)}"
        if moment.total > examined.room:
            yield Finding("error", needed, where, _remedies(examined, phase.index, moment.total))
        elif moment.total * (1 + TOLERANCE) > examined.room:
            yield Finding("warning", f"{needed}: close", where, _remedies(examined, phase.index, moment.total))
        else:
            yield Finding("fine", needed, where)


def _remedies(examined: Examined, index: int, before: int) -> str:
    """Changes that lower the peak of phase `index`, `before` bytes, each with the peak it would leave, the smallest first."""
    after: dict[str, int] = {}
    for change, changed, phases in changed_recipes(examined.recipe, index):
        total = examined.needs(changed, phases)[index].peak.total
        if total < before:
            after[change] = total
    ranked = sorted(after, key=lambda change: after[change])[:NUM_REMEDIES]
    return "try " + ", or ".join(f"{c} ({_gib(after[c])})" for c in ranked) if ranked else "needs a larger device"


def changed_recipes(recipe: Recipe, index: int) -> Iterator[tuple[str, Recipe, Sequence[ResolvedPhase]]]:
    """Changes that may save memory, written as overrides, each with the changed recipe and its phases. Changes that make the
    recipe invalid are left out."""
    for changes in _candidates(recipe.phases[index], named_device(recipe.policy.device)):
        tree = dump(recipe)
        for key, value in changes.items():
            _put(tree["policy"] if key.startswith("policy.") else tree["phases"][index], key.split(".")[-2:], value)
        overrides = " ".join(f"{key}={str(value).lower()}" for key, value in changes.items())
        try:
            changed = parse_recipe(tree, overrides)
            phases = check_recipe(changed)
        except RecipeError:
            continue
        yield overrides, changed, phases


def _candidates(phase: PhaseConfig, device: torch.device) -> Iterator[dict[str, Any]]:
    """Sets of changes by dotted key: each change alone, and all of them together."""
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
    """Set `path` in a raw tree; missing tables on the way are made."""
    table, name = path
    if table == "policy":
        tree[name] = value
    else:
        tree[table] = (tree[table] or {}) | {name: value}


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
