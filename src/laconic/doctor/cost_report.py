"""The work of a recipe as a table: tokens, operations, hours and cost of every part, and whether its memory fits a GPU.

1. `predict_costs` makes the parts twice: with the lengths that are expected, and with every response at its cap (`workload.py`).
   `cost_model.py` turns each into operations and, if the machine is known, into hours.
2. `cost_table` puts a row for each part into one table, with the sum of each phase and of the run.
3. `cost_lines` says beneath it what was assumed, in plain sentences, and over several GPUs what they send each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table

from laconic.config.phase import PhaseConfig
from laconic.config.policy import ShapeConfig
from laconic.config.recipe import Recipe
from laconic.doctor.cost_model import (
    BANDWIDTH_SHARE,
    PRODUCTS_SHARE,
    STEP_FACTOR,
    Machine,
    Roles,
    Training,
    sampling_flops,
    sampling_seconds,
    scoring_flops,
    update_flops,
)
from laconic.doctor.gpus import GPUS
from laconic.doctor.machines import CPU_FACTOR, CPU_STEP_FACTOR, find_machine
from laconic.doctor.memory_model import has_exact_kl, may_share_prompts
from laconic.doctor.memory_needs import Shape, Sources, computes_in, find_teacher
from laconic.doctor.spread import ONE_GPU, GpuSpread
from laconic.doctor.traffic import (
    LINK_SHARE,
    NONE,
    Traffic,
    attended_tokens,
    link_bandwidth,
    num_passes,
    step_traffic,
)
from laconic.doctor.workload import (
    Lengths,
    Part,
    capped,
    expected_lengths,
    left_out,
    mean_prompts,
    parts_of,
    text_lengths,
)
from laconic.models.prefixes import is_worth_sharing
from laconic.models.scoring import LOGITS_PER_CHUNK
from laconic.system.progress import duration_words
from laconic.training.batching import token_budget
from laconic.training.check.phases import ResolvedPhase
from laconic.training.experience import scores_policy
from laconic.training.time_left import group_of

HOUR = 3600
BUSY_ENOUGH = 0.95  # of the GPUs' time: less is said


@dataclass(frozen=True, slots=True)
class PartCost:
    """A part with its operations, its seconds on the machine (None if nothing is known of it), and what one GPU receives in each
    of its steps."""

    part: Part
    flops: float
    seconds: float | None
    traffic: Traffic = NONE


@dataclass(frozen=True, slots=True)
class Costs:
    """The parts of a run as expected and at most, in the same order, with the words that say on what they rest."""

    expected: tuple[PartCost, ...]
    most: tuple[PartCost, ...]
    machine: Machine | None
    whence: str
    prompts: str
    left_out: tuple[str, ...]
    spread: GpuSpread = ONE_GPU
    idle: tuple[str, ...] = ()

    def hours(self) -> tuple[float, float] | None:
        """Hours of the whole run, expected and at most; None if nothing is known of the machine."""
        sums = [_seconds(costs) for costs in (self.expected, self.most)]
        return None if sums[0] is None or sums[1] is None else (sums[0] / HOUR, sums[1] / HOUR)


def _seconds(costs: Sequence[PartCost]) -> float | None:
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    return sum(known) if len(known) == len(costs) else None


# --- prediction ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pricing:
    """What turns parts into costs."""

    recipe: Recipe
    shape: ShapeConfig
    machine: Machine | None
    roles: dict[str, Roles]
    device: torch.device
    spread: GpuSpread

    @property
    def is_bfloat16(self) -> bool:
        return computes_in(self.recipe.policy, self.shape) == torch.bfloat16

    def cost(self, part: Part) -> PartCost:
        if part.sampling is not None:
            return PartCost(part, sampling_flops(self.shape, part.sampling), self._sampling_seconds(part))
        assert part.training is not None, "a part is either drawn or trained on"
        roles, policy = self.roles[part.phase], self.recipe.policy
        phase = next(phase for phase in self.recipe.phases if phase.name == part.phase)
        training = self._sharing(phase, part.training)
        passes = 2 if self._is_chunked(phase, training.response_tokens) else 1
        flops = scoring_flops(self.shape, roles, training)
        flops += update_flops(self.shape, policy, roles, training, passes)
        part = replace(part, training=training)
        if self.machine is None:
            return PartCost(part, flops, None)
        share = self.spread.busiest_share(phase.problems_per_step)
        traffic = self._traffic(phase, roles, training, share)
        return PartCost(part, flops, self._training_seconds(share * flops, traffic, training.calls), traffic)

    def _sharing(self, phase: PhaseConfig, training: Training) -> Training:
        """The same, with as many prompts as are read where those of a group are computed once (`models/prefixes.py`)."""
        if self.spread.engine is not None:  # trainers with an engine compute whole rows
            return training
        problems, parts = training.responses / group_of(phase), phase.optimizer.minibatches
        rows = training.responses * training.trained_share / parts
        scored = self._prompts(phase, training, training.responses, problems)
        in_each = self._prompts(phase, training, rows, min(problems, rows))
        learnt = parts * in_each if in_each is not None and may_share_prompts(self.recipe.policy) else None
        return replace(training, scored_prompts=scored, learnt_prompts=learnt)

    def _prompts(self, phase: PhaseConfig, training: Training, responses: float, distinct: float) -> float | None:
        """How many prompts are read in a pass over so many responses, `distinct` of whose prompts differ: one more in each
        micro-batch that begins inside a group. None where nothing is shared."""
        whole = responses * (training.prompt_tokens + training.response_tokens)
        nodes = whole - (responses - distinct) * training.prompt_tokens
        if not is_worth_sharing(round(nodes), round(whole), self.shape.hidden):
            return None
        budget = token_budget(phase.optimizer, self.device)
        cuts = attended_tokens(training, responses, distinct) // budget
        return min(responses, distinct + cuts)

    def _traffic(self, phase: PhaseConfig, roles: Roles, training: Training, share: float) -> Traffic:
        budget, minibatches = token_budget(phase.optimizer, self.device), phase.optimizer.minibatches
        scored = replace(training, trained_share=1.0, learnt_prompts=training.scored_prompts)
        return step_traffic(
            self.shape,
            self.recipe.policy,
            roles,
            self.spread,
            scoring_passes=num_passes(scored, share, budget),
            update_passes=training.epochs * num_passes(training, share, budget, minibatches),
            is_bfloat16=self.is_bfloat16,
        )

    def _training_seconds(self, flops: float, traffic: Traffic, steps: int) -> float:
        """The longer of one GPU's computing, of `flops` operations, and fetching; and the hand-over after it."""
        assert self.machine is not None, "called where the machine is known"
        computing = flops / self.machine.rate
        if not traffic.total:
            return computing
        bandwidth = link_bandwidth(GPUS[self.machine.name].links, self.spread)
        return max(computing, steps * traffic.update / bandwidth) + steps * traffic.handed_over / bandwidth

    def _sampling_seconds(self, part: Part) -> float | None:
        if self.machine is None or part.sampling is None:
            return None
        engine, drawn = self.machine.together(self.spread.drawing_together), part.sampling.shared(self.spread)
        return sampling_seconds(self.shape, drawn, engine, is_bfloat16=self.is_bfloat16)

    def _is_chunked(self, phase: PhaseConfig, response_tokens: float) -> bool:
        """Whether the logits of a micro-batch are computed in chunks, and again in the backward pass."""
        budget = max(token_budget(phase.optimizer, self.device), response_tokens)
        rows = phase.problems_per_step * phase.group_size
        return min(budget, rows * response_tokens) * self.shape.vocabulary > LOGITS_PER_CHUNK


