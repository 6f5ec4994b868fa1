"""What must fit the model's context, and whether it does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from laconic.config.recipe import Recipe
from laconic.rollouts.solver import Solver
from laconic.training.check.phases import ResolvedPhase
from laconic.types import Problem


@dataclass(frozen=True, slots=True)
class ContextCap:
    """The key that caps responses, the most tokens of one, and the instruction under which its problems are read."""

    field: str
    max_tokens: int
    instruction: str


def caps_of(recipe: Recipe, phases: Sequence[ResolvedPhase]) -> list[ContextCap]:
    """Everything that must fit the model's context: responses in training, under each phase's longest budget and as its reference
    reads them, and those to watched and reported problems."""
    caps = []
    for phase in phases:
        field = f"phases.{phase.name}.sampler.max_tokens"
        cap, budget = phase.config.sampler.max_tokens, phase.config.budget
        caps.append(ContextCap(field, cap, recipe.prompt.instruction))
        if budget is not None:
            caps.append(ContextCap(field, cap, f"{budget.prompt}:{budget.high}"))
        if phase.needs_reference and phase.config.algorithm.reference_instruction is not None:
            caps.append(ContextCap(field, cap, phase.config.algorithm.reference_instruction))
    if recipe.report.max_tokens is not None:
        caps.append(ContextCap("report.max_tokens", recipe.report.max_tokens, recipe.prompt.instruction))
    return caps


def check_caps(recipe: Recipe, phases: Sequence[ResolvedPhase], solver: Solver, problems: Sequence[Problem]) -> None:
    """Raises `ModelError`, naming the key, where the longest prompt and a cap together exceed the model's context."""
    longest: dict[str, tuple[int, str]] = {}
    for cap in caps_of(recipe, phases):
        if cap.instruction not in longest:
            prompt = recipe.prompt.model_copy(update={"instruction": cap.instruction})
            longest[cap.instruction] = replace(solver, prompt=prompt).longest_prompt(problems)
        solver.check_length(*longest[cap.instruction], cap.max_tokens, cap.field)
