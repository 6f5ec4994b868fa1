"""Decides the claims of papers by code: runs what is missing, measures, and writes a verdict for each.

    python benchmarks/claims.py F4 F7 --out runs/claims
    python benchmarks/claims.py --page

1. A claim of `deciding/` says where its figures come from: a sweep (`claims/*.toml`), an evaluation of the start model, or
   arithmetic. Sweep and evaluation run in a folder of their own in OUT. What is finished there is not run again, so that after a
   kill the same command goes on, and a claim can be decided anew as seeds come in (`--measure` runs nothing).
2. The falsifier decides (`laconic.statistics.verdicts`), and `claims/results/CLAIM.json` gets the verdict with every seed's
   figures.
3. docs/claims.md is written anew from `claims/words.md` and all results.

Another embedded reasoner takes the place of `tiny` with `--model NAME`: the model and all problems are then NAME's, and `--set
key=value` changes what else has to change (a cap on length, say) in every recipe. Its results are
`claims/results/CLAIM-NAME.json`.

A claim that is undecided with all its seeds gets one second look: `--seeds` names five more, `--arms` those arms that its figures
hang on. What is stored of the first five counts with them.

What is stored was measured with recipes of which a digest stands beside it. With others the command ends and says so, since it
would throw that away: `--anew` does, and `--same` keeps it, where recipes only have new keys whose default is what was before.
"""

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deciding.claim import Claim, Evaluated, Probed, Trained
from deciding.page import write_page
from deciding.records import (
    TINY,
    Record,
    decided,
    of_arms,
    of_intervals,
    of_numbers,
    of_seeds,
    result_file,
    with_stored,
)
from deciding.start_models import address_of, models_of, setup_of, sweep_for
from deciding.table import CLAIMS
from sides.laconic_side import multiply

from laconic.errors import LaconicError, RunError, RunFailed
from laconic.sweep.arms import SweepArm, read_arms
from laconic.sweep.config import DRAWS, load_sweep
from laconic.sweep.run import run_sweep
from laconic.system.files import read_json, write_json_atomically
from laconic.system.processor import processor_name
from laconic.system.progress import Reporter
from laconic.system.screen import Screen
from laconic.system.threads import available_cores

HERE = Path(__file__).parent
CAP = "320"  # tokens of a response of `tiny`; another model's is given with --set report.max_tokens=...
MATRIX_ROWS = 256
EARLIER = "earlier"
STAMP = ("command", "date", "matrix_gflops")  # of when and where a claim was measured
FIRST_SEED = 31  # the first seed of every sweep file


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    out: Path
    model: str = TINY
    seeds: tuple[int, ...] = ()
    changes: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    parallel: int | None = None
    runs: bool = True
    results: Path = HERE / "claims" / "results"
    sweeps: Path = HERE / "claims"
    other_setup: str = ""

    @property
    def cap(self) -> str:
        """The cap on the length of a response that is evaluated."""
        given = [change.partition("=")[2] for change in self.changes if change.startswith("report.max_tokens=")]
        return given[-1] if given else CAP


def decide_claim(claim: Claim, wish: Wish) -> Record:
    """Run what is missing for the claim, measure, and decide."""
    if isinstance(claim.source, Trained):
        return _trained(claim, claim.source, wish)
    if isinstance(claim.source, Evaluated):
        return _evaluated(claim, claim.source, wish)
    if isinstance(claim.source, Probed):
        return _probed(claim, claim.source, wish)
    return decided(claim, of_numbers(claim.source.measure()), wish.model) | {"hours": 0.0, "hardware": _hardware()}


def _trained(claim: Claim, source: Trained, wish: Wish) -> Record:
    arms, wanted = _swept(source.sweep, wish)
    setup = _setup(source.sweep, wish)
    stored, found = _stored(claim, setup, wish), _arms(arms)
    labels = dict.fromkeys([*stored["arms"], *found])
    figures = with_stored(of_arms(source, arms), stored["figures"])
    merged = {label: {**stored["arms"].get(label, {}), **found.get(label, {})} for label in labels}
    record = decided(claim, figures, wish.model, wanted) | {"setup": setup, "arms": merged}
    if _is_known(found, stored["arms"]):
        return record | _provenance(stored)
    return record | _measured(arms, wish.out / source.sweep) | _earlier(found, stored)


def _setup(sweep: str, wish: Wish) -> str:
    """The digest of what the sweep of that name would run."""
    return setup_of(sweep_for(wish.sweeps / f"{sweep}.toml", wish.model, wish.seeds, wish.changes, wish.out))


