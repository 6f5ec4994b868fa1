"""The dry run: what a recipe would do, the memory it needs, and where its rewards push length.

1. The recipe is checked, its local problem files are read, its model's shape is read from the recipe's `policy.shape` where
   it has one and the model is on the hub, else from the model's config. No weights are loaded, nothing is written.
2. Each phase is printed: rollouts, updates, levers.
3. Memory is estimated from the shape: weights, gradients and moments of each role, the sampler's cache, activations.
4. `pressure.forecast` says which way length is expected to go, over a range of solve rates.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from laconic.algorithms import critic_kind, find_algorithm
from laconic.config import PhaseConfig, PolicyConfig, Recipe, ShapeConfig
from laconic.errors import ModelError
from laconic.models import LOGITS_PER_CHUNK, resolve_model
from laconic.pressure import forecast
from laconic.problems import load_problems
from laconic.train import check_recipe

GIB = 2**30
ADAM_BYTES = 8  # two float32 moments
FULL_BYTES = 4
ACTIVATIONS_PER_LAYER = 16  # hidden-sized tensors kept for the backward pass of one layer and token, attention fused
REMOTE = ("hf:",)
SOLVE_RATES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by purpose, of the phase that needs most."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


def num_parameters(shape: ShapeConfig) -> int:
    """Weights of a decoder of this shape: gated MLP, grouped-query attention, norms left out (under 0.1%)."""
    head = shape.hidden // shape.heads
    attention = shape.hidden * head * (2 * shape.heads + 2 * shape.kv_heads)
    mlp = 3 * shape.hidden * shape.intermediate
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return shape.layers * (attention + mlp) + embeddings


def estimate_memory(shape: ShapeConfig, phase: PhaseConfig, policy: PolicyConfig) -> Memory:
    """Peak bytes of one phase on one device, by purpose; an estimate, fragmentation and kernels' workspace left out."""
    weights = num_parameters(shape)
    compute = 2 if policy.dtype == "bfloat16" or (policy.dtype == "auto" and shape.stored_bytes == 2) else FULL_BYTES
    held = compute if policy.lora else FULL_BYTES
    learning = _lora_parameters(shape, policy) if policy.lora else weights
    critic, has_reference = critic_kind(phase), phase.algorithm.kl_coef > 0
    body = weights - shape.vocabulary * shape.hidden * (0 if shape.tied else 1)
    per_weight = FULL_BYTES + ADAM_BYTES  # gradient and moments
    parts = {
        "policy weights": weights * held + (learning * FULL_BYTES if policy.lora else 0),
        "policy gradients and moments": learning * per_weight,
        "critic": {
            "zero": 0,
            "lora": learning * (FULL_BYTES + per_weight),
            "separate": body * held + (learning if policy.lora else body) * per_weight,
        }[critic],
        "reference": (learning if policy.lora else weights) * FULL_BYTES if has_reference else 0,
        "sampler's cache": _cache_bytes(shape, phase, compute),
        "activations of one micro-batch": _activation_bytes(shape, phase, policy, compute),
        "logits of one chunk": 3 * FULL_BYTES * max(LOGITS_PER_CHUNK, shape.vocabulary),
    }
    return Memory(parts)


def _lora_parameters(shape: ShapeConfig, policy: PolicyConfig) -> int:
    """Two low-rank factors for each linear map of a layer ("all-linear")."""
    assert policy.lora is not None
    head = shape.hidden // shape.heads
    keys = head * shape.kv_heads
    sides = [(shape.hidden, shape.hidden)] * 2 + [(shape.hidden, keys)] * 2 + [(shape.hidden, shape.intermediate)] * 3
    return shape.layers * policy.lora.rank * sum(a + b for a, b in sides)


def _cache_bytes(shape: ShapeConfig, phase: PhaseConfig, compute: int) -> int:
    rows = min(phase.sampler.batch_size, phase.problems_per_step * phase.group_size)
    a_token = 2 * shape.layers * shape.kv_heads * (shape.hidden // shape.heads) * compute
    return rows * phase.sampler.max_tokens * a_token


def _activation_bytes(shape: ShapeConfig, phase: PhaseConfig, policy: PolicyConfig, compute: int) -> int:
    tokens = max(phase.optimizer.micro_batch_tokens, phase.sampler.max_tokens)
    one_layer = tokens * (ACTIVATIONS_PER_LAYER * shape.hidden + 4 * shape.intermediate) * compute
    if policy.gradient_checkpointing:
        return one_layer + shape.layers * tokens * shape.hidden * compute
    return shape.layers * one_layer


def read_shape(model: str, policy: PolicyConfig) -> tuple[ShapeConfig | None, str]:
    """The model's shape and where it was read; None with the reason where it is not to be had."""
    from transformers import AutoConfig

    try:
        source = resolve_model(model)
        if policy.shape and not Path(source).is_dir():
            return policy.shape, "the recipe's policy.shape"
        config = AutoConfig.from_pretrained(source, trust_remote_code=policy.trust_remote_code).get_text_config()
    except (OSError, ValueError) as error:
        return None, f"the model's config cannot be read here: {str(error).strip().splitlines()[0]}"
    return (
        ShapeConfig(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
            tied=bool(getattr(config, "tie_word_embeddings", False)),
            stored_bytes=getattr(getattr(config, "dtype", None), "itemsize", FULL_BYTES),
        ),
        "the model's config",
    )


def print_plan(recipe: Recipe, console: Console) -> None:
    """Print the dry run. Raises an `InputError` where the recipe or a local file is wrong."""
    check_recipe(recipe)
    console.print(f"recipe {recipe.name}: model {recipe.model}, seed {recipe.seed}", markup=False, highlight=False)
    for name in ("train", "watch", "report"):
        source = getattr(recipe.problems, name)
        if source is not None:
            console.print(
                f"  {name}: {source} ({_problems_at_hand(source, recipe.seed)})", markup=False, highlight=False
            )
    shape, origin = read_shape(recipe.model, recipe.policy)
    for phase in recipe.phases:
        console.print(_phase_table(phase), soft_wrap=True)
        _print_forecasts(phase, console)
    if shape is None:
        raise ModelError(f"{recipe.model}: {origin}; give policy.shape to plan without it")
    worst = max(
        (estimate_memory(shape, phase, recipe.policy) for phase in recipe.phases), key=lambda memory: memory.total
    )
    console.print(_memory_table(worst, num_parameters(shape), origin))


def _problems_at_hand(source: str, seed: int) -> str:
    if source.startswith(REMOTE):
        return "on the hub; not fetched in a dry run"
    return f"{len(load_problems(source, seed=seed))} problems"


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
    seen: set[str] = set()
    for rate in SOLVE_RATES:
        expected = forecast(
            {"correct": phase.rewards.correct, "wrong": phase.rewards.wrong},
            algorithm.gae_lambda,
            algorithm.whitening == "batch",
            rate,
            length_terms=[term.name for term in phase.rewards.terms],
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


def _memory_table(memory: Memory, weights: int, origin: str) -> Table:
    table = Table("memory of the largest phase (estimated)", "GiB", min_width=60)
    for name, size in memory.parts.items():
        table.add_row(name, f"{size / GIB:.2f}")
    table.add_row("total, on one device", f"{memory.total / GIB:.2f}", style="bold")
    table.caption = f"from {origin}: {weights / 1e6:,.1f}M weights"
    return table
