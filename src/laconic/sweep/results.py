"""The results of a sweep: reads its finished runs, combines them over seeds, and marks the frontier. It writes nothing.

1. `ResultsReader` reads each finished run once. For every phase's result at each temperature, it reads accuracy and tokens, the
   changes against that seed's own base, and the cost of training.
2. Entries become rows over their seeds (`rows.py`). Bases are rows of their own; entries with the same base share it.
3. A row is dominated if another of the same grader is, over the seeds that both have, at least as accurate with at most as many
   tokens, and better in one of the two. Every run counts with the step at which its recipe ends, never with its best step.

Results of earlier phases are rows of their own. They dominate no other row, because they are stages of a run and not its result.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import NamedTuple

from laconic.comparison.figures import ChangeFigures
from laconic.comparison.folders import check_evaluation
from laconic.comparison.records import read_comparison
from laconic.errors import InputError
from laconic.evaluation.folder_names import temperature_tag
from laconic.reporting.read import read_phases
from laconic.statistics.intervals import Interval
from laconic.sweep.config import stored_sweep
from laconic.sweep.rows import Field, Point, SweepRow, TrainingCost, dominates
from laconic.system.fields import Fields
from laconic.system.files import Json, read_numbered_jsonl
from laconic.training.phase_end import GUARD

BASE = "base"


@dataclass(frozen=True, slots=True)
class Results:
    """The finished part of a sweep. `content` is its sweep.json; `unfinished` are labels with the seeds that they lack."""

    out: Path
    content: Json
    fields: tuple[Field, ...]
    unfinished: Mapping[str, tuple[int, ...]]


# --- reading ---------------------------------------------------------------------------------------------------------


class ResultsReader:
    """Reads the runs of the sweep in `out`; a finished run is read only once."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._known: dict[Path, tuple[Point, ...]] = {}

    def read(self) -> Results:
        """All results that are finished now. Raises an `InputError` that names a malformed file."""
        content = stored_sweep(self.out)
        seeds = tuple(content["seeds"])
        found: dict[tuple[str, int], tuple[Point, ...]] = {}
        for entry in content["entries"]:
            tags = [temperature_tag(t) for t in entry["config"]["report"]["temperatures"]]
            for seed in seeds:
                folder = self.out / entry["folder"] / f"seed-{seed}"
                if all((folder / f"comparison-{tag}.json").exists() for tag in tags):
                    found[entry["label"], seed] = self._points(folder, seed, tags)
        lacking = {e["label"]: tuple(s for s in seeds if (e["label"], s) not in found) for e in content["entries"]}
        unfinished = {label: missing for label, missing in lacking.items() if missing}
        return Results(self.out, content, tuple(_fields(content, seeds, found)), unfinished)

    def _points(self, folder: Path, seed: int, tags: Sequence[str]) -> tuple[Point, ...]:
        if folder not in self._known:
            self._known[folder] = tuple(_read_run(folder, seed, tags))
        return self._known[folder]


def _read_run(folder: Path, seed: int, tags: Sequence[str]) -> Iterator[Point]:
    """Every model of a finished run at every temperature, bases first."""
    phases = [path for path in [folder / "phases.json"] if path.exists()]
    trainings = read_trainings(folder) if phases else []
    for tag in tags:
        base = _read_point(folder / "eval" / f"{BASE}-{tag}", seed, tag, BASE)
        yield base
        file = folder / f"comparison-{tag}.json"
        candidates = read_comparison(file).candidates
        for index, candidate in enumerate(candidates):
            if candidate.who.path is None:
                raise InputError(f"{file}: candidates.{index}.path is missing")
            place = candidate.who.path.name
            is_last = index == len(candidates) - 1
            point = _read_point(folder / "eval" / place, seed, tag, "" if is_last else place.removesuffix(f"-{tag}"))
            training = trainings[index] if index < len(trainings) else TrainingCost()
            yield replace(point, base=base, changes=_changes(candidate.figures), training=training)


def _read_point(folder: Path, seed: int, tag: str, stage: str) -> Point:
    summary = check_evaluation(folder, needs=("accuracy", "tokens"))
    setup, figures, oracle = summary.setup, summary.figures, summary.figures.oracle_tokens
    assert figures.accuracy and figures.tokens, "needed above"
    assert setup.num_problems is not None and setup.num_samples is not None and setup.max_tokens is not None
    return Point(
        seed=seed,
        tag=tag,
        stage=stage,
        accuracy=figures.accuracy.estimate,
        tokens=figures.tokens.estimate,
        oracle_tokens=nan if oracle is None else oracle,
        num_problems=setup.num_problems,
        num_samples=setup.num_samples,
        max_tokens=setup.max_tokens,
        grader=setup.grader,
    )


def _changes(figures: ChangeFigures) -> dict[str, Interval]:
    return {"tokens_change": figures.tokens_change, "accuracy_change": figures.accuracy_change}


def read_trainings(folder: Path) -> list[TrainingCost]:
    """The cost of training up to the end of each phase, including the phases before it."""
    phases = [Fields(phase, str(folder / "phases.json"), str(i)) for i, phase in enumerate(read_phases(folder))]
    steps = _steps(folder / "metrics.jsonl")
    sizes = {step.step: _num_lines(folder / "rollouts" / f"step-{step.step:06d}.jsonl") for step in steps}
    found, probed = [], 0
    for index, phase in enumerate(phases, start=1):
        probed += _num_probed(folder / "phases" / f"{index}-{phase.text('name')}" / "probe.jsonl")
        past = [step for step in steps if step.step <= phase.whole("last_step")]
        found.append(
            TrainingCost(
                num_rollouts=sum(sizes[step.step] for step in past),
                num_probed=probed,
                num_tokens=sum(round(sizes[step.step] * step.mean_tokens) for step in past),
                seconds=sum(step.seconds for step in past),
                rolled_back=tuple(
                    f"{done.text('name')} to step {done.whole('result_step')} of {done.whole('last_step')}"
                    for done in phases[:index]
                    if done.text("reason").startswith(GUARD)
                ),
            )
        )
    return found


