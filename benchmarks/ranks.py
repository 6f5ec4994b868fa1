"""One process against two: `python benchmarks/ranks.py [--speed] [PART OF A CASE'S NAME...]`.

1. Every case trains the embedded reasoner for three steps from one seed, in one process and in two, in float32. What
   should be the same is compared: rollouts and rewards of every step, losses and gradient norms, the weights in the end.
2. As a control, one process trains the case with micro batches of another size: what sums in another order change by themselves.
3. The run of two is set back to its first checkpoint and resumed by one process and by three; so is the run of one by three.
4. With `--speed`, two processes of one thread are timed against one process of two threads, on two cores, idle and with one of
   them busy: sampling, update and whole steps, for the embedded reasoner and for a random model of 26M weights.

The tables go to `benchmarks/ranks.md` and `benchmarks/ranks_speed.md`, if no case was named.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STEPS = 3
LORA = {"policy": {"lora": {"rank": 8}}}
HASTE = {"lr": 3e-4, "critic_lr": 3e-4, "minibatches": 2}
REMEMBERING = ("laser_d", "laser_de", "hapo", "lead", "acoer", "short_rl")
OPTIONS = {"lead": {"min_target_tokens": 1}}
"""What a reward needs where responses are short."""
OTHER_MICRO_BATCH = 1024  # tokens; the default is four times as many


def case_of(name: str, *, source: str = "on_policy", terms: Sequence[str] = (), **levers: Any) -> dict[str, Any]:
    """The changes to a recipe by which a case differs."""
    options = [{"name": term, "options": OPTIONS.get(term, {})} for term in terms]
    return {"rollouts": source, "algorithm": {"name": name, **levers}, "rewards": {"terms": options}}


CASES: dict[str, dict[str, Any]] = {
    "PPO, separate critic, whitening": case_of("ppo", whitening="batch", kl_coef=0.01),
    "PPO, zero critic": case_of("ppo", critic="zero"),
    "PPO, LoRA, critic as an adapter": LORA | case_of("ppo", critic="lora", kl_coef=0.01),
    "PPO, LoRA, separate critic": LORA | case_of("ppo", kl_coef=0.01, reference="ema"),
    "GRPO": case_of("grpo", kl_coef=0.01),
    "GRPO, activations recomputed": {"policy": {"gradient_checkpointing": True}} | case_of("grpo"),
    "RLOO, exact KL": case_of("rloo", kl_coef=0.01, kl_estimator="exact"),
    "REINFORCE++, whitening": case_of("reinforce_pp_baseline", aggregation="token"),
    "DPO": case_of("dpo", source="offline", old_logprobs="current", whitening="none", aggregation="sum"),
    "distillation": case_of("distill", reference_model="TEACHER", whitening="none"),
    "distillation over the vocabulary": case_of(
        "logit_distill", reference_model="TEACHER", kl_in="loss", kl_estimator="exact", kl_coef=1.0
    ),
    "exits of one trace": case_of("grpo", source="serial", terms=["serial_exits"]),
    **{f"GRPO, {term}": case_of("grpo", terms=[term]) for term in REMEMBERING},
}


# --- in the processes ------------------------------------------------------------------------------------------------


def recipe_of(case: Mapping[str, Any], folder: Path, **phase: Any) -> dict[str, Any]:
    """A recipe of one phase: 3 steps of 5 problems with 6 responses, 3 and 2 problems for each of two processes."""
    algorithm = {k: str(folder / "teacher") if v == "TEACHER" else v for k, v in case["algorithm"].items()}
    base = {
        "name": "p",
        "steps": STEPS,
        "rollouts": case["rollouts"],
        "select": {"how": "all", "count": 9, "samples": 2},
        "problems_per_step": 5,
        "group_size": 6,
        "sampler": {"max_tokens": 96, "batch_size": 64},
        "algorithm": algorithm,
        "rewards": case["rewards"],
        "optimizer": HASTE,
        "end": {"guard_drop": None},
    }
    return {
        "name": "ranks",
        "model": case.get("model", "tiny"),
        "policy": case.get("policy", {}),
        "threads": case.get("threads", 1),
        "problems": {"train": "tiny:mix?count=64&split=train", "watch": "tiny:mix?count=4&split=watch"},
        "watch": {"every": 9, "samples": 1},
        "checkpoints": {"every": 1, "keep": 9},
        "phases": [base | phase],
    }


def train(jobs: Sequence[tuple[Mapping[str, Any], str, bool]]) -> None:
    """Do the jobs in this process, or in the team that its environment names, which it joins once."""
    from laconic.config.load import parse_recipe
    from laconic.parallel.joining import join_team
    from laconic.system.progress import Reporter
    from laconic.training.run import start

    quiet = Reporter(is_silent=True)
    with join_team("cpu") as team:
        for tree, out, resume in jobs:
            start(parse_recipe(tree, "ranks"), Path(out), resume=resume, reporter=quiet, team=team).train()


def with_other_sums(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe, whose gradients are added up in another order."""
    phases = [
        phase | {"optimizer": phase["optimizer"] | {"micro_batch_tokens": OTHER_MICRO_BATCH}}
        for phase in tree["phases"]
    ]
    return {**tree, "phases": phases}


