"""A step's rollouts with everything that the update needs: scores under the current policy, reference and critic.

1. `gather_experience` scores each row once.
2. The reward is placed on each response's last token. If the recipe puts the KL into the reward, its penalty is added token by
   token, or summed over the response and centred in the group (T1), or kept apart for the advantages.
3. A reference may read the problem under an instruction of its own, such as a teacher with the instruction to be brief.
4. `ReferenceCache` keeps the reference's scores. If a phase trains on few problems, they recur, and a policy that grows certain
   repeats whole responses, to which a reference with fixed weights gives the same scores again. The cache is emptied when the
   reference moves. It is also emptied before a checkpoint of the plan is written, so that a run resumed from it scores the same
   rows again as one that was not interrupted. In a checkpoint out of turn it is stored as it is (`state`).

Legend: `B` responses, `T` response tokens.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.phase import PhaseConfig
from laconic.models.policy import Policy
from laconic.rl.advantages import leave_one_out
from laconic.rl.losses import kl
from laconic.rl.masked import zeroed
from laconic.training.batching import MicroBatch, RolloutBatch, shared_micro_batches, token_budget

MAX_CACHED_TOKENS = 2**24  # 64 MiB of float32

Key = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Experience:
    """A step's rollouts with their scores from before the update; all [B, T] in float32 unless noted."""

    batch: RolloutBatch
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    values: Tensor
    last_values: Tensor  # [B]: the value after the last token, 0 where the response ended
    token_rewards: Tensor  # the reward on the last token, minus the KL penalty if the KL is in the reward
    advantage_price: Tensor | None = None  # what is subtracted from the advantages, if the KL is in them


# --- the reference's scores, kept ------------------------------------------------------------------------------------


