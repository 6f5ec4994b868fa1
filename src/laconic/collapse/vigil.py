"""Raises an alarm once its sign has lasted.

1. `Vigil.see` takes a phase's lines of metrics.jsonl one after the other and returns the alarms that this line raises.
2. An alarm is raised when its sign is in the settled figures, which are those of most of the newest `patience` steps.
3. It is raised once. It can be raised again after `patience` steps in a row without its sign.

The state is a function of the lines alone. A resumed run shows a new vigil the lines that it kept, and goes on the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from laconic.collapse.alarms import ALARMS, Applicability
from laconic.collapse.signals import Signals
from laconic.config.phase import Action, AlarmsConfig


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm that was raised after `step`; `since` is the first of the steps that it read, which lies further back where some
    steps lack a figure. `text` says what was seen and what to try."""

    name: str
    step: int
    since: int
    text: str
    action: Action

    @property
    def ends_phase(self) -> bool:
        """Whether the recipe ends the phase for it."""
        return self.action in ("stop", "rollback")

    @property
    def line(self) -> str:
        """The alarm for a person: its name, what was seen, and what to try."""
        return f"{self.name}: {self.text}"


@dataclass(slots=True)
class Vigil:
    """The alarms of one phase, `phase` by name, of up to `num_steps` steps."""

    phase: str
    config: AlarmsConfig
    num_steps: int
    applicability: Applicability
    signals: Signals = field(default_factory=lambda: Signals({}, {}), init=False)
    num_calm: dict[str, int] = field(
        default_factory=dict, init=False
    )  # steps without the sign since an alarm was raised

    @property
    def patience(self) -> int:
        """The steps that an alarm reads."""
        return self.config.patience(self.num_steps)

    @property
    def since(self) -> int | None:
        """The oldest step that an alarm of the newest step or of the next one may have read; None before the first step."""
        return self.signals.since(
            key for name, row in ALARMS.items() if self._is_on(name) for key in row.needs + row.takes
        )

    def _is_on(self, name: str) -> bool:
        return getattr(self.config, name) != "off" and ALARMS[name].applies(self.applicability)

    def see(self, line: Mapping[str, Any]) -> list[RaisedAlarm]:
        """The alarms that one more line of metrics.jsonl raises."""
        self.signals = self.signals.after(line, self.patience)
        settled = self.signals.settled(self.patience)
        found = (self._look(name, settled, line["step"]) for name in ALARMS)
        return [alarm for alarm in found if alarm is not None]

    def _look(self, name: str, settled: Mapping[str, float], step: int) -> RaisedAlarm | None:
        alarm, action = ALARMS[name], getattr(self.config, name)
        if not self._is_on(name) or not settled.keys() >= set(alarm.needs):
            return None
        seen, was_raised = alarm.see(settled, self.signals.first, self.applicability), name in self.num_calm
        if not seen:
            self._calm(name)
            return None
        self.num_calm[name] = 0
        if was_raised:
            return None
        lever = alarm.lever.format(phase=f"phases.{self.phase}")
        since = self.signals.since(settled.keys() & {*alarm.needs, *alarm.takes})
        assert since is not None, "an alarm needs a figure"
        return RaisedAlarm(name, step, since, f"{seen}; {lever}", action)

    def _calm(self, name: str) -> None:
        """Count a step without the sign of an alarm that was raised; after enough of them it may be raised again."""
        if name in self.num_calm:
            self.num_calm[name] += 1
            if self.num_calm[name] >= self.patience:
                del self.num_calm[name]
