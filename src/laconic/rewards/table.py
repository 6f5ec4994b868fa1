"""The table of rewards: `REWARDS` has one row per term, which holds all facts about it.

1. A term takes `GroupNumbers` (lengths, grades, and what else is known about the responses) and returns one number per
   response, [K].
2. Its row, a `Reward`, says how it remembers, which fields it needs, whether its pay depends on length, and whether it is a part,
   which is added to other terms (the levels, a length price, a penalty), or the whole reward of a paper, which is used alone.
   It also says where a recipe gets less of the term than its name promises: in groups of one, with options that leave plain
   correctness, or in a phase that ends before the term has learnt anything.
3. The row also gives each option its range (`ranges.py`). Values outside are refused before a run begins.
4. A name like "my_rewards.py:short_and_right" is a user's own function in a Python file (`own.py`); `own_rewards` makes rows
   for such names.

A new reward is a function in one of the modules above this one, and a row here; docs/rewards.md lists them all. A weight that a
paper publishes (alpha, lambda) is an option of the term; one that it does not publish is the weight that the recipe sets.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from inspect import getdoc, signature
from pathlib import Path
from typing import Any, Literal

from laconic.config.defaults import REWARD_TIMEOUT_SECONDS
from laconic.rewards.budgets import cosine, dast, discounted, l1_exact, l1_max, truncation
from laconic.rewards.laser import laser, laser_d, laser_de, remember_laser_d, remember_laser_de
from laconic.rewards.lead import lead, remember_lead
from laconic.rewards.numbers import FloatArray, Memory
from laconic.rewards.own import load_own
from laconic.rewards.parts import kimi_length, levels, linear_length, soft_overlong
from laconic.rewards.penalties import garbled, overlong, repetition
from laconic.rewards.ranges import (
    BONUS,
    COUNT,
    DECAY,
    DISTANCE,
    DIVISOR,
    FACTOR,
    FRACTION,
    GRADE_LEVEL,
    LIMIT,
    NGRAM,
    PRICE,
    SHARE,
    TOKEN_COUNT,
    Range,
)
from laconic.rewards.relative import (
    alp,
    arora_zanette,
    gr3,
    grpo_lambda,
    length_harmonizing,
    serial_exits,
    shorterbetter,
    smartthinker,
)
from laconic.rewards.remembering import acoer, hapo, remember_acoer, remember_hapo, remember_short_rl, short_rl
from laconic.system.own_files import is_own

RewardTerm = Callable[..., FloatArray]
"""`term(numbers, **options) -> [K]` float64; options are keywords, each with a default."""
Remember = Callable[..., Memory]
"""`rule(memory, groups, **options) -> Memory`; `groups` are the step's `GroupNumbers` by problem id."""
Need = Literal["ref_mean_tokens", "ref_solve_rate", "budget_tokens", "thinking_tokens", "token_ids", "texts"]
"""The fields of `GroupNumbers` that not every group has."""


