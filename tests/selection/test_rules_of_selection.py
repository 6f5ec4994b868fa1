"""What `selection` claims: posteriors, bands and reasons."""

import json
from math import isnan

import numpy as np
import pytest

from laconic.selection.rules import (
    SELECTIONS,
    select,
    select_all,
    select_band,
    select_easy_to_hard,
    select_hard,
    select_pools,
    select_uncertain,
)
from laconic.statistics.solve_rate import ProblemStats, mass_inside, problem_stats, solve_rate_interval
from laconic.types import Grade

C, W, N, T, U = Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED, Grade.UNGRADABLE


def solved(name, correct, attempts, ungradable=0):
    """A problem solved `correct` times of `attempts`, every response 10 tokens long."""
    grades = [C] * correct + [W] * (attempts - correct) + [U] * ungradable
    return problem_stats(name, grades, [10] * len(grades))


def kept(choices):
    """Names of the problems kept, in the order given."""
    return [choice.problem_id for choice in choices if choice.is_kept]


def reason(choices, name):
    """The reason given for one problem."""
    return next(choice.reason for choice in choices if choice.problem_id == name)


def test_problem_stats_counts_every_grade_and_keeps_ungradable_out_of_attempts():
    """Two correct of five gradable; the ungradable response's 60 tokens enter the mean length only."""
    stats = problem_stats("a", [C, C, W, N, T, U], [10, 20, 30, 40, 50, 60])
    assert (stats.attempts, stats.correct, stats.solve_rate) == (5, 2, 0.4)
    assert stats.mean_tokens == 35.0  # 210 / 6
    assert (stats.mean_correct_tokens, stats.min_correct_tokens) == (15.0, 10)
    assert stats.counts == {C: 2, W: 1, N: 1, T: 1, U: 1}


def test_problem_stats_without_a_correct_answer_has_no_correct_length():
    """None, not 0; and no samples at all are refused."""
    stats = problem_stats("a", [W], [9])
    assert stats.mean_correct_tokens is None
    assert stats.min_correct_tokens is None
    for grades, tokens in [([], []), ([W], [1, 2])]:
        with pytest.raises(ValueError, match="problem_stats"):
            problem_stats("a", grades, tokens)


@pytest.mark.parametrize("stats", [problem_stats("a", [C, W, U], [1, 2, 4]), problem_stats("é", [U], [3])])
def test_probe_lines_come_back_as_they_went(stats):
    """Through JSON text and back: an equal record."""
    assert ProblemStats.from_json(json.loads(json.dumps(stats.to_json()))) == stats


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"attempts": None}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"attempts": 3}, "attempts: 3"),
        ({"correct": 2}, "correct: 2"),
        ({"correct": -1}, "correct"),
        ({"problem_id": 7}, "problem_id"),
        ({"mean_tokens": "long"}, "mean_tokens"),
        ({"mean_tokens": float("nan")}, "mean_tokens"),
        ({"min_correct_tokens": 1.5}, "min_correct_tokens"),
        ({"counts": {"right": 1}}, "counts: unknown grade 'right'"),
        ({"counts": {"correct": 1}}, "counts.wrong: missing"),
        ({"counts": []}, "counts"),
    ],
)
def test_a_wrong_probe_line_names_its_key(change, says):
    """Wrong type, wrong range, or counts that contradict the sums."""
    record = problem_stats("a", [C, W], [1, 2]).to_json() | change
    with pytest.raises(ValueError, match=says):
        ProblemStats.from_json(record)


def test_a_missing_key_is_named_and_an_unknown_one_passed_over():
    """`mean_correct_tokens` may be missing (there may be none); `correct` may not."""
    record = problem_stats("a", [W], [1]).to_json() | {"level": 5}
    del record["mean_correct_tokens"]
    assert ProblemStats.from_json(record).attempts == 1
    del record["correct"]
    with pytest.raises(ValueError, match="correct: missing"):
        ProblemStats.from_json(record)


