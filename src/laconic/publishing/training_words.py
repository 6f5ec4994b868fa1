"""A recipe in words, one item of a list for each phase and one for what all phases share."""

from collections.abc import Iterator

from laconic.comparison.sentences import plural
from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.config.recipe import Recipe
from laconic.publishing.markdown import code
from laconic.reporting.data import Record
from laconic.selection.pool import limit_of, needs_probe, problems_per_step

DRAWN_WORDS = {
    "on_policy": "responses drawn from the model as it learned: {size} per problem, {drawn}",
    "offline": "responses drawn once from the model that entered the phase: {size} per problem, {drawn}",
    "serial": "exits of one trace per problem, and the trace itself: {size} per problem, {drawn}",
}
"""A recipe's `rollouts` in words, where the model writes them."""

GIVEN_WORDS = {
    "solutions": "the problems' own worked solutions",
    "pairs": "two given responses per problem, of which people preferred one: 1 is paid for that, 0 for the other",
}
"""A recipe's `rollouts` in words, where the problems hold them; they are paid nothing by the recipe."""


def phase_words(number: int, phase: PhaseConfig, record: Record) -> Iterator[str]:
    """One phase: what it learned from, what it was paid for, how its weights moved, and how it ended."""
    from laconic.training.algorithms import find_algorithm  # brings torch, which a card does not need otherwise

    algorithm, count = find_algorithm(phase), record.get("num_problems")
    steps = record["last_step"] - record["first_step"] + 1
    taken = phase.problems_per_step if count is None else problems_per_step(phase, count)
    yield f"**Phase {number}, {phase.name}**: {phase.algorithm.name}, {steps} steps of {plural(taken, 'problem')}"
    yield f"problems: {_selected(phase, count)}"
    if phase.rollouts in GIVEN_WORDS:
        yield f"learned from {GIVEN_WORDS[phase.rollouts]}"
    else:
        yield f"learned from {DRAWN_WORDS[phase.rollouts].format(size=phase.group_size, drawn=_drawn(phase))}"
        yield f"rewards: {_rewards(phase)}" if algorithm.reads_rewards else f"by no reward: {algorithm.summary}"
    yield f"learning rate {phase.optimizer.lr:g}{_kl(phase)}"
    yield f"how it ended: {record.get('reason', 'not recorded')}"


def shared_words(recipe: Recipe) -> Iterator[str]:
    """What holds for all phases."""
    yield f"the weights were {_trained(recipe.policy)}"
    yield f"prompt: instruction {code(recipe.prompt.instruction)}" + (
        f", system turn {code(recipe.prompt.system)}" if recipe.prompt.system else ""
    )
    yield f"grader: {recipe.grader.name or 'the rules and algebra of Laconic'}"
    yield f"seed {recipe.seed}"


def _trained(policy: PolicyConfig) -> str:
    if policy.lora is None:
        return "trained in full"
    lora = policy.lora
    return f"trained by LoRA of rank {lora.rank} (alpha {lora.alpha:g}), and its adapters are merged into them here"


def _drawn(phase: PhaseConfig) -> str:
    sampler = phase.sampler
    budget = f"; a budget of {phase.budget.low} to {phase.budget.high} tokens in the prompt" if phase.budget else ""
    return f"temperature {sampler.temperature:g}, at most {sampler.max_tokens} tokens{budget}"


def _selected(phase: PhaseConfig, count: int | None) -> str:
    select = phase.select
    if count is None:
        return "how many is not recorded"
    if not needs_probe(phase):
        return f"{count} of the train set, all that there were" if limit_of(phase) is None else f"the first {count}"
    return f"{count}, selected by `{select.how}` from {select.samples} responses each"


def _rewards(phase: PhaseConfig) -> str:
    pay = phase.rewards
    levels = f"correct {pay.correct:g}, wrong {pay.wrong:g}, no answer {pay.no_answer:g}, truncated {pay.truncated:g}"
    terms = [
        f"{term.weight:g} × `{term.name}`" + (" (own code, not included)" if term.sha256 else "") for term in pay.terms
    ]
    standardized = "; standardised over all that were paid at once" if pay.standardize else ""
    return " + ".join([levels, *terms]) + standardized


def _kl(phase: PhaseConfig) -> str:
    algorithm = phase.algorithm
    if not algorithm.kl_coef:
        return ""
    return f", with {algorithm.kl_coef:g} × the KL to a {algorithm.reference} reference in the {algorithm.kl_in}"
