"""Two versions of a served model, compared by their users with intervals that hold at every time of looking.

1. `versions_of` lists the versions that a route has served, in order of their first request.
2. `read_users` gives one value per user and figure, the mean over the user's requests so far, in order of the users' first
   requests: over all that were not refused for the failed ones (`requests.py`), and over those with a response for the other
   figures. Only users are held in memory, never requests.
3. `compare_users` gives the changes: points of bad feedback, truncated responses and failed requests, and relative changes of
   tokens and seconds (`statistics/sequential.py`). The intervals hold together: each of the five has a fifth of the chance of
   error.

The unit is a user of one version. One who was moved from base to candidate is a user of each; both values then go up or down
together, which makes intervals wider than needed, never narrower. Requests that name no user are all one user of their key,
so a comparison needs callers who name their users.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

import numpy as np
from sqlalchemy import func, select

from laconic.monitoring.requests import Scope, values, with_feedback, within
from laconic.statistics.intervals import FloatArray, Interval
from laconic.statistics.sequential import mean_ratio_sequence, rate_difference_sequence
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import REQUESTS

EVER_WRONG = 0.05
"""The chance that any interval of a comparison ever excludes the truth."""

DIFFERENCES, RATIOS = ("bad", "truncated", "failed"), ("tokens", "seconds")
LABELS_OF_CHANGES = {"bad": "bad feedback", "failed": "failed or left"}
"""What a change is called where it is not by its own name; a request fails, or its user leaves before the end."""
MIN_BESIDE = 20
"""So many requests since the latest version came make another one served beside it, not just before it."""

SAME_WITHIN = 0.02
"""Bad feedback that is surely less than two points higher is called no worse."""


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version that a route has served: its first and last request (seconds since 1970) and how many it answered."""

    version: str
    first: float
    last: float
    requests: int


@dataclass(frozen=True, slots=True, eq=False)
class VersionUsers:
    """The users of a version in a scope: how many there are, their requests, and each figure's values, one per user."""

    version: str
    users: int
    requests: int
    values: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """The changes from base to candidate: `bad`, `truncated` and `failed` in points (0.02 is two), `tokens` and `seconds`
    relative."""

    base: str
    candidate: str
    users: tuple[int, int]
    requests: tuple[int, int]
    changes: Mapping[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "base": self.base,
            "candidate": self.candidate,
            "users": list(self.users),
            "requests": list(self.requests),
            "holds_at_any_time": 1.0 - EVER_WRONG,
            "changes": {name: _always(change) for name, change in self.changes.items()},
        }


def _always(change: Interval) -> dict[str, Any]:
    written = change.to_json("change")
    return {"change": written["change"], "always_valid": written["ci95"]}


