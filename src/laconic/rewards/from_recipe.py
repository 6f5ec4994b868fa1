"""From a recipe's `[phases.rewards]` to terms: what `pay` takes, and what can be said of them before a response is there.

1. `reward_terms` are the phase's terms as `pay` takes them: the levels of the grades first.
2. `reward_table` is the table that they are looked up in, a person's own among them.
3. `pricing_terms`, `own_terms`, `remembering_terms` and `outcome_levels` say what a forecast or a check wants to know of them.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath

from laconic.config.rewards import RewardsConfig
from laconic.rewards.own import is_own
from laconic.rewards.paying import Terms
from laconic.rewards.table import REWARDS, Reward, own_rewards


def reward_terms(rewards: RewardsConfig) -> Terms:
    """The terms in the form `pay` takes: the grade levels, then the rest.

    >>> [name for name, _, _ in reward_terms(RewardsConfig(terms=[{"name": "hapo"}]))]
    ['levels', 'hapo']
    """
    levels = {name: getattr(rewards, name) for name in ("correct", "wrong", "no_answer", "truncated")}
    return [("levels", 1.0, levels), *((term.name, term.weight, term.options) for term in rewards.terms)]


def reward_table(rewards: RewardsConfig, folder: Path = Path()) -> Mapping[str, Reward]:
    """`REWARDS`, and a row for each reward of one's own, its file looked up from `folder`. Raises `ValueError` where a file
    cannot be used."""
    return {**REWARDS, **own_rewards([term.name for term in rewards.terms], folder)}


def pricing_terms(rewards: RewardsConfig) -> list[str]:
    """The terms that make a shorter correct answer earn more.

    >>> pricing_terms(RewardsConfig(terms=[{"name": "hapo"}, {"name": "garbled"}, {"name": "lead"}]))
    ['hapo']
    """
    rows = [(term.name, REWARDS[term.name]) for term in rewards.terms if term.name in REWARDS]
    return [name for name, row in rows if row.reads_length and not row.is_two_sided]


def own_terms(rewards: RewardsConfig) -> list[str]:
    """The terms that are rewards of one's own, without their folder: what they pay is not known here.

    >>> own_terms(RewardsConfig(terms=[{"name": "hapo"}, {"name": "/home/me/my_rewards.py:short_and_right"}]))
    ['my_rewards.py:short_and_right']
    """
    return [PurePath(term.name).name for term in rewards.terms if is_own(term.name)]


def remembering_terms(rewards: RewardsConfig) -> list[str]:
    """The terms that remember from step to step.

    >>> remembering_terms(RewardsConfig(terms=[{"name": "hapo"}, {"name": "gr3"}]))
    ['hapo']
    """
    return [term.name for term in rewards.terms if term.name in REWARDS and REWARDS[term.name].remember]


def outcome_levels(rewards: RewardsConfig) -> dict[str, float]:
    """What a correct and a wrong answer are paid for being so: the levels, or 1 and 0 where they do not differ, since a whole
    reward then stands in their place.

    >>> outcome_levels(RewardsConfig(correct=0.0, wrong=0.0))
    {'correct': 1.0, 'wrong': 0.0}
    """
    if rewards.correct > rewards.wrong:
        return {"correct": rewards.correct, "wrong": rewards.wrong}
    return {"correct": 1.0, "wrong": 0.0}
