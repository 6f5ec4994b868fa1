"""What a request and a feedback leave behind: frozen records of figures and of words from fixed lists.

A record of a request has no field for a text that a client or a model wrote. Every word in it comes from the operator (route,
model, version, tag), or from a list in this module (finish). Texts have a record of their own, which only `consent.py` makes.
"""

from dataclasses import asdict, dataclass
from typing import Any

FINISHES = ("stop", "length", "content_filter", "tool_calls", "client_left", "error", "other")
"""How a request ended. What an upstream calls otherwise is stored as `other`."""


@dataclass(frozen=True, slots=True)
class TrafficRecord:
    """The figures of one request.

    `at` is when it came, in seconds since 1970; `user` is a pseudonym; `version` is what the operator calls the weights. Tokens
    are those that the engine counted, None where it counted none. `cost` is in the unit of the route's prices, None without.
    """

    id: str
    at: float
    route: str
    model: str
    version: str
    tag: str
    user: str
    status: int
    finish: str
    is_streamed: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    thinking_tokens: int | None
    budget: int | None
    is_cut: bool | None
    first_token_seconds: float | None
    seconds: float
    cost: float | None


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """What a user says of a response: `rating` is good or bad, `length` too_long or too_short; each is "" where nothing is said.

    `correction` and `comment` are texts, and empty unless the user consented that they are kept.
    """

    request_id: str
    at: float
    user: str
    rating: str
    length: str
    correction: str = ""
    comment: str = ""

    def to_row(self) -> dict[str, Any]:
        """The row of the store: that there was a correction stays when the correction is deleted."""
        return {**asdict(self), "is_corrected": self.correction != ""}


def finish_word(said: object) -> str:
    """The word of `FINISHES` for what an upstream says.

    >>> finish_word("stop"), finish_word("the user's name is Ann")
    ('stop', 'other')
    """
    return said if isinstance(said, str) and said in FINISHES else "other"
