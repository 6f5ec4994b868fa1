"""Which problems to train on, chosen by how often the model solves them.

1. A probe samples every problem; what it saw of one is a `ProblemStats`, a line of probe.jsonl.
2. With n gradable attempts and c correct ones the solve rate has a Beta(1 + c, 1 + n - c) posterior: a uniform prior,
   on purpose weak and symmetric, so that 0/4 and 4/4 keep the width that four attempts deserve.
3. A selection from `SELECTIONS` keeps or drops each problem, and says why in one line: a `Choice`.

`UNGRADABLE` attempts are no attempts: they are in `counts` and in `mean_tokens` (they were generated), in nothing
else. `NO_ANSWER` and `TRUNCATED` are attempts that were not correct. Selections draw nothing at random; `seed` only
orders ties, by a hash of the problem's name.

What is left out: reading files, and deciding that too few problems are left (programs do both).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from math import inf, isfinite, nan
from typing import Any

import numpy as np
from scipy.stats import beta

from laconic.rng import seed_of
from laconic.types import Grade, count_grades


@dataclass(frozen=True, slots=True)
class ProblemStats:
    """What a probe saw of one problem; one line of probe.jsonl. All means are in tokens.

    `attempts` counts gradable samples, `counts` all samples by grade; `mean_tokens` is over all samples. Raises
    `ValueError` where `attempts` or `correct` contradict `counts`.
    """

    problem_id: str
    attempts: int
    correct: int
    mean_tokens: float
    mean_correct_tokens: float | None
    min_correct_tokens: int | None
    counts: Mapping[Grade, int]

    def __post_init__(self) -> None:
        attempts = sum(count for grade, count in self.counts.items() if grade is not Grade.UNGRADABLE)
        if self.attempts != attempts:
            raise ValueError(f"attempts: {self.attempts}, but counts hold {attempts} gradable samples")
        if self.correct != self.counts.get(Grade.CORRECT, 0):
            raise ValueError(f"correct: {self.correct}, but counts hold {self.counts.get(Grade.CORRECT, 0)}")

    @property
    def solve_rate(self) -> float:
        """correct / attempts; `nan` without a gradable attempt."""
        return self.correct / self.attempts if self.attempts else nan

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back to an equal record."""
        return {
            "problem_id": self.problem_id,
            "attempts": self.attempts,
            "correct": self.correct,
            "mean_tokens": self.mean_tokens,
            "mean_correct_tokens": self.mean_correct_tokens,
            "min_correct_tokens": self.min_correct_tokens,
            "counts": {grade.value: self.counts.get(grade, 0) for grade in Grade},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ProblemStats":
        """Read what `to_json` wrote; unknown keys are passed over. Raises `ValueError` naming the key that is wrong."""
        counts = _field(record, "counts", Mapping)
        unknown = set(counts) - {grade.value for grade in Grade}
        if unknown:
            raise ValueError(f"counts: unknown grade {sorted(unknown)[0]!r}")
        return cls(
            problem_id=_field(record, "problem_id", str),
            attempts=_whole(record, "attempts"),
            correct=_whole(record, "correct"),
            mean_tokens=_tokens(record, "mean_tokens"),
            mean_correct_tokens=_tokens(record, "mean_correct_tokens")
            if _is_set(record, "mean_correct_tokens")
            else None,
            min_correct_tokens=_whole(record, "min_correct_tokens") if _is_set(record, "min_correct_tokens") else None,
            counts={grade: _whole(counts, grade.value, "counts.") for grade in Grade},
        )


def problem_stats(problem_id: str, grades: Sequence[Grade], num_tokens: Sequence[int]) -> ProblemStats:
    """Sum up the samples of one problem, K of them. Raises `ValueError` where there is none or K differs.

    >>> stats = problem_stats("a", [Grade.CORRECT, Grade.WRONG, Grade.UNGRADABLE], [10, 20, 60])
    >>> stats.attempts, stats.correct, stats.mean_tokens, stats.mean_correct_tokens
    (2, 1, 30.0, 10.0)
    """
    if not grades or len(grades) != len(num_tokens):
        raise ValueError(
            f"problem_stats: {len(grades)} grades and {len(num_tokens)} lengths; expected as many, and some"
        )
    counts = count_grades(grades)
    correct = [tokens for tokens, grade in zip(num_tokens, grades, strict=True) if grade is Grade.CORRECT]
    return ProblemStats(
        problem_id=problem_id,
        attempts=len(grades) - counts[Grade.UNGRADABLE],
        correct=len(correct),
        mean_tokens=float(np.mean(num_tokens)),
        mean_correct_tokens=float(np.mean(correct)) if correct else None,
        min_correct_tokens=min(correct) if correct else None,
        counts=counts,
    )


def solve_rate_interval(attempts: int, correct: int) -> tuple[float, float]:
    """Equal-tailed 95% interval of the solve rate under a uniform prior; 0.025 to 0.975 where nothing was attempted.

    >>> [round(end, 2) for end in solve_rate_interval(attempts=32, correct=14)]
    [0.28, 0.61]
    """
    low, high = beta.ppf([0.025, 0.975], 1 + correct, 1 + attempts - correct)
    return float(low), float(high)


def mass_inside(attempts: int, correct: int, low: float, high: float) -> float:
    """Posterior probability that the solve rate lies in [low, high].

    >>> round(mass_inside(attempts=0, correct=0, low=0.25, high=0.75), 6)  # the uniform prior itself
    0.5
    """
    below, upto = beta.cdf([low, high], 1 + correct, 1 + attempts - correct)
    return float(upto - below)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a selection decided on one problem, and why; `low` and `high` are the ends of the solve rate's 95% interval.

    `solve_rate` is `nan` where nothing could be graded.
    """

    problem_id: str
    is_kept: bool
    reason: str
    solve_rate: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object; null for a solve rate that does not exist."""
        rate = self.solve_rate if isfinite(self.solve_rate) else None
        return {
            "problem_id": self.problem_id,
            "is_kept": self.is_kept,
            "reason": self.reason,
            "solve_rate": rate,
            "solve_rate_ci95": [self.low, self.high],
        }


def select_band(
    stats: Sequence[ProblemStats], low: float = 0.3, high: float = 0.9, count: int | None = None, seed: int = 0
) -> list[Choice]:
    """Keep problems whose solve rate lies in [low, high], ends included; of too many, those that lie deepest inside.

    Deepest: the largest posterior mass inside the band, so 16/32 goes before 1/2. One `Choice` a problem, in the order
    given. `count` None keeps all that qualify. Raises `ValueError` unless 0 <= low <= high <= 1.

    The default band is where phase 2 shortens: occasionally solvable at least (Fatemi et al. 2025), not yet always
    solved.
    """
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"band: expected 0 <= low <= high <= 1, got {low}:{high}")
    band = f"{low:g}:{high:g}"

    def objection(stat: ProblemStats) -> str:
        if stat.solve_rate < low:
            return f"below {band}"
        return f"above {band}" if stat.solve_rate > high else ""

    def depth(stat: ProblemStats) -> float:
        return -mass_inside(stat.attempts, stat.correct, low, high)

    return _choose(
        stats, objection, depth, count, seed, kept=f"inside {band}", rivals=("lies deeper inside", "lie deeper inside")
    )


