"""Two promises held on a real model: a run that is killed and resumed ends with the same bits, and its result is an ordinary
model.

    python benchmarks/real/check.py MODEL --out DIR [--lora] [--vllm PYTHON]

1. The recipe below (GRPO, 10 steps of 4 problems x 4 responses of at most 24 tokens) is run twice: once undisturbed, and once
   with two kills (SIGKILL), each after a step that has no checkpoint of its own, and `--resume` after each.
2. Weights and logged figures must be the same, but for times.
3. The result is loaded by transformers alone, in a process that never imports Laconic, and with `--vllm` by vLLM, whose
   interpreter PYTHON is. From the same four prompts each must write the same 24 greedy tokens as Laconic's sampler.

One line for each, exit code 1 if one does not hold. MODEL is what every command takes: a folder, a hub name, a .gguf file.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUMS = "gym:chain_sum?max_terms=3&max_digits=1"
RECIPE = {
    "name": "check",
    "threads": 1,
    "watch": {"every": 100, "samples": 1},
    "checkpoints": {"every": 3, "keep": 1},
    "prompt": {"instruction": "Answer with the number alone."},
    "problems": {"train": f"{SUMS}&count=40&split=train", "watch": f"{SUMS}&count=4&split=watch"},
    "defaults": {
        "steps": 10,
        "problems_per_step": 4,
        "group_size": 4,
        "sampler": {"max_tokens": 24, "batch_size": 16},
        "optimizer": {"lr": 1e-5},
        "algorithm": {"name": "grpo", "entropy_coef": 0.01},
        "end": {"guard_drop": None},
    },
    "phases": [{"name": "only"}],
}
KILLS = (5, 8)
QUESTIONS = ("What is 7 + 5?", "Name three colours.", "What is 9 - 4 + 2?", "Say hello.")
NUM_TOKENS = 24
POLL_SECONDS = 0.05

TRANSFORMERS = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
asked = json.load(sys.stdin)
model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=torch.float32)
ids = [torch.tensor([prompt]) for prompt in asked["prompts"]]
drawn = [model.generate(p, max_new_tokens=asked["tokens"], do_sample=False)[0, p.shape[1]:].tolist() for p in ids]
print(json.dumps([AutoTokenizer.from_pretrained(asked["model"]).decode(tokens) for tokens in drawn]))
"""
VLLM = """
import json, os, sys
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}
asked = json.load(sys.stdin)
from vllm import LLM, SamplingParams
engine = LLM(model=asked["model"], dtype="float32", max_model_len=512, enforce_eager=True, seed=0)
decoding = SamplingParams(temperature=0.0, max_tokens=asked["tokens"], skip_special_tokens=False)
prompts = [{"prompt_token_ids": prompt} for prompt in asked["prompts"]]
rows = engine.generate(prompts, decoding, use_tqdm=False)
print(json.dumps([engine.get_tokenizer().decode(row.outputs[0].token_ids) for row in rows]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--vllm", default=None)
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="laconic-check-"))
    out.mkdir(parents=True, exist_ok=True)
    recipe = out / "recipe.json"
    policy = {"lora": {"rank": 8, "alpha": 16.0}} if arguments.lora else {}
    recipe.write_text(json.dumps(RECIPE | {"model": arguments.model, "policy": policy}))
    kind = "LoRA" if arguments.lora else "full"
    holds = [same_bits(recipe, out, kind)]
    prompts, ours = greedy(out / "whole" / "model")
    asked = {"model": str(out / "whole" / "model"), "prompts": prompts, "tokens": NUM_TOKENS}
    holds.append(same_text("transformers", sys.executable, TRANSFORMERS, asked, ours))
    if arguments.vllm:
        holds.append(same_text("vLLM", arguments.vllm, VLLM, asked, ours))
    return 0 if all(holds) else 1


# --- kills -----------------------------------------------------------------------------------------------------------


def same_bits(recipe: Path, out: Path, kind: str) -> bool:
    """Whether a run that is killed twice ends as one that is not."""
    began = time.monotonic()
    train(recipe, out / "whole")
    seconds = time.monotonic() - began
    for step in KILLS:
        train(recipe, out / "killed", kill_at=step)
    train(recipe, out / "killed")
    whole, killed = result_of(out / "whole"), result_of(out / "killed")
    different = [name for name in whole if whole[name] != killed[name]]
    shutil.rmtree(out / "killed")
    verdict = f"another {', another '.join(different)}" if different else "the same weights and figures"
    print(
        f"{kind}, {len(KILLS)} kills in 10 steps: {verdict} ({whole['weights'][:12]}; {seconds:.0f} s undisturbed)",
        flush=True,
    )
    return not different


def train(recipe: Path, run: Path, kill_at: int | None = None) -> None:
    """Begin or resume the run, and kill it as soon as its log holds step `kill_at`."""
    command = [sys.executable, "-m", "laconic", "train", str(recipe), "--out", str(run)]
    command += ["--resume"] if (run / "config.json").exists() else []
    with (run.parent / f"{run.name}.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        while kill_at is not None and process.poll() is None:
            if logged(run) >= kill_at:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        if process.wait() not in (0, -signal.SIGKILL):
            raise SystemExit(f"{' '.join(command)} failed; see {log.name}")


def logged(run: Path) -> int:
    """How many steps the run's log holds."""
    log = run / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def result_of(run: Path) -> dict[str, str]:
    """Hashes of a run's weights and of its figures, without times."""
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figures = [{key: value for key, value in step.items() if not key.startswith("time/")} for step in steps]
    weights = b"".join(file.read_bytes() for file in sorted((run / "model").glob("*.safetensors")))
    parts = {"weights": weights, "log": json.dumps(figures).encode()}
    return {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}


# --- the result elsewhere --------------------------------------------------------------------------------------------


def greedy(model: Path) -> tuple[list[list[int]], list[str]]:
    """The prompts as token ids, and what Laconic's sampler writes after them."""
    import torch

    from laconic.config.solver import SamplerConfig
    from laconic.notebook.solvers import load_model
    from laconic.prompts.instructions import render
    from laconic.samplers.local import LocalSampler
    from laconic.samplers.protocol import Request
    from laconic.types import Problem

    torch.set_num_threads(1)
    lm = load_model(str(model), device="cpu")
    prompts = [render(lm.tokenizer, Problem("q", text, ""), instruction="none") for text in QUESTIONS]
    requests = [Request(str(i), tuple(prompt), 1) for i, prompt in enumerate(prompts)]
    decoding = SamplerConfig(temperature=0.0, max_tokens=NUM_TOKENS, batch_size=4)
    drawn = LocalSampler(lm).sample(requests, decoding, seed=0)
    return prompts, [lm.tokenizer.decode(row[0].token_ids) for row in drawn]


def same_text(name: str, python: str, program: str, asked: dict[str, object], ours: list[str]) -> bool:
    """Whether another library writes the same greedy text, in a process of its own."""
    foreign = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} if name == "vLLM" else None
    done = subprocess.run(
        [python, "-c", program], input=json.dumps(asked), capture_output=True, text=True, env=foreign, check=False
    )
    if done.returncode:
        print(f"{name}: failed: {done.stderr.strip().splitlines()[-1:]}")
        return False
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    num_alike = sum(one == other for one, other in zip(ours, theirs, strict=True))
    print(
        f"{name}: {num_alike} of {len(ours)} greedy texts of {NUM_TOKENS} tokens are the same; the first: {theirs[0]!r}"
    )
    return num_alike == len(ours)


if __name__ == "__main__":
    raise SystemExit(main())
