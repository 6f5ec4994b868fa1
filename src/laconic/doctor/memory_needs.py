"""The memory that a recipe needs. This module finds shape, prompts and device; `memory_model.py` predicts from them.

1. `find_shape` reads the model's shape from the recipe's `policy.shape` if it has one and the model is on the hub, otherwise from
   the model's config. Where the layers are not those of a gated dense decoder, it counts their weights.
2. The tokens of the longest prompt are counted if problem sets and tokenizer can be read, otherwise assumed.
3. `measure_process` measures the memory of the process itself.
4. `predict_needs` gives the moments of every phase, including a teacher's weights. `memory_table` prints the largest phase.
"""

import re
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from transformers import PreTrainedModel

from laconic.bundled import BUNDLED
from laconic.config.node import make_node
from laconic.config.phase import PhaseConfig
from laconic.config.policy import LoraConfig, PolicyConfig, ShapeConfig
from laconic.config.recipe import Recipe
from laconic.config.solver import SamplerConfig
from laconic.doctor.memory_model import GIB, Moment, OtherDraws, Work, peak, predict_moments, runs_in_bfloat16
from laconic.doctor.spread import ONE_GPU, GpuSpread
from laconic.doctor.weights import count_weights
from laconic.errors import InputError, ModelError, ProblemsError
from laconic.evaluation.evaluate import num_samples
from laconic.models.config_numbers import context_of, context_words
from laconic.models.gguf.model_file import is_gguf
from laconic.models.loading import (
    LAYER,
    TINY,
    hub_options,
    load_model,
    load_tokenizer,
    named_device,
    quiet,
    read_config,
    resolve_model,
    unread_reason,
)
from laconic.models.policy import Policy
from laconic.models.stored_dtype import stored_dtype
from laconic.models.weightless import bare_model
from laconic.prompts.forced_answers import forced_ids
from laconic.prompts.instructions import render, resolve_instruction
from laconic.prompts.templates import TemplateError
from laconic.rollouts.sources import FORCED_ANSWER_TOKENS, OWN_TEXTS
from laconic.selection.pool import limit_of, most_problems, needs_probe, pool_of
from laconic.system.hub import is_cached
from laconic.training.check.phases import ResolvedPhase
from laconic.training.measure_run import report_cap
from laconic.training.time_left import group_of
from laconic.types import Problem

ASSUMED_PROMPT_TOKENS = 512
ASSUMED_PROMPT = (ASSUMED_PROMPT_TOKENS, "assumed: problems or tokenizer are not at hand")
ASSUMED_FORCED_TOKENS = 8  # that force an answer, where no tokenizer is at hand to count them
LONGEST_TRIED = 16  # how many questions, the longest by characters, have their tokens counted
CUDA_CONTEXT_BYTES = GIB // 2
MODELS_CONFIG = "the model's config"
TOKENIZER = "tokenizer.json"
WIDTHS = ("intermediate_size", "n_inner", "ffn_dim")
"""What configs call the width between the maps of a layer; without one it is four times the hidden size."""
EXPERTS = (("num_experts", "num_local_experts", "n_routed_experts"), ("num_experts_per_tok", "experts_per_token"))
"""What they call the number of experts in a layer, and of those that a token goes through."""
EXPERT = re.compile(r"\.experts\.")
_ALIKE = 0.02  # of a model's weights may be others than its shape tells: norms, biases, positions

Sources = Mapping[str, list[Problem] | None]
"""The problem sets by name; a set on the hub is None, because it is not fetched."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's shape, and the place from which it was read. `context_length` is the most tokens of prompt and response together,
    None if nothing states it, and `context_words` is that for messages. `other_weights` are those of other parts than the text
    model, such as one that sees images: they are held, and nothing is computed with them."""

    config: ShapeConfig
    origin: str
    context_length: int | None = None
    context_words: str = ""
    other_weights: int = 0

    @property
    def is_of_model(self) -> bool:
        """Whether it was read from the model's own config."""
        return self.origin == MODELS_CONFIG


