"""Frozen records of which a report is made, and small functions that look something up in them.

1. A `Measurement` is one model on one benchmark under one way of decoding. Its `Sample`s are numbers, and its texts are
   compressed on a `Shelf` (`shelf.py`).
2. A `TrainingRun` holds the steps, phases and selections of a run. A `Change` is the result of comparing a model with the base.
3. A `Report` holds them all. The headline and most figures are about its main pair: the base and the last model (a run's last
   phase, or the first candidate that was given) under the hottest decoding that has both.

No files are read here: `read.py` does that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from laconic.comparison.figures import ChangeFigures
from laconic.comparison.records import CandidateComparison
from laconic.evaluation.figures import Summary
from laconic.reporting.shelf import Shelf
from laconic.tracking.tracked_runs import TrackedRun

Record = Mapping[str, Any]
Setting = tuple[str, str]  # benchmark and decoding, which two evaluations must share to be compared


class Sample(NamedTuple):
    """One graded response without its text; the length is in tokens, `text_crc` tells one text from another."""

    problem_id: str
    sample: int
    grade: str
    num_tokens: int
    text_crc: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One evaluation folder. `samples` are in the order of their file; `source` is the index of its DIR among those given. With
    `names_cap` its cap on tokens is a part of its decoding, since some model was evaluated under several."""

    model: str
    summary: Summary
    samples: tuple[Sample, ...] = ()
    shelf: Shelf | None = None
    folder: Path = Path()
    source: int = 0
    rank: int = 0
    budgets: Record = field(default_factory=dict)
    settings: Record = field(default_factory=dict)
    timing: Record = field(default_factory=dict)
    names_cap: bool = False

    @property
    def is_base(self) -> bool:
        """The first in rank of its folder: a run's base."""
        return self.rank == 0

    @property
    def benchmark(self) -> str:
        """The benchmark's name, as the summary has it."""
        return self.summary.setup.benchmark or self.folder.name

    @property
    def prompt(self) -> str:
        """The prompt's name, empty if the summary lacks it."""
        return prompt_of(self.summary)

    @property
    def temperature(self) -> float:
        """Sampling temperature; 0 is greedy, and also stands for an unknown temperature."""
        return float(self.summary.setup.temperature or 0)

    @property
    def sampling(self) -> str:
        """How it was sampled, in words, whatever its cap."""
        return decoding_words(self.summary.setup.to_json())

    @property
    def decoding(self) -> str:
        """How it was sampled, in words, with the cap where that tells evaluations apart."""
        return f"{self.sampling}, cap {self.summary.setup.max_tokens}" if self.names_cap else self.sampling

    @property
    def setting(self) -> Setting:
        """Benchmark and decoding."""
        return self.benchmark, self.decoding


@dataclass(frozen=True, slots=True)
class SelectedProblems:
    """The problems that a phase probed, kept ones first, each with `question`, `reason`, `is_kept` and `solve_rate`."""

    title: str
    rows: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """The files of one training run, without its evaluations; `trackers` show it too, by their names."""

    name: str
    metrics: tuple[Record, ...] = ()
    phases: tuple[Record, ...] = ()
    trackers: Mapping[str, TrackedRun] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """The comparison of `model` with `base` under one decoding; `is_final` marks the changes that the report is about."""

    base: str
    model: str
    decoding: str
    candidate: CandidateComparison
    is_final: bool = True

    @property
    def figures(self) -> ChangeFigures:
        """What changed over all benchmarks."""
        return self.candidate.figures

    def on(self, evaluation: Measurement) -> ChangeFigures | None:
        """What changed on this evaluation's benchmark; over all benchmarks, if the file has no figures for each."""
        if (self.model, self.decoding) != (evaluation.model, evaluation.decoding):
            return None
        benchmarks = self.candidate.benchmarks
        found = benchmarks.get(evaluation.benchmark) or benchmarks.get(evaluation.folder.name)
        if found is None:
            return None if benchmarks else self.figures
        return found.figures


