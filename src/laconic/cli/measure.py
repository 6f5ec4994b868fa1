"""Commands that measure, choose and compare: `probe`, `select`, `audit`, `compare`, `report`."""

import sys
from math import isfinite, nan
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.options import (
    PROMPT_HELP,
    BatchSize,
    Cap,
    Dtype,
    GraderName,
    ModelArgument,
    ProblemsArgument,
    Seed,
    System,
    asking,
    config_of,
    refuse_given,
    say_beyond_cap,
    say_system,
    say_unread_when_greedy,
    solver_of,
    usual_settings,
)
from laconic.cli.processes import NumProcesses, again, start_processes, together
from laconic.cli.show import print_comparisons
from laconic.cli.traffic import compare_stored
from laconic.config.defaults import (
    BAND_CONFIDENCE,
    BATCH_SIZE,
    DTYPE,
    MARGIN,
    PROBE_SAMPLES,
    SECOND_GRADER,
    SEED,
    STORE_ADDRESS,
    TEMPERATURE,
    TOKENS_MARGIN,
)
from laconic.errors import InputError
from laconic.rng import LARGEST_SEED
from laconic.system.files import check_file, check_folder
from laconic.system.text import put

TRAFFIC_PREFIX = "traffic:"
READ_WITH_BAND = "is read only with --band LO:HI"


def probe(
    model: ModelArgument,
    problems: ProblemsArgument,
    samples: Annotated[
        int, typer.Option(help="Attempts per problem; with --band, the most that are made.", min=1)
    ] = PROBE_SAMPLES,
    band: Annotated[
        str | None, typer.Option(help="LO:HI: stop on a problem once its solve rate is surely inside or outside.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="With --band: how sure that is, from 0 to 1.", show_default=str(BAND_CONFIDENCE)),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", min=0.0)] = TEMPERATURE,
    max_tokens: Cap = None,
    batch_size: BatchSize = BATCH_SIZE,
    seed: Seed = SEED,
    instruction: Annotated[str | None, typer.Option("--prompt", help=f"{PROMPT_HELP}.")] = None,
    system: System = None,
    grader: GraderName = None,
    dtype: Dtype = DTYPE,
    out: Annotated[Path, typer.Option(help="The file to write; every attempt is stored beside it.")] = Path(
        "probe.jsonl"
    ),
    processes: NumProcesses = None,
) -> None:
    """What can the model solve? Writes one line per problem, with its grades and lengths, and resumes a killed probe."""
    from laconic.config.problems import SelectConfig
    from laconic.config.solver import SamplerConfig
    from laconic.notebook.solvers import cap_tokens
    from laconic.problems.load import load_problems
    from laconic.selection.probe import Band, probe_to_file
    from laconic.selection.stopping import num_saved
    from laconic.system.progress import Reporter

    check_file(out, "probe", "--out")
    if band is None:
        refuse_given({"--confidence": confidence}, READ_WITH_BAND)
    sure = BAND_CONFIDENCE if confidence is None else confidence
    wanted = None if band is None else Band(*_low_high(band), confidence=sure)
    config_of(SamplerConfig, temperature=temperature, batch_size=batch_size)
    config_of(SelectConfig, samples=samples)
    found, usual = load_problems(problems, seed=seed), usual_settings(problems)
    reporter = Reporter()
    if temperature == 0:
        say_unread_when_greedy(reporter, samples=samples, band=band)
        samples = 1
    place = start_processes(processes, again, model)
    with (
        together(place, again, {"arguments": sys.argv[1:]}, "auto") as team,
        solver_of(model, dtype, system, team, grader) as opened,
    ):
        say_system(opened, reporter)
        solver = asking(opened, instruction or usual.prompt)
        cap = cap_tokens(solver, found, max_tokens, usual.max_tokens, field="--max-tokens", say=reporter.say)
        say_beyond_cap(reporter, solver.prompt.instruction, cap)
        decoding = config_of(SamplerConfig, temperature=temperature, max_tokens=cap, batch_size=batch_size)
        with reporter.bar("probe", len(found) * samples) as progress:
            stats = probe_to_file(solver, found, samples, decoding, out, seed=seed, band=wanted, on_progress=progress)
    rates = [stat.solve_rate for stat in stats if stat.attempts]
    mean = f"mean solve rate {sum(rates) / len(rates):.1%}" if rates else "nothing could be graded"
    saved = f", {num_saved(stats, samples)} of {len(found) * samples} saved" if wanted else ""
    put(f"{out}: {len(found)} problems, {samples} attempts each{' at most' if wanted else ''}{saved}, {mean}")


