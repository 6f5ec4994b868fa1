r"""Are the problems sound: their questions, their gold answers, and the separation of the three sets?

1. Questions: none occurs twice in a set.
2. Gold answers: none holds a whole solution, or leaves open which answer is meant. A response `\boxed{gold}` must be graded
   correct, and a different answer wrong. A gold answer that the grader cannot read makes every response ungradable or wrong,
   whatever the model does.
3. Worked solutions, where a phase learns from them: they fit the model and are graded correct. Given pairs: they fit.
4. Leakage: no question of the train set occurs in the watch or report set, exactly or nearly.

Numbers and words are compared in this process. Gold answers that need algebra are checked by the grader's pool, at most
`MAX_ALGEBRA` of a set, spread evenly over it; the finding says so.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from laconic.config.solver import GraderConfig
from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding, Level
from laconic.errors import InputError
from laconic.grading.grader import Grader
from laconic.grading.numbers import exact_number, quantity
from laconic.grading.rules import same_answer
from laconic.problems.leakage import Leak, LeakKind, find_leaks
from laconic.problems.sets import question_key
from laconic.problems.thoughts import SOLUTION
from laconic.rollouts.graders import is_rule_based, open_grader
from laconic.rollouts.sources import OWN_TEXTS
from laconic.system.text import counted
from laconic.training.check.problems import check_weightless, complaints_about_problems
from laconic.types import Grade, Problem

ERROR_SHARE = 0.1  # share of a set's gold answers; from this share on the finding is an error
MAX_ALGEBRA = 64
OTHER = r"\sin(q)"  # an answer that differs from every gold answer, which only algebra can find out
GUESSES = re.compile(r"\bor\b|\beither\b|\?\s*$|\bmaybe\b", re.IGNORECASE)
MAX_ANSWER_CHARS = 60  # characters of a gold answer


def check_questions(examined: Examined) -> Iterator[Finding]:
    """Does every question occur only once in its set? The same question with other choices counts as another."""
    for name, problems in examined.sets.items():
        where, times = f"problems.{name}", Counter(map(_question_and_choices, problems))
        again = [problem for problem in problems if times[_question_and_choices(problem)] > 1]
        if not again:
            yield Finding("fine", f"{counted(len(problems), 'problem')}, none asked twice", where)
            continue
        answers = sorted(
            {
                problem.answer.strip()
                for problem in again
                if _question_and_choices(problem) == _question_and_choices(again[0])
            }
        )
        clash = f", with answers {' and '.join(answers[:2])}" if len(answers) > 1 else ""
        extra = counted(len(problems) - len(times), "question")
        what = f"{extra} asked again, the first in problem {again[0].id}{clash}"
        yield Finding("warning", what, where, "keep one of each: intervals take problems for independent")


def _question_and_choices(problem: Problem) -> tuple[str, ...]:
    return question_key(problem), *sorted(problem.choices)


# --- worked solutions ------------------------------------------------------------------------------------------------


def check_solutions(examined: Examined) -> Iterator[Finding]:
    """Where a phase learns from the problems' own texts, can the model learn from them? Training asks the same."""
    learning = [phase for phase in examined.phases if phase.config.rollouts in OWN_TEXTS]
    lacking = [c for phase in learning for c in complaints_about_problems(phase.config, examined.trainable)]
    if not learning or any(complaint.level == "error" for complaint in lacking):  # which another check says
        return
    try:
        flaws = check_weightless(examined.recipe, examined.phases, examined.trainable)
    except InputError as error:
        field, _, what = str(error).partition(": ")
        yield Finding("error", what, field, "mend the texts, or leave those problems out")
        return
    for flaw in flaws:
        yield Finding(flaw.level, flaw.what, flaw.where, "mend them, or leave those problems out")
    if not flaws:
        kind = "worked solution teaches" if learning[0].config.rollouts == "solutions" else "pair can be written"
        yield Finding("fine", f"every {kind}", f"phases.{learning[0].name}.rollouts")


# --- gold answers ----------------------------------------------------------------------------------------------------


def check_golds(examined: Examined) -> Iterator[Finding]:
    """Can the grader tell a right answer from a wrong one, for every problem?"""
    if not is_rule_based(examined.recipe.grader):
        yield _own_grader(examined.recipe.grader)
        return
    with Grader(examined.recipe.grader.workers, examined.recipe.grader.timeout_seconds) as grader:
        for name, problems in examined.sets.items():
            yield from _judge_golds(f"problems.{name}", problems, grader)


def _own_grader(config: GraderConfig) -> Finding:
    try:
        with open_grader(config) as grader:
            what = f"{grader.name} can be opened; what it takes for right, only it knows"
            return Finding("fine", what, "grader")
    except InputError as error:
        return Finding("error", str(error), "grader", "mend the file")


def _judge_golds(where: str, problems: Sequence[Problem], grader: Grader) -> Iterator[Finding]:
    unequal = [p for p, grade in zip(problems, _grades(grader, problems), strict=True) if grade is not Grade.CORRECT]
    golds, remedy = counted(len(problems), "gold answer"), "give the answer alone, as it would stand in a box"
    share = len(unequal) / len(problems)
    yield _gold_finding(where, golds, unequal, share, "graded correct when given as the answer", remedy)
    if need_algebra := [problem for problem in problems if not _is_number(problem) and _is_undecided(problem)]:
        yield _algebra_finding(where, need_algebra, len(need_algebra) / len(problems), grader)


