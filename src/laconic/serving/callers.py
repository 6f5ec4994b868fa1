"""Who may ask, and how much: API keys compared in constant time, and the limits of each.

1. A file of keys has a line `name = key` for each. `find` compares the hash of what a request brings with the hash of every
   key, and always with all of them, so that the time says nothing about any.
2. Without keys everyone is the caller "", and the gateway listens on this machine alone (`program.py`).
3. Each caller may have a number of requests in flight and a number of requests per minute, as a bucket of that size which
   fills up evenly. What is more gets a 429 that says when to come back.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from laconic.errors import InputError
from laconic.serving.denials import Denial
from laconic.system.files import read_bytes

LEAST_KEY_CHARACTERS = 16
_LINE = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,80})\s*=\s*(?P<key>\S+)")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The hash of each key, by the key's name. An empty ring lets everyone in, as the caller ""."""

    hashes: Mapping[str, bytes]

    def find(self, authorization: str | None) -> str:
        """The name of the key in an `Authorization` header. Raises `Denial` where it is none of the ring's."""
        if not self.hashes:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        given, found = _hash(key.strip()), None
        for name, known in self.hashes.items():
            if hmac.compare_digest(given, known):
                found = name
        if found is None or scheme.lower() != "bearer":
            raise Denial(401, "no such key; expected the header Authorization: Bearer KEY", reason="invalid_api_key")
        return found


def read_keys(path: Path) -> KeyRing:
    """The keys in a file: lines `name = key`, blank ones, and comments after #. Raises `InputError`, which quotes no key."""
    hashes: dict[str, bytes] = {}
    text = read_bytes(path).decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or not match["key"].isascii():
            raise InputError(f"{path}:{number}: expected  name = key  (a name of letters, digits, _, - and .)")
        if len(match["key"]) < LEAST_KEY_CHARACTERS:
            raise InputError(
                f"{path}:{number}: the key {match['name']} is short; expected {LEAST_KEY_CHARACTERS} characters"
            )
        digest = _hash(match["key"])
        if match["name"] in hashes or digest in hashes.values():
            raise InputError(f"{path}:{number}: {match['name']}: each name and each key may stand there once")
        hashes[match["name"]] = digest
    if not hashes:
        raise InputError(f"{path}: holds no key; expected lines  name = key")
    return KeyRing(hashes)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


# --- how much --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float
    in_flight: int = 0


class Turnstile:
    """Counts the requests of each caller. `most_in_flight` at once, `per_minute` (None: any number) over time."""

    def __init__(
        self, most_in_flight: int, per_minute: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most_in_flight, self.per_minute, self.clock = most_in_flight, per_minute, clock
        self._buckets: dict[str, _Bucket] = {}

    @contextmanager
    def passing(self, caller: str) -> Iterator[None]:
        """Inside, a request of the caller is in flight. Raises `Denial` where there are too many."""
        bucket = self._bucket(caller)
        if bucket.in_flight >= self.most_in_flight:
            raise Denial(
                429,
                f"{self.most_in_flight} requests of this key are in flight; wait for one to end",
                reason="too_many_in_flight",
                wait_seconds=1,
            )
        self._take(bucket)
        bucket.in_flight += 1
        try:
            yield
        finally:
            bucket.in_flight -= 1

    def _bucket(self, caller: str) -> _Bucket:
        found = self._buckets.get(caller)
        if found is None:
            found = self._buckets[caller] = _Bucket(float(self.per_minute or 0), self.clock())
        return found

    def _take(self, bucket: _Bucket) -> None:
        if self.per_minute is None:
            return
        now, a_second = self.clock(), self.per_minute / 60
        bucket.tokens = min(self.per_minute, bucket.tokens + (now - bucket.filled_at) * a_second)
        bucket.filled_at = now
        if bucket.tokens < 1:
            wait = ceil((1 - bucket.tokens) / a_second)
            text = f"{self.per_minute} requests per minute are allowed; wait {wait} s"
            raise Denial(429, text, reason="rate_limit_exceeded", wait_seconds=wait)
        bucket.tokens -= 1
