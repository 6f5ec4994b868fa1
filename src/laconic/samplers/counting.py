"""How many tokens a response from an endpoint has, where the server's count may be impossible.

1. A server's count is believed where it can be true: at most the cap, and no fewer tokens than the text needs. A token has at
   most `MOST_TOKEN_BYTES` bytes; where a tokenizer is known, a count below half of the text's tokens is not believed either (a
   model may spell a text in more tokens than its tokenizer does, and thinking may be hidden, so more is always possible).
2. Another count is replaced: by the text's own tokens where a tokenizer is known, else by the nearest number that is possible.
   `LengthSource` says which, and is stored with the response.
3. Some servers leave hidden thinking out of `completion_tokens`. It is added where their other counts show it
   (`uncounted_thinking`). Their cap may leave it out too, so it bounds the tokens without it, and a length above the cap is no
   error then.

A response whose length nobody knows has no number here, and the caller refuses it.
"""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from laconic.grading.thought import find_thought
from laconic.types import LengthSource

MOST_TOKEN_BYTES = 256
MOST_UNCOUNTED = 10_000_000  # tokens of hidden thinking: no context is longer

TextCounter = Callable[[str], int]
"""The number of tokens of a text."""

THINKING, UNCOUNTED, LOST_CHARACTERS = "thinking", "uncounted", "characters"
DOUBTS: Mapping[str, str] = {
    kind: f"its token counts cannot be true for some responses (0 beside a text, more than the cap, too much thinking): {taken}"
    for kind, taken in (
        (LengthSource.TEXT, "the tokens of the text are counted, and their rows say so under length_source"),
        (
            LengthSource.BOUND,
            "the nearest possible number is taken, and their rows say so under length_source; tokenizer=NAME in the address "
            "would count the text",
        ),
        (THINKING, "their thinking tokens are unknown (null), or counted in the text where a tokenizer is known"),
    )
} | {
    UNCOUNTED: "its completion_tokens leave out thinking that its other counts show: the thinking is added to the lengths, which "
    "may then exceed the cap",
    LOST_CHARACTERS: "some replies are neither UTF-8 nor what they say: what could not be read is \ufffd in their texts",
}
"""The warning at the first doubtful response of each kind: an impossible length, by what is taken instead, or count of thinking;
thinking that the server left out of its count; or a text that could not be read whole."""


def text_counter(tokenizer: Any) -> TextCounter:
    """The counter of a Hugging Face tokenizer; it adds no special tokens."""
    return lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)


def length_of(
    counted: int | None, text: str, cap: int, *, is_ended: bool, count: TextCounter | None = None
) -> tuple[int | None, LengthSource]:
    """The length in tokens of a response with this `text`, and where it comes from. `counted` is the server's count, None
    where it gave none; `is_ended` says that an end token was generated. None where the length is unknown.

    >>> length_of(40, "It is 4.", 100, is_ended=True)
    (40, <LengthSource.ENGINE: 'engine'>)
    >>> length_of(999, "It is 4.", 100, is_ended=True), length_of(0, "It is 4.", 100, is_ended=True)
    ((100, <LengthSource.BOUND: 'bound'>), (1, <LengthSource.BOUND: 'bound'>))
    >>> length_of(0, "It is 4.", 100, is_ended=True, count=lambda text: len(text.split()))
    (4, <LengthSource.TEXT: 'text'>)
    """
    written = None if count is None else count(text) + is_ended
    least = ceil(len(text.encode()) / MOST_TOKEN_BYTES)
    if written is not None:
        least = max(least, written // 2)
    if counted is not None and least <= counted <= cap:
        return counted, LengthSource.ENGINE
    if written is not None:
        return min(written, cap), LengthSource.TEXT
    return (None if counted is None else min(max(counted, least), cap)), LengthSource.BOUND


def uncounted_thinking(counted: int, thinking: int | None, prompt: int | None, total: int | None) -> int:
    """How many tokens of hidden thinking a server leaves out of the tokens that it `counted` for a response. `thinking`, `prompt`
    and `total` are its other counts, None where it gave none.

    Where prompt and total are known, total - prompt is what was generated, and what exceeds `counted` is thinking unless the
    server counts another number of it. Without them, more thinking than tokens can only lie outside of them.

    >>> uncounted_thinking(400, 300, 32, 732), uncounted_thinking(198, None, 20, 623), uncounted_thinking(40, 300, None, None)
    (300, 405, 300)
    >>> uncounted_thinking(400, 300, 32, 432), uncounted_thinking(400, 300, None, None)
    (0, 0)
    """
    if prompt is None or total is None:
        more = thinking if thinking is not None and thinking > counted else 0
    else:
        more = total - prompt - counted
        more = more if thinking in (None, more) else 0
    return more if 0 < more <= MOST_UNCOUNTED else 0


def thinking_of(counted: int | None, text: str, num_tokens: int, count: TextCounter | None = None) -> int | None:
    """The number of thinking tokens among `num_tokens`: the server's where it can be true, else that of the text up to the end of
    its thinking where a tokenizer is known, else None. 0 beside a text that has thinking was filled in, not counted."""
    thought = find_thought(text)
    has_thinking = thought.is_open or thought.end > 0
    is_all = thought.is_open or not text[thought.end :].strip()
    # a response of nothing but thinking is read as an unfinished thought, so one with an answer has a token outside of it
    most = num_tokens if is_all else num_tokens - 1
    if counted is not None and counted <= most and not (counted == 0 and has_thinking):
        return counted
    if count is None or not has_thinking:
        return None
    return min(most, count(text if thought.is_open else text[: thought.end]))
