"""A run over several GPUs: what each holds and receives, by hand; what must grow with what; and the page that is made of it."""

import io
from dataclasses import replace

import pytest
import scale_plan
from rich.console import Console

from laconic.config.load import load_recipe
from laconic.config.policy import LoraConfig, PolicyConfig, ShapeConfig
from laconic.doctor.cost_model import Roles, Sampling, Training, machine_of
from laconic.doctor.dry_run import Outlook, print_plan
from laconic.doctor.gpus import GPUS, Links
from laconic.doctor.memory_model import Work, count_weights, predict_moments
from laconic.doctor.spread import GpuSpread
from laconic.doctor.traffic import link_bandwidth, num_passes, step_traffic
from laconic.errors import InputError
from laconic.recipes.find import recipe_paths
from laconic.training.check.phases import resolve_phase

R1 = ShapeConfig(layers=28, hidden=1536, heads=12, kv_heads=2, intermediate=8960, vocabulary=151936)
ON_CUDA = Work(rows=64, prompts=8, prompt_tokens=480, device="cuda", process_bytes=0)
BF16 = PolicyConfig(dtype="bfloat16", gradient_checkpointing=True)
FREE = Roles(critic="zero", reference=None, scores_policy=False)


def moments_of(spread, policy=BF16, **algorithm):
    """The moments of one update of 64 x 8 responses of up to 1,000 tokens on one GPU of the spread."""
    phase = scale_plan.recipe_of(R1, scale_plan.CANDIDATES[0], scale_plan.STEP).phases[0]
    changed = phase.model_copy(update={"algorithm": phase.algorithm.model_copy(update=algorithm)})
    found = predict_moments(R1, resolve_phase(changed, policy), policy, replace(ON_CUDA, spread=spread))
    return {moment.name: moment.parts for moment in found}


def traffic(spread, policy=BF16, roles=FREE, scoring=1, update=1):
    return step_traffic(
        R1, policy, roles, spread, scoring_passes=scoring, update_passes=update, is_bfloat16=True
    )  # fmt: skip


# --- memory ----------------------------------------------------------------------------------------------------------


def test_each_gpu_holds_its_part_of_sixteen_bytes_per_weight():
    """ZeRO's figure 1: stage 3 divides all 16 bytes by N, so that 7.5e9 weights on 64 GPUs take 1.9 GB each."""
    num_weights = count_weights(R1, BF16).total
    step = moments_of(GpuSpread(64))["optimizer step"]
    held = step["policy weights"] + step["optimizer moments"] + step["gradients"]
    assert held == pytest.approx(16 * num_weights / 64)
    assert round(16 * 7.5e9 / 64 / 1e9, 1) == 1.9


