"""The command `evaluate`: one evaluation for each source, prompt and temperature.

1. All input is read and checked before anything is drawn, because a mistake in the last prompt would waste the work of the first:
   that every prompt fits the context with its cap, and with the answers that budgets force.
2. For each source, the model is evaluated under each prompt at each temperature. Finished evaluations are kept, and unfinished
   ones are resumed (`evaluation/evaluate.py`).
3. If several prompts were requested, a summary of their token complexity is written beside them (`comparison/across_prompts.py`).
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.options import (
    PROMPT_HELP,
    BatchSize,
    Cap,
    Dtype,
    GraderName,
    ModelArgument,
    Seed,
    System,
    asking,
    check_prompt,
    config_of,
    say_beyond_cap,
    say_system,
    say_unread_when_greedy,
    solver_of,
    usual_settings,
)
from laconic.cli.processes import NumProcesses, again, start_processes, together
from laconic.cli.show import curve_lines, summary_line
from laconic.config.defaults import BATCH_SIZE, DTYPE, MIN_P, SEED, TEMPERATURE, TOP_P
from laconic.errors import InputError
from laconic.system.files import check_folder
from laconic.system.text import put

if TYPE_CHECKING:
    from laconic.config.solver import SamplerConfig
    from laconic.rollouts.solver import Solver
    from laconic.system.progress import Reporter
    from laconic.types import Problem


@dataclass(frozen=True, slots=True)
class _Given:
    """The options of the command that are the same for every source."""

    prompts: Sequence[str] | None
    temperatures: Sequence[float]
    samples: int | None
    max_tokens: int | None
    decoding: Mapping[str, float]
    budgets: tuple[int, ...]
    with_bleu: bool
    seed: int
    out: Path
    penalty: float | None = None
    words: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises `InputError` for an invalid number of samples, temperature, prompt or budget."""
        from laconic.config.evaluation import ReportConfig
        from laconic.config.solver import PenalizedSampler, SamplerConfig
        from laconic.rollouts.forcing import check_budgets

        if self.samples is not None:
            config_of(ReportConfig, samples=self.samples)
        for temperature in self.temperatures:
            config_of(SamplerConfig, temperature=temperature, **self.decoding)
        if self.penalty is not None:
            config_of(PenalizedSampler, penalty=self.penalty, words=self.words, tokens=())
        for prompt in self.prompts or ():
            check_prompt(prompt)
        if self.max_tokens is not None:
            check_budgets(self.budgets, self.max_tokens, "--budgets")

    def decoding_of(self, solver: "Solver", temperature: float, cap: int) -> "SamplerConfig":
        """How responses are drawn. Raises `InputError` where nothing says which tokens the penalised words are."""
        from laconic.config.solver import PenalizedSampler, SamplerConfig
        from laconic.prompts.hesitations import tokens_asked_for, usual_tokens

        if self.penalty is None:
            return config_of(SamplerConfig, temperature=temperature, max_tokens=cap, **self.decoding)
        tokenizer = solver.lm.tokenizer or getattr(solver.sampler, "tokenizer", None)
        if tokenizer is None:
            raise InputError(
                f"--penalty: which tokens a word is, only the model's tokenizer knows; expected {solver.lm.name}?tokenizer=NAME"
            )
        found = tokens_asked_for(tokenizer, self.words) if self.words else usual_tokens(tokenizer)
        return config_of(
            PenalizedSampler,
            temperature=temperature,
            max_tokens=cap,
            penalty=self.penalty,
            words=tuple(found),
            tokens=tuple(sorted({token for tokens in found.values() for token in tokens})),
            **self.decoding,
        )


