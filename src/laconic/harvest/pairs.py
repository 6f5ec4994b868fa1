"""The program `traffic pairs`: two responses to one question of which one is preferred, for losses that learn from pairs.

1. A response is right where its user called it good, an expert did, or it gives the gold answer that the question has
   (`golds.py`); it is wrong where it was called bad, or gives another answer. One that is both, or neither, is in no pair.
2. The shortest right response that nobody called too short is preferred to each wrong one (`rating`), to each right one that was
   called too long (`too_long`), and to each right one more than `ratio` times as long (`length`); cf. Kimi k1.5 (arXiv
   2501.12599, section 2.4, "DPO").
3. A right response that was called too short gives way to the shortest right one that is longer (`too_short`).
4. What experts found better than another response, side by side, is preferred to it before all this (`expert`).
5. A response that is empty, was cut off, whose thinking was ended at a budget, or in which something was redacted, is in no
   pair: no end of it, an end that the model did not write, or a mark, would be learnt.
6. Only responses to the same words are compared: "Be brief." and "Check your work." ask for different lengths. The gold answer
   is that of the question in all its wordings.

The texts are those of the store, with their thinking. A question gives `most` pairs at most, those of people's words first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.config.defaults import PAIR_RATIO, PAIRS_PER_QUESTION
from laconic.harvest.golds import Gold, GoldRule, gold_of
from laconic.harvest.problems import LEAKED, UNREADABLE, Harvest, is_readable
from laconic.harvest.questions import REDACTED, AnsweredRequest, Question, StoredQuestions
from laconic.harvest.votes import is_same
from laconic.selection.program import leaking
from laconic.types import Problem

NO_PAIR = "without two responses of which one is preferred"
PAIR_KINDS = ("expert", "rating", "too_long", "too_short", "length")
"""Why a response is preferred, people's words first."""


@dataclass(frozen=True, slots=True)
class PreferredPair:
    """Two responses to one question, and why the first is preferred: one of `PAIR_KINDS`."""

    chosen: AnsweredRequest
    rejected: AnsweredRequest
    kind: str


def harvest_pairs(
    stored: StoredQuestions,
    rule: GoldRule,
    reported: Sequence[Sequence[Problem]] = (),
    *,
    ratio: float = PAIR_RATIO,
    most: int = PAIRS_PER_QUESTION,
) -> Harvest:
    """The pairs that stored questions make, as rows of a file of problems with the texts `chosen` and `rejected`. Questions that
    occur in a set of `reported` make none."""
    left_out, rows = Counter(stored.left_out), []
    leaks = leaking([Problem(question.key, question.text, "") for question in stored.questions], reported)
    for question in stored.questions:
        if question.key in leaks:
            left_out[LEAKED] += 1
            continue
        gold = gold_of(question, (), rule)
        told = gold if isinstance(gold, Gold) and gold.answer else None
        found = [(asked, pair) for asked in question.wordings for pair in _once(pairs_of(asked, told, ratio))]
        found.sort(key=lambda one: PAIR_KINDS.index(one[1].kind))
        written = [row for asked, pair in found if is_readable(row := _row(asked, pair))]
        rows += written[:most]
        left_out[NO_PAIR if not found else UNREADABLE] += not written
    return Harvest(tuple(rows), Counter(row["preferred_by"] for row in rows), left_out)


def _once(pairs: Iterable[PreferredPair]) -> list[PreferredPair]:
    """Each two responses once, as they were preferred first; two of the same words tell nothing apart."""
    found: dict[frozenset[str], PreferredPair] = {}
    for pair in pairs:
        if pair.chosen.response == pair.rejected.response:
            continue
        found.setdefault(frozenset({pair.chosen.id, pair.rejected.id}), pair)
    return list(found.values())


def pairs_of(question: Question, gold: Gold | None, ratio: float) -> Iterator[PreferredPair]:
    """The pairs of one question in one wording, those of people's words first."""
    usable = [asked for asked in question.requests if _is_whole(asked)]
    verdicts = {asked.id: _is_right(asked, gold) for asked in usable}
    lengths = _lengths(usable)
    right = sorted((asked for asked in usable if verdicts[asked.id] is True), key=lambda asked: lengths[asked.id])
    wrong = [asked for asked in usable if verdicts[asked.id] is False]
    yield from _by_experts(usable)
    best = next((asked for asked in right if asked.length != "too_short"), None)
    if best is None:
        return
    longer = [asked for asked in right if lengths[asked.id] > lengths[best.id]]
    yield from (PreferredPair(best, asked, "rating") for asked in wrong)
    yield from (PreferredPair(best, asked, "too_long") for asked in longer if asked.length == "too_long")
    for short in (asked for asked in right if asked.length == "too_short"):
        longer_ones = (asked for asked in right if lengths[asked.id] > lengths[short.id])
        fuller = next((asked for asked in longer_ones if asked.length != "too_short"), None)
        if fuller is not None:
            yield PreferredPair(fuller, short, "too_short")
    far = [asked for asked in longer if not asked.length and lengths[asked.id] > ratio * lengths[best.id]]
    yield from (PreferredPair(best, asked, "length") for asked in far)


def _is_whole(asked: AnsweredRequest) -> bool:
    is_ended = asked.is_finished and not asked.is_cut
    return is_ended and bool(asked.response.strip()) and not REDACTED.search(asked.response)


def _by_experts(usable: Sequence[AnsweredRequest]) -> Iterator[PreferredPair]:
    """The pairs of which experts find the first response better, and it has an answer."""
    by_id = {asked.id: asked for asked in usable}
    for asked in usable:
        worse = [by_id[name] for name in sorted(asked.expert.better_than) if name in by_id]
        yield from (PreferredPair(asked, other, "expert") for other in worse if asked.answer is not None)


def _is_right(asked: AnsweredRequest, gold: Gold | None) -> bool | None:
    """Whether a response is right; None where nothing says so, or what is said contradicts itself. An expert's word counts before
    all others."""
    if asked.expert.is_right is not None:
        return asked.expert.is_right
    said = {"good": True, "bad": False}.get(asked.rating)
    if asked.correction.strip():
        said = False
    answer = asked.answer
    if gold is None or answer is None:
        return said if answer is not None or said is False else None
    gives_gold = is_same(answer, gold.answer)
    return gives_gold if said in (None, gives_gold) else None


def _lengths(usable: Sequence[AnsweredRequest]) -> Mapping[str, int]:
    """The length of each response by the request's id: in tokens, or in characters where not every engine counted tokens."""
    tokens = {asked.id: asked.num_tokens for asked in usable if asked.num_tokens is not None}
    return tokens if len(tokens) == len(usable) else {asked.id: len(asked.response) for asked in usable}


def _row(question: Question, pair: PreferredPair) -> Mapping[str, Any]:
    chosen, rejected = pair.chosen, pair.rejected
    return {
        "id": f"traffic/{chosen.id}/{rejected.id}",
        "problem": question.text,
        "answer": chosen.answer,
        "chosen": chosen.response,
        "rejected": rejected.response,
        "traffic_request": list(dict.fromkeys([question.requests[0].id, chosen.id, rejected.id])),
        "tag": question.requests[0].tag,
        "preferred_by": pair.kind,
        "chosen_tokens": chosen.num_tokens,
        "rejected_tokens": rejected.num_tokens,
    }
