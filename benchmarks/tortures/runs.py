"""Small runs of every kind: an untrained reasoner of one layer, and recipes that differ in where rollouts come from, in what is
trained, and in how it is estimated. Each takes a second or two."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laconic.tiny.build import BuildSettings, make_model, make_tokenizer

LORA = {"rank": 4, "dropout": 0.1}
PHASE: dict[str, Any] = {
    "name": "one",
    "steps": 4,
    "problems_per_step": 2,
    "group_size": 3,
    "sampler": {"max_tokens": 12, "batch_size": 8},
    "optimizer": {"lr": 1e-3, "critic_lr": 1e-3, "minibatches": 2, "micro_batch_tokens": 200},
    "end": {"guard_drop": 1.0},
}
KINDS: Mapping[str, dict[str, Any]] = {
    "ppo, separate critic": {"algorithm": {"name": "ppo", "whitening": "batch"}},
    "ppo, moving reference": {
        "algorithm": {"name": "ppo", "kl_coef": 0.05, "reference": "ema", "ema_decay": 0.9},
        "select": {"how": "all", "count": 5, "samples": 2},
    },
    "grpo, LoRA with dropout": {"policy": {"lora": LORA}, "algorithm": {"name": "grpo"}},
    "grpo, offline, LoRA with dropout": {
        "policy": {"lora": LORA},
        "rollouts": "offline",
        "algorithm": {"name": "grpo"},
    },
    "ppo, LoRA critic": {"policy": {"lora": LORA}, "algorithm": {"name": "ppo", "critic": "lora"}},
    "dr_grpo, activations recomputed": {
        "policy": {"gradient_checkpointing": True},
        "algorithm": {"name": "dr_grpo", "aggregation": "constant", "uniform_groups": "resample"},
    },
    "rloo, adaptive entropy": {
        "algorithm": {"name": "rloo", "old_logprobs": "sampler", "entropy_coef": 0.01, "entropy_target": 1.0}
    },
    "sft on solutions": {
        "rollouts": "solutions",
        "algorithm": {"name": "sft", "old_logprobs": "current"},
        "group_size": 1,
    },
    "dpo, offline": {
        "rollouts": "offline",
        "algorithm": {"name": "dpo", "old_logprobs": "current", "aggregation": "sum"},
    },
    "serial exits": {
        "rollouts": "serial",
        "algorithm": {"name": "grpo"},
        "rewards": {"terms": [{"name": "serial_exits"}]},
    },
    "a reward that remembers": {
        "algorithm": {"name": "reinforce_pp_baseline"},
        "rewards": {"terms": [{"name": "hapo"}]},
    },
    "a budget in the prompt": {
        "budget": {"low": 4, "high": 12},
        "algorithm": {"name": "grpo"},
        "rewards": {"terms": [{"name": "l1_max"}]},
    },
    "averaged with the entry": {"entry_share": 0.5, "algorithm": {"name": "reinforce_pp"}},
}
"""What each kind changes: `policy` of the recipe, and the rest of its first phase."""


def save_model(folder: Path) -> Path:
    """An untrained reasoner of one layer in Hugging Face format, with worked solutions to learn from beside it."""
    make_model(BuildSettings(layers=1, width=32, seed=0)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    _solved(folder).write_text("".join(json.dumps(_solution(n)) + "\n" for n in range(1, 9)), encoding="utf-8")
    return folder


def _solved(model: Path) -> Path:
    return model.with_name("solved.jsonl")


def _solution(n: int) -> dict[str, str]:
    text = f"{n}+{n}={2 * n};</think>\\boxed{{{2 * n}}}"
    return {"id": f"p{n}", "problem": f"Compute {n} + {n}", "answer": str(2 * n), "solution": text}


def recipe_of(kind: str, model: Path) -> dict[str, Any]:
    """The recipe of a kind: its phase, and a second one that begins from its result."""
    changes = dict(KINDS[kind])
    policy = changes.pop("policy", {})
    second = {**PHASE, "name": "two", "steps": 2, "algorithm": {"name": "grpo"}}
    return {
        "name": "small",
        "model": str(model),
        "seed": 0,
        "threads": 1,
        "policy": policy,
        "problems": {
            "train": str(_solved(model)) if changes.get("rollouts") == "solutions" else "tiny:mix?count=8&split=train",
            "watch": "tiny:mix?count=3&split=watch",
            "report": "tiny:mix?count=3&split=report",
        },
        "watch": {"every": 2, "samples": 1},
        "report": {"temperatures": [1.0], "samples": 1, "max_tokens": 12},
        "checkpoints": {"every": 1, "keep": 2},
        "phases": [{**PHASE, **changes}, second],
    }


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> Path:
    """The recipe as JSON, which is read like TOML."""
    path.write_text(json.dumps(recipe, indent=2), encoding="utf-8")
    return path
