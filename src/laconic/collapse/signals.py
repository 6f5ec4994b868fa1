"""The figures of a phase's newest steps, beside those with which it began.

1. `figures_of` takes the finite numbers of a line of metrics.jsonl, and adds two shares that alarms read.
2. `Signals` holds, for each figure, its value in the first step of the phase that had it, and its newest few values, each with
   its step: a figure that some steps lack, as those without an update lack the entropy, has older ones. The rollouts of a
   phase's first step were drawn from the model that entered it, before any update. A phase that is meant to shorten is
   therefore measured by its own beginning.
3. A step's figures are noisy, since each step draws other problems. Alarms therefore read the settled value of a figure: the
   middle one of its newest values, by their distance from the first. Of an even number it is the nearer of the two in the middle.
   One step of three, or two of five, may be chance; and a figure that most steps agree on is not hidden by one that differs.

Nothing is read but lines of the log, so a resumed run sees what the run that wrote them saw.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.system.fields import is_finite_number

ACCURACY = "rollouts/accuracy_frac"
TOKENS = "rollouts/mean_tokens"
CUT_OFF = "rollouts/truncated_frac"
UNIFORM = "rollouts/uniform_groups_frac"
REWARD_SPREAD = "rollouts/reward_std"
REPEATED = "rollouts/repeated_frac"
END_PROBABILITY = "rollouts/end_probability_frac"
ENTROPY = "update/entropy_nats"
REFERENCE_KL = "update/ref_kl_nats"
STEP_KL = "update/step_kl_nats"
ENDED = "ended"
UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Signals:
    """The phase's `first` value of each figure, and its newest values, oldest first, each after its step. Shares are between 0
    and 1."""

    first: Mapping[str, float]
    newest: Mapping[str, Sequence[tuple[int, float]]]

    def after(self, line: Mapping[str, Any], size: int) -> "Signals":
        """The signals after one more step, whose line of metrics.jsonl is `line`; of each figure the newest `size` values are
        kept. A figure that the line lacks stays as it was."""
        figures, step = figures_of(line), line["step"]
        newest = {key: (*self.newest.get(key, ()), (step, value))[-size:] for key, value in figures.items()}
        return Signals({**figures, **self.first}, {**self.newest, **newest})

    def settled(self, size: int) -> dict[str, float]:
        """The settled value of each figure that at least `size` steps had.

        >>> Signals({"a": 1.0, "b": 1.0}, {"a": ((1, 1.2), (2, 0.1), (3, 0.3)), "b": ((3, 0.5),)}).settled(3)
        {'a': 0.3}
        """
        full = {key: [value for _, value in pairs] for key, pairs in self.newest.items() if len(pairs) >= size}
        return {key: _middle(values, self.first[key]) for key, values in full.items()}

    def since(self, keys: Iterable[str]) -> int | None:
        """The oldest step of which a value of these figures is held; None where none is.

        >>> Signals({}, {"a": ((4, 0.1), (5, 0.1)), "b": ((1, 0.5), (5, 0.6))}).since(["a", "b"])
        1
        """
        return min((self.newest[key][0][0] for key in keys if key in self.newest), default=None)


def _middle(values: Sequence[float], first: float) -> float:
    """The middle value by distance from `first`; of an even number the nearer of the two.

    >>> _middle((9.0, 2.0), 1.0), _middle((9.0, 1.0, 8.0, 7.0, 2.0), 1.0)
    (2.0, 7.0)
    """
    return sorted(values, key=lambda value: abs(value - first))[(len(values) - 1) // 2]


def figures_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a line; with them the share of responses that ended by themselves (`ended`), and the share of those
    without an answer (`unanswered`, missing where none ended).

    >>> line = {"rollouts/truncated_frac": 0.5, "rollouts/no_answer_frac": 0.125, "rollouts/wrong_tokens": None}
    >>> figures = figures_of(line)
    >>> figures["ended"], figures["unanswered"], "rollouts/wrong_tokens" in figures
    (0.5, 0.25, False)
    """
    numbers = {key: float(value) for key, value in line.items() if is_finite_number(value)}
    if CUT_OFF in numbers:
        numbers[ENDED] = 1.0 - numbers[CUT_OFF]
        read = numbers[ENDED] - numbers.get("rollouts/ungradable_frac", 0.0)
        if read > 0.0:
            numbers[UNANSWERED] = numbers.get("rollouts/no_answer_frac", 0.0) / read
    return numbers
