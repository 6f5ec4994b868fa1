"""Is the candidate really shorter, and as good? Reads evaluation folders and writes no file.

1. Find the evaluations of each run: `RUN/eval/<benchmark>/`, `RUN/<benchmark>/`, or the folder itself, each with
   `samples.jsonl` and `summary.json`. A benchmark is known by its folder's name, so that `report-t0` and `report-t1`
   stay apart; where both runs have exactly one evaluation, these two are compared whatever their folders are called.
2. Refuse what cannot be compared: other problems, sampling caps, temperatures, numbers of samples, or files that are
   not whole.
3. Compare each candidate with the base, benchmark by benchmark and pooled, on paired problems (`stats.py`).
4. Say it in a sentence (`verdict`) and in a table (`print_comparison`).

Pooled, a problem is one problem however many evaluations hold it (two temperatures, say): its means are averaged first.
Sampling seeds may differ. What is left out: the noise of training seeds, which takes several candidates to see.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from laconic.errors import InputError
from laconic.files import read_json, read_numbered_jsonl
from laconic.stats import (
    FloatArray,
    Interval,
    PerProblem,
    aes,
    length_difference,
    non_inferior,
    num_mixed,
    or_null,
    paired_difference,
    paired_relative_change,
    per_problem,
)
from laconic.types import Grade

AES_CONSTANTS: Mapping[str, float] = {"alpha": 1.0, "beta": 3.0, "gamma": 5.0}
FEW_PROBLEMS = 20

_SAMPLES, _SUMMARY = "samples.jsonl", "summary.json"
_SUMMARY_KEYS = ("benchmark", "model", "num_problems", "num_samples", "temperature", "max_tokens", "seed")
_SAME = ("benchmark", "temperature", "max_tokens", "num_samples")

Identity = tuple[str, str, str]  # problem id, question, gold: what makes two problems the same


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of samples.jsonl, as far as a comparison looks at it."""

    identity: Identity
    sample: int
    grade: Grade
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One evaluation folder, read and checked; `identities` and `problems` agree row by row."""

    path: Path
    name: str
    summary: Mapping[str, Any]
    identities: tuple[Identity, ...]
    problems: PerProblem


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Means of base and candidate on the same P problems; arrays [2, P], base first.

    `accuracy` is `nan` where a problem could not be graded; what is `nan` on one side counts on neither.
    """

    identities: tuple[Identity, ...]
    accuracy: FloatArray
    tokens: FloatArray


def compare_evaluations(
    base: Path,
    candidates: Sequence[Path],
    *,
    margin: float = 0.01,
    seed: int = 0,
    resamples: int = 10_000,
) -> dict[str, Any]:
    """The content of comparison.json: each candidate against `base`, with 95% intervals that resample problems.

    `margin` is the absolute loss of accuracy that still counts as none (0.01: one point). `seed` and `resamples` are
    the bootstrap's. Raises `InputError`, one line, where folders or files are missing or malformed, or runs are not
    comparable.
    """
    if not margin >= 0.0:
        raise InputError(f"margin: expected an accuracy difference that is not negative, got {margin}")
    if not candidates:
        raise InputError("compare: no candidate to compare with the base")
    if len(set(candidates)) < len(candidates):
        raise InputError("compare: a candidate is given twice")
    read_base = read_evaluations(base)
    names = _names(base, candidates)
    return {
        "base": {"name": names[0], "path": str(base), "model": _model(read_base)},
        "margin": margin,
        "seed": seed,
        "resamples": resamples,
        "candidates": [
            {"name": name, "path": str(path)} | _compare(read_base, read_evaluations(path), margin, seed, resamples)
            for name, path in zip(names[1:], candidates, strict=True)
        ],
    }


def find_evaluations(run: Path) -> dict[str, Path]:
    """Evaluation folders of a run by folder name, sorted; "" names a folder that is an evaluation itself.

    Raises `InputError` where there is none.
    """
    if (run / _SAMPLES).is_file() or (run / _SUMMARY).is_file():
        return {"": run}
    for parent in (run / "eval", run):
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        found = {folder.name: folder for folder in folders if (folder / _SAMPLES).is_file()}
        if found:
            return found
    raise InputError(f"{run}: no evaluation here (looked for {_SAMPLES} in it, in its folders and in eval/)")


def read_evaluations(run: Path) -> dict[str, Evaluation]:
    """All evaluations of a run by benchmark name. Raises `InputError` naming file and line where one is not whole."""
    evaluations = [read_evaluation(path, name) for name, path in find_evaluations(run).items()]
    return {evaluation.name: evaluation for evaluation in evaluations}


