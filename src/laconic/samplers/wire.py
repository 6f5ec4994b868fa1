"""The requests to an OpenAI-compatible endpoint, and its replies: pure functions of text and numbers.

1. `body_of` makes the request for one sample. Every decoding setting is sent even where it is neutral, because servers have
   defaults of their own (vLLM takes them from the model's `generation_config`). `min_p` is not part of the standard and is sent
   where it is above 0.
2. `read_reply` makes a `Response` of the reply, whatever the server sent, or raises an error of one line. Its length is the
   server's count where that can be true, with the thinking that it leaves out (`counting.py`). A text may come in parts
   (`text_of`).
3. A response that the server withheld (a content filter) or took for a call of a tool is a response without an answer, and keeps
   its reason. One that ended in another way, and a reply with several choices, or another than was asked for, is not read.

`WIRES` is the table of wire formats. With `ids` a response has its token ids and log-probabilities, as from the local sampler.
What is left out: streaming, tool calls, images, and several choices per request (their token counts are added up, and each
response needs its own).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeGuard

from laconic.config.solver import PenalizedSampler, SamplerConfig
from laconic.errors import ModelError
from laconic.prompts.endings import LARGEST_ID
from laconic.rng import seed_of
from laconic.samplers.counting import TextCounter, length_of, thinking_of, uncounted_thinking
from laconic.samplers.endpoints import NEUTRAL, Endpoint
from laconic.samplers.protocol import Request
from laconic.samplers.refusals import UnreadReplyError
from laconic.system.text import brief, well_formed
from laconic.types import END_THINK, THINK, WITHHELD, FinishReason, Response

IdsReader = Callable[[Sequence[int]], str]
"""The text of token ids."""

NEUTRAL_SETTINGS = {"top_k": 0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""What vLLM would otherwise read from the model's generation config; the local sampler knows none of it."""
MOST_NATS, ROUNDING_NATS = 1e6, 1e-3  # of a log-probability, below 0 and above it
SEED_MASK = 2**31 - 1  # servers read a seed as a signed 32-bit number
FINISH = {reason.value: reason for reason in FinishReason} | {"function_call": FinishReason.TOOL_CALLS}
PART_TEXTS = ("text", "thinking", "refusal")  # the kinds of parts that hold text, under the key that is called so
REASONING_FIELDS = ("reasoning_content", "reasoning")


# --- requests --------------------------------------------------------------------------------------------------------


def body_of(
    endpoint: Endpoint, request: Request, sample: int, decoding: SamplerConfig, *, seed: int, cap_field: str
) -> dict[str, Any]:
    """The JSON of the request for one sample; `cap_field` is the server's name for the cap on tokens. Raises `ModelError` where a
    field of the address would take the place of what the run sends, and recorded settings would not be true."""
    settings = {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        cap_field: decoding.max_tokens,
        "seed": seed_of(seed, request.key, sample) & SEED_MASK,
        **({"min_p": decoding.min_p} if decoding.min_p > 0 else {}),
        **(_logit_bias(decoding) if isinstance(decoding, PenalizedSampler) else {}),
    }
    kept = {key: value for key, value in settings.items() if key not in endpoint.omit}
    own = {"model": endpoint.model, **WIRES[endpoint.api].prompt(request), **kept}
    if taken := sorted(own.keys() & endpoint.body.keys()):
        raise ModelError(f"{endpoint.name}: body.{taken[0]} is set by the run, to {brief(own[taken[0]])}; leave it out")
    return {**own, **endpoint.body}


def _logit_bias(decoding: PenalizedSampler) -> dict[str, Any]:
    return {"logit_bias": {str(token): -decoding.penalty for token in decoding.tokens}}


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


def ids_prompt(request: Request) -> dict[str, Any]:
    """Token ids, with the wish for those of the response (vLLM's `return_token_ids`), drawn by no other settings than ours."""
    if not request.prompt_ids:
        raise ValueError(f"Request {request.key}: the ids API takes prompt_ids, and there are none")
    return {"prompt": list(request.prompt_ids), "return_token_ids": True, "logprobs": 0, **NEUTRAL_SETTINGS}


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
    content, reasoning = _first_text(message, ("content", "refusal")), _first_text(message, REASONING_FIELDS)
    if not reasoning:
        return content
    is_open = not content and choice["finish_reason"] == "length"
    return THINK + reasoning + ("" if is_open else END_THINK + content)


def completion_text(choice: Mapping[str, Any]) -> str:
    """The text that the model wrote after the prompt."""
    if not isinstance(choice["text"], str):
        raise _unread("text", choice["text"], "text")
    return well_formed(choice["text"])


def text_of(value: Any, name: str) -> str:
    """The text that a field of a message holds: itself, nothing, or a list of parts. `name` is the field's.

    >>> text_of([{"type": "text", "text": "It is "}, {"type": "text", "text": "4."}], "content"), text_of(None, "content")
    ('It is 4.', '')

    Raises `_UnfitError` for anything else, such as a picture.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise _unread(name, value, "text")
    return "".join(_part_text(part, name) for part in value)


def _part_text(part: Any, name: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in PART_TEXTS:
        raise _unread(f"a part of {name}", part if kind is None else kind, "text")
    text = text_of(part.get(kind), name)
    return f"{THINK}{text}{END_THINK}" if kind == "thinking" else text


def _first_text(message: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first of these fields that is neither null nor empty; empty where there is none."""
    texts = [text_of(message.get(key), key) for key in keys]
    return well_formed(next((text for text in texts if text), ""))


class _UnfitError(Exception):
    """A value of a reply that is not what the API says; the text names both."""


def _unread(name: str, value: Any, expected: str) -> _UnfitError:
    return _UnfitError(f"{name} is {brief(value)}, expected {expected}")


