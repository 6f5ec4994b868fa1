r"""From a problem to the token ids that are fed to the model.

1. The user's turn is the question, its choices as `(A) ...` lines, and an instruction.
2. A tokenizer with a chat template renders the turns; one without gets the same text as it stands.

The instruction is named by the table `INSTRUCTIONS` or is a text of its own. What is left out: few-shot examples.
"""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from laconic.types import Problem

BOXED_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
"""The instruction that most open reasoning models were trained with (Qwen2.5-Math, DeepSeek-R1)."""

R1_INSTRUCTION = r"Let's think step by step and output the final answer within \boxed{}."
"""The prompt `r1-cot` of the concise-reasoning PPO release (methods.md 1.2)."""

INSTRUCTIONS: dict[str, str] = {"boxed": BOXED_INSTRUCTION, "r1": R1_INSTRUCTION, "none": ""}


def resolve_instruction(name_or_text: str) -> str:
    """The instruction of that name in `INSTRUCTIONS`, else the text itself.

    >>> resolve_instruction("none"), resolve_instruction("Be brief.")
    ('', 'Be brief.')
    """
    return INSTRUCTIONS.get(name_or_text, name_or_text)


def user_text(problem: Problem, instruction: str = BOXED_INSTRUCTION) -> str:
    """Question, choices and instruction, each from a line of its own; nothing stands for an empty instruction.

    Raises `ValueError` for more choices than there are letters.
    """
    if len(problem.choices) > len(ascii_uppercase):
        raise ValueError(
            f"problem {problem.id}: {len(problem.choices)} choices, but only {len(ascii_uppercase)} letters"
        )
    choices = (f"({letter}) {choice}" for letter, choice in zip(ascii_uppercase, problem.choices, strict=False))
    return "\n".join(piece for piece in (problem.question, *choices, instruction) if piece)


def messages(problem: Problem, instruction: str = BOXED_INSTRUCTION, system: str | None = None) -> list[dict[str, str]]:
    """The turns of the conversation: the system's where there is one, and the user's."""
    turns = [] if system is None else [{"role": "system", "content": system}]
    return [*turns, {"role": "user", "content": user_text(problem, instruction)}]


def render(
    tokenizer: Any, problem: Problem, *, instruction: str = BOXED_INSTRUCTION, system: str | None = None
) -> list[int]:
    """Token ids of the prompt, up to where the model's response begins.

    `tokenizer` is a Hugging Face tokenizer, `instruction` a name in `INSTRUCTIONS` or a text. Without a chat template
    the system's text stands before the question, and the beginning-of-text token where the tokenizer adds one.
    """
    text = resolve_instruction(instruction)
    if getattr(tokenizer, "chat_template", None):
        turns = messages(problem, text, system)
        return _ids(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False))
    plain = "\n".join(piece for piece in (system, user_text(problem, text)) if piece)
    return _ids(_without_end(tokenizer, tokenizer.encode(plain + "\n")))


def _ids(tokens: Sequence[int]) -> list[int]:
    return [int(token) for token in tokens]


def _without_end(tokenizer: Any, tokens: Sequence[int]) -> Sequence[int]:
    """Some tokenizers close every text with an end token; a prompt that ends so would be answered with nothing."""
    end = getattr(tokenizer, "eos_token_id", None)
    is_closed = len(tokens) > 1 and end is not None and tokens[-1] == end
    return tokens[:-1] if is_closed else tokens
