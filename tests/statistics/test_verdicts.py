"""Verdicts on claims: conditions of figures with intervals, several of them, and the rule for few seeds."""

from math import isnan, nan
from statistics import fmean

import pytest

from laconic.statistics.claims import accuracy_by_length
from laconic.statistics.intervals import Interval
from laconic.statistics.seeds import over_seeds
from laconic.statistics.verdicts import (
    ClaimVerdict,
    Condition,
    Figure,
    Truth,
    all_of,
    any_of,
    is_at_least,
    is_at_most,
    verdict_on,
)
from laconic.types import Grade

LOW, MIDDLE, HIGH = (Figure.of_problems(Interval(x, x - 1.0, x + 1.0)) for x in (0.0, 10.0, 20.0))
FIGURES = {"low": LOW, "middle": MIDDLE, "high": HIGH}


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        (is_at_most("low", 10.0), Truth.MET),
        (is_at_most("middle", 10.0), Truth.OPEN),
        (is_at_most("high", 10.0), Truth.NOT_MET),
        (is_at_least("low", 10.0), Truth.NOT_MET),
        (is_at_least("middle", 10.0), Truth.OPEN),
        (is_at_least("high", 10.0), Truth.MET),
        (is_at_least("not measured", 10.0), Truth.OPEN),
    ],
)
def test_a_condition_is_met_only_if_the_whole_interval_says_so(condition: Condition, truth: Truth) -> None:
    """Intervals reach from -1 to 1, from 9 to 11, and from 19 to 21."""
    assert condition.truth(FIGURES) is truth


def test_an_interval_that_does_not_exist_leaves_a_condition_open() -> None:
    assert is_at_most("a", 10.0).truth({"a": Figure.of_problems(Interval(0.0, nan, nan))}) is Truth.OPEN


def test_a_difference_too_small_to_count_is_none() -> None:
    """No difference: less than 5. From 9 to 11 there is one, and from 4 to 6; from -1 to 1 there is none, nor from 1 to 3."""
    none = is_at_most("it", 5.0, clear=0.0)
    ends = {(9.0, 11.0): Truth.NOT_MET, (-1.0, 1.0): Truth.MET, (1.0, 3.0): Truth.MET, (4.0, 6.0): Truth.NOT_MET}
    ends |= {(-9.0, 9.0): Truth.OPEN}
    for (low, high), truth in ends.items():
        assert none.truth({"it": Figure.of_problems(Interval((low + high) / 2.0, low, high))}) is truth


def test_a_fall_by_more_than_two_whose_interval_excludes_none() -> None:
    """F1's second half: the estimate is below -2 and the interval below 0."""
    fall = is_at_most("it", -2.0, sure=0.0, clear=-2.0)
    for interval, truth in (
        (Interval(-3.0, -5.0, -1.0), Truth.MET),
        (Interval(-3.0, -7.0, 1.0), Truth.OPEN),
        (Interval(-1.0, -1.5, -0.5), Truth.NOT_MET),
        (Interval(-1.0, -2.5, 0.5), Truth.OPEN),
    ):
        assert fall.truth({"it": Figure.of_problems(interval)}) is truth


def test_what_is_open_decides_nothing_that_others_decide() -> None:
    """Kleene's logic: one that is met makes "any" met, one that is not met makes "all" not met."""
    met, open_, not_met = is_at_most("low", 10.0), is_at_most("middle", 10.0), is_at_most("high", 10.0)
    assert any_of(open_, met).truth(FIGURES) is Truth.MET
    assert any_of(open_, not_met).truth(FIGURES) is Truth.OPEN
    assert any_of(not_met, not_met).truth(FIGURES) is Truth.NOT_MET
    assert all_of(open_, met).truth(FIGURES) is Truth.OPEN
    assert all_of(open_, not_met).truth(FIGURES) is Truth.NOT_MET
    assert all_of(met, met).truth(FIGURES) is Truth.MET


def test_a_verdict_hangs_on_the_condition_that_made_it() -> None:
    """The first whose truth is that of the whole, however deep it stands."""
    falsifier = any_of(is_at_most("high", 10.0), all_of(is_at_most("low", 10.0), is_at_most("middle", 15.0)))
    decision = verdict_on(falsifier, FIGURES)
    assert (decision.verdict, decision.hinge.figure) == (ClaimVerdict.FAILS, "low")
    decision = verdict_on(all_of(is_at_most("low", 10.0), is_at_most("high", 10.0)), FIGURES)
    assert (decision.verdict, decision.hinge.figure) == (ClaimVerdict.HOLDS, "high")
    decision = verdict_on(any_of(is_at_most("high", 10.0), is_at_most("middle", 10.0)), FIGURES)
    assert (decision.verdict, decision.hinge.figure) == (ClaimVerdict.UNDECIDED, "middle")


