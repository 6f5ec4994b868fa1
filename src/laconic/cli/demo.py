"""The demo: both phases on the embedded reasoner, measured on held-out problems, with a page to look at.

1. The terminal says what is going to happen.
2. The base is measured on the report set before anything is trained, greedy first, and a few of its responses are shown.
3. The recipe `demo` runs like any other recipe: each of its two phases trains, watches and hands on.
4. Phase 1 and phase 2 are measured on the same problems, and compared with the base.
5. A few responses are shown before and after training, then the figures of all models, and last the result in a sentence for each
   decoding. The page shows everything else.

An unfinished demo in the folder is resumed where it stopped. No result is prepared in advance.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laconic.comparison.folders import read_samples
from laconic.comparison.records import Comparison
from laconic.config.load import load_recipe
from laconic.config.recipe import Recipe
from laconic.evaluation.figures import Summary
from laconic.evaluation.folder_names import temperature_tag
from laconic.parallel.team import ALONE, Team
from laconic.recipes.find import recipe_paths
from laconic.reporting.build import write_page
from laconic.reporting.data import sampling_words
from laconic.rollouts.rows import ResponseRow
from laconic.statistics.intervals import Interval
from laconic.system.fields import Fields
from laconic.system.files import read_json
from laconic.system.progress import Reporter, duration_words
from laconic.system.screen import Screen
from laconic.system.termination import heeding_signals
from laconic.types import Grade

if TYPE_CHECKING:
    from laconic.training.time_left import RunPlan

RECIPE = "demo"
NUM_SHOWN = 3
WIDTH, MOST_WIDTH = 80, 120

_T = TypeVar("_T")


def run_demo(out: Path, seed: int, team: Team = ALONE) -> Path:
    """Run or resume the demo in `out`; prints the result and returns the path of the page. Of a `team` the first process prints
    and writes."""
    from laconic.training.measure_run import measure_base, measure_run
    from laconic.training.run import start

    recipe = load_recipe(recipe_paths()[RECIPE], [f"seed={seed}"])
    console = _screen()
    base = BaseShown(out, console)
    hint = "the same command goes on with the demo"
    with heeding_signals(lambda: hint, is_silent=not team.is_first, leaves_together=team.size > 1):
        resume = team.by_first((out / "config.json").exists)
        trainer = start(recipe, out, resume=resume, reporter=Reporter(), team=team)
        say_what_comes(recipe, len(trainer.run.sets.report), console)
        measure_base(trainer.run, base.show)
        if not (out / "metrics.jsonl").exists():
            say_how_much_comes(trainer.run.clock.plan, base.summaries[-1], out, console)
        model = trainer.train()
        comparisons = measure_run(trainer.run, trainer.finished)
    page = team.by_first(lambda: write_page(out, out / "report.html"))
    if team.is_first:
        show_end(recipe, out, comparisons, model, page, console)
    return page


def show_end(
    recipe: Recipe, out: Path, comparisons: Mapping[str, Comparison], model: Path, page: Path, console: Console
) -> None:
    """Print a few responses, the result, and where everything is."""
    show_responses(out, f"phase-{len(recipe.phases)}", console)
    show_result(recipe, comparisons, console)
    console.print(f"\nthe shorter model: {model}\nthe page:          {page}", markup=False, soft_wrap=True)


def say_what_comes(recipe: Recipe, num_reported: int, console: Console) -> None:
    """Print the parts of the demo. How long they take is unknown before anything is measured."""
    console.print("A small reasoning model learns to answer in fewer tokens.\n", style="bold")
    parts = [
        f"Measure it on {num_reported} problems that are kept out of training.",
        *(
            f'Train the phase "{phase.name}": at most {phase.steps} steps of '
            f"{phase.problems_per_step} problems x {phase.group_size} responses."
            for phase in recipe.phases
        ),
        "Measure the result of each phase on the same problems, and compare.",
    ]
    for number, part in enumerate(parts, start=1):
        console.print(f"{number}. {part}", markup=False)
    console.print(
        "\nEach training step says how long the rest takes. Ctrl-C stops the demo, and the\nsame command goes on with it.\n",
        markup=False,
    )


# --- before training -------------------------------------------------------------------------------------------------


class BaseShown:
    """Shows the base's figures as they come: a table that grows by a row, and after the first one a few responses."""

    def __init__(self, out: Path, console: Console) -> None:
        self.out, self.console = out, console
        self.summaries: list[Summary] = []

    def show(self, summary: Summary) -> None:
        """Print the figures measured so far, `summary` last."""
        self.summaries.append(summary)
        self.console.print(base_table(self.summaries))
        if len(self.summaries) == 1:
            rows = [row for row in _rows(self.out, "base", _temperature(summary)) if row.grade is Grade.CORRECT]
            for row in spread(sorted(rows, key=lambda row: row.num_tokens)):
                self.console.print(Text(row.question, "bold"), _shown(row), "", sep="\n")


