"""Thinking and answer apart: how many tokens of a response lie before the answer begins.

1. Thinking ends with the last `</think>`; the tokens up to and including it are thinking, the rest is answer.
2. A response without the mark: where the model knows the mark, it was still thinking if the cap cut it off, and did not think at
   all if it ended; where the model does not know the mark, nothing can be said.

Counts are of the tokens that were generated; nothing is tokenized again.
"""

from collections.abc import Sequence
from typing import Any

from laconic.types import END_THINK, Response

_KNOWS: dict[int, tuple[Any, bool]] = {}  # by the tokenizer's id, held beside the tokenizer so that no other gets it


def knows_thinking(tokenizer: Any) -> bool:
    """Whether the end of thinking is a token of its own in this vocabulary."""
    if id(tokenizer) not in _KNOWS:
        _KNOWS[id(tokenizer)] = (tokenizer, END_THINK in tokenizer.get_vocab())
    return _KNOWS[id(tokenizer)][1]


def thinking_tokens(response: Response, tokenizer: Any) -> int | None:
    """Tokens of `response` up to the end of its thinking; what an endpoint reported where there is no `tokenizer`; None where
    the response has no end of thinking and the model knows none."""
    if tokenizer is None:
        return response.thinking_tokens
    if not knows_thinking(tokenizer):
        return _count_until_end(response.token_ids, tokenizer) if END_THINK in response.text else None
    mark = tokenizer.convert_tokens_to_ids(END_THINK)
    if mark in response.token_ids:
        return response.num_tokens - response.token_ids[::-1].index(mark)
    return response.num_tokens if response.is_truncated else 0


def _count_until_end(token_ids: Sequence[int], tokenizer: Any) -> int:
    """The fewest tokens whose text holds as many marks as the whole; by bisection, since a longer prefix never holds fewer."""

    def marks(count: int) -> int:
        return str(tokenizer.decode(list(token_ids[:count]), skip_special_tokens=True)).count(END_THINK)

    low, high, wanted = 0, len(token_ids), marks(len(token_ids))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if marks(middle) >= wanted else (middle, high)
    return high
