"""The dry run: what it prints, and arithmetic that can be checked against real models."""

import io
import json
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console
from transformers import GPT2Config, MixtralConfig, OPTConfig, Qwen3Config, Qwen3MoeConfig

from laconic.config.load import dump, load_recipe
from laconic.config.phase import BudgetConfig
from laconic.config.policy import PolicyConfig, ShapeConfig
from laconic.doctor.cost_model import Machine, forward, load_of, step_floor_seconds
from laconic.doctor.dry_run import print_plan
from laconic.doctor.memory_model import OtherDraws, count_weights, position_numbers
from laconic.doctor.memory_needs import (
    ASSUMED_PROMPT_TOKENS,
    find_shape,
    longest_prompt,
    longest_questions,
    predict_needs,
    work_of,
)
from laconic.doctor.reading import read_sources
from laconic.errors import ModelError, ProblemsError
from laconic.models.loading import load_model
from laconic.models.weightless import bare_model
from laconic.prompts.instructions import render, resolve_instruction
from laconic.recipes.find import recipe_paths
from laconic.tiny.tokens import pieces
from laconic.training.check.recipe import check_recipe
from laconic.types import Problem


def plan_of(recipe):
    console = Console(width=160, record=True, file=io.StringIO())
    print_plan(recipe, console)
    return console.export_text()


@cache
def shipped_plan(name):
    """The plan of a recipe that comes with the package; a model that another run has yet to make is `tiny`, and problems that are
    yet to be harvested are its."""
    harvested = ["problems.train=tiny:mix?count=64"] if name == "from_traffic" else []
    recipe = load_recipe(recipe_paths()[name], harvested)
    return plan_of(recipe.model_copy(update={"model": "tiny"}) if recipe.model.startswith("runs/") else recipe)


def changed(recipe, *overrides):
    """The recipe with overrides, as the command line makes them."""
    path = Path(recipe.problems.train).with_name("changed.json")
    path.write_text(json.dumps(dump(recipe)))
    return load_recipe(path, overrides)


