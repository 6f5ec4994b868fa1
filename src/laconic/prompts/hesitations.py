"""Words with which a model hesitates, such as "wait" and "alternatively", as tokens whose logits a penalty lowers.

A baseline that needs no training: at every step z_v <- z_v - penalty for each token v that is one of the words. arXiv 2606.00206
reports 12 to 23% fewer tokens with such a penalty; its exact formula could not be read, so this is the plain form. NOWAIT (Wang
et al. 2025, arXiv 2506.08343) forbids such tokens, which a large penalty comes to; it takes every token that contains a word,
where here a token has to be the word, so that "wait" does not stand for "await".
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

from laconic.config.defaults import HESITATIONS
from laconic.errors import InputError, LaconicWarning


def hesitation_tokens(tokenizer: Any, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """For each word the ids of all tokens that are it, whatever their capitals and the spaces and signs around them; none for a
    word that is no token."""
    ids = range(len(tokenizer))
    texts = tokenizer.batch_decode([[token] for token in ids], clean_up_tokenization_spaces=False)
    found: dict[str, list[int]] = {word.casefold(): [] for word in words}
    for token, text in zip(ids, texts, strict=True):
        found.get(re.sub(r"^[\W_]+|[\W_]+$", "", text).casefold(), []).append(token)
    return {word: tuple(found[word.casefold()]) for word in words}


def tokens_asked_for(tokenizer: Any, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The tokens of words that a person has named. Raises an `InputError` that names a word that is no token."""
    found = hesitation_tokens(tokenizer, words)
    for word, tokens in found.items():
        if not tokens:
            raise InputError(
                f"--penalize {word}: is no token of this model's tokenizer; expected a word that is one token"
            )
    return found


def usual_tokens(tokenizer: Any) -> dict[str, tuple[int, ...]]:
    """The tokens of the usual words, without those that are no token, of which a warning is given. Raises an `InputError` where
    none is one."""
    found = hesitation_tokens(tokenizer, HESITATIONS)
    missing = ", ".join(word for word, tokens in found.items() if not tokens)
    if not any(found.values()):
        raise InputError(f"--penalty: none of {missing} is one token of this model; name words with --penalize")
    if missing:
        text = f"--penalty: {missing} is no token of this model's tokenizer, and is left alone"
        warnings.warn(text, LaconicWarning, stacklevel=2)
    return {word: tokens for word, tokens in found.items() if tokens}
