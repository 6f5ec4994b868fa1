"""Rewards that remember earlier steps, each with the rule that updates its memory.

1. `hapo` compares a response with the shortest correct one so far to its problem.
2. `acoer` pays correct answers by a moving token budget, with a weight that grows while accuracy does not fall.
3. `short_rl` pays for length only while accuracy is near its best so far.

A term reads `numbers.memory`, which is from before the responses that it pays. After a step is paid, the rule takes the step's
groups and returns the next memory. A rule's options are options of its term.

What is left out: the rules of LASER-D (`laser.py`) and LEAD (`lead.py`).
"""

from collections.abc import Iterable, Mapping

import numpy as np

from laconic.rewards.numbers import FloatArray, GroupNumbers, Memory, known_list, known_number, of_correct, whole

_SHORTEST = "hapo/shortest_correct"


def hapo(numbers: GroupNumbers, weight: float = 1.0, floor: float = -0.7) -> FloatArray:
    """Correctness, plus a cosine of length over the shortest correct length so far: HAPO, Huang et al. 2025 (2505.11225).

    With h that length for this problem and f = cos(min(pi/2 * L / h, pi)): c + weight * max(f, `floor`) for a correct
    answer, weight * min(f, 0) for any other, and no length term before the first correct answer. So a correct answer
    is never worth less than a wrong one, and a wrong one that is not longer than h loses nothing. A whole reward. "So far"
    means since the phase began, since terms remember within a phase. A `weight` above 1 would undo what the floor is for.

    >>> from laconic.types import Grade
    >>> grades = (Grade.CORRECT, Grade.CORRECT, Grade.WRONG)
    >>> numbers = GroupNumbers(np.array([100, 400, 100]), grades, max_tokens=400, memory={"hapo/shortest_correct": 200.0})
    >>> hapo(numbers).round(4).tolist()  # f = cos(pi/4) and cos(pi)
    [1.7071, 0.3, 0.0]
    """
    if _SHORTEST not in numbers.memory:
        return of_correct(numbers, 1.0)
    shortest = known_number(numbers.memory, _SHORTEST, np.inf)
    f = np.cos(np.minimum(np.pi / 2.0 * numbers.lengths / shortest, np.pi))
    return of_correct(numbers, 1.0 + weight * np.maximum(f, floor), weight * np.minimum(f, 0.0))


def remember_hapo(memory: Memory, groups: Mapping[str, GroupNumbers]) -> Memory:
    """The shortest correct length of each problem, this step's included."""
    shortest = {
        key: float(numbers.correct_lengths.min()) for key, numbers in groups.items() if numbers.correct_lengths.size
    }
    return memory.with_problems(
        {
            key: {_SHORTEST: min(tokens, known_number(memory.of(key), _SHORTEST, tokens))}
            for key, tokens in shortest.items()
        }
    )


def acoer(numbers: GroupNumbers, first_weight: float = 0.02, log_scale: float = 5.0) -> FloatArray:
    """One for correct, plus a bonus for what it saves of a moving budget: ACOER, Lee et al. 2026 (arXiv 2606.22716).

    c (1 + alpha log(1 + s (1 - min(L / B, 1))) / log(1 + s)), s = `log_scale`; alpha and the budget B are remembered
    (`remember_acoer`), at first `first_weight` and `max_tokens`. A whole reward; a wrong answer of any length gets 0. From the
    released code, where L counts the characters of the thinking; here it counts the tokens of the response.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([100, 400, 9]), (Grade.CORRECT,) * 2 + (Grade.WRONG,), max_tokens=400)
    >>> acoer(numbers, first_weight=0.5, log_scale=4.0).round(4).tolist()  # log(4) / log(5) = 0.8614
    [1.4307, 1.0, 0.0]
    """
    weight = known_number(numbers.memory, "acoer/weight", first_weight)
    budget = known_number(numbers.memory, "acoer/budget_tokens", float(numbers.max_tokens))
    saved = 1.0 - np.minimum(numbers.lengths / budget, 1.0)
    return of_correct(numbers, 1.0 + weight * np.log1p(log_scale * saved) / np.log1p(log_scale))


