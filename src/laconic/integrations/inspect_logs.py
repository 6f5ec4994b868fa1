"""An evaluation folder as a log of inspect_ai, written by inspect_ai itself: `inspect view` shows it, `inspect log dump` prints
it.

1. The folder is read and checked as `laconic compare` reads it.
2. A response becomes a sample: its problem is the id, its number the epoch (from 1). The score is C for a correct answer and I
   for any other; an ungradable response is unscored, so that it counts in no average. The grade is the score's explanation.
3. The figures are those of summary.json: accuracy and tokens are means over problems, which inspect_ai would not compute itself.

Left out: log-probabilities, which no evaluation stores, and the prompts of evaluations that plan a budget for each problem, of
which the question is shown alone.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from laconic import __version__
from laconic.comparison.folders import read_samples, read_summary
from laconic.comparison.places import SUMMARY, find_evaluations
from laconic.errors import InputError
from laconic.evaluation.figures import Setup, Summary
from laconic.problems.made_from_traffic import note_copy
from laconic.prompts.instructions import messages, resolve_instruction
from laconic.rollouts.rows import ResponseRow
from laconic.types import FinishReason, Grade, Problem

SCORER = "laconic"
SUFFIXES = (".eval", ".json")
STOP_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.TOOL_CALLS: "tool_calls",
    None: "unknown",
}


def write_inspect_log(folder: Path, out: Path) -> int:
    """Write the evaluation in `folder` to the log `out`, whose suffix is .eval or .json; returns the number of samples.

    Raises `InputError` without inspect_ai, and where the folder is no finished evaluation, or `out` has another suffix.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out {out}: expected a name that ends in .eval or .json")
    place = _one_evaluation(folder)
    summary = read_summary(place)
    try:
        from inspect_ai.log import EvalLog, write_eval_log
    except ImportError:
        raise InputError("laconic export inspect: needs inspect_ai; install it with  pip install inspect_ai") from None
    samples = [_sample(row, summary.setup) for row in read_samples(place, needs=("text",))]
    when = datetime.fromtimestamp((place / SUMMARY).stat().st_mtime, UTC)
    log = EvalLog(
        status="success",
        eval=_spec(place, summary, when),
        results=_results(summary, len(samples)),
        stats=_stats(when),
        samples=samples,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    note_copy(out, [place])
    partial = out.with_name(f".{out.stem}.{os.getpid()}.partial{out.suffix}")  # the suffix says which kind of log it is
    try:
        write_eval_log(log, str(partial))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return len(samples)


def _one_evaluation(folder: Path) -> Path:
    """The evaluation that `folder` is, or holds. Raises `InputError`, which names them, where it holds several."""
    found = find_evaluations(folder)
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:4])
        raise InputError(f"{folder}: holds {len(found)} evaluations, and a log holds one; name it: {names}")
    return found[0]


def _sample(row: ResponseRow, setup: Setup) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ModelOutput, ModelUsage
    from inspect_ai.model._model_output import ChatCompletionChoice

    answered = ChatMessageAssistant(content=row.text, source="generate", model=setup.model)
    usage = ModelUsage(output_tokens=row.num_tokens, total_tokens=row.num_tokens, reasoning_tokens=row.thinking_tokens)
    choice = ChatCompletionChoice(message=answered, stop_reason=STOP_REASONS[row.finish_reason])
    asked = list(_asked(row, setup))
    return EvalSample(
        id=row.problem_id,
        epoch=row.sample + 1,
        input=asked,
        choices=list(row.choices) or None,
        target=row.gold,
        messages=[*asked, answered],
        output=ModelOutput(model=setup.model or "", choices=[choice], usage=usage),
        scores={SCORER: _score(row)},
        metadata={"num_tokens": row.num_tokens, "length_source": row.length_source.value},
        model_usage={setup.model or "": usage},
    )


def _asked(row: ResponseRow, setup: Setup) -> Iterator[Any]:
    """The turns of the prompt, as far as the evaluation tells them."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    problem = Problem(row.problem_id, row.question, row.gold, choices=row.choices)
    prompt = setup.prompt
    told = "" if prompt is None or prompt.instruction is None else resolve_instruction(prompt.name)
    for turn in messages(problem, told, None if prompt is None else prompt.system):
        yield kinds[turn["role"]](content=turn["content"])


def _score(row: ResponseRow) -> Any:
    from inspect_ai.scorer import CORRECT, INCORRECT, Score

    facts = {"grade": row.grade.value, "num_tokens": row.num_tokens}
    if row.grade is Grade.UNGRADABLE:
        return Score.unscored(reason="ungradable", answer=row.answer, explanation=row.grade.value, metadata=facts)
    value = CORRECT if row.grade is Grade.CORRECT else INCORRECT
    return Score(value=value, answer=row.answer, explanation=row.grade.value, metadata=facts)


def _spec(place: Path, summary: Summary, when: datetime) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalSpec
    from inspect_ai.model import GenerateConfig

    setup = summary.setup
    told = {key: value for key, value in setup.to_json().items() if value is not None}
    return EvalSpec(
        created=when.isoformat(),
        eval_id=place.name,
        run_id=place.name,
        task_id=place.name,
        task=setup.benchmark or place.name,
        dataset=EvalDataset(name=setup.benchmark, location=str(place), samples=setup.num_problems),
        model=setup.model or "unknown",
        model_generate_config=GenerateConfig(
            temperature=setup.temperature, top_p=setup.top_p, max_tokens=setup.max_tokens, seed=setup.seed
        ),
        config=EvalConfig(epochs=setup.num_samples),
        packages={"laconic": __version__, "inspect_ai": version("inspect_ai")},
        metadata={"laconic": told},
    )


def _results(summary: Summary, num_samples: int) -> Any:
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    figures = summary.figures
    values = {
        "accuracy": figures.accuracy and figures.accuracy.to_json("mean")["mean"],
        "tokens": figures.tokens and figures.tokens.to_json("mean")["mean"],
        **{f"{grade}_frac": share for grade, share in figures.grade_frac.items()},
    }
    metrics = {name: EvalMetric(name=name, value=value) for name, value in values.items() if value is not None}
    score = EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)
    return EvalResults(total_samples=num_samples, completed_samples=num_samples, scores=[score])


def _stats(when: datetime) -> Any:
    from inspect_ai.log import EvalStats

    return EvalStats(started_at=when.isoformat(), completed_at=when.isoformat())
