"""Settings of a phase that contradict one another.

A row is an error where nothing would be learnt, or something else than was asked for; a warning where the run only does less than
it says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from laconic.config.phase import AlarmsConfig, PhaseConfig
from laconic.config.sense.reading import NOTHING, Reading

LEAST_RATE = 1e-9  # a weight of 0.01 in float32 differs from the next by 9e-10
MOST_SHARE = 0.9  # of the old weights in the average that a phase hands on
FEW_TOKENS = 0.1  # a share of the probability that is mostly that of the likeliest token alone
ALIKE = 0.5  # a distance from 1 above which clip_low is more likely meant as a bound of the ratio itself


@dataclass(frozen=True, slots=True)
class Senseless:
    """A setting of a phase that cannot do what it says where `holds`; `what` is filled with the `phase` and the `reading`."""

    level: Literal["warning", "error"]
    key: str
    holds: Callable[[Reading], bool]
    what: str


SENSELESS: tuple[Senseless, ...] = (
    Senseless(
        "error",
        "optimizer.critic_warmup_steps",
        lambda r: r.phase.optimizer.critic_warmup_steps >= r.phase.steps,
        "the phase is over before the policy learns; expected fewer than its {phase.steps} steps",
    ),
    Senseless(
        "error",
        "optimizer.weight_decay",
        lambda r: r.phase.optimizer.lr * r.phase.optimizer.weight_decay >= 1,
        "times the learning rate it is 1 or more, so that a step would leave nothing of the weights",
    ),
    Senseless(
        "error",
        "rewards.correct",
        lambda r: r.reads_rewards and r.phase.rewards.correct < max(r.levels[1:]),
        "a correct answer earns {phase.rewards.correct:g}, less than one that is not; expected the highest of the levels",
    ),
    Senseless(
        "error",
        "rewards",
        lambda r: r.reads_rewards and not r.has_effective_terms and r.has_equal_levels,
        "every response earns the same, so that there is nothing to learn; expected other levels, or terms",
    ),
    Senseless(
        "error",
        "rewards.terms",
        lambda r: r.reads_rewards and r.has_effective_terms and not r.has_varying_terms and r.has_equal_levels,
        "{reading.terms_of_nothing_alone[0]} compares the responses to a problem, of which there is one, so that every response "
        "earns the same; expected a larger group_size, or other levels",
    ),
    Senseless(
        "error",
        "algorithm.uniform_groups",
        lambda r: r.phase.algorithm.uniform_groups != "keep" and r.responses == 1,
        "a group of one response is always uniform, so that none would train; expected 'keep'",
    ),
    Senseless(
        "error",
        "rollouts",
        lambda r: r.responses < r.min_group_size <= r.phase.group_size,
        "'solutions' gives one response for each problem, and {phase.algorithm.name} compares {reading.min_group_size}",
    ),
    Senseless(
        "error",
        "algorithm.kl_in",
        lambda r: _prices_rewards(r.phase) and not r.makes_advantages_of_rewards,
        "puts the KL into rewards, of which {phase.algorithm.name} makes no advantages; expected 'loss'",
    ),
    Senseless(
        "error",
        "algorithm.kl_in",
        lambda r: _prices_rewards(r.phase) and r.phase.algorithm.kl_in == "centred" and r.responses == 1,
        "'centred' compares the responses of a group, which has one; expected 'reward' or 'loss'",
    ),
    Senseless(
        "error",
        "algorithm.kl_estimator",
        lambda r: (
            r.phase.algorithm.kl_coef > 0
            and r.phase.algorithm.kl_in == "loss"
            and r.phase.algorithm.kl_estimator == "k1"
        ),
        "'k1' has no gradient in the loss but noise, since the mean of grad log pi is 0; expected 'k2', 'k3' or 'exact', or "
        "kl_in = 'reward'",
    ),
    Senseless(
        "error",
        "entry_share",
        lambda r: r.phase.entry_share > 0 and r.recipe.policy.lora is not None,
        "averages weights, and the average of an adapter's two factors is not that of their product; expected 0 with policy.lora",
    ),
    Senseless(
        "error",
        "rewards.standardize",
        lambda r: r.reads_rewards and r.phase.rewards.standardize and r.phase.algorithm.uniform_groups == "resample",
        "is done once for all groups of a step, and 'resample' pays them draw by draw; expected uniform_groups 'keep' or 'drop'",
    ),
    Senseless(
        "error",
        "algorithm.clip_low",
        lambda r: r.phase.algorithm.clip_low > ALIKE and 1 < r.phase.algorithm.clip_high < 2,
        "{phase.algorithm.clip_low:g} and clip_high {phase.algorithm.clip_high:g} look like bounds of the ratio; expected "
        "distances from 1, such as 0.2 and 0.28",
    ),
    Senseless(
        "warning",
        "algorithm.clip_low",
        lambda r: r.phase.algorithm.clip_low >= 1,
        "the ratio is above 0, so that nothing is clipped below; it is a distance from 1",
    ),
    Senseless(
        "warning",
        "algorithm.clip_low",
        lambda r: ALIKE < r.phase.algorithm.clip_low < 1 and not 1 < r.phase.algorithm.clip_high < 2,
        "lets the ratio fall far; it is a distance from 1, as 0.2 is",
    ),
    Senseless(
        "warning",
        "algorithm.clip_high",
        lambda r: 1 < r.phase.algorithm.clip_high < 2 and r.phase.algorithm.clip_low <= ALIKE,
        "lets the ratio more than double; it is a distance from 1, as 0.28 is",
    ),
    Senseless(
        "error",
        "budget.high",
        lambda r: r.phase.budget is not None and r.phase.budget.high > r.phase.sampler.max_tokens,
        "asks for more tokens than sampler.max_tokens = {phase.sampler.max_tokens} lets a response have",
    ),
    Senseless(
        "warning",
        "rewards.wrong",
        lambda r: (
            r.reads_rewards
            and not r.has_effective_terms
            and not r.has_equal_levels
            and r.phase.rewards.correct == r.phase.rewards.wrong
        ),
        "a wrong answer earns as much as a correct one",
    ),
    Senseless(
        "warning",
        "rewards.correct",
        lambda r: r.reads_rewards and r.has_effective_terms and r.has_varying_terms and not r.pays_correctness,
        "the levels pay a correct answer no more than a wrong one, and the terms beside them are made to be added to levels that "
        "do",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: (
            r.reads_rewards
            and r.responses == 1
            and bool(r.terms_of_groups)
            and (r.has_varying_terms or not r.has_equal_levels)
        ),
        "{reading.terms_of_groups[0]} compares the responses to a problem, of which there is one, so that a correct answer earns "
        "nothing for its length",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: r.reads_rewards and len(r.whole_terms) > 1,
        "{reading.whole_terms[0]} and {reading.whole_terms[1]} are whole rewards, each of which is used alone",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: r.reads_rewards and bool(r.opposed_terms),
        "{reading.opposed_terms[0]} is a whole reward, and with a weight below 0 it pays for the opposite",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: r.reads_rewards and bool(r.late_terms),
        "the phase is over, after {phase.steps} steps, before what a term remembers is first paid: {reading.late_terms[0]}",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: r.reads_rewards and bool(r.plain_terms),
        "{reading.plain_terms[0]} leaves plain correctness, without a price on length",
    ),
    Senseless(
        "warning",
        "algorithm.options.by_efficiency",
        lambda r: (
            r.phase.algorithm.name == "gfpo"
            and r.phase.algorithm.options.get("by_efficiency") is True
            and min(r.levels) < 0
        ),
        "of two responses with a reward below 0 the longer has more reward per token, and is kept; expected levels of 0 or more",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: any(abs(term.weight) <= NOTHING for term in r.phase.rewards.terms),
        "a term of weight 0 pays nothing",
    ),
    Senseless(
        "warning",
        "optimizer.lr",
        lambda r: r.phase.optimizer.lr < LEAST_RATE,
        "a step moves a weight by about so much, which is lost in a number of 32 bits: next to nothing is learnt",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: r.reads_rewards and bool(r.whole_terms) and not r.has_zero_levels,
        "{reading.whole_terms[0]} is a whole reward, and the levels are paid beside it; set correct, wrong, no_answer and "
        "truncated to 0",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: (
            r.phase.algorithm.truncated == "bootstrap" and any(t.name == "overlong" for t in r.phase.rewards.terms)
        ),
        "truncated = 'bootstrap' takes the critic's value in place of all that a truncated response earns, so that overlong pays "
        "nothing there",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: r.reads_rewards and bool(r.long_options),
        "{reading.long_options[0]} is by default more than sampler.max_tokens = {phase.sampler.max_tokens}; set it",
    ),
    Senseless(
        "warning",
        "budget",
        lambda r: r.phase.budget is not None and r.reads_rewards and not r.reads_budget,
        "prompts ask for a number of tokens, and no reward reads it; l1_exact and l1_max do",
    ),
    Senseless(
        "warning",
        "select.options",
        lambda r: r.keeps_only_unsolved and _takes_unsolved(r.phase),
        "{phase.select.how} keeps only problems that are never solved, from which little or nothing is learnt",
    ),
    Senseless(
        "warning",
        "entry_share",
        lambda r: r.phase.entry_share > MOST_SHARE,
        "the phase hands on {phase.entry_share:g} of the weights that it began with, so that little is left of what it learns",
    ),
    Senseless(
        "warning",
        "sampler.top_p",
        lambda r: r.phase.sampler.top_p < FEW_TOKENS and r.phase.rollouts != "solutions",
        "leaves hardly a token to choose from, so that the responses to a problem are alike and little is learnt",
    ),
    Senseless(
        "warning",
        "sampler.min_p",
        lambda r: r.phase.sampler.min_p > 1 - FEW_TOKENS and r.phase.rollouts != "solutions",
        "leaves hardly a token to choose from, so that the responses to a problem are alike and little is learnt",
    ),
    Senseless(
        "warning",
        "end.alarms.steps",
        lambda r: r.has_alarm and r.phase.end.alarms.steps > max(r.alarm_steps, AlarmsConfig().steps),
        "an alarm reads at most an eighth of a phase: {reading.alarm_steps} of {phase.steps} steps",
    ),
    Senseless(
        "warning",
        "optimizer.warmup_steps",
        lambda r: r.phase.optimizer.warmup_steps >= r.phase.steps,
        "the phase is over, after {phase.steps} steps, before the learning rate has risen to lr",
    ),
    Senseless(
        "warning",
        "optimizer.minibatches",
        lambda r: r.phase.optimizer.minibatches > r.responses * r.phase.problems_per_step,
        "a step has fewer responses than minibatches: each update has one response",
    ),
    Senseless(
        "warning",
        "algorithm.reference_every",
        lambda r: (
            r.has_own_reference
            and r.phase.algorithm.reference != "frozen"
            and r.phase.algorithm.reference_every >= r.phase.steps
        ),
        "the phase is over, after {phase.steps} steps, before the reference moves",
    ),
    Senseless(
        "warning",
        "algorithm.ema_decay",
        lambda r: r.has_own_reference and r.phase.algorithm.reference == "ema" and r.phase.algorithm.ema_decay == 1,
        "1 never moves the reference",
    ),
    Senseless(
        "warning",
        "algorithm.ema_decay",
        lambda r: r.reference_follows_at_once and r.phase.algorithm.reference == "ema",
        "0 makes the reference the policy itself after every step, so that it holds nothing back",
    ),
    Senseless(
        "warning",
        "algorithm.reference_every",
        lambda r: r.reference_follows_at_once and r.phase.algorithm.reference == "reset",
        "1, with reference = 'reset', makes the reference the policy itself after every step, so that it holds nothing back",
    ),
    Senseless(
        "warning",
        "algorithm.max_draws",
        lambda r: r.phase.algorithm.uniform_groups == "resample" and r.phase.algorithm.max_draws == 1,
        "counts the first draw, so that nothing is drawn again: as uniform_groups = 'drop'",
    ),
)
"""In a phase, in the order in which errors are said."""


def _takes_unsolved(phase: PhaseConfig) -> bool:
    return phase.select.how == "band" or bool(phase.select.options.get("allow_unsolved", False))


def _prices_rewards(phase: PhaseConfig) -> bool:
    return phase.algorithm.kl_coef > 0 and phase.algorithm.kl_in != "loss"
