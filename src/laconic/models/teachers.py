"""Whether a phase's teacher can teach the model that is trained. Training checks it before it begins, and so does the doctor.
Only tokenizers are read, not weights.

1. A teacher that is another model must exist and have the student's vocabulary.
2. A teacher that is the student under another instruction must read another prompt: a chat template may drop the instruction.
"""

from typing import Any

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.errors import ModelError, RecipeError
from laconic.models.loading import load_tokenizer
from laconic.prompts.instructions import render
from laconic.types import Problem


def check_vocabulary(name: str, theirs: Any, student: str, ours: Any) -> None:
    """Raise `ModelError` where the tokenizers of the teacher `name` and of its student have different vocabularies."""
    if theirs.get_vocab() != ours.get_vocab():
        raise ModelError(f"{name}: as reference_model it must have the vocabulary of {student}")


def check_teacher(recipe: Recipe, phase: PhaseConfig, tokenizer: Any, problem: Problem | None) -> None:
    """Raise an `InputError` that names the field where the phase's teacher cannot teach the model of `tokenizer`.

    Whether an instruction reaches the model is checked on `problem`; it is not checked without a problem, nor where every prompt
    asks for its own budget.
    """
    algorithm, field = phase.algorithm, f"phases.{phase.name}.algorithm"
    if algorithm.reference_model:
        try:
            teacher_tokenizer = load_tokenizer(algorithm.reference_model, recipe.policy)
            check_vocabulary(algorithm.reference_model, teacher_tokenizer, recipe.model, tokenizer)
        except ModelError as error:
            raise ModelError(f"{field}.reference_model: {error}") from None
    elif algorithm.reference_instruction is not None and phase.budget is None and problem is not None:
        prompt_ids, teacher_prompt_ids = (
            render(tokenizer, problem, instruction=name, system=recipe.prompt.system)
            for name in (recipe.prompt.instruction, algorithm.reference_instruction)
        )
        if prompt_ids == teacher_prompt_ids:
            raise RecipeError(
                f"{field}.reference_instruction: the prompt is the same tokens with {algorithm.reference_instruction!r} as "
                "without (a chat template may drop it): the teacher would be the student"
            )
