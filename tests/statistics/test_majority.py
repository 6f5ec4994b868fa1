"""What `majority` claims: the share of subsets that the right answer wins, exactly."""

import random
from collections import Counter
from itertools import combinations
from math import isnan

import pytest

from laconic.statistics.majority import Votes, majority_at_k, mean_majority_at_k, votes
from laconic.types import Grade

C, W, N, T, U = Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED, Grade.UNGRADABLE


def by_every_subset(seen, k):
    """Slow oracle: vote in every subset of k samples, sharing ties."""
    wrong = [f"wrong {number}" for number, count in enumerate(seen.wrong) for _ in range(count)]
    samples = ["right"] * seen.correct + wrong + [None] * seen.silent
    shares = []
    for subset in combinations(samples, k):
        counts = Counter(answer for answer in subset if answer)
        leaders = [answer for answer in counts if counts[answer] == max(counts.values())]
        shares.append(("right" in leaders) / len(leaders) if leaders else 0.0)
    return sum(shares) / len(shares)


def test_majority_at_k_is_the_mean_over_all_subsets():
    """120 problems of up to 12 samples, ties of up to five answers among them."""
    rng = random.Random(0)
    for _ in range(120):
        wrong = sorted((rng.randint(1, 3) for _ in range(rng.randint(0, 4))), reverse=True)
        seen = Votes(rng.randint(0, 4), tuple(wrong)[:3], rng.randint(0, 2))
        for k in range(1, seen.attempts + 1):
            assert majority_at_k(seen, k) == pytest.approx(by_every_subset(seen, k), abs=1e-12)


def test_one_vote_is_accuracy_and_more_votes_help_a_leading_answer():
    """maj@1 of 3 right of 5 is 0.6; against two different wrong answers it rises with k; at 5 it is certain."""
    seen = Votes(correct=3, wrong=(1, 1))
    assert majority_at_k(seen, 1) == pytest.approx(0.6)
    values = [majority_at_k(seen, k) for k in (1, 3, 5)]
    assert values == sorted(values)
    assert values[-1] == 1.0


def test_all_samples_vote_once_and_ties_are_shared():
    """Two against two: half. One against one, one, one: a quarter. Nobody votes: not right."""
    assert majority_at_k(Votes(2, (2, 1)), 5) == 0.5
    assert majority_at_k(Votes(1, (1, 1, 1)), 4) == 0.25
    assert majority_at_k(Votes(0, (), silent=3), 3) == 0.0
    assert isnan(majority_at_k(Votes(1, (1,)), 3))
    with pytest.raises(ValueError, match="k >= 1"):
        majority_at_k(Votes(1), 0)


def test_answers_are_the_same_vote_where_their_cleaned_texts_agree():
    """Right ones are one answer however written; no answer, truncated and a wrong one without text do not vote."""
    grades = [C, C, W, W, W, N, T, W, U]
    answers = ["1/2", "0.5", r"\frac12", r"$\dfrac{1}{2}$", "3", None, "1/2", None, "1/2"]
    assert votes(grades, answers) == Votes(correct=2, wrong=(2, 1), silent=3)
    with pytest.raises(ValueError):
        votes([C], [])


def test_problems_with_too_few_gradable_samples_are_left_out():
    """maj@2 of (1 right, 1 wrong) is a tie, 0.5; the other has one gradable sample."""
    problems = [votes([C, W], ["1", "2"]), votes([C, U], ["1", "1"])]
    assert mean_majority_at_k(problems, 2) == 0.5
    assert isnan(mean_majority_at_k(problems, 3))


def test_64_samples_are_no_trouble():
    """33 of 64 against 31 alike: among 63 drawn either 33 or 32 right of 63, the lead always."""
    assert majority_at_k(Votes(33, (31,)), 63) == pytest.approx(1.0)
    assert majority_at_k(Votes(1, (1,) * 63), 32) == pytest.approx(0.5 * 1 / 32)  # drawn: 1/2, then a tie of 32
