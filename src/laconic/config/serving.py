"""The file of a gateway, `laconic serve --config serve.toml`: routes, upstreams, limits.

1. An upstream is an OpenAI-compatible endpoint. A route is a served name with the upstreams that may answer for it, in
   whatever order they are free.
2. A candidate is another model on a share of a route's users.
3. Everything has a default but upstreams and routes, so that most gateways need no file.

Keys stand in files or in the environment, never in this one. Paths count from the folder in which the gateway is started.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from laconic.config.defaults import (
    ARRIVAL_SECONDS,
    CANDIDATE_SHARE,
    FIGURE_DAYS,
    REPLY_BYTES,
    REPLY_SECONDS,
    SALT_FILE,
    SERVE_HOST,
    SERVE_PORT,
    STORE_ADDRESS,
    TEXT_DAYS,
    TEXT_POLICY,
)
from laconic.config.node import (
    Count,
    Name,
    NonNegative,
    OneLine,
    Positive,
    Seconds,
    Text,
    first_mistake,
    first_repeated,
    single_line,
)
from laconic.errors import InputError
from laconic.system.files import read_bytes
from laconic.system.text import parse_toml


def _at_most_characters(limit: int) -> AfterValidator:
    def check(text: str) -> str:
        if len(single_line(text)) > limit:
            raise ValueError(f"expected at most {limit} characters")
        return text

    return AfterValidator(check)


def _base_url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or "@" in text or "#" in text or "?" in text:
        raise ValueError("expected http://HOST:PORT/v1, without a key, a model or a query")
    _host_and_port(text)
    return text.rstrip("/")


def _host_and_port(url: str) -> tuple[str, int | None]:
    """The host and the port in a URL. Raises `ValueError` where no connection can ever be made to them."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"expected http://HOST:PORT/v1 ({error})") from None
    labels = host.rstrip(".").split(".")
    if re.search(r"[\s\\]", url) or port == 0 or not all(0 < len(label) < 64 for label in labels):
        raise ValueError("expected http://HOST:PORT/v1, where HOST is a name or an address")
    return host, port


ServedName = Annotated[str, Field(strict=True), _at_most_characters(200)]
"""What clients call a model; it may hold a slash."""
ModelName = Annotated[str, Field(strict=True), _at_most_characters(400)]
Version = Annotated[str, Field(strict=True), _at_most_characters(200)]
Tag = Annotated[str, Field(strict=True), _at_most_characters(100)]
Url = Annotated[str, Field(strict=True), AfterValidator(single_line), AfterValidator(_base_url)]
UserShare = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0, le=1.0)]
ChangeLimit = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1.0, le=10.0)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Days = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0, le=36_500.0)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


THIS_HOST = frozenset({"127.0.0.1", "localhost"})
BudgetKeeper = Literal["gateway", "vllm", "laconic"]
"""Who keeps thinking budgets on an upstream: the gateway cuts, vLLM does (with --reasoning-parser), or our own local server."""


class UpstreamConfig(_Table):
    """An endpoint: its address up to `/v1`, what it calls the model (the served name if not given), and the variable of the
    environment that holds its key. `budgets` says who cuts thinking; the gateway can do so in conversations where it knows the
    model's `tokenizer`, or the upstream continues a message."""

    url: Url
    model: ModelName | None = None
    key_env: OneLine | None = None
    budgets: BudgetKeeper = "gateway"
    tokenizer: OneLine | None = None


class CandidateRules(_Table):
    """When a candidate ends (`monitoring/candidates.py`). It is stopped where the whole interval of a change lies above
    `stop_bad`, `stop_truncated`, `stop_failed` (points: 0.02 is two; 1 never acts) or `stop_seconds` (relative), and after
    `give_up_after` requests without a decision. It is promoted after `promote_after` requests where the intervals of bad
    feedback, of failed requests and of tokens (relative) lie below `promote_bad`, `promote_failed` and `promote_tokens`; it never
    is where no number is given."""

    stop_bad: ChangeLimit = 0.02
    stop_truncated: ChangeLimit = 0.02
    stop_failed: ChangeLimit = 0.02
    stop_seconds: ChangeLimit | None = None
    promote_after: Positive | None = None
    promote_bad: ChangeLimit = 0.02
    promote_failed: ChangeLimit = 0.02
    promote_tokens: ChangeLimit = 0.0
    give_up_after: Positive | None = None


class CandidateConfig(_Table):
    """Another model on a share of a route's users, and the rules that end it."""

    upstreams: Annotated[tuple[Name, ...], Field(min_length=1)]
    version: Version
    share: UserShare = CANDIDATE_SHARE
    rules: CandidateRules = CandidateRules()


