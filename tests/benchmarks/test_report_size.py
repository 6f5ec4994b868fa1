"""What `benchmarks/report_size.md` stands on: a run that is large and varied, a page that is opened, a limit that can fail."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from chromium import find_chromium

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import report_size
from report_size import Opened, counts_in, exit_code, rows_of

NUM = 400


def opened(load_ms: float) -> Opened:
    return Opened(first_paint_ms=1.0, load_ms=load_ms, ready_seconds=0.1, num_held=8, num_rows=8)


def test_the_full_run_has_at_least_100_mb_of_samples():
    """400 rows of each folder stand for its 25,000."""
    lines = [json.dumps(row) + "\n" for name in ("base", "after") for row in rows_of(name, NUM)]
    assert sum(map(len, lines)) / NUM * report_size.RESPONSES >= 100e6


def test_no_two_texts_are_alike_and_they_pack_no_better_than_real_ones():
    """Worked solutions of MATH pack 3.1-fold in pieces of 400,000 characters, of GSM8K 2.9-fold."""
    texts = [row["text"] for name in ("base", "after") for row in rows_of(name, NUM)]
    assert len(set(texts)) == 2 * NUM
    piece = "".join(texts)[:400_000].encode()
    assert len(piece) / len(gzip.compress(piece, 6)) < 3.2


def test_a_run_drawn_again_is_the_same_and_its_folders_share_their_problems():
    base, again, after = (list(rows_of(name, 8)) for name in ("base", "base", "after"))
    assert base == again
    assert [row["question"] for row in base] == [row["question"] for row in after]
    assert all(before["text"] != later["text"] for before, later in zip(base, after, strict=True))


def test_one_load_of_three_seconds_fails():
    assert exit_code([opened(10.0), opened(2_999.9)]) == 0
    assert exit_code([opened(3_000.0), opened(10.0)]) == 1


def test_the_page_says_how_many_it_holds():
    assert counts_in("All 50,000 responses are in this page.") == (50_000, 50_000)
    assert counts_in("1,200 of 50,000 responses are in this page: evenly ...") == (1_200, 50_000)
    with pytest.raises(RuntimeError, match="found 'none'"):
        counts_in("none")


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the path")
def test_a_small_run_is_written_and_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("jinja2")
    monkeypatch.setattr(report_size, "OPENINGS", 1)
    written, (once,) = report_size.measure(tmp_path, NUM)
    assert (once.num_held, once.num_rows) == (2 * NUM, 2 * NUM)
    assert once.first_paint_ms > 0 and 0 < once.load_ms < report_size.LIMIT_MS and once.ready_seconds > 0
    assert written.sample_bytes > written.page_bytes > written.sample_bytes / 4  # packed, and all of it
    assert "| responses in the page | 800 of 800 |" in report_size.table(written, [once])
