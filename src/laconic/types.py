"""The records that all packages exchange: frozen, and made of text, ints and floats.

1. A `Problem` is rendered to a prompt, from which a model generates a `Response`.
2. The response is graded: it gets one of five `Grade`s, which are never merged with one another.
3. Response, grade and reward together are a `Rollout`; all rollouts of one problem in one step are a `Group`.

A length is the number of response tokens that were generated, end token included. There are no tensors and no files here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

THINK, END_THINK = "<think>", "</think>"
"""The marks around a model's thinking that most models use. `grading/thought.py` knows those of others."""

Progress = Callable[[int, int], None]
"""Called with (responses finished, tokens generated) since the last call."""


class Grade(StrEnum):
    """The grade of one response. Rewards, logs and reports keep the five grades apart.

    `UNGRADABLE` means that the grader crashed, timed out or could not read the gold answer. The response may be right or
    wrong: it is counted, and nothing is trained on it.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TRUNCATED = "truncated"
    UNGRADABLE = "ungradable"


GRADES: tuple[Grade, ...] = tuple(Grade)


class FinishReason(StrEnum):
    """Why sampling stopped: an end token was drawn (`STOP`), or the cap was reached (`LENGTH`).

    An endpoint may also have withheld the response (`CONTENT_FILTER`), or taken it for a call of a tool that nobody offered
    (`TOOL_CALLS`).
    """

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"


WITHHELD = frozenset({FinishReason.CONTENT_FILTER, FinishReason.TOOL_CALLS})
"""Reasons for which an endpoint ended a response. It is counted, and whatever its text says is no answer."""


class LengthSource(StrEnum):
    """Where the length of a response comes from: the engine counted what it generated (`ENGINE`), or an endpoint's count was
    impossible, and the tokens of the text were counted (`TEXT`), or the nearest possible number was taken (`BOUND`)."""

    ENGINE = "engine"
    TEXT = "text"
    BOUND = "bound"


@dataclass(frozen=True, slots=True)
class Problem:
    """The thing to solve. `answer` is the gold answer: LaTeX or a number without `$`, or a letter where there are `choices`.

    `source` says where the problem came from (a file, `tiny:chain_sum`, ...); `meta` holds the source's other fields.
    """

    id: str
    question: str
    answer: str
    source: str = ""
    choices: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """The text that the model wrote. `token_ids` include the end token where one was drawn; `logprobs` hold, for each token, the
    natural logarithm of the probability with which it was sampled (temperature and truncation included).

    An engine behind an endpoint returns no ids: it reports how many tokens it generated (`reported_tokens`), and perhaps how many
    of them were thinking (`thinking_tokens`); `length_source` says whether its number was possible. `forced` is the range (start,
    end) of tokens that were inserted instead of sampled; it is empty where all were sampled. Raises `ValueError` where the
    numbers of ids and log-probabilities differ, or the number of ids differs from `reported_tokens`.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    reported_tokens: int | None = None
    thinking_tokens: int | None = None
    forced: tuple[int, int] = (0, 0)
    length_source: LengthSource = LengthSource.ENGINE

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
    def is_withheld(self) -> bool:
        """True where the endpoint ended the response, so that no text that came is a finished answer."""
        return self.finish_reason in WITHHELD

    @property
    def is_truncated(self) -> bool:
        """True where the cap ended the response."""
        return self.finish_reason is FinishReason.LENGTH

    @property
    def is_all_thinking(self) -> bool:
        """True where every token is known to be thinking: a thought that never ended holds no answer, whatever it says."""
        return 0 < self.num_tokens == self.thinking_tokens


@dataclass(frozen=True, slots=True)
class Rollout:
    """One graded attempt. `reward_terms` says what the reward was paid for; the terms sum to `reward`. `answer` is the answer
    that the grader extracted: None where it found none, and where the response is truncated, since it is not read then."""

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
    """All rollouts of one problem in one step.

    `ref_mean_tokens` and `ref_solve_rate` are the mean length and the solve rate that a probe of the reference model measured on
    this problem (None where it was not probed). `budget_tokens` is the number of tokens that the prompt asked for, if it asked
    for one. `ref_prompt_ids` is the prompt of a reference that reads the problem under another instruction than the policy does.
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
        """True where every gradable rollout earned the same reward, so that a group baseline leaves every advantage 0."""
        return len({rollout.reward for rollout in self.rollouts if rollout.grade is not Grade.UNGRADABLE}) <= 1


def count_grades(grades: Sequence[Grade]) -> dict[Grade, int]:
    """How often each grade occurs, zeros included.

    >>> count_grades([Grade.WRONG, Grade.WRONG])[Grade.WRONG]
    2
    """
    return {grade: sum(g is grade for g in grades) for grade in GRADES}
