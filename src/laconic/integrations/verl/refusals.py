"""What verl cannot do of a phase, each with its reason and where there is one a remedy; and what it does otherwise than we do.

Every function of `REFUSALS` looks at one part of a resolved phase. What it yields is a reason not to export: a phase is exported
as it is, or not at all. What `done_otherwise` finds is said and written beside the export.
"""

from collections.abc import Callable, Iterator

from laconic.config.recipe import Recipe
from laconic.errors import RecipeError
from laconic.integrations.verl.demands import terms_of_a_step, terms_of_a_worker, why_grades
from laconic.system.own_files import is_own
from laconic.training.check.phases import ResolvedPhase

VerlRefusal = tuple[str, str]
"""A key below the phase, and why verl cannot do what it says."""

OF_ALGORITHMS = {
    "drpo": "its weights are computed from log-probabilities, which verl's estimators do not get",
    "dpo": "its pairs are scored by log-probabilities, which verl's estimators do not get; verl has no preference pairs",
    "simpo": "its pairs are scored by log-probabilities, which verl's estimators do not get; verl has no preference pairs",
    "distill": "its advantage is a teacher's log-probability, which verl's estimators do not get",
    "logit_distill": "its loss is a KL over the whole vocabulary, which verl's update does not have",
}
"""Algorithms that no estimator of verl can be, and why."""


def _of_rollouts(phase: ResolvedPhase, recipe: Recipe) -> Iterator[VerlRefusal]:
    config = phase.config
    if config.rollouts != "on_policy":
        yield "rollouts", f"verl draws every response from the policy, got {config.rollouts!r}"
    if config.sampler.min_p > 0:
        yield "sampler.min_p", "verl samples without min_p; expected 0"
    if config.entry_share > 0:
        yield "entry_share", "verl does not average weights; expected 0"


def _of_algorithm(phase: ResolvedPhase, recipe: Recipe) -> Iterator[VerlRefusal]:
    config = phase.config.algorithm
    if config.name in OF_ALGORITHMS:
        yield "algorithm.name", f"{config.name}: {OF_ALGORITHMS[config.name]}"
    if phase.critic == "lora":
        yield "algorithm.critic", "verl's critic is a model of its own; expected 'separate' or 'zero'"
    if phase.critic == "separate" and config.whitening == "none":
        yield "algorithm.whitening", "verl whitens every advantage of a critic; expected 'batch' (or critic = 'zero')"
    if phase.critic == "separate" and config.value_gae_lambda not in (None, config.gae_lambda):
        yield "algorithm.value_gae_lambda", f"verl has one lambda for both; expected {config.gae_lambda:g}"
    if config.truncated == "bootstrap":
        yield "algorithm.truncated", "verl has no value after the cap; expected 'penalise' or 'mask'"
    if phase.critic == "separate" and config.truncated == "mask":
        yield "algorithm.truncated", "verl's critic counts every response; expected 'penalise'"
    if phase.critic == "separate" and config.uniform_groups != "keep":
        yield "algorithm.uniform_groups", "verl's critic counts every response; expected 'keep'"
    if config.entropy_target is not None:
        yield "algorithm.entropy_target", "verl's entropy bonus does not move; leave it out"
    if config.ratio == "sequence" and config.old_logprobs == "current":
        yield "algorithm.ratio", "verl has no likelihood with one ratio per response; expected 'token'"


def _of_reference(phase: ResolvedPhase, recipe: Recipe) -> Iterator[VerlRefusal]:
    config = phase.config.algorithm
    if not phase.needs_reference:
        return
    if config.reference_model is not None:
        yield "algorithm.reference_model", "verl's reference is the model that it begins with; leave it out"
    if config.reference_instruction is not None:
        yield "algorithm.reference_instruction", "verl's reference reads the policy's prompt; leave it out"
    if config.reference != "frozen":
        yield "algorithm.reference", f"verl's reference does not move; expected 'frozen', got {config.reference!r}"
    if config.kl_estimator == "exact":
        yield "algorithm.kl_estimator", "verl has no KL over the vocabulary; expected 'k1', 'k2' or 'k3'"
    if config.kl_in == "centred":
        yield "algorithm.kl_in", "verl centres no KL in its group; expected 'loss'"
    if config.kl_in == "advantage":
        yield "algorithm.kl_in", "verl subtracts no KL from advantages; expected 'loss'"
    if config.kl_in == "reward" and phase.critic != "separate":
        yield "algorithm.kl_in", f"verl adds the KL to the score before {config.name} reads it; expected 'loss'"


