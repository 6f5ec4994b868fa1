"""docs/seeker_frontier.md: every recipe and reward on the seeker, each at its own rate: `python benchmarks/seeker_frontier.py`.

1. Every entry of `seeker/frontier.toml` is trained with its rates times 1, 0.5 and 2, at a seed for that alone, and measured on
   problems of the watch split. The rate whose area over budgets is largest is chosen (`seeker/tuned.json`); nothing else is.
2. Every entry is trained at that rate at the seeds of the file, and measured on the report split. Every run counts by what its
   recipe hands on; where the guard went back, the page says so.
3. One seed is run after the other, each in a sweep of its own. As soon as a run ends, its figures go to `seeker/results.json`, so
   that what one machine measured outlives it: another one runs only what is missing there. Where an entry's recipe has changed
   since, the command ends and says so: `--anew` begins it anew.
4. The page is written from these two files and `seeker/words.md`.

Both sweeps go on after a kill with the same command.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deciding.frontier_page import write_page
from deciding.start_models import sweep_lines

from laconic.config.load import dump, load_recipe
from laconic.errors import RunFailed
from laconic.evaluation.problem_meta import read_meta
from laconic.reporting.read import read_phases
from laconic.sweep.arms import GREEDY, SAMPLED, SweepArm, read_arm, read_arms
from laconic.sweep.config import DRAWS, Entry, SweepRun, load_sweep, not_replaced, stored_sweep
from laconic.sweep.run import run_sweep
from laconic.system.files import read_json, write_json_atomically, write_text_atomically
from laconic.system.progress import Reporter
from laconic.system.screen import Screen
from laconic.system.threads import available_cores

HERE = Path(__file__).parent
SWEEP, TUNED, RESULTS, WORDS = (
    HERE / "seeker" / name for name in ("frontier.toml", "tuned.json", "results.json", "words.md")
)
FACTORS = ("1", "0.5", "2")
TUNING_SEED = 90
TUNING_PROBLEMS = (
    "problems.report=seeker:mix?count=160&split=watch",
    "problems.watch=seeker:mix?count=96&split=watch&seed=7",
)
MOST = 320  # tokens: budgets up to three times the start model's mean length
TEACHER, TEACHING = "phases.distillation.algorithm.reference_model", "two_phase"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/seeker_frontier"), help="the folder of the sweeps")
    parser.add_argument("--sweep", type=Path, default=SWEEP, help="another sweep file")
    parser.add_argument("--seeds", type=int, nargs="+", default=(), help="fewer seeds than the file lists, or others")
    parser.add_argument("--parallel", type=int, default=available_cores(), help="training processes at a time")
    parser.add_argument(
        "--results", type=Path, default=RESULTS.parent, help="the folder of tuned.json and results.json"
    )
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs" / "seeker_frontier.md", help="the page")
    parser.add_argument("--anew", action="store_true", help="measure entries again whose recipe has changed")
    parser.add_argument("--only", choices=("tune", "page"), help="stop after choosing the rates; or run nothing")
    given = parser.parse_args(arguments)
    tuned_file, results_file = given.results / TUNED.name, given.results / RESULTS.name
    if given.only != "page":
        factors = chosen(tune(given.sweep, given.out, tuned_file, given.parallel, anew=given.anew))
        if given.only == "tune":
            return
        measure(given.sweep, given.out, results_file, factors, given.seeds, given.parallel, anew=given.anew)
    write_page(given.docs, WORDS, read_json(tuned_file), read_json(results_file))


# --- the rates -------------------------------------------------------------------------------------------------------


def tune(sweep: Path, out: Path, file: Path, parallel: int, *, anew: bool = False) -> dict[str, Any]:
    """By label: the digest of a trained entry, and its area over budgets on watched problems at each factor; kept in `file`."""
    tuned: dict[str, Any] = read_json(file) if file.exists() else {}
    entries = [entry for entry in load_sweep(sweep)[1] if entry.prompt is None]
    digests = {entry.label: digest_of(entry) for entry in entries}
    tuned = unchanged(tuned, digests, file, anew=anew)
    tuned |= {name: {"entry": digest, "areas": {}} for name, digest in digests.items() if name not in tuned}
    teacher = teacher_in(out / f"tune-{FACTORS[0]}", TUNING_SEED)
    for factor in FACTORS:

        def keep(arm: SweepArm, factor: str = factor) -> None:
            if factor not in tuned[arm.label]["areas"]:
                tuned[arm.label]["areas"][factor] = round(arm.area(MOST), 3)
                write_json_atomically(file, tuned)

        def at_factor(entry: Entry, factor: str = factor) -> list[str]:
            return at_rate(entry, factor, teacher, TUNING_PROBLEMS)

        missing = {entry.label for entry in entries if factor not in tuned[entry.label]["areas"]}
        pupils = [entry for entry in entries if taught(entry) and len(tuned[entry.label]["areas"]) < len(FACTORS)]
        if factor == FACTORS[0] and pupils:  # the teacher may have been measured on another machine
            missing.add(TEACHING)
        run_missing(sweep, out / f"tune-{factor}", TUNING_SEED, missing, at_factor, parallel, keep)
    if failed := [name for name in digests if len(tuned[name]["areas"]) < len(FACTORS)]:
        raise SystemExit(
            f"not tuned at every rate: {', '.join(failed)}; what failed is said above, and the command goes on"
        )
    return tuned


def unchanged(stored: Mapping[str, Any], digests: Mapping[str, str], file: Path, *, anew: bool) -> dict[str, Any]:
    """What is stored of entries that are still there and as they were. Others end the program, unless they are to begin anew."""
    kept = {name: found for name, found in stored.items() if found["entry"] == digests.get(name)}
    if not anew and (changed := [name for name in stored if name in digests and name not in kept]):
        raise SystemExit(
            f"{file}: measured with another recipe or rate: {', '.join(changed)}; --anew measures them again"
        )
    return kept


def chosen(tuned: Mapping[str, Any]) -> dict[str, str]:
    """The factor with the largest area, by label.

    >>> chosen({"a": {"entry": "", "areas": {"0.5": 60.0, "1": 61.0, "2": 40.0}}})
    {'a': '1'}
    """
    return {label: max(found["areas"], key=found["areas"].__getitem__) for label, found in tuned.items()}


def at_rate(entry: Entry, factor: str, teacher: Path, changes: Sequence[str] = ()) -> list[str]:
    """The entry's overrides with the rates of every phase times `factor`, a critic's too, and its teacher, if it has one."""
    rates = []
    for phase in load_recipe(entry.path, entry.overrides).phases:
        held = {"lr": phase.optimizer.lr}
        if phase.algorithm.name == "ppo" and phase.algorithm.critic != "zero":
            held["critic_lr"] = phase.optimizer.critic_lr
        rates += [f"phases.{phase.name}.optimizer.{key}={float(factor) * rate:.6g}" for key, rate in held.items()]
    taught = [f"{TEACHER}={teacher}" for given in entry.overrides if given.startswith(TEACHER)]
    own = (*changes, *rates, *taught)
    return [*not_replaced(entry.overrides, own), *own]


def teacher_in(folder: Path, seed: int) -> Path:
    """The result of the two phases, from which `distill` of the same seed learns."""
    return folder / TEACHING / f"seed-{seed}" / "model"


def digest_of(entry: Entry) -> str:
    """A digest of all that an entry does, by which a changed one is known."""
    recipe = dump(load_recipe(entry.path, [o for o in entry.overrides if not o.startswith(TEACHER)]))
    return hashlib.sha256(json.dumps([recipe, entry.prompt], sort_keys=True).encode()).hexdigest()[:16]


def rated_digest(entry: Entry, factors: Mapping[str, str]) -> str:
    """`digest_of` with the rate at which the entry is run."""
    return f"{digest_of(entry)}-{factors.get(entry.label, '')}"


# --- the runs --------------------------------------------------------------------------------------------------------


def measure(
    sweep: Path,
    out: Path,
    file: Path,
    factors: Mapping[str, str],
    seeds: Sequence[int],
    parallel: int,
    *,
    anew: bool = False,
) -> None:
    """Run every entry at its rate, one seed after the other, and keep the figures of each run in `file` as it ends."""
    config, entries = load_sweep(sweep)
    results: dict[str, Any] = read_json(file) if file.exists() else {}
    digests = {entry.label: rated_digest(entry, factors) for entry in entries}
    results = unchanged(results, digests, file, anew=anew)
    results |= {name: {"entry": digest, "runs": {}} for name, digest in digests.items() if name not in results}

    def keep(arm: SweepArm) -> None:
        """Put the figures of a finished run into `file`, beside those that it holds already."""
        kept = results[arm.label]["runs"]
        if str(arm.seed) not in kept:
            kept[str(arm.seed)] = figures_of(arm)
            write_json_atomically(file, results)

    for seed in seeds or config.seeds:
        folder = out / f"final-{seed}"
        teacher = teacher_in(folder, seed)

        def at_chosen(entry: Entry, teacher: Path = teacher) -> list[str]:
            return list(entry.overrides) if entry.prompt else at_rate(entry, factors[entry.label], teacher)

        missing = {entry.label: entry for entry in entries if str(seed) not in results[entry.label]["runs"]}
        teaching = {TEACHING} if any(map(taught, missing.values())) else set()
        run_missing(sweep, folder, seed, missing.keys() | teaching, at_chosen, parallel, keep)


def taught(entry: Entry) -> bool:
    """Whether the entry learns from another's result."""
    return any(given.startswith(TEACHER) for given in entry.overrides)


