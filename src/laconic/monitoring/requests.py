"""Which requests count, and what each of them adds to every figure.

Failed requests (status 400 and above) are counted, and are in no other figure. Feedback is a share of all responses, not of the
rated ones: few users rate, and those who do are not like the others. Corrections are texts, which are deleted after their time; a
share of them is known only for the days that still have texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case

from laconic.traffic.tables import FEEDBACK, REQUESTS

FAILED_FROM = 400
RATES = ("truncated", "bad", "rated", "corrected", "too_short", "too_long")
MEANS = ("tokens", "thinking", "prompt", "cost", "seconds")
LATENCIES = ("seconds", "first_token_seconds")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which requests count: those that came from `begin` on and before `end` (seconds since 1970), on one route or on all, of
    one version or of all."""

    begin: float = 0.0
    end: float = inf
    route: str | None = None
    version: str | None = None


EVERYTHING = Scope()
"""All stored requests."""


def within(scope: Scope) -> ColumnElement[bool]:
    """The condition that a request is in scope."""
    tests: list[ColumnElement[bool]] = [REQUESTS.c.at >= scope.begin]
    if scope.end < inf:
        tests.append(REQUESTS.c.at < scope.end)
    if scope.route is not None:
        tests.append(REQUESTS.c.route == scope.route)
    if scope.version is not None:
        tests.append(REQUESTS.c.version == scope.version)
    return and_(*tests)


def values() -> Mapping[str, ColumnElement[Any]]:
    """What a request that succeeded adds to each figure, null for one that failed or has no such number. The feedback of the
    request must stand beside it (`with_feedback`)."""
    is_well = REQUESTS.c.status < FAILED_FROM
    marks = {
        "truncated": REQUESTS.c.finish == "length",
        "bad": FEEDBACK.c.rating == "bad",
        "rated": FEEDBACK.c.rating != "",
        "corrected": FEEDBACK.c.correction != "",
        "too_short": FEEDBACK.c.length == "too_short",
        "too_long": FEEDBACK.c.length == "too_long",
    }
    numbers = {
        "tokens": REQUESTS.c.completion_tokens,
        "thinking": REQUESTS.c.thinking_tokens,
        "prompt": REQUESTS.c.prompt_tokens,
        "cost": REQUESTS.c.cost,
        "seconds": REQUESTS.c.seconds,
        "first_token_seconds": REQUESTS.c.first_token_seconds,
    }
    rates = {name: case((~is_well, None), (mark, 1.0), else_=0.0) for name, mark in marks.items()}
    means = {name: case((is_well, number * 1.0)) for name, number in numbers.items()}
    return {**rates, **means}


def with_feedback(selected: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """The query with each request's feedback beside it, where there is one."""
    return selected.select_from(REQUESTS.outerjoin(FEEDBACK, FEEDBACK.c.request_id == REQUESTS.c.id))
