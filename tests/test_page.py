"""The demo's page, from synthetic files: what it says, what it escapes, what it does without."""

import json
import re
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest

from laconic.compare import compare_evaluations
from laconic.errors import InputError, MissingExtraError, RunError
from laconic.page import write_page
from laconic.page_data import Evaluation, Run, pick_pairs, read_run
from laconic.page_words import headline, verdicts

pytest.importorskip("plotly")

SAID = {
    "non_inferior": True,
    "margin": 0.01,
    "aes": {"value": 0.55},
    "caveats": ["12 problems are few: the intervals are rough"],
    "verdict": "45% fewer tokens, and not less accurate.",
}
EVIL = "1+1=2;<script>alert(1)</script></script><b>&amp;\u2028"


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def sample(problem: int, number: int, grade: str, num_tokens: int, text: str = "1+1=2;") -> dict[str, Any]:
    reason = "length" if grade == "truncated" else "stop"
    row = {"problem_id": f"p{problem:03d}", "sample": number, "grade": grade, "num_tokens": num_tokens}
    return row | {
        "finish_reason": reason,
        "question": f"What is {problem} + 1?",
        "gold": str(problem + 1),
        "text": text,
    }


def draw_samples(rng: Random, num_problems: int, num_samples: int, skill: float, mean: float) -> list[dict[str, Any]]:
    rows = []
    for problem in range(num_problems):
        ease = rng.betavariate(5 * skill, 5 * (1 - skill))
        for number in range(num_samples):
            length = max(8, int(rng.gammavariate(4, mean * (1.4 - 0.6 * ease) / 4)))
            grade = "correct" if rng.random() < ease else rng.choice(["wrong", "wrong", "wrong", "no_answer"])
            if length > 320:
                grade, length = "truncated", 320
            step = f"{problem}+1={problem + 1};check {problem + 1}-1={problem} ok;"
            rows.append(sample(problem, number, grade, length, (step * 30)[:length] + "</think>\\boxed{7}"))
    return rows


