"""PPO, GRPO and RLOO as rows of one table.

1. `gather_experience` scores a step's rollouts once: old log-probabilities, values, the reference's log-probabilities.
2. The algorithm's row turns experience into advantages, and into value targets where it has a critic.
3. The loss is one for all: the clipped surrogate, a KL to the reference, an entropy bonus (`updates.py`).

So an algorithm is its advantage and what that needs. GRPO and RLOO differ from PPO in nothing else; Dr. GRPO is GRPO with
`scale_by_std = false` and `aggregation = "constant"`.

Legend: `B` responses, `T` response tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.advantages import gae, group_centred, group_standardized, leave_one_out
from laconic.batching import MicroBatch, RolloutBatch, micro_batches, token_budget
from laconic.config import AlgorithmConfig, PhaseConfig
from laconic.errors import RecipeError
from laconic.losses import kl
from laconic.masked import masked_sum, standardize, zeroed
from laconic.policy import Policy
from laconic.reference_cache import ReferenceCache


@dataclass(frozen=True, slots=True)
class Experience:
    """A step's rollouts as scored before the update; all [B, T] in float32 unless noted."""

    batch: RolloutBatch
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    values: Tensor
    last_values: Tensor  # [B]: the value after the last token, 0 where the response ended
    token_rewards: Tensor  # the reward on the last token, minus the KL's price where the KL is in the reward


@dataclass(frozen=True, slots=True)
class Advantages:
    """What the losses need: advantages [B, T], and the critic's targets [B, T] where there is a critic."""

    advantages: Tensor
    returns: Tensor | None


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row: how advantages are made, whether a critic is needed, and the smallest group that makes sense."""

    estimate: Callable[[Experience, AlgorithmConfig], Advantages]
    has_critic: bool
    min_group_size: int
    summary: str


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


def _sequence_rewards(experience: Experience) -> tuple[Tensor, Tensor, Tensor]:
    """Summed token rewards [B], groups [B], and which responses count in baselines: all that are gradable."""
    rewards = masked_sum(experience.token_rewards, experience.batch.response_mask, dim=1)
    return rewards, experience.batch.groups, torch.ones_like(rewards, dtype=torch.bool)


def _on_every_token(advantages: Tensor, experience: Experience) -> Advantages:
    mask = experience.batch.response_mask
    return Advantages(zeroed(advantages[:, None].expand(mask.shape), mask), None)


ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm(ppo, True, 1, "clipped surrogate, GAE over a critic (separate, LoRA adapter, or constant zero)"),
    "grpo": Algorithm(grpo, False, 2, "group-standardised reward, no critic"),
    "rloo": Algorithm(rloo, False, 2, "leave-one-out baseline, no critic"),
}


def find_algorithm(phase: PhaseConfig) -> Algorithm:
    """The phase's row. Raises `RecipeError` for an unknown name or a combination that cannot work."""
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
    is_truncating = phase.sampler.top_p < 1 or phase.sampler.min_p > 0
    if config.old_logprobs == "sampler" and is_truncating:
        raise RecipeError(
            f"{field}.algorithm.old_logprobs: 'sampler' needs top_p = 1 and min_p = 0; expected 'recompute'"
        )
    if phase.sampler.temperature == 0:
        raise RecipeError(f"{field}.sampler.temperature: training explores and needs a temperature above 0, got 0")
    if config.truncated == "bootstrap" and not (algorithm.has_critic and config.critic != "zero"):
        raise RecipeError(f"{field}.algorithm.truncated: 'bootstrap' needs a critic; expected 'penalise' or 'mask'")
    return algorithm


def critic_kind(phase: PhaseConfig) -> str:
    """The critic this phase needs: "separate", "lora", or "zero" (none)."""
    return phase.algorithm.critic if find_algorithm(phase).has_critic else "zero"


