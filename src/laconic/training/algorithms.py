"""Every algorithm as a row of one table: how its advantages are computed, and what they need.

1. `gather_experience` scores a step's rollouts once (`experience.py`).
2. The row's `estimate` (`estimators.py`) turns experience into advantages, and into value targets if it has a critic. It also
   says which responses count.
3. All algorithms share one loss: the clipped surrogate, a KL to the reference, and an entropy bonus (`updates.py`).

So algorithms differ only in their advantages. What looks like another loss is a special case of the surrogate: with
`old_logprobs = "current"` the ratio is 1, and the gradient of the surrogate is that of a weighted likelihood. This gives
supervised fine-tuning (weight 1), DPO and SimPO (weights of pairs, `preferences.py`) and DRPO (weights among the correct and
among the wrong answers). With the log-ratio to a teacher as the advantage it gives on-policy distillation. DAPO is `grpo` with
`clip_high`, `aggregation = "token"` and `uniform_groups = "resample"`.

`requires` names the settings without which a row would not be the algorithm that its name promises. Other values are refused, not
silently replaced (`check.py`). `levers` names the keys that make a difference to some algorithms only, and to this one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.phase import PhaseConfig
from laconic.errors import RecipeError
from laconic.rl.masked import standardize
from laconic.training.estimators import (
    Advantages,
    distill,
    dpo,
    dr_grpo,
    drpo,
    gfpo,
    grpo,
    logit_distill,
    most_kept,
    most_paired,
    most_shortest,
    ppo,
    reinforce,
    reinforce_pp,
    reinforce_pp_baseline,
    rloo,
    sft,
    simpo,
)
from laconic.training.experience import Experience, gather_experience

__all__ = [
    "ALGORITHMS",
    "Advantages",
    "Algorithm",
    "estimate_advantages",
    "find_algorithm",
    "gather_experience",
]


_SURROGATE = frozenset({"whitening", "ratio", "clip_low", "clip_high", "old_logprobs", "importance_cap"})


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row: how advantages are computed, and what that needs. `estimate` takes its own options as keywords.

    `most_trained` takes the size of a group, and the options as keywords, and returns how many of its responses train at most.
    """

    estimate: Callable[..., Advantages]
    summary: str
    has_critic: bool = False
    min_group_size: int = 1
    needs_logprobs: bool = False
    needs_reference: bool = False
    needs_teacher: bool = False
    reads_rewards: bool = (
        True  # whether its advantages are computed from rewards (pairs may be picked by rewards even if not)
    )
    most_trained: Callable[..., int] = lambda group_size, **_options: group_size
    requires: Mapping[str, Any] = field(default_factory=dict)
    levers: frozenset[str] = _SURROGATE

    @property
    def has_baseline(self) -> bool:
        """Whether the expected reward of a response is estimated, by a critic or by the other responses of its group."""
        return self.has_critic or self.min_group_size > 1

    @property
    def options(self) -> dict[str, Any]:
        """The algorithm's own options, with their defaults."""
        parameters = list(signature(self.estimate).parameters.values())[2:]
        return {parameter.name: parameter.default for parameter in parameters}


_LIKELIHOOD = {"old_logprobs": "current", "whitening": "none"}

ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm(
        ppo,
        "clipped surrogate, GAE over a critic (separate, LoRA adapter, or constant zero)",
        has_critic=True,
        levers=_SURROGATE | {"gamma", "gae_lambda", "critic"},
    ),
    "grpo": Algorithm(
        grpo, "group-standardised reward, no critic", min_group_size=2, levers=_SURROGATE | {"scale_by_std"}
    ),
    "dr_grpo": Algorithm(
        dr_grpo,
        "group-centred reward, sums divided by a constant",
        min_group_size=2,
        requires={"aggregation": "constant", "whitening": "none"},
    ),
    "rloo": Algorithm(rloo, "leave-one-out baseline, no critic", min_group_size=2),
    "reinforce": Algorithm(reinforce, "the reward itself, no baseline"),
    "reinforce_pp": Algorithm(
        reinforce_pp,
        "rewards still to come, whitened over the step",
        levers=_SURROGATE - {"whitening"} | {"gamma"},
    ),
    "reinforce_pp_baseline": Algorithm(
        reinforce_pp_baseline,
        "group-centred reward, whitened over the step",
        min_group_size=2,
        levers=_SURROGATE - {"whitening"},
    ),
    "gfpo": Algorithm(
        gfpo,
        "GRPO inside the shortest, or most efficient, part of each group",
        min_group_size=2,
        most_trained=most_kept,
        levers=_SURROGATE | {"scale_by_std"},
    ),
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
        sft,
        "likelihood of each group's shortest correct responses",
        reads_rewards=False,
        most_trained=most_shortest,
        requires=_LIKELIHOOD,
    ),
    "dpo": Algorithm(
        dpo,
        "pairs of a group, scored against the reference",
        min_group_size=2,
        needs_logprobs=True,
        needs_reference=True,
        reads_rewards=False,
        most_trained=most_paired,
        requires={**_LIKELIHOOD, "aggregation": "sum"},
    ),
    "simpo": Algorithm(
        simpo,
        "pairs of a group, scored by mean log-probability, with a margin",
        min_group_size=2,
        needs_logprobs=True,
        reads_rewards=False,
        most_trained=most_paired,
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
        levers=frozenset(),
    ),
}


def find_algorithm(phase: PhaseConfig) -> Algorithm:
    """The phase's row. Raises `RecipeError` for an unknown name."""
    name = phase.algorithm.name
    if name not in ALGORITHMS:
        raise RecipeError(
            f"phases.{phase.name}.algorithm.name: unknown algorithm {name!r}; expected {', '.join(ALGORITHMS)}"
        )
    return ALGORITHMS[name]


def estimate_advantages(algorithm: Algorithm, experience: Experience, config: AlgorithmConfig) -> Advantages:
    """The algorithm's advantages, less the KL of `kl_in = "advantage"`. If the recipe asks for it, they are whitened over all
    tokens of the step that count in the loss."""
    estimated = algorithm.estimate(experience, config, **config.options)
    if experience.advantage_price is not None:
        estimated = replace(estimated, advantages=estimated.advantages - experience.advantage_price)
    if config.whitening == "none":
        return estimated
    mask = experience.batch.loss_mask
    counted = mask if estimated.rows is None else mask & estimated.rows[:, None]
    return replace(estimated, advantages=standardize(estimated.advantages, counted))