@dataclass(frozen=True, slots=True)
class Wire:
    """A wire format: the path that requests are posted to, the prompt in a request, and the text in a reply."""

    path: str
    prompt: Callable[[Request], dict[str, Any]]
    text: Callable[[Mapping[str, Any]], str]


WIRES: dict[str, Wire] = {
    "chat": Wire("/chat/completions", chat_prompt, chat_text),
    "completions": Wire("/completions", completion_prompt, completion_text),
    "ids": Wire("/completions", ids_prompt, completion_text),
}


def read_reply(
    endpoint: Endpoint, reply: Any, cap: int, count: TextCounter | None = None, decode: IdsReader | None = None
) -> Response:
    """The response in a server's reply of status 200, asked for with at most `cap` tokens. `count` counts the tokens of a text
    where the model's tokenizer is known, and `decode` makes the text of token ids where the reply has them.

    Raises `UnreadReplyError` where the reply does not have the form of this API, does not count its tokens, or says that the
    response ended in a way that is none of `FINISH`.
    """
    reason, text = _reason_and_text(endpoint, reply)
    if decode is not None and reason not in WITHHELD:
        return _with_ids(endpoint, reply, reason, cap, decode)
    is_ended, hidden = reason is not FinishReason.LENGTH, uncounted_in(reply)
    counted = _usage_count(reply, "completion_tokens")
    if counted is None and reason in WITHHELD and not text:
        counted = 0  # nothing was generated
    whole = None if counted is None else counted + hidden
    num_tokens, source = length_of(whole, text, cap + hidden, is_ended=is_ended, count=count)
    if num_tokens is None:
        raise UnreadReplyError(
            f"{endpoint.name}: the reply has no usage.completion_tokens, and lengths are counted by it; "
            "tokenizer=NAME in the address counts the text instead"
        )
    thinking = thinking_of(_thinking_count(reply), text, num_tokens, count)
    return Response((), (), text, reason, reported_tokens=num_tokens, thinking_tokens=thinking, length_source=source)


def _with_ids(endpoint: Endpoint, reply: Any, reason: FinishReason, cap: int, decode: IdsReader) -> Response:
    choice = reply["choices"][0]
    ids, logprobs = choice.get("token_ids"), _mapping(choice.get("logprobs")).get("token_logprobs")
    if not (
        are_token_ids(ids)
        and are_logprobs(logprobs)
        and all(map(isfinite, logprobs))
        and 0 < len(ids) == len(logprobs) <= cap
    ):
        raise UnreadReplyError(
            f"{endpoint.name}: expected 1 to {cap} token_ids with as many log-probabilities, got {brief(choice)}; "
            "api=ids needs vLLM"
        )
    return Response(tuple(ids), tuple(min(0.0, float(logprob)) for logprob in logprobs), decode(ids), reason)


def are_token_ids(told: Any) -> TypeGuard[list[int]]:
    """Whether `told` is a list of numbers that tokens may have."""
    return isinstance(told, list) and all((token := _count(one)) is not None and token <= LARGEST_ID for one in told)


def are_logprobs(told: Any) -> TypeGuard[list[float]]:
    """Whether `told` is a list of log-probabilities, but for what rounding adds; NaN and minus infinity may be among them."""
    return isinstance(told, list) and all(map(_is_logprob, told))


def _is_logprob(told: Any) -> bool:
    is_whole = isinstance(told, int) and not isinstance(told, bool) and -MOST_NATS < told <= 0
    return is_whole or (isinstance(told, float) and not told > ROUNDING_NATS)


def _reason_and_text(endpoint: Endpoint, reply: Any) -> tuple[FinishReason, str]:
    try:
        choice = _only_choice(reply)
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or reason not in FINISH:
            raise _unread("finish_reason", reason, '"stop" or "length"')
        return FINISH[reason], WIRES[endpoint.api].text(choice)
    except KeyError as error:
        what = f"{error.args[0]} is missing"
    except _UnfitError as error:
        what = str(error)
    raise UnreadReplyError(f"{endpoint.name}: the reply is none of the {endpoint.api} API ({what})")


def _only_choice(reply: Any) -> Mapping[str, Any]:
    """The choice of a reply to a request for one: with more, the token counts would be those of all together."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or len(choices) != 1:
        came = reply if choices is None else f"{len(choices)} choices" if isinstance(choices, list) else choices
        raise _UnfitError(f"{brief(came)} came, expected one choice")
    choice = choices[0]
    if not isinstance(choice, dict):
        raise _unread("the choice", choice, "an object")
    if choice.get("index", 0) not in (0, None):
        raise _unread("the choice's index", choice["index"], "0")
    if not isinstance(choice.get("message", {}), dict):
        raise _unread("message", choice["message"], "an object")
    return choice


def has_too_much_thinking(reply: Any, response: Response) -> bool:
    """Whether the server counts more tokens of thinking than the response has tokens."""
    return (_thinking_count(reply) or 0) > response.num_tokens


def uncounted_in(reply: Any) -> int:
    """How many tokens of hidden thinking the server leaves out of its `completion_tokens`; 0 where it counts none."""
    counted, prompt, total = (_usage_count(reply, f"{name}_tokens") for name in ("completion", "prompt", "total"))
    return 0 if counted is None else uncounted_thinking(counted, _thinking_count(reply), prompt, total)


def _thinking_count(reply: Any) -> int | None:
    return _count(_mapping(_mapping(reply.get("usage")).get("completion_tokens_details")).get("reasoning_tokens"))


def _usage_count(reply: Any, key: str) -> int | None:
    return _count(_mapping(reply.get("usage")).get(key))


def _mapping(value: Any) -> Mapping[str, Any]:
    """`value`, or an empty object where it is none."""
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    """`value`, or None where it is not a number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
