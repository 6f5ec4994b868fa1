"""The stored response: one record, one writer, one reader.

1. A `ResponseRow` is a line of `samples.jsonl` (of an evaluation, or beside a probe), of `planning.jsonl`, and of
   `rollouts/step-*.jsonl`. `rows_of` makes the rows of an evaluation or a probe from a graded group. `paid_rows_of` makes those
   of a training step: they have the reward and its terms, and leave out what can be worked out again (`UNTOLD_BY_TRAINING`).
2. `ResponseRow.to_json` returns the line that is written. Keys that a line lacks are remembered in `absent`, so that a row that
   was read is written back unchanged: older files have neither the answer nor the thinking tokens.
3. `read_rows` yields the rows of a file. Any fault of a line raises one `InputError` that names file, line, key and what was
   expected.

A line of a phase's `offline.jsonl` is not a `ResponseRow` but a `GroupRow`, because training continues from it. It has the prompt
once for the group, and token ids and log-probabilities for each response, which no other file stores. Question, gold answer and
length follow from the problem and the ids. Keys that both kinds of row have carry the same names.

This module needs no torch, so that a program which only reads evaluations can import it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Self

from laconic.errors import InputError
from laconic.grading.extraction import extract_answer
from laconic.system.fields import Fields, warn_of_unknown
from laconic.system.files import read_numbered_jsonl
from laconic.system.text import brief
from laconic.types import THINK, WITHHELD, FinishReason, Grade, Group, LengthSource, Problem, Response, Rollout

MOST_DIGITS = 18  # of a budget
_NEEDED = ("problem_id", "sample", "grade", "num_tokens")
_OPTIONAL = ("thinking_tokens", "finish_reason", "question", "gold", "answer", "text")
UNTOLD_BY_TRAINING = frozenset({"thinking_tokens", "answer"})
"""Keys of a `ResponseRow` that a training step does not write, but for the thinking tokens of a response that is all thinking."""


@dataclass(frozen=True, slots=True)
class ForcedAnswer:
    """The answer that was forced after a response's thinking was cut at a budget; `num_tokens` counts the thinking that was
    kept and the answer."""

    grade: Grade
    num_tokens: int
    is_cut: bool

    def to_json(self) -> dict[str, Any]:
        """The record that is stored under a row's `forced`."""
        return {"grade": self.grade.value, "num_tokens": self.num_tokens, "is_cut": self.is_cut}


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One graded response as it is stored; lengths in tokens.

    `thinking_tokens` is None where unknown. `answer` is what the grader extracted, and None if there was no answer. `forced` has
    one answer for each budget of a budget curve. `reward` is None except in training, where its terms sum to it. `length_source`
    is written where it is not the engine's own count. `absent` are the keys that the line lacks; the values of those fields are
    placeholders.
    """

    problem_id: str
    sample: int
    grade: Grade
    num_tokens: int
    thinking_tokens: int | None = None
    finish_reason: FinishReason | None = None
    question: str = ""
    gold: str = ""
    choices: tuple[str, ...] = ()
    answer: str | None = None
    text: str = ""
    forced: Mapping[int, ForcedAnswer] = field(default_factory=dict)
    reward: float | None = None
    reward_terms: Mapping[str, float] = field(default_factory=dict)
    length_source: LengthSource = LengthSource.ENGINE
    absent: frozenset[str] = frozenset()

    @property
    def read_text(self) -> str:
        """The text as a grader reads it: none where the endpoint withheld the response, and where all of it is thinking, a mark
        that opens the thinking goes before it.

        The prompt may have opened it, and a row does not hold the prompt.
        """
        if self.finish_reason in WITHHELD:
            return ""
        return THINK + self.text if 0 < self.num_tokens == self.thinking_tokens else self.text

    def to_json(self) -> dict[str, Any]:
        """The line that is written, keys in the order of the file."""
        line = {
            "problem_id": self.problem_id,
            "sample": self.sample,
            "grade": self.grade.value,
            "num_tokens": self.num_tokens,
            **self._source_json(),
            "thinking_tokens": self.thinking_tokens,
            "finish_reason": None if self.finish_reason is None else self.finish_reason.value,
            "question": self.question,
            "gold": self.gold,
            **({"choices": list(self.choices)} if self.choices else {}),
            "answer": self.answer,
            "text": self.text,
            **self._forced_json(),
            **({} if self.reward is None else {"reward": self.reward, "reward_terms": dict(self.reward_terms)}),
        }
        return {key: value for key, value in line.items() if key not in self.absent} if self.absent else line

    def _source_json(self) -> dict[str, Any]:
        return {} if self.length_source is LengthSource.ENGINE else {"length_source": self.length_source.value}

    def _forced_json(self) -> dict[str, Any]:
        return {"forced": {str(b): answer.to_json() for b, answer in self.forced.items()}} if self.forced else {}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str, needs: Sequence[str] = ()) -> Self:
        """The row that a line holds; keys that are not of `ROW_KEYS` are ignored.

        `where` names file and line. `needs` are the keys that this reader requires besides problem, sample, grade and length.
        Raises `InputError` with a message of one line for a key that is missing or has an unsuitable value, and for values that
        contradict one another.
        """
        fields = Fields(record, where)
        fields.need((*_NEEDED, *needs))
        terms = fields.object("reward_terms")
        row = cls(
            problem_id=fields.text("problem_id"),
            sample=fields.whole("sample"),
            grade=fields.word("grade", Grade),
            num_tokens=fields.whole("num_tokens"),
            thinking_tokens=fields.maybe("thinking_tokens", fields.whole),
            finish_reason=fields.maybe("finish_reason", partial(fields.word, kind=FinishReason)),
            question=fields.text("question", ""),
            gold=fields.text("gold", ""),
            choices=fields.texts("choices"),
            answer=fields.maybe("answer", fields.text),
            text=fields.text("text", ""),
            forced=_forced(fields),
            reward=fields.maybe("reward", fields.number),
            reward_terms={name: terms.number(name) for name in terms.record},
            length_source=fields.maybe("length_source", partial(fields.word, kind=LengthSource)) or LengthSource.ENGINE,
            absent=frozenset(key for key in _OPTIONAL if key not in record),
        )
        _check_row(row, fields)
        return row


ROW_KEYS = frozenset(ResponseRow.__dataclass_fields__) - {"absent"}
"""Every key that a line may have."""


# --- from groups -----------------------------------------------------------------------------------------------------


def rows_of(group: Group) -> Iterator[ResponseRow]:
    """The group's responses as an evaluation and a probe store them.

    The grader does not judge a truncated response; an answer that can be extracted from it is stored all the same, unless it was
    still thinking.
    """
    for rollout in group.rollouts:
        response = rollout.response
        yield ResponseRow(
            problem_id=group.problem.id,
            sample=rollout.sample,
            grade=rollout.grade,
            num_tokens=rollout.num_tokens,
            thinking_tokens=response.thinking_tokens,
            finish_reason=response.finish_reason,
            question=group.problem.question,
            gold=group.problem.answer,
            choices=group.problem.choices,
            answer=extract_answer(response.text) if _is_cut_in_answer(rollout) else rollout.answer,
            text=response.text,
            length_source=response.length_source,
        )


def _is_cut_in_answer(rollout: Rollout) -> bool:
    return rollout.grade is Grade.TRUNCATED and not rollout.response.is_all_thinking


def paid_rows_of(group: Group) -> Iterator[ResponseRow]:
    """The group's rollouts as a training step stores them. Thinking tokens are told only of those that are nothing else."""
    for rollout in group.rollouts:
        is_all_thinking = rollout.response.is_all_thinking
        yield ResponseRow(
            problem_id=group.problem.id,
            sample=rollout.sample,
            grade=rollout.grade,
            num_tokens=rollout.num_tokens,
            thinking_tokens=rollout.num_tokens if is_all_thinking else None,
            finish_reason=rollout.response.finish_reason,
            question=group.problem.question,
            gold=group.problem.answer,
            choices=group.problem.choices,
            text=rollout.response.text,
            reward=rollout.reward,
            reward_terms=rollout.reward_terms,
            absent=UNTOLD_BY_TRAINING - {"thinking_tokens"} if is_all_thinking else UNTOLD_BY_TRAINING,
        )


