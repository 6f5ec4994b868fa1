"""The table of rewards: `REWARDS` has one row for each term, and a row holds everything there is to know of it.

1. A term takes `GroupNumbers` (lengths, grades, what else is known of the responses) and returns one number for each
   response, [K].
2. Its row, a `Reward`, says how it remembers, what it cannot do without, whether its pay depends on length, and whether it is a
   part, made to be added to others (the levels, a length price, a penalty), or a paper's whole reward, made to stand alone.
3. A name like "my_rewards.py:short_and_right" is a person's own function, in a file of theirs (`own.py`); `own_rewards` makes
   rows of such names.

A new reward is a function in one of the modules above this one, and a row here; docs/rewards.md lists them all. Where a paper
has a weight (alpha, lambda), it is an option of the term; what a paper leaves undisclosed is the weight that the recipe gives.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import getdoc, signature
from pathlib import Path
from typing import Literal

from laconic.rewards.budgets import cosine, dast, discounted, l1_exact, l1_max, truncation
from laconic.rewards.laser import laser, laser_d, laser_de, remember_laser_d, remember_laser_de
from laconic.rewards.lead import lead, remember_lead
from laconic.rewards.numbers import FloatArray, Memory
from laconic.rewards.own import is_own, load_own
from laconic.rewards.parts import kimi_length, levels, linear_length, soft_overlong
from laconic.rewards.penalties import garbled, overlong, repetition
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

RewardTerm = Callable[..., FloatArray]
"""`term(numbers, **options) -> [K]` float64; options are keywords with a default each."""
Remember = Callable[..., Memory]
"""`rule(memory, groups, **options) -> Memory`; `groups` are the step's `GroupNumbers` by problem id."""
Need = Literal["ref_mean_tokens", "ref_solve_rate", "budget_tokens", "thinking_tokens", "token_ids", "texts"]
"""What not every group has, as a field of `GroupNumbers`."""


@dataclass(frozen=True, slots=True)
class Reward:
    """One row: what a term pays, and what is to be known of it.

    pay           the term
    kind          a "part" is made to be added to the levels; a "whole" reward is a paper's own and stands alone
    needs         what the term raises `ValueError` without
    remember      the rule by which it remembers earlier steps, if it does; the rule's options are options of the term
    reads_length  its pay depends on length
    is_two_sided  it draws length to a target from both sides: a shorter correct answer may earn less
    """

    pay: RewardTerm
    kind: Literal["part", "whole"] = "whole"
    needs: tuple[Need, ...] = ()
    remember: Remember | None = None
    reads_length: bool = True
    is_two_sided: bool = False

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
        """Names of the options that its rule takes."""
        return tuple(signature(self.remember).parameters)[2:] if self.remember else ()

    @property
    def options(self) -> tuple[str, ...]:
        """Names of all its options, each once.

        >>> REWARDS["laser_d"].options
        ('target_tokens', 'bonus', 'every')
        """
        return tuple(dict.fromkeys(self.pay_options + self.memory_options))


REWARDS: Mapping[str, Reward] = {
    "levels": Reward(levels, "part", reads_length=False),
    "linear_length": Reward(linear_length, "part"),
    "soft_overlong": Reward(soft_overlong, "part"),
    "kimi_length": Reward(kimi_length, "part"),
    "truncation": Reward(truncation),
    "cosine": Reward(cosine),
    "l1_exact": Reward(l1_exact, needs=("budget_tokens",), is_two_sided=True),
    "l1_max": Reward(l1_max, needs=("budget_tokens",)),
    "arora_zanette": Reward(arora_zanette),
    "length_harmonizing": Reward(length_harmonizing, needs=("ref_mean_tokens", "ref_solve_rate")),
    "shorterbetter": Reward(shorterbetter),
    "laser": Reward(laser, "part"),
    "laser_d": Reward(laser_d, "part", remember=remember_laser_d),
    "laser_de": Reward(laser_de, "part", needs=("token_ids",), remember=remember_laser_de),
    "dast": Reward(dast),
    "hapo": Reward(hapo, remember=remember_hapo),
    "alp": Reward(alp),
    "smartthinker": Reward(smartthinker),
    "lead": Reward(lead, remember=remember_lead, is_two_sided=True),
    "gr3": Reward(gr3),
    "acoer": Reward(acoer, remember=remember_acoer),
    "discounted": Reward(discounted, needs=("thinking_tokens",)),
    "serial_exits": Reward(serial_exits),
    "grpo_lambda": Reward(grpo_lambda),
    "short_rl": Reward(short_rl, "part", remember=remember_short_rl),
    "repetition": Reward(repetition, "part", needs=("token_ids",), reads_length=False),
    "overlong": Reward(overlong, "part", reads_length=False),
    "garbled": Reward(garbled, "part", needs=("texts",), reads_length=False),
}


def own_rewards(names: Iterable[str], folder: Path) -> dict[str, Reward]:
    """A row for each name that is a person's own, its file looked up from `folder`; add them to the table once a run.

    Nothing is known of such a reward but its function. Raises `ValueError` where a file cannot be used.
    """
    return {name: Reward(load_own(name, folder)) for name in names if is_own(name)}
