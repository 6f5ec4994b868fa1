"""Token complexity: the fewest tokens with which a model answers a problem, and what an oracle that knew them would get.

1. `token_complexity` estimates it for one problem from its samples: the threshold that best tells right from wrong.
2. `oracle_accuracy` and `least_tokens` are the two readings of the best frontier those complexities allow: spend on
   each problem exactly its complexity, cheapest first, and on a problem that is not funded only the least any costs.
3. `constant_accuracy` is what the same length for every problem gets.
4. `adaptivity` says whether a run's lengths follow the complexities at all.

Lee, Che, Peng 2025, "How Well do LLMs Compress Their Own Chain-of-Thought?" (arXiv 2503.01141). They vary the prompt to
vary the length; samples of one prompt work the same way where their lengths vary, and say nothing about lengths that
the model never tried. All inputs are numbers of tokens; an infinite complexity is a problem no sample length solves.
"""

from math import ceil, inf, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau


def token_complexity(tokens: ArrayLike, correct: ArrayLike) -> float:
    """The threshold t for which "right exactly where tokens >= t" fits the samples of one problem best, in tokens.

    `tokens` [N] and `correct` [N] (true where right). Thresholds are the lengths that occur, and infinity; of those
    that fit equally well the smallest. All right: the shortest length. All wrong: infinity. Mostly wrong: infinity
    too, even where one lucky sample was right. `nan` without samples. Raises `ValueError` where shapes differ.
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
    """The most problems that `mean_budget` tokens a problem can solve, as a share of all, by one who knows `complexities`.

    Problems are funded in order of complexity; each costs its own, and an unfunded one the smallest of all.
    `complexities` [N]; `nan` entries are left out, and the result is `nan` without any other.

    >>> oracle_accuracy([10, 20, 60, float("inf")], mean_budget=15)  # 10 + 20 + 10 + 10 = 50 <= 60; with 60: 100
    0.5
    """
    costs = _oracle_costs(complexities)
    return float(np.mean(costs <= mean_budget * (1.0 + 1e-12))) if costs.size else nan


def least_tokens(complexities: ArrayLike, accuracy: float) -> float:
    """Mean tokens a problem with which the same oracle first solves at least the share `accuracy` of all problems.

    Infinite where more are asked for than are solvable. With accuracy 0 every problem still costs the smallest
    complexity. Inputs as in `oracle_accuracy`. Raises `ValueError` unless 0 <= accuracy <= 1.

    >>> least_tokens([10, 20, 60, float("inf")], accuracy=0.5)  # (10 + 20 + 10 + 10) / 4
    12.5
    """
    if not 0.0 <= accuracy <= 1.0:
        raise ValueError(f"accuracy: expected a share from 0 to 1, got {accuracy}")
    costs = _oracle_costs(complexities)
    if not costs.size:
        return nan
    funded = ceil(accuracy * costs.size - 1e-9)
    return float(costs[max(funded, 1) - 1])  # funding the cheapest problem costs what not funding it does


def constant_accuracy(complexities: ArrayLike, budget: float) -> float:
    """Share of problems that `budget` tokens solve when every problem gets as many; inputs as in `oracle_accuracy`.

    >>> constant_accuracy([10, 20, 60, float("inf")], budget=20)
    0.5
    """
    known = _known(complexities)
    return float(np.mean(known <= budget)) if known.size else nan


def adaptivity(mean_tokens: ArrayLike, complexities: ArrayLike) -> float:
    """Kendall's tau-b between the tokens a run spends on a problem and the problem's complexity; both [P].

    Over the solvable problems only: an infinite complexity has no place in a ranking that asks "longer where more is
    needed". 1: always longer where more is needed; 0: lengths know nothing of it. `nan` below two such problems, or
    where all lengths or all complexities are equal. Raises `ValueError` where shapes differ.

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
    """Mean tokens a problem [N] for funding the 1, 2, ..., N cheapest problems; infinite beyond the solvable ones."""
    needed = _known(complexities)
    solvable = needed[np.isfinite(needed)]
    costs = np.full(needed.size, inf)
    if solvable.size:
        unfunded = needed.size - np.arange(1, solvable.size + 1)
        costs[: solvable.size] = (np.cumsum(solvable) + unfunded * solvable[0]) / needed.size
    return costs
