"""What is taken for the right answer to a question, whose word that is, and how sure it is.

1. The answer of a response that an expert calls right is taken, unless experts call two answers right.
2. Users' corrections are claims. One is taken where more users make it than any other and at least `min_agreeing` do; where
   `is_confirmed` is asked for, the responses' votes must lead to it as well.
3. Else the answer on which the responses agree is taken, if at least `min_share` of at least `min_votes` give it, and no user's
   correction says otherwise.
4. Else a grader of one's own may judge responses without a gold answer, where one is named.
5. Else the question has no gold answer, for a reason that is said.

A response that its user called bad or corrected, or that an expert calls wrong, does not vote, and takes a place among the votes.
Of a user's corrections to one question the newest counts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.config.defaults import AGREEING_USERS, AGREEMENT_SHARE, AGREEMENT_VOTES
from laconic.errors import ProblemsError
from laconic.grading.extraction import extract_answer
from laconic.grading.normal_form import clean
from laconic.grading.numbers import quantity
from laconic.harvest.questions import REDACTED, AnsweredRequest, Question
from laconic.harvest.votes import AnswerTally, is_same, tally
from laconic.problems.records import to_problem

MOST_WORDS = 3
MATHS = re.compile(r"[0-9\\=^]")
_FORMULA_NAMES = re.compile(r"\\[A-Za-z]+|(?<![A-Za-z])(?:(?:arc)?(?:sin|cos|tan)|log|ln|exp|sqrt|pi)(?![A-Za-z])")
_NOT_IN_FORMULAS = re.compile(r"(?<!\d)[^\W\d_]{2,}|[^\W\d_]{3,}|\d(?:st|nd|rd|th)\b|[?!#@~\"`\n→]|[-=]>|:(?!\d)")
"""What no formula holds, once its commands and functions are taken out: words, and signs of speech."""
_NO_ANSWER = re.compile(
    r"\b(?:not|cannot|never|doubt|wrong|incorrect|false|off|errors?|mistakes?|typos?|faults?|bugs?|stars?|better|worse)\b"
    r"|n['’]t\b|[?≠]|\\neq?\b",
    re.IGNORECASE,
)
"""What denies an answer, asks for it, or judges a response instead of giving one."""
_REJECTED_ONE = re.compile(r"[,;(–—-]\s*(?:and |but )?not\b.*", re.DOTALL | re.IGNORECASE)
_CLAUSE_END, _SENTENCE_END = re.compile(r"[.,;:!\n](?!\d)"), re.compile(r"\.(?!\d)|\n")
UNREAD_CORRECTION = "with a correction in which no answer can be read"
CONTRADICTED = "on which corrections and votes, or corrections among themselves, disagree"
FEW_USERS = "with a correction by too few users"
NO_AGREEMENT = "without a correction or enough responses that agree"


@dataclass(frozen=True, slots=True)
class GoldRule:
    """When a correction and when an agreement is taken for the right answer; `grader` is one that needs no gold answer.

    Raises `ValueError` for numbers that make no sense.
    """

    min_agreeing: int = AGREEING_USERS
    is_confirmed: bool = False
    min_share: float = AGREEMENT_SHARE
    min_votes: int = AGREEMENT_VOTES
    grader: str | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.min_share <= 1:
            raise ValueError(f"min_share: expected a share of the votes from 0.5 to 1, got {self.min_share:g}")
        if min(self.min_agreeing, self.min_votes) < 1:
            raise ValueError(f"min_agreeing, min_votes: expected at least 1, got {self.min_agreeing}, {self.min_votes}")


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer, "" where a grader judges without one; where it comes from (`expert`, `correction`, `agreement`,
    `grader`), the requests that it rests on, and the figures that tell how sure it is."""

    answer: str
    gold_from: str
    requests: tuple[AnsweredRequest, ...]
    figures: Mapping[str, Any]


def gold_of(question: Question, drawn: Sequence[str | None], rule: GoldRule) -> Gold | str:
    """The gold answer of a question, or why it has none. `drawn` are answers of further responses, which vote as well."""
    claims, num_unread = read_corrections(question, has_rules=rule.grader is None)
    claimed, voted = tally(list(claims.values())), votes_of(question, drawn)
    return (
        _by_expert(question, voted)
        or _by_correction(question, claims, claimed, voted, rule)
        or _by_agreement(question, claimed, voted, rule)
        or _by_grader(question, claimed, rule)
        or _why_none(claimed, voted, num_unread, rule)
    )


def votes_of(question: Question, drawn: Sequence[str | None] = ()) -> AnswerTally:
    """The votes of the stored responses to a question and of further ones."""
    return tally([*map(_vote, question.requests), *drawn])


def _vote(asked: AnsweredRequest) -> str | None:
    is_doubted = asked.rating == "bad" or asked.correction.strip() or asked.expert.is_right is False
    return None if is_doubted else asked.answer