def test_a_process_holds_the_whole_policy_in_float32_at_every_moment():
    """4 bytes per weight beside its part, and 2 for what autocast keeps; layers are gathered in float32 too. When a phase begins
    there is a second whole copy, and a third where there is a critic."""
    weights, parts = count_weights(R1, BF16), moments_of(GpuSpread(8))
    assert {moment["whole policy, which draws"] for moment in parts.values()} == {4 * weights.total}
    twice = ("whole policy, which draws", "policy weights, not spread yet")
    assert parts["a phase begins"] == dict.fromkeys(twice, 4 * weights.total)
    whole = 4 * (2 * weights.maps // 28 + weights.embedding + weights.head)
    assert parts["scoring"]["weights of two layers"] == pytest.approx(whole, rel=1e-6)
    update = parts["policy update, backward begins"]
    assert update["bfloat16 copies of the weights"] == 2 * (weights.maps + weights.embedding)
    assert parts["saving a checkpoint"]["copies to be written"] == 2 * weights.total
    critic = moments_of(GpuSpread(8), critic="separate", name="ppo")["a phase begins"]
    assert critic["another role, not spread yet"] == 4 * weights.body
    adapters = moments_of(GpuSpread(8), BF16.model_copy(update={"lora": LoraConfig()}))["scoring"]
    assert adapters["whole policy, which draws"] == pytest.approx(2 * weights.total, rel=0.1)


def test_an_engine_holds_a_copy_in_the_dtype_of_the_arithmetic_while_responses_are_drawn():
    """Two layers with embedding and head in bfloat16, gradients of two layers in float32; 2 bytes per weight to sample with, or
    half of it where two GPUs hold one copy."""
    weights, parts = count_weights(R1, BF16), moments_of(GpuSpread(8, 1))
    whole = 2 * (2 * weights.maps // 28 + weights.embedding + weights.head)
    assert parts["scoring"]["weights of two layers"] == pytest.approx(whole, rel=1e-6)
    update = parts["policy update, backward begins"]
    assert update["gradients of two layers"] == pytest.approx(8 * weights.maps / 28, rel=1e-6)
    assert "bfloat16 copies of the weights" not in update
    assert parts["sampling"]["weights for sampling"] == 2 * weights.total
    assert moments_of(GpuSpread(8, 2))["sampling"]["weights for sampling"] == weights.total


def test_one_gpu_is_what_it_was():
    """Nothing is divided, nothing is gathered, and no copy is made."""
    names = {name for parts in moments_of(GpuSpread(1)).values() for name in parts}
    assert not names & {"weights of two layers", "gradients of two layers", "weights for sampling"}
    assert not names & {"whole policy, which draws", "policy weights, not spread yet"}
    assert moments_of(GpuSpread(1))["sampling"]["policy weights"] == 4 * count_weights(R1, BF16).total
    assert traffic(GpuSpread(1)).total == 0


def test_every_role_is_divided_and_adapters_are_too():
    """Critic and reference as the policy; adapters leave the base in bfloat16 and no gradients of layers."""
    one, eight = (moments_of(GpuSpread(n), critic="separate", kl_coef=0.1, name="ppo")["sampling"] for n in (1, 8))
    for role in ("policy weights", "critic weights", "reference weights", "optimizer moments"):
        assert eight[role] == pytest.approx(one[role] / 8, abs=1)
    lora = moments_of(GpuSpread(8), BF16.model_copy(update={"lora": LoraConfig()}))
    assert "gradients of two layers" not in lora["policy update, backward begins"]


# --- traffic ---------------------------------------------------------------------------------------------------------


def test_an_update_brings_the_weights_twice_and_the_gradients_once():
    """ZeRO, section 7.2: three times the weights, of 4 bytes each, or twice 2 bytes and once 4, of which 7/8 come from others.
    Handed over are all weights in float32, with adapters these alone, or the part of an engine."""
    weights = count_weights(R1, BF16)
    found = traffic(GpuSpread(8))
    assert found.gathered == 2 * found.reduced == pytest.approx(7 / 8 * 8 * weights.total)
    assert found.handed_over == pytest.approx(7 / 8 * 4 * weights.total)
    other = traffic(GpuSpread(8, 4))
    assert other.gathered == other.reduced == pytest.approx(7 / 8 * 4 * weights.total)
    assert other.handed_over == pytest.approx(7 / 8 * 2 * weights.total / 4)
    adapted = PolicyConfig(dtype="bfloat16", lora=LoraConfig())
    assert traffic(GpuSpread(8), adapted).handed_over == 7 / 8 * 4 * count_weights(R1, adapted).adapters


def test_micro_batches_and_roles_bring_them_again():
    """Three micro-batches are three times as much; a score is a gathering, a critic one and two without the head."""
    once, weights = traffic(GpuSpread(8)), count_weights(R1, BF16)
    assert traffic(GpuSpread(8), update=3).update == 3 * once.update
    scored = traffic(GpuSpread(8), roles=replace(FREE, scores_policy=True, reference=R1), scoring=2)
    tables = weights.embedding + weights.head  # which are in float32 in a reference too
    reference = 2 * weights.maps + 4 * tables
    assert scored.gathered - once.gathered == pytest.approx(2 * 7 / 8 * (4 * weights.total + reference))
    critic = traffic(GpuSpread(8), roles=replace(FREE, critic="separate"))
    assert critic.gathered - once.gathered == pytest.approx(3 * 7 / 8 * 4 * weights.body)
    adapters = traffic(GpuSpread(8), PolicyConfig(dtype="bfloat16", lora=LoraConfig()))
    assert adapters.reduced < once.reduced / 50


def test_micro_batches_are_those_of_one_gpus_responses():
    """1,024 responses of 2,560 tokens on 8 GPUs are 327,680 tokens on each: 20 micro-batches of 16,384."""
    work = Training(1, 1024, 1, 512, 2048)
    assert num_passes(work, 1 / 8, 16_384) == 20 and num_passes(work, 1 / 64, 16_384) == 3
    assert num_passes(work, 1 / 64, 16_384, at_least=4) == 4


def test_the_slower_link_counts_between_machines_only():
    links = Links(450, 400, "")
    assert link_bandwidth(links, GpuSpread(8)) == 0.5 * 450e9 and link_bandwidth(links, GpuSpread(16)) == 0.5 * 400e9
    assert all(gpu.links.sheet and gpu.links.between_gb <= gpu.links.inside_gb for gpu in GPUS.values())


def test_engines_share_out_responses_and_their_gpus_add_up():
    """64 responses on 8 GPUs, two to a copy: 4 engines draw 16 each, with the bandwidth of two."""
    drawn = Sampling(1, 64, 8, 4, 100, 1000, 2000).shared(GpuSpread(8, 2))
    assert (drawn.responses, drawn.prompts, drawn.slots) == (16, 2, 8)
    one = machine_of("h200", GPUS["h200"], is_bfloat16=True)
    assert one.together(2).bandwidth == 2 * one.bandwidth and one.together(2).step_factor == one.step_factor


# --- the dry run -----------------------------------------------------------------------------------------------------


def shown(**outlook):
    console = Console(width=250, record=True, file=io.StringIO())
    print_plan(load_recipe(recipe_paths()["r1-distill-1.5b"]), console, Outlook(**outlook))
    return console.export_text()


def test_the_dry_run_says_what_eight_gpus_take():
    """The paper's recipe does not fit one H100 as it is; on eight it does, and the cost is that of all eight."""
    one, eight = shown(gpu="h100-80gb"), shown(gpu="h100-80gb", gpus=8, price=2.0)
    assert "does not fit: phases.brevity" in one and "traffic" not in one
    assert "fits: phases.brevity needs" in eight and "each of 8 h100-80gb has 80.00 GiB" in eight
    assert (
        "spread: over 8 GPUs; each holds 1/8 of weights, gradients and moments, and beside them the whole policy, from which"
        in eight
    )
    assert (
        "traffic: in a step of brevity each GPU receives" in eight
        and "450 GB/s one way inside one machine (H100" in eight
    )
    assert "hours: 8 h100-80gb" in eight and "at 2 dollars an hour for each of 8" in eight
    assert "idle" not in eight
    sixteen = shown(gpu="h100-80gb", gpus=16)
    assert "400 between machines" in sixteen
    assert "idle: phases.brevity.problems_per_step=8 leaves 50% of the GPUs' time unused" in sixteen


def test_a_copy_that_fits_no_gpu_is_spread_over_as_few_as_possible():
    """By an engine; a process of ours, which holds it whole, has no room for it."""
    assert scale_plan.best_plan("70B", "h100-80gb", 64, has_engine=True).spread == GpuSpread(64, 4)
    assert scale_plan.best_plan("70B", "h100-80gb", 64) is None


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_tables_of_the_page_are_those_of_the_command():
    page = scale_plan.PAGE.read_text("utf-8")
    assert scale_plan.with_tables(page, scale_plan.tables(scale_plan.GPU)) == page


def test_what_a_plan_names_is_faster_than_what_else_fits():
    """The settings are the fastest of those that train all weights; on one GPU a 7B has adapters, on eight with an engine all
    weights, for which a whole policy beside them leaves no room."""
    eight = scale_plan.best_plan("7B", scale_plan.GPU, 8, has_engine=True)
    one, ours = (scale_plan.best_plan("7B", scale_plan.GPU, gpus) for gpus in (1, 8))
    assert one.choice.lora and ours.choice.lora and not eight.choice.lora and eight.seconds < one.seconds
    assert scale_plan.best_plan("70B", scale_plan.GPU, 1) is None
    for choice in scale_plan.CANDIDATES[::5]:
        other = scale_plan.plan_of(scale_plan.SHAPES["7B"], choice, scale_plan.GPU, 8, scale_plan.STEP, has_engine=True)
        assert choice.lora or not other.fits(GPUS[scale_plan.GPU].memory) or other.seconds >= eight.seconds


def test_the_number_of_gpus_needs_a_name(monkeypatch, capsys):
    """One line, and outside a dry run it is refused as the name is."""
    from laconic.cli.train import train

    with pytest.raises(InputError, match="--gpus: needs --gpu"):
        train("accuracy_only", dry_run=True, gpus=8)
    with pytest.raises(InputError, match="--gpus: only a dry run reads it"):
        train("accuracy_only", gpus=8)
    with pytest.raises(InputError, match="--gpus: expected at most 1,024, got 1,000,000"):
        train("accuracy_only", dry_run=True, gpu="h100-80gb", gpus=10**6)
