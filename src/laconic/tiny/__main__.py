"""`python -m laconic.tiny build` trains the embedded reasoner; `python -m laconic.tiny measure` prints what it shows."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from laconic.errors import told_in_one_line

app = typer.Typer(help="The embedded reasoner.", no_args_is_help=True, add_completion=False)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Where to write the checkpoint.")],
    seed: Annotated[int, typer.Option(help="Seed of weights and traces.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; the bundled checkpoint's number if not given.")
    ] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Decoder layers; the bundled one's if not given.")] = None,
    width: Annotated[
        int | None, typer.Option(help="Hidden size, a multiple of 32; the bundled one's if not given.")
    ] = None,
) -> None:
    """Train from scratch and save in Hugging Face format: the bundled one again, or a smaller one to be a student."""
    if width is not None and (width < 32 or width % 32):
        print(f"laconic.tiny: --width: expected a multiple of 32, got {width}", file=sys.stderr)
        raise typer.Exit(2)
    from laconic.tiny.build import BuildSettings
    from laconic.tiny.build import build as run

    usual = BuildSettings(seed=seed)
    steps, layers, width = steps or usual.steps, layers or usual.layers, width or usual.width
    print(run(out, replace(usual, steps=steps, layers=layers, width=width)))


@app.command()
def measure(
    model: Annotated[str, typer.Argument(help="A checkpoint of the embedded reasoner.")] = "tiny",
    problems: Annotated[int, typer.Option(help="Fresh problems.")] = 240,
    samples: Annotated[int, typer.Option(help="Samples per problem at T=1.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of problems and samples.")] = 0,
) -> None:
    """Accuracy, tokens, redundancy and solve rates on fresh problems, sampled and greedy."""
    from laconic.tiny.measure import as_table
    from laconic.tiny.measure import measure as run

    findings = run(model, num_problems=problems, samples=samples, seed=seed)
    Console(width=100).print(as_table(findings, f"{model}: {problems} fresh problems, {samples} samples each at T=1"))


if __name__ == "__main__":
    with told_in_one_line("laconic.tiny"):
        app()
