"""LASER: a bonus for correct answers within a target length. LASER-D and LASER-DE choose their targets during training.

1. `laser` pays the bonus under one fixed target.
2. `laser_d` has a target for each difficulty, which is the group's solve rate: high (>= 2/3), medium (>= 1/3), low.
3. Between steps `remember_laser_d` counts, for each difficulty, how many responses are within each length. Every 20 steps it
   chooses new targets: the shortest length within which a group still has one expected correct answer.
4. `laser_de` also pays wrong answers that are longer than the target and do not repeat themselves.

All are from Liu et al. 2025 (arXiv 2505.15612, ICLR 2026) and their released code (hkust-nlp/Laser). They are parts: the base
reward, 1 for correct and -0.5 for wrong, is set by the recipe's levels.

What differs: the authors count on a monitor set that is sampled every 20 steps, we on the training groups of the last 20 steps.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from laconic.rewards.numbers import (
    FloatArray,
    GroupNumbers,
    Memory,
    Remembered,
    known_list,
    known_number,
    needed,
    of_correct,
    whole,
)
from laconic.rewards.text_rules import count_repeated
from laconic.types import Grade

NUM_LENGTHS = 16
"""How many lengths a target is chosen from: sixteenths of the cap. The authors choose from 2,048 to 16,384 in steps of 1,024."""


class Difficulty(NamedTuple):
    """A band of solve rates, given by its lower end; `name` describes the solve rate ("high": easy problems)."""

    name: str
    min_solve_rate: float


DIFFICULTIES: tuple[Difficulty, ...] = (Difficulty("high", 2 / 3), Difficulty("medium", 1 / 3), Difficulty("low", 0.0))


def laser(numbers: GroupNumbers, target_tokens: float | None = None, bonus: float = 0.5) -> FloatArray:
    """A bonus for correct answers of at most the target length: LASER, Liu et al. 2025 (arXiv 2505.15612). A part.

    `bonus` where correct and L <= target, else 0: a long correct answer is not punished. Without `target_tokens` the target is a
    quarter of `max_tokens`, as 4,096 of 16,384 in the paper.

    >>> numbers = GroupNumbers(np.array([200, 300, 100]), (Grade.CORRECT, Grade.CORRECT, Grade.WRONG), max_tokens=800)
    >>> laser(numbers).tolist()
    [0.5, 0.0, 0.0]
    """
    return of_correct(numbers, np.where(numbers.lengths <= _first_target(numbers, target_tokens), bonus, 0.0))


def laser_d(numbers: GroupNumbers, target_tokens: float | None = None, bonus: float = 0.5) -> FloatArray:
    """LASER with a target for each difficulty, chosen again every 20 steps: LASER-D, Liu et al. 2025 (arXiv 2505.15612).

    As `laser`, with the target that is remembered for the group's solve rate. Before the first choice the target is
    `target_tokens` (by default a quarter of `max_tokens`) for all. A part. `remember_laser_d` chooses the targets.

    >>> memory = {"laser_d/target_high": 100.0, "laser_d/target_medium": 250.0}
    >>> numbers = GroupNumbers(np.array([200, 300]), (Grade.CORRECT, Grade.WRONG), max_tokens=800, memory=memory)
    >>> laser_d(numbers).tolist()  # solve rate 0.5: medium, 250
    [0.5, 0.0]
    """
    return of_correct(numbers, np.where(numbers.lengths <= _target(numbers, "laser_d", target_tokens), bonus, 0.0))


def laser_de(
    numbers: GroupNumbers, target_tokens: float | None = None, bonus: float = 0.5, ngram_tokens: float = 40
) -> FloatArray:
    """LASER-D that also pays wrong answers for going on beyond the target: LASER-DE, Liu et al. 2025 (arXiv 2505.15612).

    `bonus` for correct and L <= target, and for wrong and L > target, so that hard problems are explored. As in the released
    code, a wrong answer that repeats itself gets nothing, nor does one that was cut off or has no answer. The authors' detector
    looks for short pieces that recur nearby (2 to 4 tokens by length, twice or three times within a third of the text) and for
    pairs of them. Here an answer repeats itself where the same `ngram_tokens` tokens in a row occur twice, since short pieces of
    arithmetic recur in right answers too; with 0 this is not checked. A part. Raises `ValueError` without token ids, unless the
    check is off.

    >>> numbers = GroupNumbers(np.array([100, 300, 50]), (Grade.CORRECT, Grade.WRONG, Grade.WRONG), max_tokens=800)
    >>> laser_de(numbers, target_tokens=200, ngram_tokens=0).tolist()
    [0.5, 0.5, 0.0]
    """
    target = _target(numbers, "laser_de", target_tokens)
    is_wrong = np.array([grade is Grade.WRONG for grade in numbers.grades], dtype=bool)
    explores = is_wrong & (numbers.lengths > target) & ~_repeats(numbers, whole("ngram_tokens", ngram_tokens, 0))
    return of_correct(numbers, np.where(numbers.lengths <= target, bonus, 0.0), np.where(explores, bonus, 0.0))


def remember_laser_d(memory: Memory, groups: Mapping[str, GroupNumbers], every: float = 20) -> Memory:
    """The memory after this step: its lengths are counted; every `every` steps targets are chosen and the counts start again."""
    return _remember_targets(memory, groups, "laser_d", every)


def remember_laser_de(memory: Memory, groups: Mapping[str, GroupNumbers], every: float = 20) -> Memory:
    """As `remember_laser_d`, for LASER-DE."""
    return _remember_targets(memory, groups, "laser_de", every)


def choose_target(covered: NDArray[np.int64], min_correct: int) -> int:
    """The index of the shortest length within which a group still has one expected correct answer.

    `covered` counts the responses within each length, in the last entry all responses. `min_correct` is the least number of
    correct answers in a group of this difficulty; times the share of responses within the length it must reach 1. The last
    index where no length does.

    >>> choose_target(np.array([0, 2, 5, 10]), min_correct=5)  # 2/10 * 5 = 1
    1
    """
    return int(np.argmax(covered * min_correct >= max(int(covered[-1]), 1)))


def _remember_targets(memory: Memory, groups: Mapping[str, GroupNumbers], term: str, every: float) -> Memory:
    counts = {d.name: _covered(memory.shared, f"{term}/covered_{d.name}") for d in DIFFICULTIES}
    for numbers in groups.values():
        if numbers.is_gradable.any():
            counts[_difficulty(numbers).name] += _covers(numbers)
    steps = known_number(memory.shared, f"{term}/steps", 0.0) + 1.0
    if steps < whole("every", every):
        kept: dict[str, Remembered] = {
            f"{term}/covered_{name}": row.astype(np.float64).tolist() for name, row in counts.items()
        }
        return memory.with_shared({**kept, f"{term}/steps": steps})
    empty: dict[str, Remembered] = {f"{term}/covered_{d.name}": [] for d in DIFFICULTIES}
    return memory.with_shared({**empty, f"{term}/steps": 0.0, **_chosen(counts, groups, term)})


def _chosen(counts: Mapping[str, NDArray[np.int64]], groups: Mapping[str, GroupNumbers], term: str) -> dict[str, float]:
    """The new target of each difficulty that occurred. Of K answers at least floor(2K/3), floor(K/3) and 1 are correct for the
    difficulties high, medium and low; K are those of one draw, for a group is still one where a step draws its problem twice."""
    size = max((numbers.num_drawn_together for numbers in groups.values()), default=1)
    cap = max((numbers.max_tokens for numbers in groups.values()), default=1)
    at_least = {"high": max(2 * size // 3, 1), "medium": max(size // 3, 1), "low": 1}
    return {
        f"{term}/target_{name}": cap * (choose_target(row, at_least[name]) + 1) / NUM_LENGTHS
        for name, row in counts.items()
        if row[-1] > 0
    }


def _covers(numbers: GroupNumbers) -> NDArray[np.int64]:
    """How many gradable responses are within each sixteenth of the cap; shape [16]."""
    limits = numbers.max_tokens * np.arange(1, NUM_LENGTHS + 1) / NUM_LENGTHS
    is_within = numbers.gradable_lengths[None, :] <= limits[:, None]
    return np.asarray(is_within.sum(axis=1), dtype=np.int64)


def _covered(memory: Mapping[str, Remembered], key: str) -> NDArray[np.int64]:
    return np.array(known_list(memory, key) or [0] * NUM_LENGTHS, dtype=np.int64)


def _difficulty(numbers: GroupNumbers) -> Difficulty:
    return next(d for d in DIFFICULTIES if numbers.solve_rate >= d.min_solve_rate)


def _target(numbers: GroupNumbers, term: str, target_tokens: float | None) -> float:
    first = _first_target(numbers, target_tokens)
    if not numbers.is_gradable.any():
        return first
    return known_number(numbers.memory, f"{term}/target_{_difficulty(numbers).name}", first)


def _first_target(numbers: GroupNumbers, target_tokens: float | None) -> float:
    if target_tokens is not None and target_tokens <= 0:
        raise ValueError(f"target_tokens: expected a positive number of tokens, got {target_tokens}")
    return numbers.max_tokens / 4 if target_tokens is None else target_tokens


def _repeats(numbers: GroupNumbers, ngram_tokens: int) -> NDArray[np.bool_]:
    """True where a response has the same `ngram_tokens` tokens in a row twice, shape [K]; False everywhere for 0 tokens."""
    if ngram_tokens == 0:
        return np.zeros(len(numbers.grades), dtype=bool)
    ids = needed(numbers.token_ids or None, "laser_de", "token_ids, or ngram_tokens = 0")
    return np.array([count_repeated(row, ngram_tokens) > 0 for row in ids], dtype=bool)
