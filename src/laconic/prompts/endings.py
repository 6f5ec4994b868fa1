"""How a response ends: the tokens that stop it, and the one with which training closes a text that it was given.

1. The model's configs state end tokens (`stated_ends`), and the tokenizer has one; a response stops at any of them (`stop_ids`).
2. The chat template closes an assistant's turn with a token (`template_end`).
3. A text is closed by the template's token where that is a stop token. Else it is the tokenizer's, where the configs state it or
   state none, and else the first that the configs state (`closing_token`). So nothing learns to end where nothing stops.
"""

from collections.abc import Sequence
from typing import Any

from laconic.prompts.templates import TemplateError, render_turns
from laconic.system.text import brief

SAID = "Seven."  # the assistant's turn in the conversation that shows how a turn is closed
LARGEST_ID = 2**31 - 1  # of a token: larger ones have no room in a tensor of 32 bits
NO_END = "no end token is stated: every response runs to its cap"


def stated_ends(stated: object) -> tuple[int, ...]:
    """The end tokens in the `eos_token_id` of a config: a number, a list of them, or nothing.

    Raises `ValueError` for anything else.

    >>> stated_ends(1), stated_ends([1, 9]), stated_ends(None)
    ((1,), (1, 9), ())
    """
    listed = stated if isinstance(stated, list | tuple) else [] if stated is None else [stated]
    if not all(isinstance(end, int) and not isinstance(end, bool) and 0 <= end <= LARGEST_ID for end in listed):
        raise ValueError(f"eos_token_id is {brief(stated)}, expected the id of a token, a list of them, or null")
    return tuple(map(int, listed))


def stop_ids(stated: Sequence[int], tokenizer: Any) -> frozenset[int]:
    """The tokens that end a response: those that the configs state, and the tokenizer's own."""
    return frozenset((*stated, *stated_ends(getattr(tokenizer, "eos_token_id", None))))


def template_end(tokenizer: Any) -> int | None:
    """The special token with which the chat template closes an assistant's turn; None if there is no template or it closes turns
    without one."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    turns = [{"role": "user", "content": "What is 3 + 4?"}, {"role": "assistant", "content": SAID}]
    try:
        _, found, tail = render_turns(tokenizer, turns, add_generation_prompt=False).rpartition(SAID)
    except TemplateError:  # then the closing token is unknown
        return None
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    tokens = tokenizer.encode(tail, add_special_tokens=False) if found else []
    return next((int(token) for token in tokens if token in special), None)


def closing_token(stated: Sequence[int], tokenizer: Any, num_rows: int) -> int | None:
    """The token that is written after a text from which a model learns to end; None where no end token is known.

    `stated` are the end tokens of the model's configs, and `num_rows` is how many tokens its embedding has.
    """
    usual = stated_ends(getattr(tokenizer, "eos_token_id", None))
    stops = {end for end in stop_ids(stated, tokenizer) if end < num_rows}
    wanted = (template_end(tokenizer), *(end for end in usual if end in stated), *stated, *usual)
    return next((end for end in wanted if end in stops), None)