def base_table(summaries: Sequence[Summary]) -> Table:
    """Accuracy and tokens of the base under each decoding, with 95% intervals."""
    title = f"before training: {summaries[0].setup.num_problems} problems, 95% intervals"
    table = _table(title, "decoding", "correct", "tokens per response")
    for summary in summaries:
        accuracy, tokens = summary.figures.accuracy, summary.figures.tokens
        assert accuracy and tokens, "an evaluation that was just made has both"
        words = sampling_words(_temperature(summary), None, None)
        table.add_row(words, _with_ends(accuracy, ".1%"), _with_ends(tokens, ".1f"))
    return table


def _with_ends(interval: Interval, form: str) -> str:
    return f"{interval.estimate:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def say_how_much_comes(plan: "RunPlan", summary: Summary, out: Path, console: Console) -> None:
    """Print how long sampling takes in the rest of the demo, at the speed with which the base was measured."""
    from laconic.training.time_left import Position, work_left

    label, temperature = "base", _temperature(summary)
    timing = _folder(out, label, temperature) / "timing.json"
    speed = max(1e-9, Fields(read_json(timing), str(timing)).number("tokens_per_second"))
    lengths = [row.num_tokens for row in _rows(out, label, temperature)]
    start = Position(0, 0, [fmean(lengths)], lengths, unmeasured=range(1, len(plan.phases) + 1))
    seconds = work_left(plan, start).sampled_tokens / speed
    console.print(
        f"At this speed ({speed:,.0f} tokens/s) all sampling to come takes about {duration_words(seconds)}.\n"
        "Training comes on top; the first steps will show how long it takes.\n",
        markup=False,
    )


# --- after training --------------------------------------------------------------------------------------------------


def _screen() -> Screen:
    """The terminal, of which wide ones are used up to `MOST_WIDTH` columns; a file gets `WIDTH` of them."""
    screen = Screen()
    return Screen(width=min(screen.width, MOST_WIDTH) if screen.is_terminal else WIDTH)


def show_responses(out: Path, after: str, console: Console) -> None:
    """Print a few greedy responses of the base and of the result side by side, those with median and larger savings."""
    pairs = [
        (one, two)
        for one, two in zip(_rows(out, "base", 0.0), _rows(out, after, 0.0), strict=True)
        if one.grade is two.grade is Grade.CORRECT
    ]
    pairs.sort(key=lambda pair: pair[0].num_tokens - pair[1].num_tokens)
    table = Table(title="the same problems, greedy", show_lines=True, width=console.width, title_justify="left")
    for name, share in (("problem", 2), ("before", 4), ("after", 3)):
        table.add_column(name, overflow="fold", ratio=share)
    for one, two in spread(pairs):
        table.add_row(Text(one.question), _shown(one), _shown(two))
    console.print(table)


def show_result(recipe: Recipe, comparisons: Mapping[str, Comparison], console: Console) -> None:
    """Print the figures of every model, caveats if there are any, and a sentence on the last phase for each decoding."""
    console.print(result_table(recipe, comparisons))
    results = {
        sampling_words(temperature, None, None): comparisons[temperature_tag(temperature)].candidates[-1]
        for temperature in recipe.report.temperatures
    }
    is_one_line = not console.is_terminal  # a sentence in a file is found again; on a terminal it is read
    for words, last in results.items():
        for caveat in last.caveats:
            console.print(f"caveat ({words}): {caveat}", markup=False, soft_wrap=is_one_line)
    for words, last in results.items():
        console.print(f"{words[0].upper()}{words[1:]}: {last.figures.verdict}", markup=False, soft_wrap=is_one_line)


def result_table(recipe: Recipe, comparisons: Mapping[str, Comparison]) -> Table:
    """Accuracy and tokens of the base and of each phase's result, under each decoding."""
    models = ["before training", *(f'after phase "{phase.name}"' for phase in recipe.phases)]
    title, columns = "mean over the problems", ["model"]
    cells: list[list[str | Text]] = [[Text(model)] for model in models]
    for temperature in recipe.report.temperatures:
        comparison = comparisons[temperature_tag(temperature)]
        columns += [f"{sampling_words(temperature, None, None)}:\ncorrect", "\ntokens"]
        base = comparison.candidates[0].figures.means.base
        for row, means in zip(cells, (base, *(c.figures.means.candidate for c in comparison.candidates)), strict=True):
            row += [f"{means.accuracy:.1%}", f"{means.tokens:.1f}"]
    table = _table(title, *columns)
    for row in cells:
        table.add_row(*row)
    return table


# --- both ------------------------------------------------------------------------------------------------------------


def spread(ordered: Sequence[_T]) -> list[_T]:
    """A few of the values at even distances, without the first; fewer if there are few.

    >>> spread(range(100)), spread([])
    ([25, 50, 75], [])
    """
    return [ordered[len(ordered) * part // (NUM_SHOWN + 1)] for part in range(1, NUM_SHOWN + 1)] if ordered else []


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _temperature(summary: Summary) -> float:
    assert summary.setup.temperature is not None, "an evaluation that was just made tells it"
    return summary.setup.temperature


def _rows(out: Path, label: str, temperature: float) -> Iterator[ResponseRow]:
    return read_samples(_folder(out, label, temperature))


def _folder(out: Path, label: str, temperature: float) -> Path:
    return out / "eval" / f"{label}-{temperature_tag(temperature)}"


def _shown(row: ResponseRow) -> Text:
    return Text.assemble(row.text, "\n", (f"{row.num_tokens} tokens", "dim"))