def select(
    probed: Annotated[Path, typer.Argument(metavar="PROBE", help="A file written by laconic probe.")],
    band: Annotated[str | None, typer.Option(help="Keep solve rates inside LO:HI.")] = None,
    hard: Annotated[
        float | None, typer.Option(help="Keep the hardest problems with solve rates up to this.", min=0, max=1)
    ] = None,
    how: Annotated[str | None, typer.Option(help="Choose by this row of `laconic list selections`.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of --how as KEY=VALUE; may be repeated.")] = None,
    confidence: Annotated[
        float | None, typer.Option(help="With --band: the posterior mass that must lie inside.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="How many problems to keep.", min=1)] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Problems that will be reported on: those that occur among them are dropped; may be repeated."
        ),
    ] = None,
    seed: Seed = SEED,
    explain: Annotated[bool, typer.Option(help="Print each problem's reason.")] = False,
    out: Annotated[
        Path, typer.Option(help="The file to write; the dropped problems go beside it, into NAME.dropped.jsonl.")
    ] = Path("problems.jsonl"),
) -> None:
    """Choose problems by how often they were solved, and store the reason why each was kept or dropped."""
    from laconic.errors import SelectionError
    from laconic.problems.load import load_problems
    from laconic.selection.probe import read_probe
    from laconic.selection.program import check_chosen_files, choose_problems, dropped_file, leaking

    for place, what in ((out, "is"), (dropped_file(out), "its dropped problems would replace")):
        if place.resolve() == probed.resolve():
            raise InputError(f"--out {out}: {what} the probe itself; expected another file")
    check_chosen_files(out, "--out")
    name, options = _selection(band, hard, how, option, confidence)
    problems, stats = read_probe(probed)
    leaks = leaking(problems, [load_problems(source, seed=seed) for source in against or []])
    chosen = choose_problems(problems, stats, leaks, name, options, count=count, seed=seed)
    if explain:
        for reason in chosen.reasons:
            put(reason)
    if not chosen.kept:
        raise SelectionError(f"{probed}: none of {len(problems)} problems qualifies; the first: {chosen.reasons[0]}")
    dropped = chosen.write(out)
    put(f"{out}: {len(chosen.kept)} of {len(problems)} problems kept; the others and why: {dropped}")


def audit(
    run: Annotated[Path, typer.Argument(help="A run's folder, a folder of evaluations, or one evaluation.")],
    grader: Annotated[
        str,
        typer.Option(
            help="The second grader: math_verify (alone), exact (no algebra), laconic (as it grades now), or one of your own: "
            "FILE.py:FUNCTION, or a rubric's FILE.toml."
        ),
    ] = SECOND_GRADER,
    out: Annotated[Path | None, typer.Option(help="The folder to write to; RUN if not given.")] = None,
) -> None:
    """Grade stored responses again with a second grader; list every disagreement and timeout."""
    from laconic.comparison.audit import audit as run_audit
    from laconic.comparison.audit import print_audit
    from laconic.system.screen import Screen

    print_audit(run_audit(run, grader, out=check_folder(out, "--out") if out else None), Screen())