def read_corrections(question: Question, *, has_rules: bool = True) -> tuple[dict[str, str], int]:
    """The newest correction of each user, and how many corrections cannot be read.

    With `has_rules` the answer is what the package's grader reads in it; else it is the text.
    """
    claims: dict[str, str] = {}
    num_unread = 0
    for asked in question.requests:
        if not asked.correction.strip():
            continue
        answer = _readable(asked, stated_answer(asked.correction) if has_rules else asked.correction.strip())
        if answer is None:
            num_unread += 1
        else:
            claims[asked.user] = answer
    return claims, num_unread


def stated_answer(correction: str) -> str | None:
    """The answer that a correction states: in a box, after "the answer is", in its last line, or as the whole correction. None
    where it states none, or denies or doubts it.

    >>> stated_answer("No, the answer is 7."), stated_answer("12 apples"), stated_answer("12 is wrong")
    ('7', '12 apples', None)
    """
    text = correction.strip()
    stated = extract_answer(correction)
    if stated is None:
        return text if MATHS.search(text) and _is_formula(text) else None
    if _is_denied(text, stated):
        return None
    is_name = not MATHS.search(stated) and len(stated.split()) <= MOST_WORDS
    return stated if "boxed" in text or is_name or _is_formula(stated) else None


def _is_formula(text: str) -> bool:
    """Whether the whole text is a number or a formula, with at most a unit or one noun: "12 apples", but not "12 is wrong"."""
    found = quantity(clean(text))
    body = found.body if found.unit or (found.has_unit and len(text.split()) <= 2) else text
    return not (_NO_ANSWER.search(text) or _NOT_IN_FORMULAS.search(_FORMULA_NAMES.sub(" ", body)))


def _is_denied(text: str, stated: str) -> bool:
    """Whether the clause in which an answer stands, or the rest of its sentence, says that it is wrong or asks whether it is
    right. What stands after ", not" is no part of it."""
    before, found, after = text.rpartition(stated)
    after = _REJECTED_ONE.sub("", _SENTENCE_END.split(after)[0])
    return bool(found and _NO_ANSWER.search(f"{_CLAUSE_END.split(before)[-1]}{stated}{after}"))


def _readable(asked: AnsweredRequest, answer: str | None) -> str | None:
    """The answer, None where something in the correction was redacted, or no file of problems may hold it as a gold answer."""
    if answer is None or REDACTED.search(asked.correction):
        return None
    try:
        return to_problem({"id": asked.id, "problem": asked.question, "answer": answer}, "a correction").answer
    except ProblemsError:
        return None


def _by_expert(question: Question, voted: AnswerTally) -> Gold | None:
    right = [(a, answer) for a in question.requests if a.expert.is_right and (answer := a.answer) is not None]
    found = tally([answer for _, answer in right])
    if len(found.votes) != 1:
        return None
    answer = found.votes[0][0]
    figures = {"num_agreeing": 0, "vote_share": voted.votes_for(answer) / voted.num_responses}
    return Gold(answer, "expert", tuple(a for a, _ in right), figures | {"num_votes": voted.num_responses})


def _by_correction(
    question: Question, claims: Mapping[str, str], claimed: AnswerTally, voted: AnswerTally, rule: GoldRule
) -> Gold | None:
    answer = claimed.leader
    if answer is None or claimed.num_leading < rule.min_agreeing:
        return None
    is_confirmed = voted.leader is not None and is_same(voted.leader, answer) and voted.num_responses >= rule.min_votes
    if rule.is_confirmed and not is_confirmed:
        return None
    agreeing = {user for user, claim in claims.items() if is_same(claim, answer)}
    requests = tuple(asked for asked in question.requests if asked.user in agreeing and asked.correction.strip())
    share = voted.votes_for(answer) / voted.num_responses
    return Gold(
        answer,
        "correction",
        requests,
        {"num_agreeing": len(agreeing), "vote_share": share, "num_votes": voted.num_responses},
    )


def _by_agreement(question: Question, claimed: AnswerTally, voted: AnswerTally, rule: GoldRule) -> Gold | None:
    answer = voted.leader
    if answer is None or voted.share < rule.min_share or voted.num_responses < rule.min_votes:
        return None
    if any(not is_same(claim, answer) for claim, _ in claimed.votes):
        return None
    requests = tuple(a for a in question.requests if (vote := _vote(a)) is not None and is_same(vote, answer))
    figures = {"num_agreeing": 0, "vote_share": voted.share, "num_votes": voted.num_responses}
    return Gold(answer, "agreement", requests or question.requests[:1], figures)


def _by_grader(question: Question, claimed: AnswerTally, rule: GoldRule) -> Gold | None:
    if rule.grader is None or claimed.votes:
        return None
    return Gold("", "grader", question.requests[:1], {"graded_by": rule.grader})


def _why_none(claimed: AnswerTally, voted: AnswerTally, num_unread: int, rule: GoldRule) -> str:
    if not claimed.votes:
        return UNREAD_CORRECTION if num_unread else NO_AGREEMENT
    if len(claimed.votes) == 1 and claimed.num_leading < rule.min_agreeing and not _disagrees(claimed, voted):
        return FEW_USERS
    return CONTRADICTED


def _disagrees(claimed: AnswerTally, voted: AnswerTally) -> bool:
    return voted.leader is not None and not is_same(voted.leader, claimed.votes[0][0])
