"""SIGTERM to whoever started two processes, as clusters send it: a checkpoint, the exit code, and the command that goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import save_small_model, write_small_recipe

RANKS = {
    "--processes": [sys.executable, "-m", "laconic", "train"],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "laconic", "train"],
}
GOES_ON = {
    "--processes": "laconic train {out}/config.json --out {out} --resume --processes 2",
    "torchrun": "torchrun --nproc-per-node 2 -m laconic train {out}/config.json --out {out} --resume",
}


@pytest.mark.parametrize("starter", RANKS)
def test_sigterm_to_the_starter_of_two_processes_saves_a_step_and_says_how_to_go_on(
    starter: str, tmp_path: Path
) -> None:
    """The last logged step is saved. One line says so, once, and the run goes on from there. torchrun's exit code is its own."""
    model, out = save_small_model(tmp_path / "model"), tmp_path / "run"
    recipe = write_small_recipe(tmp_path / "small.toml", model)
    more = ["phases.first.steps=500", "checkpoints.every=1000", "watch.every=1000"]
    two = ["--processes", "2"] if starter == "--processes" else []
    began = start([*RANKS[starter], str(recipe), *more, "--out", str(out), *two])
    wait_for_steps(began, out, 2)
    began.send_signal(signal.SIGTERM)
    _, said = began.communicate(timeout=60)
    lines = [line for line in said.splitlines() if line.startswith("laconic: ")]
    assert lines == [f"laconic: ended by SIGTERM; go on with  {GOES_ON[starter].format(out=out)}"]
    if starter == "--processes":
        assert began.returncode == 143 and "Traceback" not in said
    (last,) = [folder.name for folder in (out / "checkpoints").iterdir()]
    assert last == f"step-{steps_of(out)[-1]:06d}"
    again = start([sys.executable, "-m", "laconic", "train", f"{out}/config.json", "--out", str(out), "--resume"])
    wait_for_steps(again, out, steps_of(out)[-1] + 1)
    again.kill()
    again.communicate()
    assert steps_of(out) == list(range(1, steps_of(out)[-1] + 1))


def start(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ)


def wait_for_steps(process: "subprocess.Popen[str]", out: Path, number: int) -> None:
    """Wait until so many steps are logged."""
    deadline = time.monotonic() + 120
    while (steps_of(out) or [0])[-1] < number:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps_of(out: Path) -> list[int]:
    """The numbers of the steps that were logged."""
    log = out / "metrics.jsonl"
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    return [json.loads(line)["step"] for line in lines]
