"""T1's penalties: for repetition, for running over the cap, and for garbled text. Parts.

1. `overlong` reads the grade: it penalises truncated responses.
2. `repetition` reads the token ids: it penalises a sequence of tokens that occurs again.
3. `garbled` reads the text: it penalises broken characters, words of mixed scripts, and mixed languages.

Hou et al. 2025, "T1" (arXiv 2501.11651), gives each a reward of -1 and reports that training is unstable without them.
They do not publish the n-gram rule's numbers, nor the rules for garbled text.

What is left out: their perplexity filter for garbled text, which needs a second model.
"""

import numpy as np

from laconic.rewards.numbers import FloatArray, GroupNumbers, needed, whole
from laconic.rewards.text_rules import count_repeated, garbling


def overlong(numbers: GroupNumbers, penalty: float = 1.0) -> FloatArray:
    """Minus one for a response that the cap cut off: T1, Hou et al. 2025 (arXiv 2501.11651). A part.

    It is used together with `levels`, and added to the level of truncated answers.

    >>> from laconic.types import Grade
    >>> overlong(GroupNumbers(np.array([9, 9]), (Grade.TRUNCATED, Grade.WRONG), max_tokens=9)).tolist()
    [-1.0, 0.0]
    """
    return np.where(numbers.is_truncated, -penalty, 0.0)


def repetition(
    numbers: GroupNumbers, ngram_tokens: float = 40, per_token: float = 0.05, max_penalty: float = 1.0
) -> FloatArray:
    """Minus 0.05 per token that repeats an earlier 40-gram, at most minus one: T1 (arXiv 2501.11651). A part.

    T1 gives -1 by an n-gram rule whose N and threshold are not published. The substitute is Yeo et al. 2025 (arXiv
    2502.03373): N = 40, -0.05 for every token of a repeated N-gram. In that paper each such token gets the penalty; here it is
    summed over the response, and is at most T1's 1 (`max_penalty`). With these numbers any repeated 40-gram costs 1. For
    short answers use a smaller N. Raises `ValueError` without token ids.

    >>> from laconic.types import Grade
    >>> ids = ((1, 2, 3, 1, 2, 3), (1, 2, 3, 4, 5, 6))
    >>> numbers = GroupNumbers(np.array([6, 6]), (Grade.WRONG,) * 2, max_tokens=6, token_ids=ids)
    >>> repetition(numbers, ngram_tokens=2).round(9).tolist()  # the second 1 2 3: three tokens
    [-0.15, 0.0]
    """
    ids = needed(numbers.token_ids or None, "repetition", "token_ids: a sampler that returns them")
    ngram = whole("ngram_tokens", ngram_tokens)
    repeated = np.array([count_repeated(row, ngram) for row in ids], dtype=np.float64)
    return np.where(numbers.is_gradable, 0.0 - np.minimum(per_token * repeated, max_penalty), 0.0)


def garbled(
    numbers: GroupNumbers, penalty: float = 1.0, max_broken: float = 3, max_mixed: float = 2, foreign_frac: float = 0.1
) -> FloatArray:
    """Minus one for a text with broken characters, mixed scripts or mixed languages: T1 (arXiv 2501.11651). A part.

    T1 uses rules and a perplexity filter and publishes neither; the rules and their numbers are ours (`text_rules.garbling`),
    and the filter is left out. Raises `ValueError` without texts.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([4, 4]), (Grade.WRONG,) * 2, max_tokens=9, texts=("so x = 4", "so" + "\ufffd" * 4))
    >>> garbled(numbers).tolist()
    [0.0, -1.0]
    """
    texts = needed(numbers.texts or None, "garbled", "texts: the responses as text")
    broken, mixed = whole("max_broken", max_broken, 0), whole("max_mixed", max_mixed, 0)
    broken_rules = [garbling(text, broken, mixed, foreign_frac) for text in texts]
    return np.where(numbers.is_gradable & np.array([bool(rule) for rule in broken_rules]), -penalty, 0.0)
