"""Commands that measure, choose and compare: `probe`, `select`, `evaluate`, `audit`, `compare`, `report`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from laconic.cli_options import (
    DEFAULT_CAP,
    DEFAULT_PROMPT,
    DEFAULT_SAMPLES,
    PROMPT_HELP,
    BatchSize,
    Cap,
    Dtype,
    Model,
    Problems,
    Seed,
    System,
    cap_tokens,
    check_file,
    check_folder,
    checked,
    open_solver,
    source_name,
)
from laconic.cli_show import curve_lines, print_comparisons, summary_line
from laconic.errors import InputError


def probe(
    model: Model,
    problems: Problems,
    samples: Annotated[int, typer.Option(help="Attempts a problem; the most of them with --band.", min=1)] = 16,
    band: Annotated[
        str | None, typer.Option(help="LO:HI: stop on a problem once its solve rate is surely inside or outside.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="How sure, with --band.")] = 0.9,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", min=0.0)] = 1.0,
    max_tokens: Cap = None,
    batch_size: BatchSize = 256,
    seed: Seed = 0,
    instruction: Annotated[str | None, typer.Option("--prompt", help=f"{PROMPT_HELP}.")] = None,
    system: System = None,
    dtype: Dtype = "float32",
    out: Annotated[Path, typer.Option(help="Where to write; attempts go beside it.")] = Path("probe.jsonl"),
) -> None:
    """What can the model solve? Attempts, grades and lengths a problem, written to probe.jsonl. Resumes what was killed."""
    from laconic.adaptive import num_saved
    from laconic.config import SamplerConfig
    from laconic.probe import Band, probe_to_file
    from laconic.problems import load_problems
    from laconic.progress import Reporter

    check_file(out)
    wanted = None if band is None else Band(*_low_high(band), confidence=confidence)
    found, usual = load_problems(problems, seed=seed), _usual(problems)
    reporter = Reporter()
    with open_solver(model, dtype, system) as opened:
        solver = _asking(opened, instruction or usual.prompt)
        cap = cap_tokens(solver, found, max_tokens, usual.max_tokens, reporter.say)
        decoding = checked(SamplerConfig, temperature=temperature, max_tokens=cap, batch_size=batch_size)
        with reporter.bar("probe", len(found) * samples) as progress:
            stats = probe_to_file(solver, found, samples, decoding, out, seed=seed, band=wanted, on_progress=progress)
    rates = [stat.solve_rate for stat in stats if stat.attempts]
    mean = f"mean solve rate {sum(rates) / len(rates):.1%}" if rates else "nothing could be graded"
    saved = f", {num_saved(stats, samples)} of {len(found) * samples} saved" if wanted else ""
    print(f"{out}: {len(found)} problems, {samples} attempts each{' at most' if wanted else ''}{saved}, {mean}")


def select(
    probed: Annotated[Path, typer.Argument(metavar="PROBE", help="A file written by laconic probe.")],
    band: Annotated[str | None, typer.Option(help="Keep solve rates inside LO:HI.")] = None,
    hard: Annotated[
        float | None, typer.Option(help="Keep the hardest, with solve rates up to this.", min=0, max=1)
    ] = None,
    how: Annotated[str | None, typer.Option(help="Any row of laconic list selections.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of --how; may be repeated.")] = None,
    confidence: Annotated[
        float | None, typer.Option(help="With --band: the posterior mass that must lie inside.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="How many to keep.", min=1)] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Problems to be reported on: what leaks into them is dropped; may be repeated."),
    ] = None,
    seed: Seed = 0,
    explain: Annotated[bool, typer.Option(help="Print each problem's reason.")] = False,
    out: Annotated[Path, typer.Option(help="Where to write; OUT.dropped.jsonl holds the rest.")] = Path(
        "problems.jsonl"
    ),
) -> None:
    """Choose problems by how often they were solved; each carries the reason it was kept or dropped."""
    from laconic.choosing import choose_problems, leaking
    from laconic.errors import SelectionError
    from laconic.probe import read_probe
    from laconic.problems import load_problems

    if check_file(out).resolve() == probed.resolve():
        raise InputError(f"--out {out}: is the probe itself; expected another file")
    name, options = _selection(band, hard, how, option, confidence)
    problems, stats = read_probe(probed)
    leaks = leaking(problems, [load_problems(source, seed=seed) for source in against or []])
    chosen = choose_problems(problems, stats, leaks, name, options, count=count, seed=seed)
    if explain:
        for reason in chosen.reasons:
            print(reason)
    if not chosen.kept:
        raise SelectionError(f"{probed}: none of {len(problems)} problems qualifies; the first: {chosen.reasons[0]}")
    dropped = chosen.write(out)
    print(f"{out}: {len(chosen.kept)} of {len(problems)} problems kept; the others and why: {dropped}")


def evaluate(
    model: Model,
    problems: Annotated[
        list[str],
        typer.Argument(metavar="PROBLEMS...", help="Benchmarks or other sources of problems, one evaluation each."),
    ],
    samples: Annotated[
        int | None, typer.Option(help="Samples a problem; if not given the benchmark's usual number, else 4.", min=1)
    ] = None,
    temperature: Annotated[
        list[float] | None, typer.Option(help="Sampling temperature; may be repeated; 1 if not given.")
    ] = None,
    max_tokens: Cap = None,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.", min=0.0, max=1.0)] = 1.0,
    min_p: Annotated[float, typer.Option(help="Least probability, relative to the likeliest token's.")] = 0.0,
    instruction: Annotated[
        list[str] | None, typer.Option("--prompt", help=f"{PROMPT_HELP}; may be repeated; boxed if not given.")
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Budget curve: cut the thinking at these many tokens, such as 16,32,64.")
    ] = None,
    bleu: Annotated[bool, typer.Option("--bleu", help="BLEU against the problems' worked solutions.")] = False,
    system: System = None,
    batch_size: BatchSize = 256,
    seed: Seed = 0,
    dtype: Dtype = "float32",
    out: Annotated[Path, typer.Option(help="Results go to OUT/eval/<benchmark>/.")] = Path("evaluation"),
) -> None:
    """How accurate is a model, and at what length? One evaluation a source, prompt and temperature; resumes what was killed."""
    from laconic.config import PolicyConfig, SamplerConfig
    from laconic.evaluate import Evaluation
    from laconic.evaluate import evaluate as run_evaluation
    from laconic.files import write_json_atomically
    from laconic.problems import load_problems
    from laconic.progress import Reporter
    from laconic.prompted import complexity_over
    from laconic.tags import evaluation_folder, temperature_tag

    check_folder(out)
    cuts, temperatures = _whole_numbers(budgets), list(dict.fromkeys(temperature or [1.0]))
    for t in temperatures:  # before anything is drawn: a mistake in the last would cost what the first took
        checked(SamplerConfig, temperature=t, top_p=top_p, min_p=min_p, batch_size=batch_size)
    for prompt in instruction or []:
        check_prompt(prompt)
    checked(PolicyConfig, dtype=dtype)
    sets = {source: load_problems(source, seed=seed) for source in problems}
    reporter = Reporter()
    with open_solver(model, dtype, system) as opened:
        for source, found in sets.items():
            usual, name = _usual(source), source_name(source)
            prompts = list(dict.fromkeys(instruction or [usual.prompt]))
            done: dict[float, list[Path]] = {t: [] for t in temperatures}
            for prompt in prompts:
                solver = _asking(opened, prompt)
                if prompt != prompts[0] and _reads_alike(solver, _asking(opened, prompts[0]), found):
                    reporter.say(f"{prompt}: reads as {prompts[0]} does; the chat template leaves the instruction out")
                cap = cap_tokens(solver, found, max_tokens, usual.max_tokens, reporter.say)
                for t in temperatures:
                    decoding = checked(
                        SamplerConfig, temperature=t, top_p=top_p, min_p=min_p, max_tokens=cap, batch_size=batch_size
                    )
                    asked = Evaluation(name, found, samples or usual.samples, decoding, seed, cuts, bleu)
                    folder = out / "eval" / evaluation_folder(name, prompt, t, prompts, temperatures)
                    with reporter.bar(folder.name, asked.num_responses) as progress:
                        summary = run_evaluation(solver, asked, folder, on_progress=progress)
                    print(summary_line(summary, folder))
                    done[t].append(folder)
                    for line in curve_lines(folder):
                        print(line)

            for t, folders in done.items() if len(prompts) > 1 else ():
                tag = f"-{temperature_tag(t)}" if len(temperatures) > 1 else ""
                place = out / "eval" / f"{name}{tag}.complexity.json"
                write_json_atomically(place, complexity_over(folders))
                print(f"token complexity over {len(folders)} prompts: {place}")


def audit(
    run: Annotated[Path, typer.Argument(help="A run's folder, a folder of evaluations, or one evaluation.")],
    grader: Annotated[
        str,
        typer.Option(help="The second grader: math_verify (alone), exact (no algebra), or laconic (as it grades now)."),
    ] = "math_verify",
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN if not given.")] = None,
) -> None:
    """Grade stored responses again with a second grader; list every disagreement and timeout."""
    from laconic.audit import audit as run_audit
    from laconic.audit import print_audit

    print_audit(run_audit(run, grader, out=check_folder(out) if out else None), Console())


def compare(
    base: Annotated[Path, typer.Argument(help="The evaluation folder to compare with.")],
    candidates: Annotated[
        list[Path] | None, typer.Argument(help="Evaluation folders; none: the other prompts in BASE.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Accuracy that may be lost and still count as none (0.01 is a point).")
    ] = 0.01,
    tokens_margin: Annotated[
        float, typer.Option(help="Growth in tokens that still counts as none (0.05 is 5%).")
    ] = 0.0,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("comparison.json"),
) -> None:
    """Is the candidate really shorter, and as good? Paired differences with intervals, the frontier, and a verdict."""
    from laconic.compare import compare_evaluations
    from laconic.files import write_json_atomically

    check_file(out)
    comparison = compare_evaluations(base, candidates or [], margin=margin, tokens_margin=tokens_margin, seed=seed)
    write_json_atomically(out, comparison)
    print_comparisons({"": comparison})
    print(f"written to {out}")


def report(
    dirs: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Runs, folders of evaluations, or evaluations; the first is the base."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; DIR/report.html for one, report.html for several.")
    ] = None,
) -> None:
    """One self-contained HTML page: verdict, frontier, curves, lengths by grade, every response before beside after."""
    from laconic.page import write_report

    place = out or (dirs[0] / "report.html" if len(dirs) == 1 else Path("report.html"))
    print(write_report(dirs, check_file(place) if dirs[0].exists() else place))


# --- reading options -------------------------------------------------------------------------------------------------


def _usual(source: str) -> Any:
    """The prompt, cap and samples that a benchmark is usually run with, or the command's own."""
    from laconic.problems.benchmarks import benchmark_of

    return benchmark_of(source) or _Usual()


