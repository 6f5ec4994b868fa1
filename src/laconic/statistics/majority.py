"""maj@k: how often the most frequent of k answers to a problem is right.

1. The samples of one problem become `Votes`: how many gave the right answer, how many gave each wrong one, how many gave none.
2. `majority_at_k` is the chance that the answer most frequent among k of them, drawn without replacement, is right;
   equally frequent answers win with equal chance. It is computed exactly, by counting subsets, without random numbers.

Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning" (arXiv 2203.11171). With the mean over subsets the result
does not depend on which k samples came first; pass@k is averaged in the same way.

Two answers are the same where both were graded correct, or where their cleaned texts agree (`normal_form.clean`). A response
without an answer, or a truncated one, takes a place among the k but does not vote; where no sample votes, the majority answer
is not right. Ungradable samples are left out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, nan

import numpy as np

from laconic.grading.normal_form import clean, compact
from laconic.statistics.intervals import FloatArray
from laconic.types import Grade


@dataclass(frozen=True, slots=True)
class Votes:
    """The numbers of gradable samples of one problem: `correct` gave the right answer, `wrong` lists how many gave each wrong
    answer, in decreasing order, and `silent` gave none."""

    correct: int
    wrong: tuple[int, ...] = ()
    silent: int = 0

    @property
    def attempts(self) -> int:
        """Gradable samples."""
        return self.correct + sum(self.wrong) + self.silent


def votes(grades: Sequence[Grade], answers: Sequence[str | None]) -> Votes:
    """The votes of one problem's samples, from their grades [K] and answers [K]. Raises `ValueError` where lengths differ.

    A sample graded wrong that has no answer text does not vote.

    >>> votes([Grade.CORRECT, Grade.WRONG, Grade.WRONG, Grade.TRUNCATED], ["1/2", "7 ", "$7$", "7"])
    Votes(correct=1, wrong=(2,), silent=1)
    """
    pairs = list(zip(grades, answers, strict=True))
    wrong = [answer_key(answer) for grade, answer in pairs if grade is Grade.WRONG and answer is not None]
    correct, ungradable = (sum(grade is kind for grade in grades) for kind in (Grade.CORRECT, Grade.UNGRADABLE))
    return Votes(
        correct=correct,
        wrong=tuple(sorted(Counter(wrong).values(), reverse=True)),
        silent=len(pairs) - correct - ungradable - len(wrong),
    )


def answer_key(answer: str) -> str:
    """The text by which votes are counted: two answers with the same key are the same vote."""
    return compact(clean(answer))


def majority_at_k(seen: Votes, k: int) -> float:
    """Chance that the majority answer of k of the gradable samples is right; `nan` where there are fewer than k samples.

    With k = all of them: 1 where the right answer leads, 1 / m where it shares the lead with m - 1 others, else 0.
    Otherwise the mean of that over all C(n, k) subsets. Raises `ValueError` where k < 1.

    >>> majority_at_k(Votes(correct=2, wrong=(2,)), k=4)  # a tie of two
    0.5
    >>> round(majority_at_k(Votes(correct=2, wrong=(1,)), k=2), 6)  # {c,c} wins, {c,w} twice ties: (1 + 2/2) / 3
    0.666667
    """
    if k < 1:
        raise ValueError(f"majority_at_k: needs k >= 1, got {k}")
    if k > seen.attempts:
        return nan
    if k == seen.attempts:
        return _share_of_lead(seen)
    return _mean_over_subsets(seen, k)


def mean_majority_at_k(problems: Sequence[Votes], k: int) -> float:
    """Mean of `majority_at_k` over the problems with at least k gradable samples; `nan` where there is none."""
    values = [majority_at_k(problem, k) for problem in problems if problem.attempts >= k]
    return float(np.mean(values)) if values else nan


def _share_of_lead(problem_votes: Votes) -> float:
    lead = max((problem_votes.correct, *problem_votes.wrong))
    return 1.0 / (1 + problem_votes.wrong.count(lead)) if problem_votes.correct == lead > 0 else 0.0


@lru_cache(maxsize=65_536)
def _mean_over_subsets(problem_votes: Votes, k: int) -> float:
    """Sum over j of the subsets in which the right answer has j votes and no other more, ties shared, / C(n, k)."""
    won = sum(
        comb(problem_votes.correct, j) * _wins(problem_votes, k, j) for j in range(1, min(problem_votes.correct, k) + 1)
    )
    return float(won / comb(problem_votes.attempts, k))


def _wins(problem_votes: Votes, k: int, j: int) -> float:
    """Ways to draw the other k - j samples with no wrong answer above j votes, each way worth 1 / (1 + its ties).

    Answers that cannot reach j votes, and silent samples, are drawn freely: the coefficients of (1 + y)^free. An
    answer with c >= j votes gives sum over x < j of C(c, x) y^x, plus z C(c, j) y^j, where z marks a tie. The result is
    the coefficient of y^(k - j) in the product, with z^t replaced by 1 / (t + 1): its integral over z from 0 to 1, which
    Gauss-Legendre nodes give exactly.
    """
    size = k - j
    rivals = [count for count in problem_votes.wrong if count >= j]
    free = problem_votes.silent + sum(count for count in problem_votes.wrong if count < j)
    if size < j or not rivals:
        return float(comb(free + sum(rivals), size))
    nodes, weights = _nodes(min(len(rivals), size // j) // 2 + 1)
    ways = np.tile([float(comb(free, s)) for s in range(size + 1)], (len(nodes), 1))
    for count in rivals:
        ways = _with_rival(ways, count, j, nodes)
    return float(weights @ ways[:, size])


def _with_rival(ways: FloatArray, count: int, j: int, nodes: FloatArray) -> FloatArray:
    """The ways [Z, S] to fill s places at each node, after one more wrong answer, of which up to j of `count` votes are drawn."""
    out = ways.copy()
    for x in range(1, min(j, ways.shape[1] - 1) + 1):
        marked = nodes[:, None] if x == j else 1.0
        out[:, x:] += comb(count, x) * marked * ways[:, :-x]
    return out


@lru_cache(maxsize=256)
def _nodes(num_nodes: int) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights on [0, 1], exact up to degree 2 num_nodes - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return (nodes + 1.0) / 2.0, weights / 2.0
