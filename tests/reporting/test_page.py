"""The report page, from synthetic files: what it says, what it escapes, what it does without."""

import base64
import hashlib
import json
import re
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from page_files import EVIL, budget_curve, write_evaluation, write_json, write_jsonl, write_run, write_selection

from laconic.comparison.compare import compare_evaluations
from laconic.comparison.records import CandidateComparison
from laconic.errors import InputError, MissingExtraError, RunError
from laconic.evaluation.figures import Figures, Setup, Summary
from laconic.reporting.build import read_report, write_page, write_report
from laconic.reporting.data import Change, Measurement, Report, Sample, pick_pairs
from laconic.reporting.read import (
    find_measurements,
    read_measurements,
    read_training,
)
from laconic.reporting.shelf import ShelfBuilder, pack, unpack
from laconic.reporting.training import phases_of
from laconic.reporting.words import headline, lede, verdicts
from laconic.rollouts.rows import ResponseRow
from laconic.system.fields import Fields
from laconic.tracking.tracked_runs import TrackedRun, write_tracked_runs
from laconic.types import Grade

pytest.importorskip("jinja2")

SKILLS = {"base": (0.6, 150.0), "after": (0.75, 90.0), "other": (0.6, 160.0)}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three models, each sampled and greedy."""
    for name, (skill, mean) in SKILLS.items():
        for tag, temperature in (("t1", 1.0), ("greedy", 0.0)):
            write_evaluation(tmp_path / name / "eval" / f"mix-{tag}", skill, mean, temperature=temperature, model=name)
    return [tmp_path / name for name in SKILLS]


def page_of(*dirs: Path) -> str:
    return write_report(dirs, dirs[0].parent / "report.html").read_text("utf-8")


def packed_index(page: str) -> dict[str, Any]:
    found = re.search(r'id="browser-index">([A-Za-z0-9+/=]*)</script>', page)
    assert found
    index: dict[str, Any] = unpack(found[1])
    return index


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_says_what_came_of_the_run(run_dir: Path) -> None:
    page = page_of(run_dir)
    # tokens 82/150 - 1 = -45.3%, accuracy .73 - .64 = +9 points with an interval above 0
    assert "<h1>45% fewer tokens, higher accuracy</h1>" in page
    assert "−45.3% [−48.3,\u00a0−42.3], and accuracy" in page
    assert "+9.0 pt [+7.0,\u00a0+11.0].</p>" in page
    assert '−45.3%<span class="ci">[−48.3, −42.3]</span>' in page
    assert '+9.0 pt<span class="ci">[+7.0, +11.0]</span>' in page
    assert "Accuracy-efficiency score +0.55." in page
    assert "<b>Greedy:</b> 45% fewer tokens, and not less accurate." in page
    assert "12 problems are few: the intervals are rough" in page
    assert "phase 2 (brevity)" in page
    assert "watched accuracy stopped rising" in page
    assert "12 problems, 4 responses each (sampled at T=1)" in page
    assert "<td>phases.0.name</td><td>accuracy</td>" in page


def test_every_figure_says_what_it_shows_in_both_widths(run_dir: Path) -> None:
    page = page_of(run_dir)
    labels = [attrs["aria-label"] for tag, attrs in Tags(page).tags if tag == "svg"]
    for opening in (
        "Change of mean tokens",
        "Accuracy against mean tokens",
        "Histograms of response length",
        "Training",
    ):
        assert sum(str(label).startswith(opening) for label in labels) == 2, opening
    assert sum("of each problem" in str(label) or "problems, before" in str(label) for label in labels) == 2


def test_nothing_is_loaded_from_elsewhere_and_one_known_script_runs(run_dir: Path) -> None:
    page = page_of(run_dir)
    tags = Tags(page).tags
    links = [value for _, attrs in tags for name, value in attrs.items() if name in ("src", "href", "srcset", "data")]
    assert [link for link in links if not str(link).startswith("#")] == []
    assert "http" not in page.replace("http-equiv", "")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"default-src 'none'; script-src 'sha256-{digest}';" in page.replace("&#39;", "'").replace("&#43;", "+")


def test_what_the_model_wrote_is_escaped_or_packed(run_dir: Path) -> None:
    clean = page_of(run_dir)
    for path in run_dir.glob("eval/*/samples.jsonl"):
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        write_jsonl(path, [row | {"text": EVIL, "question": EVIL, "gold": EVIL, "answer": EVIL} for row in rows])
    write_json(run_dir / "config.json", {"seed": "<script>", "note": "</details><script>"})
    page = page_of(run_dir)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert page.count("<script") == clean.count("<script")
    assert page.count("</script") == clean.count("</script")
    assert "<!--" not in page
    assert "<img" not in page
    assert "<b>&amp;" not in page


def test_ids_and_names_cannot_leave_a_figure_or_the_index(run_dir: Path) -> None:
    for path in run_dir.glob("eval/*/samples.jsonl"):
        path.write_text(path.read_text("utf-8").replace('"p00', f'"{"</script><img>"}p00'), "utf-8")
    page = page_of(run_dir)
    assert "</script><img>" not in page
    assert "<title>&lt;/script&gt;&lt;img&gt;p000: " in page
    assert packed_index(page)["sets"][0]["problems"][0][0] == "</script><img>p000"


@pytest.mark.parametrize("missing", ["metrics.jsonl", "phases.json", "config.json", "comparison*.json"])
def test_a_missing_part_leaves_its_part_out(run_dir: Path, missing: str) -> None:
    for path in run_dir.glob(missing):
        path.unlink()
    page = page_of(run_dir)
    text = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "None" not in text
    assert "nan" not in text
    absent = {
        "metrics.jsonl": "Training curves",
        "phases.json": "(brevity)",
        "config.json": "Recipe as resolved",
        "comparison*.json": " pt [",
    }
    assert absent[missing] not in text


def test_evaluations_of_the_base_alone_make_a_page(run_dir: Path) -> None:
    for path in (*run_dir.glob("eval/phase-*/*"), run_dir / "metrics.jsonl"):
        path.unlink()
    assert "<h1>Measured, not compared</h1>" in (page := page_of(run_dir))
    assert "vs base" not in page and "mean tokens" in page  # columns that nothing can fill


def test_nulls_and_absent_keys_are_dashes(run_dir: Path) -> None:
    file = run_dir / "eval/phase-2-t1/summary.json"
    kept = ("benchmark", "model", "num_problems", "num_samples", "temperature", "max_tokens", "seed")
    write_json(file, {key: json.loads(file.read_text())[key] for key in kept} | {"tokens_by_grade": None})
    write_json(run_dir / "comparison-t1.json", {"candidates": [{"name": "phase-2"}]})
    write_json(run_dir / "phases.json", [{"name": "accuracy", "first_step": 1, "last_step": 10, "reason": None}])
    page = page_of(run_dir)
    assert "No clear change in tokens, accuracy not shown to be kept" in page
    assert "None" not in page


def test_an_empty_folder_has_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to show"):
        write_page(tmp_path, tmp_path / "report.html")


def test_a_broken_file_is_named(run_dir: Path) -> None:
    (run_dir / "metrics.jsonl").write_text('{"step": 1}\n{"step"\n', "utf-8")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        page_of(run_dir)
    write_jsonl(run_dir / "metrics.jsonl", [])
    write_jsonl(run_dir / "eval/base-t1/samples.jsonl", [{"problem_id": "a", "sample": 0, "grade": "wrong"}])
    with pytest.raises(InputError, match=r"samples\.jsonl, line 1: num_tokens is missing"):
        page_of(run_dir)
    (run_dir / "phases.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match=r"phases\.json: expected a JSON list"):
        page_of(run_dir)


def test_without_jinja_the_extra_is_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match="the extra report: pip install 'jinja2"):
        page_of(run_dir)


def test_trackers_are_linked_and_only_pages_are_links(run_dir: Path) -> None:
    """A page on the web is a link; what lies on this machine has the command that shows it; no other address is followed."""
    tracked = {
        "wandb": TrackedRun("abc1", 3, "https://wandb.example/r?a=1&b=2", "", True),
        "mlflow": TrackedRun("abc2", 3, "", "mlflow ui --backend <x>", False),
        "trackio": TrackedRun("abc3", 3, "javascript:alert(1)", "", False),
    }
    write_tracked_runs(run_dir, tracked)
    page = page_of(run_dir)
    assert 'Metrics in wandb: <a href="https://wandb.example/r?a=1&amp;b=2" rel="noreferrer">abc1</a>' in page
    assert "Metrics in mlflow: abc2, shown by <code>mlflow ui --backend &lt;x&gt;</code>" in page
    assert "Metrics in trackio: abc3</p>" in page and "javascript:" not in page


def test_the_same_files_make_the_same_page(run_dir: Path) -> None:
    assert page_of(run_dir) == page_of(run_dir)


def test_folders_of_evaluations_are_compared_with_the_first(folders: list[Path]) -> None:
    report = read_report(folders[:2])
    assert [(c.base, c.model, c.decoding) for c in report.finals] == [
        ("base", "after", "sampled at T=1"),
        ("base", "after", "greedy"),
    ]
    told = compare_evaluations(folders[0], folders[1:2]).candidates[0].figures
    assert escape(told.verdict, quote=False) in page_of(*folders[:2])
    assert headline(report).startswith(f"{-100 * told.tokens_change.estimate:.0f}% fewer tokens")


def test_prompts_in_one_folder_are_compared_with_the_plain_one(tmp_path: Path) -> None:
    for name, mean in (("boxed", 150.0), ("be_concise", 90.0)):
        prompt = {"name": name, "instruction": "", "system": None}
        write_evaluation(tmp_path / "model" / "eval" / f"mix-{name}-t1", 0.6, mean, prompt=prompt)
    report = read_report([tmp_path / "model"])
    assert [(c.base, c.model) for c in report.changes] == [("model · boxed", "model · be_concise")]
    assert report.main and [e.prompt for e in report.main] == ["boxed", "be_concise"]
    assert "fewer tokens" in headline(report)


def test_several_candidates_are_counted_and_none_is_picked(folders: list[Path]) -> None:
    # after: 150 to 90 tokens; other: 150 to 160
    report = read_report(folders)
    assert headline(report).startswith("1 of 2 candidates shorter, ")
    assert len(verdicts(report)) == 4
    assert [e.model for e in report.of_setting(("mix", "greedy"))] == ["base", "after", "other"]


def test_a_benchmark_under_two_caps_has_the_changes_of_each(tmp_path: Path) -> None:
    """Under one cap tokens fall by 40%, under the other they hardly move: each row has its own change, as `compare` has it."""
    skills = {"base": {1000: (0.6, 150.0), 2000: (0.6, 151.0)}, "after": {1000: (0.6, 90.0), 2000: (0.6, 149.0)}}
    for name, by_cap in skills.items():
        for cap, (skill, mean) in by_cap.items():
            write_evaluation(tmp_path / name / f"cap{cap}", skill, mean, model=name, max_tokens=cap)
    dirs = [tmp_path / "base", tmp_path / "after"]
    report, compared = read_report(dirs), compare_evaluations(dirs[0], [dirs[1]])
    wanted = {c.decoding.max_tokens: c.figures for c in compared.candidates if c.decoding}
    assert set(wanted) == {1000, 2000}
    for evaluation in report.evaluations:
        cap = evaluation.summary.setup.max_tokens
        assert evaluation.decoding == f"sampled at T=1, cap {cap}"
        figures = report.figures_of(evaluation)
        assert figures is None if evaluation.model == "base" else figures and figures == wanted[cap]
    assert "2 candidates" not in headline(report)
    assert len(verdicts(report)) == 2
    page = page_of(*dirs)
    assert "sampled at T=1, cap 1000" in page and "sampled at T=1, cap 2000" in page


def test_what_cannot_be_compared_is_said_on_the_page(folders: list[Path]) -> None:
    for path in folders[1].glob("eval/*/summary.json"):
        write_json(path, json.loads(path.read_text("utf-8")) | {"max_tokens": 999})
    page = page_of(*folders[:2])
    assert "<h1>Measured, not compared</h1>" in page
    assert '<p class="note">Not compared: ' in page
    assert "max_tokens" in page or "999" in page


def test_one_folder_that_cannot_be_compared_takes_no_other_with_it(folders: list[Path]) -> None:
    for path in folders[2].glob("eval/*/summary.json"):
        write_json(path, json.loads(path.read_text("utf-8")) | {"benchmark": "sums"})
    two, three = read_report(folders[:2]), read_report(folders)
    assert three.notes == ("Not compared: other: no benchmark in common; the base has mix, it has sums",)
    assert headline(three).lower() == f"after against base: {headline(two)}".lower()
    assert [v["sentence"] for v in verdicts(three)] == [v["sentence"] for v in verdicts(two)]
    assert verdicts(three)[0]["name"] == "after against base, sampled at T=1"
    assert [v["name"] for v in verdicts(two)] == ["Sampled at T=1", "Greedy"]


def test_a_training_run_beside_folders_says_who_was_compared_with_whom(folders: list[Path], run_dir: Path) -> None:
    report = read_report([folders[0], folders[1], run_dir])
    assert "2 candidates" in headline(report)
    assert headline(report).endswith(", each against its own base")
    assert "after against base; run: phase 2 (brevity) against run: base: tokens" in lede(report)


def test_a_benchmark_that_was_not_compared_has_no_change_of_another(folders: list[Path]) -> None:
    write_evaluation(folders[1] / "eval" / "sums-t1", 0.7, 80.0, benchmark="sums", model="after")
    report = read_report(folders[:2])
    of = {(e.benchmark, e.temperature): report.figures_of(e) for e in report.evaluations if e.model == "after"}
    assert of["sums", 1.0] is None
    assert of["mix", 1.0] is not None


def test_prompts_of_the_first_folder_stay_compared_where_another_cannot_be(tmp_path: Path) -> None:
    for name, mean in (("boxed", 150.0), ("be_concise", 90.0)):
        asked = {"name": name, "instruction": "", "system": None}
        write_evaluation(tmp_path / "model" / "eval" / f"mix-{name}-t1", 0.6, mean, prompt=asked)
    write_evaluation(tmp_path / "other", 0.6, 90.0, benchmark="sums")
    write_evaluation(tmp_path / "third", 0.6, 80.0, prompt={"name": "boxed", "instruction": "", "system": None})
    report = read_report([tmp_path / name for name in ("model", "other", "third")])
    assert [(c.base, c.model) for c in report.changes] == [
        ("model · boxed", "model · be_concise"),
        ("model · boxed", "third"),
    ]
    assert len(report.notes) == 1


def test_the_phase_that_has_not_ended_has_a_band_of_its_own(run_dir: Path) -> None:
    phases = json.loads((run_dir / "phases.json").read_text("utf-8"))
    assert [p["name"] for p in phases] == ["accuracy", "brevity"]
    whole = phases_of(read_training(run_dir, "run"))
    write_json(run_dir / "phases.json", phases[:1])
    half = phases_of(read_training(run_dir, "run"))
    places = [[(p["name"], p["first_step"], p["last_step"]) for p in found] for found in (whole, half)]
    assert places[0] == places[1] == [("accuracy", 1, 5), ("brevity", 6, 10)]


def test_the_alarms_of_a_run_stand_below_its_phases(run_dir: Path) -> None:
    """With phase and step; what a model or a recipe may have written is text; a run without alarms has no such list."""
    assert "<h3>Alarms</h3>" not in page_of(run_dir)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]
    rows[6]["alarms/raised"] = ["kl: far away; lower <b>lr</b>"]
    write_jsonl(run_dir / "metrics.jsonl", rows)
    assert "<li>brevity, step 7: kl: far away; lower &lt;b&gt;lr&lt;/b&gt;</li>" in page_of(run_dir)


def test_one_evaluation_folder_makes_a_page(folders: list[Path]) -> None:
    page = page_of(folders[0] / "eval" / "mix-t1")
    assert "<h1>Measured, not compared</h1>" in page
    assert len(packed_index(page)["sets"][0]["models"]) == 1


def test_several_runs_are_told_apart_and_overlaid(run_dir: Path) -> None:
    other = write_run(run_dir.parent / "other")
    page = page_of(run_dir, other)
    assert "<h1>All 2 runs shorter and not less accurate</h1>" in page
    assert "run: phase 2 (brevity), sampled at T=1" in page
    assert "other: phase 2 (brevity), sampled at T=1" in page
    assert "Mean tokens when correct" in page
    with pytest.raises(RunError, match="given twice"):
        page_of(run_dir, run_dir)
    (run_dir.parent / "link").symlink_to(run_dir)
    for again in (run_dir.parent / "link", run_dir / ".." / run_dir.name):
        with pytest.raises(RunError, match=f"{again}: given twice"):
            page_of(run_dir, again)


def test_selected_problems_stand_with_their_reasons(run_dir: Path) -> None:
    write_selection(run_dir)
    write_jsonl(
        run_dir / "problems.jsonl", [{"id": "z", "problem": "2+2", "answer": "4", "selection": "kept, hardest"}]
    )
    page = page_of(run_dir)
    assert "phase 2 (brevity): 1 of 3 kept" in page
    assert "Dropped: 2 above 0.3:0.9." in page
    assert "What is &lt;b&gt; + 2?" in page
    assert '<td class="wrap">kept, hardest</td>' in page


def test_budget_curves_are_drawn_where_they_were_measured(folders: list[Path]) -> None:
    assert 'id="budgets"' not in page_of(*folders[:2])
    for shift, folder in enumerate(folders[:2]):
        write_json(folder / "eval" / "mix-t1" / "budget_curve.json", budget_curve(shift / 10))
    page = page_of(*folders[:2])
    assert 'id="budgets"' in page
    assert "after, budget 256: 75.6% at 265 tokens, 50.0% cut" in page  # .4 + .1 + .256


def test_what_could_not_be_graded_leaves_its_figures_out(folders: list[Path]) -> None:
    """Nothing of `after` could be graded: no point to draw beside that of `base`, and none of its budget curve."""
    for summary in folders[1].glob("eval/*/summary.json"):
        told, samples = json.loads(summary.read_text("utf-8")), summary.with_name("samples.jsonl")
        rows = [json.loads(line) | {"grade": "ungradable"} for line in samples.read_text("utf-8").splitlines()]
        write_jsonl(samples, rows)
        write_json(
            summary,
            told
            | {
                "accuracy": {"mean": None, "ci95": [None, None]},
                "grade_frac": {"ungradable": 1.0},
                "tokens_by_grade": {},
            },
        )
        curve = budget_curve(0.0)
        points = [point | {"accuracy": {"mean": None, "ci95": [None, None]}} for point in curve["points"]]
        write_json(summary.with_name("budget_curve.json"), curve | {"points": points})
    page = page_of(*folders[:2])
    assert 'id="frontier"' not in page and 'id="budgets"' not in page
    assert 'id="frontier"' in page_of(*folders)


def test_a_stored_comparison_is_used_while_its_figures_are_those_of_the_folders(folders: list[Path]) -> None:
    """At a margin of 40 points the stored one says other things than one that is made anew."""
    base, after = folders[:2]
    file = after / "comparison.json"
    write_json(file, compare_evaluations(base, [after], margin=0.4).to_json())
    assert {c.figures.margin for c in read_report([base, after]).changes} == {0.4}
    write_evaluation(after / "eval" / "mix-t1", 0.3, 200.0, model="after")
    report = read_report([base, after])
    assert {c.figures.margin for c in report.changes} == {0.01}
    assert report.notes == (f"Compared anew: {file} was made of other evaluations than these folders hold now",)
    assert "more tokens" in headline(report)
    write_json(file, compare_evaluations(base, [after]).to_json())
    for folder in (base, after):
        write_evaluation(folder / "eval" / "sums-t1", 0.6, 80.0, model=folder.name, benchmark="sums")
    assert "Compared anew" in page_of(base, after)


def test_dominated_models_are_hollow(folders: list[Path]) -> None:
    # other is longer than base and no better: dominated; what dominates it is filled
    page = page_of(folders[0], folders[2])
    assert re.search(r"<title>[^<]*dominated: another is at least as accurate", page)


def test_every_response_is_in_the_page(run_dir: Path) -> None:
    page = page_of(run_dir)
    index = packed_index(page)
    texts = dict(re.findall(r'id="(chunk-[\d-]+)">([A-Za-z0-9+/=]*)</script>', page))
    assert "All 180 responses are in this page." in page  # 12 problems x (4 + 1) x 3 models
    for found in index["sets"]:
        for model in found["models"]:
            rows = [row for name in model["chunks"] for row in unpack(texts[name])]
            assert len(rows) == len(model["tokens"]) == sum(model["counts"])
    rows = [json.loads(x) for x in (run_dir / "eval/base-t1/samples.jsonl").read_text("utf-8").split("\n") if x]
    assert unpack(texts["chunk-0-0-0"])[5][0] == rows[5]["text"]


def test_beyond_the_budget_every_nth_problem_is_held_with_all_its_samples(run_dir: Path) -> None:
    found = find_measurements([run_dir], ["run"])
    size = sum((f.folder / "samples.jsonl").stat().st_size for f in found)
    for evaluation in read_measurements(found, budget=size // 3 + 1):
        assert evaluation.shelf is not None
        assert list(evaluation.shelf.questions) == ["p000", "p003", "p006", "p009"]
        assert len(evaluation.shelf.rows) * 3 == evaluation.shelf.num_rows == len(evaluation.samples)


def test_a_shelf_gives_back_what_was_put_on_it() -> None:
    builder = ShelfBuilder(stride=2)
    for i in range(6):
        text, answer = "x" * 250_000 + str(i), None if i else "7"
        builder.add(ResponseRow(f"p{i // 2}", i % 2, Grade.CORRECT, 9, text=text, answer=answer))
    shelf = builder.build()
    assert shelf.rows == (0, 1, 4, 5)  # the problems p0 and p2
    assert shelf.counts == (2, 2)
    assert [shelf.text(i)[0][-1] for i in range(4)] == ["0", "1", "4", "5"]
    assert shelf.text(0)[1] == "7"
    assert unpack(pack(["\ud800", "\u2028"])) == ["\ud800", "\u2028"]


def row(problem: int, number: int, grade: str, length: int) -> Sample:
    return Sample(f"p{problem:03d}", number, grade, length)


def test_pairs_are_the_median_the_largest_and_one_that_was_lost() -> None:
    before = [row(i, 0, "correct", 100) for i in range(5)] + [row(0, 1, "correct", 999)]
    outcomes = [("correct", 90), ("correct", 20), ("correct", 50), ("wrong", 5), ("truncated", 300)]
    after = [row(i, 0, grade, length) for i, (grade, length) in enumerate(outcomes)]
    # still correct: reductions of 10%, 80%, 50%; problem 3 shrank most of all, but was lost
    assert [(pair.reason, pair.after.problem_id) for pair in pick_pairs(before, after)] == [
        ("The median reduction", "p002"),
        ("The largest reduction", "p001"),
        ("Not correct afterwards", "p003"),
    ]


def test_a_pair_whose_responses_are_the_same_is_shown_only_where_all_are() -> None:
    # reductions 0, 0 and 20%; the median by number would be the second; its texts are the same
    before = [Sample(f"p{i}", 0, "correct", 100, text_crc=i) for i in range(3)]
    after = [*before[:2], Sample("p2", 0, "correct", 80, text_crc=9)]
    assert [pair.after.problem_id for pair in pick_pairs(before, after)] == ["p2"]
    other_words = [before[0], before[1]._replace(text_crc=7), before[2]]
    assert [pair.after.problem_id for pair in pick_pairs(before, other_words)] == ["p1"]
    assert [pair.after.problem_id for pair in pick_pairs(before, before)] == ["p1", "p2"]  # as if all differed


def test_no_problem_is_shown_twice_and_none_is_needed() -> None:
    one = [row(0, 0, "wrong", 100)]
    assert [pair.reason for pair in pick_pairs(one, [row(0, 0, "wrong", 50)])] == ["The median reduction"]
    assert pick_pairs(one, []) == []


@pytest.mark.parametrize(
    ("tokens", "accuracy", "is_kept", "said"),
    [
        ((-0.4, [-0.45, -0.35]), (0.01, [-0.01, 0.03]), True, "40% fewer tokens, accuracy kept"),
        ((-0.4, [-0.45, -0.35]), (-0.01, [-0.015, -0.005]), True, "40% fewer tokens, accuracy lower but within"),
        ((-0.4, [-0.45, -0.35]), (-0.05, [-0.08, -0.02]), False, "40% fewer tokens, lower accuracy"),
        ((-0.1, [-0.25, 0.05]), (0.0, [-0.04, 0.04]), False, "No clear change in tokens, accuracy not shown"),
        ((0.2, [0.1, 0.3]), (0.05, [0.02, 0.08]), True, "20% more tokens, higher accuracy"),
        ((-0.004, [-0.007, -0.001]), (0.0, [0.0, 0.0]), True, "0.4% fewer tokens, accuracy kept"),
        ((-0.0004, [-0.0007, -0.0001]), (0.0, [0.0, 0.0]), True, "Under 0.1% fewer tokens, accuracy kept"),
        ((-0.996, [-0.998, -0.99]), (0.0, [0.0, 0.0]), True, "99.6% fewer tokens, accuracy kept"),
        ((-0.9998, [-0.9999, -0.999]), (0.0, [0.0, 0.0]), True, "Over 99.9% fewer tokens, accuracy kept"),
    ],
)
def test_the_headline_claims_what_the_intervals_support(tokens: Any, accuracy: Any, is_kept: bool, said: str) -> None:
    told = {
        "tokens_change": {"estimate": tokens[0], "ci95": tokens[1]},
        "accuracy_change": {"estimate": accuracy[0], "ci95": accuracy[1]},
        "non_inferior": is_kept,
    }
    candidate = CandidateComparison.from_fields(Fields(told, "comparison.json"))
    summary = Summary(Setup(temperature=1.0), Figures())
    evaluations = (Measurement("base", summary), Measurement("after", summary, rank=1))
    report = Report(evaluations=evaluations, changes=(Change("base", "after", "sampled at T=1", candidate),))
    assert headline(report).startswith(said)
    assert said.split(", ")[1] in verdicts(report)[0]["sentence"]
    assert lede(report).startswith("Sampled at T=1, mean tokens changed by")


def test_a_candidate_may_be_named_after_its_folder(run_dir: Path) -> None:
    for path in run_dir.glob("comparison-*.json"):
        path.unlink()
    write_json(run_dir / "comparison.json", {"candidates": [{"name": "eval/phase-1-greedy"}, {"name": "phase-2"}]})
    found = {(change.model, change.decoding) for change in read_report([run_dir]).changes}
    assert found == {
        ("phase 1 (accuracy)", "greedy"),
        ("phase 2 (brevity)", "sampled at T=1"),
        ("phase 2 (brevity)", "greedy"),
    }
