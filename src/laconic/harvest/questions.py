"""The questions that users asked, with the responses they got and what they said of them.

1. `read_questions` reads the texts of the store, which are those of users who consented, with their figures and feedback.
2. A conversation of one user's message is a question. Others are counted: a problem has no earlier turn and no system prompt.
3. A question in which the redaction replaced something is left out, since it may ask for what is gone.
4. Requests that asked the same question (`problems/sets.py`) belong together, in the order in which they came.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from laconic.grading.extraction import extract_answer
from laconic.problems.sets import question_key
from laconic.traffic.redaction import PATTERNS
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import FEEDBACK, REQUESTS, TEXTS
from laconic.types import Problem

REDACTED = re.compile("|".join(re.escape(f"[{name}]") for name, _ in PATTERNS))
_COLUMNS = (
    *(REQUESTS.c[name] for name in ("id", "at", "tag", "user", "finish", "completion_tokens")),
    TEXTS.c.prompt,
    TEXTS.c.response,
    *(FEEDBACK.c[name] for name in ("rating", "length", "correction")),
)


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """One request with the texts of its question and its response, and the feedback to it ("" where nothing was said).

    `num_tokens` is the length of the response, None where the engine did not count it; `user` is a pseudonym.
    """

    id: str
    at: float
    tag: str
    user: str
    question: str
    response: str
    is_finished: bool
    num_tokens: int | None
    rating: str
    length: str
    correction: str

    @property
    def answer(self) -> str | None:
        """The final answer of the response; None where it has none, or was cut off."""
        return extract_answer(self.response) if self.is_finished else None


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the requests that asked it, earliest first."""

    key: str
    requests: tuple[AnsweredRequest, ...]

    @property
    def text(self) -> str:
        """The question as it was asked first."""
        return self.requests[0].question


@dataclass(frozen=True, slots=True)
class StoredQuestions:
    """The questions, in the order in which they were first asked, and how many texts are none, by the reason."""

    questions: tuple[Question, ...]
    left_out: Mapping[str, int]


def read_questions(store: TrafficStore, *, route: str | None = None, tag: str | None = None) -> StoredQuestions:
    """The questions of a store, all or those of one route or tag."""
    left_out: Counter[str] = Counter()
    by_key: dict[str, list[AnsweredRequest]] = {}
    for row in _rows(store, route, tag):
        question = question_of(row["prompt"])
        if (reason := _objection(question)) is not None:
            left_out[reason] += 1
            continue
        assert question is not None
        by_key.setdefault(question_key(Problem("", question, "")), []).append(_request(row, question))
    return StoredQuestions(tuple(Question(key, tuple(asked)) for key, asked in by_key.items()), left_out)


def question_of(conversation: str) -> str | None:
    """The question of a stored conversation; None where it is not one message of a user, made of text alone.

    >>> question_of('[{"role":"user","content":"2 + 2"}]'), question_of('[{"role":"system","content":"Be brief."}]')
    ('2 + 2', None)
    """
    turns = turns_of(conversation)
    if len(turns) != 1 or turns[0].get("role") != "user" or not isinstance(turns[0].get("content"), str):
        return None
    return str(turns[0]["content"])


def turns_of(conversation: str) -> Sequence[Mapping[str, Any]]:
    """The messages of a stored conversation; none where it is no list of messages."""
    try:
        turns = json.loads(conversation)
    except ValueError:
        return []
    return turns if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns) else []


def _objection(question: str | None) -> str | None:
    if question is None:
        return "of several turns, with a system prompt, or not of text alone"
    if not question.strip():
        return "empty"
    return "redacted" if REDACTED.search(question) else None


def _rows(store: TrafficStore, route: str | None, tag: str | None) -> Iterator[Mapping[str, Any]]:
    joined = REQUESTS.join(TEXTS, TEXTS.c.request_id == REQUESTS.c.id).outerjoin(
        FEEDBACK, FEEDBACK.c.request_id == REQUESTS.c.id
    )
    query = select(*_COLUMNS).select_from(joined).order_by(REQUESTS.c.at, REQUESTS.c.id)
    for column, wanted in ((REQUESTS.c.route, route), (REQUESTS.c.tag, tag)):
        query = query if wanted is None else query.where(column == wanted)
    with store.engine.connect() as connection:
        for row in connection.execute(query).mappings():
            yield dict(row)


def _request(row: Mapping[str, Any], question: str) -> AnsweredRequest:
    return AnsweredRequest(
        id=row["id"],
        at=row["at"],
        tag=row["tag"],
        user=row["user"],
        question=question,
        response=row["response"],
        is_finished=row["finish"] == "stop",
        num_tokens=row["completion_tokens"],
        rating=row["rating"] or "",
        length=row["length"] or "",
        correction=row["correction"] or "",
    )
