"""The algorithm, and every lever of it that moves length."""

from typing import Literal

from pydantic import model_validator

from laconic.config.defaults import CLIP_HIGH, CLIP_LOW, GAE_LAMBDA, VALUE_CLIP
from laconic.config.node import (
    ClipDistance,
    Coefficient,
    Flag,
    Fraction,
    ImportanceCap,
    Nats,
    Node,
    OneLine,
    Positive,
    Rate,
    Text,
    TextOption,
)


class AlgorithmConfig(Node):
    """The algorithm, a row of `algorithms.ALGORITHMS` by `name`, and every lever that moves length.

    `options` are keys that only this algorithm has. With `old_logprobs = "current"` the old policy is the policy itself, at
    every update: the ratio is 1, nothing is clipped, and the loss is a weighted likelihood. `ratio = "sequence"` clips one
    ratio per response, the exponential of its mean token log-ratio (O1-Pruner's code; GSPO). With `kl_in = "centred"` the KL of
    a response, less the mean KL of the other responses of its group, is subtracted from its reward (T1). With `kl_in =
    "advantage"` it is subtracted from the advantage of each of the response's tokens, so that no baseline centres it.
    `kl_estimator = "exact"` sums over the whole vocabulary. The reference is the policy at the start of the phase, or
    `reference_model`; it reads problems under `reference_instruction` where there is one. With `importance_cap` the surrogate
    of a token is weighted by how much likelier the trainer makes it than the engine that drew it, at most by this (TIS).
    """

    name: OneLine = "ppo"
    options: dict[str, TextOption] = {}
    gamma: Fraction = 1.0
    gae_lambda: Fraction = GAE_LAMBDA
    value_gae_lambda: Fraction | None = None
    critic: Literal["separate", "lora", "zero"] = "separate"
    whitening: Literal["none", "batch"] = "none"
    scale_by_std: Flag = True
    clip_low: ClipDistance = CLIP_LOW
    clip_high: ClipDistance = CLIP_HIGH
    value_clip: ClipDistance | None = VALUE_CLIP
    aggregation: Literal["response", "token", "constant", "sum"] = "response"
    ratio: Literal["token", "sequence"] = "token"
    kl_coef: Coefficient = 0.0
    kl_in: Literal["reward", "centred", "advantage", "loss"] = "loss"
    kl_estimator: Literal["k1", "k2", "k3", "exact"] = "k3"
    reference: Literal["frozen", "ema", "reset"] = "frozen"
    ema_decay: Fraction = 0.99
    reference_every: Positive = 1
    reference_model: OneLine | None = None
    reference_instruction: Text | None = None
    entropy_coef: Coefficient = 0.0
    entropy_target: Nats | None = None
    entropy_coef_step: Rate = 1e-4
    truncated: Literal["penalise", "bootstrap", "mask"] = "penalise"
    uniform_groups: Literal["keep", "drop", "resample"] = "keep"
    max_draws: Positive = 3
    old_logprobs: Literal["sampler", "recompute", "current"] = "recompute"
    importance_cap: ImportanceCap | None = None

    @model_validator(mode="after")
    def _an_adaptive_entropy_bonus_starts_somewhere(self) -> "AlgorithmConfig":
        if self.entropy_target is not None and self.entropy_coef == 0.0:
            raise ValueError("entropy_target needs an entropy_coef above 0 to start from")
        if self.kl_estimator == "exact" and self.kl_in != "loss":
            raise ValueError("kl_estimator = 'exact' has a gradient and belongs in the loss: expected kl_in = 'loss'")
        return self