class ReferenceCache:
    """Log-probabilities of responses under the reference, by prompt and response; if it is full, the oldest are dropped first."""

    def __init__(self) -> None:
        self.held: dict[Key, Tensor] = {}
        self.num_tokens = 0

    def clear(self) -> None:
        """Forget everything."""
        self.held.clear()
        self.num_tokens = 0

    def unknown_rows(self, batch: RolloutBatch) -> list[int]:
        """Rows of `batch` to be scored: for each response that is not in the cache, the first row that has it."""
        first: dict[Key, int] = {}
        for row, key in enumerate(_keys(batch)):
            if key not in self.held:
                first.setdefault(key, row)
        return list(first.values())

    def complete(self, batch: RolloutBatch, scored: Tensor, rows: Sequence[int]) -> Tensor:
        """Log-probabilities [B, T] of the whole batch: those of `rows` from `scored` [B, T], all others from the cache. The
        scores of `rows` are added to the cache."""
        keys, lengths = _keys(batch), batch.lengths.tolist()
        for row in rows:
            self.held[keys[row]] = scored[row, : lengths[row]].clone()
            self.num_tokens += lengths[row]
        out = torch.zeros_like(scored)
        for row, key in enumerate(keys):
            out[row, : lengths[row]] = self.held[key]
        self._drop_oldest()
        return out

    def state(self) -> dict[str, Tensor]:
        """What is in the cache, oldest first, by name: `lengths` [N, 2] of prompts and responses, all their `ids` in a row, and
        the `logprobs` of all responses; empty if the cache is."""
        if not self.held:
            return {}
        return {
            "lengths": torch.tensor([[len(prompt), len(response)] for prompt, response in self.held]),
            "ids": torch.tensor([token for prompt, response in self.held for token in (*prompt, *response)]),
            "logprobs": torch.cat(list(self.held.values())),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned."""
        self.clear()
        if not state:
            return
        lengths = state["lengths"].tolist()
        logprobs = state["logprobs"].split([num_tokens for _, num_tokens in lengths])
        ids = state["ids"].split([num_prompt + num_tokens for num_prompt, num_tokens in lengths])
        for (num_prompt, num_tokens), row, scores in zip(lengths, ids, logprobs, strict=True):
            tokens = row.tolist()
            self.held[tuple(tokens[:num_prompt]), tuple(tokens[num_prompt:])] = scores.clone()
            self.num_tokens += num_tokens

    def _drop_oldest(self) -> None:
        while self.num_tokens > MAX_CACHED_TOKENS:
            oldest = next(iter(self.held))
            self.num_tokens -= len(self.held.pop(oldest))


def _keys(batch: RolloutBatch) -> list[Key]:
    ids, lengths = batch.response_ids.tolist(), batch.lengths.tolist()
    return [(prompt, tuple(row[:n])) for prompt, row, n in zip(batch.prompts, ids, lengths, strict=True)]


# --- the engine's log-probabilities beside the trainer's --------------------------------------------------------------


def engine_figures(experience: Experience, phase: PhaseConfig) -> dict[str, float]:
    """The step's `sampler/*` metrics about log-probabilities: how far those of the engine that drew are from the trainer's own,
    over the tokens that were drawn. Empty where the trainer itself drew and nothing weighs its importance, and where the trainer
    did not score the rollouts before the update."""
    config, batch = phase.algorithm, experience.batch
    is_weighed = config.importance_cap is not None
    if not (is_weighed or phase.sampler.engine != "local") or experience.old_logprobs is batch.sampler_logprobs:
        return {}
    gap = (experience.old_logprobs - batch.sampler_logprobs)[batch.is_drawn]
    figures = {
        "sampler/logprob_gap_nats": float(gap.abs().mean()),
        "sampler/largest_gap_nats": float(gap.abs().max()),
    }
    if config.importance_cap is not None:
        figures["sampler/capped_frac"] = float((gap > math.log(config.importance_cap)).float().mean())
    return figures


# --- scoring ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def gather_experience(
    policy: Policy,
    batch: RolloutBatch,
    phase: PhaseConfig,
    cache: ReferenceCache | None = None,
    *,
    needs_logprobs: bool = True,
) -> Experience:
    """Score the step's rollouts under the current policy, reference and critic, each row once. The reference skips rows whose
    scores are in `cache`. The policy's own scores are left out if the sampler's can be used, or if nothing needs them."""
    policy.settle()
    config, everything = phase.algorithm, range(batch.num_rows)
    pieces, width = _Pieces(policy, batch, phase), policy.lm.sharing_width
    old = batch.sampler_logprobs
    if scores_policy(config, needs_logprobs=needs_logprobs):
        old = pieces.scored(everything, pieces.old_logprobs, width)
    ref = None
    if policy.reference is not None:
        cache = cache or ReferenceCache()
        seen = replace(batch, prompts=batch.ref_prompts)
        unknown = cache.unknown_rows(seen)
        reading = _Pieces(policy, seen, phase)
        ref_width = policy.reference.lm.sharing_width
        ref = cache.complete(seen, reading.scored(unknown, reading.ref_logprobs, ref_width), unknown)
    last_values = torch.zeros(batch.num_rows, device=policy.lm.device)
    values = None
    if pieces.has_critic:
        values = pieces.scored(everything, lambda micro: pieces.values(micro, last_values), width)
    is_bootstrapped = batch.is_truncated & (config.truncated == "bootstrap")
    log_ratio = None if ref is None else old - ref
    return Experience(
        batch=batch,
        old_logprobs=old,
        ref_logprobs=ref,
        values=torch.zeros(batch.response_mask.shape) if values is None else values,
        last_values=zeroed(policy.team.sums(last_values).cpu(), is_bootstrapped),
        token_rewards=_token_rewards(batch, log_ratio, config),
        advantage_price=_advantage_price(batch, log_ratio, config),
    )


def scores_policy(config: AlgorithmConfig, *, needs_logprobs: bool) -> bool:
    """Whether the policy itself scores a step's rollouts before the update: not if the sampler's log-probabilities can be used,
    or if nothing needs them."""
    is_priced = config.kl_coef > 0 and config.kl_in != "loss"  # a KL in the reward needs the policy's own scores
    return config.old_logprobs == "recompute" or (config.old_logprobs == "current" and (needs_logprobs or is_priced))


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Scores of a step's rollouts, micro-batch by micro-batch."""

    policy: Policy
    batch: RolloutBatch
    phase: PhaseConfig

    @property
    def has_critic(self) -> bool:
        return bool(self.policy.critic_parameters())

    def scored(self, rows: Sequence[int], score: Callable[[MicroBatch], Tensor], sharing_width: int | None) -> Tensor:
        """The results of `score` [b, t] for the micro-batches of `rows`, put together as [B, T]; 0 elsewhere. `sharing_width` is
        that of the model that scores. Each process of a team scores its share of the rows, and all get all scores."""
        device, team = self.policy.lm.device, self.policy.team
        out = torch.zeros(
            self.batch.response_mask.shape, device=device
        )  # fetched once, so that the host never waits in between
        budget = token_budget(self.phase.optimizer, device)
        for micro in shared_micro_batches(self.batch, rows, budget, device, sharing_width, team):
            scores = zeroed(score(micro), micro.mask)
            if not micro.is_idle:
                out[micro.rows, : micro.mask.shape[1]] = scores
        return team.sums(out).cpu()

    def old_logprobs(self, micro: MicroBatch) -> Tensor:
        inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
        temperature = self.phase.temperature
        return self.policy.logprobs(*inputs, temperature=temperature, tree=micro.tree, counted=micro.counted)[0]

    def ref_logprobs(self, micro: MicroBatch) -> Tensor:
        inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
        temperature = self.phase.temperature
        return self.policy.ref_logprobs(*inputs, temperature=temperature, tree=micro.tree, counted=micro.counted)

    def values(self, micro: MicroBatch, last_values: Tensor) -> Tensor:
        """Values at the predicting states; those after the last tokens go into `last_values` [B]."""
        values, last = _micro_values(self.policy, micro)
        if not micro.is_idle:
            last_values[micro.rows] = last
        return values


def _micro_values(policy: Policy, micro: MicroBatch) -> tuple[Tensor, Tensor]:
    """Values at the predicting states [b, t] and after the last token [b]."""
    positions = torch.cat([micro.predictors, micro.final[:, None]], dim=1)
    values = policy.values(micro.input_ids, positions, micro.tree)
    return values[:, :-1], values[:, -1]


def _token_rewards(batch: RolloutBatch, log_ratio: Tensor | None, config: AlgorithmConfig) -> Tensor:
    """The reward on each response's last token, minus kl_coef times the KL estimate. With `kl_in = "reward"` each token carries
    its own estimate. With "centred" the last token carries the response's sum, minus the mean of its group's other responses (T1,
    arXiv 2501.11651).

    A truncated response that is bootstrapped gets no reward for being cut off; the critic's value after its end is used instead.
    """
    rewards, last = torch.zeros(batch.response_mask.shape), (torch.arange(batch.num_rows), batch.lengths - 1)
    rewards[last] = zeroed(batch.rewards, ~(batch.is_truncated & (config.truncated == "bootstrap")))
    if log_ratio is None or config.kl_in in ("loss", "advantage"):
        return rewards
    price = _price(batch, log_ratio, config)
    if config.kl_in == "reward":
        return rewards - price
    total = price.sum(dim=1)
    rewards[last] -= leave_one_out(total, batch.groups, torch.ones_like(batch.is_truncated))
    return rewards


def _advantage_price(batch: RolloutBatch, log_ratio: Tensor | None, config: AlgorithmConfig) -> Tensor | None:
    """With `kl_in = "advantage"`: kl_coef times the KL estimate of a whole response, at each of its tokens [B, T]."""
    if log_ratio is None or config.kl_in != "advantage":
        return None
    total = _price(batch, log_ratio, config).sum(dim=1, keepdim=True)
    return zeroed(total.expand(batch.response_mask.shape), batch.response_mask)


def _price(batch: RolloutBatch, log_ratio: Tensor, config: AlgorithmConfig) -> Tensor:
    """kl_coef times the KL estimate of each token [B, T]; 0 for tokens that were written for the model, which has not chosen
    them."""
    assert config.kl_estimator != "exact", "an exact KL is in the loss"
    return config.kl_coef * zeroed(kl(log_ratio, config.kl_estimator), batch.response_mask & batch.is_drawn)
