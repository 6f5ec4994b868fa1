"""The questions that users asked, with the responses they got and what they said of them.

1. `read_questions` reads the texts of the store, which are those of users who consented, with figures, feedback, and what experts
   say of them. A response is right or wrong for an expert where all who are sure of it say so.
2. A conversation of one user's message is a question. Others are counted: a problem has no earlier turn and no system prompt.
3. A question in which the redaction replaced something is left out, since it may ask for what is gone.
4. Requests that asked the same question (`problems/sets.py`) belong together, in the order in which they came.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from laconic.grading.extraction import extract_answer
from laconic.grading.thought import after_thought
from laconic.problems.sets import question_key
from laconic.traffic.conversations import PART_KINDS, messages_of
from laconic.traffic.redaction import PATTERNS
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import FEEDBACK, LABELS, REQUESTS, TEXTS
from laconic.types import Problem

NOT_TEXT = re.compile("|".join(re.escape(f"[{kind}]") for kind in PART_KINDS))
REDACTED = re.compile("|".join(re.escape(f"[{name}]") for name, _ in PATTERNS))
_COLUMNS = (
    *(REQUESTS.c[name] for name in ("id", "at", "tag", "user", "finish", "completion_tokens", "is_cut")),
    TEXTS.c.prompt,
    TEXTS.c.response,
    *(FEEDBACK.c[name] for name in ("rating", "length", "correction")),
)


@dataclass(frozen=True, slots=True)
class ExpertWord:
    """What experts say of a response: whether it is right (None where none is sure, or they disagree), and the requests whose
    responses more of them find worse than find better."""

    is_right: bool | None = None
    better_than: frozenset[str] = frozenset()


UNLABELLED = ExpertWord()


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """One request with the texts of its question and its response, the feedback to it ("" where nothing was said), and what
    experts say of it.

    `num_tokens` is the length of the response, None where the engine did not count it; `is_cut` says that its thinking was ended
    at a budget; `user` is a pseudonym.
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
    expert: ExpertWord = UNLABELLED
    is_cut: bool = False

    @property
    def answer(self) -> str | None:
        """The final answer of the response; None where it has none, was cut off, or something after its thinking was redacted."""
        if not self.is_finished or REDACTED.search(after_thought(self.response) or ""):
            return None
        return extract_answer(self.response)


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the requests that asked it, earliest first."""

    key: str
    requests: tuple[AnsweredRequest, ...]

    @property
    def text(self) -> str:
        """The question as it was asked first."""
        return self.requests[0].question

    @property
    def wordings(self) -> tuple["Question", ...]:
        """The requests by the words in which they asked, spaces aside: one may ask for brevity and another for care."""
        by_words: dict[str, list[AnsweredRequest]] = {}
        for asked in self.requests:
            by_words.setdefault(" ".join(asked.question.split()), []).append(asked)
        return tuple(Question(self.key, tuple(some)) for some in by_words.values())


@dataclass(frozen=True, slots=True)
class StoredQuestions:
    """The questions, in the order in which they were first asked, and how many texts are none, by the reason."""

    questions: tuple[Question, ...]
    left_out: Mapping[str, int]


def read_questions(store: TrafficStore, *, route: str | None = None, tag: str | None = None) -> StoredQuestions:
    """The questions of a store, all or those of one route or tag."""
    left_out: Counter[str] = Counter()
    by_key: dict[str, list[AnsweredRequest]] = {}
    words = expert_words(store.rows(LABELS))
    for row in _rows(store, route, tag):
        question = question_of(row["prompt"])
        if (reason := _objection(question)) is not None:
            left_out[reason] += 1
            continue
        assert question is not None
        by_key.setdefault(question_key(Problem("", question, "")), []).append(_request(row, question, words))
    return StoredQuestions(tuple(Question(key, tuple(asked)) for key, asked in by_key.items()), left_out)


def question_of(conversation: str) -> str | None:
    """The question of a stored conversation; None where it is not one message of a user.

    >>> question_of('[{"role":"user","content":"2 + 2"}]'), question_of('[{"role":"system","content":"Be brief."}]')
    ('2 + 2', None)
    """
    try:
        messages = messages_of(conversation)
    except (ValueError, TypeError):  # whoever wrote it, it is no list of messages
        return None
    return messages[0]["content"] if len(messages) == 1 and messages[0]["role"] == "user" else None


def _objection(question: str | None) -> str | None:
    if question is None:
        return "of several turns or with a system prompt"
    if not question.strip():
        return "empty"
    if NOT_TEXT.search(question):
        return "with a picture, a sound or a file"
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


def expert_words(labels: Iterable[Mapping[str, Any]]) -> dict[str, ExpertWord]:
    """What the rows of the table of labels say of each response, by the request's id."""
    rights: dict[str, set[str]] = {}
    leads: Counter[tuple[str, str]] = Counter()
    for row in labels:
        rights.setdefault(row["first"], set()).add(row["first_right"])
        rights.setdefault(row["second"], set()).add(row["second_right"])
        lead = {"first": 1, "second": -1}.get(row["verdict"], 0)
        leads[row["first"], row["second"]] += lead
        leads[row["second"], row["first"]] -= lead
    worse: dict[str, set[str]] = {}
    for (better, other), lead in leads.items():
        if lead > 0:
            worse.setdefault(better, set()).add(other)
    verdicts = {frozenset({"yes"}): True, frozenset({"no"}): False}
    return {
        name: ExpertWord(verdicts.get(frozenset(said & {"yes", "no"})), frozenset(worse.get(name, ())))
        for name, said in rights.items()
        if name
    }


def _request(row: Mapping[str, Any], question: str, words: Mapping[str, ExpertWord]) -> AnsweredRequest:
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
        expert=words.get(row["id"], UNLABELLED),
        is_cut=bool(row["is_cut"]),
    )
