"""A run that is resumed at a checkpoint is the run that was not interrupted, to the bit, for every source of rollouts, kind of
policy and algorithm.

Each case trains two steps of a random model, is set back to the checkpoint of the first, and goes on. Responses are graded by a
hash of their text, so that a random model has something to learn from. `SOME` has every source with every policy, and every
algorithm; `LACONIC_ALL_RESUMES=1` tries all combinations.
"""

import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import save_small_model

from laconic.config.load import parse_recipe
from laconic.grading.grader import Grader
from laconic.grading.rules import Graded
from laconic.rollouts import sources
from laconic.rollouts.sources import KEPT, SOURCES
from laconic.system.files import read_jsonl
from laconic.system.progress import Reporter
from laconic.training.algorithms import ALGORITHMS
from laconic.training.run import start
from laconic.types import Grade

LORA = {"lora": {"rank": 2, "dropout": 0.2}}
POLICIES: dict[str, dict[str, Any]] = {
    "full": {},
    "recomputing": {"gradient_checkpointing": True},
    "lora with dropout": LORA,
    "lora critic": LORA | {"gradient_checkpointing": True},
}
EXTRA: dict[str, dict[str, Any]] = {
    "distill": {"reference_instruction": "tale:40"},
    "logit_distill": {"kl_estimator": "exact", "reference_model": "MODEL"},
}


def can_be(source: str, policy: str, algorithm: str) -> bool:
    """Whether the combination is a recipe: some algorithms have no critic, a problem has one solution to compare, and given
    pairs are for the losses of pairs."""
    row = ALGORITHMS[algorithm]
    if source == "pairs" and algorithm not in ("dpo", "simpo"):
        return False
    return (policy != "lora critic" or row.has_critic) and (source != "solutions" or row.min_group_size == 1)


ALL = [case for case in itertools.product(SOURCES, POLICIES, ALGORITHMS) if can_be(*case)]
_CYCLE = itertools.cycle(itertools.product(SOURCES, [policy for policy in POLICIES if policy != "lora critic"]))
SOME = [
    *((source, "lora critic", "ppo") for source in SOURCES if can_be(source, "lora critic", "ppo")),
    *(("pairs", policy, "dpo") for policy in POLICIES if can_be("pairs", policy, "dpo")),
    *(("solutions", policy, "sft") for policy in POLICIES if can_be("solutions", policy, "sft")),
    *(next((s, p, algorithm) for s, p in _CYCLE if can_be(s, p, algorithm)) for algorithm in ALGORITHMS),
]
CASES = ALL if os.environ.get("LACONIC_ALL_RESUMES") else SOME


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, and three problems with worked solutions."""
    path = tmp_path_factory.mktemp("resumed")
    save_small_model(path / "model")
    lines = [
        {"id": f"p{i}", "problem": f"Compute {i} + {i}", "answer": str(2 * i), "solution": f"{i}+{i}={2 * i};</think>"}
        | {"chosen": f"{2 * i}", "rejected": f"{i} {i} {i}"}
        for i in range(1, 4)
    ]
    (path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def graded_by_hash(self: Grader, items: Any) -> list[Graded]:
    """Half of all texts are correct, whatever they say."""
    return [
        Graded(Grade.CORRECT if hashlib.sha256(text.encode()).digest()[0] % 2 else Grade.WRONG, "1")
        for text, *_ in items
    ]


def recipe(folder: Path, source: str, policy: str, algorithm: str) -> Any:
    """Two steps of two problems with two rollouts and everything that has a state: a reference that moves (where activations are
    recomputed, one that is frozen, and in no checkpoint), an entropy bonus that adapts, an average with the weights that entered,
    and, where the source allows them, a reward that remembers and budgets."""
    row = ALGORITHMS[algorithm]
    reference = "frozen" if policy == "recomputing" else "ema"
    levers = {"name": algorithm, "kl_coef": 0.05, "reference": reference, "entropy_coef": 0.01, "entropy_target": 1.0}
    levers |= (
        dict(row.requires) | EXTRA.get(algorithm, {}) | {"critic": "lora" if policy == "lora critic" else "separate"}
    )
    levers = {key: str(folder / "model") if value == "MODEL" else value for key, value in levers.items()}
    levers |= {"options": {"pairs": "given"}} if source == "pairs" else {}
    levers |= {"uniform_groups": "resample", "max_draws": 2} if source == "on_policy" else {}
    terms = [] if source in KEPT else [{"name": "hapo", "weight": 0.1}]
    tree = {
        "name": "resumed",
        "model": str(folder / "model"),
        "threads": 1,
        "policy": POLICIES[policy],
        "problems": {"train": str(folder / "train.jsonl"), "watch": "tiny:count?count=1&split=watch"},
        "watch": {"every": 2, "samples": 1},
        "checkpoints": {"every": 1, "keep": 9},
        "phases": [
            {
                "name": "p",
                "steps": 2,
                "rollouts": source,
                "entry_share": 0.5 if policy == "full" else 0.0,
                "budget": {"low": 2, "high": 4} if source == "on_policy" else None,
                "problems_per_step": 2,
                "group_size": 2,
                "sampler": {"max_tokens": 4, "batch_size": 4},
                "algorithm": levers,
                "rewards": {"terms": terms},
                "optimizer": {"lr": 1e-2, "critic_lr": 1e-2, "minibatches": 2},
                "end": {"guard_drop": None},
            }
        ],
    }
    return parse_recipe(tree, "resumed")


def train(recipe: Any, out: Path, *, resume: bool) -> None:
    start(recipe, out, resume=resume, reporter=Reporter(is_silent=True)).train()


def state_after(out: Path, step: int) -> dict[str, torch.Tensor]:
    """The weights of all roles and the optimisers' moments."""
    return load_file(out / "checkpoints" / f"step-00000{step}" / "trainer.safetensors")


def untimed(out: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not key.startswith("time/")}
        for row in read_jsonl(out / "metrics.jsonl")
    ]


def set_back(whole: Path, out: Path) -> None:
    """A copy of a finished run as it was when the checkpoint of its first step had been written."""
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model", "phases.json", "step-000002*"))


@pytest.mark.parametrize(("source", "policy", "algorithm"), CASES, ids=[" · ".join(case) for case in CASES])
def test_a_resumed_run_is_the_uninterrupted_one(
    source: str, policy: str, algorithm: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grader, "grade_many", graded_by_hash)
    monkeypatch.setattr(sources, "FORCED_ANSWER_TOKENS", 2)
    asked = recipe(folder, source, policy, algorithm)
    train(asked, tmp_path / "whole", resume=False)
    set_back(tmp_path / "whole", tmp_path / "resumed")
    train(asked, tmp_path / "resumed", resume=True)
    whole, resumed = state_after(tmp_path / "whole", 2), state_after(tmp_path / "resumed", 2)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "resumed")


def test_every_source_meets_every_policy_and_every_algorithm_is_tried() -> None:
    assert {case[:2] for case in SOME} == {case[:2] for case in ALL}
    assert {case[2] for case in SOME} == set(ALGORITHMS)


def test_the_cases_learn(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is not one of weights that stand still."""
    monkeypatch.setattr(Grader, "grade_many", graded_by_hash)
    train(recipe(folder, "offline", "lora with dropout", "grpo"), tmp_path / "run", resume=False)
    before, after = state_after(tmp_path / "run", 1), state_after(tmp_path / "run", 2)
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("policy/"))