@dataclass(frozen=True, slots=True)
class Reward:
    """One row: a term, and the facts about it.

    pay           the term
    kind          a "part" is added to the levels; a "whole" reward is that of a paper and is used alone
    needs         the fields without which the term raises `ValueError`
    remember      the rule by which the term remembers earlier steps, if it does; its options are options of the term too
    reads_length  whether the pay depends on length
    is_two_sided  whether the term pulls length to a target from both sides, so that a shorter correct answer may earn less
    sees_group    whether the pay depends on the other responses to the problem; a user's own reward may look at them
    alone         what the pay of a single response to a problem depends on: "all" that the term reads, its "grade" without the
                  length of a correct one, or "nothing"
    pays_correct  whether the term pays for correctness, so that levels which do not may stand beside it
    plain         options with a value that leaves nothing but pay for correctness
    acts_after    for a term that remembers: the number of steps, given its options, after which what it remembers first changes
                  its pay
    ranges        the range of every option that is a number; the options of a user's own reward have none
    in_order      pairs of options of which the first must not be above the second
    """

    pay: RewardTerm
    kind: Literal["part", "whole"] = "whole"
    needs: tuple[Need, ...] = ()
    remember: Remember | None = None
    reads_length: bool = True
    is_two_sided: bool = False
    sees_group: bool = True
    alone: Literal["all", "grade", "nothing"] = "all"
    pays_correct: bool = True
    plain: Mapping[str, float] = field(default_factory=dict)
    acts_after: Callable[[Mapping[str, Any]], float] = lambda options: 1
    ranges: Mapping[str, Range] = field(default_factory=dict)
    in_order: tuple[tuple[str, str], ...] = ()

    @property
    def summary(self) -> str:
        """The first line of the term's docstring."""
        return (getdoc(self.pay) or "").partition("\n")[0]

    @property
    def pay_options(self) -> tuple[str, ...]:
        """Names of the options that the term itself takes."""
        return tuple(signature(self.pay).parameters)[1:]

    @property
    def memory_options(self) -> tuple[str, ...]:
        """Names of the options that the term's memory rule takes."""
        return tuple(signature(self.remember).parameters)[2:] if self.remember else ()

    @property
    def options(self) -> tuple[str, ...]:
        """Names of all options, each once.

        >>> REWARDS["laser_d"].options
        ('target_tokens', 'bonus', 'every')
        """
        return tuple(dict.fromkeys(self.pay_options + self.memory_options))

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of every option; where the memory rule has the same option, the term's."""
        parameters = [*(signature(self.remember).parameters.values() if self.remember else ())]
        parameters += signature(self.pay).parameters.values()
        return {p.name: p.default for p in parameters if p.name in self.options}


_TARGET = {"target_tokens": TOKEN_COUNT, "bonus": BONUS}

