r"""The text that makes a model answer at once: the end of its thinking and the beginning of a box.

It is the first of a few known texts that the tokenizer encodes without loss. A model without thinking marks gets a sentence.
"""

from functools import lru_cache
from typing import Any

from laconic.errors import InputError
from laconic.prompts.thinking import marks_of

_BOX = r"\boxed{"
_WITHOUT_THINKING = (f"\n\nThe final answer is {_BOX}", _BOX)


def force_text(tokenizer: Any) -> str:
    """The text that is appended where thinking is cut off. Raises `InputError` where the tokenizer encodes none of them."""
    marks = marks_of(tokenizer)
    end = marks and marks.before_close + marks.closes
    texts = (f"\n{end}\n\n{_BOX}", f"{end}{_BOX}") if end else _WITHOUT_THINKING
    for text in texts:
        if tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)).strip() == text.strip():
            return text
    raise InputError(f"the tokenizer cannot spell {texts[-1]!r}, which forces an answer")


@lru_cache(maxsize=8)
def forced_ids(tokenizer: Any) -> tuple[int, ...]:
    """The token ids of `force_text`."""
    return tuple(tokenizer.encode(force_text(tokenizer), add_special_tokens=False))


def closing_text(tokenizer: Any) -> str | None:
    """The text that ends a thought and leaves the answer to the model; None where the model marks no thinking."""
    marks = marks_of(tokenizer)
    if marks is None:
        return None
    end = marks.before_close + marks.closes
    spaced = f"\n{end}\n\n"
    is_lossless = tokenizer.decode(tokenizer.encode(spaced, add_special_tokens=False)) == spaced
    return spaced if is_lossless else end
