"""What `laconic export verl` writes and refuses, and what its two halves compute, without verl. `benchmarks/verl_check.py` holds
the same against verl itself."""

import dataclasses
import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rewarded import LETTERS, group
from safetensors.torch import load_file, save_file
from small import save_small_model

from laconic.config.load import load_recipe
from laconic.errors import InputError, ModelError, RecipeError
from laconic.grading.grader import Grader
from laconic.integrations.verl import export
from laconic.integrations.verl.channel import (
    MOST_ROWS,
    grade_number,
    read_grade,
    read_reward,
    reward_number,
    single,
)
from laconic.integrations.verl.export import export_verl
from laconic.integrations.verl.exported_phase import TRAIN_FILE, read_exported_phase
from laconic.integrations.verl.problem_rows import read_problem_rows
from laconic.integrations.verl.refusals import OF_ALGORITHMS, refusals
from laconic.integrations.verl.scoring import ResponseScorer
from laconic.integrations.verl.settings import FLOAT32
from laconic.integrations.verl.step_advantages import open_step_payer, step_advantages
from laconic.models.loading import load_tokenizer
from laconic.problems.load import load_problems
from laconic.prompts.instructions import render
from laconic.rewards.numbers import GroupNumbers
from laconic.rewards.table import REWARDS
from laconic.rollouts.paying import Payer
from laconic.selection.probe import write_probe
from laconic.statistics.solve_rate import problem_stats
from laconic.training.algorithms import ALGORITHMS, estimate_advantages
from laconic.training.batching import collate
from laconic.training.check.recipe import check_recipe
from laconic.training.curriculum import admit
from laconic.training.experience import Experience
from laconic.types import Grade, Group

