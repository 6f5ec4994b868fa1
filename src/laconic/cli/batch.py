"""The command `batch`: a model's responses to prompts that have no gold answer."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.options import (
    PROMPT_HELP,
    BatchSize,
    Dtype,
    ModelArgument,
    Seed,
    System,
    asking,
    config_of,
    say_system,
    solver_of,
)
from laconic.cli.processes import NumProcesses, again, start_processes, together
from laconic.config.defaults import BATCH_INSTRUCTION, BATCH_SAMPLES, BATCH_SIZE, DTYPE, MAX_TOKENS, SEED, TEMPERATURE
from laconic.system.files import check_file
from laconic.system.text import put


def batch(
    model: ModelArgument,
    prompts: Annotated[Path, typer.Argument(help='A file of JSON lines {"id": "1", "prompt": "..."}.')],
    samples: Annotated[int, typer.Option(help="Responses per prompt.", min=1)] = BATCH_SAMPLES,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", min=0.0)] = TEMPERATURE,
    max_tokens: Annotated[int | None, typer.Option(help="Cap on the tokens of a response.", min=1)] = None,
    instruction: Annotated[
        str, typer.Option("--prompt", help=f"{PROMPT_HELP}; none if not given.")
    ] = BATCH_INSTRUCTION,
    system: System = None,
    batch_size: BatchSize = BATCH_SIZE,
    seed: Seed = SEED,
    dtype: Dtype = DTYPE,
    out: Annotated[Path, typer.Option(help="The file to write; what a killed batch goes on from is beside it.")] = Path(
        "responses.jsonl"
    ),
    processes: NumProcesses = None,
) -> None:
    """Draw responses to prompts that have no gold answer. Nothing is graded; a killed batch goes on where it stopped."""
    from laconic.config.solver import SamplerConfig
    from laconic.evaluation.batch import batch_to_file, mean_response_tokens, read_batch
    from laconic.evaluation.evaluate import EvaluationRequest
    from laconic.notebook.solvers import cap_tokens
    from laconic.system.progress import Reporter
    from laconic.types import Grade

    check_file(out, "batch of responses", "--out")
    config_of(SamplerConfig, temperature=temperature, batch_size=batch_size)
    found, reporter = read_batch(prompts), Reporter()
    place = start_processes(processes, again, model)
    with (
        together(place, again, {"arguments": sys.argv[1:]}, "auto") as team,
        solver_of(model, dtype, system, team) as opened,
    ):
        say_system(opened, reporter)
        solver = asking(opened, instruction)
        cap = cap_tokens(solver, found, max_tokens, MAX_TOKENS, field="--max-tokens", say=reporter.say)
        decoding = config_of(SamplerConfig, temperature=temperature, max_tokens=cap, batch_size=batch_size)
        request = EvaluationRequest("batch", found, samples, decoding, seed)
        with reporter.bar("batch", request.num_responses) as progress:
            rows = batch_to_file(solver, request, out, on_progress=progress)
    cut = sum(row.grade is Grade.TRUNCATED for row in rows)
    put(
        f"{out}: {len(rows)} responses to {len(found)} prompts, {mean_response_tokens(rows):.1f} tokens a response, {cut} cut off"
    )
