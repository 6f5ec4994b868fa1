"""A user's own grader: a function in a Python file, named as in `grader = "mine.py:grade"`.

1. The function takes an `Attempt` and returns a grade: "correct", "wrong", "no_answer" or "ungradable"; or true or false for
   correct and wrong, or None for no answer. It may return a pair of the grade and the answer as a short text, by which equal
   answers of several samples are recognised.
2. `OwnGrader` grades with it as the package's own grader does (`grader.py`): the same five grades, `workers` child processes at
   once, and a hard limit on every response. A response that the cap ended is truncated, and one that ends inside its thinking, or
   is empty, has no answer: the function is not asked.
3. The function runs in child processes of its own (`system/foreign_code.py`). Where a call exceeds the limit its child is killed
   and replaced, and the response is ungradable ("timeout"). Where a call raises, or ends its child and the next one too, it is
   ungradable as well ("crash"), and a warning names the line once. `MAX_LOST_IN_A_ROW` such calls in a row end the work, or
   the first `MAX_LOST_AT_FIRST`, since then the function is broken, and not the responses.
4. A value that is no grade is a mistake in the function, and ends the work at once.

An evaluation records the function with the hash of its file, so a folder is only continued, and only compared, with the same
grader. What is left out: what the file imports is not hashed.
"""

import queue
import threading
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from laconic.config.defaults import GRADER_START_SECONDS, GRADER_TIMEOUT_SECONDS, GRADER_WORKERS
from laconic.errors import InputError, LaconicWarning, RunFailed
from laconic.grading.grader import Closing, Item
from laconic.grading.rules import Graded
from laconic.grading.thought import after_thought
from laconic.system.checksums import file_digest
from laconic.system.child_processes import CRASH, MAX_LOST_IN_A_ROW, TIMEOUT
from laconic.system.confinement import Answer, plainly
from laconic.system.foreign_code import ForeignCode, ForeignCodeError
from laconic.system.own_files import function_in, own_parts, run_file
from laconic.system.text import well_formed
from laconic.types import Grade, Problem

MAX_GRADER_BYTES = 4 << 30
SHOWN_DIGITS = 12
MAX_LOST_AT_FIRST = 5
"""The calls in a row that may fail before any was answered: a small trial should say that the function is broken."""
UNSURE = "unsure"
"""Why a response is ungradable that a grader read, and would not judge."""
RETURNED = tuple(grade.value for grade in Grade if grade is not Grade.TRUNCATED)
"""What a grader of one's own may return: whether a response is truncated is a fact, and no judgement."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A response as a grader of one's own sees it. `text` is the whole response, `reply` its part after the thinking."""

    problem_id: str
    question: str
    gold: str
    text: str
    reply: str
    choices: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def attempt_of(text: str, problem: Problem) -> Attempt | None:
    """The attempt, None where it ends inside its thinking or says nothing after it."""
    reply = (after_thought(text) or "").strip()
    if not reply:
        return None
    return Attempt(problem.id, problem.question, problem.answer, text, reply, problem.choices, dict(problem.meta))


