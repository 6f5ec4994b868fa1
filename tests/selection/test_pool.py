"""What a phase trains on: arithmetic over a training set of ten problems, and a probe of them."""

import pytest

from laconic.config.phase import PhaseConfig
from laconic.config.problems import SelectConfig
from laconic.selection.pool import (
    check_rule,
    choose_from_probe,
    decide,
    kept_problems,
    lacking,
    limit_of,
    most_problems,
    needs_probe,
    pool_of,
    problems_per_step,
    visits,
)
from laconic.statistics.solve_rate import ProblemStats, problem_stats
from laconic.types import Grade, Problem

TEN = [Problem(f"p{i}", f"question {i}", "1") for i in range(10)]


def phase_of(**select: object) -> PhaseConfig:
    return PhaseConfig(name="p", steps=4, problems_per_step=3, select=SelectConfig.model_validate(select))


def seen(correct: list[int]) -> list[ProblemStats]:
    """Eight attempts at each problem, so many of them correct."""
    grades = [[Grade.CORRECT] * n + [Grade.WRONG] * (8 - n) for n in correct]
    return [problem_stats(f"p{i}", row, [10] * 8) for i, row in enumerate(grades)]


@pytest.mark.parametrize(
    ("select", "pool", "most"),
    [
        ({}, 10, 10),
        ({"pool": 6}, 6, 6),
        ({"count": 4}, 4, 4),
        ({"pool": 3, "count": 4}, 3, 3),
        ({"how": "band"}, 10, 10),
        ({"how": "band", "pool": 6, "count": 4}, 6, 4),  # six are probed, of which four may be kept
    ],
)
def test_a_phase_looks_at_its_pool_and_trains_on_no_more_than_its_count(
    select: dict[str, object], pool: int, most: int
) -> None:
    phase = phase_of(**select)
    assert list(pool_of(phase, TEN)) == TEN[:pool]
    assert most_problems(phase, len(TEN)) == most
    assert most_problems(phase, 2) == 2
    assert limit_of(phase) == (None if most == 10 else most)
    assert needs_probe(phase) == ("how" in select)


def test_a_probe_chooses_in_the_sets_order_or_in_the_selections() -> None:
    """Of solve rates 1/8, 4/8, 7/8 and 8/8 the band 0.3 to 0.9 keeps the middle two; 4/8 lies deeper inside than 7/8."""
    stats = seen([1, 7, 4, 8])
    chosen = choose_from_probe(phase_of(how="band"), TEN[:4], stats, seed=0, index=0)
    assert [problem.id for problem in chosen.problems] == ["p1", "p2"] and set(chosen.stats) == {"p1", "p2"}
    assert [choice.is_kept for choice in chosen.choices] == [False, True, True, False]
    only = choose_from_probe(phase_of(how="band", count=1), TEN[:4], stats, seed=0, index=0)
    assert [problem.id for problem in only.problems] == ["p2"]
    curriculum = choose_from_probe(phase_of(how="easy_to_hard", in_order=True), TEN[:4], stats, seed=0, index=0)
    assert [problem.id for problem in curriculum.problems] == ["p3", "p1", "p2", "p0"]
    assert choose_from_probe(phase_of(how="band"), TEN[:1], stats[:1], seed=0, index=0).problems == ()


def test_the_choices_order_is_theirs_whatever_the_order_of_the_problems() -> None:
    choices = decide(phase_of(how="easy_to_hard"), seen([1, 7, 4]), None, seed=0, index=0)
    assert [p.id for p in kept_problems(TEN[2::-1], choices, in_order=True)] == ["p1", "p2", "p0"]
    assert [p.id for p in kept_problems(TEN[2::-1], choices, in_order=False)] == ["p2", "p1", "p0"]


def test_steps_and_shortfalls_are_counted() -> None:
    """Six problems, three a step: four steps meet each twice. Two problems make steps of two."""
    phase = phase_of(count=8)
    assert problems_per_step(phase, 6) == 3 and visits(phase, 6) == 2
    assert problems_per_step(phase, 2) == 2 and visits(phase, 2) == 4
    assert (lacking(phase, 6), lacking(phase, 8), lacking(phase, 9), lacking(phase_of(), 0)) == (2, 0, 0, 0)


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ({"how": "luck"}, "unknown selection 'luck'"),
        ({"how": "band", "options": {"x": 1}}, "has no option 'x'"),
        ({"how": "band", "options": {"low": 0.9, "high": 0.1}}, "expected 0 <= low <= high <= 1"),
    ],
)
def test_a_selection_that_cannot_work_is_refused(select: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_rule(phase_of(**select))


def test_without_a_selection_there_is_nothing_to_refuse() -> None:
    check_rule(phase_of(options={"low": 2.0}))
