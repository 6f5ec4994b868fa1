"""Every algorithm as a row of one table: its advantages, and what they need.

1. `gather_experience` scores a step's rollouts once (`experience.py`).
2. The row's `estimate` (`estimators.py`) turns experience into advantages, into value targets where it has a critic, and says
   which responses count.
3. The loss is one for all: the clipped surrogate, a KL to the reference, an entropy bonus (`updates.py`).

So an algorithm is its advantage. What looks like another loss is a case of the surrogate: with `old_logprobs = "current"` the
ratio is 1 and the surrogate's gradient is a weighted likelihood's, which is supervised fine-tuning (weight 1), DPO and SimPO
(weights of pairs, `preferences.py`) and DRPO (weights inside the correct and inside the wrong answers); with the log-ratio to
a teacher as the advantage it is on-policy distillation. DAPO is `grpo` with `clip_high`, `aggregation = "token"` and
`uniform_groups = "resample"`.

`requires` names the settings without which a row would not be what its name says; another value is refused, not overruled.
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
    ppo,
    reinforce,
    reinforce_pp,
    reinforce_pp_baseline,
    rloo,
    sft,
    simpo,
)
from laconic.training.experience import Experience, gather_experience
from laconic.training.preferences import PAIRS

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
        """Whether a critic or the other responses of its group say what was to be expected of a response."""
        return self.has_critic or self.min_group_size > 1

    @property
    def options(self) -> list[str]:
        """Names of the algorithm's own options."""
        return list(signature(self.estimate).parameters)[2:]


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
