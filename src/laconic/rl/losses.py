"""Per-token losses. Nothing here reduces over tokens; see `masked.py`.

    ratio      rho_t = exp(log pi(a_t) - log pi_old(a_t))
    surrogate  -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A)
    value      1/2 max((V - R)^2, (clip(V, V_old +- value_clip) - R)^2)
    KL         k1, k2, k3 of the log-ratio to the reference (Schulman 2020, "Approximating KL divergence")

All arguments and results have one entry per token, usually [B, T]; logarithms are natural (nats). Arguments of different shapes
raise `ValueError` (`shapes.py`).
"""

from typing import Literal

import torch
from torch import Tensor

from laconic.config.defaults import CLIP_HIGH, CLIP_LOW, VALUE_CLIP
from laconic.rl.masked import masked_sum
from laconic.rl.shapes import check_shapes

KlEstimator = Literal["k1", "k2", "k3"]


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_low: float = CLIP_LOW, clip_high: float = CLIP_HIGH
) -> Tensor:
    """PPO's clipped loss (Schulman et al. 2017, eq. 7) of each token; the clip bounds are distances from 1.

    `log_ratio` is log pi - log pi_old, `advantages` have its shape. DAPO (arXiv 2503.14476) has different lower and upper bounds.
    The losses of GRPO and RLOO are this one, with their advantages.
    """
    check_shapes("clipped_surrogate", log_ratio=(log_ratio, "..."), advantages=(advantages, "..."))
    # Above e^80 float32 overflows, and a gain that the clip silences anyway would be 0 times infinity.
    ratio = torch.where(advantages < 0, log_ratio, log_ratio.clamp(max=80.0)).exp()
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def sequence_log_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """The mean of each response's log-ratios [B, T] over its counted tokens, repeated for each of its tokens [B, T].

    Its exponential is the geometric mean of the tokens' ratios (O1-Pruner's released loss; GSPO, Zheng et al. 2025, arXiv
    2507.18071, eq. 7).
    """
    check_shapes("sequence_log_ratio", log_ratio=(log_ratio, "BT"), mask=(mask, "BT"))
    means = masked_sum(log_ratio, mask, dim=1) / mask.sum(dim=1).clamp(min=1)
    return means[:, None].expand_as(log_ratio)


def truncated_importance(logprobs: Tensor, sampler_logprobs: Tensor, cap: float) -> Tensor:
    """min(exp(log pi - log mu), cap) of each token: how much likelier the policy's own arithmetic makes it than the engine mu
    that drew it, truncated at `cap`, 1 or more.

    The surrogate's terms are multiplied by it, so that their mean over the engine's samples estimates that over the policy's
    (TIS: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training").

    >>> truncated_importance(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -4.0]), 2.0)
    tensor([1., 2.])
    """
    check_shapes("truncated_importance", logprobs=(logprobs, "..."), sampler_logprobs=(sampler_logprobs, "..."))
    return (logprobs - sampler_logprobs).exp().clamp(max=cap)


def is_clipped(
    log_ratio: Tensor, advantages: Tensor, clip_low: float = CLIP_LOW, clip_high: float = CLIP_HIGH
) -> Tensor:
    """True for each token at which the minimum takes the clipped term, so that its gradient is zero; arguments as in
    `clipped_surrogate`."""
    check_shapes("is_clipped", log_ratio=(log_ratio, "..."), advantages=(advantages, "..."))
    ratio = log_ratio.exp()
    return ((advantages > 0) & (ratio > 1.0 + clip_high)) | ((advantages < 0) & (ratio < 1.0 - clip_low))


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, value_clip: float | None = VALUE_CLIP) -> Tensor:
    """Half the squared error of `values` to `returns`, all in units of reward.

    With `value_clip` it is the larger of that error and the error of the value clipped to `old_values` +- `value_clip`, as in
    common implementations of PPO.
    """
    check_shapes("value_loss", values=(values, "..."), old_values=(old_values, "..."), returns=(returns, "..."))
    plain = (values - returns).square()
    if value_clip is None:
        return 0.5 * plain
    clipped = old_values + (values - old_values).clamp(-value_clip, value_clip)
    return 0.5 * torch.maximum(plain, (clipped - returns).square())


def kl_k1(log_ratio: Tensor) -> Tensor:
    """log pi - log pi_ref, in nats: an unbiased estimate of KL(pi || pi_ref) on samples of pi, which can be negative."""
    return log_ratio


def kl_k2(log_ratio: Tensor) -> Tensor:
    """Half the squared log-ratio, in nats: biased but never negative; its expected gradient is that of the true KL."""
    return 0.5 * log_ratio.square()


def kl_k3(log_ratio: Tensor) -> Tensor:
    """exp(-log_ratio) - 1 + log_ratio, in nats: unbiased and never negative."""
    return torch.expm1(-log_ratio) + log_ratio


KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


def kl(log_ratio: Tensor, estimator: KlEstimator) -> Tensor:
    """Estimate of the KL to the reference at each token, in nats, from `log_ratio` = log pi - log pi_ref; the same shape.

    Raises `ValueError` for an unknown estimator.
    """
    if estimator not in KL_ESTIMATORS:
        raise ValueError(f"kl: unknown estimator {estimator!r}; known: {', '.join(KL_ESTIMATORS)}")
    return KL_ESTIMATORS[estimator](log_ratio)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits) in nats, over the last dimension: [..., V] -> [...]."""
    log_normalizer = logits.logsumexp(dim=-1)
    return log_normalizer - (logits.softmax(dim=-1) * logits).sum(dim=-1)
