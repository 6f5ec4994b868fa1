"""A grader of one's own: replies to support tickets, which no algebra can compare.

    laconic evaluate MODEL examples/support_tickets/tickets.jsonl --grader examples/support_tickets/grader.py:grade --prompt none

The gold answer of a ticket says what a reply must and must not have, as a team wrote it down: the queue that takes the ticket
over, the terms of the trade that have to be there, and promises that nobody may make:

    queue: billing; say: refund, 14 days; never: today

Tickets, products and rules are made up.
"""

import re
from collections.abc import Sequence

from laconic.grading.own import Attempt

QUEUES = ("billing", "delivery", "repair", "privacy")


def grade(attempt: Attempt) -> tuple[str, str | None]:
    """The grade of a reply, and the queue that it names, by which the replies of several samples are recognised as equal.

    A reply that names no queue, or more than one, has no answer: nobody would know who takes the ticket over.
    """
    rules = rules_of(attempt.gold)
    named = [queue for queue in QUEUES if has_word(attempt.reply, queue)]
    if len(named) != 1:
        return "no_answer", None
    is_right = (
        named == rules["queue"]
        and all(has_word(attempt.reply, term) for term in rules["say"])
        and not any(has_word(attempt.reply, term) for term in rules["never"])
    )
    return ("correct" if is_right else "wrong"), named[0]


def rules_of(gold: str) -> dict[str, Sequence[str]]:
    """What a gold answer asks for, by its key.

    >>> rules_of("queue: billing; say: refund, 14 days")
    {'queue': ['billing'], 'say': ['refund', '14 days'], 'never': []}
    """
    rules: dict[str, Sequence[str]] = {"queue": [], "say": [], "never": []}
    for part in gold.split(";"):
        key, _, terms = part.partition(":")
        rules[key.strip()] = [term.strip() for term in terms.split(",")]
    return rules


def has_word(text: str, term: str) -> bool:
    """Whether a term stands in the text as whole words, whatever their capitals."""
    return re.search(rf"\b{re.escape(term)}\b", text, re.IGNORECASE) is not None
