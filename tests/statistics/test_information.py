"""What one more attempt or label is expected to tell, against the integral and against arithmetic."""

from math import log

import numpy as np
import pytest
from scipy.stats import beta

from laconic.statistics.information import attempt_information, beliefs, binary_entropy, label_information


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


def test_a_lead_in_votes_multiplies_the_odds() -> None:
    """Two votes of lead at odds 3: nine to one between the two, whatever others got; what nobody gave keeps the rest."""
    first, second, third = beliefs([3, 1, 1], odds=3.0)
    assert first / second == pytest.approx(9.0) and second == third
    assert first + second + third == pytest.approx(33 / 34)
    assert beliefs([500], odds=3.0) == [1.0] and beliefs([], odds=3.0) == []
