"""Rewards that compare a response with a number of tokens: a cap, a budget in the prompt, or one set by the group.

1. A fixed budget: `truncation` (ThinkPrune, DLER), and `cosine`, a function of the length up to the cap.
2. A budget that the prompt asked for: `l1_exact`, `l1_max`.
3. A budget from the group's own solve rate: `dast`.
4. A price on every thinking token: `discounted`.

Each is the whole reward of a paper and is used alone (with the recipe's levels at 0).

What is left out: target lengths that change over a run (`laser.py`, `lead.py`, `remembering.py`).
"""

import numpy as np

from laconic.rewards.numbers import FloatArray, GroupNumbers, needed, of_correct


def truncation(numbers: GroupNumbers, budget_tokens: float | None = None) -> FloatArray:
    """1 for a correct answer within the budget, else 0: ThinkPrune (arXiv 2504.01296), DLER (arXiv 2510.15110).

    Without `budget_tokens` the budget is `max_tokens`. ThinkPrune, Hou et al. 2025, tightens it by stages (4k, 3k, 2k); DLER, Liu
    et al. 2025, has 4,000 tokens. Both also stop sampling at the budget; where `max_tokens` is larger, only the reward changes.

    >>> from laconic.types import Grade
    >>> group = GroupNumbers(np.array([90, 120]), (Grade.CORRECT, Grade.CORRECT), max_tokens=200)
    >>> truncation(group, budget_tokens=100).tolist()
    [1.0, 0.0]
    """
    budget = numbers.max_tokens if budget_tokens is None else budget_tokens
    return np.where(numbers.is_correct & (numbers.lengths <= budget), 1.0, 0.0)


def cosine(
    numbers: GroupNumbers,
    correct_start: float = 2.0,
    correct_end: float = 1.0,
    wrong_start: float = -10.0,
    wrong_end: float = 0.0,
    exceed: float = -10.0,
) -> FloatArray:
    """A cosine from one level at length 0 to another at the cap: Yeo et al. 2025 (arXiv 2502.03373), section 4.2.

    end + (start - end) (1 + cos(pi L / L_max)) / 2, with different levels for correct answers and for all others; `exceed` where
    the response reached the cap. The levels are those of the authors' script for that section, which adds the repetition
    penalty. They were chosen to make long chains of thought stable: a longer wrong answer is punished less. Their code counts a
    response within 16 tokens of the cap as exceeding it; here only one at the cap is.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([50, 50, 100]), (Grade.CORRECT, Grade.WRONG, Grade.TRUNCATED), max_tokens=100)
    >>> cosine(numbers).round(9).tolist()  # half way: (2 + 1) / 2 and (-10 + 0) / 2
    [1.5, -5.0, -10.0]
    """
    half_turn = (1.0 + np.cos(np.pi * numbers.lengths / numbers.max_tokens)) / 2.0
    correct = correct_end + (correct_start - correct_end) * half_turn
    wrong = wrong_end + (wrong_start - wrong_end) * half_turn
    has_exceeded = numbers.is_truncated | (numbers.lengths >= numbers.max_tokens)
    paid = np.where(has_exceeded, exceed, np.where(numbers.is_correct, correct, wrong))
    return np.where(numbers.is_gradable, paid, 0.0)


def l1_exact(numbers: GroupNumbers, per_token: float = 0.0003) -> FloatArray:
    """Correctness, minus the distance to the budget in the prompt: L1-Exact, Aggarwal & Welleck 2025 (arXiv 2503.04697).

    c - a |n - L|, a = `per_token`, n = the budget in the prompt ("Think for n tokens."). Two-sided: an answer shorter than the
    budget loses too. The paper draws n uniformly from 100 to 4,000. Raises `ValueError` without a budget.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([700]), (Grade.CORRECT,), max_tokens=4000, budget_tokens=512.0)
    >>> l1_exact(numbers).round(4).tolist()  # 1 - 0.0003 * 188
    [0.9436]
    """
    budget = needed(numbers.budget_tokens, "l1_exact", _BUDGET)
    distance = np.abs(budget - numbers.lengths)
    return np.where(numbers.is_gradable, numbers.is_correct - per_token * distance, 0.0)


