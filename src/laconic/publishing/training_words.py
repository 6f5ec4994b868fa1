"""A recipe in words, one item of a list for each phase and one for what all phases share."""

from collections.abc import Iterator

from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.config.recipe import Recipe
from laconic.publishing.markdown import code
from laconic.reporting.data import Record

SOLUTIONS = "solutions"
ROLLOUT_WORDS = {
    "on_policy": "responses drawn from the model as it learned",
    "offline": "responses drawn once from the model that entered the phase",
    SOLUTIONS: "the problems' own worked solutions",
    "serial": "exits of one trace",
}
"""A recipe's `rollouts` in words; another one is named as it is."""


def phase_words(number: int, phase: PhaseConfig, record: Record) -> Iterator[str]:
    """One phase: what it learned from, what it was paid for, how its weights moved, and how it ended."""
    steps = record["last_step"] - record["first_step"] + 1
    yield f"**Phase {number}, {phase.name}**: {phase.algorithm.name}, {steps} steps of {phase.problems_per_step} problems"
    yield f"problems: {_selected(phase, record)}"
    learned = f"learned from {ROLLOUT_WORDS.get(phase.rollouts, phase.rollouts)}"
    if phase.rollouts == SOLUTIONS:
        yield learned
    else:
        yield f"{learned}: {phase.group_size} per problem, {_drawn(phase)}"
        yield f"rewards: {_rewards(phase)}"
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


def _selected(phase: PhaseConfig, record: Record) -> str:
    select, count = phase.select, record.get("num_problems")
    if select.how == "everything":
        return f"{count} of the train set, all that there were" if select.count is None else f"the first {count}"
    return f"{count}, selected by `{select.how}` from {select.samples} responses each"


def _rewards(phase: PhaseConfig) -> str:
    pay = phase.rewards
    levels = f"correct {pay.correct:g}, wrong {pay.wrong:g}, no answer {pay.no_answer:g}, truncated {pay.truncated:g}"
    terms = [
        f"{term.weight:g} × `{term.name}`" + (" (own code, not included)" if term.sha256 else "") for term in pay.terms
    ]
    return " + ".join([levels, *terms])


def _kl(phase: PhaseConfig) -> str:
    algorithm = phase.algorithm
    if not algorithm.kl_coef:
        return ""
    return f", with {algorithm.kl_coef:g} × the KL to a {algorithm.reference} reference in the {algorithm.kl_in}"
