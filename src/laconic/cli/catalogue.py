"""The lists of `laconic list recipes|rewards|algorithms|selections|problems|benchmarks|prompts|trackers`.

Every list is read from the table that the programs themselves use, so nothing is written twice.
"""

import inspect
import tomllib
from collections.abc import Callable

from laconic.recipes.find import recipe_paths


def _recipes() -> dict[str, str]:
    found = {}
    for name, path in recipe_paths().items():
        text = path.read_text(encoding="utf-8")
        models = tomllib.loads(text).get("model", "?")
        found[name] = f"{models}: {text.splitlines()[0].lstrip('# ')}"
    return found


def _rewards() -> dict[str, str]:
    from laconic.rewards.table import REWARDS

    return {name: reward.summary for name, reward in REWARDS.items()}


def _algorithms() -> dict[str, str]:
    from laconic.training.algorithms import ALGORITHMS

    return {name: algorithm.summary for name, algorithm in ALGORITHMS.items()}


def _selections() -> dict[str, str]:
    from laconic.selection.rules import SELECTIONS

    return {name: _first_line(selection) for name, selection in SELECTIONS.items()}


def _problems() -> dict[str, str]:
    from laconic.problems.load import KINDS

    return {kind.form: kind.summary for kind in KINDS}


def _benchmarks() -> dict[str, str]:
    from laconic.problems.benchmarks import BENCHMARKS

    return {
        name: f"{row.title} ({row.num_problems} problems; usually {row.samples} samples, cap {row.max_tokens})"
        for name, row in BENCHMARKS.items()
    }


def _prompts() -> dict[str, str]:
    from laconic.evaluation.planned_prompts import PLANNERS
    from laconic.prompts.instructions import INSTRUCTIONS

    plain = {
        name: wording.text or "the question alone" for name, wording in INSTRUCTIONS.items() if wording.text is not None
    }
    numbered = {name: wording.with_number for name, wording in INSTRUCTIONS.items() if wording.with_number is not None}
    planned = {name: planner.summary for name, planner in PLANNERS.items()}
    return plain | {f"{name}:N": text.replace("{n}", "N") for name, text in numbered.items()} | planned


def _trackers() -> dict[str, str]:
    from laconic.tracking.trackers import TRACKERS

    return {name: row.summary for name, row in TRACKERS.items()}


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


CATALOGUE: dict[str, Callable[[], dict[str, str]]] = {
    "recipes": _recipes,
    "rewards": _rewards,
    "algorithms": _algorithms,
    "selections": _selections,
    "problems": _problems,
    "benchmarks": _benchmarks,
    "prompts": _prompts,
    "trackers": _trackers,
}
