"""The cost model: arithmetic a reader can redo, what must grow with what, and the words about what is not known."""

import io
import json
import re
import shutil
from dataclasses import replace

import pytest
from huggingface_hub import constants
from rich.console import Console

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.load import load_recipe
from laconic.config.policy import LoraConfig, PolicyConfig, ShapeConfig
from laconic.doctor import machines
from laconic.doctor.cost_model import (
    Machine,
    Roles,
    Sampling,
    Training,
    forward,
    load_of,
    machine_of,
    sampling_flops,
    sampling_seconds,
    scoring_flops,
    step_floor_seconds,
    update_flops,
)
from laconic.doctor.cost_report import cost_table, predict_costs
from laconic.doctor.dry_run import Outlook, print_plan
from laconic.doctor.gpus import GPUS, find_gpu, name_of_device
from laconic.doctor.memory_model import count_weights
from laconic.doctor.memory_needs import find_shape
from laconic.doctor.reading import read_sources
from laconic.doctor.workload import capped, expected_lengths, mean_prompts, parts_of
from laconic.errors import InputError
from laconic.models.loading import TINY_FOLDER, load_tokenizer
from laconic.prompts.instructions import render
from laconic.recipes.find import recipe_paths
from laconic.training.check.recipe import check_recipe

R1 = ShapeConfig(layers=28, hidden=1536, heads=12, kv_heads=2, intermediate=8960, vocabulary=151936)
H200 = machine_of("h200", GPUS["h200"], is_bfloat16=True)
ALONE = Roles(critic="zero", reference=None, scores_policy=False)
LIKELIHOOD = {"old_logprobs": "current"}
STEP = Training(calls=1, responses=64, epochs=1, prompt_tokens=100, response_tokens=1000)
DRAWN = Sampling(1, 64, 8, 64, prompt_tokens=100, response_tokens=1000, longest=2000)
PROBE = {
    "problem_id": "a",
    "attempts": 2,
    "correct": 1,
    "mean_tokens": 40.0,
    "mean_correct_tokens": 30.0,
    "min_correct_tokens": 30,
    "counts": {"correct": 1, "wrong": 1, "no_answer": 0, "truncated": 0, "ungradable": 0},
    "problem": "1 + 1?",
    "answer": "2",
}


@pytest.fixture(autouse=True)
def _a_processor_that_is_known(monkeypatch):
    """Measuring this one takes time and gives another number each time."""
    machine = Machine("this machine (a processor, 1 threads)", float("inf"), 1e10, 2e10, 2.0)
    monkeypatch.setattr(machines, "measured_machine", lambda *_: machine)


def shown(recipe, **outlook):
    console = Console(width=200, record=True, file=io.StringIO())
    print_plan(recipe, console, Outlook(**outlook))
    return console.export_text()


@pytest.fixture
def small(tmp_path):
    """Two steps of 2 problems x 4 responses under a cap of 100, watched before, between and after; local problems."""
    lines = [
        {"id": f"{name}{i}", "problem": f"{name} {i} + {i}?", "answer": str(2 * i)} for name in "twr" for i in range(6)
    ]
    for name, letter in (("train", "t"), ("watch", "w"), ("report", "r")):
        mine = [json.dumps(line) + "\n" for line in lines if line["id"].startswith(letter)]
        (tmp_path / f"{name}.jsonl").write_text("".join(mine))
    tree = {
        "name": "small",
        "model": "tiny",
        "problems": {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "watch", "report")},
        "watch": {"every": 1, "samples": 2},
        "report": {"temperatures": [1.0, 0.0], "samples": 3},
        "phases": [{"name": "p", "steps": 2, "problems_per_step": 2, "group_size": 4, "sampler": {"max_tokens": 100}}],
    }
    (tmp_path / "small.json").write_text(json.dumps(tree))
    return load_recipe(tmp_path / "small.json")


# --- arithmetic ------------------------------------------------------------------------------------------------------


def test_the_floor_of_a_step_is_that_of_reading_everything_once():
    """1.5B weights: 3.09 GB of maps and head, and 64 x 256 positions of 28,672 bytes are 0.47 GB; at 90% of 4.8 TB/s 0.82 ms."""
    floors = [
        step_floor_seconds(R1, rows, context, H200, is_bfloat16=True) for rows, context in ((64, 256), (64, 4096))
    ]
    assert floors[0] == pytest.approx(0.83e-3, abs=0.01e-3) and floors[1] == pytest.approx(2.45e-3, abs=0.01e-3)
    assert step_floor_seconds(R1, 8, 16384, H200, is_bfloat16=True) == pytest.approx(1.58e-3, abs=0.01e-3)