def read_evaluation(path: Path, name: str = "") -> Evaluation:
    """Read one evaluation folder; `name` "" takes the benchmark's name from the summary.

    Raises `InputError` where a file is missing or malformed, or the samples are not those that the summary speaks of.
    """
    summary = read_json(path / _SUMMARY)
    for key in _SUMMARY_KEYS:
        if key not in summary:
            raise InputError(f"{path / _SUMMARY}: {key} is missing")
    file = path / _SAMPLES
    samples = [_sample(record, f"{file}, line {line}") for line, record in read_numbered_jsonl(file)]
    _check_whole(file, summary, samples)
    ids, grades, tokens = zip(*((s.identity[0], s.grade, s.num_tokens) for s in samples), strict=True)
    identities = tuple(dict.fromkeys(sample.identity for sample in samples))
    return Evaluation(path, name or str(summary["benchmark"]), summary, identities, per_problem(ids, grades, tokens))


def verdict(tokens_change: Interval, accuracy_change: Interval, margin: float) -> str:
    """One sentence: what changed, how sure that is, and what may be claimed of it.

    >>> said = verdict(Interval(-0.43, -0.45, -0.41), Interval(0.062, 0.031, 0.09), margin=0.01)
    >>> said.partition(": ")[0]
    '43% fewer tokens (95% interval 41 to 45% fewer) with accuracy +6.2 points (+3.1 to +9.0)'
    >>> said.partition(": ")[2]
    'shorter, and not less accurate.'
    """
    claims = f"{_length_claim(tokens_change)}, {_accuracy_claim(tokens_change, accuracy_change, margin)}"
    return f"{_tokens_words(tokens_change)} with accuracy {_points_words(accuracy_change)}: {claims}."


def print_comparison(comparison: Mapping[str, Any]) -> Table:
    """The table to print: a row for each candidate and benchmark, and one for all of them together where there are
    several."""
    title = f"compared with {comparison['base']['name']}, 95% intervals over problems"
    table = Table(
        title=title, caption=f"as accurate: less than {_plural(100 * comparison['margin'], 'point')} below the base"
    )
    for column in (
        "candidate",
        "benchmark",
        "problems",
        "tokens",
        "change",
        "accuracy",
        "points",
        "as accurate",
        "AES",
    ):
        table.add_column(column, justify="left" if column in ("candidate", "benchmark") else "right")
    for candidate in comparison["candidates"]:
        benchmarks = candidate["benchmarks"]
        for name, change in benchmarks.items():
            table.add_row(candidate["name"], name, *_cells(change))
        if len(benchmarks) > 1:
            table.add_row(candidate["name"], "all", *_cells(candidate), end_section=True)
    return table


def _compare(
    base: Mapping[str, Evaluation], candidate: Mapping[str, Evaluation], margin: float, seed: int, resamples: int
) -> dict[str, Any]:
    matched = _match(base, candidate)
    for _, left, right in matched:
        _check_comparable(left, right)
    pairs = {name: _pairs(left, right) for name, left, right in matched}
    benchmarks = {
        name: _change(pairs[name], margin, seed, resamples) | _details(left, right, seed, resamples)
        for name, left, right in matched
    }
    left_out = [] if len(base) == len(candidate) == 1 else sorted(set(base) ^ set(candidate))
    whole = _change(_pool(list(pairs.values())), margin, seed, resamples)
    return {"model": _model(candidate), "benchmarks": benchmarks, "left_out": left_out} | whole


def _match(
    base: Mapping[str, Evaluation], candidate: Mapping[str, Evaluation]
) -> list[tuple[str, Evaluation, Evaluation]]:
    """(name, base's, candidate's): the only one of each, or those whose names agree."""
    if len(base) == len(candidate) == 1:
        name = next(iter(base))
        return [(name, base[name], next(iter(candidate.values())))]
    shared = [(name, evaluation, candidate[name]) for name, evaluation in base.items() if name in candidate]
    if not shared:
        raise InputError(f"no benchmark in common: base has {', '.join(base)}; candidate has {', '.join(candidate)}")
    return shared


def _check_comparable(base: Evaluation, candidate: Evaluation) -> None:
    for key in _SAME:
        left, right = base.summary[key], candidate.summary[key]
        if left != right:
            raise InputError(f"{candidate.path} cannot be compared with {base.path}: {key} is {right}, there {left}")
    differing = set(base.identities) ^ set(candidate.identities)
    if differing:
        example = min(differing)[0]
        raise InputError(f"{candidate.path} cannot be compared with {base.path}: problems differ, as {example!r} does")


