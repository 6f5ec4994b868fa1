"""Can a phase's teacher teach? Asked by training before it begins, and by the doctor; tokenizers are read, weights are not.

1. A teacher that is another model is there, and has the student's vocabulary.
2. A teacher that is the student under another instruction reads another prompt: a chat template may drop what it is told.
"""

from typing import Any

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.errors import ModelError, RecipeError
from laconic.models.loading import load_tokenizer
from laconic.prompts.instructions import render
from laconic.types import Problem


def check_vocabulary(name: str, theirs: Any, student: str, ours: Any) -> None:
    """Raises `ModelError` where the tokenizers of the teacher `name` and of its student have different vocabularies."""
    if theirs.get_vocab() != ours.get_vocab():
        raise ModelError(f"{name}: as reference_model it must have the vocabulary of {student}")


def check_teacher(recipe: Recipe, phase: PhaseConfig, tokenizer: Any, problem: Problem | None) -> None:
    """Raises an `InputError` that names the field where the phase's teacher cannot teach the model of `tokenizer`. Without a
    `problem` nothing shows whether an instruction reaches the model; nor where every prompt asks for a budget of its own."""
    told, field = phase.algorithm, f"phases.{phase.name}.algorithm"
    if told.reference_model:
        try:
            theirs = load_tokenizer(told.reference_model, recipe.policy)
            check_vocabulary(told.reference_model, theirs, recipe.model, tokenizer)
        except ModelError as error:
            raise ModelError(f"{field}.reference_model: {error}") from None
    elif told.reference_instruction is not None and phase.budget is None and problem is not None:
        asked, taught = (
            render(tokenizer, problem, instruction=name, system=recipe.prompt.system)
            for name in (recipe.prompt.instruction, told.reference_instruction)
        )
        if asked == taught:
            raise RecipeError(
                f"{field}.reference_instruction: the prompt is the same tokens with {told.reference_instruction!r} as without "
                "(a chat template may drop it): the teacher would be the student"
            )
