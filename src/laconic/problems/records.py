"""One record of a file, checked and turned into a `Problem`, and back.

1. `id`, `problem` (or `question`), `answer` and `choices` have a meaning of their own; every other key is kept in `meta`.
2. A problem that nobody can answer is refused. If there are choices, they differ, and the answer is the letter of one of them:
   with any other answer, every response would be wrong. The gold answer says something. Tables spell a missing number as NaN, and
   a gold answer "nan" would make every response wrong as well. A tolerance is a number, or as many as the answer has parts.
3. `meta` is made of what JSON can spell, so that a problem can be written to a file again: a missing number becomes null, and
   values of other kinds (dates, decimals) become their text.
"""

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite, isnan
from string import ascii_uppercase
from typing import Any

from laconic.errors import ProblemsError
from laconic.grading.grader import tolerances
from laconic.grading.normal_form import clean, parts
from laconic.grading.scalar_rules import choice_letter
from laconic.types import Problem

QUESTION_KEYS = ("problem", "question")
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
    answer = _gold(fields, where)
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
    return problem


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
    if not value.strip():
        raise ProblemsError(f"{where}: {key!r} is empty")
    return value


def _gold(record: Mapping[str, Any], where: str) -> str:
    """The gold answer, which is neither missing nor empty once its markup is taken off."""
    answer = _text(record, "answer", where)
    if answer.strip().lower() in _MISSING:
        raise ProblemsError(f"{where}: 'answer' is {answer!r}, which is how a table spells a missing one")
    if not any(char.isalnum() for char in answer.partition("\\")[0]) and not clean(answer):
        raise ProblemsError(f"{where}: 'answer' is {answer!r:.80}, which says nothing")
    return answer


def _choices(value: object, where: str, *, may_repeat: bool) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(map(_is_choice, value)):
        raise ProblemsError(f"{where}: 'choices' must be a list of strings, found {value!r:.200}")
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
        return bool(choice.strip())
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
    num_parts = len(parts(clean(problem.answer)).items) if len(limits) > 1 else len(limits)
    if num_parts != len(limits):
        raise ProblemsError(f"{where}: 'tolerance' holds {len(limits)} numbers, but 'answer' has {num_parts} parts")


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
    return problems[:count]
