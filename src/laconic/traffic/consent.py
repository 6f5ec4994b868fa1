"""The one door through which a text can be kept.

1. The operator allows it: the route's policy is `consent`. It is `never` unless someone wrote otherwise.
2. The user consents, in the header `x-laconic-consent: text` of this one request. Nothing else is consent: no header of an
   earlier request, no field of the body, no other word, no second header that says something else.
3. Only then does `keep_text` give back a `KeptText`, which is the only thing that the store writes into its table of texts. The
   text in it is as the user wrote it; the writer redacts it before it reaches a disk.

The same two conditions hold for the texts of a feedback (`may_keep`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from laconic.system.text import well_formed
from laconic.traffic.conversations import to_prompt

CONSENT_HEADER, CONSENT_WORD = "x-laconic-consent", "text"


class TextPolicy(StrEnum):
    """What an operator allows on a route: that texts are kept of users who consent, or of nobody."""

    NEVER = "never"
    CONSENT = "consent"


@dataclass(frozen=True, slots=True)
class KeptText:
    """The texts of one request whose user consented, not yet redacted. Made by `keep_text` alone.

    `prompt` is the conversation as compact JSON (`conversations.py`), `response` the whole text with its thinking.
    """

    request_id: str
    user: str
    at: float
    prompt: str
    response: str


def may_keep(policy: TextPolicy, headers: Sequence[str]) -> bool:
    """Whether a text may be kept, given every value of the consent header that came with the request.

    >>> may_keep(TextPolicy.CONSENT, ["text"]), may_keep(TextPolicy.NEVER, ["text"]), may_keep(TextPolicy.CONSENT, [])
    (True, False, False)
    >>> may_keep(TextPolicy.CONSENT, ["text", "none"]), may_keep(TextPolicy.CONSENT, ["yes"])
    (False, False)
    """
    return policy is TextPolicy.CONSENT and len(headers) == 1 and headers[0].strip().lower() == CONSENT_WORD


def keep_text(
    policy: TextPolicy,
    headers: Sequence[str],
    *,
    request_id: str,
    user: str,
    at: float,
    messages: Iterable[object],
    response: str,
) -> KeptText | None:
    """The texts of a request, or None where they may not be kept. A completion without roles is one message of the user.

    `messages` are as the client sent them, each with role and content.
    """
    if not may_keep(policy, headers):
        return None
    return KeptText(request_id, user, at, to_prompt(messages), well_formed(response))