def versions_of(store: TrafficStore, scope: Scope) -> list[ServedVersion]:
    """The versions in a scope, in order of their first request."""
    first = func.min(REQUESTS.c.at)
    query = select(REQUESTS.c.version, first, func.max(REQUESTS.c.at), func.count())
    with store.engine.connect() as connection:
        rows = connection.execute(query.where(within(scope)).group_by(REQUESTS.c.version).order_by(first)).all()
    return [ServedVersion(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class VersionPair:
    """The latest version of a route and the one to set it against; `since` is when the latest came, where both are served at once
    (`is_live`)."""

    base: str
    candidate: str
    since: float
    is_live: bool


def find_pair(store: TrafficStore, scope: Scope, named: tuple[str, str] | None = None) -> VersionPair | None:
    """The latest version in a scope against the busiest of those that are served beside it, or else against the one before it;
    None where there is one version only.

    Two that began together are latest by chance: `named` says which is the base and which the candidate, where both were served.
    """
    served = [found for found in versions_of(store, replace(scope, begin=0.0)) if found.last >= scope.begin]
    if len(served) < 2:
        return None
    first = {found.version: found.first for found in served}
    if named is not None and first.keys() >= {*named}:
        return VersionPair(*named, first[named[1]], True)
    *earlier, latest = served
    since = versions_of(store, replace(scope, begin=latest.first))
    beside = [found for found in since if found.version != latest.version and found.requests >= MIN_BESIDE]
    if beside:
        return VersionPair(max(beside, key=lambda found: found.requests).version, latest.version, latest.first, True)
    before = max(earlier, key=lambda found: found.last)
    return VersionPair(before.version, latest.version, latest.first, False)


def read_users(store: TrafficStore, scope: Scope) -> VersionUsers:
    """The users of the version that the scope names."""
    assert scope.version is not None
    names = (*DIFFERENCES, *RATIOS)
    found = values()
    sums = [func.sum(found[name]) for name in names] + [func.count(found[name]) for name in names]
    query = with_feedback(select(func.count(), *sums)).where(within(scope)).group_by(REQUESTS.c.user)
    with store.engine.connect() as connection:
        rows = connection.execute(query.order_by(func.min(REQUESTS.c.at), REQUESTS.c.user)).all()
    table = np.array([[float(cell or 0.0) for cell in row] for row in rows]).reshape(len(rows), 1 + 2 * len(names))
    totals, counts = table[:, 1 : 1 + len(names)], table[:, 1 + len(names) :]
    means = {
        name: totals[counts[:, place] > 0, place] / counts[counts[:, place] > 0, place]
        for place, name in enumerate(names)
    }
    return VersionUsers(scope.version, len(rows), int(table[:, 0].sum()), means)


def compare_users(base: VersionUsers, candidate: VersionUsers) -> VersionComparison:
    """The changes from base to candidate, with intervals that hold together and at every time of looking."""
    alpha = EVER_WRONG / (len(DIFFERENCES) + len(RATIOS))
    changes = {
        name: rate_difference_sequence(base.values[name], candidate.values[name], alpha=alpha) for name in DIFFERENCES
    } | {name: mean_ratio_sequence(base.values[name], candidate.values[name], alpha=alpha) for name in RATIOS}
    return VersionComparison(
        base.version,
        candidate.version,
        (base.users, candidate.users),
        (base.requests, candidate.requests),
        changes,
    )


def compare_versions(store: TrafficStore, base: str, candidate: str, scope: Scope) -> VersionComparison:
    """Read and compare two versions in a scope."""
    return compare_users(
        read_users(store, replace(scope, version=base)), read_users(store, replace(scope, version=candidate))
    )


def compare_live(store: TrafficStore, base: str, candidate: str, route: str) -> VersionComparison | None:
    """Compare a candidate with the base that is served beside it on a route, on requests since the candidate's first; None where
    the candidate has none."""
    served = {found.version: found for found in versions_of(store, Scope(route=route))}
    if candidate not in served:
        return None
    return compare_versions(store, base, candidate, Scope(served[candidate].first, inf, route))


# --- in words --------------------------------------------------------------------------------------------------------


def comparison_sentence(found: VersionComparison) -> str:
    """The verdict in one sentence."""
    tokens, bad, failed = (found.changes[name] for name in ("tokens", "bad", "failed"))
    more_failed = f"; but {change_words(failed, 'failed')}" if failed.low > 0.0 else ""
    return (
        f"{found.candidate} ({found.users[1]:,} users) against {found.base} ({found.users[0]:,} users): "
        f"{change_words(tokens, 'tokens')}, {change_words(bad, 'bad')}: {_claims(tokens, bad)}{more_failed}."
    )


def change_words(change: Interval, name: str) -> str:
    """A change with its interval, such as `tokens −40.1% (−44.0 to −35.9)`."""
    unit, label = "%" if name in RATIOS else " points", LABELS_OF_CHANGES.get(name, name)
    if not isfinite(change.estimate):
        return f"{label} not known"
    low, middle, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (change.low, change.estimate, change.high))
    return f"{label} {middle}{unit} " + (f"({low} to {high})" if isfinite(change.low) else "(too few users)")


def _length_word(tokens: Interval) -> str:
    if tokens.high < 0.0:
        return "shorter"
    return "longer" if tokens.low > 0.0 else "not shown to be shorter"


def _quality_word(bad: Interval) -> str:
    if bad.low > 0.0:
        return "users are less content"
    if bad.high < SAME_WITHIN:
        return f"not worse within {100 * SAME_WITHIN:g} points of bad feedback"
    return f"not shown to be as good within {100 * SAME_WITHIN:g} points of bad feedback"


def _claims(tokens: Interval, bad: Interval) -> str:
    """Both claims, joined by `but` where one speaks for the candidate and the other does not."""
    joint = "but" if (tokens.high < 0.0) != (bad.high < SAME_WITHIN) else "and"
    return f"{_length_word(tokens)}, {joint} {_quality_word(bad)}"
