"""Claims that are made several at once: with twenty slices of no change, one looks changed at the 5% level by chance alone.

`holm` corrects p-values for their number: whatever the slices share, the chance that it calls any unchanged one changed is at
most the level (Holm 1979, Scand. J. Statist. 6).
"""

from collections.abc import Sequence
from math import isnan


def holm(p_values: Sequence[float]) -> list[float]:
    """The corrected p-values, in the order given: with p_1 <= ... <= p_m, p'_k = max over j <= k of min(1, (m - j + 1) p_j).

    A `nan` was not tested: it stays `nan`, and does not count in m.

    >>> holm([0.04, 0.01, float("nan"), 0.03])  # sorted: 3 x 0.01, then 2 x 0.03, then at least that
    [0.06, 0.03, nan, 0.06]
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if not isnan(p))
    corrected, least = list(p_values), 0.0
    for rank, (p, place) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        corrected[place] = least
    return corrected
