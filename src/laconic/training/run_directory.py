"""A run directory: the folder that holds all files of a run.

    config.json            the resolved recipe             environment.json     versions, device, inputs, changes
    metrics.jsonl          one object per step             rollouts/            the responses, one file per step
    phases/<n>-<name>/     probe.jsonl, selection.jsonl    phases.json          how each finished phase ended
    checkpoints/step-N/    weights in Hugging Face format, trainer.safetensors, trainer.json, SHA256SUMS
    eval/<benchmark>/      samples.jsonl, summary.json     model/               the run's result

1. A run exists as soon as its config.json does, which is the last file of its beginning. One process at a time works in it.
2. Every file is written into a temporary one and then renamed, so it exists either completely or not at all. Checkpoints and the
   result have checksums (`checkpoint_files.py`).
3. Resuming takes the newest sound checkpoint and removes what was logged after it, so a repeated step is logged only once. What
   has changed since the run began is refused or recorded, as `config/resumption.py` says.
4. Where several processes train together, the first of them alone holds the lock and writes; the others wait until it has
   written, and learn of its errors.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.config.difference import Difference, differences
from laconic.config.load import with_defaults
from laconic.config.resumption import (
    MADE_WITH,
    changes_measuring,
    freedom,
    is_moved_file,
    refusal_line,
    was_made_with,
)
from laconic.errors import InputError, RunError
from laconic.evaluation.folder_names import temperature_tag
from laconic.evaluation.problem_meta import add_meta
from laconic.models.environment import MACHINE
from laconic.parallel.team import ALONE, Team
from laconic.rollouts.rows import paid_rows_of
from laconic.system.checksums import write_checksums
from laconic.system.files import (
    append_jsonl,
    read_bytes,
    read_json,
    remove_leftover,
    sound_lines,
    to_jsonl,
    whole_folder,
    write_json_atomically,
    write_text_atomically,
)
from laconic.system.locks import LOCK_FILE, FolderLock
from laconic.training.checkpoint_files import CheckpointFiles, step_name, step_of
from laconic.types import Group, Problem


@dataclass(frozen=True, slots=True)
class Circumstances:
    """On what a run depends beside its recipe: digests of its `inputs` by name, and the `environment` of its process."""

    inputs: Mapping[str, Any]
    environment: Mapping[str, Any]


class RunDirectory:
    """The folder of one run, made with `create` and opened again with `resume`. Both lock it, until `lock` is released. `team`
    holds the processes that work in it together."""

    def __init__(self, path: Path, team: Team = ALONE) -> None:
        self.path, self.team, self.lock = path, team, FolderLock(path, needed=team.is_first)
        self.checkpoints = CheckpointFiles(path, lambda: "inputs" not in self.environment(), team)

    # --- beginning ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: Path, config: Mapping[str, Any], environment: Mapping[str, Any], team: Team = ALONE
    ) -> "RunDirectory":
        """A new run. Raises `RunError` if `path` is not empty; what a beginning that failed has left there does not count."""
        directory = cls(path, team)
        team.by_first(lambda: directory._begin(config, environment))
        return directory

    def _begin(self, config: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        check_is_new(self.path)
        with self._locked():
            check_is_new(self.path)
            write_json_atomically(self.path / "environment.json", environment)
            write_json_atomically(self.path / "config.json", config)

    @classmethod
    def resume(
        cls, path: Path, config: Mapping[str, Any], *, accept_changes: bool = False, team: Team = ALONE
    ) -> "RunDirectory":
        """The run at `path`. Raises `RunError` if there is none, another process works in it, or `config` differs from the run's
        where it may not."""
        directory = cls(path, team)
        team.by_first(lambda: directory._reopen(config, accept_changes))
        return directory

    def _reopen(self, config: Mapping[str, Any], accept_changes: bool) -> None:
        _check_is_folder(self.path)
        if not (self.path / "config.json").exists():
            raise RunError(f"{self.path}: no run to resume (no config.json); to begin one leave out --resume")
        with self._locked():
            self._changes(config, None, accept_changes)

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
        return self.team.by_first(lambda: self._take_up(step, config, now, accept_changes))

    def _take_up(self, step: int, config: Mapping[str, Any], now: Circumstances, accept_changes: bool) -> list[str]:
        found = self._changes(config, now, accept_changes)
        if any(changes_measuring(change.key) for change in found):
            self._set_results_aside()
        if found:
            held, new = self.environment(), [{"step": step} | change.to_json() for change in found]
            recorded = held.get("changes", [])
            if not isinstance(recorded, list):
                raise RunError(
                    f"{self.path / 'environment.json'}: changes: expected a list; put back a copy of the file"
                )
            here = {key: now.environment[key] for key in MACHINE} | ({"inputs": now.inputs} if "inputs" in held else {})
            changes = [*recorded, *(change for change in new if change not in recorded)]
            write_json_atomically(self.path / "environment.json", held | here | {"changes": changes})
        if found or self.config() != config:  # a user's own file may have moved with the run, which is no change
            write_json_atomically(self.path / "config.json", config)
        for leftover in list(self.path.rglob(".*.partial")):
            remove_leftover(leftover)
        return [change.sentence for change in found]

    def _changes(self, config: Mapping[str, Any], now: Circumstances | None, accept_changes: bool) -> list[Difference]:
        """How recipe and circumstances differ from those of the run. Raises `RunError` for a difference that may not be, or not
        any more. A key that the recipes of an older version did not have may be new, with its default."""
        ours, theirs, held = self.config(), dict(config), self.environment()
        new = _new_keys(ours, theirs)
        if now is not None and "inputs" in held:
            before, after = _on_both_sides(held["inputs"], now.inputs)
            ours |= {"inputs": before, "machine": {key: held.get(key) for key in MACHINE}}
            theirs |= {"inputs": after, "machine": {key: now.environment[key] for key in MACHINE}}
        is_trained = self.num_finished() == len(config.get("phases", ()))
        found = [change for change in differences(ours, theirs) if not is_moved_file(change)]
        for change in found:
            allowed = "free" if change.key in new else freedom(change.key, is_trained=is_trained)
            made = self._made_with(change.key, config) if allowed == "acceptable" else None
            if allowed == "refused" or made or (allowed == "acceptable" and not accept_changes):
                is_acceptable = allowed == "acceptable" and not made
                raise RunError(
                    f"{self.path}: {refusal_line(change, self.path, is_acceptable=is_acceptable, made=made)}"
                )
        return found

    def _made_with(self, key: str, config: Mapping[str, Any]) -> Path | None:
        """What an unfinished phase of the run has made and goes on with, and would have made otherwise with another value of
        `key`."""
        names = [str(phase["name"]) for phase in config.get("phases", ())]
        for index in range(self.num_finished(), len(names)):
            for made in MADE_WITH:
                place = self.path / made if made == "checkpoints" else self.phase_folder(index, names[index]) / made
                is_there = self._has_checkpoint_of(index) if made == "checkpoints" else place.is_file()
                if is_there and was_made_with(made, key, names[index]):
                    return place
        return None

    def _has_checkpoint_of(self, index: int) -> bool:
        with contextlib.suppress(InputError):  # of a damaged one, which is told elsewhere
            files = [self.checkpoints.place(step) / "trainer.json" for step in self.checkpoints.steps()]
            return any(read_json(file).get("phase") == index for file in files)
        return False

    def phase_folder(self, index: int, name: str) -> Path:
        """The folder of the files of phase `index`, which is called `name`."""
        return self.path / "phases" / f"{index + 1}-{name}"

    def has_accepted_since(self, step: int) -> bool:
        """Whether a change was accepted when the run went on after `step`, or later."""
        recorded = self.environment().get("changes")
        changes = [change for change in recorded if _is_change(change)] if isinstance(recorded, list) else []
        keys = (change["key"] for change in changes if change["step"] >= step)
        return any(freedom(key, is_trained=False) == "acceptable" for key in keys)

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
            found = json.loads(read_bytes(file)) if file.exists() else []
        except (ValueError, RecursionError) as error:
            raise RunError(f"{file}: not JSON ({error})") from error
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise RunError(f"{file}: expected a list of finished phases")
        return found

    def num_finished(self) -> int:
        """The number of finished phases; 0 where their file is damaged."""
        with contextlib.suppress(InputError):
            return len(self.phases())
        return 0

    def write_phases(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write the finished phases, completely or not at all. A phase is over once this is written."""
        file = self.path / "phases.json"
        self.checkpoints.write(file, lambda: write_json_atomically(file, list(records)))

    # --- results -----------------------------------------------------------------------------------------------------

    def save_result(self, save_model: Callable[[Path], object]) -> None:
        """Write the run's `model/`, completely or not at all."""
        place = self.path / "model"

        def write() -> None:
            with whole_folder(place) as folder:
                save_model(folder)
                write_checksums(folder)

        self.checkpoints.write(place, write)

    def damage_of_result(self) -> str | None:
        """What is wrong with the run's `model/`, in words that begin with a path; None if it is sound."""
        return self.checkpoints.damage_in(self.path / "model")

    def is_measured(self, label: str, temperatures: Iterable[float]) -> bool:
        """Whether the model `label` has a finished evaluation at each of the temperatures."""
        folders = (self.path / "eval" / f"{label}-{temperature_tag(temperature)}" for temperature in temperatures)
        return all((folder / "summary.json").exists() for folder in folders)

    # --- logs --------------------------------------------------------------------------------------------------------

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append one step's metrics."""
        file = self.path / "metrics.jsonl"
        self.checkpoints.write(file, lambda: append_jsonl(file, metrics))

    def metrics(self) -> list[dict[str, Any]]:
        """All logged steps; damaged lines are passed over."""
        return sound_lines(self.path / "metrics.jsonl", _is_step)[0]

    def log_rollouts(self, step: int, groups: Sequence[Group]) -> None:
        """Store a step's rollouts, one line each."""
        file = self.path / "rollouts" / f"{step_name(step)}.jsonl"

        def write() -> None:
            write_text_atomically(file, to_jsonl(row.to_json() for group in groups for row in paid_rows_of(group)))

        self.checkpoints.write(file, write)

    def log_meta(self, problems: Sequence[Problem]) -> None:
        """Store beside the rollouts what the source says of a phase's problems, which grading them again may need."""
        self.team.by_first(lambda: add_meta(problems, self.path / "rollouts"))

    def log_digest(self, step: int) -> str:
        """A digest of the metrics that were logged up to `step`."""
        lines = to_jsonl(row for row in self.metrics() if row["step"] <= step)
        return hashlib.sha256(lines.encode()).hexdigest()

    def forget_after(self, step: int, log_digest: str | None = None) -> str | None:
        """Drop metrics and rollouts of later steps: the resumed run makes them again.

        Damaged lines of the metrics are left out. Returns what is wrong with the log, in words, or None; `log_digest` is what
        `log_digest` gave when the run was after `step`, None if it is not known.
        """
        return self.team.by_first(lambda: self._forget_after(step, log_digest))

    def _forget_after(self, step: int, log_digest: str | None) -> str | None:
        file = self.path / "metrics.jsonl"
        steps, damaged = sound_lines(file, _is_step)
        what = None
        if damaged:
            what = f"{file}, line {damaged[0]}: is damaged ({len(damaged)} lines left out{_set_aside(file)})"
        elif log_digest not in (None, self.log_digest(step)):
            what = (
                f"{file}: lines up to step {step} are missing or were changed since they were logged{_set_aside(file)}"
            )
        with self.checkpoints.writing(file):
            write_text_atomically(file, to_jsonl(row for row in steps if row["step"] <= step))
        for rollouts in (self.path / "rollouts").glob("step-*.jsonl"):
            if (number := step_of(rollouts.stem)) is not None and number > step:
                rollouts.unlink()
        return what