def run_missing(
    sweep: Path,
    folder: Path,
    seed: int,
    labels: set[str],
    changed: Callable[[Entry], Sequence[str]],
    parallel: int,
    keep: Callable[[SweepArm], None],
) -> None:
    """Run the entries of these labels in `folder`, with their overrides `changed`, and give each to `keep` as it ends.

    What was begun there is ended too. Runs that fail are named.
    """
    if not labels:
        return
    stored = folder / "sweep.json"
    held = {entry["label"] for entry in stored_sweep(folder)["entries"]} if stored.exists() else set()
    config, entries = load_sweep(sweep)
    wanted = [(entry, changed(entry)) for entry in entries if entry.label in labels | held]
    copy = folder.with_name(f"{folder.name}.toml")
    copy.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(copy, "\n".join(sweep_lines(config, [seed], wanted)) + "\n")
    say = Reporter(Screen(file=sys.stderr))
    try:
        run_sweep(copy, folder, parallel, say, folder.parent / DRAWS, lambda run: keep(arm_of(run)))
    except RunFailed as error:
        sys.stderr.write(f"{folder.name}: {error}\n")
    # a command may have been killed before it kept what had ended
    for arm in read_arms(folder).get(seed, {}).values():
        keep(arm)


def arm_of(run: SweepRun) -> SweepArm:
    """A run that has ended."""
    return read_arm(run.folder, run.entry.label, run.seed, run.tags)