REWARDS: Mapping[str, Reward] = {
    "levels": Reward(
        levels,
        "part",
        reads_length=False,
        sees_group=False,
        ranges={"correct": GRADE_LEVEL, "wrong": GRADE_LEVEL, "no_answer": GRADE_LEVEL, "truncated": GRADE_LEVEL},
    ),
    "linear_length": Reward(
        linear_length, "part", sees_group=False, pays_correct=False, ranges={"per_tokens": DIVISOR}
    ),
    "soft_overlong": Reward(
        soft_overlong, "part", sees_group=False, pays_correct=False, ranges={"buffer_frac": FACTOR}
    ),
    "kimi_length": Reward(kimi_length, "part", alone="nothing", pays_correct=False),
    "truncation": Reward(truncation, sees_group=False, ranges={"budget_tokens": TOKEN_COUNT}),
    "cosine": Reward(
        cosine,
        sees_group=False,
        ranges={
            "correct_start": GRADE_LEVEL,
            "correct_end": GRADE_LEVEL,
            "wrong_start": GRADE_LEVEL,
            "wrong_end": GRADE_LEVEL,
            "exceed": GRADE_LEVEL,
        },
    ),
    "l1_exact": Reward(
        l1_exact, sees_group=False, needs=("budget_tokens",), is_two_sided=True, ranges={"per_token": PRICE}
    ),
    "l1_max": Reward(
        l1_max, sees_group=False, needs=("budget_tokens",), ranges={"per_token": PRICE, "offset": FRACTION}
    ),
    "arora_zanette": Reward(arora_zanette, alone="grade", ranges={"alpha": SHARE}),
    "length_harmonizing": Reward(
        length_harmonizing,
        needs=("ref_mean_tokens", "ref_solve_rate"),
        sees_group=False,
        ranges={"accuracy_coef": BONUS},
    ),
    "shorterbetter": Reward(shorterbetter, alone="grade", ranges={"correct": BONUS, "per_token": PRICE}),
    "laser": Reward(laser, "part", sees_group=False, ranges=_TARGET),
    "laser_d": Reward(
        laser_d,
        "part",
        remember=remember_laser_d,
        acts_after=lambda options: options["every"],
        ranges={**_TARGET, "every": COUNT},
    ),
    "laser_de": Reward(
        laser_de,
        "part",
        needs=("token_ids",),
        remember=remember_laser_de,
        acts_after=lambda options: options["every"],
        ranges={**_TARGET, "ngram_tokens": replace(NGRAM, low=0), "every": COUNT},
    ),
    "dast": Reward(dast, alone="grade"),
    "hapo": Reward(hapo, sees_group=False, remember=remember_hapo, ranges={"weight": SHARE, "floor": Range(-1, 0)}),
    "alp": Reward(alp, ranges={"beta": PRICE, "normalizer_tokens": DIVISOR}),
    "smartthinker": Reward(smartthinker, alone="grade"),
    "lead": Reward(
        lead,
        remember=remember_lead,
        is_two_sided=True,
        alone="nothing",
        ranges={
            "min_target_tokens": TOKEN_COUNT,
            "max_target_tokens": TOKEN_COUNT,
            "min_correct_weight": FRACTION,
            "ema_decay": DECAY,
            "potential_power": Range(0, 10),
        },
        in_order=(("min_target_tokens", "max_target_tokens"),),
    ),
    "gr3": Reward(gr3, alone="grade", ranges={"alpha": BONUS}),
    "acoer": Reward(
        acoer,
        remember=remember_acoer,
        sees_group=False,
        acts_after=lambda options: max(options["warmup"] + 1, options["window"]),
        ranges={
            "first_weight": BONUS,
            "log_scale": Range(0.001, 1e6),
            "min_weight": BONUS,
            "max_weight": BONUS,
            "raise_by": Range(1, 10),
            "lower_by": FACTOR,
            "ema_span": Range(1, 1e6),
            "window": COUNT,
            "warmup": LIMIT,
            "max_drop": FRACTION,
            "budget_ratio": Range(0.01, 10),
            "min_budget_tokens": TOKEN_COUNT,
        },
        in_order=(("min_weight", "max_weight"),),
    ),
    "discounted": Reward(
        discounted, sees_group=False, needs=("thinking_tokens",), plain={"gamma": 1}, ranges={"gamma": FACTOR}
    ),
    "serial_exits": Reward(serial_exits, alone="grade", plain={"decay": 1}, ranges={"decay": FACTOR}),
    "grpo_lambda": Reward(grpo_lambda, alone="grade", ranges={"alpha": SHARE, "min_accuracy_frac": FRACTION}),
    "short_rl": Reward(
        short_rl,
        "part",
        remember=remember_short_rl,
        alone="grade",
        ranges={"accuracy_tolerance": FRACTION, "length_tolerance": DISTANCE, "ema_decay": DECAY},
    ),
    "repetition": Reward(
        repetition,
        "part",
        pays_correct=False,
        needs=("token_ids",),
        reads_length=False,
        sees_group=False,
        ranges={"ngram_tokens": NGRAM, "per_token": PRICE, "max_penalty": BONUS},
    ),
    "overlong": Reward(
        overlong, "part", pays_correct=False, sees_group=False, reads_length=False, ranges={"penalty": BONUS}
    ),
    "garbled": Reward(
        garbled,
        "part",
        pays_correct=False,
        needs=("texts",),
        reads_length=False,
        sees_group=False,
        ranges={"penalty": BONUS, "max_broken": LIMIT, "max_mixed": LIMIT, "foreign_frac": FRACTION},
    ),
}


def own_rewards(
    names: Iterable[str], folder: Path, timeout_seconds: float = REWARD_TIMEOUT_SECONDS
) -> dict[str, Reward]:
    """A row for each name of a user's own reward, with files looked up from `folder`. A run adds them to the table once.

    The row of such a reward holds its function alone, which may take `timeout_seconds` over its file and over each group. Raises
    `ValueError` where a file cannot be used.
    """
    return {name: Reward(load_own(name, folder, timeout_seconds)) for name in names if is_own(name)}