def in_processes(size: int, jobs: Sequence[tuple[Mapping[str, Any], Path, bool]]) -> None:
    """Do the jobs, one after the other, in `size` processes together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    threads = str(max(1, jobs[0][0]["threads"]))
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": threads}
    work = json.dumps([(tree, str(out), resume) for tree, out, resume in jobs])
    command = [sys.executable, __file__, "--work", work]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)} for rank in range(size)]
    children = [subprocess.Popen(command, env=os.environ | shared | rank) for rank in ranks]
    while None in (codes := [child.poll() for child in children]) and not any(codes):
        time.sleep(0.1)
    if any(codes):
        for child in children:
            child.kill()
        sys.exit("a process failed")


# --- the same --------------------------------------------------------------------------------------------------------


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def furthest_metric(one: Path, other: Path, parts: Sequence[str]) -> float:
    """The largest difference of the metrics whose names hold one of `parts`, over all steps."""
    pairs = zip(lines_of(one / "metrics.jsonl"), lines_of(other / "metrics.jsonl"), strict=True)
    return max(abs(a[key] - b[key]) for a, b in pairs for key in a if key.endswith(tuple(parts)) and a[key] is not None)


def furthest_weight(one: Path, other: Path) -> float:
    """The largest difference of two models' weights."""
    from safetensors.torch import load_file

    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def rollouts_of(out: Path, step: int) -> list[Any]:
    """What was drawn and paid in a step: everything but log-probabilities, which are rounded."""
    rows = lines_of(out / "rollouts" / f"step-{step:06d}.jsonl")
    return [{key: value for key, value in row.items() if "logprob" not in key} for row in rows]


def set_back(whole: Path, out: Path) -> Path:
    """A copy of a finished run as it was when the checkpoint of its first step had been written."""
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model", "phases.json", "step-000002*", "step-000003*"))
    return out


def compare(name: str, folder: Path) -> str:
    """The case's row of the table."""
    one, two, control = (folder / name / word for word in ("one", "two", "control"))
    same = [rollouts_of(one, step) == rollouts_of(two, step) for step in range(1, STEPS + 1)]
    resumed = [furthest_weight(one / "model", folder / name / f"{kind}" / "model") for kind in ("2-1", "2-3", "1-3")]
    return (
        f"| {name} | {', '.join('yes' if step else 'no' for step in same)} | {furthest_metric(one, two, ['_loss']):.1e} "
        f"| {furthest_metric(one, two, ['_grad_norm']):.1e} | {furthest_metric(one, control, ['_grad_norm']):.1e} "
        f"| {furthest_weight(one / 'model', two / 'model'):.1e} "
        f"| {' | '.join(f'{far:.1e}' for far in resumed)} |"
    )