# --- reading ---------------------------------------------------------------------------------------------------------


def read_rows(file: Path, needs: Sequence[str] = ()) -> Iterator[ResponseRow]:
    """The rows of a file, in order, read one by one; every row has the keys that `needs` names.

    Raises an `InputError` that names file and line if the file cannot be read or a line is not a row.
    """
    return (row for _, row in read_numbered_rows(file, needs))


def read_numbered_rows(file: Path, needs: Sequence[str] = ()) -> Iterator[tuple[int, ResponseRow]]:
    """Like `read_rows`, each row with its line number, counted from 1. A key that nothing reads is a warning, once for a file."""
    is_warned = False
    for number, record in read_numbered_jsonl(file):
        if not (is_warned or record.keys() <= ROW_KEYS):
            warn_of_unknown(record.keys() - ROW_KEYS, f"{file}, line {number}")
            is_warned = True
        yield number, ResponseRow.from_json(record, f"{file}, line {number}", needs)


def _check_row(row: ResponseRow, fields: Fields) -> None:
    """Raise `InputError` for values that no response has together."""
    if len(row.choices) > len(ascii_uppercase):
        raise fields.wrong("choices", f"at most {len(ascii_uppercase)}, one for each letter")
    if row.thinking_tokens is not None and row.thinking_tokens > row.num_tokens:
        raise fields.wrong("thinking_tokens", f"at most num_tokens, {row.num_tokens}")
    is_cut = row.grade is Grade.TRUNCATED
    if row.finish_reason is not None and is_cut != (row.finish_reason is FinishReason.LENGTH):
        raise fields.wrong("finish_reason", f"{'length' if is_cut else 'stop'}, for grade is {row.grade.value!r}")
    if row.finish_reason in WITHHELD and row.grade is Grade.CORRECT:
        raise fields.wrong("grade", f"no_answer, for finish_reason is {row.finish_reason.value!r}")


