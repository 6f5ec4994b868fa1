"""The program `traffic problems`: problems for the next training out of stored questions.

1. Each question (`questions.py`) gets a gold answer (`golds.py`), or is left out with a reason, as where either says nothing.
2. Of problems that are alike, exactly or nearly (`problems/leakage.py`), the first is kept; where such problems have different
   gold answers, one of them is wrong, and both are left out.
3. Problems that occur among those that will be reported on are left out.
4. Each row names the requests that it was made of (`traffic_request`), so that a problem whose user was forgotten is not trained
   on, and says where its gold answer comes from (`gold_from`) and how sure it is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.errors import ProblemsError
from laconic.harvest.golds import CONTRADICTED, Gold, GoldRule, gold_of
from laconic.harvest.questions import Question, StoredQuestions
from laconic.harvest.votes import is_same
from laconic.problems.leakage import LeakKind, find_leaks
from laconic.problems.records import to_problem
from laconic.selection.program import leaking
from laconic.types import Problem

UNREADABLE = "that no file of problems may hold"
ALIKE_QUESTIONS, LEAKED = "like another one", "that are reported on"


@dataclass(frozen=True, slots=True)
class Harvest:
    """Rows of a file, how many rows there are by where they come from, and how many questions were left out by the reason."""

    rows: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]
    left_out: Mapping[str, int]

    def line(self, written: int) -> str:
        """What came out, in one line, given how many rows were written.

        >>> Harvest(({}, {}), {"correction": 2}, {"redacted": 1}).line(2)
        '2 (correction 2); left out: 1 redacted'
        """
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        reasons = self.reasons(written)
        return f"{written}{f' ({kinds})' if kinds else ''}{f'; {reasons}' if reasons else ''}"

    def reasons(self, written: int) -> str:
        """How many questions were left out for which reason; empty where none was."""
        gone = Counter(self.left_out) + Counter({"forgotten meanwhile": len(self.rows) - written})
        return "left out: " + ", ".join(f"{count} {name}" for name, count in sorted(gone.items())) if gone else ""


def harvest_problems(
    stored: StoredQuestions,
    rule: GoldRule,
    drawn: Mapping[str, Sequence[str | None]],
    reported: Sequence[Sequence[Problem]] = (),
) -> Harvest:
    """The problems that stored questions make. `drawn` are the answers of further responses by the question's key; `reported` are
    the sets that no problem may occur in."""
    left_out = Counter(stored.left_out)
    found: list[tuple[Question, Gold]] = []
    for question in stored.questions:
        gold = gold_of(question, drawn.get(question.key, ()), rule)
        if isinstance(gold, str):
            left_out[gold] += 1
        elif not is_readable(_row(question, gold)):
            left_out[UNREADABLE] += 1
        else:
            found.append((question, gold))
    problems = [Problem(problem_id(question), question.text, gold.answer) for question, gold in found]
    reasons = dict.fromkeys(leaking(problems, reported), LEAKED)
    reasons = alike([problem for problem in problems if problem.id not in reasons]) | reasons
    left_out.update(reasons.values())
    kept = [(question, gold) for question, gold in found if problem_id(question) not in reasons]
    rows = tuple(_row(question, gold) for question, gold in kept)
    return Harvest(rows, Counter(gold.gold_from for _, gold in kept), left_out)


def is_readable(row: Mapping[str, Any]) -> bool:
    """Whether a file of problems may hold a row: one that it may not would make the whole file unreadable."""
    try:
        to_problem(row, "a row")
    except ProblemsError:
        return False
    return True


def problem_id(question: Question) -> str:
    """The id of the problem that a question makes: that of its first request."""
    return f"traffic/{question.requests[0].id}"


def alike(problems: Sequence[Problem]) -> dict[str, str]:
    """The ids of the problems that are left out since an earlier one is alike, or one that is alike has another gold answer, with
    the reason."""
    by_id = {problem.id: problem for problem in problems}
    place = {problem.id: n for n, problem in enumerate(problems)}
    reasons: dict[str, str] = {}
    for leak in find_leaks(problems, problems):
        first, second = sorted((leak.train_id, leak.test_id), key=place.__getitem__)
        if first == second or leak.kind is LeakKind.VARIANT:
            continue
        if not is_same(by_id[first].answer, by_id[second].answer):
            reasons |= {first: CONTRADICTED, second: CONTRADICTED}
        elif first not in reasons:
            reasons.setdefault(second, ALIKE_QUESTIONS)
    return reasons


def _row(question: Question, gold: Gold) -> dict[str, Any]:
    requests = dict.fromkeys([question.requests[0].id, *(asked.id for asked in gold.requests)])
    return {
        "id": problem_id(question),
        "problem": question.text,
        "answer": gold.answer,
        "traffic_request": list(requests),
        "tag": question.requests[0].tag,
        "gold_from": gold.gold_from,
        **gold.figures,
    }
