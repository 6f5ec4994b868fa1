"""Doctor on problems and on the recipe's arithmetic: every check once where it finds something, once where it does not."""

import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from examined import Ward, levels, reasons, said

from laconic.doctor import examination
from laconic.doctor.checks import problems as checks_problems
from laconic.doctor.checks import recipe as checks_recipe
from laconic.doctor.checks.problems import check_gold_form, check_golds, check_leaks, check_questions
from laconic.doctor.checks.recipe import check_disk, check_epochs, check_extras, check_margin, check_threads
from laconic.doctor.memory_model import GIB


@pytest.fixture
def ward(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "outside_bytes", lambda recipe: 2**29)
    return Ward(tmp_path)


SUMS = tuple((f"sum {i} {i}", str(2 * i)) for i in range(1, 10))
LONG = "Tom walks to the old mill and buys {} bags of flour for the {} cakes that his aunt bakes each week in spring"


# --- questions and golds ---------------------------------------------------------------------------------------------


def test_a_question_asked_twice_is_a_warning_that_names_clashing_answers(ward):
    """White space does not make a question new."""
    override = ward.problems("train", *SUMS, ("sum  1 1", "3"))
    line = said(check_questions, ward.examine(override))[0]
    assert line.startswith(
        "warning: problems.train: 1 question asked again, the first in problem train-0, with answers 2 and 3"
    )
    assert levels(check_questions, ward.examine()) == ["fine"] * 3


def test_golds_of_the_embedded_problems_are_fine(ward):
    assert levels(check_golds, ward.examine()) == ["fine"] * 3


def test_a_few_bad_golds_are_a_warning_and_many_an_error(ward):
    """A gold with a stray brace closes its box too early: one of 20 is 5%, one of 9 is 11%."""
    stray = ("sum 5 6", "11}")
    plenty = tuple((f"sum {i} 7", str(i + 7)) for i in range(19))
    few = said(check_golds, ward.examine(ward.problems("train", *plenty, stray)))[0]
    assert (
        few.startswith("warning: problems.train: 1 of 20 gold answers not graded correct") and "problem train-19" in few
    )
    assert levels(check_golds, ward.examine(ward.problems("train", *SUMS[:8], stray)))[0] == "error"


def test_a_gold_that_the_algebra_cannot_read_is_judged_by_its_share_of_the_set(ward):
    """It agrees with itself, letter by letter, and with nothing else. The only one that needs algebra, it is 1 of 20 golds or
    1 of 10."""
    code = ("solve", "np.arcsin(10/13)")
    plenty = tuple((f"sum {i} 7", str(i + 7)) for i in range(19))
    few = said(check_golds, ward.examine(ward.problems("train", *plenty, code)))
    assert few[1].startswith(
        "warning: problems.train: 1 of 1 gold answer that need algebra not read by it; problem train-19"
    )
    assert levels(check_golds, ward.examine(ward.problems("train", *SUMS, code)))[1] == "error"


def test_expressions_are_read(ward):
    override = ward.problems("train", ("solve", r"\frac{x+1}{2}"), ("expand", "x^2-1"))
    lines = said(check_golds, ward.examine(override))
    assert lines[:2] == [
        "fine: problems.train: 2 gold answers, all graded correct when given as the answer",
        "fine: problems.train: 2 gold answers that need algebra, all read by it",
    ]


def test_only_so_many_golds_are_asked_of_the_algebra_evenly_spread(monkeypatch):
    """Of 10 golds with at most 4 asked, every third: 0, 3, 6, 9."""
    monkeypatch.setattr(checks_problems, "MAX_ALGEBRA", 4)
    problems = [examination.Problem(str(i), "?", f"x+{i}") for i in range(10)]
    assert [problem.id for problem in checks_problems._thinned(problems)] == ["0", "3", "6", "9"]


def test_a_whole_solution_as_gold_is_found(ward):
    """GSM8K's column `answer` is one: 1 of 9 is 11%."""
    solution = ("sum 5 6", "5 + 6 = <<5+6=11>>11\n#### 11")
    line = said(check_gold_form, ward.examine(ward.problems("train", *SUMS[:8], solution)))[0]
    assert line.startswith("error: problems.train: 1 gold answer with a solution around the answer; problem train-8")
    assert said(check_gold_form, ward.examine()) == []


def test_a_gold_that_leaves_the_answer_open_is_a_warning(ward):
    line = said(check_gold_form, ward.examine(ward.problems("train", *SUMS, ("sum 1 3", "3 or 4"))))[0]
    assert line.startswith(
        "warning: problems.train: 1 gold answer may leave the answer open; problem train-9 has '3 or 4'"
    )
    assert said(check_gold_form, ward.examine(ward.problems("train", *SUMS, ("which", "orange")))) == []


def test_a_gold_letter_without_a_choice_is_an_error(ward):
    """D of three choices; C of three is fine. The file is refused as training would refuse it."""
    sound = ("which", "C", ["1", "2", "3"])
    assert "problems.train" not in ward.examine(ward.problems("train", sound)).missing
    refused = ward.examine(ward.problems("train", sound, ("what", "D", ["1", "2", "3"]))).missing
    assert reasons(refused, "problems.train").startswith("error: problems.train: ")
    assert "train.jsonl, line 2: 'answer' must be the letter of a choice" in reasons(refused, "problems.train")