@torch.no_grad()
def gather_experience(
    policy: Policy, batch: RolloutBatch, phase: PhaseConfig, cache: ReferenceCache | None = None
) -> Experience:
    """Score the step's rollouts under policy, reference and critic as they are now: each row once or, where `cache` holds what
    the reference says of it, not at all."""
    config, everything = phase.algorithm, range(batch.num_rows)
    pieces = _Pieces(policy, batch, phase)
    old = batch.sampler_logprobs
    if config.old_logprobs == "recompute":
        old = pieces.scored(everything, pieces.old_logprobs)
    ref = None
    if config.kl_coef > 0:
        cache = cache or ReferenceCache()
        unknown = cache.unknown_rows(batch)
        ref = cache.complete(batch, pieces.scored(unknown, pieces.ref_logprobs), unknown)
    last_values = torch.zeros(batch.num_rows)
    values = pieces.scored(everything, lambda micro: pieces.values(micro, last_values)) if pieces.has_critic else None
    is_bootstrapped = batch.is_truncated & (config.truncated == "bootstrap")
    return Experience(
        batch=batch,
        old_logprobs=old,
        ref_logprobs=ref,
        values=torch.zeros(batch.response_mask.shape) if values is None else values,
        last_values=zeroed(last_values, is_bootstrapped),
        token_rewards=_token_rewards(batch, None if ref is None else old - ref, config),
    )


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Scores of a step's rollouts, micro-batch by micro-batch."""

    policy: Policy
    batch: RolloutBatch
    phase: PhaseConfig

    @property
    def has_critic(self) -> bool:
        return bool(self.policy.critic_parameters())

    def scored(self, rows: Sequence[int], score: Callable[[MicroBatch], Tensor]) -> Tensor:
        """`score` [b, t] of the micro-batches of `rows`, put together as [B, T]; 0 elsewhere."""
        out = torch.zeros(self.batch.response_mask.shape)
        device = self.policy.lm.device
        for micro in micro_batches(self.batch, rows, token_budget(self.phase.optimizer, device), device):
            out[micro.rows.cpu(), : micro.mask.shape[1]] = zeroed(score(micro), micro.mask).cpu()
        return out

    def old_logprobs(self, micro: MicroBatch) -> Tensor:
        inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
        return self.policy.logprobs(*inputs, temperature=self.phase.sampler.temperature)[0]

    def ref_logprobs(self, micro: MicroBatch) -> Tensor:
        inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
        return self.policy.ref_logprobs(*inputs, temperature=self.phase.sampler.temperature)

    def values(self, micro: MicroBatch, last_values: Tensor) -> Tensor:
        """Values at the predicting states; those after the last tokens go into `last_values` [B]."""
        values, last = _micro_values(self.policy, micro)
        last_values[micro.rows.cpu()] = last.cpu()
        return values


def _micro_values(policy: Policy, micro: MicroBatch) -> tuple[Tensor, Tensor]:
    """Values at the predicting states [b, t] and after the last token [b]."""
    positions = torch.cat([micro.predictors, micro.final[:, None]], dim=1)
    values = policy.values(micro.input_ids, positions)
    return values[:, :-1], values[:, -1]


def _token_rewards(batch: RolloutBatch, log_ratio: Tensor | None, config: AlgorithmConfig) -> Tensor:
    """The reward on each response's last token; with `kl_in = "reward"`, minus kl_coef times the KL estimate of each token.

    A truncated response that is bootstrapped gets no reward for being cut off: its value goes on instead.
    """
    rewards = torch.zeros(batch.response_mask.shape)
    paid = zeroed(batch.rewards, ~(batch.is_truncated & (config.truncated == "bootstrap")))
    rewards[torch.arange(batch.num_rows), batch.lengths - 1] = paid
    if log_ratio is not None and config.kl_in == "reward":
        rewards = rewards - config.kl_coef * zeroed(kl(log_ratio, config.kl_estimator), batch.response_mask)
    return rewards


def estimate_advantages(algorithm: Algorithm, experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The algorithm's advantages, whitened over all tokens of the step that count in the loss where the recipe asks for it."""
    estimated = algorithm.estimate(experience, config)
    if config.whitening == "none":
        return estimated
    return Advantages(standardize(estimated.advantages, experience.batch.loss_mask), estimated.returns)
