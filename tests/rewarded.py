"""Groups to try rewards on: every field a term may need, in numbers that can be reckoned in the head."""

import numpy as np

from laconic.rewards.numbers import GroupNumbers
from laconic.types import Grade

C, W, N, T, U = Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED, Grade.UNGRADABLE
LETTERS = {"C": C, "W": W, "N": N, "T": T, "U": U}

MEMORY = {
    "hapo/shortest_correct": 200.0,
    "laser_d/target_high": 300.0,
    "laser_de/target_low": 600.0,
    "lead/correct_weight": 0.6,
    "acoer/weight": 0.5,
    "acoer/budget_tokens": 400.0,
    "short_rl/accuracy": 0.5,
    "short_rl/best_accuracy": 0.5,
}
"""What a run would remember after some steps."""


def group(lengths, grades, **fields):
    """Numbers of a probed problem (200 tokens, solve rate 0.5), cap 1,000, budget 500; thinking is the whole response."""
    known = {
        "ref_mean_tokens": 200.0,
        "ref_solve_rate": 0.5,
        "max_tokens": 1000,
        "budget_tokens": 500.0,
        "thinking_tokens": np.array(lengths),
        "texts": ("so x = 4",) * len(lengths),
        "token_ids": ((1, 2, 3, 4),) * len(lengths),
    }
    return GroupNumbers(np.array(lengths), tuple(LETTERS.get(g, g) for g in grades), **(known | fields))
