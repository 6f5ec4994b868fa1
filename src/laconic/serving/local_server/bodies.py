"""From the JSON of a request to the jobs that it asks for; what cannot be served is refused with a sentence.

1. A field is read (`FIELDS`, with its default and the values that it may have), has no effect on a response and is passed over
   (`PASSED_OVER`), or is accepted only where it asks for nothing (`NEUTRAL_VALUES` of `demands.py`). Every other field is
   refused: one that is silently dropped would change the response.
2. `chat_prompt_ids` renders the turns with the model's chat template. With `continue_final_message` the last turn is the model's
   own, and the response goes on from its end. `completion_prompt_ids` takes a text or token ids.
3. `thinking_token_budget` has vLLM's name for it. Two fields beside it are ours: `thinking_end` is what is written where
   thinking is cut, and with `thinking_answer_tokens` the answer is then drawn greedily within so many tokens, as on a budget
   curve.
4. Sample `i` of a request with seed `s` draws its random numbers from the address (s, "sample", "served", i), whatever else is
   drawn at the time.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from laconic.config.defaults import MIN_P, TEMPERATURE, TOP_P
from laconic.config.solver import SamplerConfig
from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.prompts.forced_answers import closing_text, force_text
from laconic.prompts.instructions import conversation_ids, text_ids
from laconic.prompts.thinking import prompt_mark
from laconic.rng import LARGEST_SEED, seed_of
from laconic.serving.demands import NEUTRAL_VALUES, asks_for_nothing
from laconic.serving.local_server.jobs import Cut, Job, News
from laconic.system.text import brief

MOST_RESPONSES, MOST_STOPS = 64, 16
SEED_NAME = "served"


class RefusedError(Exception):
    """A request that is not served; the text says why, `field` is the one at fault, and `status` that of the reply."""

    def __init__(self, text: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(text)
        self.field, self.status = field, status


@dataclass(frozen=True, slots=True)
class BodyField:
    """A field of a request: its value where it is not given, which values it may have, and those in words."""

    default: Any
    fits: Callable[[Any], bool]
    expected: str


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _are_stops(value: Any) -> bool:
    stops = [value] if isinstance(value, str) else value
    is_list = isinstance(stops, list) and len(stops) <= MOST_STOPS
    return is_list and all(isinstance(stop, str) and stop for stop in stops)


def _decoding_field(name: str, default: float, expected: str) -> BodyField:
    """A field that is one of `SamplerConfig`, which says itself which values it may have."""

    def fits(value: Any) -> bool:
        try:
            SamplerConfig.model_validate({name: value})
        except ValueError:
            return False
        return True

    return BodyField(default, fits, expected)


def _switch(default: bool) -> BodyField:
    return BodyField(default, lambda value: isinstance(value, bool), "true or false")


FIELDS: Mapping[str, BodyField] = {
    "max_tokens": BodyField(None, lambda value: _is_whole(value, 1, 10**9), "a whole number above 0"),
    "max_completion_tokens": BodyField(None, lambda value: _is_whole(value, 1, 10**9), "a whole number above 0"),
    "temperature": _decoding_field("temperature", TEMPERATURE, "0 or a number from 0.01 to 10"),
    "top_p": _decoding_field("top_p", TOP_P, "a number from 0.01 to 1"),
    "min_p": _decoding_field("min_p", MIN_P, "a number of at least 0 and below 1"),
    "seed": BodyField(None, lambda value: _is_whole(value, -LARGEST_SEED, LARGEST_SEED), "a whole number"),
    "n": BodyField(1, lambda value: _is_whole(value, 1, MOST_RESPONSES), f"a whole number from 1 to {MOST_RESPONSES}"),
    "stop": BodyField((), _are_stops, f"a text or a list of at most {MOST_STOPS} texts, none of them empty"),
    "stream": _switch(False),
    "stream_options": BodyField(
        {}, lambda value: isinstance(value, dict) and set(value) <= {"include_usage"}, 'an object with "include_usage"'
    ),
    "thinking_token_budget": BodyField(None, lambda value: _is_whole(value, 0, 10**9), "a whole number of tokens"),
    "thinking_end": BodyField(None, lambda value: isinstance(value, str) and bool(value), "a text"),
    "thinking_answer_tokens": BodyField(None, lambda value: _is_whole(value, 1, 10**9), "a whole number above 0"),
    "continue_final_message": _switch(False),
    "add_generation_prompt": _switch(True),
}
PASSED_OVER = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})


def read_fields(body: Any, prompt_field: str) -> dict[str, Any]:
    """The values of all `FIELDS`, defaults filled in. Raises `RefusedError` where the body asks for something else."""
    if not isinstance(body, dict):
        raise RefusedError(f"the body is {brief(body)}, expected a JSON object")
    given = {key: value for key, value in body.items() if value is not None}
    for key, value in given.items():
        if key in FIELDS and not FIELDS[key].fits(value):
            raise RefusedError(f"{key} is {brief(value)}, expected {FIELDS[key].expected}", key)
        if key in NEUTRAL_VALUES and not asks_for_nothing(key, value):
            raise RefusedError(f"{key} is not supported by this server; leave it out", key)
        if key not in {*FIELDS, *NEUTRAL_VALUES, *PASSED_OVER, "model", prompt_field}:
            raise RefusedError(f"{brief(key)} is no field that this server knows; leave it out", key)
    if prompt_field not in given:
        raise RefusedError(f"{prompt_field} is missing", prompt_field)
    return {key: given.get(key, field.default) for key, field in FIELDS.items()}


def chat_prompt_ids(lm: CausalLM, messages: Any, *, continues: bool) -> tuple[int, ...]:
    """The token ids of a conversation, up to where the model's response begins or, where it `continues`, goes on."""
    turns = _turns(messages)
    if continues and turns[-1]["role"] != "assistant":
        raise RefusedError("continue_final_message needs a last message of the assistant", "messages")
    if continues and len(turns) == 1:
        raise RefusedError("messages is a beginning alone, expected a turn before it", "messages")
    try:
        if not continues:
            return tuple(conversation_ids(lm.tokenizer, turns))
        begun = lm.tokenizer.encode(_without_mark(lm, turns), add_special_tokens=False)
        return (*conversation_ids(lm.tokenizer, turns[:-1]), *begun)
    except ModelError as error:
        raise RefusedError(str(error), "messages") from None


