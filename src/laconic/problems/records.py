"""One record of a file, checked and turned into a `Problem`, and back.

1. `id`, `problem` (or `question`), `answer` and `choices` have a meaning of their own; every other key is kept in `meta`.
2. A problem that nobody can answer is refused. If there are choices, they are two or more, they differ, and the answer is the
   letter of one of them: with any other answer, every response would be wrong. The gold answer says something. Tables spell a
   missing number as NaN, and a gold answer "nan" would make every response wrong as well. A tolerance is a number, or as many
   as the answer has parts, and small enough to refuse something. Only a record that names the grader which needs no gold answer
   (`graded_by`) may have an empty one.
3. `meta` is made of what JSON can spell, so that a problem can be written to a file again: a missing number becomes null, and
   values of other kinds (dates, decimals) become their text.
"""

import re
import warnings
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import isfinite, isnan
from string import ascii_uppercase
from typing import Any

from laconic.errors import LaconicWarning, ProblemsError
from laconic.grading.grader import tolerances
from laconic.grading.normal_form import clean, parts
from laconic.grading.numbers import exact_number
from laconic.grading.scalar_rules import choice_letter
from laconic.types import Problem

QUESTION_KEYS = ("problem", "question")
MOST_TOLERANCE = 1000
"""A tolerance of so many times the gold answer, or the number 1, grants nearly anything."""
MOST_CHOICES = 10
"""The letters that the grader reads end with J."""

_KNOWN = {"id", "answer", "choices"}
_MISSING = frozenset({"nan", "<na>", "#n/a", "null"})
"""How tables spell a value that is not there, in lower case."""


def to_problem(
    record: Mapping[str, Any], where: str, default_id: str | None = None, *, may_repeat_choices: bool = False
) -> Problem:
    """The problem that `record` holds. Raises `ProblemsError` naming `where` and the key that is missing or wrong.

    With `may_repeat_choices` two choices may be the same, as in some published benchmarks; either is then graded as the other.
    """
    question_key = next((key for key in QUESTION_KEYS if key in record), "problem")
    identity = _present(record.get("id"))
    if identity is None and default_id is not None:
        identity = default_id
    fields = {"id": identity, question_key: record.get(question_key), "answer": record.get("answer")}
    answer = "" if _is_graded_without(record) else _gold(fields, where)
    choices = _choices(record.get("choices"), where, may_repeat=may_repeat_choices)
    _check_letter(answer, choices, where)
    problem = Problem(
        id=_text(fields, "id", where),
        question=_text(fields, question_key, where, has_numbers=False),
        answer=answer,
        choices=choices,
        meta={
            key: _plain(value, f"{where}: {key!r}")
            for key, value in record.items()
            if key not in _KNOWN | {question_key}
        },
    )
    _check_tolerance(problem, where)
    _check_solution(record, where)
    return problem


def _says_something(text: str) -> bool:
    """Whether a reader sees any of it: neither white space nor marks without a width are seen."""
    return any(char.isprintable() and not char.isspace() for char in text)


def _present(value: object) -> object:
    """None for a number that is not there."""
    return None if isinstance(value, float | Decimal) and isnan(value) else value


def _text(record: Mapping[str, Any], key: str, where: str, has_numbers: bool = True) -> str:
    value = record[key]
    if value is None:
        raise ProblemsError(f"{where}: no {key!r}; expected a record with 'id', 'problem' and 'answer'")
    if has_numbers and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if not _is_finite(value):
            raise ProblemsError(f"{where}: {key!r} is {value}, expected a string or a finite number")
        value = str(value)
    if not isinstance(value, str):
        expected = "a string or a number" if has_numbers else "a string"
        raise ProblemsError(f"{where}: {key!r} must be {expected}, found {type(value).__name__}")
    if not _says_something(value):
        what = "is empty" if not value.strip() else f"is {ascii(value)[:40]}, which says nothing"
        raise ProblemsError(f"{where}: {key!r} {what}")
    return value


def _is_graded_without(record: Mapping[str, Any]) -> bool:
    """Whether the record says that a grader judges its responses without a gold answer, and holds none."""
    return record.get("answer") == "" and isinstance(record.get("graded_by"), str)


def _gold(record: Mapping[str, Any], where: str) -> str:
    """The gold answer, which is neither missing nor empty once its markup is taken off."""
    answer = _text(record, "answer", where)
    if answer.strip().lower() in _MISSING:
        raise ProblemsError(f"{where}: 'answer' is {answer!r}, which is how a table spells a missing one")
    if answer.strip().lower().lstrip("+-") == "inf":
        raise ProblemsError(
            f"{where}: 'answer' is {answer!r}, which is how a table spells what is out of range; write \\infty"
        )
    if not any(char.isalnum() for char in answer.partition("\\")[0]) and not clean(answer):
        raise ProblemsError(f"{where}: 'answer' is {answer!r:.80}, which says nothing")
    return answer


def _choices(value: object, where: str, *, may_repeat: bool) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(map(_is_choice, value)):
        raise ProblemsError(f"{where}: 'choices' must be a list of strings, found {value!r:.200}")
    if len(value) == 1:
        raise ProblemsError(f"{where}: 'choices' holds only {value[0]!r:.80}, expected at least 2, or none")
    if len(value) > MOST_CHOICES:
        raise ProblemsError(f"{where}: 'choices' holds {len(value)}, expected at most {MOST_CHOICES}, A to J")
    choices = tuple(str(choice) for choice in value)
    first: dict[str, str] = {}
    for letter, choice in zip(ascii_uppercase, choices, strict=False):
        other = first.setdefault(" ".join(choice.split()), letter)
        if other != letter and not may_repeat:
            raise ProblemsError(f"{where}: 'choices' holds {choice!r:.80} twice, as {other} and {letter}")
    return choices