def _algebra_finding(where: str, problems: Sequence[Problem], share: float, grader: Grader) -> Finding:
    """Can the grader's algebra read the gold answers that need it, which are the share `share` of the set?"""
    sample = _thinned(problems)
    graded_answers = grader.grade_many([(_boxed(OTHER), problem, False) for problem in sample])
    unread = [p for p, graded in zip(sample, graded_answers, strict=True) if graded.grade is Grade.UNGRADABLE]
    spread = f" (of {len(problems):,}, evenly spread)" if len(sample) < len(problems) else ""
    golds, remedy = (
        f"{counted(len(sample), 'gold answer')} that need algebra{spread}",
        "give a number, an expression or a choice",
    )
    return _gold_finding(where, golds, unread, share * len(unread) / len(sample), "read by it", remedy)


def _grades(grader: Grader, problems: Sequence[Problem]) -> list[Grade]:
    return [graded.grade for graded in grader.grade_many([(_boxed(p.answer), p, False) for p in problems])]


def _boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


def _thinned(problems: Sequence[Problem]) -> Sequence[Problem]:
    """At most `MAX_ALGEBRA` of the problems, evenly spread."""
    return problems[:: -(-len(problems) // MAX_ALGEBRA)]


def _is_number(problem: Problem) -> bool:
    return exact_number(quantity(problem.answer).body) is not None


def _is_undecided(problem: Problem) -> bool:
    return same_answer(problem.answer, OTHER, problem.choices) is None


def _gold_finding(where: str, golds: str, bad: Sequence[Problem], share: float, what: str, remedy: str) -> Finding:
    if not bad:
        return Finding("fine", f"{golds}, all {what}", where)
    return Finding(_level(share), f"{len(bad)} of {golds} not {what}; {_example(bad)}", where, remedy)


def _level(share: float) -> Level:
    return "error" if share >= ERROR_SHARE else "warning"


def check_gold_form(examined: Examined) -> Iterator[Finding]:
    """Is every gold answer a final answer? Hardly any response can equal a whole solution, or an answer that is left open."""
    for name, problems in examined.sets.items():
        where, plain = f"problems.{name}", [problem for problem in problems if not problem.choices]
        if solutions := [problem for problem in plain if SOLUTION.search(problem.answer)]:
            what = f"{counted(len(solutions), 'gold answer')} with a solution around the answer; {_example(solutions)}"
            yield Finding(_level(len(solutions) / len(problems)), what, where, "give the final answer alone")
        if doubtful := [problem for problem in plain if GUESSES.search(problem.answer)]:
            what = f"{counted(len(doubtful), 'gold answer')} may leave the answer open; {_example(doubtful)}"
            yield Finding("warning", what, where, "give one answer, or a list where all of it is wanted")


def _example(problems: Sequence[Problem]) -> str:
    return f"problem {problems[0].id} has {_shown(problems[0].answer)}"


def _shown(answer: str) -> str:
    flat = " ".join(answer.split())
    return repr(flat if len(flat) <= MAX_ANSWER_CHARS else flat[:MAX_ANSWER_CHARS] + "...")


# --- leakage ---------------------------------------------------------------------------------------------------------


def check_leaks(examined: Examined) -> Iterator[Finding]:
    """Does one set hold questions of another, exactly or nearly? Variants with other numbers are mentioned but are not leaks."""
    for one, other in combinations(examined.sets, 2):
        leaks = find_leaks(examined.sets[one], examined.sets[other])
        where, there = f"problems.{one}", f"problems.{other}"
        by_kind = {kind: [leak for leak in leaks if leak.kind is kind] for kind in LeakKind}
        if by_kind[LeakKind.EXACT]:
            yield _exact(examined, by_kind[LeakKind.EXACT], one, other)
        if by_kind[LeakKind.NEAR]:
            what = _leaking(by_kind[LeakKind.NEAR], f"found in {there} in other words")
            yield Finding("warning", what, where, "leave them out (laconic select --against); the run does not")
        if not by_kind[LeakKind.EXACT] + by_kind[LeakKind.NEAR]:
            variants = by_kind[LeakKind.VARIANT]
            remark = f"; {_leaking(variants, 'like one of it but for numbers or answer')}" if variants else ""
            yield Finding("fine", f"no question found in {there}{remark}", where)


def _exact(examined: Examined, leaks: Sequence[Leak], one: str, other: str) -> Finding:
    """The finding on exact leaks. The run leaves these questions out, and if none is left it cannot begin."""
    left = set(map(question_key, examined.sets[one])) - set(map(question_key, examined.sets[other]))
    what = _leaking(leaks, f"found in problems.{other} too")
    if not left:
        return Finding("error", f"{what}; none is left", f"problems.{one}", "choose sources that do not overlap")
    remedy = "choose sources that do not overlap; the run leaves out those that agree to the letter"
    return Finding("warning", what, f"problems.{one}", remedy)


def _leaking(leaks: Sequence[Leak], how: str) -> str:
    """How many problems leak, with an example: the most similar one that is not exact, if there is one."""
    worst = max(leaks, key=lambda leak: leak.similarity)
    number = len({leak.train_id for leak in leaks})
    return f"{counted(number, 'question')} {how}: {worst.train_id} is {worst.similarity:.0%} like {worst.test_id}"
