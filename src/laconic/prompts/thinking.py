"""The number of tokens before the end of thinking.

1. Thinking ends with the last `</think>`; the tokens up to and including it are thinking, the rest is the answer.
2. For a response without the mark: where the model has the mark in its vocabulary, the response was still thinking if the cap
   cut it off, and did not think at all if it ended; where it has not, the number is unknown.

The generated tokens are counted; the text is not tokenized again.
"""

from collections.abc import Sequence
from typing import Any

from laconic.types import END_THINK, Response

_KNOWS: dict[
    int, tuple[Any, bool]
] = {}  # by the tokenizer's id; holding the tokenizer too keeps its id from being used again


def knows_thinking(tokenizer: Any) -> bool:
    """Whether the end of thinking is a token of its own in this vocabulary."""
    if id(tokenizer) not in _KNOWS:
        _KNOWS[id(tokenizer)] = (tokenizer, END_THINK in tokenizer.get_vocab())
    return _KNOWS[id(tokenizer)][1]


def thinking_tokens(response: Response, tokenizer: Any) -> int | None:
    """The number of tokens of `response` up to the end of its thinking. Without a `tokenizer` it is the number that the endpoint
    reported; None where the response has no end of thinking and the model's vocabulary has none."""
    if tokenizer is None:
        return response.thinking_tokens
    if not knows_thinking(tokenizer):
        return _count_until_end(response.token_ids, tokenizer) if END_THINK in response.text else None
    mark = tokenizer.convert_tokens_to_ids(END_THINK)
    if mark in response.token_ids:
        return response.num_tokens - response.token_ids[::-1].index(mark)
    return response.num_tokens if response.is_truncated else 0


def _count_until_end(token_ids: Sequence[int], tokenizer: Any) -> int:
    """The smallest number of first tokens whose text holds as many marks as the whole. It is found by bisection, since a longer
    prefix never holds fewer."""

    def marks(count: int) -> int:
        return str(tokenizer.decode(list(token_ids[:count]), skip_special_tokens=True)).count(END_THINK)

    low, high, num_marks = 0, len(token_ids), marks(len(token_ids))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if marks(middle) >= num_marks else (middle, high)
    return high
