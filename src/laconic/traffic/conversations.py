"""A conversation as it is stored: a list of messages, each with its role and its words.

1. `to_messages` takes what a request to a chat endpoint holds, whatever its form. Words stay; a picture or a sound becomes its
   kind in brackets, and a role that is not one of `KNOWN_ROLES` becomes `other`, since it too is written by the client.
2. `to_prompt` and `messages_of` turn messages into compact JSON and back.
3. `last_question` is what the user asked last, which a problem can be made of.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from laconic.system.text import well_formed

KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PART_KINDS = ("image_url", "input_audio", "file", "refusal")


class Message(TypedDict):
    """One message of a conversation."""

    role: str
    content: str


def to_messages(messages: Iterable[object]) -> list[Message]:
    """The messages of a request in the one form that is stored.

    >>> to_messages([{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url"}]}])
    [{'role': 'user', 'content': 'What is it?\\n[image_url]'}]
    """
    return [_message(message) for message in messages]


def to_prompt(messages: Iterable[object]) -> str:
    """Messages as compact JSON, in the one form that is stored."""
    return json.dumps(to_messages(messages), ensure_ascii=False, separators=(",", ":"))


def messages_of(prompt: str) -> list[Message]:
    """The messages that `to_prompt` wrote."""
    return to_messages(json.loads(prompt))


def last_question(messages: Sequence[Message]) -> str | None:
    """What the user said last; None where no user said anything."""
    return next((m["content"] for m in reversed(messages) if m["role"] == "user" and m["content"].strip()), None)


def _message(said: object) -> Message:
    fields = said if isinstance(said, Mapping) else {"content": said}
    return {"role": _word(fields.get("role"), KNOWN_ROLES), "content": _content(fields.get("content"))}


def _content(content: object) -> str:
    if isinstance(content, str):
        return well_formed(content)
    return "\n".join(map(_part, content)) if isinstance(content, list | tuple) else ""


def _part(part: object) -> str:
    """The words of a part of a message, or its kind in brackets."""
    said = part.get("text") if isinstance(part, Mapping) else part
    if isinstance(said, str):
        return well_formed(said)
    return f"[{_word(part.get('type') if isinstance(part, Mapping) else None, PART_KINDS)}]"


def _word(said: object, known: Sequence[str]) -> str:
    return said if isinstance(said, str) and said in known else "other"
