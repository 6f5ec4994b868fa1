"""What an upstream sends: a reply or a stream of events, read for its figures and given the gateway's own id.

1. `EventReader` cuts a stream of server-sent events (HTML standard, section 9.2) into their data. Comments and other fields are
   passed over: upstreams of this API send data alone. A last event without the empty line after it is read too, which the
   standard drops and clients do not.
2. `ResponseReading` takes every JSON object of a reply. It notes token counts, how the response ended and, where the text is
   needed, the text; and it changes the object's `id` and `model` to those that the client knows.

What is left out: several choices.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from laconic.samplers.counting import uncounted_thinking
from laconic.traffic.records import finish_word
from laconic.types import END_THINK, THINK

DONE = b"[DONE]"
STILL_WAITING = b": still waiting\n\n"
"""A comment on the wire, which clients pass over and programs between take for a sign of life."""
REASONING_KEYS = ("reasoning_content", "reasoning")


class EventReader:
    """Whole events out of pieces of a stream. `most_bytes` bounds one event; more raises `ValueError`, after the events that came
    before it were given."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        r"""The data of every event that this piece completes.

        >>> reader = EventReader(100)
        >>> reader.feed(b"data: 1\n\ndata: 2\r\n"), reader.feed(b"\r\n: nothing\n\n")
        ([b'1'], [b'2'])
        """
        text = self._rest + piece
        if b"\r" in text:
            is_cut = text.endswith(b"\r")  # the \n of this line's end may come with the next piece
            text = (text[:-1] if is_cut else text).replace(b"\r\n", b"\n") + b"\r" * is_cut
        *events, self._rest = text.split(b"\n\n")
        if len(self._rest) > self.most_bytes and not events:
            raise ValueError(f"an event has more than {self.most_bytes:,} bytes")
        return [data for event in events if (data := _data_of(event))]

    def end(self) -> list[bytes]:
        r"""The data of the event that the end of the stream completes, if there is one.

        >>> reader = EventReader(100)
        >>> reader.feed(b"data: [DONE]\n"), reader.end(), reader.end()
        ([], [b'[DONE]'], [])
        """
        last, self._rest = self._rest.rstrip(b"\r\n"), b""
        return [data] if (data := _data_of(last)) else []


def _data_of(event: bytes) -> bytes:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def dumped(value: Mapping[str, Any]) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def as_event(data: bytes) -> bytes:
    """The data of an event on the wire."""
    return b"data: " + data + b"\n\n"


@dataclass(slots=True)
class ResponseReading:
    """What is known of a response so far. Its texts are kept where `keeps_text`; `finish` is None until an upstream says it, and
    so is `is_cut`, whether a budget cut the thinking."""

    request_id: str
    model: str
    keeps_text: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish: str | None = None
    is_cut: bool | None = None
    has_token: bool = False
    _thinking: list[str] = field(default_factory=list)
    _answer: list[str] = field(default_factory=list)

    def take(self, body: dict[str, Any]) -> dict[str, Any]:
        """Note what a reply, or one event of a stream, says; the object with the id and the model that the client knows."""
        self._note_usage(body.get("usage"))
        choices = body.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._note_choice(choices[0])
        return {**body, "id": self.request_id, "model": self.model}

    @property
    def text(self) -> str:
        """The whole text with its thinking, as far as it was kept."""
        thinking, answer = "".join(self._thinking), "".join(self._answer)
        if not thinking:
            return answer
        is_open = not answer and self.finish == "length"
        return THINK + thinking + ("" if is_open else END_THINK + answer)

    def _note_usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        self.prompt_tokens = token_count(usage.get("prompt_tokens"), self.prompt_tokens)
        self.completion_tokens = completion_count(usage, self.completion_tokens)
        self.reasoning_tokens = reasoning_count(usage, self.reasoning_tokens)

    def _note_choice(self, choice: dict[str, Any]) -> None:
        if choice.get("finish_reason") is not None:
            self.finish = finish_word(choice["finish_reason"])
            self.is_cut = choice["is_cut"] if isinstance(choice.get("is_cut"), bool) else self.is_cut
        message = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        if not isinstance(message, dict):
            return
        answer = message.get("content")
        thinking = next((message[key] for key in REASONING_KEYS if message.get(key)), None)
        self.has_token = self.has_token or bool(answer or thinking or message.get("tool_calls"))
        if self.keeps_text:
            self._thinking += [thinking] if isinstance(thinking, str) else []
            self._answer += [answer] if isinstance(answer, str) else []


def completion_count(usage: Mapping[str, Any], before: int | None) -> int | None:
    """The tokens of a response by an upstream's usage, with hidden thinking where that is left out; else what was `before`."""
    counted = token_count(usage.get("completion_tokens"), None)
    if counted is None:
        return before
    prompt, total = (token_count(usage.get(name), None) for name in ("prompt_tokens", "total_tokens"))
    return counted + uncounted_thinking(counted, reasoning_count(usage, None), prompt, total)


def reasoning_count(usage: Mapping[str, Any], before: int | None) -> int | None:
    """The tokens of thinking by an upstream's usage; else what was known `before`."""
    details = usage.get("completion_tokens_details")
    return token_count(
        details.get("reasoning_tokens") if isinstance(details, dict) else usage.get("reasoning_tokens"), before
    )


def token_count(value: Any, before: int | None) -> int | None:
    """What an upstream says a count is, where it can be one; else what was known `before`."""
    return value if type(value) is int and 0 <= value < 1 << 31 else before
