"""How far two labellers agree on the same items, beyond what chance would make of their habits.

1. The raw share is the number of items with the same label over all items, with Wilson's interval.
2. Cohen's kappa (Cohen 1960, Educ. Psychol. Meas. 20, eq. 1) is kappa = (p_o - p_e) / (1 - p_e): p_o is the raw share, and p_e
   the share on which they would agree if each drew labels at random, as often as they gave them: p_e = sum_k a_k b_k.
3. Its interval is an expanded percentile interval over resampled items (the bootstrap of kappa: Vanbelle and Albert 2008, Br. J.
   Math. Stat. Psychol. 61). Items are resampled from the counts and one item more, which agrees by chance only: without it,
   complete agreement on 30 items would give an interval of width 0. Where one of two labels is rare, the interval is too narrow;
   where one labeller gave one label throughout, kappa is 0 whatever is drawn, and there is no interval.

What is left out: weights for labels that lie near one another, and more than two labellers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from laconic.config.defaults import RESAMPLES
from laconic.rng import seed_of
from laconic.statistics.intervals import FloatArray, Interval, accuracy_interval, expanded_levels, ratio

_NO_WIDTH = 1e-12
"""Kappas that differ by less are equal, up to rounding."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The share of `num_items` on which two labellers agree, and Cohen's kappa, both with 95% intervals; `nan` where one does not
    exist."""

    num_items: int
    share: Interval
    kappa: Interval


def agreement(first: Sequence[str], second: Sequence[str], *, seed: int, resamples: int = RESAMPLES) -> Agreement:
    """The agreement of two labellers, whose labels of the same items [N] are given in the same order.

    Kappa does not exist (`nan`) where both gave one and the same label throughout. Raises `ValueError` where the lengths differ.

    >>> both = agreement(["a", "a", "b", "b"], ["a", "b", "b", "b"], seed=0)  # p_o = 3/4, p_e = 1/2 1/4 + 1/2 3/4 = 1/2
    >>> both.share.estimate, both.kappa.estimate
    (0.75, 0.5)
    """
    counts = _counts(first, second)
    same = [float(a == b) for a, b in zip(first, second, strict=True)]
    kappa = float(_kappas(counts[None])[0]) if same else nan
    ends = _kappa_ends(counts, seed, resamples) if np.isfinite(kappa) else (nan, nan)
    return Agreement(len(same), accuracy_interval(same), Interval(kappa, *ends))


def _counts(first: Sequence[str], second: Sequence[str]) -> FloatArray:
    """How often each pair of labels was given, [C, C]."""
    pairs = list(zip(first, second, strict=True))
    place = {label: number for number, label in enumerate(sorted({*first, *second}))}
    counts = np.zeros((len(place), len(place)))
    for one, other in pairs:
        counts[place[one], place[other]] += 1.0
    return counts


def _kappas(counts: FloatArray) -> FloatArray:
    """Cohen's kappa of each of R tables [R, C, C], [R]; `nan` where chance alone would agree on every item."""
    shares = counts / counts.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = np.einsum("rk,rk->r", shares.sum(axis=2), shares.sum(axis=1))
    return ratio(observed - expected, np.where(1.0 - expected > 1e-12, 1.0 - expected, 0.0))


def _kappa_ends(counts: FloatArray, seed: int, resamples: int) -> tuple[float, float]:
    num_items = int(counts.sum())
    by_chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / num_items**2
    shares = (counts + by_chance).ravel() / (num_items + 1)
    rng = np.random.default_rng(seed_of(seed, "agreement"))
    drawn = rng.multinomial(num_items, shares, size=resamples).reshape(resamples, *counts.shape)
    kappas = _kappas(drawn.astype(np.float64))
    low, high = np.nanquantile(kappas, expanded_levels(num_items))
    return (float(low), float(high)) if np.nanmax(kappas) - np.nanmin(kappas) > _NO_WIDTH else (nan, nan)
