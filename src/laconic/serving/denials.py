"""Requests that get no response: a status and a message in the shape of OpenAI's errors, which its clients read.

A `Denial` is raised wherever a request is found to be impossible, and written in one place. Its message names a field or a limit;
what a client wrote is quoted only to that client, and nothing of it is stored.
"""

import json
from collections.abc import Mapping

DENIAL_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "server_error",
    502: "upstream_error",
    504: "timeout_error",
}
"""The status of a denial, and what OpenAI's clients call its kind."""


class Denial(Exception):  # noqa: N818  (a decision, not a mistake)
    """Why a request gets no response. `reason` is one word for the metrics, `wait_seconds` when it may be sent again."""

    def __init__(
        self, status: int, message: str, *, reason: str, field: str | None = None, wait_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason
        self.field, self.wait_seconds = field, wait_seconds

    @property
    def content(self) -> bytes:
        """The body of the reply."""
        kind = DENIAL_KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.field, "code": self.reason}
        return json.dumps({"error": error}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the body."""
        waits = {} if self.wait_seconds is None else {"retry-after": str(self.wait_seconds)}
        return waits | ({"www-authenticate": "Bearer"} if self.status == 401 else {})
