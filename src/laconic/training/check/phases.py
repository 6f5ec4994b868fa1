"""A phase checked, and resolved: everything that needs no model is checked, and the names in it are looked up.

1. Rollouts, algorithm, prompts, rewards and selection, and whether they fit together. A mistake is a `RecipeError` that names the
   dotted field.
2. The result is a `ResolvedPhase`. Training, the dry run and doctor use it and look nothing up again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.node import check_options
from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.errors import InputError, RecipeError
from laconic.prompts.instructions import resolve_instruction
from laconic.rewards.from_recipe import remembering_terms, reward_table, reward_terms
from laconic.rewards.paying import try_terms
from laconic.rewards.ranges import DIVISOR, LIMIT, Range
from laconic.rewards.table import Reward
from laconic.rollouts.given_pairs import PAIR_SIZE
from laconic.rollouts.sources import KEPT, SOURCES, Source, SourceSetting
from laconic.selection.pool import check_rule, needs_probe
from laconic.training.algorithms import Algorithm, find_algorithm
from laconic.training.preferences import PAIRS


@dataclass(frozen=True, slots=True)
class ResolvedPhase:
    """A phase of a valid recipe, with the objects that its names refer to.

    `index` is its number in the recipe, from 0, and `algorithm` its row of `ALGORITHMS`. `rewards` holds every reward term by
    name, including those that a user added. `open_source` makes its source of rollouts.
    """

    index: int
    config: PhaseConfig
    algorithm: Algorithm
    rewards: Mapping[str, Reward]
    open_source: Callable[[SourceSetting], Source]

    @property
    def name(self) -> str:
        """The phase's name in the recipe."""
        return self.config.name

    @property
    def critic(self) -> str:
        """The critic that the phase needs: "separate", "lora", or "zero" (none)."""
        return self.config.algorithm.critic if self.algorithm.has_critic else "zero"

    @property
    def has_moving_reference(self) -> bool:
        """Whether the reference follows the policy."""
        algorithm = self.config.algorithm
        return self.needs_reference and algorithm.reference_model is None and algorithm.reference != "frozen"

    @property
    def compares_with_entry(self) -> bool:
        """Whether the phase needs the weights that entered it to its end: its reference equals them, and never moves."""
        is_teacher = self.config.algorithm.reference_model is not None
        return self.needs_reference and not is_teacher and not self.has_moving_reference

    @property
    def needs_reference(self) -> bool:
        """Whether the phase scores rollouts under a reference."""
        return self.config.algorithm.kl_coef > 0 or self.algorithm.needs_reference

    @property
    def teacher(self) -> str | None:
        """The model that the phase loads as its reference, if that is not the policy's own."""
        return self.config.algorithm.reference_model if self.needs_reference else None

    @property
    def field_of_teacher(self) -> str:
        """The recipe's field that names the teacher."""
        return f"phases.{self.name}.algorithm.reference_model"


def resolve_phase(phase: PhaseConfig, policy: PolicyConfig, index: int = 0) -> ResolvedPhase:
    """The phase number `index` of a recipe with this `policy`, resolved. Raises `RecipeError` naming the field."""
    _check_source(phase)
    algorithm = find_algorithm(phase)
    _check_algorithm(phase, algorithm)
    _check_prompts(phase)
    _check_average(phase)
    rewards = _check_rewards(phase)
    _check_selection(phase)
    resolved = ResolvedPhase(index, phase, algorithm, rewards, SOURCES[phase.rollouts])
    _check_critic(resolved, policy)
    return resolved


# --- where rollouts come from ----------------------------------------------------------------------------------------


def _check_source(phase: PhaseConfig) -> None:
    """Raises `RecipeError` if the phase's source is unknown or does not fit the rest of the phase."""
    field = f"phases.{phase.name}"
    if phase.rollouts not in SOURCES:
        raise RecipeError(f"{field}.rollouts: unknown source {phase.rollouts!r}; expected {', '.join(SOURCES)}")
    if phase.budget is not None and phase.rollouts != "on_policy":
        raise RecipeError(f"{field}.budget: needs rollouts = 'on_policy', got {phase.rollouts!r}")
    if phase.rollouts == "serial" and phase.group_size < 2:
        raise RecipeError(
            f"{field}.group_size: 'serial' needs an exit beside the trace, at least 2, got {phase.group_size}"
        )
    is_given = phase.algorithm.options.get("pairs") == "given"
    if is_given != (phase.rollouts == "pairs"):
        key, value = ("rollouts", phase.rollouts) if is_given else ("algorithm.options.pairs", None)
        got = f", got {value!r}" if value else ""
        raise RecipeError(
            f"{field}.{key}: rollouts = 'pairs' and dpo or simpo with pairs = 'given' need one another{got}"
        )
    if phase.rollouts == "pairs" and phase.group_size != PAIR_SIZE:
        raise RecipeError(f"{field}.group_size: a pair has {PAIR_SIZE} responses, got {phase.group_size}")
    remembering = remembering_terms(phase.rewards)
    if remembering and phase.rollouts in KEPT:
        raise RecipeError(
            f"{field}.rewards.terms: {remembering[0]} remembers from step to step, and {phase.rollouts!r} rollouts are paid "
            "once; expected rollouts of the policy"
        )
    if phase.algorithm.uniform_groups == "resample" and phase.rollouts in KEPT:
        raise RecipeError(
            f"{field}.algorithm.uniform_groups: 'resample' needs rollouts of the policy, got {phase.rollouts!r}"
        )


