"""What the functions of the front door return. The figures that are needed most often are attributes.

A result without a folder of its own uses a temporary one, which exists as long as the result does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from laconic.comparison.folders import check_evaluation, read_samples
from laconic.comparison.records import CandidateComparison, Comparison
from laconic.comparison.tables import comparison_lines
from laconic.evaluation.figures import Summary
from laconic.rollouts.rows import ResponseRow
from laconic.selection.probe import write_probe
from laconic.statistics.intervals import Interval
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.files import check_file, check_folder, path_of, read_jsonl
from laconic.types import Problem


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """A folder. If it is a temporary one, `keeper` keeps it from being deleted."""

    path: Path
    keeper: "TemporaryDirectory[str] | None" = None


def place_for(out: str | Path | None) -> ResultFolder:
    """The folder `out`, or a temporary one if it is None. Raises `InputError` where `out` cannot be a folder."""
    if out is not None:
        return ResultFolder(check_folder(path_of(out, "out"), "out"))
    keeper = TemporaryDirectory(prefix="laconic-")
    return ResultFolder(Path(keeper.name), keeper)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe measured of each problem, in order: attempts, correct ones, mean length."""

    problems: tuple[Problem, ...]
    stats: tuple[ProblemStats, ...]

    @property
    def solve_rates(self) -> dict[str, float]:
        """The solve rate of each problem, by its id: correct over gradable attempts; `nan` if none could be graded."""
        return {stat.problem_id: stat.solve_rate if stat.attempts else nan for stat in self.stats}

    def write(self, path: str | Path) -> Path:
        """Write the probe to a file that `select` and the command `laconic select` read; returns its path. Raises `InputError`
        where a file is there that is no probe."""
        file = check_file(path_of(path, "path"), "probe", "path")
        write_probe(file, self.problems, self.stats)
        return file


@dataclass(frozen=True, slots=True, repr=False)
class EvaluationResult:
    """An evaluation. `folder` holds its files; `summary.to_json()` is the content of its summary.json."""

    folder: Path
    summary: Summary
    keeper: "TemporaryDirectory[str] | None" = field(default=None, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of correct among gradable samples, averaged over problems; `nan` if none could be graded."""
        return _estimate(self.summary.figures.accuracy)

    @property
    def tokens(self) -> float:
        """Mean length of a response in tokens, averaged over problems."""
        return _estimate(self.summary.figures.tokens)

    @property
    def accuracy_ci95(self) -> tuple[float, float]:
        """The accuracy's 95% interval over problems."""
        return _ends(self.summary.figures.accuracy)

    @property
    def tokens_ci95(self) -> tuple[float, float]:
        """The mean length's 95% interval over problems."""
        return _ends(self.summary.figures.tokens)

    @property
    def responses(self) -> list[ResponseRow]:
        """Every response: its problem, grade, length and text among other fields. Raises `InputError` for a damaged folder."""
        return list(read_samples(self.folder))

    def __repr__(self) -> str:
        accuracy = f"accuracy {self.accuracy:.1%}{_bounds(self.accuracy_ci95, '.1%')}"
        return f"{self.summary.setup.benchmark}: {accuracy}, tokens {self.tokens:.1f}{_bounds(self.tokens_ci95, '.1f')}"


def evaluation_in(folder: Path) -> EvaluationResult:
    """The evaluation that is stored in a folder. Raises an `InputError` that names the file if it is not valid."""
    return EvaluationResult(folder, check_evaluation(folder))


@dataclass(frozen=True, slots=True, repr=False)
class ComparisonResult:
    """Candidates compared with a base on the same problems. Printing it shows the verdict on each candidate."""

    comparison: Comparison

    @property
    def first(self) -> CandidateComparison:
        """The comparison of the first candidate with the base."""
        return self.comparison.candidates[0]

    @property
    def tokens_change(self) -> float:
        """The relative change of the first candidate's tokens: -0.25 is a quarter fewer than the base's."""
        return self.first.figures.tokens_change.estimate

    @property
    def accuracy_change(self) -> float:
        """The first candidate's accuracy minus the base's: 0.01 is one point more."""
        return self.first.figures.accuracy_change.estimate

    def __repr__(self) -> str:
        return "\n".join(comparison_lines(self.comparison))


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished run. `model` is the folder of its result, in Hugging Face format. `evaluations` are by the name of their folder
    ("base-greedy"), `comparisons` by temperature ("greedy", "t1"); both are empty if the recipe has no report set."""

    folder: Path
    model: Path
    evaluations: Mapping[str, EvaluationResult]
    comparisons: Mapping[str, ComparisonResult]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of the run, one record per step (docs/metrics.md)."""
        return list(read_jsonl(self.folder / "metrics.jsonl"))


def _estimate(found: Interval | None) -> float:
    return nan if found is None else found.estimate


def _ends(found: Interval | None) -> tuple[float, float]:
    return (nan, nan) if found is None else (found.low, found.high)


def _bounds(interval: tuple[float, float], form: str) -> str:
    low, high = interval
    return "" if isnan(low) else f" ({low:{form}} to {high:{form}})"
