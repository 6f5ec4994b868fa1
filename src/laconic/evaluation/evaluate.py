"""The program `evaluate`: how accurate is a model, and how long are its responses?

1. The settings are written to settings.json (`describe`). A folder that was begun with other settings is refused.
2. Every problem is attempted `samples` times (once if decoding is greedy, because all samples would be the same). Each response
   goes to samples.jsonl with its grade and lengths as its chunk is drawn, so a killed evaluation resumes where it stopped.
3. summary.json holds the figures, computed from the rows alone (`summary.py`), so that running it twice gives the same bytes.
   Durations are in timing.json. The budget curve, if requested, is in budget_curve.json. problem_meta.jsonl holds what the source
   says of each problem (`problem_meta.py`).
4. A finished evaluation is returned as it is; only a BLEU that it lacks is added.

Where the solver has a team of several processes, each attempts a share of every chunk, and the first writes all files.

Accuracy is the mean over problems of correct / gradable samples; intervals resample problems, never single samples.
Ungradable samples enter no accuracy and are counted in `grade_frac`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from laconic.config.solver import PenalizedSampler, SamplerConfig
from laconic.errors import InputError, RunError
from laconic.evaluation.budget_curve import budget_curve
from laconic.evaluation.figures import Setup, Summary
from laconic.evaluation.folder_names import problems_digest
from laconic.evaluation.planned_prompts import PLANNERS, Plan, longest_ask
from laconic.evaluation.problem_meta import check_tolerances, write_meta
from laconic.evaluation.summary import summarise
from laconic.grading.grader import Grader, tolerances
from laconic.grading.own import OwnGrader
from laconic.problems.made_from_traffic import note_made
from laconic.problems.sets import statements_digest
from laconic.prompts.day import reads_clock
from laconic.prompts.forced_answers import force_text
from laconic.prompts.instructions import resolve_instruction
from laconic.rng import seed_of
from laconic.rollouts.forcing import check_room, force_answers
from laconic.rollouts.log import AttemptLog, Force, begin, chunks, count_whole_rows
from laconic.rollouts.rows import ForcedAnswer, ResponseRow, read_rows
from laconic.rollouts.solver import Assignment, Solver
from laconic.statistics.bleu import CorpusBleu
from laconic.system.fields import MAX_WHOLE, Fields
from laconic.system.files import read_json, write_json_atomically
from laconic.system.locks import FolderLock
from laconic.system.text import brief
from laconic.types import Group, Problem, Progress


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """How a model is to be evaluated on one benchmark. `budgets` are those of the budget curve, which is left out if there are
    none; they are held in order, each once. `with_bleu` asks for BLEU against the problems' worked solutions.

    Raises `InputError` where two problems have one id, under which their responses would be one problem's, where the
    `oracle_tokens` of a problem are no number of tokens, and for a budget that is none."""

    benchmark: str
    problems: Sequence[Problem]
    samples: int
    decoding: SamplerConfig
    seed: int
    budgets: Sequence[int] = ()
    with_bleu: bool = False

    def __post_init__(self) -> None:
        self._check_problems()
        given: object = self.budgets  # in a notebook, anything
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InputError(f"budgets: expected a list of whole numbers from 1 up, got {brief(given)}")
        budgets = list(given)
        for budget in budgets:
            if isinstance(budget, bool) or not isinstance(budget, Integral) or budget < 1:
                raise InputError(f"budgets: expected whole numbers from 1 up, got {brief(budget)}")
        object.__setattr__(self, "budgets", tuple(sorted(set(map(int, budgets)))))

    def _check_problems(self) -> None:
        first: dict[str, int] = {}
        for place, problem in enumerate(self.problems, 1):
            if first.setdefault(problem.id, place) != place:
                places = f"as number {first[problem.id]} and as number {place}"
                raise InputError(
                    f"problems: id {problem.id!r} stands twice, {places}; give each problem an id of its own"
                )
            shortest = problem.meta.get("oracle_tokens")
            if shortest is not None and not _is_length(shortest):
                what = f"oracle_tokens of problem {problem.id!r}"
                raise InputError(f"problems: {what}: expected a number of tokens from 0 up, got {brief(shortest)}")

    @property
    def num_samples(self) -> int:
        """Samples per problem: one at temperature 0."""
        return num_samples(self.samples, self.decoding)

    @property
    def num_responses(self) -> int:
        """The number of responses over all problems."""
        return len(self.problems) * self.num_samples


def _is_length(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and value <= MAX_WHOLE and not value < 0


def num_samples(samples: int, decoding: SamplerConfig) -> int:
    """Samples per problem: `samples`, but one at temperature 0."""
    return 1 if decoding.temperature == 0 else samples


def evaluate(solver: Solver, request: EvaluationRequest, out: Path, *, on_progress: Progress | None = None) -> Summary:
    """Attempt and grade the problems and write the evaluation's files to `out`, or resume it there; returns the summary.

    Raises `RunError` if `out` holds an evaluation with other settings, or samples or a summary that are not of this one, or if
    another process is at work on it.
    """
    lock = FolderLock(out)
    solver.team.by_first(lock.take)
    try:
        return _evaluate(solver, request, out, on_progress)
    finally:
        lock.release()


def _evaluate(solver: Solver, request: EvaluationRequest, out: Path, on_progress: Progress | None) -> Summary:
    settings, team = describe(solver, request), solver.team
    if request.budgets:
        check_room(
            solver, *longest_ask(solver, request.problems), request.budgets, request.decoding.max_tokens, "budgets"
        )
    team.by_first(lambda: begin(out / "settings.json", settings, out / "samples.jsonl"))
    team.by_first(lambda: note_made(out, request.problems))
    if isinstance(solver.grader, Grader):
        team.by_first(lambda: check_tolerances(request.problems, out))
    team.by_first(lambda: write_meta(request.problems, out))
    setup = Setup.from_fields(Fields(settings, str(out / "settings.json")))
    if finished := team.by_first(lambda: _finished(out, setup, request.num_responses)):
        return team.by_first(lambda: _with_bleu(finished, request, out))
    references = _references(request) if request.with_bleu else None
    plan = make_plan(solver, request, out)
    rows = _attempt(solver, request, plan, out, on_progress)
    oracle, cap = _known(request, "oracle_tokens"), request.decoding.max_tokens
    figures = summarise(rows, seed=request.seed, oracle=oracle, references=references, cap=cap)
    summary = Summary(setup, figures, plan.cost)
    team.by_first(lambda: _write(summary, solver, request, out))
    return summary


def _write(summary: Summary, solver: Solver, request: EvaluationRequest, out: Path) -> None:
    if request.budgets:
        curve = budget_curve(read_rows(out / "samples.jsonl"), force_text(solver.lm.tokenizer), seed=request.seed)
        write_json_atomically(out / "budget_curve.json", curve)
    write_json_atomically(out / "summary.json", summary.to_json())


def _with_bleu(finished: Summary, request: EvaluationRequest, out: Path) -> Summary:
    """The finished summary, to which BLEU is added where it is asked for and not there yet."""
    if not request.with_bleu or finished.figures.bleu is not None:
        return finished
    references, bleu = _references(request), CorpusBleu()
    for row in read_rows(out / "samples.jsonl"):
        bleu.add(row.text, references[row.problem_id])
    summary = replace(finished, figures=replace(finished.figures, bleu=bleu.score))
    write_json_atomically(out / "summary.json", summary.to_json())
    return summary


def describe(solver: Solver, request: EvaluationRequest) -> dict[str, Any]:
    """The settings with which the rows are drawn. All of them must agree if an evaluation is resumed."""
    decoding, prompt = request.decoding, solver.prompt
    return {
        "benchmark": request.benchmark,
        "model": solver.lm.name,
        "fingerprint": solver.lm.fingerprint(),
        "num_problems": len(request.problems),
        "problems_digest": problems_digest((p.id, p.question, p.answer, p.choices) for p in request.problems),
        "num_samples": request.num_samples,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "min_p": decoding.min_p,
        "max_tokens": decoding.max_tokens,
        "batch_size": decoding.batch_size,
        "seed": request.seed,
        "prompt": {
            "name": prompt.instruction,
            "instruction": None if prompt.instruction in PLANNERS else resolve_instruction(prompt.instruction),
            "system": prompt.system,
        },
        "grader": solver.grader.name,
        "budgets": list(request.budgets),
        **(_penalty(decoding) if isinstance(decoding, PenalizedSampler) else {}),
        **_arithmetic(solver, decoding),
        "prompt_digest": _prompt_digest(solver, request),
        **_graded_by(solver, request),
    }


def _arithmetic(solver: Solver, decoding: SamplerConfig) -> dict[str, Any]:
    """What a fingerprint of the weights does not say of how responses are drawn; an endpoint tells nothing of it."""
    dtype, stop_ids = (getattr(solver.lm, name, None) for name in ("computes_in", "stop_ids"))
    return {
        **({} if dtype is None else {"dtype": dtype}),
        **({} if stop_ids is None else {"stop_ids": sorted(stop_ids)}),
        **({} if decoding.engine == "local" else {"engine": decoding.engine}),
    }


def _prompt_digest(solver: Solver, request: EvaluationRequest) -> str:
    """A hash of the first prompt, which another chat template or another text of an instruction changes; of the template alone
    where it writes the date, since the job's day is settled later."""
    planner = PLANNERS.get(solver.prompt.instruction)
    instruction = planner.longest[0] if planner else None
    if reads_clock(solver.lm.tokenizer):
        return _digest(str(solver.lm.tokenizer.chat_template))
    asked = [solver.request(Assignment(p, 1, instruction=instruction)) for p in request.problems[:1]]
    return _digest([[list(one.prompt_ids), [dict(turn) for turn in one.messages]] for one in asked])


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def _graded_by(solver: Solver, request: EvaluationRequest) -> dict[str, Any]:
    """What grades depend on beside question, gold answer and choices: the package's own grader reads tolerances, a function of
    one's own may read all that a problem states. The words that force answers are part of what is graded."""
    words = (
        {"force_text": force_text(solver.lm.tokenizer)} if request.budgets and solver.lm.tokenizer is not None else {}
    )
    if isinstance(solver.grader, OwnGrader):
        return words | {"statements": statements_digest(request.problems)}
    if not isinstance(solver.grader, Grader):
        return words
    granted = [(p.id, list(map(str, tolerances(p)))) for p in request.problems if p.meta.get("tolerance") is not None]
    if not granted:
        return words
    return words | {"tolerances": _digest(granted)}