def summary_of(rows: list[dict[str, Any]], temperature: float, num_samples: int) -> dict[str, Any]:
    lengths = sorted(row["num_tokens"] for row in rows)
    mean = sum(lengths) / len(lengths)
    accuracy = sum(row["grade"] == "correct" for row in rows) / len(rows)
    grades = ("correct", "wrong", "no_answer", "truncated", "ungradable")
    by_grade = {grade: [row["num_tokens"] for row in rows if row["grade"] == grade] for grade in grades}
    return {
        "benchmark": "held-out",
        "model": "tiny",
        "max_tokens": 320,
        "seed": 0,
        "temperature": temperature,
        "num_problems": len(rows) // num_samples,
        "num_samples": num_samples,
        "accuracy": {"mean": accuracy, "ci95": [accuracy - 0.03, accuracy + 0.03]},
        "tokens": {"mean": mean, "ci95": [mean - 4, mean + 4], "median": lengths[len(lengths) // 2]},
        "tokens_by_grade": {g: sum(v) / len(v) if v else None for g, v in by_grade.items() if g != "ungradable"},
        "grade_frac": {grade: len(values) / len(rows) for grade, values in by_grade.items()},
    }


def metrics_row(rng: Random, step: int, phase: str, phase_step: int) -> dict[str, Any]:
    accuracy = min(0.95, 0.62 + 0.006 * step + rng.gauss(0, 0.02))
    tokens = 150 - (0.2 * step if phase == "accuracy" else 8 + 2.4 * phase_step) + rng.gauss(0, 3)
    row = {"step": step, "phase": phase, "phase_step": phase_step}
    row |= {"rollouts/accuracy_frac": accuracy, "rollouts/mean_tokens": tokens}
    row |= {"rollouts/correct_tokens": tokens - 10, "rollouts/wrong_tokens": tokens + 30 if step % 7 else None}
    if step % 5 == 0:
        row |= {"watch/accuracy_frac": accuracy - 0.03, "watch/mean_tokens": tokens + 6}
    return row


def write_run(run_dir: Path, num_problems: int = 12, num_steps: int = 10) -> Path:
    """A whole run in files, shaped as the trainer leaves it."""
    rng = Random(0)
    half = num_steps // 2
    phases = [("accuracy", 1, half, "watched accuracy stopped rising"), ("brevity", half + 1, num_steps, "step limit")]
    write_jsonl(
        run_dir / "metrics.jsonl",
        [metrics_row(rng, s, name, s - a + 1) for name, a, b, _ in phases for s in range(a, b + 1)],
    )
    keys = ("name", "first_step", "last_step", "reason")
    extra = {"algorithm": "ppo", "num_problems": 96}
    write_json(
        run_dir / "phases.json",
        [dict(zip(keys, phase, strict=True)) | extra | {"result_step": phase[2] // 5 * 5} for phase in phases],
    )
    skills = {"base": (0.64, 150), "phase-1": (0.74, 140), "phase-2": (0.73, 82)}
    for tag, temperature, num_samples in (("t1", 1.0, 4), ("greedy", 0.0, 1)):
        candidates = []
        for model, (skill, mean) in skills.items():
            rows = draw_samples(rng, num_problems, num_samples, skill + 0.1 * (tag == "greedy"), mean)
            folder = run_dir / "eval" / f"{model}-{tag}"
            write_jsonl(folder / "samples.jsonl", rows)
            write_json(folder / "summary.json", summary_of(rows, temperature, num_samples))
            tokens = {"estimate": mean / 150 - 1, "ci95": [mean / 150 - 1.03, mean / 150 - 0.97]}
            accuracy = {"estimate": skill - 0.64, "ci95": [skill - 0.66, skill - 0.62]}
            if model != "base":
                change = {"name": model, "tokens_change": tokens, "accuracy_change": accuracy}
                candidates.append(change | SAID)
        write_json(run_dir / f"comparison-{tag}.json", {"candidates": candidates})
    write_json(run_dir / "config.json", {"seed": 3, "model": {"path": "tiny"}, "phases": [{"name": "accuracy"}]})
    return run_dir


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def page_of(run_dir: Path) -> str:
    return write_page(run_dir, run_dir / "report.html").read_text("utf-8")


def own_text(page: str) -> str:
    """The page without the plotting library."""
    return re.sub(r"<script>/\*\*.*?</script>", "", page, count=1, flags=re.DOTALL)


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_says_what_came_of_the_run(run_dir: Path) -> None:
    page = own_text(page_of(run_dir))
    # tokens 82/150 - 1 = -45.3%, accuracy .73 - .64 = +9 points with an interval above 0
    assert '<h1>45% fewer tokens, higher accuracy <span class="how">sampled at T=1</span></h1>' in page
    assert '−45.3%<span class="ci">[−48.3, −42.3]</span>' in page
    assert '+9.0 pt<span class="ci">[+7.0, +11.0]</span>' in page
    assert "Accuracy-efficiency score +0.55." in page
    assert "<b>Greedy:</b> 45% fewer tokens, and not less accurate." in page
    assert "12 problems are few: the intervals are rough" in page
    assert "phase 2 (brevity)" in page
    assert "watched accuracy stopped rising" in page
    assert "12 problems, 4 responses each (sampled at T=1)" in page
    assert "laconic demo --out runs/demo --seed 3" in page
    assert "<td>phases.0.name</td><td>accuracy</td>" in page


def test_every_figure_has_its_place_and_its_data(run_dir: Path) -> None:
    page = own_text(page_of(run_dir))
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])
    assert list(figures) == ["lengths", "solve_rates", "tokens", "training"]
    assert all(f'id="{name}"' in page for name in figures)
    assert {trace["name"] for trace in figures["training"]["data"]} >= {"problems trained on", "problems watched"}
    for bars in ("x", "x2"):  # the bars of each panel are shares of all its responses
        shares = [sum(t["y"]) for t in figures["lengths"]["data"] if t.get("xaxis") == bars]
        assert sum(shares) == pytest.approx(1.0)


def test_nothing_is_loaded_from_elsewhere(run_dir: Path) -> None:
    page = page_of(run_dir)
    tags = Tags(own_text(page)).tags
    assert not [(tag, name) for tag, attrs in tags for name in attrs if name in ("src", "href", "srcset", "data")]
    assert "http" not in re.sub(r'http-equiv|"http://www\.w3\.org[^"]*"', "", own_text(page))
    assert "default-src 'none'" in page
    assert page.count("* plotly.js v") == 1


def test_what_the_model_wrote_is_escaped(run_dir: Path) -> None:
    for path in run_dir.glob("eval/*/samples.jsonl"):
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        write_jsonl(path, [row | {"text": EVIL, "question": EVIL, "gold": EVIL} for row in rows])
    write_json(run_dir / "config.json", {"seed": "<script>", "note": "</details><script>"})
    clean, page = own_text(page_of(write_run(run_dir.parent / "clean"))), own_text(page_of(run_dir))
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert page.count("<script") == clean.count("<script")
    assert page.count("</script") == clean.count("</script")
    assert "<b>&amp;" not in page


def test_problem_ids_cannot_leave_the_figures_data(run_dir: Path) -> None:
    for path in run_dir.glob("eval/*/samples.jsonl"):
        path.write_text(path.read_text("utf-8").replace('"p00', f'"{"</script><img>"}p00'), "utf-8")
    page = own_text(page_of(run_dir))
    assert "</script><img>" not in page
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])
    assert figures["tokens"]["data"][0]["customdata"][0] == "&lt;/script&gt;&lt;img&gt;p000"


