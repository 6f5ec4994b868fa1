"""Kills of random ranks at random moments: `python benchmarks/rank_kills.py [--cases 20] [--seed 0]`.

1. A small recipe is trained by two processes, and nobody kills it: that gives its result.
2. In every case one rank, drawn at random, is killed at a random moment while the processes start or train, or (every
   fourth case) stopped, as where a node hangs. It is measured how long the others take to end, and counted what they say.
3. The run is resumed by one, two or three processes, in turn. It must end as one that nobody killed: every step logged once,
   every step's rollouts stored once, and with two processes again the same weights to the bit.

The table is printed, and goes to the file that `--table` names. A case that fails is printed with all that was said.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "dumb", "LACONIC_PRODUCTS": "onednn"}

from tortures.kills import result_of
from tortures.runs import recipe_of, save_model, write_recipe

from laconic.system.processor import processor_name

KIND = "grpo, LoRA with dropout"
STEPS = 30
EARLY_SHARE, EARLY_SECONDS = 0.25, 8.0  # of the kills, so many come within so many seconds, while the processes start
RESUMED_BY = (1, 2, 3)
MOST_SECONDS = 60.0
LIMIT_SECONDS = 300.0


@dataclass(slots=True)
class RankKill:
    """What became of one case: `trouble` is empty where all is as it should be."""

    rank: int
    signal: str
    resumed_by: int
    num_steps: int = 0  # that were logged when it came
    seconds: float = 0.0
    said: str = ""
    trouble: str = ""

    @property
    def row(self) -> str:
        """A line of the table."""
        return (
            f"| {self.rank} | {self.signal} | {self.num_steps} | {self.seconds:.1f} | {self.resumed_by} | "
            f"{self.trouble or 'as it should be'} |"
        )


class Campaign:
    """The cases, in a folder of their own, and the run that nobody kills."""

    def __init__(self, place: Path, starter: str, seed: int) -> None:
        self.place, self.starter, self.seed = place, starter, seed
        recipe: dict[str, Any] = recipe_of(KIND, save_model(place / "model"))
        recipe["phases"][0]["steps"] = STEPS
        self.recipe = write_recipe(place / "recipe.json", recipe)
        self.num_steps = sum(phase["steps"] for phase in recipe["phases"])
        whole = self._start(place / "whole", 2)
        _, errors = whole.communicate(timeout=LIMIT_SECONDS)
        assert whole.returncode == 0, errors
        self.expected = result_of(place / "whole")

    def case(self, number: int) -> RankKill:
        """Start a run, kill a rank, and resume it."""
        rng = random.Random(f"{self.seed} rank kills {number}")
        kind = signal.SIGSTOP if number % 4 == 3 else signal.SIGKILL
        out = self.place / f"run-{number}"
        done = RankKill(rng.randrange(2), kind.name, RESUMED_BY[number % 3])
        process = self._start(out, 2)
        self._await_moment(process, out, rng)
        done.num_steps = len(steps_of(out))
        ranks = ranks_of(process.pid)
        if len(ranks) < 2:
            done.trouble = "was over before"
            process.communicate()
            return done
        os.kill(ranks[done.rank], kind)
        began = time.monotonic()
        try:
            _, done.said = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            done.trouble = "hangs"
            return done
        done.seconds = time.monotonic() - began
        left = [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
        done.trouble = self._trouble(done, process.returncode, left) or self._resume(out, done.resumed_by)
        return done

    def _await_moment(self, process: "subprocess.Popen[str]", out: Path, rng: random.Random) -> None:
        """Wait until there are processes and some seconds have passed, or some steps were logged and a moment more."""
        while len(ranks_of(process.pid)) < 2 and process.poll() is None:
            time.sleep(0.02)
        if rng.random() < EARLY_SHARE:
            time.sleep(rng.uniform(0.0, EARLY_SECONDS))
            return
        num_steps, more = rng.randrange(self.num_steps - 5), rng.uniform(0.0, 0.3)
        while len(steps_of(out)) < num_steps and process.poll() is None:
            time.sleep(0.02)
        time.sleep(more)

    def _trouble(self, done: RankKill, code: int, left: Sequence[int]) -> str:
        lines = [line for line in done.said.splitlines() if line.startswith("laconic:")]
        if code != 1:
            return f"exit code {code}"
        if left:
            return f"{len(left)} processes are left"
        if done.seconds > MOST_SECONDS:
            return f"ended after {done.seconds:.0f} s"
        if len(lines) != 1 and self.starter == "laconic":
            return f"{len(lines)} lines say it"
        if not any(f"rank {done.rank} of 2" in line for line in lines):
            return "the rank is not named"
        return "a traceback" if "Traceback" in done.said and self.starter == "laconic" else ""

    def _resume(self, out: Path, num_processes: int) -> str:
        process = self._start(out, num_processes)
        try:
            _, errors = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return "resumed, it hangs"
        if process.returncode:
            return f"cannot be resumed: {errors.strip().splitlines()[-1:]}"
        steps = steps_of(out)
        stored = sorted(path.name for path in (out / "rollouts").iterdir())
        if stored != [f"step-{step:06d}.jsonl" for step in range(1, self.num_steps + 1)]:
            return f"rollouts {stored}"
        if steps != list(range(1, self.num_steps + 1)):
            return f"logged steps {steps}"
        if num_processes == 2:
            found = result_of(out)
            return next((f"another {name}" for name in self.expected if found[name] != self.expected[name]), "")
        return ""

    def _start(self, out: Path, num_processes: int) -> "subprocess.Popen[str]":
        resume = ["--resume"] if (out / "config.json").exists() else []
        arguments = ["-m", "laconic", "train", str(self.recipe), "--out", str(out), *resume]
        if num_processes == 1:
            command = [sys.executable, *arguments]
        elif self.starter == "laconic":
            command = [sys.executable, *arguments, "--processes", str(num_processes)]
        else:
            command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={num_processes}", *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def steps_of(out: Path) -> list[int]:
    """The numbers of the steps that a run has logged."""
    log = out / "metrics.jsonl"
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    return [json.loads(line)["step"] for line in lines]


def ranks_of(launcher: int) -> list[int]:
    """The processes of the ranks, in their order."""
    listed = Path(f"/proc/{launcher}/task/{launcher}/children")
    children = listed.read_text(encoding="utf-8").split() if listed.exists() else []
    found = {}
    for child in children:
        try:
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        rank = next((value[5:] for value in variables if value.startswith(b"RANK=")), None)
        if rank is not None:
            found[int(rank)] = int(child)
    return [found[rank] for rank in sorted(found)]


def table(cases: Sequence[RankKill], campaign: Campaign) -> str:
    """The cases as a table in Markdown, under the command that made it."""
    command = (
        f"`python benchmarks/rank_kills.py --cases {len(cases)} --seed {campaign.seed} --starter {campaign.starter}`"
    )
    failed = sum(bool(case.trouble) for case in cases)
    slowest = max(case.seconds for case in cases)
    head = (
        f"{command}, {date.today()}, {processor_name()}, two processes of one thread. {len(cases)} cases, {failed} failed; "
        f"all others ended within {slowest:.1f} s.\n"
    )
    columns = "| rank | signal | steps logged | all ended within (s) | resumed by | result |\n" + "| --- " * 6 + "|"
    return "\n".join([head, columns, *(case.row for case in cases)]) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starter", choices=("laconic", "torchrun"), default="laconic")
    parser.add_argument("--table", type=Path, help="the file to write the table to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        campaign, cases = Campaign(Path(place), options.starter, options.seed), []
        for number in range(options.first, options.first + options.cases):
            cases.append(campaign.case(number))
            print(cases[-1].row, flush=True)
            if cases[-1].trouble:
                print(cases[-1].said, flush=True)
    text = table(cases, campaign)
    print(text)
    if options.table:
        options.table.write_text(text, encoding="utf-8")
    sys.exit(any(case.trouble for case in cases))


if __name__ == "__main__":
    main()
