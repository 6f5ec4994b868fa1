"""Token complexity: the fewest tokens with which a model answers a problem, and the accuracy of an oracle that knows them.

1. `token_complexity` estimates it for one problem from its samples: the threshold that best separates right from wrong.
2. `oracle_accuracy` and `least_tokens` describe the best frontier that those complexities allow. The oracle solves the problems
   with the smallest complexities and spends exactly these on them; on every other problem it spends the smallest one of all.
3. `constant_accuracy` is the accuracy with the same length for every problem.
4. `adaptivity` measures whether the lengths of a run follow the complexities.

Lee, Che, Peng 2025, "How Well do LLMs Compress Their Own Chain-of-Thought?" (arXiv 2503.01141). They vary the prompt to
vary the length. Samples of one prompt serve as well where their lengths vary, but not for lengths that the model never
tried. All inputs are numbers of tokens; the complexity of a problem that no sample length solves is infinite.
"""

from math import ceil, inf, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau


def token_complexity(tokens: ArrayLike, correct: ArrayLike) -> float:
    """The threshold t for which "right exactly where tokens >= t" fits the samples of one problem best, in tokens.

    `tokens` [N] and `correct` [N] (true where right). Thresholds are the lengths that occur, and infinity; of thresholds
    that fit equally well, the smallest is taken. Where all samples are right the result is the shortest length; where all are
    wrong, or most, even if one lucky sample was right, it is infinity. `nan` without samples.
    Raises `ValueError` where shapes differ.
    (arXiv 2503.01141, section 3)

    >>> token_complexity([10, 20, 30, 40], [False, True, False, True])  # t = 20 misjudges one (30), and so does 40
    20.0
    >>> token_complexity([10, 20, 30], [True, False, False])  # t = 10 misjudges two; infinity one
    inf
    """
    lengths, is_right = np.asarray(tokens, dtype=np.float64), np.asarray(correct, dtype=bool)
    if lengths.shape != is_right.shape or lengths.ndim != 1:
        raise ValueError(f"token_complexity: expected two equal shapes [N], got {lengths.shape} and {is_right.shape}")
    if not lengths.size:
        return nan
    thresholds = np.append(np.unique(lengths), inf)
    misjudged = ((lengths[None, :] >= thresholds[:, None]) != is_right[None, :]).sum(axis=1)
    return float(thresholds[misjudged.argmin()])


def oracle_accuracy(complexities: ArrayLike, mean_budget: float) -> float:
    """The largest share of problems that an oracle who knows `complexities` [N] solves with a mean of `mean_budget` tokens.

    Problems are solved in order of complexity; each costs its own complexity, and an unsolved one the smallest of all.
    Entries that are `nan` are left out; the result is `nan` where there are no others.

    >>> oracle_accuracy([10, 20, 60, float("inf")], mean_budget=15)  # 10 + 20 + 10 + 10 = 50 <= 60; with 60: 100
    0.5
    """
    costs = _oracle_costs(complexities)
    return float(np.mean(costs <= mean_budget * (1.0 + 1e-12))) if costs.size else nan


def least_tokens(complexities: ArrayLike, accuracy: float) -> float:
    """The mean tokens per problem with which the same oracle solves at least the share `accuracy` of all problems.

    Infinite where fewer problems are solvable. With accuracy 0 every problem still costs the smallest complexity. Inputs as in
    `oracle_accuracy`. Raises `ValueError` unless 0 <= accuracy <= 1.

    >>> least_tokens([10, 20, 60, float("inf")], accuracy=0.5)  # (10 + 20 + 10 + 10) / 4
    12.5
    """
    if not 0.0 <= accuracy <= 1.0:
        raise ValueError(f"accuracy: expected a share from 0 to 1, got {accuracy}")
    costs = _oracle_costs(complexities)
    if not costs.size:
        return nan
    num_solved = ceil(accuracy * costs.size - 1e-9)
    return float(costs[max(num_solved, 1) - 1])  # solving the cheapest problem costs as much as not solving it


def constant_accuracy(complexities: ArrayLike, budget: float) -> float:
    """The share of problems that are solved when every problem gets `budget` tokens; inputs as in `oracle_accuracy`.

    >>> constant_accuracy([10, 20, 60, float("inf")], budget=20)
    0.5
    """
    known = _known(complexities)
    return float(np.mean(known <= budget)) if known.size else nan


def adaptivity(mean_tokens: ArrayLike, complexities: ArrayLike) -> float:
    """Kendall's tau-b between the tokens a run spends on a problem and the problem's complexity; both [P].

    Only solvable problems count, those of finite complexity. It is 1 where responses are always longer when more tokens are
    needed, and 0 where lengths are unrelated to the need. `nan` for fewer than two such problems, or where all lengths or all
    complexities are equal. Raises `ValueError` where shapes differ.

    >>> round(adaptivity([50, 70, 60, 99], [10, 20, 30, float("inf")]), 4)  # pairs: 2 agree, 1 does not
    0.3333
    """
    spent, needed = np.asarray(mean_tokens, dtype=np.float64), np.asarray(complexities, dtype=np.float64)
    if spent.shape != needed.shape or spent.ndim != 1:
        raise ValueError(f"adaptivity: expected two equal shapes [P], got {spent.shape} and {needed.shape}")
    both = np.isfinite(spent) & np.isfinite(needed)
    if len(np.unique(spent[both])) < 2 or len(np.unique(needed[both])) < 2:
        return nan
    return float(kendalltau(spent[both], needed[both], variant="b").statistic)


def _known(complexities: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(complexities, dtype=np.float64)
    return np.sort(values[~np.isnan(values)])


def _oracle_costs(complexities: ArrayLike) -> NDArray[np.float64]:
    """Mean tokens per problem [N] for solving the 1, 2, ..., N cheapest problems; infinite beyond the solvable ones."""
    needed = _known(complexities)
    solvable = needed[np.isfinite(needed)]
    costs = np.full(needed.size, inf)
    if solvable.size:
        num_unsolved = needed.size - np.arange(1, solvable.size + 1)
        costs[: solvable.size] = (np.cumsum(solvable) + num_unsolved * solvable[0]) / needed.size
    return costs