def _stored(claim: Claim, setup: str, wish: Wish) -> Record:
    """The record that is stored of a claim with this setup, without figures where there is none. Raises `RunError` where it has
    another one, unless the wish says what that means."""
    held = result_file(wish.results, claim.name, wish.model)
    nothing: Record = {"figures": {}, "arms": {}}
    stored: Record = nothing | (read_json(held) if held.exists() else {})
    if stored.get("setup", setup) == setup or wish.other_setup == "same":
        return stored
    if wish.other_setup == "anew":
        return nothing
    raise RunError(
        f"{held}: was measured with other recipes; add --anew to replace it, or --same where recipes only have new keys "
        "whose default is what was before"
    )


def _is_known(found: Record, stored: Record) -> bool:
    """Whether every run was measured before; what was said of when and where then stays."""
    return bool(stored) and all(set(found[label]) <= set(stored.get(label, {})) for label in found)


def _provenance(stored: Record) -> Record:
    return {key: stored[key] for key in ("hours", "hardware", *STAMP, EARLIER) if key in stored}


def _earlier(found: Record, stored: Record) -> Record:
    """What was said of when and where the seeds were measured that only the stored record has."""
    if all(set(seeds) <= set(found.get(label, {})) for label, seeds in stored["arms"].items()):
        return {}
    latest = {key: value for key, value in _provenance(stored).items() if key != EARLIER}
    return {EARLIER: [*stored.get(EARLIER, []), latest]}


def _measured(arms: Mapping[int, Mapping[str, SweepArm]], out: Path) -> Record:
    return {"hours": _hours(arms), "hardware": _trained_on(out)}


def _swept(name: str, wish: Wish) -> tuple[Mapping[int, Mapping[str, SweepArm]], int]:
    """The finished arms of the sweep, after those that were missing have been run, and the number of seeds that it asks for.

    If only some arms are asked for, they are a sweep in a folder of its own.
    """
    original, base = wish.sweeps / f"{name}.toml", wish.out / "arms" if wish.arms else wish.out
    out = base / name
    if wish.runs:
        file = sweep_for(original, wish.model, wish.seeds, wish.changes, base, wish.arms)
        try:
            run_sweep(file, out, wish.parallel, Reporter(Screen(file=sys.stderr)), wish.out / DRAWS)
        except RunFailed as error:  # what is finished can still be measured
            sys.stderr.write(f"{name}: {error}\n")
    arms = read_arms(out) if (out / "sweep.json").exists() else {}
    return arms, len(load_sweep(original)[0].seeds)


def _evaluated(claim: Claim, source: Evaluated, wish: Wish) -> Record:
    out = wish.out / source.name
    _evaluate(wish.model, source.problems, source.options, out, wish.seeds[0] if wish.seeds else FIRST_SEED, wish)
    if not _is_evaluated(out):
        held = result_file(wish.results, claim.name, wish.model)
        if not held.exists():
            raise RunError(f"{claim.name}: nothing is finished in {out}; leave out --measure to evaluate")
        return dict(read_json(held))
    record = decided(claim, of_intervals(source.measure(out)), wish.model)
    return record | {"hours": _evaluation_hours([out]), "hardware": _hardware()}


def _probed(claim: Claim, source: Probed, wish: Wish) -> Record:
    arms, wanted = _swept(source.sweep, wish)
    runs = {seed: found[source.arm].folder for seed, found in arms.items() if source.arm in found}
    found: dict[int, list[Path]] = {}
    for seed in sorted({*runs, *wish.seeds}) or [FIRST_SEED]:
        models = [wish.model, *(models_of(runs[seed], wish.model) if seed in runs else [])]
        folders = [wish.out / source.name / f"seed-{seed}" / f"stage-{number}" for number in range(len(models))]
        for model, folder in zip(models, folders, strict=True):
            _evaluate(model, source.problems, source.options, folder, seed, wish)
        found[seed] = [folder for folder in folders if _is_evaluated(folder)]
    asked = json.dumps([_setup(source.sweep, wish), source.problems, source.options, wish.cap])
    setup = hashlib.sha256(asked.encode()).hexdigest()[:16]
    stored = _stored(claim, setup, wish)
    figures = of_seeds({seed: source.measure(folders) for seed, folders in found.items() if folders})
    record = decided(
        claim,
        with_stored({name: {"by_seed": {}} for name in stored["figures"]} | figures, stored["figures"]),
        wish.model,
        wanted,
    ) | {"setup": setup}
    if stored["figures"] and not any(found.values()):
        return record | _provenance(stored)
    hours = _evaluation_hours([folder for folders in found.values() for folder in folders])
    return record | {"hours": round(_hours(arms) + hours, 3), "hardware": _hardware()}


def _evaluate(model: str, problems: str, options: Sequence[str], out: Path, seed: int, wish: Wish) -> None:
    """Evaluate a model on problems of the start model's kind, unless nothing is to be run. A finished evaluation is kept by the
    command, which refuses one of another model or with other settings."""
    if not wish.runs:
        return
    address = address_of(f"{TINY}:{problems}", wish.model)
    command = ["evaluate", model, address, *options, "--max-tokens", wish.cap, "--seed", str(seed), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "laconic", *command], check=True, stdin=subprocess.DEVNULL)


