"""What a run left behind, read for its page: evaluations, comparisons, metrics, phases, settings.

1. `read_run` reads `eval/<model>-<tag>/`, `comparison*.json`, `metrics.jsonl`, `phases.json` and `config.json`. Models
   are `base`, `phase-1`, `phase-2`, ...; a tag names a way of decoding. Other evaluations are passed over.
2. The rest are small questions asked of the samples: mean tokens and solve rate by problem, which responses to show.

Only the evaluations or the metrics must be there.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laconic.errors import RunError
from laconic.files import read_json, read_jsonl

Record = Mapping[str, Any]
MODEL_AND_TAG = re.compile(r"(base|phase-[1-9]\d*)-(.+)")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model under one way of decoding. `samples` are in the order of their file."""

    model: str
    tag: str
    summary: Record
    samples: tuple[Record, ...] = ()

    @property
    def order(self) -> int:
        """0 for the base, then the phase's number."""
        return 0 if self.model == "base" else int(self.model.rsplit("-", 1)[1])

    @property
    def decoding(self) -> str:
        """How it was sampled, in words."""
        temperature = self.summary.get("temperature")
        if temperature is None:
            return self.tag
        return "greedy" if temperature == 0 else f"sampled at T={temperature:g}"


@dataclass(frozen=True, slots=True)
class Run:
    """Everything the page is made of. `changes` holds a comparison's candidate for each (model, tag)."""

    evaluations: tuple[Evaluation, ...]
    changes: Mapping[tuple[str, str], Record] = field(default_factory=dict)
    metrics: tuple[Record, ...] = ()
    phases: tuple[Record, ...] = ()
    config: Record = field(default_factory=dict)

    @property
    def tags(self) -> list[str]:
        """Ways of decoding, hottest first."""
        coolness = {e.tag: -float(e.summary.get("temperature") or 0) for e in self.evaluations}
        return sorted(coolness, key=lambda tag: (coolness[tag], tag))

    @property
    def main(self) -> tuple[Evaluation, Evaluation] | None:
        """Before and after, under the hottest decoding that has both."""
        return next((both for tag in self.tags if (both := self.before_and_after(tag))), None)

    def of_tag(self, tag: str) -> list[Evaluation]:
        """The models evaluated under one way of decoding, base first."""
        return sorted((e for e in self.evaluations if e.tag == tag), key=lambda e: e.order)

    def before_and_after(self, tag: str) -> tuple[Evaluation, Evaluation] | None:
        """The base and the last phase's model, where both were evaluated."""
        found = self.of_tag(tag)
        return (found[0], found[-1]) if len(found) > 1 and found[0].model == "base" else None

    def change_of(self, evaluation: Evaluation) -> Record | None:
        """What the comparison with the base said of a model, where there was one."""
        return self.changes.get((evaluation.model, evaluation.tag))

    def label(self, model: str) -> str:
        """`phase 2 (brevity)` for `phase-2`."""
        if model == "base":
            return "base"
        number = int(model.rsplit("-", 1)[1])
        name = self.phases[number - 1].get("name") if number <= len(self.phases) else None
        return f"phase {number} ({name})" if name else f"phase {number}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to one problem, and why this problem is shown."""

    reason: str
    before: Record
    after: Record


def read_run(run_dir: Path) -> Run:
    """What the run left behind, as far as it is there.

    Raises `RunError` where there is nothing to show, `InputError` naming file and line where a file cannot be read.
    """
    evaluations = tuple(_evaluations(run_dir / "eval"))
    metrics = _records(run_dir / "metrics.jsonl")
    if not evaluations and not metrics:
        raise RunError(f"{run_dir}: nothing to show; expected metrics.jsonl or eval/<model>-<tag>/summary.json")
    return Run(
        evaluations=evaluations,
        changes=_changes(sorted(run_dir.glob("comparison*.json")), evaluations),
        metrics=metrics,
        phases=_phases(run_dir / "phases.json"),
        config=read_json(run_dir / "config.json") if (run_dir / "config.json").exists() else {},
    )


