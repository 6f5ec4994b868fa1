"""Same seed, same result, whatever becomes of the engine: responses and a short run recorded on 2026-11-20, before the sampler
and the update were rebuilt for speed.

1. `samples.json` holds 32 responses of the bundled reasoner: token ids must be equal, log-probabilities to 1e-4.
2. `steps.json` holds the metrics of a run of both algorithms on it: counts must be equal, real
   numbers to 1e-3 relative. Those that were added later stand last in each step, and were recorded on 2026-11-28 and 29.

A change that is meant to alter results records anew (`python tests/training/test_recorded_run.py`) and says so in CHANGELOG.md.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic.config.load import parse_recipe
from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models.loading import load_model
from laconic.prompts.instructions import render, resolve_instruction
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.system.files import read_jsonl
from laconic.system.progress import Reporter
from laconic.tiny.tasks import make_problems
from laconic.training.run import start

FOLDER = Path(__file__).parents[1] / "recorded"
UNTIMED = ("rollouts/", "update/", "watch/")
PHASE = {"steps": 2, "problems_per_step": 6, "group_size": 4, "sampler": {"max_tokens": 160, "batch_size": 16}}
RUN = {
    "name": "recorded",
    "model": "tiny",
    "threads": 1,
    "watch": {"every": 2, "samples": 1},
    "problems": {"train": "tiny:mix?count=12&split=train", "watch": "tiny:mix?count=8&split=watch"},
    "defaults": {**PHASE, "optimizer": {"lr": 1e-4, "critic_lr": 1e-4, "minibatches": 2}},
    "phases": [
        {"name": "accuracy", "algorithm": {"name": "rloo", "old_logprobs": "sampler", "kl_coef": 0.01}},
        {"name": "brevity", "algorithm": {"name": "ppo", "kl_coef": 0.05, "whitening": "batch", "kl_in": "reward"}},
    ],
}


def sampled() -> list[dict[str, Any]]:
    """Responses to eight problems, more rows than slots, natural lengths."""
    lm = load_model("tiny", PolicyConfig())
    problems = make_problems("mix", count=8, split="report")
    instruction = resolve_instruction("boxed")
    requests = [
        Request(p.id, tuple(render(lm.tokenizer, p, instruction=instruction, system=None)), 4) for p in problems
    ]
    rows = LocalSampler(lm).sample(requests, SamplerConfig(max_tokens=200, batch_size=12), seed=7)
    return [
        {"token_ids": list(r.token_ids), "logprobs": [round(x, 6) for x in r.logprobs]} for row in rows for r in row
    ]


def trained(out: Path) -> list[dict[str, Any]]:
    """The metrics of the run, timings left out."""
    start(parse_recipe(RUN, "recorded run"), out, resume=False, reporter=Reporter()).train()
    return [
        {k: v for k, v in line.items() if k in ("step", "phase") or k.startswith(UNTIMED)}
        for line in read_jsonl(out / "metrics.jsonl")
    ]


def test_the_recorded_responses_come_back() -> None:
    recorded = json.loads((FOLDER / "samples.json").read_text())
    for now, then in zip(sampled(), recorded, strict=True):
        assert now["token_ids"] == then["token_ids"]
        assert now["logprobs"] == pytest.approx(then["logprobs"], abs=1e-4)


def test_the_recorded_run_comes_back(tmp_path: Path) -> None:
    recorded = json.loads((FOLDER / "steps.json").read_text())
    now = trained(tmp_path / "run")
    assert [line.keys() for line in now] == [line.keys() for line in recorded]
    for new, old in zip(now, recorded, strict=True):
        for key, value in old.items():
            expected = (
                value if isinstance(value, str | int) or value is None else pytest.approx(value, rel=1e-3, abs=1e-5)
            )
            assert new[key] == expected, (old["step"], key)


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "samples.json").write_text(json.dumps(sampled()) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        (FOLDER / "steps.json").write_text(json.dumps(trained(Path(folder) / "run"), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"recorded in {FOLDER}\n")
