"""A run directory: the folder that holds all files of a run.

    config.json            the resolved recipe             environment.json     versions, device, products
    metrics.jsonl          one object per step             rollouts/            the responses, one file per step
    phases/<n>-<name>/     probe.jsonl, selection.jsonl    phases.json          how each finished phase ended
    checkpoints/step-N/    weights in Hugging Face format, trainer.safetensors, trainer.json
    eval/<benchmark>/      samples.jsonl, summary.json     model/               the run's result

1. A checkpoint is written into a temporary folder and then renamed, so it exists either completely or not at all.
2. Resuming takes the newest checkpoint and removes what was logged after it, so a repeated step is logged only once.
3. Nothing is unpickled: weights and optimiser state are safetensors, the rest is JSON.
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic.config.difference import Difference, first_difference
from laconic.errors import RunError
from laconic.evaluation.folder_names import temperature_tag
from laconic.models.product_path import product_path
from laconic.rollouts.rows import paid_rows_of
from laconic.system.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    to_jsonl,
    write_json_atomically,
    write_text_atomically,
)
from laconic.system.processor import processor_name
from laconic.types import Group

STEP_DIGITS = 6
_PACKAGES = ("laconic", "torch", "transformers", "accelerate", "peft", "safetensors", "numpy", "scipy", "math-verify")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state: the step after which it was taken, bookkeeping that JSON can hold, and tensors by name."""

    step: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]


class RunDirectory:
    """The folder of one run, made with `create` and opened again with `resume`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- beginning ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], environment: Mapping[str, Any]) -> "RunDirectory":
        """A new run. Raises `RunError` if `path` is not empty."""
        check_is_new(path)
        path.mkdir(parents=True, exist_ok=True)
        write_json_atomically(path / "environment.json", environment)
        write_json_atomically(path / "config.json", config)
        return cls(path)

    @classmethod
    def resume(cls, path: Path, config: Mapping[str, Any] | None) -> "RunDirectory":
        """The run at `path`. Raises `RunError` if there is none, or if `config` is given and differs from the run's."""
        file = path / "config.json"
        _check_is_folder(path)
        if not file.exists():
            raise RunError(f"{path}: no run to resume (no config.json)")
        if config is not None and (difference := first_difference(read_json(file), config)):
            raise RunError(f"{path}: {_difference_line(difference, path)}")
        for leftover in path.rglob("*.partial"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        return cls(path)

    def products(self) -> str | None:
        """The path of matrix products that the run was begun with; None where there is no run. Runs that state none took
        `onednn`."""
        file = self.path / "environment.json"
        return str(read_json(file).get("products", "onednn")) if file.exists() else None

    # --- phases ------------------------------------------------------------------------------------------------------

    def phases(self) -> list[dict[str, Any]]:
        """The finished phases, as `write_phases` wrote them."""
        file = self.path / "phases.json"
        return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []

    def write_phases(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write the finished phases, completely or not at all. A phase is over once this is written."""
        write_json_atomically(self.path / "phases.json", list(records))

    # --- measuring ---------------------------------------------------------------------------------------------------

    def is_measured(self, label: str, temperatures: Iterable[float]) -> bool:
        """Whether the model `label` has a finished evaluation at each of the temperatures."""
        folders = (self.path / "eval" / f"{label}-{temperature_tag(temperature)}" for temperature in temperatures)
        return all((folder / "summary.json").exists() for folder in folders)

    # --- logs --------------------------------------------------------------------------------------------------------

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append one step's metrics."""
        append_jsonl(self.path / "metrics.jsonl", metrics)

    def metrics(self) -> list[dict[str, Any]]:
        """All logged steps."""
        file = self.path / "metrics.jsonl"
        return list(read_jsonl(file)) if file.exists() else []

    def log_rollouts(self, step: int, groups: Sequence[Group]) -> None:
        """Store a step's rollouts, one line each."""
        rows = (row.to_json() for group in groups for row in paid_rows_of(group))
        write_text_atomically(self.path / "rollouts" / f"{step_name(step)}.jsonl", to_jsonl(rows))

    def forget_after(self, step: int) -> None:
        """Drop metrics and rollouts of later steps: the resumed run makes them again."""
        kept = [json.dumps(row) for row in self._readable_metrics() if row["step"] <= step]
        write_text_atomically(self.path / "metrics.jsonl", "".join(line + "\n" for line in kept))
        for file in (self.path / "rollouts").glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > step:
                file.unlink()

    def _readable_metrics(self) -> Iterable[dict[str, Any]]:
        """The logged steps before the first line that a kill cut off."""
        file = self.path / "metrics.jsonl"
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint taken after `step` is."""
        return self.path / "checkpoints" / step_name(step)

    def save_checkpoint(self, checkpoint: Checkpoint, save_model: Callable[[Path], object]) -> Path:
        """Write a checkpoint, completely or not at all; `save_model(folder)` writes the weights in Hugging Face format."""
        place = self.checkpoint_path(checkpoint.step)
        partial = place.with_name(place.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_model(partial)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        save_file(tensors, partial / "trainer.safetensors")
        write_json_atomically(partial / "trainer.json", checkpoint.state)
        _sync(partial)
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
        return place

    def latest_checkpoint(self) -> int | None:
        """The step of the newest complete checkpoint."""
        steps = [int(folder.name.removeprefix("step-")) for folder in self._checkpoints()]
        return max(steps, default=None)

    def load_checkpoint(self, step: int) -> Checkpoint:
        """The checkpoint taken after `step`."""
        place = self.checkpoint_path(step)
        return Checkpoint(step, read_json(place / "trainer.json"), load_file(place / "trainer.safetensors"))

    def prune_checkpoints(self, keep: int, always: set[int]) -> None:
        """Delete all but the newest `keep` checkpoints and those of the steps in `always`."""
        newest_first = sorted(self._checkpoints(), reverse=True)
        for folder in newest_first[keep:]:
            if int(folder.name.removeprefix("step-")) not in always:
                shutil.rmtree(folder)

    def _checkpoints(self) -> list[Path]:
        found = (self.path / "checkpoints").glob("step-*")
        return [folder for folder in found if folder.suffix != ".partial" and (folder / "trainer.json").exists()]


def step_name(step: int) -> str:
    """step-000040"""
    return f"step-{step:0{STEP_DIGITS}d}"


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads and the path of matrix products, which a reader needs to repeat the run."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{processor_name()} ({os.cpu_count()} cores)",
        "threads": torch.get_num_threads(),
        "products": product_path(),
        "command": " ".join(["laconic", *sys.argv[1:]]),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


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
    if path.exists() and any(path.iterdir()):
        raise RunError(f"{path}: is not empty; expected a new folder, or --resume to go on with the run in it")


def _check_is_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; expected a folder")


# --- what differs between two recipes --------------------------------------------------------------------------------


def _difference_line(difference: Difference, path: Path) -> str:
    """The difference in words, and how to resume in spite of it."""
    if difference.key.endswith(".sha256"):
        file = difference.owner["name"].rpartition(":")[0]
        again = "put the file back as it was, or start a new run with another --out"
        return f"{file} has changed since the run began (its sha256 differs); {again}"
    again = f"resume it as it was started, or with  laconic train {path / 'config.json'} --out {path} --resume"
    return f"the run was started with another recipe or overrides: {difference.sentence}; {again}"