@dataclass(frozen=True, slots=True)
class Needs:
    """The memory that a phase needs at every moment of its steps, and what it was predicted from."""

    phase: str
    moments: tuple[Moment, ...]
    basis: str

    @property
    def peak(self) -> Moment:
        """The moment that needs the most memory."""
        return peak(self.moments)


def find_shape(recipe: Recipe) -> Shape:
    """The shape of the recipe's model. Raises `ModelError` if it cannot be read."""
    policy, source = recipe.policy, recipe.model if lacks_weights(recipe.model) else resolve_model(recipe.model)
    if policy.shape and not Path(source).exists():
        return Shape(policy.shape, "the recipe's policy.shape")
    options = hub_options(source)
    try:
        with quiet():
            found = read_config(source, {"trust_remote_code": policy.trust_remote_code} | options)
    except Exception as error:  # for a broken file, the library raises errors of many kinds
        reason = f"the model's config cannot be read: {unread_reason(error, recipe.model, options)}"
        raise ModelError(f"{recipe.model}: {reason}; give policy.shape to plan without it") from None
    config = found.get_text_config()
    try:
        shape = _shape_of(config, stored_dtype(source, found))
    except (AttributeError, InputError) as error:
        raise ModelError(f"{recipe.model}: the model's config does not describe a decoder: {error}") from None
    try:
        bare = bare_model(found, trust_remote_code=policy.trust_remote_code)
        counted, others = _counted(shape, bare), _other_weights(bare)
    except Exception as error:  # a config that the model's own code does not reckon with, and code that is not here
        from laconic.parallel.endings import beginning_of

        raise ModelError(f"{recipe.model}: no model can be made of its config: {beginning_of(error)}") from None
    return Shape(counted, MODELS_CONFIG, context_of(config), context_words(config), others)


def lacks_weights(model: str) -> bool:
    """Whether `model` is a folder with a config and without weights, which is enough to plan with and not to train."""
    if model in BUNDLED or not (Path(model) / "config.json").exists():
        return False
    try:
        resolve_model(model)
    except ModelError:
        return True
    return False


def computes_in(policy: PolicyConfig, shape: ShapeConfig) -> torch.dtype:
    """The dtype of the layers' arithmetic."""
    return torch.bfloat16 if runs_in_bfloat16(shape, policy) else torch.float32


def _shape_of(config: Any, stored: torch.dtype) -> ShapeConfig:
    return make_node(
        ShapeConfig,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        head_dim=getattr(config, "head_dim", None),
        intermediate=next((width for name in WIDTHS if (width := getattr(config, name, None))), 4 * config.hidden_size),
        vocabulary=config.vocab_size,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        stored_bytes=stored.itemsize,
        float16=stored == torch.float16,
    )


def _counted(shape: ShapeConfig, model: PreTrainedModel) -> ShapeConfig:
    """The shape, with the weights of the model's layers where these are others than the shape tells: of a mixture of experts, or
    of a part between the maps that is not gated. Layers of other parts, which see images for example, are not among them."""
    text: Any = model.get_decoder()
    sizes = {name: weight.numel() for name, weight in text.named_parameters() if LAYER.search(name)}
    weights = sum(sizes.values())
    if abs(weights - count_weights(shape, PolicyConfig()).maps) <= _ALIKE * weights:
        return shape
    config = model.config.get_text_config()
    experts, chosen = (next((n for name in names if (n := getattr(config, name, None))), None) for names in EXPERTS)
    found = {"layer_weights": weights, "active_weights": weights}
    if experts and chosen:
        in_experts = sum(size for name, size in sizes.items() if EXPERT.search(name))
        found["active_weights"] = round(weights - in_experts * (1.0 - chosen / experts))
        found["intermediate"] = chosen * (getattr(config, "moe_intermediate_size", None) or shape.intermediate)
    return shape.model_copy(update=found)


def _other_weights(model: PreTrainedModel) -> int:
    """How many weights belong neither to the text model nor to the output map."""
    text: Any = model.get_decoder()
    head: Any = model.get_output_embeddings()
    own = {id(weight) for part in (text, head) if part is not None for weight in part.parameters()}
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in own)