def test_exact_and_near_copies_are_warnings_and_other_numbers_a_remark(ward):
    watch = ward.problems("watch", ("sum 1 1", "2"), (LONG.format(3, 9), "27"))
    report = ward.problems("report", ("sum 8 8", "16"))
    exact = said(check_leaks, ward.examine(ward.problems("train", *SUMS[:4]), watch, report))
    assert exact[0].startswith(
        "warning: problems.train: 1 question found in problems.watch too: train-0 is 100% like watch-0"
    )
    assert exact[1:] == [
        "fine: problems.train: no question found in problems.report",
        "fine: problems.watch: no question found in problems.report",
    ]
    near = said(check_leaks, ward.examine(ward.problems("train", ("Now " + LONG.format(3, 9), "27")), watch, report))
    assert near[0].startswith("warning: problems.train: 1 question found in problems.watch in other words: train-0")
    variant = said(check_leaks, ward.examine(ward.problems("train", (LONG.format(4, 8), "32")), watch, report))
    assert variant[0].startswith("fine: problems.train: no question found in problems.watch; 1 question like one of it")


def test_a_set_of_which_nothing_is_left_is_an_error(ward):
    """Both watched questions are reported on: the run would not begin."""
    watch, report = ward.problems("watch", *SUMS[:2]), ward.problems("report", *SUMS[:3])
    lines = said(check_leaks, ward.examine(watch, report))
    assert (
        lines[-1].startswith("error: problems.watch: 2 questions found in problems.report too")
        and "none is left" in lines[-1]
    )


# --- the recipe ------------------------------------------------------------------------------------------------------


def test_a_package_that_the_problems_need_is_an_error_with_its_extra(ward, monkeypatch):
    assert levels(check_extras, ward.examine()) == ["fine"]
    monkeypatch.setattr(checks_recipe, "is_installed", lambda module: module != "pyarrow")
    examined = ward.examine(f"problems.watch='{ward.folder / 'absent.parquet'}'")
    assert said(check_extras, examined) == [
        f"error: problems.watch: {ward.folder / 'absent.parquet'} needs pyarrow, which is not installed; "
        "pip install 'datasets>=3.0' 'pyarrow>=15.0'"
    ]
    monkeypatch.setattr(checks_recipe, "is_installed", lambda module: module != "jinja2")
    assert levels(check_extras, ward.examine()) == ["warning"]


def test_a_handful_seen_often_without_a_guard_is_a_warning(ward):
    """6 problems, 3 a step: 4 steps are 2 visits each, 120 steps are 60."""
    assert said(check_epochs, ward.examine())[0] == "fine: phases.first: 6 problems, each seen up to 2 times in 4 steps"
    often = ("phases.first.steps=120", "phases.first.end={patience=3}")
    assert levels(check_epochs, ward.examine(*often)) == ["fine", "fine"]
    patched = ward.examine(*often)
    guardless = patched.recipe.phases[0].model_copy(
        update={"end": patched.recipe.phases[0].end.model_copy(update={"guard_drop": None})}
    )
    recipe = patched.recipe.model_copy(update={"phases": (guardless,)})
    (line,) = said(check_epochs, replace(patched, recipe=recipe))
    assert line.startswith("warning: phases.first.end.guard_drop: 6 problems, each seen up to 60 times in 120 steps")


def test_problems_that_the_phase_does_not_look_at_are_not_counted(ward):
    """A pool of 3 of the 6 problems, 3 a step: 4 steps are 4 visits each."""
    (line, _) = said(check_epochs, ward.examine("phases.first.select.pool=3"))
    assert line == "fine: phases.first: 3 problems, each seen up to 4 times in 4 steps"


def test_a_margin_below_what_the_problems_can_show_is_a_warning(ward):
    """1.96 sqrt(0.1 / 4) = 0.31; a margin of 0.01 takes 196^2 x 0.1 = 3,842 problems."""
    (line,) = said(check_margin, ward.examine())
    assert line.startswith("warning: report.margin: 4 reported problems show a change of accuracy to about 31.0 points")
    assert "report about 3,842 problems, or report.margin=0.31" in line
    assert levels(check_margin, ward.examine("report.margin=0.32")) == ["fine"]


def test_without_reported_problems_there_is_no_margin_to_show(ward):
    recipe = ward.examine().recipe
    none = recipe.model_copy(update={"problems": recipe.problems.model_copy(update={"report": None})})
    assert levels(check_margin, examination.examine(none)) == ["fine"]


def test_more_threads_than_cores_is_a_warning(ward, monkeypatch):
    monkeypatch.setattr(checks_recipe, "available_cores", lambda: 2)
    assert said(check_threads, ward.examine("threads=3", "policy.device=cpu")) == [
        "warning: threads: 3 threads on 2 cores; threads=2"
    ]
    assert levels(check_threads, ward.examine("threads=2")) == ["fine"]


def test_checkpoints_that_do_not_fit_the_disk_are_an_error(ward, monkeypatch):
    examined = ward.examine()
    assert levels(check_disk, examined) == ["fine"]
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=GIB // 100))
    (line,) = said(check_disk, examined)
    assert line.startswith("error: checkpoints: up to 5 checkpoints of 0.00 GiB, 0.01 GiB free here")


def test_a_checkpoint_is_the_model_what_learns_its_moments_and_the_reference(ward):
    """In numbers of weights: the first phase has a critic and a reference, both the policy's size but for the head (tied: none);
    1 + 3 + 3 + 1 = 8 of 4 bytes. The second has neither: 1 + 3."""
    examined = ward.examine()
    weights = examined.needs(examined.recipe, examined.phases)[0].basis
    sizes = [checks_recipe._phase_bytes(examined.shape.config, examined.recipe, p) for p in examined.phases]
    assert math.isclose(sizes[0], 2 * sizes[1]) and weights
