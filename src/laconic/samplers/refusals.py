"""What an endpoint says where it gives no response: an error, a page of HTML, nothing.

1. `json_in` reads the JSON of a reply of status 200. Where it holds none, an `UnreadReplyError` says what came instead.
2. `refusal_of` reads a reply whose status says that the request failed, and `refusal_in` the error that some routers put into a
   reply of status 200.
3. A `Refusal` knows whether the same request may succeed later, and what it is about where a setting can mend it.

The quoted text is one line of at most `MOST_MESSAGE` characters. What is left out: how often a request is sent again (`http.py`).
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from laconic.errors import InputError, ModelError
from laconic.samplers.fetching import Reply
from laconic.system.text import brief, parse_json

MOST_MESSAGE = 300
CONTEXT_WORDS = ("context length", "context window", "context size", "max_model_len")
TURN_WORDS = ("system role", "system message", "roles must alternate", "alternate user/assistant")
NO_CREDIT = "insufficient_quota"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's error: its status, its message in one line, and its code where it has one.

    `is_inside` is true where it came in a reply of status 200; without a number in it, it counts as a 502, which may pass.
    """

    status: int
    message: str
    code: str = ""
    is_inside: bool = False

    def __str__(self) -> str:
        status = "an error in a reply of status 200:" if self.is_inside else self.status
        return f"{status} {self.message}".rstrip()

    @property
    def is_about_context(self) -> bool:
        """True where prompt and cap do not fit the model's context."""
        return self.status == 400 and (
            self.code == "context_length_exceeded" or any(words in self.message.lower() for words in CONTEXT_WORDS)
        )

    @property
    def is_about_turns(self) -> bool:
        """True where the model's chat template refuses the turns of the conversation, such as a system turn."""
        return self.status in {400, 422, 500} and any(words in self.message.lower() for words in TURN_WORDS)

    @property
    def wants_other_cap(self) -> bool:
        """True where the server wants another name for the cap than `max_tokens`."""
        return self.status == 400 and not self.is_about_context and "max_completion_tokens" in self.message

    @property
    def is_passing(self) -> bool:
        """True where the same request may succeed later."""
        if self.code == NO_CREDIT or self.is_about_turns:
            return False
        return self.status in {408, 409, 425, 429} or (self.status >= 500 and self.status not in {501, 505})


def refusal(status: int, content: str) -> Refusal:
    """The refusal in a reply that is not a success. Servers put the message in different places.

    >>> str(refusal(404, '{"error": {"message": "no such\\\\nmodel", "code": 404}}'))
    '404 no such model'
    >>> str(refusal(422, '{"detail": [{"loc": ["body", "n"], "msg": "too big"}]}'))
    '422 [{"loc": ["body", "n"], "msg": "too big"}]'
    """
    try:
        body: Any = parse_json(content.encode("utf-8", "replace"), "reply", is_reply=True)
    except InputError:
        body = content
    message = body
    for key in ("error", "message", "detail"):
        message = message.get(key, message) if isinstance(message, dict) else message
    error = body.get("error", body) if isinstance(body, dict) else {}
    code = error.get("code") if isinstance(error, dict) else None
    text = message if isinstance(message, str) else json.dumps(message)
    return Refusal(status, " ".join(text.split())[:MOST_MESSAGE], code if isinstance(code, str) else "")


def refusal_of(reply: Reply, text: str) -> Refusal:
    """The refusal in a reply whose status is no success; `text` is what may be quoted of it."""
    target = reply.headers.get("location")
    return refusal(reply.status, f"redirects to {target}" if target else text)


def refusal_in(body: Any, text: str) -> Refusal | None:
    """The refusal in the JSON of a reply of status 200, with the code inside it, or None; `text` is what may be quoted of it.

    Routers put it beside the choices, or into one, where a response broke off: the text that came is then not whole.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    places = [body, *(choices if isinstance(choices, list) else [])]
    error = next((place["error"] for place in places if isinstance(place, dict) and place.get("error")), None)
    if error is None:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    said = refusal(status, text if not choices else json.dumps({"error": error}))
    return replace(said, is_inside=True)


# --- replies that say nothing ----------------------------------------------------------------------------------------


class UnreadReplyError(ModelError):
    """A reply that does not have the form of the API, so that another server may stand at the address."""


def json_in(reply: Reply, name: str) -> Any:
    """The JSON of a reply to a request at the endpoint `name`. Raises `UnreadReplyError` where it holds none."""
    try:
        return parse_json(reply.text.encode(), "the reply", is_reply=True)
    except InputError:
        kind = reply.headers.get("content-type", "no content type")
        came = f"the reply is not JSON ({kind}): {brief(reply.text)}" if reply.content.strip() else "the reply is empty"
        raise UnreadReplyError(
            f"{name}: status {reply.status}, but {came}; is this the address of an OpenAI API?"
        ) from None
