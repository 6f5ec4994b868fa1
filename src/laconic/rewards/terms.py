"""Reward terms: what one response earns, as a function of its group's numbers.

1. A term takes `GroupNumbers` (lengths, grades, what else is known of the responses) and returns one number a response,
   [K].
2. `REWARDS` names every term; a recipe composes them by name and weight. A name like "my_rewards.py:short_and_right" is
   a person's own function, in a file of theirs (`own.py`).
3. `pay` adds them up and keeps what each one paid: the weighted terms sum to the reward.
4. Some terms remember. `MEMORIES` names their rules; `remembered` applies them once a step, after paying.

A term is either a part, made to be added to others (the levels, a length price, a penalty), or a paper's whole reward,
made to stand alone; each docstring says which, and docs/rewards.md lists them all.

`UNGRADABLE` responses get 0 from every term and enter no group statistic: a grader's crash neither pays nor costs,
and training masks it. Where a paper has a weight (alpha, lambda), it is an option of the term; what a paper leaves
undisclosed is the weight that the recipe gives.

What is left out: advantages and normalisation over a batch (`rl/advantages.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path

import numpy as np

from laconic.rewards.budgets import cosine, dast, dast_budget, discounted, l1_exact, l1_max, truncation
from laconic.rewards.laser import laser, laser_d, laser_de, remember_laser_d, remember_laser_de
from laconic.rewards.lead import lead, remember_lead
from laconic.rewards.numbers import FloatArray, GroupNumbers, Memory, numbers_of
from laconic.rewards.own import digest_own, is_own, load_own, own_rewards
from laconic.rewards.parts import kimi_length, levels, linear_length, soft_overlong
from laconic.rewards.penalties import garbled, overlong, repetition
from laconic.rewards.relative import (
    alp,
    arora_zanette,
    gr3,
    grpo_lambda,
    length_harmonizing,
    optimal_length,
    serial_exits,
    shorterbetter,
    smartthinker,
)
from laconic.rewards.remembering import acoer, hapo, remember_acoer, remember_hapo, remember_short_rl, short_rl
from laconic.types import Grade

__all__ = [
    "LENGTH_TERMS",
    "MEMORIES",
    "REWARDS",
    "TWO_SIDED_TERMS",
    "GroupNumbers",
    "Memory",
    "Option",
    "Remember",
    "RewardTerm",
    "Terms",
    "acoer",
    "alp",
    "arora_zanette",
    "check_terms",
    "cosine",
    "dast",
    "dast_budget",
    "digest_own",
    "discounted",
    "garbled",
    "gr3",
    "grpo_lambda",
    "hapo",
    "is_own",
    "kimi_length",
    "l1_exact",
    "l1_max",
    "laser",
    "laser_d",
    "laser_de",
    "lead",
    "length_harmonizing",
    "levels",
    "linear_length",
    "load_own",
    "numbers_of",
    "optimal_length",
    "overlong",
    "own_rewards",
    "pay",
    "remembered",
    "repetition",
    "serial_exits",
    "short_rl",
    "shorterbetter",
    "smartthinker",
    "soft_overlong",
    "truncation",
    "try_terms",
]

Option = float | bool
RewardTerm = Callable[..., FloatArray]
"""`term(numbers, **options) -> [K]` float64; options are keywords with a default each."""
Remember = Callable[..., Memory]
"""`rule(memory, groups, **options) -> Memory`; `groups` are the step's `GroupNumbers` by problem id."""
Terms = Sequence[tuple[str, float, Mapping[str, Option]]]
"""(name, weight, options) of each term."""

REWARDS: Mapping[str, RewardTerm] = {
    "levels": levels,
    "linear_length": linear_length,
    "soft_overlong": soft_overlong,
    "kimi_length": kimi_length,
    "truncation": truncation,
    "cosine": cosine,
    "l1_exact": l1_exact,
    "l1_max": l1_max,
    "arora_zanette": arora_zanette,
    "length_harmonizing": length_harmonizing,
    "shorterbetter": shorterbetter,
    "laser": laser,
    "laser_d": laser_d,
    "laser_de": laser_de,
    "dast": dast,
    "hapo": hapo,
    "alp": alp,
    "smartthinker": smartthinker,
    "lead": lead,
    "gr3": gr3,
    "acoer": acoer,
    "discounted": discounted,
    "serial_exits": serial_exits,
    "grpo_lambda": grpo_lambda,
    "short_rl": short_rl,
    "repetition": repetition,
    "overlong": overlong,
    "garbled": garbled,
}

MEMORIES: Mapping[str, Remember] = {
    "hapo": remember_hapo,
    "laser_d": remember_laser_d,
    "laser_de": remember_laser_de,
    "lead": remember_lead,
    "acoer": remember_acoer,
    "short_rl": remember_short_rl,
}
"""How the terms that remember do it. A rule's options are options of its term."""

LENGTH_TERMS: frozenset[str] = frozenset(REWARDS) - {"levels", "repetition", "overlong", "garbled"}
"""The terms whose pay depends on length."""

TWO_SIDED_TERMS: frozenset[str] = frozenset({"l1_exact", "lead"})
"""Those of them that draw length to a target from both sides: a shorter correct answer may earn less."""


