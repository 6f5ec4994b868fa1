"""Writes numbers for a page: percent, points, tokens, intervals. A number that does not exist becomes a dash."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from laconic.statistics.intervals import Interval

UNKNOWN = "–"
Show = Callable[[float], str]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Dotted keys and their values, as they are written on the command line.

    >>> list(flatten({"model": {"lora": None}, "seed": 1}))
    [('model.lora', 'null'), ('seed', '1')]
    """
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            yield from flatten({str(index): item for index, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def percent(value: float, digits: int = 1) -> str:
    """0.7123 is `71.2%`."""
    return f"{100 * value:.{digits}f}%"


def points(value: float) -> str:
    """0.021 is `2.1 pt`: a difference of two percentages."""
    return f"{100 * value:.1f} pt"


def count(value: float) -> str:
    """Tokens: one decimal below 100, none above.

    >>> count(63.25), count(1234.5)
    ('63.2', '1,234')
    """
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def shown(value: object, show: Show) -> str:
    """The number as text, a dash if there is none."""
    found = finite_number(value)
    return UNKNOWN if found is None else show(found)


def signed(value: object, show: Show) -> str:
    """The number with its sign, where the minus is the typographic one.

    >>> signed(-0.4, percent), signed(0.021, points), signed(None, points)
    ('−40.0%', '+2.1 pt', '–')
    """
    found = finite_number(value)
    return UNKNOWN if found is None else ("−" if found < 0 else "+") + show(abs(found))


def ends_shown(found: Interval, show: Show, is_change: bool = False) -> str:
    """An interval's ends in the unit of its number, empty if there are none.

    >>> ends_shown(Interval(0.7, 0.68, 0.743), percent), ends_shown(Interval(0.01, -0.01, 0.03), points, is_change=True)
    ('[68.0, 74.3]', '[−1.0, +3.0]')
    """
    low, high = ((signed if is_change else shown)(end, show).rstrip("% pt") for end in (found.low, found.high))
    return "" if UNKNOWN in (low, high) else f"[{low}, {high}]"


def interval_of(summary: Mapping[str, Any], name: str, key: str = "mean") -> Interval:
    """A summary's figure by its name, with its 95% interval; `nan` for numbers that the file lacks.

    >>> interval_of({"accuracy": {"mean": 0.5, "ci95": [0.4, None]}}, "accuracy")
    Interval(estimate=0.5, low=0.4, high=nan)
    """
    entry = summary.get(name)
    figure: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
    ends = figure.get("ci95") or ()
    values = (figure.get(key), *(ends if len(ends) == 2 else (None, None)))
    return Interval(*(math.nan if (found := finite_number(value)) is None else found for value in values))


def finite_number(value: object) -> float | None:
    """A finite number, or `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
