"""The program `compare`: is the candidate really shorter, and as accurate? It reads evaluation folders and writes no file.

1. Read the folders and find the contenders in them: models, checkpoints, prompts (`folders.py`, `contenders.py`).
2. Match by benchmark and decoding, never by a folder's name, and refuse what cannot be compared (`matching.py`). There is
   one comparison for each candidate and decoding; decodings are never averaged.
3. Compare on paired problems: each benchmark, and the macro-average over them (`macro_average.py`, `intervals.py`).
4. Compare on slices of each benchmark as well, and correct for their number (`slices.py`).
5. Mark on the frontier of each decoding which contenders are dominated, and by which others.
6. Put the result into a sentence (`sentences.py`) and tables (`tables.py`).

A problem enters by the mean of its samples. What is left out: the noise of training seeds. No interval here includes it, because
it shows only between several trained models (docs/comparing.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from laconic.comparison.contenders import Contender, contenders_of
from laconic.comparison.figures import Aes, ChangeFigures, LengthDifference, Means, SecondsChange, Sides, SliceFigures
from laconic.comparison.folders import Decoding, Evaluation
from laconic.comparison.matching import Match, decodings_of, matches_of, unmatched
from laconic.comparison.records import BenchmarkComparison, CandidateComparison, Comparison, FrontierPoint, Who
from laconic.comparison.sentences import (
    figures_caveats,
    length_caveats,
    length_note,
    sameness_caveats,
    sides_caveats,
    tokens_caveats,
    verdict,
)
from laconic.comparison.slices import compare_slices
from laconic.comparison.tables import comparison_lines, print_comparison
from laconic.config.defaults import MARGIN, RESAMPLES, SEED, TOKENS_MARGIN
from laconic.errors import InputError
from laconic.statistics.claims import aes, length_difference, non_inferior, num_mixed
from laconic.statistics.intervals import FloatArray, Interval, paired_relative_change
from laconic.statistics.macro_average import macro_difference, macro_mean, macro_relative_change
from laconic.types import Grade

__all__ = ["AES_CONSTANTS", "compare_evaluations", "comparison_lines", "print_comparison"]

Differences = Mapping[Path, Interval]
"""A figure of each evaluation, by its folder."""

AES_CONSTANTS: Mapping[str, float] = {"alpha": 1.0, "beta": 3.0, "gamma": 5.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """How to compare: margins of accuracy (absolute) and of tokens (relative), the bootstrap's seed and resamples, and the keys
    of slices, None for the usual ones."""

    margin: float
    tokens_margin: float
    seed: int
    resamples: int
    by: Sequence[str] | None


@dataclass(frozen=True, slots=True, eq=False)
class PairedProblems:
    """Means of base and candidate on the same P problems; arrays [2, P], base first.

    `accuracy` is `nan` if a problem could not be graded; a problem that is `nan` on one side counts on neither.
    """

    accuracy: FloatArray
    tokens: FloatArray

    @property
    def num_problems(self) -> int:
        """P."""
        return int(self.tokens.shape[1])


def compare_evaluations(
    base: Path,
    candidates: Sequence[Path] = (),
    *,
    margin: float = MARGIN,
    tokens_margin: float = TOKENS_MARGIN,
    seed: int = SEED,
    resamples: int = RESAMPLES,
    by: Sequence[str] | None = None,
) -> Comparison:
    """Every candidate against `base`, with 95% intervals that resample problems; `to_json` of it is comparison.json.

    Paths are runs or evaluation folders. Other evaluations that a run holds of the same benchmark and decoding (other prompts,
    other checkpoints) are candidates of their own, so a run can be compared without a second one. `margin` is the absolute loss
    of accuracy that still counts as none (0.01: one point), `tokens_margin` the relative growth in tokens that still counts as
    none. `seed` and `resamples` are the bootstrap's. `by` names the keys of slices: without it subject, level and length of the
    question, as far as the problems have them. Raises a one-line `InputError` if folders or files are missing, unfinished or
    malformed, if runs are not comparable, or if no problem has a key of `by`.
    """
    _check_arguments(base, candidates, margin, tokens_margin)
    settings = Settings(margin, tokens_margin, seed, resamples, by)
    first, *others = contenders_of([base, *candidates])
    groups = decodings_of(first)
    matches = matches_of(first, others, groups)
    within = _length_differences(matches, settings)
    return Comparison(
        base=_who(first),
        margin=margin,
        tokens_margin=tokens_margin,
        seed=seed,
        resamples=resamples,
        candidates=tuple(_compare(match, within, settings) for match in matches),
        frontier=tuple(point for decoding in groups for point in _frontier(first, decoding, matches)),
        left_out=tuple(unmatched([first, *others], matches)),
    )


def _check_arguments(base: Path, candidates: Sequence[Path], margin: float, tokens_margin: float) -> None:
    for name, value, end in (("margin", margin, 1.0), ("tokens_margin", tokens_margin, inf)):
        if not 0.0 <= value < end:  # no comparison with nan is true
            raise InputError(f"{name}: expected a finite number, not negative and below {end:g}, got {value}")
    places = [path.resolve() for path in (base, *candidates)]
    for index, path in enumerate(candidates, start=1):
        if places[index] in places[:index]:
            raise InputError(f"compare: {path} is given twice")


def _who(contender: Contender) -> Who:
    return Who(contender.name, contender.run, contender.model, contender.prompt)


# --- one candidate under one decoding --------------------------------------------------------------------------------


def _compare(match: Match, within: Differences, settings: Settings) -> CandidateComparison:
    pairs = {name: _pair(*sides) for name, sides in match.sides.items()}
    figures = {name: _figures([pair], settings) for name, pair in pairs.items()}
    only = next(iter(figures.values())) if len(figures) == 1 else None
    slices = compare_slices(match.sides, settings.by, seed=settings.seed, resamples=settings.resamples)
    benchmarks = {
        name: _benchmark(*sides, pairs[name], figures[name], slices[name], within, settings)
        for name, sides in match.sides.items()
    }
    return CandidateComparison(
        who=_who(match.contender),
        decoding=match.decoding,
        num_samples=_one_number(match),
        benchmarks=benchmarks,
        left_out=match.left_out,
        figures=only or _figures(list(pairs.values()), settings),
        caveats=tuple(_caveats_of_all(benchmarks)),
    )


def _benchmark(
    base: Evaluation,
    candidate: Evaluation,
    pair: PairedProblems,
    figures: ChangeFigures,
    slices: tuple[SliceFigures, ...],
    within: Differences,
    settings: Settings,
) -> BenchmarkComparison:
    """The comparison on one benchmark: its figures, lengths of correct and wrong answers, and the folders that were read."""
    sides = Sides(base, candidate)
    lengths = sides.map(lambda side: _lengths(side, within[side.path]))
    return BenchmarkComparison(
        figures=figures,
        lengths=lengths,
        num_samples=sides.map(lambda side: side.num_samples),
        num_ungradable=sides.map(lambda side: int(side.problems.ungradable.sum())),
        max_tokens=base.decoding.max_tokens,
        paths=sides.map(lambda side: str(side.path)),
        caveats=(
            *_accuracy_caveats(pair),
            *(sameness_caveats(base, candidate) or tokens_caveats(figures.tokens_change, pair.num_problems)),
            *sides_caveats(base, candidate),
            *length_caveats(lengths),
        ),
        slices=slices,
        seconds=_seconds(base, candidate, settings),
    )


def _seconds(base: Evaluation, candidate: Evaluation, settings: Settings) -> SecondsChange | None:
    if base.seconds is None or candidate.seconds is None:
        return None
    row = {name: index for index, name in enumerate(candidate.problems.problem_ids)}
    paired = candidate.seconds[[row[name] for name in base.problems.problem_ids]]
    return SecondsChange(
        means=Sides(float(base.seconds.mean()), float(paired.mean())),
        change=paired_relative_change(base.seconds, paired, seed=settings.seed, resamples=settings.resamples),
        devices=Sides(base.device, candidate.device),
    )


def _accuracy_caveats(pair: PairedProblems) -> list[str]:
    graded = pair.accuracy[:, np.isfinite(pair.accuracy).all(axis=0)]
    num_changed = int(np.count_nonzero(graded[0] != graded[1]))
    return figures_caveats(pair.num_problems, graded.shape[1], num_changed)


def _pair(base: Evaluation, candidate: Evaluation) -> PairedProblems:
    left, right = base.problems, candidate.problems.ordered(base.problems.problem_ids)
    return PairedProblems(np.stack([left.accuracy, right.accuracy]), np.stack([left.mean_tokens, right.mean_tokens]))


def _figures(pairs: Sequence[PairedProblems], settings: Settings) -> ChangeFigures:
    """The figures of one benchmark, or of several; every mean over several is the mean of the benchmarks' means."""
    how = {"seed": settings.seed, "resamples": settings.resamples}
    tokens_change = macro_relative_change([(p.tokens[0], p.tokens[1]) for p in pairs], **how)
    accuracy_change = macro_difference([(p.accuracy[0], p.accuracy[1]) for p in pairs], **how)
    means = Sides(*map(Means, _means([p.accuracy for p in pairs]), _means([p.tokens for p in pairs])))
    return ChangeFigures(
        num_problems=sum(pair.num_problems for pair in pairs),
        tokens_change=tokens_change,
        accuracy_change=accuracy_change,
        margin=settings.margin,
        non_inferior=non_inferior(accuracy_change, settings.margin),
        tokens_margin=settings.tokens_margin,
        tokens_not_more=tokens_change.high < settings.tokens_margin,
        aes=_aes(means),
        means=means,
        verdict=verdict(tokens_change, accuracy_change, settings.margin),
    )


