"""LEAD: the weighted sum of correctness and efficiency, each normalised in its group; the weights adapt during training.

1. A group's target length is its mean correct length. Efficiency is one minus the relative distance to it.
2. `lead` adds the two z-scores with the remembered weights.
3. Between steps `remember_lead` measures, over the step's groups, how much each of the two varies and how far it is from
   its best ("potential-scaled instability"), and moves the weights a little towards the share of each.

From Wei et al. 2026 (arXiv 2605.09806) and their released code (CrazyMint/LEAD), with the settings of its main script.

What differs: the authors update the weights before they use them in the same step. A term sees one group, so here the weights are
those of the step before (one half each in the first step). They divide by the sample deviation, we by the population deviation.
They whiten the whole batch afterwards; here the recipe decides that.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from laconic.rewards.numbers import FloatArray, GroupNumbers, Memory, known_number

EPSILON = 1e-8
_WEIGHT = "lead/correct_weight"


def lead(
    numbers: GroupNumbers,
    min_target_tokens: float = 1000.0,
    max_target_tokens: float | None = None,
    min_correct_weight: float = 0.3,
) -> FloatArray:
    """Two z-scores, of correctness and of nearness to the mean correct length: LEAD, Wei et al. 2026 (arXiv 2605.09806).

    w z(c) + (1 - w) z(e), z over the group, e = max(-1, 1 - |L - L*| / L*). L* is the mean correct length, clipped to
    [`min_target_tokens`, `max_target_tokens`] (1,000 and 8,000 in the paper; the upper end is by default `max_tokens`), and the
    upper end where no answer is correct. w is remembered (`remember_lead`), at least `min_correct_weight`, 0.5 in the first step.
    A whole reward; two-sided: an answer shorter than the mean correct length loses too. Raises `ValueError` where
    `min_target_tokens` is above the cap: for short problems it must be set.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([100, 300]), (Grade.CORRECT, Grade.WRONG), max_tokens=400)
    >>> lead(numbers, min_target_tokens=1).tolist()  # L* = 100: e = 1 and -1; both z-scores are 1 and -1
    [1.0, -1.0]
    """
    if not numbers.is_gradable.any():
        return np.zeros(len(numbers.grades))
    weight = max(known_number(numbers.memory, _WEIGHT, 0.5), min_correct_weight)
    efficiency = _efficiency(numbers, min_target_tokens, max_target_tokens)
    return weight * _z_scores(numbers, numbers.is_correct) + (1.0 - weight) * _z_scores(numbers, efficiency)


def remember_lead(
    memory: Memory,
    groups: Mapping[str, GroupNumbers],
    min_target_tokens: float = 1000.0,
    max_target_tokens: float | None = None,
    ema_decay: float = 0.95,
    potential_power: float = 1.0,
) -> Memory:
    """The weight of correctness after this step: decay * weight + (1 - decay) * D_c / (D_c + D_e).

    D = share of the coefficient of variation * (distance of the mean from its best)^`potential_power`. Mean and variance
    are over groups (total variance), of correctness over all answers, of efficiency over correct ones. While nothing is solved
    the share is 1. Where both D are 0 the weight does not change; in the released code both weights then shrink.
    """
    gradable = [numbers for numbers in groups.values() if numbers.is_gradable.any()]
    if not gradable:
        return memory
    correct = _moments([numbers.is_correct[numbers.is_gradable].astype(np.float64) for numbers in gradable])
    rows = [_efficiency(numbers, min_target_tokens, max_target_tokens)[numbers.is_correct] for numbers in gradable]
    efficient = _moments([row for row in rows if row.size])
    share = _share(correct, efficient, potential_power)
    weight = known_number(memory.shared, _WEIGHT, 0.5)
    if np.isnan(share):
        return memory
    return memory.with_shared({_WEIGHT: ema_decay * weight + (1.0 - ema_decay) * share})


def _share(correct: tuple[float, float], efficient: tuple[float, float], power: float) -> float:
    """D_c / (D_c + D_e) from (mean, deviation) of both; `nan` where both are 0. Efficiency runs from -1 to 1."""
    variation = [deviation / (abs(mean) + EPSILON) for mean, deviation in (correct, efficient)]
    total = sum(variation) + EPSILON
    potential = [(1.0 - correct[0]) ** power, ((1.0 - efficient[0]) / 2.0) ** power]
    worth = [v / total * p for v, p in zip(variation, potential, strict=True)]
    return worth[0] / sum(worth) if sum(worth) > 0.0 else float("nan")


def _moments(rows: Sequence[FloatArray]) -> tuple[float, float]:
    """Mean of the rows' means, and the deviation of all by the law of total variance; (0, 0) without rows."""
    if not rows:
        return 0.0, 0.0
    means = np.array([row.mean() for row in rows])
    within = np.mean([row.var() for row in rows])
    return float(means.mean()), float(np.sqrt(within + means.var() + EPSILON))


def _efficiency(numbers: GroupNumbers, min_target_tokens: float, max_target_tokens: float | None) -> FloatArray:
    top = numbers.max_tokens if max_target_tokens is None else max_target_tokens
    if not 0 < min_target_tokens <= top:
        raise ValueError(
            f"lead: min_target_tokens {min_target_tokens:g} is not between 1 and the cap of {top:g} tokens"
        )
    correct = numbers.correct_lengths
    target = float(np.clip(correct.mean(), min_target_tokens, top)) if correct.size else float(top)
    distance = np.abs(numbers.lengths - target) / target
    return np.asarray(np.maximum(-1.0, 1.0 - distance), dtype=np.float64)


def _z_scores(numbers: GroupNumbers, values: np.ndarray) -> FloatArray:
    """(value - mean) / std over gradable responses, [K]; 0 for ungradable ones, and for all where the values are equal."""
    kept = values[numbers.is_gradable].astype(np.float64)
    spread = float(kept.std())
    if spread < EPSILON:
        return np.zeros(len(numbers.grades))
    return np.where(numbers.is_gradable, (values - kept.mean()) / spread, 0.0)
