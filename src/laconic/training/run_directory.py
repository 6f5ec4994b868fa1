"""A run directory: the folder that holds all files of a run.

    config.json            the resolved recipe             environment.json     versions, device, inputs, changes
    metrics.jsonl          one object per step             rollouts/            the responses, one file per step
    phases/<n>-<name>/     probe.jsonl, selection.jsonl    phases.json          how each finished phase ended
    checkpoints/step-N/    weights in Hugging Face format, trainer.safetensors, trainer.json, SHA256SUMS
    eval/<benchmark>/      samples.jsonl, summary.json     model/               the run's result

1. A run exists as soon as its config.json does, which is the last file of its beginning. One process at a time works in it.
2. A checkpoint is written into a temporary folder and then renamed, so it exists either completely or not at all. What it holds
   has checksums, and one that is damaged is set aside.
3. Resuming takes the newest sound checkpoint and removes what was logged after it, so a repeated step is logged only once. What
   has changed since the run began is refused or recorded, as `config/resumption.py` says.
4. Nothing is unpickled: weights and optimiser state are safetensors, the rest is JSON.
"""

import contextlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic.config.difference import Difference, differences
from laconic.config.resumption import changes_measuring, freedom, refusal_line, resume_command
from laconic.errors import InputError, RunError, RunFailed
from laconic.evaluation.folder_names import temperature_tag
from laconic.models.environment import MACHINE
from laconic.rollouts.rows import paid_rows_of
from laconic.system.checksums import CHECKSUMS_FILE, damage_in, write_checksums
from laconic.system.files import (
    append_jsonl,
    read_json,
    sound_lines,
    to_jsonl,
    whole_folder,
    write_json_atomically,
    write_text_atomically,
)
from laconic.system.locks import LOCK_FILE, FolderLock
from laconic.types import Group

