"""A real model's path on small random checkpoints: load, train, save, reload, evaluate; full and LoRA; bfloat16."""

import json

import pytest
import torch
from oracles import small_model
from safetensors.torch import load_file
from small import small_recipe
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from laconic.config.solver import SamplerConfig
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.grading.grader import Grader
from laconic.models.loading import load_model
from laconic.problems.sets import load_problem_sets
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.system.progress import Reporter
from laconic.training.run import start

LORA = {"lora": {"rank": 4, "alpha": 8.0}}
SHORT = {"phases": [{"name": "only", "steps": 2, "end": {"guard_drop": None}}]}
CASES = [
    ("llama", {}, {"name": "ppo", "kl_coef": 0.05}),
    ("qwen2", {"dtype": "bfloat16"}, {"name": "grpo", "entropy_coef": 0.05}),
    ("qwen3", {**LORA}, {"name": "ppo", "critic": "lora", "kl_coef": 0.05}),
    (
        "gemma2",
        {**LORA, "dtype": "bfloat16"},
        {"name": "rloo", "kl_coef": 0.05, "reference": "ema", "entropy_coef": 0.05},
    ),
    ("gemma2", {"gradient_checkpointing": True}, {"name": "ppo", "critic": "zero"}),
]


def save_byte_checkpoint(architecture, folder, *, dtype="float32"):
    """A small random checkpoint with a byte-level tokenizer, the kind these architectures come with."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    model = small_model(architecture)
    model.resize_token_embeddings(len(tokenizer))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("architecture", "policy", "algorithm"), CASES)
def test_train_save_reload_evaluate(architecture, policy, algorithm, tmp_path):
    """The result is a folder that transformers loads by itself, whose weights have moved, and that evaluates twice alike."""
    base = save_byte_checkpoint(architecture, tmp_path / "base", dtype="bfloat16" if "dtype" in policy else "float32")
    defaults = {
        "algorithm": algorithm,
        "problems_per_step": 2,
        "group_size": 3,
        "sampler": {"max_tokens": 8},
        "optimizer": {"lr": 1e-2},
    }
    sources = {"train": "tiny:count?count=4&split=train", "watch": "tiny:count?count=2&split=watch"}
    recipe = small_recipe(
        base, policy=policy, problems=sources, defaults=defaults, prompt={"instruction": "none"}, **SHORT
    )
    trainer = start(recipe, tmp_path / "run", resume=False, reporter=Reporter(is_silent=True))
    result = trainer.train()
    before, after = (load_file(folder / "model.safetensors") for folder in (base, result))
    assert before.keys() == after.keys()
    assert {name: t.dtype for name, t in before.items()} == {name: t.dtype for name, t in after.items()}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    AutoTokenizer.from_pretrained(result)
    own = AutoModelForCausalLM.from_pretrained(result, dtype=torch.float32)
    reloaded = load_model(str(result), recipe.policy.model_copy(update={"lora": None, "dtype": "float32"}))
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.allclose(own(ids).logits, reloaded.model(ids).logits, atol=1e-5)
        if "dtype" not in policy:
            trained = trainer.run.policy.lm.model(ids).logits
            assert torch.allclose(own(ids).logits, trained, atol=1e-4)
    summaries = []
    for name in ("one", "two"):
        with Grader() as grader:
            solver = Solver(reloaded, LocalSampler(reloaded), grader, recipe.prompt)
            problems = load_problem_sets(recipe).watch
            decoding = SamplerConfig(max_tokens=8)
            summaries.append(
                evaluate(solver, EvaluationRequest("watch", problems, 2, decoding, seed=0), tmp_path / name)
            )
    assert json.dumps(summaries[0].to_json()) == json.dumps(summaries[1].to_json())
