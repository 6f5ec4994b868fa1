"""One response to draw: its prompt, how it is drawn, where its thinking is cut, and what is told of it while it is drawn.

A `Job` is what a request asks for. A `LiveRow` is a job that is being drawn: its tokens so far and why it ended.

A thinking budget works as on the budget curve (`evaluation/budget_curve.py`): where the first `budget` tokens end inside a
thought, given tokens are written in place of what the model draws. The answer has the room that is left, or is drawn greedily
within a cap of its own. Forced tokens are not counted, and no stop is looked for in them. It is looked once, at the budget: a
thought that is opened again is not cut.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from laconic.config.solver import SamplerConfig
from laconic.grading.thought import find_thought
from laconic.models.causal_lm import CausalLM
from laconic.prompts.thinking import knows_thinking, thinking_tokens
from laconic.types import FinishReason, Response

NEWS_TOKENS = 8
"""A client that reads a stream is told of the first token, and then of so many at once."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Thinking is cut after `budget` tokens, and `forced` [tokens] are then written. With `answer_tokens` the answer is drawn
    greedily and has at most so many."""

    budget: int
    forced: tuple[int, ...]
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What has been drawn so far: all token ids, of which `num_forced` were written for the model, and the reason why the
    response ended, None while it goes on. `text` is given where it differs from that of the tokens. `failure` says why nothing
    more comes."""

    tokens: tuple[int, ...] = ()
    num_forced: int = 0
    is_cut: bool = False
    finish: FinishReason | None = None
    text: str | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A response to `prompt`, drawn with `decoding`, whose random numbers have the address `key`.

    `mark` is the mark of thinking at which the prompt ends. The response ends before the first of `stops` too. `tell` is called
    by the drawing thread: at the end, and where `is_streamed` on the way. Setting `left` takes the job back.
    """

    prompt: tuple[int, ...]
    key: int
    decoding: SamplerConfig
    tell: Callable[[News], None]
    mark: str = ""
    stops: tuple[str, ...] = ()
    cut: Cut | None = None
    is_streamed: bool = False
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def most_positions(self) -> int:
        """The largest number of tokens that prompt and response can have together."""
        return len(self.prompt) + self.decoding.max_tokens + (len(self.cut.forced) if self.cut else 0)


class LiveRow:
    """A job that is being drawn."""

    def __init__(self, job: Job, lm: CausalLM) -> None:
        self.job, self.lm, self.stop_ids = job, lm, lm.stop_ids
        self.tokens: list[int] = []
        self.cut_at: int | None = None
        self.finish: FinishReason | None = None
        self.text: str | None = None
        self.decoding = job.decoding

    @property
    def num_forced(self) -> int:
        """How many of the tokens were written for the model."""
        if self.cut_at is None or self.job.cut is None:
            return 0
        return min(len(self.tokens) - self.cut_at, len(self.job.cut.forced))

    def take(self, drawn: int) -> int:
        """The next token: the one that was `drawn`, or the one that is written in its place. Says in `finish` whether it ends."""
        cut, place = self.job.cut, len(self.tokens)
        if cut is not None and place == cut.budget and self._is_thinking():
            self.cut_at = place
            if cut.answer_tokens is not None:
                self.decoding = self.decoding.model_copy(update={"temperature": 0.0})
        is_forced = cut is not None and self.cut_at is not None and place - self.cut_at < len(cut.forced)
        token = cut.forced[place - self.cut_at] if is_forced and cut and self.cut_at is not None else drawn
        self.tokens.append(token)
        self._look_for_end(token, is_forced)
        return token

    def _is_thinking(self) -> bool:
        is_open = find_thought(self.job.mark + self.lm.decode(self.tokens)).is_open
        return is_open or not knows_thinking(self.lm.tokenizer)

    def _look_for_end(self, token: int, is_forced: bool) -> None:
        if token in self.stop_ids and not is_forced:
            self.finish = FinishReason.STOP
        elif not is_forced and self._has_reached_cap():
            self.finish = FinishReason.LENGTH
        if self.job.stops and (self.finish or _may_be_told(len(self.tokens))):  # nothing is told that a stop takes back
            self._look_for_stops()

    def _has_reached_cap(self) -> bool:
        num_drawn, cut = len(self.tokens) - self.num_forced, self.job.cut
        most = self.decoding.max_tokens
        if cut is not None and cut.answer_tokens is not None and self.cut_at is not None:
            most = min(most, self.cut_at + cut.answer_tokens)
        return num_drawn >= most

    def _look_for_stops(self) -> None:
        """End before the first stop that the text holds, with the tokens up to the one that completed it."""
        place = self._stop_place(self.tokens)
        if place is None:
            return
        self.text, self.finish = self.lm.decode(self.tokens)[:place], FinishReason.STOP
        while len(self.tokens) > 1 and self._stop_place(self.tokens[:-1]) is not None:
            self.tokens.pop()
        if self.cut_at is not None and len(self.tokens) <= self.cut_at:
            self.cut_at = None  # the response ends before the place where its thinking was cut

    def _stop_place(self, tokens: Sequence[int]) -> int | None:
        """Where the first stop begins in the text of the tokens. It lies before what was written for the model, or after it."""
        text = self.lm.decode(tokens)
        spans = [(0, len(text))]
        if self.cut_at is not None and self.job.cut is not None:
            ends = (self.cut_at, self.cut_at + len(self.job.cut.forced))
            before, after = (len(self.lm.decode(tokens[:end])) for end in ends)
            spans = [(0, before), (after, len(text))]
        places = [place for stop in self.job.stops for span in spans if (place := text.find(stop, *span)) >= 0]
        return min(places, default=None)

    def report(self) -> None:
        """Tell of the row where it has ended, or where its client reads along and there is enough to tell."""
        if self.finish or (self.job.is_streamed and _may_be_told(len(self.tokens))):
            is_cut = self.cut_at is not None
            self.job.tell(News(tuple(self.tokens), self.num_forced, is_cut, self.finish, self.text))


def _may_be_told(num_tokens: int) -> bool:
    """Whether a stream is told of a response when it has so many tokens."""
    return num_tokens == 1 or num_tokens % NEWS_TOKENS == 0


def count_thinking(news: News, job: Job, lm: CausalLM) -> int:
    """The number of drawn tokens that are thinking; 0 where none is marked."""
    if news.is_cut and job.cut is not None:
        return job.cut.budget
    reason = news.finish or FinishReason.LENGTH
    response = Response(news.tokens, (0.0,) * len(news.tokens), lm.decode(news.tokens), reason)
    thought = find_thought(job.mark + response.text)
    if not thought.is_open and thought.end <= len(job.mark):
        return 0  # neither prompt nor response opened a thought, so that no budget cuts one either
    return thinking_tokens(response, lm.tokenizer, job.mark) or 0
