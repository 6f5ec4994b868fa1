"""The functions `probe` and `evaluate`: what can a model solve, how accurate is it, and how long are its responses?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from laconic.config.defaults import SEED
from laconic.config.evaluation import ReportConfig
from laconic.config.node import Fraction, OneLine, SeedNumber, make_node
from laconic.config.problems import SelectConfig
from laconic.evaluation.evaluate import EvaluationRequest
from laconic.evaluation.evaluate import evaluate as evaluate_into
from laconic.evaluation.folder_names import source_name
from laconic.notebook.results import EvaluationResult, ProbeResult, place_for
from laconic.notebook.solvers import Problems, decoding_for, given, problems_for, solver_for
from laconic.parallel.place import check_alone
from laconic.problems.benchmarks import benchmark_of
from laconic.rollouts.forcing import check_budgets
from laconic.rollouts.solver import Solver
from laconic.selection.probe import Band, probe_to_file
from laconic.system.files import check_file, path_of
from laconic.system.progress import Reporter
from laconic.types import Problem

if TYPE_CHECKING:
    from laconic.models.loading import ModelSource


class _Named(BaseModel):
    """What names the random numbers of a measurement, and its problems. No recipe has such a table."""

    seed: SeedNumber
    name: OneLine | None


class _Probing(BaseModel):
    """What names the random numbers of a probe, and the band where it may stop early."""

    seed: SeedNumber
    band: tuple[Fraction, Fraction] | None


_REMEDY = "share it out with  torchrun -m laconic {} , or unset WORLD_SIZE to work in this one"


def probe(
    solver: "Solver | ModelSource",
    problems: Problems,
    *,
    samples: int | None = None,
    band: tuple[float, float] | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    batch_size: int | None = None,
    seed: int = SEED,
    out: str | Path | None = None,
    show_progress: bool = False,
) -> ProbeResult:
    """Measure the solve rate and mean length of each problem from `samples` graded attempts (16 if not given).

    With `band` (low, high) a problem is attempted only until it is clear whether its solve rate is inside or outside the band,
    and at most `samples` times. At temperature 0 a problem is attempted once. With `out`, the name of a file, the probe is stored
    there, and an interrupted one is resumed; a file that is no probe is not replaced. It is refused in one process of several, as
    `evaluate` is.
    """
    check_alone("laconic.probe", _REMEDY.format("probe"))
    make_node(_Probing, seed=seed, band=band)
    file = None if out is None else check_file(path_of(out, "out"), "probe", "out")
    found, place = problems_for(problems, seed), place_for(file and file.parent)
    file = file or place.path / "probe.jsonl"
    number = make_node(SelectConfig, **given(samples=samples)).samples
    number = 1 if temperature == 0 else number
    with solver_for(solver) as asked, Reporter(is_silent=not show_progress).bar("probe", len(found) * number) as seen:
        decoding = decoding_for(asked, problems, found, max_tokens, temperature=temperature, batch_size=batch_size)
        adaptive = Band(*band) if band else None
        stats = probe_to_file(asked, found, number, decoding, file, seed=seed, band=adaptive, on_progress=seen)
    return ProbeResult(tuple(found), tuple(stats))


def evaluate(
    solver: "Solver | ModelSource",
    problems: Problems,
    *,
    samples: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    max_tokens: int | None = None,
    batch_size: int | None = None,
    budgets: Sequence[int] = (),
    seed: int = SEED,
    name: str | None = None,
    out: str | Path | None = None,
    show_progress: bool = False,
) -> EvaluationResult:
    """Measure accuracy and tokens from `samples` graded attempts at each problem.

    Without `samples` it is a benchmark's usual number, otherwise 4; at temperature 0 it is always one. `budgets` asks for a
    budget curve, which cuts the thinking at these numbers of tokens. `name` is the name of the set of problems. With `out` the
    evaluation is stored in that folder, and an interrupted one is resumed; without `out` it is in a temporary folder.

    It works in one process. In one of several, each of which would do the same and write the same files, it raises `InputError`;
    `torchrun -m laconic evaluate` shares the work out.
    """
    check_alone("laconic.evaluate", _REMEDY.format("evaluate"))
    make_node(_Named, seed=seed, name=name)
    found, place = problems_for(problems, seed), place_for(out)
    benchmark = benchmark_of(problems) if isinstance(problems, str) else None
    usual = given(samples=benchmark.samples) if benchmark else {}
    number = make_node(ReportConfig, **usual | given(samples=samples)).samples
    with solver_for(solver) as asked:
        settings = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "batch_size": batch_size}
        decoding = decoding_for(asked, problems, found, max_tokens, **settings)
        wanted = EvaluationRequest(name or _name_of(problems, found), found, number, decoding, seed, budgets)
        check_budgets(wanted.budgets, decoding.max_tokens, "budgets")
        with Reporter(is_silent=not show_progress).bar(wanted.benchmark, wanted.num_responses) as seen:
            summary = evaluate_into(asked, wanted, place.path, on_progress=seen)
    return EvaluationResult(place.path, summary, place.keeper)


def _name_of(given: Problems, problems: Sequence[Problem]) -> str:
    """The name of a set of problems: that of its address, or of the source that all of them share."""
    if isinstance(given, str | Path):
        return source_name(str(given))
    source, *others = {problem.source for problem in problems}
    return source_name(source) if source and not others else "problems"