def _is_evaluated(folder: Path) -> bool:
    return any(folder.glob("eval/*/summary.json"))


def _evaluation_hours(folders: Sequence[Path]) -> float:
    timings = [read_json(file) for folder in folders for file in folder.glob("eval/*/timing.json")]
    return round(sum(timing["wall_seconds"] for timing in timings) / 3600.0, 3)


def _arms(arms: Mapping[int, Mapping[str, SweepArm]]) -> Record:
    """By label and seed: tokens and accuracy of the base and of the result, sampled and greedy; the problems that each phase
    trained on, and the rollouts of all."""
    found: Record = {}
    for seed, by_label in arms.items():
        for label, arm in by_label.items():
            found.setdefault(label, {})[str(seed)] = {
                **{
                    tag: [
                        round(value, 2) for value in (arm.tokens(tag), arm.cut(tag), arm.accuracy(tag), arm.gain(tag))
                    ]
                    for tag in arm.base
                },
                "trained": [*arm.num_problems, arm.cost.num_rollouts],
            }
    return found


def _hours(arms: Mapping[int, Mapping[str, SweepArm]]) -> float:
    """Hours of the training steps of all arms."""
    return round(
        sum(sum(arm.logged("time/step_seconds")) for found in arms.values() for arm in found.values()) / 3600.0, 2
    )


def _trained_on(out: Path) -> str:
    """The machine of the first run."""
    found = [read_json(file)["device"] for file in sorted(out.glob("*/seed-*/environment.json"))[:1]]
    return str(found[0]) if found else _hardware()


def _hardware() -> str:
    return f"{processor_name()} ({os.cpu_count()} cores)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Decide the claims that are named, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=", ".join(CLAIMS))
    parser.add_argument(
        "--out", type=Path, default=Path("runs/claims"), help="the folder of the sweeps and evaluations"
    )
    parser.add_argument(
        "--model", default=TINY, help="the embedded reasoner to start from, whose problems have its name"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=(), help="fewer seeds, or others, than the sweep files list"
    )
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="for every recipe"
    )
    parser.add_argument(
        "--parallel",
        type=int,
        default=available_cores(),
        help="training processes at a time; one on each core if not given",
    )
    parser.add_argument(
        "--arms", nargs="+", default=(), metavar="LABEL", help="only these arms of the sweep: what a second look needs"
    )
    parser.add_argument("--measure", action="store_true", help="run nothing: decide on what is finished")
    parser.add_argument("--page", action="store_true", help="only write docs/claims.md")
    for name, what in (("same", "counts"), ("anew", "is replaced")):
        parser.add_argument(
            f"--{name}",
            dest="other_setup",
            action="store_const",
            const=name,
            default="",
            help=f"what is stored of other recipes {what}",
        )
    parser.add_argument("--results", type=Path, default=HERE / "claims" / "results", help="the folder of the verdicts")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs" / "claims.md", help="the page")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.claims if name not in CLAIMS]:
        parser.error(f"no claim {unknown[0]!r}; expected {', '.join(CLAIMS)}")
    if not given.claims and not given.page:
        parser.error("expected a claim, or --page")
    wish = Wish(
        given.out,
        given.model,
        tuple(given.seeds),
        tuple(given.changes),
        tuple(given.arms),
        given.parallel,
        not given.measure,
        given.results,
        other_setup=given.other_setup,
    )
    for name in given.claims:
        try:
            record = decide_claim(CLAIMS[name], wish)
        except LaconicError as error:
            parser.exit(2, f"{name}: {error}\n")
        now = (
            " ".join(["python benchmarks/claims.py", name, *_told(wish)]),
            str(datetime.date.today()),
            round(multiply(1, MATRIX_ROWS)["gflops"]),
        )
        record |= {key: value for key, value in zip(STAMP, now, strict=True) if key not in record}
        given.results.mkdir(parents=True, exist_ok=True)
        write_json_atomically(result_file(given.results, name, wish.model), record)
        print(f"{name}: {record['verdict']} ({record['hinge']})")
    write_page(given.docs, HERE / "claims" / "words.md", given.results)


def _told(wish: Wish) -> list[str]:
    """The options that change results, as they are written on the command line."""
    told = [] if wish.model == TINY else ["--model", wish.model]
    told += ["--seeds", *map(str, wish.seeds)] if wish.seeds else []
    told += ["--arms", *map(json.dumps, wish.arms)] if wish.arms else []
    return told + [word for change in wish.changes for word in ("--set", json.dumps(change))]


if __name__ == "__main__":
    main()
