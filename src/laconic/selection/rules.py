"""Which problems to train on, chosen by how often the model solves them.

1. A probe measured attempts and correct answers of each problem: `ProblemStats` (`statistics/solve_rate.py`).
2. A selection from `SELECTIONS` keeps or drops each problem and says why in one line. The result is a `Choice` (`decisions.py`).

What is left out: reading files, and deciding that too few problems are left (programs do both).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

from laconic.config.defaults import SEED
from laconic.config.node import check_options
from laconic.rng import seed_of
from laconic.selection.decisions import DRAWN, Choice, Objection, Rivals, check, choose
from laconic.statistics.information import attempt_information
from laconic.statistics.solve_rate import ProblemStats, mass_inside, problem_stats

__all__ = [
    "SELECTIONS",
    "Choice",
    "ProblemStats",
    "Selection",
    "problem_stats",
    "select",
    "select_all",
    "select_band",
    "select_easy_to_hard",
    "select_hard",
    "select_pools",
    "select_uncertain",
]

DEEPER = Rivals(
    ahead=("lies deeper inside", "lie deeper inside"),
    level=("lies as deep inside or deeper", "lie as deep inside or deeper"),
)
SURER = Rivals(
    ahead=("is less certain", "are less certain"), level=("is as uncertain or more", "are as uncertain or more")
)
HARDER = Rivals(ahead=("is harder", "are harder"), level=("is as hard or harder", "are as hard or harder"))
NO_SHARE = 1e-9  # a share up to this is 0: 1 - 0.7 - 0.3 is 5.6e-17


def select_band(
    stats: Sequence[ProblemStats],
    low: float = 0.3,
    high: float = 0.9,
    confidence: float | None = None,
    count: int | None = None,
    seed: int = SEED,
) -> list[Choice]:
    """Keep problems whose solve rate lies in [low, high], ends included; if too many do, those that lie deepest inside.

    A problem lies deeper inside if more of its solve rate's posterior mass does, so 16/32 goes before 1/2. With `confidence`,
    this mass must be at least `confidence` too, so few samples keep few problems. Returns one `Choice` per problem, in the order
    given. `count` None keeps all that qualify. Raises `ValueError` unless 0 <= low <= high <= 1 and 0 < confidence < 1.

    The default band holds the problems on which phase 2 shortens: those solved at least occasionally (Fatemi et al. 2025) but
    not yet always.
    """
    _check_band(low, high)
    if confidence is not None and not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: expected a probability between 0 and 1, got {confidence}")
    band = f"{low:g}:{high:g}"

    outside = _outside(low, high)

    def objection(stat: ProblemStats) -> str:
        if confidence is None or outside(stat):
            return outside(stat)
        inside = mass_inside(stat.attempts, stat.correct, low, high)
        return "" if inside >= confidence else f"inside {band} with probability {inside:.3f}, below {confidence:g}"

    return choose(
        stats,
        objection,
        lambda stat: -mass_inside(stat.attempts, stat.correct, low, high),
        count,
        seed,
        kept=f"inside {band}" + ("" if confidence is None else f" with probability {confidence:g} or more"),
        rivals=DEEPER,
    )


def select_hard(
    stats: Sequence[ProblemStats],
    ceiling: float = 0.3,
    allow_unsolved: bool = False,
    count: int | None = None,
    seed: int = SEED,
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

    return choose(stats, objection, hardness, count, seed, kept=f"at most {ceiling:g}", rivals=HARDER)


def select_pools(
    stats: Sequence[ProblemStats],
    hard_ceiling: float = 0.25,
    easy_floor: float = 0.75,
    hard_frac: float = 0.25,
    easy_frac: float = 0.25,
    allow_unsolved: bool = False,
    count: int | None = None,
    seed: int = SEED,
) -> list[Choice]:
    """Keep a mixture of three pools: hard (solve rate at most `hard_ceiling`), easy (at least `easy_floor`), normal.

    Of `count` problems the hard pool gives `hard_frac`, the easy one `easy_frac`, the normal one the rest (whole
    problems, rounded down for hard and easy), drawn by a hash of the name; a pool that holds fewer gives what it has,
    and no other fills up. Without `count` every pool is kept whole, except one whose share is 0. Never-solved problems
    are in no pool unless `allow_unsolved`. The pools are those of PRIME-RL's online difficulty buffer. Raises
    `ValueError` unless 0 <= hard_ceiling < easy_floor <= 1 and the shares are at least 0 and at most 1 together.
    """
    if not 0.0 <= hard_ceiling < easy_floor <= 1.0:
        raise ValueError(f"pools: expected 0 <= hard_ceiling < easy_floor <= 1, got {hard_ceiling} and {easy_floor}")
    if min(hard_frac, easy_frac) < 0.0 or hard_frac + easy_frac > 1.0:
        raise ValueError(f"pools: expected shares of 0 to 1 in all, got hard {hard_frac} and easy {easy_frac}")

    def pool_of(stat: ProblemStats) -> str:
        if stat.solve_rate <= hard_ceiling:
            return "hard"
        return "easy" if stat.solve_rate >= easy_floor else "normal"

    fracs = {"hard": hard_frac, "normal": 1.0 - hard_frac - easy_frac, "easy": easy_frac}
    return _choose_by_pool(stats, pool_of, _pool_counts(fracs, count), allow_unsolved, seed)


def select_easy_to_hard(
    stats: Sequence[ProblemStats],
    low: float = 0.0,
    high: float = 1.0,
    allow_unsolved: bool = False,
    count: int | None = None,
    seed: int = SEED,
) -> list[Choice]:
    """Keep problems whose solve rate lies in [low, high] and put them in order, from the easiest to the hardest.

    A curriculum: the kept ones come first, by decreasing solve rate, and the dropped ones after them in the order
    given. If too many qualify, an arbitrary `count` is kept (by a hash of the name), so that every difficulty stays. Never-solved
    problems are left out unless `allow_unsolved`. Raises `ValueError` unless 0 <= low <= high <= 1.
    """
    _check_band(low, high)
    outside = _outside(low, high)

    def objection(stat: ProblemStats) -> str:
        return "never solved" if stat.correct == 0 and not allow_unsolved else outside(stat)

    choices = choose(
        stats,
        objection,
        lambda stat: 0,
        count,
        seed,
        kept=f"inside {low:g}:{high:g}",
        rivals=DRAWN,
    )
    kept = [choice for choice in choices if choice.is_kept]
    kept.sort(key=lambda choice: (-choice.solve_rate, seed_of(seed, "selection", choice.problem_id)))
    placed = [replace(choice, reason=f"{choice.reason}, number {n} of {len(kept)}") for n, choice in enumerate(kept, 1)]
    return [*placed, *(choice for choice in choices if not choice.is_kept)]


def select_uncertain(
    stats: Sequence[ProblemStats],
    allow_unsolved: bool = True,
    count: int | None = None,
    seed: int = SEED,
) -> list[Choice]:
    """Keep the problems of which one more attempt is expected to tell most about the solve rate.

    That is BALD (Houlsby et al. 2011, arXiv 1112.5745, eq. 2; `statistics/information.py`): mostly those attempted least, and of
    equally often attempted ones those nearest to one half. A problem attempted once more may go first if its solve rate is much
    nearer to one half: 4 of 8 goes before 0 of 7. It is active learning: what to attempt, check or label next. Never-solved
    problems are left out unless `allow_unsolved`.
    """

    def objection(stat: ProblemStats) -> str:
        return "never solved" if stat.correct == 0 and not allow_unsolved else ""

    return choose(
        stats,
        objection,
        lambda stat: -attempt_information(stat.attempts, stat.correct),
        count,
        seed,
        kept="uncertain",
        rivals=SURER,
    )


def select_all(stats: Sequence[ProblemStats], count: int | None = None, seed: int = SEED) -> list[Choice]:
    """Keep every problem with a graded attempt; if there are too many, an arbitrary `count` (by a hash of the name)."""
    return choose(stats, lambda stat: "", lambda stat: 0, count, seed, kept="graded", rivals=DRAWN)


Selection = Callable[..., list[Choice]]
"""A function `selection(stats, count=..., seed=..., **options)`, in which every option is a keyword with a default."""

SELECTIONS: Mapping[str, Selection] = {
    "band": select_band,
    "hard": select_hard,
    "pools": select_pools,
    "easy_to_hard": select_easy_to_hard,
    "uncertain": select_uncertain,
    "all": select_all,
}


def select(
    name: str,
    stats: Sequence[ProblemStats],
    count: int | None = None,
    seed: int = SEED,
    options: Mapping[str, float | bool] | None = None,
) -> list[Choice]:
    """Call a selection by name. Raises `ValueError` for an unknown name (and lists the known ones) or option (and names it)."""
    if name not in SELECTIONS:
        raise ValueError(f"unknown selection {name!r}; known: {', '.join(sorted(SELECTIONS))}")
    options_of_it = options_of(name)
    for option in options or {}:
        if option not in options_of_it:
            raise ValueError(
                f"selection {name!r} has no option {option!r}; it has: {', '.join(options_of_it) or 'none'}"
            )
    try:
        check_options(options or {}, options_of_it)
    except ValueError as error:
        raise ValueError(f"selection {name!r}: option {error}") from None
    return SELECTIONS[name](stats, count=count, seed=seed, **(options or {}))


def options_of(name: str) -> dict[str, Any]:
    """The options of a selection, with their defaults.

    >>> options_of("band")
    {'low': 0.3, 'high': 0.9, 'confidence': None}
    """
    parameters = signature(SELECTIONS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("stats", "count", "seed")}


def _choose_by_pool(
    stats: Sequence[ProblemStats],
    pool_of: Callable[[ProblemStats], str],
    counts: Mapping[str, int | None],
    allow_unsolved: bool,
    seed: int,
) -> list[Choice]:
    """Choose within each pool by the hash of the name; returns the choices in the order of `stats`."""
    check(stats, None)

    def objection(stat: ProblemStats) -> str:
        if stat.correct == 0 and not allow_unsolved:
            return "never solved"
        return f"{pool_of(stat)} pool, which has no share" if counts[pool_of(stat)] == 0 else ""

    members: dict[str, list[ProblemStats]] = {pool: [] for pool in counts}
    for stat in stats:
        members[pool_of(stat)].append(stat)
    choices = {
        choice.problem_id: choice
        for pool, pool_stats in members.items()
        for choice in choose(
            pool_stats, objection, lambda stat: 0, counts[pool], seed, kept=f"{pool} pool", rivals=DRAWN
        )
    }
    return [choices[stat.problem_id] for stat in stats]


def _pool_counts(fracs: Mapping[str, float], count: int | None) -> dict[str, int | None]:
    """How many problems each pool gives: its share of `count`, rounded down, and the rest from normal. Without `count` a pool
    gives all its problems (None), or 0 if its share is 0."""
    if count is None:
        return {pool: None if frac > NO_SHARE else 0 for pool, frac in fracs.items()}
    shares = {pool: int(count * frac + NO_SHARE) for pool, frac in fracs.items()}
    normal = count - shares["hard"] - shares["easy"] if fracs["normal"] > NO_SHARE else 0
    return {**shares, "normal": normal}


def _outside(low: float, high: float) -> Objection:
    """The objection to a solve rate outside [low, high]."""

    def objection(stat: ProblemStats) -> str:
        if stat.solve_rate < low:
            return f"below {low:g}:{high:g}"
        return f"above {low:g}:{high:g}" if stat.solve_rate > high else ""

    return objection


def _check_band(low: float, high: float) -> None:
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"band: expected 0 <= low <= high <= 1, got {low}:{high}")