def predict_needs(
    recipe: Recipe,
    phases: Sequence[ResolvedPhase],
    shape: Shape,
    sources: Sources,
    process_bytes: int,
    longest: tuple[int, str] | None = None,
    spread: GpuSpread = ONE_GPU,
) -> list[Needs]:
    """The memory of each of the recipe's `phases` on its device, which uses `process_bytes` before the model is loaded.

    `longest` is the length of the longest prompt in tokens and words that say how it is known; if None, it is counted here.
    Over several GPUs it is the memory of one of them.
    """
    prompt_tokens, whence = longest or longest_prompt(recipe, sources)
    basis = f"{_millions(shape)} from {shape.origin}, prompts of up to {prompt_tokens} tokens ({whence})"
    needs = []
    for phase in phases:
        work = work_of(recipe, phase.config, sources, prompt_tokens, process_bytes, spread)
        work = replace(work, other_weights=shape.other_weights)
        teacher, remark = find_teacher(recipe, phase.config)
        if phase.config.rollouts in OWN_TEXTS:
            known = work.response_tokens
            remark += f"; texts of up to {known} tokens" if known else "; texts taken to be as long as the cap"
        moments = predict_moments(shape.config, phase, recipe.policy, work, teacher)
        needs.append(Needs(phase.name, moments, f"{basis}{remark}"))
    return needs


def _millions(shape: Shape) -> str:
    return f"{count_weights(shape.config, PolicyConfig()).total / 1e6:,.1f}M weights"


def find_teacher(recipe: Recipe, phase: PhaseConfig) -> tuple[ShapeConfig | None, str]:
    """The shape of the phase's teacher, None if it has none or it cannot be read, and words about it."""
    name = phase.algorithm.reference_model
    if name is None:
        return None, ""
    alone = recipe.policy.model_copy(update={"shape": None})
    try:
        found = find_shape(recipe.model_copy(update={"model": name, "policy": alone}))
    except ModelError:
        return None, f"; its teacher {name} is not at hand: counted as large as the model"
    return found.config, f"; its teacher {name}: {_millions(found)}"


