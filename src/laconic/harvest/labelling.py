"""The program `traffic next`: which stored responses an expert should label next.

1. Questions whose right answer someone has told (a rating, a correction, an expert's label) are done.
2. Of every other one the answers are counted as votes (`votes.py`), and the response is taken whose label is expected to tell
   most (`statistics/information.py`): the one whose answer is nearest to being as likely right as wrong.
3. Beside it stands the response with the next answer in votes, or, where all agree, the one of most different length: labellers
   see two responses, side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from laconic.harvest.questions import AnsweredRequest, Question
from laconic.harvest.votes import is_same, tally
from laconic.statistics.information import belief, label_information


@dataclass(frozen=True, slots=True)
class LabelWish:
    """A response to label, another one to show beside it (None where there is none), and what the label is expected to tell, in
    nats."""

    question: Question
    first: AnsweredRequest
    second: AnsweredRequest | None
    information: float


def next_labels(questions: Sequence[Question], count: int | None = None) -> list[LabelWish]:
    """The `count` labels that are expected to tell most, most first; of equal ones the earlier question."""
    wishes = [wish for question in questions if (wish := wish_of(question)) is not None]
    return sorted(wishes, key=lambda wish: -wish.information)[:count]


def wish_of(question: Question) -> LabelWish | None:
    """The response to a question whose label tells most; None where someone has told, or no response gives an answer."""
    if any(asked.rating or asked.correction for asked in question.requests):
        return None
    answers = {asked.id: asked.answer for asked in question.requests}
    counted = tally(list(answers.values()))
    if not counted.votes:
        return None
    informed = [
        (label_information(belief(votes, counted.num_responses, len(counted.votes))), answer)
        for answer, votes in counted.votes
    ]
    information, answer = max(informed, key=lambda pair: pair[0])
    own = [a for a in question.requests if (given := answers[a.id]) is not None and is_same(given, answer)]
    return LabelWish(question, own[0], _beside(question, own), information)


def _beside(question: Question, own: Sequence[AnsweredRequest]) -> AnsweredRequest | None:
    """The response to show beside the first of those with one answer: one with another answer, else the one of most different
    length."""
    others = [asked for asked in question.requests if asked not in own and asked.answer is not None]
    if others:
        counted = tally([asked.answer for asked in others])
        return next(a for a in others if a.answer is not None and is_same(a.answer, counted.votes[0][0]))
    rest = own[1:]
    return max(rest, key=lambda asked: abs(len(asked.response) - len(own[0].response))) if rest else None
