"""Answers counted as votes: which one leads, and by how much.

Self-consistency (Wang et al. 2022, arXiv 2203.11171, section 2): of several responses to one question the most frequent answer is
taken for the right one. The share of the votes that it has is how sure that is. A response without an answer takes a place among
the votes and gives none, so that a question which is seldom answered is not sure.

Two answers are the same vote where the grader's rules say so (1/2 and 0.5); what only algebra could tell are two.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from laconic.config.solver import SamplerConfig
from laconic.grading.extraction import extract_answer
from laconic.grading.rules import same_answer
from laconic.rollouts.graders import NoGrader
from laconic.rollouts.solver import Solver
from laconic.statistics.majority import answer_key
from laconic.types import Problem, Progress, Response

MOST_COMPARED = 30


@dataclass(frozen=True, slots=True)
class AnswerTally:
    """The different answers with their votes, most votes first, and the number of responses, silent ones included."""

    votes: tuple[tuple[str, int], ...]
    num_responses: int

    @property
    def leader(self) -> str | None:
        """The answer with the most votes; None where there is none, or two have as many."""
        counts = [count for _, count in self.votes[:2]]
        return None if not counts or (len(counts) == 2 and counts[0] == counts[1]) else self.votes[0][0]

    @property
    def num_leading(self) -> int:
        """The votes of the first answer."""
        return self.votes[0][1] if self.votes else 0

    @property
    def share(self) -> float:
        """The share of the first answer among all responses; 0 without any."""
        return self.num_leading / self.num_responses if self.num_responses else 0.0

    def votes_for(self, answer: str) -> int:
        """The votes that an answer has."""
        return sum(count for other, count in self.votes if is_same(answer, other))


def tally(answers: Sequence[str | None]) -> AnswerTally:
    """Count the answers of several responses, None for each that has none.

    >>> tally(["0.5", "1/2", "3", None]).votes, tally(["0.5", "1/2", "3", None]).share
    ((('0.5', 2), ('3', 1)), 0.5)
    """
    given = [answer for answer in answers if answer is not None]
    places = vote_places(given)
    counts = Counter(places)
    firsts = dict(zip(reversed(places), reversed(given), strict=True))
    return AnswerTally(tuple((firsts[place], count) for place, count in counts.most_common()), len(answers))


def vote_places(answers: Sequence[str]) -> list[int]:
    """For each answer the number of its vote: the same for answers that are the same, counted from 0 by first occurrence.

    The rules compare an answer with the first `MOST_COMPARED` different ones; whether it is one of the others, its text says
    alone. Otherwise many copies of a question with an answer each would take the square of their number.
    """
    firsts: list[str] = []
    by_key: dict[str, int] = {}
    places: list[int] = []
    for answer in answers:
        key = answer_key(answer)
        if key not in by_key:
            compared = enumerate(firsts[:MOST_COMPARED])
            place = next((n for n, other in compared if same_answer(answer, other) is True), len(firsts))
            firsts += [answer] if place == len(firsts) else []
            by_key[key] = place
        places.append(by_key[key])
    return places


def is_same(answer: str, other: str) -> bool:
    """Whether two answers are one vote."""
    return answer_key(answer) == answer_key(other) or same_answer(answer, other) is True


def draw_answers(
    solver: Solver,
    questions: Sequence[Problem],
    num_samples: int,
    decoding: SamplerConfig,
    *,
    seed: int,
    on_progress: Progress | None = None,
) -> dict[str, list[str | None]]:
    """The answers of `num_samples` responses to each question, by the question's id; None for each that has none."""
    asked = Solver(solver.lm, solver.sampler, NoGrader(), solver.prompt, solver.team)
    groups = asked.attempt(questions, num_samples, decoding, seed=seed, on_progress=on_progress)
    return {group.problem.id: [_answer(rollout.response) for rollout in group.rollouts] for group in groups}


def _answer(response: Response) -> str | None:
    is_silent = response.is_truncated or response.is_withheld or response.is_all_thinking
    return None if is_silent else extract_answer(response.text)