def _penalty(decoding: PenalizedSampler) -> dict[str, Any]:
    words = f"{decoding.penalty:g} on {', '.join(decoding.words)}"
    return {"penalty": words, "penalized_tokens": list(decoding.tokens)}


def _finished(out: Path, setup: Setup, num_responses: int) -> Summary | None:
    """The summary of a finished evaluation; None if it has yet to be computed. Raises `RunError` for that of another one."""
    samples, file = out / "samples.jsonl", out / "summary.json"
    num_whole = count_whole_rows(samples)
    if num_whole > num_responses:
        raise RunError(f"{samples}: holds {num_whole} responses, more than the {num_responses} of this evaluation")
    if num_whole < num_responses or not file.exists():
        return None
    summary = Summary.from_json(read_json(file), str(file))
    if summary.setup != setup:
        raise RunError(f"{file}: is not of these settings; remove it, and it is computed again from {samples.name}")
    return summary


def make_plan(solver: Solver, request: EvaluationRequest, out: Path) -> Plan:
    """An instruction for each problem, if the prompt is one that plans a budget per problem; otherwise an empty plan."""
    planner = PLANNERS.get(solver.prompt.instruction)
    return planner.find(solver, request.problems, request.decoding, request.seed, out) if planner else Plan({})


def _attempt(
    solver: Solver, request: EvaluationRequest, plan: Plan, out: Path, on_progress: Progress | None
) -> Iterator[ResponseRow]:
    log = AttemptLog(solver, request.decoding, out / "samples.jsonl", out / "timing.json", seed=request.seed)
    force = _forcing(solver, request) if request.budgets else None
    for chunk in chunks(request.problems, request.num_samples, request.decoding):
        assignments = [Assignment(p, request.num_samples, instruction=plan.instructions.get(p.id)) for p in chunk]
        yield from log.attempt(assignments, force=force, on_progress=on_progress)


def _forcing(solver: Solver, request: EvaluationRequest) -> Force:
    seed = seed_of(request.seed, "forced")

    def force(groups: Sequence[Group]) -> Sequence[Mapping[int, ForcedAnswer]]:
        return force_answers(solver, groups, request.budgets, request.decoding, seed=seed)

    return force


def _known(request: EvaluationRequest, key: str) -> dict[str, Any] | None:
    """The value of `key` in each problem's `meta`, by problem id; None if a problem has no such value."""
    values = {problem.id: problem.meta[key] for problem in request.problems if problem.meta.get(key) is not None}
    return values if len(values) == len(request.problems) else None


def _references(request: EvaluationRequest) -> dict[str, str]:
    """Every problem's worked solution. Raises `InputError` if a problem has none."""
    solutions = _known(request, "solution")
    if solutions is None:
        raise InputError(f"--bleu: not every problem of {request.benchmark} has a 'solution' to compare with")
    return solutions
