"""What one GPU makes of the package: `python benchmarks/gpu.py [check decode update step]`; `--toy` runs on any device.

1. limits   bytes per second by reading and copying a large tensor; FLOP/s by bfloat16 products in the model's own shapes
2. check    the sampler's log-probabilities against a full forward, the chunked head against the plain one, one seed twice
3. decode   seconds a step against the floor: every weight and every live key and value read once at the measured bandwidth
4. update   FLOP/s of an update on made-up rollouts against the measured matrix rate; recomputed activations do not count
5. step     a PPO step of the paper's recipe (sample, score, update) with its peak memory

Weights are random in the shapes of Qwen2.5, made on the device: nothing is downloaded, and speed does not depend on values.
Lengths are made up too: a share of the vocabulary ends a response, and the shorter half of a group counts as correct.
`--seconds` bounds a section, `--models` and `--roles` choose rows, `--append` adds a run to the table, so that each command
stays within ten minutes; what the time cuts says so in its row. Exit code 1 where a check fails; targets are only printed.

Left out: several GPUs, other engines, the planned memory.
"""

import argparse
import contextlib
import datetime
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from gpu_workloads import (
    FULL,
    TOY,
    Drawn,
    Scale,
    decode_floor_seconds,
    draw,
    forget,
    graded,
    made_up_groups,
    make_lm,
    make_policy,
    matrix_rate,
    once,
    paper_phase,
    peak_gib,
    random_ids,
    rloo_phase,
    seconds_of,
    update_flops,
)
from torch import Tensor

from laconic.config.policy import ShapeConfig
from laconic.config.rewards import RewardsConfig
from laconic.models import scoring
from laconic.models.causal_lm import CausalLM
from laconic.models.environment import describe_environment
from laconic.models.loading import pick_device
from laconic.rollouts.paying import pay_groups
from laconic.samplers.local import LocalSampler
from laconic.training.algorithms import estimate_advantages, find_algorithm
from laconic.training.batching import collate
from laconic.training.experience import gather_experience
from laconic.training.updates import Updater

