"""What a model's tokenizer cannot do: render a prompt, or write a number.

A chat template refuses a role that its model was not trained with, or two texts in a row, and says so in words of its own.
`why_unrendered` says what that means for the recipe: it renders the prompt again without the part that may be refused.
"""

from dataclasses import dataclass
from typing import Any

from laconic.prompts.instructions import Instruction, render
from laconic.types import Problem

DIGITS = "9876543210"
MOST_SHOWN = 40  # characters of what a tokenizer made of them


@dataclass(frozen=True, slots=True)
class Unrendered:
    """What a chat template refuses and in which words, the setting that asks for it, and what would mend it."""

    what: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


def why_unrendered(
    tokenizer: Any, problem: Problem, instruction: str, system: str | None, error: Exception
) -> Unrendered:
    """Why the prompt of `problem` could not be rendered, where `error` says so; `instruction` is a text, not a name."""
    reason = _reason(error)
    if system is not None and _renders(tokenizer, problem, instruction, None):
        what = f"the chat template refuses the role system: {reason}"
        return Unrendered(what, "prompt.system", "put its text into prompt.instruction")
    if getattr(instruction, "examples", ()) and _renders(tokenizer, problem, Instruction(str(instruction)), system):
        what = f"the chat template refuses the worked examples before the question: {reason}"
        return Unrendered(what, "prompt.instruction", "choose an instruction without examples")
    what = f"problem {problem.id} cannot be rendered: {reason}"
    return Unrendered(what, "prompt", "mend the model's chat template, or take another model")


def _renders(tokenizer: Any, problem: Problem, instruction: str, system: str | None) -> bool:
    try:
        render(tokenizer, problem, instruction=instruction, system=system)
    except Exception:  # a template may raise any error
        return False
    return True


def _reason(error: Exception) -> str:
    """The template's own words: the first line of the error, or its type where it has no text."""
    text = str(getattr(error, "reason", error)).strip()
    return next(iter(text.splitlines()), type(error).__name__)


def lost_digits(tokenizer: Any) -> str:
    """What is wrong where a number does not come back from the tokenizer as it went in, so that no answer could be right.

    Empty where nothing is. A tokenizer without digits is another matter: it says so by its token for the unknown.
    """
    ids = tokenizer.encode(DIGITS, add_special_tokens=False)
    back = str(tokenizer.decode(ids)).strip()
    is_sound = back == DIGITS or getattr(tokenizer, "unk_token_id", None) in ids
    return "" if is_sound else f"the tokenizer gives the number {DIGITS} back as {back[:MOST_SHOWN]!r}"
