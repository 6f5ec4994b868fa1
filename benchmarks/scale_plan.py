"""What a step takes at 1.5B, 7B, 32B and 70B weights on 1, 8 and 64 GPUs: the tables of docs/scale.md.

    python benchmarks/scale_plan.py                     # prints the tables
    python benchmarks/scale_plan.py --write             # and puts them into docs/scale.md
    python benchmarks/scale_plan.py --gpu h200          # for another GPU

1. `STEP` is one step of the same recipe for every model: 64 problems, 16 responses each, at most 4,096 tokens, GRPO, no KL.
2. For each model and number of GPUs every setting of `CANDIDATES` is predicted, as `laconic train --dry-run --gpu --gpus` does.
   Of those that fit, with the margin that `laconic doctor` keeps, the fastest that trains all weights is taken, and if none fits,
   the fastest with adapters.
3. The same is predicted for trainers that have an engine beside them, of whose GPUs several hold one copy of the weights.
4. `REPORTED_STEPS` and `LEAST_GPUS` are step times and least numbers of GPUs that others have reported with such engines, each
   beside the prediction for the same step.

Nothing is run: the numbers follow from shapes and data sheets.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from laconic.config.defaults import MICRO_BATCH_TOKENS
from laconic.config.load import parse_recipe
from laconic.config.policy import LoraConfig, PolicyConfig, ShapeConfig
from laconic.config.recipe import Recipe
from laconic.doctor.checks.memory import TOLERANCE
from laconic.doctor.cost_model import (
    Roles,
    Sampling,
    Training,
    machine_of,
    sampling_seconds,
    scoring_flops,
    update_flops,
)
from laconic.doctor.cost_report import HOUR, PartCost, predict_costs
from laconic.doctor.gpus import GPUS, find_gpu
from laconic.doctor.memory_model import DRAWING, GIB
from laconic.doctor.memory_needs import ASSUMED_PROMPT, CUDA_CONTEXT_BYTES, Needs, Shape, predict_needs
from laconic.doctor.spread import GpuSpread
from laconic.doctor.traffic import link_bandwidth, num_passes, step_traffic
from laconic.training.check.recipe import check_recipe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
GPU, COUNTS = "h100-80gb", (1, 8, 64)
LARGER = ("h200", "b200")
"""GPUs with more memory, the smallest first."""
ENGINES = (1, 2, 4, 8)
"""How many GPUs, all of one machine, may hold one copy of the weights together."""
SOURCES = {"train": None, "watch": None}
"""No report set: measuring it needs a second model beside the run's own, and can be done afterwards."""
SHAPES = {
    "1.5B": ShapeConfig(layers=28, hidden=1536, heads=12, kv_heads=2, intermediate=8960, vocabulary=151936),
    "7B": ShapeConfig(layers=28, hidden=3584, heads=28, kv_heads=4, intermediate=18944, vocabulary=152064),
    "8B": ShapeConfig(layers=32, hidden=4096, heads=32, kv_heads=8, intermediate=14336, vocabulary=128256),
    "14B": ShapeConfig(layers=48, hidden=5120, heads=40, kv_heads=8, intermediate=13824, vocabulary=152064),
    "32B": ShapeConfig(layers=64, hidden=5120, heads=40, kv_heads=8, intermediate=27648, vocabulary=152064),
    "70B": ShapeConfig(layers=80, hidden=8192, heads=64, kv_heads=8, intermediate=28672, vocabulary=128256),
}
MODELS = {
    "1.5B": "DeepSeek-R1-Distill-Qwen-1.5B",
    "7B": "DeepSeek-R1-Distill-Qwen-7B",
    "32B": "DeepSeek-R1-Distill-Qwen-32B",
    "70B": "DeepSeek-R1-Distill-Llama-70B",
}


@dataclass(frozen=True, slots=True)
class StepSize:
    """One step: problems, responses to each, their cap and mean length in tokens, and updates of the weights."""

    problems: int = 64
    group: int = 16
    cap: int = 4096
    minibatches: int = 1
    kl_coef: float = 0.0