def _of_rewards(phase: ResolvedPhase, recipe: Recipe) -> Iterator[VerlRefusal]:
    config = phase.config
    for term in config.rewards.terms:
        if is_own(term.name):
            yield (
                "rewards.terms",
                f"{term.name}: a reward of one's own reads a whole group's texts, which verl never has together",
            )
    reason, read = why_grades(config), terms_of_a_worker(config)
    if reason and read:
        yield "rewards.terms", f"{read[0]} reads tokens or texts, but {reason}, and verl never has both together"
    if phase.critic == "separate" and (together := terms_of_a_step(config)):
        yield (
            "rewards.terms",
            f"{together[0]} looks at more than one response, and verl's critic learns from single scores",
        )
    if phase.critic == "separate" and config.rewards.standardize:
        yield "rewards.standardize", "verl's critic learns from single scores; expected false"
    if reason and config.algorithm.uniform_groups == "resample":
        yield (
            "algorithm.uniform_groups",
            f"verl compares groups before rewards are paid, since {reason}; expected 'keep' or 'drop'",
        )


def _of_update(phase: ResolvedPhase, recipe: Recipe) -> Iterator[VerlRefusal]:
    config = phase.config.optimizer
    if config.schedule == "linear":
        yield "optimizer.schedule", "verl's rates are constant or fall as a cosine; expected 'constant' or 'cosine'"
    if phase.config.problems_per_step % config.minibatches:
        per_step = phase.config.problems_per_step
        yield (
            "optimizer.minibatches",
            f"verl cuts a step by problems; expected a divisor of problems_per_step, {per_step}",
        )


def _of_model(phase: ResolvedPhase, recipe: Recipe) -> Iterator[VerlRefusal]:
    lora = recipe.policy.lora
    if lora is not None and lora.dropout > 0:
        yield "policy.lora.dropout", "verl's adapters have none; expected 0"


REFUSALS: tuple[Callable[[ResolvedPhase, Recipe], Iterator[VerlRefusal]], ...] = (
    _of_rollouts,
    _of_algorithm,
    _of_reference,
    _of_rewards,
    _of_update,
    _of_model,
)


def refusals(phase: ResolvedPhase, recipe: Recipe) -> list[str]:
    """Why verl cannot train the phase as it is, one line per reason, each beginning with the dotted field; empty if it can."""
    found = [refusal for look in REFUSALS for refusal in look(phase, recipe)]
    return [f"{key if key.startswith('policy.') else f'phases.{phase.name}.{key}'}: {why}" for key, why in found]


def check_exportable(phase: ResolvedPhase, recipe: Recipe) -> None:
    """Raise `RecipeError` for the first reason why verl cannot train the phase as it is."""
    found = refusals(phase, recipe)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise RecipeError(f"{found[0]}{more}")


def done_otherwise(phase: ResolvedPhase, recipe: Recipe, *, writes_date: bool = False) -> list[str]:
    """What verl does otherwise in this phase, one sentence each. `writes_date` says that the chat template does."""
    config, said = phase.config, []
    if phase.index > 0:
        entry = recipe.phases[phase.index - 1].name
        said.append(
            f"The phase begins with what {entry!r} made: give its weights as model=FOLDER; here it is {recipe.model}."
        )
    if phase.critic == "separate":
        said.append("An ungradable response is paid 0 and trained on, since verl's critic counts every response.")
        said.append("Advantages are whitened by the sample deviation; laconic takes the population's.")
    elif config.algorithm.kl_coef > 0 or config.algorithm.entropy_coef > 0:
        said.append("The KL and the entropy bonus count every response that was drawn, not only those that train.")
    if config.optimizer.minibatches > 1:
        said.append("A step is cut into updates by verl's own random numbers.")
    if config.optimizer.warmup_steps:
        said.append("The warm-up begins at rate 0; laconic's begins one step further.")
    if (watched := recipe.report.max_tokens) not in (None, config.sampler.max_tokens):
        said.append(
            f"It validates with responses of up to {config.sampler.max_tokens} tokens (max_response_length); laconic watches "
            f"with up to {watched} (report.max_tokens)."
        )
    if writes_date:
        said.append(
            "The chat template writes the date, which verl reads off the clock; laconic keeps that of the run's first day."
        )
    if config.algorithm.uniform_groups == "resample":
        said.append(
            f"Uniform groups are replaced until the step is full; laconic draws {config.algorithm.max_draws} times at most."
        )
    said.append(
        f"All {config.steps} steps are run: verl has neither the end rule of the phase nor its guard and alarms."
    )
    said.append(
        "Random numbers are verl's: the same problems are asked in the same steps, and other responses are drawn."
    )
    return said
