"""What a client asks for: the body of its request, read, checked, and reduced to the fields that an upstream may see.

1. The body is JSON of bounded size and depth (`system/text.py`), and an object.
2. Only the fields of `PASSED` go on, and those that the operator of the route adds. `user` and others that say something
   about the person stay here (`UNPASSED`). Any other field is refused by name: it would be dropped in silence otherwise.
3. Messages hold text alone. A part such as `image_url` is refused: nothing that a client names is ever fetched from here. A
   further field of a message is refused where it says something, and left out where it is null or empty, so that a response can
   be sent back as it came: OpenAI's SDK gives its messages `annotations: []` and `audio: null`.
4. Tools are functions that the client itself runs. Others, by which a server would act, are refused.

Which values make sense (a temperature, a schema) is for the upstream to say; its refusal is passed on. Where something cannot be
served, as by our own server, `NEUTRAL_VALUES` says which values ask for nothing. What is left out: several
choices per request, since each response has an id of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from laconic.errors import InputError
from laconic.serving.denials import Denial
from laconic.system.text import brief, parse_json

RequestKind = Literal["chat", "completions"]

DECODING = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "logit_bias", "logprobs",
)  # fmt: skip
PASSED: Mapping[RequestKind, frozenset[str]] = {
    "chat": frozenset(
        {
            *DECODING, "messages", "max_completion_tokens", "top_logprobs", "response_format", "tools", "tool_choice",
            "parallel_tool_calls", "reasoning_effort", "chat_template_kwargs",
        }
    ),
    "completions": frozenset({*DECODING, "prompt", "suffix"}),
}  # fmt: skip
"""The fields that are passed on to an upstream, by the kind of request."""
UNPASSED = frozenset(
    {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
)  # fmt: skip
"""Fields that clients send and that no upstream sees; they change no response."""
READ_HERE = frozenset({"model", "stream", "stream_options", "n", "thinking_budget"})

NEUTRAL_VALUES: Mapping[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (0, -1),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none",),
    "response_format": ({"type": "text"},),
}
"""What a field that cannot be served may be: a value with which it asks for nothing. null is always one."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGE_KEYS = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning", "refusal"}
)
EMPTY: tuple[Any, ...] = (None, [], {})
"""What a further field of a message may be, since it says nothing."""
TEMPLATE_SWITCHES = ("enable_thinking", "thinking")
"""Of the variables of a chat template those that a client may set, to true or false: others can hold programs."""
MOST_USER_CHARACTERS, MOST_BUDGET = 256, 10**9


@dataclass(frozen=True, slots=True)
class Demand:
    """A request that can be answered. `fields` are passed on; `wants_usage` says that a stream ends with the token counts;
    `user` is the name that the client gave, "" for none."""

    kind: RequestKind
    model: str
    fields: Mapping[str, Any]
    is_streamed: bool
    wants_usage: bool
    user: str
    budget: int | None

    @property
    def conversation(self) -> Sequence[Mapping[str, Any]] | None:
        """The messages of the prompt, as the client sent them. None for a prompt of token ids."""
        if self.kind == "chat":
            return cast("list[dict[str, Any]]", self.fields["messages"])
        prompt = self.fields["prompt"]
        return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else None


def read_demand(kind: RequestKind, content: bytes, most_messages: int, further: Collection[str] = ()) -> Demand:
    """The demand in a body. `further` fields may be passed on too. Raises `Denial` where it cannot be answered."""
    body = _object(content)
    _check_fields(kind, body, further)
    if kind == "chat":
        body = {**body, "messages": _passed_messages(body.get("messages"), most_messages)}
        _check_tools(body.get("tools"))
        _check_switches(body.get("chat_template_kwargs"))
    else:
        _check_prompt(body.get("prompt"))
    model, user, options = body.get("model"), body.get("user"), body.get("stream_options") or {}
    if not isinstance(model, str):
        raise _refused("model", "expected the name of a model; GET /v1/models lists them")
    if user is not None and (not isinstance(user, str) or len(user) > MOST_USER_CHARACTERS):
        raise _refused("user", f"expected a text of at most {MOST_USER_CHARACTERS} characters")
    if body.get("n") not in (None, 1):
        raise _refused("n", "one choice per request: each response has an id of its own")
    if not isinstance(options, dict) or set(options) - {"include_usage"}:
        raise _refused("stream_options", "expected include_usage alone")
    return Demand(
        kind,
        model,
        {key: value for key, value in body.items() if key not in UNPASSED | READ_HERE},
        _flag(body, "stream"),
        _flag(options, "include_usage"),
        user or "",
        _budget(body.get("thinking_budget")),
    )