STEP = StepSize()


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings that decide over memory and speed, and not over what is learnt, but for adapters."""

    lora: bool
    checkpointing: bool
    micro_tokens: int
    rows: int

    @property
    def words(self) -> str:
        """As keys of a recipe."""
        keys = ["`policy.lora.rank=16`"] * self.lora + ["`policy.gradient_checkpointing=true`"] * self.checkpointing
        return ", ".join([*keys, f"`micro_batch_tokens={self.micro_tokens}`", f"`batch_size={self.rows}`"])


CANDIDATES = [Choice(*values) for values in product((False, True), (False, True), (32768, 8192), (256, 64, 16))]


def recipe_of(shape: ShapeConfig, choice: Choice, step: StepSize) -> Recipe:
    """A recipe of one step."""
    policy = PolicyConfig(
        dtype="bfloat16",
        device="cuda",
        gradient_checkpointing=choice.checkpointing,
        lora=LoraConfig() if choice.lora else None,
        shape=shape,
    )
    phase: dict[str, Any] = {
        "name": "step",
        "steps": 1,
        "problems_per_step": step.problems,
        "group_size": step.group,
        "sampler": {"max_tokens": step.cap, "batch_size": choice.rows},
        "optimizer": {"micro_batch_tokens": choice.micro_tokens, "minibatches": step.minibatches},
        "algorithm": {"name": "grpo", "kl_coef": step.kl_coef, "kl_in": "loss"},
    }
    problems = {name: f"hf:some/{name}:{name}" for name in SOURCES}
    tree = {"name": "plan", "model": "some/model", "problems": problems, "phases": [phase]}
    return parse_recipe(tree | {"policy": policy.model_dump(mode="json")}, "the plan")


@dataclass(frozen=True, slots=True)
class Plan:
    """A step on so many GPUs: its settings, the memory of one GPU, and its parts."""

    choice: Choice
    spread: GpuSpread
    needs: Needs
    rollouts: PartCost
    update: PartCost

    @property
    def seconds(self) -> float:
        """The whole step."""
        return (self.rollouts.seconds or 0) + (self.update.seconds or 0)

    def fits(self, room: int) -> bool:
        """Whether it fits with the margin that `laconic doctor` keeps."""
        return self.needs.peak.total * (1 + TOLERANCE) <= room


def plan_of(
    shape: ShapeConfig, choice: Choice, gpu: str, gpus: int, step: StepSize, *, has_engine: bool = False
) -> Plan:
    """The step under these settings, in processes of `laconic train`, or in a trainer that has an engine beside it."""
    recipe, found = recipe_of(shape, choice, step), Shape(shape, "a table")
    phases = check_recipe(recipe)

    def needs_on(spread: GpuSpread) -> list[Needs]:
        return predict_needs(recipe, phases, found, SOURCES, CUDA_CONTEXT_BYTES, ASSUMED_PROMPT, spread)

    spread = smallest_engine(gpus, find_gpu(gpu).memory, needs_on) if has_engine else GpuSpread(gpus)
    costs = predict_costs(recipe, phases, found, SOURCES, gpu=gpu, spread=spread)
    parts = {cost.part.name: cost for cost in costs.expected}
    return Plan(choice, spread, needs_on(spread)[0], parts["rollouts"], parts["update"])


def smallest_engine(gpus: int, room: int, needs_on: Callable[[GpuSpread], list[Needs]]) -> GpuSpread:
    """The run over so many GPUs, with the fewest of them to a copy for sampling under which drawing responses fits `room`; if
    none fits, the most."""
    spreads = [GpuSpread(gpus, engine) for engine in ENGINES if engine <= gpus and gpus % engine == 0]
    return next((spread for spread in spreads if _draws_within(room, needs_on(spread))), spreads[-1])


def _draws_within(room: int, needs: Sequence[Needs]) -> bool:
    drawing = [moment for need in needs for moment in need.moments if moment.name in DRAWING]
    return all(moment.total * (1 + TOLERANCE) <= room for moment in drawing)


@cache
def best_plan(size: str, gpu: str, gpus: int, step: StepSize = STEP, *, has_engine: bool = False) -> Plan | None:
    """The fastest that fits, with all weights if any does; None if nothing fits."""
    for lora in (False, True):
        choices = [choice for choice in CANDIDATES if choice.lora == lora]
        plans = [plan_of(SHAPES[size], choice, gpu, gpus, step, has_engine=has_engine) for choice in choices]
        fitting = [plan for plan in plans if plan.fits(find_gpu(gpu).memory)]
        if fitting:
            return min(fitting, key=lambda plan: plan.seconds)
    return None


# --- beside what others have reported --------------------------------------------------------------------------------

NEMO = "NeMo RL's performance summary, v0.4, DGX H100, bfloat16"
VERL = "verl, docs/perf/device_tuning.rst, tag MIN"


@dataclass(frozen=True, slots=True)
class ReportedStep:
    """The seconds of a GRPO step that others have reported: responses, their mean length in tokens with the prompt, and how many
    GPUs held one copy of the weights while they were drawn. Each response was scored by policy and reference."""

    name: str
    size: str
    gpus: int
    engine: int
    responses: int
    minibatches: int
    tokens: int
    seconds: float


REPORTED_STEPS = (
    ReportedStep("Llama 3.1 8B, FSDP", "8B", 16, 1, 2048, 4, 1056, 115),
    ReportedStep("Llama 3.1 8B, Megatron", "8B", 16, 1, 2048, 4, 1060, 97.7),
    ReportedStep("Llama 3.1 70B, Megatron", "70B", 32, 8, 512, 1, 675, 106),
    ReportedStep("Qwen3 32B, Megatron", "32B", 32, 4, 2048, 4, 3206, 393),
)
LEAST_GPUS = (("7B", "h100-80gb", 2), ("14B", "h100-80gb", 4), ("70B", "h100-80gb", 32))
"""The least number of GPUs of 80 GB on which verl's authors ran GRPO of all weights with FSDP, with everything moved to the host
that can be."""
PROMPT_TOKENS, ROWS, CAP = 150, 256, 4096
"""What the tables of others leave open: the length of a prompt, the rows that a GPU draws at once, and the longest response."""


def predicted_step(row: ReportedStep, gpu: str) -> float:
    """The same step in seconds."""
    shape, spread, policy = SHAPES[row.size], GpuSpread(row.gpus, row.engine), PolicyConfig(dtype="bfloat16")
    machine, roles = machine_of(gpu, find_gpu(gpu), is_bfloat16=True), Roles("zero", shape, scores_policy=True)
    length = row.tokens - PROMPT_TOKENS
    drawn = Sampling(1, row.responses, row.responses / 16, ROWS, PROMPT_TOKENS, length, CAP).shared(spread)
    trained = Training(1, row.responses, 1, PROMPT_TOKENS, length)
    passes = num_passes(trained, 1 / row.gpus, MICRO_BATCH_TOKENS, row.minibatches)
    traffic = step_traffic(shape, policy, roles, spread, scoring_passes=passes, update_passes=passes, is_bfloat16=True)
    flops = scoring_flops(shape, roles, trained) + update_flops(shape, policy, roles, trained, head_passes=2)
    bandwidth = link_bandwidth(find_gpu(gpu).links, spread)
    updating = max(flops / machine.together(row.gpus).rate, traffic.update / bandwidth)
    sampling = sampling_seconds(shape, drawn, machine.together(row.engine), is_bfloat16=True)
    return sampling + updating + traffic.handed_over / bandwidth


def least_gpus(size: str, gpu: str) -> int:
    """The least number of GPUs, doubled until it suffices, on which training all weights is predicted to fit."""
    gpus = 1
    while True:
        plan = best_plan(size, gpu, gpus, has_engine=True)
        if plan is not None and not plan.choice.lora:
            return gpus
        gpus *= 2


# --- tables ----------------------------------------------------------------------------------------------------------


def plan_table(gpu: str) -> Iterator[str]:
    """A row for each model and number of GPUs, in processes of `laconic train`."""
    yield "| weights | GPUs | trains | start from | memory of one GPU | sampling | update | step |"
    yield "|---|---|---|---|---|---|---|---|"
    for size in MODELS:
        for gpus in COUNTS:
            plan = best_plan(size, gpu, gpus)
            cells = plan_cells(plan) if plan else [f"nothing fits{_elsewhere(size, gpus)}", *["–"] * 5]
            yield f"| {size} | {gpus} | {' | '.join(cells)} |"


def _elsewhere(size: str, gpus: int) -> str:
    """On which larger GPUs something fits."""
    for gpu in LARGER:
        plan = best_plan(size, gpu, gpus)
        if plan is not None:
            return f"; on `{gpu}` {_trained(plan)}"
    return ""


def engine_table(gpu: str) -> Iterator[str]:
    """The same with an engine beside the trainer, for models that need several GPUs."""
    yield "| weights | GPUs | trains | a copy for sampling on | memory of one GPU | sampling | update | step |"
    yield "|---|---|---|---|---|---|---|---|"
    for size in MODELS:
        for gpus in COUNTS[1:]:
            plan = best_plan(size, gpu, gpus, has_engine=True)
            if plan is not None:
                trained, _, *cells = plan_cells(plan)
                yield f"| {size} | {gpus} | {trained} | {plan.spread.drawing_together} | {' | '.join(cells)} |"


def _trained(plan: Plan) -> str:
    return "adapters" if plan.choice.lora else "all weights"


def plan_cells(plan: Plan) -> list[str]:
    """What is said of one plan."""
    peak = plan.needs.peak
    return [
        _trained(plan),
        plan.choice.words,
        f"{peak.total / GIB:.0f} GiB ({peak.name})",
        *[words_of(cost.seconds or 0) for cost in (plan.rollouts, plan.update)],
        words_of(plan.seconds),
    ]


def traffic_table(gpu: str) -> Iterator[str]:
    """What one GPU receives in a step of `laconic train`, for the plans of more than one GPU."""
    yield "| weights | GPUs | weights of layers | gradients | new weights for sampling | time on the links | time of computing |"
    yield "|---|---|---|---|---|---|---|"
    for size in MODELS:
        for gpus in COUNTS[1:]:
            plan = best_plan(size, gpu, gpus)
            if plan is not None:
                yield f"| {size} | {gpus} | {' | '.join(traffic_cells(plan, gpu))} |"


def traffic_cells(plan: Plan, gpu: str) -> list[str]:
    """The bytes of one plan, and the two times of which the longer counts."""
    traffic, machine = plan.update.traffic, machine_of(gpu, find_gpu(gpu), is_bfloat16=True)
    sizes = [f"{size / 1e9:,.1f} GB" for size in (traffic.gathered, traffic.reduced, traffic.handed_over)]
    linked = traffic.total / link_bandwidth(find_gpu(gpu).links, plan.spread)
    return [*sizes, words_of(linked), words_of(plan.update.flops / machine.together(plan.spread.gpus).rate)]


def reported_table(gpu: str) -> Iterator[str]:
    """Reported step times beside predicted ones."""
    yield "| what | GPUs | responses x tokens | reported | predicted | ratio |"
    yield "|---|---|---|---|---|---|"
    for row in REPORTED_STEPS:
        seconds = predicted_step(row, gpu)
        yield (
            f"| {row.name} | {row.gpus} | {row.responses:,} x {row.tokens:,} | {row.seconds:.0f} s | {seconds:.0f} s | "
            f"{seconds / row.seconds:.1f} |"
        )


def least_table() -> Iterator[str]:
    """The least number of GPUs that others needed beside the predicted one."""
    yield "| weights | GPU | verl, with offloading | predicted, without |"
    yield "|---|---|---|---|"
    for size, gpu, reported in LEAST_GPUS:
        yield f"| {size} | {find_gpu(gpu).memory_gib:g} GB | {reported} | {least_gpus(size, gpu)} |"


def words_of(seconds: float) -> str:
    """Seconds, minutes or hours with two digits or three.

    >>> [words_of(seconds) for seconds in (1.44, 88, 130, 2040, 9000)]
    ['1.4 s', '88 s', '2.2 min', '34 min', '2.5 h']
    """
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"
    return f"{seconds / HOUR:.1f} h"


def tables(gpu: str) -> dict[str, str]:
    """The tables of docs/scale.md by the names of their places."""
    made = {
        "plan": plan_table(gpu),
        "engine": engine_table(gpu),
        "traffic": traffic_table(gpu),
        "steps": reported_table(gpu),
        "least": least_table(),
    }
    return {name: "\n".join(lines) for name, lines in made.items()}


def with_tables(page: str, made: dict[str, str]) -> str:
    """The page with each table at its place: between `<!-- NAME -->` and `<!-- end -->`."""
    for name, table in made.items():
        place = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page, count = re.subn(place, lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page, flags=re.DOTALL)
        assert count == 1, f"the page has {count} places for {name}"
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gpu", default=GPU, choices=GPUS)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    options = parser.parse_args(arguments)
    made = tables(options.gpu)
    if options.write:
        PAGE.write_text(with_tables(PAGE.read_text("utf-8"), made), "utf-8")
    else:
        print("\n\n".join(made.values()))


if __name__ == "__main__":
    main()
