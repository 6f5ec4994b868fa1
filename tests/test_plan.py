"""The dry run: what it prints, and arithmetic that can be checked against real models."""

import io
import json

import pytest
from rich.console import Console

from laconic.catalogue import recipe_paths
from laconic.config import LoraConfig, PhaseConfig, PolicyConfig, ShapeConfig, load_recipe
from laconic.errors import ModelError
from laconic.plan import GIB, estimate_memory, num_parameters, print_plan, read_shape

R1 = ShapeConfig(layers=28, hidden=1536, heads=12, kv_heads=2, intermediate=8960, vocabulary=151936)


def plan_of(recipe):
    console = Console(width=160, record=True, file=io.StringIO())
    print_plan(recipe, console)
    return console.export_text()


@pytest.fixture
def r1(tmp_path):
    """The R1 recipe over local files, since a dry run in a test reaches no hub."""
    for name in ("train", "watch", "report"):
        lines = [{"id": f"{name}{i}", "problem": f"{name} {i}?", "answer": str(i)} for i in range(10)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources = [f"problems.{name}={tmp_path / name}.jsonl" for name in ("train", "watch", "report")]
    return load_recipe(recipe_paths()["r1-distill-1.5b"], sources)


def test_the_r1_recipe_holds_the_papers_settings(r1):
    """methods.md 1.2, row by row."""
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
    assert (phase.sampler.temperature, phase.sampler.top_p, phase.sampler.max_tokens) == (0.6, 1.0, 20000)
    rewards = phase.rewards
    assert (rewards.correct, rewards.wrong, rewards.no_answer, rewards.terms) == (1.0, -0.5, -1.0, ())
    assert (algorithm.aggregation, algorithm.critic, optimizer.critic_warmup_steps) == ("response", "separate", 0)


def test_the_dry_run_says_what_would_run_what_it_needs_and_where_length_goes(r1):
    """Settings, memory and forecast; nothing is loaded and nothing is written."""
    shown = plan_of(r1)
    assert "up to 150, each 8 problems x 8 responses, 1 x 8 updates" in shown
    assert "0.01 x k1 in the reward" in shown
    assert "1,776.9M weights" in shown and "policy gradients and moments" in shown
    assert "Expect longer responses: at solve rate 0.10" in shown
    assert "Expect shorter responses: at solve rate 0.90" in shown and "zero at solve rate 0.33" in shown


def test_every_recipe_that_comes_with_the_package_plans(tmp_path, r1):
    """All but those whose problems are on the hub, which the test above covers."""
    for name, path in recipe_paths().items():
        recipe = r1 if name == "r1-distill-1.5b" else load_recipe(path)
        assert "memory of the largest phase" in plan_of(recipe), name


def test_parameters_of_a_real_model_are_counted():
    """The embedded reasoner's config and its weights agree within 1% (norms are left out)."""
    from laconic.models import load_model

    shape, origin = read_shape("tiny", PolicyConfig())
    held = sum(p.numel() for p in load_model("tiny", PolicyConfig()).model.parameters())
    assert origin == "the model's config" and num_parameters(shape) == pytest.approx(held, rel=0.01)


def test_memory_of_the_paper_recipe_by_hand():
    """1.777e9 weights in float32 are 6.62 GiB; gradients and two moments three times that; no reference without a KL."""
    phase = PhaseConfig.model_validate({"name": "p", "steps": 1, "algorithm": {"critic": "separate"}})
    memory = estimate_memory(R1, phase, PolicyConfig()).parts
    assert memory["policy weights"] / GIB == pytest.approx(6.62, abs=0.01)
    assert memory["policy gradients and moments"] == 3 * memory["policy weights"]
    assert memory["reference"] == 0
    zero = phase.model_copy(update={"algorithm": phase.algorithm.model_copy(update={"critic": "zero", "kl_coef": 0.1})})
    assert estimate_memory(R1, zero, PolicyConfig()).parts["critic"] == 0
    assert estimate_memory(R1, zero, PolicyConfig()).parts["reference"] == memory["policy weights"]


def test_lora_needs_a_fraction():
    """Rank 16 on a 1.5B model: three roles in less than half of full fine-tuning's memory."""
    phase = PhaseConfig.model_validate({"name": "p", "steps": 1, "algorithm": {"critic": "lora", "kl_coef": 0.1}})
    lora = estimate_memory(R1, phase, PolicyConfig(dtype="bfloat16", lora=LoraConfig(), gradient_checkpointing=True))
    full_phase = phase.model_copy(update={"algorithm": phase.algorithm.model_copy(update={"critic": "separate"})})
    full = estimate_memory(R1, full_phase, PolicyConfig(dtype="bfloat16", gradient_checkpointing=True))
    assert lora.total < 0.5 * full.total


def test_a_model_out_of_reach_needs_a_shape(r1):
    """Without a config and without policy.shape the plan says what to give."""
    recipe = r1.model_copy(update={"policy": r1.policy.model_copy(update={"shape": None}), "model": "nobody/nothing"})
    with pytest.raises(ModelError, match=r"give policy\.shape"):
        plan_of(recipe)