def work_of(
    recipe: Recipe,
    phase: PhaseConfig,
    sources: Sources,
    prompt_tokens: int,
    process_bytes: int,
    spread: GpuSpread = ONE_GPU,
) -> Work:
    """The size of the largest step of `phase`. The watch set or a probe may need more of the sampler than rollouts do, and its
    responses may be longer. Each GPU has a sampler of its own, with `batch_size` rows at most, and its share of the problems."""
    capacity, watched = phase.sampler.batch_size, sources["watch"]
    num_watched = capacity if watched is None else len(watched) * recipe.watch.samples
    drawn = [(num_watched, recipe.watch.samples), *_rollouts_of(phase, sources)]
    if needs_probe(phase):
        drawn.append((phase.select.samples * (phase.select.pool or capacity), phase.select.samples))
    at_once = [(min(capacity, spread.part(responses)), each) for responses, each in drawn]
    rows = max(row for row, _ in at_once)
    prompts = max(-(-row // each) for row, each in at_once)
    cap, watch = recipe.report.max_tokens, None
    if cap is not None and cap > phase.sampler.max_tokens:
        watch_rows = min(capacity, spread.part(num_watched))
        watch = OtherDraws(watch_rows, -(-watch_rows // recipe.watch.samples), cap)
    report = _report_of(recipe, sources, spread) if phase.name == recipe.phases[-1].name else None
    device = named_device(recipe.policy.device).type
    work = Work(rows, prompts, prompt_tokens, device, process_bytes, spread, watch=watch, report=report)
    if phase.rollouts == "serial":
        return _with_exits(work, recipe, phase)
    return replace(work, response_tokens=longest_text(recipe, phase, sources))


def _rollouts_of(phase: PhaseConfig, sources: Sources) -> Iterator[tuple[int, int]]:
    """How many rollouts are drawn in one call, and how many to each prompt; nothing where the problems' own texts are learnt.
    Offline ones are those of the whole phase."""
    size = group_of(phase)
    if phase.rollouts == "offline":
        train = sources["train"]
        num_problems = (
            (limit_of(phase) or phase.sampler.batch_size) if train is None else most_problems(phase, len(train))
        )
        yield num_problems * size, size
    elif phase.rollouts == "serial":
        yield phase.problems_per_step, 1  # the traces; exits have longer prompts
    elif phase.rollouts not in OWN_TEXTS:
        yield phase.problems_per_step * size, size


def _with_exits(work: Work, recipe: Recipe, phase: PhaseConfig) -> Work:
    """The same, with the answers that are forced on cut traces: each has a prompt of its own, which holds its part of the trace.
    In the update the exits of a group are half a trace on average, with the answer."""
    cap, num_exits = phase.sampler.max_tokens, phase.group_size - 1
    forced = forced_tokens(recipe)
    cut = cap * num_exits // (num_exits + 1) + forced
    rows = min(phase.sampler.batch_size, work.spread.part(phase.problems_per_step * num_exits))
    exits = OtherDraws(rows, rows, FORCED_ANSWER_TOKENS, work.prompt_tokens + cut)
    mean = -(-(cap + num_exits * (cap // 2 + forced + FORCED_ANSWER_TOKENS)) // phase.group_size)
    return replace(work, exits=exits, response_tokens=max(cap, cut + FORCED_ANSWER_TOKENS), mean_tokens=mean)


def forced_tokens(recipe: Recipe) -> int:
    """How many tokens force an answer in phases with exits, of which the recipe may have none; assumed without a tokenizer."""
    has_exits = any(phase.rollouts == "serial" for phase in recipe.phases)
    tokenizer = tokenizer_at_hand(recipe) if has_exits else None
    return ASSUMED_FORCED_TOKENS if tokenizer is None else len(forced_ids(tokenizer))


def longest_text(recipe: Recipe, phase: PhaseConfig, sources: Sources) -> int | None:
    """The tokens of the longest of the problems' own texts that `phase` learns from, end token included; None if it learns from
    none, or if problems or tokenizer are not at hand. The longest by characters are counted, as of prompts."""
    problems = sources["train"] if phase.rollouts in OWN_TEXTS else None
    tokenizer = tokenizer_at_hand(recipe) if problems else None
    if problems is None or tokenizer is None:
        return None
    try:
        texts = [text for problem in pool_of(phase, problems) for text in OWN_TEXTS[phase.rollouts](problem)]
    except ProblemsError:  # which another check says
        return None
    longest = sorted(texts, key=len, reverse=True)[:LONGEST_TRIED]
    return 1 + max(map(len, tokenizer(longest, add_special_tokens=False)["input_ids"]))


def _report_of(recipe: Recipe, sources: Sources, spread: GpuSpread) -> OtherDraws | None:
    """What is drawn to measure the run: None without a report set, and where another trainer draws, which measures nothing.
    Greedily every row is of a prompt of its own."""
    if recipe.problems.report is None or "report" not in sources or spread.engine is not None:
        return None
    capacity, reported = max(phase.sampler.batch_size for phase in recipe.phases), sources["report"]
    num_problems = capacity if reported is None else len(reported)
    rows = min(capacity, spread.part(num_problems * max(_report_samples(recipe))))
    prompts = min(capacity, spread.part(num_problems), -(-rows // min(_report_samples(recipe))))
    return OtherDraws(rows, prompts, report_cap(recipe))


def _report_samples(recipe: Recipe) -> list[int]:
    """How often each reported problem is attempted, at each temperature."""
    decodings = [SamplerConfig(temperature=temperature) for temperature in recipe.report.temperatures]
    return [num_samples(recipe.report.samples, decoding) for decoding in decodings]


def outside_bytes(recipe: Recipe) -> int:
    """Memory of the recipe's device that is not used by tensors: this process with its libraries, or a device's context."""
    is_cpu = named_device(recipe.policy.device).type == "cpu"
    return measure_process(recipe.policy) if is_cpu else CUDA_CONTEXT_BYTES


def measure_process(policy: PolicyConfig) -> int:
    """Resident bytes of this process without a model, after one small training step, because libraries load parts of them
    late. Adapters are of the default rank, since the recipe's may be of any size."""
    lora = LoraConfig() if policy.lora else None
    held = Policy(load_model(TINY, PolicyConfig(device="cpu", lora=lora)), PolicyConfig(lora=lora), seed=0)
    adam = torch.optim.AdamW(held.policy_parameters().values())
    logits: Any = held.lm.head(held.lm.backbone(torch.ones(1, 8, dtype=torch.long)).last_hidden_state)
    logits.sum().backward()
    adam.step()
    return resident_bytes()


def resident_bytes() -> int:
    """Bytes of memory that this process uses now; if the system does not say, the most it ever used."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def longest_questions(problems: Sequence[Problem]) -> list[Problem]:
    """The longest by characters, choices included, longest first: enough of them that the longest prompt is among them."""
    return sorted(problems, key=lambda problem: -len(problem.question) - sum(map(len, problem.choices)))[:LONGEST_TRIED]


def longest_prompt(recipe: Recipe, sources: Sources) -> tuple[int, str]:
    """The length of the longest prompt in tokens, and words that say whether it was counted or assumed.

    Raises `ModelError` if a prompt cannot be rendered.
    """
    lengths = longest_prompts(recipe, sources)
    return (max(lengths.values()), "counted") if lengths else ASSUMED_PROMPT


def longest_prompts(recipe: Recipe, sources: Sources) -> dict[str, int]:
    """The length of the longest prompt under each instruction that the run puts after a question, by the instruction's name;
    empty if problems or tokenizer are not at hand. Raises `ModelError` if a prompt cannot be rendered."""
    problems = [problem for found in sources.values() for problem in found or ()]
    tokenizer = tokenizer_at_hand(recipe) if problems else None
    if tokenizer is None:
        return {}
    longest = longest_questions(problems)
    try:
        return {
            name: max(
                len(render(tokenizer, problem, instruction=resolve_instruction(name), system=recipe.prompt.system))
                for problem in longest
            )
            for name in _instructions(recipe)
        }
    except Exception as error:  # a chat template may raise any error
        reason = error.reason if isinstance(error, TemplateError) else error
        raise ModelError(f"{recipe.model}: prompts cannot be rendered: {reason}; laconic doctor says more") from None


def tokenizer_at_hand(recipe: Recipe) -> Any:
    """The tokenizer of the recipe's model if it lies on this machine, in a folder or in the hub's cache; otherwise None."""
    if lacks_weights(recipe.model):
        return None
    source = resolve_model(recipe.model)
    if not (is_gguf(source) or Path(source, TOKENIZER).exists() or is_cached(source, TOKENIZER)):
        return None
    return load_tokenizer(recipe.model, recipe.policy)


def _instructions(recipe: Recipe) -> set[str]:
    """All instructions that the run puts after a question: the recipe's, those of the largest budgets, and teachers'."""
    budgets = [f"{phase.budget.prompt}:{phase.budget.high}" for phase in recipe.phases if phase.budget]
    teachers = [phase.algorithm.reference_instruction for phase in recipe.phases]
    return {recipe.prompt.instruction, *budgets, *filter(None, teachers)}


def memory_table(needs: Sequence[Needs]) -> Table:
    """The largest phase's peak by purpose, then its other moments."""
    largest = max(needs, key=lambda need: need.peak.total)
    table = Table("memory of the largest phase (predicted)", "GiB", min_width=90, caption_justify="left")
    for name, size in largest.peak.parts.items():
        table.add_row(name, f"{size / GIB:.2f}")
    table.add_row(f"peak: {largest.peak.name}", f"{largest.peak.total / GIB:.2f}", style="bold", end_section=True)
    for moment in largest.moments:
        if moment is not largest.peak:
            table.add_row(moment.name, f"{moment.total / GIB:.2f}", style="dim")
    table.caption = f"phase {largest.phase}: {largest.basis}"
    return table
