"""What the commands share: the types of their options, checks of their input, and opening the model that they sample from.

Nothing heavy is imported before a command needs it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from laconic.config.defaults import DTYPE, EVALUATION_SAMPLES, INSTRUCTION, MAX_TOKENS, MIN_P, TOP_P
from laconic.errors import InputError
from laconic.rng import LARGEST_SEED
from laconic.system.text import brief
from laconic.system.threads import settle

if TYPE_CHECKING:
    from laconic.config.node import Node
    from laconic.parallel.team import Team
    from laconic.rollouts.solver import Solver
    from laconic.system.progress import Reporter

_N = TypeVar("_N", bound="Node")

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A local folder in Hugging Face format, a hub name, a .gguf file, 'tiny' or 'seeker' (bundled), or "
        "an OpenAI-compatible endpoint: http://HOST:PORT/v1#MODEL."
    ),
]
ProblemsArgument = Annotated[
    str,
    typer.Argument(
        help="A benchmark's name, a .jsonl or .parquet file, hf:NAME:SPLIT, gym:TASK?arg=value, or tiny:, seeker: or "
        "words:FAMILY?arg=value."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers of the command.", min=0, max=LARGEST_SEED)]
Cap = Annotated[
    int | None,
    typer.Option(
        help="Cap on the tokens of a response; if not given, the benchmark's usual one, "
        f"or {MAX_TOKENS:,} for other sources.",
        min=1,
    ),
]
BatchSize = Annotated[int, typer.Option(help="Responses drawn at once.", min=1)]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or auto (as the checkpoint was stored).")]
GraderName = Annotated[
    str | None,
    typer.Option(
        "--grader", help="A grader of your own: FILE.py:FUNCTION, or FILE.toml of a rubric by which a model judges."
    ),
]
System = Annotated[str | None, typer.Option(help="A system prompt.")]
PROMPT_HELP = "Instruction after the question: a name of `laconic list prompts`, or a text"


def refuse_given(options: Mapping[str, object], why: str) -> None:
    """Raises `InputError`, the option's name and `why`, for the first option that was given: nothing would read it."""
    for name, value in options.items():
        if value is not None and value is not False and value != []:
            raise InputError(f"{name}: {why}")


def config_of(kind: "type[_N]", **values: object) -> "_N":
    """A table of a recipe from options. Raises `InputError`, one line that names the option."""
    from laconic.config.node import make_node

    return make_node(kind, lambda field: f"--{field.replace('_', '-')}", **values)


@contextlib.contextmanager
def solver_of(
    model: str, dtype: str, system: str | None, team: "Team", grader: str | None = None
) -> "Iterator[Solver]":
    """A solver for `model`, local or behind an endpoint, with the box instruction, which shares out problems among the `team`,
    graded by the package's grader or the one named; it is closed when the command is done."""
    from laconic.config.policy import PolicyConfig
    from laconic.samplers.endpoints import is_endpoint

    config_of(PolicyConfig, dtype=dtype)
    is_remote = is_endpoint(model)
    if is_remote and dtype != DTYPE:
        raise InputError(f"--dtype {dtype}: {model} runs elsewhere, in its own dtype; leave --dtype out")
    if not is_remote:
        settle()
    from laconic.notebook.solvers import open_solver

    solver = open_solver(model, prompt=INSTRUCTION, system=system, dtype=None if is_remote else dtype, grader=grader)
    with solver.grader:
        yield replace(solver, team=team)


def say_system(solver: "Solver", reporter: "Reporter") -> None:
    """Say which system's text a local model gets if none is given: its chat template may write one of its own."""
    from laconic.prompts.templates import own_system_text

    if solver.prompt.system is None and solver.lm.tokenizer is not None:
        own = own_system_text(solver.lm.tokenizer)
        if own is not None:
            reporter.say(f"system: the chat template's own, {brief(own)}; --system replaces it")


def say_beyond_cap(reporter: "Reporter", instruction: str, cap: int) -> None:
    """Warn of an instruction that asks for more tokens than the cap lets a response have."""
    from laconic.prompts.instructions import asked_tokens

    asked = asked_tokens(instruction)
    if asked is not None and asked > cap:
        reporter.say(f"warning: --prompt {instruction}: asks for more tokens than the {cap} that a response may have")


def say_unread_when_greedy(
    reporter: "Reporter", *, samples: int | None, top_p: float = TOP_P, min_p: float = MIN_P, band: str | None = None
) -> None:
    """Warn of every option that greedy decoding does not read, if it says anything else than greedy decoding does."""
    one, likeliest = "greedy decoding takes one sample", "greedy decoding takes the likeliest token"
    unread = (
        ("--samples", samples, samples is None or samples == 1, one),
        ("--band", band, band is None, one),
        ("--top-p", top_p, top_p == TOP_P, likeliest),
        ("--min-p", min_p, min_p == MIN_P, likeliest),
    )
    for option, value, is_said_anyway, why in unread:
        if not is_said_anyway:
            reporter.say(f"warning: {option} {value} changes nothing: {why}")


@dataclass(frozen=True, slots=True)
class UsualSettings:
    """The prompt, cap and samples that a benchmark is usually run with, or the command's own."""

    prompt: str = INSTRUCTION
    max_tokens: int = MAX_TOKENS
    samples: int = EVALUATION_SAMPLES


def usual_settings(source: str) -> UsualSettings:
    """The usual settings of a benchmark, by its name; for any other source the command's own."""
    from laconic.problems.benchmarks import benchmark_of

    found = benchmark_of(source)
    return UsualSettings(found.prompt, found.max_tokens, found.samples) if found else UsualSettings()


def check_prompt(instruction: str) -> None:
    """Raises `InputError` for an instruction that is neither a name nor a text."""
    from laconic.evaluation.planned_prompts import PLANNERS
    from laconic.prompts.instructions import resolve_instruction

    if not instruction.strip():
        raise InputError("--prompt: is empty; 'none' asks without an instruction")
    if instruction not in PLANNERS:
        resolve_instruction(instruction)


def asking(solver: "Solver", instruction: str) -> "Solver":
    """A copy of the solver with another instruction."""
    check_prompt(instruction)
    return replace(solver, prompt=solver.prompt.model_copy(update={"instruction": instruction}))
