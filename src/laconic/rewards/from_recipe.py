"""From a recipe's `[phases.rewards]` to terms, and the facts about them that forecasts and checks need.

1. `reward_terms` are the phase's terms in the form that `pay` takes, the levels of the grades first.
2. `reward_table` is the table in which they are looked up; it includes the user's own rewards.
3. `pricing_terms`, `lengthening_terms`, `own_terms`, `remembering_terms`, `whole_terms`, `may_read_budget`, `options_above` and
   `outcome_levels` are facts that are known before there is a response.
4. `terms_of_groups`, `terms_of_nothing_alone`, `late_terms`, `plain_terms` and `pays_correctness` say where terms pay less than
   their names promise, and whether being right is paid at all.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath

from laconic.config.rewards import RewardsConfig, RewardTermConfig
from laconic.rewards.paying import Terms
from laconic.rewards.table import REWARDS, Reward, own_rewards
from laconic.system.own_files import is_own


def reward_terms(rewards: RewardsConfig) -> Terms:
    """The terms in the form that `pay` takes: the grade levels, then the rest.

    >>> [name for name, _, _ in reward_terms(RewardsConfig(terms=[{"name": "hapo"}]))]
    ['levels', 'hapo']
    """
    levels = {name: getattr(rewards, name) for name in ("correct", "wrong", "no_answer", "truncated")}
    return [("levels", 1.0, levels), *((term.name, term.weight, term.options) for term in rewards.terms)]


def reward_table(rewards: RewardsConfig, folder: Path = Path()) -> Mapping[str, Reward]:
    """`REWARDS`, and a row for each of the user's own rewards, with files looked up from `folder`. Raises `ValueError` where a
    file cannot be used."""
    return {**REWARDS, **own_rewards([term.name for term in rewards.terms], folder, rewards.timeout_seconds)}


def pricing_terms(rewards: RewardsConfig) -> list[str]:
    """The terms that make a shorter correct answer earn more.

    >>> pricing_terms(RewardsConfig(terms=[{"name": "hapo"}, {"name": "garbled"}, {"name": "lead"}]))
    ['hapo']
    """
    return [name for name, sign in _price_signs(rewards) if sign > 0]


def lengthening_terms(rewards: RewardsConfig) -> list[str]:
    """The terms that make a longer correct answer earn more: those of `pricing_terms` with a weight below 0, and a cosine whose
    longest correct answer earns most.

    >>> lengthening_terms(RewardsConfig(terms=[{"name": "linear_length", "weight": -0.5}, {"name": "hapo"}]))
    ['linear_length']
    """
    return [name for name, sign in _price_signs(rewards) if sign < 0]


def _price_signs(rewards: RewardsConfig) -> list[tuple[str, float]]:
    """The terms that read length, and whether they price it (above 0) or pay for it (below 0)."""
    rows = [(term, REWARDS[term.name]) for term in rewards.terms if term.name in REWARDS]
    return [
        (term.name, term.weight * _slope(term, row)) for term, row in rows if row.reads_length and not row.is_two_sided
    ]


def _slope(term: RewardTermConfig, row: Reward) -> float:
    """By how much a cosine's shortest correct answer earns more than its longest; 1 for every other term."""
    levels = {**row.defaults, **term.options}
    return levels["correct_start"] - levels["correct_end"] if "correct_start" in levels else 1.0


