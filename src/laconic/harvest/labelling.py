"""The program `traffic next`: which stored responses an expert should label next.

1. Questions whose right answer someone has told (a rating, a correction, an expert's label) are done.
2. Of every other one the answers are counted as votes (`votes.py`), and the response is taken whose label is expected to tell
   most (`statistics/information.py`): the one whose answer is nearest to being as likely right as wrong.
3. Beside it stands the response with the next answer in votes, or, where all agree, the one of most different length: labellers
   see two responses, side by side.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from laconic.harvest.questions import UNLABELLED, AnsweredRequest, Question
from laconic.harvest.votes import is_same, tally, vote_places
from laconic.statistics.information import beliefs, label_information


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
    told = information_of(question)
    if not told:
        return None
    most = max(told.values())
    first = next(asked for asked in question.requests if told.get(asked.id) == most)
    return LabelWish(question, first, _beside(question, first), most)


def information_of(question: Question) -> dict[str, float]:
    """What a label of each response to a question is expected to tell, by the request's id, in nats; nothing where someone has
    told, and nothing of a response without an answer."""
    if any(asked.rating or asked.correction or asked.expert != UNLABELLED for asked in question.requests):
        return {}
    answers = {asked.id: answer for asked in question.requests if (answer := asked.answer) is not None}
    places = vote_places(list(answers.values()))
    votes = Counter(places)
    told = {
        place: label_information(p) for place, p in zip(votes, beliefs([votes[place] for place in votes]), strict=True)
    }
    return {name: told[place] for name, place in zip(answers, places, strict=True)}


def _beside(question: Question, first: AnsweredRequest) -> AnsweredRequest | None:
    """The response to show beside another: of those with another answer one of the most frequent, else the one of most different
    length."""
    assert first.answer is not None
    answered = [asked for asked in question.requests if asked.answer is not None and asked.id != first.id]
    others = [asked for asked in answered if asked.answer is not None and not is_same(asked.answer, first.answer)]
    if others:
        counted = tally([asked.answer for asked in others])
        return next(a for a in others if a.answer is not None and is_same(a.answer, counted.votes[0][0]))
    return max(answered, key=lambda asked: abs(len(asked.response) - len(first.response)), default=None)