def compare(
    base: Annotated[
        Path, typer.Argument(help="The evaluation folder to compare with, or traffic:VERSION for stored traffic.")
    ],
    candidates: Annotated[
        list[Path] | None,
        typer.Argument(
            help="The evaluation folders to compare with BASE; if none is given, the other prompts in BASE."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="A loss of accuracy up to this counts as none (0.01 is one point).", show_default=str(MARGIN)
        ),
    ] = None,
    tokens_margin: Annotated[
        float | None,
        typer.Option(
            help="A growth in tokens up to this counts as none (0.05 is 5%).", show_default=str(TOKENS_MARGIN)
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare on slices too: by prompt_length or any key of the problems' meta; may be repeated. If not given: "
            "subject, level and prompt_length, where they are known."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of all random numbers of the command.", min=0, max=LARGEST_SEED, show_default=str(SEED)
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="With traffic:VERSION: the store of traffic.", show_default=STORE_ADDRESS),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("comparison.json"),
) -> None:
    """Is the candidate really shorter, and as accurate? Shows paired differences with intervals, the frontier, and a verdict."""
    from laconic.comparison.compare import compare_evaluations
    from laconic.system.files import write_json_atomically

    given = [str(place) for place in (base, *(candidates or []))]
    if any(place.startswith(TRAFFIC_PREFIX) for place in given):
        if len(given) != 2 or not all(place.startswith(TRAFFIC_PREFIX) for place in given):
            raise InputError(f"compare {' '.join(given)}: expected two versions, {TRAFFIC_PREFIX}A {TRAFFIC_PREFIX}B")
        of_evaluations = {"--margin": margin, "--tokens-margin": tokens_margin, "--by": by, "--seed": seed}
        refuse_given(of_evaluations, "is for evaluation folders; versions of stored traffic are compared without it")
        versions = [place.removeprefix(TRAFFIC_PREFIX) for place in given]
        compare_stored(versions[0], versions[1], store=STORE_ADDRESS if store is None else store, out=out)
        return
    refuse_given({"--store": store}, f"is read only with {TRAFFIC_PREFIX}A {TRAFFIC_PREFIX}B")
    check_file(out, "comparison", "--out")
    comparison = compare_evaluations(
        base,
        candidates or [],
        margin=MARGIN if margin is None else margin,
        tokens_margin=TOKENS_MARGIN if tokens_margin is None else tokens_margin,
        seed=SEED if seed is None else seed,
        by=by or None,
    )
    write_json_atomically(out, comparison.to_json())
    print_comparisons({"": comparison})
    put(f"written to {out}")


def report(
    dirs: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Runs, folders of evaluations, or evaluations; the first is the base."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; if not given, DIR/report.html for one folder, report.html for several."),
    ] = None,
) -> None:
    """Write one self-contained HTML page: verdict, frontier, curves, lengths by grade, and responses before and after."""
    from laconic.reporting.build import write_report

    place = out or (dirs[0] / "report.html" if len(dirs) == 1 else Path("report.html"))
    put(write_report(dirs, check_file(place, "page", "--out") if out or dirs[0].is_dir() else place))


# --- reading options -------------------------------------------------------------------------------------------------


def _low_high(band: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in band.split(":"))
    except ValueError:
        raise InputError(f"--band {band}: expected LO:HI, for example 0.3:0.9") from None
    if not 0.0 <= low <= high <= 1.0:
        raise InputError(f"--band {band}: expected 0 <= LO <= HI <= 1")
    return low, high


def _selection(
    band: str | None, hard: float | None, how: str | None, options: list[str] | None, confidence: float | None
) -> tuple[str, dict[str, float | bool]]:
    if sum(choice is not None for choice in (band, hard, how)) != 1:
        raise InputError("select: expected one of --band LO:HI, --hard CEILING and --how NAME")
    for name, value in (("--hard", hard), ("--confidence", confidence)):
        if value is not None and not 0.0 <= value <= 1.0:  # no comparison with nan is true
            raise InputError(f"{name}: expected a number from 0 to 1, got {value:g}")
    if band is None:
        refuse_given({"--confidence": confidence}, READ_WITH_BAND)
    if options and how is None:
        raise InputError(f"--option {options[0]}: is read only with --how NAME")
    if band is not None:
        low, high = _low_high(band)
        return "band", {"low": low, "high": high} | ({} if confidence is None else {"confidence": confidence})
    if hard is not None:
        return "hard", {"ceiling": hard}
    assert how is not None
    given = [_option(text) for text in options or []]
    for number, (key, _) in enumerate(given):
        if key in dict(given[:number]):
            raise InputError(f"--option {key}: given twice")
    return how, dict(given)


def _option(text: str) -> tuple[str, float | bool]:
    key, _, value = text.partition("=")
    if value in ("true", "false"):
        return key, value == "true"
    try:
        number = float(value)
    except ValueError:
        number = nan
    if not isfinite(number):
        raise InputError(f"--option {text}: expected KEY=VALUE with a finite number, true or false")
    return key, number
