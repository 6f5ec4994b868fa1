"""Reads the files of runs and evaluations for their report.

1. Each DIR is a training run (`metrics.jsonl`, `phases.json`, or `eval/base-<tag>/`), a folder of evaluations
   (`DIR/eval/<benchmark>/`, `DIR/<benchmark>/`), or one evaluation.
2. A run's models are `base`, `phase-1`, `phase-2`, ...; a folder of evaluations is one model, known by the folder's
   name, or several where it was asked with several prompts. The first such folder is the base of the others.
3. Numbers are kept, texts go to shelves as they are read, within one budget for all files together.

4. An evaluation must be valid as a whole, as for every other program (`comparison/folders.py`). In a training run one may be
   under way: it is not shown, and `unfinished_notes` says so.

Only evaluations, metrics or selected problems must be there; whatever else is missing is left out. What comparisons
say of it is read, or made, in `changes.py`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from laconic.comparison.folders import read_budget_curve, read_samples, read_summary
from laconic.comparison.places import SAMPLES, SETTINGS, TIMING, evaluation_folders, is_finished
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
from laconic.system.fields import Fields
from laconic.system.files import read_json, read_json_list, read_jsonl, read_numbered_jsonl
from laconic.tracking.tracked_runs import read_tracked_runs, without_passwords

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
    places = [path.resolve() for path in dirs]
    for index, path in enumerate(dirs):
        if places[index] in places[:index]:
            raise RunError(f"{path}: given twice")
    parts = [path.resolve().parts if str(path) in (".", "..") else path.parts for path in dirs]
    depths = range(1, max((len(p) for p in parts), default=1) + 1)
    names = (["/".join(p[-depth:]) for p in parts] for depth in depths)
    return next(found for found in names if len(set(found)) == len(found))


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
    for folder in evaluation_folders(path):
        match = MODEL_AND_TAG.fullmatch(folder.name)
        if match and is_finished(folder):
            rank = 0 if match[1] == "base" else int(match[1].rsplit("-", 1)[1])
            name = labels[rank - 1] if 0 < rank <= len(labels) else ""
            label = "base" if rank == 0 else f"phase {rank}" + (f" ({name})" if name else "")
            yield Found(prefix + label, folder, source, rank, read_summary(folder))


def _of_folder(path: Path, source: int, name: str, is_base: bool) -> Iterator[Found]:
    summaries = {folder: read_summary(folder) for folder in evaluation_folders(path)}
    prompts = sorted(
        {prompt_of(summary) for summary in summaries.values()}, key=lambda name: (name != PLAIN_PROMPT, name)
    )
    for folder, summary in summaries.items():
        rank = prompts.index(prompt_of(summary)) + (0 if is_base else 1)
        label = f"{name} · {prompt_of(summary)}" if len(prompts) > 1 else name
        yield Found(label, folder, source, rank, summary)


def unfinished_notes(path: Path) -> Iterator[str]:
    """One line for each evaluation of a training run that has no summary yet."""
    for folder in evaluation_folders(path) if is_run(path) else ():
        if not is_finished(folder):
            yield f"Not shown: {folder} is not finished; run its evaluation again to resume it"


def read_measurements(found: Sequence[Found], budget: int = TEXT_BUDGET) -> tuple[Measurement, ...]:
    """The evaluations with their samples. If the texts exceed `budget` bytes, only those of every n-th problem are kept.

    Raises an `InputError` that names file and line if an evaluation is not valid.
    """
    sizes = [(f.folder / SAMPLES).stat().st_size for f in found if (f.folder / SAMPLES).exists()]
    stride = every_nth(sum(sizes), budget)
    return _with_caps([_read_measurement(entry, stride) for entry in found])


def _with_caps(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """The measurements, with their caps in the decodings under which a model has a benchmark several times, as in `compare`."""
    times = Counter((m.source, m.model, m.benchmark, m.sampling) for m in measurements)
    swept = {sampling for (*_, sampling), number in times.items() if number > 1}
    return tuple(replace(m, names_cap=m.sampling in swept) for m in measurements)


def _read_measurement(found: Found, stride: int) -> Measurement:
    folder, builder = found.folder, ShelfBuilder(stride)
    samples = tuple(_samples(folder, builder))
    return Measurement(
        model=found.model,
        summary=found.summary,
        samples=samples,
        shelf=builder.build(),
        folder=folder,
        source=found.source,
        rank=found.rank,
        budgets=read_budget_curve(folder),
        settings=optional_json(folder / SETTINGS),
        timing=optional_json(folder / TIMING),
    )


def _samples(folder: Path, builder: ShelfBuilder) -> Iterator[Sample]:
    for row in read_samples(folder):
        builder.add(row)
        text_crc = crc32(row.text.encode("utf-8", "surrogatepass"))
        yield Sample(row.problem_id, row.sample, row.grade.value, row.num_tokens, text_crc)


def read_training(path: Path, name: str) -> TrainingRun:
    """Steps and phases of a run. Raises an `InputError` that names file, line and key."""
    return TrainingRun(name, read_metrics(path), read_phases(path), read_tracked_runs(path))


def read_metrics(path: Path) -> tuple[Record, ...]:
    """The steps of metrics.jsonl, each with the number under `step`; none without the file."""
    file = path / "metrics.jsonl"
    rows = list(read_numbered_jsonl(file)) if file.exists() else []
    for line, row in rows:
        Fields(row, f"{file}, line {line}").whole("step")
    return tuple(row for _, row in rows)


def read_phases(path: Path) -> tuple[Record, ...]:
    """The phases of phases.json, none without the file. Raises an `InputError` that names the place of a wrong value."""
    file = path / "phases.json"
    stored = Fields({"phases": read_json_list(file) if file.exists() else []}, str(file))
    phases = list(stored.objects("phases"))
    names, ended = set[str](), 0
    for phase in phases:
        name, first, last = phase.text("name"), phase.whole("first_step"), phase.whole("last_step")
        if name in names:
            raise phase.wrong("name", "the name of another phase")
        if first <= ended:
            raise phase.wrong("first_step", f"a step after the phase before it, from {ended + 1} on")
        if last < first:
            raise phase.wrong("last_step", f"a step from {first} on")
        names, ended = names | {name}, last
        phase.maybe("result_step", phase.whole)
    return tuple(phase.record for phase in phases)


def read_selections(path: Path, prefix: str = "") -> Iterator[SelectedProblems]:
    """The problems that each phase of a run selected, and those that `laconic select` wrote to `problems.jsonl`."""
    for file in sorted(path.glob("phases/*/selection.jsonl")):
        number, _, name = file.parent.name.partition("-")
        probe = file.with_name("probe.jsonl")
        probed = {str(row.get("problem_id")): row for row in read_jsonl(probe)} if probe.exists() else {}
        yield _selection(f"{prefix}phase {number} ({name})", _decisions(file), probed)
    if (path / "problems.jsonl").exists():
        rows = [row for row in _decisions(path / "problems.jsonl") if _reason(row)]
        if rows:
            yield _selection(f"{prefix}problems.jsonl", rows, {})


def _decisions(file: Path) -> Iterator[Record]:
    """The lines of a file of selected problems. Raises an `InputError` that names file, line and key."""
    for line, row in read_numbered_jsonl(file):
        fields = Fields(row, f"{file}, line {line}")
        fields.maybe("is_kept", fields.truth)
        fields.maybe("solve_rate", fields.number)
        yield row


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
    """Settings as titled trees: the resolved recipe, and the machine on which it ran. Keys and passwords that a server's command,
    an address or the run's own command hold are left out, since a page is passed on."""
    for file, title in (("config.json", "Recipe as resolved"), ("environment.json", "Environment")):
        if tree := optional_json(path / file):
            yield f"{prefix}{title}", {key: _shown(value) for key, value in tree.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return {key: _shown(item) for key, item in value.items()} if isinstance(value, dict) else value


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
