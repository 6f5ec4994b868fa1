"""Training at full size: how much of the device's arithmetic an update uses, and whether a step of the paper's recipe fits."""

import functools
import itertools
from collections.abc import Iterator

import torch
from gpu_workloads import (
    GIB,
    Drawn,
    draw,
    graded,
    made_up_groups,
    make_policy,
    once,
    paper_phase,
    peak_gib,
    rloo_phase,
    seconds_of,
    update_flops,
)
from gpus.rows import Bench, Row, guarded
from gpus.speed import MATRIX_RATE

from laconic.config.phase import PhaseConfig
from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.rewards import RewardsConfig
from laconic.doctor.memory_model import Work, predict_moments
from laconic.rollouts.paying import pay_groups
from laconic.samplers.local import LocalSampler
from laconic.training.algorithms import estimate_advantages, find_algorithm
from laconic.training.batching import collate
from laconic.training.check.phases import resolve_phase
from laconic.training.experience import gather_experience
from laconic.training.updates import Updater

ROLES = ("full", "lora")
MATRIX_SHARE = 0.4  # target: an update of all weights reaches this share of the device's matrix rate
PEAK_MARGIN = 1.15  # the peak may exceed its prediction by this factor


def update(bench: Bench) -> Iterator[Row]:
    """RLOO's update of all weights, and PPO's of policy and critic as adapters, without and with recomputed activations."""
    pairs = itertools.product(ROLES, (False, True)) if bench.has_targets else zip(ROLES, (False, True), strict=True)
    for role, recomputes in pairs:  # in a rehearsal each role once and each way once
        ways = "all weights" if role == "full" else "policy and critic as adapters"
        what = f"update of {ways}, activations {'recomputed' if recomputes else 'kept'}"
        peaks: list[Row] = []
        yield from guarded(what, functools.partial(_time_update, bench, role, recomputes, what, peaks), bench)
        yield from peaks


def _time_update(bench: Bench, role: str, recomputes: bool, what: str, peaks: list[Row]) -> Row:
    """The row of the rate; that of the peak is added to `peaks`."""
    scale, device, is_full = bench.scale, bench.device, role == "full"
    phase = rloo_phase(scale) if is_full else paper_phase(scale, role)
    policy = make_policy(scale, device, role, phase, recomputes=recomputes)
    updater = Updater(policy, phase, seed=0)
    groups = made_up_groups(scale, scale.shape)
    batch = collate(pay_groups(groups, RewardsConfig(), {}, scale.max_tokens), truncated="penalise")
    experience, scoring = once(lambda: gather_experience(policy, batch, phase), device)
    advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = seconds_of(lambda: updater.update(experience, advantages, 1, 0), device, bench.seconds_left / 16)
    peaks.append(_peak_row(bench, f"{what}: peak", role, phase, recomputes))
    lengths = [(len(prompt), n) for prompt, n in zip(batch.prompts, batch.lengths.tolist(), strict=True)]
    flops = functools.partial(update_flops, scale.shape, lengths, learns_all=is_full, has_critic=not is_full)
    rate, spent = (flops(recomputes=again) / seconds / 1e9 for again in (False, recomputes))
    matrix = bench.limits.get(MATRIX_RATE)
    peak = matrix and matrix / 1e9
    is_met = rate / peak >= MATRIX_SHARE if peak and is_full and not recomputes and bench.has_targets else None
    note = f"{seconds:.3g} s for {sum(map(sum, lengths))} tokens, with what is recomputed {spent:.4g}; scoring {scoring:.3g} s"
    return Row(what, rate, "GFLOP/s", peak, is_met, note)


def _peak_row(bench: Bench, what: str, role: str, phase: PhaseConfig, recomputes: bool) -> Row:
    """The peak since the scores were made against what the memory model predicts for an update; on a CPU, whose memory holds
    the program too, there is no target."""
    lora = LoraConfig() if role == "lora" else None
    policy = PolicyConfig(dtype="bfloat16", lora=lora, gradient_checkpointing=recomputes)
    work = Work(bench.scale.group**2, bench.scale.group, bench.scale.prompt_tokens, bench.device.type, 0)
    moments = predict_moments(bench.scale.shape, resolve_phase(phase, policy), policy, work)
    predicted = max(moment.total for moment in moments if "update" in moment.name or "optimizer" in moment.name) / GIB
    measured = peak_gib(bench.device)
    is_met = measured <= PEAK_MARGIN * predicted if bench.device.type == "cuda" else None
    return Row(what, measured, "GiB", predicted, is_met, "against the prediction")


def step(bench: Bench) -> Iterator[Row]:
    """A PPO step of the paper's recipe: policy, critic and reference as three models, and as adapters of one (not in a
    rehearsal)."""
    for role in ROLES if bench.has_targets else ROLES[:1]:
        ways = "three models" if role == "full" else "adapters of one"
        yield from guarded(f"a step, {ways}", functools.partial(_time_step, bench, role, f"a step, {ways}"), bench)


def _time_step(bench: Bench, role: str, what: str) -> Row:
    """The cap is cut where sampling up to it would take over 0.6 of the time left."""
    scale, device, phase = bench.scale, bench.device, paper_phase(bench.scale, role)
    policy = make_policy(scale, device, role, phase, recomputes=False)
    updater, sampler = Updater(policy, phase, seed=0), LocalSampler(policy.lm)

    def sample(cap: int) -> Drawn:
        decoding = phase.sampler.model_dump() | {"max_tokens": cap}
        return draw(sampler, scale.shape, [scale.prompt_tokens] * scale.group, scale.group, **decoding)

    warm = min(64, scale.max_tokens)
    a_token = once(lambda: sample(warm), device)[1] / warm
    cap = min(scale.max_tokens, max(1, int(0.6 * bench.seconds_left / a_token)))
    drawn, sampling = once(lambda: sample(cap), device)
    sampler.make_room()
    groups = pay_groups([graded(i, *pair) for i, pair in enumerate(drawn)], phase.rewards, {}, cap)
    batch = collate(groups, truncated=phase.algorithm.truncated)
    experience, scoring = once(lambda: gather_experience(policy, batch, phase), device)
    advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
    _, updating = once(lambda: updater.update(experience, advantages, 1, 0), device)
    tokens, is_whole = int(batch.lengths.sum()), cap == scale.max_tokens
    note = (
        f"sampling {sampling:.3g} s ({tokens / sampling:.0f} tokens/s), scoring {scoring:.3g} s, update {updating:.3g} s, peak "
        f"{peak_gib(device):.2f} GiB, {batch.num_rows} responses of {tokens / batch.num_rows:.0f} tokens, cap {cap}"
        f"{'' if is_whole else ' (cut to fit the time)'}"
    )
    return Row(what, sampling + scoring + updating, "s", is_met=True if is_whole else None, note=note)
