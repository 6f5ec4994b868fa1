"""From what was drawn to the JSON of replies, whole or in pieces: the form of OpenAI's API.

The text of a chat message is all that the model wrote, thinking and marks included, as servers without a reasoning parser send
it. `usage` counts what was drawn: tokens that were written for the model, where its thinking was cut, are not among them. A
choice whose request had a budget says whether it was cut.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from laconic.models.causal_lm import CausalLM
from laconic.serving.local_server.jobs import Job, News, count_thinking

HALF_CHARACTER = "\ufffd"  # what the bytes of a character that is not complete decode to
END_OF_STREAM = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """One of the two APIs: the kinds of its objects, and where the text of a choice stands."""

    is_chat: bool
    model: str
    id: str
    created: int

    @classmethod
    def new(cls, model: str, *, is_chat: bool) -> "ReplyForm":
        """The form of one reply, with an id of its own."""
        return cls(is_chat, model, ("chatcmpl-" if is_chat else "cmpl-") + secrets.token_hex(12), int(time.time()))

    def _head(self, *, is_piece: bool) -> dict[str, Any]:
        chat = "chat.completion.chunk" if is_piece else "chat.completion"
        kind = chat if self.is_chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, choices: Sequence[dict[str, Any]], usage: Mapping[str, Any]) -> dict[str, Any]:
        """A whole reply."""
        return {**self._head(is_piece=False), "choices": list(choices), "usage": usage}

    def choice(self, index: int, text: str, news: News, job: Job) -> dict[str, Any]:
        """A whole choice."""
        said = {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
        return {"index": index, **said, "logprobs": None, **_ending(news, job)}

    def piece(self, index: int, text: str, news: News, job: Job, *, is_first: bool) -> bytes:
        """A piece of a choice as an event; the one that ends the choice says why."""
        delta = ({"role": "assistant"} if is_first else {}) | ({"content": text} if text or is_first else {})
        said = {"delta": delta} if self.is_chat else {"text": text}
        choice = {"index": index, **said, "logprobs": None, **_ending(news, job)}
        return event({**self._head(is_piece=True), "choices": [choice]})

    def usage_piece(self, usage: Mapping[str, Any]) -> bytes:
        """The usage as the last event before the end."""
        return event({**self._head(is_piece=True), "choices": [], "usage": usage})


def event(data: Mapping[str, Any]) -> bytes:
    """JSON as a server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def _ending(news: News, job: Job) -> dict[str, Any]:
    cut = {} if job.cut is None or news.finish is None else {"is_cut": news.is_cut}
    return {"finish_reason": news.finish, **cut}


def usage_of(lm: CausalLM, jobs: Sequence[Job], news: Sequence[News]) -> dict[str, Any]:
    """The tokens of one prompt and of all its responses."""
    num_prompt = len(jobs[0].prompt)
    num_drawn = sum(len(last.tokens) - last.num_forced for last in news)
    num_thinking = sum(count_thinking(last, job, lm) for job, last in zip(jobs, news, strict=True))
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_drawn,
        "total_tokens": num_prompt + num_drawn,
        "completion_tokens_details": {"reasoning_tokens": num_thinking},
    }


def whole_text(lm: CausalLM, news: News) -> str:
    """The text of a response that has ended."""
    return lm.decode(news.tokens) if news.text is None else news.text


@dataclass(slots=True)
class Unsent:
    """What of a response's text has not been sent yet. A text is sent up to where more tokens may still change it: an unfinished
    character, or what may be the beginning of a stop."""

    lm: CausalLM
    job: Job
    sent: str = ""
    num_pieces: int = field(default=0)

    def next(self, news: News) -> str:
        """The text that can be sent now."""
        text = whole_text(self.lm, news)
        if news.finish is None:
            text = text.rstrip(HALF_CHARACTER)
            held = max(map(len, self.job.stops), default=1) - 1
            text = text[: max(0, len(text) - held)]
        if len(text) <= len(self.sent):
            return ""
        new, self.sent = text[len(self.sent) :], text
        return new
