"""What is predicted of phases by where rollouts come from: own texts, offline, exits; and of groups of which a part trains."""

import io
import json

import pytest
from rich.console import Console
from small import save_small_model

from laconic.config.load import parse_recipe
from laconic.doctor.checks.problems import check_solutions
from laconic.doctor.cost_report import predict_costs
from laconic.doctor.dry_run import print_plan
from laconic.doctor.examination import examine
from laconic.doctor.memory_needs import find_shape, forced_tokens, predict_needs, work_of
from laconic.doctor.reading import read_sources
from laconic.doctor.spread import ONE_GPU, GpuSpread
from laconic.doctor.workload import capped, expected_lengths, mean_prompts, parts_of, text_lengths
from laconic.errors import InputError
from laconic.models.loading import load_tokenizer
from laconic.rollouts.worked_solutions import solution_text
from laconic.system.progress import Reporter
from laconic.training.check.recipe import check_recipe
from laconic.training.run import start

SFT = {"name": "sft", "old_logprobs": "current", "aggregation": "token"}
GIVEN = {"name": "dpo", "old_logprobs": "current", "aggregation": "sum", "options": {"pairs": "given"}}
SOLVED = "1+1=2;" * 40 + "</think>"


@pytest.fixture
def make(tmp_path):
    """Recipes over the embedded reasoner of phases of 4 problems x 8 responses in 2 steps, capped at 64 tokens; 32 problems, each
    with a worked solution of some 200 tokens and a pair."""
    lines = [
        {
            "id": f"p{i}",
            "problem": f"{i} + {i}",
            "answer": str(2 * i),
            "solution": SOLVED,
            "chosen": "</think>1",
            "rejected": SOLVED,
        }
        for i in range(32)
    ]
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def of(*phases, **changes):
        plain = {"steps": 2, "problems_per_step": 4, "sampler": {"max_tokens": 64, "batch_size": 512}}
        tree = {
            "name": "sources",
            "model": "tiny",
            "problems": {"train": str(train), "watch": "tiny:mix?count=4&split=watch"},
            "phases": [plain | {"name": f"p{i}"} | phase for i, phase in enumerate(phases)],
        }
        return parse_recipe(tree | changes, "sources")

    return of


def parts(recipe, lengths_of=capped, most=False):
    sources, phases = read_sources(recipe), check_recipe(recipe)
    prompts, texts = mean_prompts(recipe, sources)[0], text_lengths(recipe, phases, sources)
    return {part.name: part for part in parts_of(recipe, phases, sources, prompts, lengths_of, texts=texts, most=most)}


def work(recipe):
    return work_of(recipe, recipe.phases[0], read_sources(recipe), 20, 0)


def needs(recipe, spread=ONE_GPU):
    (need,) = predict_needs(recipe, check_recipe(recipe), find_shape(recipe), read_sources(recipe), 0, (20, ""), spread)
    return {moment.name: moment.total for moment in need.moments}


# --- the problems' own texts -----------------------------------------------------------------------------------------


def test_a_solution_is_one_rollout_whatever_the_size_of_groups(make):
    """2 steps of 4 problems are 8 responses, not 64; the same memory as with groups of 1."""
    default, single = (make({"rollouts": "solutions", "algorithm": SFT, **group}) for group in ({}, {"group_size": 1}))
    assert parts(default)["update"].responses == 8 == parts(single)["update"].responses
    assert needs(default) == needs(single)


def test_own_texts_are_as_long_as_they_are_and_what_is_drawn_is_not(make):
    """The update goes through whole texts, which no cap cuts, at most as many as expected; probe and watch draw responses."""
    selected = {"select": {"how": "band", "options": {"low": 0.1, "high": 0.9}, "samples": 4}}
    recipe = make({"rollouts": "solutions", "algorithm": SFT, **selected})
    tokenizer, texts = load_tokenizer("tiny", recipe.policy), map(solution_text, read_sources(recipe)["train"])
    long = sum(len(tokenizer.encode(text, add_special_tokens=False)) + 1 for text in texts) / 32
    expected, most = parts(recipe, expected_lengths(None, None)), parts(recipe, most=True)
    assert long > 64
    assert expected["update"].response_tokens == most["update"].response_tokens == long * 8
    assert expected["probe"].response_tokens == 32 * 4 * 32 and most["probe"].response_tokens == 64 * 4 * 32
    assert most["watch"].response_tokens == 64 * most["watch"].responses


def test_memory_takes_the_longest_text_for_what_is_learnt_and_the_cap_for_what_is_drawn(make):
    """No cap changes the update; nothing is drawn but the 4 problems of the watch."""
    low, high = (
        make({"rollouts": "solutions", "algorithm": SFT, "sampler": {"max_tokens": cap, "batch_size": 64}})
        for cap in (16, 512)
    )
    small, large = needs(low), needs(high)
    update = "policy update, backward begins"
    assert small[update] == large[update] and small["scoring"] == large["scoring"]
    assert small["sampling"] < large["sampling"] and work(low).rows == 4 * low.watch.samples
    longer = make({"algorithm": SFT, "sampler": {"max_tokens": 16, "batch_size": 64}})
    assert needs(longer)[update] < small[update]


