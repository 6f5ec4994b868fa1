"""Computes the figures of summary.json from the rows of samples.jsonl.

1. One pass over the rows keeps a few numbers of each (`Columns`): problem, grade, lengths, and which answer was given. Texts are
   read once, for BLEU if references are given, and not kept.
2. Every figure is then computed per problem and averaged over problems (`statistics/claims.py`), with intervals that resample
   problems. The same rows give the same figures, to the last bit.

Older files lack `thinking_tokens` and `answer`. Figures that depend on them are null unless every row has them. Shares and tokens
by grade, the median and the 95th percentile are over samples; everything with an interval is over problems.

What is left out: names, settings and the grader, which the program that sampled adds; and reading the file.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from laconic.evaluation.figures import Complexity, Figures
from laconic.rollouts.rows import ResponseRow
from laconic.statistics.bleu import CorpusBleu
from laconic.statistics.claims import PerProblem, length_difference, mean_pass_at_k, num_mixed, per_problem
from laconic.statistics.intervals import FloatArray, Interval, accuracy_interval, length_interval, or_null
from laconic.statistics.majority import Votes, answer_key, mean_majority_at_k, votes
from laconic.statistics.token_complexity import (
    adaptivity,
    constant_accuracy,
    least_tokens,
    oracle_accuracy,
    token_complexity,
)
from laconic.types import GRADES, Grade, LengthSource

PASS_AT = (1, 2, 4, 8, 16, 32, 64)
MAJORITY_AT = (4, 8, 16, 32, 64)
REPLACED = (LengthSource.TEXT, LengthSource.BOUND)

_CODE = {grade: code for code, grade in enumerate(GRADES)}


@dataclass(slots=True)
class Columns:
    """The numbers kept of N rows, one entry per row: the indices of its problem, grade and answer, and lengths in tokens.

    A thinking length of -1 is unknown. Only wrong answers are numbered; -1 stands for any other response.
    """

    problems: dict[str, int] = field(default_factory=dict)
    problem: "array[int]" = field(default_factory=lambda: array("q"))
    grade: "array[int]" = field(default_factory=lambda: array("b"))
    tokens: "array[int]" = field(default_factory=lambda: array("q"))
    thinking: "array[int]" = field(default_factory=lambda: array("q"))
    answer: "array[int]" = field(default_factory=lambda: array("q"))
    answers: dict[str, int] = field(default_factory=dict)
    is_answer_known: bool = True
    length_sources: Counter[LengthSource] = field(default_factory=Counter)

    def add(self, row: ResponseRow) -> None:
        """Keep one row's numbers."""
        self.problem.append(self.problems.setdefault(row.problem_id, len(self.problems)))
        self.grade.append(_CODE[row.grade])
        self.tokens.append(row.num_tokens)
        self.thinking.append(-1 if row.thinking_tokens is None else row.thinking_tokens)
        self.length_sources[row.length_source] += 1
        self.is_answer_known &= "answer" not in row.absent
        answer = (
            row.answer if row.grade is Grade.WRONG else None
        )  # all correct answers are one vote, however they are written
        self.answer.append(-1 if answer is None else self.answers.setdefault(answer, len(self.answers)))


def summarise(
    rows: Iterable[ResponseRow],
    seed: int,
    oracle: Mapping[str, float] | None = None,
    references: Mapping[str, str] | None = None,
    *,
    cap: int | None = None,
) -> Figures:
    """The figures of an evaluation's rows; `rows` are read once.

    `seed` is the bootstrap's. `cap` is the most tokens that a response may have: no interval of a mean length ends above it, but
    for responses that are longer, since an endpoint may exceed it. `oracle` maps problem ids to the length of their shortest
    correct response, in tokens: its mean is `oracle_tokens` if it covers every problem. `references` maps problem ids to
    reference solutions: `bleu` is corpus BLEU of all samples of the problems that have one, each compared with that of its
    problem (null if no problem has one).

    Raises `ValueError` if there are no rows, and `MissingExtraError` if `references` are given and sacrebleu is not installed.
    """
    columns = Columns()
    bleu = None if references is None else CorpusBleu()
    for row in rows:
        columns.add(row)
        if bleu is not None and references is not None and row.problem_id in references:
            bleu.add(row.text, references[row.problem_id])
    if not columns.problem:
        raise ValueError("summarise: no rows")
    figures = _figures(columns, seed, None if cap is None else max(cap, *columns.tokens))
    oracle_mean = _oracle_tokens(columns, oracle or {})
    return replace(figures, oracle_tokens=oracle_mean, bleu=None if bleu is None else bleu.score)


