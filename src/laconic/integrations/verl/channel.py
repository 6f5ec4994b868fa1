"""The one number per response that verl carries from the reward to the advantages.

verl keeps a response's score as one float32 on its last token, and hands the advantages nothing else of it but its length and
the group that it belongs to. What is needed there must fit that number.

1. Where every reward term looks at one response alone, the number is the reward. An ungradable response earns 0, and its 0 has
   a minus sign: that is how the advantages know that it trains nothing, while averages of scores stay what they are.
2. Where a term looks at the group, or remembers, rewards are paid with the advantages. The number then says which row of the
   problems was asked and which grade it got: a whole number, which float32 holds exactly up to 2^24.

Nothing may be added to the number on its way, such as a KL penalty.
"""

import math
import struct

from laconic.types import GRADES, Grade

MOST_ROWS = 2**24 // len(GRADES)
"""So many rows of problems have numbers that float32 can tell apart."""


def reward_number(reward: float, *, is_gradable: bool) -> float:
    """A reward as float32 holds it; minus zero for an ungradable response.

    >>> reward_number(0.5, is_gradable=True), reward_number(0.0, is_gradable=False)
    (0.5, -0.0)
    """
    return single(reward) + 0.0 if is_gradable else -0.0  # a gradable -0.0 becomes 0.0


def read_reward(number: float) -> tuple[float, bool]:
    """The reward, and whether the response could be graded.

    >>> read_reward(-0.5), read_reward(0.0), read_reward(-0.0)
    ((-0.5, True), (0.0, True), (0.0, False))
    """
    return number + 0.0, number != 0.0 or math.copysign(1.0, number) > 0.0


def grade_number(grade: Grade, row: int) -> float:
    """The number of a graded response to the problem in `row`. Raises `ValueError` where float32 could not tell rows apart.

    >>> grade_number(Grade.WRONG, 7)
    36.0
    """
    if not 0 <= row < MOST_ROWS:
        raise ValueError(f"row: expected 0 to {MOST_ROWS - 1}, got {row}")
    return float(len(GRADES) * row + GRADES.index(grade))


def read_grade(number: float) -> tuple[Grade, int]:
    """The grade of the response and the row of its problem. Raises `ValueError` for a number that `grade_number` never gives.

    >>> read_grade(36.0)
    (<Grade.WRONG: 'wrong'>, 7)
    """
    if number != int(number) or number < 0:
        raise ValueError(
            f"score {number}: expected a whole number that holds a row and a grade; was a KL penalty added to it?"
        )
    row, grade = divmod(int(number), len(GRADES))
    return GRADES[grade], row


def single(value: float) -> float:
    """The float32 nearest to a number."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
