"""What one GPU makes of the package, in ten minutes: `python benchmarks/gpu.py [section ...] --out DIR`.

1. correctness      what is sampled, captured, updated and resumed on this device is what a full forward pass and a CPU give
2. synchronisation  no step waits for the device; how many steps are captured, and how long that takes
3. limits           bytes per second, and operations per second of the model's own products
4. decode           seconds a step against the floor: every weight and every live key and value read once
5. attention        three times, under the ways in which PyTorch may choose its attention: which serves new lengths best?
6. real             a cold start and both phases of reinforcement learning on real weights, and what they make of the model
7. update           operations per second of an update against the measured matrix rate; its peak against the prediction
8. step             a PPO step of the paper's recipe, with its peak memory

Each section runs in a process of its own, which is killed at its deadline. DIR/gpu.md and DIR/gpu.json are written after each
row, and DIR/gpu.log holds whatever else a section prints, a traceback too. Sections that DIR/gpu.json holds as done are not
measured again, so that a run that was cut off goes on where it stopped. Where correctness does not hold, `real` and `step` run
without captured steps (LACONIC_CUDA_GRAPHS=0), and say so.

Except in `real`, weights are random in the shapes of Qwen2.5-1.5B, made on the device: speed does not depend on values. Lengths
are made up too: a share of the vocabulary ends a response, and the shorter half of a group counts as correct.
`real` begins from the model that LACONIC_GPU_MODEL names, or from the recipe's own.

`--toy` is a rehearsal with a model of 0.1M weights on any device, `--here` runs the sections in this process without deadlines.
Exit code 1 where a section was not measured to its end or a row failed.

Left out: several GPUs, and other engines.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_workloads import FULL, TOY
from gpus.children import MARK, run_child
from gpus.correctness import correctness
from gpus.real import real
from gpus.rows import Bench, Row
from gpus.speed import attention, decode, limits, synchronisation
from gpus.table import CUT, DONE, Section, Table
from gpus.updating import step, update

from laconic.models.environment import describe_environment
from laconic.models.loading import pick_device

HERE = Path(__file__).resolve().parent
SOFT_SHARE = 0.9  # a section begins no new row after this share of its time
WITHOUT_GRAPHS = {"LACONIC_CUDA_GRAPHS": "0"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What measures a section, for how long, with which changes to the environment, and whether it runs without captured steps
    where correctness does not hold."""

    measure: Callable[[Bench], Iterator[Row]]
    seconds: float
    environment: tuple[tuple[str, str], ...] = ()
    may_lose_graphs: bool = False


SECTIONS = {
    "correctness": Plan(correctness, 60),
    "synchronisation": Plan(synchronisation, 20),
    "limits": Plan(limits, 20),
    "decode": Plan(decode, 80),
    "attention": Plan(attention, 20),
    "attention-reuse": Plan(attention, 20, (("TORCH_CUDNN_SDPA_AVOID_RECOMPILE", "1"),)),
    "attention-last": Plan(attention, 20, (("TORCH_CUDNN_SDPA_DEPRIORITIZED", "1"),)),
    "real": Plan(real, 150, may_lose_graphs=True),
    "update": Plan(update, 70),
    "step": Plan(step, 120, may_lose_graphs=True),
}
"""In the order in which they are run: the most valuable first, those before which they need the figures of."""


# --- the sections, each in its process -------------------------------------------------------------------------------


def run_all(arguments: argparse.Namespace, table: Table) -> None:
    """Every section that is asked for and not done, until the time is over."""
    ends = time.monotonic() + arguments.seconds
    for name in arguments.sections:
        if table.is_done(name):
            print(f"{name}: done before")
            continue
        left = ends - time.monotonic()
        if left < min(SECTIONS[name].seconds, 15):
            print(f"{name}: not begun, the time is over")
            continue
        section = table.sections[name] = Section()
        began = time.monotonic()
        loses_graphs = SECTIONS[name].may_lose_graphs and not table.sections.get("correctness", Section()).is_sound
        section.remark = "Without captured steps, since correctness was not shown." if loses_graphs else ""
        changes = dict(SECTIONS[name].environment) | (WITHOUT_GRAPHS if loses_graphs else {})
        run = run_here if arguments.here else run_apart
        section.status = run(arguments, name, min(left, SECTIONS[name].seconds), changes, _taker(table, name, began))
        section.seconds = time.monotonic() - began
        table.write()
        print(f"{name}: {section.status} after {section.seconds:.0f} s", flush=True)