@dataclass(frozen=True, slots=True)
class Report:
    """All data of the page. `settings` are titled trees; `notes` say what could not be done, and why."""

    title: str = ""
    evaluations: tuple[Measurement, ...] = ()
    changes: tuple[Change, ...] = ()
    trainings: tuple[TrainingRun, ...] = ()
    selections: tuple[SelectedProblems, ...] = ()
    settings: tuple[tuple[str, Record], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def settings_of_evaluations(self) -> list[Setting]:
        """Benchmarks in order of appearance, within each the ways of decoding, hottest first."""
        heat = {e.setting: -e.temperature for e in self.evaluations}
        order = {name: index for index, name in enumerate(dict.fromkeys(e.benchmark for e in self.evaluations))}
        return sorted(heat, key=lambda setting: (order[setting[0]], heat[setting], setting[1]))

    @property
    def decodings(self) -> list[str]:
        """Ways of decoding, hottest first."""
        heat = {e.decoding: -e.temperature for e in self.evaluations}
        return sorted(heat, key=lambda decoding: (heat[decoding], decoding))

    @property
    def ordered_changes(self) -> list[Change]:
        """All changes, hottest decoding first, models in the order they were given."""
        heat = {decoding: index for index, decoding in enumerate(self.decodings)}
        place = {e.model: (e.source, e.rank) for e in self.evaluations}
        return sorted(self.changes, key=lambda c: (heat.get(c.decoding, len(heat)), place.get(c.model, (0, 0))))

    @property
    def finals(self) -> list[Change]:
        """The changes the report is about, in the same order."""
        return [change for change in self.ordered_changes if change.is_final]

    @property
    def main(self) -> tuple[Measurement, Measurement] | None:
        """The main pair: the base and the model that most figures are about."""
        for change in self.finals:
            if both := self._both(change.base, change.model, change.decoding):
                return both
        for setting in sorted(self.settings_of_evaluations, key=lambda s: self.decodings.index(s[1])):
            found = self.of_setting(setting)
            if len(found) > 1 and found[0].is_base:
                return found[0], found[-1]
        return None

    def of_setting(self, setting: Setting) -> list[Measurement]:
        """The models evaluated there, in the order they were given."""
        return sorted((e for e in self.evaluations if e.setting == setting), key=lambda e: (e.source, e.rank))

    def figures_of(self, evaluation: Measurement) -> ChangeFigures | None:
        """The figures of a model's comparison with the base, if there is one."""
        return next((figures for change in self.changes if (figures := change.on(evaluation))), None)

    def _both(self, base: str, model: str, decoding: str) -> tuple[Measurement, Measurement] | None:
        for setting in self.settings_of_evaluations:
            found = {e.model: e for e in self.of_setting(setting)}
            if setting[1] == decoding and base in found and model in found:
                return found[base], found[model]
        return None


def prompt_of(summary: Summary) -> str:
    """The prompt's name, empty if the summary lacks it."""
    return summary.setup.prompt.name if summary.setup.prompt else ""


def decoding_words(summary: Record) -> str:
    """How a response was drawn, in words: temperature, and what cuts the distribution where anything does.

    >>> decoding_words({"temperature": 0}), decoding_words({"temperature": 0.6, "top_p": 0.95, "min_p": 0.0})
    ('greedy', 'sampled at T=0.6, top-p 0.95')
    """
    return sampling_words(*(summary.get(key) for key in ("temperature", "top_p", "min_p")))


def sampling_words(temperature: float | None, top_p: float | None, min_p: float | None) -> str:
    """The same of the three numbers, `None` for what is not known.

    >>> sampling_words(None, None, None), sampling_words(1, None, 0.05)
    ('decoding unknown', 'sampled at T=1, min-p 0.05')
    """
    if temperature is None:
        return "decoding unknown"
    if temperature == 0:
        return "greedy"
    cuts = (f", top-p {top_p:g}" if top_p not in (None, 1) else "") + (f", min-p {min_p:g}" if min_p else "")
    return f"sampled at T={temperature:g}{cuts}"


def mean_tokens_by_problem(samples: Iterable[Sample]) -> dict[str, float]:
    """Problem id -> mean length of its responses.

    >>> mean_tokens_by_problem([Sample("a", 0, "correct", 10), Sample("a", 1, "wrong", 20)])
    {'a': 15.0}
    """
    found: dict[str, list[int]] = {}
    for row in samples:
        found.setdefault(row.problem_id, []).append(row.num_tokens)
    return {problem_id: sum(lengths) / len(lengths) for problem_id, lengths in found.items()}


def solve_rate_by_problem(samples: Iterable[Sample]) -> dict[str, float]:
    """Problem id -> share of its gradable responses that are correct; problems with none are left out.

    >>> solve_rate_by_problem([Sample("a", 0, "correct", 10), Sample("a", 1, "wrong", 20), Sample("a", 2, "ungradable", 9)])
    {'a': 0.5}
    """
    found: dict[str, list[bool]] = {}
    for row in samples:
        if row.grade != "ungradable":
            found.setdefault(row.problem_id, []).append(row.grade == "correct")
    return {problem_id: sum(marks) / len(marks) for problem_id, marks in found.items()}


def shared(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[list[str], list[float], list[float]]:
    """The problems that both mappings have, in the order of the first, with the values of both.

    >>> shared({"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0})
    (['b'], [2.0], [3.0])
    """
    ids = [problem_id for problem_id in before if problem_id in after]
    return ids, [before[i] for i in ids], [after[i] for i in ids]


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Two responses to one problem, and why this problem is shown."""

    reason: str
    before: Sample
    after: Sample


def pick_pairs(before: Sequence[Sample], after: Sequence[Sample]) -> list[ShownPair]:
    """Up to three problems, judged by sample 0 of each model, none shown twice.

    The median and the largest reduction among those that were correct both times (among all, where there are none) and whose
    two responses differ (among all, where none do), and one that is not correct afterwards: the first by id, one that was
    correct before if there is any.
    """
    firsts = {row.problem_id: row for row in before if row.sample == 0 and row.num_tokens > 0}
    pairs = [(firsts[row.problem_id], row) for row in after if row.sample == 0 and row.problem_id in firsts]
    kept = [pair for pair in pairs if pair[0].grade == pair[1].grade == "correct"] or pairs
    kept = [pair for pair in kept if not _is_same(*pair)] or kept
    kept.sort(key=lambda pair: (reduction(*pair), pair[0].problem_id))
    lost = [pair for pair in pairs if pair[1].grade != "correct"]
    lost.sort(key=lambda pair: (pair[0].grade != "correct", pair[0].problem_id))
    choices = (
        ("The median reduction", kept[(len(kept) - 1) // 2 :]),
        ("The largest reduction", kept[-1:]),
        ("Not correct afterwards", lost),
    )
    picked: dict[str, ShownPair] = {}
    for reason, found in choices:
        for pair in found[:1]:
            picked.setdefault(pair[0].problem_id, ShownPair(reason, *pair))
    return list(picked.values())


def _is_same(before: Sample, after: Sample) -> bool:
    return (before.num_tokens, before.text_crc) == (after.num_tokens, after.text_crc)


def reduction(before: Sample, after: Sample) -> float:
    """Share by which the second response has fewer tokens than the first.

    >>> reduction(Sample("a", 0, "correct", 200), Sample("a", 0, "correct", 50))
    0.75
    """
    return 1 - after.num_tokens / before.num_tokens