def select_hard(
    stats: Sequence[ProblemStats],
    ceiling: float = 0.3,
    allow_unsolved: bool = False,
    count: int | None = None,
    seed: int = 0,
) -> list[Choice]:
    """Keep the problems with the lowest solve rates, none above `ceiling`: phase 1 trains on what is hard.

    Never-solved problems are left out unless `allow_unsolved`: all their attempts earn alike, so a group baseline
    learns nothing from them and PPO only learns to write longer; and some have a wrong gold answer. The default
    ceiling is T1's (Hou et al. 2025, arXiv 2501.11651). Of equal rates the one more surely below the ceiling goes
    first. Raises `ValueError` unless 0 <= ceiling <= 1.
    """
    if not 0.0 <= ceiling <= 1.0:
        raise ValueError(f"ceiling: expected a solve rate in [0, 1], got {ceiling}")

    def objection(stat: ProblemStats) -> str:
        if stat.correct == 0 and not allow_unsolved:
            return "never solved"
        return f"above {ceiling:g}" if stat.solve_rate > ceiling else ""

    def hardness(stat: ProblemStats) -> tuple[float, float]:
        return stat.solve_rate, -mass_inside(stat.attempts, stat.correct, 0.0, ceiling)

    return _choose(
        stats, objection, hardness, count, seed, kept=f"at most {ceiling:g}", rivals=("is harder", "are harder")
    )


