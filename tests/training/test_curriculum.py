"""A phase's curriculum: what its steps draw, which groups train, and who stands in for those that do not."""

from dataclasses import replace

from small import small_recipe

from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.recipe import check_recipe
from laconic.training.curriculum import Curriculum
from laconic.types import FinishReason, Grade, Group, Problem, Response, Rollout

PROBLEMS = [Problem(f"p{i}", f"question {i}", "1") for i in range(8)]


def phase_of(**levers: object) -> ResolvedPhase:
    """Three problems a step, drawn up to three times."""
    first = check_recipe(small_recipe("tiny"))[0]
    algorithm = first.config.algorithm.model_copy(update={"max_draws": 3, **levers})
    return replace(first, config=first.config.model_copy(update={"problems_per_step": 3, "algorithm": algorithm}))


def group(problem: Problem, *rewards: float) -> Group:
    response = Response((7,), (-1.0,), "", FinishReason.STOP)
    return Group(problem, (1, 2), tuple(Rollout(response, Grade.CORRECT, i, r) for i, r in enumerate(rewards)))


def test_others_stand_in_for_groups_that_do_not_train() -> None:
    """One of three is mixed: two more are drawn, of problems that this step has not met, until three train or draws run out."""
    curriculum = Curriculum(phase_of(uniform_groups="resample"), PROBLEMS, seed=0)
    drawn = curriculum.draw(1)
    groups = [group(drawn[0], 0.0, 1.0), group(drawn[1], 1.0, 1.0), group(drawn[2], 0.0, 0.0)]
    assert curriculum.admit(groups) == groups[:1]
    more = curriculum.draw_more(groups, 1, 1)
    assert len(more) == 2 and not {p.id for p in more} & {p.id for p in drawn}
    assert more == curriculum.draw_more(groups, 1, 1)  # by name, so a resumed run draws the same
    full = groups + [group(problem, 0.0, 1.0) for problem in more]
    assert len(curriculum.admit(full)) == 3 and curriculum.draw_more(full, 1, 2) == []
    assert curriculum.draw_more(groups, 1, 3) == []


def test_a_step_admits_no_more_groups_than_it_has_problems() -> None:
    curriculum = Curriculum(phase_of(uniform_groups="resample"), PROBLEMS, seed=0)
    mixed = [group(problem, 0.0, 1.0) for problem in PROBLEMS]
    assert curriculum.admit(mixed) == mixed[:3]


def test_where_every_problem_was_drawn_any_is_drawn_again() -> None:
    curriculum = Curriculum(phase_of(uniform_groups="resample"), PROBLEMS[:3], seed=0)
    uniform = [group(problem, 1.0, 1.0) for problem in PROBLEMS[:3]]
    assert sorted(p.id for p in curriculum.draw_more(uniform, 1, 1)) == ["p0", "p1", "p2"]


def test_groups_that_do_not_train_are_left_alone_unless_the_recipe_resamples() -> None:
    uniform = [group(problem, 1.0, 1.0) for problem in PROBLEMS[:3]]
    for lever in ("keep", "drop"):
        assert Curriculum(phase_of(uniform_groups=lever), PROBLEMS, seed=0).draw_more(uniform, 1, 1) == []