def same_table(names: Sequence[str], folder: Path) -> str:
    """Train and compare the cases."""
    trees = {name: recipe_of(CASES[name], folder) for name in names}
    for size, word in ((1, "one"), (2, "two")):
        in_processes(size, [(trees[name], folder / name / word, False) for name in names])
    in_processes(1, [(with_other_sums(trees[name]), folder / name / "control", False) for name in names])
    for size, kinds in ((1, {"2-1": "two"}), (3, {"2-3": "two", "1-3": "one"})):
        jobs = [
            (trees[name], set_back(folder / name / word, folder / name / kind), True)
            for name in names
            for kind, word in kinds.items()
        ]
        in_processes(size, jobs)
    head = (
        "| case | same rollouts and rewards, step 1, 2, 3 | losses | gradient norms | those of the control "
        "| weights | saved by 2, resumed by 1 | by 3 | saved by 1, resumed by 3 |"
    )
    return "\n".join([head, "|---" * 9 + "|", *(compare(name, folder) for name in names)])


# --- how fast --------------------------------------------------------------------------------------------------------

SPEEDS = {"embedded reasoner, 0.65M": ("tiny", 256), "random, 26M": ("MIDDLING", 64)}
"""Model and cap; the random model writes to the cap always."""
TIMED = ("time/sample_seconds", "time/update_seconds", "time/step_seconds")


def save_random(folder: Path, *, layers: int, width: int) -> str:
    """A random model that reads the embedded reasoner's tokens."""
    from laconic.tiny.build import BuildSettings, make_model, make_tokenizer

    make_model(BuildSettings(layers=layers, width=width)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def timed(tree: Mapping[str, Any], size: int, out: Path, *, is_busy: bool) -> list[float]:
    """The median seconds of a step's parts after the first step; `is_busy` keeps a core busy beside."""
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"])] if is_busy else []
    try:
        in_processes(size, [(tree, out, False)])
    finally:
        for process in spin:
            process.kill()
            process.wait()
    steps = lines_of(out / "metrics.jsonl")[1:]
    return [statistics.median(step[key] for step in steps) for key in TIMED]


def speed_table(folder: Path, num_steps: int) -> str:
    """The ratios of one process of two threads to two of one thread: above 1, two are faster."""
    head = "| model | cores | processes x threads | sampling, s | update, s | step, s |"
    lines = [head, "|---" * 6 + "|"]
    for label, (model, cap) in SPEEDS.items():
        held = save_random(folder / "middling", layers=8, width=512) if model == "MIDDLING" else model
        for is_busy in (False, True):
            medians = {}
            for size, threads in ((1, 2), (2, 1)):
                case = CASES["PPO, separate critic, whitening"] | {"model": held, "threads": threads}
                sampler = {"max_tokens": cap, "batch_size": 128}
                tree = recipe_of(case, folder, steps=num_steps, problems_per_step=8, group_size=16, sampler=sampler)
                out = folder / f"{model}-{is_busy}-{size}"
                medians[size] = timed(tree, size, out, is_busy=is_busy)
                cells = " | ".join(f"{value:.2f}" for value in medians[size])
                lines.append(f"| {label} | {'one busy' if is_busy else 'idle'} | {size} x {threads} | {cells} |")
            ratios = " | ".join(f"{one / two:.2f}" for one, two in zip(medians[1], medians[2], strict=True))
            lines.append(f"| {label} | {'one busy' if is_busy else 'idle'} | ratio | {ratios} |")
    return "\n".join(lines)


def setting() -> str:
    """Where and when this ran."""
    from importlib.metadata import version

    from laconic.system.processor import processor_name

    return (
        f"{datetime.datetime.now(tz=datetime.UTC).date()}, {processor_name()} ({os.cpu_count()} cores), "
        f"torch {version('torch')}, Python {platform.python_version()}"
    )


def main() -> None:
    """Compare, or time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="parts of names of cases")
    parser.add_argument("--speed", action="store_true", help="time one process against two")
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        train(json.loads(options.work))
        return
    names = [name for name in CASES if not options.parts or any(part in name for part in options.parts)]
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        if options.speed:
            title, file, text = "How fast two processes are", "ranks_speed.md", speed_table(folder, options.steps)
        else:
            save_random(folder / "teacher", layers=2, width=64)
            title, file, text = "What two processes make of a run", "ranks.md", same_table(names, folder)
    print(text)
    if not options.parts:
        command = f"python benchmarks/ranks.py{' --speed' if options.speed else ''}"
        (HERE / file).write_text(f"# {title}\n\n`{command}`, {setting()}.\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
