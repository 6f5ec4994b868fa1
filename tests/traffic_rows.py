"""Stored requests as monitoring reads them. Not a test module."""

from typing import Any

from laconic.traffic.records import TrafficRecord
from laconic.traffic.store import StoredRequest


def stored_request(name: str, at: float, version: str, user: str, **changes: Any) -> StoredRequest:
    """A streamed request on the route `r` that ended well; `changes` are of its record."""
    ended = {"status": 200, "finish": "stop", "is_streamed": True, "prompt_tokens": 10, "completion_tokens": 7}
    unknown = dict.fromkeys(("thinking_tokens", "budget", "is_cut", "cost"))
    times = {"first_token_seconds": 0.1, "seconds": 1.0}
    return StoredRequest(TrafficRecord(name, at, "r", "m", version, "", user, **(ended | unknown | times | changes)))
