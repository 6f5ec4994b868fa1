"""When to send the next request to a server that others use too.

1. A `Window` limits how many requests may be in flight. It grows by about one for each window of answers and is halved when the
   server says that there are too many (additive increase, multiplicative decrease: Chiu and Jain 1989), so that a rate limit is
   found once instead of being exceeded again and again.
2. Several refusals of requests that were sent before the window shrank count as one and halve it once.
3. Where a server says how long to wait, the window is closed for that long, for all requests, since they share the limit.
4. A request that failed waits a random time between 0 and a bound that doubles (full jitter: Brooker 2015, "Exponential Backoff
   And Jitter"), so that requests that failed together do not return together.

The only part of HTTP here is the form of one header. What is left out: limits in tokens per minute, which some servers announce
in headers of their own; they too lead to refusals.
"""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC
from email.utils import parsedate_to_datetime

BASE_SECONDS = 0.5
MOST_SECONDS = 60.0


def backoff_seconds(num_failures: int, jitter: random.Random) -> float:
    """The wait in seconds after `num_failures` failures, 1 or more: uniform from 0 to min(60, 0.5 * 2^(num_failures - 1))."""
    bound = min(MOST_SECONDS, BASE_SECONDS * 2.0 ** min(num_failures - 1, 16))
    return jitter.uniform(0.0, bound)


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110, 10.2.3: a number of seconds, or a date); `now` in Unix seconds.
    Some servers send fractions of a second, which the RFC does not know.

    None where there is no header, or it holds neither.

    >>> retry_after_seconds("120", now=0.0), retry_after_seconds("1.5", now=0.0), retry_after_seconds("soon", now=0.0)
    (120.0, 1.5, None)
    >>> retry_after_seconds("Thu, 01 Jan 1970 00:01:30 GMT", now=60.0)
    30.0
    """
    if value is None:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # "-0000" is read as a time without a zone
    return max(0.0, moment.timestamp() - now)


class Window:
    """At most `size` requests are in flight, never more than `most`. A window belongs to one event loop.

    `size` is a real number, so that a window of n can grow by 1/n per answer; its whole part is the limit.
    """

    def __init__(self, most: int, size: float) -> None:
        self.most = most
        self.size = max(1.0, min(float(most), size))
        self.in_flight = 0
        self.opens_at = 0.0  # by the loop's clock
        self._num_started = 0
        self._shrunk_at = 0  # number of the first request that was sent after the window last shrank
        self._left = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        """One place in the window for as long as the block runs; the value numbers the turns in order of sending."""
        async with self._left:
            await self._left.wait_for(lambda: self.in_flight < int(self.size))
            self.in_flight += 1
        try:
            yield await self._start()
        finally:
            async with self._left:
                self.in_flight -= 1
                self._left.notify(2)  # for the place that became free, and perhaps one by which the window has grown

    async def _start(self) -> int:
        """Wait while the window is closed, even if it is closed for longer in the meantime."""
        clock = asyncio.get_running_loop().time
        while (wait := self.opens_at - clock()) > 0:
            await asyncio.sleep(wait)
        self._num_started += 1
        return self._num_started

    def grow(self) -> None:
        """Grow the window by 1/size, after an answer."""
        self.size = min(float(self.most), self.size + 1.0 / self.size)

    def shrink(self, turn: int) -> None:
        """Set the window to half of what is in flight, at least 1, since the request of this turn was one too many."""
        if turn > self._shrunk_at:
            self.size = max(1.0, min(self.size, float(self.in_flight)) / 2)
            self._shrunk_at = self._num_started

    def close_for(self, seconds: float) -> None:
        """Send no request for so many seconds."""
        self.opens_at = max(self.opens_at, asyncio.get_running_loop().time() + seconds)
