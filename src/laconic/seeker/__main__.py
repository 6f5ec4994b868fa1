"""`python -m laconic.seeker build` trains the seeker, `measure` prints what it shows, `rehearse` what its traces show."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from laconic.errors import told_in_one_line

if TYPE_CHECKING:
    from laconic.seeker.measure import SeekerFigures

app = typer.Typer(help="The embedded reasoner that searches.", no_args_is_help=True, add_completion=False)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Where to write the checkpoint.")],
    seed: Annotated[int, typer.Option(help="Seed of weights and traces.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; as many as the seeker needs if not given.")
    ] = None,
    is_compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the model first: half as fast again, needs a C++ compiler.")
    ] = False,
) -> None:
    """Train from scratch and save in Hugging Face format."""
    from laconic.seeker.build import SEEKER_SETTINGS
    from laconic.tiny.build import build as run

    print(run(out, replace(SEEKER_SETTINGS, seed=seed, steps=steps or SEEKER_SETTINGS.steps, is_compiled=is_compiled)))


@app.command()
def measure(
    model: Annotated[str, typer.Argument(help="A checkpoint of the seeker.")],
    problems: Annotated[int, typer.Option(help="Fresh problems.")] = 240,
    samples: Annotated[int, typer.Option(help="Samples per problem at T=1.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of problems and samples.")] = 0,
) -> None:
    """Accuracy, tokens, redundancy, the budget curve and what requests change, on fresh problems."""
    from laconic.seeker.measure import measure as run

    found = run(model, num_problems=problems, samples=samples, seed=seed)
    _show(found, f"{model}: {problems} fresh problems, {samples} samples each at T=1")


@app.command()
def rehearse(
    problems: Annotated[int, typer.Option(help="Problems.")] = 400,
    samples: Annotated[int, typer.Option(help="Traces per problem.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of problems and traces.")] = 0,
) -> None:
    """The same figures of the traces themselves: what a perfect pupil would show."""
    from laconic.seeker.rehearsal import rehearse as run

    found = run(num_problems=problems, samples=samples, seed=seed)
    _show(found, f"the traces: {problems} problems, {samples} traces each")


def _show(found: "SeekerFigures", title: str) -> None:
    from laconic.seeker.measure import as_tables

    console = Console(width=100)
    for table in as_tables(found, title):
        console.print(table)


if __name__ == "__main__":
    with told_in_one_line("laconic.seeker"):
        app()
