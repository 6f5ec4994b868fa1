"""The command line: `laconic probe | select | train | evaluate | compare | report | list | demo`.

Every command reads as: check the input, do the work, print where the result is. Bad input is one line on standard error and
exit code 2; a failure while running is one line and exit code 1. Nothing heavy is imported before a command needs it, so
`laconic --help` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from laconic import __version__
from laconic.errors import InputError, LaconicError
from laconic.threads import settle

app = typer.Typer(
    help="Make reasoning language models think in fewer tokens without losing accuracy, and prove that they did.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[str, typer.Argument(help="A local folder in Hugging Face format, a hub name, or 'tiny' (bundled).")]
Problems = Annotated[
    str, typer.Argument(help="A .jsonl or .parquet file, hf:NAME:SPLIT, gym:TASK?arg=value, tiny:FAMILY?arg=value.")
]
Seed = Annotated[int, typer.Option(help="Names every random number of the command.")]
MaxTokens = Annotated[int, typer.Option(help="Cap on the tokens of a response.", min=1)]
BatchSize = Annotated[int, typer.Option(help="Rows decoded at once.", min=1)]
Instruction = Annotated[
    str, typer.Option("--prompt", help="Instruction after the question: boxed, r1, none, or a text.")
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or auto (as the checkpoint was stored).")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"laconic {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before a command."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"),
    seed: Seed = 0,
) -> None:
    """Both phases on the embedded reasoner, then the comparison and a page to look at. About three minutes on two cores."""
    _settle_threads()
    from laconic.demo import run_demo

    run_demo(out, seed)


@app.command()
def probe(
    model: Model,
    problems: Problems,
    samples: Annotated[int, typer.Option(help="Attempts a problem.", min=1)] = 16,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", min=0.0)] = 1.0,
    max_tokens: MaxTokens = 512,
    batch_size: BatchSize = 256,
    seed: Seed = 0,
    instruction: Instruction = "boxed",
    dtype: Dtype = "float32",
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("probe.jsonl"),
) -> None:
    """What can the model solve? Attempts, grades and lengths a problem, written to probe.jsonl."""
    from laconic.config import SamplerConfig
    from laconic.probe import probe as run_probe
    from laconic.probe import write_probe

    decoding = _checked(SamplerConfig, temperature=temperature, max_tokens=max_tokens, batch_size=batch_size)
    found = _load_problems(problems, seed)
    with _open_solver(model, instruction, dtype, found, max_tokens) as (solver, reporter):
        with reporter.bar("probe", len(found) * samples) as progress:
            stats = run_probe(solver, found, samples, decoding, seed=seed, on_progress=progress)
        write_probe(out, found, stats)
    rates = [stat.solve_rate for stat in stats if stat.attempts]
    mean = f"mean solve rate {sum(rates) / len(rates):.1%}" if rates else "nothing could be graded"
    print(f"{out}: {len(found)} problems, {samples} attempts each, {mean}")


@app.command()
def select(
    probed: Annotated[Path, typer.Argument(metavar="PROBE", help="A file written by laconic probe.")],
    band: Annotated[str | None, typer.Option(help="Keep solve rates inside LO:HI.")] = None,
    hard: Annotated[
        float | None, typer.Option(help="Keep the hardest, with solve rates up to this.", min=0, max=1)
    ] = None,
    count: Annotated[int | None, typer.Option(help="How many to keep.", min=1)] = None,
    seed: Seed = 0,
    explain: Annotated[bool, typer.Option(help="Print each problem's reason.")] = False,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("problems.jsonl"),
) -> None:
    """Choose problems by how often they were solved; each carries the reason it was kept."""
    from dataclasses import replace

    from laconic.errors import SelectionError
    from laconic.probe import read_probe
    from laconic.problems import write_problems
    from laconic.selection import select as choose

    how, options = _selection(band, hard)
    problems, stats = read_probe(probed)
    try:
        choices = {choice.problem_id: choice for choice in choose(how, stats, count, seed, options)}
    except ValueError as error:
        raise InputError(f"select: {error}") from None
    if explain:
        for choice in choices.values():
            print(f"{choice.problem_id}: {choice.reason}")
    kept = [replace(p, meta={**p.meta, "selection": choices[p.id].reason}) for p in problems if choices[p.id].is_kept]
    if not kept:
        first = next(iter(choices.values()))
        raise SelectionError(f"{probed}: none of {len(problems)} problems qualifies; the first: {first.reason}")
    write_problems(out, kept)
    print(f"{out}: {len(kept)} of {len(problems)} problems kept")


@app.command()
def train(
    recipe: Annotated[
        Path, typer.Argument(help="A recipe in TOML, or the name of one that laconic list recipes shows.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/<name> if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and stop.")] = False,
) -> None:
    """Train a recipe's phases: one resumable run."""
    loaded = _load_recipe(recipe, overrides)
    if dry_run:
        from laconic.plan import print_plan

        print_plan(loaded, Console())
        return
    _settle_threads()
    from laconic.measure import measure_run
    from laconic.progress import Reporter
    from laconic.train import start

    trainer = start(loaded, out or Path("runs") / loaded.name, resume=resume, reporter=Reporter())
    model = trainer.train()
    _print_comparisons(measure_run(trainer.run, trainer.finished))
    print(f"result: {model}")


