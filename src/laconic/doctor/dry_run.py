"""The dry run: what a recipe would do, the memory it needs, and where its rewards push length.

1. The recipe is checked, and its local problem files and its model's shape are read. No weights are read and nothing is written.
   If all problems can be read locally, the three sets are made as training makes them. LoRA's targets and worked solutions are
   held against the model without its weights.
2. Each phase is printed: rollouts, updates, and its other settings.
3. Memory is predicted from the shape (`memory_needs.py`): the largest phase's peak, by purpose, and its other moments.
4. The work of every phase is predicted: tokens, operations, and hours and cost on a GPU that is named or on this machine
   (`cost_report.py`).
5. A forecast (`rewards/length_forecast.py`) says in which direction length is expected to change, over a range of solve rates.
6. Whatever in the recipe changes nothing is said last, as training and doctor say it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from laconic.collapse.alarms import ALARMS
from laconic.config.phase import Action, AlarmsConfig, PhaseConfig
from laconic.config.recipe import Recipe
from laconic.config.rewards import RewardTermConfig
from laconic.config.sense.complaints import Complaint
from laconic.doctor.checks.memory import fit_lines
from laconic.doctor.checks.pressure import phase_forecast
from laconic.doctor.cost_report import cost_lines, cost_table, predict_costs
from laconic.doctor.gpus import known_gpu
from laconic.doctor.memory_needs import (
    Needs,
    Shape,
    Sources,
    find_shape,
    lacks_weights,
    longest_prompt,
    longest_prompts,
    memory_table,
    outside_bytes,
    predict_needs,
    tokenizer_at_hand,
)
from laconic.doctor.reading import read_sources
from laconic.doctor.spread import ONE_GPU, GpuSpread, spread_sentence
from laconic.errors import ModelError
from laconic.models.loading import load_tokenizer
from laconic.models.lora.targets import check_targets
from laconic.models.weightless import read_bare_model
from laconic.problems.sets import ProblemSets, make_sets
from laconic.rewards.from_recipe import outcome_levels
from laconic.selection.pool import limit_of, needs_probe
from laconic.training.check.context import caps_of
from laconic.training.check.model import complaints_about_adapters, complaints_about_device
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.problems import check_weightless
from laconic.training.check.recipe import check_recipe, warnings_about
from laconic.training.check.servers import complaints_about_servers
from laconic.training.time_left import group_of

SOLVE_RATES = (0.1, 0.5, 0.9)
KL_PLACES = {"centred": "reward, centred in its group", "advantage": "advantages"}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the work is predicted for: a GPU by name (None: the recipe's own device), the dollars that it costs an hour, and how
    many there are (None: one).

    Lengths of responses are read from `probe`, or from the probes of the phases in `run_folder`.
    """

    gpu: str | None = None
    price: float | None = None
    probe: Path | None = None
    run_folder: Path | None = None
    gpus: int | None = None


def print_plan(recipe: Recipe, console: Console, outlook: Outlook | None = None) -> None:
    """Print the dry run. Raises an `InputError` if the recipe, a local file, or the GPU or probe of `outlook` is wrong."""
    outlook = outlook or Outlook()
    if outlook.gpu is not None:
        outlook = replace(outlook, gpu=known_gpu(outlook.gpu))
        recipe = recipe.model_copy(update={"policy": recipe.policy.model_copy(update={"device": "cuda"})})
    phases = check_recipe(recipe)
    sources = read_sources(recipe)
    sets = _sets(sources)
    warnings = warnings_about(recipe, phases, sets.train if sets else None)
    console.print(f"recipe {recipe.name}: model {recipe.model}, seed {recipe.seed}", markup=False, highlight=False)
    for line in _source_lines(recipe, sources, sets.dropped_line if sets else None):
        console.print(line, markup=False, highlight=False)
    shape = find_shape(recipe)
    _check_context(recipe, phases, shape, sources)
    warnings += _check_model(recipe, phases, shape, sets)
    warnings += complaints_about_servers(phases)
    warnings += complaints_about_device(recipe) if outlook.gpu is None else ()
    for phase in phases:
        console.print(_phase_table(phase), soft_wrap=True)
        _print_forecasts(phase, console)
    _print_work(recipe, phases, shape, sources, outlook, console)
    if lacks_weights(recipe.model):
        warnings = [
            *warnings,
            Complaint("warning", "model", f"{recipe.model} has no weights: planned from its config alone"),
        ]
    for warning in warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def _print_work(
    recipe: Recipe,
    phases: Sequence[ResolvedPhase],
    shape: Shape,
    sources: Sources,
    outlook: Outlook,
    console: Console,
) -> None:
    """The memory of the largest phase, whether the GPU has it, and the work with its hours."""
    process_bytes, longest = outside_bytes(recipe), longest_prompt(recipe, sources)

    spread = GpuSpread(outlook.gpus or 1) if outlook.gpu else ONE_GPU

    def needs_of(changed: Recipe, resolved: Sequence[ResolvedPhase]) -> list[Needs]:
        return predict_needs(changed, resolved, shape, sources, process_bytes, longest, spread)

    console.print(memory_table(needs_of(recipe, phases)))
    lines = list(fit_lines(recipe, phases, needs_of, outlook.gpu, spread)) if outlook.gpu else []
    if spread.is_sharded:
        lines.append(spread_sentence(spread))
    costs = predict_costs(
        recipe,
        phases,
        shape,
        sources,
        gpu=outlook.gpu,
        probe=outlook.probe,
        run_folder=outlook.run_folder,
        spread=spread,
    )
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(cost_table(costs), soft_wrap=True)
    for line in cost_lines(costs, outlook.price):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _sets(sources: Sources) -> ProblemSets | None:
    """The three sets as training makes them; None if one of them is not at hand."""
    at_hand = {name: problems for name, problems in sources.items() if problems is not None}
    return make_sets(**at_hand) if len(at_hand) == len(sources) else None


