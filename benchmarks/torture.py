"""Nothing lost, nothing stranded, nothing silently senseless: `make torture`, or `python benchmarks/torture.py [part ...]`.

Every part tries to break the program in many ways that a seed draws, and counts the ways that succeeded:

    kills       runs that are killed at random moments and resumed: the result has the same bits
    recipes     recipes with random mistakes: refused in two lines at most, or planned
    inputs      broken files of problems, model folders and options; what no generator, export or tracker can do
    endpoints   servers that answer nonsense, late, or not at all
    folders     runs and evaluations whose files were damaged: repaired, refused, or resumed to the same bits

A case that fails is printed with what is needed to try it again. The table goes to the file that `--table` names.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "dumb", "LACONIC_PRODUCTS": "onednn"}

from tortures import endpoints, folders, inputs, kills, recipes
from tortures.case import Case

from laconic.system.processor import processor_name

Part = Callable[[Path, int, int], Iterator[Case]]
PARTS: dict[str, tuple[Part, int]] = {
    "kills": (kills.cases, 104),
    "recipes": (recipes.cases, 300),
    "inputs": (inputs.cases, 190),
    "endpoints": (endpoints.cases, 100),
    "folders": (folders.cases, 60),
}
"""Each part and how many cases it has at scale 1."""


@dataclass(slots=True)
class Tally:
    """What became of a part's cases."""

    part: str
    cases: int = 0
    seconds: float = 0.0
    failed: list[Case] = field(default_factory=list)


def campaign(names: list[str], seed: int, scale: float, place: Path) -> list[Tally]:
    """The tallies of some parts; what fails is printed at once."""
    return [tally_of(name, seed, max(1, round(PARTS[name][1] * scale)), place / name) for name in names]


def tally_of(name: str, seed: int, count: int, place: Path) -> Tally:
    """One part's cases, in `place`."""
    place.mkdir(parents=True)
    tally, began = Tally(name), time.monotonic()
    for case in PARTS[name][0](place, seed, count):
        tally.cases += 1
        if case.trouble:
            tally.failed.append(case)
            print(f"FAILED {name}: {case.what}: {case.trouble}", flush=True)
    tally.seconds = time.monotonic() - began
    print(f"{name}: {tally.cases} cases, {len(tally.failed)} failed, {tally.seconds:.0f} s", flush=True)
    return tally


def table(tallies: list[Tally], seed: int, scale: float) -> str:
    """The tallies as a table in Markdown, under the command that made it."""
    parts = " ".join(tally.part for tally in tallies)
    command = f"`python benchmarks/torture.py {parts} --seed {seed} --scale {scale:g}`"
    rows = [f"| {t.part} | {t.cases} | {len(t.failed)} | {t.seconds:.0f} |" for t in tallies]
    head = [f"{command}, {date.today()}, {processor_name()}, one thread.", ""]
    return "\n".join([*head, "| part | cases | failed | seconds |", "| --- | --- | --- | --- |", *rows]) + "\n"


def warm_up() -> None:
    """Import what commands import late, so that their children need not."""
    import transformers.models.llama.modeling_llama  # noqa: F401


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of cases")
    parser.add_argument("--table", type=Path, help="the file to write the table to")
    options = parser.parse_args()
    names = options.part or list(PARTS)
    if unknown := set(names) - PARTS.keys():
        parser.error(f"unknown part {', '.join(sorted(unknown))}; expected {', '.join(PARTS)}")
    print(f"torture: seed {options.seed}, {', '.join(names)}", flush=True)
    warm_up()
    with tempfile.TemporaryDirectory() as place:
        tallies = campaign(names, options.seed, options.scale, Path(place))
    if options.table:
        options.table.write_text(table(tallies, options.seed, options.scale), encoding="utf-8")
    sys.exit(any(tally.failed for tally in tallies))


if __name__ == "__main__":
    main()