def test_solve_rate_interval_holds_95_percent_of_the_posterior():
    """Against 200,000 draws of a uniform solve rate, kept where 8 flips gave 3 heads."""
    rng = np.random.default_rng(0)
    rate = rng.uniform(size=200_000)
    posterior = rate[rng.binomial(8, rate) == 3]
    assert solve_rate_interval(8, 3) == pytest.approx(tuple(np.quantile(posterior, [0.025, 0.975])), abs=0.01)
    assert mass_inside(8, 3, 0.3, 0.6) == pytest.approx(np.mean((posterior >= 0.3) & (posterior <= 0.6)), abs=0.01)


def test_nothing_attempted_is_nothing_known():
    """The prior: 0.025 to 0.975."""
    assert solve_rate_interval(0, 0) == pytest.approx((0.025, 0.975))


def test_band_includes_its_ends_and_says_why():
    """0.3 and 0.9 belong to 0.3:0.9; what lies outside is dropped with the side it lies on."""
    stats = [
        solved("low", 3, 10),
        solved("high", 9, 10),
        solved("in", 14, 32),
        solved("easy", 31, 32),
        solved("no", 0, 8),
    ]
    choices = select_band(stats, 0.3, 0.9)
    assert kept(choices) == ["low", "high", "in"]
    assert reason(choices, "in") == "14/32 solved, 0.28 to 0.61: kept, inside 0.3:0.9"
    assert reason(choices, "easy") == "31/32 solved, 0.84 to 0.99: dropped, above 0.3:0.9"
    assert reason(choices, "no").endswith("dropped, below 0.3:0.9")


def test_band_prefers_problems_that_surely_lie_inside():
    """16/32 before 1/2 (same rate, more evidence) before 3/10 (on the edge); the dropped learn how many were ahead."""
    stats = [solved("edge", 3, 10), solved("unsure", 1, 2), solved("sure", 16, 32)]
    assert kept(select_band(stats, 0.3, 0.9, count=1)) == ["sure"]
    choices = select_band(stats, 0.3, 0.9, count=2)
    assert kept(choices) == ["unsure", "sure"]
    assert reason(choices, "edge").endswith("dropped, inside 0.3:0.9 but 2 others lie deeper inside")
    assert kept(select_band(stats, 0.3, 0.9, count=99)) == ["edge", "unsure", "sure"]


def test_a_reason_does_not_put_equals_ahead():
    """16/32 lies deeper than 8/16; of three times 8/16 the kept one is not called deeper than the others."""
    ties = [solved("a", 8, 16), solved("b", 8, 16), solved("c", 8, 16)]
    choices = select_band([*ties, solved("sure", 16, 32), solved("edge", 3, 10)], 0.3, 0.9, count=2)
    said = {choice.problem_id: choice.reason.rpartition(" but ")[2] for choice in choices if not choice.is_kept}
    assert said.pop("edge") == "2 others lie deeper inside"
    assert list(said.values()) == ["2 others lie as deep inside or deeper"] * 2
    alike = select_hard([solved("a", 1, 8), solved("b", 1, 8), solved("c", 2, 8)], count=1)
    said = {choice.problem_id: choice.reason.rpartition(" but ")[2] for choice in alike if not choice.is_kept}
    assert said.pop("c") == "1 other is harder"
    assert list(said.values()) == ["1 other is as hard or harder"]
    assert select_all(ties, count=0)[0].reason.endswith("dropped, graded but none was asked for")


@pytest.mark.parametrize("name", sorted(SELECTIONS))
def test_what_could_not_be_graded_is_dropped_for_that_reason(name):
    """No gradable attempt: no solve rate, in every selection."""
    (choice,) = SELECTIONS[name]([solved("a", 0, 0, ungradable=8)], count=None, seed=0)
    assert not choice.is_kept
    assert isnan(choice.solve_rate)
    assert choice.reason == "0/0 solved, 0.03 to 0.97: dropped, no attempt could be graded"
    assert choice.to_json()["solve_rate"] is None


@pytest.mark.parametrize("name", sorted(SELECTIONS))
def test_ties_are_settled_by_name_and_seed_and_not_by_order(name):
    """40 equal problems, 10 kept: the same ten from a shuffled list, another ten under another seed."""
    stats = [solved(f"p{index}", 2, 8) for index in range(40)]
    options = {"band": {"low": 0.2}, "pools": {"hard_frac": 1.0, "easy_frac": 0.0}}.get(name, {})
    first = set(kept(select(name, stats, count=10, seed=0, options=options)))
    assert len(first) == 10
    assert set(kept(select(name, stats[::-1], count=10, seed=0, options=options))) == first
    assert set(kept(select(name, stats, count=10, seed=1, options=options))) != first