def _aes(means: Sides[Means]) -> Aes:
    base, candidate = means.base, means.candidate
    score = aes(base.accuracy, base.tokens, candidate.accuracy, candidate.tokens, **AES_CONSTANTS)
    return Aes(score, **AES_CONSTANTS)


def _means(arrays: Sequence[FloatArray]) -> list[float]:
    """Macro-average of each row of the arrays [R, P_b], over the problems that are not `nan` in any row."""
    is_known = [array[:, np.isfinite(array).all(axis=0)] for array in arrays]
    return [macro_mean([columns[row] for columns in is_known]) for row in range(arrays[0].shape[0])]


def _length_differences(matches: Sequence[Match], settings: Settings) -> Differences:
    """Tokens of correct minus wrong answers within a problem, once for each evaluation, however often it is compared: with the
    evaluation's own seed, so that it is the figure of its summary."""
    sides = {evaluation.path: evaluation for match in matches for pair in match.sides.values() for evaluation in pair}
    return {
        path: length_difference(evaluation.problems, seed=_seed_of(evaluation, settings), resamples=settings.resamples)
        for path, evaluation in sides.items()
    }


def _seed_of(evaluation: Evaluation, settings: Settings) -> int:
    seed = evaluation.summary.setup.seed
    return settings.seed if seed is None else seed