def test_an_update_is_6n_per_token_and_an_adapters_4n():
    """Without attention (short rows), without a head to speak of, and without checkpointing; 8N with it."""
    shape, short = R1.model_copy(update={"vocabulary": 8}), replace(STEP, prompt_tokens=1, response_tokens=1)
    num_weights, lora = count_weights(shape, PolicyConfig()).maps, PolicyConfig(lora=LoraConfig(rank=1))

    def per_token(policy):
        return update_flops(shape, policy, ALONE, short, 1) / (128 * num_weights)

    assert per_token(PolicyConfig()) == pytest.approx(6, rel=0.01)
    assert per_token(PolicyConfig(gradient_checkpointing=True)) == pytest.approx(8, rel=0.01)
    assert per_token(lora) == pytest.approx(4, rel=0.01)


def test_every_role_is_a_pass_over_the_responses():
    """A reference reads as much as the policy does, a critic leaves the head out, and it learns as the policy learns."""
    weights = count_weights(R1, PolicyConfig())
    once, body = forward(R1, weights, STEP.load), forward(R1, weights, STEP.load, has_head=False)
    roles = Roles("separate", R1, scores_policy=True)
    assert scoring_flops(R1, roles, STEP) == 2 * once.total + body.total and scoring_flops(R1, ALONE, STEP) == 0
    more = update_flops(R1, PolicyConfig(), roles, STEP, 1) - update_flops(R1, PolicyConfig(), ALONE, STEP, 1)
    assert more == pytest.approx(3 * body.maps + 3.5 * body.attention)


def test_an_exact_kl_reads_each_response_again_under_policy_and_reference():
    """One more pass of the policy with gradients, 3 times the maps, and one of the reference with its head."""
    weights = count_weights(R1, PolicyConfig())
    once, roles = forward(R1, weights, STEP.load), Roles("zero", R1, scores_policy=True)
    plain, exact = (
        update_flops(R1, PolicyConfig(), replace(roles, has_exact_kl=has), STEP, 1) for has in (False, True)
    )
    assert exact - plain == pytest.approx(plain + once.total)
    assert plain == pytest.approx(3 * (once.maps + once.head) + 3.5 * once.attention)


def test_while_a_critic_warms_up_the_policy_does_not_learn():
    """In 8 of 10 steps: a fifth of the policy's part is left, all of the critic's."""
    ten, critic = replace(STEP, calls=10), Roles("separate", None, scores_policy=True)
    policy, both = (update_flops(R1, PolicyConfig(), roles, ten, 1) for roles in (ALONE, critic))
    warming = update_flops(R1, PolicyConfig(), critic, replace(ten, warmup_calls=8), 1)
    assert warming == pytest.approx(0.2 * policy + (both - policy))


def test_a_warm_up_of_the_recipe_is_reckoned_with(small):
    """The recipe's own key, in a phase with a critic."""
    phase = small.phases[0]
    optimizer = phase.optimizer.model_copy(update={"critic_warmup_steps": 1})
    recipe = small.model_copy(update={"phases": (phase.model_copy(update={"optimizer": optimizer}),)})
    flops = [
        next(cost.flops for cost in costs.expected if cost.part.name == "update")
        for costs in (
            predict_costs(one, check_recipe(one), find_shape(one), read_sources(one)) for one in (small, recipe)
        )
    ]
    assert flops[1] < flops[0]


