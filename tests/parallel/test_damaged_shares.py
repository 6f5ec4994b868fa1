"""Damage in a checkpoint that two processes have written: one line names the file, and the run goes on from the one before it.

Two processes train a run of three steps. Copies of it, as it was after two steps, are damaged, and resumed by two and by one.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranked import in_team
from safetensors.torch import load_file
from small import save_small_model

from laconic.config.load import parse_recipe
from laconic.parallel.team import ALONE, Team
from laconic.system.progress import Reporter
from laconic.training.run import start

NEWEST = "checkpoints/step-000002"


class Telling(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(is_silent=True)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def shares(out: Path) -> list[Path]:
    """The files of the two processes' shares in the newest checkpoint."""
    return sorted((out / NEWEST / "trainer").iterdir())


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit in the first share": (lambda out: flip(shares(out)[0]), "is damaged (its SHA-256 is another)"),
    "a flipped bit in the second share": (lambda out: flip(shares(out)[1]), "is damaged (its SHA-256 is another)"),
    "a share that was cut": (lambda out: cut(shares(out)[1]), "is damaged (its SHA-256 is another)"),
    "a share that is gone": (lambda out: shares(out)[1].unlink(), "is missing"),
    "all shares gone": (lambda out: shutil.rmtree(out / NEWEST / "trainer"), "is missing"),
    "another share beside them": (
        lambda out: shutil.copy(shares(out)[0], shares(out)[0].with_name("shard-00009-model.safetensors")),
        "does not belong to this checkpoint",
    ),
    "bookkeeping that was cut": (lambda out: cut(out / NEWEST / "trainer.json"), "trainer.json: is damaged"),
    "checksums that were cut": (lambda out: cut(out / NEWEST / "SHA256SUMS"), "SHA256SUMS: is damaged"),
    "no checksums": (lambda out: (out / NEWEST / "SHA256SUMS").unlink(), "SHA256SUMS: cannot be read"),
}


def recipe(folder: Path) -> Any:
    phase = {
        "name": "p",
        "steps": 3,
        "problems_per_step": 2,
        "group_size": 2,
        "sampler": {"max_tokens": 6, "batch_size": 4},
        "algorithm": {"name": "rloo", "entropy_coef": 0.1},
        "optimizer": {"lr": 1e-2},
        "end": {"guard_drop": None},
    }
    return parse_recipe(
        {
            "name": "shares",
            "model": str(folder / "model"),
            "threads": 1,
            "problems": {"train": "tiny:mix?count=4&split=train", "watch": "tiny:mix?count=2&split=watch"},
            "watch": {"every": 9, "samples": 1},
            "checkpoints": {"every": 1, "keep": 9},
            "phases": [phase],
        },
        "shares",
    )


def train(team: Team, folder: Path, out: Path, *, resume: bool = True) -> list[str]:
    """What is said while the run goes on to its end."""
    reporter = Telling()
    start(recipe(folder), out, resume=resume, reporter=reporter, team=team).train()
    return reporter.said


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[list[str]]]]:
    """A folder with `whole`, which nobody damaged, and for each damage what its two processes said when they resumed."""
    folder = tmp_path_factory.mktemp("shares")
    save_small_model(folder / "model")

    def work(team: Team) -> dict[str, list[str]]:
        train(team, folder, folder / "whole", resume=False)
        team.by_first(lambda: [damaged(folder, name, by) for name in DAMAGES for by in ("two", "one")] and None)
        return {name: train(team, folder, folder / f"{name} by two") for name in DAMAGES}

    by_rank = in_team(2, work, folder / "pair")
    return folder, {name: [said[name] for said in by_rank] for name in DAMAGES}


def damaged(folder: Path, name: str, by: str) -> None:
    """A copy of the run as it was after two of its three steps, damaged."""
    out = folder / f"{name} by {by}"
    shutil.copytree(folder / "whole", out, ignore=shutil.ignore_patterns("model", "phases.json", "step-000003*"))
    DAMAGES[name][0](out)


def furthest(one: Path, two: Path) -> float:
    """The largest difference of two models' weights."""
    a, b = (load_file(out / "model" / "model.safetensors") for out in (one, two))
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def check_said(said: list[str], out: Path, what: str) -> None:
    """One line names a file of the newest checkpoint and what is wrong with it."""
    (line,) = [line for line in said if NEWEST in line]
    assert what in line and "\n" not in line
    assert line.endswith("; going on from the checkpoint before it")
    assert (out / f"{NEWEST}.damaged").is_dir()


@pytest.mark.parametrize("name", DAMAGES)
def test_two_processes_go_on_from_the_checkpoint_before_the_damaged_one(
    name: str, runs: tuple[Path, dict[str, list[list[str]]]]
) -> None:
    """To the same bits; the first of them says what was damaged, and the second nothing."""
    folder, told = runs
    out = folder / f"{name} by two"
    check_said(told[name][0], out, DAMAGES[name][1])
    assert told[name][1] == [] or not any(NEWEST in line for line in told[name][1])
    assert furthest(folder / "whole", out) == 0


@pytest.mark.parametrize("name", DAMAGES)
def test_one_process_goes_on_from_it_too(name: str, runs: tuple[Path, dict[str, list[list[str]]]]) -> None:
    folder, _ = runs
    out = folder / f"{name} by one"
    check_said(train(ALONE, folder, out), out, DAMAGES[name][1])
    assert furthest(folder / "whole", out) < 1e-4
    assert not torch.distributed.is_initialized()
