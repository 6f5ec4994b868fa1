"""Commands that train, plan and look things up: `demo`, `train`, `track`, `sweep`, `doctor`, `list`."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.options import Seed, refuse_given
from laconic.cli.processes import NumProcesses, again, refuse_processes, start_processes, together
from laconic.cli.show import print_comparisons
from laconic.config.defaults import SEED
from laconic.config.resumption import check_acceptance, resume_command
from laconic.errors import InputError, RecipeError
from laconic.parallel.place import read_place
from laconic.system.termination import heeding_signals
from laconic.system.text import put
from laconic.system.threads import settle

if TYPE_CHECKING:
    from laconic.config.recipe import Recipe

RecipePath = Annotated[
    Path, typer.Argument(help="A recipe in TOML, or the name of one that laconic list recipes shows.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe, such as seed=1.")
]

MOST_DOLLARS = 10**6
MOST_GPUS = 1024
"""Over so many GPUs a run is spread at most."""


def demo(
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"),
    seed: Seed = SEED,
    processes: NumProcesses = None,
) -> None:
    """Train both phases on the embedded reasoner, then show the comparison and write a page."""
    place = start_processes(processes, again)
    settle()
    from laconic.cli.demo import run_demo

    with together(place, again, {"arguments": sys.argv[1:]}, "auto") as team:
        run_demo(out, seed, team)


def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/<name> if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: go on although rates and bounds of the update, rewards and their files, the end rule, "
            "selections, how responses are drawn, the grader, the device or the inputs have changed; environment.json "
            "records each change and its step. What only concerns measuring may change without it.",
        ),
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(
            help="Show the metrics in a tracker of `laconic list trackers` too; with --resume, without it, in the one before.",
            metavar="TRACKER",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, with its tokens, memory and hours, and stop.")
    ] = False,
    gpu: Annotated[
        str | None, typer.Option(help="With --dry-run: the GPU to predict for, such as h200; without it, this machine.")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="With --gpu: how many of them to spread the run over; eight are one machine.", min=1),
    ] = None,
    price: Annotated[
        float | None, typer.Option(help="With --dry-run: what one GPU, or this machine, costs an hour, in dollars.")
    ] = None,
    probed: Annotated[
        Path | None,
        typer.Option("--probe", help="With --dry-run: a probe of the recipe's problems, to take lengths from."),
    ] = None,
    draws: Annotated[
        Path | None,
        typer.Option(
            help="A folder that runs share: what the start model answers is copied from there if a run with the same "
            "settings has left it, and left there if not. Sweeps use one."
        ),
    ] = None,
    processes: NumProcesses = None,
) -> None:
    """Train all phases of a recipe in one run, which can be resumed."""
    from laconic.recipes.find import find_recipe
    from laconic.system.screen import Screen

    if price is not None and not 0 <= price <= MOST_DOLLARS:  # no comparison with nan is true
        raise InputError(f"--price: expected dollars an hour, from 0 to {MOST_DOLLARS:,}, got {price:g}")
    if gpus is not None and gpus > MOST_GPUS:
        raise InputError(f"--gpus: expected at most {MOST_GPUS:,}, got {gpus:,}")
    if gpus is not None and dry_run and gpu is None:
        raise InputError("--gpus: needs --gpu, the name of the GPU, such as h100-80gb")
    check_acceptance(resume=resume, accept_changes=accept_changes)
    loaded = find_recipe(recipe, overrides or [], accept_changes=accept_changes)
    folder = out or Path("runs") / loaded.name
    if dry_run:
        refuse_processes("--dry-run", processes)
        from laconic.doctor.dry_run import Outlook, print_plan
        from laconic.tracking.following import tracker_to_follow

        tracker_to_follow(track, folder, resume=resume)  # refuses here what training would refuse
        print_plan(loaded, Screen(), Outlook(gpu, price, probed, folder, gpus))
        return
    read_by_a_dry_run = {"--gpu": gpu, "--gpus": gpus, "--price": price, "--probe": probed}
    refuse_given(read_by_a_dry_run, "only a dry run reads it; add --dry-run, or leave it out")
    _train(loaded, folder, track, processes, resume=resume, accept_changes=accept_changes, draws=draws)


def _train(
    loaded: "Recipe",
    folder: Path,
    track: str | None,
    processes: int | None,
    *,
    resume: bool,
    accept_changes: bool,
    draws: Path | None,
) -> None:
    """Train in this process, or in those that it starts, and print the comparison."""
    from laconic.config.load import dump
    from laconic.tracking.following import following, tracker_to_follow

    tracker = tracker_to_follow(track, folder, resume=resume)
    how_to_go_on = partial(_how_to_go_on, folder, processes)
    place = start_processes(processes, how_to_go_on)
    settle()
    said = {"out": str(folder), "resume": resume, "recipe": dump(loaded)}
    with (
        together(place, how_to_go_on, said, loaded.policy.device) as team,
        heeding_signals(how_to_go_on, is_silent=not team.is_first, leaves_together=team.size > 1),
    ):
        from laconic.evaluation.shared_draws import SharedDraws
        from laconic.parallel.shared_folder import check_shared
        from laconic.system.progress import Reporter
        from laconic.training.measure_run import measure_run
        from laconic.training.run import start

        if place is not None and place.size > place.local_size:
            check_shared(team, folder)
        trainer = start(
            loaded,
            folder,
            resume=resume,
            reporter=Reporter(),
            accept_changes=accept_changes,
            team=team,
            draws=SharedDraws(draws),
        )
        with following(folder, tracker, trainer.run.reporter.say):
            model = trainer.train()
            print_comparisons(measure_run(trainer.run, trainer.finished))
        put(f"result: {model}")


def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, from laconic train.")],
    to: Annotated[str, typer.Option(metavar="TRACKER", help="A tracker of `laconic list trackers`.")],
    anew: Annotated[
        bool, typer.Option("--anew", help="As a new run with every step, not only with those it lacks.")
    ] = False,
) -> None:
    """Show a run that is there in a tracker: send it the steps that it lacks, and the results."""
    from laconic.tracking.sending import send_run

    tracked = send_run(run, to, is_anew=anew)
    put(f"{to}: {tracked.step} steps of {tracked.run_id}; {tracked.link or tracked.shown_by}")


def _how_to_go_on(folder: Path, processes: int | None) -> str:
    if not (folder / "config.json").exists():
        return "no run was begun, so run it again"
    command, place = resume_command(folder), read_place()
    if place is not None:
        return f"go on with  {place.again(command)}"
    return f"go on with  {command}{'' if processes is None else f' --processes {processes}'}"


def sweep(
    path: Annotated[Path, typer.Argument(metavar="SWEEP", help="A list of recipes, seeds and changes in TOML.")],
    out: Annotated[Path | None, typer.Option(help="The sweep's folder; runs/<name> if not given.")] = None,
    parallel: Annotated[
        int | None, typer.Option(help="How many processes run at a time; if not given, the sweep's own number.")
    ] = None,
    draws: Annotated[
        Path | None,
        typer.Option(help="A folder that sweeps share: what a start model answered is drawn once for all of them."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and stop.")] = False,
) -> None:
    """Train several recipes at several seeds, and write one table and one page; resumes a sweep that was killed."""
    from laconic.sweep.run import print_dry_run, run_sweep
    from laconic.system.screen import Screen

    if dry_run:
        print_dry_run(path, out, parallel, Screen(), draws)
        return
    result = run_sweep(path, out, parallel, draws=draws)
    put(result.table.read_text(encoding="utf-8"))
    put(f"page: {result.out / 'report.html'}")


def doctor(
    recipe: RecipePath,
    overrides: Overrides = None,
    probed: Annotated[
        Path | None,
        typer.Option(
            "--probe", help="A probe of the recipe's problems, or an evaluation folder; what was seen is checked too."
        ),
    ] = None,
) -> None:
    """Check what can be checked before the first GPU hour: prompts, gold answers, caps, rewards, leakage, memory."""
    from laconic.doctor.run import run_doctor
    from laconic.recipes.find import find_recipe
    from laconic.system.screen import Screen

    findings = run_doctor(find_recipe(recipe, overrides or []), Screen(), probed)
    if errors := [finding for finding in findings if finding.level == "error"]:
        raise RecipeError(f"{recipe}: {errors[0].where}: {errors[0].what}")


def list_names(
    what: Annotated[str, typer.Argument(help="What to list; without it, everything that can be listed.")] = "",
) -> None:
    """List what there is to choose from, one line each."""
    from laconic.cli.catalogue import CATALOGUE

    if not what:
        put("\n".join(CATALOGUE))
        return
    if what not in CATALOGUE:
        raise InputError(f"list: unknown kind {what!r}; expected one of {', '.join(CATALOGUE)}")
    entries = CATALOGUE[what]()
    width = max(map(len, entries))
    for name, summary in entries.items():
        put(f"{name:<{width}}  {summary}")
