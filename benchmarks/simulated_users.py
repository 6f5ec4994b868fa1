"""Users who are simulated: what they ask, how patient they are, what they say of a response, and how often they are wrong.

1. `draw_users` draws each user by name: whether texts may be kept, how many tokens of thinking are too many, how often feedback
   is given, whether wrong responses are corrected, and whether the corrections are right.
2. `reaction` is what a user says of one response to a problem whose gold answer the user knows: good or bad, too long, and
   perhaps a correction, which a careless user gets wrong.

No person is behind any of it. Real users know less, and complain of other things: what this shows is that the loop closes, and
what wrong corrections do to it, not how much any real service gains.
"""

from dataclasses import dataclass

from laconic.grading.rules import same_answer
from laconic.rng import stream
from laconic.types import Problem

TYPICAL_PATIENCE_TOKENS, SPREAD = 100.0, 0.4


@dataclass(frozen=True, slots=True)
class Population:
    """The shares of users who consent, correct, and correct carelessly, and of responses that get feedback."""

    consents: float = 0.7
    corrects: float = 0.5
    is_careless: float = 0.1
    gives_feedback: float = 0.6


@dataclass(frozen=True, slots=True)
class SimulatedUser:
    """One user; a careless one's corrections are all wrong."""

    name: str
    consents: bool
    corrects: bool
    is_careless: bool
    gives_feedback: float
    patience_tokens: float


@dataclass(frozen=True, slots=True)
class Reaction:
    """The body of a feedback; "" where nothing is said."""

    rating: str
    length: str
    correction: str


def draw_users(count: int, shares: Population, seed: int) -> list[SimulatedUser]:
    """Users by number, each from random numbers of its own."""
    return [_user(number, shares, seed) for number in range(count)]


def _user(number: int, shares: Population, seed: int) -> SimulatedUser:
    drawn = stream(seed, "simulated user", number)
    return SimulatedUser(
        name=f"simulated-{number:03d}",
        consents=drawn.random() < shares.consents,
        corrects=drawn.random() < shares.corrects,
        is_careless=drawn.random() < shares.is_careless,
        gives_feedback=shares.gives_feedback,
        patience_tokens=TYPICAL_PATIENCE_TOKENS * drawn.lognormvariate(0.0, SPREAD),
    )


def questions_of(user: SimulatedUser, problems: list[Problem], count: int, seed: int, month: str) -> list[Problem]:
    """The problems that a user asks in a month, without asking one twice."""
    return stream(seed, "asks", month, user.name).sample(problems, min(count, len(problems)))


def reaction(
    user: SimulatedUser, problem: Problem, answer: str | None, num_tokens: int, seed: int, month: str
) -> Reaction | None:
    """What a user says of a response with this answer and length; None where nothing."""
    drawn = stream(seed, "reacts", month, user.name, problem.id)
    if drawn.random() >= user.gives_feedback:
        return None
    is_right = answer is not None and same_answer(problem.answer, answer) is True
    length = "too_long" if num_tokens > user.patience_tokens else ""
    correction = "" if is_right or not user.corrects else _correction(user, problem)
    return Reaction("good" if is_right else "bad", length, correction if user.consents else "")


def _correction(user: SimulatedUser, problem: Problem) -> str:
    return str(int(problem.answer) + 1) if user.is_careless else problem.answer
