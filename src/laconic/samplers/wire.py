"""The requests to an OpenAI-compatible endpoint, and its replies: pure functions of text and numbers.

1. `body_of` makes the request for one sample. Every decoding setting is sent even where it is neutral, because servers have
   defaults of their own (vLLM takes them from the model's `generation_config`). `min_p` is not part of the standard and is sent
   where it is above 0.
2. `read_reply` makes a `Response` of the reply. Its length is the server's count; nothing is tokenized again.
3. `refusal` reads an error.

`WIRES` is the table of wire formats. What is left out: streaming, tool calls, images, several choices per request (their token
counts are added up, and each response needs its own), and log-probabilities.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from laconic.config.solver import SamplerConfig
from laconic.errors import ModelError, RunFailed
from laconic.rng import seed_of
from laconic.samplers.endpoints import NEUTRAL, Endpoint
from laconic.samplers.protocol import Request
from laconic.types import END_THINK, THINK, FinishReason, Response

SEED_MASK = 2**31 - 1  # servers read a seed as a signed 32-bit number
MOST_MESSAGE = 300
FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
REASONING_FIELDS = ("reasoning_content", "reasoning")


# --- requests --------------------------------------------------------------------------------------------------------


def body_of(
    endpoint: Endpoint, request: Request, sample: int, decoding: SamplerConfig, *, seed: int, cap_field: str
) -> dict[str, Any]:
    """The JSON of the request for one sample; `cap_field` is the server's name for the cap on tokens."""
    settings = {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        cap_field: decoding.max_tokens,
        "seed": seed_of(seed, request.key, sample) & SEED_MASK,
        **({"min_p": decoding.min_p} if decoding.min_p > 0 else {}),
    }
    kept = {key: value for key, value in settings.items() if key not in endpoint.omit}
    return {"model": endpoint.model, **WIRES[endpoint.api].prompt(request), **kept, **endpoint.body}


def check_omitted(endpoint: Endpoint, decoding: SamplerConfig) -> None:
    """Raise `ModelError` where a field that is not sent has another value than its neutral one."""
    for key in sorted(endpoint.omit):
        value = getattr(decoding, key, None)
        if value != NEUTRAL[key]:
            raise ModelError(f"{endpoint.name}: omit={key} is only true at {key} {NEUTRAL[key]}, and it is {value}")


def chat_prompt(request: Request) -> dict[str, Any]:
    """The turns of the conversation; the server renders them with the model's chat template."""
    if not request.messages:
        raise ValueError(f"Request {request.key}: the chat API takes messages, and there are none")
    return {"messages": [dict(turn) for turn in request.messages]}


def completion_prompt(request: Request) -> dict[str, Any]:
    """Token ids where there are some, else the text of the turns, one line each, as `prompts.render` does without a template."""
    if request.prompt_ids:
        return {"prompt": list(request.prompt_ids)}
    if not request.messages:
        raise ValueError(f"Request {request.key}: neither prompt_ids nor messages")
    return {"prompt": "\n".join(turn["content"] for turn in request.messages) + "\n"}


# --- replies ---------------------------------------------------------------------------------------------------------


def chat_text(choice: Mapping[str, Any]) -> str:
    """The text that the model wrote, thinking first: servers with a reasoning parser return thinking and answer separately.

    Thinking that the cap cut off before any answer gets no end mark.

    >>> chat_text({"message": {"reasoning": "2+2", "content": "4"}, "finish_reason": "stop"})
    '<think>2+2</think>4'
    >>> chat_text({"message": {"reasoning": "2+", "content": None}, "finish_reason": "length"})
    '<think>2+'
    """
    message = choice["message"]
    content = message.get("content") or message.get("refusal") or ""
    reasoning = next((message[key] for key in REASONING_FIELDS if message.get(key)), "")
    if not reasoning:
        return _text(content)
    is_open = not content and choice["finish_reason"] == "length"
    return THINK + _text(reasoning) + ("" if is_open else END_THINK + _text(content))


def completion_text(choice: Mapping[str, Any]) -> str:
    """The text that the model wrote after the prompt."""
    return _text(choice["text"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


@dataclass(frozen=True, slots=True)
class Wire:
    """A wire format: the path that requests are posted to, the prompt in a request, and the text in a reply."""

    path: str
    prompt: Callable[[Request], dict[str, Any]]
    text: Callable[[Mapping[str, Any]], str]


WIRES: dict[str, Wire] = {
    "chat": Wire("/chat/completions", chat_prompt, chat_text),
    "completions": Wire("/completions", completion_prompt, completion_text),
}


def read_reply(endpoint: Endpoint, reply: Any) -> Response:
    """The response in a server's reply of status 200.

    Raises `ModelError` where the reply does not have the form of this API or does not count its tokens, `RunFailed` where the
    response was ended neither by the model nor by the cap.
    """
    try:
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        reason, text = choice["finish_reason"], WIRES[endpoint.api].text(choice)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{endpoint.name}: the reply is none of the {endpoint.api} API ({type(error).__name__}: {error})"
        ) from None
    if reason not in FINISH:
        raise RunFailed(f'{endpoint.name}: a response ended with finish_reason {reason!r}; expected "stop" or "length"')
    num_tokens = _count(usage.get("completion_tokens"))
    if num_tokens is None:
        raise ModelError(f"{endpoint.name}: the reply has no usage.completion_tokens, and lengths are counted by it")
    return Response(
        (), (), text, FINISH[reason], reported_tokens=num_tokens, thinking_tokens=_thinking(usage, text, num_tokens)
    )


def _thinking(usage: Mapping[str, Any], text: str, num_tokens: int) -> int | None:
    """The number of thinking tokens; None where the server did not count them, or counted 0 in a text that has thinking."""
    num_thinking = _count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))
    if num_thinking is None or num_thinking > num_tokens or (num_thinking == 0 and END_THINK in text):
        return None
    return num_thinking


def _count(value: Any) -> int | None:
    """`value`, or None where it is not a number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# --- refusals --------------------------------------------------------------------------------------------------------

CONTEXT_WORDS = ("context length", "context window", "context size", "max_model_len")
NO_CREDIT = "insufficient_quota"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's error: its status, its message in one line, and its code where it has one."""

    status: int
    message: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.message}".rstrip()

    @property
    def is_about_context(self) -> bool:
        """True where prompt and cap do not fit the model's context."""
        return self.status == 400 and (
            self.code == "context_length_exceeded" or any(words in self.message.lower() for words in CONTEXT_WORDS)
        )

    @property
    def wants_other_cap(self) -> bool:
        """True where the server wants another name for the cap than `max_tokens`."""
        return self.status == 400 and not self.is_about_context and "max_completion_tokens" in self.message

    @property
    def is_passing(self) -> bool:
        """True where the same request may succeed later."""
        if self.code == NO_CREDIT:
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
        body: Any = json.loads(content)
    except ValueError:
        body = content
    message = body
    for key in ("error", "message", "detail"):
        message = message.get(key, message) if isinstance(message, dict) else message
    error = body.get("error", body) if isinstance(body, dict) else {}
    code = error.get("code") if isinstance(error, dict) else None
    text = message if isinstance(message, str) else json.dumps(message)
    return Refusal(status, " ".join(text.split())[:MOST_MESSAGE], str(code or ""))
