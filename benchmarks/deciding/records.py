"""What is stored of a claim: figures, verdict, and the figure it hangs on, as one small JSON object.

The figures are stored seed by seed, so that the verdict can be computed from them again, which the page and a test do.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import nan
from pathlib import Path
from typing import Any

from deciding.claim import Claim, Trained

from laconic.statistics.intervals import Interval, or_null
from laconic.statistics.seeds import over_seeds
from laconic.statistics.verdicts import Figure, Ruling, verdict_on
from laconic.sweep.arms import SweepArm

TINY = "tiny"
DIGITS = 6

Record = dict[str, Any]


def of_arms(source: Trained, arms: Mapping[int, Mapping[str, SweepArm]]) -> Record:
    """Each figure's value at every seed at which its arms are finished."""
    found: dict[int, dict[str, float]] = {}
    for seed, by_label in arms.items():
        for name, measure in source.figures.items():
            with suppress(KeyError):  # an arm of this seed is not finished
                found.setdefault(seed, {})[name] = measure(by_label)
    return of_seeds(found, list(source.figures))


def of_seeds(found: Mapping[int, Mapping[str, float]], names: Sequence[str] = ()) -> Record:
    """Figures that were measured at each seed, with their means. `names` are those that are recorded even if no seed has them."""
    names = list(dict.fromkeys([*names, *(name for figures in found.values() for name in figures)]))
    by_seed = {name: {str(s): _short(found[s][name]) for s in sorted(found) if name in found[s]} for name in names}
    return {name: _with_interval({"by_seed": values}) for name, values in by_seed.items()}


def with_stored(figures: Record, stored: Record) -> Record:
    """The figures, with the seeds that only the `stored` ones have: those of a machine that has gone."""
    seeds = {name: {**stored.get(name, {}).get("by_seed", {}), **figure["by_seed"]} for name, figure in figures.items()}
    return {
        name: _with_interval({"by_seed": dict(sorted(values.items(), key=lambda pair: int(pair[0])))})
        for name, values in seeds.items()
    }


def of_intervals(figures: Mapping[str, Interval]) -> Record:
    """Figures of one evaluation, with their intervals over problems."""
    return {name: {"mean": _short(i.estimate), "ci95": [_short(i.low), _short(i.high)]} for name, i in figures.items()}


def of_numbers(figures: Mapping[str, float]) -> Record:
    """Exact figures."""
    return {name: {"mean": value, "ci95": [value, value]} for name, value in figures.items()}


def figure_of(record: Record, wanted: int) -> Figure:
    """The figure that a record holds, where `wanted` seeds were asked for."""
    if "by_seed" in record:
        return Figure.of_seeds(_values(record), wanted)
    ends = [nan if end is None else end for end in record["ci95"]]
    return Figure.of_problems(Interval(nan if record["mean"] is None else record["mean"], *ends))


def decision_on(claim: Claim, figures: Record, wanted: int) -> Ruling:
    """The verdict on the claim, by its stored figures."""
    return verdict_on(
        claim.falsifier, {name: figure_of(record, wanted) for name, record in figures.items()}, claim.premise
    )


def decided(claim: Claim, figures: Record, model: str, wanted: int = 0) -> Record:
    """The record of a claim whose figures are measured."""
    decision = decision_on(claim, figures, wanted)
    return {
        "claim": claim.name,
        "model": model,
        "verdict": decision.verdict.value,
        "hinge": decision.hinge.figure,
        "wanted_seeds": wanted,
        "figures": figures,
    }


def result_file(folder: Path, name: str, model: str) -> Path:
    """Where the record of a claim on a model stands."""
    return folder / (f"{name}.json" if model == TINY else f"{name}-{model}.json")


def _with_interval(record: Record) -> Record:
    found = over_seeds(_values(record))
    return record | {"mean": _short(found.mean), "ci95": [_short(found.low), _short(found.high)]}


def _values(record: Record) -> list[float]:
    return [nan if value is None else value for value in record["by_seed"].values()]


def _short(value: float) -> float | None:
    known = or_null(value)
    return None if known is None else float(f"{known:.{DIGITS}g}")
