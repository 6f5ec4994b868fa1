"""What must fit the model's context, and whether it does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.errors import InputError, RecipeError
from laconic.rollouts.solver import Solver
from laconic.rollouts.sources import longest_exit
from laconic.training.check.phases import ResolvedPhase
from laconic.types import Problem


@dataclass(frozen=True, slots=True)
class ContextCap:
    """The key that caps responses, the most tokens of one, and the instruction under which its problems are read."""

    field: str
    max_tokens: int
    instruction: str


def caps_of(recipe: Recipe, phases: Sequence[ResolvedPhase], tokenizer: Any) -> list[ContextCap]:
    """Everything that must fit the model's context: responses in training, under each phase's longest budget and as its reference
    reads them, the answers that exits force, and responses to watched and reported problems.

    Raises `RecipeError` where the `tokenizer` cannot write what an exit needs.
    """
    caps = []
    for phase in phases:
        field = f"phases.{phase.name}.sampler.max_tokens"
        cap, budget = _cap_of(phase.config, tokenizer), phase.config.budget
        caps.append(ContextCap(field, cap, recipe.prompt.instruction))
        if budget is not None:
            caps.append(ContextCap(field, cap, f"{budget.prompt}:{budget.high}"))
        if phase.needs_reference and phase.config.algorithm.reference_instruction is not None:
            caps.append(ContextCap(field, cap, phase.config.algorithm.reference_instruction))
    if recipe.report.max_tokens is not None:
        caps.append(ContextCap("report.max_tokens", recipe.report.max_tokens, recipe.prompt.instruction))
    return caps


def _cap_of(phase: PhaseConfig, tokenizer: Any) -> int:
    """The most tokens that the phase puts after a prompt: a whole response, or a cut one with the answer that is forced on it."""
    cap = phase.sampler.max_tokens
    if phase.rollouts != "serial":
        return cap
    try:
        return max(cap, longest_exit(tokenizer, cap, phase.group_size - 1))
    except InputError as error:
        raise RecipeError(f"phases.{phase.name}.rollouts: {error}") from None


def check_caps(recipe: Recipe, phases: Sequence[ResolvedPhase], solver: Solver, problems: Sequence[Problem]) -> None:
    """Raises `ModelError`, naming the key, where the longest prompt and a cap together exceed the model's context."""
    longest: dict[str, tuple[int, str]] = {}
    for cap in caps_of(recipe, phases, solver.lm.tokenizer):
        if cap.instruction not in longest:
            prompt = recipe.prompt.model_copy(update={"instruction": cap.instruction})
            longest[cap.instruction] = replace(solver, prompt=prompt).longest_prompt(problems)
        solver.check_length(*longest[cap.instruction], cap.max_tokens, cap.field)