def _taker(table: Table, name: str, began: float) -> Callable[[dict[str, Any]], None]:
    """What takes up a line of a section: what is known of the process, or a row."""

    def take(line: dict[str, Any]) -> None:
        section = table.sections[name]
        section.seconds = time.monotonic() - began
        if "about" in line:
            section.about = line["about"]
        else:
            row = Row.from_json(line)
            section.rows.append(row)
            print(f"{name}: {' | '.join(row.cells())}", flush=True)
        table.write()

    return take


def run_apart(
    arguments: argparse.Namespace,
    name: str,
    seconds: float,
    changes: dict[str, str],
    take: Callable[[dict[str, Any]], None],
) -> str:
    """The section in a process of its own; returns how it ended."""
    command = [sys.executable, str(HERE / "gpu.py"), name, "--child", "--out", str(arguments.out)]
    command += ["--seconds", str(seconds), "--commit", arguments.commit, *(["--toy"] if arguments.toy else [])]
    arguments.out.mkdir(parents=True, exist_ok=True)
    return run_child(command, changes, seconds, take, arguments.out / "gpu.log")


def run_here(
    arguments: argparse.Namespace,
    name: str,
    seconds: float,
    changes: dict[str, str],
    take: Callable[[dict[str, Any]], None],
) -> str:
    """The section in this process."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        for line in lines_of(arguments, name, seconds, Table(arguments.out)):
            take(line)
        return DONE
    finally:
        os.environ.clear()
        os.environ.update(before)


def lines_of(arguments: argparse.Namespace, name: str, seconds: float, table: Table) -> Iterator[dict[str, Any]]:
    """What a section says: first where it is measured, then its rows."""
    scale, device = TOY if arguments.toy else FULL, pick_device("auto")
    yield {"about": about(arguments, name, device)}
    bench = Bench(scale, device, time.monotonic() + SOFT_SHARE * seconds, table.limits())
    for row in SECTIONS[name].measure(bench):
        yield row.to_json()


def about(arguments: argparse.Namespace, name: str, device: torch.device) -> dict[str, str]:
    """Device, versions, date and commit."""
    environment = describe_environment(device)
    packages = environment["packages"]
    set_variables = " ".join(f"{key}={value}" for key, value in SECTIONS[name].environment)
    found = {
        "device": environment["device"],
        "shape": (TOY if arguments.toy else FULL).name,
        "torch": str(torch.__version__),
        "CUDA": str(torch.version.cuda),
        "transformers": str(packages["transformers"]),
        "Python": environment["python"],
        "date": str(datetime.date.today()),
        "commit": arguments.commit,
    }
    return found | ({"with": set_variables} if set_variables else {})


# --- the command -----------------------------------------------------------------------------------------------------


def commit_here() -> str:
    """The commit of the working tree, or "unknown" where there is none."""
    asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Exits with 2 where it is wrong, or where there is neither a CUDA device nor `--toy`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "runs/gpu")), help="$OUT, or runs/gpu")
    parser.add_argument("--seconds", type=float, default=570.0, help="for all sections together")
    parser.add_argument("--toy", action="store_true", help="a model of 0.1M weights, on any device")
    parser.add_argument("--here", action="store_true", help="in this process, without deadlines")
    parser.add_argument("--commit", default="", help="what the table calls the code; by default asked of git")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; expected {', '.join(SECTIONS)}")
    if not arguments.toy and not torch.cuda.is_available():
        parser.error("no CUDA device; --toy runs anywhere")
    arguments.commit = arguments.commit or commit_here()
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; 1 where something is missing or wrong."""
    arguments = parse(argv)
    table = Table(arguments.out)
    if arguments.child:
        (name,) = arguments.sections
        for line in lines_of(arguments, name, arguments.seconds, table):
            print(f"{MARK}{json.dumps(line)}", flush=True)
        return 0
    run_all(arguments, table)
    print(table.render())
    return int(not all(table.sections.get(name, Section(CUT)).is_sound for name in arguments.sections))


if __name__ == "__main__":
    sys.exit(main())
