"""When a phase ends, and which step it hands on.

1. The watch set is measured when a phase begins (a `Watch` of the step from which it began), every few steps, and at its end.
2. `judge` reads these watches and the recipe's end rule: go on, or end as a plateau, at the cap, by the guard, or by an alarm,
   and which step is the result. The guard exists because training accuracy can rise on a handful of problems while accuracy
   elsewhere collapses. Alarms (`collapse/`) read the steps between two watches.
3. A finished phase is a `PhaseRecord`, one entry of the run's phases.json; the next phase starts from its result step.

Nothing here depends on the train set or the report set.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from laconic.collapse.vigil import RaisedAlarm
from laconic.config.phase import EndConfig, PhaseConfig
from laconic.system.fields import Fields

GUARD, ALARM = "guard", "alarm"
"""The first word of the reason if the guard, or an alarm, ended a phase."""
_ROUNDING = 1e-9  # 0.8 - 0.1 is a little above 0.7 in floating point


@dataclass(frozen=True, slots=True)
class Watch:
    """One measurement of the watch set, after `step`: accuracy (fraction) and mean response length (tokens)."""

    step: int
    accuracy: float
    mean_tokens: float


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a phase is over, and which step it hands on."""

    reason: str
    result_step: int


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """A finished phase, as phases.json stores it. Steps count from 1 over the whole run; `result_step` is the one handed on."""

    name: str
    algorithm: str
    first_step: int
    last_step: int
    result_step: int
    reason: str
    num_problems: int
    watches: tuple[Watch, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any], origin: str) -> "PhaseRecord":
        """Read what `to_json` wrote to the file `origin`. Raises `InputError` naming it and the key that is wrong."""
        fields = Fields(record, origin)
        return cls(
            name=fields.text("name"),
            algorithm=fields.text("algorithm"),
            first_step=fields.whole("first_step"),
            last_step=fields.whole("last_step"),
            result_step=fields.whole("result_step"),
            reason=fields.text("reason"),
            num_problems=fields.whole("num_problems"),
            watches=tuple(
                Watch(watch.whole("step"), watch.number("accuracy"), watch.number("mean_tokens"))
                for watch in fields.objects("watches")
            ),
        )


def best_watch(watches: Sequence[Watch], end: EndConfig) -> Watch:
    """The best watch by the phase's goal; of equals, the earliest.

    accuracy   the highest accuracy, of equals the fewest tokens
    tokens     the fewest tokens among those whose accuracy is at most `guard_drop` below the first's (all, without a guard)
    """
    if end.goal == "accuracy":
        return min(watches, key=lambda watch: (-watch.accuracy, watch.mean_tokens, watch.step))
    floor = watches[0].accuracy - end.guard_drop if end.guard_drop is not None else 0.0
    return min(
        (w for w in watches if w.accuracy >= floor - _ROUNDING), key=lambda watch: (watch.mean_tokens, watch.step)
    )


def best_before(watches: Sequence[Watch], step: float, end: EndConfig) -> Watch:
    """The best watch of those before `step`, or the first one of all."""
    return best_watch([watches[0], *(watch for watch in watches[1:] if watch.step < step)], end)


def judge(
    watches: Sequence[Watch], phase: PhaseConfig, phase_step: int, alarm: RaisedAlarm | None = None
) -> Ending | None:
    """How the phase ends after `phase_step` steps, the newest of which was just watched; None if it goes on. `watches[0]` is from
    the beginning of the phase, and `alarm` is one for which the recipe ends it."""
    end, newest, best = phase.end, watches[-1], best_watch(watches, phase.end)
    top = max(watches[0].accuracy, best.accuracy)
    if end.guard_drop is not None and newest.accuracy < top - end.guard_drop - _ROUNDING:
        fall = f"watched accuracy {newest.accuracy:.3f} fell more than {end.guard_drop:g} below {top:.3f}"
        return Ending(f"{GUARD}: {fall}; rolled back to step {best.step}", best.step)
    result_step = best.step if end.keep == "best" else newest.step
    which = "best watched" if end.keep == "best" else "last"
    if alarm is not None:
        return _ended_by(alarm, watches, end, Ending(f"kept the {which} step {result_step}", result_step))
    waited = sum(watch.step > best.step for watch in watches)
    if end.patience is not None and waited >= end.patience:
        reason = (
            f"plateau: {waited} watches without a better step than {best.step}; kept the {which} step {result_step}"
        )
        return Ending(reason, result_step)
    if phase_step >= phase.steps:
        return Ending(f"cap: {phase.steps} steps; kept the {which} step {result_step}", result_step)
    return None


def _ended_by(alarm: RaisedAlarm, watches: Sequence[Watch], end: EndConfig, stopped: Ending) -> Ending:
    """The ending by `alarm`: as `stopped`, or at the best step from before its sign was there."""
    if alarm.action == "stop":
        return Ending(f"{ALARM} {alarm.line}; {stopped.reason}", stopped.result_step)
    best = best_before(watches, alarm.since, end)
    return Ending(f"{ALARM} {alarm.line}; rolled back to step {best.step}", best.step)