def _is_choice(choice: object) -> bool:
    """A text that says something, or a finite number."""
    if isinstance(choice, str):
        return _says_something(choice)
    return isinstance(choice, int | float) and not isinstance(choice, bool) and _is_finite(choice)


def _is_finite(number: float | Decimal) -> bool:
    return isinstance(number, int) or isfinite(number)


def _check_letter(answer: str, choices: tuple[str, ...], where: str) -> None:
    letters = ascii_uppercase[: len(choices)]
    if choices and (choice_letter(clean(answer), True) or "?") not in letters:
        expected = f"one of {', '.join(letters)}" if len(letters) > 1 else letters
        raise ProblemsError(f"{where}: 'answer' must be the letter of a choice, {expected}, found {answer!r}")


def _check_tolerance(problem: Problem, where: str) -> None:
    """Raise `ProblemsError` unless the tolerance is a number from 0 up, or one for each part of the gold answer."""
    stated = problem.meta.get("tolerance")
    try:
        limits = tolerances(problem)
    except (ProblemsError, ArithmeticError) as error:
        raise ProblemsError(
            f"{where}: 'tolerance' must be a number from 0 up, or a list of some, found {stated!r:.80}"
        ) from error
    if limits and (problem.choices or _is_words(problem.answer)):
        what = "letters of choices" if problem.choices else f"words, {problem.answer!r:.80}"
        raise ProblemsError(f"{where}: 'tolerance' is for numbers, and 'answer' is one of {what}")
    sizes = (abs(exact_number(part) or Fraction(0)) for part in parts(clean(problem.answer)).items)
    largest = MOST_TOLERANCE * max([Fraction(1), *sizes])
    if any(limit > largest for limit in limits):
        raise ProblemsError(f"{where}: 'tolerance' {stated!r:.80} would accept any answer; expected at most {largest}")
    num_parts = len(parts(clean(problem.answer)).items) if len(limits) > 1 else len(limits)
    if num_parts != len(limits):
        raise ProblemsError(f"{where}: 'tolerance' holds {len(limits)} numbers, but 'answer' has {num_parts} parts")


def _is_words(answer: str) -> bool:
    return re.fullmatch(r"[A-Za-z]{2,}(?: [A-Za-z]+)*", clean(answer)) is not None


def _check_solution(record: Mapping[str, Any], where: str) -> None:
    solution = _present(record.get("solution"))
    if solution is not None and not isinstance(solution, str):
        raise ProblemsError(f"{where}: 'solution' must be a string, found {type(solution).__name__}")


def _plain(value: object, where: str) -> Any:
    """A value of `meta` as JSON can spell it. Raises `ProblemsError` for an infinite number."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if isnan(value):
            return None
        if not isfinite(value):
            raise ProblemsError(f"{where} is {value}, expected a finite number")
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    return str(value)


def to_record(problem: Problem) -> dict[str, Any]:
    """The record from which `to_problem` makes `problem` again, except its `source`."""
    choices = {"choices": list(problem.choices)} if problem.choices else {}
    fields = {"id": problem.id, "problem": problem.question, "answer": problem.answer, **choices}
    return fields | {key: value for key, value in problem.meta.items() if key not in fields}


def check_problems(problems: list[Problem], wheres: list[str], source: str, count: int | None) -> list[Problem]:
    """The first `count` problems. Raises `ProblemsError` if there are none or too few, or if two have the same id."""
    if not problems:
        raise ProblemsError(f"{source}: holds no problems")
    first: dict[str, str] = {}
    for problem, where in zip(problems, wheres, strict=True):
        if problem.id in first:
            raise ProblemsError(f"{where}: id {problem.id!r} stands already in {first[problem.id]}")
        first[problem.id] = where.removeprefix(f"{source}, ")
    if count is not None and count > len(problems):
        raise ProblemsError(f"{source}: {count} problems asked for, but it holds {len(problems)}")
    _warn_of_contradictions(problems[:count], wheres, source)
    _warn_of_second_questions(problems[:count], wheres)
    return problems[:count]


def _warn_of_second_questions(problems: list[Problem], wheres: list[str]) -> None:
    """Say where a record has a question under both keys, of which only one is asked."""
    held = [
        number
        for number, problem in enumerate(problems)
        if problem.meta.get("question") not in (None, problem.question)
    ]
    if held:
        more = f" ({len(held)} such records)" if len(held) > 1 else ""
        said = f"{wheres[held[0]]}: holds 'problem' and 'question', and they differ; 'problem' is asked{more}"
        warnings.warn(said, LaconicWarning, stacklevel=2)


def _gold_value(problem: Problem) -> Fraction | str:
    """The gold answer as it is compared: a number, or its text in one spelling."""
    answer = clean(problem.answer)
    if problem.choices:
        return choice_letter(answer, True) or answer
    number = exact_number(answer)
    return answer if number is None else number


def _warn_of_contradictions(problems: list[Problem], wheres: list[str], source: str) -> None:
    """Say where the same question stands with two gold answers, of which one is wrong."""
    first: dict[tuple[str, tuple[str, ...]], int] = {}
    twice = []
    for number, problem in enumerate(problems):
        other = first.setdefault((" ".join(problem.question.split()), problem.choices), number)
        if _gold_value(problems[other]) != _gold_value(problem):
            twice.append((other, number))
    if twice:
        other, number = twice[0]
        golds = f"{problems[other].answer!r:.40} and {problems[number].answer!r:.40}"
        place = wheres[other].removeprefix(f"{source}, ")
        more = f" ({len(twice)} such questions)" if len(twice) > 1 else ""
        said = f"{wheres[number]}: the question of {place} again, with another answer: {golds}{more}"
        warnings.warn(said, LaconicWarning, stacklevel=2)
