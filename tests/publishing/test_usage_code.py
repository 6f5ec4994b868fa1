"""The code on a model card asks the model exactly as it was asked when it was measured."""

from typing import Any

import pytest

from laconic.config.solver import PromptConfig
from laconic.prompts.instructions import INSTRUCTIONS, messages, plain_text, resolve_instruction
from laconic.publishing.card import encoding_lines
from laconic.types import Problem

WITHOUT_NUMBER = [name for name, wording in INSTRUCTIONS.items() if wording.text is not None]
WITH_NUMBER = [f"{name}:7" for name, wording in INSTRUCTIONS.items() if wording.with_number is not None]
OF_ONES_OWN = "Don't say \"QUESTION\", {say} \\boxed{} 'instead'."
ASKED = "What's {1} + 'QUESTION'?"


class Listener:
    """A tokenizer that writes down what it is asked to encode."""

    heard: Any = None

    def __call__(self, text: str, **_: object) -> None:
        self.heard = text

    def apply_chat_template(self, turns: list[dict[str, str]], **_: object) -> None:
        self.heard = turns


@pytest.mark.parametrize("system", [None, "It's {brief}.\nQUESTION"])
@pytest.mark.parametrize("instruction", [*WITHOUT_NUMBER, *WITH_NUMBER, OF_ONES_OWN])
def test_the_code_asks_as_the_model_was_asked(instruction: str, system: str | None) -> None:
    """By every named instruction and by one of one's own, with a chat template and without."""
    problem, text = Problem("", ASKED, ""), resolve_instruction(instruction)
    for has_template, expected in (
        (True, messages(problem, text, system)),
        (False, plain_text(problem, text, system)),
    ):
        lines = encoding_lines(PromptConfig(instruction=instruction, system=system), has_template=has_template)
        tokenizer = Listener()
        exec(compile(lines, "usage", "exec"), {"tokenizer": tokenizer, "question": ASKED})
        assert tokenizer.heard == expected
