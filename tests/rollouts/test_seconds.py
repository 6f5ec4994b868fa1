"""The seconds of a job: a chunk's are measured, and each response has its share by tokens."""

from pathlib import Path

import pytest

from laconic.errors import InputError
from laconic.rollouts.seconds import append_seconds, seconds_file, seconds_of_rows


def test_a_chunk_s_seconds_are_shared_by_tokens_and_the_last_time_counts(tmp_path: Path) -> None:
    """Rows 0 and 1: 8 seconds for 10 + 30 tokens. Row 2 was drawn twice, at last in 3 seconds."""
    timing = tmp_path / "probe.timing.json"
    append_seconds(timing, 0, 2, 8.0)
    append_seconds(timing, 2, 1, 5.0)
    append_seconds(timing, 2, 1, 3.0)
    file = seconds_file(timing)
    assert file.name == "probe.timing.jsonl"
    assert seconds_of_rows(file, [10, 30, 7]) == [2.0, 6.0, 3.0]
    assert seconds_of_rows(file, [10, 30, 7, 7]) is None  # of the last row nothing is known
    assert seconds_of_rows(tmp_path / "none.jsonl", [1]) is None
    with pytest.raises(InputError, match=r"probe.timing.jsonl, line 2: expected seconds from 0 up, of rows below 2"):
        seconds_of_rows(file, [10, 30])