def own_terms(rewards: RewardsConfig) -> list[str]:
    """The names of the user's own rewards, without their folder. What these pay is not known here.

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


def whole_terms(rewards: RewardsConfig) -> tuple[str, ...]:
    """The terms with a weight that are the whole reward of a paper, which is used alone.

    >>> whole_terms(RewardsConfig(terms=[{"name": "hapo"}, {"name": "overlong"}]))
    ('hapo',)
    """
    return tuple(t.name for t in rewards.terms if t.weight and t.name in REWARDS and REWARDS[t.name].kind == "whole")


def may_read_budget(rewards: RewardsConfig) -> bool:
    """Whether a term reads the number of tokens that the prompt asks for; one of the user's own may.

    >>> may_read_budget(RewardsConfig(terms=[{"name": "hapo"}])), may_read_budget(RewardsConfig(terms=[{"name": "l1_max"}]))
    (False, True)
    """
    return any(t.name not in REWARDS or "budget_tokens" in REWARDS[t.name].needs for t in rewards.terms)


def options_above(rewards: RewardsConfig, max_tokens: int) -> tuple[str, ...]:
    """The options that nobody set and whose default is more tokens than the cap `max_tokens`, in words.

    >>> options_above(RewardsConfig(terms=[{"name": "repetition"}]), 12)
    ('ngram_tokens of repetition, 40,',)
    """
    rows = [(term, REWARDS[term.name]) for term in rewards.terms if term.name in REWARDS]
    return tuple(
        f"{option} of {term.name}, {row.defaults[option]:g},"
        for term, row in rows
        for option, allowed in row.ranges.items()
        if allowed.within_cap and option not in term.options and (row.defaults[option] or 0) > max_tokens
    )


def terms_of_groups(rewards: RewardsConfig) -> tuple[str, ...]:
    """The terms with a weight that pay a correct answer nothing for its length where a problem has one response.

    >>> terms_of_groups(RewardsConfig(terms=[{"name": "kimi_length"}, {"name": "alp"}, {"name": "gr3"}]))
    ('kimi_length', 'gr3')
    """
    return tuple(term.name for term, row in _paying_rows(rewards) if row.alone != "all")


def terms_of_nothing_alone(rewards: RewardsConfig) -> tuple[str, ...]:
    """Those of `terms_of_groups` that then pay the same for every response.

    >>> terms_of_nothing_alone(RewardsConfig(terms=[{"name": "kimi_length"}, {"name": "alp"}, {"name": "gr3"}]))
    ('kimi_length',)
    """
    return tuple(term.name for term, row in _paying_rows(rewards) if row.alone == "nothing")


def late_terms(rewards: RewardsConfig, num_steps: int) -> tuple[str, ...]:
    """The terms that pay by what they remember only after the last of so many steps, in words.

    >>> late_terms(RewardsConfig(terms=[{"name": "hapo"}, {"name": "laser_d"}]), num_steps=20)
    ('laser_d after 20 steps',)
    """
    first = [
        (term.name, row.acts_after({**row.defaults, **term.options}))
        for term, row in _paying_rows(rewards)
        if row.remember is not None
    ]
    return tuple(
        f"{name} after {steps:g} step{'' if steps == 1 else 's'}" for name, steps in first if steps >= num_steps
    )


def plain_terms(rewards: RewardsConfig) -> tuple[str, ...]:
    """The terms whose options leave nothing but pay for correctness, in words.

    >>> plain_terms(RewardsConfig(terms=[{"name": "discounted", "options": {"gamma": 1.0}}]))
    ('gamma = 1 of discounted',)
    """
    return tuple(
        f"{option} = {value:g} of {term.name}"
        for term, row in _paying_rows(rewards)
        for option, value in row.plain.items()
        if term.options.get(option) == value
    )


def pays_correctness(rewards: RewardsConfig) -> bool:
    """Whether a correct answer earns more than a wrong one for being correct: by the levels, by a whole reward, by a part that
    pays for it, or by one of the user's own, which may.

    >>> [pays_correctness(RewardsConfig(correct=0, wrong=0, terms=[{"name": name}])) for name in ("laser", "linear_length")]
    [True, False]
    """
    if rewards.correct > rewards.wrong or own_terms(rewards):
        return True
    return any(row.pays_correct and (term.weight > 0 or row.kind == "whole") for term, row in _paying_rows(rewards))


def _paying_rows(rewards: RewardsConfig) -> list[tuple[RewardTermConfig, Reward]]:
    """The terms of the package that have a weight, each with its row."""
    return [(term, REWARDS[term.name]) for term in rewards.terms if term.weight and term.name in REWARDS]


def outcome_levels(rewards: RewardsConfig) -> dict[str, float]:
    """What a correct and a wrong answer earn for their grade: the levels, or 1 and 0 where correct does not earn more, since a
    whole reward then takes the place of the levels.

    >>> outcome_levels(RewardsConfig(correct=0.0, wrong=0.0))
    {'correct': 1.0, 'wrong': 0.0}
    """
    if rewards.correct > rewards.wrong:
        return {"correct": rewards.correct, "wrong": rewards.wrong}
    return {"correct": 1.0, "wrong": 0.0}
