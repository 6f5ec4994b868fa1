r"""The problems' own worked solutions as responses to learn from, and what keeps some of them from teaching.

1. `solution_text` is the text to learn: the solution, with the gold answer in a box where the solution has none.
2. `write_solutions` puts it into tokens as the model would have written it: a mark of thinking that the prompt has opened is not
   opened twice, and the last token is the one that closes the model's responses. It refuses solutions that do not fit the context
   with their prompt, that hold a token for which the model has no embedding, or in which a response would have stopped earlier.
3. `flaws_of` says what else is wrong, one line for each kind, with counts.
4. `grade_solutions` does all three, and refuses solutions of which none is graded correct. Training calls it before a run begins,
   for all problems of a phase, and again for those that the phase chose.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.errors import ProblemsError
from laconic.grading.rules import Graded
from laconic.grading.thought import find_thought
from laconic.models.causal_lm import CausalLM
from laconic.prompts.thinking import marks_of, prompt_mark
from laconic.rollouts.solver import Assignment, Solver, with_thinking
from laconic.types import FinishReason, Grade, Problem, Response


@dataclass(frozen=True, slots=True)
class WorkedSolution:
    """A problem's solution as a response to its prompt. `mark` is the mark of thinking at which the prompt ends."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    mark: str
    response: Response

    @property
    def read_text(self) -> str:
        """The text as the grader reads it."""
        return self.mark + self.response.text

    @property
    def num_tokens(self) -> int:
        """Length in tokens, prompt included."""
        return len(self.prompt_ids) + self.response.num_tokens


def solution_text(problem: Problem) -> str:
    """The problem's worked solution; a solution without a boxed answer is closed with the gold answer in a box.

    Raises `ProblemsError` if there is none.
    """
    solution = problem.meta.get("solution")
    if not isinstance(solution, str) or not solution.strip():
        raise ProblemsError(
            f"problem {problem.id}: has no 'solution'; rollouts = \"solutions\" needs one in every problem's record"
        )
    return solution if "\\boxed{" in solution else f"{solution}\n\\boxed{{{problem.answer}}}"


def write_solutions(solver: Solver, lm: CausalLM, problems: Sequence[Problem], field: str) -> list[WorkedSolution]:
    """The solutions of all problems, in order. `field` names the recipe's field in errors.

    Raises `ModelError` where the model states no end token or lacks a token of a solution, and `ProblemsError` where a solution
    is missing, too long, or holds an end token.
    """
    return write_texts(solver, lm, [(problem, solution_text(problem)) for problem in problems], field, "solution")


def write_texts(
    solver: Solver, lm: CausalLM, texts: Sequence[tuple[Problem, str]], field: str, kind: str
) -> list[WorkedSolution]:
    """Texts as the responses of the model to their problems, in order; `kind` is what errors call one of them.

    Raises the errors of `write_solutions`.
    """
    closing = lm.closing_id()
    written = [
        _write(lm, closing, problem, solver.request(Assignment(problem, 1)).prompt_ids, text) for problem, text in texts
    ]
    for one in written:
        lm.check_ids((*one.prompt_ids, *one.response.token_ids), f"the {kind} of problem {one.problem.id}")
    _check_room(written, lm, field, kind)
    if stopped := [one for one in written if not lm.stop_ids.isdisjoint(one.response.token_ids[:-1])]:
        raise ProblemsError(
            f"{field}: {_share(stopped, written, kind)} hold an end token before their end, where a response stops"
        )
    return written


def grade_solutions(
    solver: Solver, lm: CausalLM, problems: Sequence[Problem], field: str
) -> tuple[list[WorkedSolution], list[Graded], list[str]]:
    """The solutions of all problems with their grades, in order, and what is wrong with some of them.

    Raises the errors of `write_solutions`, and `ProblemsError` where no solution is graded correct.
    """
    written = write_solutions(solver, lm, problems, field)
    graded = solver.grader.grade_many([(one.read_text, one.problem, False) for one in written])
    grades = [result.grade for result in graded]
    flaws = list(flaws_of(written, grades, lm.tokenizer))
    if Grade.CORRECT not in grades:
        raise ProblemsError(f"{field}: there is nothing to learn from: {'; '.join(flaws)}")
    return written, graded, flaws


def _write(lm: CausalLM, closing: int, problem: Problem, prompt_ids: tuple[int, ...], text: str) -> WorkedSolution:
    mark = prompt_mark(prompt_ids, lm.tokenizer)
    if find_thought(mark).is_open and text.lstrip().lower().startswith(mark.lower()):
        text = text.lstrip()[len(mark) :].lstrip()
    ids = [int(token) for token in lm.tokenizer.encode(text, add_special_tokens=False)]
    while ids and ids[-1] in lm.stop_ids:
        ids.pop()
    response = Response((*ids, closing), (0.0,) * (len(ids) + 1), text, FinishReason.STOP)
    return WorkedSolution(problem, prompt_ids, mark, with_thinking(response, lm.tokenizer, mark))


def _check_room(written: Sequence[WorkedSolution], lm: CausalLM, field: str, kind: str) -> None:
    limit = lm.context_length
    beyond = [one for one in written if limit is not None and one.num_tokens > limit]
    if beyond:
        longest = max(one.num_tokens for one in beyond)
        raise ProblemsError(
            f"{field}: {_share(beyond, written, kind)} exceed with their prompts the context of {lm.name}, "
            f"{lm.context_words}: the longest takes {longest}; leave those problems out"
        )


def flaws_of(written: Sequence[WorkedSolution], grades: Sequence[Grade], tokenizer: Any) -> Iterator[str]:
    """What keeps solutions from teaching what they should, one line for each kind; `grades` are theirs, in order."""
    is_open = [find_thought(one.read_text).is_open for one in written]
    if thinking := [one for one, still in zip(written, is_open, strict=True) if still]:
        mark, marks = thinking[0].mark, marks_of(tokenizer)
        opened = f", which the prompt opens with {mark}" if mark else ""
        closes = marks.closes if marks else "the closing mark"
        yield f"{_share(thinking, written)} end inside the thinking{opened}; write {closes} before the answer"
    rest = zip(written, grades, is_open, strict=True)
    failed = [(one, grade) for one, grade, still in rest if not still and grade is not Grade.CORRECT]
    if failed:
        counts = Counter(grade.value for _, grade in failed)
        listed = ", ".join(f"{count} {grade}" for grade, count in counts.items())
        yield f"{_share([one for one, _ in failed], written)} are not graded correct: {listed}"
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unwritten := [one for one in written if unknown is not None and unknown in one.response.token_ids]:
        yield f"{_share(unwritten, written)} hold text that the tokenizer cannot write"


def _share(some: Sequence[WorkedSolution], all_of_them: Sequence[WorkedSolution], kind: str = "solution") -> str:
    """ "2 of 6 solutions (the first of problem p1)"."""
    return f"{len(some)} of {len(all_of_them)} {kind}s (the first is of problem {some[0].problem.id})"