@pytest.mark.parametrize(
    ("policy", "scored", "learnt"),
    [
        ({}, 8, 8),
        ({"gradient_checkpointing": True}, 8, None),
        ({"lora": {"rank": 8, "dropout": 0.1}}, 8, None),
        ({"lora": {"rank": 8}}, 8, 8),
    ],
)
def test_a_prompt_that_a_group_shares_goes_through_the_layers_once(policy, scored, learnt):
    """8 problems x 8 in the paper's model: 448 tokens of 512 are saved in each group, unless layers are in training mode."""
    recipe = load_recipe(recipe_paths()["r1-distill-1.5b"], ["phases.0.optimizer.minibatches=1"])
    changed = recipe.policy.model_validate(recipe.policy.model_dump() | {"gradient_checkpointing": False, **policy})
    recipe = recipe.model_copy(update={"policy": changed, "phases": recipe.phases[:1]})
    shape = find_shape(recipe)
    costs = predict_costs(recipe, check_recipe(recipe), shape, read_sources(recipe), gpu="h200")
    part = next(cost.part for cost in costs.expected if cost.part.name == "update")
    prompts = (part.training.scored_prompts, part.training.learnt_prompts)
    cuts = prompts[0] - scored  # a micro-batch that begins inside a group reads its prompt again
    assert 0 <= cuts <= 32 and prompts[1] in (None, prompts[0]) and (prompts[1] is None) == (learnt is None)
    whole = 64 * 512 if learnt is None else prompts[1] * 512
    assert part.prompt_tokens == pytest.approx(recipe.phases[0].steps * whole)


def test_a_shared_prompt_is_read_once_and_every_token_attends_to_it():
    """8 prompts of 100 tokens; 64 x 1,000 tokens attend to 100 + 500 positions on average."""
    assert DRAWN.read == load_of(8, 100, 0).__class__(800, 8, 40_000)
    assert DRAWN.drawn.tokens == 64_000 and DRAWN.drawn.pairs == 64_000 * 600
    assert DRAWN.steps == 2000 and replace(DRAWN, slots=16).steps == 4000


@pytest.mark.parametrize("name", ["responses", "prompt_tokens", "response_tokens", "calls"])
def test_more_of_anything_takes_longer(name):
    """Twice as many responses, tokens or steps: more operations and more seconds, in sampling and in training."""
    drawn, step = (replace(work, **{name: 2 * getattr(work, name)}) for work in (DRAWN, STEP))
    assert sampling_flops(R1, drawn) > sampling_flops(R1, DRAWN)
    seconds = [sampling_seconds(R1, work, H200, is_bfloat16=True) for work in (DRAWN, drawn)]
    assert seconds[0] < seconds[1]
    assert update_flops(R1, PolicyConfig(), ALONE, step, 1) > update_flops(R1, PolicyConfig(), ALONE, STEP, 1)


def test_more_weights_take_longer_and_a_faster_gpu_less():
    """A layer more; an H200 before an H100 before an A100 before an L4."""
    deeper = R1.model_copy(update={"layers": 29})
    assert sampling_flops(deeper, DRAWN) > sampling_flops(R1, DRAWN)
    names = ("h200", "h100-80gb", "a100-80gb", "l4")
    ordered = [machine_of(name, find_gpu(name), is_bfloat16=True) for name in names]
    seconds = [sampling_seconds(R1, DRAWN, machine, is_bfloat16=True) for machine in ordered]
    assert seconds == sorted(seconds) and len(set(seconds)) == len(names)


def test_a_step_costs_its_products_whatever_rows_are_left():
    """2,000 steps of 64 rows, half of them gone on average: 4 times the products of 64 rows, and the prompts at full rate."""
    machine = Machine("a processor", float("inf"), step_rate=1e11, rate=5e10, step_factor=4.0)
    drawn = forward(R1, count_weights(R1, PolicyConfig()), DRAWN.drawn).total / 64_000
    read = forward(R1, count_weights(R1, PolicyConfig()), DRAWN.read).total
    expected = 2000 * 4 * 64 * drawn / 1e11 + read / 5e10
    assert sampling_seconds(R1, DRAWN, machine, is_bfloat16=False) == pytest.approx(expected)


# --- GPUs ------------------------------------------------------------------------------------------------------------


def test_an_unknown_gpu_is_one_line_that_lists_the_known_ones():
    with pytest.raises(InputError, match=r"--gpu: unknown GPU 'h300'; expected one of h200, h100-80gb") as caught:
        find_gpu("h300")
    assert "\n" not in str(caught.value) and all(name in str(caught.value) for name in GPUS)


def test_every_gpu_is_found_by_its_drivers_name_and_by_no_other():
    assert {name_of_device(f"NVIDIA {gpu.chip}") for gpu in GPUS.values()} == set(GPUS)
    assert name_of_device("NVIDIA H200 NVL") is None


