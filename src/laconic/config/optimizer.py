"""How one step's rollouts become updates of the weights."""

from typing import Literal

from laconic.config.node import (
    AdamEpsilon,
    Count,
    Fraction,
    GradNorm,
    Node,
    NonNegative,
    PartOfOne,
    Positive,
    Rate,
)


class OptimizerConfig(Node):
    """AdamW for policy and critic. One step's rollouts are cut into `minibatches` updates, and gone through `epochs` times.

    `lr` is warmed up over `warmup_steps` and then follows `schedule` over the phase's `steps`, down to `min_lr_frac`.
    During the first `critic_warmup_steps` only the critic learns. `micro_batch_tokens` is the most tokens that go through the
    model at once, padding included (by default 4,096 on a CPU, 16,384 elsewhere).
    """

    lr: Rate = 1e-6
    critic_lr: Rate = 1e-5
    betas: tuple[PartOfOne, PartOfOne] = (0.9, 0.95)
    eps: AdamEpsilon = 1e-8
    weight_decay: NonNegative = 0.0
    max_grad_norm: GradNorm = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Count = 0
    min_lr_frac: Fraction = 0.0
    critic_warmup_steps: Count = 0
    epochs: Positive = 1
    minibatches: Positive = 1
    micro_batch_tokens: Positive | None = None