@pytest.mark.parametrize(
    "missing", ["metrics.jsonl", "phases.json", "config.json", "comparison*.json", "eval/*/samples.jsonl"]
)
def test_a_missing_part_leaves_its_part_out(run_dir: Path, missing: str) -> None:
    for path in run_dir.glob(missing):
        path.unlink()
    page = own_text(page_of(run_dir))
    assert "None" not in page
    assert "nan" not in page
    absent = {
        "metrics.jsonl": 'id="training"',
        "phases.json": "(brevity)",
        "config.json": "Settings of this run",
        "comparison*.json": "pt [",
        "eval/*/samples.jsonl": 'id="lengths"',
    }
    assert absent[missing] not in page


def test_evaluations_of_the_base_alone_make_a_page(run_dir: Path) -> None:
    for path in (*run_dir.glob("eval/phase-*/*"), run_dir / "metrics.jsonl"):
        path.unlink()
    page = own_text(page_of(run_dir))
    assert "<h1>A run without a comparison</h1>" in page
    assert "<script" not in page


def test_nulls_and_absent_keys_are_dashes(run_dir: Path) -> None:
    write_json(run_dir / "eval/phase-2-t1/summary.json", {"temperature": 1.0, "accuracy": {"mean": None}})
    write_json(run_dir / "comparison-t1.json", {"candidates": [{"name": "phase-2"}]})
    write_json(run_dir / "phases.json", [{"name": "accuracy", "first_step": 1, "last_step": 10, "reason": None}])
    page = own_text(page_of(run_dir))
    assert "No clear change in tokens, accuracy not shown to be kept" in page
    assert "None" not in page


def test_an_empty_folder_has_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to show"):
        write_page(tmp_path, tmp_path / "report.html")


def test_a_broken_file_is_named(run_dir: Path) -> None:
    (run_dir / "metrics.jsonl").write_text('{"step": 1}\n{"step"\n', "utf-8")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        page_of(run_dir)
    (run_dir / "metrics.jsonl").unlink()
    (run_dir / "phases.json").write_text("{}", "utf-8")
    with pytest.raises(RunError, match=r"phases\.json: expected a list"):
        page_of(run_dir)


def test_without_plotly_the_extra_is_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtraError, match=r"laconic\[report\]"):
        page_of(run_dir)


