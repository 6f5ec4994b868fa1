"""Which tasks of reasoning-gym are refused or loaded with a warning, since equality to the stored answer does not decide."""

import json
import warnings

import pytest

from laconic.errors import LaconicWarning, ProblemsError
from laconic.grading.grader import Grader
from laconic.problems.gym_grading import MANY_ANSWERS, UNGRADABLE_TASKS
from laconic.problems.load import load_problems
from laconic.traces.gym_tasks import GYM_REASONINGS
from laconic.types import Grade, Problem

gym = pytest.importorskip("reasoning_gym")


def test_the_tables_name_tasks_and_none_that_has_traces():
    known = set(gym.factory.DATASETS)
    assert set(UNGRADABLE_TASKS) <= known and known >= MANY_ANSWERS
    assert not set(UNGRADABLE_TASKS) & MANY_ANSWERS and not (set(UNGRADABLE_TASKS) | MANY_ANSWERS) & set(GYM_REASONINGS)


@pytest.mark.parametrize("task", sorted(UNGRADABLE_TASKS))
def test_a_task_that_cannot_be_graded_is_refused_in_one_line(task):
    """What, why, and what instead."""
    with pytest.raises(ProblemsError) as caught:
        load_problems(f"gym:{task}?count=1")
    said = str(caught.value)
    assert said.startswith(f"gym:{task}?count=1: {task} cannot be graded") and UNGRADABLE_TASKS[task] in said
    assert said.endswith("a function of your own (docs/own_grader.md)") and "\n" not in said


@pytest.mark.parametrize("task", sorted(MANY_ANSWERS - {"sokoban", "tower_of_hanoi"}))  # these two take seconds
def test_a_task_with_many_right_answers_is_loaded_with_a_warning(task):
    with pytest.warns(LaconicWarning, match=f"{task} has many right answers") as caught:
        assert len(load_problems(f"gym:{task}?count=2")) == 2
    assert len(caught) == 1 and "\n" not in str(caught[0].message)


def test_other_tasks_are_loaded_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_problems("gym:chain_sum?count=2")) == len(load_problems("gym:gcd?count=2")) == 2


# --- why they stand in the tables: what follows is true of the installed library and of the grader -------------------


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as one:
        yield one


def are_correct(grader, items, answers):
    """Whether each answer, in a box, is graded correct for its item."""
    asked = [
        (rf"\boxed{{{answer}}}", Problem("1", item["question"], item["answer"]), False)
        for item, answer in zip(items, answers, strict=True)
    ]
    return [graded.grade is Grade.CORRECT for graded in grader.grade_many(asked)]


def items_of(task, count=8):
    data = gym.create_dataset(task, seed=5, size=count)
    return data, [data[i] for i in range(count)]


STATED = {
    "countdown": lambda item: item["metadata"]["target"],
    "puzzle24": lambda _: 24,
    "prime_factorization": lambda item: item["metadata"]["number"],
    "fraction_simplification": lambda item: "{numerator}/{denominator}".format(**item["metadata"]),
}


@pytest.mark.parametrize("task", STATED)
def test_what_the_question_states_would_be_graded_correct(grader, task):
    """Also where the task itself calls it wrong: a prime is its own factorization."""
    data, items = items_of(task)
    answers = [str(STATED[task](item)) for item in items]
    assert all(are_correct(grader, items, answers))
    assert sum(data.score_answer(answer, item) < 1 for answer, item in zip(answers, items, strict=True)) >= 5


ROWS = ["path_star", "mini_sudoku", "string_synthesis", "pool_matrix", "binary_matrix", "arc_1d"]


@pytest.mark.parametrize("task", ROWS)
def test_rows_of_numbers_are_graded_in_their_order(grader, task):
    """The stored ones are right; turned round, without the last number, and as a 0, they are wrong."""
    _, items = items_of(task)
    rows = [item["answer"].split() for item in items]
    assert all(are_correct(grader, items, [item["answer"] for item in items]))
    turned = [row[::-1] if row != row[::-1] else [*row[1:], "77"] for row in rows]
    for answers in (turned, [row[:-1] for row in rows], [["0"] for _ in rows]):
        assert not any(are_correct(grader, items, [" ".join(row) for row in answers]))


def test_rows_of_signs_would_be_graded_correct_in_any_order(grader):
    """If this fails, the grader has learnt to read signs: take `modulo_grid` out of `UNGRADABLE_TASKS`."""
    _, items = items_of("modulo_grid")
    assert any(are_correct(grader, items, ["\n".join(item["answer"].split("\n")[::-1]) for item in items]))


@pytest.mark.parametrize("task", ["word_sorting", "word_sequence_reversal"])
def test_words_would_be_graded_correct_in_any_order(grader, task):
    """If this fails, the grader has learnt the order of words: take the task out of `UNGRADABLE_TASKS`."""
    _, items = items_of(task, 40)
    assert any(are_correct(grader, items, [", ".join(item["answer"].split(", ")[::-1]) for item in items]))


def test_a_short_word_would_be_graded_correct_backward(grader):
    _, items = items_of("spell_backward", 600)
    short = [item for item in items if len(item["answer"]) == 3 and item["answer"] != item["answer"][::-1]]
    assert short and any(are_correct(grader, short, [item["answer"][::-1] for item in short]))


@pytest.mark.parametrize("task", ["bitwise_arithmetic", "base_conversion"])
def test_numerals_with_letters_are_no_products(grader, task):
    _, items = items_of(task)
    assert all(are_correct(grader, items, [item["answer"] for item in items]))
    others = [item for item in items if item["answer"].strip("0x")]
    assert not any(are_correct(grader, others, ["0"] * len(others)))


def test_three_significant_figures_would_be_graded_wrong(grader):
    data, items = items_of("power_function")
    rounded = [f"{float(item['answer']):.2e}" for item in items]
    assert all(data.score_answer(text, item) == 1 for text, item in zip(rounded, items, strict=True))
    assert not any(are_correct(grader, items, rounded))


def test_another_right_answer_is_graded_wrong(grader):
    """The queens stand otherwise, and the groups of anagrams in another order."""
    data, items = items_of("n_queens", 20)
    held = [(item, board) for item in items for board in item["metadata"]["valid_answers"] if board != item["answer"]]
    assert held and all(data.score_answer(board, item) == 1 for item, board in held)
    assert not any(are_correct(grader, *zip(*held, strict=True)))
    data, items = items_of("group_anagrams")
    turned = [json.dumps(json.loads(item["answer"])[::-1]) for item in items]
    assert all(data.score_answer(groups, item) == 1 for groups, item in zip(turned, items, strict=True))
    assert not any(are_correct(grader, items, turned))