def pay(
    numbers: GroupNumbers, terms: Terms, table: Mapping[str, RewardTerm] = REWARDS, folder: Path | None = None
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Reward [K] and the weighted terms [K] that sum to it; `terms` are (name, weight, options).

    A person's own reward is taken from `table` where that has it, else loaded from `folder` (the recipe's; `None`: the
    working directory) at every call: a run adds `own_rewards` to the table once. A group of which nothing could be graded is
    paid 0 without asking the terms. Raises `ValueError` for an unknown name
    (listing the known), an unknown option (naming it), a name used twice, and a term that does not return K finite
    numbers.

    >>> from laconic.types import Grade
    >>> group = GroupNumbers(np.array([100, 300]), (Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> total, parts = pay(group, [("levels", 1.0, {"wrong": -1.0}), ("kimi_length", 0.5, {})])
    >>> total.tolist(), parts["kimi_length"].tolist()
    ([1.25, -1.25], [0.25, -0.25])
    """
    known = _with_own(table, terms, folder)
    check_terms(terms, known)
    paid: dict[str, FloatArray] = {}
    for name, weight, options in terms:
        own_options = {key: value for key, value in options.items() if key in _options(known[name])}
        values = known[name](numbers, **own_options) if numbers.is_gradable.any() else np.zeros(len(numbers.grades))
        paid[name] = weight * _finite(name, values, numbers)
    return sum(paid.values(), start=np.zeros(len(numbers.grades))), paid


def remembered(memory: Memory, terms: Terms, groups: Mapping[str, GroupNumbers]) -> Memory:
    """What to remember after a step: `memory`, with the step's `groups` (by problem id) taken in by every term that does.

    Called once a step, after paying. Terms that remember nothing change nothing.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([120, 90]), (Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> remembered(Memory(), [("hapo", 1.0, {})], {"p7": numbers}).of("p7")
    {'hapo/shortest_correct': 120.0}
    """
    for name, _, options in terms:
        if name in MEMORIES:
            rule = MEMORIES[name]
            memory = rule(memory, groups, **{k: v for k, v in options.items() if k in _options(rule, 2)})
    return memory


def check_terms(terms: Terms, table: Mapping[str, RewardTerm] = REWARDS, folder: Path | None = None) -> None:
    """Raise `ValueError` where `pay` would refuse these terms for names, weights or options; needs no response yet."""
    table = _with_own(table, terms, folder)
    names = [name for name, _, _ in terms]
    for name, weight, options in terms:
        if name not in table:
            raise ValueError(f"unknown reward {name!r}; known: {', '.join(sorted(table))}")
        if names.count(name) > 1:
            raise ValueError(f"reward {name!r} is used twice; one entry a name")
        if not np.isfinite(weight):
            raise ValueError(f"reward {name!r}: weight {weight} is not a finite number")
        known = _options(table[name]) + [key for key in _memory_options(name) if key not in _options(table[name])]
        for option in options:
            if option not in known:
                raise ValueError(f"reward {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}")


def try_terms(
    terms: Terms, folder: Path, *, max_tokens: int, budget_tokens: int | None = None, has_reference: bool = False
) -> None:
    """Pay a made-up group by these terms, so that an option out of range, something a term cannot do without or a mistake in a
    person's own reward shows before a run begins.

    `max_tokens` is the cap, `budget_tokens` what prompts ask for, `has_reference` whether a probe tells of the reference. Raises
    `ValueError` as `pay` does, and what a term raises.
    """
    grades = (Grade.CORRECT, Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED, Grade.UNGRADABLE)
    lengths = np.minimum([3, 7, 5, 4, 9, 6], max_tokens)
    group = GroupNumbers(
        lengths,
        grades,
        6.0 if has_reference else None,
        0.5 if has_reference else None,
        max_tokens=max_tokens,
        budget_tokens=budget_tokens,
        thinking_tokens=lengths - 1,
        texts=("so \\boxed{1}",) * len(grades),
        token_ids=tuple(tuple(range(n)) for n in lengths.tolist()),
    )
    pay(group, terms, REWARDS, folder)
    remembered(Memory(), terms, {"p": group})


def _with_own(table: Mapping[str, RewardTerm], terms: Terms, folder: Path | None) -> Mapping[str, RewardTerm]:
    names = [name for name, _, _ in terms if name not in table]
    return {**table, **own_rewards(names, folder or Path())} if any(map(is_own, names)) else table


def _options(function: Callable[..., object], num_first: int = 1) -> list[str]:
    """The names of a term's options, or of a memory rule's (after its first two parameters)."""
    return list(signature(function).parameters)[num_first:]


def _memory_options(name: str) -> list[str]:
    return _options(MEMORIES[name], 2) if name in MEMORIES else []


def _finite(name: str, values: object, numbers: GroupNumbers) -> FloatArray:
    """`values`, checked, with 0 for what was ungradable: so it holds for a person's own term too."""
    paid = _as_floats(values)
    if paid is None or paid.shape != (len(numbers.grades),) or not np.isfinite(paid).all():
        told = " ".join(str(values).split())
        raise ValueError(f"reward {name!r}: expected {len(numbers.grades)} finite numbers, got {told:.200}")
    return np.where(numbers.is_gradable, paid, 0.0)


def _as_floats(values: object) -> FloatArray | None:
    """`values` as float64; None where they are no numbers, or no array."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None