def test_the_same_files_make_the_same_page(run_dir: Path) -> None:
    assert page_of(run_dir) == page_of(run_dir)


def evaluation(model: str, rows: list[dict[str, Any]]) -> Evaluation:
    return Evaluation(model, "t1", {"temperature": 1.0}, tuple(rows))


def test_pairs_are_the_median_the_largest_and_one_that_was_lost() -> None:
    before = evaluation("base", [sample(i, 0, "correct", 100) for i in range(5)] + [sample(0, 1, "correct", 999)])
    outcomes = [("correct", 90), ("correct", 20), ("correct", 50), ("wrong", 5), ("truncated", 300)]
    after = evaluation("phase-1", [sample(i, 0, grade, length) for i, (grade, length) in enumerate(outcomes)])
    # still correct: reductions of 10%, 80%, 50%; problem 3 shrank most of all, but was lost
    pairs = pick_pairs(before, after)
    assert [(pair.reason, pair.after["problem_id"]) for pair in pairs] == [
        ("The median reduction", "p002"),
        ("The largest reduction", "p001"),
        ("Not correct afterwards", "p003"),
    ]


def test_no_problem_is_shown_twice_and_none_is_needed() -> None:
    one = evaluation("base", [sample(0, 0, "wrong", 100)])
    assert [pair.reason for pair in pick_pairs(one, evaluation("phase-1", [sample(0, 0, "wrong", 50)]))] == [
        "The median reduction"
    ]
    assert pick_pairs(one, evaluation("phase-1", [])) == []


@pytest.mark.parametrize(
    ("tokens", "accuracy", "is_kept", "said"),
    [
        ((-0.4, [-0.45, -0.35]), (0.01, [-0.01, 0.03]), True, "40% fewer tokens, accuracy kept"),
        ((-0.4, [-0.45, -0.35]), (-0.01, [-0.015, -0.005]), True, "40% fewer tokens, accuracy lower but within"),
        ((-0.4, [-0.45, -0.35]), (-0.05, [-0.08, -0.02]), False, "40% fewer tokens, lower accuracy"),
        ((-0.1, [-0.25, 0.05]), (0.0, [-0.04, 0.04]), False, "No clear change in tokens, accuracy not shown"),
        ((0.2, [0.1, 0.3]), (0.05, [0.02, 0.08]), True, "20% more tokens, higher accuracy"),
    ],
)
def test_the_headline_claims_what_the_intervals_support(tokens: Any, accuracy: Any, is_kept: bool, said: str) -> None:
    change = {
        "tokens_change": {"estimate": tokens[0], "ci95": tokens[1]},
        "accuracy_change": {"estimate": accuracy[0], "ci95": accuracy[1]},
        "non_inferior": is_kept,
    }
    run = Run((evaluation("base", []), evaluation("phase-1", [])), {("phase-1", "t1"): change})
    assert headline(run).startswith(said)
    assert said.split(", ")[1] in verdicts(run)[0]["sentence"]


def test_the_comparison_command_s_own_file_is_understood(run_dir: Path) -> None:
    folders = [run_dir / "eval" / f"{model}-t1" for model in ("base", "phase-1", "phase-2")]
    comparison = compare_evaluations(folders[0], folders[1:], resamples=200)
    write_json(run_dir / "comparison-t1.json", comparison)
    page = own_text(page_of(run_dir))
    assert escape(comparison["candidates"][1]["verdict"]) in page
    assert read_run(run_dir).changes.keys() >= {("phase-1", "t1"), ("phase-2", "t1")}


def test_a_candidate_may_be_named_after_its_folder(run_dir: Path) -> None:
    for path in run_dir.glob("comparison-*.json"):
        path.unlink()
    write_json(run_dir / "comparison.json", {"candidates": [{"name": "eval/phase-1-greedy"}, {"name": "phase-2"}]})
    assert set(read_run(run_dir).changes) == {("phase-1", "greedy"), ("phase-2", "t1"), ("phase-2", "greedy")}
