"""The day that chat templates see: of a run, a probe or an evaluation it is its first one, however long it takes.

Some templates write the date into every prompt (Llama 3.2, SmolLM3, Granite 3, Mistral Small 3), by `strftime_now`. A run that is
resumed on another day would have other prompts than before, and so would one that is still going on at midnight.

1. A run keeps a day (`keep_day`), stores it, and keeps it again when it is resumed: from then on every prompt of this process is
   of that day. A probe or an evaluation does the same while it draws (`on_day`). Several processes keep that of the first.
2. Where no day is kept, as where a model is served, templates see the clock.

The time of day is always midnight then; a template that writes it is refused (`rollouts/solver.py`).
"""

import contextlib
import datetime
import sys
from collections.abc import Iterator
from typing import Any

from laconic.errors import RunError

DAY = "day"
"""The key under which a day is stored: in the settings of a probe or an evaluation, and in a run's environment.json."""
RENDERER, CLOCK_FUNCTION, CLOCK_CLASS = "transformers.utils.chat_template_utils", "strftime_now", "datetime"
"""The module that renders templates, what it gives them to ask for the time, and what that asks in turn."""

_KEPT: dict[str, str] = {}


def keep_day(day: str) -> None:
    """Let every template of this process see `day` ("2026-11-30") from now on."""
    _KEPT[DAY] = day


@contextlib.contextmanager
def on_day(day: str | None) -> Iterator[None]:
    """Inside, templates see `day`; without one nothing changes."""
    before = dict(_KEPT)
    if day is not None:
        keep_day(day)
    try:
        yield
    finally:
        _KEPT.clear()
        _KEPT.update(before)


def kept_day() -> str | None:
    """The day that templates see; None where they see the clock."""
    return _KEPT.get(DAY)


def today() -> str:
    """The day that the clock shows, as it is kept and stored."""
    return datetime.date.today().isoformat()


def known_day(stored: Any, where: str) -> str:
    """A day that was stored. Raises `RunError`, naming the place, where it is none."""
    try:
        return datetime.date.fromisoformat(stored).isoformat()
    except (TypeError, ValueError):
        raise RunError(f"{where}: {DAY}: expected a day, such as {today()}; put back a copy of the file") from None


def reads_clock(tokenizer: Any) -> bool:
    """Whether the tokenizer's chat template asks what day it is."""
    return CLOCK_FUNCTION in str(getattr(tokenizer, "chat_template", None))


@contextlib.contextmanager
def clock_stopped_at(day: str | None) -> Iterator[None]:
    """Inside, what transformers gives to templates as the clock shows `day`; without one it goes on. To be used in a process that
    renders templates and does nothing else, since transformers takes no clock as an argument."""
    renderer = sys.modules.get(RENDERER)  # whoever has a tokenizer of transformers has loaded it
    if day is None or renderer is None:
        yield
        return
    seen = vars(renderer)
    clock = seen[CLOCK_CLASS]
    seen[CLOCK_CLASS] = _StoppedClock(datetime.datetime.fromisoformat(day))
    try:
        yield
    finally:
        seen[CLOCK_CLASS] = clock


class _StoppedClock:
    """What stands in the place of the class `datetime`, of which `strftime_now` asks the time."""

    def __init__(self, moment: datetime.datetime) -> None:
        self.moment = moment

    def now(self) -> datetime.datetime:
        return self.moment
