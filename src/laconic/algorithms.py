"""Every algorithm as a row of one table: its advantages, and what they need.

1. `gather_experience` scores a step's rollouts once (`experience.py`).
2. The row's `estimate` turns experience into advantages, into value targets where it has a critic, and says which responses
   count.
3. The loss is one for all: the clipped surrogate, a KL to the reference, an entropy bonus (`updates.py`).

So an algorithm is its advantage. What looks like another loss is a case of the surrogate: with `old_logprobs = "current"` the
ratio is 1 and the surrogate's gradient is a weighted likelihood's, which is supervised fine-tuning (weight 1), DPO and SimPO
(weights of pairs, `preferences.py`) and DRPO (weights inside the correct and inside the wrong answers); with the log-ratio to
a teacher as the advantage it is on-policy distillation. DAPO is `grpo` with `clip_high`, `aggregation = "token"` and
`uniform_groups = "resample"`.

`requires` names the settings without which a row would not be what its name says; another value is refused, not overruled.

Legend: `B` responses, `T` response tokens.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from math import ceil
from typing import Any

import torch
from torch import Tensor

from laconic.advantages import discounted_sums, gae, group_centred, group_standardized, leave_one_out
from laconic.config import AlgorithmConfig, PhaseConfig
from laconic.errors import RecipeError
from laconic.experience import Experience, gather_experience
from laconic.masked import masked_mean, masked_sum, standardize, zeroed
from laconic.preferences import PAIRS, all_pairs, pair_weights

__all__ = [
    "ALGORITHMS",
    "Advantages",
    "Algorithm",
    "critic_kind",
    "estimate_advantages",
    "find_algorithm",
    "gather_experience",
    "needs_reference",
]


@dataclass(frozen=True, slots=True)
class Advantages:
    """What the losses need: advantages [B, T], the critic's targets [B, T] where there is a critic, and which responses count in
    the loss, [B] bool (None: all)."""

    advantages: Tensor
    returns: Tensor | None = None
    rows: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row: how advantages are made, and what that needs. `estimate` takes options of its own as keywords."""

    estimate: Callable[..., Advantages]
    summary: str
    has_critic: bool = False
    min_group_size: int = 1
    needs_logprobs: bool = False
    needs_reference: bool = False
    needs_teacher: bool = False
    reads_rewards: bool = True  # its advantages are made of rewards (pairs may be picked by them all the same)
    requires: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_baseline(self) -> bool:
        """Whether a critic or the group says what was to be expected of a response."""
        return self.has_critic or self.min_group_size > 1

    @property
    def options(self) -> list[str]:
        """Names of the algorithm's own options."""
        return list(signature(self.estimate).parameters)[2:]


# --- with a critic, or a group for a baseline ------------------------------------------------------------------------


