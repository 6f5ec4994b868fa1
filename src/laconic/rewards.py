"""Reward terms: what one response earns, as a function of its group's numbers.

1. A term takes `GroupNumbers` (lengths, grades, what a probe knows of the problem) and returns one number a response,
   [K].
2. `REWARDS` names every term; a recipe composes them by name and weight.
3. `pay` adds them up and keeps what each one paid: the weighted terms sum to the reward.

A term is either a part (`levels`, `linear_length`, `soft_overlong`, `kimi_length`), made to be added to others, or a
paper's whole reward (`arora_zanette`, `length_harmonizing`, `truncation`), made to stand alone; each docstring says
which.

`UNGRADABLE` responses get 0 from every term and enter no group statistic: a grader's crash neither pays nor costs,
and training masks it. Where a paper has a weight (alpha, lambda), it is an option of the term; what a paper leaves
undisclosed is the weight that the recipe gives. A person's own reward is one more function of `GroupNumbers`: hand
`pay` a table that has it.

What is left out: advantages and normalisation (`advantages.py`), and memory across steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from laconic.types import Grade, Group

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Option = float | bool


@dataclass(frozen=True, slots=True, eq=False)
class GroupNumbers:
    """What a reward may look at: K responses to one problem.

    `lengths` [K] are generated tokens, end token included, at least 1; `grades` has K entries; `ref_mean_tokens` and
    `ref_solve_rate` are the reference model's on this problem (`None`: not probed); `max_tokens` is the sampling cap.
    Raises `ValueError` naming the field where one of these does not hold.
    """

    lengths: NDArray[np.int64]
    grades: tuple[Grade, ...]
    ref_mean_tokens: float | None = None
    ref_solve_rate: float | None = None
    max_tokens: int = 1

    def __post_init__(self) -> None:
        if self.lengths.shape != (len(self.grades),):
            raise ValueError(f"lengths: expected shape [{len(self.grades)}] as grades have, got {self.lengths.shape}")
        if (self.lengths < 1).any():
            raise ValueError("lengths: a response has at least one token")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: expected at least 1, got {self.max_tokens}")

    @property
    def is_gradable(self) -> BoolArray:
        """True where the grader could judge, shape [K]."""
        return np.array([grade is not Grade.UNGRADABLE for grade in self.grades], dtype=bool)

    @property
    def is_correct(self) -> BoolArray:
        """True where the answer is correct, shape [K]."""
        return np.array([grade is Grade.CORRECT for grade in self.grades], dtype=bool)


RewardTerm = Callable[..., FloatArray]
"""`term(numbers, **options) -> [K]` float64; options are keywords with a default each."""


def numbers_of(group: Group, max_tokens: int) -> GroupNumbers:
    """The numbers of a sampled group; `max_tokens` is the cap it was sampled under."""
    lengths = np.array(group.lengths, dtype=np.int64)
    return GroupNumbers(lengths, group.grades, group.ref_mean_tokens, group.ref_solve_rate, max_tokens)


def levels(
    numbers: GroupNumbers,
    correct: float = 1.0,
    wrong: float = -0.5,
    no_answer: float = -1.0,
    truncated: float = -1.0,
) -> FloatArray:
    """A level for each grade: Fatemi et al. 2025 (arXiv 2504.05185) and their released code.

    Theirs are +1 correct, -0.5 boxed but wrong, -1 without a boxed answer. They do not tell a cut-off response from one
    without an answer; here `truncated` has a level of its own. A part; blind to length.

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

    The plain token price that the shaped rewards below refine; no one paper's. Paid by wrong answers too it rewards
    giving up early, hence `only_correct`.

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
    ((L_max - L_cache) - L) / L_cache down to -1 at L_max, and -1 beyond. Their 4,096 of 20,480 tokens is a fifth.

    >>> soft_overlong(GroupNumbers(np.array([80, 90, 100]), (Grade.CORRECT,) * 3, max_tokens=100)).tolist()
    [0.0, -0.5, -1.0]
    """
    if not 0.0 < buffer_frac <= 1.0:
        raise ValueError(f"buffer_frac: expected a fraction in (0, 1], got {buffer_frac}")
    buffer_tokens = buffer_frac * numbers.max_tokens
    ramp = (numbers.max_tokens - buffer_tokens - numbers.lengths) / buffer_tokens
    return np.where(numbers.is_gradable, np.clip(ramp, -1.0, 0.0), 0.0)


def kimi_length(numbers: GroupNumbers) -> FloatArray:
    """Rank inside the group's range: Kimi k1.5 (arXiv 2501.12599), section 2.3.3, "length penalty". A part.

    lam = 0.5 - (L - min L) / (max L - min L); a correct answer gets lam, any other min(0, lam); all 0 where every
    length is equal. The range is over all gradable responses.

    >>> grades = (Grade.CORRECT, Grade.WRONG, Grade.CORRECT)
    >>> kimi_length(GroupNumbers(np.array([100, 200, 300]), grades, max_tokens=300)).tolist()
    [0.5, 0.0, -0.5]
    """
    gradable = numbers.lengths[numbers.is_gradable]
    if gradable.size == 0 or gradable.min() == gradable.max():
        return np.zeros(len(numbers.grades))
    lam = 0.5 - (numbers.lengths - gradable.min()) / (gradable.max() - gradable.min())
    return np.where(numbers.is_gradable, np.where(numbers.is_correct, lam, np.minimum(0.0, lam)), 0.0)


def arora_zanette(numbers: GroupNumbers, alpha: float = 0.1) -> FloatArray:
    """Correctness, a little less for the long ones: Arora & Zanette 2025 (arXiv 2502.04463). A whole reward.

    c (1 - alpha sigmoid((L - mean) / std)), mean and (population) std over the correct answers of the problem. One
    correct answer, or equal lengths: the deviation is 0 and each earns 1 - alpha / 2. Without the end token: 0. They
    divide no advantage by a group's standard deviation: in an all-correct group that would make alpha meaningless.

    >>> grades = (Grade.CORRECT, Grade.CORRECT, Grade.WRONG)  # mean 200, std 100: 1 - 0.1 sigmoid(-1 and 1)
    >>> arora_zanette(GroupNumbers(np.array([100, 300, 50]), grades, max_tokens=400)).round(4).tolist()
    [0.9731, 0.9269, 0.0]
    """
    correct = numbers.lengths[numbers.is_correct]
    if correct.size == 0:
        return np.zeros(len(numbers.grades))
    deviation = (numbers.lengths - correct.mean()) / (correct.std() or 1.0)
    return np.where(numbers.is_correct, 1.0 - alpha * expit(deviation), 0.0)


def length_harmonizing(numbers: GroupNumbers, accuracy_coef: float = 2.0, is_clamped: bool = False) -> FloatArray:
    """Shorter and better than the reference on this problem: O1-Pruner, Luo et al. 2025 (arXiv 2501.12570), eq. 6. A
    whole reward.

    L_ref / L - 1 + lambda (c - A_ref), with lambda = `accuracy_coef` (2 for Marco-o1, 5 for QwQ). Their code clamps
    it to [-2, 4] (`is_clamped`) and then z-scores it over the whole data set (not here: that is no function of one
    group). A wrong but very short answer can earn a positive reward: L_ref / L = 3 outweighs lambda = 2 at A_ref =
    0.9. Raises `ValueError` where the problem was not probed.

    >>> group = GroupNumbers(np.array([100, 400]), (Grade.CORRECT, Grade.WRONG), 200.0, 0.5, max_tokens=400)
    >>> length_harmonizing(group).tolist()  # 200/100 - 1 + 2 * 0.5 and 200/400 - 1 - 2 * 0.5
    [2.0, -1.5]
    """
    if numbers.ref_mean_tokens is None or numbers.ref_solve_rate is None:
        raise ValueError(
            "length_harmonizing: needs ref_mean_tokens and ref_solve_rate: probe the reference model first"
        )
    saved = numbers.ref_mean_tokens / numbers.lengths - 1.0
    gained = accuracy_coef * (numbers.is_correct - numbers.ref_solve_rate)
    total = np.clip(saved + gained, -2.0, 4.0) if is_clamped else saved + gained
    return np.where(numbers.is_gradable, total, 0.0)


def truncation(numbers: GroupNumbers, budget_tokens: float | None = None) -> FloatArray:
    """1 for a correct answer within the budget, else 0. A whole reward; `None`: the budget is `max_tokens`.

    ThinkPrune, Hou et al. 2025 (arXiv 2504.01296; budget tightened by stages, 4k, 3k, 2k), and DLER, Liu et
    al. 2025 (arXiv 2510.15110; 4,000 tokens). They also cut sampling at the budget; with `max_tokens` above it only
    the pay is cut.

    >>> group = GroupNumbers(np.array([90, 120]), (Grade.CORRECT, Grade.CORRECT), max_tokens=200)
    >>> truncation(group, budget_tokens=100).tolist()
    [1.0, 0.0]
    """
    budget = numbers.max_tokens if budget_tokens is None else budget_tokens
    return np.where(numbers.is_correct & (numbers.lengths <= budget), 1.0, 0.0)


REWARDS: Mapping[str, RewardTerm] = {
    "levels": levels,
    "linear_length": linear_length,
    "soft_overlong": soft_overlong,
    "kimi_length": kimi_length,
    "arora_zanette": arora_zanette,
    "length_harmonizing": length_harmonizing,
    "truncation": truncation,
}

LENGTH_TERMS: frozenset[str] = frozenset(REWARDS) - {"levels"}
"""The terms whose pay depends on length."""


def pay(
    numbers: GroupNumbers,
    terms: Sequence[tuple[str, float, Mapping[str, Option]]],
    table: Mapping[str, RewardTerm] = REWARDS,
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Reward [K] and the weighted terms [K] that sum to it; `terms` are (name, weight, options).

    Raises `ValueError` for an unknown name (listing the known), an unknown option (naming it), a name used twice, and
    a term that does not return K finite numbers.

    >>> group = GroupNumbers(np.array([100, 300]), (Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> total, parts = pay(group, [("levels", 1.0, {"wrong": -1.0}), ("kimi_length", 0.5, {})])
    >>> total.tolist(), parts["kimi_length"].tolist()
    ([1.25, -1.25], [0.25, -0.25])
    """
    check_terms(terms, table)
    paid = {name: weight * _finite(name, table[name](numbers, **options), numbers) for name, weight, options in terms}
    return sum(paid.values(), start=np.zeros(len(numbers.grades))), paid


def check_terms(
    terms: Sequence[tuple[str, float, Mapping[str, Option]]], table: Mapping[str, RewardTerm] = REWARDS
) -> None:
    """Raise `ValueError` where `pay` would refuse these terms for names, weights or options; needs no response yet."""
    names = [name for name, _, _ in terms]
    for name, weight, options in terms:
        if name not in table:
            raise ValueError(f"unknown reward {name!r}; known: {', '.join(sorted(table))}")
        if names.count(name) > 1:
            raise ValueError(f"reward {name!r} is used twice; one entry a name")
        if not np.isfinite(weight):
            raise ValueError(f"reward {name!r}: weight {weight} is not a finite number")
        known = list(signature(table[name]).parameters)[1:]
        for option in options:
            if option not in known:
                raise ValueError(f"reward {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}")


def _finite(name: str, values: FloatArray, numbers: GroupNumbers) -> FloatArray:
    """`values`, checked, with 0 for what was ungradable: so it holds for a person's own term too."""
    if np.shape(values) != (len(numbers.grades),) or not np.isfinite(values).all():
        raise ValueError(f"reward {name!r}: expected {len(numbers.grades)} finite numbers, got {values}")
    return np.where(numbers.is_gradable, values, 0.0)
