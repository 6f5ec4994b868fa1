"""Eight collapses and the recipes of the frontier: which alarms are raised, and when.

    python benchmarks/collapse.py train NAME ... [--out runs/collapse]     trains, or goes on with, these runs
    python benchmarks/collapse.py judge [--out runs/collapse]              writes benchmarks/collapse.md
    python benchmarks/collapse.py frontier [--out runs/frontier]           writes benchmarks/collapse_frontier.md

1. A run that collapses is a recipe of `recipes/collapse/`, by the name of its alarm. It is trained as it is.
2. A healthy run is a recipe of the frontier (`frontier.toml`), by its label's slug, at a reduced size (`reduced`), or the demo,
   as it is. A prompt of the frontier trains nothing.
3. `frontier` reads the sweep of `frontier.toml` at its full size, and puts what became of held-out problems beside the alarms.
4. Alarms are functions of metrics.jsonl, so `judge` and `frontier` show the finished runs to the alarms as they are now, and
   train nothing.

Onset: the first step in which the signal has gone half of the way from its value in the phase's first step to its most extreme
value in the phase (where it begins there, the first step). Wasted: the steps from the onset to the alarm, both included, as a
share of the phase's steps; every step draws equally many rollouts.
"""

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.collapse.alarms import ALARMS
from laconic.collapse.signals import (
    CUT_OFF,
    ENDED,
    ENTROPY,
    REFERENCE_KL,
    REPEATED,
    TOKENS,
    UNANSWERED,
    UNIFORM,
    figures_of,
)
from laconic.collapse.vigil import RaisedAlarm, Vigil
from laconic.config.load import dump, load_recipe, parse_recipe
from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.recipes.find import recipe_paths
from laconic.sweep.arms import GREEDY, SAMPLED, SweepArm, read_arms
from laconic.sweep.config import Entry, load_sweep
from laconic.system.files import read_json, read_jsonl
from laconic.system.processor import processor_name
from laconic.system.progress import Reporter
from laconic.training.check.recipe import check_recipe
from laconic.training.phase import applicability
from laconic.training.run import start

HERE = Path(__file__).parent
SIGNALS = {
    "truncation": CUT_OFF,
    "rewards": UNIFORM,
    "lengths": TOKENS,
    "entropy": ENTROPY,
    "repetition": REPEATED,
    "ending": ENDED,
    "kl": REFERENCE_KL,
    "format": UNANSWERED,
}
"""The figure by whose course the onset of each collapse is found."""
FALLING = (TOKENS, ENTROPY, ENDED)
"""The figures that fall in the collapses of `recipes/collapse/`; the others rise."""
ROLLOUTS, STEPS = 8, 2
"""By how much the rollouts of a step, and the steps of a phase, of a recipe of the frontier are divided."""
MADE_BY_OTHERS = {"distill": "two_phase", "distill_smaller": "laconic"}
"""Entries of the frontier whose teacher is the result of another entry."""


# --- runs ------------------------------------------------------------------------------------------------------------


def entries() -> dict[str, Entry]:
    """The frontier's entries that are trained, by their folder's name."""
    return {entry.slug: entry for entry in load_sweep(HERE / "frontier.toml")[1] if entry.prompt is None}


def names() -> tuple[str, ...]:
    """Every run that is trained, collapses first."""
    return (*ALARMS, "demo", *entries())


def recipe_of(name: str, out: Path) -> Recipe:
    """The recipe of a run by its name: of a collapse, of the demo, or of an entry of the frontier."""
    if name in ALARMS or name == "demo":
        return load_recipe(recipe_paths()[f"collapse/{name}" if name in ALARMS else name], ["threads=1"])
    return reduced(entries()[name], out)