def test_band_with_confidence_asks_the_posterior_too():
    """1/2 lies inside by its rate, with probability 0.76; 16/32 with 0.99. 31/32 lies above by both."""
    stats = [solved("unsure", 1, 2), solved("sure", 16, 32), solved("easy", 31, 32)]
    choices = select_band(stats, 0.3, 0.9, confidence=0.9)
    assert kept(choices) == ["sure"]
    assert reason(choices, "sure").endswith("kept, inside 0.3:0.9 with probability 0.9 or more")
    # Beta(2, 2) has 0.972 below 0.9 and 0.216 below 0.3
    assert reason(choices, "unsure").endswith("dropped, inside 0.3:0.9 with probability 0.756, below 0.9")
    assert kept(select_band(stats, 0.3, 0.9)) == ["unsure", "sure"]


def test_band_with_a_lax_confidence_still_asks_the_rate():
    """4/4 lies above by its rate, although Beta(5, 1) has 0.59 of its mass inside."""
    choices = select_band([solved("always", 4, 4)], 0.3, 0.9, confidence=0.5)
    assert kept(choices) == [] and reason(choices, "always").endswith("dropped, above 0.3:0.9")


def test_pools_give_their_shares_and_none_fills_up_for_another():
    """Of 8: a quarter hard, a quarter easy, half normal; only one hard one is there, so seven are kept."""
    stats = [
        solved("never", 0, 8),
        solved("hard", 1, 8),
        *(solved(f"normal{index}", 4, 8) for index in range(6)),
        *(solved(f"easy{index}", 7, 8) for index in range(3)),
    ]
    choices = select_pools(stats, count=8)
    names = kept(choices)
    assert (names.count("hard"), sum(n.startswith("normal") for n in names), len(names)) == (1, 4, 7)
    assert reason(choices, "never").endswith("dropped, never solved")
    assert reason(choices, "hard").endswith("kept, hard pool")
    assert sum(choice.reason.endswith("dropped, normal pool but 4 others were drawn") for choice in choices) == 2
    assert len(kept(select_pools(stats, allow_unsolved=True, count=8))) == 8
    assert [choice.problem_id for choice in choices] == [stat.problem_id for stat in stats]


def test_pools_without_a_count_are_kept_whole_unless_they_have_no_share():
    """No easy ones wanted: the easy pool is dropped and says so; the ends 0.25 and 0.75 belong to hard and easy."""
    stats = [solved("hard", 2, 8), solved("normal", 3, 8), solved("easy", 6, 8)]
    assert kept(select_pools(stats)) == ["hard", "normal", "easy"]
    choices = select_pools(stats, hard_frac=0.5, easy_frac=0.0)
    assert kept(choices) == ["hard", "normal"]
    assert reason(choices, "easy").endswith("dropped, easy pool, which has no share")


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize(("hard", "easy"), [(0.7, 0.3), (0.9, 0.1), (0.1, 0.9), (0.5, 0.5)])
def test_a_pool_whose_share_is_nothing_but_rounding_gives_nothing(hard, easy, count):
    """1 - 0.7 - 0.3 is 5.6e-17."""
    stats = [
        solved(f"{name}{i}", tries, 8) for name, tries in (("hard", 1), ("normal", 4), ("easy", 7)) for i in range(3)
    ]
    choices = select_pools(stats, hard_frac=hard, easy_frac=easy, count=count)
    assert "normal pool, which has no share" in reason(choices, "normal0")
    assert not any(name.startswith("normal") for name in kept(choices))


def test_uncertain_may_ask_the_problem_that_was_attempted_once_more():
    """4 of 8 is more open than 0 of 7."""
    assert kept(select_uncertain([solved("seldom", 0, 7), solved("open", 4, 8)], count=1)) == ["open"]


