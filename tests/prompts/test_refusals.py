"""What a tokenizer refuses is named with the setting that asks for it, and a number that it loses with what comes back."""

from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from laconic.prompts.instructions import Instruction
from laconic.prompts.refusals import lost_digits, why_unrendered
from laconic.types import Problem

PROBLEM = Problem("p1", "What is 2 + 2?", "4")
REFUSAL = ValueError("Conversation roles must alternate\nsecond line")


WORDS = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def refusing(condition: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose chat template refuses conversations for which `condition` holds."""
    core = Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    tokenizer.chat_template = f"{{% if {condition} %}}{{{{ raise_exception('no') }}}}{{% endif %}}{WORDS}"
    return tokenizer


@pytest.mark.parametrize(
    ("condition", "system", "where", "says"),
    [
        (
            "messages[0]['role'] == 'system'",
            "Be brief.",
            "prompt.system",
            "the chat template refuses the role system: ",
        ),
        ("messages", "Be brief.", "prompt", "problem p1 cannot be rendered: "),
        ("messages", None, "prompt", "problem p1 cannot be rendered: "),
    ],
)
def test_the_setting_that_is_refused_is_named_with_the_template_s_first_line(
    condition: str, system: str | None, where: str, says: str
) -> None:
    found = why_unrendered(refusing(condition), PROBLEM, "Say what it is.", system, REFUSAL)
    assert (found.where, found.what) == (where, f"{says}Conversation roles must alternate")
    assert str(found) == f"{where}: {found.what}; {found.remedy}"


def test_worked_examples_that_are_refused_are_named() -> None:
    """They are two turns before the question."""
    instruction = Instruction("Say what it is.", examples=[("What is 1 + 1?", "2")])
    found = why_unrendered(refusing("messages | length > 1"), PROBLEM, instruction, None, REFUSAL)
    assert (found.where, found.remedy) == ("prompt.instruction", "choose an instruction without examples")


def test_an_error_without_words_is_named_by_its_kind() -> None:
    found = why_unrendered(refusing("messages"), PROBLEM, "Say what it is.", None, KeyError())
    assert found.what.endswith("cannot be rendered: KeyError")


class Spelling:
    """Gives `back` for whatever it is given; `unk` is the id of the token for the unknown, and it encodes to id 5."""

    def __init__(self, back: str, unk: int | None = None) -> None:
        self.back, self.unk_token_id = back, unk

    def encode(self, _text: str, **_options: Any) -> list[int]:
        return [5]

    def decode(self, _ids: list[int]) -> str:
        return self.back


def test_a_number_that_does_not_come_back_is_shown() -> None:
    assert lost_digits(Spelling(" 9876543210 ")) == ""
    assert lost_digits(Spelling("98765 43210")).endswith("gives the number 9876543210 back as '98765 43210'")
    assert lost_digits(Spelling("?", unk=5)) == ""  # it says itself that it has no digits