def mean_tokens(samples: Iterable[Record]) -> dict[str, float]:
    """Problem id -> mean length of its responses."""
    found: dict[str, list[int]] = {}
    for row in samples:
        found.setdefault(str(row["problem_id"]), []).append(row["num_tokens"])
    return {problem_id: sum(lengths) / len(lengths) for problem_id, lengths in found.items()}


def solve_rates(samples: Iterable[Record]) -> dict[str, float]:
    """Problem id -> share of its gradable responses that are correct; problems with none are left out."""
    found: dict[str, list[bool]] = {}
    for row in samples:
        if row["grade"] != "ungradable":
            found.setdefault(str(row["problem_id"]), []).append(row["grade"] == "correct")
    return {problem_id: sum(marks) / len(marks) for problem_id, marks in found.items()}


def shared(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[list[str], list[float], list[float]]:
    """The problems both know, in the first one's order.

    >>> shared({"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0})
    (['b'], [2.0], [3.0])
    """
    ids = [problem_id for problem_id in before if problem_id in after]
    return ids, [before[i] for i in ids], [after[i] for i in ids]


def pick_pairs(before: Evaluation, after: Evaluation) -> list[Pair]:
    """Up to three problems, judged by sample 0 of each model, none shown twice.

    The median and the largest reduction among those that were correct both times (among all, where there are none), and
    one that is not correct afterwards: the first by id, one that was correct before if there is any.
    """
    firsts = {str(row["problem_id"]): row for row in before.samples if row["sample"] == 0 and row["num_tokens"] > 0}
    pairs = [
        (firsts[problem_id], row)
        for row in after.samples
        if row["sample"] == 0 and (problem_id := str(row["problem_id"])) in firsts
    ]
    kept = [pair for pair in pairs if pair[0]["grade"] == pair[1]["grade"] == "correct"] or pairs
    kept.sort(key=lambda pair: (reduction(*pair), str(pair[0]["problem_id"])))
    lost = [pair for pair in pairs if pair[1]["grade"] != "correct"]
    lost.sort(key=lambda pair: (pair[0]["grade"] != "correct", str(pair[0]["problem_id"])))
    choices = (
        ("The median reduction", kept[(len(kept) - 1) // 2 :]),
        ("The largest reduction", kept[-1:]),
        ("Not correct afterwards", lost),
    )
    picked: dict[str, Pair] = {}
    for reason, found in choices:
        for pair in found[:1]:
            picked.setdefault(str(pair[0]["problem_id"]), Pair(reason, *pair))
    return list(picked.values())


def reduction(before: Record, after: Record) -> float:
    """Share of the tokens that went away.

    >>> reduction({"num_tokens": 200}, {"num_tokens": 50})
    0.75
    """
    return 1 - float(after["num_tokens"]) / float(before["num_tokens"])


def _evaluations(folder: Path) -> Iterable[Evaluation]:
    for path in sorted(folder.glob("*/summary.json")):
        if match := MODEL_AND_TAG.fullmatch(path.parent.name):
            yield Evaluation(match[1], match[2], read_json(path), _records(path.with_name("samples.jsonl")))


def _changes(paths: Sequence[Path], evaluations: Sequence[Evaluation]) -> dict[tuple[str, str], Record]:
    """A candidate is named after its model, or after its model and tag; a comparison's file may name the tag."""
    found: dict[tuple[str, str], Record] = {}
    for path in paths:
        tag = path.stem.removeprefix("comparison").removeprefix("-")
        for candidate in read_json(path).get("candidates", []):
            name = Path(str(candidate["name"])).name
            for e in evaluations:
                if name == f"{e.model}-{e.tag}" or (name == e.model and tag in ("", e.tag)):
                    found.setdefault((e.model, e.tag), candidate)
    return found


def _records(path: Path) -> tuple[Record, ...]:
    return tuple(read_jsonl(path)) if path.exists() else ()


def _phases(path: Path) -> tuple[Record, ...]:
    try:
        phases = json.loads(path.read_bytes()) if path.exists() else []
    except ValueError as error:
        raise RunError(f"{path}: not JSON ({error})") from error
    if not isinstance(phases, list):
        raise RunError(f"{path}: expected a list of phases")
    return tuple(phases)
