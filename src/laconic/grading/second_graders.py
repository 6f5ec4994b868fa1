"""Graders that grade stored responses a second time, for `comparison/audit.py`. The table `SECOND_GRADERS` names them.

1. `exact` is our extraction and rules alone. An answer that only algebra can decide is `undecided`.
2. `math_verify` is Math-Verify alone on the whole text, in child processes with a hard time limit.
3. `laconic` is our grader in its present version, with algebra and truncation. `Regrader` makes a second one of any grader.

A verdict is one word of `VERDICTS`: a grade, `undecided`, or the reason why there is none. What is left out: reading files, and
deciding which of two graders is right.
"""

from collections.abc import Callable, Mapping, Sequence

from laconic.grading.grader import AnyGrader, Grader, Item, grade_by_rules
from laconic.grading.own import UNSURE
from laconic.grading.rules import Undecided
from laconic.system.child_processes import CRASH, TIMEOUT, Children, answer_lines
from laconic.types import GRADES, Grade, Problem

MATH_VERIFY = "laconic.grading.second_graders:serve_math_verify"
UNDECIDED = "undecided"
GOLD = "gold"
VERDICTS = (
    *(grade.value for grade in GRADES if grade is not Grade.UNGRADABLE),
    UNDECIDED,
    TIMEOUT,
    CRASH,
    GOLD,
    UNSURE,
)
"""The verdicts of a second grader. `undecided`: only algebra can decide; `gold`: the grader cannot read the gold answer;
`unsure`: it read the response and would not judge."""


class _Exact:
    """Our extraction and rules alone, without algebra and child processes. It reads truncated responses as if they were whole."""

    def __init__(self, _workers: int, _timeout_seconds: float) -> None: ...

    def verdicts(self, items: Sequence[Item]) -> list[str]:
        return [self._verdict(text, problem) for text, problem, _ in items]

    def _verdict(self, text: str, problem: Problem) -> str:
        result = grade_by_rules(text, problem, is_truncated=False)
        return UNDECIDED if isinstance(result, Undecided) else result.reason or result.grade.value

    def close(self) -> None: ...


class Regrader:
    """A grader that grades responses, as a second one. It grades a truncated response as truncated."""

    def __init__(self, grader: AnyGrader) -> None:
        self._grader = grader

    def verdicts(self, items: Sequence[Item]) -> list[str]:
        """The grade of each response, or why there is none."""
        return [graded.reason or graded.grade.value for graded in self._grader.grade_many(items)]

    def close(self) -> None:
        """End what the grader started."""
        self._grader.close()


class _MathVerify:
    """Math-Verify alone on the whole text, with its own extraction and default settings, in child processes."""

    def __init__(self, workers: int, timeout_seconds: float) -> None:
        self._children = Children(MATH_VERIFY, workers, timeout_seconds)

    def verdicts(self, items: Sequence[Item]) -> list[str]:
        return self._children.ask([(problem.answer, text) for text, problem, _ in items])

    def close(self) -> None:
        self._children.close()


SecondGrader = _Exact | Regrader | _MathVerify
SECOND_GRADERS: Mapping[str, Callable[[int, float], SecondGrader]] = {
    "exact": _Exact,
    "math_verify": _MathVerify,
    "laconic": lambda workers, timeout_seconds: Regrader(Grader(workers, timeout_seconds)),
}


def serve_math_verify() -> None:
    """A child's loop: it answers a line [gold, text] with the verdict of `by_math_verify`."""
    answer_lines(by_math_verify, ("2", r"\boxed{1+1}"))


def by_math_verify(gold: str, text: str) -> str:
    """Math-Verify's verdict with default settings; `no_answer` where it finds none. It has no time limit, so only children call
    it."""
    from math_verify import parse, verify

    gold_expressions = parse(f"${gold}$", parsing_timeout=None) or parse(gold, parsing_timeout=None)
    if not gold_expressions:
        return GOLD
    expressions = parse(text, parsing_timeout=None)
    if not expressions:
        return Grade.NO_ANSWER.value
    return (Grade.CORRECT if verify(gold_expressions, expressions, timeout_seconds=None) else Grade.WRONG).value
