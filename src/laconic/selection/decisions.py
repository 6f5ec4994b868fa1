"""A selection's decisions: what is kept, what is dropped, and why, in one line each.

1. A selection consists of an objection to problems that do not qualify, and a rank that orders the others.
2. `choose` drops the problems that meet the objection, keeps the first `count` of the others, and writes a `Choice` per problem.

Nothing is drawn at random; `seed` only orders ties, by a hash of the problem's name.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from laconic.rng import seed_of
from laconic.statistics.solve_rate import ProblemStats, solve_rate_interval


@dataclass(frozen=True, slots=True)
class Rivals:
    """The words that explain to a dropped problem why others were kept instead: `ahead` if all of them rank before it, `level`
    if one of them ties with it. Each holds the phrase for one problem and for several.
    """

    ahead: tuple[str, str]
    level: tuple[str, str]

    def words(self, num_kept: int, is_tied: bool) -> str:
        """The words for `num_kept` others that were kept.

        >>> DRAWN.words(1, is_tied=True), Rivals(("is harder", "are harder"), ("", "")).words(2, is_tied=False)
        ('1 other was drawn', '2 others are harder')
        """
        if num_kept == 0:
            return "none was asked for"
        one, several = self.level if is_tied else self.ahead
        return f"1 other {one}" if num_kept == 1 else f"{num_kept} others {several}"


DRAWN = Rivals(("was drawn", "were drawn"), ("was drawn", "were drawn"))
"""The words for a selection in which only a hash of the name decides."""

Rank = Callable[[ProblemStats], Any]
Objection = Callable[[ProblemStats], str]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a selection decided on one problem, and why; `low` and `high` are the ends of the solve rate's 95% interval.

    `solve_rate` is `nan` if no attempt could be graded.
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


def choose(
    stats: Sequence[ProblemStats],
    objection: Objection,
    rank: Rank,
    count: int | None,
    seed: int,
    *,
    kept: str,
    rivals: Rivals,
) -> list[Choice]:
    """Drop the problems that meet an objection, keep the `count` of lowest rank, and put each decision into words.

    Problems of equal rank are ordered by a hash of their name; a reason never calls them unequal.
    """
    check(stats, count)
    qualified = [stat for stat in stats if stat.attempts and not objection(stat)]
    ordered = sorted(qualified, key=lambda stat: (rank(stat), seed_of(seed, "selection", stat.problem_id)))
    first = ordered[: len(ordered) if count is None else count]
    winners = {stat.problem_id for stat in first}
    worst = rank(first[-1]) if first else None

    def verdict(stat: ProblemStats) -> str:
        if not stat.attempts:
            return "dropped, no attempt could be graded"
        if objection(stat):
            return f"dropped, {objection(stat)}"
        if stat.problem_id in winners:
            return f"kept, {kept}"
        return f"dropped, {kept} but {rivals.words(len(winners), is_tied=rank(stat) == worst)}"

    return [_choice(stat, stat.problem_id in winners, verdict(stat)) for stat in stats]


def check(stats: Sequence[ProblemStats], count: int | None) -> None:
    """Raise `ValueError` for a negative count or a problem that occurs twice."""
    if count is not None and count < 0:
        raise ValueError(f"count: expected None or a number of problems, got {count}")
    twice = [name for name, times in Counter(stat.problem_id for stat in stats).items() if times > 1]
    if twice:
        raise ValueError(f"stats: problem {twice[0]!r} occurs twice")


def _choice(stat: ProblemStats, is_kept: bool, verdict: str) -> Choice:
    low, high = solve_rate_interval(stat.attempts, stat.correct)
    seen = f"{stat.correct}/{stat.attempts} solved, {low:.2f} to {high:.2f}"
    return Choice(stat.problem_id, is_kept, f"{seen}: {verdict}", stat.solve_rate, low, high)