class _Step(NamedTuple):
    """What a step cost: the mean length of its rollouts in tokens, and its seconds."""

    step: int
    mean_tokens: float
    seconds: float


def _steps(file: Path) -> list[_Step]:
    """The steps of metrics.jsonl. Raises an `InputError` that names file, line and key."""
    rows = [Fields(row, f"{file}, line {line}") for line, row in read_numbered_jsonl(file)]
    return [
        _Step(row.whole("step"), row.number("rollouts/mean_tokens"), row.number("time/step_seconds")) for row in rows
    ]


def _num_lines(file: Path) -> int:
    if not file.exists():
        return 0
    with file.open("rb") as opened:
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(1 << 20), b""))


def _num_probed(file: Path) -> int:
    rows = read_numbered_jsonl(file) if file.exists() else ()
    return sum(_num_drawn(Fields(row, f"{file}, line {line}")) for line, row in rows)


def _num_drawn(stats: Fields) -> int:
    """All responses to a problem, those that could not be graded among them; older files count only those that could."""
    counts = stats.object("counts")
    return sum(map(counts.whole, counts.record)) if "counts" in stats else stats.whole("attempts")


# --- rows and fields -------------------------------------------------------------------------------------------------


def _fields(content: Json, seeds: tuple[int, ...], found: Mapping[tuple[str, int], Sequence[Point]]) -> Iterator[Field]:
    sources = list(dict.fromkeys(entry["config"]["problems"]["report"] for entry in content["entries"]))
    for source in sources:
        entries = [e for e in content["entries"] if e["config"]["problems"]["report"] == source]
        temperatures = {t for e in entries for t in e["config"]["report"]["temperatures"]}
        for tag in map(temperature_tag, sorted(temperatures, reverse=True)):
            rows = [*_base_rows(entries, seeds, tag, found), *_entry_rows(entries, seeds, tag, found)]
            rows = [row for row in rows if row.points]
            if rows:
                yield Field(source, tag, tuple(sorted(_placed(rows), key=lambda r: r.over_seeds("tokens").mean)))


def _entry_rows(
    entries: Sequence[Json], seeds: tuple[int, ...], tag: str, found: Mapping[tuple[str, int], Sequence[Point]]
) -> Iterator[SweepRow]:
    for entry in entries:
        points = [p for seed in seeds for p in found.get((entry["label"], seed), ()) if p.tag == tag and p.base]
        for stage in dict.fromkeys(point.stage for point in points):
            label = f"{entry['label']} · {stage}" if stage else entry["label"]
            kind = "stage" if stage else "trained" if entry["prompt"] is None else "prompt"
            parent = entry["label"] if stage else entry.get("variant_of")
            own = tuple(p for p in points if p.stage == stage)
            yield SweepRow(label, kind, own, seeds, parent, grader=_grader(entry["config"]))


def _base_rows(
    entries: Sequence[Json], seeds: tuple[int, ...], tag: str, found: Mapping[tuple[str, int], Sequence[Point]]
) -> list[SweepRow]:
    """One row per base; recipes that measured and graded the same model in the same way share a base."""
    held: dict[str, dict[int, Point]] = {}
    first: dict[str, Json] = {}
    for entry in entries:
        key = _base_key(entry["config"])
        for seed in seeds:
            points = [p for p in found.get((entry["label"], seed), ()) if p.tag == tag and p.stage == BASE]
            if points:
                first.setdefault(key, entry)
                held.setdefault(key, {}).setdefault(seed, points[0])
    return [
        SweepRow(
            BASE if len(held) == 1 else f"{BASE} of {first[key]['label']}",
            BASE,
            tuple(by_seed[s] for s in seeds if s in by_seed),
            seeds,
            grader=_grader(first[key]["config"]),
        )
        for key, by_seed in held.items()
    ]


def _base_key(config: Json) -> str:
    """The settings by which a reader would distinguish bases."""
    cap = config["report"]["max_tokens"] or max(phase["sampler"]["max_tokens"] for phase in config["phases"])
    dtype = config["policy"]["dtype"]
    return repr((config["model"], dtype, config["prompt"], config["report"]["samples"], cap, _grader(config)))


def _grader(config: Json) -> str:
    """The grader that a recipe names, with the beginning of its file's hash; "" for the package's own."""
    grader = config.get("grader") or {}
    file = f" ({grader['sha256'][:8]})" if grader.get("sha256") else ""
    return f"{grader['name']}{file}" if grader.get("name") else ""


def _placed(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """The rows, each with the labels of the rows that dominate it: first those that are not dominated, then by distance in
    tokens."""
    better = [[n for n, o in enumerate(rows) if o is not row and o.is_result and dominates(o, row)] for row in rows]

    def far(row: SweepRow, other: int) -> tuple[bool, float]:
        return bool(better[other]), abs(row.over_seeds("tokens").mean - rows[other].over_seeds("tokens").mean)

    return [
        replace(row, dominated_by=tuple(rows[n].label for n in sorted(its_better, key=partial(far, row))))
        for row, its_better in zip(rows, better, strict=True)
    ]