def _check_context(recipe: Recipe, phases: Sequence[ResolvedPhase], shape: Shape, sources: Sources) -> None:
    """Raises `ModelError` where training would: the longest prompt and a cap together exceed the model's context."""
    lengths, limit = longest_prompts(recipe, sources), shape.context_length
    if not lengths or limit is None:
        return
    for cap in caps_of(recipe, phases, load_tokenizer(recipe.model, recipe.policy)):
        if (longest := lengths[cap.instruction]) + cap.max_tokens > limit:
            raise ModelError(
                f"{cap.field}: {cap.max_tokens} and the longest prompt ({longest} tokens) exceed the context of {recipe.model}, "
                f"{shape.context_words}"
            )


def _check_model(
    recipe: Recipe, phases: Sequence[ResolvedPhase], shape: Shape, sets: ProblemSets | None
) -> list[Complaint]:
    """What training would say of the model's layers and, in its tokens, of worked solutions; where its files are at hand."""
    if lacks_weights(recipe.model):
        return []
    found: list[Complaint] = []
    if recipe.policy.lora is not None and shape.is_of_model:
        model = read_bare_model(recipe.model, recipe.policy)
        check_targets(model, recipe.policy.lora.targets, recipe.model)
        found += complaints_about_adapters(recipe, model)
    if sets is None or tokenizer_at_hand(recipe) is None:
        return found
    return found + check_weightless(recipe, phases, sets.train)


def _source_lines(recipe: Recipe, sources: Sources, dropped: str | None) -> list[str]:
    counts = {
        name: "on the hub; not fetched in a dry run" if problems is None else f"{len(problems)} problems"
        for name, problems in sources.items()
    }
    lines = [f"  {name}: {getattr(recipe.problems, name)} ({count})" for name, count in counts.items()]
    return [*lines, f"  {dropped}"] if dropped else lines


