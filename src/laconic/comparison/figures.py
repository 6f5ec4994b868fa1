"""What changed from a base to a candidate: frozen records, as comparison.json holds them.

`ChangeFigures` hold the changes on one benchmark or on several together, `SliceFigures` those on a part of the problems of one.
`LengthDifference` compares correct with wrong answers on one side. `Sides` holds a value for the base and one for the candidate.
A statistic that does not exist is `nan` here and null in the file. Tokens are means per response, accuracies are shares from 0 to
1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from laconic.statistics.intervals import Interval, or_null
from laconic.system.fields import Fields
from laconic.system.files import Json

FEW_PROBLEMS = 20
"""With fewer problems intervals are rough, and a slice is not decided."""

SHOWN_LEVEL = 0.05
"""A change of a slice is shown where its corrected p-value is below this."""

_T = TypeVar("_T")
_U = TypeVar("_U")


@dataclass(frozen=True, slots=True)
class Sides(Generic[_T]):
    """A value for the base and the same kind of value for the candidate."""

    base: _T
    candidate: _T

    def items(self) -> tuple[tuple[str, _T], tuple[str, _T]]:
        """Both with the name of their side."""
        return ("base", self.base), ("candidate", self.candidate)

    def map(self, function: Callable[[_T], _U]) -> "Sides[_U]":
        """The results of a function for each side."""
        return Sides(function(self.base), function(self.candidate))

    def to_json(self) -> Json:
        """An object of two keys, for sides that JSON can hold as they are."""
        return dict(self.items())

    @classmethod
    def of(cls, read: Callable[[str], _T]) -> "Sides[_T]":
        """Both sides, made by calling `read` with their names."""
        return cls(read("base"), read("candidate"))


@dataclass(frozen=True, slots=True)
class Means:
    """Mean accuracy and mean tokens of one side."""

    accuracy: float
    tokens: float

    def to_json(self) -> Json:
        """An object with both means, null for a mean that does not exist."""
        return {"accuracy": or_null(self.accuracy), "tokens": or_null(self.tokens)}

    @classmethod
    def from_fields(cls, fields: Fields) -> "Means":
        """The record of such an object."""
        return cls(fields.figure("accuracy"), fields.figure("tokens"))


@dataclass(frozen=True, slots=True)
class Aes:
    """The accuracy-efficiency score, signed, with its constants (`statistics/claims.py`)."""

    value: float
    alpha: float
    beta: float
    gamma: float

    @property
    def constants(self) -> dict[str, float]:
        """The three constants by name."""
        return {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}

    def to_json(self) -> Json:
        """Score and constants."""
        return {name: or_null(value) for name, value in ({"value": self.value} | self.constants).items()}

    @classmethod
    def from_fields(cls, fields: Fields) -> "Aes":
        """The record of such an object."""
        return cls(*(fields.figure(name) for name in ("value", "alpha", "beta", "gamma")))


@dataclass(frozen=True, slots=True)
class ChangeFigures:
    """What changed from base to candidate, on one benchmark or as the mean over several, and what may be claimed of it.

    `tokens_change` is relative (-0.4: 40% fewer), `accuracy_change` absolute (0.02: two points). `margin` is the loss of
    accuracy that counts as none, `tokens_margin` the relative growth in tokens that does.
    """

    num_problems: int | None
    tokens_change: Interval
    accuracy_change: Interval
    margin: float
    non_inferior: bool
    tokens_margin: float
    tokens_not_more: bool
    aes: Aes
    means: Sides[Means]
    verdict: str

    def to_json(self) -> Json:
        """The keys that a candidate and each of its benchmarks share."""
        return {
            "num_problems": self.num_problems,
            "tokens_change": self.tokens_change.to_json(),
            "accuracy_change": self.accuracy_change.to_json(),
            "margin": or_null(self.margin),
            "non_inferior": self.non_inferior,
            "tokens_margin": or_null(self.tokens_margin),
            "tokens_not_more": self.tokens_not_more,
            "aes": self.aes.to_json(),
            **self.means.map(Means.to_json).to_json(),
            "verdict": self.verdict,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "ChangeFigures":
        """The record of an object that holds these keys among others."""
        return cls(
            num_problems=fields.maybe("num_problems", fields.whole),
            tokens_change=Interval.from_fields(fields.object("tokens_change")),
            accuracy_change=Interval.from_fields(fields.object("accuracy_change")),
            margin=fields.figure("margin"),
            non_inferior=fields.claim("non_inferior"),
            tokens_margin=fields.figure("tokens_margin"),
            tokens_not_more=fields.claim("tokens_not_more"),
            aes=Aes.from_fields(fields.object("aes")),
            means=Sides.of(lambda side: Means.from_fields(fields.object(side))),
            verdict=fields.maybe("verdict", fields.text) or "",
        )


@dataclass(frozen=True, slots=True)
class SliceFigures:
    """The changes on a slice of one benchmark: its problems whose `key` has this `value`. Changes as in `ChangeFigures`.

    The p-values are two-sided, of no change, and corrected for the number of slices of the candidate (`slices.py`). A slice of
    fewer than `FEW_PROBLEMS` problems has neither intervals nor p-values: it is not decided.
    """

    key: str
    value: str
    num_problems: int
    means: Sides[Means]
    tokens_change: Interval
    tokens_p: float
    accuracy_change: Interval
    accuracy_p: float

    @property
    def is_decided(self) -> bool:
        """Whether it has enough problems for a claim."""
        return self.num_problems >= FEW_PROBLEMS

    @property
    def is_less_accurate(self) -> bool:
        """Whether a loss of accuracy is shown, all slices of the candidate considered."""
        return self.accuracy_p < SHOWN_LEVEL and self.accuracy_change.estimate < 0

    @property
    def is_longer(self) -> bool:
        """Whether a growth in tokens is shown, all slices of the candidate considered."""
        return self.tokens_p < SHOWN_LEVEL and self.tokens_change.estimate > 0

    @property
    def shown_words(self) -> str:
        """What is shown against the candidate here, empty where nothing is."""
        if not self.is_decided:
            return "not decided"
        claims = {"less accurate": self.is_less_accurate, "longer": self.is_longer}
        return ", ".join(words for words, is_shown in claims.items() if is_shown)

    def to_json(self) -> Json:
        """An entry of a benchmark's `slices`."""
        return {
            "key": self.key,
            "value": self.value,
            "num_problems": self.num_problems,
            **self.means.map(Means.to_json).to_json(),
            "tokens_change": self.tokens_change.to_json() | {"p": or_null(self.tokens_p)},
            "accuracy_change": self.accuracy_change.to_json() | {"p": or_null(self.accuracy_p)},
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "SliceFigures":
        """The record of such an entry."""
        tokens, accuracy = fields.object("tokens_change"), fields.object("accuracy_change")
        return cls(
            key=fields.text("key"),
            value=fields.text("value"),
            num_problems=fields.whole("num_problems"),
            means=Sides.of(lambda side: Means.from_fields(fields.object(side))),
            tokens_change=Interval.from_fields(tokens),
            tokens_p=tokens.figure("p"),
            accuracy_change=Interval.from_fields(accuracy),
            accuracy_p=accuracy.figure("p"),
        )


@dataclass(frozen=True, slots=True)
class SecondsChange:
    """Mean seconds of a response on one benchmark, and their relative change, paired over problems (-0.4: 40% less).

    A response has the share of its chunk's seconds that its tokens have of the chunk's (`rollouts/seconds.py`); `devices` are
    those on which the two sides were drawn, None where unknown.
    """

    means: Sides[float]
    change: Interval
    devices: Sides[str | None]

    def to_json(self) -> Json:
        """A benchmark's `seconds`."""
        return {
            **self.means.map(or_null).to_json(),
            "change": self.change.to_json(),
            "devices": self.devices.to_json(),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "SecondsChange":
        """The record of such an object."""
        devices = fields.object("devices")
        return cls(
            means=Sides.of(fields.figure),
            change=Interval.from_fields(fields.object("change")),
            devices=Sides.of(lambda side: devices.maybe(side, devices.text)),
        )


@dataclass(frozen=True, slots=True)
class LengthDifference:
    """Tokens of correct minus tokens of wrong answers, on one side.

    `within` is the mean over the `num_problems` problems that have both kinds, `pooled` over all samples at once; `note`
    says so if the two disagree.
    """

    within: Interval
    num_problems: int | None
    pooled: float
    note: str | None

    def within_json(self) -> Json:
        """Its side of `length_difference`."""
        return self.within.to_json() | {"num_problems": self.num_problems}

    def pooled_json(self) -> Json:
        """Its side of `pooled_length_difference`."""
        return {"estimate": or_null(self.pooled), "note": self.note}

    @classmethod
    def from_fields(cls, fields: Fields, side: str) -> "LengthDifference":
        """One side's, from the two keys of a benchmark that hold it."""
        within, pooled = (fields.object(key) for key in ("length_difference", "pooled_length_difference"))
        ours, all_samples = within.object(side), pooled.object(side)
        return cls(
            within=Interval.from_fields(ours),
            num_problems=ours.maybe("num_problems", ours.whole),
            pooled=all_samples.figure("estimate"),
            note=all_samples.maybe("note", all_samples.text),
        )