RECIPE = """
name = "small"
model = "MODEL"

[problems]
train = "tiny:mix?count=6&split=train"
watch = "tiny:mix?count=2&split=watch"

[[phases]]
name = "only"
steps = 3
problems_per_step = 2
group_size = 4
sampler = { max_tokens = 24 }
end = { guard_drop = 1.0 }
algorithm = { name = "grpo", old_logprobs = "sampler" }
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def recipe_of(model, tmp_path):
    """The recipe above with changes."""
    path = tmp_path / "small.toml"
    path.write_text(RECIPE.replace("MODEL", str(model)), encoding="utf-8")
    return lambda *changes: load_recipe(path, changes)


def refused(recipe, *, phase=0):
    return refusals(check_recipe(recipe)[phase], recipe)


# --- the number that verl carries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", [1.0, 0.0, -0.0, 0.1, -1e9, 1e-30])
def test_a_reward_comes_back_as_float32(reward):
    found, is_gradable = read_reward(float(np.float32(reward_number(reward, is_gradable=True))))
    assert (found, is_gradable) == (float(np.float32(reward)), True)


def test_an_ungradable_response_is_told_from_one_that_earns_nothing():
    """In a tensor too, which is how verl carries it."""
    carried = torch.tensor([reward_number(0.0, is_gradable=False), reward_number(-0.0, is_gradable=True)])
    assert [read_reward(number)[1] for number in carried.tolist()] == [False, True]


@pytest.mark.parametrize("row", [0, 7, MOST_ROWS - 1])
@pytest.mark.parametrize("grade", Grade)
def test_a_grade_and_a_row_come_back_through_float32(grade, row):
    assert read_grade(float(np.float32(grade_number(grade, row)))) == (grade, row)


def test_a_row_beyond_float32_is_refused():
    with pytest.raises(ValueError, match=f"row: expected 0 to {MOST_ROWS - 1}"):
        grade_number(Grade.WRONG, MOST_ROWS)


def test_a_number_with_a_penalty_on_it_is_refused():
    with pytest.raises(ValueError, match="was a KL penalty added"):
        read_grade(35.9)


# --- which terms look at the group -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REWARDS)
def test_a_term_that_does_not_see_the_group_pays_each_response_as_if_it_were_alone(name):
    """And one that does pays some response of one of these groups otherwise."""
    row, differs = REWARDS[name], False
    options = {"min_target_tokens": 1.0} if name == "lead" else {"length_tolerance": 1.0} if name == "short_rl" else {}
    for lengths, grades in (
        ([100, 300, 900, 200], "CCWU"),
        ([200, 700, 900, 200], "CCWW"),
        ([50, 60, 900, 800], "CWWW"),
    ):
        whole = group(lengths, grades, memory=MEMORY)
        together = row.pay(whole, **options)
        alone = [row.pay(part(whole, i), **options)[0] for i in range(len(lengths))]
        differs |= together.tolist() != alone
    assert differs == row.sees_group


MEMORY = {
    "short_rl/accuracy": 0.5,
    "short_rl/best_accuracy": 0.5,
    "laser_d/target_high": 150.0,
    "laser_de/target_low": 90.0,
}


def part(numbers: GroupNumbers, i: int) -> GroupNumbers:
    return dataclasses.replace(
        numbers,
        lengths=numbers.lengths[i : i + 1],
        grades=numbers.grades[i : i + 1],
        thinking_tokens=numbers.thinking_tokens[i : i + 1],
        texts=numbers.texts[i : i + 1],
        token_ids=numbers.token_ids[i : i + 1],
    )


# --- every algorithm and reward: exported, or refused in one line ----------------------------------------------------

SETTINGS = {
    name: [f"phases.only.algorithm.{k}={v}" for k, v in row.requires.items()] for name, row in ALGORITHMS.items()
}
WHOLE = ("phases.only.rewards.correct=0", "phases.only.rewards.wrong=0")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_exported_or_refused_with_a_reason(name, recipe_of):
    row = ALGORITHMS[name]
    extra = ["phases.only.algorithm.reference_model=tiny"] if row.needs_teacher else []
    extra += ["phases.only.algorithm.kl_coef=1.0"] if name == "logit_distill" else []
    found = refused(recipe_of(f"phases.only.algorithm.name={name}", *SETTINGS[name], *extra))
    if name in OF_ALGORITHMS:
        assert found[0] == f"phases.only.algorithm.name: {name}: {OF_ALGORITHMS[name]}"
    elif name == "ppo":
        assert found == [
            "phases.only.algorithm.whitening: verl whitens every advantage of a critic; expected 'batch' (or critic = 'zero')"
        ]
    else:
        assert found == []
    assert all("\n" not in line and len(line) < 200 for line in found)


def test_a_critic_of_whitened_ppo_is_exported(recipe_of):
    assert refused(recipe_of("phases.only.algorithm.name=ppo", "phases.only.algorithm.whitening=batch")) == []


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_is_exported_or_refused_with_a_reason(name, recipe_of):
    """Beside a term that looks at the group, one that reads tokens or texts is refused; alone each is exported."""
    if name == "levels":
        return
    changes = [] if REWARDS[name].kind == "part" else [*WHOLE]
    options = {"lead": "min_target_tokens=1", "laser_de": "ngram_tokens=8", "repetition": "ngram_tokens=8"}.get(name)
    terms = f'phases.only.rewards.terms=[{{name="{name}"{f", options={{{options}}}" if options else ""}}}]'
    needs = REWARDS[name].needs
    changes += ["phases.only.budget={low=4, high=8}"] if "budget_tokens" in needs else []
    changes += ["phases.only.select.how=all"] if "ref_mean_tokens" in needs else []
    found = refused(recipe_of(terms, *changes))
    if name == "laser_de":
        assert found == [
            "phases.only.rewards.terms: laser_de reads tokens or texts, but laser_de looks at more than one response, and verl "
            "never has both together"
        ]
    else:
        assert found == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("rollouts=offline", "rollouts: verl draws every response from the policy, got 'offline'"),
        ("sampler.min_p=0.1", "sampler.min_p: verl samples without min_p"),
        ("entry_share=0.5", "entry_share: verl does not average weights"),
        ("optimizer.schedule=linear", "optimizer.schedule: verl's rates are constant or fall as a cosine"),
        ("optimizer.minibatches=3", "optimizer.minibatches: verl cuts a step by problems"),
        ("algorithm.truncated=bootstrap", "algorithm.truncated: verl has no value after the cap"),
    ],
)
def test_what_verl_cannot_do_is_refused(change, complaint, recipe_of):
    changes = ["phases.only.algorithm.old_logprobs=recompute"] if "min_p" in change else []
    changes += (
        ["phases.only.algorithm.name=ppo", "phases.only.algorithm.whitening=batch"] if "bootstrap" in change else []
    )
    (found,) = refused(recipe_of(f"phases.only.{change}", *changes))
    assert found.startswith(f"phases.only.{complaint}")


def test_a_step_of_all_problems_that_verl_cannot_cut_is_refused(recipe_of, tmp_path):
    """Six are asked for, which two updates could share; the phase has three."""
    few = (
        "problems.train=tiny:mix?count=3&split=train",
        "phases.only.problems_per_step=6",
        "phases.only.optimizer.minibatches=2",
    )
    with pytest.raises(
        RecipeError, match=r"phases\.only\.optimizer\.minibatches: .* divisor of the 3 problems of a step"
    ):
        export_verl(recipe_of(*few), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("kl_in=reward", "kl_in: verl adds the KL to the score before grpo reads it"),
        ("kl_in=centred", "kl_in: verl centres no KL"),
        ("kl_estimator=exact", "kl_estimator: verl has no KL over the vocabulary"),
        ("reference=ema", "reference: verl's reference does not move"),
        ("reference_model=tiny", "reference_model: verl's reference is the model that it begins with"),
        ("reference_instruction=be_concise", "reference_instruction: verl's reference reads the policy's prompt"),
    ],
)
def test_a_reference_that_verl_does_not_have_is_refused(change, complaint, recipe_of):
    changes = ["phases.only.algorithm.kl_coef=0.1", "phases.only.algorithm.old_logprobs=recompute"]
    (found,) = refused(recipe_of(*changes, f"phases.only.algorithm.{change}"))
    assert found.startswith(f"phases.only.algorithm.{complaint}")


def test_a_reward_of_ones_own_is_refused(recipe_of, tmp_path):
    (tmp_path / "mine.py").write_text("def short(numbers):\n    return -numbers.lengths\n", encoding="utf-8")
    (found,) = refused(recipe_of('phases.only.rewards.terms=[{name="mine.py:short"}]'))
    assert "mine.py:short: a reward of one's own reads a whole group's texts" in found


def test_resampling_is_refused_where_grades_are_carried(recipe_of):
    changes = ['phases.only.rewards.terms=[{name="hapo"}]', *WHOLE, "phases.only.algorithm.uniform_groups=resample"]
    (found,) = refused(recipe_of(*changes))
    assert "verl compares groups before rewards are paid, since hapo looks at more than one response" in found


# --- the folder ------------------------------------------------------------------------------------------------------


def test_the_folder_holds_what_verl_needs(recipe_of, tmp_path):
    written = export_verl(recipe_of(), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"train.parquet", "val.parquet", "phase.json", "laconic.yaml", "run.sh", "README.md"}
    settings = json.loads((tmp_path / "out" / "laconic.yaml").read_text("utf-8"))
    assert settings["algorithm"]["adv_estimator"] == "laconic"
    assert settings["algorithm"]["laconic"] == str((tmp_path / "out").resolve())
    assert settings["data"]["train_batch_size"] == 2 and settings["trainer"]["total_training_steps"] == 3
    assert settings["actor_rollout_ref"]["actor"]["loss_agg_mode"] == "seq-mean-token-mean"
    assert written.num_rows == 6  # 3 steps of 2 problems
    assert read_exported_phase(tmp_path / "out").phase == recipe_of().phases[0]


@pytest.mark.parametrize(
    ("asked", "stored", "computed"),
    [
        ("auto", torch.float32, "float32"),
        ("auto", torch.bfloat16, "bfloat16"),
        ("float32", torch.bfloat16, "float32"),
        ("bfloat16", torch.float32, "bfloat16"),
    ],
)
def test_verl_computes_in_the_dtype_in_which_we_would_on_a_gpu(asked, stored, computed, recipe_of, model, tmp_path):
    """With "auto" the files say in which; an empty engine computes in bfloat16, which is verl's own default."""
    folder = shutil.copytree(model, tmp_path / "model")
    weights = {name: weight.to(stored) for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    export_verl(recipe_of(f"model={folder}", f"policy.dtype={asked}"), tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "laconic.yaml").read_text("utf-8"))["actor_rollout_ref"]
    assert settings["rollout"]["dtype"] == computed
    assert (settings["actor"]["fsdp_config"] == FLOAT32) == (computed == "float32")


