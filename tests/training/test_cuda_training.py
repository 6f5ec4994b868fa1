"""Training on a CUDA device; skipped where there is none.

1. An update is that of a CPU, and one between which everything was saved and restored is the same again (on CUDA sums have no
   fixed order, so that "the same" leaves room for rounding).
2. A run that is set back to a checkpoint and resumed ends with the weights of the run that was not.
3. The memory of an update is there again afterwards.
"""

import gc
import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import save_small_model

from laconic.config.load import parse_recipe
from laconic.system.progress import Reporter
from laconic.training.run import start

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
correctness = importlib.import_module("gpus.correctness")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and none is visible")
CUDA = torch.device("cuda")
ROUNDING = 1e-3  # of the change: what sums in another order make of it after four steps


def test_an_update_is_that_of_a_cpu_and_can_be_resumed() -> None:
    found = list(correctness.update_rows(CUDA))
    assert len(found) == 2
    assert all(row.is_met for row in found), found


@pytest.mark.parametrize("policy", [{}, {"dtype": "bfloat16", "lora": {"rank": 2}}], ids=["full", "lora"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(policy: dict[str, object], tmp_path: Path) -> None:
    """Policy, critic and a frozen reference, two steps; set back to the first, with the optimisers' step counts on the device."""
    tree = {
        "name": "resumed",
        "model": str(save_small_model(tmp_path / "model")),
        "policy": policy | {"device": "cuda"},
        "problems": {"train": "tiny:mix?count=4&split=train", "watch": "tiny:mix?count=2&split=watch"},
        "watch": {"every": 2, "samples": 1},
        "checkpoints": {"every": 1, "keep": 9},
        "phases": [
            {
                "name": "p",
                "steps": 2,
                "problems_per_step": 2,
                "group_size": 2,
                "sampler": {"max_tokens": 8, "batch_size": 4},
                "algorithm": {"name": "ppo", "kl_coef": 0.1, "entropy_coef": 0.1},
                "optimizer": {"lr": 1e-2, "critic_lr": 1e-2},
                "end": {"guard_drop": None},
            }
        ],
    }
    recipe, weights = parse_recipe(tree, "resumed"), {}
    for name in ("whole", "resumed"):
        if name == "resumed":
            left_out = shutil.ignore_patterns("model", "phases.json", "step-000002*")
            shutil.copytree(tmp_path / "whole", tmp_path / name, ignore=left_out)
        start(recipe, tmp_path / name, resume=name == "resumed", reporter=Reporter(is_silent=True)).train()
        weights[name] = {
            step: load_file(tmp_path / name / "checkpoints" / f"step-00000{step}" / "trainer.safetensors")
            for step in (1, 2)
        }
    of_roles = [key for key in weights["whole"][2] if key.startswith(("policy/", "critic/"))]
    before, one, other = (
        {key: held[key].float() for key in of_roles}
        for held in (weights["whole"][1], weights["whole"][2], weights["resumed"][2])
    )
    assert correctness.stray_share(one, other, before) < ROUNDING


def test_the_memory_of_an_update_is_there_again() -> None:
    """Weights, moments and activations of two updates, all gone with the objects that held them."""

    def held() -> int:
        gc.collect()
        return torch.cuda.memory_allocated(CUDA)

    correctness.learnt(CUDA, correctness.through_nothing)  # libraries keep what they need
    before = held()
    correctness.learnt(CUDA, correctness.through_nothing)
    assert held() - before <= 2**20