STEP_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state: the step after which it was taken, bookkeeping that JSON can hold, and tensors by name."""

    step: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """On what a run depends beside its recipe: digests of its `inputs` by name, and the `environment` of its process."""

    inputs: Mapping[str, Any]
    environment: Mapping[str, Any]


class RunDirectory:
    """The folder of one run, made with `create` and opened again with `resume`. Both lock it, until `lock` is released."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, FolderLock(path)
        self._sound: set[int] = set()

    # --- beginning ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], environment: Mapping[str, Any]) -> "RunDirectory":
        """A new run. Raises `RunError` if `path` is not empty; what a beginning that failed has left there does not count."""
        check_is_new(path)
        directory = cls(path)
        with directory._locked():
            check_is_new(path)
            write_json_atomically(path / "environment.json", environment)
            write_json_atomically(path / "config.json", config)
        return directory

    @classmethod
    def resume(cls, path: Path, config: Mapping[str, Any], *, accept_changes: bool = False) -> "RunDirectory":
        """The run at `path`. Raises `RunError` if there is none, another process works in it, or `config` differs from the run's
        where it may not."""
        _check_is_folder(path)
        if not (path / "config.json").exists():
            raise RunError(f"{path}: no run to resume (no config.json); to begin one leave out --resume")
        directory = cls(path)
        with directory._locked():
            directory._changes(config, None, accept_changes)
        return directory

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Take the lock; it is given back if what follows fails."""
        self.lock.take()
        try:
            yield
        except BaseException:
            self.lock.release()
            raise

    def take_up(
        self, step: int, config: Mapping[str, Any], now: Circumstances, *, accept_changes: bool = False
    ) -> list[str]:
        """Go on after `step`: record what has changed since the run began, and remove what a kill left half written.

        Returns the changes in words. Raises `RunError` for a change that may not be. Results that would now be measured otherwise
        are moved to a folder `replaced-N`.
        """
        found = self._changes(config, now, accept_changes)
        if any(changes_measuring(change.key) for change in found):
            self._set_results_aside()
        if found:
            held, new = self.environment(), [{"step": step} | change.to_json() for change in found]
            recorded = held.get("changes", [])
            here = {key: now.environment[key] for key in MACHINE} | ({"inputs": now.inputs} if "inputs" in held else {})
            changes = [*recorded, *(change for change in new if change not in recorded)]
            write_json_atomically(self.path / "environment.json", held | here | {"changes": changes})
            write_json_atomically(self.path / "config.json", config)
        for leftover in self.path.rglob("*.partial"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        return [change.sentence for change in found]

    def _changes(self, config: Mapping[str, Any], now: Circumstances | None, accept_changes: bool) -> list[Difference]:
        """How recipe and circumstances differ from those of the run. Raises `RunError` for a difference that may not be."""
        ours, theirs, held = self.config(), dict(config), self.environment()
        if now is not None and "inputs" in held:
            ours |= {"inputs": held["inputs"], "machine": {key: held.get(key) for key in MACHINE}}
            theirs |= {"inputs": now.inputs, "machine": {key: now.environment[key] for key in MACHINE}}
        found, is_trained = list(differences(ours, theirs)), self._is_trained(len(config.get("phases", ())))
        for change in found:
            allowed = freedom(change.key, is_trained=is_trained)
            if allowed == "refused" or (allowed == "acceptable" and not accept_changes):
                raise RunError(f"{self.path}: {refusal_line(change, self.path, is_acceptable=allowed == 'acceptable')}")
        return found

    def _is_trained(self, num_phases: int) -> bool:
        with contextlib.suppress(InputError):
            return len(self.phases()) == num_phases
        return False

    def _set_results_aside(self) -> None:
        places = (self.path / f"replaced-{number}" for number in itertools.count(1))
        place = next(place for place in places if not place.exists())
        for result in (self.path / "eval", *self.path.glob("comparison-*.json")):
            if result.exists():
                place.mkdir(exist_ok=True)
                result.rename(place / result.name)

    def config(self) -> dict[str, Any]:
        """The content of config.json; empty where there is no run. Raises `RunError` if it is damaged."""
        return self._stored("config.json")

    def environment(self) -> dict[str, Any]:
        """The content of environment.json; empty where there is no run. Raises `RunError` if it is damaged or missing."""
        return self._stored("environment.json")

    def _stored(self, name: str) -> dict[str, Any]:
        if not (self.path / "config.json").exists():
            return {}
        try:
            return read_json(self.path / name)
        except InputError as error:
            raise RunError(f"{error}; put back a copy of it, or train anew with another --out") from None

    # --- phases ------------------------------------------------------------------------------------------------------

    def phases(self) -> list[dict[str, Any]]:
        """The finished phases, as `write_phases` wrote them. Raises `RunError` if the file holds something else."""
        file = self.path / "phases.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        except (ValueError, RecursionError) as error:
            raise RunError(f"{file}: not JSON ({error})") from error
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise RunError(f"{file}: expected a list of finished phases")
        return found

    def write_phases(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write the finished phases, completely or not at all. A phase is over once this is written."""
        with self._writing(self.path / "phases.json"):
            write_json_atomically(self.path / "phases.json", list(records))

    # --- results -----------------------------------------------------------------------------------------------------

    def save_result(self, save_model: Callable[[Path], object]) -> None:
        """Write the run's `model/`, completely or not at all."""
        place = self.path / "model"
        with self._writing(place), whole_folder(place) as folder:
            save_model(folder)
            write_checksums(folder)

    def damage_of_result(self) -> str | None:
        """What is wrong with the run's `model/`, in words that begin with a path; None if it is sound."""
        return self._damage_in(self.path / "model")

    def is_measured(self, label: str, temperatures: Iterable[float]) -> bool:
        """Whether the model `label` has a finished evaluation at each of the temperatures."""
        folders = (self.path / "eval" / f"{label}-{temperature_tag(temperature)}" for temperature in temperatures)
        return all((folder / "summary.json").exists() for folder in folders)

    # --- logs --------------------------------------------------------------------------------------------------------

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append one step's metrics."""
        with self._writing(self.path / "metrics.jsonl"):
            append_jsonl(self.path / "metrics.jsonl", metrics)

    def metrics(self) -> list[dict[str, Any]]:
        """All logged steps; damaged lines are passed over."""
        return sound_lines(self.path / "metrics.jsonl", _is_step)[0]

    def log_rollouts(self, step: int, groups: Sequence[Group]) -> None:
        """Store a step's rollouts, one line each."""
        file = self.path / "rollouts" / f"{step_name(step)}.jsonl"
        with self._writing(file):
            write_text_atomically(file, to_jsonl(row.to_json() for group in groups for row in paid_rows_of(group)))

    def forget_after(self, step: int) -> str | None:
        """Drop metrics and rollouts of later steps: the resumed run makes them again.

        Damaged lines of the metrics are left out, and the file as it was is kept; returns which, in words, or None.
        """
        file, what = self.path / "metrics.jsonl", None
        steps, damaged = sound_lines(file, _is_step)
        if damaged:
            kept = Path(shutil.copy(file, file.with_name("metrics.jsonl.damaged")))
            what = f"{file}, line {damaged[0]}: is damaged ({len(damaged)} lines left out; as it was: {kept})"
        with self._writing(file):
            write_text_atomically(file, to_jsonl(row for row in steps if row["step"] <= step))
        for rollouts in (self.path / "rollouts").glob("step-*.jsonl"):
            if (number := _step_of(rollouts.stem)) is not None and number > step:
                rollouts.unlink()
        return what

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint taken after `step` is."""
        return self.path / "checkpoints" / step_name(step)

    def checkpoint_steps(self) -> list[int]:
        """The steps after which checkpoints were taken, newest first. What is no checkpoint by its name is passed over."""
        names = (folder.name for folder in (self.path / "checkpoints").glob("step-*") if folder.is_dir())
        return sorted((step for name in names if (step := _step_of(name)) is not None), reverse=True)

    def save_checkpoint(self, checkpoint: Checkpoint, save_model: Callable[[Path], object]) -> Path:
        """Write a checkpoint, completely or not at all; `save_model(folder)` writes the weights in Hugging Face format.

        Raises `RunFailed`, which names the file, where the disk refuses; older checkpoints are then unchanged.
        """
        place = self.checkpoint_path(checkpoint.step)
        with self._writing(place), whole_folder(place) as folder:
            with self._writing(place / "model.safetensors"):
                save_model(folder)
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
            with self._writing(place / "trainer.safetensors"):
                save_file(tensors, folder / "trainer.safetensors")
            write_json_atomically(folder / "trainer.json", {"step": checkpoint.step} | checkpoint.state)
            write_checksums(folder)
        return place

    def bookkeeping(self, step: int) -> dict[str, Any]:
        """The bookkeeping of the checkpoint taken after `step`. Raises `RunError` naming the file if it is damaged."""
        if damage := self.damage_of(step):
            raise RunError(f"{damage}; put back a copy of it, or train anew with another --out")
        return read_json(self.checkpoint_path(step) / "trainer.json")

    def load_checkpoint(self, step: int) -> Checkpoint:
        """The checkpoint taken after `step`. Raises `RunError` as `bookkeeping` does."""
        return Checkpoint(step, self.bookkeeping(step), load_file(self.checkpoint_path(step) / "trainer.safetensors"))

    def damage_of(self, step: int) -> str | None:
        """What is wrong with the checkpoint taken after `step`, in words that begin with a path; None if it is sound."""
        place = self.checkpoint_path(step)
        if step in self._sound:
            return None
        if damage := self._damage_in(place):
            return damage
        if (held := read_json(place / "trainer.json").get("step", step)) != step:
            return f"{place}: holds the state after step {held}"
        self._sound.add(step)
        return None

    def _damage_in(self, place: Path) -> str | None:
        """What is wrong with a folder that has checksums. Those of runs begun before there were any are taken as they are."""
        if not place.is_dir():
            return f"{place}: is missing"
        is_older = "inputs" not in self.environment() and not (place / CHECKSUMS_FILE).exists()
        return None if is_older else damage_in(place)

    def set_aside(self, step: int) -> None:
        """Rename a damaged checkpoint, so that it is not taken for one again."""
        place = self.checkpoint_path(step)
        aside = place.with_name(f"{place.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)

    def prune_checkpoints(self, keep: int, always: set[int]) -> None:
        """Delete all but the newest `keep` checkpoints and those of the steps in `always`."""
        for step in self.checkpoint_steps()[keep:]:
            if step not in always:
                shutil.rmtree(self.checkpoint_path(step))

    # --- writing -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        """Turn an error of the disk into a `RunFailed` that names the file and says how the run goes on."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            file = getattr(error, "filename", None) or path
            reason = getattr(error, "strerror", None) or str(error)
            raise RunFailed(
                f"{file}: cannot be written ({reason}); {self.newest_words()}. "
                f"Go on, once there is room, with  {resume_command(self.path)}"
            ) from error

    def newest_words(self) -> str:
        """Which checkpoint is the newest, in words."""
        steps = self.checkpoint_steps()
        return f"the last good checkpoint is that of step {steps[0]}" if steps else "there is no checkpoint yet"


