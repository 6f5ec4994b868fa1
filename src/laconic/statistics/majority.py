"""maj@k: how often the most frequent of k answers to a problem is right.

1. The samples of one problem become `Votes`: how many gave the right answer, how many each wrong one, how many none.
2. `majority_at_k` is the chance that the answer most frequent among k of them, drawn without replacement, is right;
   equally frequent answers win with equal chance. It is computed exactly, by counting subsets, and draws nothing.

Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning" (arXiv 2203.11171); the mean over subsets
removes the luck of which k samples came first, as pass@k does for "any of k".

Two answers are the same where both were graded correct, or where their text agrees once cleaned (`normal_form.clean`).
A response without an answer and a truncated one take a place among the k but do not vote; where nobody votes, nothing
right was said. Ungradable samples count nowhere.
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
    """Gradable samples of one problem: `correct` with the right answer, `wrong` (each wrong answer's number, in
    decreasing order), `silent` without a vote."""

    correct: int
    wrong: tuple[int, ...] = ()
    silent: int = 0

    @property
    def attempts(self) -> int:
        """Gradable samples."""
        return self.correct + sum(self.wrong) + self.silent


def votes(grades: Sequence[Grade], answers: Sequence[str | None]) -> Votes:
    """The votes of one problem's samples, both [K]. Raises `ValueError` where lengths differ.

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
    """The form in which two answers are the same vote."""
    return compact(clean(answer))


def majority_at_k(seen: Votes, k: int) -> float:
    """Chance that the majority answer of k of the gradable samples is right; `nan` where there are fewer than k.

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
    values = [majority_at_k(seen, k) for seen in problems if seen.attempts >= k]
    return float(np.mean(values)) if values else nan


def _share_of_lead(seen: Votes) -> float:
    lead = max((seen.correct, *seen.wrong))
    return 1.0 / (1 + seen.wrong.count(lead)) if seen.correct == lead > 0 else 0.0


@lru_cache(maxsize=65_536)
def _mean_over_subsets(seen: Votes, k: int) -> float:
    """Sum over j of the subsets in which the right answer has j votes and no other more, ties shared, / C(n, k)."""
    won = sum(comb(seen.correct, j) * _wins(seen, k, j) for j in range(1, min(seen.correct, k) + 1))
    return float(won / comb(seen.attempts, k))


def _wins(seen: Votes, k: int, j: int) -> float:
    """Ways to draw the other k - j samples with no wrong answer above j votes, each way worth 1 / (1 + its ties).

    Answers that cannot reach j votes, and silent samples, are drawn freely: the coefficients of (1 + y)^free. An
    answer with c >= j votes gives sum over x < j of C(c, x) y^x, plus z C(c, j) y^j, where z marks a tie. What is
    wanted is the coefficient of y^(k - j), with z^t replaced by 1 / (t + 1): its integral over z from 0 to 1, which
    Gauss-Legendre nodes give exactly.
    """
    size = k - j
    rivals = [count for count in seen.wrong if count >= j]
    free = seen.silent + sum(count for count in seen.wrong if count < j)
    if size < j or not rivals:
        return float(comb(free + sum(rivals), size))
    nodes, weights = _nodes(min(len(rivals), size // j) // 2 + 1)
    ways = np.tile([float(comb(free, s)) for s in range(size + 1)], (len(nodes), 1))
    for count in rivals:
        ways = _with_rival(ways, count, j, nodes)
    return float(weights @ ways[:, size])


def _with_rival(ways: FloatArray, count: int, j: int, nodes: FloatArray) -> FloatArray:
    """`ways` [Z, S] to fill s places, with one more wrong answer of `count` votes to draw up to j from."""
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
