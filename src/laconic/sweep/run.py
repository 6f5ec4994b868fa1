"""The program `sweep`: runs every recipe, variant and prompt of a list at every seed, and writes one table and one page.

1. Everything is checked before anything runs: the file, every recipe at every seed, and the content of the folder.
2. Each training run is `laconic train` in a process of its own, with its output in a file beside its folder. At most `parallel`
   runs work at the same time. Finished runs are not started again and interrupted ones are resumed, so a sweep that was killed
   continues with the same command.
3. Prompts are measured in this process after the training runs. Runs that ask the start model the same share what it answered.
4. After each finished run, table and page are written again. A run that fails stops no other. At the end all failed runs are
   named, each with the last line of its output.
"""

import contextlib
import shlex
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from laconic.config.node import MOST_PROCESSES
from laconic.errors import InputError, RecipeError, RunFailed, install_command
from laconic.sweep.children import AT_WORK, RunProcesses, arguments, check_idle, lock
from laconic.sweep.config import Entry, SweepConfig, SweepRun, begin_sweep, load_sweep, runs_of
from laconic.sweep.page import has_page, write_results
from laconic.sweep.results import ResultsReader
from laconic.system.locks import FolderLock
from laconic.system.progress import Reporter
from laconic.system.screen import Screen
from laconic.system.threads import settle


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Where the sweep's files are, and its runs."""

    out: Path
    runs: tuple[SweepRun, ...]

    @property
    def table(self) -> Path:
        """The table in Markdown."""
        return self.out / "table.md"


def run_sweep(
    path: Path,
    out: Path | None = None,
    parallel: int | None = None,
    reporter: Reporter | None = None,
    draws: Path | None = None,
    on_finished: Callable[[SweepRun], None] | None = None,
) -> SweepResult:
    """Run the unfinished part of the sweep at `path` in `out` (runs/<name> if not given), with `parallel` processes at a time.

    Sweeps that are given the same folder `draws` share what their start models answered. `on_finished` is called with every run
    that has ended well, as soon as it has.

    Raises `InputError` if sweep, recipes or folder are wrong, before anything runs, and `RunFailed` at the end if runs failed.
    """
    reporter = reporter or Reporter()
    config, out, runs = read_sweep(path, out, parallel)
    runs = [replace(run, shared=draws) for run in runs]
    for warning in warnings_of(runs):
        reporter.say(f"warning: {warning}")
    with FolderLock(out):
        check_idle(runs)
        begin_sweep(out, config, runs)
        _Sweep(out, runs, config.parallel, reporter, on_finished).run()
    return SweepResult(out, tuple(runs))


def read_sweep(
    path: Path, out: Path | None = None, parallel: int | None = None
) -> tuple[SweepConfig, Path, list[SweepRun]]:
    """The sweep, its folder and its runs, checked. Nothing is written."""
    config, entries = load_sweep(path)
    if parallel is not None:
        if not 1 <= parallel <= MOST_PROCESSES:
            raise InputError(f"--parallel: expected 1 to {MOST_PROCESSES}, got {parallel}")
        config = config.model_copy(update={"parallel": parallel})
    out = out or Path("runs") / config.name
    runs = runs_of(config, entries, out)
    _check_prompts(runs)
    return config, out, runs


def warnings_of(runs: Sequence[SweepRun]) -> list[str]:
    """What the recipes hold that changes nothing, each said once with the label of its entry. Raises `InputError` if a recipe
    cannot be trained as it is."""
    settle()
    from laconic.training.check.recipe import check_recipe, complaints_about

    first = {run.entry.label: run for run in reversed(runs) if run.entry.prompt is None}
    warnings = []
    for run in sorted(first.values(), key=runs.index):
        try:
            phases = check_recipe(run.recipe)
        except InputError as error:
            raise RecipeError(f"{run.entry.label}: {run.entry.path}: {error}") from None
        warnings += [f"{run.entry.label}: {complaint}" for complaint in complaints_about(run.recipe, phases)]
    return warnings


