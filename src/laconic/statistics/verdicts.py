"""From a claim's falsifier to a verdict: inequalities of measured figures, decided by one rule.

1. A `Figure` is a number that was measured, with its 95% interval: over training seeds (Student), over the problems of one
   evaluation (`intervals.py`), or exact, if it was computed.
2. A `Condition` is an inequality of one figure, such as "is at most 20". It is met if the whole interval says so, not met if the
   whole interval says the opposite, and open otherwise. A falsifier is a condition, or `AnyOf` or `AllOf` several.
3. `verdict_on` turns it round: a claim whose falsifier is met fails, one whose falsifier is not met holds, and all else is
   undecided.

The rule for few seeds: a claim asks for a number of seeds. With fewer it is undecided, unless three or more of them meet the
falsifier beyond doubt, which is to say by the 99% interval. So a claim can be refuted early, and never confirmed early.

The rule for more seeds: a claim that is undecided when all its seeds are in may be looked at once more, with more seeds, of the
figures that it hangs on: twice as many in all. A second look's intervals are those of 97.5%. So the two looks together give a
wrong verdict in at most 7.5%, half of it on either side, where one look gives it in 5%. That is so for two looks alone: seeds
beyond the first look's number do not count until the second look's is there, and seeds beyond that never do. (By a look at every
number from 3 to 20 a wrong verdict would come in 12.5%.)

A falsifier such as "no difference" needs the least difference that counts, since no interval is ever all 0. It is met if the
whole interval lies below that (`bound`), even where it excludes 0, and not met if the whole interval lies above 0 (`clear`).

What is left out: correcting for the number of claims. Of 30 decided conditions, each end of a 95% interval errs in 2.5%: about
one verdict is expected to be wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from math import isnan
from typing import Literal

from laconic.statistics.intervals import Interval
from laconic.statistics.seeds import over_seeds

FIRST_LOOK, SECOND_LOOK = 0.95, 0.975
"""The level of the intervals that decide: with the seeds that were asked for, and with more."""
LEAST_SEEDS = 3
"""With two seeds the 99% interval reaches 45 standard deviations of the seeds: they meet nothing beyond doubt."""


class ClaimVerdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


class Truth(Enum):
    """Whether a condition is met, as far as its figure's interval tells."""

    NOT_MET = 0
    OPEN = 1
    MET = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number with the interval that decides, of `level`, and its 99% interval, `nan` where they do not exist.
    `is_complete` if it rests on as many seeds as were asked for; `num_seeds` is None if it does not rest on seeds."""

    interval: Interval
    strict: Interval
    num_seeds: int | None = None
    is_complete: bool = True
    level: float = FIRST_LOOK

    @classmethod
    def of_seeds(cls, values: Sequence[float], wanted: int) -> "Figure":
        """The mean of one value per seed, in the order of the seeds, where `wanted` seeds were asked for; twice as many are a
        second look, and of other numbers the first ones count. `nan` values do not.

        >>> found = Figure.of_seeds([1.0, 2.0, 3.0], wanted=5)
        >>> found.interval.estimate, found.num_seeds, found.is_complete
        (2.0, 3, False)
        >>> [Figure.of_seeds([1.0, 2.0, 3.0, 4.0, 5.0][:n], wanted=2).num_seeds for n in (2, 3, 4, 5)]
        [2, 2, 4, 4]
        """
        known = [value for value in values if not isnan(value)]
        is_second = wanted > 0 and len(known) >= 2 * wanted
        level = SECOND_LOOK if is_second else FIRST_LOOK
        looked_at = known[: 2 * wanted if is_second else wanted] if wanted else known
        strict, found = over_seeds(looked_at, level=0.99), over_seeds(looked_at, level)
        interval = Interval(found.mean, found.low, found.high)
        wider = Interval(strict.mean, strict.low, strict.high)
        return cls(interval, wider, found.num_seeds, found.num_seeds >= wanted, level)

    @classmethod
    def of_problems(cls, interval: Interval) -> "Figure":
        """A figure of one evaluation, with its interval over problems."""
        return cls(interval, interval)

    @classmethod
    def exact(cls, value: float) -> "Figure":
        """A number that was computed and has no spread."""
        return cls.of_problems(Interval(value, value, value))


@dataclass(frozen=True, slots=True)
class Condition:
    """An inequality of the figure of that name, of the kind "at most `bound`" ("<=") or "at least `bound`" (">=").

    For "at most" it is met if the estimate is at most `bound` and the interval's high end at most `sure`, and not met if the low
    end is above `clear`; both are `bound` unless they are given. For "at least" all is the other way round.
    """

    figure: str
    relation: Literal["<=", ">="]
    bound: float
    sure: float | None = None
    clear: float | None = None

    def truth(self, figures: Mapping[str, Figure]) -> Truth:
        """Whether the condition is met. Open where the figure is missing or has no interval.

        >>> figures = {"a": Figure.of_problems(Interval(3.0, 2.0, 4.0))}
        >>> [is_at_most("a", bound).truth(figures).name for bound in (1.0, 3.0, 5.0)]
        ['NOT_MET', 'OPEN', 'MET']
        """
        figure = figures.get(self.figure)
        if figure is None:
            return Truth.OPEN
        if not figure.is_complete:
            enough = (figure.num_seeds or 0) >= LEAST_SEEDS
            return Truth.MET if enough and self._truth(figure.strict) is Truth.MET else Truth.OPEN
        return self._truth(figure.interval)

    def _truth(self, interval: Interval) -> Truth:
        sign = 1.0 if self.relation == "<=" else -1.0
        estimate = sign * interval.estimate
        low, high = sorted((sign * interval.low, sign * interval.high))
        sure, clear = (sign * (self.bound if end is None else end) for end in (self.sure, self.clear))
        if estimate <= sign * self.bound and high <= sure:
            return Truth.MET
        return Truth.NOT_MET if low > clear else Truth.OPEN

    def conditions(self) -> Iterator["Condition"]:
        """Itself."""
        yield self

    def hinge(self, figures: Mapping[str, Figure]) -> "Condition":
        """The condition on which the truth hangs: itself."""
        return self

    def words(self) -> str:
        """The inequality in words.

        >>> is_at_least("loss", 2.0).words()
        'loss: at least 2'
        """
        return f"{self.figure}: {'at most' if self.relation == '<=' else 'at least'} {self.bound:g}"


def is_at_most(figure: str, bound: float, *, sure: float | None = None, clear: float | None = None) -> Condition:
    """The condition that a figure is at most `bound`."""
    return Condition(figure, "<=", bound, sure, clear)


def is_at_least(figure: str, bound: float, *, sure: float | None = None, clear: float | None = None) -> Condition:
    """The condition that a figure is at least `bound`."""
    return Condition(figure, ">=", bound, sure, clear)


@dataclass(frozen=True, slots=True)
class Several:
    """Several conditions, joined by "any" or "all", in Kleene's logic: what is open decides nothing that the others decide."""

    parts: tuple["Falsifier", ...]
    joined_by: Literal["any", "all"]

    def truth(self, figures: Mapping[str, Figure]) -> Truth:
        """The greatest of the parts' truths for "any", the least for "all"."""
        pick = max if self.joined_by == "any" else min
        return pick((part.truth(figures) for part in self.parts), key=lambda truth: truth.value)

    def conditions(self) -> Iterator[Condition]:
        """All conditions, in their order."""
        for part in self.parts:
            yield from part.conditions()

    def hinge(self, figures: Mapping[str, Figure]) -> Condition:
        """The first condition whose truth is that of the whole."""
        whole = self.truth(figures)
        return next(part for part in self.parts if part.truth(figures) is whole).hinge(figures)

    def words(self) -> str:
        """The parts in words.

        >>> any_of(is_at_most("a", 1), all_of(is_at_most("b", 2), is_at_least("c", 3))).words()
        'a: at most 1, or (b: at most 2, and c: at least 3)'
        """
        said = [f"({part.words()})" if isinstance(part, Several) else part.words() for part in self.parts]
        return (", or " if self.joined_by == "any" else ", and ").join(said)


