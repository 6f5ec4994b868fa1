"""The range of an option of a reward. Outside it a term pays nothing, pays for the opposite, or cannot be computed.

1. A `Range` holds its two ends; both belong to it. A count is whole, and tokens of one response are no more than the cap.
2. The names below are the kinds of options that rewards have. A row of the table of rewards gives each of its options one.

What is left out: an option that is true or false, which has no range.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, ends included. `is_whole` allows whole numbers alone; with `within_cap` the option is a number of
    tokens of one response, which cannot have more than the cap."""

    low: float
    high: float
    is_whole: bool = False
    within_cap: bool = False

    def check(self, name: str, value: object, max_tokens: int | None = None) -> None:
        """Raise `ValueError`, naming the option and its range, where `value` is outside it, or above the cap `max_tokens`.

        >>> Range(1, 1e6, within_cap=True).check("budget_tokens", 1000, max_tokens=12)
        Traceback (most recent call last):
        ...
        ValueError: budget_tokens: expected 1 to 12 (sampler.max_tokens), got 1000
        """
        is_capped = self.within_cap and max_tokens is not None and max_tokens < self.high
        high = float(max_tokens) if is_capped and max_tokens is not None else self.high
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if number is not None and self.low <= number <= high and (not self.is_whole or number.is_integer()):
            return
        kind = "a whole number of " if self.is_whole else ""
        got = repr(value) if number is None else f"{number:g}"
        ends = f"{self.low:g} to {high:g}{' (sampler.max_tokens)' if is_capped else ''}"
        raise ValueError(f"{name}: expected {kind}{ends}, got {got}")


GRADE_LEVEL: Final = Range(-1e6, 1e6)
PRICE: Final = Range(1e-9, 1000)  # per token, or of a whole answer
BONUS: Final = Range(1e-6, 1000)
SHARE: Final = Range(1e-6, 1)  # of what a correct answer earns
FRACTION: Final = Range(0, 1)
FACTOR: Final = Range(0.01, 1)  # by which something falls
DECAY: Final = Range(0, 0.9999)  # of a moving average, which 1 would never move
DIVISOR: Final = Range(0.01, 1e6)
COUNT: Final = Range(1, 1e6, is_whole=True)
LIMIT: Final = Range(0, 1e6, is_whole=True)
TOKEN_COUNT: Final = Range(1, 1e9, within_cap=True)
DISTANCE: Final = Range(0, 1e9, within_cap=True)
NGRAM: Final = Range(1, 1e6, is_whole=True, within_cap=True)