def _without_mark(lm: CausalLM, turns: Sequence[Mapping[str, str]]) -> str:
    """The text of the last turn, without the mark of thinking that the chat template writes itself."""
    said = turns[-1]["content"]
    mark = prompt_mark(conversation_ids(lm.tokenizer, turns[:-1]), lm.tokenizer)
    return said.removeprefix(mark) if mark else said


def _turns(messages: Any) -> list[dict[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise RefusedError(f"messages is {brief(messages)}, expected a list of messages", "messages")
    return [_turn(message, place) for place, message in enumerate(messages)]


def _turn(message: Any, place: int) -> dict[str, str]:
    where = f"messages[{place}]"
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise RefusedError(f"{where} is {brief(message)}, expected an object with a role and a content", where)
    content = message.get("content")
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content
        ]
        content = None if None in parts else "".join(map(str, parts))
    if not isinstance(content, str):
        raise RefusedError(f"{where}.content is {brief(message.get('content'))}, expected a text", where)
    return {"role": message["role"], "content": content}


def completion_prompt_ids(lm: CausalLM, prompt: Any) -> tuple[int, ...]:
    """The token ids of a text, or the ids themselves; a list of one prompt is that prompt."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return tuple(text_ids(lm.tokenizer, prompt))
    if isinstance(prompt, list) and all(_is_whole(token, 0, 2**31 - 1) for token in prompt):
        return tuple(prompt)
    raise RefusedError(f"prompt is {brief(prompt)}, expected one text or one list of token ids", "prompt")


def make_jobs(lm: CausalLM, ids: tuple[int, ...], fields: Mapping[str, Any], most: int) -> list[Job]:
    """One job for each response that is asked for; prompt and response may have `most` tokens together. Nothing is told yet."""
    cut = _cut(lm, fields)
    room = most - len(ids) - (len(cut.forced) if cut else 0)
    cap = fields["max_completion_tokens"] or fields["max_tokens"] or room
    _check_prompt(lm, ids)
    if not 0 < cap <= room:
        asked = fields["max_completion_tokens"] or fields["max_tokens"] or 1
        raise RefusedError(
            f"this model's maximum context length is {most} tokens here, and the prompt of {len(ids)} tokens and "
            f"max_tokens {asked} exceed it",
            "max_tokens",
        )
    decoding = SamplerConfig(
        temperature=fields["temperature"], top_p=fields["top_p"], min_p=fields["min_p"], max_tokens=cap
    )
    seed = secrets.randbits(62) if fields["seed"] is None else fields["seed"]
    stops = (fields["stop"],) if isinstance(fields["stop"], str) else tuple(fields["stop"])
    first = Job(
        prompt=ids,
        key=0,
        decoding=decoding,
        tell=_tell_nobody,
        mark=prompt_mark(ids, lm.tokenizer),
        stops=stops,
        cut=cut,
        is_streamed=fields["stream"],
    )
    return [replace(first, key=seed_of(seed, "sample", SEED_NAME, sample)) for sample in range(fields["n"])]


def _check_prompt(lm: CausalLM, ids: tuple[int, ...]) -> None:
    if not ids:
        raise RefusedError("the prompt is empty, expected at least one token", "prompt")
    try:
        lm.check_ids(ids, "the prompt")
    except ModelError as error:
        raise RefusedError(str(error), "prompt") from None


def _cut(lm: CausalLM, fields: Mapping[str, Any]) -> Cut | None:
    budget, answer_tokens = fields["thinking_token_budget"], fields["thinking_answer_tokens"]
    if budget is None:
        if given := [name for name in ("thinking_end", "thinking_answer_tokens") if fields[name] is not None]:
            raise RefusedError(f"{given[0]} needs a thinking_token_budget", given[0])
        return None
    ending = fields["thinking_end"] or closing_text(lm.tokenizer) or force_text(lm.tokenizer)
    return Cut(budget, tuple(lm.tokenizer.encode(ending, add_special_tokens=False)), answer_tokens)


def _tell_nobody(news: News) -> None:
    """Of a job that is not submitted yet."""
