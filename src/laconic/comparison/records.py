"""The results of a comparison: frozen records, written to comparison.json and read back.

1. A `Comparison` has one `CandidateComparison` for each candidate and decoding, and the points of every frontier.
2. A candidate has `ChangeFigures` that average over its benchmarks, and a `BenchmarkComparison` for each, with figures of its own
   (`figures.py`).
3. `to_json` gives comparison.json in the order of its keys. `read_comparison` reads a file of any version: values that it lacks
   are unknown, and a value of the wrong type is refused in one line that names file and place (`system/fields.py`).

What is left out: how the results are computed (`compare.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from laconic.comparison.figures import ChangeFigures, LengthDifference, Means, SecondsChange, Sides, SliceFigures
from laconic.comparison.folders import Decoding
from laconic.statistics.intervals import or_null
from laconic.system.fields import Fields, warn_of_unread
from laconic.system.files import Json, read_json

_T = TypeVar("_T")

AVERAGING = "macro"
"""A candidate's figures are means of the benchmarks' means, however many problems each has."""


@dataclass(frozen=True, slots=True)
class Who:
    """A contender as it is stored: its name, the run or folder it comes from, its model and its prompt, `None` if unknown."""

    name: str
    path: Path | None = None
    model: str | None = None
    prompt: str | None = None

    def to_json(self) -> Json:
        """The four keys of the base, which are also the first keys of every candidate."""
        path = None if self.path is None else str(self.path)
        return {"name": self.name, "path": path, "model": self.model, "prompt": self.prompt}

    @classmethod
    def from_fields(cls, fields: Fields) -> "Who":
        """The record of an object that holds the four keys among others."""
        name, path, model, prompt = (fields.maybe(key, fields.text) for key in ("name", "path", "model", "prompt"))
        return cls(name or "", None if path is None else Path(path), model, prompt)


@dataclass(frozen=True, slots=True)
class BenchmarkComparison:
    """Base and candidate on one benchmark: the folders of both, how they were sampled, their figures and the caveats; `slices`
    are parts of its problems, `seconds` is None where they were not recorded on both sides."""

    figures: ChangeFigures
    lengths: Sides[LengthDifference]
    num_samples: Sides[int | None]
    num_ungradable: Sides[int | None]
    max_tokens: int | None
    paths: Sides[str | None]
    caveats: tuple[str, ...]
    slices: tuple[SliceFigures, ...] = ()
    seconds: SecondsChange | None = None

    def to_json(self) -> Json:
        """An entry of a candidate's `benchmarks`."""
        return {
            **self.figures.to_json(),
            "length_difference": self.lengths.map(LengthDifference.within_json).to_json(),
            "pooled_length_difference": self.lengths.map(LengthDifference.pooled_json).to_json(),
            "num_samples": self.num_samples.to_json(),
            "num_ungradable": self.num_ungradable.to_json(),
            "max_tokens": self.max_tokens,
            "paths": self.paths.to_json(),
            "caveats": list(self.caveats),
            **({"seconds": self.seconds.to_json()} if self.seconds else {}),
            **({"slices": [part.to_json() for part in self.slices]} if self.slices else {}),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "BenchmarkComparison":
        """The record of such an entry."""
        return cls(
            figures=ChangeFigures.from_fields(fields),
            lengths=Sides.of(lambda side: LengthDifference.from_fields(fields, side)),
            num_samples=_sides(fields.object("num_samples"), Fields.whole),
            num_ungradable=_sides(fields.object("num_ungradable"), Fields.whole),
            max_tokens=fields.maybe("max_tokens", fields.whole),
            paths=_sides(fields.object("paths"), Fields.text),
            caveats=fields.texts("caveats"),
            seconds=fields.maybe("seconds", lambda key: SecondsChange.from_fields(fields.object(key))),
            slices=tuple(map(SliceFigures.from_fields, fields.maybe("slices", fields.objects) or ())),
        )


@dataclass(frozen=True, slots=True)
class CandidateComparison:
    """One candidate under one decoding. `figures` are macro-averages over `benchmarks`.

    `decoding` is `None` if an older file lacks it, `num_samples` if benchmarks or sides differ in it. `left_out` names the
    benchmarks that only one of the two has.
    """

    who: Who
    decoding: Decoding | None
    num_samples: int | None
    benchmarks: Mapping[str, BenchmarkComparison]
    left_out: tuple[str, ...]
    figures: ChangeFigures
    caveats: tuple[str, ...]

    @property
    def name(self) -> str:
        """The contender's name."""
        return self.who.name

    @property
    def slices(self) -> list[SliceFigures]:
        """The slices of all benchmarks."""
        return [part for benchmark in self.benchmarks.values() for part in benchmark.slices]

    def to_json(self) -> Json:
        """An entry of `candidates`."""
        return {
            **self.who.to_json(),
            "decoding": None
            if self.decoding is None
            else _of_decoding(self.decoding) | {"num_samples": self.num_samples},
            "averaging": AVERAGING,
            "benchmarks": {name: entry.to_json() for name, entry in self.benchmarks.items()},
            "left_out": list(self.left_out),
            **self.figures.to_json(),
            "caveats": list(self.caveats),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "CandidateComparison":
        """The record of such an entry."""
        decoding, benchmarks = fields.object("decoding"), fields.object("benchmarks")
        return cls(
            who=Who.from_fields(fields),
            decoding=_decoding(decoding),
            num_samples=decoding.maybe("num_samples", decoding.whole),
            benchmarks={name: BenchmarkComparison.from_fields(benchmarks.object(name)) for name in benchmarks.record},
            left_out=fields.texts("left_out"),
            figures=ChangeFigures.from_fields(fields),
            caveats=fields.texts("caveats"),
        )


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """A contender on the frontier of one decoding, over the `benchmarks` that all share; `dominated_by` names a better one."""

    name: str
    decoding: Decoding | None
    benchmarks: tuple[str, ...]
    means: Means
    dominated_by: tuple[str, ...]

    @property
    def is_dominated(self) -> bool:
        """Another is at least as accurate with at most as many tokens, and better in one of them, by the estimates alone."""
        return bool(self.dominated_by)

    def to_json(self) -> Json:
        """An entry of `frontier`."""
        return {
            "name": self.name,
            "decoding": None if self.decoding is None else _of_decoding(self.decoding),
            "benchmarks": list(self.benchmarks),
            **self.means.to_json(),
            "is_dominated": self.is_dominated,
            "dominated_by": list(self.dominated_by),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "FrontierPoint":
        """The record of such an entry."""
        return cls(
            name=fields.maybe("name", fields.text) or "",
            decoding=_decoding(fields.object("decoding")),
            benchmarks=fields.texts("benchmarks"),
            means=Means.from_fields(fields),
            dominated_by=fields.texts("dominated_by"),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every candidate against one base. `seed` and `resamples` are the bootstrap's, `margin` and `tokens_margin` as in
    `ChangeFigures`; `left_out` says in words which evaluations have nothing to be compared with."""

    base: Who
    margin: float
    tokens_margin: float
    seed: int | None
    resamples: int | None
    candidates: tuple[CandidateComparison, ...]
    frontier: tuple[FrontierPoint, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> Json:
        """The content of comparison.json."""
        return {
            "base": self.base.to_json(),
            "margin": or_null(self.margin),
            "tokens_margin": or_null(self.tokens_margin),
            "seed": self.seed,
            "resamples": self.resamples,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "frontier": [point.to_json() for point in self.frontier],
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], file: str = "comparison") -> "Comparison":
        """The record of comparison.json's content. Raises a one-line `InputError` that names `file` and the place of a value
        of the wrong type. A key that nothing reads is a warning."""
        fields = Fields(content, file)
        comparison = cls(
            base=Who.from_fields(fields.object("base")),
            margin=fields.figure("margin"),
            tokens_margin=fields.figure("tokens_margin"),
            seed=fields.maybe("seed", fields.integer),
            resamples=fields.maybe("resamples", fields.whole),
            candidates=tuple(map(CandidateComparison.from_fields, fields.maybe("candidates", fields.objects) or ())),
            frontier=tuple(map(FrontierPoint.from_fields, fields.maybe("frontier", fields.objects) or ())),
            left_out=fields.texts("left_out"),
        )
        warn_of_unread(content, comparison.to_json(), file)
        return comparison


def read_comparison(path: Path) -> Comparison:
    """The comparison that a comparison.json holds. Raises a one-line `InputError` if it cannot be read or is broken."""
    return Comparison.from_json(read_json(path), str(path))


def _of_decoding(decoding: Decoding) -> Json:
    """The keys of a decoding; null for what differs by benchmark or is unknown."""
    return {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "min_p": decoding.min_p,
        "max_tokens": decoding.max_tokens,
    }


def _sides(fields: Fields, read: Callable[[Fields, str], _T]) -> Sides[_T | None]:
    """What `read` makes of either side's key, `None` where it is unknown."""
    return Sides.of(lambda side: fields.maybe(side, partial(read, fields)))


def _decoding(fields: Fields) -> Decoding | None:
    """`None` where nothing is said of the temperature."""
    temperature, top_p, min_p = (or_null(fields.figure(key)) for key in ("temperature", "top_p", "min_p"))
    return (
        None if temperature is None else Decoding(temperature, top_p, min_p, fields.maybe("max_tokens", fields.whole))
    )