def test_no_gpu_of_the_table_does_more_than_its_kin():
    """A slip of a digit: bytes per operation differ by no more than a factor of 8, and every sheet is named."""
    ratios = [gpu.bfloat16_tflops / gpu.bandwidth_tb for gpu in GPUS.values()]
    assert max(ratios) / min(ratios) < 8 and all(gpu.sheet and gpu.memory_gib >= 24 for gpu in GPUS.values())
    assert all(gpu.float32_tflops < gpu.bfloat16_tflops for gpu in GPUS.values())


# --- the work of a recipe --------------------------------------------------------------------------------------------


def test_the_responses_and_tokens_of_every_part(small):
    """2 steps x 8; 3 watches x 6 problems x 2; 2 models x 6 problems x (3 and greedily 1). Prompts are rendered as later."""
    sources, phases = read_sources(small), check_recipe(small)
    prompts, whence = mean_prompts(small, sources)
    parts = {part.name: part for part in parts_of(small, phases, sources, prompts, capped)}
    counts = {name: part.responses for name, part in parts.items()}
    assert counts == {"rollouts": 16, "update": 16, "watch": 36, "report at T=0": 12, "report at T=1": 36}
    assert all(part.response_tokens == 100 * part.responses for part in parts.values())
    tokenizer = load_tokenizer("tiny", small.policy)
    counted = sum(len(render(tokenizer, problem)) for problem in sources["train"]) / 6
    assert whence == "counted" and prompts["train"] == pytest.approx(counted)
    assert parts["update"].prompt_tokens == pytest.approx(16 * counted)
    assert parts["rollouts"].prompt_tokens == pytest.approx(4 * counted)  # 2 steps x 2 distinct prompts


@pytest.mark.parametrize(
    ("algorithm", "share"),
    [
        ({"name": "grpo"}, 1.0),
        ({"name": "gfpo", "options": {"keep": 0.3}}, 0.5),
        ({"name": "sft", **LIKELIHOOD}, 0.25),
        ({"name": "sft", "options": {"shortest": 0}, **LIKELIHOOD}, 1.0),
        ({"name": "dpo", "aggregation": "sum", **LIKELIHOOD}, 1.0),
        ({"name": "dpo", "options": {"pairs": "extremes"}, "aggregation": "sum", **LIKELIHOOD}, 0.5),
        ({"name": "dpo", "options": {"pairs": "reward"}, "aggregation": "sum", **LIKELIHOOD}, 1.0),
    ],
)
def test_an_update_takes_the_responses_of_a_group_that_its_algorithm_picks(small, algorithm, share):
    """2 steps of 2 groups of 4: of a group GFPO keeps 0.3 x 4, rounded up, SFT learns one, the extremes are two."""
    changed = AlgorithmConfig.model_validate({"whitening": "none", **algorithm})
    recipe = small.model_copy(update={"phases": (small.phases[0].model_copy(update={"algorithm": changed}),)})
    sources = read_sources(recipe)
    found = parts_of(recipe, check_recipe(recipe), sources, mean_prompts(recipe, sources)[0], capped)
    update = next(part for part in found if part.name == "update")
    assert update.responses == 16 * share and update.response_tokens == 1600 * share
    assert update.training.load.states == 1600


def test_lengths_come_from_the_best_that_is_at_hand(small, tmp_path):
    """Half the cap, then the probe of the phase in the run's folder, then a probe that is given; each is said."""
    assert "assumed to be half of their cap" in shown(small)
    folder = tmp_path / "run" / "phases" / "1-p"
    folder.mkdir(parents=True)
    (folder / "probe.jsonl").write_text(json.dumps(PROBE) + "\n")
    assert f"as in {folder / 'probe.jsonl'}" in shown(small, run_folder=tmp_path / "run")
    given = tmp_path / "given.jsonl"
    given.write_text(json.dumps(PROBE | {"mean_tokens": 1e6}) + "\n")
    text = shown(small, run_folder=tmp_path / "run", probe=given)
    assert f"as in {given}" in text and re.search(r"p: rollouts +│ +16 │ +\S+ │ +1.6k \(1.6k\)", text)  # cut at the cap


