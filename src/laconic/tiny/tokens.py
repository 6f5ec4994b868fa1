"""The embedded reasoner's vocabulary: one table of tokens and the rule that cuts text into them.

1. Special tokens, the thinking tags and `\\boxed{` are one token each; digits and signs are one token each.
2. A word that stands in the table is one token, any other word is `<unk>`. White space separates words and is then dropped.

The rule is simple enough to count tokens without a tokenizer (`count_tokens`), which `oracle_tokens` needs. `build` writes
the same rule into `tokenizer.json`, and a test checks that the two agree.
"""

import re

from laconic.types import END_THINK, THINK

PAD, END, UNK = "<|pad|>", "<|end|>", "<unk>"
USER, ASSISTANT = "<|user|>", "<|assistant|>"
SPECIALS = (PAD, END, UNK, USER, ASSISTANT, THINK, END_THINK)
BOX_START = "\\boxed{"

CHARACTERS = tuple("0123456789+-*=<>;:,.?}/()")
TRACE_WORDS = ("wait", "check", "again", "ok", "no", "yes")
PROMPT_WORDS = (
    "State",
    "the",
    "final",
    "answer",
    "to",
    "following",
    "arithmetic",
    "problem",
    "Compute",
    "compute",
    "What",
    "is",
    "Find",
    "sum",
    "of",
    "largest",
    "number",
    "in",
    "max",
    "Which",
    "How",
    "many",
    "times",
    "does",
    "occur",
    "Count",
    "count",
    "start",
    "plus",
    "times",
    "modulo",
    "mod",
    "then",
    "result",
    "and",
    "are",
    "there",
    "from",
    "Calculate",
    "value",
    "list",
    "take",
    "Start",
)

VOCABULARY: tuple[str, ...] = tuple(dict.fromkeys((*SPECIALS, BOX_START, *CHARACTERS, *TRACE_WORDS, *PROMPT_WORDS)))

PIECE_PATTERN = r"<\|[a-z]+\|>|</?think>|\\boxed\{|[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]"


def pieces(text: str, pattern: str = PIECE_PATTERN) -> list[str]:
    """The tokens of `text` as strings; unknown words are kept as they are written. `pattern` says what is one token.

    >>> pieces("12+7=19;</think>")
    ['1', '2', '+', '7', '=', '1', '9', ';', '</think>']
    """
    return re.findall(pattern, text)


def count_tokens(text: str) -> int:
    """Number of tokens in `text`."""
    return len(pieces(text))
