"""The program `batch`: a model's responses to prompts that have no gold answer, stored and not graded.

1. `read_batch` reads JSON lines `{"id", "prompt"}`; a line without an id is named by its number.
2. `batch_to_file` draws the responses as an evaluation does (`rollouts/log.py`): in chunks that survive a kill, to files beside
   the result. Their grade is `ungradable`, for whether they are right is not known.
3. The result is one line for each response, `{"id", "sample", "prompt", "text", "reply", ...}`, written when all are there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.evaluation.evaluate import EvaluationRequest, describe
from laconic.grading.thought import after_thought
from laconic.problems.forgotten import LIST_KEY, REQUEST_KEY, refuse_forgotten
from laconic.problems.made_from_traffic import note_made
from laconic.rollouts.graders import NoGrader
from laconic.rollouts.log import AttemptLog, begin, beside, chunks
from laconic.rollouts.rows import ResponseRow
from laconic.rollouts.solver import Assignment, Solver
from laconic.system.fields import Fields
from laconic.system.files import read_numbered_jsonl, to_jsonl, write_text_atomically
from laconic.system.locks import FolderLock
from laconic.types import Problem, Progress


def read_batch(file: Path) -> list[Problem]:
    """The prompts of a file as problems without an answer, in its order. Raises an `InputError` that names file and line, and
    refuses prompts made of requests that were forgotten."""
    prompts: dict[str, Problem] = {}
    for number, record in read_numbered_jsonl(file):
        fields = Fields(record, f"{file}, line {number}")
        name, text = fields.text("id", str(number)), fields.text("prompt")
        if not text.strip():
            raise fields.wrong("prompt", "a text that asks something")
        if name in prompts:
            raise InputError(f"{file}, line {number}: id {name!r} occurs twice")
        marks = {key: record[key] for key in (REQUEST_KEY, LIST_KEY) if key in record}
        prompts[name] = Problem(name, text, "", source=str(file), meta=marks)
    if not prompts:
        raise InputError(f'{file}: holds no prompt; expected lines such as {{"id": "1", "prompt": "..."}}')
    found = list(prompts.values())
    refuse_forgotten(found, str(file))
    return found


def batch_to_file(
    solver: Solver, request: EvaluationRequest, out: Path, *, on_progress: Progress | None = None
) -> list[ResponseRow]:
    """Draw the responses and write `out`, or go on where a batch that was begun there stopped. Returns all responses.

    Raises `RunError` if the batch of `out` was begun with other settings, or another process is at work on it.
    """
    asked = replace(solver, grader=NoGrader())
    lock = FolderLock(out.parent, f".{out.name}.lock")
    solver.team.by_first(lock.take)
    try:
        rows = _drawn(asked, request, out, on_progress)
        solver.team.by_first(lambda: write_text_atomically(out, to_jsonl(map(_line, rows))))
        return rows
    finally:
        lock.release()


def _drawn(solver: Solver, request: EvaluationRequest, out: Path, on_progress: Progress | None) -> list[ResponseRow]:
    file = beside(out, "samples.jsonl")
    settings = describe(solver, request)
    solver.team.by_first(lambda: begin(beside(out, "settings.json"), settings, file))
    for place in (file, out):
        solver.team.by_first(partial(note_made, place, request.problems))
    log = AttemptLog(solver, request.decoding, file, beside(out, "timing.json"), seed=request.seed)
    return list(_rows(log, request, on_progress))


def _rows(log: AttemptLog, request: EvaluationRequest, on_progress: Progress | None) -> Iterator[ResponseRow]:
    for chunk in chunks(request.problems, request.num_samples, request.decoding):
        yield from log.attempt([Assignment(p, request.num_samples) for p in chunk], on_progress=on_progress)


def _line(row: ResponseRow) -> Mapping[str, Any]:
    """A response as the result holds it; `reply` is its part after the thinking, null where that did not end."""
    reply = after_thought(row.read_text)
    return {
        "id": row.problem_id,
        "sample": row.sample,
        "prompt": row.question,
        "text": row.text,
        "reply": None if reply is None else reply.strip(),
        "num_tokens": row.num_tokens,
        "thinking_tokens": row.thinking_tokens,
        "finish_reason": None if row.finish_reason is None else row.finish_reason.value,
    }


def mean_response_tokens(rows: Sequence[ResponseRow]) -> float:
    """Mean length of the responses, in tokens."""
    return sum(row.num_tokens for row in rows) / len(rows)
