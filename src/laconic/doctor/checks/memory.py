"""Does every phase fit the device's memory?

1. A phase whose predicted peak exceeds the device's memory is an error. A phase whose peak comes so close that the prediction's
   own error could matter is a warning.
2. The peak after each remedy is predicted too. Remedies are tried from the gentlest on: first measuring the report afterwards,
   then those that change only speed, then adapters and the critic, which change what is learnt. Those that fit are named; if none
   does, those that need least.
3. `fit_lines` says the same of a GPU that is only named, for the dry run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from laconic.config.load import dump, parse_recipe
from laconic.config.phase import PhaseConfig
from laconic.config.policy import LoraConfig
from laconic.config.recipe import Recipe
from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding
from laconic.doctor.gpus import find_gpu
from laconic.doctor.memory_model import GIB
from laconic.doctor.memory_needs import Needs
from laconic.doctor.spread import ONE_GPU, GpuSpread
from laconic.errors import RecipeError
from laconic.models.loading import named_device
from laconic.training.batching import token_budget
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.recipe import check_recipe

TOLERANCE = 0.15  # predictions are tested to be within this share of the measured peak: docs/memory.md
NUM_REMEDIES = 3
SMALLER = 4  # by how much a remedy divides micro-batches and the sampler's batch


NeedsOf = Callable[[Recipe, Sequence[ResolvedPhase]], list[Needs]]
"""The memory that the phases of a recipe need."""


def check_memory(examined: Examined) -> Iterator[Finding]:
    """Does every phase's peak fit the device?"""
    for finding in _fits(examined.recipe, examined.phases, examined.needs, examined.room, "the device"):
        elsewhere = f"{finding.remedy}; laconic train RECIPE --dry-run --gpu NAME plans for a GPU that is not here"
        yield replace(finding, remedy=elsewhere) if finding.level == "error" else finding


def fit_lines(
    recipe: Recipe, phases: Sequence[ResolvedPhase], needs_of: NeedsOf, gpu: str, spread: GpuSpread = ONE_GPU
) -> Iterator[str]:
    """Whether each phase fits the GPU of that name, or each of several, one line each, and what would make it fit."""
    device = f"each of {spread.gpus} {gpu}" if spread.is_sharded else f"one {gpu}"
    for finding in _fits(recipe, phases, needs_of, find_gpu(gpu).memory, device):
        yield f"{_VERDICTS[finding.level]}: {finding.where} {finding.what}{finding.remedy and f'; {finding.remedy}'}"


_VERDICTS = {"fine": "fits", "warning": "may not fit", "error": "does not fit"}


def _fits(
    recipe: Recipe, phases: Sequence[ResolvedPhase], needs_of: NeedsOf, room: int | None, device: str
) -> Iterator[Finding]:
    for phase, need in zip(phases, needs_of(recipe, phases), strict=True):
        where, moment = f"phases.{phase.name}", need.peak
        needed = f"needs {_gib(moment.total)} ({moment.name})"
        if room is None:
            yield Finding("warning", f"{needed}; the device does not say what it has", where)
            continue
        needed = f"{needed}, {device} has {_gib(room)}"
        if moment.total > room:
            yield Finding("error", needed, where, _remedies(recipe, phase.index, moment.total, needs_of, room))
        elif moment.total * (1 + TOLERANCE) > room:
            remedies = _remedies(recipe, phase.index, moment.total, needs_of, room)
            yield Finding("warning", f"{needed}: close", where, remedies)
        else:
            yield Finding("fine", needed, where)


def _remedies(recipe: Recipe, index: int, before: int, needs_of: NeedsOf, room: int) -> str:
    """Changes that lower the peak of phase `index`, `before` bytes, each with the peak it would leave: the gentlest that fit
    first, and if none fits, those that leave least."""
    after: dict[str, int] = {}
    for change, changed, phases in (*_without_report(recipe), *changed_recipes(recipe, index)):
        total = needs_of(changed, phases)[index].peak.total
        if total < before:
            after[change] = total
    fitting = [change for change, total in after.items() if total * (1 + TOLERANCE) <= room]
    ranked = (fitting or sorted(after, key=lambda change: after[change]))[:NUM_REMEDIES]
    if not ranked:
        return "needs a larger device"
    words = ", or ".join(f"{change} ({_gib(after[change])})" for change in ranked)
    return f"try {words}" if after[ranked[0]] <= room else f"needs a larger device even with {words}"


def _without_report(recipe: Recipe) -> Iterator[tuple[str, Recipe, Sequence[ResolvedPhase]]]:
    """The recipe without its report set, which a second model measures beside the run's own; a command does it afterwards."""
    if recipe.problems.report is not None:
        problems = recipe.problems.model_copy(update={"report": None})
        changed = recipe.model_copy(update={"problems": problems})
        yield "leaving problems.report to laconic evaluate", changed, check_recipe(changed)


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
    """Sets of changes by dotted key, the gentlest first: those of speed alone, adapters, no critic, everything together."""
    here = f"phases.{phase.name}"
    checkpointing = {"policy.gradient_checkpointing": True}
    budget = token_budget(phase.optimizer, device)
    tokens = {f"{here}.optimizer.micro_batch_tokens": max(1, budget // SMALLER)}
    rows = {f"{here}.sampler.batch_size": max(1, phase.sampler.batch_size // SMALLER)}
    no_critic = {f"{here}.algorithm.critic": "zero"}
    lora = {"policy.lora.rank": LoraConfig().rank}
    only_speed = checkpointing | tokens | rows
    yield from (tokens, rows, checkpointing, only_speed)
    yield lora | {f"{here}.algorithm.critic": "lora"}
    yield from (no_critic, lora | no_critic, lora | no_critic | only_speed)


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set `path` in a raw tree; missing tables on the way are made."""
    table, name = path
    if table == "policy":
        tree[name] = value
    else:
        tree[table] = (tree[table] or {}) | {name: value}


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