# --- the algorithm ---------------------------------------------------------------------------------------------------


def _check_algorithm(phase: PhaseConfig, algorithm: Algorithm) -> None:
    """Raises `RecipeError` for an unknown option, or a combination that cannot work."""
    config, field = phase.algorithm, f"phases.{phase.name}"
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
    if config.importance_cap is not None and (
        config.old_logprobs != "recompute" or is_truncating or phase.rollouts != "on_policy"
    ):
        raise RecipeError(
            f"{field}.algorithm.importance_cap: compares the trainer with the engine that drew; expected old_logprobs = "
            "'recompute', top_p = 1, min_p = 0 and rollouts = 'on_policy'"
        )
    if phase.sampler.temperature == 0:
        raise RecipeError(f"{field}.sampler.temperature: training explores and needs a temperature above 0, got 0")
    if config.truncated == "bootstrap" and not (algorithm.has_critic and config.critic != "zero"):
        raise RecipeError(f"{field}.algorithm.truncated: 'bootstrap' needs a critic; expected 'penalise' or 'mask'")


OPTION_RANGES: Mapping[str, Range] = {
    "keep": Range(0.001, 1),
    "shortest": LIMIT,
    "length_tokens": DIVISOR,
    "tau": Range(0.001, 1000),
    "beta": Range(0.001, 1000),
    "ratio": Range(1, 1000),
    "margin": Range(0, 1000),
}
"""The range of each option of an algorithm that is a number, by name."""


def _check_options(algorithm: Algorithm, config: AlgorithmConfig, field: str) -> None:
    for option in config.options:
        if option not in algorithm.options:
            known = ", ".join(algorithm.options) or "none"
            raise RecipeError(f"{field}: {config.name} has no option {option!r}; it has: {known}")
    try:
        check_options(config.options, algorithm.options)
    except ValueError as error:
        raise RecipeError(f"{field}.{error}") from None
    rule = config.options.get("pairs")
    if rule is not None and rule not in PAIRS:
        raise RecipeError(f"{field}.pairs: unknown rule {rule!r}; expected {', '.join(PAIRS)}")
    for option, value in config.options.items():
        if option in OPTION_RANGES:
            try:
                OPTION_RANGES[option].check(option, value)
            except ValueError as error:
                raise RecipeError(f"{field}.{error}") from None


def _check_average(phase: PhaseConfig) -> None:
    if phase.entry_share and (phase.end.patience is not None or phase.end.keep == "best"):
        raise RecipeError(
            f"phases.{phase.name}.entry_share: the average is taken after the phase's last step; expected no patience and "
            "keep = 'last'"
        )


def _check_critic(phase: ResolvedPhase, policy: PolicyConfig) -> None:
    if phase.critic != "lora":
        return
    field = f"phases.{phase.name}.algorithm.critic"
    if policy.lora is None:
        raise RecipeError(f"{field}: 'lora' needs [policy.lora]")


# --- prompts, rewards, problems --------------------------------------------------------------------------------------


def _check_prompts(phase: PhaseConfig) -> None:
    """Raises `RecipeError` if the instruction of a budget or a reference is unknown."""
    budget = phase.budget
    instructions = {
        "budget.prompt": f"{budget.prompt}:{budget.high}" if budget else None,
        "algorithm.reference_instruction": phase.algorithm.reference_instruction,
    }
    for field, name in instructions.items():
        try:
            resolve_instruction(name or "")
        except InputError as error:
            raise RecipeError(f"phases.{phase.name}.{field}: {error}") from None


def _check_rewards(phase: PhaseConfig) -> Mapping[str, Reward]:
    """Every reward term by name. The terms of the phase are tried on made-up groups first."""
    try:
        rewards = reward_table(phase.rewards)
        try_terms(
            reward_terms(phase.rewards),
            Path(),
            group_size=1 if phase.rollouts == "solutions" else phase.group_size,
            max_tokens=phase.sampler.max_tokens,
            budget_tokens=phase.budget.high if phase.budget else None,
            has_reference=phase.rollouts == "offline" or needs_probe(phase),
            timeout_seconds=phase.rewards.timeout_seconds,
        )
    except ValueError as error:
        raise RecipeError(f"phases.{phase.name}: {error}") from None
    return rewards


def _check_selection(phase: PhaseConfig) -> None:
    try:
        check_rule(phase)
    except ValueError as error:
        raise RecipeError(f"phases.{phase.name}: {error}") from None