def step_name(step: int) -> str:
    """step-000040"""
    return f"step-{step:0{STEP_DIGITS}d}"


def _step_of(name: str) -> int | None:
    """The step whose `step_name` is `name`, if it is one."""
    match = re.fullmatch(r"step-([0-9]+)", name)
    return int(match[1]) if match and step_name(int(match[1])) == name else None


def _is_step(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("step"), int)


# --- names -----------------------------------------------------------------------------------------------------------


def model_label(number: int) -> str:
    """How folders name a model of the run: the base (0), or the result of phase `number`.

    >>> model_label(0), model_label(2)
    ('base', 'phase-2')
    """
    return f"phase-{number}" if number else "base"


# --- what a folder must be -------------------------------------------------------------------------------------------


def check_is_new(path: Path) -> None:
    """Raises `RunError` if a new run cannot use the folder `path`, because it is a file or not empty."""
    _check_is_folder(path)
    if path.exists() and not all(_is_of_a_beginning(held) for held in path.iterdir()):
        raise RunError(f"{path}: is not empty; expected a new folder, or --resume to go on with the run in it")


def _is_of_a_beginning(path: Path) -> bool:
    """Whether the file is written before a run's config.json, so that it says of no run that it exists."""
    return path.name in (LOCK_FILE, "environment.json") or path.suffix == ".partial"


def _check_is_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; expected a folder")
