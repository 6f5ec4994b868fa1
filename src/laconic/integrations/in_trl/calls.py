"""One call of a reward function as graded groups: whole ones, gathered from all processes.

1. Every row of the call is a response. Its text is decoded from its token ids as our sampler decodes it: TRL's own text has lost
   the marks of thinking where they are special tokens. It was truncated where its last token is no end token.
2. This process grades its rows. A row becomes a group of one.
3. TRL may give each process a part of a group (huggingface/trl#3896). So the rows of all processes are gathered, in the order in
   which TRL itself puts rewards together, and every `group_size` of them, which are of one problem, become its group.
4. A process that fails says so in the gathering, so that the others fail too and do not wait for it.

Several rewards of ours in one trainer share one grading: what was made of a call is kept until the next.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

from laconic.errors import InputError, ProblemsError, RunFailed
from laconic.grading.grader import Grader
from laconic.integrations.in_trl.rows import TrlPrompt, prompt_ids
from laconic.integrations.in_trl.settings import TrainerSettings, check_columns
from laconic.problems.records import to_problem
from laconic.prompts.thinking import decode_response
from laconic.rollouts.solver import Drawn, grade_drawn
from laconic.types import FinishReason, Group, Problem, Response

PROBLEM_COLUMNS = ("answer", "choices", "tolerance")


@dataclass(frozen=True, slots=True)
class RewardCall:
    """What TRL calls a reward function with: a prompt, the token ids of a response and an entry of each column for every row."""

    prompts: Sequence[TrlPrompt]
    completion_ids: Sequence[Sequence[int]]
    columns: Mapping[str, Sequence[Any]]


_LATEST: dict[str, tuple[object, list[Group]]] = {}
"""The token ids of the latest call, held so that no other list has their identity, and the groups that were made of it."""


def groups_of(call: RewardCall, settings: TrainerSettings) -> list[Group]:
    """The groups of all processes, in the order of their rows; rewards still 0.

    Raises `InputError` for columns that are missing or wrong and rows that are no whole groups, and `RunFailed` where another
    process failed.
    """
    ids, groups = _LATEST.get("call", (None, []))
    if ids is not call.completion_ids:
        groups = whole_groups(_gathered(call, settings), settings)
        _LATEST["call"] = (call.completion_ids, groups)
    return groups


def _gathered(call: RewardCall, settings: TrainerSettings) -> list[Group]:
    """Groups of one, of the rows of all processes in order of rank."""
    if settings.num_processes == 1:
        return graded_rows(call, settings)
    from accelerate.utils import gather_object

    error, fault, rows = None, "", []
    try:
        rows = graded_rows(call, settings)
    except Exception as raised:  # every process must come to the gathering
        error, fault = raised, str(raised) or type(raised).__name__
    found: list[tuple[str, list[Group]]] = gather_object([(fault, rows)])
    if error is not None:
        raise error
    for rank, (theirs, _) in enumerate(found):
        if theirs:
            raise RunFailed(f"process {rank}: {theirs}")
    return [row for _, rows in found for row in rows]


def graded_rows(call: RewardCall, settings: TrainerSettings) -> list[Group]:
    """A group of one for each row of this process, graded."""
    check_columns(call.columns)
    drawn = [
        Drawn(
            _problem(call, row),
            tuple(prompt_ids(settings.tokenizer, call.prompts[row], **settings.template_options)),
            (_response(ids, settings),),
        )
        for row, ids in enumerate(call.completion_ids)
    ]
    return [
        replace(
            group,
            ref_mean_tokens=_number(call, "ref_mean_tokens", row),
            ref_solve_rate=_number(call, "ref_solve_rate", row),
            budget_tokens=_whole_number(call, "budget_tokens", row),
        )
        for row, group in enumerate(grade_drawn(drawn, settings.tokenizer, _grader()))
    ]


@functools.cache
def _grader() -> Grader:
    """This process's grader; its children start when they are first needed, and end with the process."""
    return Grader()


def _response(ids: Sequence[int], settings: TrainerSettings) -> Response:
    """A row's response. How probable its tokens were is not known here, and no reward reads it."""
    is_ended = bool(ids) and ids[-1] in settings.stop_ids
    return Response(
        token_ids=tuple(ids),
        logprobs=(nan,) * len(ids),
        text=decode_response(settings.tokenizer, ids),
        finish_reason=FinishReason.STOP if is_ended else FinishReason.LENGTH,
    )


def _problem(call: RewardCall, row: int) -> Problem:
    """A row's problem; without a column `id`, problems with the same prompt are the same."""
    prompt = call.prompts[row]
    question = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
    by_prompt = hashlib.sha256(repr(prompt).encode()).hexdigest()[:16]
    stated = {name: _entry(call, name, row) for name in PROBLEM_COLUMNS}
    record = {"id": _entry(call, "id", row), "problem": question, **{k: v for k, v in stated.items() if v is not None}}
    return to_problem(record, f"data set, row of {question!r:.60}", default_id=by_prompt)


def _entry(call: RewardCall, name: str, row: int) -> Any:
    return call.columns[name][row] if name in call.columns else None


def _number(call: RewardCall, name: str, row: int) -> float | None:
    """The number in a column. Raises `ProblemsError` for anything else but None and nan, which say that it is unknown."""
    value = _entry(call, name, row)
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProblemsError(f"data set: column {name!r} holds {value!r:.60}; expected a number, or None")
    return value


def _whole_number(call: RewardCall, name: str, row: int) -> int | None:
    value = _number(call, name, row)
    if value is not None and value != int(value):
        raise ProblemsError(f"data set: column {name!r} holds {value!r}; expected a whole number, or None")
    return None if value is None else int(value)


def whole_groups(rows: Sequence[Group], settings: TrainerSettings) -> list[Group]:
    """Groups of `group_size` rows each. Raises `InputError` where the rows are not whole groups of one problem each, or where a
    step of training has two groups of one problem."""
    size = settings.group_size
    chunks = [rows[first : first + size] for first in range(0, len(rows), size)]
    mixed = [chunk for chunk in chunks if len(chunk) < size or len({row.problem.id for row in chunk}) > 1]
    if mixed:
        ids = dict.fromkeys(row.problem.id for row in mixed[0])
        raise InputError(
            f"num_generations: expected every {size} rows to be of one problem, got {len(mixed[0])} of {', '.join(ids)}; a "
            "reward compares the responses to one problem"
        )
    groups = [
        replace(chunk[0], rollouts=tuple(replace(row.rollouts[0], sample=place) for place, row in enumerate(chunk)))
        for chunk in chunks
    ]
    names = [group.problem.id for group in groups]
    twice = [name for name in names if names.count(name) > 1] if settings.is_training else []
    if twice:
        raise InputError(f"data set: two rows have the id {twice[0]!r}; expected another id for every problem")
    return groups
