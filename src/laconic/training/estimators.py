"""Each algorithm's advantages: a function turns a step's scored rollouts into one number per token, and does nothing else.

1. Algorithms with a critic, or with a group as baseline: PPO, GRPO and its descendants.
2. Weighted likelihoods: DRPO, supervised fine-tuning, preference pairs. With `old_logprobs = "current"` the surrogate's gradient
   is A grad log pi.
3. Algorithms with a teacher: the log-ratio to the teacher is the advantage.

The table of `algorithms.py` holds their names and what else they need. Options of an estimate are keywords with defaults.

Legend: `B` responses, `T` response tokens.
"""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from laconic.config.algorithm import AlgorithmConfig
from laconic.rl.advantages import discounted_sums, gae, group_centred, group_standardized, leave_one_out
from laconic.rl.masked import masked_mean, masked_sum, standardize, zeroed
from laconic.training.experience import Experience
from laconic.training.preferences import all_pairs, pair_weights

_ROUNDING = 1e-9  # 0.28 * 25 is a little above 7 in floating point


@dataclass(frozen=True, slots=True)
class Advantages:
    """What the losses need: advantages [B, T], the critic's targets [B, T] where there is a critic, and which responses count in
    the loss, [B] bool (None: all)."""

    advantages: Tensor
    returns: Tensor | None = None
    rows: Tensor | None = None


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
    """The reward minus the mean of the group's other rewards, on every token (Ahmadian et al. 2024, arXiv 2402.14740)."""
    return _on_every_token(leave_one_out(*_sequence_rewards(experience)), experience)


