"""How many tokens of a response are thinking, and the marks by which a model shows it.

1. Thinking ends with the mark that closes the last thought (`grading/thought.py`); the tokens up to and including it are
   thinking, the rest is the answer. A prompt may have opened the first thought: `prompt_mark` finds the mark at its end.
2. A response that ends inside a thought is thinking from its first token to its last.
3. For a response without marks: where the model knows a pair of marks, the response was still thinking if the cap cut it off, and
   did not think at all if it ended; where it knows none, the number is unknown.

The generated tokens are counted; the text is not tokenized again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.grading.thought import ALL_MARKS, MARKS, ThinkingMarks, Thought, find_thought, mark_at_end
from laconic.types import Response

MARK_TOKENS = 48  # no mark takes more tokens, with the white space after it


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a tokenizer: the marks of its model, the marks that are one token each, its special tokens, and those of
    them that are parts of marks."""

    tokenizer: Any  # held, so that its id is not used again
    marks: ThinkingMarks | None
    tokens: Mapping[str, int]
    special: frozenset[int]
    kept: frozenset[int]


_KNOWN: dict[int, _Facts] = {}  # by the tokenizer's id


def _facts(tokenizer: Any) -> _Facts:
    if id(tokenizer) not in _KNOWN:
        special, vocabulary = _special_tokens(tokenizer), tokenizer.get_vocab()
        kept = frozenset(i for i, token in special.items() if any(token in mark for mark in ALL_MARKS))
        tokens = {mark: vocabulary[mark] for mark in ALL_MARKS if mark in vocabulary}
        marks = _find_marks(vocabulary, str(getattr(tokenizer, "chat_template", None) or ""))
        _KNOWN[id(tokenizer)] = _Facts(tokenizer, marks, tokens, frozenset(special), kept)
    return _KNOWN[id(tokenizer)]


def _special_tokens(tokenizer: Any) -> dict[int, str]:
    """The tokens that decoding leaves out as special, by id."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {int(i): str(token) for i, token in added.items() if getattr(token, "special", False)}


def _find_marks(vocabulary: Mapping[str, int], template: str) -> ThinkingMarks | None:
    """The first pair whose closing mark is a token, or begins with one, or whose opening mark stands in the chat template.

    Spare tokens in the vocabulary say nothing: of such a pair, one mark must stand in the template.
    """
    for marks in MARKS:
        first = marks.closes.partition(">")[0] + ">"  # <|channel|> of <|channel|>final<|message|>
        is_said = marks.closes in template if marks.is_unused else marks.closes in vocabulary or first in vocabulary
        if is_said or marks.opens in template:
            return marks
    return None


def marks_of(tokenizer: Any) -> ThinkingMarks | None:
    """The marks that a model with this tokenizer puts around its thinking; None where it knows none."""
    return _facts(tokenizer).marks


def knows_thinking(tokenizer: Any) -> bool:
    """Whether a model with this tokenizer marks its thinking."""
    return marks_of(tokenizer) is not None


def decode_response(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text of a response without special tokens but for the marks around thinking, which are special in some vocabularies."""
    facts = _facts(tokenizer)
    if facts.kept.isdisjoint(token_ids):
        return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))
    kept = [i for i in token_ids if i in facts.kept or i not in facts.special]
    return str(tokenizer.decode(kept, skip_special_tokens=False))


def prompt_mark(prompt_ids: Sequence[int], tokenizer: Any) -> str:
    """The mark of thinking at which the prompt ends, from which a response goes on; empty where there is none.

    An endpoint renders its prompts itself: without a `tokenizer` the mark is empty.
    """
    if tokenizer is None or not prompt_ids:
        return ""
    return mark_at_end(str(tokenizer.decode(list(prompt_ids[-MARK_TOKENS:]), skip_special_tokens=False)))


def thinking_tokens(response: Response, tokenizer: Any, mark: str = "") -> int | None:
    """The number of tokens of `response` up to the end of its thinking; `mark` is the one at which its prompt ended.

    Without a `tokenizer` it is the number that the endpoint reported. None where the response has no marks and the model knows
    none.
    """
    if tokenizer is None:
        return response.thinking_tokens
    thought = find_thought(mark + response.text)
    if thought.is_open:
        return response.num_tokens
    if thought.end > len(mark):
        return _count_until_end(response.token_ids, thought, tokenizer)
    if mark or not knows_thinking(tokenizer):
        return 0 if mark else None
    return response.num_tokens if response.is_truncated else 0


def _count_until_end(token_ids: Sequence[int], thought: Thought, tokenizer: Any) -> int:
    """The smallest number of first tokens whose text holds the mark that closes the last thought as often as the whole text.

    Where the mark is one token, that token is looked for; else the number is found by bisection, since a longer prefix never
    holds fewer marks.
    """
    token = _facts(tokenizer).tokens.get(thought.closes)
    if token is not None and token in token_ids:
        return len(token_ids) - list(reversed(token_ids)).index(token)

    def num_marks(count: int) -> int:
        return str(tokenizer.decode(list(token_ids[:count]), skip_special_tokens=False)).count(thought.closes)

    low, high, all_marks = 0, len(token_ids), num_marks(len(token_ids))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if num_marks(middle) >= all_marks else (middle, high)
    return high
