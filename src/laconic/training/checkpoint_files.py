"""The files of a run's checkpoints: `checkpoints/step-N/` with weights, trainer.safetensors, trainer.json and SHA256SUMS.

1. A checkpoint is written into a temporary folder and then renamed, so it exists either completely or not at all. What it holds
   has checksums.
2. Nothing is unpickled: weights and optimiser state are safetensors, the rest is JSON.
3. `writing` turns an error of the disk, wherever in a run's folder, into a `RunFailed` that says how the run goes on.
4. Where several processes train together, each writes its share of the tensors, into a folder `trainer/` in place of the file
   trainer.safetensors (`parallel/shards.py`). Either is read by any number of processes, tensor by tensor from a folder.

What is left out: what a checkpoint holds, and which ones are kept (`checkpoints.py`).
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic.config.resumption import resume_command
from laconic.errors import RunError, RunFailed
from laconic.parallel.team import ALONE, Result, Team
from laconic.system.checksums import CHECKSUMS_FILE, damage_in, unlisted, write_checksums
from laconic.system.files import read_json, whole_folder, write_json_atomically

STEP_DIGITS = 6
TENSORS_FILE, TENSORS_FOLDER = "trainer.safetensors", "trainer"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state: the step after which it was taken, bookkeeping that JSON can hold, and tensors by name."""

    step: int
    state: dict[str, Any]
    tensors: Mapping[str, Tensor]


class CheckpointFiles:
    """The checkpoints in the folder of a run.

    `is_older` says whether the run was begun before there were checksums; then a folder without them is taken as it is. `team`
    holds the processes that write and read them together: all call `save`, `load`, `prune` and `write`, and any one the rest.
    """

    def __init__(self, run: Path, is_older: Callable[[], bool], team: Team = ALONE) -> None:
        self.run, self.folder, self.team, self._is_older = run, run / "checkpoints", team, is_older
        self._sound: set[int] = set()

    def place(self, step: int) -> Path:
        """Where the checkpoint taken after `step` is."""
        return self.folder / step_name(step)

    def steps(self) -> list[int]:
        """The steps after which checkpoints were taken, newest first. What is no checkpoint by its name is passed over."""
        names = (folder.name for folder in self.folder.glob("step-*") if folder.is_dir())
        return sorted((step for name in names if (step := step_of(name)) is not None), reverse=True)

    def save(self, checkpoint: Checkpoint, save_model: Callable[[Path], object]) -> Path:
        """Write a checkpoint, completely or not at all; `save_model(folder)` writes the weights in Hugging Face format.

        Raises `RunFailed`, which names the file, where the disk refuses; older checkpoints are then unchanged.
        """
        place = self.place(checkpoint.step)
        with ExitStack() as undo:
            folder = self.write(place, lambda: undo.enter_context(whole_folder(place)))
            self.write(place / "model.safetensors", lambda: save_model(folder))
            self._save_tensors(checkpoint.tensors, place, folder)
            self.write(place, lambda: self._close(checkpoint, folder, undo))
        return place

    def _save_tensors(self, tensors: Mapping[str, Tensor], place: Path, folder: Path) -> None:
        if self.team.size > 1:
            from laconic.parallel.shards import save_shares

            with self.writing(place / TENSORS_FOLDER):
                save_shares(tensors, folder / TENSORS_FOLDER)
            return
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with self.writing(place / TENSORS_FILE):
            save_file(whole, folder / TENSORS_FILE)

    def _close(self, checkpoint: Checkpoint, folder: Path, undo: ExitStack) -> None:
        """Write what is small, and let the folder take its place."""
        write_json_atomically(folder / "trainer.json", {"step": checkpoint.step} | checkpoint.state)
        write_checksums(folder)
        undo.close()

    def write(self, path: Path, work: Callable[[], Result]) -> Result:
        """What `work` returns, which writes `path`: the first process alone does it. Raises `RunFailed` as `writing` does."""

        def guarded() -> Result:
            with self.writing(path):
                return work()

        return self.team.by_first(guarded)

    def bookkeeping(self, step: int) -> dict[str, Any]:
        """The bookkeeping of the checkpoint taken after `step`. Raises `RunError` naming the file if it is damaged."""
        if damage := self.damage_of(step):
            raise RunError(f"{damage}; put back a copy of it, or train anew with another --out")
        return read_json(self.place(step) / "trainer.json")

    def load(self, step: int) -> Checkpoint:
        """The checkpoint taken after `step`. Raises `RunError` as `bookkeeping` does."""
        state, place = self.team.by_first(lambda: self.bookkeeping(step)), self.place(step)
        if (place / TENSORS_FILE).exists():
            return Checkpoint(step, state, load_file(place / TENSORS_FILE))
        from laconic.parallel.shards import Shares

        return Checkpoint(step, state, Shares(place / TENSORS_FOLDER))

    def damage_of(self, step: int) -> str | None:
        """What is wrong with the checkpoint taken after `step`, in words that begin with a path; None if it is sound."""
        place = self.place(step)
        if step in self._sound:
            return None
        if damage := self.damage_in(place):
            return damage
        if (held := read_json(place / "trainer.json").get("step", step)) != step:
            return f"{place}: holds the state after step {held}"
        self._sound.add(step)
        return None

    def damage_in(self, place: Path) -> str | None:
        """What is wrong with a folder of the run that has checksums, in words that begin with a path; None if it is sound."""
        if not place.is_dir():
            return f"{place}: is missing"
        if not (place / CHECKSUMS_FILE).exists() and self._is_older():
            return None
        return damage_in(place) or _stranger_in(place)

    def set_aside(self, step: int) -> None:
        """Rename a damaged checkpoint, so that it is not taken for one again."""
        place = self.place(step)
        aside = place.with_name(f"{place.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)

    def prune(self, keep: int, always: set[int]) -> None:
        """Delete all but the newest `keep` checkpoints and those of the steps in `always`."""
        self.team.by_first(lambda: self._prune(keep, always))

    def _prune(self, keep: int, always: set[int]) -> None:
        for step in self.steps()[keep:]:
            if step not in always:
                shutil.rmtree(self.place(step))

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Turn an error of the disk into a `RunFailed` that names the file and says how the run goes on."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            file = getattr(error, "filename", None) or path
            reason = getattr(error, "strerror", None) or str(error)
            raise RunFailed(
                f"{file}: cannot be written ({reason}); {self.newest_words()}. "
                f"Go on, once there is room, with  {resume_command(self.run)}"
            ) from error

    def newest_words(self) -> str:
        """Which checkpoint is the newest, in words."""
        steps = self.steps()
        return f"the last good checkpoint is that of step {steps[0]}" if steps else "there is no checkpoint yet"


def _stranger_in(place: Path) -> str | None:
    """A file of tensors that was not written with the checkpoint in `place`, in words; all that lie there are read together."""
    found = unlisted(place, [*place.glob(TENSORS_FILE), *sorted(place.glob(f"{TENSORS_FOLDER}/*"))])
    return None if found is None else f"{found}: does not belong to this checkpoint, and would be read with it"


def step_name(step: int) -> str:
    """step-000040"""
    return f"step-{step:0{STEP_DIGITS}d}"


def step_of(name: str) -> int | None:
    """The step whose `step_name` is `name`, if it is one."""
    match = re.fullmatch(r"step-([0-9]+)", name)
    return int(match[1]) if match and step_name(int(match[1])) == name else None
