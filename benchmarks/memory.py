"""Predicted against measured peaks of memory: `python benchmarks/memory.py [PART OF A CASE'S NAME...]`.

1. A case is a model's shape and changes to a recipe. A fresh process saves such a model, weights random, as Llama or Qwen2, loads
   it and takes real steps: sample, score, two updates, checkpoint.
2. The peak of every moment is the process's high-water mark of resident memory, which Linux resets on request; on CUDA
   `torch.cuda.max_memory_allocated`. What the process holds by itself is measured first, as `laconic doctor` does.
3. Predictions come from `laconic.doctor.memory_model`; both go to `benchmarks/memory.md`, if no case was named.

glibc keeps freed memory below a threshold that moves with what was freed, so a peak depends on what came before. The measured
processes fix the threshold (`MALLOC_MMAP_THRESHOLD_`), so that blocks above 256 KiB go back at once; `--as-is` leaves it.

Left out: loading, resuming, several GPUs.
"""

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import subprocess
import sys
import tempfile
import unittest.mock
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
THREADS = 1
MIB = 2**20
THREADING = {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "passive"}
STEADY = THREADING | {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_ARENA_MAX": "1"}
SMALL = {"layers": 8, "hidden": 512, "heads": 8, "kv_heads": 8, "intermediate": 1408, "vocabulary": 8192, "tied": False}
DEEP = {"layers": 14, "hidden": 576, "heads": 9, "kv_heads": 3, "intermediate": 1536, "vocabulary": 32000, "tied": True}
WIDE = {
    "layers": 4,
    "hidden": 640,
    "heads": 10,
    "kv_heads": 2,
    "intermediate": 2560,
    "vocabulary": 151936,
    "tied": True,
}
PPO = {"name": "ppo", "kl_coef": 0.05}
ONE_BASE = PPO | {"critic": "lora"}
LORA = {"lora": {"rank": 16}}


@dataclass(frozen=True)
class Case:
    """One row of the table: `groups` x `group_size` responses; `policy` and `algorithm` are a recipe's."""

    name: str
    shape: dict[str, Any]
    family: str = "llama"
    policy: dict[str, Any] = field(default_factory=dict)
    algorithm: dict[str, Any] = field(default_factory=lambda: {"name": "rloo"})
    groups: int = 4
    group_size: int = 4
    prompt_tokens: int = 64
    response_tokens: int = 64
    micro_batch_tokens: int = 512


CASES = (
    Case("full, policy alone", SMALL),
    Case("full, and a reference", SMALL, algorithm={"name": "rloo", "kl_coef": 0.05}),
    Case("full, and a separate critic", SMALL, algorithm={"name": "ppo"}),
    Case("full, three roles", SMALL, algorithm=PPO),
    Case("full, deep with tied embeddings", DEEP, family="qwen2"),
    Case("full, vocabulary of 152k", WIDE, family="qwen2", groups=2),
    Case("full, long responses", SMALL, group_size=2, groups=2, prompt_tokens=16, response_tokens=1008, micro_batch_tokens=1024),
    Case("full, large micro-batches", SMALL, micro_batch_tokens=2048),
    Case("full, exact KL", SMALL, micro_batch_tokens=2048,
         algorithm={"name": "rloo", "kl_coef": 0.05, "kl_in": "loss", "kl_estimator": "exact"}),
    Case("full, gradient checkpointing", SMALL, policy={"gradient_checkpointing": True}, micro_batch_tokens=1024),
    Case("full, bfloat16", SMALL, policy={"dtype": "bfloat16"}),
    Case("LoRA, policy alone", DEEP, family="qwen2", policy=LORA),
    Case("LoRA, three roles on one base", DEEP, family="qwen2", policy=LORA, algorithm=ONE_BASE),
    Case("LoRA, vocabulary of 152k, policy alone", WIDE, family="qwen2", policy=LORA, groups=2),
    Case("LoRA, vocabulary of 152k, three roles", WIDE, family="qwen2", policy=LORA, algorithm=ONE_BASE, groups=2),
    Case("LoRA, bfloat16, three roles", DEEP, family="qwen2", policy=LORA | {"dtype": "bfloat16"}, algorithm=ONE_BASE),
    Case("LoRA, long responses, three roles", SMALL, policy=LORA, algorithm=ONE_BASE, groups=2, group_size=2,
         prompt_tokens=16, response_tokens=1008, micro_batch_tokens=1024),
)  # fmt: skip

PAIRS = (
    ("LoRA, policy alone", "LoRA, three roles on one base"),
    ("LoRA, vocabulary of 152k, policy alone", "LoRA, vocabulary of 152k, three roles"),
)
RETAINING = ("full, policy alone", "LoRA, three roles on one base")


# --- in the measured processes ---------------------------------------------------------------------------------------


def save_model(case: Case, folder: Path) -> None:
    """The case's model, untrained, in Hugging Face format."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    from laconic.tiny.build import make_tokenizer

    torch.manual_seed(0)
    shape = case.shape
    config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[case.family](
        num_hidden_layers=shape["layers"],
        hidden_size=shape["hidden"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        intermediate_size=shape["intermediate"],
        vocab_size=shape["vocabulary"],
        tie_word_embeddings=shape["tied"],
        max_position_embeddings=4096,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def recipe_of(case: Case, folder: Path) -> Any:
    """The case as a recipe."""
    from laconic.config.load import parse_recipe

    rollouts = case.groups * case.group_size
    phase = {
        "name": "case",
        "steps": 1,
        "problems_per_step": case.groups,
        "group_size": case.group_size,
        "sampler": {"max_tokens": case.response_tokens, "batch_size": rollouts},
        "algorithm": case.algorithm,
        "optimizer": {"minibatches": 2, "micro_batch_tokens": case.micro_batch_tokens},
    }
    problems = {"train": "tiny:mix?split=train", "watch": "tiny:mix?split=watch"}
    tree = {"name": "memory", "model": str(folder), "problems": problems, "phases": [phase], "policy": case.policy}
    return parse_recipe(tree, case.name)


class Peaks:
    """The most memory each named stretch of the program held."""

    def __init__(self, device: str) -> None:
        self.device, self.bytes = device, dict[str, int]()

    def begin(self) -> None:
        """Forget the peak so far."""
        if self.device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def end(self, name: str) -> None:
        """Write down the peak since `begin` under `name`, where it is the highest of that name."""
        self.bytes[name] = max(self.bytes.get(name, 0), self._now())

    def _now(self) -> int:
        if self.device == "cuda":
            import torch

            return torch.cuda.max_memory_allocated()
        return 1024 * next(
            int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
        )

    def watched(self, name: str, function: Any) -> Any:
        """`function`, its peak written down at every call."""

        def call(*arguments: Any, **options: Any) -> Any:
            self.begin()
            result = function(*arguments, **options)
            self.end(name)
            return result

        return call

    @contextlib.contextmanager
    def of_updates(self) -> Iterator[None]:
        """While open, the parts of every update are watched."""
        from laconic.training.updates import Updater, _Optimizer

        parts = [
            (Updater, "_policy_losses", "policy update"),
            (Updater, "_value_losses", "critic update"),
            (_Optimizer, "step", "optimizer step"),
        ]
        with contextlib.ExitStack() as stack:
            for owner, method, name in parts:
                watched = self.watched(name, getattr(owner, method))
                stack.enter_context(unittest.mock.patch.object(owner, method, watched))
            yield


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Predict, then take the steps and measure."""
    import gc

    from laconic.doctor.memory_model import Work, predict_moments
    from laconic.doctor.memory_needs import find_shape, measure_process
    from laconic.models.loading import pick_device
    from laconic.models.policy import load_policy
    from laconic.training.check.recipe import check_recipe

    save_model(case, folder / "model")
    gc.collect()
    if sys.platform == "linux" and hasattr(heap := ctypes.CDLL(None), "malloc_trim"):
        heap.malloc_trim(0)  # what cases before this one left would be used again, and counted as the process's own
    recipe = recipe_of(case, folder / "model")
    phase, device = recipe.phases[0], pick_device(recipe.policy.device).type
    process = measure_process(recipe.policy) if device == "cpu" else 0  # what CUDA counts leaves its context out
    work = Work(case.groups * case.group_size, case.groups, case.prompt_tokens, device, process)
    peaks, policy = Peaks(device), load_policy(recipe)
    with peaks.of_updates():
        take_steps(policy, phase, case.prompt_tokens, peaks, folder / "run")
    moments = predict_moments(find_shape(recipe).config, check_recipe(recipe)[0], recipe.policy, work)
    return {
        "predicted": {moment.name: moment.total for moment in moments},
        "measured": peaks.bytes,
        "process": process,
        "weights": sum(parameter.numel() for parameter in policy.lm.model.parameters()),
    }


def take_steps(policy: Any, phase: Any, num_prompt_tokens: int, peaks: Peaks, out: Path) -> None:
    """Two steps and a checkpoint, as `laconic train` takes them. The first is short, makes the optimizers' moments, which every
    later step finds, and leaves no peaks."""
    from laconic.config.solver import SamplerConfig
    from laconic.samplers.local import LocalSampler
    from laconic.samplers.protocol import Request
    from laconic.training.check.phases import resolve_phase
    from laconic.training.checkpoint_files import Checkpoint
    from laconic.training.run_directory import RunDirectory
    from laconic.training.updates import Updater

    resolved = resolve_phase(phase, policy.config)
    policy.begin_phase(
        critic=resolved.critic,
        needs_reference=resolved.needs_reference,
        reference_moves=resolved.has_moving_reference,
    )
    updater, sampler = Updater(policy, phase, seed=0), LocalSampler(policy.lm)
    starts = range(1, phase.problems_per_step + 1)  # no two prompts begin alike
    prompts = [tuple(range(first, first + num_prompt_tokens)) for first in starts]
    requests = [Request(str(index), prompt, phase.group_size) for index, prompt in enumerate(prompts)]
    learn_from(sampler.sample(requests, SamplerConfig(max_tokens=2), seed=1), requests, policy, updater, peaks)
    peaks.bytes.clear()
    responses = peaks.watched("sampling", sampler.sample)(requests, phase.sampler, seed=0)
    learn_from(responses, requests, policy, updater, peaks)
    tensors = policy.trainable_state() | {f"updater/{k}": v for k, v in updater.state().items()}
    save = RunDirectory.create(out, {}, {}).checkpoints.save
    peaks.watched("saving a checkpoint", save)(Checkpoint(1, {}, tensors), policy.save)


def learn_from(responses: Any, requests: Any, policy: Any, updater: Any, peaks: Peaks) -> None:
    """Score the responses and update, with made-up rewards that alternate, so that advantages are not all zero."""
    from laconic.training.algorithms import estimate_advantages, find_algorithm
    from laconic.training.batching import collate
    from laconic.training.experience import gather_experience
    from laconic.types import Grade, Group, Problem, Rollout

    groups = [
        Group(
            Problem(id=request.key, question="?", answer="1"),
            request.prompt_ids,
            tuple(Rollout(r, Grade.CORRECT if i % 2 else Grade.WRONG, i, reward=i % 2) for i, r in enumerate(row)),
        )
        for request, row in zip(requests, responses, strict=True)
    ]
    phase = updater.phase
    batch = collate(groups, truncated=phase.algorithm.truncated)
    experience = peaks.watched("scoring", gather_experience)(policy, batch, phase)
    updater.update(experience, estimate_advantages(find_algorithm(phase), experience, phase.algorithm), 1, 0)


# --- in the parent ---------------------------------------------------------------------------------------------------


def run_cases(cases: list[Case], environment: dict[str, str]) -> list[dict[str, Any]]:
    """The cases measured one after the other in one fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            "--folder",
            folder,
            "--cases",
            json.dumps([asdict(case) for case in cases]),
        ]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(next(line for line in done.stderr.splitlines() if "Error: " in line))
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def row_of(case: Case, found: dict[str, Any]) -> str:
    """A line of the table. The last ratio leaves out what the process holds by itself."""
    predicted, measured = (max(found[side], key=found[side].__getitem__) for side in ("predicted", "measured"))
    p, m, own = found["predicted"][predicted], found["measured"][measured], found["process"]
    cells = [case.name, f"{found['weights'] / 1e6:.0f}M", f"{p / MIB:,.0f}", f"{m / MIB:,.0f}", f"{p / m:.2f}"]
    return "| " + " | ".join([*cells, f"{(p - own) / (m - own):.2f}", predicted, measured]) + " |"


def shares_of(results: dict[str, dict[str, Any]]) -> str:
    """What two more roles cost on one base, of whatever pairs were measured."""

    def most(name: str, side: str) -> int:
        return max(results[name][side].values()) - results[name]["process"]

    shares = [
        (three, most(three, "measured") / most(alone, "measured"), most(three, "predicted") / most(alone, "predicted"))
        for alone, three in PAIRS
        if alone in results and three in results
    ]
    return "\n".join(f"- {name}: {m:.2f} times the policy alone measured, {p:.2f} predicted" for name, m, p in shares)


def write_table(rows: list[str], results: dict[str, dict[str, Any]], as_is: dict[str, str]) -> None:
    """`benchmarks/memory.md`."""
    import torch

    from laconic.models.environment import describe_environment

    environment = describe_environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    packages = environment["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "transformers", "peft"))
    settings = " ".join(f"{name}={value}" for name, value in STEADY.items())
    moments = "\n".join(
        f"| {name} | {moment} | {size / MIB:,.0f} | {expected / MIB:,.0f} | {expected / size:.2f} |"
        for name, found in results.items()
        for moment, size in found["measured"].items()
        for expected in [max(v for key, v in found["predicted"].items() if key.startswith(moment))]
    )
    retained = "\n".join(f"| {name} | {line} |" for name, line in as_is.items())
    text = f"""# Predicted and measured peaks of memory

`python benchmarks/memory.py`, {datetime.date.today()}, {environment["device"]}, {THREADS} thread, {versions}.
Each case in a fresh process, models with random weights; measured is the high-water mark of resident memory, in MiB. "Less
process" leaves out the memory of the process before the model is loaded (about 435), which both sides share.

| case | weights | predicted | measured | ratio | less process | predicted at | measured at |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Without the memory of the process, LoRA's three roles need this many times the memory of the policy alone:

{shares_of(results)}

## The allocator

Measured with `{settings}`. With its default settings, glibc keeps part of the memory that was freed:

| case | peak with defaults, MiB | peak with the threshold fixed | ratio |
|---|---|---|---|
{retained}

## Every moment

| case | moment | measured | predicted | ratio |
|---|---|---|---|---|
{moments}
"""
    (HERE / "memory.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Measure the named cases and print them, or all and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--as-is", action="store_true", help="leave the allocator as it comes")
    parser.add_argument("--folder", type=Path, help="(in a measuring process)")
    parser.add_argument("--cases", type=json.loads, help="(in a measuring process)")
    arguments = parser.parse_args()
    if arguments.cases:
        places = (arguments.folder / str(index) for index in range(len(arguments.cases)))
        print(json.dumps([measure(Case(**case), place) for case, place in zip(arguments.cases, places, strict=True)]))
        return
    chosen = [case for case in CASES if not arguments.names or any(name in case.name for name in arguments.names)]
    rows, results = [], {}
    for case in chosen:
        try:
            (results[case.name],) = run_cases([case], THREADING if arguments.as_is else STEADY)
            rows.append(row_of(case, results[case.name]))
        except RuntimeError as error:  # one case that breaks leaves the others' table whole
            rows.append(f"| {case.name} | - | - | - | - | - | failed | {str(error)[:120]} |")
        print(rows[-1], flush=True)
    if not arguments.names:
        as_is = {}
        for name in RETAINING:
            (found,) = run_cases([case for case in CASES if case.name == name], THREADING)
            kept, steady = (max(result["measured"].values()) / MIB for result in (found, results[name]))
            as_is[name] = f"{kept:,.0f} | {steady:,.0f} | {kept / steady:.2f}"
        write_table(rows, results, as_is)


if __name__ == "__main__":
    main()