Falsifier = Condition | Several


def any_of(*parts: Falsifier) -> Several:
    """Met if any part is."""
    return Several(parts, "any")


def all_of(*parts: Falsifier) -> Several:
    """Met if all parts are."""
    return Several(parts, "all")


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict, and the condition on which it hangs."""

    verdict: ClaimVerdict
    hinge: Condition


def verdict_on(falsifier: Falsifier, figures: Mapping[str, Figure], premise: Falsifier | None = None) -> Ruling:
    """The verdict on a claim. `premise` is what the falsifier presupposes ("with a calibrated critic"): unless it is met, the
    claim is undecided.

    >>> cut = {"cut": Figure.of_problems(Interval(40.0, 35.0, 45.0))}
    >>> verdict_on(is_at_most("cut", 20.0), cut).verdict.value, verdict_on(is_at_most("cut", 38.0), cut).verdict.value
    ('holds', 'undecided')
    """
    if premise is not None and premise.truth(figures) is not Truth.MET:
        return Ruling(ClaimVerdict.UNDECIDED, _open_part(premise, figures))
    truth = falsifier.truth(figures)
    verdicts = {Truth.MET: ClaimVerdict.FAILS, Truth.NOT_MET: ClaimVerdict.HOLDS, Truth.OPEN: ClaimVerdict.UNDECIDED}
    return Ruling(verdicts[truth], falsifier.hinge(figures))


def _open_part(premise: Falsifier, figures: Mapping[str, Figure]) -> Condition:
    return next(part for part in premise.conditions() if part.truth(figures) is not Truth.MET)
