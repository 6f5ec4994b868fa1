"""Computing the rewards of a group from a recipe's terms, and remembering a step.

1. Before a run begins, `check_terms` and `try_terms` raise the errors that `pay` would raise in it.
2. `pay` adds up the terms and keeps what each one paid: the weighted terms sum to the reward.
3. `remember` updates the memory of the terms that remember, once per step, after paying.

`UNGRADABLE` responses get 0 from every term and count in no group statistic: a crash of the grader neither earns nor costs
anything, and training masks the response.

What is left out: advantages and normalisation over a batch (`rl/advantages.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from laconic.config.defaults import REWARD_TIMEOUT_SECONDS
from laconic.config.node import check_options
from laconic.rewards.numbers import FloatArray, GroupNumbers, Memory, as_floats
from laconic.rewards.table import REWARDS, Reward, own_rewards
from laconic.system.own_files import is_own
from laconic.types import Grade

Option = float | bool
MAX_REWARD = 1e9
"""Beyond this size the square of a reward, which a standard deviation needs, leaves the precision of training behind."""
TRIED = (
    (Grade.CORRECT, 3),
    (Grade.CORRECT, 7),
    (Grade.WRONG, 5),
    (Grade.NO_ANSWER, 4),
    (Grade.TRUNCATED, 9),
    (Grade.UNGRADABLE, 6),
)
"""Grades and lengths of the responses on which terms are tried; small groups take turns at them."""
Terms = Sequence[tuple[str, float, Mapping[str, Option]]]
"""(name, weight, options) of each term."""


def pay(
    numbers: GroupNumbers, terms: Terms, table: Mapping[str, Reward] = REWARDS, folder: Path | None = None
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Reward [K] and the weighted terms [K] that sum to it; `terms` are (name, weight, options).

    A user's own reward is taken from `table` where that has it, else loaded from `folder` (the recipe's folder; by default the
    working directory) at every call; so a run adds `own_rewards` to the table once. Where no response of a group could be graded,
    all get 0 and no term is called. Raises `ValueError` for an unknown name (listing the known ones), an unknown option (naming
    it), a name that is used twice, and a term that does not return K finite numbers.

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
        row, nothing = known[name], np.zeros(len(numbers.grades))
        values = row.pay(numbers, **_of(options, row.pay_options)) if numbers.is_gradable.any() else nothing
        paid[name] = _weighted(name, weight, values, numbers)
    return sum(paid.values(), start=np.zeros(len(numbers.grades))), paid


def remember(memory: Memory, terms: Terms, groups: Mapping[str, GroupNumbers]) -> Memory:
    """The memory after a step: every term that remembers has updated `memory` with the step's `groups`, by problem id.

    Called once per step, after paying. Terms that do not remember change nothing.

    >>> from laconic.types import Grade
    >>> numbers = GroupNumbers(np.array([120, 90]), (Grade.CORRECT, Grade.WRONG), max_tokens=300)
    >>> remember(Memory(), [("hapo", 1.0, {})], {"p7": numbers}).of("p7")
    {'hapo/shortest_correct': 120.0}
    """
    for name, _, options in terms:
        row = REWARDS.get(name)
        if row is not None and row.remember is not None:
            memory = row.remember(memory, groups, **_of(options, row.memory_options))
    return memory


def check_terms(
    terms: Terms, table: Mapping[str, Reward] = REWARDS, folder: Path | None = None, max_tokens: int | None = None
) -> None:
    """Raise `ValueError` where `pay` would for the names, weights or options of these terms; no response is needed. With the cap
    `max_tokens`, options that are tokens of one response are held against it."""
    table = _with_own(table, terms, folder)
    names = [name for name, _, _ in terms]
    for name, weight, options in terms:
        if name not in table:
            raise ValueError(f"unknown reward {name!r}; known: {', '.join(sorted(table))}")
        if names.count(name) > 1:
            raise ValueError(f"reward {name!r} is used twice; expected one entry per name")
        if not np.isfinite(weight):
            raise ValueError(f"reward {name!r}: weight {weight} is not a finite number")
        known = table[name].options
        for option in options:
            if option not in known:
                raise ValueError(f"reward {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}")
        check_option_ranges(name, options, table[name], max_tokens)


def check_option_ranges(name: str, options: Mapping[str, Option], row: Reward, max_tokens: int | None = None) -> None:
    """Raise `ValueError`, naming the option and its range, where an option of the reward `name` is of the wrong kind or outside
    its range, or above the cap `max_tokens` although it is a number of tokens of one response."""
    try:
        check_options(options, row.defaults)
        for option, value in options.items():
            if option in row.ranges:
                row.ranges[option].check(option, value, max_tokens)
        values = {**row.defaults, **options}
        for low, high in row.in_order:
            if values[high] is not None and values[low] > values[high]:
                raise ValueError(f"{low}: expected at most {high} = {values[high]:g}, got {values[low]:g}")
    except ValueError as error:
        raise ValueError(f"reward {name!r}: option {error}") from None


def try_terms(
    terms: Terms,
    folder: Path,
    *,
    group_size: int,
    max_tokens: int,
    budget_tokens: int | None = None,
    has_reference: bool = False,
    timeout_seconds: float = REWARD_TIMEOUT_SECONDS,
) -> None:
    """Pay made-up groups by these terms, so that an option out of range, a missing field that a term needs, or a mistake in a
    user's own reward is found before a run begins.

    `group_size` is the number of responses to a problem, `max_tokens` the cap, `budget_tokens` the number of tokens that prompts
    ask for, `has_reference` whether a probe measures the reference, `timeout_seconds` how long a user's own reward may take.
    Raises `ValueError` as `pay` does, and the errors of the terms.
    """
    own = own_rewards([name for name, _, _ in terms], folder, timeout_seconds)
    table = {**REWARDS, **own}
    check_terms(terms, table, max_tokens=max_tokens)
    for first in range(0, len(TRIED), group_size):
        group = _made_up(first, group_size, max_tokens, budget_tokens, has_reference)
        pay(group, terms, table)
        remember(Memory(), terms, {"p": group})


def _made_up(first: int, size: int, max_tokens: int, budget_tokens: int | None, has_reference: bool) -> GroupNumbers:
    """A group of `size` responses, those of `TRIED` from number `first` on, over and over."""
    tried = [TRIED[(first + i) % len(TRIED)] for i in range(size)]
    lengths = np.array([min(length, max_tokens) for _, length in tried])
    return GroupNumbers(
        lengths,
        tuple(grade for grade, _ in tried),
        6.0 if has_reference else None,
        0.5 if has_reference else None,
        max_tokens=max_tokens,
        budget_tokens=budget_tokens,
        thinking_tokens=lengths - 1,
        texts=("so \\boxed{1}",) * size,
        token_ids=tuple(tuple(range(n)) for n in lengths.tolist()),
    )


def _with_own(table: Mapping[str, Reward], terms: Terms, folder: Path | None) -> Mapping[str, Reward]:
    names = [name for name, _, _ in terms if name not in table]
    return {**table, **own_rewards(names, folder or Path())} if any(map(is_own, names)) else table


def _of(options: Mapping[str, Option], names: Iterable[str]) -> dict[str, Option]:
    """The options with these names."""
    return {name: options[name] for name in names if name in options}


def _weighted(name: str, weight: float, values: object, numbers: GroupNumbers) -> FloatArray:
    """`weight` times `values`, checked, with 0 for ungradable responses, so that these get 0 from a user's own term too."""
    paid = as_floats(values)
    if paid is None or paid.shape != (len(numbers.grades),) or not np.isfinite(paid).all():
        text = " ".join(str(values).split())
        raise ValueError(f"reward {name!r}: expected {len(numbers.grades)} finite numbers, got {text:.200}")
    if (np.abs(paid) > MAX_REWARD / max(1.0, abs(weight))).any():
        raise ValueError(
            f"reward {name!r}: expected numbers of at most {MAX_REWARD:g}, got {np.abs(paid).max():g} times the weight {weight:g}"
        )
    return weight * np.where(numbers.is_gradable, paid, 0.0)