def remember_acoer(
    memory: Memory,
    groups: Mapping[str, GroupNumbers],
    first_weight: float = 0.02,
    min_weight: float = 0.01,
    max_weight: float = 0.5,
    raise_by: float = 1.02,
    lower_by: float = 0.95,
    ema_span: float = 50,
    window: float = 100,
    warmup: float = 200,
    max_drop: float = 0.02,
    budget_ratio: float = 0.85,
    min_budget_tokens: float = 512.0,
) -> Memory:
    """Moving averages of accuracy and of correct length; after the warm-up also the next weight and budget.

    An average moves by 2 / (`ema_span` + 1) of the way to the new value. After `warmup` steps, and once `window` steps are known,
    the weight is multiplied by `lower_by` if accuracy fell by more than `max_drop` from the first to the last of these steps,
    else by `raise_by`, within its bounds; the budget is max(`min_budget_tokens`, `budget_ratio` * mean correct length). The
    defaults are those of the released code, whose warm-up counts trainer steps: a run of fewer than 200 steps, or of answers
    below 512 tokens, needs others. A step without a correct answer does not change the mean length (the released code averages a
    0 in).
    """
    accuracy = _accuracy(groups.values())
    if np.isnan(accuracy):
        return memory
    rate, known = 2.0 / (ema_span + 1.0), memory.shared
    correct = np.concatenate([numbers.correct_lengths for numbers in groups.values()])
    trend = [*known_list(known, "acoer/accuracies"), _moved(known, "acoer/accuracy", accuracy, rate)][
        -whole("window", window) :
    ]
    memory = memory.with_shared(
        {
            "acoer/accuracy": trend[-1],
            "acoer/accuracies": trend,
            "acoer/steps": known_number(known, "acoer/steps", 0.0) + 1.0,
        }
    )
    if correct.size:
        length = _moved(known, "acoer/correct_tokens", float(correct.mean()), rate)
        memory = memory.with_shared({"acoer/correct_tokens": length})
    if known_number(memory.shared, "acoer/steps", 0.0) <= warmup or len(trend) < window:
        return memory
    factor = lower_by if trend[0] - trend[-1] > max_drop else raise_by
    weight = float(np.clip(known_number(known, "acoer/weight", first_weight) * factor, min_weight, max_weight))
    return _with_budget(memory.with_shared({"acoer/weight": weight}), budget_ratio, min_budget_tokens)


def short_rl(numbers: GroupNumbers, accuracy_tolerance: float = 0.05, length_tolerance: float = 200.0) -> FloatArray:
    """A lazy length term for correct answers, paid only near the best accuracy: Short-RL, Yuan et al. (arXiv 2505.12284).

    It is paid while accuracy is at least its best so far minus `accuracy_tolerance`, and is 0 else: 0.5 for a correct answer
    within `length_tolerance` tokens of the shortest correct one, and beyond that 0.5 - (L - min) / (max - min) over the correct
    lengths. A part. The released code takes this step's accuracy; a term sees one group, so here it is the accuracy of the step
    before (`remember_short_rl`), and in the first step nothing is paid. The tolerances are those of the authors' logic puzzles
    (answers of up to 4,096 tokens): where answers differ by less than 200 tokens, set another.

    >>> from laconic.types import Grade
    >>> memory = {"short_rl/accuracy": 0.6, "short_rl/best_accuracy": 0.62}
    >>> numbers = GroupNumbers(np.array([100, 150, 300, 50]), (Grade.CORRECT,) * 3 + (Grade.WRONG,), memory=memory)
    >>> short_rl(numbers, length_tolerance=50).tolist()
    [0.5, 0.5, -0.5, 0.0]
    """
    best = known_number(numbers.memory, "short_rl/best_accuracy", np.inf)
    is_open = known_number(numbers.memory, "short_rl/accuracy", 0.0) >= best - accuracy_tolerance
    correct = numbers.correct_lengths
    if not is_open or correct.size == 0:
        return np.zeros(len(numbers.grades))
    excess = numbers.lengths - correct.min()
    place = excess / max(int(correct.max() - correct.min()), 1)
    return of_correct(numbers, np.where(excess > length_tolerance, 0.5 - place, 0.5))


def remember_short_rl(memory: Memory, groups: Mapping[str, GroupNumbers], ema_decay: float = 0.0) -> Memory:
    """The accuracy of this step (with `ema_decay` above 0, the paper's value, a moving average), and the best so far."""
    accuracy = _accuracy(groups.values())
    if np.isnan(accuracy):
        return memory
    moved = _moved(memory.shared, "short_rl/accuracy", accuracy, 1.0 - ema_decay)
    best = max(moved, known_number(memory.shared, "short_rl/best_accuracy", 0.0))
    return memory.with_shared({"short_rl/accuracy": moved, "short_rl/best_accuracy": best})


def _with_budget(memory: Memory, budget_ratio: float, min_budget_tokens: float) -> Memory:
    """`memory` with ACOER's budget, where a correct length is known."""
    if "acoer/correct_tokens" not in memory.shared:
        return memory
    budget = max(min_budget_tokens, budget_ratio * known_number(memory.shared, "acoer/correct_tokens", 0.0))
    return memory.with_shared({"acoer/budget_tokens": budget})


def _moved(memory: Mapping[str, float | list[float]], key: str, value: float, rate: float) -> float:
    """The average under `key`, moved towards `value` by `rate`; `value` itself where there is none yet."""
    before = known_number(memory, key, value)
    return before + rate * (value - before)


def _accuracy(groups: Iterable[GroupNumbers]) -> float:
    """Correct / gradable over all groups; `nan` where nothing could be graded."""
    counts = [(int(numbers.is_correct.sum()), int(numbers.is_gradable.sum())) for numbers in groups]
    num_gradable = sum(gradable for _, gradable in counts)
    return sum(correct for correct, _ in counts) / num_gradable if num_gradable else float("nan")