@app.command()
def evaluate(
    model: Model,
    problems: Annotated[
        list[str], typer.Argument(metavar="PROBLEMS...", help="Sources of problems, one evaluation each.")
    ],
    samples: Annotated[int, typer.Option(help="Samples a problem (greedy takes one).", min=1)] = 4,
    temperature: Annotated[list[float] | None, typer.Option(help="Sampling temperature; may be repeated.")] = None,
    max_tokens: MaxTokens = 1024,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.", min=0.0, max=1.0)] = 1.0,
    batch_size: BatchSize = 256,
    seed: Seed = 0,
    instruction: Instruction = "boxed",
    dtype: Dtype = "float32",
    out: Annotated[Path, typer.Option(help="Results go to OUT/eval/<benchmark>/.")] = Path("evaluation"),
) -> None:
    """How accurate is a model, and at what length? Writes samples.jsonl and summary.json for each source and temperature."""
    from laconic.config import SamplerConfig
    from laconic.evaluate import evaluate as run_evaluation
    from laconic.evaluate import num_samples
    from laconic.measure import temperature_tag

    temperatures = temperature or [1.0]
    sets = {source: _load_problems(source, seed) for source in problems}
    everything = [problem for found in sets.values() for problem in found]
    with _open_solver(model, instruction, dtype, everything, max_tokens) as (solver, reporter):
        for source, found in sets.items():
            for t in temperatures:
                decoding = _checked(
                    SamplerConfig, temperature=t, top_p=top_p, max_tokens=max_tokens, batch_size=batch_size
                )
                name = _benchmark_name(source)
                folder = out / "eval" / (name if len(temperatures) == 1 else f"{name}-{temperature_tag(t)}")
                with reporter.bar(f"{name} at T={t:g}", len(found) * num_samples(samples, decoding)) as progress:
                    summary = run_evaluation(
                        solver, found, samples, decoding, folder, benchmark=name, seed=seed, on_progress=progress
                    )
                print(_summary_line(summary, folder))


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="The evaluation folder to compare with.")],
    candidates: Annotated[list[Path], typer.Argument(help="Evaluation folders.")],
    margin: Annotated[
        float, typer.Option(help="Accuracy that may be lost and still count as none (0.01 is a point).")
    ] = 0.01,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("comparison.json"),
) -> None:
    """Is the candidate really shorter, and as good? Paired differences with intervals, and a verdict."""
    from laconic.compare import compare_evaluations
    from laconic.files import write_json_atomically

    comparison = compare_evaluations(base, candidates, margin=margin, seed=seed)
    write_json_atomically(out, comparison)
    _print_comparisons({"": comparison})
    print(f"written to {out}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN/report.html if not given.")] = None,
) -> None:
    """One self-contained HTML page of a run: verdict, curves, lengths by grade, responses side by side."""
    from laconic.page import write_page

    print(write_page(run, out or run / "report.html"))


@app.command()
def doctor(
    recipe: Annotated[
        Path, typer.Argument(help="A recipe in TOML, or the name of one that laconic list recipes shows.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
) -> None:
    """What can be checked before the first GPU hour: does the recipe fit this machine's memory?"""
    from laconic.doctor import run_doctor
    from laconic.errors import RecipeError

    findings = run_doctor(_load_recipe(recipe, overrides), Console())
    if errors := [finding for finding in findings if finding.level == "error"]:
        raise RecipeError(f"{recipe}: {errors[0].where}: {errors[0].what}")


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="recipes, rewards, algorithms, selections or problems.")],
) -> None:
    """What there is to choose from, one line each."""
    from laconic.catalogue import CATALOGUE

    if what not in CATALOGUE:
        raise InputError(f"list: unknown kind {what!r}; expected one of {', '.join(CATALOGUE)}")
    entries = CATALOGUE[what]()
    width = max(map(len, entries))
    for name, summary in entries.items():
        print(f"{name:<{width}}  {summary}")