def ppo(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """Token-level advantages by GAE over the critic's values (Schulman et al. 2017). Targets: GAE with the value's lambda, plus
    the values. With `critic = "zero"` the values are 0 and A_t = sum_l (gamma lambda)^l r_{t+l}."""
    arguments = (experience.token_rewards, experience.values, experience.batch.response_mask)
    last = experience.last_values
    value_lambda = config.gae_lambda if config.value_gae_lambda is None else config.value_gae_lambda
    advantages = gae(*arguments, last_values=last, gamma=config.gamma, gae_lambda=config.gae_lambda)
    targets = gae(*arguments, last_values=last, gamma=config.gamma, gae_lambda=value_lambda) + experience.values
    return Advantages(advantages, targets)


def grpo(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The group's centred reward over its standard deviation, on every token (DeepSeekMath, arXiv 2402.03300, section 4.1)."""
    score = group_standardized if config.scale_by_std else group_centred
    return _on_every_token(score(*_sequence_rewards(experience)), experience)


def rloo(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The reward minus the mean of the group's others, on every token (Ahmadian et al. 2024, arXiv 2402.14740)."""
    return _on_every_token(leave_one_out(*_sequence_rewards(experience)), experience)


def dr_grpo(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The group's centred reward, on every token (Liu et al. 2025, arXiv 2503.20783): with sums over tokens divided by a
    constant, no length is favoured by the normalisation."""
    return _on_every_token(group_centred(*_sequence_rewards(experience)), experience)


def reinforce(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The reward itself, on every token: no baseline. O1-Pruner's weights enter its loss so (arXiv 2501.12570, eq. 7)."""
    return _on_every_token(_sequence_rewards(experience)[0], experience)


def reinforce_pp(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The rewards still to come, each token's KL price among them, whitened over the step's tokens (REINFORCE++, Hu et al. 2025,
    arXiv 2501.03262, eq. 5 to 7)."""
    mask = experience.batch.response_mask
    to_come = discounted_sums(experience.token_rewards, mask, config.gamma)
    return Advantages(standardize(to_come, experience.batch.loss_mask))


def reinforce_pp_baseline(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The group's centred reward, then whitened over the step's tokens instead of divided by the group's deviation
    (REINFORCE++-baseline, arXiv 2501.03262, section 3.3; DLER's estimator)."""
    centred = _on_every_token(group_centred(*_sequence_rewards(experience)), experience)
    return Advantages(standardize(centred.advantages, experience.batch.loss_mask))


def gfpo(experience: Experience, config: AlgorithmConfig, keep: float = 0.5, by_efficiency: bool = False) -> Advantages:
    """GRPO inside the best `keep` of each group, by shortness or by reward a token; the others teach nothing (GFPO, arXiv
    2508.09726, section 3). The paper divides by all responses of the group, here by those kept: a constant factor.

    Rewards a token (`by_efficiency`) mean what they should where none is below 0: of two wrong answers at -0.5 the longer looks
    more efficient. Left out: the share kept that follows difficulty (4, 6, 8, 8 of 16).
    """
    rewards, groups, _ = _sequence_rewards(experience)
    lengths = experience.batch.lengths
    merit = rewards / lengths if by_efficiency else -lengths.float()
    kept = torch.zeros_like(groups, dtype=torch.bool)
    for group in groups.unique():
        rows = torch.nonzero(groups == group)[:, 0]
        best = torch.argsort(merit[rows], descending=True, stable=True)
        kept[rows[best[: max(1, ceil(keep * len(rows)))]]] = True
    score = group_standardized if config.scale_by_std else group_centred
    return Advantages(_on_every_token(score(rewards, groups, kept), experience).advantages, rows=kept)


# --- weighted likelihoods --------------------------------------------------------------------------------------------


def drpo(
    experience: Experience, config: AlgorithmConfig, length_tokens: float = 1000.0, tau: float = 10.0
) -> Advantages:
    """Correct answers weighted by exp(-L / length_tokens), normalised among the correct alone, so that none is pushed down for
    its length; wrong ones by their log-sum-exp, softmax(s / tau), s the mean log-probability of a token (DRPO, arXiv 2510.04474).

    A group without a correct or without a wrong answer teaches nothing. Their length_tokens is lambda times the largest length,
    0.1 of 8,192 in their script; their bound on the KL is left out (`kl_coef` is the place for one).
    """
    batch = experience.batch
    lengths, weights = batch.lengths.float(), torch.zeros(batch.num_rows)
    scores = masked_mean(experience.old_logprobs, batch.response_mask, dim=1)
    for group in batch.groups.unique():
        correct = (batch.groups == group) & batch.is_correct & batch.loss_rows
        wrong = (batch.groups == group) & ~batch.is_correct & batch.loss_rows
        if correct.any() and wrong.any():
            weights[correct] = torch.softmax(-lengths[correct] / length_tokens, dim=0)
            weights[wrong] = -torch.softmax(scores[wrong] / tau, dim=0)
    return _weighted(weights / max(1, len(batch.groups.unique())), experience)


def sft(experience: Experience, config: AlgorithmConfig, shortest: float = 1) -> Advantages:
    """Likelihood of each group's `shortest` correct responses, 0 for all of them: supervised fine-tuning on what is left (Kimi
    k1.5's shortest rejection sampling, arXiv 2501.12599, section 2.4)."""
    batch = experience.batch
    chosen = torch.zeros(batch.num_rows, dtype=torch.bool)
    for group in batch.groups.unique():
        rows = torch.nonzero((batch.groups == group) & batch.is_correct)[:, 0]
        ranked = rows[torch.argsort(batch.lengths[rows], stable=True)]
        chosen[ranked[: int(shortest) or len(ranked)]] = True
    return Advantages(_on_every_token(chosen.float(), experience).advantages, rows=chosen)


def dpo(
    experience: Experience, config: AlgorithmConfig, pairs: str = "kimi", ratio: float | None = None, beta: float = 0.1
) -> Advantages:
    """Pairs by the rule `pairs`, scored by their log-ratio to the reference (DPO, arXiv 2305.18290, eq. 7). `ratio` is the rule's
    own where it is not given: 1.5 for Kimi's, 1 for the extremes."""
    assert experience.ref_logprobs is not None
    log_ratio = experience.old_logprobs - experience.ref_logprobs
    scores = masked_sum(log_ratio, experience.batch.response_mask, dim=1)
    return _weighted(_weights_of(pairs, ratio, scores, experience, beta), experience)


def simpo(
    experience: Experience,
    config: AlgorithmConfig,
    pairs: str = "kimi",
    ratio: float | None = None,
    beta: float = 2.0,
    margin: float = 1.0,
) -> Advantages:
    """Pairs by the rule `pairs`, scored by the mean log-probability of a token, with a margin (SimPO, arXiv 2405.14734, eq. 6;
    their beta 2 to 2.5, margin over beta 0.3 to 0.5)."""
    scores = masked_mean(experience.old_logprobs, experience.batch.response_mask, dim=1)
    return _weighted(_weights_of(pairs, ratio, scores, experience, beta, margin), experience)


def _weights_of(
    pairs: str, ratio: float | None, scores: Tensor, experience: Experience, beta: float, margin: float = 0.0
) -> Tensor:
    batch = experience.batch
    found = all_pairs(batch.lengths, batch.rewards, batch.is_correct, batch.groups, batch.loss_rows, pairs, ratio)
    return pair_weights(scores, found, beta, margin)


# --- a teacher -------------------------------------------------------------------------------------------------------


def distill(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """log pi_teacher - log pi of each token drawn: the gradient of the reverse KL to the teacher, on the student's responses.

    The teacher is the reference: another model (`reference_model`; on-policy distillation, Agarwal et al. 2024, arXiv 2306.13649,
    with the reverse KL estimated from the token that was drawn), or the same weights told to be brief (`reference_instruction`;
    OPSDC, arXiv 2603.05433). Rewards are not looked at.
    """
    assert experience.ref_logprobs is not None
    gap = experience.ref_logprobs - experience.old_logprobs
    return Advantages(zeroed(gap, experience.batch.response_mask))


def logit_distill(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """No advantage: the loss is kl_coef times the reverse KL to the teacher over the whole vocabulary, on the student's responses
    (GKD with lambda 1 and beta 1, Agarwal et al. 2024, arXiv 2306.13649, eq. 5). Rewards are not looked at."""
    return Advantages(torch.zeros(experience.batch.response_mask.shape))


# --- shared ----------------------------------------------------------------------------------------------------------


def _sequence_rewards(experience: Experience) -> tuple[Tensor, Tensor, Tensor]:
    """Summed token rewards [B], groups [B], and which responses count in baselines: all that are gradable."""
    rewards = masked_sum(experience.token_rewards, experience.batch.response_mask, dim=1)
    return rewards, experience.batch.groups, torch.ones_like(rewards, dtype=torch.bool)


def _on_every_token(advantages: Tensor, experience: Experience) -> Advantages:
    mask = experience.batch.response_mask
    return Advantages(zeroed(advantages[:, None].expand(mask.shape), mask))


def _weighted(weights: Tensor, experience: Experience) -> Advantages:
    """Responses weighted [B] so that the loss is the weighted sum, whatever number of them counts in it. What does not count in
    the loss has weight 0."""
    rows = weights != 0
    return Advantages(_on_every_token(weights * rows.sum(), experience).advantages, rows=rows)


_LIKELIHOOD = {"old_logprobs": "current", "whitening": "none"}

ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm(
        ppo, "clipped surrogate, GAE over a critic (separate, LoRA adapter, or constant zero)", has_critic=True
    ),
    "grpo": Algorithm(grpo, "group-standardised reward, no critic", min_group_size=2),
    "dr_grpo": Algorithm(
        dr_grpo,
        "group-centred reward, sums divided by a constant",
        min_group_size=2,
        requires={"aggregation": "constant", "whitening": "none"},
    ),
    "rloo": Algorithm(rloo, "leave-one-out baseline, no critic", min_group_size=2),
    "reinforce": Algorithm(reinforce, "the reward itself, no baseline"),
    "reinforce_pp": Algorithm(reinforce_pp, "rewards still to come, whitened over the step"),
    "reinforce_pp_baseline": Algorithm(
        reinforce_pp_baseline, "group-centred reward, whitened over the step", min_group_size=2
    ),
    "gfpo": Algorithm(gfpo, "GRPO inside the shortest, or most efficient, part of each group", min_group_size=2),
    "drpo": Algorithm(
        drpo,
        "correct answers weighted among themselves by shortness, wrong ones by log-sum-exp",
        min_group_size=2,
        needs_logprobs=True,
        reads_rewards=False,
        requires={**_LIKELIHOOD, "aggregation": "response"},
    ),
    "o1_pruner": Algorithm(
        reinforce,
        "length-harmonising weights over one clipped ratio a response",
        requires={"ratio": "sequence", "aggregation": "response"},
    ),
    "sft": Algorithm(
        sft, "likelihood of each group's shortest correct responses", reads_rewards=False, requires=_LIKELIHOOD
    ),
    "dpo": Algorithm(
        dpo,
        "pairs of a group, scored against the reference",
        min_group_size=2,
        needs_logprobs=True,
        needs_reference=True,
        reads_rewards=False,
        requires={**_LIKELIHOOD, "aggregation": "sum"},
    ),
    "simpo": Algorithm(
        simpo,
        "pairs of a group, scored by mean log-probability, with a margin",
        min_group_size=2,
        needs_logprobs=True,
        reads_rewards=False,
        requires={**_LIKELIHOOD, "aggregation": "response"},
    ),
    "distill": Algorithm(
        distill,
        "reverse KL to a teacher: another model, or the same told to be brief",
        reads_rewards=False,
        needs_logprobs=True,
        needs_teacher=True,
        needs_reference=True,
        requires={"whitening": "none"},
    ),
    "logit_distill": Algorithm(
        logit_distill,
        "reverse KL to a teacher over the whole vocabulary",
        needs_teacher=True,
        needs_reference=True,
        reads_rewards=False,
        requires={"kl_in": "loss", "kl_estimator": "exact"},
    ),
}


OPTION_BOUNDS: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "keep": (lambda value: 0 < value <= 1, "a share above 0 and at most 1"),
    "shortest": (lambda value: value >= 0 and value == int(value), "a whole number, 0 for all"),
    "length_tokens": (lambda value: value > 0, "a number above 0"),
    "tau": (lambda value: value > 0, "a number above 0"),
    "beta": (lambda value: value > 0, "a number above 0"),
    "ratio": (lambda value: value >= 1, "a number of at least 1"),
    "margin": (lambda value: value >= 0, "a number of at least 0"),
}
"""What the options of algorithms may be, by name."""


def find_algorithm(phase: PhaseConfig) -> Algorithm:
    """The phase's row. Raises `RecipeError` for an unknown name or option, or a combination that cannot work."""
    config, field = phase.algorithm, f"phases.{phase.name}"
    if config.name not in ALGORITHMS:
        raise RecipeError(
            f"{field}.algorithm.name: unknown algorithm {config.name!r}; expected {', '.join(ALGORITHMS)}"
        )
    algorithm = ALGORITHMS[config.name]
    if phase.group_size < algorithm.min_group_size:
        raise RecipeError(
            f"{field}.group_size: {config.name} compares the rollouts of a group and needs at least "
            f"{algorithm.min_group_size}, got {phase.group_size}"
        )
    for key, value in algorithm.requires.items():
        if getattr(config, key) != value:
            raise RecipeError(f"{field}.algorithm.{key}: {config.name} needs {value!r}, got {getattr(config, key)!r}")
    if algorithm.needs_teacher and config.reference_model is None and config.reference_instruction is None:
        raise RecipeError(
            f"{field}.algorithm.reference_model: {config.name} learns from a teacher; expected a model, or a "
            "reference_instruction for the same one"
        )
    if phase.optimizer.critic_warmup_steps and (config.critic == "zero" or not algorithm.has_critic):
        raise RecipeError(f"{field}.optimizer.critic_warmup_steps: there is no critic to warm up; expected 0")
    if config.kl_estimator == "exact" and config.reference_instruction is not None:
        raise RecipeError(
            f"{field}.algorithm.kl_estimator: 'exact' compares under one prompt; leave out reference_instruction"
        )
    if algorithm.requires.get("kl_estimator") == "exact" and config.kl_coef == 0:
        raise RecipeError(f"{field}.algorithm.kl_coef: {config.name} learns from the KL alone; expected more than 0")
    _check_options(algorithm, config, f"{field}.algorithm.options")
    is_truncating = phase.sampler.top_p < 1 or phase.sampler.min_p > 0
    if config.old_logprobs == "sampler" and (is_truncating or phase.rollouts not in ("on_policy", "offline")):
        raise RecipeError(
            f"{field}.algorithm.old_logprobs: 'sampler' needs rollouts that a model drew with top_p = 1 and min_p = 0; expected "
            "'recompute'"
        )
    if phase.sampler.temperature == 0:
        raise RecipeError(f"{field}.sampler.temperature: training explores and needs a temperature above 0, got 0")
    if config.truncated == "bootstrap" and not (algorithm.has_critic and config.critic != "zero"):
        raise RecipeError(f"{field}.algorithm.truncated: 'bootstrap' needs a critic; expected 'penalise' or 'mask'")
    return algorithm


def _check_options(algorithm: Algorithm, config: AlgorithmConfig, field: str) -> None:
    for option in config.options:
        if option not in algorithm.options:
            known = ", ".join(algorithm.options) or "none"
            raise RecipeError(f"{field}: {config.name} has no option {option!r}; it has: {known}")
    rule = config.options.get("pairs")
    if rule is not None and rule not in PAIRS:
        raise RecipeError(f"{field}.pairs: unknown rule {rule!r}; expected {', '.join(PAIRS)}")
    for option, (may_be, expected) in OPTION_BOUNDS.items():
        value = config.options.get(option)
        if value is not None and not (isinstance(value, int | float) and may_be(value)):
            raise RecipeError(f"{field}.{option}: expected {expected}, got {value!r}")


def needs_reference(phase: PhaseConfig) -> bool:
    """Whether this phase scores rollouts under a reference."""
    return phase.algorithm.kl_coef > 0 or find_algorithm(phase).needs_reference


def critic_kind(phase: PhaseConfig) -> str:
    """The critic this phase needs: "separate", "lora", or "zero" (none)."""
    return phase.algorithm.critic if find_algorithm(phase).has_critic else "zero"


def estimate_advantages(algorithm: Algorithm, experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The algorithm's advantages, whitened over all tokens of the step that count in the loss where the recipe asks for it."""
    estimated = algorithm.estimate(experience, config, **config.options)
    if config.whitening == "none":
        return estimated
    mask = experience.batch.loss_mask
    counted = mask if estimated.rows is None else mask & estimated.rows[:, None]
    return replace(estimated, advantages=standardize(estimated.advantages, counted))