def test_uncertain_asks_where_an_attempt_tells_most_and_the_band_where_it_is_known_to_be_medium():
    """1/2 before 16/32, and of equally often attempted ones the medium; the band prefers what is surely medium."""
    stats = [solved("known", 16, 32), solved("open", 1, 2), solved("easy", 32, 32)]
    assert kept(select_uncertain(stats, count=1)) == ["open"] and kept(select_band(stats, count=1)) == ["known"]
    assert kept(select_uncertain(stats, count=2)) == ["known", "open"]
    assert "uncertain but 2 others are less certain" in reason(select_uncertain(stats, count=2), "easy")
    assert kept(select_uncertain([solved("never", 0, 4)])) == ["never"]
    assert kept(select_uncertain([solved("never", 0, 4)], allow_unsolved=False)) == []


def test_easy_to_hard_is_a_curriculum():
    """From 7/8 down to 1/8, whatever the order given; the dropped follow."""
    stats = [solved("one", 1, 8), solved("never", 0, 8), solved("seven", 7, 8), solved("four", 4, 8)]
    choices = select_easy_to_hard(stats)
    assert [choice.problem_id for choice in choices] == ["seven", "four", "one", "never"]
    assert kept(choices) == ["seven", "four", "one"]
    assert reason(choices, "four").endswith("kept, inside 0:1, number 2 of 3")
    assert kept(select_easy_to_hard(stats, high=0.5)) == ["four", "one"]


def test_hard_takes_the_lowest_solve_rates_but_not_the_never_solved():
    """Of 0/8, 1/8, 2/8, 4/8 with ceiling 0.3: 1/8 first, 2/8 next, 4/8 too easy, 0/8 only on request."""
    stats = [solved("half", 4, 8), solved("two", 2, 8), solved("one", 1, 8), solved("never", 0, 8)]
    choices = select_hard(stats)
    assert kept(choices) == ["two", "one"]
    assert reason(choices, "never").endswith("dropped, never solved")
    assert reason(choices, "half").endswith("dropped, above 0.3")
    first = select_hard(stats, count=1)
    assert kept(first) == ["one"]
    assert reason(first, "two").endswith("dropped, at most 0.3 but 1 other is harder")
    assert kept(select_hard(stats, count=1, allow_unsolved=True)) == ["never"]


def test_all_keeps_everything_that_was_graded():
    """From never to always solved."""
    stats = [solved("never", 0, 4), solved("always", 4, 4)]
    choices = select_all(stats)
    assert kept(choices) == ["never", "always"]
    assert choices[1].reason == "4/4 solved, 0.48 to 0.99: kept, graded"
    assert kept(select_all(stats, count=0)) == []


def test_choices_come_in_the_order_given_with_their_numbers():
    """One `Choice` a problem, ready for JSON."""
    choices = select_band([solved("b", 1, 2), solved("a", 2, 4)], 0.0, 1.0)
    assert [choice.problem_id for choice in choices] == ["b", "a"]
    record = choices[1].to_json()
    assert record["solve_rate"] == 0.5
    assert record["solve_rate_ci95"] == [choices[1].low, choices[1].high]


def test_wrong_arguments_are_named():
    """Bands upside down, ceilings beyond 1, negative counts, problems twice, unknown names and options."""
    stats = [solved("a", 1, 2)]
    for call, says in [
        (lambda: select_band(stats, 0.9, 0.3), "band"),
        (lambda: select_hard(stats, ceiling=1.5), "ceiling"),
        (lambda: select_band(stats, confidence=1.0), "confidence"),
        (lambda: select_pools(stats, hard_ceiling=0.8), "hard_ceiling < easy_floor"),
        (lambda: select_pools(stats, hard_frac=0.7, easy_frac=0.7), "shares of 0 to 1"),
        (lambda: select_easy_to_hard(stats, low=0.9, high=0.1), "band"),
        (lambda: select_all(stats, count=-1), "count"),
        (lambda: select_all(stats * 2), "'a' occurs twice"),
        (
            lambda: select("best", stats),
            "unknown selection 'best'; known: all, band, easy_to_hard, hard, pools, uncertain",
        ),
        (lambda: select("band", stats, options={"lo": 0.1}), "no option 'lo'; it has: low, high, confidence"),
        (lambda: select("all", stats, options={"seed": 1}), "no option 'seed'; it has: none"),
    ]:
        with pytest.raises(ValueError, match=says):
            call()
