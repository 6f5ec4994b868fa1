"""What a phase's terms and algorithm must know of a response, and where they learn it.

A reward worker of verl sees one response: its text, its tokens, its problem. The advantages see a whole step, and of each
response only its length and one number (`channel.py`). So a term that looks at the group is paid with the advantages, and a term
that reads texts by the workers.
"""

from collections.abc import Iterator

from laconic.config.phase import PhaseConfig
from laconic.rewards.table import REWARDS, Reward
from laconic.system.own_files import is_own
from laconic.training.algorithms import ALGORITHMS

READ_BY_WORKERS = ("token_ids", "texts", "thinking_tokens")
"""What only a reward worker sees of a response."""


def known_terms(phase: PhaseConfig) -> Iterator[tuple[str, Reward]]:
    """The phase's terms of the table, with their rows."""
    return ((term.name, REWARDS[term.name]) for term in phase.rewards.terms if not is_own(term.name))


def terms_of_a_step(phase: PhaseConfig) -> list[str]:
    """The terms that can only be paid where the whole step is known: those that look at the group, or remember.

    >>> from laconic.config.rewards import RewardsConfig
    >>> rewards = RewardsConfig(terms=[{"name": "truncation"}, {"name": "hapo"}, {"name": "alp"}])
    >>> terms_of_a_step(PhaseConfig(name="p", steps=1, rewards=rewards))
    ['hapo', 'alp']
    """
    return [name for name, row in known_terms(phase) if row.sees_group or row.remember is not None]


def terms_of_a_worker(phase: PhaseConfig) -> list[str]:
    """The terms that read what only a reward worker sees."""
    return [
        term.name
        for term in phase.rewards.terms
        if not is_own(term.name) and set(REWARDS[term.name].needs) & set(READ_BY_WORKERS)
        if not (term.name == "laser_de" and term.options.get("ngram_tokens") == 0)  # then it reads no tokens
    ]


def why_grades(phase: PhaseConfig) -> str | None:
    """Why the advantages must know each response's grade, so that they pay the rewards; None where they need only the reward."""
    if terms := terms_of_a_step(phase):
        return f"{terms[0]} looks at more than one response"
    if phase.rewards.standardize and not terms_of_a_worker(phase):
        return "standardize looks at the whole step"
    if phase.algorithm.truncated == "mask":
        return "truncated = 'mask' leaves truncated responses out of the loss"
    if not ALGORITHMS[phase.algorithm.name].reads_rewards:
        return f"{phase.algorithm.name} reads grades"
    return None
