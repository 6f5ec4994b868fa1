"""Where a model is served: its address, its key, and the facts known about it here.

An address names the endpoint, the model and, optionally, how requests are made (`parse_endpoint`):

    http://127.0.0.1:8000/v1#Qwen/Qwen3-8B
    http://127.0.0.1:8000/v1#base-model?api=completions       plain text in, plain text out: no chat template is needed
    http://127.0.0.1:8000/v1#model?api=ids&tokenizer=DIR      token ids in, token ids out (vLLM): prompts are rendered here
    https://host/v1#model?body.reasoning_effort=low           a field of the server's own, JSON or plain text
    https://host/v1#model?omit=seed,top_p                     fields that this server refuses
    https://host/v1#model?tokenizer=Qwen/Qwen3-8B         the model's tokenizer, where the server's counts cannot be believed
    https://host/v1#model?seconds=120                      how long one reply may take

Reports show the address without `seconds`, which changes no response. It must not hold the key, which is read from the
environment. What is left out: addresses with a
query, such as the older ones of Azure.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from laconic.config.defaults import REPLY_SECONDS
from laconic.errors import InputError, ModelError
from laconic.system.text import brief, parse_json

APIS = ("chat", "completions", "ids")
KEY_VARIABLES = ("LACONIC_API_KEY", "OPENAI_API_KEY")
NEUTRAL: dict[str, Any] = {"seed": None, "temperature": 1.0, "top_p": 1.0}
"""The fields that an address may omit, each with the value that the run must then have, so that recorded settings are true."""

CAP_FIELDS = ("max_tokens", "max_completion_tokens")
OWN_FIELDS = frozenset({"model", "messages", "prompt", "n", "stream", "min_p", *NEUTRAL, *CAP_FIELDS})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is served and how requests to it are made. `model` is empty until it is known, `tokenizer` where
    lengths are counted by the server alone; `seconds` bound one reply; `options` is the text after the `?` of the address."""

    url: str
    model: str
    api: str = "chat"
    body: Mapping[str, Any] = field(default_factory=dict)
    omit: frozenset[str] = frozenset()
    tokenizer: str = ""
    seconds: float = REPLY_SECONDS
    options: str = ""

    @property
    def name(self) -> str:
        """The address again, as reports show it."""
        model = f"#{self.model}" if self.model or self.options else ""
        return self.url + model + (f"?{self.options}" if self.options else "")


def is_endpoint(address: str) -> bool:
    """Whether a MODEL argument means an endpoint.

    >>> is_endpoint("http://127.0.0.1:8000/v1#m"), is_endpoint("Qwen/Qwen3-8B")
    (True, False)
    """
    return address.startswith(("http://", "https://"))


def parse_endpoint(address: str) -> Endpoint:
    """The endpoint of an address. Raises `ModelError` where it is not one.

    >>> parse_endpoint("http://127.0.0.1:8000/v1/#some/model?api=completions").name
    'http://127.0.0.1:8000/v1#some/model?api=completions'
    """
    url, _, fragment = address.partition("#")
    model, _, options = fragment.partition("?")
    shown = re.sub("//[^/]*@", "//", address)
    form = f"{shown}: expected an endpoint of the form http://HOST:PORT/v1#MODEL"
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError as error:
        raise ModelError(f"{form} ({error})") from None
    if parts.username or parts.password:
        raise ModelError(f"{parts.hostname}: an address goes into reports; give the key in LACONIC_API_KEY instead")
    if not is_endpoint(address) or not is_whole or not address.isprintable():
        raise ModelError(form)
    kept = "&".join(option for option in options.split("&") if not option.startswith("seconds="))
    endpoint = Endpoint(url.rstrip("/"), model, options=kept)
    given = parse_qsl(options, keep_blank_values=True)
    for number, (key, value) in enumerate(given):
        if key != "omit" and key in dict(given[:number]):
            raise ModelError(f"{shown}: {brief(key)} is given twice")
        endpoint = _with_option(endpoint, key, value)
    if endpoint.api == "ids" and not endpoint.tokenizer:
        raise ModelError(f"{shown}: api=ids renders prompts here; expected tokenizer=NAME beside it")
    return endpoint


def _with_option(endpoint: Endpoint, key: str, value: str) -> Endpoint:
    if key == "api" and value in APIS:
        return replace(endpoint, api=value)
    if key == "omit" and set(value.split(",")) <= set(NEUTRAL):
        return replace(endpoint, omit=endpoint.omit | set(value.split(",")))
    if key == "tokenizer" and value:
        return replace(endpoint, tokenizer=value)
    if key == "seconds" and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) and float(value) > 0:
        return replace(endpoint, seconds=float(value))
    if key.startswith("body.") and key.removeprefix("body.") not in OWN_FIELDS:
        return replace(endpoint, body={**endpoint.body, key.removeprefix("body."): _json_or_text(value)})
    raise ModelError(
        f"{endpoint.url}#{endpoint.model}: no option {key}={value}; expected api={'|'.join(APIS)}, "
        f"omit={'|'.join(NEUTRAL)}, tokenizer=NAME, seconds=N, or body.FIELD=VALUE for a field that is not set by decoding"
    )


def _json_or_text(value: str) -> Any:
    try:
        return parse_json(value.encode(), "value")
    except InputError:
        return value


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model behind an endpoint, of which only the address is known here, and its tokenizer where prompts are rendered here.
    Whether prompt and cap fit the model's context is known only when a request is sent."""

    name: str
    tokenizer: Any = None
    context_length: None = None
    context_words: str = "unknown"

    def fingerprint(self) -> str:
        """The address, by which alone two remote models can be distinguished."""
        return self.name

    def check_ids(self, token_ids: Sequence[int], whose: str) -> None:
        """Nothing: how many tokens the model knows is not known here."""


def api_key() -> str | None:
    """The key of the first variable of `KEY_VARIABLES` that is set. Raises `InputError` where it cannot be a key."""
    for variable in KEY_VARIABLES:
        if key := os.environ.get(variable, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise InputError(f"{variable}: holds characters that cannot stand in a header")
            return key
    return None