@pytest.fixture
def r1(tmp_path):
    """The R1 recipe over local files, since a dry run in a test reaches no hub."""
    for name in ("train", "watch", "report"):
        lines = [{"id": f"{name}{i}", "problem": f"{name} {i}?", "answer": str(i)} for i in range(10)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources = [f"problems.{name}={tmp_path / name}.jsonl" for name in ("train", "watch", "report")]
    return load_recipe(recipe_paths()["r1-distill-1.5b"], sources)


def test_the_r1_recipe_holds_the_papers_settings(r1):
    """methods.md 1.2, row by row, with responses cut at 8,192 tokens."""
    phase = r1.phases[0]
    algorithm, optimizer = phase.algorithm, phase.optimizer
    assert (algorithm.name, algorithm.gamma, algorithm.gae_lambda, algorithm.whitening) == ("ppo", 1.0, 0.95, "batch")
    assert (algorithm.kl_coef, algorithm.kl_in, algorithm.kl_estimator) == (0.01, "reward", "k1")
    assert (algorithm.clip_low, algorithm.clip_high, algorithm.value_clip) == (0.2, 0.2, 0.2)
    assert (optimizer.lr, optimizer.critic_lr, optimizer.betas, optimizer.schedule) == (
        5e-7,
        9e-6,
        (0.9, 0.95),
        "cosine",
    )
    assert (optimizer.min_lr_frac, optimizer.minibatches, optimizer.epochs) == (0.1, 8, 1)
    assert (phase.problems_per_step, phase.group_size, phase.steps, phase.select.count) == (8, 8, 150, 8)
    assert (phase.sampler.temperature, phase.sampler.top_p, phase.sampler.max_tokens) == (0.6, 1.0, 8192)
    rewards = phase.rewards
    assert (rewards.correct, rewards.wrong, rewards.no_answer, rewards.terms) == (1.0, -0.5, -1.0, ())
    assert (algorithm.aggregation, algorithm.critic, optimizer.critic_warmup_steps) == ("response", "separate", 0)


def test_the_dry_run_says_what_would_run_what_it_needs_and_where_length_goes(r1):
    """Settings, memory and forecast; nothing is loaded and nothing is written."""
    shown = plan_of(r1)
    assert "up to 150, each 8 problems x 8 responses, 1 x 8 updates" in shown
    assert "0.01 x k1 in the reward" in shown
    assert "1,776.9M weights" in shown and "optimizer moments" in shown and "peak: " in shown
    assert "Expect longer responses: at solve rate 0.10" in shown
    assert "Expect shorter responses: at solve rate 0.90" in shown and "zero at solve rate 0.33" in shown


def test_the_dry_run_leaves_out_what_does_not_apply(r1):
    """A group baseline has neither lambda nor critic; what is not set is said to be none."""
    grpo = ["phases.0.algorithm.name=grpo", "phases.0.optimizer.minibatches=1", "phases.0.select.how=everything"]
    shown = plan_of(changed(r1, *grpo, "phases.0.select.count=4"))
    assert "1 update per step" in shown and "the first 4 problems" in shown and "None" not in shown
    assert "lambda" not in shown and "critic" not in shown.partition("memory of")[0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("opsdc", ('the policy at the phase\'s start, told "tale:40", reset', "(no advantage of distill) correct")),
        ("distill", ("the model runs/two_phase/model",)),
        ("o1_pruner", ("offline", "one ratio a response", "old log-probabilities: sampler", "standardised over all")),
        (
            "o1_pruner",
            (
                "No forecast: o1_pruner has neither a critic nor a group's baseline",
                "length_harmonizing (accuracy_coef 2",
            ),
        ),
        ("long2short/merge", ("the result keeps 0.5 of the weights that enter",)),
        ("l1", ("on_policy, asked for 16 to 160 tokens by l1_max",)),
        ("dler", ("uniform groups: drop",)),
        ("t1", ("solutions", "0.0002 x k1 in the reward, centred in its group", "entropy bonus 0.001")),
        ("long2short/dpo", ("pairs kimi, ratio 1.5, beta 0.1",)),
    ],
)
def test_the_dry_run_says_what_makes_a_method_what_it_is(name, told):
    """Source, teacher, budgets, merging, options: what distinguishes the recipes that come with the package."""
    shown = " ".join(shipped_plan(name).replace("│", " ").split())  # lines of a table wrap
    for words in told:
        assert words in shown


def test_a_critic_that_is_zero_never_learns_the_mean_reward(r1):
    """So what the forecast says holds for the whole phase; a critic that learns bounds it."""
    assert "until the critic learns" in plan_of(r1)
    shown = plan_of(changed(r1, "phases.0.algorithm.critic=zero"))
    assert "until the critic" not in shown and "for the whole phase: its critic does not learn" in shown
    assert "critic 9e-06" not in shown and "critic 9e-06" in plan_of(r1)


def test_under_a_reward_of_ones_own_the_direction_is_unknown(r1, tmp_path):
    """Whatever the levels would do: it may pay for length."""
    (tmp_path / "mine.py").write_text("def f(numbers):\n    return -1.0 * numbers.lengths\n")
    shown = plan_of(changed(r1, f"phases.0.rewards.terms=[{{name='{tmp_path / 'mine.py'}:f'}}]"))
    assert "The direction of length is unknown: a reward of one's own (mine.py:f) decides." in shown
    assert "Expect" not in shown


def test_the_dry_run_refuses_the_sets_that_training_refuses(r1):
    """Trained and reported are one file; with half of it in common, the dry run says how many are left out."""
    with pytest.raises(ProblemsError, match=r"problems\.train: no problem is left that is not in a set reported"):
        plan_of(changed(r1, f"problems.train={r1.problems.report}"))
    both = Path(r1.problems.report).with_name("both.jsonl")
    both.write_text(Path(r1.problems.train).read_text() + Path(r1.problems.report).read_text())
    assert "10 problems left out of the trained and watched sets" in plan_of(changed(r1, f"problems.train={both}"))


