"""What one more attempt or label is expected to tell, against the integral and against arithmetic."""

from math import log

import numpy as np
import pytest
from scipy.stats import beta

from laconic.statistics.information import attempt_information, belief, binary_entropy, label_information


@pytest.mark.parametrize(("attempts", "correct"), [(0, 0), (4, 1), (16, 16)])
def test_attempt_information_is_the_integral(attempts: int, correct: int) -> None:
    """H of the mean minus the mean of H over the posterior, by a fine grid."""
    grid = (np.arange(20_000) + 0.5) / 20_000
    weights = beta.pdf(grid, 1 + correct, 1 + attempts - correct) / 20_000
    entropies = -grid * np.log(grid) - (1 - grid) * np.log(1 - grid)
    expected = binary_entropy(float(grid @ weights)) - float(entropies @ weights)
    assert attempt_information(attempts, correct) == pytest.approx(expected, abs=1e-6)


def test_a_label_tells_one_bit_at_most_and_nothing_where_the_labeller_guesses() -> None:
    assert label_information(0.5, error=0.0) == pytest.approx(log(2))
    assert (
        label_information(0.5, error=0.0) > label_information(0.9, error=0.0) > label_information(1.0, error=0.0) == 0
    )
    assert label_information(0.3, error=0.4999999) == pytest.approx(0, abs=1e-9)


def test_a_lone_vote_is_believed_less_than_eight() -> None:
    """(1 + 1) / (1 + 1 + 1) and (8 + 1) / (8 + 1 + 1)."""
    assert belief(1, 1, 1) == pytest.approx(2 / 3) and belief(8, 8, 1) == pytest.approx(0.9)
