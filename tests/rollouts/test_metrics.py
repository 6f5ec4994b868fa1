"""The signs of a collapse in the metrics of a step's rollouts."""

import math

import pytest

from laconic.rollouts.metrics import LOOP_NGRAM, LOOP_WINDOW, end_probability, repeated_share, rollout_metrics
from laconic.types import FinishReason, Grade, Group, Problem, Response, Rollout


def response(ids: list[int], reason: FinishReason = FinishReason.STOP, end: float = 1.0) -> Response:
    """A response that ends in a token of probability `end`."""
    logprobs = (*[0.0] * (len(ids) - 1), math.log(end)) if ids else ()
    return Response(tuple(ids), logprobs, "", reason)


def test_a_loop_is_counted_from_its_second_round_on() -> None:
    """Two rounds of 20 tokens: half of them repeat; a response without a repetition beside it halves the share."""
    rounds = list(range(LOOP_NGRAM)) * 2
    assert repeated_share([response(rounds)]) == 0.5
    assert repeated_share([response(rounds), response(list(range(100, 140)))]) == 0.25
    assert repeated_share([response([7] * 10)]) == 0.0  # too short to hold two 20-grams


def test_only_the_newest_tokens_of_a_long_response_are_read() -> None:
    """A loop that ended 512 tokens ago is not seen; one that goes on is all there is."""
    loop, rest = [1, 2, 3] * 200, list(range(10, 10 + LOOP_WINDOW))
    assert repeated_share([response(loop + rest)]) == 0.0
    assert repeated_share([response(rest + loop)]) > 0.9


def test_the_end_token_is_read_where_one_was_drawn() -> None:
    """(0.5 + 0.25) / 2; a response that was cut off ends in some other token."""
    cut = response([1, 2], FinishReason.LENGTH, end=0.001)
    assert end_probability([response([1], end=0.5), response([1], end=0.25), cut]) == pytest.approx(0.375)


def test_what_does_not_exist_is_none() -> None:
    """No ids behind an endpoint, no end drawn, nothing gradable."""
    told = Response((), (), "text", FinishReason.LENGTH, reported_tokens=5)
    assert repeated_share([told]) is None and end_probability([told]) is None
    group = Group(Problem("p", "", ""), (1,), (Rollout(told, Grade.UNGRADABLE, 0),))
    metrics = rollout_metrics([group])
    assert metrics["rollouts/reward_std"] is None and metrics["rollouts/accuracy_frac"] is None


def test_the_spread_of_rewards_leaves_out_what_could_not_be_graded() -> None:
    """1 and 0 differ from their mean by a half; the 0 of an ungradable response is no reward."""
    grades = (Grade.CORRECT, Grade.WRONG, Grade.UNGRADABLE, Grade.UNGRADABLE)
    rollouts = tuple(Rollout(response([1]), grade, i, reward=float(i == 0)) for i, grade in enumerate(grades))
    assert rollout_metrics([Group(Problem("p", "", ""), (1,), rollouts)])["rollouts/reward_std"] == 0.5


def test_the_mean_reward_leaves_out_what_could_not_be_graded() -> None:
    """1 and 0 are 0.5 on average, however many the grader could not judge."""
    grades = (Grade.CORRECT, Grade.WRONG, Grade.UNGRADABLE, Grade.UNGRADABLE)
    rollouts = tuple(Rollout(response([1]), grade, i, reward=float(i == 0)) for i, grade in enumerate(grades))
    assert rollout_metrics([Group(Problem("p", "", ""), (1,), rollouts)])["rollouts/reward_mean"] == 0.5
    lost = Group(Problem("p", "", ""), (1,), rollouts[2:])
    assert rollout_metrics([lost])["rollouts/reward_mean"] is None
