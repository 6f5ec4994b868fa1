"""Simulated traffic: users who are made up, whose requests, thinking and feedback are drawn from known distributions.

1. A user has a taste: how long the questions are and how often a response displeases. Requests of one user resemble each other.
2. A `Served` version thinks for so many tokens on average; where it thinks less than a tag needs, more responses are bad.
3. `fill` writes the records of one version on some days into a store, as the gateway would. No model runs, and no text is
   written but corrections, which are the word `42`.

Nothing here was measured on anybody. It serves to look at pages and to check alarms and intervals whose truth is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp

import numpy as np
from numpy.random import Generator

from laconic.rng import seed_of
from laconic.traffic.records import FeedbackRecord, TrafficRecord
from laconic.traffic.store import SECONDS_OF_A_DAY, StoredRequest, TrafficStore

TAGS: Mapping[str, float] = {"billing": 0.5, "maths": 0.3, "code": 0.2}
TOKENS_A_SECOND, SECONDS_TO_FIRST = 60.0, 0.25
FEEDBACK_SHARE, CORRECTED_SHARE = 0.35, 0.25
CAP_TOKENS = 1200
DOLLARS_A_TOKEN = 4e-6


@dataclass(frozen=True, slots=True)
class Served:
    """A version of a model: its mean thinking in tokens, its share of bad responses, and tags on which it thinks too little."""

    version: str
    thinking: float = 400.0
    bad: float = 0.06
    short_tags: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who comes: users a day, requests a user and day on average, and how many times as long prompts are as usual."""

    users: int = 60
    requests: float = 3.0
    prompt_factor: float = 1.0
    tags: Mapping[str, float] = field(default_factory=lambda: TAGS)


def fill(
    store: TrafficStore,
    served: Served,
    *,
    begin: float,
    days: int,
    seed: int,
    route: str = "assistant",
    group: str = "all",
    crowd: Crowd = Crowd(),
) -> int:
    """Write `days` days of requests from `begin` (seconds since 1970) to one version; the number of requests.

    `group` names the users who come: two versions that are served at once have different users.
    """
    rng = np.random.default_rng(seed_of(seed, "simulated traffic", served.version, group))
    records, feedbacks = [], []
    tastes = rng.normal(size=(crowd.users, 2))
    for day in range(days):
        for user in range(crowd.users):
            for _ in range(rng.poisson(crowd.requests)):
                at = begin + (day + rng.random()) * SECONDS_OF_A_DAY
                name = f"{route}-{served.version}-{group}-{len(records)}"
                record, feedback = _request(rng, served, crowd, tastes[user], name, at, route, f"{group}-{user}")
                records.append(StoredRequest(record))
                feedbacks += [feedback] if feedback else []
    for start in range(0, len(records), 2000):
        store.write(records[start : start + 2000])
    store_feedback(store, feedbacks)
    return len(records)


def store_feedback(store: TrafficStore, feedbacks: list[FeedbackRecord]) -> None:
    """Write many feedbacks in one transaction."""
    from laconic.traffic.tables import FEEDBACK

    if feedbacks:
        with store.engine.begin() as connection:
            connection.execute(FEEDBACK.insert(), [feedback.to_row() for feedback in feedbacks])


def _request(
    rng: Generator, served: Served, crowd: Crowd, taste: np.ndarray, name: str, at: float, route: str, user: str
) -> tuple[TrafficRecord, FeedbackRecord | None]:
    tag = str(rng.choice(list(crowd.tags), p=list(crowd.tags.values())))
    prompt = int(120 * crowd.prompt_factor * exp(0.3 * taste[0] + 0.5 * rng.normal()))
    thinking = int(served.thinking * exp(0.25 * taste[0] + 0.6 * rng.normal() - 0.2))
    tokens = min(thinking + int(rng.integers(20, 80)), CAP_TOKENS)
    is_cut = tokens == CAP_TOKENS
    needed = served.short_tags.get(tag, 0.0)
    bad = served.bad * exp(0.5 * taste[1]) + (0.35 if thinking < needed else 0.0) + (0.3 if is_cut else 0.0)
    first = SECONDS_TO_FIRST * exp(0.3 * rng.normal())
    record = TrafficRecord(
        id=name,
        at=at,
        route=route,
        model="reasoner",
        version=served.version,
        tag=tag,
        user=user,
        status=502 if (is_failed := rng.random() < 0.003) else 200,
        finish="error" if is_failed else "length" if is_cut else "stop",
        is_streamed=True,
        prompt_tokens=prompt,
        completion_tokens=tokens,
        thinking_tokens=min(thinking, tokens),
        budget=None,
        is_cut=None,
        first_token_seconds=first,
        seconds=first + tokens / TOKENS_A_SECOND * exp(0.15 * rng.normal()),
        cost=(prompt + 4 * tokens) * DOLLARS_A_TOKEN / 4,
    )
    is_bad = rng.random() < min(bad, 0.95)
    if is_failed or rng.random() > (0.8 if is_bad else FEEDBACK_SHARE):
        return record, None
    is_corrected = is_bad and rng.random() < CORRECTED_SHARE
    length = "too_short" if is_bad and thinking < needed else ""
    return record, FeedbackRecord(
        name, at + 60.0, user, "bad" if is_bad else "good", length, "42" if is_corrected else ""
    )
