"""Whether a phase's teacher can teach the model that is trained. Training checks it before it begins, and so does the doctor,
which reads no weights.

1. A teacher that is another model must exist and have the student's vocabulary.
2. Its weights must be sound; training loads them once, so that it does not find out after the phases before.
3. A teacher that is the student under another instruction must read another prompt: a chat template may drop the instruction.
"""

from typing import Any

from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.config.solver import PromptConfig
from laconic.errors import ModelError, RecipeError
from laconic.models.loading import load_model, load_tokenizer
from laconic.prompts.instructions import render
from laconic.types import Problem


def check_vocabulary(name: str, theirs: Any, student: str, ours: Any) -> None:
    """Raise `ModelError` where the tokenizers of the teacher `name` and of its student have different vocabularies."""
    if theirs.get_vocab() != ours.get_vocab():
        raise ModelError(f"{name}: as reference_model it must have the vocabulary of {student}")


def check_teacher(
    phase: PhaseConfig,
    tokenizer: Any,
    problem: Problem | None,
    *,
    student: str,
    policy: PolicyConfig,
    prompt: PromptConfig,
) -> None:
    """Raises an `InputError` that names the field where the phase's teacher cannot teach the model called `student`.

    `tokenizer` is the student's, `policy` says how models are loaded, `prompt` how problems are asked. Whether an instruction
    reaches the model is only checked with a `problem`, and where prompts do not ask for a budget each.
    """
    config, field = phase.algorithm, f"phases.{phase.name}.algorithm"
    if config.reference_model:
        try:
            theirs = load_tokenizer(config.reference_model, policy)
            check_vocabulary(config.reference_model, theirs, student, tokenizer)
        except ModelError as error:
            raise ModelError(f"{field}.reference_model: {error}") from None
    elif config.reference_instruction is not None and phase.budget is None and problem is not None:
        student_ids, teacher_ids = (
            render(tokenizer, problem, instruction=name, system=prompt.system)
            for name in (prompt.instruction, config.reference_instruction)
        )
        if student_ids == teacher_ids:
            raise RecipeError(
                f"{field}.reference_instruction: the prompt is the same tokens with {config.reference_instruction!r} as without "
                "(a chat template may drop it): the teacher would be the student"
            )


def try_teacher(name: str, policy: PolicyConfig, field: str) -> None:
    """Load the teacher `name` and drop it again. Raises `ModelError`, which begins with `field`, where it cannot be loaded."""
    try:
        load_model(name, policy.model_copy(update={"lora": None}), is_trained=False)
    except ModelError as error:
        raise ModelError(f"{field}: {error}") from None