def _lengths(evaluation: Evaluation, within: Interval) -> LengthDifference:
    """Tokens of correct minus wrong answers on one side: within a problem, and pooled over problems beside it."""
    pooled = evaluation.tokens_by_grade[Grade.CORRECT] - evaluation.tokens_by_grade[Grade.WRONG]
    return LengthDifference(within, num_mixed(evaluation.problems), pooled, length_note(within, pooled))


def _caveats_of_all(benchmarks: Mapping[str, BenchmarkComparison]) -> list[str]:
    """The caveats of a candidate. With several benchmarks, each caveat appears once, with the benchmarks to which it applies."""
    if len(benchmarks) == 1:
        return [text for entry in benchmarks.values() for text in entry.caveats]
    names: dict[str, list[str]] = {}
    for name, entry in benchmarks.items():
        for text in entry.caveats:
            names.setdefault(text, []).append(name)
    return [f"{', '.join(where)}: {text}" for text, where in names.items()]


def _one_number(match: Match) -> int | None:
    """The number of samples per problem, `None` if benchmarks or sides differ in it."""
    numbers = {evaluation.num_samples for sides in match.sides.values() for evaluation in sides}
    return numbers.pop() if len(numbers) == 1 else None


# --- the frontier ----------------------------------------------------------------------------------------------------


def _frontier(base: Contender, decoding: Decoding, matches: Sequence[Match]) -> list[FrontierPoint]:
    """Base and candidates of one decoding as points of accuracy and tokens, on the benchmarks and problems that all share.

    A point is dominated if another is at least as accurate with at most as many tokens, and better in one of the two, by
    the estimates alone. Empty if no benchmark is shared by all.
    """
    field = [match for match in matches if match.decoding == decoding]
    if not field:
        return []
    benchmarks = [name for name in field[0].sides if all(name in match.sides for match in field)]
    if not benchmarks:
        return []
    names = [base.name, *(match.contender.name for match in field)]
    accuracies, tokens = _points(benchmarks, field)
    return [
        FrontierPoint(name, decoding, tuple(benchmarks), Means(accuracies[i], tokens[i]), tuple(dominated_by))
        for i, name in enumerate(names)
        for dominated_by in [[names[j] for j in range(len(names)) if _beats(accuracies, tokens, j, i)]]
    ]


def _points(benchmarks: Sequence[str], field: Sequence[Match]) -> tuple[list[float], list[float]]:
    """Macro-averaged accuracies and tokens, base first, then each match's candidate."""
    accuracy, tokens = [], []
    for name in benchmarks:
        ids = field[0].sides[name][0].problems.problem_ids
        tables = [field[0].sides[name][0].problems, *(match.sides[name][1].problems.ordered(ids) for match in field)]
        accuracy.append(np.stack([table.accuracy for table in tables]))
        tokens.append(np.stack([table.mean_tokens for table in tables]))
    return _means(accuracy), _means(tokens)


def _beats(accuracies: Sequence[float], tokens: Sequence[float], one: int, other: int) -> bool:
    is_as_good = accuracies[one] >= accuracies[other] and tokens[one] <= tokens[other]
    return is_as_good and (accuracies[one], tokens[one]) != (accuracies[other], tokens[other])
