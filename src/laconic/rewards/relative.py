"""Rewards that compare a response with other responses to its problem: those of its group, or the reference model's.

1. With the correct ones of its group: `arora_zanette`, `shorterbetter`, `smartthinker`, `serial_exits`, `grpo_lambda`.
2. With the whole group: `alp` (its solve rate), `gr3` (its mean length).
3. With the reference: `length_harmonizing` (O1-Pruner).

Each is the whole reward of a paper and is used alone (with the recipe's levels at 0). Standard deviations are population ones.

What is left out: comparison with earlier steps (`remembering.py`).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from laconic.rewards.numbers import FloatArray, GroupNumbers, needed, of_correct

ROUNDING_TOKENS = 1e-6
"""Smaller differences of tokens are rounding errors, which the weight of `smartthinker` would turn into a whole penalty."""


def arora_zanette(numbers: GroupNumbers, alpha: float = 0.1) -> FloatArray:
    """Correctness, a little less for long answers: Arora & Zanette 2025 (arXiv 2502.04463). A whole reward.

    c (1 - alpha sigmoid((L - mean) / std)), mean and (population) std over the correct answers of the problem. With one correct
    answer, or with equal lengths, the deviation is 0 and each earns 1 - alpha / 2. A response without the end token earns 0. The
    paper tries alpha 0.05, 0.1, 0.2 and 0.4, and does not divide advantages by a group's standard deviation: in an all-correct
    group alpha would then have no effect.

    >>> from laconic.types import Grade
    >>> grades = (Grade.CORRECT, Grade.CORRECT, Grade.WRONG)  # mean 200, std 100: 1 - 0.1 sigmoid(-1 and 1)
    >>> arora_zanette(GroupNumbers(np.array([100, 300, 50]), grades, max_tokens=400)).round(4).tolist()
    [0.9731, 0.9269, 0.0]
    """
    return of_correct(numbers, 1.0 - alpha * expit(_deviation(numbers)))


def grpo_lambda(numbers: GroupNumbers, alpha: float = 0.1, min_accuracy_frac: float = 0.75) -> FloatArray:
    """Arora and Zanette's price in groups that are mostly right, else plain 0 and 1: GRPO-lambda (arXiv 2505.18086).

    At a solve rate of at least `min_accuracy_frac` it is c (1 - alpha sigmoid((L - mean) / std)) as in `arora_zanette`, below
    that rate it is c. The paper's abstract says that length is priced only where the group's share of correct answers is high.
    According to others the paper prices the best share of a batch's groups instead of using a fixed rate; we know neither that
    share nor its alpha. A term sees one group, so the rate is fixed here, and both defaults are ours.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([100, 300]), (Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> grpo_lambda(numbers).tolist(), grpo_lambda(numbers, min_accuracy_frac=0.5).tolist()
    ([1.0, 0.0], [0.95, 0.0])
    """
    is_priced = numbers.solve_rate >= min_accuracy_frac
    return of_correct(numbers, 1.0 - alpha * expit(_deviation(numbers)) if is_priced else 1.0)


def shorterbetter(numbers: GroupNumbers, correct: float = 2.0, per_token: float = 0.001) -> FloatArray:
    """Correctness, minus the distance to the shortest correct answer: ShorterBetter, Yi et al. 2025 (arXiv 2504.21370).

    alpha c - beta |L - SOL|, alpha = `correct` (1 or 2 in the paper), beta = `per_token`; SOL, the sample optimal length, is the
    shortest correct length of the group, or the mean length where none is correct. Wrong answers pay for the distance too, above
    and below it. Where others ran the method again, responses became too short.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([100, 300, 50]), (Grade.CORRECT, Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> shorterbetter(numbers).round(9).tolist()
    [2.0, 1.8, -0.05]
    """
    if not numbers.is_gradable.any():
        return np.zeros(len(numbers.grades))
    correct_lengths = numbers.correct_lengths
    optimal = correct_lengths.min() if correct_lengths.size else numbers.gradable_lengths.mean()
    distance = np.abs(numbers.lengths - optimal)
    return np.where(numbers.is_gradable, correct * numbers.is_correct - per_token * distance, 0.0)


def alp(numbers: GroupNumbers, beta: float = 1e-7, normalizer_tokens: float = 1.0) -> FloatArray:
    """A token price that grows with the solve rate: ALP, Xiang et al. 2025 (arXiv 2506.05256).

    c - beta L max(p, 1 / K) / N for every answer, p = the group's solve rate, K = its gradable answers. beta is the paper's.
    Descriptions of the paper disagree on N: in one the length is not divided (N = 1, the default), in another it is divided by a
    constant of unknown value. With N = 1 the price of 5,000 tokens is 0.0005. So it has an effect only where advantages are
    divided by the group's standard deviation: it ranks the answers of all-correct groups by length. And it must not be small
    compared with the 1e-6 that is added to the deviation: for answers of 100 tokens raise beta.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([1000, 3000]), (Grade.CORRECT, Grade.WRONG), max_tokens=4000)
    >>> alp(numbers, beta=0.0002).round(9).tolist()  # p = 0.5: 0.0001 per token
    [0.9, -0.3]
    """
    if normalizer_tokens <= 0:
        raise ValueError(f"normalizer_tokens: expected a positive number of tokens, got {normalizer_tokens}")
    num_gradable = max(int(numbers.is_gradable.sum()), 1)
    rate = max(float(numbers.is_correct.sum()), 1.0) / num_gradable
    price = beta * rate * numbers.lengths / normalizer_tokens
    return np.where(numbers.is_gradable, numbers.is_correct - price, 0.0)


def gr3(numbers: GroupNumbers, alpha: float = 0.33) -> FloatArray:
    """Correctness, divided by one plus the relative length: GR3, Li et al. 2026 (arXiv 2603.10535).

    c / (1 + alpha L / mean L), the mean over the group. Since this is a product, a wrong answer gains nothing by being short.
    The paper's calibration of alpha to the advantages is left out.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([100, 300, 200]), (Grade.CORRECT, Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> gr3(numbers, alpha=0.5).round(9).tolist()  # mean 200: 1 / 1.25 and 1 / 1.75
    [0.8, 0.571428571, 0.0]
    """
    if not numbers.is_gradable.any():
        return np.zeros(len(numbers.grades))
    return of_correct(numbers, 1.0 / (1.0 + alpha * numbers.lengths / numbers.gradable_lengths.mean()))


def serial_exits(numbers: GroupNumbers, decay: float = 0.5) -> FloatArray:
    """1, 1/2, 1/4, ... for the correct exits in order of position: S-GRPO, Dai et al. 2025 (arXiv 2505.07686).

    decay^r, r = the number of shorter correct answers of the group; other answers get 0. The paper cuts one trace at 8 positions,
    forces an answer at each, and groups these exits (`rollouts = "serial"`); in a group of separate responses the same rule ranks
    them by length. The order of exits is that of their lengths, answer included, so a later exit with a much shorter answer comes
    first. Exits of equal length earn the same.

    >>> from laconic.types import Grade
    >>> grades = (Grade.CORRECT, Grade.WRONG, Grade.CORRECT, Grade.CORRECT)
    >>> serial_exits(GroupNumbers(np.array([300, 100, 200, 400]), grades, max_tokens=400)).tolist()
    [0.5, 0.0, 1.0, 0.25]
    """
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"decay: expected a factor in (0, 1], got {decay}")
    num_shorter = (numbers.correct_lengths[None, :] < numbers.lengths[:, None]).sum(axis=1)
    return of_correct(numbers, decay**num_shorter)


def optimal_length(lengths: NDArray[np.int64], correct_lengths: NDArray[np.int64]) -> float:
    """The length at which a normal fit to the correct lengths most outweighs one to all lengths, in tokens.

    (s1^2 m2 - s2^2 m1) / (s1^2 - s2^2), with means m and variances s^2 of all lengths (1) and of the correct ones (2), clipped to
    the range of lengths that occurred. It is a maximum only where s1 > s2. Where s2 > s1 the result is the shortest length, as in
    the released code; where the variances are equal, it is the shortest or longest length, on the side of m2 (the released code
    takes the other side). It is the shortest length where all are correct, the longest where none is. SmartThinker (arXiv
    2603.08000).

    >>> optimal_length(np.array([100, 200, 300, 400]), np.array([100, 200]))  # m 250 and 150, variances 12500 and 2500
    125.0
    """
    if correct_lengths.size in (0, lengths.size):
        return float(lengths.min() if correct_lengths.size else lengths.max())
    mean_all, mean_correct = float(lengths.mean()), float(correct_lengths.mean())
    var_all, var_correct = float(lengths.var()), float(correct_lengths.var())
    if var_correct < var_all:
        peak = (var_all * mean_correct - var_correct * mean_all) / (var_all - var_correct)
        return float(np.clip(peak, lengths.min(), lengths.max()))
    is_upper_end = var_correct == var_all and mean_correct > mean_all
    return float(lengths.max() if is_upper_end else lengths.min())


def smartthinker(numbers: GroupNumbers) -> FloatArray:
    """A price beyond the best length, the highest that leaves no correct answer below the mean: SmartThinker (2603.08000).

    c - w max(0, L - L_opt) for correct answers, 0 for others; L_opt = `optimal_length`. The weight is
    w = (1 - p) / (max - mean) of the group's penalties: with it the worst correct answer earns the group's mean, so no
    correct answer has a negative advantage. w is zero in all-correct and all-wrong groups. Hu et al., ICML 2026. With a fixed
    weight the authors lose 4.4 points.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([100, 200, 300, 400]), (Grade.CORRECT,) * 2 + (Grade.WRONG,) * 2, max_tokens=400)
    >>> smartthinker(numbers).round(6).tolist()  # beyond 125: 75, mean 18.75: w = 0.5 / 56.25
    [1.0, 0.333333, 0.0, 0.0]
    """
    if not numbers.is_gradable.any():
        return np.zeros(len(numbers.grades))
    best = optimal_length(numbers.gradable_lengths, numbers.correct_lengths)
    excess = numbers.lengths - best
    penalty = of_correct(numbers, np.where(excess > ROUNDING_TOKENS, excess, 0.0))
    headroom = float(penalty.max() - penalty[numbers.is_gradable].mean())
    weight = (1.0 - numbers.solve_rate) / headroom if headroom > 0.0 else 0.0
    return of_correct(numbers, 1.0 - weight * penalty)


def length_harmonizing(numbers: GroupNumbers, accuracy_coef: float = 2.0, is_clamped: bool = False) -> FloatArray:
    """How much shorter and better than the reference on this problem: O1-Pruner, Luo et al. 2025 (arXiv 2501.12570), eq. 6.

    L_ref / L - 1 + lambda (c - A_ref), with lambda = `accuracy_coef` (2 for Marco-o1, 5 for QwQ). A whole reward. The
    released code clamps it to [-2, 4] (`is_clamped`) and then z-scores it over the whole data set (which is not a function of one
    group: `rewards.standardize` of the recipe does it). A wrong but very short answer can earn a positive reward: L_ref / L = 3
    outweighs lambda = 2 at A_ref = 0.9. Raises `ValueError` where the problem was not probed.

    >>> from laconic.types import Grade
    >>> group = GroupNumbers(np.array([100, 400]), (Grade.CORRECT, Grade.WRONG), 200.0, 0.5, max_tokens=400)
    >>> length_harmonizing(group).tolist()  # 200/100 - 1 + 2 * 0.5 and 200/400 - 1 - 2 * 0.5
    [2.0, -1.5]
    """
    mean_tokens = needed(numbers.ref_mean_tokens, "length_harmonizing", _PROBE)
    solve_rate = needed(numbers.ref_solve_rate, "length_harmonizing", _PROBE)
    saved = mean_tokens / numbers.lengths - 1.0
    gained = accuracy_coef * (numbers.is_correct - solve_rate)
    total = np.clip(saved + gained, -2.0, 4.0) if is_clamped else saved + gained
    return np.where(numbers.is_gradable, total, 0.0)


def _deviation(numbers: GroupNumbers) -> FloatArray:
    """(L - mean) / std over the correct answers, [K]; L - mean where their std is 0; 0 where none is correct."""
    correct = numbers.correct_lengths
    if correct.size == 0:
        return np.zeros(len(numbers.grades))
    return np.asarray((numbers.lengths - correct.mean()) / (correct.std() or 1.0), dtype=np.float64)


_PROBE = "ref_mean_tokens and ref_solve_rate: in a recipe, a select that probes (how = 'all') or rollouts = 'offline'"
