"""Loads a model, by its name or from memory, and makes the solver that samples from it.

1. `load_model` and `open_solver` take a folder, a hub name, "tiny", "seeker", or a pair (model, tokenizer) that is
   in memory; `open_solver` an endpoint's address as well.
2. `solver_for` lets every function that needs a solver take one of these in its place.
3. `decoding_for` makes the settings of sampling from plain numbers; others have the default values of recipes.

Torch is imported only when a model is loaded, so an endpoint can be used without it.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laconic.config.node import make_node
from laconic.config.policy import PolicyConfig
from laconic.config.solver import GraderConfig, PromptConfig, SamplerConfig
from laconic.errors import InputError, ModelError
from laconic.evaluation.planned_prompts import PLANNERS, longest_ask
from laconic.problems.benchmarks import benchmark_of
from laconic.problems.forgotten import refuse_forgotten
from laconic.problems.load import load_problems
from laconic.problems.records import to_problem
from laconic.prompts.instructions import resolve_instruction
from laconic.rollouts.graders import open_grader
from laconic.rollouts.solver import Solver
from laconic.samplers.endpoints import is_endpoint
from laconic.types import Problem

if TYPE_CHECKING:
    from laconic.models.causal_lm import CausalLM
    from laconic.models.loading import ModelSource

Problems = str | Path | Sequence[Problem | Mapping[str, Any]]
"""An address of problems, as `load_problems` takes it, or the problems, each a `Problem` or written as in the line of a file:
`{"id": "1", "problem": "What is 1 + 1?", "answer": "2"}`."""


def load_model(model: "ModelSource", *, device: str | None = None, dtype: str | None = None) -> "CausalLM":
    """A model with its tokenizer: a local folder, a hub name, a GGUF file, "tiny", "seeker", or a pair
    (PreTrainedModel, tokenizer) in memory.

    `device` is "auto", "cpu", "cuda", "mps" or "xpu". `dtype` is the dtype of the arithmetic: "float32", "bfloat16" or
    "auto" (that of the checkpoint). A model in memory is not copied, and keeps its device and dtype. Raises `ModelError` if the
    model cannot be loaded, and `InputError` for an unknown dtype, or for a device or dtype together with a model in memory.
    """
    return _open(model, device, dtype, is_trained=True)


def _open(model: "ModelSource", device: str | None, dtype: str | None, *, is_trained: bool) -> "CausalLM":
    from laconic.models.loading import open_model

    settings = given(device=device, dtype=dtype)
    if settings and not isinstance(model, str | Path):
        raise InputError(f"{', '.join(settings)}: a model in memory stays as it is; move it with model.to(...) first")
    return open_model(model, make_node(PolicyConfig, **settings), is_trained=is_trained)


def open_solver(
    model: "ModelSource",
    *,
    prompt: str | None = None,
    system: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    grader_workers: int | None = None,
    grader: str | None = None,
) -> Solver:
    """A solver: it renders problems, samples responses of `model`, and grades them.

    `model` is as for `load_model`, or the address of an OpenAI-compatible endpoint, "http://HOST:PORT/v1#MODEL". `prompt` is a
    name of `laconic list prompts` or a text. `grader` is a grader of one's own, FILE.py:FUNCTION, or a rubric's FILE.toml, looked
    up from the working directory (docs/own_grader.md). `grader_workers` processes grade; they start when they are first needed
    and end with this process, or earlier with `solver.grader.close()`. Raises the same errors as `load_model`.
    """
    asked = make_node(PromptConfig, **given(instruction=prompt, system=system))
    if asked.instruction not in PLANNERS:
        resolve_instruction(asked.instruction)
    grading = open_grader(make_node(GraderConfig, **given(name=grader, workers=grader_workers)))
    if isinstance(model, str) and is_endpoint(model):
        if given(device=device, dtype=dtype):
            raise InputError(f"device, dtype: {model} runs elsewhere; expected neither")
        from laconic.samplers.http import open_endpoint

        remote, http = open_endpoint(model)
        return Solver(remote, http, grading, asked)
    from laconic.samplers.local import LocalSampler

    lm = _open(model, device, dtype, is_trained=False)
    return Solver(lm, LocalSampler(lm), grading, asked)


@contextlib.contextmanager
def solver_for(solver: "Solver | ModelSource") -> Iterator[Solver]:
    """The solver itself, or one that is opened for a model and closed again."""
    if isinstance(solver, Solver):
        yield solver
        return
    opened = open_solver(solver)
    with opened.grader:
        yield opened


def problems_for(problems: Problems, seed: int) -> list[Problem]:
    """The problems at an address, or those of a list. Raises `InputError` if there are none, or if an item is no problem."""
    if isinstance(problems, str | Path):
        return load_problems(str(problems), seed=seed)
    if not isinstance(problems, Iterable):
        raise InputError(f"problems: expected an address or a list of problems, got {type(problems).__name__}")
    found = [_problem_of(item, f"problems, item {number}") for number, item in enumerate(problems)]
    if not found:
        raise InputError("problems: expected at least one")
    refuse_forgotten(found, "problems")
    return found


def _problem_of(item: object, where: str) -> Problem:
    if isinstance(item, Problem):
        return item
    if isinstance(item, Mapping):
        return to_problem(item, where)
    raise InputError(f"{where}: expected a Problem or a mapping with id, problem and answer, got {type(item).__name__}")


def decoding_for(
    solver: Solver,
    source: Problems,
    problems: Sequence[Problem],
    max_tokens: int | None,
    **settings: float | int | None,
) -> SamplerConfig:
    """The settings with which responses to these problems are drawn. Without `max_tokens` the cap is the benchmark's usual one,
    lowered with a warning if the model's context is too short. Raises `ModelError` if a prompt and the cap do not fit."""
    decoding = make_node(SamplerConfig, **given(max_tokens=max_tokens, **settings))
    benchmark = benchmark_of(source) if isinstance(source, str) else None
    usual = benchmark.max_tokens if benchmark else decoding.max_tokens

    def say(text: str) -> None:
        warnings.warn(text, stacklevel=4)

    cap = cap_tokens(solver, problems, max_tokens, usual, field="max_tokens", say=say)
    return decoding.model_copy(update={"max_tokens": cap})


def cap_tokens(
    solver: Solver,
    problems: Sequence[Problem],
    given: int | None,
    usual: int,
    *,
    field: str,
    say: Callable[[str], None],
) -> int:
    """The cap on a response: the given one, or the usual one, which is lowered with a message if the context is too short.

    Raises a `ModelError` that names `field` if the given cap does not fit.
    """
    if given is not None:
        solver.check_length(*longest_ask(solver, problems), given, field)
        return given
    limit = solver.lm.context_length
    longest, problem_id = longest_ask(solver, problems)
    if limit is None or longest + usual <= limit:
        return usual
    if limit <= longest:
        raise ModelError(
            f"problem {problem_id}: its prompt of {longest} tokens fills the context, {solver.lm.context_words}"
        )
    say(f"cap {limit - longest} tokens, not {usual}: the context of {solver.lm.name} is {solver.lm.context_words}")
    return limit - longest


def given(**settings: Any) -> dict[str, Any]:
    """The settings that are not None."""
    return {name: value for name, value in settings.items() if value is not None}
