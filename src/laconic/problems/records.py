"""One record of a file, checked and turned into a `Problem`, and back.

`id`, `problem` (or `question`), `answer` and `choices` have a meaning of their own; every other key is kept in `meta`. If there
are choices, the answer must be the letter of one of them: with any other answer, every response would be wrong.
"""

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from laconic.errors import ProblemsError
from laconic.grading.normal_form import clean
from laconic.grading.scalar_rules import choice_letter
from laconic.types import Problem

QUESTION_KEYS = ("problem", "question")
_KNOWN = {"id", "answer", "choices"}


def to_problem(record: Mapping[str, Any], where: str, default_id: str | None = None) -> Problem:
    """The problem that `record` holds. Raises `ProblemsError` naming `where` and the key that is missing or wrong."""
    question_key = next((key for key in QUESTION_KEYS if key in record), "problem")
    identity = record.get("id")
    if identity is None and default_id is not None:
        identity = default_id
    fields = {"id": identity, question_key: record.get(question_key), "answer": record.get("answer")}
    answer, choices = _text(fields, "answer", where), _choices(record.get("choices"), where)
    _check_letter(answer, choices, where)
    return Problem(
        id=_text(fields, "id", where),
        question=_text(fields, question_key, where, has_numbers=False),
        answer=answer,
        choices=choices,
        meta={key: value for key, value in record.items() if key not in _KNOWN | {question_key}},
    )


def _text(record: Mapping[str, Any], key: str, where: str, has_numbers: bool = True) -> str:
    value = record[key]
    if value is None:
        raise ProblemsError(f"{where}: no {key!r}; expected a record with 'id', 'problem' and 'answer'")
    if has_numbers and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        expected = "a string or a number" if has_numbers else "a string"
        raise ProblemsError(f"{where}: {key!r} must be {expected}, found {type(value).__name__}")
    if not value.strip():
        raise ProblemsError(f"{where}: {key!r} is empty")
    return value


def _choices(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(choice, str | int | float) for choice in value):
        raise ProblemsError(f"{where}: 'choices' must be a list of strings, found {value!r}")
    return tuple(str(choice) for choice in value)


def _check_letter(answer: str, choices: tuple[str, ...], where: str) -> None:
    letters = ascii_uppercase[: len(choices)]
    if choices and (choice_letter(clean(answer), True) or "?") not in letters:
        expected = f"one of {', '.join(letters)}" if len(letters) > 1 else letters
        raise ProblemsError(f"{where}: 'answer' must be the letter of a choice, {expected}, found {answer!r}")


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