def dr_grpo(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The group's centred reward, on every token (Liu et al. 2025, arXiv 2503.20783): with sums over tokens divided by a
    constant, no length is favoured by the normalisation."""
    return _on_every_token(group_centred(*_sequence_rewards(experience)), experience)


def reinforce(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The reward itself, on every token, without a baseline. O1-Pruner weights its loss in this way (arXiv 2501.12570, eq. 7)."""
    return _on_every_token(_sequence_rewards(experience)[0], experience)


def reinforce_pp(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The sum of the rewards still to come, including each token's KL penalty, whitened over the step's tokens (REINFORCE++, Hu
    et al. 2025, arXiv 2501.03262, eq. 5 to 7)."""
    mask = experience.batch.response_mask
    to_come = discounted_sums(experience.token_rewards, mask, config.gamma)
    return Advantages(standardize(to_come, experience.batch.loss_mask))


def reinforce_pp_baseline(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The group's centred reward, then whitened over the step's tokens instead of divided by the group's deviation
    (REINFORCE++-baseline, arXiv 2501.03262, section 3.3; DLER's estimator)."""
    centred = _on_every_token(group_centred(*_sequence_rewards(experience)), experience)
    return Advantages(standardize(centred.advantages, experience.batch.loss_mask))


def gfpo(experience: Experience, config: AlgorithmConfig, keep: float = 0.5, by_efficiency: bool = False) -> Advantages:
    """GRPO inside the best share `keep` of each group, ranked by shortness or by reward per token; the other responses train
    nothing (GFPO, arXiv 2508.09726, section 3). The paper divides by all responses of the group, this function by those kept: a
    constant factor.

    Ranking by reward per token (`by_efficiency`) only makes sense if no reward is negative: of two wrong answers with reward
    -0.5, the longer one would look more efficient. Left out: a share that depends on difficulty (4, 6, 8, 8 of 16).
    """
    rewards, groups, _ = _sequence_rewards(experience)
    lengths = experience.batch.lengths
    merit = rewards / lengths if by_efficiency else -lengths.float()
    kept = torch.zeros_like(groups, dtype=torch.bool)
    for group in groups.unique():
        rows = torch.nonzero(groups == group)[:, 0]
        best = torch.argsort(merit[rows], descending=True, stable=True)
        kept[rows[best[: most_kept(len(rows), keep)]]] = True
    score = group_standardized if config.scale_by_std else group_centred
    return Advantages(_on_every_token(score(rewards, groups, kept), experience).advantages, rows=kept)


# --- weighted likelihoods --------------------------------------------------------------------------------------------


def drpo(
    experience: Experience, config: AlgorithmConfig, length_tokens: float = 1000.0, tau: float = 10.0
) -> Advantages:
    """Correct answers weighted by exp(-L / length_tokens), normalised among the correct ones, so that none is pushed down for
    its length. Wrong answers are weighted by the gradient of their log-sum-exp, softmax(s / tau), where s is the mean
    log-probability of a response's tokens (DRPO, arXiv 2510.04474).

    A group without a correct or without a wrong answer trains nothing. In the paper, length_tokens is lambda times the largest
    length, which is 0.1 of 8,192 in the authors' script. The paper's bound on the KL is left out (`kl_coef` can take its place).
    """
    batch = experience.batch
    lengths, weights = batch.lengths.float(), torch.zeros(batch.num_rows)
    scores = _mean_logprobs(experience)
    for group in batch.groups.unique():
        correct = (batch.groups == group) & batch.is_correct & batch.loss_rows
        wrong = (batch.groups == group) & ~batch.is_correct & batch.loss_rows
        if correct.any() and wrong.any():
            weights[correct] = torch.softmax(-lengths[correct] / length_tokens, dim=0)
            weights[wrong] = -torch.softmax(scores[wrong] / tau, dim=0)
    return _weighted(weights / max(1, len(batch.groups.unique())), experience)


def sft(experience: Experience, config: AlgorithmConfig, shortest: float = 1) -> Advantages:
    """Likelihood of each group's `shortest` correct responses (0: all correct ones), which is supervised fine-tuning after
    rejection sampling (Kimi k1.5's shortest rejection sampling, arXiv 2501.12599, section 2.4)."""
    batch = experience.batch
    chosen = torch.zeros(batch.num_rows, dtype=torch.bool)
    for group in batch.groups.unique():
        rows = torch.nonzero((batch.groups == group) & batch.is_correct)[:, 0]
        ranked = rows[torch.argsort(batch.lengths[rows], stable=True)]
        chosen[ranked[: most_shortest(len(ranked), shortest)]] = True
    return Advantages(_on_every_token(chosen.float(), experience).advantages, rows=chosen)


def dpo(
    experience: Experience, config: AlgorithmConfig, pairs: str = "kimi", ratio: float | None = None, beta: float = 0.1
) -> Advantages:
    """Pairs by the rule `pairs`, scored by their log-ratio to the reference (DPO, arXiv 2305.18290, eq. 7). Without `ratio` the
    rule's own default is used: 1.5 for Kimi's, 1 for the extremes."""
    assert experience.ref_logprobs is not None
    log_ratio = experience.old_logprobs - experience.ref_logprobs
    scores = masked_sum(log_ratio, _drawn(experience), dim=1)
    return _weighted(_weights_of(pairs, ratio, scores, experience, beta), experience)


def simpo(
    experience: Experience,
    config: AlgorithmConfig,
    pairs: str = "kimi",
    ratio: float | None = None,
    beta: float = 2.0,
    margin: float = 1.0,
) -> Advantages:
    """Pairs by the rule `pairs`, scored by the mean log-probability of their tokens, with a margin (SimPO, arXiv 2405.14734, eq.
    6; the paper uses beta 2 to 2.5 and a margin of 0.3 to 0.5 times beta)."""
    scores = _mean_logprobs(experience)
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
    with the reverse KL estimated from the token that was drawn), or the same weights under an instruction to be brief
    (`reference_instruction`; OPSDC, arXiv 2603.05433). Rewards are not used.
    """
    assert experience.ref_logprobs is not None
    gap = experience.ref_logprobs - experience.old_logprobs
    return Advantages(zeroed(gap, experience.batch.response_mask))


def logit_distill(experience: Experience, config: AlgorithmConfig) -> Advantages:
    """No advantage: the loss is kl_coef times the reverse KL to the teacher over the whole vocabulary, on the student's responses
    (GKD with lambda 1 and beta 1, Agarwal et al. 2024, arXiv 2306.13649, eq. 5). Rewards are not used."""
    return Advantages(torch.zeros(experience.batch.response_mask.shape))


# --- how many of a group train ---------------------------------------------------------------------------------------


def most_kept(group_size: int, keep: float = 0.5, **_others: object) -> int:
    """How many responses of a group `gfpo` trains on: the share `keep`, rounded up."""
    return max(1, ceil(keep * group_size - _ROUNDING))


def most_shortest(group_size: int, shortest: float = 1, **_others: object) -> int:
    """How many responses of a group `sft` trains on at most; 0 stands for all."""
    return min(int(shortest) or group_size, group_size)


def most_paired(group_size: int, pairs: str = "kimi", **_others: object) -> int:
    """How many responses of a group `dpo` and `simpo` train on at most: Kimi's rule pairs one with all others, that of the
    rewards makes one pair of the correct ones and one of the others."""
    return group_size if pairs == "kimi" else min(4 if pairs == "reward" else 2, group_size)


# --- shared ----------------------------------------------------------------------------------------------------------


def _sequence_rewards(experience: Experience) -> tuple[Tensor, Tensor, Tensor]:
    """Summed token rewards [B], groups [B], and which responses count in baselines (all gradable ones)."""
    rewards = masked_sum(experience.token_rewards, experience.batch.response_mask, dim=1)
    return rewards, experience.batch.groups, torch.ones_like(rewards, dtype=torch.bool)


def _drawn(experience: Experience) -> Tensor:
    """The tokens that the model drew, [B, T]: those of which the loss has the gradient, and a score is of these alone."""
    return experience.batch.response_mask & experience.batch.is_drawn


def _mean_logprobs(experience: Experience) -> Tensor:
    """The mean log-probability of each response's drawn tokens, [B]."""
    return masked_mean(experience.old_logprobs, _drawn(experience), dim=1)


def _on_every_token(advantages: Tensor, experience: Experience) -> Advantages:
    mask = experience.batch.response_mask
    return Advantages(zeroed(advantages[:, None].expand(mask.shape), mask))


def _weighted(weights: Tensor, experience: Experience) -> Advantages:
    """Advantages that make the loss the sum of the responses weighted by `weights` [B], however many of them count in it.
    Responses that do not count in the loss have weight 0."""
    rows = weights != 0
    return Advantages(_on_every_token(weights * rows.sum(), experience).advantages, rows=rows)
