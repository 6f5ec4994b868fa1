"""The dry run: what a recipe would do, the memory it needs, and where its rewards push length.

1. The recipe is checked, its local problem files and its model's shape are read; none of its weights are, and nothing is
   written.
2. Each phase is printed: rollouts, updates, levers.
3. Memory is predicted from the shape (`needs.py`): the largest phase's peak, by purpose, and its other moments.
4. `pressure.forecast` says which way length is expected to go, over a range of solve rates.
"""

from typing import Any

from rich.console import Console
from rich.table import Table

from laconic.algorithms import critic_kind, find_algorithm
from laconic.config import PhaseConfig, Recipe
from laconic.needs import Sources, find_shape, memory_table, outside_bytes, predict_needs, read_sources
from laconic.pressure import forecast
from laconic.rollouts import outcome_levels, pricing_terms
from laconic.train import check_recipe

SOLVE_RATES = (0.1, 0.5, 0.9)


def print_plan(recipe: Recipe, console: Console) -> None:
    """Print the dry run. Raises an `InputError` where the recipe or a local file is wrong."""
    check_recipe(recipe)
    sources = read_sources(recipe)
    console.print(f"recipe {recipe.name}: model {recipe.model}, seed {recipe.seed}", markup=False, highlight=False)
    for line in _source_lines(recipe, sources):
        console.print(line, markup=False, highlight=False)
    for phase in recipe.phases:
        console.print(_phase_table(phase), soft_wrap=True)
        _print_forecasts(phase, console)
    console.print(memory_table(predict_needs(recipe, find_shape(recipe), sources, outside_bytes(recipe))))


def _source_lines(recipe: Recipe, sources: Sources) -> list[str]:
    counts = {
        name: "on the hub; not fetched in a dry run" if problems is None else f"{len(problems)} problems"
        for name, problems in sources.items()
    }
    return [f"  {name}: {getattr(recipe.problems, name)} ({count})" for name, count in counts.items()]


def _phase_table(phase: PhaseConfig) -> Table:
    algorithm, optimizer, sampler = phase.algorithm, phase.optimizer, phase.sampler
    table = Table(title=f"phase {phase.name}", show_header=False, title_justify="left", width=118)
    critic = critic_kind(phase)
    rows: dict[str, Any] = {
        "steps": f"up to {phase.steps}, each {phase.problems_per_step} problems x {phase.group_size} responses, "
        f"{optimizer.epochs} x {optimizer.minibatches} updates",
        "problems": _selection_line(phase),
        "sampling": f"T={sampler.temperature:g}, top-p {sampler.top_p:g}, min-p {sampler.min_p:g}, "
        f"at most {sampler.max_tokens} tokens",
        "rewards": _rewards_line(phase),
        "algorithm": f"{algorithm.name}, gamma {algorithm.gamma:g}, lambda {algorithm.gae_lambda:g}, critic {critic}, "
        f"whitening {algorithm.whitening}, loss per {algorithm.aggregation}, "
        f"clip {algorithm.clip_low:g}/{algorithm.clip_high:g}",
        "KL": f"{algorithm.kl_coef:g} x {algorithm.kl_estimator} in the {algorithm.kl_in}, "
        f"reference {algorithm.reference}"
        if algorithm.kl_coef
        else "none",
        "optimiser": f"AdamW, lr {optimizer.lr:g}, critic {optimizer.critic_lr:g}, betas {optimizer.betas[0]:g}/"
        f"{optimizer.betas[1]:g}, {optimizer.schedule}, warm-up {optimizer.warmup_steps} steps",
        "ends": f"cap {phase.steps} steps, patience {phase.end.patience}, guard {phase.end.guard_drop}, "
        f"keeps the {phase.end.keep} step",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _selection_line(phase: PhaseConfig) -> str:
    chosen = phase.select
    count = "all" if chosen.count is None else str(chosen.count)
    options = ", ".join(f"{key} {value:g}" for key, value in chosen.options.items())
    probed = (
        "" if chosen.how == "everything" else f" of {chosen.pool or 'all'} probed with {chosen.samples} samples each"
    )
    return f"{count}{probed}, chosen by {chosen.how}{f' ({options})' if options else ''}"


def _rewards_line(phase: PhaseConfig) -> str:
    rewards = phase.rewards
    levels = f"correct {rewards.correct:+g}, wrong {rewards.wrong:+g}, no answer {rewards.no_answer:+g}, "
    terms = "".join(f", {term.weight:g} x {term.name}" for term in rewards.terms)
    return f"{levels}truncated {rewards.truncated:+g}{terms}"


def _print_forecasts(phase: PhaseConfig, console: Console) -> None:
    algorithm, critic = phase.algorithm, critic_kind(phase)
    if not find_algorithm(phase).reads_rewards:
        console.print(f"  No forecast: {algorithm.name} learns from no reward.", markup=False, highlight=False)
        return
    seen: set[str] = set()
    for rate in SOLVE_RATES:
        expected = forecast(
            outcome_levels(phase.rewards),
            algorithm.gae_lambda,
            algorithm.whitening == "batch",
            rate,
            length_terms=pricing_terms(phase.rewards),
            has_group_baseline=not find_algorithm(phase).has_critic,
            critic_value=0.0 if critic == "zero" else None,
        )
        if expected.sentence in seen:
            continue
        seen.add(expected.sentence)
        console.print(f"  {expected.sentence}", markup=False, highlight=False, soft_wrap=True)
    if algorithm.whitening == "batch" and not find_algorithm(phase).has_critic:
        shift = (
            "  Whitening shifts every token's advantage by the step's mean, so uniform groups are not exactly silent."
        )
        console.print(shift, markup=False, highlight=False, soft_wrap=True)