def _pairs(base: Evaluation, candidate: Evaluation) -> Pairs:
    left, right = base.problems, candidate.problems.ordered(base.problems.problem_ids)
    accuracy = np.stack([left.accuracy, right.accuracy])
    return Pairs(base.identities, accuracy, np.stack([left.mean_tokens, right.mean_tokens]))


def _pool(pairs: Sequence[Pairs]) -> Pairs:
    """One row for each distinct problem: the mean over the evaluations that hold it."""
    identities = [identity for pair in pairs for identity in pair.identities]
    row = {identity: index for index, identity in enumerate(dict.fromkeys(identities))}
    rows = np.array([row[identity] for identity in identities])
    accuracy = np.concatenate([pair.accuracy for pair in pairs], axis=1)
    tokens = np.concatenate([pair.tokens for pair in pairs], axis=1)
    return Pairs(tuple(row), _row_means(accuracy, rows, len(row)), _row_means(tokens, rows, len(row)))


def _row_means(values: FloatArray, rows: NDArray[np.int64], num_rows: int) -> FloatArray:
    """Means [2, num_rows] of `values` [2, N] by row; `nan` values are left out, `nan` where nothing is left."""
    means = np.full((2, num_rows), np.nan)
    known = np.isfinite(values).all(axis=0)
    counts = np.bincount(rows[known], minlength=num_rows)
    for side in range(2):
        sums = np.bincount(rows[known], weights=values[side, known], minlength=num_rows)
        np.divide(sums, counts, out=means[side], where=counts > 0)
    return means


def _change(pairs: Pairs, margin: float, seed: int, resamples: int) -> dict[str, Any]:
    """What comparison.json says of one set of paired problems."""
    tokens_change = paired_relative_change(*pairs.tokens, seed=seed, resamples=resamples)
    accuracy_change = paired_difference(*pairs.accuracy, seed=seed, resamples=resamples)
    accuracies, tokens = _means(pairs.accuracy), _means(pairs.tokens)
    score = aes(accuracies[0], tokens[0], accuracies[1], tokens[1], **AES_CONSTANTS)
    return {
        "num_problems": len(pairs.identities),
        "tokens_change": tokens_change.to_json(),
        "accuracy_change": accuracy_change.to_json(),
        "margin": margin,
        "non_inferior": non_inferior(accuracy_change, margin),
        "aes": {"value": or_null(score), **AES_CONSTANTS},
        "base": {"accuracy": or_null(accuracies[0]), "tokens": or_null(tokens[0])},
        "candidate": {"accuracy": or_null(accuracies[1]), "tokens": or_null(tokens[1])},
        "caveats": _caveats(pairs, accuracy_change),
        "verdict": verdict(tokens_change, accuracy_change, margin),
    }


def _means(values: FloatArray) -> list[float]:
    """Mean of each row of [2, P] over what is known; `nan` where nothing is."""
    known = values[:, np.isfinite(values).all(axis=0)]
    return [float(mean) for mean in known.mean(axis=1)] if known.size else [nan, nan]


def _details(base: Evaluation, candidate: Evaluation, seed: int, resamples: int) -> dict[str, Any]:
    """What is said of a benchmark only: tokens of correct minus wrong answers within a problem, and what was
    ungradable."""
    sides = {"base": base.problems, "candidate": candidate.problems}
    return {
        "length_difference": {
            side: length_difference(problems, seed=seed, resamples=resamples).to_json()
            | {"num_problems": num_mixed(problems)}
            for side, problems in sides.items()
        },
        "num_ungradable": {side: int(problems.ungradable.sum()) for side, problems in sides.items()},
    }


def _caveats(pairs: Pairs, accuracy_change: Interval) -> list[str]:
    num_graded = int(np.isfinite(pairs.accuracy).all(axis=0).sum())
    caveats = []
    if len(pairs.identities) < FEW_PROBLEMS:
        caveats.append(f"few problems ({len(pairs.identities)}): the intervals are rough")
    if num_graded < len(pairs.identities):
        caveats.append(f"accuracy is over {_plural(num_graded, 'problem')} that could be graded for both")
    if accuracy_change.low == accuracy_change.high:
        caveats.append("every problem's accuracy changed alike, so its interval has no width; that is not certainty")
    return caveats


def _tokens_words(change: Interval) -> str:
    if isnan(change.estimate):
        return "No change of tokens can be stated"
    if isnan(change.low):
        return f"{_percent(change.estimate)} tokens (no interval: one problem)"
    if change.high <= 0:
        ends = f"{_number(change.high)} to {_number(change.low)}% fewer"
    elif change.low >= 0:
        ends = f"{_number(change.low)} to {_number(change.high)}% more"
    else:
        ends = f"{_percent(change.low)} to {_percent(change.high)}"
    return f"{_percent(change.estimate)} tokens (95% interval {ends})"