class _Usual:
    prompt, max_tokens, samples = DEFAULT_PROMPT, DEFAULT_CAP, DEFAULT_SAMPLES


def check_prompt(instruction: str) -> None:
    """Raises `InputError` for an instruction that is neither a name nor a text."""
    from laconic.catalogue import PLANNED_PROMPTS
    from laconic.prompts import resolve_instruction

    if not instruction.strip():
        raise InputError("--prompt: is empty; 'none' asks without an instruction")
    if instruction not in PLANNED_PROMPTS:
        resolve_instruction(instruction)


def _asking(solver: Any, instruction: str) -> Any:
    """The solver with another instruction."""
    check_prompt(instruction)
    return replace(solver, prompt=solver.prompt.model_copy(update={"instruction": instruction}))


def _reads_alike(one: Any, other: Any, problems: list[Any]) -> bool:
    """Whether two prompts of a local model are the same tokens."""
    from laconic.rollouts import Wanted
    from laconic.tale import PLANNERS

    if one.lm.tokenizer is None or {one.prompt.instruction, other.prompt.instruction} & set(PLANNERS):
        return False
    return all(one.request(Wanted(p, 1)) == other.request(Wanted(p, 1)) for p in problems)


def _low_high(band: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in band.split(":"))
    except ValueError:
        raise InputError(f"--band {band}: expected LO:HI, for example 0.3:0.9") from None
    if not 0.0 <= low <= high <= 1.0:
        raise InputError(f"--band {band}: expected 0 <= LO <= HI <= 1")
    return low, high


def _whole_numbers(text: str | None) -> tuple[int, ...]:
    pieces = text.split(",") if text else []
    if not all(piece.strip().isdigit() and int(piece) > 0 for piece in pieces):
        raise InputError(f"--budgets {text}: expected numbers of tokens, for example 16,32,64")
    return tuple(sorted({int(piece) for piece in pieces}))


def _selection(
    band: str | None, hard: float | None, how: str | None, options: list[str] | None, confidence: float | None
) -> tuple[str, dict[str, float | bool]]:
    if sum(choice is not None for choice in (band, hard, how)) != 1:
        raise InputError("select: expected one of --band LO:HI, --hard CEILING and --how NAME")
    if band is not None:
        low, high = _low_high(band)
        return "band", {"low": low, "high": high} | ({} if confidence is None else {"confidence": confidence})
    if hard is not None:
        return "hard", {"ceiling": hard}
    assert how is not None
    return how, dict(map(_option, options or []))


def _option(text: str) -> tuple[str, float | bool]:
    key, _, value = text.partition("=")
    if value in ("true", "false"):
        return key, value == "true"
    try:
        return key, float(value)
    except ValueError:
        raise InputError(f"--option {text}: expected KEY=VALUE with a number, true or false") from None