def _forced(fields: Fields) -> dict[int, ForcedAnswer]:
    answers = fields.object("forced")
    forced = {}
    for budget in answers.record:
        if not budget.isdecimal() or len(budget) > MOST_DIGITS:
            raise InputError(f"{answers.where}: {brief(budget)} is no budget, expected a number of tokens")
        answer = answers.object(budget)
        forced[int(budget)] = ForcedAnswer(
            answer.word("grade", Grade), answer.whole("num_tokens"), answer.truth("is_cut")
        )
    return forced


# --- groups that training goes on with -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A line of `offline.jsonl`: a graded group of one problem with token ids and log-probabilities, not yet rewarded."""

    problem_id: str
    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]

    @classmethod
    def of(cls, group: Group) -> Self:
        """The row that stores this group."""
        return cls(group.problem.id, group.prompt_ids, group.rollouts)

    def group(self, problem: Problem) -> Group:
        """The group that training uses, rebuilt from the row and its problem."""
        return Group(problem, self.prompt_ids, self.rollouts)

    def to_json(self) -> dict[str, Any]:
        """The line that is written."""
        return {
            "problem_id": self.problem_id,
            "prompt_ids": self.prompt_ids,
            "rollouts": [
                {
                    "token_ids": r.response.token_ids,
                    "logprobs": r.response.logprobs,
                    "text": r.response.text,
                    "finish_reason": r.response.finish_reason.value,
                    "grade": r.grade.value,
                    "sample": r.sample,
                }
                for r in self.rollouts
            ],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Self:
        """The group that a line holds; `where` names file and line. Raises a one-line `InputError` if the line is not a group."""
        fields = Fields(record, where)
        rollouts = tuple(map(_rollout, fields.objects("rollouts")))
        return cls(fields.text("problem_id"), fields.integers("prompt_ids"), rollouts)


def _rollout(fields: Fields) -> Rollout:
    ids, logprobs = fields.integers("token_ids"), fields.numbers("logprobs")
    if len(ids) != len(logprobs):
        raise InputError(f"{fields.where}: holds {len(ids)} token_ids and {len(logprobs)} logprobs, expected as many")
    response = Response(ids, logprobs, fields.text("text"), fields.word("finish_reason", FinishReason))
    return Rollout(response, fields.word("grade", Grade), fields.whole("sample"))


def read_group_rows(file: Path) -> Iterator[GroupRow]:
    """The groups of a file, in order. Raises an `InputError` that names file and line if a line is not a group."""
    return (GroupRow.from_json(record, f"{file}, line {number}") for number, record in read_numbered_jsonl(file))
