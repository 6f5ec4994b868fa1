"""What watching over a run costs: `python benchmarks/watching.py` trains the demo's recipe and writes benchmarks/watching.md.

Two commits cannot be told apart by 3% where the processor's own speed moves by 10%. So each part that keeps a run safe
is timed by itself, inside one run, and stands beside the time of the whole run: the alarms, the count of repeated tokens that one
of them reads, the word for a step in which nothing was learnt, and the checksums of checkpoints, log and result.
"""

import argparse
import datetime
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from laconic.collapse.vigil import Vigil
from laconic.config.load import load_recipe
from laconic.recipes.find import recipe_paths
from laconic.rollouts import metrics
from laconic.system.processor import processor_name
from laconic.system.progress import Reporter
from laconic.training import checkpoint_files, checkpoints, phase, run_directory
from laconic.training.run import start

PARTS: dict[str, list[tuple[Any, str]]] = {
    "alarms": [(Vigil, "see")],
    "repeated tokens counted": [(metrics, "repeated_share")],
    "why a step taught nothing": [(phase, "why_nothing_learnt")],
    "checksums": [
        (checkpoint_files, "write_checksums"),
        (checkpoint_files, "damage_in"),
        (run_directory, "write_checksums"),
        (checkpoints, "file_digest"),
    ],
}
"""The functions of each part, where they are called from."""
TABLE = Path(__file__).with_suffix(".md")


@contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """While open, the seconds that pass in each part are added up."""
    with ExitStack() as stack:
        for part, functions in PARTS.items():
            for owner, name in functions:
                stack.enter_context(patch.object(owner, name, adding(seconds, part, getattr(owner, name))))
        yield


def adding(seconds: dict[str, float], part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which adds the seconds of each call to its part."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds[part] += time.perf_counter() - began

    return call


def measure(out: Path, overrides: list[str]) -> tuple[dict[str, float], float]:
    """The seconds of each part in one run of the demo's recipe, and those of the whole run, its report left out."""
    seconds = dict.fromkeys(PARTS, 0.0)
    recipe = load_recipe(recipe_paths()["demo"], ["threads=1", *overrides])
    began = time.perf_counter()
    with timed(seconds):
        start(recipe, out, resume=False, reporter=Reporter()).train()
    return seconds, time.perf_counter() - began


def table(seconds: dict[str, float], whole: float) -> str:
    """A row for each part, and their sum."""
    rows = [*seconds.items(), ("together", sum(seconds.values()))]
    lines = [f"| {part} | {value:.3f} | {value / whole:.2%} |" for part, value in rows]
    return "\n".join(["| part | seconds | of the run |", "| --- | --- | --- |", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the run is written; a temporary folder without it")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the demo's recipe")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds, whole = measure(arguments.out or Path(folder) / "run", arguments.overrides)
    text = f"# What watching over a run costs\n\n`python benchmarks/watching.py`, {datetime.date.today()}, {processor_name()}, "
    text += f"one thread: the demo's recipe, trained in {whole:,.0f} s.\n\n{table(seconds, whole)}\n"
    print(text)
    if not arguments.overrides:
        TABLE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
