"""What a tracker is sent of a run: the numbers of each step, the recipe's settings, and the results at the end.

1. `numbers_of_step` takes the numbers of one line of metrics.jsonl under their own names (docs/metrics.md). Of alarms it takes
   how many were raised; words and statistics that do not exist are left out.
2. `settings_by_key` names the settings of the recipe as an override names them, but for the command of a vLLM server, which may
   hold a key.
3. `results_of` reads accuracy and tokens of each model on the report set, where they have been measured.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from laconic.comparison.folders import read_summary
from laconic.comparison.places import is_finished
from laconic.system.fields import is_finite_number

Numbers = dict[str, float]
SettingValue = str | int | float | bool
SERVER = ".sampler.server"


def numbers_of_step(step: Mapping[str, Any]) -> Numbers:
    """The numbers of a step.

    >>> numbers_of_step({"step": 3, "phase": "short", "update/lr": 1e-6, "watch/mean_tokens": None, "alarms/raised": ["x"]})
    {'update/lr': 1e-06, 'alarms/raised': 1.0}
    """
    counted = {key: len(value) if isinstance(value, list) else value for key, value in step.items() if key != "step"}
    return {key: float(value) for key, value in counted.items() if is_finite_number(value)}


def settings_by_key(config: Mapping[str, Any]) -> dict[str, SettingValue]:
    """The settings of a recipe by their dotted keys; those without a value are left out, and so is a sampler's `server`.

    >>> settings_by_key({"seed": 0, "threads": None, "phases": [{"name": "short", "steps": 8}]})
    {'seed': 0, 'phases.short.name': 'short', 'phases.short.steps': 8}
    """
    return {key: value for key, value in _leaves(config, "") if not key.endswith(SERVER)}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, SettingValue]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{key}.{item.get('name', index)}")
    elif isinstance(value, str | int | float | bool):
        yield key, value
    elif value:
        yield key, str(value)


def results_of(run: Path) -> Numbers:
    """Accuracy and mean tokens of every model that was measured on the report set, such as `report/phase-1-t1/accuracy_frac`.

    Raises an `InputError` for a damaged summary.
    """
    folders = sorted(folder for folder in (run / "eval").glob("*") if folder.is_dir() and is_finished(folder))
    results: Numbers = {}
    for folder in folders:
        figures = read_summary(folder).figures
        found = {"accuracy_frac": figures.accuracy, "mean_tokens": figures.tokens}
        results |= {f"report/{folder.name}/{name}": value.estimate for name, value in found.items() if value}
    return {key: value for key, value in results.items() if math.isfinite(value)}
