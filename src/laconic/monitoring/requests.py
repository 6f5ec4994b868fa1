"""Which requests count, and what each of them adds to every figure.

Requests without a whole response are counted, and are in no figure of responses:

1. A request failed where the gateway or an upstream did (status 500 and above), or where its user left before the end (499): who
   presses stop at long responses takes these out of every mean, so a version is compared by its failed requests too.
2. A request was refused for what the client asked (any other status from 400 on). That is no failure of a version.

Feedback is a share of all responses, not of the
rated ones: few users rate, and those who do are not like the others. That a response was corrected is kept when the correction is
deleted. A store from before that was so has feedback of which it is not known; of requests up to the newest such feedback it is
unknown whether they were corrected, whatever their own feedback says: those of which it is known would not be like the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, false, func, or_, select, true

from laconic.traffic.tables import FEEDBACK, REQUESTS

REFUSED_FROM, USER_LEFT, FAILED_FROM = 400, 499, 500
"""Statuses of records: below the first are responses."""
RATES = ("failed", "truncated", "bad", "rated", "corrected", "too_short", "too_long")
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
    """What a request adds to each figure, null for nothing: to `failed` where it was not refused, to the others where it has a
    response and such a number. The feedback of the request must stand beside it (`with_feedback`)."""
    is_well = REQUESTS.c.status < REFUSED_FROM
    is_failed = or_(REQUESTS.c.status >= FAILED_FROM, REQUESTS.c.status == USER_LEFT)
    marks: dict[str, ColumnElement[Any]] = {
        "truncated": REQUESTS.c.finish == "length",
        "bad": FEEDBACK.c.rating == "bad",
        "rated": FEEDBACK.c.rating != "",
        "corrected": FEEDBACK.c.is_corrected == true(),
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
    unknown = {"corrected": REQUESTS.c.at <= _corrections_unknown_until()}
    rates = {
        name: case((~is_well | unknown.get(name, false()), None), (mark, 1.0), else_=0.0)
        for name, mark in marks.items()
    }
    means = {name: case((is_well, number * 1.0)) for name, number in numbers.items()}
    return {"failed": case((is_well, 0.0), (is_failed, 1.0)), **rates, **means}


def _corrections_unknown_until() -> ColumnElement[Any]:
    """When the newest feedback came of which it is not known whether it had a correction; null where there is none."""
    feedback = FEEDBACK.alias("feedback_of_unknown_correction")
    return select(func.max(feedback.c.at)).where(feedback.c.is_corrected.is_(None)).scalar_subquery()


def with_feedback(selected: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """The query with each request's feedback beside it, where there is one."""
    return selected.select_from(REQUESTS.outerjoin(FEEDBACK, FEEDBACK.c.request_id == REQUESTS.c.id))
