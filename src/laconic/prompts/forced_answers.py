r"""What is written for a model that must answer now: the end of its thinking and the beginning of a box.

The first of the known texts that the tokenizer spells exactly; a model that knows no thinking gets a sentence instead.
"""

from functools import lru_cache
from typing import Any

from laconic.errors import InputError
from laconic.prompts.thinking import knows_thinking
from laconic.types import END_THINK

_BOX = r"\boxed{"
_AFTER_THINKING = (f"\n{END_THINK}\n\n{_BOX}", f"{END_THINK}{_BOX}")
_WITHOUT_THINKING = (f"\n\nThe final answer is {_BOX}", _BOX)


def force_text(tokenizer: Any) -> str:
    """The text written after a cut. Raises `InputError` where the tokenizer spells none of those known."""
    texts = _AFTER_THINKING if knows_thinking(tokenizer) else _WITHOUT_THINKING
    for text in texts:
        if tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)).strip() == text.strip():
            return text
    raise InputError(f"the tokenizer cannot spell {texts[-1]!r}, which forces an answer")


@lru_cache(maxsize=8)
def forced_ids(tokenizer: Any) -> tuple[int, ...]:
    """Its token ids."""
    return tuple(tokenizer.encode(force_text(tokenizer), add_special_tokens=False))