def l1_max(numbers: GroupNumbers, per_token: float = 0.0003, offset: float = 0.5) -> FloatArray:
    """Correctness, times a factor that falls around the budget in the prompt: L1-Max, Aggarwal & Welleck 2025 (arXiv 2503.04697).

    c clip(a (n - L) + 0.5, 0, 1): a correct answer of the budget's length n earns half, a shorter one more, a longer one less.
    The authors found that a price that is added, instead of this product, leads to very short wrong answers. Raises
    `ValueError` without a budget.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([400, 2400]), (Grade.CORRECT,) * 2, max_tokens=4000, budget_tokens=1400.0)
    >>> l1_max(numbers).round(9).tolist()  # 0.5 + 0.3 and 0.5 - 0.3
    [0.8, 0.2]
    """
    budget = needed(numbers.budget_tokens, "l1_max", _BUDGET)
    return of_correct(numbers, np.clip(per_token * (budget - numbers.lengths) + offset, 0.0, 1.0))


def dast_budget(numbers: GroupNumbers) -> float:
    """The token budget that a group's solve rate gives its problem: p * mean correct length + (1 - p) * L_max, in tokens.

    It is L_max where no answer is correct, `nan` where none could be graded. DAST (arXiv 2503.04472), "token length budget".

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([80, 120, 90, 110, 900]), (Grade.CORRECT,) * 4 + (Grade.WRONG,), max_tokens=4096)
    >>> round(dast_budget(numbers), 9)  # 0.8 * 100 + 0.2 * 4096
    899.2
    """
    rate = numbers.solve_rate
    mean_correct = float(numbers.correct_lengths.mean()) if numbers.correct_lengths.size else 0.0
    return rate * mean_correct + (1.0 - rate) * numbers.max_tokens


def dast(numbers: GroupNumbers) -> FloatArray:
    """More for correct answers below a budget set by difficulty: DAST, Shen et al. 2025 (arXiv 2503.04472).

    With budget B (`dast_budget`) and d = (L - B) / B, a correct answer earns max(0.5 - 0.5 d, 0.1), any other min(0.9 d - 0.1,
    -0.1): a wrong answer loses less the longer it is, up to the budget. The paper ranks pairs for SimPO by it, over 20 samples
    per problem; here the samples are the group. A truncated answer counts as wrong.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([100, 300]), (Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> dast(numbers).round(9).tolist()  # B = 0.5 * 100 + 0.5 * 300 = 200, d = -0.5 and 0.5
    [0.75, -0.1]
    """
    budget = dast_budget(numbers)
    excess = (numbers.lengths - budget) / budget
    return of_correct(numbers, np.maximum(0.5 - 0.5 * excess, 0.1), np.minimum(0.9 * excess - 0.1, -0.1))


def discounted(numbers: GroupNumbers, gamma: float = 0.999) -> FloatArray:
    """A correct answer, discounted by every thinking token: gamma^K c (discounted RL, ICLR 2026, OpenReview R4GPttoDyn).

    K = thinking tokens; discounting the whole answer instead cost the authors 0.5 to 1 point. For gamma = 1 - eps it is about
    1 - eps K. Of their gamma we only know that it is near 1; the default is ours. Their format reward is another term, and
    their reset of the reference another key of the recipe. Raises `ValueError` where the number of thinking tokens is unknown.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([9, 9]), (Grade.CORRECT,) * 2, max_tokens=9, thinking_tokens=np.array([0, 2]))
    >>> discounted(numbers, gamma=0.5).tolist()
    [1.0, 0.25]
    """
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"gamma: expected a discount in (0, 1], got {gamma}")
    thinking = needed(numbers.thinking_tokens, "discounted", "thinking_tokens: a model that marks the end of thinking")
    return of_correct(numbers, gamma ** thinking.astype(np.float64))


_BUDGET = "budget_tokens: in a recipe, the phase's [budget], which asks for a number of tokens in the prompt"