def predict_costs(
    recipe: Recipe,
    phases: Sequence[ResolvedPhase],
    shape: Shape,
    sources: Sources,
    *,
    gpu: str | None = None,
    probe: Path | None = None,
    run_folder: Path | None = None,
    spread: GpuSpread = ONE_GPU,
) -> Costs:
    """The work of all phases, as expected and at most, on GPUs of that name or on the recipe's own device.

    Raises an `InputError` for an unknown GPU or a probe that is wrong.
    """
    machine = find_machine(recipe, shape, gpu)
    expected = expected_lengths(probe, run_folder)
    prompts, counted = mean_prompts(recipe, sources)
    texts = text_lengths(recipe, phases, sources)
    roles = {phase.name: _roles(recipe, phase, shape.config) for phase in phases}
    device = torch.device("cpu" if gpu is None and machine is not None and machine.memory is None else "cuda")
    pricing = _Pricing(recipe, shape.config, machine, roles, device, spread)
    heard = [lengths.whence for lengths in texts.values()]

    def listening(phase: ResolvedPhase | None, cap: int) -> Lengths:
        lengths = expected(phase, cap)
        heard.append(lengths.whence)
        return lengths

    parts = parts_of(recipe, phases, sources, prompts, listening, texts=texts)
    at_most = parts_of(recipe, phases, sources, prompts, capped, texts=texts, most=True)
    return Costs(
        expected=tuple(map(pricing.cost, parts)),
        most=tuple(map(pricing.cost, at_most)),
        machine=machine,
        whence="; ".join(dict.fromkeys(heard)),
        prompts=counted,
        left_out=tuple(left_out(recipe, sources)),
        spread=spread,
        idle=tuple(_idle_lines(recipe, spread)),
    )


