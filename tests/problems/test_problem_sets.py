"""The three sets are made disjoint by what they ask."""

from laconic.problems.sets import disjoint_sets
from laconic.types import Problem

WHICH = "Which of the following statements is true?"


def problem(name: str, *choices: str, question: str = WHICH) -> Problem:
    return Problem(name, question, "A" if choices else "1", choices=choices)


def kept(train: Problem, report: Problem) -> bool:
    return bool(disjoint_sets((train,), (), (report,)).train)


def test_one_question_about_other_choices_is_another_problem() -> None:
    """Order and spacing of the choices do not matter; a question without choices is the same as with any."""
    reported = problem("r", "Ice floats.", "Iron floats.")
    assert kept(problem("a", "Rain falls.", "Snow rises."), reported)
    assert not kept(problem("b", "Iron  floats.", "Ice floats."), reported)
    assert not kept(problem("c"), reported)
    assert not kept(reported, problem("d", question=f" {WHICH}\n"))
    assert kept(problem("e", question="Which is false?"), reported)