def asks_for_nothing(field: str, value: Any) -> bool:
    """Whether a field of `NEUTRAL_VALUES` has a value that changes no response.

    >>> asks_for_nothing("logprobs", False), asks_for_nothing("logprobs", 0)  # 0 asks /completions for those of the drawn tokens
    (True, False)
    """
    return value is None or any(
        value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in NEUTRAL_VALUES[field]
    )


def _object(content: bytes) -> dict[str, Any]:
    try:
        body = parse_json(content, "the body")
    except InputError as error:
        raise Denial(400, str(error), reason="bad_json") from None
    if not isinstance(body, dict):
        raise Denial(400, f"the body is {brief(body)}, expected an object", reason="bad_json")
    return body


def _check_fields(kind: RequestKind, body: Mapping[str, Any], further: Collection[str]) -> None:
    unknown = set(body) - PASSED[kind] - UNPASSED - READ_HERE - set(further)
    if unknown:
        field = min(unknown)
        raise _refused(brief(field)[1:-1], "is not passed on to the model; leave it out", reason="unknown_field")


def _passed_messages(messages: Any, most_messages: int) -> list[dict[str, Any]]:
    """The messages without what goes on nowhere. Raises `Denial` where they cannot be passed on."""
    if not isinstance(messages, list) or not messages:
        raise _refused("messages", "expected a list of messages")
    if len(messages) > most_messages:
        raise _refused("messages", f"{len(messages)} messages, more than {most_messages}", reason="too_many_messages")
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise _refused(where, f"expected an object whose role is one of {', '.join(ROLES)}")
        if unknown := {key for key, value in message.items() if key not in MESSAGE_KEYS and value not in EMPTY}:
            raise _refused(
                f"{where}.{brief(min(unknown))[1:-1]}", "is not passed on to the model", reason="unknown_field"
            )
        _check_content(message.get("content"), f"{where}.content")
        _check_tools(message.get("tool_calls"), f"{where}.tool_calls")
    return [{key: value for key, value in message.items() if key in MESSAGE_KEYS} for message in messages]


def _check_content(content: Any, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str) or set(part) != {"type", "text"}:
            said = f"a part of type {brief(kind)}" if isinstance(kind, str) and kind != "text" else brief(part)
            raise _refused(where, f"{said}: only text is passed on", reason="not_text")


def _check_tools(tools: Any, where: str = "tools") -> None:
    if tools is None:
        return
    if not isinstance(tools, list) or any(
        not isinstance(tool, dict) or tool.get("type") != "function" for tool in tools
    ):
        raise _refused(where, "expected a list of tools of type function, which the client runs itself")


def _check_switches(switches: Any) -> None:
    if switches is None:
        return
    is_fit = isinstance(switches, dict) and all(isinstance(value, bool) for value in switches.values())
    if not is_fit or set(switches) - set(TEMPLATE_SWITCHES):
        raise _refused("chat_template_kwargs", f"expected {' or '.join(TEMPLATE_SWITCHES)}, true or false")


def _check_prompt(prompt: Any) -> None:
    is_ids = isinstance(prompt, list) and all(type(item) is int for item in prompt)
    if not prompt or not (isinstance(prompt, str) or is_ids):
        raise _refused("prompt", "expected one text, or the token ids of one")


def _flag(table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key)
    if value is not None and not isinstance(value, bool):
        raise _refused(key, "expected true or false")
    return bool(value)


def _budget(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value <= MOST_BUDGET):
        raise _refused("thinking_budget", "expected a number of tokens")
    return value


def _refused(field: str, message: str, *, reason: str = "invalid_value") -> Denial:
    return Denial(400, f"{field}: {message}", reason=reason, field=field)
