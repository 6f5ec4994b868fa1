"""vLLM in the loop: `python benchmarks/vllm_loop.py [--seeds 0 1 2] [--out runs/vllm_loop]`, after `benchmarks/peers.sh vllm`.

1. The demo's two phases on the bundled reasoner, five steps each, once with the local sampler and once with a vLLM server that
   the run starts, for each seed. What is finished is not run again.
2. Accuracy and tokens of the results on the report set, which the local sampler draws for both; how fast either engine drew; the
   share of a step that hand-overs took; and how far vLLM's log-probabilities were from the trainer's.
3. Whether the engines differ by more than seeds do: the difference of their means beside its standard error.

The table goes to `benchmarks/vllm_loop.md`, with machine and date.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.system.processor import processor_name

HERE = Path(__file__).parent
VLLM = HERE / ".peers" / "vllm" / "bin" / "python"
ENGINES = ("local", "vllm")
PHASES = ("accuracy", "brevity")
STEPS = 5


def overrides(engine: str, seed: int, vllm: Path) -> list[str]:
    """The demo's recipe, shortened, with the trainer's own scores beside the engine's."""
    words = [f"seed={seed}", "threads=1", "watch.every=5"]
    for phase in PHASES:
        words += [
            f"phases.{phase}.steps={STEPS}",
            f"phases.{phase}.algorithm.old_logprobs=recompute",
            f"phases.{phase}.algorithm.importance_cap=2.0",
            f"phases.{phase}.sampler.engine={engine}",
            f"phases.{phase}.sampler.server={vllm} --enforce-eager",
        ]
    return words


def run(engine: str, seed: int, out: Path, vllm: Path) -> None:
    """Train and measure one seed with one engine, or finish it."""
    if (out / "comparison-t1.json").exists() and (out / "comparison-greedy.json").exists():
        return
    command = [
        sys.executable,
        "-m",
        "laconic",
        "train",
        "recipes/demo.toml",
        *overrides(engine, seed, vllm),
        "--out",
        str(out),
    ]
    subprocess.run([*command, "--resume"] if (out / "config.json").exists() else command, check=True, cwd=HERE.parent)


@dataclass(frozen=True)
class Outcome:
    """One run: accuracy and mean tokens by decoding, tokens drawn per second from the second step on, hand-overs included, the
    seconds of the first step's hand-over, which is proved by greedy decoding too, the share of the others' hand-overs in their
    steps, the mean seconds of a step, and the gap."""

    accuracy: dict[str, float]
    tokens: dict[str, float]
    speed: float
    first_seconds: float
    handover_frac: float
    step_seconds: float
    gap_nats: float
    largest_gap_nats: float


def outcome(out: Path) -> Outcome:
    """What a finished run's folder says."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    summaries = {tag: summary(out / "eval" / f"phase-2-{tag}") for tag in ("t1", "greedy")}
    later = lines[1:]
    drawn = sum(line["rollouts/mean_tokens"] * 32 * 8 for line in later)
    return Outcome(
        accuracy={tag: found["accuracy"]["mean"] for tag, found in summaries.items()},
        tokens={tag: found["tokens"]["mean"] for tag, found in summaries.items()},
        speed=drawn / total(later, "time/sample_seconds"),
        first_seconds=lines[0].get("sampler/handover_seconds", 0.0),
        handover_frac=total(later, "sampler/handover_seconds") / total(later, "time/step_seconds"),
        step_seconds=total(later, "time/step_seconds") / len(later),
        gap_nats=statistics.mean(line["sampler/logprob_gap_nats"] for line in lines),
        largest_gap_nats=max(line["sampler/largest_gap_nats"] for line in lines),
    )


def summary(folder: Path) -> dict[str, Any]:
    """An evaluation's summary."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def total(lines: Sequence[dict[str, Any]], key: str) -> float:
    """The sum of a metric over the steps."""
    return sum(line.get(key, 0.0) for line in lines)


def table(found: dict[tuple[str, int], Outcome]) -> str:
    """One row per engine and seed, and the differences of the means beside the spread of the local engine's seeds."""
    rows = [
        "| engine | seed | accuracy, T=1 | tokens, T=1 | accuracy, greedy | tokens, greedy | tokens/s while sampling | "
        "seconds of a step | first hand-over, s | later hand-overs, share of a step | gap, nats per token | largest gap |",
        "|---" * 12 + "|",
    ]
    for (engine, seed), run_ in sorted(found.items(), key=lambda item: (item[0][0], item[0][1])):
        cells = [f"{run_.accuracy[tag]:.1%} | {run_.tokens[tag]:.1f}" for tag in ("t1", "greedy")]
        handovers = f"{run_.first_seconds:.1f} | {run_.handover_frac:.1%}"
        gaps = f"{run_.gap_nats:.1e} | {run_.largest_gap_nats:.1e}"
        rows.append(
            f"| {engine} | {seed} | {' | '.join(cells)} | {run_.speed:,.0f} | {run_.step_seconds:.1f} | {handovers} | {gaps} |"
        )
    return "\n".join(
        [*rows, "", *[spread(found, what, tag) for tag in ("t1", "greedy") for what in ("accuracy", "tokens")]]
    )


def spread(found: dict[tuple[str, int], Outcome], what: str, tag: str) -> str:
    """The difference of the engines' means with its standard error, by the spread of either engine over seeds."""
    values = {e: [getattr(run_, what)[tag] for (engine, _), run_ in found.items() if engine == e] for e in ENGINES}
    means = {engine: statistics.mean(numbers) for engine, numbers in values.items()}
    count = len(values["local"])
    noise = {e: statistics.stdev(numbers) if count > 1 else float("nan") for e, numbers in values.items()}
    error = ((noise["local"] ** 2 + noise["vllm"] ** 2) / count) ** 0.5
    unit = 100 if what == "accuracy" else 1
    return (
        f"- {what} at {tag}: vllm {means['vllm'] * unit:.1f}, local {means['local'] * unit:.1f}, difference "
        f"{(means['vllm'] - means['local']) * unit:+.2f} with standard error {error * unit:.2f}; standard deviation over "
        f"seeds {noise['vllm'] * unit:.2f} and {noise['local'] * unit:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--out", type=Path, default=Path("runs/vllm_loop"))
    parser.add_argument("--vllm", type=Path, default=VLLM, help="the Python of an environment with vLLM")
    asked = parser.parse_args()
    out = asked.out.absolute()
    for seed in asked.seeds:
        for engine in asked.engines:
            run(engine, seed, out / f"{engine}-{seed}", asked.vllm.absolute())
    places = [(engine, seed, out / f"{engine}-{seed}") for seed in asked.seeds for engine in ENGINES]
    if all((place / "comparison-greedy.json").exists() for *_, place in places):
        text = table({(engine, seed): outcome(place) for engine, seed, place in places})
        cores = len(os.sched_getaffinity(0))
        seeds = " ".join(map(str, asked.seeds))
        machine = f"{processor_name()}, {cores} cores, one thread for each engine, {time.strftime('%Y-%m-%d')}"
        command = f"`python benchmarks/vllm_loop.py --seeds {seeds}`"
        (HERE / "vllm_loop.md").write_text(f"# vLLM in the loop\n\n{command}; {machine}.\n\n{text}\n")
        print(text)


if __name__ == "__main__":
    main()
