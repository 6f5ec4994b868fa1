"""Is there somebody to learn from? Every phase's teacher is read as far as its tokenizer; its weights are not.

1. A teacher that is another model: it is there, and speaks the student's vocabulary.
2. A teacher that is the student under another instruction: that changes the prompt, unless the chat template drops it.
"""

from collections.abc import Iterator

from laconic.config.recipe import PhaseConfig
from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding
from laconic.errors import ModelError
from laconic.models.loading import load_tokenizer


def check_teachers(examined: Examined) -> Iterator[Finding]:
    """Can each phase that learns from a teacher, or keeps near a reference of its own, read it, and is it another one?"""
    for phase in examined.recipe.phases:
        field = f"phases.{phase.name}.algorithm"
        if phase.algorithm.reference_model:
            yield _other_model(examined, phase.algorithm.reference_model, f"{field}.reference_model")
        elif phase.algorithm.reference_instruction is not None and phase.budget is None:
            yield _other_prompt(examined, phase, f"{field}.reference_instruction")


def _other_model(examined: Examined, name: str, where: str) -> Finding:
    try:
        theirs = load_tokenizer(name, examined.recipe.policy).get_vocab()
    except ModelError as error:
        return Finding("error", str(error), where, "make the teacher first, or name another")
    if theirs != examined.tokenizer.get_vocab():
        return Finding("error", f"{name} has another vocabulary than {examined.recipe.model}", where, "name another")
    return Finding("fine", f"{name} is there and speaks the student's vocabulary", where)


def _other_prompt(examined: Examined, phase: PhaseConfig, where: str) -> Finding:
    told = str(phase.algorithm.reference_instruction)
    problems = examined.trained
    if not problems:
        return Finding("unknown", "no problem is at hand to show what the teacher is told", where)
    prompt = examined.recipe.prompt
    other = prompt.model_copy(update={"instruction": told})
    if examined.prompt_ids(problems[0], prompt) == examined.prompt_ids(problems[0], other):
        what = f"the prompt is the same tokens with {told!r} as without: the teacher would be the student"
        return Finding("error", what, where, "choose an instruction that the chat template passes on")
    return Finding("fine", f"{told!r} changes what the teacher reads", where)