def _idle_lines(recipe: Recipe, spread: GpuSpread) -> Iterator[str]:
    """Phases whose problems do not come out even on the GPUs, so that some wait for the others."""
    for phase in recipe.phases:
        busy = 1 / (spread.busiest_share(phase.problems_per_step) * spread.gpus)
        if busy < BUSY_ENOUGH:
            yield (
                f"idle: phases.{phase.name}.problems_per_step={phase.problems_per_step} leaves {1 - busy:.0%} of the GPUs' time "
                f"unused, since whole groups are shared out; a multiple of {spread.gpus} leaves none"
            )


def _roles(recipe: Recipe, phase: ResolvedPhase, shape: ShapeConfig) -> Roles:
    teacher, _ = find_teacher(recipe, phase.config) if phase.needs_reference else (None, "")
    reference = (teacher or shape) if phase.needs_reference else None
    scores = scores_policy(phase.config.algorithm, needs_logprobs=phase.algorithm.needs_logprobs)
    return Roles(phase.critic, reference, scores, has_exact_kl(phase.config.algorithm))


# --- what is printed -------------------------------------------------------------------------------------------------


def cost_table(costs: Costs) -> Table:
    """A row for each part and one for the whole run; what is expected, and in brackets what it is at most."""
    headings = ["responses", "prompt tokens", "response tokens (at most)", "operations (at most)"]
    headings += ["time (at most)"] * (costs.machine is not None)
    table = Table("work (predicted)", width=118)
    for heading in headings:
        table.add_column(heading, justify="right")
    pairs = list(zip(costs.expected, costs.most, strict=True))
    for number, (expected, most) in enumerate(pairs, start=1):
        is_last = number == len(pairs) or pairs[number][0].part.phase != expected.part.phase
        name = f"{expected.part.phase}: {expected.part.name}"
        table.add_row(name, *_cells([expected], [most]), end_section=is_last)
    table.add_row("in all", *_cells(costs.expected, costs.most), style="bold")
    return table


def _cells(expected: Sequence[PartCost], most: Sequence[PartCost]) -> list[str]:
    """Responses, tokens, operations and time of the parts together."""
    tokens = [_short(sum(cost.part.response_tokens for cost in costs)) for costs in (expected, most)]
    flops = [_short(sum(cost.flops for cost in costs)) for costs in (expected, most)]
    cells = [
        f"{sum(cost.part.responses for cost in expected):,.0f}",
        _short(sum(cost.part.prompt_tokens for cost in expected)),
        f"{tokens[0]} ({tokens[1]})",
        f"{flops[0]} ({flops[1]})",
    ]
    seconds = [found for costs in (expected, most) if (found := _seconds(costs)) is not None]
    return [*cells, f"{duration_words(seconds[0])} ({duration_words(seconds[1])})"] if len(seconds) == 2 else cells


PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def _short(number: float) -> str:
    """A number with three or four digits and the prefix of its thousands: M are millions, P are 10^15.

    >>> _short(950), _short(19_200), _short(192_000_000), _short(4.3e18)
    ('950', '19.2k', '192.0M', '4.3E')
    """
    power = 0
    while number >= 1000 and power < len(PREFIXES) - 1:
        number, power = number / 1000, power + 1
    return f"{number:,.{min(1, power)}f}{PREFIXES[power]}"


def cost_lines(costs: Costs, price: float | None) -> list[str]:
    """What the table rests on, one sentence a line, then hours and, at `price` dollars an hour, the cost."""
    lines = [
        f"lengths of responses: {costs.whence}; taken to stay so throughout (shorter ones take less)",
        f"lengths of prompts: {costs.prompts}; sampling reads a prompt once for all its responses, so does training "
        "where that is worth it, and elsewhere with each response",
    ]
    if costs.left_out:
        lines.append(f"not counted, because a set is on the hub and its size is not known: {', '.join(costs.left_out)}")
    return [*lines, *_hour_lines(costs, price)]


def _hour_lines(costs: Costs, price: float | None) -> list[str]:
    machine, hours = costs.machine, costs.hours()
    if machine is None or hours is None:
        return [f"hours: nothing is known of the recipe's device; name one with --gpu, such as {', '.join(GPUS)}"]
    gpus = costs.spread.gpus
    lines = [_rates_line(machine, gpus), *_traffic_lines(costs)]
    if price is not None:
        low, high = (f"{gpus * price * each:,.2f}" for each in hours)
        each = f" for each of {gpus}" if gpus > 1 else ""
        lines.append(f"cost: {low} dollars expected, at most {high}, at {price:g} dollars an hour{each}")
    return lines


def _traffic_lines(costs: Costs) -> Iterator[str]:
    """What one GPU receives in a step of each phase, and how long that takes."""
    if costs.machine is None or not costs.spread.is_sharded:
        return
    links, spread = GPUS[costs.machine.name].links, costs.spread
    bandwidth = link_bandwidth(links, spread)
    for cost in costs.expected:
        if traffic := cost.traffic.total:
            yield (
                f"traffic: in a step of {cost.part.phase} each GPU receives {_short(traffic)}B (weights of layers "
                f"{_short(cost.traffic.gathered)}B, gradients {_short(cost.traffic.reduced)}B, new weights for sampling "
                f"{_short(cost.traffic.handed_over)}B): {duration_words(traffic / bandwidth)}"
            )
    yield from costs.idle
    where = (
        f"inside one machine, {links.between_gb:g} between machines" if spread.machines > 1 else "inside one machine"
    )
    yield (
        f"links: {links.inside_gb:g} GB/s one way {where} ({links.sheet}); assumed: {LINK_SHARE:.0%} of the slower, and what "
        "layers need is fetched while others are computed"
    )


def _rates_line(machine: Machine, gpus: int) -> str:
    """Which rates the hours rest on, and what is assumed of them."""
    gpu = GPUS.get(machine.name)
    if gpu is None:
        rates = (
            f"{machine.step_rate / 1e9:.0f} with the rows of a step and {CPU_FACTOR * machine.rate / 1e9:.0f} with more"
        )
        return (
            f"hours: {machine.name}, whose products run at {rates} (GFLOP/s, measured now); assumed: a step of sampling "
            f"takes {CPU_STEP_FACTOR:g} times as long as its products, prompts and updates {CPU_FACTOR:g} times"
        )
    figures = f"{gpu.memory_gib:g} GB, {gpu.bandwidth_tb:g} TB/s, {gpu.bfloat16_tflops:g} TFLOP/s in bfloat16"
    count = "one" if gpus == 1 else str(gpus)
    return (
        f"hours: {count} {machine.name} ({gpu.sheet}: {figures}, {gpu.float32_tflops:g} in float32); assumed: a step of sampling "
        f"takes {STEP_FACTOR:g} times as long as reading weights and cache at {BANDWIDTH_SHARE:.0%} of the bandwidth, prompts "
        f"and updates run at {PRODUCTS_SHARE:.0%} of the rate"
    )