def main() -> None:
    """Entry point: exit code 0 done, 1 failed while running, 2 the input is wrong."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        _complain(error)
        sys.exit(2)
    except LaconicError as error:
        _complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; a training run goes on with --resume", style="bold")
        sys.exit(130)


def _complain(error: LaconicError) -> None:
    print(f"laconic: {error}", file=sys.stderr)


# --- shared by commands ----------------------------------------------------------------------------------------------


def _settle_threads() -> None:
    """Before torch is loaded: how many threads compute and how they wait."""
    if said := settle():
        typer.echo(said, err=True)


def _load_recipe(recipe: Path, overrides: list[str] | None) -> Any:
    """A recipe by its path, or by the name of one that comes with the package, with the changes asked for."""
    from laconic.catalogue import recipe_paths
    from laconic.config import load_recipe

    known = recipe_paths()
    path = known[str(recipe)] if str(recipe) in known and not recipe.exists() else recipe
    return load_recipe(path, overrides or [])


def _load_problems(source: str, seed: int) -> list[Any]:
    from laconic.problems import load_problems

    return load_problems(source, seed=seed)


def _checked(kind: Any, **values: Any) -> Any:
    """A config node from options; what pydantic refuses becomes one line."""
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        mistake = error.errors()[0]
        raise InputError(f"--{'-'.join(map(str, mistake['loc'])).replace('_', '-')}: {mistake['msg']}") from None


def _open_solver(model: str, instruction: str, dtype: str, problems: list[Any], max_tokens: int) -> Any:
    """A context that yields (solver, reporter); the model is loaded and the prompts are checked against its context."""
    import contextlib

    _settle_threads()
    from laconic.config import GraderConfig, PolicyConfig, PromptConfig
    from laconic.grader import Grader
    from laconic.models import load_model
    from laconic.progress import Reporter
    from laconic.rollouts import Solver
    from laconic.samplers.local import LocalSampler

    @contextlib.contextmanager
    def opened() -> Any:
        lm = load_model(model, _checked(PolicyConfig, dtype=dtype))
        defaults = GraderConfig()
        with Grader(defaults.workers, defaults.timeout_seconds) as grader:
            solver = Solver(lm, LocalSampler(lm), grader, PromptConfig(instruction=instruction))
            solver.check_prompts(problems, max_tokens, "--max-tokens")
            yield solver, Reporter()

    return opened()


def _selection(band: str | None, hard: float | None) -> tuple[str, dict[str, float | bool]]:
    if (band is None) == (hard is None):
        raise InputError("select: expected either --band LO:HI or --hard CEILING")
    if band is None:
        assert hard is not None
        return "hard", {"ceiling": hard}
    try:
        low, high = (float(end) for end in band.split(":"))
    except ValueError:
        raise InputError(f"--band {band}: expected LO:HI, for example 0.3:0.9") from None
    return "band", {"low": low, "high": high}


def _benchmark_name(source: str) -> str:
    """A folder name for a source of problems.

    >>> _benchmark_name("gym:chain_sum?max_terms=4"), _benchmark_name("data/math500.jsonl")
    ('gym-chain_sum', 'math500')
    """
    stem = source.partition("?")[0]
    return Path(stem).stem if stem.endswith((".jsonl", ".parquet")) else stem.replace(":", "-").replace("/", "-")


def _summary_line(summary: dict[str, Any], folder: Path) -> str:
    accuracy, tokens = summary["accuracy"], summary["tokens"]
    return (
        f"{summary['benchmark']} T={summary['temperature']:g}: accuracy {_interval(accuracy, '.1%')}, "
        f"tokens {_interval(tokens, '.1f')}, truncated {summary['grade_frac']['truncated']:.1%}, "
        f"ungradable {summary['grade_frac']['ungradable']:.1%}  -> {folder}"
    )


def _interval(figure: dict[str, Any], form: str) -> str:
    low, high = figure["ci95"]
    bounds = "" if low is None else f" ({low:{form}} to {high:{form}})"
    return f"{figure['mean']:{form}}{bounds}" if figure["mean"] is not None else "-"


def _print_comparisons(comparisons: dict[str, Any]) -> None:
    from laconic.compare import print_comparison

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for tag, comparison in comparisons.items():
        if tag:
            console.print(f"\n{tag}", style="bold")
        console.print(print_comparison(comparison))
        for candidate in comparison["candidates"]:
            console.print(f"{candidate['name']}: {candidate['verdict']}", markup=False)
