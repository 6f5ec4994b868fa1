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

from laconic.errors import InputError, LaconicWarning


def hesitation_tokens(tokenizer: Any, words: Sequence[str], *, are_asked_for: bool = True) -> tuple[int, ...]:
    """The ids of all tokens that are one of the words, whatever their capitals and the spaces and signs around them.

    Raises an `InputError` that names a word for which the tokenizer has no token of its own. Of words that nobody has asked for
    some may have none, but not all.
    """
    ids = range(len(tokenizer))
    texts = tokenizer.batch_decode([[token] for token in ids], clean_up_tokenization_spaces=False)
    found: dict[str, list[int]] = {word.casefold(): [] for word in words}
    for token, text in zip(ids, texts, strict=True):
        found.get(re.sub(r"^[\W_]+|[\W_]+$", "", text).casefold(), []).append(token)
    missing = [word for word in words if not found[word.casefold()]]
    if not are_asked_for and len(missing) == len(words):
        raise InputError(
            f"--penalty: none of {', '.join(words)} is one token of this model; name words with --penalize"
        )
    for word in missing:
        if are_asked_for:
            raise InputError(
                f"--penalize {word}: is no token of this model's tokenizer; expected a word that is one token"
            )
    if missing:
        text = f"--penalty: {', '.join(missing)} is no token of this model's tokenizer, and is left alone"
        warnings.warn(text, LaconicWarning, stacklevel=2)
    return tuple(sorted({token for tokens in found.values() for token in tokens}))
