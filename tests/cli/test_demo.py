"""The demo at a small size: both phases, the comparison, the responses side by side, the page; and taking it up again."""

import io

import pytest
from rich.console import Console

from laconic.cli import demo
from laconic.config.load import load_recipe
from laconic.system.files import read_jsonl


@pytest.fixture
def small_demo(monkeypatch):
    """The demo's own recipe with smaller numbers."""
    changes = [
        "problems.train=tiny:mix?count=24&split=train",
        "problems.watch=tiny:mix?count=8&split=watch",
        "problems.report=tiny:mix?count=16&split=report",
        *(f"phases.{name}.{key}" for name in ("accuracy", "brevity") for key in ("steps=2", "problems_per_step=4")),
        "report.samples=1",
        "report.max_tokens=128",
        "threads=1",
    ]
    monkeypatch.setattr(demo, "load_recipe", lambda path, overrides: load_recipe(path, [*overrides, *changes]))


def test_the_demo_runs_to_its_page_and_is_taken_up_again(small_demo, tmp_path, capsys):
    """Run twice: the second finds everything done and shows the same."""
    out = tmp_path / "demo"
    page = demo.run_demo(out, seed=0)
    first = capsys.readouterr().out
    assert "sampled at T=1" in first and "greedy" in first and "phase-2" in first and str(page) in first
    assert "before" in first and "boxed" in first and "…" not in first.partition("compared with")[0]
    html = page.read_text(encoding="utf-8")
    assert "phase 2 (brevity)" in html and "<script" in html
    demo.run_demo(out, seed=0)
    assert capsys.readouterr().out == first


def test_responses_are_shown_side_by_side(small_demo, tmp_path, capsys):
    """Only problems that both models solve are shown, greedy, with their lengths."""
    demo.run_demo(tmp_path / "demo", seed=0)
    console = Console(width=118, file=io.StringIO(), record=True)
    demo.show_responses(tmp_path / "demo", "phase-2", console)
    shown = console.export_text()
    solved = [
        row
        for row in read_jsonl(tmp_path / "demo" / "eval" / "base-greedy" / "samples.jsonl")
        if row["grade"] == "correct"
    ]
    assert shown.count(" tokens") == 6
    assert any(row["question"][:20] in shown for row in solved)
