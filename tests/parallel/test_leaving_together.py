"""What ends one process of a team ends all of them at the same point, and the run can be resumed."""

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ranked import in_team
from small import save_small_model, small_recipe

from laconic.errors import LaconicError, RunFailed, Terminated
from laconic.grading.grader import Grader
from laconic.parallel.team import ALONE, Team
from laconic.system.files import read_jsonl
from laconic.system.progress import Reporter
from laconic.system.termination import heeding_signals
from laconic.training.run import start

GRADED_BEFORE_STEP_2 = 3  # the probe, the first watch, and the rollouts of step 1


def recipe(folder: Path, **changes: Any) -> Any:
    return small_recipe(folder / "model", **changes)


def train(team: Team, asked: Any, out: Path, *, resume: bool = False) -> str:
    """How training ends, in words."""
    try:
        with heeding_signals(str):
            start(asked, out, resume=resume, reporter=Reporter(is_silent=True), team=team).train()
    except (LaconicError, Terminated) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def signalled(team: Team, folder: Path) -> str:
    """Training in which rank 1 alone gets SIGTERM while it draws and grades the rollouts of step 2."""
    grade_many, calls = Grader.grade_many, []

    def counted(self: Grader, items: Any) -> Any:
        calls.append(None)
        if team.rank == 1 and len(calls) == GRADED_BEFORE_STEP_2 + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return grade_many(self, items)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Grader, "grade_many", counted)
        return train(team, recipe(folder), folder / "signalled")


def on_a_full_disk(team: Team, folder: Path) -> str:
    """Training in which the disk of rank 1 is full when the first checkpoint is written."""
    from laconic.parallel import shards

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        if team.rank == 1:
            patch.setattr(shards.HuggingFaceStorageWriter, "write_data", refused)
        return train(team, recipe(folder), folder / "full")


def diverging(team: Team, folder: Path) -> str:
    steep = {"lr": 1e30, "critic_lr": 1e30}
    asked = recipe(folder)
    phases = [asked.phases[0].model_copy(update={"optimizer": asked.phases[0].optimizer.model_copy(update=steep)})]
    return train(team, asked.model_copy(update={"phases": phases}), folder / "diverging")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ends")
    save_small_model(path / "model")
    return path


@pytest.fixture(scope="module")
def endings(folder: Path) -> list[dict[str, str]]:
    """How each process of a pair ended, by what happened."""
    happenings = (signalled, on_a_full_disk, diverging)
    return in_team(2, lambda team: {what.__name__: what(team, folder) for what in happenings}, folder / "pair")


def test_a_signal_to_one_ends_all_after_the_same_step(endings: list[dict[str, str]], folder: Path) -> None:
    """Both have left during the rollouts of step 2; step 1 is saved, and one process goes on from it to the end."""
    assert [ending["signalled"] for ending in endings] == ["Terminated: ended by SIGTERM; "] * 2
    out = folder / "signalled"
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000001"]
    assert train(ALONE, recipe(folder), out, resume=True) == "done"
    steps = [row["step"] for row in read_jsonl(out / "metrics.jsonl")]
    assert steps == list(range(1, len(steps) + 1))


def test_a_full_disk_of_one_is_told_by_all(endings: list[dict[str, str]], folder: Path) -> None:
    """They name the place, and leave nothing half written."""
    first, second = (ending["on_a_full_disk"] for ending in endings)
    assert first == second
    assert first.startswith("RunFailed:")
    assert "step-000002/trainer: cannot be written (No space left on device); there is no checkpoint yet" in first
    assert list((folder / "full" / "checkpoints").iterdir()) == []


def test_training_diverges_for_all(endings: list[dict[str, str]]) -> None:
    first, second = (ending["diverging"] for ending in endings)
    assert first == second
    assert first.startswith("RunFailed: first: training diverged in step 1")


def test_an_error_of_a_shared_part_is_raised_by_all(tmp_path: Path) -> None:
    """Of two different errors that of the lowest rank, and of an error and a result the error."""

    def work(team: Team) -> list[str]:
        def fails(own: Any) -> Any:
            raise RunFailed(f"by {team.rank}")

        told = []
        for share in (fails, lambda own: fails(own) if team.rank == 1 else own):
            try:
                team.share_out([1, 2], share)
            except RunFailed as error:
                told.append(str(error))
        return told

    assert in_team(2, work, tmp_path) == [["by 0", "by 1"]] * 2