def test_problems_on_the_hub_are_not_fetched_by_a_dry_run(r1, monkeypatch, tmp_path):
    """A dataset, and a benchmark without a local file."""
    monkeypatch.delenv("LACONIC_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    shown = plan_of(changed(r1, "problems.report=gsm8k", "problems.watch=hf:someone/set:test"))
    assert shown.count("on the hub; not fetched in a dry run") == 2


def test_every_recipe_that_comes_with_the_package_plans(r1):
    """All but those whose problems are on the hub, which the test above covers."""
    for name in recipe_paths():
        assert "memory of the largest phase" in (plan_of(r1) if name == "r1-distill-1.5b" else shipped_plan(name)), name


@pytest.fixture
def two_phase():
    return load_recipe(recipe_paths()["two_phase"])


def test_parameters_of_a_real_model_are_counted(two_phase):
    """The embedded reasoner's config and its weights agree within 1% (norms are left out)."""
    from laconic.models.loading import load_model

    shape = find_shape(two_phase)
    held = sum(p.numel() for p in load_model("tiny", PolicyConfig()).model.parameters())
    assert shape.origin == "the model's config"
    assert count_weights(shape.config, PolicyConfig()).total == pytest.approx(held, rel=0.01)


def test_the_longest_prompt_is_counted_where_it_can_be_and_said_to_be_assumed_where_not(two_phase, r1):
    """The embedded reasoner comes with its tokenizer; the paper's model is on the hub."""
    tokens, whence = longest_prompt(two_phase, read_sources(two_phase))
    lm = load_model("tiny", PolicyConfig(device="cpu"))
    instruction = resolve_instruction(two_phase.prompt.instruction)
    problems = [p for found in read_sources(two_phase).values() for p in found]
    assert tokens == max(len(render(lm.tokenizer, p, instruction=instruction, system=None)) for p in problems)
    assert whence == "counted"
    assert longest_prompt(r1, read_sources(r1))[0] == ASSUMED_PROMPT_TOKENS


def test_the_watched_set_may_fill_the_sampler_where_the_rollouts_do_not(r1):
    """Slots for 256 rows: 4 rollouts leave them empty, 10 watched problems x 4 samples take 40, an unknown number all."""
    select = r1.phases[0].select.model_copy(update={"how": "everything"})
    phase = r1.phases[0].model_copy(update={"problems_per_step": 1, "group_size": 4, "select": select})
    sources = read_sources(r1)
    assert work_of(r1, phase, sources, 100, 0).rows == 40
    assert work_of(r1, phase, sources | {"watch": None}, 100, 0).rows == 256


def test_each_phase_has_its_own_needs(two_phase):
    """A phase with a smaller cap needs less than one with a larger, where the run is not measured after it."""
    first = two_phase.phases[0]
    short = first.model_copy(update={"name": "short", "sampler": first.sampler.model_copy(update={"max_tokens": 16})})
    pair = two_phase.model_copy(update={"phases": (first, short)})
    trained = {name: found for name, found in read_sources(two_phase).items() if name != "report"}
    long_needs, short_needs = predict_needs(pair, check_recipe(pair), find_shape(two_phase), trained, 0)
    assert short_needs.peak.total < long_needs.peak.total


def test_a_model_out_of_reach_needs_a_shape(r1):
    """Without a config and without policy.shape the plan says what to give."""
    recipe = r1.model_copy(update={"policy": r1.policy.model_copy(update={"shape": None}), "model": "nobody/nothing"})
    with pytest.raises(ModelError, match=r"give policy\.shape"):
        plan_of(recipe)


SIZES = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
GROUPED = SIZES | {"num_key_value_heads": 1, "intermediate_size": 64}
MODELS = {
    "wide heads": Qwen3Config(**GROUPED, head_dim=32, tie_word_embeddings=True),
    "experts and wide heads": Qwen3MoeConfig(
        **GROUPED, head_dim=32, moe_intermediate_size=16, num_experts=8, num_experts_per_tok=2
    ),
    "experts": MixtralConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2),
    "GPT-2": GPT2Config(**SIZES, n_positions=8),
    "OPT": OPTConfig(**SIZES, ffn_dim=96, word_embed_proj_dim=32, max_position_embeddings=8),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_cache_are_those_of_the_model(two_phase, name, tmp_path):
    """Whatever its layers are: all weights but norms, biases and positions, a few in a hundred of so small a model. The cache
    holds keys and values of every layer."""
    config = MODELS[name]
    config.save_pretrained(tmp_path)
    shape = find_shape(two_phase.model_copy(update={"model": str(tmp_path)})).config
    model = bare_model(config)
    expected = sum(weight.numel() for weight in model.parameters())
    assert count_weights(shape, PolicyConfig()).total == pytest.approx(expected, rel=0.04)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    assert position_numbers(shape) == 2 * config.num_hidden_layers * width * heads
    if name == "experts":  # half of them rest
        in_experts = 3 * 4 * 3 * 32 * 64
        assert shape.layer_weights - shape.active_weights == in_experts / 2


def test_longer_responses_of_watch_and_report_are_reckoned_with(two_phase):
    """The cap of the report is that of the watch as well. The last phase is measured; of 4 problems twice that is 8 rows, of
    which greedy decoding asks 4."""
    longer = two_phase.model_copy(update={"report": two_phase.report.model_copy(update={"max_tokens": 1_000})})
    sources = read_sources(two_phase)
    first, last = (work_of(longer, phase, sources, 20, 0) for phase in longer.phases)
    rows = min(last.rows, len(sources["watch"]) * longer.watch.samples)
    assert first.watch == last.watch == OtherDraws(rows, rows // longer.watch.samples, 1_000)
    assert first.report is None and last.report.max_tokens == 1_000
    plain = [work_of(two_phase, phase, sources, 20, 0) for phase in two_phase.phases]
    assert [work.watch for work in plain] == [None, None]
    assert plain[-1].report.max_tokens == max(phase.sampler.max_tokens for phase in two_phase.phases)
    unmeasured = {name: problems for name, problems in sources.items() if name != "report"}
    assert work_of(two_phase, two_phase.phases[-1], unmeasured, 20, 0).report is None


def test_a_token_goes_through_few_experts_and_a_batch_through_all():
    """A tenth of the weights is active: products are a tenth; one row reads a tenth of them, 100 rows nearly all."""
    dense = ShapeConfig(layers=2, hidden=8, heads=2, kv_heads=1, intermediate=16, vocabulary=1)
    mixed = dense.model_copy(update={"layer_weights": 10**6, "active_weights": 10**5})
    weights = count_weights(mixed, PolicyConfig())
    assert forward(mixed, weights, load_of(1, 0, 1)).maps == 2 * 10**5
    machine = Machine("a", 4.0, 1.0, 1.0, 1.0, None)
    one, many = (step_floor_seconds(mixed, rows, 0, machine, is_bfloat16=False) for rows in (1, 100))
    assert (one, many) == (pytest.approx(10**5, rel=1e-3), pytest.approx(10**6, rel=1e-3))


def test_the_longest_prompt_may_be_long_by_its_choices():
    """Twenty questions of 60 characters, and a short one with four choices of 900."""
    plain = [Problem(f"p{i}", "x" * 60, "1") for i in range(20)]
    chosen = Problem("c", "Which?", "A", choices=("y" * 900,) * 4)
    assert longest_questions([*plain, chosen])[0] is chosen


def test_a_budget_in_the_prompt_is_counted(two_phase):
    """With a budget of up to 160 tokens the longest prompt holds `take 160` besides, four pieces more."""
    phase = two_phase.phases[0].model_copy(update={"budget": BudgetConfig(low=16, high=160)})
    sources = read_sources(two_phase)
    more = longest_prompt(two_phase.model_copy(update={"phases": (phase,)}), sources)[0]
    assert more == longest_prompt(two_phase, sources)[0] + len(pieces(" take 160"))


def test_the_plan_says_how_large_a_teacher_is_or_that_it_is_not_at_hand(two_phase):
    """A teacher that another recipe is still to make counts as large as the student."""
    recipe = load_recipe(recipe_paths()["distill"])
    assert "its teacher runs/two_phase/model is not at hand: counted as large as the model" in plan_of(recipe)
    known = load_recipe(recipe_paths()["distill"], ["phases.distillation.algorithm.reference_model=tiny"])
    assert "its teacher tiny: 0.6M weights" in plan_of(known)
