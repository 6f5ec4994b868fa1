"""The page's table of slices: it names who pays for brevity, and keeps what is too small to tell."""

from pathlib import Path

from folders import Run

from laconic.evaluation.problem_meta import write_meta
from laconic.reporting.build import write_report
from laconic.types import Problem


def test_the_page_shows_slices_and_escapes_their_names(tmp_path: Path) -> None:
    """30 problems of a subject whose name is markup are lost, 30 others are kept, 5 are too few."""
    names = [f"p{i}" for i in range(65)]
    subjects = ["<b>geometry</b>"] * 30 + ["algebra"] * 30 + ["logic"] * 5
    runs = [{name: [("correct", 100 + i % 9)] for i, name in enumerate(names)}]
    runs.append({n: [("wrong" if s[0] == "<" else "correct", 50)] for n, s in zip(names, subjects, strict=True)})
    paths = [Run(run).write(tmp_path / f"{side}") for side, run in enumerate(runs)]
    write_meta([Problem(n, "q", "7", meta={"subject": s}) for n, s in zip(names, subjects, strict=True)], paths[1])
    page = write_report(paths, tmp_path / "report.html").read_text()
    assert '<section id="slices">' in page and "report, by subject" in page
    assert "Worst slice: subject &lt;b&gt;geometry&lt;/b&gt; (30 problems): accuracy -100.0 points" in page
    assert "<b>geometry" not in page and "not decided" in page and "less accurate there" in page
