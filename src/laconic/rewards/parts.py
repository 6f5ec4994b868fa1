"""Parts: terms that are added to other terms, each a function of grades and lengths alone.

1. `levels` pays each grade its level.
2. `linear_length`, `soft_overlong` and `kimi_length` price length; a recipe adds them, with a weight, to the levels.

What is left out: rewards that are used alone (the other modules).
"""

import numpy as np

from laconic.config.defaults import CORRECT, NO_ANSWER, TRUNCATED, WRONG
from laconic.rewards.numbers import FloatArray, GroupNumbers
from laconic.types import Grade


def levels(
    numbers: GroupNumbers,
    correct: float = CORRECT,
    wrong: float = WRONG,
    no_answer: float = NO_ANSWER,
    truncated: float = TRUNCATED,
) -> FloatArray:
    """A level for each grade: Fatemi et al. 2025 (arXiv 2504.05185) and their released code.

    Their levels are +1 for correct, -0.5 for boxed but wrong, -1 without a boxed answer. They do not distinguish a response that
    was cut off from one without an answer; here `truncated` has its own level. A part; it does not depend on length.

    >>> levels(GroupNumbers(np.array([5, 9, 9]), (Grade.CORRECT, Grade.WRONG, Grade.UNGRADABLE), max_tokens=9)).tolist()
    [1.0, -0.5, 0.0]
    """
    level = {
        Grade.CORRECT: correct,
        Grade.WRONG: wrong,
        Grade.NO_ANSWER: no_answer,
        Grade.TRUNCATED: truncated,
        Grade.UNGRADABLE: 0.0,
    }
    return np.array([level[grade] for grade in numbers.grades], dtype=np.float64)


def linear_length(numbers: GroupNumbers, per_tokens: float = 1000.0, only_correct: bool = False) -> FloatArray:
    """A price for every token: -L / per_tokens, for all answers or for correct ones alone. A part.

    This is the plain price per token that the shaped rewards refine; it comes from no particular paper. Where wrong answers pay
    it too, giving up early is rewarded; `only_correct` avoids that.

    >>> linear_length(GroupNumbers(np.array([500, 2000]), (Grade.CORRECT, Grade.WRONG), max_tokens=2000)).tolist()
    [-0.5, -2.0]
    """
    if per_tokens <= 0:
        raise ValueError(f"per_tokens: expected a positive number of tokens, got {per_tokens}")
    pays = numbers.is_correct if only_correct else numbers.is_gradable
    return np.where(pays, -numbers.lengths / per_tokens, 0.0)


def soft_overlong(numbers: GroupNumbers, buffer_frac: float = 0.2) -> FloatArray:
    """A ramp before the cap: DAPO, Yu et al. 2025 (arXiv 2503.14476), eq. 13. A part; a soft cap, not conciseness.

    With L_max = `max_tokens` and L_cache = buffer_frac * L_max: 0 where L <= L_max - L_cache, then
    ((L_max - L_cache) - L) / L_cache down to -1 at L_max, and -1 beyond. DAPO has L_cache 4,096 of 20,480 tokens, a fifth.

    >>> soft_overlong(GroupNumbers(np.array([80, 90, 100]), (Grade.CORRECT,) * 3, max_tokens=100)).tolist()
    [0.0, -0.5, -1.0]
    """
    if not 0.0 < buffer_frac <= 1.0:
        raise ValueError(f"buffer_frac: expected a fraction in (0, 1], got {buffer_frac}")
    buffer_tokens = buffer_frac * numbers.max_tokens
    ramp = (numbers.max_tokens - buffer_tokens - numbers.lengths) / buffer_tokens
    return np.where(numbers.is_gradable, np.clip(ramp, -1.0, 0.0), 0.0)


def kimi_length(numbers: GroupNumbers) -> FloatArray:
    """Place in the group's range of lengths: Kimi k1.5 (arXiv 2501.12599), section 2.3.3, "length penalty". A part.

    lam = 0.5 - (L - min L) / (max L - min L); a correct answer gets lam, any other min(0, lam); all 0 where every
    length is equal. The range is over all gradable responses. The weight is not published; a re-implementation
    (LASER's repository) takes 0.4. Kimi's training begins without this term; in a recipe that is an earlier phase.

    >>> grades = (Grade.CORRECT, Grade.WRONG, Grade.CORRECT)
    >>> kimi_length(GroupNumbers(np.array([100, 200, 300]), grades, max_tokens=300)).tolist()
    [0.5, 0.0, -0.5]
    """
    gradable = numbers.gradable_lengths
    if gradable.size == 0 or gradable.min() == gradable.max():
        return np.zeros(len(numbers.grades))
    lam = 0.5 - (numbers.lengths - gradable.min()) / (gradable.max() - gradable.min())
    return np.where(numbers.is_gradable, np.where(numbers.is_correct, lam, np.minimum(0.0, lam)), 0.0)