def reduced(entry: Entry, out: Path) -> Recipe:
    """The entry's recipe with an eighth of the rollouts in each step, half of the steps, and no guard that could end it early."""
    overrides = [override for override in entry.overrides if not override.startswith("threads=")]
    tree: dict[str, Any] = dump(load_recipe(entry.path, [*overrides, "threads=1"]))
    source, _, query = tree["problems"]["train"].partition("?")
    pieces = dict(piece.split("=") for piece in query.split("&"))
    pieces["count"] = str(max(64, int(pieces["count"]) // ROLLOUTS))
    tree["problems"]["train"] = f"{source}?{'&'.join(f'{key}={value}' for key, value in pieces.items())}"
    tree["problems"]["watch"] = "tiny:mix?count=24&split=watch"
    tree["watch"] = {"every": 1000, "samples": 1}
    tree["checkpoints"] = {"every": 10, "keep": 1}
    if entry.slug == "distill_smaller":
        tree["model"] = str(out / "student")
    for phase in tree["phases"]:
        phase["steps"] = -(-phase["steps"] // STEPS)
        part = "problems_per_step" if phase["problems_per_step"] > ROLLOUTS else "group_size"
        phase[part] = max(2, phase[part] // ROLLOUTS)
        phase["end"]["guard_drop"] = None
        for key in ("count", "pool"):
            if phase["select"][key]:
                phase["select"][key] = max(4, phase["select"][key] // ROLLOUTS)
        if entry.slug in MADE_BY_OTHERS:
            phase["algorithm"]["reference_model"] = str(out / MADE_BY_OTHERS[entry.slug] / "model")
    return parse_recipe(tree, entry.label)


def train_runs(chosen: Sequence[str], out: Path) -> None:
    """Train these runs, or go on with them."""
    for name in chosen:
        folder = out / name
        if not (folder / "model").exists():
            recipe = recipe_of(name, out)
            start(recipe, folder, resume=(folder / "config.json").exists(), reporter=Reporter()).train()


# --- what the alarms say ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhaseSeen:
    """A phase of a finished run: its lines of metrics.jsonl, and the alarms that they raise now."""

    config: PhaseConfig
    lines: tuple[dict[str, Any], ...]
    raised: tuple[RaisedAlarm, ...]

    @property
    def num_rollouts(self) -> int:
        """Rollouts of its steps; what resampling draws on top is not counted."""
        return len(self.lines) * self.config.problems_per_step * self.config.group_size


def phases_seen(folder: Path) -> list[PhaseSeen]:
    """The phases of a run, with the alarms that its log raises."""
    lines = list(read_jsonl(folder / "metrics.jsonl"))
    found = []
    for phase in check_recipe(load_recipe(folder / "config.json")):
        own = tuple(line for line in lines if line["phase"] == phase.name)
        vigil = Vigil(phase.name, phase.config.end.alarms, phase.config.steps, applicability(phase))
        found.append(PhaseSeen(phase.config, own, tuple(alarm for line in own for alarm in vigil.see(line))))
    return found


def course_of(seen: PhaseSeen, key: str) -> list[tuple[int, float]]:
    """Steps and values of a figure, where it exists. The KL begins at 0 before the first step, since the reference is the policy
    that enters the phase."""
    course = [(line["step"], figures[key]) for line in seen.lines if key in (figures := figures_of(line))]
    return [(0, 0.0), *course] if key == REFERENCE_KL else course


def extreme_of(course: Sequence[tuple[int, float]], key: str) -> float:
    """The lowest value of a figure that falls, the highest of one that rises."""
    return (min if key in FALLING else max)(value for _, value in course)


def onset(course: Sequence[tuple[int, float]], key: str) -> int:
    """The first step in which the figure has gone half of the way from its first value to its most extreme one.

    >>> onset([(1, 0.0), (2, 0.1), (3, 0.6), (4, 1.0)], CUT_OFF), onset([(1, 1.0), (2, 0.9)], CUT_OFF)
    (3, 1)
    """
    first, extreme = course[0][1], extreme_of(course, key)
    return next(step for step, value in course if abs(value - first) >= abs(extreme - first) / 2)


def collapse_row(name: str, seen: PhaseSeen) -> str:
    """A row of the table of collapses."""
    key, course = SIGNALS[name], course_of(seen, SIGNALS[name])
    begin, own = onset(course, key), next((alarm for alarm in seen.raised if alarm.name == name), None)
    wasted = f"{(own.step - begin + 1) / seen.config.steps:.0%}" if own else "all"
    others = ", ".join(f"{alarm.name} ({alarm.step})" for alarm in seen.raised if alarm.name != name) or "none"
    figures = f"{course[0][1]:.3g} | {extreme_of(course, key):.3g} | {begin} | {own.step if own else 'never'}"
    return f"| `{name}` | {seen.config.steps} | {figures} | {wasted} | {others} |"


def healthy_row(name: str, phases: Sequence[PhaseSeen]) -> str:
    """A row of the table of healthy runs."""
    raised = "; ".join(f"step {alarm.step}, {alarm.line}" for seen in phases for alarm in seen.raised) or "none"
    num_steps, num_rollouts = sum(len(seen.lines) for seen in phases), sum(seen.num_rollouts for seen in phases)
    return f"| {name} | {len(phases)} | {num_steps} | {num_rollouts:,} | {raised} |"


def frontier_row(arm: SweepArm, raised: Sequence[RaisedAlarm]) -> str:
    """A row of the table of the whole frontier: alarms, and held-out accuracy and tokens after training against before."""
    said = "; ".join(f"step {alarm.step}, {alarm.line}" for alarm in raised) or "none"
    changes = [f"{arm.gain(tag):+.1f} | {-arm.cut(tag):+.0f}%" for tag in (SAMPLED, GREEDY)]
    return f"| {arm.label} | {arm.seed} | {len(arm.steps)} | {' | '.join(changes)} | {said} |"


def frontier_page(out: Path) -> str:
    """The text of collapse_frontier.md, from the finished runs of the sweep in `out`."""
    arms = [arm for found in read_arms(out).values() for arm in found.values() if arm.steps]
    phases = [phases_seen(arm.folder) for arm in arms]
    rows = [
        frontier_row(arm, [alarm for one in seen for alarm in one.raised])
        for arm, seen in zip(arms, phases, strict=True)
    ]
    device = read_json(arms[0].folder / "environment.json")["device"]
    return FRONTIER_PAGE.format(
        where=f"{device}, {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        count=len(arms),
        raised=sum(bool(one.raised) for seen in phases for one in seen),
        rows="\n".join(rows),
    )


def page(out: Path) -> str:
    """The text of collapse.md, from the finished runs in `out`."""
    finished = {name: phases_seen(out / name) for name in names() if (out / name / "model").exists()}
    collapses = [name for name in finished if name in ALARMS]
    missing = [name for name in names() if name not in finished]
    lines = [alarm.line for name in collapses for alarm in finished[name][0].raised if alarm.name == name]
    today, threads = datetime.datetime.now(datetime.UTC).date().isoformat(), "one thread per run"
    return PAGE.format(
        where=f"{processor_name()}, {threads}, {today}",
        collapses="\n".join(collapse_row(name, finished[name][0]) for name in collapses),
        lines="\n".join(f"- {line}" for line in lines),
        missing=f"Not run: {', '.join(missing)}." if missing else "",
        healthy="\n".join(healthy_row(name, finished[name]) for name in finished if name not in ALARMS),
    )


PAGE = """# Collapses and alarms

Written by `python benchmarks/collapse.py judge` from runs of `python benchmarks/collapse.py train`, {where}.

## Eight recipes that collapse

Each is a recipe of `recipes/collapse/` with 64 rollouts in each step. The signal is the alarm's own figure. Onset is the
first step in which the signal has gone half of the way from its value in the phase's first step (the KL: from 0) to its most
extreme value in the phase. Wasted are the steps from the onset to the alarm, both included, as a share of the phase's steps.

| alarm | steps | signal at first | at its most extreme | onset (step) | raised (step) | wasted | other alarms (step) |
|---|---|---|---|---|---|---|---|
{collapses}

What was said:

{lines}

## Recipes that do not collapse

The demo is as it is shipped. The others are the recipes of `benchmarks/frontier.toml`, seed 0, at a reduced size: half of the
steps of every phase, an eighth of the rollouts of every step, an eighth of the problems, and no guard, which could end them
early. {missing}

| run | phases | steps | rollouts | alarms |
|---|---|---|---|---|
{healthy}
"""


FRONTIER_PAGE = """# Alarms in the whole frontier

Written by `python benchmarks/collapse.py frontier` from `laconic sweep benchmarks/frontier.toml --out runs/frontier`,
one thread per run, {where}.

Every recipe is as it is shipped, with its guard, at its full size. An alarm is a false one where nothing was lost; so the
change of accuracy (points) and of tokens on the reported problems stands beside it.

Runs: {count}; phases with an alarm: {raised}.

| run | seed | steps | accuracy, T=1 | tokens, T=1 | accuracy, greedy | tokens, greedy | alarms |
|---|---|---|---|---|---|---|---|
{rows}
"""


def main() -> None:
    """Train runs, judge those that are there, or print their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "judge", "frontier", "names"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, help="runs/collapse, or runs/frontier for frontier, if not given")
    arguments = parser.parse_args()
    out = arguments.out or Path("runs/frontier" if arguments.what == "frontier" else "runs/collapse")
    if arguments.what == "train":
        train_runs(arguments.names, out)
    elif arguments.what == "names":
        print("\n".join(names()))
    elif arguments.what == "frontier":
        (HERE / "collapse_frontier.md").write_text(frontier_page(out), encoding="utf-8")
    else:
        (HERE / "collapse.md").write_text(page(out), encoding="utf-8")


if __name__ == "__main__":
    main()