def _new_keys(ours: dict[str, Any], theirs: Mapping[str, Any]) -> set[str]:
    """The keys that an older version's recipe `ours` lacks, and that have their defaults in the recipe `theirs` of today."""
    added = {change.key for change in differences(ours, theirs) if change.is_addition}
    return added - {change.key for change in differences(with_defaults(ours), theirs)}


def _on_both_sides(held: Any, now: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The inputs that are known both from when the run began and now: earlier versions recorded fewer, and teachers of finished
    phases are not read again. What was recorded and is no table differs as a whole."""
    if not isinstance(held, dict):
        return held, now
    before, after = ({key: side[key] for key in held if key in now} for side in (held, now))
    if all(isinstance(side.get("teachers"), dict) for side in (before, after)):
        taught = sorted(before["teachers"].keys() & after["teachers"].keys())
        for side in (before, after):
            side["teachers"] = {phase: side["teachers"][phase] for phase in taught}
    return before, after


def _set_aside(file: Path) -> str:
    """Keep a copy of a damaged log, and say in words where."""
    if not file.exists():
        return ""
    return f"; as it was: {shutil.copy(file, file.with_name(f'{file.name}.damaged'))}"


def _is_step(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("step"), int) and isinstance(row.get("phase"), str)


def _is_change(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("step"), int) and isinstance(record.get("key"), str)


# --- names -----------------------------------------------------------------------------------------------------------


def model_label(number: int) -> str:
    """How folders name a model of the run: the base (0), or the result of phase `number`.

    >>> model_label(0), model_label(2)
    ('base', 'phase-2')
    """
    return f"phase-{number}" if number else "base"


# --- what a folder must be -------------------------------------------------------------------------------------------


def check_is_new(path: Path) -> None:
    """Raises `RunError` if a new run cannot use the folder `path`: it is a file, lies under one or in a folder that cannot be
    written to, or is not empty."""
    _check_is_folder(path)
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise RunError(f"{path}: {nearest} is a file; expected a folder")
    if not os.access(nearest, os.W_OK):
        raise RunError(f"{path}: {nearest} cannot be written to")
    if path.exists() and not all(_is_of_a_beginning(held) for held in path.iterdir()):
        raise RunError(f"{path}: is not empty; expected a new folder, or --resume to go on with the run in it")


def _is_of_a_beginning(path: Path) -> bool:
    """Whether the file is written before a run's config.json, so that it says of no run that it exists."""
    return path.name in (LOCK_FILE, "environment.json") or path.match(".*.partial")


def _check_is_folder(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path}: is a link that leads nowhere; expected a folder")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; expected a folder")
