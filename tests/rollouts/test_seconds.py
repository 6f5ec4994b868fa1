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


@pytest.mark.parametrize("kept", [1, 20, -2, -1])
def test_a_torn_line_costs_the_seconds_of_its_chunk_and_no_other_line(tmp_path: Path, kept: int) -> None:
    """Of the line of rows 2 and 3 a kill left the first characters. A line that lacks its end alone is whole."""
    timing = tmp_path / "timing.json"
    append_seconds(timing, 0, 2, 8.0)
    append_seconds(timing, 2, 2, 5.0)
    file = seconds_file(timing)
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[:kept])
    expected = [4.0, 4.0, 2.5, 2.5] if kept == -1 else None
    assert seconds_of_rows(file, [1, 1, 1, 1]) == expected
    append_seconds(timing, 4, 1, 3.0)
    assert seconds_of_rows(file, [1, 1, 1, 1, 1]) == (None if expected is None else [*expected, 3.0])
    append_seconds(timing, 2, 2, 6.0)
    assert seconds_of_rows(file, [1, 1, 1, 1, 1]) == [4.0, 4.0, 3.0, 3.0, 3.0]


def test_a_line_that_a_torn_one_was_glued_to_is_passed_over(tmp_path: Path) -> None:
    """As older versions left it."""
    file = tmp_path / "timing.jsonl"
    file.write_text(
        '{"first": 0, "ro{"first": 0, "rows": 1, "seconds": 2.0}\n{"first": 1, "rows": 1, "seconds": 3.0}\n'
    )
    assert seconds_of_rows(file, [1, 1]) is None
    append_seconds(tmp_path / "timing.json", 0, 1, 2.0)
    assert seconds_of_rows(file, [1, 1]) == [2.0, 3.0]