class OwnGrader(Closing):
    """Grades responses by the function that `name`, FILE.py:FUNCTION, points to, FILE relative to `folder`.

    `reasons` counts why responses were ungradable: `timeout`, `crash`, `unsure` where the function said so. Raises `InputError`
    where there is no such file or function, or the file fails when it is run.
    """

    def __init__(
        self,
        name: str,
        folder: Path = Path(),
        workers: int = GRADER_WORKERS,
        timeout_seconds: float = GRADER_TIMEOUT_SECONDS,
    ) -> None:
        try:
            self._path, self._function = own_parts(name, folder, "grader", f"the folder {folder.resolve()}")
        except ValueError as error:
            raise InputError(str(error)) from None
        self.timeout_seconds = timeout_seconds
        self.reasons: Counter[str] = Counter()
        self._digest = file_digest(self._path)
        self.name = f"{self._path.name}:{self._function}, sha256 {self._digest[:SHOWN_DIGITS]}"
        self._workers = workers
        self._idle: queue.LifoQueue[ForeignCode | None] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._lost_in_a_row, self._has_warned, self._has_answered = 0, False, False
        for _ in range(workers - 1):
            self._idle.put(None)
        self._idle.put(self._started())

    def close(self) -> None:
        """End every child; a later `grade_many` starts new ones."""
        for code in [self._idle.get() for _ in range(self._workers)]:
            if code is not None:
                code.close()
            self._idle.put(None)

    def grade_many(self, items: Sequence[Item]) -> list[Graded]:
        """The grade, answer and reason for each response, in order.

        Raises `InputError` for a value that is no grade, and `RunFailed` where the function fails on response after response.
        """
        if min(self._workers, len(items)) < 2:
            return [self._grade(*item) for item in items]
        with ThreadPoolExecutor(min(self._workers, len(items))) as threads:
            return list(threads.map(lambda item: self._grade(*item), items))

    def _grade(self, text: str, problem: Problem, is_truncated: bool) -> Graded:
        if is_truncated:
            return Graded(Grade.TRUNCATED)
        attempt = attempt_of(text, problem)
        if attempt is None:
            return Graded(Grade.NO_ANSWER)
        graded = self._asked(attempt)
        if graded.reason:
            with self._lock:
                self.reasons[graded.reason] += 1
        return graded

    def _asked(self, attempt: Attempt) -> Graded:
        for is_last in (False, True):
            try:
                return self._read(self._reply(attempt), attempt)
            except ForeignCodeError as error:
                if is_last or not error.has_ended:
                    return self._lost(error)
        raise AssertionError("the second try returns")

    def _reply(self, attempt: Attempt) -> Mapping[str, Any]:
        """What the function's child replies. One that has ended, or was killed at the limit, is replaced at the next call."""
        code = self._idle.get()
        try:
            if code is None:
                code = self._started()
            reply: Mapping[str, Any] = code.ask(attempt)
            return reply
        except ForeignCodeError as error:
            if code is not None and (error.is_late or error.has_ended):
                code.close()
                code = None
            raise
        finally:
            self._idle.put(code)

    def _read(self, reply: Mapping[str, Any], attempt: Attempt) -> Graded:
        self._lost_in_a_row, self._has_answered = 0, True
        if "instead" in reply:
            raise InputError(
                f"{self._path}: {self._function} returned {plainly(reply['instead'])} for problem {attempt.problem_id}; expected "
                f"one of {', '.join(RETURNED)}, true, false or None, or such a value and a text"
            )
        grade = Grade(reply["grade"])
        return Graded(grade, reply["answer"], UNSURE if grade is Grade.UNGRADABLE else "")

    def _lost(self, error: ForeignCodeError) -> Graded:
        """The grade of a response that the function failed on. Raises `RunFailed` where it has failed on many in a row."""
        place = f"{self._path}, line {error.line}" if error.line else f"{self._path}"
        limit = " (grader.timeout_seconds)" if error.is_late else ""
        what = f"{place}: {self._function} fails on a response: {error}{limit}"
        with self._lock:
            self._lost_in_a_row += 1
            is_first, self._has_warned = not self._has_warned, True
        if self._lost_in_a_row >= (most := MAX_LOST_IN_A_ROW if self._has_answered else MAX_LOST_AT_FIRST):
            raise RunFailed(f"{what}; as on the {most - 1} before it")
        if is_first:
            warnings.warn(f"{what}; such responses are ungradable", LaconicWarning, stacklevel=2)
        return Graded(Grade.UNGRADABLE, None, TIMEOUT if error.is_late else CRASH)

    def _started(self) -> ForeignCode:
        """A new child. Raises `InputError` where the file has changed, since then two graders would share the work."""
        if file_digest(self._path) != self._digest:
            raise InputError(f"{self._path}: has changed while it was grading; put it back as it was, or begin anew")
        prepare = partial(_prepare, self._path, self._function)
        try:
            code = ForeignCode(
                prepare, self.timeout_seconds, MAX_GRADER_BYTES, self._path, start_seconds=GRADER_START_SECONDS
            )
        except ForeignCodeError as error:
            place = f"{self._path}, line {error.line}" if error.line else f"{self._path}"
            raise InputError(f"{place}: expected a file that runs, got {error}") from None
        if "mistake" in code.facts:
            code.close()
            raise InputError(plainly(code.facts["mistake"]))
        return code


# --- in the child ----------------------------------------------------------------------------------------------------


def _prepare(path: Path, name: str) -> tuple[Answer, Mapping[str, Any]]:
    """Run the file and look at the function: how it answers, and what is wrong with it, if anything is."""
    function, mistake = function_in(run_file(path), path, name, "a grade")
    return partial(_answer, function), {} if mistake is None else {"mistake": mistake}


def _answer(function: Any, attempt: Attempt) -> dict[str, Any]:
    returned = function(attempt)
    grade, answer = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    word = _word(grade)
    if word is None or not (answer is None or isinstance(answer, str)):
        return {"instead": repr(returned)[:200]}
    return {"grade": word, "answer": None if answer is None else well_formed(answer)}


def _word(grade: Any) -> str | None:
    """The grade as a word; None for a value that is none."""
    if grade is None:
        return Grade.NO_ANSWER.value
    kind = type(grade)
    if kind is bool or (kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_")):
        return (Grade.CORRECT if grade else Grade.WRONG).value
    return str(grade) if isinstance(grade, str) and grade in RETURNED else None