class PricesConfig(_Table):
    """Prices of a million tokens, in any unit of money."""

    prompt: NonNegative
    completion: NonNegative


class RouteConfig(_Table):
    """A served name. `version` is what the weights are called in figures (the upstream's name of the model if not given),
    `texts` whether texts of users who consent are kept, `tags` which words of the header `x-laconic-tag` are stored, `budget`
    how many tokens of thinking a request gets that names no number, `tokenizer` what counts thinking where the upstream does
    not, `further_fields` which fields of requests are passed on beside the usual ones. Where thinking is cut, `budget_end` is
    written, and with `budget_answer_tokens` the answer is drawn greedily within so many."""

    upstreams: Annotated[tuple[Name, ...], Field(min_length=1)]
    version: Version | None = None
    texts: Literal["never", "consent"] = TEXT_POLICY
    tags: tuple[Tag, ...] = ()
    prices: PricesConfig | None = None
    budget: Count | None = None
    budget_end: Text | None = None
    budget_answer_tokens: Positive | None = None
    tokenizer: OneLine | None = None
    further_fields: tuple[Name, ...] = ()
    candidate: CandidateConfig | None = None

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        candidates = self.candidate.upstreams if self.candidate else ()
        for field, names in (("upstreams", (*self.upstreams, *candidates)), ("tags", self.tags)):
            if twice := first_repeated(names):
                raise ValueError(f"{field}: {twice[0]} occurs twice")
        if self.candidate and self.candidate.version == self.version:
            raise ValueError(f"candidate.version: {self.version} is the route's; figures are told apart by it")
        return self


class LimitsConfig(_Table):
    """What a client may send. Requests are counted for each key; `connections` is all of them together."""

    body_bytes: Positive = 4 << 20
    body_seconds: Seconds = 30.0
    header_bytes: Positive = 32 << 10
    messages: Positive = 2000
    in_flight: Positive = 256
    per_minute: Positive | None = None
    connections: Positive = 2048


class TimeoutsConfig(_Table):
    """How long an upstream may take: to be connected to, to go on with a stream, and in all. At the end of the gateway,
    `drain` is how long requests in flight may take."""

    connect_seconds: Seconds = 5.0
    idle_seconds: Seconds = 5 * ARRIVAL_SECONDS
    total_seconds: Seconds = REPLY_SECONDS
    drain_seconds: Seconds = 20.0


class ServingConfig(_Table):
    """A gateway."""

    upstreams: Annotated[dict[Name, UpstreamConfig], Field(min_length=1)]
    routes: Annotated[dict[ServedName, RouteConfig], Field(min_length=1)]
    host: OneLine = SERVE_HOST
    port: Port = SERVE_PORT
    keys: OneLine | None = None
    store: OneLine = STORE_ADDRESS
    salt: OneLine = SALT_FILE
    redact: OneLine | None = None
    text_days: Days = TEXT_DAYS
    figure_days: Days = FIGURE_DAYS
    reply_bytes: Positive = REPLY_BYTES
    limits: LimitsConfig = LimitsConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for name, route in self.routes.items():
            for field, upstreams in (("", route.upstreams), ("candidate.", _of(route.candidate))):
                if unknown := set(upstreams) - set(self.upstreams):
                    raise ValueError(f"routes.{name}.{field}upstreams: there is no upstream {min(unknown)}")
        for name, upstream in self.upstreams.items():
            host, port = _host_and_port(upstream.url)
            if port == self.port and (host == self.host or {host, self.host} <= THIS_HOST):
                raise ValueError(f"upstreams.{name}.url: is the address of the gateway itself")
        if self.keys is None and not is_loopback(self.host):
            raise ValueError(
                f"host: {self.host} is open to other machines, and there are no keys; expected keys, or host 127.0.0.1"
            )
        return self


def _of(candidate: CandidateConfig | None) -> tuple[str, ...]:
    return candidate.upstreams if candidate else ()


def is_loopback(host: str) -> bool:
    """Whether a host's name is this machine alone.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_serving(path: Path) -> dict[str, Any]:
    """The tree of a gateway's file. Raises `InputError` where it is no TOML."""
    try:
        return parse_toml(read_bytes(path), str(path))
    except InputError as error:
        raise InputError(f"{error}; expected a gateway's file in TOML") from None


def parse_serving(tree: Mapping[str, Any], where: str) -> ServingConfig:
    """The gateway that a tree describes. Raises `InputError`, one line that begins with `where` and names the field."""
    try:
        return ServingConfig.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{where}{first_mistake(error, _KEYS)}") from None


_KEYS = sorted({name for table in _Table.__subclasses__() for name in table.model_fields})
