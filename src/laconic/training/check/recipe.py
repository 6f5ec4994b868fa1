"""A recipe checked, its phases resolved, and what in it is senseless and does no harm."""

from collections.abc import Iterable, Iterator, Sequence

from laconic.config.recipe import Recipe
from laconic.config.sense.complaints import Complaint, complaints_about_phases, complaints_about_run
from laconic.config.sense.reading import Reading
from laconic.errors import RecipeError
from laconic.models.loading import OR_BUNDLED
from laconic.prompts.instructions import asked_tokens, resolve_instruction
from laconic.rewards.from_recipe import (
    late_terms,
    may_read_budget,
    options_above,
    pays_correctness,
    plain_terms,
    terms_of_groups,
    terms_of_nothing_alone,
    whole_terms,
)
from laconic.rollouts.sources import KEPT
from laconic.samplers.endpoints import is_endpoint
from laconic.training.check.model import complaints_about_model
from laconic.training.check.phases import ResolvedPhase, resolve_phase
from laconic.training.check.problems import complaints_about_golds, complaints_about_problems
from laconic.types import Problem


def check_recipe(recipe: Recipe) -> tuple[ResolvedPhase, ...]:
    """The recipe's phases, resolved. Raises an `InputError` that names the field if the recipe cannot work."""
    _check_models(recipe)
    resolve_instruction(recipe.prompt.instruction)
    phases = tuple(resolve_phase(phase, recipe.policy, index) for index, phase in enumerate(recipe.phases))
    _sift(complaints_about(recipe, phases))
    return phases


def warnings_about(
    recipe: Recipe, phases: Sequence[ResolvedPhase], trainable: Sequence[Problem] | None
) -> list[Complaint]:
    """What is senseless in a recipe that can work. `trainable` is the train set without the problems that are watched or
    reported, None where it is out of reach. Raises `RecipeError` where a phase cannot train on these problems."""
    about_problems = [complaint for phase in phases for complaint in complaints_about_problems(phase.config, trainable)]
    about_problems += complaints_about_golds(recipe, trainable)
    return _sift([*complaints_about(recipe, phases), *about_problems])


def complaints_about(recipe: Recipe, phases: Sequence[ResolvedPhase]) -> list[Complaint]:
    """Everything senseless in a recipe, whatever its problems are."""
    about_phases = complaints_about_phases([_reading(recipe, phase) for phase in phases])
    return [
        *complaints_about_run(recipe),
        *_complaints_about_prompt(recipe),
        *complaints_about_model(recipe),
        *about_phases,
    ]


def _complaints_about_prompt(recipe: Recipe) -> Iterator[Complaint]:
    asked = asked_tokens(recipe.prompt.instruction)
    cap = max(phase.sampler.max_tokens for phase in recipe.phases)
    if asked is not None and asked > cap:
        what = f"asks for up to {asked:,} tokens, but no phase lets a response have more than {cap:,}"
        yield Complaint("warning", "prompt.instruction", what)


def _reading(recipe: Recipe, phase: ResolvedPhase) -> Reading:
    row, algorithm = phase.algorithm, phase.config.algorithm
    is_paid = phase.config.rollouts != "pairs"  # what is given is paid by the preference, whatever the recipe pays
    chooses_by_rewards = algorithm.options.get("pairs") == "reward" or algorithm.uniform_groups != "keep"
    rewards = phase.config.rewards
    return Reading(
        recipe,
        phase.config,
        levers=row.levers,
        min_group_size=row.min_group_size,
        has_critic=phase.critic != "zero",
        has_reference=phase.needs_reference,
        makes_advantages_of_rewards=row.reads_rewards,
        reads_rewards=row.reads_rewards or (is_paid and chooses_by_rewards),
        draws_rollouts=phase.config.rollouts not in KEPT,
        whole_terms=whole_terms(rewards),
        terms_of_groups=terms_of_groups(rewards),
        terms_of_nothing_alone=terms_of_nothing_alone(rewards),
        late_terms=late_terms(rewards, phase.config.steps),
        plain_terms=plain_terms(rewards),
        pays_correctness=pays_correctness(rewards),
        reads_budget=may_read_budget(rewards),
        long_options=options_above(rewards, phase.config.sampler.max_tokens),
    )


def _sift(complaints: Iterable[Complaint]) -> list[Complaint]:
    """The warnings. Raises `RecipeError` for the first error."""
    warnings = []
    for complaint in complaints:
        if complaint.level == "error":
            raise RecipeError(str(complaint))
        warnings.append(complaint)
    return warnings


def _check_models(recipe: Recipe) -> None:
    """Raises `RecipeError` for a model behind an endpoint."""
    teachers = {f"phases.{p.name}.algorithm.reference_model": p.algorithm.reference_model for p in recipe.phases}
    for field, name in ({"model": recipe.model} | teachers).items():
        if name is not None and is_endpoint(name):
            raise RecipeError(
                f"{field}: {name} is an endpoint, which can be measured (laconic evaluate) but not trained; expected a "
                f"folder, a hub name, a .gguf file, {OR_BUNDLED}"
            )
