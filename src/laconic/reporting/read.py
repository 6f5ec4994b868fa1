"""Reads the files of runs and evaluations for their report.

1. Each DIR is a training run (`metrics.jsonl`, `phases.json`, or `eval/base-<tag>/`), a folder of evaluations
   (`DIR/eval/<benchmark>/`, `DIR/<benchmark>/`), or one evaluation.
2. A run's models are `base`, `phase-1`, `phase-2`, ...; a folder of evaluations is one model, known by the folder's
   name, or several where it was asked with several prompts. The first such folder is the base of the others.
3. Numbers are kept, texts go to shelves as they are read, within one budget for all files together.

Only evaluations, metrics or selected problems must be there; whatever else is missing is left out. What comparisons
say of it is read, or made, in `changes.py`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from laconic.comparison.folders import SAMPLES, read_samples, read_summary
from laconic.errors import RunError
from laconic.evaluation.figures import Summary
from laconic.reporting.data import (
    Measurement,
    Record,
    Sample,
    SelectedProblems,
    TrainingRun,
    prompt_of,
)
from laconic.reporting.shelf import ShelfBuilder, every_nth
from laconic.system.files import read_json, read_jsonl

MODEL_AND_TAG = re.compile(r"(base|phase-[1-9]\d*)-(.+)")
PLAIN_PROMPT = "boxed"  # the prompt that is the base of the others, as in a comparison
TEXT_BUDGET = (
    160_000_000  # how many bytes of samples.jsonl one page may hold as texts, which makes a page of about 65 MB
)


@dataclass(frozen=True, slots=True)
class Found:
    """An evaluation folder before its samples are read: its model, the DIR that it belongs to, and its rank there."""

    model: str
    folder: Path
    source: int
    rank: int
    summary: Summary


def is_run(path: Path) -> bool:
    """Whether the folder was made by `laconic train`."""
    marks = ("metrics.jsonl", "phases.json")
    return any((path / mark).exists() for mark in marks) or any(path.glob("eval/base-*/summary.json"))


def names_of(dirs: Sequence[Path]) -> list[str]:
    """A short name for each DIR: as many of the last parts of its path as make the names different.

    >>> names_of([Path("x/base"), Path("x/after")]), names_of([Path("x/eval"), Path("y/eval")])
    (['base', 'after'], ['x/eval', 'y/eval'])
    """
    parts = [path.resolve().parts if str(path) in (".", "..") else path.parts for path in dirs]
    for depth in range(1, max((len(p) for p in parts), default=1) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise RunError(f"{dirs[0]}: given twice")


def find_measurements(dirs: Sequence[Path], names: Sequence[str]) -> list[Found]:
    """The evaluations of every DIR, those of runs and those of plain folders alike, in the order given."""
    first_plain = next((i for i, path in enumerate(dirs) if not is_run(path)), None)
    found: list[Found] = []
    for source, path in enumerate(dirs):
        if is_run(path):
            prefix = f"{names[source]}: " if len(dirs) > 1 else ""
            found.extend(_of_run(path, source, prefix))
        else:
            found.extend(_of_folder(path, source, names[source], is_base=source == first_plain))
    return found


def _of_run(path: Path, source: int, prefix: str) -> Iterator[Found]:
    labels = [str(phase.get("name", "")) for phase in read_phases(path)]
    for file in sorted(path.glob("eval/*/summary.json")):
        if match := MODEL_AND_TAG.fullmatch(file.parent.name):
            rank = 0 if match[1] == "base" else int(match[1].rsplit("-", 1)[1])
            name = labels[rank - 1] if 0 < rank <= len(labels) else ""
            label = "base" if rank == 0 else f"phase {rank}" + (f" ({name})" if name else "")
            yield Found(prefix + label, file.parent, source, rank, read_summary(file.parent))


def _of_folder(path: Path, source: int, name: str, is_base: bool) -> Iterator[Found]:
    files = _summaries(path)
    summaries = {file.parent: read_summary(file.parent) for file in files}
    prompts = sorted(
        {prompt_of(summary) for summary in summaries.values()}, key=lambda name: (name != PLAIN_PROMPT, name)
    )
    for folder, summary in summaries.items():
        rank = prompts.index(prompt_of(summary)) + (0 if is_base else 1)
        label = f"{name} · {prompt_of(summary)}" if len(prompts) > 1 else name
        yield Found(label, folder, source, rank, summary)


def _summaries(path: Path) -> list[Path]:
    places = ("summary.json", "eval/*/summary.json", "*/summary.json")
    return next((files for place in places if (files := sorted(path.glob(place)))), [])


def read_measurements(found: Sequence[Found], budget: int = TEXT_BUDGET) -> tuple[Measurement, ...]:
    """The evaluations with their samples. If the texts exceed `budget` bytes, only those of every n-th problem are kept.

    Raises an `InputError` that names file and line if a line lacks a required key.
    """
    sizes = [(f.folder / SAMPLES).stat().st_size for f in found if (f.folder / SAMPLES).exists()]
    stride = every_nth(sum(sizes), budget)
    return tuple(_read_measurement(entry, stride) for entry in found)


def _read_measurement(found: Found, stride: int) -> Measurement:
    folder, builder = found.folder, ShelfBuilder(stride)
    samples = tuple(_samples(folder, builder))
    return Measurement(
        model=found.model,
        summary=found.summary,
        samples=samples,
        shelf=builder.build() if samples else None,
        folder=folder,
        source=found.source,
        rank=found.rank,
        budgets=optional_json(folder / "budget_curve.json"),
        settings=optional_json(folder / "settings.json"),
        timing=optional_json(folder / "timing.json"),
    )


def _samples(folder: Path, builder: ShelfBuilder) -> Iterator[Sample]:
    if not (folder / SAMPLES).exists():
        return
    for row in read_samples(folder):
        builder.add(row)
        text_crc = crc32(row.text.encode("utf-8", "surrogatepass"))
        yield Sample(row.problem_id, row.sample, row.grade.value, row.num_tokens, text_crc)


def read_training(path: Path, name: str) -> TrainingRun:
    """Steps and phases of a run."""
    metrics = tuple(read_jsonl(path / "metrics.jsonl")) if (path / "metrics.jsonl").exists() else ()
    return TrainingRun(name, metrics, read_phases(path))


def read_phases(path: Path) -> tuple[Record, ...]:
    """The content of phases.json. Raises `RunError` if it is not a list."""
    file = path / "phases.json"
    try:
        phases = json.loads(file.read_bytes()) if file.exists() else []
    except ValueError as error:
        raise RunError(f"{file}: not JSON ({error})") from error
    if not isinstance(phases, list):
        raise RunError(f"{file}: expected a list of phases")
    return tuple(phases)


def read_selections(path: Path, prefix: str = "") -> Iterator[SelectedProblems]:
    """The problems that each phase of a run selected, and those that `laconic select` wrote to `problems.jsonl`."""
    for file in sorted(path.glob("phases/*/selection.jsonl")):
        number, _, name = file.parent.name.partition("-")
        probe = file.with_name("probe.jsonl")
        probed = {str(row.get("problem_id")): row for row in read_jsonl(probe)} if probe.exists() else {}
        yield _selection(f"{prefix}phase {number} ({name})", read_jsonl(file), probed)
    if (path / "problems.jsonl").exists():
        rows = [row for row in read_jsonl(path / "problems.jsonl") if _reason(row)]
        if rows:
            yield _selection(f"{prefix}problems.jsonl", rows, {})


def _selection(title: str, rows: Iterable[Record], probed: Mapping[str, Record]) -> SelectedProblems:
    rows = [
        {
            "id": (problem_id := str(row.get("problem_id", row.get("id", "")))),
            "question": str(probed.get(problem_id, {}).get("problem", row.get("problem", ""))),
            "reason": _reason(row),
            "is_kept": bool(row.get("is_kept", True)),
            "solve_rate": row.get("solve_rate"),
            "mean_tokens": probed.get(problem_id, {}).get("mean_tokens"),
        }
        for row in rows
    ]
    return SelectedProblems(title, tuple(sorted(rows, key=lambda row: not row["is_kept"])))


def _reason(row: Record) -> str:
    meta = row.get("meta")
    return str(row.get("reason") or row.get("selection") or (isinstance(meta, dict) and meta.get("selection")) or "")


def read_settings(path: Path, prefix: str = "") -> Iterator[tuple[str, Record]]:
    """Settings as titled trees: the resolved recipe, and the machine on which it ran."""
    for file, title in (("config.json", "Recipe as resolved"), ("environment.json", "Environment")):
        if tree := optional_json(path / file):
            yield f"{prefix}{title}", tree


def settings_of(evaluations: Sequence[Measurement]) -> Iterator[tuple[str, Record]]:
    """The settings of each evaluation: how it was sampled and graded, and how long it took."""
    keys = ("model", "prompt", "grader", "max_tokens", "seed", "num_problems", "num_samples")
    for e in evaluations:
        setup = e.summary.setup.to_json()
        known_setup = {key: setup[key] for key in keys if setup[key] is not None}
        tree = known_setup | {"decoding": e.decoding} | dict(e.settings)
        yield f"{e.model}, {e.benchmark}, {e.decoding}", tree | {f"timing.{k}": v for k, v in e.timing.items()}


def optional_json(path: Path) -> Record:
    """The JSON object in a file, empty if there is no such file."""
    return read_json(path) if path.exists() else {}