def _number(change: float) -> str:
    """Size in percent: whole from 10 up, one decimal below."""
    percent = abs(100.0 * change)
    return f"{percent:.0f}" if percent >= 9.95 or percent == 0.0 else f"{percent:.1f}"


def _plural(count: float, word: str) -> str:
    return f"{count:g} {word}{'' if count == 1 else 's'}"


def _percent(change: float) -> str:
    return f"{_number(change)}% {'more' if change > 0 else 'fewer'}"


def _points_words(change: Interval) -> str:
    if isnan(change.estimate):
        return "unknown"
    interval = "no interval" if isnan(change.low) else f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"
    return f"{100 * change.estimate:+.1f} points ({interval})"


def _length_claim(change: Interval) -> str:
    if change.high < 0:
        return "shorter"
    return "longer" if change.low > 0 else "no clear change in length"


def _accuracy_claim(tokens_change: Interval, change: Interval, margin: float) -> str:
    joint = "but" if tokens_change.low > 0 else "and"
    points = _plural(100 * margin, "point")
    if non_inferior(change, margin):
        within = f", if lower by less than the margin of {points}" if change.high < 0 else ""
        return f"{joint} not less accurate{within}"
    if change.high < 0:
        return "but less accurate"
    return f"but not shown to be as accurate within {points}"


def _cells(change: Mapping[str, Any]) -> list[str]:
    base, candidate = change["base"], change["candidate"]
    return [
        str(change["num_problems"]),
        f"{_shown(base['tokens'], '.0f')} → {_shown(candidate['tokens'], '.0f')}",
        _shown_interval(change["tokens_change"], 100.0, "+.0f", "%"),
        f"{_shown(base['accuracy'], '.1%')} → {_shown(candidate['accuracy'], '.1%')}",
        _shown_interval(change["accuracy_change"], 100.0, "+.1f", ""),
        "yes" if change["non_inferior"] else "not shown",
        _shown(change["aes"]["value"], "+.2f"),
    ]


def _shown(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _shown_interval(change: Mapping[str, Any], scale: float, form: str, unit: str) -> str:
    values = [change["estimate"], *change["ci95"]]
    estimate, low, high = (_shown(None if value is None else scale * value, form) for value in values)
    return f"{estimate}{unit} ({low} to {high})"


def _names(base: Path, candidates: Sequence[Path]) -> list[str]:
    """Folder names where they tell the runs apart, else the paths as given."""
    paths = [base, *candidates]
    short = [path.name for path in paths]
    return [name if name and short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]


def _model(evaluations: Mapping[str, Evaluation]) -> str:
    return ", ".join(sorted({str(evaluation.summary["model"]) for evaluation in evaluations.values()}))


def _sample(record: Mapping[str, Any], where: str) -> Sample:
    kinds = {"problem_id": str, "sample": int, "grade": str, "num_tokens": int, "question": str, "gold": str}
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind) or isinstance(record[key], bool):
            raise InputError(f"{where}: {key} is {'missing' if key not in record else repr(record[key])}")
    if record["grade"] not in set(Grade):
        raise InputError(f"{where}: grade is {record['grade']!r}, expected one of {', '.join(Grade)}")
    if record["num_tokens"] < 0:
        raise InputError(f"{where}: num_tokens is {record['num_tokens']}")
    identity = (record["problem_id"], record["question"], record["gold"])
    return Sample(identity, record["sample"], Grade(record["grade"]), record["num_tokens"])


def _check_whole(file: Path, summary: Mapping[str, Any], samples: Sequence[Sample]) -> None:
    """Raise `InputError` unless there are `num_problems` problems with `num_samples` distinct samples each."""
    counts = Counter(sample.identity[0] for sample in samples)
    if len(counts) != summary["num_problems"] or not counts:
        raise InputError(f"{file}: holds {len(counts)} problems, {_SUMMARY} says {summary['num_problems']}")
    for problem_id, count in counts.items():
        if count != summary["num_samples"]:
            raise InputError(f"{file}: problem {problem_id!r} has {count} samples, not {summary['num_samples']}")
    if len({(sample.identity[0], sample.sample) for sample in samples}) < len(samples):
        raise InputError(f"{file}: a sample of a problem occurs twice")
    if len({sample.identity for sample in samples}) > len(counts):
        raise InputError(f"{file}: one problem id stands for two questions or answers")