@pytest.mark.parametrize("index", [0, 1])
def test_a_pair_longer_than_the_context_is_found_before_anything_trains(make, tmp_path, index):
    """Also where it is learnt in a later phase: training makes no folder, and the dry run and doctor say the same."""
    pair = {"rollouts": "pairs", "group_size": 2, "algorithm": GIVEN}
    recipe = make(
        *[{"rollouts": "solutions", "algorithm": SFT}] * index, pair, model=str(save_small_model(tmp_path / "m"))
    )
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    rows = [row | {"solution": "</think>\\boxed{" + row["answer"] + "}"} for row in rows]
    rows[20]["rejected"] = "1+1=2;" * 500
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    says = rf"phases\.p{index}\.rollouts: 1 of 64 responses \(the first is of problem p20\) exceed with their prompts"
    with pytest.raises(InputError, match=says) as error:
        start(recipe, tmp_path / "run", resume=False, reporter=Reporter(is_silent=True))
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError) as planned:
        print_plan(recipe, Console(file=io.StringIO()))
    assert str(planned.value) == str(error.value)
    assert [f"{f.where}: {f.what}" for f in check_solutions(examine(recipe)) if f.level == "error"] == [
        str(error.value)
    ]


# --- what is drawn once ----------------------------------------------------------------------------------------------


def test_offline_rollouts_are_drawn_for_the_whole_phase_at_once(make):
    """32 problems x 8 are 256 rows; 4 x 8 of a step are 32. At most as many as there are slots."""
    assert work(make({"rollouts": "offline", "algorithm": SFT})).rows == 256
    assert work(make({"algorithm": SFT})).rows == 32
    narrow = make({"rollouts": "offline", "algorithm": SFT, "sampler": {"max_tokens": 64, "batch_size": 100}})
    assert work(narrow).rows == 100


def test_probe_and_offline_rollouts_are_two_parts(make):
    """32 problems x 4 samples; then 3 of them x 16. Each prompt is read once for its own responses."""
    select = {"how": "band", "options": {"low": 0.1, "high": 0.9}, "samples": 4, "count": 3}
    found = parts(make({"rollouts": "offline", "group_size": 16, "select": select, "algorithm": SFT}))
    sizes = {name: (found[name].sampling.responses, found[name].sampling.prompts) for name in ("probe", "rollouts")}
    assert sizes == {"probe": (128, 32), "rollouts": (48, 3)}


# --- exits -----------------------------------------------------------------------------------------------------------


def test_exits_are_half_a_trace_with_a_forced_answer(make):
    """4 problems x 8: traces of 64 tokens at most, and 7 exits each, of 32 tokens, the forced words and 64 (expected: 32)."""
    recipe = make({"rollouts": "serial", "algorithm": {"name": "rloo"}})
    forced = forced_tokens(recipe)
    most, expected = parts(recipe, most=True), parts(recipe, expected_lengths(None, None))
    assert most["exits"].sampling.response_tokens == 64 and expected["exits"].sampling.response_tokens == 32
    assert most["update"].response_tokens == 2 * 4 * (64 + 7 * (32 + forced + 64))
    assert expected["update"].response_tokens == 2 * 4 * (32 + 7 * (16 + forced + 32))


def test_prompts_of_exits_hold_their_part_of_the_trace(make):
    """7/8 of 64 tokens, and the forced words, after a prompt of 20; 28 of them are in the sampler at once."""
    recipe = make({"rollouts": "serial", "algorithm": {"name": "rloo"}})
    exits = work(recipe).exits
    assert (exits.rows, exits.prompts, exits.max_tokens) == (28, 28, 64)
    assert exits.prompt_tokens == 20 + 56 + forced_tokens(recipe)
    assert needs(recipe)["prefilling"] > needs(make({"algorithm": {"name": "rloo"}}))["prefilling"]


# --- a part of the group ---------------------------------------------------------------------------------------------


def test_what_an_algorithm_leaves_out_needs_no_memory_in_the_update(make):
    """SFT on the shortest of 16 is an update of as many rows as SFT on groups of 1; scoring reads all."""
    update = "policy update, backward begins"
    picked, single, all_of_them = (
        needs(
            make({"group_size": size, "problems_per_step": 1, "algorithm": SFT | {"options": {"shortest": shortest}}})
        )
        for size, shortest in ((16, 1), (1, 1), (16, 0))
    )
    assert picked[update] == single[update] < all_of_them[update]


def test_what_an_algorithm_leaves_out_brings_no_weights_to_other_gpus(make):
    """Four micro-batches of whole groups become one of the shortest responses."""

    def gathered(shortest):
        algorithm = SFT | {"options": {"shortest": shortest}}
        recipe = make({"problems_per_step": 8, "algorithm": algorithm, "optimizer": {"micro_batch_tokens": 128}})
        sources, phases = read_sources(recipe), check_recipe(recipe)
        costs = predict_costs(recipe, phases, find_shape(recipe), sources, gpu="l4", spread=GpuSpread(2))
        return next(cost.traffic.gathered for cost in costs.most if cost.part.name == "update")

    assert gathered(1) < 0.5 * gathered(0)