def evaluate(
    model: ModelArgument,
    problems: Annotated[
        list[str],
        typer.Argument(
            metavar="PROBLEMS...", help="Benchmarks or other sources of problems; one evaluation per source."
        ),
    ],
    samples: Annotated[
        int | None,
        typer.Option(
            help="Samples per problem; if not given, the benchmark's usual number, or 4 for other sources.", min=1
        ),
    ] = None,
    temperature: Annotated[
        list[float] | None,
        typer.Option(help="Sampling temperature; may be repeated, for one evaluation per temperature; 1 if not given."),
    ] = None,
    max_tokens: Cap = None,
    top_p: Annotated[
        float, typer.Option(help="Nucleus sampling: the probability mass that is drawn from.", min=0.0, max=1.0)
    ] = TOP_P,
    min_p: Annotated[
        float,
        typer.Option(help="Least probability of a token that may be drawn, as a fraction of the likeliest token's."),
    ] = MIN_P,
    instruction: Annotated[
        list[str] | None, typer.Option("--prompt", help=f"{PROMPT_HELP}; may be repeated; boxed if not given.")
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Measure a budget curve as well: the thinking is cut after each of these numbers of tokens (16,32,64)."
        ),
    ] = None,
    bleu: Annotated[
        bool, typer.Option("--bleu", help="Also compute BLEU against the problems' worked solutions.")
    ] = False,
    system: System = None,
    penalty: Annotated[
        float | None,
        typer.Option(help="Lower the logits of hesitating words by this at every step: a baseline without training."),
    ] = None,
    penalize: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD", help="With --penalty: such a word; may be repeated; wait and alternatively if not given."
        ),
    ] = None,
    grader: GraderName = None,
    batch_size: BatchSize = BATCH_SIZE,
    seed: Seed = SEED,
    dtype: Dtype = DTYPE,
    out: Annotated[Path, typer.Option(help="Results go to OUT/eval/<benchmark>/.")] = Path("evaluation"),
    processes: NumProcesses = None,
) -> None:
    """How accurate is a model, and how long are its responses? Makes one evaluation per source, prompt and temperature, and
    resumes one that was killed."""
    from laconic.config.policy import PolicyConfig
    from laconic.problems.load import load_problems
    from laconic.system.progress import Reporter

    given = _Given(
        prompts=list(dict.fromkeys(instruction)) if instruction else None,
        temperatures=list(dict.fromkeys(temperature or [TEMPERATURE])),
        samples=samples,
        max_tokens=max_tokens,
        decoding={"top_p": top_p, "min_p": min_p, "batch_size": batch_size},
        budgets=_whole_numbers(budgets),
        with_bleu=bleu,
        seed=seed,
        out=check_folder(out, "--out"),
        penalty=penalty,
        words=tuple(dict.fromkeys(penalize or ())),
    )
    given.check()
    if penalize and penalty is None:
        raise InputError(f"--penalize {penalize[0]}: is read only with --penalty NUMBER")
    reporter = Reporter()
    if not any(given.temperatures):
        say_unread_when_greedy(reporter, samples=samples, top_p=top_p, min_p=min_p)
    config_of(PolicyConfig, dtype=dtype)
    _check_folders(problems, given)
    sets = {source: load_problems(source, seed=seed) for source in problems}
    place = start_processes(processes, again, model)
    with (
        together(place, again, {"arguments": sys.argv[1:]}, "auto") as team,
        solver_of(model, dtype, system, team, grader) as solver,
    ):
        say_system(solver, reporter)
        ready = {source: _ready(solver, source, found, given, reporter) for source, found in sets.items()}
        for source, asked in ready.items():
            _evaluate_source(asked, source, sets[source], given, reporter)


def _check_folders(sources: Sequence[str], given: _Given) -> None:
    """Raises `InputError` where two evaluations would go to one folder, or one of them out of the folder of evaluations."""
    from laconic.evaluation.folder_names import evaluation_folder, source_name

    what: dict[str, str] = {}
    for source in dict.fromkeys(sources):
        prompts = given.prompts or [usual_settings(source).prompt]
        for prompt in prompts:
            for temperature in given.temperatures:
                folder = evaluation_folder(source_name(source), prompt, temperature, prompts, given.temperatures)
                words = f"{source} under {prompt!r} at T={temperature:g}"
                if folder.casefold() in what or folder.strip(".") == "":
                    raise InputError(
                        f"{words}: its folder would be eval/{folder}, as that of {what.get(folder.casefold(), 'no evaluation')}; "
                        "expected files of different names, and prompts whose first four words differ"
                    )
                what[folder.casefold()] = words


