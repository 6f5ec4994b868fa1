"""The demo at a small size: both phases, the comparison, the responses side by side, the page; and taking it up again."""

import contextlib
import io

import pytest
from rich.console import Console
from test_readme import REDUCED

from laconic.cli import demo
from laconic.config.load import load_recipe
from laconic.system.files import read_jsonl


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    """The demo's own recipe with smaller numbers, run once: its folder, its page, and what it printed."""
    changes = REDUCED["laconic train recipes/two_phase.toml --out"]
    out, printed = tmp_path_factory.mktemp("runs") / "demo", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(demo, "load_recipe", lambda path, overrides: load_recipe(path, [*overrides, *changes]))
        yield out, demo.run_demo(out, seed=0), printed.getvalue()


def test_the_demo_runs_to_its_page_and_is_taken_up_again(small_demo, capsys):
    """Run twice: the second finds everything done and shows the same."""
    out, page, first = small_demo
    assert "sampled at T=1" in first and "greedy" in first and "phase-2" in first and str(page) in first
    assert "before" in first and "boxed" in first and "…" not in first.partition("compared with")[0]
    html = page.read_text(encoding="utf-8")
    assert "phase 2 (brevity)" in html and "<script" in html
    demo.run_demo(out, seed=0)
    assert capsys.readouterr().out == first


def test_responses_are_shown_side_by_side(small_demo):
    """Only problems that both models solve are shown, greedy, with their lengths."""
    out, _, _ = small_demo
    console = Console(width=118, file=io.StringIO(), record=True)
    demo.show_responses(out, "phase-2", console)
    shown = console.export_text()
    solved = [row for row in read_jsonl(out / "eval" / "base-greedy" / "samples.jsonl") if row["grade"] == "correct"]
    assert shown.count(" tokens") == 6
    assert any(row["question"][:20] in shown for row in solved)
