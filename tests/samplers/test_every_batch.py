"""The sampler is right under every batch: each response is the one that a plain decoder of one row draws.

`make test` compares 60 cases; `LACONIC_SAMPLER_CASES=2000 pytest tests/samplers/test_every_batch.py` compares 2,000.
"""

import os

import one_row
import pytest

BLOCK = 20
NUM_CASES = int(os.environ.get("LACONIC_SAMPLER_CASES", "60"))


@pytest.mark.parametrize("first", range(0, NUM_CASES, BLOCK))
def test_every_response_is_that_of_a_plain_decoder_of_one_row(first: int) -> None:
    """Random architectures, dtypes, prompts, samples, caps, temperatures, page sizes and leaving shares (`one_row.make_case`)."""
    for number in range(first, first + BLOCK):
        case = one_row.make_case(number)
        assert list(one_row.disagreements(case)) == [], case


@pytest.mark.parametrize("number", [302, 331])
def test_a_row_that_has_ended_and_stays_is_not_read_beyond_its_end(number: int) -> None:
    """Cases in which rows reached the cap and stayed in their slots while too few others had ended for all to move together."""
    assert list(one_row.disagreements(one_row.make_case(number))) == []