def print_dry_run(
    path: Path, out: Path | None, parallel: int | None, console: Console, draws: Path | None = None
) -> None:
    """Print which runs would be made, and which are finished already."""
    config, out, runs = read_sweep(path, out, parallel)
    runs = [replace(run, shared=draws) for run in runs]
    warnings = warnings_of(runs)
    entries: dict[str, Entry] = {run.entry.label: run.entry for run in runs}
    done = sum(run.is_finished for run in runs)
    console.print(
        f"sweep {config.name}: {len(entries)} entries x {len(config.seeds)} seeds, {done} of {len(runs)} runs finished, "
        f"{config.parallel} at a time, in {out}",
        markup=False,
        highlight=False,
    )
    table = Table("label", "recipe", "changes", "seeds", "rollouts a run")
    for label, entry in entries.items():
        mine = [run for run in runs if run.entry is entry]
        changes = " ".join(entry.overrides) + (f" prompt: {entry.prompt}" if entry.prompt else "")
        seeds = ", ".join(f"{run.seed} (finished)" if run.is_finished else str(run.seed) for run in mine)
        count = 0 if entry.prompt else max_rollouts(mine[0])
        table.add_row(*map(Text, (label, entry.recipe_name, changes.strip(), seeds, f"{count:,}")))
    console.print(table)
    for run in runs:
        console.print(_command_line(run), markup=False, highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def max_rollouts(run: SweepRun) -> int:
    """The number of training rollouts if every phase goes to its cap, without probes and dynamic sampling."""
    return sum(phase.steps * phase.problems_per_step * phase.group_size for phase in run.recipe.phases)


def _command_line(run: SweepRun) -> str:
    if run.entry.prompt is not None:
        return f"asked with {run.entry.prompt!r}: {run.name} -> {run.folder}"
    return shlex.join(["laconic", *arguments(run)])


def _check_prompts(runs: Sequence[SweepRun]) -> None:
    asked = [run for run in runs if run.entry.prompt is not None]
    if asked:
        settle()
        from laconic.sweep.prompts import check_entry_prompt

        for run in asked:
            try:
                check_entry_prompt(run)
            except InputError as error:
                raise InputError(f"{run.entry.label}: {error}") from None


def in_turns(runs: Sequence[SweepRun], parallel: int) -> list[SweepRun]:
    """The runs in the order in which they are started: all of the first `parallel` seeds, these in turns, then of the next.

    So runs that begin together have different seeds, and none waits for what another of its seed draws for both, and a few seeds
    are complete early.
    """
    seeds = list(dict.fromkeys(run.seed for run in runs))
    labels = list(dict.fromkeys(run.entry.label for run in runs))
    return sorted(runs, key=lambda run: (seeds.index(run.seed) // parallel, labels.index(run.entry.label)))


# --- running ---------------------------------------------------------------------------------------------------------


class _Sweep:
    """A sweep that is running."""

    def __init__(
        self,
        out: Path,
        runs: Sequence[SweepRun],
        parallel: int,
        reporter: Reporter,
        on_finished: Callable[[SweepRun], None] | None,
    ) -> None:
        self.out, self.runs, self.parallel, self.reporter = out, runs, parallel, reporter
        self.on_finished = on_finished
        self.reader = ResultsReader(out)
        self.children = RunProcesses(parallel)
        self.failed: list[tuple[SweepRun, str]] = []

    def run(self) -> None:
        """Train the recipes, measure the prompts, and report the runs that failed."""
        todo = [run for run in in_turns(self.runs, self.parallel) if not run.is_finished]
        if len(todo) < len(self.runs):
            self.reporter.say(f"{len(self.runs) - len(todo)} of {len(self.runs)} runs are finished already")
        if not has_page():
            self.reporter.say(f"no report.html will be written: it needs  {install_command('report')}")
        write_results(self.out, self.reader.read())
        with _ended_by_sigterm():
            self.train([run for run in todo if run.entry.prompt is None])
            self.ask([run for run in todo if run.entry.prompt is not None])
        write_results(self.out, self.reader.read())
        if self.failed:
            failures = "; ".join(f"{run.name}: {why} ({run.log})" for run, why in self.failed)
            raise RunFailed(f"{len(self.failed)} of {len(self.runs)} runs failed: {failures}")

    def train(self, runs: Sequence[SweepRun]) -> None:
        """Make the training runs, `parallel` at a time, and report each as it ends."""
        threads = ThreadPoolExecutor(self.parallel)
        try:
            working = {threads.submit(self.children.train, run): run for run in runs}
            for done in as_completed(working):
                self.note(working[done], *done.result())
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            self.children.end()
            threads.shutdown()

    def ask(self, runs: Sequence[SweepRun]) -> None:
        """Measure the prompts one after the other in this process."""
        for run in runs:
            began = time.monotonic()
            why = self.ask_one(run)
            self.note(run, why, time.monotonic() - began)

    def ask_one(self, run: SweepRun) -> str | None:
        """Measure one prompt; returns what went wrong, or None."""
        from laconic.sweep.prompts import measure_prompt

        run.log.parent.mkdir(parents=True, exist_ok=True)
        with run.log.open("a", encoding="utf-8") as log:
            if not lock(log):
                return AT_WORK
            try:
                measure_prompt(run, Reporter(Screen(file=log)))
            except Exception as error:  # an error in one run must not stop the others
                traceback.print_exc(file=log)
                return f"{type(error).__name__}: {error}"
        return None

    def note(self, run: SweepRun, why: str | None, seconds: float) -> None:
        """Say how a run ended, and write the results anew."""
        if why is None and not run.is_finished:
            why = "ended without its comparisons"
        if why is not None:
            self.failed.append((run, why))
        count = sum(other.is_finished for other in self.runs)
        said = f"failed after {seconds:.0f} s: {why}" if why else f"finished in {seconds:.0f} s"
        self.reporter.say(f"[{count}/{len(self.runs)}] {run.name}: {said}")
        if why is None and self.on_finished:
            self.on_finished(run)
        try:
            write_results(self.out, self.reader.read())
        except Exception as error:  # a page that cannot be drawn ends no training; it is drawn again at the end
            self.reporter.say(f"table and page were not written: {error!r}")


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Inside the block SIGTERM acts like Ctrl-C, so that the processes that were started are ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