def test_a_probe_whose_cap_cut_responses_off_says_nothing_of_the_longest(small, tmp_path):
    """Under a cap of 100, after a probe with one of 60: the longest is the cap, and it is said. Without a cut it is 50."""
    probe, lengths = tmp_path / "probe.jsonl", expected_lengths
    (tmp_path / "probe.settings.json").write_text(json.dumps({"max_tokens": 60}))
    for grade, tokens, longest in (("truncated", 60, 100), ("wrong", 50, 50)):
        counts = dict.fromkeys(PROBE["counts"], 0) | {"correct": 1, grade: 1}
        probe.write_text(json.dumps(PROBE | {"counts": counts}) + "\n")
        rows = [("correct", 30), (grade, tokens)]
        attempts = [{"problem_id": "a", "sample": i, "grade": g, "num_tokens": n} for i, (g, n) in enumerate(rows)]
        (tmp_path / "probe.samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in attempts))
        found = lengths(probe, None)(None, 100)
        assert (found.mean, found.longest) == ((30 + tokens) / 2, longest)
        assert ("whose own cap of 60 cut off 1 response: they may be longer" in found.whence) == (longest == 100)


def test_hours_and_cost_on_a_named_gpu_and_on_this_machine(small):
    """Dollars are hours times the price; a GPU's memory is held against the prediction for CUDA."""
    costs = predict_costs(small, check_recipe(small), find_shape(small), read_sources(small), gpu="h200")
    expected, most = costs.hours()
    assert 0 < expected < most
    text = shown(small, gpu="H200", price=1e6)
    assert f"cost: {1e6 * expected:,.2f} dollars expected, at most {1e6 * most:,.2f}" in text
    assert "fits: phases.p needs" in text and "one h200 has 141.00 GiB" in text and "device context" in text
    assert "this machine (a processor" in shown(small) and "cost:" not in shown(small)
    assert len(cost_table(costs).rows) == len(costs.expected) + 1


def test_a_gpu_that_is_too_small_gets_the_gentlest_changes_that_make_it_fit():
    """The paper's recipe on 80 GiB: what changes the speed alone comes before adapters, and nothing suffices on 24 GiB but much
    together."""
    recipe = load_recipe(recipe_paths()["r1-distill-1.5b"])
    text = shown(recipe, gpu="a100-80gb")
    assert re.search(
        r"does not fit: phases.brevity needs 1\d\d\.\d\d GiB .*; try policy.gradient_checkpointing=true "
        r"phases.brevity.optimizer.micro_batch_tokens=4096 phases.brevity.sampler.batch_size=64 \(5\d\.\d\d GiB\), or "
        r"policy.lora.rank=16 ",
        text,
    )
    assert (
        "not counted, because a set is on the hub and its size is not known: the watched set, the evaluations" in text
    )
    assert "needs a larger device even with" in shown(recipe, gpu="l4") or "try policy.lora.rank=16" in shown(
        recipe, gpu="l4"
    )


@pytest.mark.parametrize("is_at_hand", [True, False])
def test_steps_are_counted_without_going_through_them(small, is_at_hand):
    """A billion, the most that a recipe may have, of 8 responses; 12 watched before them and after each. A set on the hub has as
    many problems as a step takes."""
    recipe = small.model_copy(update={"phases": (small.phases[0].model_copy(update={"steps": 10**9}),)})
    sources = read_sources(recipe) | ({} if is_at_hand else {"train": None})
    parts = parts_of(recipe, check_recipe(recipe), sources, mean_prompts(recipe, sources)[0], capped)
    responses = {part.name: part.responses for part in parts if part.phase == "p"}
    assert responses == {"rollouts": 8e9, "update": 8e9, "watch": 12e9 + 12}


def test_a_folder_with_a_config_alone_is_enough(small, tmp_path):
    """No weights, no tokenizer: prompts are assumed, and it is said."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(TINY_FOLDER / "config.json", folder)
    text = shown(small.model_copy(update={"model": str(folder)}), gpu="l4")
    assert "prompts: assumed to be 512 tokens" in text and "has no weights: planned from its config alone" in text


def test_a_model_in_the_hubs_cache_is_read_from_there(small, tmp_path, monkeypatch):
    """Config and tokenizer of a hub name, without a request and without weights."""
    cached = tmp_path / "hub" / "models--me--mine"
    shutil.copytree(TINY_FOLDER, cached / "snapshots" / "0", ignore=shutil.ignore_patterns("*.safetensors"))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    text = shown(small.model_copy(update={"model": "me/mine"}), gpu="l4")
    assert "lengths of prompts: counted" in text and "0.6M weights from the model's config" in text
