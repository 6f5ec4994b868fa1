"""The tokens that a hesitating word is."""

import pytest

from laconic.errors import InputError, LaconicWarning
from laconic.prompts.hesitations import hesitation_tokens, tokens_asked_for, usual_tokens


def test_a_word_is_all_tokens_that_are_it() -> None:
    class Tokenizer:
        texts = ("wait", " Wait", "await", "WAIT,", "waiting", "but", "...")

        def __len__(self) -> int:
            return len(self.texts)

        def batch_decode(self, ids: list[list[int]], **_: bool) -> list[str]:
            return [self.texts[token] for (token,) in ids]

    found = {"wait": (0, 1, 3), "but": (5,), "hmm": ()}
    assert hesitation_tokens(Tokenizer(), ["wait", "but", "hmm"]) == found
    assert tokens_asked_for(Tokenizer(), ["Wait"]) == {"Wait": (0, 1, 3)}
    with pytest.raises(InputError, match="--penalize hmm: is no token of this model's tokenizer"):
        tokens_asked_for(Tokenizer(), ["wait", "hmm"])
    with pytest.warns(LaconicWarning, match="--penalty: alternatively is no token"):
        assert usual_tokens(Tokenizer()) == {"wait": (0, 1, 3)}
    Tokenizer.texts = ("but",)
    with pytest.raises(
        InputError, match="--penalty: none of wait, alternatively is one token of this model; name words"
    ):
        usual_tokens(Tokenizer())