def _figures(columns: Columns, seed: int, most: int | None) -> Figures:
    grades = [GRADES[code] for code in columns.grade]
    ids = list(columns.problems)
    table = per_problem([ids[number] for number in columns.problem], grades, columns.tokens)
    rows_of = _rows_by_problem(columns)
    num_samples = min(len(rows) for rows in rows_of)
    lengths, thinking = np.array(columns.tokens), _parts(columns, seed, most)
    return Figures(
        accuracy=accuracy_interval(table.accuracy),
        tokens=length_interval(table.mean_tokens, seed=seed, most=most),
        median_tokens=float(np.median(lengths)),
        p95_tokens=float(np.quantile(lengths, 0.95)),
        thinking_tokens=thinking and thinking[0],
        answer_tokens=thinking and thinking[1],
        tokens_by_grade=_tokens_by_grade(columns),
        grade_frac=_grade_frac(columns),
        pass_at_k={k: or_null(mean_pass_at_k(table, k)) for k in PASS_AT if k <= num_samples},
        maj_at_k=_majorities(columns, grades, rows_of, num_samples),
        length_difference=length_difference(table, seed=seed),
        num_mixed=num_mixed(table),
        token_complexity=_complexity(columns, table, rows_of) if num_samples > 1 else None,
        length_sources={
            source: columns.length_sources[source] for source in REPLACED if columns.length_sources[source]
        },
    )


def _parts(columns: Columns, seed: int, most: int | None) -> tuple[Interval, Interval] | None:
    """Tokens of thinking and of the text after it, as means over problems; None unless every row has `thinking_tokens`."""
    thinking, tokens = np.array(columns.thinking, dtype=np.float64), np.array(columns.tokens, dtype=np.float64)
    if (thinking < 0).any():
        return None
    of_thinking, of_answer = (_problem_means(columns, lengths) for lengths in (thinking, tokens - thinking))
    thought, answered = (length_interval(part, seed=seed, most=most) for part in (of_thinking, of_answer))
    return thought, answered


def _problem_means(columns: Columns, values: FloatArray) -> FloatArray:
    """Mean of `values` [N] for each problem [P]."""
    problem = np.array(columns.problem)
    means: FloatArray = np.bincount(problem, weights=values) / np.bincount(problem)
    return means


def _tokens_by_grade(columns: Columns) -> dict[Grade, float | None]:
    tokens, masks = np.array(columns.tokens, dtype=np.float64), _masks(columns)
    return {
        grade: float(tokens[mask].mean()) if mask.any() else None
        for grade, mask in masks.items()
        if grade is not Grade.UNGRADABLE
    }


def _grade_frac(columns: Columns) -> dict[Grade, float]:
    return {grade: float(np.mean(mask)) for grade, mask in _masks(columns).items()}


def _masks(columns: Columns) -> dict[Grade, NDArray[np.bool_]]:
    codes = np.array(columns.grade)
    return {grade: codes == _CODE[grade] for grade in GRADES}


def _rows_by_problem(columns: Columns) -> list[NDArray[np.intp]]:
    """The indices of each problem's rows, in the order of the rows."""
    problem = np.array(columns.problem)
    ends = np.cumsum(np.bincount(problem))[:-1]
    return np.split(np.argsort(problem, kind="stable"), ends)


def _majorities(
    columns: Columns, grades: Sequence[Grade], rows_of: Sequence[NDArray[np.intp]], num_samples: int
) -> dict[int, float | None] | None:
    """maj@k for k = 4, 8, 16 and so on, and for all samples of a problem; null for older files without answers."""
    if not columns.is_answer_known:
        return None
    ks = sorted({*(k for k in MAJORITY_AT if k <= num_samples), num_samples} - {1, 2})
    if not ks:
        return {}
    key_of = _cached_keys(list(columns.answers))

    def votes_of(rows: NDArray[np.intp]) -> Votes:
        return votes([grades[row] for row in rows], [key_of(columns.answer[row]) for row in rows])

    every = [votes_of(rows) for rows in rows_of]
    return {k: or_null(mean_majority_at_k(every, k)) for k in ks}


def _cached_keys(answers: Sequence[str]) -> Callable[[int], str | None]:
    keys: dict[int, str | None] = {-1: None}

    def key_of(number: int) -> str | None:
        if number not in keys:
            keys[number] = answer_key(answers[number])
        return keys[number]

    return key_of


def _complexity(columns: Columns, table: PerProblem, rows_of: Sequence[NDArray[np.intp]]) -> Complexity:
    """Token complexity over the problems with a gradable sample, and what its oracle gets at this run's own figures."""
    codes, tokens = np.array(columns.grade), np.array(columns.tokens, dtype=np.float64)
    gradable = [rows[codes[rows] != _CODE[Grade.UNGRADABLE]] for rows in rows_of]
    needed = np.array([token_complexity(tokens[rows], codes[rows] == _CODE[Grade.CORRECT]) for rows in gradable])
    is_known = ~np.isnan(needed)
    if not is_known.any():
        return Complexity()
    accuracy, mean_tokens = float(np.mean(table.accuracy[is_known])), float(np.mean(table.mean_tokens[is_known]))
    figures = (
        float(np.median(needed[is_known])),
        float(np.mean(np.isfinite(needed[is_known]))),
        oracle_accuracy(needed, mean_tokens),
        least_tokens(needed, accuracy),
        constant_accuracy(needed, mean_tokens),
        adaptivity(table.mean_tokens, needed),
    )
    return Complexity(*(value if isfinite(value) else None for value in figures))


def _oracle_tokens(columns: Columns, oracle: Mapping[str, float]) -> float | None:
    if any(name not in oracle for name in columns.problems):
        return None
    return float(np.mean([oracle[name] for name in columns.problems]))