def select_all(stats: Sequence[ProblemStats], count: int | None = None, seed: int = 0) -> list[Choice]:
    """Keep every problem that was graded at all; of too many, an arbitrary `count` (by a hash of the name)."""
    return _choose(
        stats, lambda stat: "", lambda stat: 0, count, seed, kept="graded", rivals=("was drawn", "were drawn")
    )


Selection = Callable[..., list[Choice]]
"""`selection(stats, count=..., seed=..., **options)`; options are keywords with a default each."""

SELECTIONS: Mapping[str, Selection] = {"band": select_band, "hard": select_hard, "all": select_all}


def select(
    name: str,
    stats: Sequence[ProblemStats],
    count: int | None = None,
    seed: int = 0,
    options: Mapping[str, float | bool] | None = None,
) -> list[Choice]:
    """Call a selection by name. Raises `ValueError` for an unknown name (listing the known) or option (naming it)."""
    if name not in SELECTIONS:
        raise ValueError(f"unknown selection {name!r}; known: {', '.join(sorted(SELECTIONS))}")
    known = [key for key in signature(SELECTIONS[name]).parameters if key not in ("stats", "count", "seed")]
    for option in options or {}:
        if option not in known:
            raise ValueError(f"selection {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}")
    return SELECTIONS[name](stats, count=count, seed=seed, **(options or {}))


def _choose(
    stats: Sequence[ProblemStats],
    objection: Callable[[ProblemStats], str],
    rank: Callable[[ProblemStats], Any],
    count: int | None,
    seed: int,
    *,
    kept: str,
    rivals: tuple[str, str],
) -> list[Choice]:
    """Drop what meets an objection, keep the `count` of lowest rank, and put each decision into words."""
    _check(stats, count)
    qualified = [stat for stat in stats if stat.attempts and not objection(stat)]
    ordered = sorted(qualified, key=lambda stat: (rank(stat), seed_of(seed, "selection", stat.problem_id)))
    winners = {stat.problem_id for stat in ordered[: len(ordered) if count is None else count]}

    def verdict(stat: ProblemStats) -> str:
        if not stat.attempts:
            return "dropped, no attempt could be graded"
        if objection(stat):
            return f"dropped, {objection(stat)}"
        if stat.problem_id in winners:
            return f"kept, {kept}"
        ahead = f"1 other {rivals[0]}" if len(winners) == 1 else f"{len(winners)} others {rivals[1]}"
        return f"dropped, {kept} but {ahead}"

    return [_choice(stat, stat.problem_id in winners, verdict(stat)) for stat in stats]


def _check(stats: Sequence[ProblemStats], count: int | None) -> None:
    if count is not None and count < 0:
        raise ValueError(f"count: expected None or a number of problems, got {count}")
    twice = [name for name, times in Counter(stat.problem_id for stat in stats).items() if times > 1]
    if twice:
        raise ValueError(f"stats: problem {twice[0]!r} occurs twice")


def _choice(stat: ProblemStats, is_kept: bool, verdict: str) -> Choice:
    low, high = solve_rate_interval(stat.attempts, stat.correct)
    seen = f"{stat.correct}/{stat.attempts} solved, {low:.2f} to {high:.2f}"
    return Choice(stat.problem_id, is_kept, f"{seen}: {verdict}", stat.solve_rate, low, high)


def _field(record: Mapping[str, Any], key: str, kind: type | tuple[type, ...], prefix: str = "") -> Any:
    if key not in record:
        raise ValueError(f"{prefix}{key}: missing")
    value = record[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{prefix}{key}: unexpected value {value!r}")
    return value


def _is_set(record: Mapping[str, Any], key: str) -> bool:
    return record.get(key) is not None


def _whole(record: Mapping[str, Any], key: str, prefix: str = "") -> int:
    value = int(_field(record, key, int, prefix))
    if value < 0:
        raise ValueError(f"{prefix}{key}: expected a number that is not negative, got {value}")
    return value


def _tokens(record: Mapping[str, Any], key: str) -> float:
    value = float(_field(record, key, (int, float)))
    if not 0.0 <= value < inf:
        raise ValueError(f"{key}: expected a number of tokens, got {value}")
    return value
