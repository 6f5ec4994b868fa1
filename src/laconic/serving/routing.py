"""Served names, and who answers for each: the route's own upstreams, or the candidate's for a share of its users.

1. `open_routes` makes the routes of a configuration; upstreams that two routes share are the same object, so that their
   requests in flight are counted together.
2. `Route.arms_for` gives the arms that may answer a user: the one to which the user is assigned, and behind a candidate the
   route's own, so that a candidate that is out of reach costs nobody an answer. The record says which arm answered.
3. The candidate's share is read anew every few seconds, off the way of requests, by a function that knows of rules which end it.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from laconic.config.policy import PolicyConfig
from laconic.config.serving import PricesConfig, RouteConfig, ServingConfig, UpstreamConfig
from laconic.errors import InputError
from laconic.samplers.counting import TextCounter, text_counter
from laconic.serving.assignment import gets_candidate
from laconic.serving.budgets import ThinkingBudget
from laconic.serving.cutting import Cutter
from laconic.serving.demands import READ_HERE, UNPASSED
from laconic.serving.upstreams import Upstream
from laconic.traffic.consent import TextPolicy

SHARE_SECONDS = 5.0

ShareReader = Callable[[str, str, float], float]
"""A route's name, its candidate's version and the configured share to the share that the candidate has now."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A model that answers on a route, under the operator's word for its weights."""

    version: str
    upstreams: Sequence[Upstream]


@dataclass(slots=True)
class Route:
    """A served name."""

    name: str
    base: Arm
    candidate: Arm | None
    share: float
    policy: TextPolicy
    tags: frozenset[str]
    prices: PricesConfig | None
    budget: int | None
    further_fields: tuple[str, ...]
    count: TextCounter | None
    ending: ThinkingBudget
    """What is written where thinking is cut, whatever the number of tokens."""

    def arms_for(self, who: str) -> tuple[Arm, ...]:
        """The arms that may answer this user or request, the assigned one first."""
        if self.candidate is None or not gets_candidate(self.experiment, who, self.share):
            return (self.base,)
        return self.candidate, self.base

    def budget_for(self, asked: int | None) -> ThinkingBudget | None:
        """The budget of a request that asks for so many tokens of thinking, or does not ask."""
        tokens = self.budget if asked is None else asked
        return None if tokens is None else replace(self.ending, tokens=tokens)

    @property
    def experiment(self) -> str:
        """The name under which users are assigned."""
        return f"{self.name}/{self.base.version}/{self.candidate.version if self.candidate else ''}"

    def tag_of(self, said: str | None) -> str:
        """The tag that is stored: one of the operator's words, else nothing."""
        return said if said is not None and said in self.tags else ""

    def cost(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """The cost of a request in the unit of the prices; None without prices or counts."""
        if self.prices is None or prompt_tokens is None or completion_tokens is None:
            return None
        return (prompt_tokens * self.prices.prompt + completion_tokens * self.prices.completion) / 1e6


def open_routes(config: ServingConfig) -> dict[str, Route]:
    """The routes of a gateway by name. Raises `InputError` where a key or a tokenizer is not there."""
    upstreams = {name: _open_upstream(name, upstream) for name, upstream in config.upstreams.items()}
    routes = {name: _open_route(name, route, upstreams) for name, route in config.routes.items()}
    for name, route in routes.items():
        if route.candidate is not None and route.candidate.version == route.base.version:
            raise InputError(
                f"routes.{name}.version: {route.base.version} is the candidate's too; figures are told apart by it"
            )
    return routes


def _open_route(name: str, route: RouteConfig, upstreams: Mapping[str, Upstream]) -> Route:
    candidate, own = route.candidate, [upstreams[upstream] for upstream in route.upstreams]
    if unpassed := sorted((UNPASSED | READ_HERE).intersection(route.further_fields)):
        raise InputError(f"routes.{name}.further_fields: {unpassed[0]} is for the gateway alone; leave it out")
    return Route(
        name,
        Arm(route.version or own[0].model or name, own),
        None
        if candidate is None
        else Arm(candidate.version, [upstreams[upstream] for upstream in candidate.upstreams]),
        0.0 if candidate is None else candidate.share,
        TextPolicy(route.texts),
        frozenset(route.tags),
        route.prices,
        route.budget,
        route.further_fields,
        _counter(route.tokenizer),
        ThinkingBudget(0, route.budget_end, route.budget_answer_tokens),
    )


def _open_upstream(name: str, config: UpstreamConfig) -> Upstream:
    key = None
    if config.key_env is not None:
        key = os.environ.get(config.key_env, "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            raise InputError(f"upstreams.{name}.key_env: {config.key_env} holds no key that can stand in a header")
    return Upstream(name, config.url, key, config.model or "", cutter=Cutter.of(config.budgets, config.tokenizer))


def _counter(tokenizer: str | None) -> TextCounter | None:
    if tokenizer is None:
        return None
    from laconic.models.loading import load_tokenizer

    return text_counter(load_tokenizer(tokenizer, PolicyConfig()))


def upstreams_of(routes: Mapping[str, Route]) -> list[Upstream]:
    """Every upstream once."""
    arms = [arm for route in routes.values() for arm in (route.base, route.candidate) if arm is not None]
    return list({id(upstream): upstream for arm in arms for upstream in arm.upstreams}.values())


class CandidateShares:
    """Keeps the shares of candidates as the rules say. A reader that fails leaves them as they are."""

    def __init__(self, routes: Mapping[str, Route], read: ShareReader, seconds: float = SHARE_SECONDS) -> None:
        self.routes = {name: route.share for name, route in routes.items() if route.candidate is not None}
        self.by_name, self.read, self.seconds = routes, read, seconds
        self.failures = 0

    async def keep(self) -> None:
        """Read them again and again, until cancelled."""
        while self.routes:
            await self.refresh()
            await asyncio.sleep(self.seconds)

    async def refresh(self) -> None:
        """Read them once, in a thread: it waits for a database."""
        for name, configured in self.routes.items():
            route = self.by_name[name]
            version = route.candidate.version if route.candidate else ""
            try:
                route.share = await asyncio.to_thread(self.read, name, version, configured)
            except Exception:  # whatever the store does, requests go on under the share that was read before
                self.failures += 1
