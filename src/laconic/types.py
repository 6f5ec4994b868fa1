"""The records that travel through the house: frozen, made of text, ints and floats.

1. A `Problem` is rendered to a prompt and sampled: a `Response`.
2. The response is graded: one of five `Grade`s that never collapse into one another.
3. Response, grade and reward together are a `Rollout`; all rollouts of one problem in one step are a `Group`.

A length is the number of response tokens that were generated, end token included. Nothing here knows of tensors or files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

THINK, END_THINK = "<think>", "</think>"
"""The marks around a model's thinking: the grader, the prompts, the samplers and the embedded reasoner read and write them."""

Progress = Callable[[int, int], None]
"""Called with (responses finished, tokens generated) since the last call."""


class Grade(StrEnum):
    """What became of one response. The five stay apart in rewards, logs and reports.

    `UNGRADABLE` means the grader crashed, timed out or could not read the gold answer: it says nothing about the
    response, is counted, and trains nothing.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TRUNCATED = "truncated"
    UNGRADABLE = "ungradable"


GRADES: tuple[Grade, ...] = tuple(Grade)


class FinishReason(StrEnum):
    """Why sampling stopped: an end token was drawn (`STOP`), or the cap was reached (`LENGTH`)."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Problem:
    """The thing to solve. `answer` is the gold answer: LaTeX or a number without `$`, or a letter where `choices` stand.

    `source` says where it came from (a file, `tiny:chain_sum`, ...); `meta` keeps whatever else the source knew.
    """

    id: str
    question: str
    answer: str
    source: str = ""
    choices: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What the model wrote. `token_ids` hold the end token where one was drawn; `logprobs` are natural logarithms of the
    probabilities the tokens were sampled with (temperature and truncation included), one a token.

    An engine behind an endpoint returns no ids: it reports how many tokens it generated, and perhaps how many of them were
    thinking. `forced` is the range of tokens, if any, that were written for the model and not drawn by it. Raises `ValueError`
    where ids and log-probabilities differ in length, or ids contradict the report.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    reported_tokens: int | None = None
    thinking_tokens: int | None = None
    forced: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError(f"Response: {len(self.token_ids)} token_ids but {len(self.logprobs)} logprobs")
        if self.token_ids and self.reported_tokens not in (None, len(self.token_ids)):
            raise ValueError(f"Response: {len(self.token_ids)} token_ids but {self.reported_tokens} reported_tokens")

    @property
    def num_tokens(self) -> int:
        """Generated tokens, end token included."""
        return len(self.token_ids) if self.reported_tokens is None else self.reported_tokens

    @property
    def is_truncated(self) -> bool:
        """True where the cap ended the response."""
        return self.finish_reason is FinishReason.LENGTH


@dataclass(frozen=True, slots=True)
class Rollout:
    """One graded attempt. `reward_terms` names what the reward paid for; the terms sum to `reward`. `answer` is as the grader
    extracted it: None where there is none, and where the response is truncated and was not read."""

    response: Response
    grade: Grade
    sample: int
    reward: float = 0.0
    reward_terms: Mapping[str, float] = field(default_factory=dict)
    answer: str | None = None

    @property
    def num_tokens(self) -> int:
        """Length of the response, in tokens."""
        return self.response.num_tokens


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts of one problem in one step, with what a probe of the reference knows of the problem (`None`: not probed).

    `budget_tokens` is what the prompt asked for, where it did; `ref_prompt_ids` is the prompt as a reference with an instruction
    of its own reads it.
    """

    problem: Problem
    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    ref_mean_tokens: float | None = None
    ref_solve_rate: float | None = None
    budget_tokens: int | None = None
    ref_prompt_ids: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """Number of rollouts, K."""
        return len(self.rollouts)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Response lengths in tokens, shape [K]."""
        return tuple(rollout.num_tokens for rollout in self.rollouts)

    @property
    def grades(self) -> tuple[Grade, ...]:
        """Grades, shape [K]."""
        return tuple(rollout.grade for rollout in self.rollouts)

    @property
    def rewards(self) -> tuple[float, ...]:
        """Rewards, shape [K]."""
        return tuple(rollout.reward for rollout in self.rollouts)

    @property
    def is_uniform(self) -> bool:
        """True where every gradable rollout earned the same reward: a group baseline then carries no signal."""
        return len({rollout.reward for rollout in self.rollouts if rollout.grade is not Grade.UNGRADABLE}) <= 1


def count_grades(grades: Sequence[Grade]) -> dict[Grade, int]:
    """How often each grade occurs, zeros included.

    >>> count_grades([Grade.WRONG, Grade.WRONG])[Grade.WRONG]
    2
    """
    return {grade: sum(g is grade for g in grades) for grade in GRADES}
