"""What there is to choose from: `laconic list recipes|rewards|algorithms|selections|problems`.

Every list is read off the table that holds the things themselves; nothing is written down twice.
"""

import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent / "recipes"


def recipe_paths() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}


def _recipes() -> dict[str, str]:
    found = {}
    for name, path in recipe_paths().items():
        text = path.read_text(encoding="utf-8")
        models = tomllib.loads(text).get("model", "?")
        found[name] = f"{models}: {text.splitlines()[0].lstrip('# ')}"
    return found


def _rewards() -> dict[str, str]:
    from laconic.rewards import REWARDS

    return {name: _first_line(term) for name, term in REWARDS.items()}


def _algorithms() -> dict[str, str]:
    from laconic.algorithms import ALGORITHMS

    return {name: algorithm.summary for name, algorithm in ALGORITHMS.items()}


def _selections() -> dict[str, str]:
    from laconic.selection import SELECTIONS

    return {name: _first_line(selection) for name, selection in SELECTIONS.items()}


def _problems() -> dict[str, str]:
    from laconic.tiny.tasks import FAMILIES

    return {
        "FILE.jsonl": "lines of id, problem, answer",
        "FILE.parquet": "columns problem, answer (extra: data)",
        "hf:NAME[:CONFIG]:SPLIT": "a Hugging Face dataset (extra: data)",
        "gym:TASK?arg=value": "a reasoning-gym task (extra: gym)",
        "tiny:FAMILY?arg=value": f"the embedded reasoner's problems: {', '.join(FAMILIES)}, mix",
    }


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


CATALOGUE: dict[str, Callable[[], dict[str, str]]] = {
    "recipes": _recipes,
    "rewards": _rewards,
    "algorithms": _algorithms,
    "selections": _selections,
    "problems": _problems,
}