def test_without_its_premise_nothing_is_decided() -> None:
    premise = all_of(is_at_least("high", 10.0), is_at_least("middle", 10.0))
    decision = verdict_on(is_at_most("low", 10.0), FIGURES, premise)
    assert (decision.verdict, decision.hinge.figure) == (ClaimVerdict.UNDECIDED, "middle")
    assert verdict_on(is_at_most("low", 10.0), FIGURES, is_at_least("high", 10.0)).verdict is ClaimVerdict.FAILS


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([-0.5, 0.0, 0.5], ClaimVerdict.FAILS),  # sd 0.5, 99%: -2.9 to 2.9, below 5
        ([-1.0, 0.0, 1.0], ClaimVerdict.UNDECIDED),  # sd 1: -5.7 to 5.7, though the 95% interval ends at 2.5
        ([49.9, 50.0, 50.1], ClaimVerdict.UNDECIDED),  # sure, but not with two seeds missing
        ([-0.01, 0.01], ClaimVerdict.UNDECIDED),  # two refute nothing
        ([], ClaimVerdict.UNDECIDED),
        ([-1.0, 1.0, -1.0, 1.0, 0.0], ClaimVerdict.FAILS),  # sd 1, 95%: -1.2 to 1.2
        ([49.0, 51.0, 49.0, 51.0, 50.0], ClaimVerdict.HOLDS),
    ],
)
def test_fewer_seeds_than_asked_for_can_refute_and_never_confirm(values: list[float], verdict: ClaimVerdict) -> None:
    """Five are asked for, and the claim fails if the figure is at most 5."""
    assert verdict_on(is_at_most("it", 5.0), {"it": Figure.of_seeds(values, wanted=5)}).verdict is verdict


def test_a_computed_number_needs_no_interval() -> None:
    assert verdict_on(is_at_least("error", 1e-300), {"error": Figure.exact(0.0)}).verdict is ClaimVerdict.HOLDS
    assert verdict_on(is_at_least("error", 1e-300), {"error": Figure.exact(1e-9)}).verdict is ClaimVerdict.FAILS


def test_how_far_the_intervals_of_three_and_five_seeds_reach() -> None:
    """In standard deviations of the seeds: 2.48 and 1.24 at 95%, 5.73 and 2.06 at 99%."""
    for values, usual, strict in (([-1.0, 0.0, 1.0], 2.48, 5.73), ([-1.0, 1.0, -1.0, 1.0, 0.0], 1.24, 2.06)):
        assert over_seeds(values).high == pytest.approx(usual, abs=0.005)
        assert over_seeds(values, level=0.99).high == pytest.approx(strict, abs=0.005)


@pytest.mark.parametrize("values", [[0.0] * 5, [0.3] * 5, [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3]])
def test_seeds_that_are_alike_have_no_interval(values: list[float]) -> None:
    """Five zeros may be five runs that the guard took back: an interval of width 0 would call them certain."""
    found = over_seeds(values)
    assert (found.mean, found.se) == (pytest.approx(values[1]), 0.0) and isnan(found.low) and isnan(found.high)
    decided = verdict_on(is_at_most("it", 5.0), {"it": Figure.of_seeds(values, wanted=5)})
    assert decided.verdict is ClaimVerdict.UNDECIDED


def test_accuracy_by_length_leaves_out_problems_that_cannot_tell() -> None:
    """Always right, fewer samples than parts, and what nobody could grade."""
    right, wrong, lost = Grade.CORRECT, Grade.WRONG, Grade.UNGRADABLE
    ids = ["a"] * 4 + ["all"] * 4 + ["few"] * 2
    grades = [wrong, right, lost, right] + [right] * 4 + [right, wrong]
    assert accuracy_by_length(ids, grades, [9, 1, 5, 2, *range(4), 1, 2], parts=3).tolist() == [[1.0, 1.0, 0.0]]
    assert accuracy_by_length([], [], []).shape == (0, 4)


@pytest.mark.parametrize(
    ("number", "looked_at", "level"), [(4, 4, 0.95), (5, 5, 0.95), (9, 5, 0.95), (10, 10, 0.975), (14, 10, 0.975)]
)
def test_there_are_two_looks_and_no_more(number: int, looked_at: int, level: float) -> None:
    """Seeds that come in between the looks, or after the second, change no figure."""
    values = [float(value) for value in range(number)]
    found = Figure.of_seeds(values, wanted=5)
    assert (found.num_seeds, found.level) == (looked_at, level)
    assert found.interval.estimate == fmean(values[:looked_at])
    assert found == Figure.of_seeds(values[:looked_at], wanted=5)