def _ready(
    opened: "Solver", source: str, problems: "Sequence[Problem]", given: _Given, reporter: "Reporter"
) -> dict[str, "tuple[Solver, int]"]:
    """For each prompt the solver that asks it, and the cap. Raises `InputError` where a prompt, cap and budgets do not fit the
    context."""
    from laconic.evaluation.planned_prompts import longest_ask
    from laconic.notebook.solvers import cap_tokens
    from laconic.rollouts.forcing import check_budgets, check_room

    prompts, ready = given.prompts or [usual_settings(source).prompt], {}
    for prompt in prompts:
        solver = asking(opened, prompt)
        if prompt != prompts[0] and _reads_alike(solver, asking(opened, prompts[0]), problems):
            reporter.say(f"{prompt}: reads as {prompts[0]} does; the chat template leaves the instruction out")
        cap = cap_tokens(
            solver,
            problems,
            given.max_tokens,
            usual_settings(source).max_tokens,
            field="--max-tokens",
            say=reporter.say,
        )
        check_budgets(given.budgets, cap, "--budgets")
        if given.budgets:
            check_room(solver, *longest_ask(solver, problems), given.budgets, cap, "--budgets")
        say_beyond_cap(reporter, prompt, cap)
        ready[prompt] = solver, cap
    return ready


def _evaluate_source(
    ready: Mapping[str, "tuple[Solver, int]"],
    source: str,
    problems: "Sequence[Problem]",
    given: _Given,
    reporter: "Reporter",
) -> None:
    """Evaluate every prompt at every temperature, and the token complexity over several prompts."""
    from laconic.evaluation.folder_names import evaluation_folder, source_name

    prompts = list(ready)
    done: dict[float, list[Path]] = {temperature: [] for temperature in given.temperatures}
    for prompt, (solver, cap) in ready.items():
        for temperature, folders in done.items():
            name = evaluation_folder(source_name(source), prompt, temperature, prompts, given.temperatures)
            folders.append(given.out / "eval" / name)
            _evaluate_one(solver, source, problems, temperature, cap, given, folders[-1], reporter)
    is_first = ready[prompts[0]][0].team.is_first
    for temperature, folders in done.items() if len(prompts) > 1 and is_first else ():
        _write_complexity(source, temperature, folders, given)


def _evaluate_one(
    solver: "Solver",
    source: str,
    problems: "Sequence[Problem]",
    temperature: float,
    cap: int,
    given: _Given,
    folder: Path,
    reporter: "Reporter",
) -> None:
    from laconic.evaluation.evaluate import EvaluationRequest
    from laconic.evaluation.evaluate import evaluate as run_evaluation
    from laconic.evaluation.folder_names import source_name

    decoding = given.decoding_of(solver, temperature, cap)
    samples = given.samples or usual_settings(source).samples
    name = source_name(source)
    request = EvaluationRequest(name, problems, samples, decoding, given.seed, given.budgets, given.with_bleu)
    with reporter.bar(folder.name, request.num_responses) as progress:
        summary = run_evaluation(solver, request, folder, on_progress=progress)
    if solver.team.is_first:
        put(summary_line(summary, folder))
        for line in curve_lines(folder):
            put(line)


def _write_complexity(source: str, temperature: float, folders: Sequence[Path], given: _Given) -> None:
    from laconic.comparison.across_prompts import complexity_over
    from laconic.evaluation.folder_names import source_name, temperature_tag
    from laconic.system.files import write_json_atomically

    tag = f"-{temperature_tag(temperature)}" if len(given.temperatures) > 1 else ""
    place = given.out / "eval" / f"{source_name(source)}{tag}.complexity.json"
    write_json_atomically(place, complexity_over(folders))
    put(f"token complexity over {len(folders)} prompts: {place}")


def _reads_alike(one: "Solver", other: "Solver", problems: "Sequence[Problem]") -> bool:
    """Whether two prompts of a local model render to the same tokens."""
    from laconic.evaluation.planned_prompts import PLANNERS
    from laconic.rollouts.solver import Assignment

    if one.lm.tokenizer is None or {one.prompt.instruction, other.prompt.instruction} & set(PLANNERS):
        return False
    return all(one.request(Assignment(p, 1)) == other.request(Assignment(p, 1)) for p in problems)


def _whole_numbers(text: str | None) -> tuple[int, ...]:
    pieces = [] if text is None else text.split(",")
    if not all(re.fullmatch(r"\s*0*[1-9][0-9]{0,8}\s*", piece) for piece in pieces):
        raise InputError(f"--budgets {text:.80}: expected numbers of tokens, for example 16,32,64")
    return tuple(sorted({int(piece) for piece in pieces}))
