"""Commands that hand a model over: `quantize`, `publish`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.options import (
    PROMPT_HELP,
    BatchSize,
    Cap,
    Seed,
    asking,
    check_prompt,
    config_of,
    refuse_given,
    solver_of,
    usual_settings,
)
from laconic.config.defaults import (
    BATCH_SIZE,
    CALIBRATION_PROBLEMS,
    CALIBRATION_SAMPLES,
    DTYPE,
    QUANTIZATION_SCHEME,
    QUANTIZER,
    SEED,
    TEMPERATURE,
)
from laconic.errors import InputError
from laconic.system.files import check_folder, check_new_folder
from laconic.system.text import put

if TYPE_CHECKING:
    from laconic.quantization.calibration import CalibrationRequest, CalibrationText


def quantize(
    model: Annotated[
        str,
        typer.Argument(help="A local folder in Hugging Face format, a hub name, or 'tiny' or 'seeker' (bundled)."),
    ],
    scheme: Annotated[
        str, typer.Option(help="w8a8, w4a16 or fp8; docs/quantizing.md says what each is.")
    ] = QUANTIZATION_SCHEME,
    out: Annotated[Path, typer.Option(help="The folder to write; it must be new.")] = Path("quantized"),
    problems: Annotated[
        str | None, typer.Option(help="Problems whose responses, drawn from the model, the rounding is calibrated on.")
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Responses per problem; one at temperature 0.", min=1)
    ] = CALIBRATION_SAMPLES,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", min=0.0)] = TEMPERATURE,
    max_tokens: Cap = None,
    instruction: Annotated[str | None, typer.Option("--prompt", help=f"{PROMPT_HELP}.")] = None,
    through: Annotated[str, typer.Option(help="llm-compressor, or torchao (w8a8 alone, not calibrated).")] = QUANTIZER,
    batch_size: BatchSize = BATCH_SIZE,
    seed: Seed = SEED,
) -> None:
    """Write a model in fewer bits, calibrated on responses that it writes itself. Evaluate and compare the two afterwards."""
    check_new_folder(check_folder(out, "--out"), "--out")
    from laconic.quantization.schemes import find_scheme
    from laconic.quantization.sources import check_source

    chosen = find_scheme(scheme, through)
    if chosen.needs_text(through) != (problems is not None):
        wanted = (
            "name problems of the kind that it will meet" if problems is None else "leave it out: nothing is calibrated"
        )
        raise InputError(f"--problems: {wanted} ({scheme} through {through})")
    source = check_source(model)
    from laconic.quantization.quantize import write_quantized

    calibration = None
    if problems is not None:
        asked = _Calibration(problems, samples, temperature, max_tokens, instruction, batch_size, seed)
        calibration = _calibrated(model, asked)
    done = write_quantized(model, source, chosen, through, out, calibration)
    before, after = (size / 1e6 for size in (done.num_bytes_before, done.num_bytes_after))
    put(f"{out}: {after:.1f} MB of weights, {before:.1f} before; next:  laconic evaluate {out} PROBLEMS")


@dataclass(frozen=True, slots=True)
class _Calibration:
    problems: str
    samples: int
    temperature: float
    max_tokens: int | None
    instruction: str | None
    batch_size: int
    seed: int


def _calibrated(model: str, asked: _Calibration) -> "tuple[CalibrationRequest, CalibrationText]":
    """The text that the model writes to the problems, with what was asked for."""
    from laconic.config.policy import PolicyConfig
    from laconic.config.solver import SamplerConfig
    from laconic.evaluation.evaluate import num_samples
    from laconic.models.weightless import read_bare_model
    from laconic.notebook.solvers import cap_tokens
    from laconic.parallel.team import ALONE
    from laconic.problems.load import load_problems
    from laconic.quantization.calibration import CalibrationRequest
    from laconic.quantization.libraries import linear_widths
    from laconic.quantization.quantize import calibrate
    from laconic.system.progress import Reporter

    usual, reporter = usual_settings(asked.problems), Reporter()
    config_of(SamplerConfig, temperature=asked.temperature, batch_size=asked.batch_size)
    found = load_problems(asked.problems, seed=asked.seed)
    used = tuple(found[:CALIBRATION_PROBLEMS])
    if len(used) < len(found):
        reporter.say(f"calibrating on the first {len(used)} of {len(found)} problems")
    widths = linear_widths(read_bare_model(model, PolicyConfig()))
    prompt = asked.instruction or usual.prompt
    check_prompt(prompt)
    with solver_of(model, DTYPE, None, ALONE) as opened:
        solver = asking(opened, prompt)
        cap = cap_tokens(solver, used, asked.max_tokens, usual.max_tokens, field="--max-tokens", say=reporter.say)
        decoding = config_of(SamplerConfig, temperature=asked.temperature, max_tokens=cap, batch_size=asked.batch_size)
        samples = num_samples(asked.samples, decoding)
        request = CalibrationRequest(asked.problems, used, samples, decoding, prompt, asked.seed)
        with reporter.bar("calibration", len(used) * samples) as progress:
            text = calibrate(solver, request, widths, progress)
    reporter.say(f"calibration: {len(text.texts)} responses, {text.num_response_tokens} of {text.num_tokens} tokens")
    return request, text


PUBLISHED = Path("published")


class Destination(StrEnum):
    """Where a model is published: in a folder, or in a folder and on the hub."""

    FOLDER = "folder"
    HUB = "hub"


def publish(
    run: Annotated[Path | None, typer.Argument(help="The folder of a finished and measured run.")] = None,
    to: Annotated[
        Destination | None,
        typer.Option(help="A folder alone, or the hub as well.", show_default=str(Destination.FOLDER)),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; it must be new.", show_default=str(PUBLISHED))
    ] = None,
    name: Annotated[str | None, typer.Option(help="ORG/NAME, as the model is called on the hub.")] = None,
    license_id: Annotated[
        str | None, typer.Option("--license", help="An identifier of the hub, such as apache-2.0; or other.")
    ] = None,
    license_name: Annotated[str | None, typer.Option(help="With --license other: how the licence is called.")] = None,
    contact: Annotated[
        str | None, typer.Option(help="Who answers for the model: a name, an address or a page.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="The base's name on the hub, where the recipe names a local folder.")
    ] = None,
    push: Annotated[Path | None, typer.Option(help="Send a folder that was written before to the hub.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; else it is private.")] = False,
) -> None:
    """Write a run's model with its card and measured figures to a folder, and send it to the hub if asked to."""
    if (run is None) == (push is None):
        raise InputError("publish: expected either a run, or --push FOLDER; see  laconic publish --help")
    if push is not None:
        for_a_run = {"--to": to, "--out": out, "--license": license_id, "--license-name": license_name}
        refuse_given(
            for_a_run | {"--contact": contact, "--base-model": base_model},
            "is for a run; --push sends a folder as it was written",
        )
    elif to is not Destination.HUB:
        refuse_given({"--public": public}, "is for the hub; it goes with --to hub, or with --push FOLDER")
    if run is not None:
        from laconic.publishing.hub_results import RESULTS_FOLDER

        folder = _write(run, out or PUBLISHED, name, license_id, license_name, contact, base_model)
        put(f"{folder}: read {folder / 'README.md'}; then  laconic publish --push {folder}")
        if not (folder / RESULTS_FOLDER).exists():
            put(f"{folder}: without {RESULTS_FOLDER}, which are for figures on a whole benchmark or dataset of the hub")
        push = folder if to is Destination.HUB else None
    if push is not None:
        from laconic.publishing.push import push_folder

        put(push_folder(push, name if run is None else None, public=public))


def _write(
    run: Path,
    out: Path,
    name: str | None,
    license_id: str | None,
    license_name: str | None,
    contact: str | None,
    base_model: str | None,
) -> Path:
    if name is None or contact is None:
        missing = "--name ORG/NAME" if name is None else "--contact WHO"
        raise InputError(f"publish: {missing} is missing; a card says how a model is called and who answers for it")
    check_folder(out, "--out")
    from datetime import UTC, datetime

    from laconic.publishing.folder import PublishRequest, write_published

    request = PublishRequest(name, contact, license_id, license_name, base_model)
    return write_published(run, out, request, datetime.now(UTC).date())