def figures_of(arm: SweepArm) -> dict[str, Any]:
    """What the page says of one run, rounded: sampled and greedy, the areas over budgets, by level, and against both bounds."""
    meta = read_meta(arm.base[SAMPLED].path)
    facts = [meta[name] for name in arm.before().problem_ids]
    bounds = {key: float(np.mean([float(fact[key]) for fact in facts])) for key in ("oracle_tokens", "blind_tokens")}
    found: dict[str, Any] = {
        tag: {"tokens": arm.tokens(tag), "cut": arm.cut(tag), "accuracy": arm.accuracy(tag), "gain": arm.gain(tag)}
        for tag in (SAMPLED, GREEDY)
    }
    levels = [int(fact["level"]) for fact in facts]
    base = SweepArm(arm.label, arm.seed, arm.base, {tag: (one,) for tag, one in arm.base.items()}, ())
    found |= {"area": arm.area(MOST), "base_area": base.area(MOST)}
    found |= {"greedy_area": arm.area(MOST, GREEDY), "base_greedy_area": base.area(MOST, GREEDY)}
    found |= {"ease": arm.cut_follows_ease(), **bounds}
    found["levels"] = {str(level): _of_level(arm, [held == level for held in levels]) for level in sorted(set(levels))}
    settings = read_json(arm.base[SAMPLED].path / "settings.json")
    return rounded(found) | {"rolled_back": rolled_back(arm.folder), "asked": settings["prompt_digest"]}


def rolled_back(folder: Path) -> list[str]:
    """Phases of a run whose last steps its guard threw away, in words; a prompt has none."""
    phases = read_phases(folder) if (folder / "phases.json").exists() else []
    return [
        f"{phase['name']} to step {phase['result_step']} of {phase['last_step']}"
        for phase in phases
        if phase["result_step"] != phase["last_step"]
    ]


def _of_level(arm: SweepArm, rows: Sequence[bool]) -> dict[str, float]:
    before, after, mask = arm.before(), arm.after(), np.array(rows)
    tokens = [float(side.mean_tokens[mask].mean()) for side in (before, after)]
    accuracies = [100.0 * float(np.nanmean(side.accuracy[mask])) for side in (before, after)]
    cut = 100.0 * (1.0 - tokens[1] / tokens[0])
    return {"problems": int(mask.sum()), "cut": cut, "gain": accuracies[1] - accuracies[0]}


def rounded(value: Any) -> Any:
    """The same with three decimals, and null for what is undefined."""
    if isinstance(value, dict):
        return {key: rounded(held) for key, held in value.items()}
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value


if __name__ == "__main__":
    main()
