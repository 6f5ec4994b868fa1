"""Commands that hand over to other people's systems: `export verl`, `export lm-eval`, `export inspect`."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.options import (
    PROMPT_HELP,
    Cap,
    ProblemsArgument,
    Seed,
    check_prompt,
    config_of,
    say_unread_when_greedy,
    usual_settings,
)
from laconic.cli.train import Overrides, RecipePath
from laconic.config.defaults import SEED, TEMPERATURE
from laconic.system.files import check_file, check_folder
from laconic.system.text import put


def export_to_verl(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="The folder to write; it must be new or empty.")] = Path("verl_export"),
    phase: Annotated[str | None, typer.Option(help="The phase to export, where the recipe has several.")] = None,
    probed: Annotated[
        Path | None,
        typer.Option("--probe", help="For a phase that selects its problems: a probe of the model that enters it."),
    ] = None,
) -> None:
    """A phase of a recipe, as a folder from which verl trains with our rewards and grades."""
    check_folder(out, "--out")
    from laconic.integrations.verl.export import export_verl
    from laconic.recipes.find import find_recipe

    written = export_verl(find_recipe(recipe, overrides or []), out, phase, probed)
    for sentence in written.differences:
        put(f"note: {sentence}")
    put(f"{out}: {written.num_rows} rows of problems; train with  {shlex.join(['sh', str(out / 'run.sh')])}")


def export_to_lm_eval(
    problems: ProblemsArgument,
    out: Annotated[Path, typer.Option(help="The folder to write; it must be new or empty.")] = Path("lm_eval_task"),
    samples: Annotated[
        int | None, typer.Option(help="Responses per problem; if not given, the benchmark's usual number.", min=1)
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Sampling temperature; at 0 one response is drawn.", min=0.0)
    ] = TEMPERATURE,
    max_tokens: Cap = None,
    seed: Seed = SEED,
    instruction: Annotated[str | None, typer.Option("--prompt", help=f"{PROMPT_HELP}.")] = None,
) -> None:
    """Problems as a task of lm-evaluation-harness, graded by our grader."""
    check_folder(out, "--out")
    from laconic.config.evaluation import ReportConfig
    from laconic.config.solver import SamplerConfig
    from laconic.integrations.lm_eval import TaskRequest, export_lm_eval
    from laconic.problems.load import load_problems
    from laconic.system.progress import Reporter

    usual = usual_settings(problems)
    if instruction is not None:
        check_prompt(instruction)
    request = TaskRequest(
        instruction or usual.prompt,
        config_of(ReportConfig, samples=samples or usual.samples).samples,
        config_of(SamplerConfig, temperature=temperature).temperature,
        config_of(SamplerConfig, max_tokens=max_tokens or usual.max_tokens).max_tokens,
    )
    if temperature == 0:
        say_unread_when_greedy(Reporter(), samples=samples)
    name = export_lm_eval(load_problems(problems, seed=seed), problems, request, out)
    put(
        f"{out}: measure with  lm_eval --include_path {shlex.quote(str(out))} --tasks {name} --apply_chat_template --model ..."
    )


def export_to_inspect(
    folder: Annotated[Path, typer.Argument(help="An evaluation folder, or a run that has one.")],
    out: Annotated[
        Path | None, typer.Option(help="The log to write, .eval or .json; if not given, logs/NAME.eval.")
    ] = None,
) -> None:
    """An evaluation as a log of inspect_ai, which inspect view shows."""
    log = check_file(out or Path("logs") / f"{folder.resolve().name}.eval", "log of inspect_ai", "--out")
    from laconic.integrations.inspect_logs import write_inspect_log

    num_samples = write_inspect_log(folder, log)
    put(f"{log}: {num_samples} samples; look at them with  inspect view --log-dir {shlex.quote(str(log.parent))}")


EXPORTS: Mapping[str, Callable[..., None]] = {
    "verl": export_to_verl,
    "lm-eval": export_to_lm_eval,
    "inspect": export_to_inspect,
}
"""The commands of `laconic export`."""
