"""Where is the model worst before it is trained? The parts of what was probed or evaluated, each beside the rest.

A reward for brevity falls on every problem alike, and a loss where few problems are solved hides in the mean. So the worst
slice is named, corrected for the number of slices; `laconic compare` says later what became of it.
"""

from collections.abc import Iterator

import numpy as np

from laconic.comparison.figures import FEW_PROBLEMS
from laconic.comparison.sentences import plural
from laconic.comparison.slices_of_one import MeasuredSlice, slices_of_one, worst_of_one
from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding

FAR_BELOW = 0.5
"""A slice is warned of if its whole interval lies below this share of the rest's solve rate."""


def check_slices(examined: Examined) -> Iterator[Finding]:
    """Which slice of the probed problems is solved least often, and is that shown?"""
    probed = examined.probe
    assert probed is not None, "the table says that this check needs a probe"
    graded = [row for row, stat in enumerate(probed.stats) if stat.attempts]
    rates, tokens = (
        np.array([getattr(probed.stats[row], name) for row in graded], dtype=float)
        for name in ("solve_rate", "mean_tokens")
    )
    facts = {key: [values[row] for row in graded] for key, values in probed.facts.items()}
    slices = slices_of_one(rates, tokens, facts) if graded else []
    worst, num_decided = worst_of_one(slices), sum(part.p == part.p for part in slices)
    if worst is None:
        what = f"slices: no key of these problems makes two of the {FEW_PROBLEMS} problems that a decision needs"
        yield Finding("fine", what, probed.path)
    else:
        yield _worst(worst, num_decided, probed.path)


def _worst(worst: MeasuredSlice, num_decided: int, where: str) -> Finding:
    rate = worst.solve_rate
    what = (
        f"worst slice: {worst.key} {worst.value} ({plural(worst.num_problems, 'problem')}): {rate.estimate:.0%} solved "
        f"(95% interval {100 * rate.low:.0f} to {rate.high:.0%}) in {worst.tokens:.0f} tokens, the rest "
        f"{worst.rest_solve_rate:.0%} in {worst.rest_tokens:.0f}"
    )
    claim = "solved less often" if worst.is_worse else "not shown to be solved less often"
    what = f"{what}: {claim} (p = {worst.p:.2g}, corrected for {plural(num_decided, 'slice')})"
    if worst.is_worse and rate.high < FAR_BELOW * worst.rest_solve_rate:
        remedy = f"a loss there hides in the mean; look at it after training: laconic compare ... --by {worst.key}"
        return Finding("warning", what, where, remedy)
    return Finding("fine", what, where)
