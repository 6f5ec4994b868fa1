"""A recipe with everything that the checks of `doctor` look at, read once.

1. The recipe is checked as in a dry run; if it is invalid, an error is raised.
2. Model files, problems, prompts and a probe are read (`reading.py`). `Examined.missing` names those that cannot be read.
3. The device is asked how much memory it has.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from laconic.config.defaults import PROBE_SAMPLES
from laconic.config.recipe import Recipe
from laconic.config.solver import PromptConfig
from laconic.doctor.memory_needs import (
    ASSUMED_PROMPT,
    CUDA_CONTEXT_BYTES,
    Needs,
    Shape,
    Sources,
    outside_bytes,
    predict_needs,
    resident_bytes,
)
from laconic.doctor.reading import (
    Missing,
    ModelFiles,
    Probed,
    Prompt,
    read_model,
    read_probed,
    read_problems,
    read_prompts,
    read_shape,
    read_tokenizer,
    rendered,
)
from laconic.models.loading import pick_device
from laconic.problems.sets import disjoint_sets
from laconic.prompts.endings import stop_ids
from laconic.selection.pool import needs_probe
from laconic.system.processor import machine_memory
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.recipe import check_recipe
from laconic.types import Problem

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Examined:
    """A recipe with everything that was read for it; fields that are named in `missing` are None.

    `sources` holds the three sets by name, without those that the recipe does not have. `room` is the memory that the device has
    free, in bytes; None if the device does not say.
    """

    recipe: Recipe
    phases: tuple[ResolvedPhase, ...]
    model: ModelFiles | None
    tokenizer: Any
    sources: Sources
    prompts: tuple[Prompt, ...] | None
    probe: Probed | None
    shape: Shape | None
    process_bytes: int
    room: int | None
    missing: Mapping[str, Missing]

    def needs(self, recipe: Recipe, phases: Sequence[ResolvedPhase]) -> list[Needs]:
        """The memory that the `phases` of a recipe need; the recipe is this one or a changed copy of it."""
        assert self.shape is not None, "asked for only where the shape is at hand"
        return predict_needs(recipe, phases, self.shape, self.sources, self.process_bytes, self.longest_prompt)

    @property
    def longest_prompt(self) -> tuple[int, str]:
        """The length of the longest prompt in tokens, and words that say whether it was counted or assumed."""
        return (max(len(p.ids) for p in self.prompts), "counted") if self.prompts and self.sets else ASSUMED_PROMPT

    @property
    def stop_ids(self) -> frozenset[int]:
        """End tokens: those that the model's configs state and the tokenizer's own."""
        return stop_ids(self.model.stated_ends if self.model else (), self.tokenizer)

    @property
    def sets(self) -> dict[str, list[Problem]]:
        """The problem sets that could be read, by name."""
        return {name: problems for name, problems in self.sources.items() if problems is not None}

    @property
    def trainable(self) -> Sequence[Problem]:
        """The problems that phases may train on, as training makes the sets disjoint."""
        return disjoint_sets(**self.sets).train

    @property
    def probe_command(self) -> str:
        """The command that probes the model from which the first phase starts."""
        return probe_command(self.recipe)

    def prompt_ids(self, problem: Problem, prompt: PromptConfig | None = None) -> tuple[int, ...]:
        """The token ids of `problem`, with the recipe's instruction and system text or with those of `prompt`."""
        return rendered(self.tokenizer, problem, prompt or self.recipe.prompt)


def examine(recipe: Recipe, probe: Path | None = None) -> Examined:
    """Read what the checks look at. Raises an `InputError` if the recipe, or a probe that was passed, is wrong."""
    phases = check_recipe(recipe)
    model = read_model(recipe)
    tokenizer = read_tokenizer(recipe, model)
    sources = read_problems(recipe)
    prompts = read_prompts(recipe, tokenizer, sources)
    probed = read_probed(probe) if probe else Missing("no probe is given", "--probe", probe_command(recipe))
    shape = read_shape(recipe, model)
    parts = {"model": model, "tokenizer": tokenizer, "prompts": prompts, "probe": probed, "shape": shape} | {
        f"problems.{name}": found for name, found in sources.items()
    }
    return Examined(
        recipe=recipe,
        phases=phases,
        model=_had(model),
        tokenizer=_had(tokenizer),
        sources={name: _had(found) for name, found in sources.items()},
        prompts=_had(prompts),
        probe=_had(probed),
        shape=_had(shape),
        process_bytes=outside_bytes(recipe),
        room=device_room(pick_device(recipe.policy.device)),
        missing={name: part for name, part in parts.items() if isinstance(part, Missing)},
    )


def _had(part: Read | Missing) -> Read | None:
    return None if isinstance(part, Missing) else part


def probe_command(recipe: Recipe) -> str:
    """The command that probes the model from which the first phase starts, ready to paste. It has no options for top-p and min-p,
    which stay as they are by default."""
    phase = recipe.phases[0]
    samples = phase.select.samples if needs_probe(phase) else PROBE_SAMPLES
    words = ["laconic", "probe", recipe.model, recipe.problems.train, "--samples", str(samples)]
    words += ["--temperature", f"{phase.sampler.temperature:g}", "--max-tokens", str(phase.sampler.max_tokens)]
    if recipe.prompt.instruction != PromptConfig().instruction:
        words += ["--prompt", recipe.prompt.instruction]
    if recipe.prompt.system is not None:
        words += ["--system", recipe.prompt.system]
    if recipe.grader.name is not None:
        words += ["--grader", recipe.grader.name]
    return shlex.join([*words, "--seed", str(recipe.seed), "--out", "probe.jsonl"]) + "  and give --probe probe.jsonl"


# --- the device ------------------------------------------------------------------------------------------------------


def device_room(device: torch.device) -> int | None:
    """Bytes that a new process could take on `device`: the free memory plus what this process uses of it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + CUDA_CONTEXT_BYTES
    if device.type != "cpu":
        return None
    return _free_memory() + resident_bytes()


def _free_memory() -> int:
    """Bytes of memory available without swapping; if the system does not say, all of its memory."""
    table = Path("/proc/meminfo")
    if table.exists():
        lines = table.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return machine_memory()