def _phase_table(resolved: ResolvedPhase) -> Table:
    phase = resolved.config
    algorithm, sampler = phase.algorithm, phase.sampler
    table = Table(title=Text(f"phase {phase.name}", "table.title"), show_header=False, title_justify="left", width=118)
    rows: dict[str, Any] = {
        "steps": f"up to {phase.steps}, each {phase.problems_per_step} problems x {group_of(phase)} responses, "
        + _updates(phase),
        "problems": _selection_line(phase),
        "rollouts": _rollouts_line(phase),
        "sampling": f"T={sampler.temperature:g}, top-p {sampler.top_p:g}, min-p {sampler.min_p:g}, "
        f"at most {sampler.max_tokens} tokens{f', by vLLM: {sampler.server}' if sampler.engine == 'vllm' else ''}",
        "rewards": _rewards_line(resolved),
        "algorithm": f"{algorithm.name}, gamma {algorithm.gamma:g}, {_credit(resolved)}whitening {algorithm.whitening}, "
        f"loss per {algorithm.aggregation}, clip {algorithm.clip_low:g}/{algorithm.clip_high:g}{_details(phase)}",
        "KL": f"{algorithm.kl_coef:g} x {algorithm.kl_estimator} in the {KL_PLACES.get(algorithm.kl_in, algorithm.kl_in)}"
        if algorithm.kl_coef
        else "none",
        "reference": _reference_line(resolved),
        "optimiser": _optimizer_line(resolved),
        "ends": f"cap {phase.steps} steps, {_limit('patience', phase.end.patience)}, "
        f"{_limit('guard', None if phase.end.guard_drop == 1 else phase.end.guard_drop)}, keeps the {phase.end.keep} step",
        **_alarms_row(phase),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _alarms_row(phase: PhaseConfig) -> dict[str, str]:
    """What the phase does at which alarm, where that is not the default."""
    alarms = phase.end.alarms
    if alarms == AlarmsConfig():
        return {}
    actions = {name: getattr(alarms, name) for name in ALARMS}
    chosen = [(action, [name for name, taken in actions.items() if taken == action]) for action in get_args(Action)]
    words = "; ".join(f"{action}: {', '.join(names)}" for action, names in chosen if names)
    return {"alarms": f"{words}; each reads the newest {alarms.patience(phase.steps)} steps"}


def _rollouts_line(phase: PhaseConfig) -> str:
    """The source of rollouts, and the budget that prompts ask for."""
    budget = phase.budget
    words = f", asked for {budget.low} to {budget.high} tokens by {budget.prompt}" if budget else ""
    kept = f"; the result keeps {phase.entry_share:g} of the weights that enter" if phase.entry_share else ""
    return f"{phase.rollouts}{words}{kept}"


def _details(phase: PhaseConfig) -> str:
    """The other settings that determine the loss."""
    algorithm = phase.algorithm
    entropy = f", entropy bonus {algorithm.entropy_coef:g}" if algorithm.entropy_coef else ""
    ratio = ", one ratio a response" if algorithm.ratio == "sequence" else ""
    options = "".join(f", {key} {value}" for key, value in algorithm.options.items())
    return (
        f"{ratio}, old log-probabilities: {algorithm.old_logprobs}, uniform groups: {algorithm.uniform_groups}, "
        f"truncated: {algorithm.truncated}{entropy}{options}"
    )


def _reference_line(phase: ResolvedPhase) -> str:
    """The reference with which the policy is compared, or the teacher from which it learns."""
    algorithm = phase.config.algorithm
    if not phase.needs_reference:
        return "none"
    words = f', told "{algorithm.reference_instruction}"' if algorithm.reference_instruction else ""
    if algorithm.reference_model:
        return f"the model {algorithm.reference_model}{words}"
    return f"the policy at the phase's start{words}, {algorithm.reference}"


def _updates(phase: PhaseConfig) -> str:
    """The number of updates per step: epochs times minibatches."""
    epochs, minibatches = phase.optimizer.epochs, phase.optimizer.minibatches
    return "1 update per step" if epochs == minibatches == 1 else f"{epochs} x {minibatches} updates"


def _credit(phase: ResolvedPhase) -> str:
    """The lambda and the critic that estimate advantages along a response; empty if a group's mean serves a whole response."""
    if not phase.algorithm.has_critic:
        return ""
    return f"lambda {phase.config.algorithm.gae_lambda:g}, critic {phase.critic}, "


def _optimizer_line(phase: ResolvedPhase) -> str:
    optimizer = phase.config.optimizer
    critic = "" if phase.critic == "zero" else f"critic {optimizer.critic_lr:g}, "
    betas = f"betas {optimizer.betas[0]:g}/{optimizer.betas[1]:g}"
    warmup = f"warm-up {optimizer.warmup_steps} steps" if optimizer.warmup_steps else "no warm-up"
    return f"AdamW, lr {optimizer.lr:g}, {critic}{betas}, {optimizer.schedule}, {warmup}"


def _limit(name: str, value: float | None) -> str:
    return f"no {name}" if value is None else f"{name} {value:g}"


def _selection_line(phase: PhaseConfig) -> str:
    chosen = phase.select
    if not needs_probe(phase):
        limit = limit_of(phase)
        return f"the first {limit} problems" if limit else "all problems"
    count = "all that qualify" if chosen.count is None else str(chosen.count)
    options = ", ".join(f"{key} {value:g}" for key, value in chosen.options.items())
    probed = f" of the first {chosen.pool}" if chosen.pool else ""
    chosen_by = f"{chosen.how} ({options})" if options else chosen.how
    return f"{count}{probed}, probed with {chosen.samples} samples each, chosen by {chosen_by}"


def _rewards_line(phase: ResolvedPhase) -> str:
    rewards = phase.config.rewards
    levels = f"correct {rewards.correct:+g}, wrong {rewards.wrong:+g}, no answer {rewards.no_answer:+g}, "
    terms = "".join(f", {term.weight:g} x {_term_name(term)}" for term in rewards.terms)
    standardized = ", standardised over all that are paid at once" if rewards.standardize else ""
    unread = "" if phase.algorithm.reads_rewards else f"(no advantage of {phase.config.algorithm.name}) "
    return f"{unread}{levels}truncated {rewards.truncated:+g}{terms}{standardized}"


def _term_name(term: RewardTermConfig) -> str:
    options = ", ".join(f"{key} {value:g}" for key, value in term.options.items())
    return f"{term.name} ({options})" if options else term.name


def _print_forecasts(phase: ResolvedPhase, console: Console) -> None:
    row, algorithm, rewards = phase.algorithm, phase.config.algorithm, phase.config.rewards
    if not row.reads_rewards:
        console.print(f"  No forecast: {algorithm.name} makes no advantages of rewards.", markup=False, highlight=False)
        return
    if not row.has_baseline:
        console.print(
            f"  No forecast: {algorithm.name} has neither a critic nor a group's baseline.",
            markup=False,
            highlight=False,
        )
        return
    seen: set[str] = set()
    for rate in SOLVE_RATES:
        expected = phase_forecast(phase, outcome_levels(rewards), rate)
        if expected.sentence in seen:
            continue
        seen.add(expected.sentence)
        console.print(f"  {expected.sentence}", markup=False, highlight=False, soft_wrap=True)
    if algorithm.whitening == "batch" and not row.has_critic:
        shift = (
            "  Whitening shifts every token's advantage by the step's mean, so uniform groups are not exactly silent."
        )
        console.print(shift, markup=False, highlight=False, soft_wrap=True)
