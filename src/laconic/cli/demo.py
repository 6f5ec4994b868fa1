"""The demo: both phases on the embedded reasoner, measured on held-out problems, with a page to look at.

1. The recipe `demo` runs like any other recipe: each of its two phases trains, watches and hands on.
2. Base, phase 1 and phase 2 are evaluated on the report set, sampled at T=1 and greedy, and the phases are compared with the
   base.
3. The terminal shows the comparison and a few responses before and after training; the page shows everything else.

An unfinished demo in the folder is resumed where it stopped. No result is prepared in advance.
"""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from laconic.comparison.folders import read_samples
from laconic.comparison.tables import comparison_lines, print_comparison
from laconic.config.load import load_recipe
from laconic.recipes.find import recipe_paths
from laconic.reporting.build import write_page
from laconic.rollouts.rows import ResponseRow
from laconic.system.progress import Reporter
from laconic.types import Grade

RECIPE = "demo"
NUM_SHOWN = 3
WIDTH = 118


def run_demo(out: Path, seed: int) -> Path:
    """Run or resume the demo in `out`; prints the result and returns the path of the page."""
    from laconic.training.measure_run import measure_run
    from laconic.training.run import start

    recipe = load_recipe(recipe_paths()[RECIPE], [f"seed={seed}"])
    reporter = Reporter()
    trainer = start(recipe, out, resume=(out / "config.json").exists(), reporter=reporter)
    model = trainer.train()
    comparisons = measure_run(trainer.run, trainer.finished)
    page = write_page(out, out / "report.html")
    console = Console(width=WIDTH, highlight=False)
    last = f"phase-{len(recipe.phases)}"
    show_responses(out, last, console)
    for tag, comparison in comparisons.items():
        console.print(f"\n[bold]{'greedy' if tag == 'greedy' else 'sampled at T=1'}[/bold]")
        console.print(print_comparison(comparison))
        for line in comparison_lines(comparison):
            console.print(line, markup=False, soft_wrap=True)
    console.print(f"\nthe shorter model: {model}\nthe page:          {page}", markup=False, soft_wrap=True)
    return page


def show_responses(out: Path, after: str, console: Console) -> None:
    """Print a few greedy responses of the base and of the result side by side, those with median and larger savings."""
    pairs = [
        (one, two)
        for one, two in zip(_greedy(out, "base"), _greedy(out, after), strict=True)
        if one.grade is two.grade is Grade.CORRECT
    ]
    pairs.sort(key=lambda pair: pair[0].num_tokens - pair[1].num_tokens)
    chosen = [pairs[len(pairs) * part // (NUM_SHOWN + 1)] for part in range(1, NUM_SHOWN + 1)] if pairs else []
    table = Table(title="the same problems, greedy", show_lines=True, width=WIDTH)
    for name, share in (("problem", 2), ("before", 5), ("after", 4)):
        table.add_column(name, overflow="fold", ratio=share)
    for one, two in chosen:
        table.add_row(escape(one.question), _shown(one), _shown(two))
    console.print(table)


def _greedy(out: Path, label: str) -> Iterator[ResponseRow]:
    return read_samples(out / "eval" / f"{label}-greedy")


def _shown(row: ResponseRow) -> str:
    return f"{escape(row.text)}\n[dim]{row.num_tokens} tokens[/dim]"