HERE = Path(__file__).parent
FLOOR_RATIO, MATRIX_SHARE = 2.0, 0.4  # targets: decode within twice the floor, update at least 40% of the matrix rate
OUT_OF_MEMORY = "out of memory"
COLUMNS = {
    "check": "check | error | at most | verdict",
    "decode": "model | batch | tokens/s | prefill, ms | a step, ms | floor, ms | ratio | peak, GiB | at most 2",
    "update": "model | weights | checkpointing | note | tokens | scoring, s | update, s | model TFLOP | TFLOP/s | "
    "hardware TFLOP/s | of the matrix rate | peak, GiB | at least 40%",
    "step": "model | weights | note | cap | responses | mean tokens | sampling, s | tokens/s | scoring, s | update, s | "
    "step, s | peak, GiB | fits",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of this script: how much, where, for how long a section, and the limits that were measured first."""

    scale: Scale
    device: torch.device
    seconds: float
    roles: tuple[str, ...]
    bandwidth: float = math.nan  # bytes per second
    matrix_rates: tuple[float, ...] = ()  # FLOP/s, one a shape


def measure_limits(bench: Bench) -> tuple[Bench, str]:
    """The bench with its limits (the better of reading and copying; each shape's matrix rate), and a sentence on them."""
    scale, device, seconds = bench.scale, bench.device, bench.seconds / 50
    x = torch.ones(scale.read_bytes // 4, device=device)
    y = torch.empty_like(x)
    read = scale.read_bytes / seconds_of(x.sum, device, seconds, inner=3)
    copied = 2 * scale.read_bytes / seconds_of(lambda: y.copy_(x), device, seconds, inner=3)
    rates = tuple(matrix_rate(shape, scale.matrix_rows, device, seconds) for shape in scale.shapes.values())
    products = ", ".join(f"{rate / 1e12:.4g} TFLOP/s ({name})" for name, rate in zip(scale.shapes, rates, strict=True))
    text = f"Measured limits: {read / 1e9:.4g} GB/s read, {copied / 1e9:.4g} GB/s copied; products {products}."
    return replace(bench, bandwidth=max(read, copied), matrix_rates=rates), text


def verdict(is_met: bool, has_target: bool = True) -> str:
    """Whether a target is met, where there is one."""
    return ("pass" if is_met else "FAIL") if has_target else "-"


# --- check and decode ------------------------------------------------------------------------------------------------


def check(bench: Bench, deadline: float) -> Iterator[str]:
    """What must hold on this device, on the first shape."""
    shape = next(iter(bench.scale.shapes.values()))
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
        lm = make_lm(shape, bench.device, dtype, bench.scale.mean_tokens)
        errors = [(f"sampled log-probabilities, full forward, {dtype}", sampler_error(lm, shape), tolerance)]
        errors.append((f"responses that differ, one seed twice, {dtype}", repeat_error(lm, shape), 0.0))
        if dtype == torch.float32:
            parts = ("log-probabilities", "gradients, relative to the largest")
            errors += [(f"chunked head, {p}", e, 1e-5) for p, e in zip(parts, head_errors(lm, shape), strict=True)]
        yield from (f"{name} | {error:.2g} | {most:g} | {verdict(error <= most)}" for name, error, most in errors)
        del lm
        forget(bench.device)


@torch.no_grad()
def sampler_error(lm: CausalLM, shape: ShapeConfig) -> float:
    """Largest difference between the log-probabilities the sampler reports and those of the model's own forward, nats."""
    worst = 0.0
    for prompt, responses in draw(LocalSampler(lm), shape, (7, 40, 1, 19), 3, max_tokens=40, batch_size=4):
        for response in responses:
            ids = torch.tensor([[*prompt, *response.token_ids]], device=lm.device)
            logprobs = lm.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            own = logprobs.gather(-1, ids[0, len(prompt) :, None])[:, 0].cpu()
            worst = max(worst, float((own - torch.tensor(response.logprobs)).abs().max()))
    return worst


def repeat_error(lm: CausalLM, shape: ShapeConfig) -> float:
    """Responses that differ between two calls with the same seed."""
    twice = [draw(LocalSampler(lm), shape, (7, 40), 4, max_tokens=40, batch_size=4) for _ in range(2)]
    return float(sum(a != b for one, two in zip(*twice, strict=True) for a, b in zip(one[1], two[1], strict=True)))


def head_errors(lm: CausalLM, shape: ShapeConfig) -> tuple[float, float]:
    """Largest difference of log-probabilities (nats) and of gradients by hidden states and head, over the largest one."""
    ids = torch.tensor([random_ids(shape, 100, "head", i) for i in range(2)], device=lm.device)
    hidden, mask = torch.randn(2, 100, shape.hidden, device=lm.device), torch.ones_like(ids, dtype=torch.bool)
    weight: Tensor = lm.model.get_output_embeddings().weight

    def run(score: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        states = hidden.clone().requires_grad_()
        logprobs = score(states)
        return logprobs.detach(), *torch.autograd.grad(logprobs.mean(), (states, weight))

    options: Any = {"temperature": 1.0, "entropy": "none"}
    plain = run(lambda states: lm.head(states).log_softmax(-1).gather(-1, ids[..., None])[..., 0])
    with mock.patch.object(scoring, "LOGITS_PER_CHUNK", 37 * shape.vocabulary):
        ours = run(lambda states: scoring.score_tokens(lm, states, ids, mask, **options)[0])
    value, *gradients = (float((a - b).abs().max()) for a, b in zip(ours, plain, strict=True))
    return value, max(g / float(p.abs().max()) for g, p in zip(gradients, plain[1:], strict=True))


def decode(bench: Bench, deadline: float) -> Iterator[str]:
    """Seconds a step with bfloat16 weights: a call of new_tokens + 1 less a call of one token, over new_tokens."""
    scale, device = bench.scale, bench.device
    share = (deadline - time.monotonic()) / (2 * len(scale.shapes) * len(scale.batches))
    for name, shape in scale.shapes.items():
        sampler = LocalSampler(make_lm(shape, device, torch.bfloat16))
        for batch in scale.batches:
            forget(device)
            sample = functools.partial(draw, sampler, shape, [scale.prompt_tokens] * batch, 1, batch_size=batch)
            first = seconds_of(functools.partial(sample, max_tokens=1), device, share / 2)
            whole = seconds_of(functools.partial(sample, max_tokens=scale.new_tokens + 1), device, share / 2)
            step, context = (whole - first) / scale.new_tokens, scale.prompt_tokens + (scale.new_tokens + 1) / 2
            floor = decode_floor_seconds(shape, batch, context, bench.bandwidth)
            yield (
                f"{name} | {batch} | {batch / step:.0f} | {first * 1e3:.4g} | {step * 1e3:.4g} | {floor * 1e3:.4g} | "
                f"{step / floor:.2f} | {peak_gib(device):.2f} | "
                f"{verdict(step / floor <= FLOOR_RATIO, batch == max(scale.batches))}"
            )
        del sampler, sample


# --- update and step -------------------------------------------------------------------------------------------------


def guarded(measure: Callable[[float], str], deadline: float, device: torch.device) -> str:
    """The measured row, or the reason why there is none."""
    if time.monotonic() >= deadline:
        return "not measured: the time was over"
    row = OUT_OF_MEMORY
    forget(device)
    with contextlib.suppress(torch.OutOfMemoryError):
        row = measure(deadline)
    forget(device)
    return row


def update(bench: Bench, deadline: float) -> Iterator[str]:
    """RLOO's update of all weights, and PPO's of policy and critic as adapters, with and without recomputed activations."""
    for (name, shape), rate in zip(bench.scale.shapes.items(), bench.matrix_rates, strict=True):
        for role in bench.roles:
            for recomputes in (True, False):
                has_target = role == "full" and name == bench.scale.target
                measure = functools.partial(time_update, bench, shape, role, recomputes, rate, has_target)
                checkpointing = "on" if recomputes else "off"
                yield f"{name} | {role} | {checkpointing} | {guarded(measure, deadline, bench.device)}"


def time_update(
    bench: Bench, shape: ShapeConfig, role: str, recomputes: bool, rate: float, has_target: bool, deadline: float
) -> str:
    """One row, from the note on."""
    scale, device, is_full = bench.scale, bench.device, role == "full"
    phase = rloo_phase(scale) if is_full else paper_phase(scale, role)
    policy = make_policy(scale, shape, device, role, phase, recomputes=recomputes)
    updater = Updater(policy, phase, seed=0)
    batch = collate(
        pay_groups(made_up_groups(scale, shape), RewardsConfig(), {}, scale.max_tokens), truncated="penalise"
    )
    experience, scoring = once(lambda: gather_experience(policy, batch, phase), device)
    advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
    patience = (deadline - time.monotonic()) / 16
    seconds = seconds_of(lambda: updater.update(experience, advantages, 1, 0), device, patience)
    lengths = [(len(prompt), n) for prompt, n in zip(batch.prompts, batch.lengths.tolist(), strict=True)]
    flops = functools.partial(update_flops, shape, lengths, learns_all=is_full, has_critic=not is_full)
    useful, spent = flops(recomputes=False), flops(recomputes=recomputes)
    share = useful / seconds / rate
    return (
        f"- | {sum(map(sum, lengths))} | {scoring:.3g} | {seconds:.4g} | {useful / 1e12:.4g} | "
        f"{useful / seconds / 1e12:.4g} | {spent / seconds / 1e12:.4g} | {share:.1%} | {peak_gib(device):.2f} | "
        f"{verdict(share >= MATRIX_SHARE, has_target)}"
    )


def step(bench: Bench, deadline: float) -> Iterator[str]:
    """A PPO step of the paper's recipe: policy, critic and reference as three models, and as adapters of one."""
    for name, shape in bench.scale.shapes.items():
        for role in bench.roles:
            measure = functools.partial(time_step, bench, shape, role, name == bench.scale.target)
            yield f"{name} | {role} | {guarded(measure, deadline, bench.device)}"


def time_step(bench: Bench, shape: ShapeConfig, role: str, has_target: bool, deadline: float) -> str:
    """One row, from the note on. The cap is cut where sampling up to it would take over 0.6 of the time left."""
    scale, device, phase = bench.scale, bench.device, paper_phase(bench.scale, role)
    policy = make_policy(scale, shape, device, role, phase, recomputes=True)
    updater, sampler = Updater(policy, phase, seed=0), LocalSampler(policy.lm)

    def sample(cap: int) -> Drawn:
        decoding = phase.sampler.model_dump() | {"max_tokens": cap}
        return draw(sampler, shape, [scale.prompt_tokens] * scale.group, scale.group, **decoding)

    warm = min(64, scale.max_tokens)
    a_token = once(lambda: sample(warm), device)[1] / warm
    cap = min(scale.max_tokens, max(1, int(0.6 * (deadline - time.monotonic()) / a_token)))
    drawn, sampling = once(lambda: sample(cap), device)
    groups = pay_groups([graded(i, *pair) for i, pair in enumerate(drawn)], phase.rewards, {}, cap)
    batch = collate(groups, truncated=phase.algorithm.truncated)
    experience, scoring = once(lambda: gather_experience(policy, batch, phase), device)
    advantages, estimating = once(
        lambda: estimate_advantages(find_algorithm(phase), experience, phase.algorithm), device
    )
    _, updating = once(lambda: updater.update(experience, advantages, 1, 0), device)
    tokens, whole = int(batch.lengths.sum()), cap == scale.max_tokens
    return (
        f"{'-' if whole else 'cap cut to fit the time'} | {cap} | {batch.num_rows} | {tokens / batch.num_rows:.0f} | "
        f"{sampling:.2f} | {tokens / sampling:.0f} | {scoring + estimating:.2f} | {updating:.2f} | "
        f"{sampling + scoring + estimating + updating:.2f} | {peak_gib(device):.2f} | {verdict(True, has_target and whole)}"
    )


# --- the report ------------------------------------------------------------------------------------------------------

SECTIONS = {"check": check, "decode": decode, "update": update, "step": step}


def render(heading: str, tables: dict[str, list[str]]) -> str:
    """Heading and one Markdown table a section; a row that was not measured is short."""
    parts = [heading]
    for name, rows in tables.items():
        rule = " | ".join("---" for _ in COLUMNS[name].split(" | "))
        parts.append(f"### {name}\n\n" + "\n".join(f"| {line} |" for line in (COLUMNS[name], rule, *rows)))
    return "\n\n".join(parts) + "\n"


def heading_of(arguments: argparse.Namespace, bench: Bench, limits: str) -> str:
    """Device, command, date, versions, what was measured and the limits."""
    environment, scale = describe_environment(bench.device), bench.scale
    packages, flags = environment["packages"], " --toy" if arguments.toy else ""
    command = f"python benchmarks/gpu.py {' '.join(arguments.sections)}{flags} --models {' '.join(scale.shapes)}"
    return (
        f"## {environment['device']}\n\n`{command} --roles {' '.join(bench.roles)} --seconds {bench.seconds:g}`, "
        f"{datetime.date.today()}, torch {packages['torch']}, transformers {packages['transformers']}, "
        f"{environment['threads']} CPU threads. Random weights. Decode: prompts of {scale.prompt_tokens} tokens, "
        f"{scale.new_tokens} steps. Update and step: {scale.group} x {scale.group} responses of about {scale.mean_tokens} "
        f"and at most {scale.max_tokens} tokens. {limits} The script's docstrings say how each figure is made."
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Exits with 2 where it is wrong, or where there is neither a CUDA device nor `--toy`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--toy", action="store_true", help="a model of 0.1M weights, on any device")
    parser.add_argument("--models", nargs="+", choices=[*FULL.shapes, *TOY.shapes], help="default: all")
    parser.add_argument("--roles", nargs="+", choices=("full", "lora"), default=["full", "lora"])
    parser.add_argument("--seconds", type=float, default=480.0, help="about how long a section may take")
    parser.add_argument("--out", type=Path, help="default: benchmarks/gpu.md without --toy, else printed only")
    parser.add_argument("--append", action="store_true", help="keep what --out holds, add this run")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; expected {', '.join(SECTIONS)}")
    if unknown := [name for name in arguments.models or () if name not in (TOY if arguments.toy else FULL).shapes]:
        parser.error(f"--models {unknown[0]}: toy belongs to --toy, the others do not")
    if not arguments.toy and not torch.cuda.is_available():
        parser.error("no CUDA device; --toy runs anywhere")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write, row by row; 1 where a check failed."""
    arguments = parse(argv)
    scale = TOY if arguments.toy else FULL
    scale = replace(scale, shapes={name: scale.shapes[name] for name in arguments.models or scale.shapes})
    out = arguments.out or (None if arguments.toy else HERE / "gpu.md")
    before = out.read_text(encoding="utf-8") + "\n" if arguments.append and out and out.exists() else "# On one GPU\n\n"
    bench = Bench(scale, pick_device("auto"), arguments.seconds, tuple(arguments.roles))
    bench, limits = measure_limits(bench)
    heading, tables = heading_of(arguments, bench, limits), {}
    for name in arguments.sections:
        tables[name] = rows = list[str]()
        for row in SECTIONS[name](bench, time.monotonic() + bench.seconds):
            rows.append(row)
            print(f"{name}: {row}", flush=True)
            if out:  # after each row: a run that is cut off leaves what it measured
                out.write_text(before + render(heading, tables), encoding="utf-8")
    print(render(heading, tables))
    return int(any(row.endswith("FAIL") for row in tables.get("check", [])))


if __name__ == "__main__":
    sys.exit(main())