def test_what_it_validates_with_is_said_where_it_is_not_what_we_watch_with(recipe_of, tmp_path):
    """The recipe's responses have up to 24 tokens."""
    sentence = "It validates with responses of up to 24 tokens (max_response_length); laconic watches with up to 99"
    for watched, is_said in ((99, True), (24, False)):
        made = export_verl(recipe_of(f"report.max_tokens={watched}"), tmp_path / str(watched))
        assert any(difference.startswith(sentence) for difference in made.differences) == is_said


def test_a_template_that_writes_the_date_is_named(recipe_of, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "chat_template.jinja"
    file.write_text("{{ strftime_now('%d') }}" + file.read_text())
    made = [export_verl(recipe_of(f"model={place}"), tmp_path / place.name[::-1]) for place in (model, folder)]
    said = ["The chat template writes the date" in " ".join(export.differences) for export in made]
    assert said == [False, True]


def test_the_rows_are_the_problems_of_the_steps_with_their_budgets(recipe_of, tmp_path):
    """Each step asks for other numbers of tokens, as training does."""
    changes = ['phases.only.rewards.terms=[{name="l1_max"}]', *WHOLE, "phases.only.budget={low=2, high=20}"]
    export_verl(recipe_of(*changes, "phases.only.steps=6"), tmp_path / "out")
    rows = read_problem_rows(tmp_path / "out" / TRAIN_FILE)
    asked = {}
    for row in rows:
        asked.setdefault(row.problem.id, set()).add(row.budget_tokens)
    assert len(rows) == 12 and len(asked) == 6
    assert sum(len(budgets) for budgets in asked.values()) > 6


def test_more_rows_than_float32_numbers_are_refused_before_they_are_made(recipe_of, tmp_path, monkeypatch):
    """A billion steps of two problems."""
    monkeypatch.setattr(export, "training_rows", None)
    with pytest.raises(RecipeError, match=rf"steps: 2000000000 problems in all, expected at most {MOST_ROWS}"):
        export_verl(recipe_of("phases.only.steps=1000000000"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "arguments", "complaint"),
    [
        (["phases.only.select.how=all"], {}, "give what measured it as --probe FILE"),
        ([], {"phase_name": "other"}, "--phase other: no such phase; the recipe has only"),
        (["phases.only.optimizer.schedule=linear", "phases.only.entry_share=0.5"], {}, "(and 1 more)"),
    ],
)
def test_an_export_that_cannot_be_is_refused_and_writes_nothing(changes, arguments, complaint, recipe_of, tmp_path):
    with pytest.raises(InputError) as error:
        export_verl(recipe_of(*changes), tmp_path / "out", **arguments)
    assert complaint in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_phase_that_selects_trains_on_what_a_probe_says(recipe_of, tmp_path):
    """Of six problems, those solved one time in two, with what was measured. A probe of other problems is refused."""
    band = [
        "phases.only.select.how=band",
        "phases.only.select.options={low=0.4, high=0.6}",
        "phases.only.select.samples=2",
    ]
    problems = load_problems("tiny:mix?count=6&split=train", seed=0)
    grades = [[Grade.CORRECT, Grade.WRONG] if i < 3 else [Grade.WRONG, Grade.WRONG] for i in range(6)]
    stats = [problem_stats(p.id, found, [10, 20]) for p, found in zip(problems, grades, strict=True)]
    write_probe(tmp_path / "probe.jsonl", problems, stats)
    export_verl(recipe_of(*band), tmp_path / "out", probe=tmp_path / "probe.jsonl")
    rows = read_problem_rows(tmp_path / "out" / TRAIN_FILE)
    assert {row.problem.id for row in rows} == {problem.id for problem in problems[:3]}
    assert all(row.reference.mean_tokens == 15 and row.reference.solve_rate == 0.5 for row in rows)
    write_probe(tmp_path / "short.jsonl", problems[:4], stats[:4])
    with pytest.raises(
        InputError, match=r"short\.jsonl: measures 4 of the 6 problems that phases\.only\.select looks at"
    ):
        export_verl(recipe_of(*band), tmp_path / "other", probe=tmp_path / "short.jsonl")
    with pytest.raises(InputError, match=r"phases\.only\.select chooses nothing, so no probe is read"):
        export_verl(recipe_of(), tmp_path / "other", probe=tmp_path / "probe.jsonl")


def test_a_folder_that_holds_something_is_refused(recipe_of, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(InputError, match="stands already; expected a new folder"):
        export_verl(recipe_of(), tmp_path / "out")


def test_of_several_phases_one_must_be_named(recipe_of, tmp_path):
    second = recipe_of().phases[0].model_copy(update={"name": "second"})
    recipe = recipe_of().model_copy(update={"phases": (*recipe_of().phases, second)})
    with pytest.raises(RecipeError, match=r"--phase only \| second"):
        export_verl(recipe, tmp_path / "out")
    assert (
        export_verl(recipe, tmp_path / "out", "second")
        .differences[0]
        .startswith("The phase begins with what 'only' made")
    )


def test_a_model_without_a_chat_template_is_refused(recipe_of, tmp_path, model):
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in model.iterdir():
        if file.name != "chat_template.jinja":
            (bare / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="has no chat template"):
        export_verl(recipe_of(f"model={bare}"), tmp_path / "out")


# --- both halves, against our own trainer ----------------------------------------------------------------------------

CASES = {
    "rewards": [],
    "truncated and dropped": ["phases.only.algorithm.truncated=mask", "phases.only.algorithm.uniform_groups=drop"],
    "whole step": ["phases.only.algorithm.name=reinforce_pp_baseline", "phases.only.algorithm.aggregation=token"],
    "standardized": ["phases.only.rewards.standardize=true", "phases.only.algorithm.name=rloo"],
    "parts of groups": ["phases.only.algorithm.name=gfpo"],
    "no critic": [
        "phases.only.algorithm.name=ppo",
        "phases.only.algorithm.critic=zero",
        "phases.only.algorithm.whitening=batch",
    ],
    "laser_d": ['phases.only.rewards.terms=[{name="laser_d", options={every=1}}]'],
    "hapo": ['phases.only.rewards.terms=[{name="hapo"}]', *WHOLE],
    "kimi": ['phases.only.rewards.terms=[{name="kimi_length"}, {name="overlong"}]'],
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_rewards_and_advantages_are_those_of_our_own_trainer(changes, recipe_of, tmp_path):
    """Three steps of made-up responses: through the scorer, shuffled as verl does, with its padding, and through the payer; and
    as our trainer pays them."""
    export_verl(recipe_of(*changes), tmp_path / "out")
    exported = read_exported_phase(tmp_path / "out")
    tokenizer, rng = load_tokenizer(exported.recipe.model, exported.recipe.policy), random.Random(0)
    phase, rows = exported.phase, read_problem_rows(tmp_path / "out" / TRAIN_FILE)
    carried, payer = open_step_payer(exported), Payer(phase, {}, exported.rewards)
    with Grader() as grader:
        scorer = ResponseScorer(exported, tokenizer, grader)
        for first in (0, 2, 4):
            drawn = [(row, made_up(tokenizer, row, i, rng)) for row in rows[first : first + 2] for i in range(4)]
            numbers = [scorer.score(render(tokenizer, row.problem), ids, row)[0] for row, ids in drawn]
            lost = rng.randrange(8)  # one response that nobody could grade
            row = drawn[lost][0].index
            nothing = reward_number(0.0, is_gradable=False)
            numbers[lost] = grade_number(Grade.UNGRADABLE, row) if exported.carries_grades else nothing
            order = rng.sample(range(8), 8)
            scores, mask = torch.zeros(9, 24), torch.zeros(9, 24)
            for place, number in enumerate(order):
                scores[place, len(drawn[number][1]) - 1] = numbers[number]
                mask[place, : len(drawn[number][1])] = 1
            uids = [*(str(drawn[number][0].index) for number in order), "pad"]
            before = carried.memory
            lengths = mask.sum(dim=1).long()
            last = scores.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
            paid = carried.pay(last.tolist(), lengths.tolist(), uids)
            carried.restore(before)
            found = step_advantages(carried, scores, mask, uids)
            groups = groups_of(scorer, drawn, lost)
            assert {Grade.CORRECT, Grade.WRONG, Grade.TRUNCATED} <= {grade for g in groups for grade in g.grades}
            wanted = payer.pay(groups)
            payer.remember(wanted)
            rewards = {order[r.sample]: single(r.reward) for g in paid for r in g.rollouts}
            assert rewards == {i: single(r.reward) for i, r in enumerate(r for g in wanted for r in g.rollouts)}
            ours, scale = advantages_of(wanted, exported)
            torch.testing.assert_close(found[[order.index(i) for i in range(8)]], ours * scale, rtol=1e-5, atol=1e-6)
            assert not found[8].any()


def made_up(tokenizer, row, place, rng):
    """A response of at most 24 tokens, longer than those before it: right, wrong, one of the two, and cut off."""
    kind = ["right", "wrong", rng.choice(["right", "wrong"]), "cut"][place]
    words = tokenizer.encode(row.problem.question, add_special_tokens=False)
    ids = [rng.choice(words) for _ in range(5 * place + 1)]
    if kind == "cut":
        return (ids * 24)[:24]
    answer = row.problem.answer if kind == "right" else "77"
    said = tokenizer.encode(rf"</think>\boxed{{{answer}}}", add_special_tokens=False)
    return [*ids, *said, tokenizer.eos_token_id][-24:]


def groups_of(scorer, drawn, lost):
    """The step's groups as our trainer has them; a rollout's `sample` is its place among all. That at `lost` is ungradable."""
    prompts = [render(scorer.tokenizer, row.problem) for row, _ in drawn]
    graded = [(row, replace(scorer.graded(prompts[i], ids, row), sample=i)) for i, (row, ids) in enumerate(drawn)]
    graded[lost] = graded[lost][0], replace(graded[lost][1], grade=Grade.UNGRADABLE)
    rows = {row.index: row for row, _ in graded}
    return [
        Group(row.problem, (), tuple(r for other, r in graded if other.index == index), budget_tokens=row.budget_tokens)
        for index, row in rows.items()
    ]


def advantages_of(groups, exported):
    """Our trainer's advantages [8, 24], and by how much verl must scale them to divide as we do."""
    phase, out = exported.phase, torch.zeros(8, 24)
    admitted = admit(groups, phase)
    if not admitted:
        return out, 1.0
    batch = collate(admitted, truncated=phase.algorithm.truncated)
    nothing, rewards = torch.zeros(batch.response_mask.shape), torch.zeros(batch.response_mask.shape)
    rewards[torch.arange(batch.num_rows), batch.lengths - 1] = batch.rewards
    experience = Experience(batch, nothing, None, nothing, torch.zeros(batch.num_rows), rewards)
    found = estimate_advantages(ALGORITHMS[phase.algorithm.name], experience, phase.algorithm)
    counted = batch.loss_rows if found.rows is None else batch.loss_rows & found.rows
    places = [r.sample for g in admitted for r in g.rollouts if r.grade is not Grade.UNGRADABLE]
    out[places, : nothing.shape[1]] = found.advantages * (batch.response_mask & counted[:, None])
    every = sum(r.num_tokens for g in groups for r in g.rollouts) if phase.algorithm.aggregation == "token" else 8
    ours = (
        int((batch.loss_mask & counted[:, None]).sum())
        if phase.algorithm.aggregation == "token"
        else int(counted.sum())
    )
    return out, every / max(1, ours)


def test_letters_name_all_grades():
    assert set(LETTERS.values()) == set(Grade)
