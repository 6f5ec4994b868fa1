"""The demo at a small size: the base before training, both phases, responses side by side, the result; and taking it up again."""

import contextlib
import io

import pytest
from rich.console import Console

from laconic.cli import demo
from laconic.config.load import load_recipe
from laconic.system.files import read_jsonl


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    """The demo's own recipe with smaller numbers, run once: its folder, its page, and what it printed."""
    changes = [
        "problems.train=tiny:mix?count=24&split=train",
        "problems.watch=tiny:mix?count=8&split=watch",
        "problems.report=tiny:mix?count=16&split=report",
        *(f"phases.{name}.{key}" for name in ("accuracy", "brevity") for key in ("steps=2", "problems_per_step=4")),
        "report.samples=1",
        "report.max_tokens=128",
        "threads=1",
    ]
    out, printed = tmp_path_factory.mktemp("runs") / "demo", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(demo, "load_recipe", lambda path, overrides: load_recipe(path, [*overrides, *changes]))
        yield out, demo.run_demo(out, seed=0), printed.getvalue()


def test_the_demo_tells_what_it_does_and_ends_with_the_result(small_demo, capsys):
    """What comes, the base, responses before and after, and last the figures, a sentence for each decoding, model and page. Only
    sentences and paths may be longer than 80 columns. Run again, it finds everything done and shows the same result."""
    out, page, first = small_demo
    marks = ("1. Measure it on 16", "before training: 16 problems", "At this speed", "the same problems, greedy")
    places = [first.index(mark) for mark in (*marks, "mean over the problems")]
    assert places == sorted(places)
    *others, at_t1, greedy, _, model, path = first.splitlines()
    assert at_t1.startswith("Sampled at T=1: ") and greedy.startswith("Greedy: ")
    assert model.endswith(str(out / "model")) and path.endswith(str(page))
    assert all(len(line) <= 80 for line in others if not line.startswith("caveat"))
    html = page.read_text(encoding="utf-8")
    assert "phase 2 (brevity)" in html and "<script" in html
    demo.run_demo(out, seed=0)
    again = capsys.readouterr().out
    assert first.partition(marks[-1])[2] == again.partition(marks[-1])[2]
    assert "At this speed" not in again


def test_responses_are_shown_side_by_side(small_demo):
    """Only problems that both models solve are shown, greedy, with their lengths."""
    out, _, _ = small_demo
    console = Console(width=80, file=io.StringIO(), record=True)
    demo.show_responses(out, "phase-2", console)
    shown = console.export_text()
    solved = [row for row in read_jsonl(out / "eval" / "base-greedy" / "samples.jsonl") if row["grade"] == "correct"]
    assert shown.count(" tokens") == 6 and "boxed" in shown and "…" not in shown
    assert any(row["question"][:10] in shown for row in solved)
