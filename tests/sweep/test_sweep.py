"""Sweeps: what a file may say, what is run and run again, and the arithmetic over seeds."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from xml.etree import ElementTree

import pytest
from folders import Run
from forked import Forked
from small import save_small_model, write_small_recipe

from laconic.errors import InputError, RunError, RunFailed
from laconic.statistics.intervals import Interval
from laconic.sweep import children
from laconic.sweep.children import check_idle
from laconic.sweep.config import begin_sweep, load_sweep, runs_of, sweep_content
from laconic.sweep.figures import Named, draw_fields, place_names
from laconic.sweep.page import write_results
from laconic.sweep.results import Results, ResultsReader, _fields, _num_probed
from laconic.sweep.rows import Against, Field, Point, SweepRow, TrainingCost, dominates, over_seeds
from laconic.sweep.run import in_turns, max_rollouts, read_sweep, run_sweep
from laconic.sweep.tables import field_scope, markdown, place, rolled_back
from laconic.system.files import append_jsonl, read_json, write_json_atomically
from laconic.system.locks import LOCK_FILE
from laconic.system.progress import Reporter
from laconic.training.check.recipe import check_recipe

SWEEP = """
name = "small"
seeds = [0, 1]
parallel = 2
overrides = ["threads=1", "defaults.steps=2", "phases.second.steps=1"]
recipes = ["small.toml"]

[[variants]]
label = "No whitening!"
recipe = "small.toml"
overrides = ["phases.first.algorithm.whitening=none"]

[[prompts]]
label = "asked for 5 tokens"
prompt = "token_limit:5"
recipe = "small.toml"
"""

TESTS = Path(__file__).parents[1]
VARIANT = SWEEP[SWEEP.index("[[variants]]") : SWEEP.index("[[prompts]]")]
BROKEN = """
[[variants]]
label = "broken"
recipe = "small.toml"
overrides = ["model=/no/such/model"]
"""


def write_sweep(folder: Path, text: str = SWEEP) -> Path:
    """A sweep file beside the small recipe it runs."""
    if not (folder / "small.toml").exists():
        write_small_recipe(folder / "small.toml", folder / "model")
    (folder / "sweep.toml").write_text(text, encoding="utf-8")
    return folder / "sweep.toml"


# --- the file --------------------------------------------------------------------------------------------------------


def test_runs_go_seed_by_seed_and_later_overrides_win(tmp_path: Path) -> None:
    """`threads=1` is what every run gets, but for the entry that sets it again."""
    text = SWEEP.replace("phases.first.algorithm.whitening=none", "threads=3")
    config, entries = load_sweep(write_sweep(tmp_path, text))
    runs = runs_of(config, entries, tmp_path / "out")
    assert [(run.entry.slug, run.seed) for run in runs] == [
        (slug, seed) for seed in (0, 1) for slug in ("small", "no-whitening", "asked-for-5-tokens")
    ]
    assert [run.recipe.threads for run in runs[:2]] == [1, 3]
    assert [run.recipe.seed for run in runs] == [0, 0, 0, 1, 1, 1]
    assert [file.name for file in runs[0].comparisons] == ["comparison-t1.json", "comparison-greedy.json"]


def test_a_recipe_may_be_named_as_the_list_of_recipes_names_it(tmp_path: Path) -> None:
    _, entries = load_sweep(write_sweep(tmp_path, 'name = "s"\nseeds = [0]\nrecipes = ["two_phase"]\n'))
    assert entries[0].label == "two_phase" and entries[0].path.is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seeds = [0, 1]", "seed = [0, 1]"), "seeds: missing, but required"),
        (("parallel = 2", "paralel = 2"), "paralel: unknown key; near it: parallel"),
        (("[0, 1]", "[]"), "seeds: tuple should have at least 1 item"),
        (("[0, 1]", "[3, 3]"), "seed 3 occurs twice"),
        (("[0, 1]", "[0, 1.5]"), "seeds.1: input should be a valid integer, got 1.5"),
        (("parallel = 2", "parallel = 0"), "parallel: input should be greater than 0, got 0"),
        (("No whitening!", "SMALL."), "label small occurs twice"),
        (("No whitening!", "!?"), "label '!?': expected a letter or a digit"),
        (("No whitening!", "base"), "label 'base': the table has a row of its own of this name"),
        (("No whitening!", "base of small"), "label 'base of small': the table has a row of its own"),
        (("No whitening!", "small · phase-1"), "label 'small · phase-1': the table has a row of its own"),
        (('["small.toml"]', '["two_fase"]'), "recipes.0: no recipe 'two_fase'"),
        (('["small.toml"]', '["two_fase"]'), "near it: two_phase"),
        (("whitening=none", "whitening"), "variants.0.overrides.0: expected key=value"),
        (('"threads=1"', '"seed=7"'), "overrides.0: seeds are what `seeds` says"),
        (("whitening=none", "whitening=some"), "No whitening!: "),
        (("whitening=none", "whitening=some"), "phases.first.algorithm.whitening: "),
        (("phases.first.algorithm.whitening=none", "phases.first.algorithm.name=sarsa"), "unknown algorithm 'sarsa'"),
        (("[0, 1]", "[0, -1]"), "seeds.1: input should be greater than or equal to 0"),
        (("phases.first.algorithm.whitening=none", "problems.report="), "problems.report: expected a text"),
        (("phases.first.algorithm.whitening=none", "threads=1"), "label 'No whitening!': runs what 'small' runs"),
        (("token_limit:5", "be_terse"), "asked for 5 tokens: prompt 'be_terse': no such name"),
        (("token_limit:5", "token_limit"), "prompt 'token_limit': needs a number"),
        (("seeds = [0, 1]", "seeds = [0, 1"), "sweep.toml: "),
    ],
)
def test_what_is_wrong_with_a_sweep_is_one_line_before_anything_runs(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in SWEEP
    path = write_sweep(tmp_path, SWEEP.replace(*change))
    with pytest.raises(InputError) as found:
        run_sweep(path, tmp_path / "out")
    assert said in str(found.value) and "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_a_sweep_without_anything_to_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing to run"):
        load_sweep(write_sweep(tmp_path, 'name = "s"\nseeds = [0]\n'))


# --- what stands in a folder -----------------------------------------------------------------------------------------


def begin_with(path: Path, text: str) -> None:
    """Begin the sweep of `text` in `path`/out, and a run of every entry at every seed."""
    config, entries = load_sweep(write_sweep(path, text))
    runs = runs_of(config, entries, path / "out")
    begin_sweep(path / "out", config, runs)
    for run in runs:
        run.folder.mkdir(parents=True, exist_ok=True)


def test_seeds_and_entries_may_be_added_to_a_sweep(tmp_path: Path) -> None:
    begin_with(tmp_path, SWEEP)
    begin_with(tmp_path, SWEEP.replace("[0, 1]", "[0, 1, 2]") + BROKEN)
    told = read_json(tmp_path / "out" / "sweep.json")
    assert told["seeds"] == [0, 1, 2]
    assert [entry["label"] for entry in told["entries"]] == ["small", "No whitening!", "broken", "asked for 5 tokens"]
    assert [entry["variant_of"] for entry in told["entries"]] == [None, "small", "small", None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "small"', 'name = "other"'), "holds the sweep 'small', not 'other'"),
        (("[0, 1]", "[0]"), "holds seed 1, which the sweep no longer has"),
        (("No whitening!", "No bleach"), "holds runs of 'No whitening!', which the sweep no longer has"),
        (
            ("whitening=none", "clip_low=0.1"),
            'began: phases.first.algorithm.whitening was "none"',
        ),
        (
            ("token_limit:5", "token_limit:6"),
            'began: prompt was "token_limit:5" and is now',
        ),
    ],
)
def test_a_folder_of_another_sweep_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    begin_with(tmp_path, SWEEP)
    with pytest.raises(RunError) as found:
        begin_with(tmp_path, SWEEP.replace(*change))
    assert said in str(found.value)


def test_a_refused_sweep_leaves_the_list_of_the_one_at_work_alone(tmp_path: Path) -> None:
    """Whoever holds the folder's lock is another sweep."""
    begin_with(tmp_path, SWEEP)
    before = (tmp_path / "out" / "sweep.json").read_bytes()
    holding = "import sys; from pathlib import Path; from laconic.system.locks import FolderLock"
    script = f"{holding}; lock = FolderLock(Path(sys.argv[1])); lock.take(); print(flush=True); input()"
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline()
        with pytest.raises(RunError, match="is at work on it"):
            run_sweep(write_sweep(tmp_path, SWEEP.replace("[0, 1]", "[0, 1, 2]")), tmp_path / "out")
        holder.communicate(b"\n")
    assert (tmp_path / "out" / "sweep.json").read_bytes() == before


def test_a_folder_with_nothing_but_a_lock_is_new(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK_FILE).write_text("process 1\n")
    begin_with(tmp_path, SWEEP)


def test_a_damaged_list_of_runs_is_one_line_from_the_sweep_and_from_its_results(tmp_path: Path) -> None:
    begin_with(tmp_path, SWEEP)
    file = tmp_path / "out" / "sweep.json"
    sound = read_json(file)
    entry = sound["entries"][0]
    for damage, says in (
        ({"a": [1, None]}, "name is missing"),
        (sound | {"seeds": "01"}, "seeds is '01', expected a list"),
        (sound | {"entries": [entry | {"label": 5}]}, "entries.0.label is 5, expected text"),
        (sound | {"entries": [entry | {"config": {}}]}, "entries.0.config.problems.report is missing"),
        (sound | {"entries": [{k: v for k, v in entry.items() if k != "prompt"}]}, "entries.0.prompt is missing"),
    ):
        write_json_atomically(file, damage)
        for read in (lambda: begin_with(tmp_path, SWEEP), ResultsReader(tmp_path / "out").read):
            with pytest.raises(InputError, match=f"sweep.json: {says}"):
                read()


def test_an_entry_may_change_while_none_of_its_runs_was_begun(tmp_path: Path) -> None:
    config, entries = load_sweep(write_sweep(tmp_path, SWEEP))
    begin_sweep(tmp_path / "out", config, runs_of(config, entries, tmp_path / "out"))
    begin_with(tmp_path, SWEEP.replace("whitening=none", "clip_low=0.1"))


def test_a_sweep_goes_on_when_recipes_have_since_gained_a_key(tmp_path: Path) -> None:
    begin_with(tmp_path, SWEEP)
    told = read_json(tmp_path / "out" / "sweep.json")
    for entry in told["entries"]:
        del entry["config"]["watch"]["every"], entry["config"]["checkpoints"]  # watch.every: 2, the default is 5
    write_json_atomically(tmp_path / "out" / "sweep.json", told)
    with pytest.raises(RunError, match=r"watch\.every was 5 and is now 2"):
        begin_with(tmp_path, SWEEP)
    for entry in told["entries"]:
        entry["config"]["watch"]["every"] = 2
        entry["config"]["checkpoints"] = {"every": 3}  # keep: 2 is the default
    write_json_atomically(tmp_path / "out" / "sweep.json", told)
    begin_with(tmp_path, SWEEP)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(RunError, match=r"holds no sweep\.json"):
        begin_with(tmp_path, SWEEP)


# --- over seeds ------------------------------------------------------------------------------------------------------


def point(seed: int, accuracy: float, tokens: float, **more: Any) -> Point:
    """A point of 10 problems whose shortest correct responses have 20 tokens on average."""
    figures = {"tag": "t1", "stage": "", "oracle_tokens": 20.0, "num_problems": 10, "num_samples": 4, "max_tokens": 99}
    return Point(**(figures | {"seed": seed, "accuracy": accuracy, "tokens": tokens} | more))


def row(label: str, *points: Point, kind: str = "trained") -> SweepRow:
    """A row of three wanted seeds."""
    return SweepRow(label, kind, points, (0, 1, 2))


def test_runs_that_begin_together_have_different_seeds() -> None:
    """Two at a time: seeds 0 and 1 in turns, then seed 2; one at a time: seed by seed."""
    runs = [Mock(seed=seed, entry=Mock(label=label)) for seed in (0, 1, 2) for label in ("a", "b")]
    order = {n: " ".join(f"{run.entry.label}{run.seed}" for run in in_turns(runs, n)) for n in (1, 2, 3)}
    assert order[1] == "a0 b0 a1 b1 a2 b2"
    assert order[2] == "a0 a1 b0 b1 a2 b2"
    assert order[3] == "a0 a1 a2 b0 b1 b2"


def test_a_mean_over_seeds_has_the_standard_error_of_its_seeds() -> None:
    """1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, sd sqrt(7), se sqrt(7/3) = 1.5275; t with 2 degrees of freedom 4.3027."""
    found = over_seeds([1.0, nan, 2.0, 6.0])
    assert (found.mean, found.num_seeds) == (3.0, 3)
    assert found.se == pytest.approx(1.527525, abs=1e-6)
    assert found.high - 3.0 == pytest.approx(3.0 - found.low) == pytest.approx(4.302653 * 1.527525, abs=1e-5)


def test_one_seed_has_a_mean_and_no_error() -> None:
    found = over_seeds([0.5])
    assert found.mean == 0.5 and isnan(found.se) and isnan(found.low)
    assert found.to_json() == {"mean": 0.5, "se": None, "ci95": [None, None], "num_seeds": 1}
    assert isnan(over_seeds([]).mean)


def test_distance_is_tokens_over_the_shortest_correct_response() -> None:
    assert row("a", point(0, 0.5, 30.0), point(1, 0.5, 50.0)).over_seeds("distance").mean == 2.0  # (1.5 + 2.5) / 2
    assert isnan(row("a", point(0, 0.5, 30.0, oracle_tokens=nan)).over_seeds("distance").mean)


def test_rows_are_compared_over_the_seeds_that_both_have() -> None:
    """Seed 1 is hard: whoever lacks it is not to profit from that."""
    whole = row("whole", point(0, 0.9, 40.0), point(1, 0.1, 80.0))
    part = row("part", point(0, 0.8, 50.0))
    assert part.over_seeds("accuracy").mean > whole.over_seeds("accuracy").mean
    assert dominates(whole, part) and not dominates(part, whole)
    assert not dominates(whole, row("elsewhere", point(2, 0.0, 99.0)))


def test_equal_rows_do_not_dominate_each_other_and_ties_in_one_do() -> None:
    one, same, longer = (row(n, point(0, 0.5, t)) for n, t in (("a", 40.0), ("b", 40.0), ("c", 41.0)))
    assert not dominates(one, same)
    assert dominates(one, longer) and not dominates(longer, one)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_one"),
    [
        ({}, {"grader": "mine.py:grade (0123abcd)"}, False),
        ({"of_points": "rules 12"}, {"of_points": "rules 13"}, False),
        ({"of_points": "rules 12"}, {}, True),  # an old summary does not say it
        ({"grader": "mine.py:grade"}, {"grader": "mine.py:grade"}, True),
    ],
)
def test_rows_of_different_graders_are_not_ranked(ours: Any, theirs: Any, is_one: bool) -> None:
    """Nor is a variant held against its recipe; the sentence above the table says so."""

    def made(label: str, accuracy: float, grader: str = "", of_points: str | None = None) -> SweepRow:
        found = row(label, point(0, accuracy, 50.0, grader=of_points))
        return replace(found, grader=grader, parent="plain" if label == "variant" else None)

    recipe, variant = made("plain", 0.5, **ours), made("variant", 0.9, **theirs)
    assert dominates(variant, recipe) == is_one
    field = Field("gsm8k", "t1", (recipe, variant))
    assert len(field.against_recipe) == is_one
    assert ("no row is ranked against one of another grader" in field_scope(field)) != is_one


def test_a_base_is_shared_by_recipes_of_one_grader() -> None:
    """The lenient grader calls 90% of the same model's responses right."""

    def config(grader: Any) -> Any:
        report = {"samples": 1, "max_tokens": 64, "temperatures": [1.0]}
        of_model = {"model": "m", "policy": {"dtype": "float32"}, "prompt": {}, "phases": []}
        return {**of_model, "report": report, "problems": {"report": "gsm8k"}, "grader": grader}

    graders = {"plain": {"workers": 2}, "again": {}, "lenient": {"name": "mine.py:grade", "sha256": "ab" * 32}}
    entries = [{"label": label, "prompt": None, "config": config(grader)} for label, grader in graders.items()]
    found = {}
    for label, (before, after) in {"plain": (0.5, 0.55), "again": (0.5, 0.5), "lenient": (0.9, 0.91)}.items():
        base = point(0, before, 100.0, stage="base")
        found[label, 0] = (base, point(0, after, 90.0, base=base))
    (field,) = _fields({"entries": entries}, (0,), found)
    rows = {one.label: one for one in field.rows}
    assert set(rows) == {"base of plain", "base of lenient", *graders}
    assert set(rows["base of plain"].dominated_by) == {"again", "plain"}
    assert rows["base of lenient"].dominated_by == ("lenient",) and rows["plain"].dominated_by == ()
    assert "mine.py:grade (abababab): lenient, base of lenient" in field_scope(field)


def test_what_the_guard_rolled_back_is_found_in_every_field_and_named_once() -> None:
    back = TrainingCost(rolled_back=("first to step 2 of 4",))
    a, b = row("a", point(0, 0.5, 50.0)), row("b", point(0, 0.5, 50.0, training=back))
    fields = (Field("gsm8k", "t1", (a,)), Field("math500", "t1", (b,)), Field("math500", "greedy", (b,)))
    assert rolled_back(Results(Path("x"), {}, fields, {})) == ["b, seed 0 (first to step 2 of 4)"]


def test_a_variant_is_paired_with_its_recipe_by_seed() -> None:
    """Tokens 40/50 - 1 = -20% and 60/100 - 1 = -40%: mean -30%, se 10; accuracy +10 and +30 points; seed 2 has no pair."""
    recipe = row("r", point(0, 0.5, 50.0), point(1, 0.4, 100.0))
    found = Against(row("v", point(1, 0.7, 60.0), point(0, 0.6, 40.0), point(2, 1.0, 1.0)), recipe)
    assert found.tokens_change.mean == pytest.approx(-0.3) and found.tokens_change.se == pytest.approx(0.1)
    assert found.accuracy_change.mean == pytest.approx(0.2) and found.accuracy_change.num_seeds == 2


# --- finished runs ---------------------------------------------------------------------------------------------------


def finish(folder: Path, figures: Sequence[tuple[str, float, float]], *, steps: Sequence[int] = ()) -> None:
    """A finished run's files: (name, accuracy, tokens) of each model, the base first; a phase of one step for each of `steps`."""
    for tag in ("t1", "greedy"):
        for name, accuracy, tokens in figures:
            summary = {"accuracy": {"mean": accuracy}, "tokens": {"mean": tokens}, "oracle_tokens": 20.0}
            problems = {
                f"p{i}": [("correct" if i < round(10 * accuracy) else "wrong", int(tokens))] * 4 for i in range(10)
            }
            Run(problems, summary | {"max_tokens": 12}).write(folder / "eval" / f"{name}-{tag}")
        base = figures[0]
        candidates = [
            {
                "path": f"elsewhere/{name}-{tag}",
                "tokens_change": {"estimate": tokens / base[2] - 1, "ci95": [-1.0, 1.0]},
                "accuracy_change": {"estimate": accuracy - base[1], "ci95": [-1.0, None]},
            }
            for name, accuracy, tokens in figures[1:]
        ]
        write_json_atomically(folder / f"comparison-{tag}.json", {"candidates": candidates})
    for step, size in enumerate(steps, start=1):
        append_jsonl(folder / "rollouts" / f"step-{step:06d}.jsonl", *[{}] * size)
        append_jsonl(
            folder / "metrics.jsonl", {"step": step, "rollouts/mean_tokens": 10.0 * step, "time/step_seconds": 0.5}
        )
        append_jsonl(folder / "phases" / f"{step}-p{step}" / "probe.jsonl", {"attempts": 3}, {"attempts": 4})
    if steps:
        reasons = {1: "guard: accuracy fell; rolled back to step 0"}
        phases = [
            {
                "name": f"p{n}",
                "first_step": n,
                "last_step": n,
                "result_step": n - (n in reasons),
                "reason": reasons.get(n, "cap: 1 step"),
            }
            for n in range(1, len(steps) + 1)
        ]
        (folder / "phases.json").write_text(json.dumps(phases))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A sweep of two seeds: the recipe at both, its variant at one, the prompt at both."""
    config, entries = load_sweep(write_sweep(tmp_path))
    out = tmp_path / "out"
    begin_sweep(out, config, runs_of(config, entries, out))
    for seed, shift in ((0, 0.0), (1, 0.2)):
        base = ("base", 0.5, 80.0)
        models = [base, ("phase-1", 0.7 + shift, 60.0), ("phase-2", 0.6 + shift, 40.0)]
        finish(out / "small" / f"seed-{seed}", models, steps=(8, 4))
        finish(out / "asked-for-5-tokens" / f"seed-{seed}", [base, ("prompted", 0.4, 72.0)])
    finish(out / "no-whitening" / "seed-0", [base, ("phase-1", 0.7, 60.0), ("phase-2", 0.3, 44.0)], steps=(8, 4))
    return out


def test_finished_runs_become_rows_over_seeds(finished: Path) -> None:
    results = ResultsReader(finished).read()
    assert [field.tag for field in results.fields] == ["t1", "greedy"]
    rows = {row.label: row for row in results.fields[0].rows}
    assert list(rows) == [
        "small",
        "No whitening!",
        "small · phase-1",
        "No whitening! · phase-1",
        "asked for 5 tokens",
        "base",
    ]
    small = rows["small"]
    assert small.seeds == (0, 1) and rows["No whitening!"].seeds == (0,)
    assert small.over_seeds("accuracy").mean == pytest.approx(0.7)  # 0.6 and 0.8
    assert small.over_seeds("accuracy_change").mean == pytest.approx(0.2)  # +0.1 and +0.3
    assert small.over_seeds("accuracy_change").se == pytest.approx(0.1)
    assert small.over_seeds("tokens_change").mean == pytest.approx(-0.5)  # 40 / 80 - 1
    assert rows["base"].seeds == (0, 1)
    assert results.unfinished == {"No whitening!": (1,)}


@pytest.mark.parametrize(("report_cap", "bases"), [(12, ["base"]), (None, ["base of No whitening!", "base of small"])])
def test_entries_share_a_base_that_was_measured_alike(finished: Path, report_cap: int | None, bases: list[str]) -> None:
    """The variant trains under another cap: its base is the others' where the report names a cap, and its own where not."""
    told = json.loads((finished / "sweep.json").read_text())
    for entry in told["entries"]:
        entry["config"]["report"]["max_tokens"] = report_cap
        for phase in entry["config"]["phases"]:
            phase["sampler"]["max_tokens"] = 6 if entry["label"] == "No whitening!" else 12
    (finished / "sweep.json").write_text(json.dumps(told))
    rows = ResultsReader(finished).read().fields[0].rows
    assert sorted(row.label for row in rows if row.kind == "base") == bases


def test_training_is_counted_up_to_the_end_of_each_phase(finished: Path) -> None:
    """Steps of 8 rollouts of 10 tokens and 4 of 20; 3 + 4 probed responses before each phase."""
    rows = {row.label: row.points[0].training for row in ResultsReader(finished).read().fields[0].rows}
    stage, result, prompt = rows["small · phase-1"], rows["small"], rows["asked for 5 tokens"]
    assert (stage.num_rollouts, stage.num_probed, stage.num_tokens, stage.seconds) == (8, 7, 80, 0.5)
    assert (result.num_rollouts, result.num_probed, result.num_tokens, result.seconds) == (12, 14, 160, 1.0)
    assert prompt.num_rollouts == 0


def test_stages_dominate_nobody_and_results_do(finished: Path) -> None:
    """Phase 1 at seeds 0 and 1 has 0.8 at 60 tokens, which beats base and prompt; so does the result with 0.7 at 40."""
    rows = {row.label: row for row in ResultsReader(finished).read().fields[0].rows}
    assert rows["base"].dominated_by == ("small",)
    assert rows["asked for 5 tokens"].dominated_by == ("small",)
    assert rows["No whitening!"].dominated_by == ("small",)
    assert rows["small"].dominated_by == () and rows["small · phase-1"].dominated_by == ()


def test_an_older_entry_called_base_is_not_taken_for_the_base(finished: Path) -> None:
    """The entry at 40 tokens dominates; its base at 80 does not."""
    told = read_json(finished / "sweep.json")
    told["entries"][0]["label"] = "base"
    write_json_atomically(finished / "sweep.json", told)
    rows = {(row.label, row.kind): row for row in ResultsReader(finished).read().fields[0].rows}
    assert rows["base", "trained"].dominated_by == ()
    assert rows["base", "base"].dominated_by == rows["asked for 5 tokens", "prompt"].dominated_by == ("base",)


def test_responses_that_could_not_be_graded_were_drawn_all_the_same(tmp_path: Path) -> None:
    """5 + 2 by grade; 3 attempts where an older file counts no grades."""
    counts = {"correct": 1, "wrong": 4, "ungradable": 2}
    append_jsonl(tmp_path / "probe.jsonl", {"attempts": 5, "counts": counts}, {"attempts": 3})
    assert _num_probed(tmp_path / "probe.jsonl") == 10


def test_a_row_that_could_not_be_graded_has_no_place_and_no_dot() -> None:
    """At the seed that both were graded at, `part` is better; at the other nothing can be said."""
    part = row("part", point(0, 0.6, 40.0), point(1, nan, 99.0))
    whole, none = row("whole", point(0, 0.5, 50.0), point(1, 0.5, 50.0)), row("none", point(0, nan, 20.0))
    assert dominates(part, whole) and not dominates(whole, part)
    assert not any(dominates(none, other) or dominates(other, none) for other in (part, whole))
    assert place(none) == "no response could be graded" and not none.is_result
    drawn = draw_fields([Field("s", "t1", (part, whole, none))], ["all"], 900)
    assert "nan" not in drawn and "none, mean" not in drawn and "whole, mean of 2 seeds: 50.0% at 50.0 tokens" in drawn
    assert "alone: no response could be graded" in draw_fields([Field("s", "t1", (none,))], ["alone"], 900)


def test_what_was_read_once_is_not_read_again(finished: Path) -> None:
    reader = ResultsReader(finished)
    first = reader.read()
    for file in finished.glob("*/seed-*/eval/*/summary.json"):
        file.unlink()
    assert reader.read() == first


def test_table_and_page_say_the_same(finished: Path) -> None:
    write_results(finished, ResultsReader(finished).read())
    table = (finished / "table.md").read_text()
    assert "| small | 2 | 12 + 14 | 70.0% ± 10.0 | 40.0 ± 0.0 | -50.0% ± 0.0 | +20.0 ± 10.0 [" in table
    assert "| No whitening! | 1 of 2 | 12 + 14 | 30.0% | 44.0 | -45.0% | -20.0 | 2.20 | dominated by small |" in table
    assert "| No whitening! | small | +10.0% | -30.0 |" in table  # 44 / 40 - 1, 0.3 - 0.6
    assert "Not finished, with the seeds that lack: No whitening! (1)." in table
    back = "small, seed 0 (p1 to step 0 of 1); small, seed 1 (p1 to step 0 of 1); No whitening!, seed 0 (p1 to step 0 of 1)"
    assert back in table
    page = (finished / "report.html").read_text()
    for told in (
        "70.0%",
        back,
        "−50.0%",
        "+20.0 pt",
        "1 of 2",
        f"laconic train {finished.parent}/small.toml seed=1 threads=1",
    ):
        assert told in page
    results = read_json(finished / "results.json")
    rows = {row["label"]: row for row in results["fields"][0]["rows"]}
    assert rows["base"]["dominated_by"] == ["small"]
    assert rows["small"]["runs"][0]["accuracy_change"] == {"estimate": pytest.approx(0.1), "ci95": [-1.0, None]}
    assert results["fields"][0]["against_recipe"][0]["variant"] == "No whitening!"


def test_the_page_has_no_script_and_escapes_what_it_is_given(finished: Path) -> None:
    results = ResultsReader(finished).read()
    nasty = "<script>alert(1)</script>"
    fields = tuple(
        replace(f, rows=tuple(replace(r, label=nasty) if r.label == "small" else r for r in f.rows))
        for f in results.fields
    )
    write_results(finished, replace(results, fields=fields))
    page = (finished / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "http" not in page.replace("http-equiv", "")


def test_the_picture_stands_alone(finished: Path) -> None:
    write_results(finished, ResultsReader(finished).read())
    text = (finished / "frontier.svg").read_text()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in text
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "small, mean of 2 seeds: 70.0% at 40.0 tokens" in titles
    assert "base, mean of 2 seeds: 50.0% at 80.0 tokens; dominated by small" in titles


def test_a_sweep_that_has_just_begun_has_a_table_and_a_page(tmp_path: Path) -> None:
    config, entries = load_sweep(write_sweep(tmp_path))
    write_json_atomically(tmp_path / "sweep.json", sweep_content(config, runs_of(config, entries, tmp_path)))
    results = ResultsReader(tmp_path).read()
    write_results(tmp_path, results)
    assert results.fields == () and "small (0, 1)" in markdown(results)
    assert "Not finished" in (tmp_path / "report.html").read_text()


def overlap(a: Named, b: Named) -> bool:
    """Whether two names cover each other."""
    return a.box[0] < b.box[2] and b.box[0] < a.box[2] and a.box[1] < b.box[3] and b.box[1] < a.box[3]


def test_names_cover_no_dot_and_no_other_name() -> None:
    rng = random.Random(0)
    dots = [(rng.uniform(50, 850), rng.uniform(20, 400)) for _ in range(40)]
    names = [[f"a method of the field {i}", str(i)] for i in range(40)]
    found = place_names(names, dots, dots, (0.0, 0.0, 900.0, 420.0))
    assert len(found) == 40
    assert not any(overlap(a, b) for i, a in enumerate(found) for b in found[:i])
    for named in found:
        left, top, right, bottom = named.box
        assert left >= 0 and right <= 900 and top >= 0 and bottom <= 420
        assert not any(left < x < right and top < y < bottom for x, y in dots)


def test_a_name_without_room_becomes_its_number_or_nothing() -> None:
    assert place_names([["long name", "7"]], [(10.0, 10.0)], [(10.0, 10.0)], (0.0, 0.0, 40.0, 20.0))[0].text == "7"
    assert place_names([["long name", "7"]], [(10.0, 10.0)], [(10.0, 10.0)], (0.0, 0.0, 12.0, 20.0)) == []


def test_intervals_that_do_not_exist_are_null(finished: Path) -> None:
    read = ResultsReader(finished).read().fields[0].rows[0].points[0]
    assert read.changes is not None and isinstance(read.changes["accuracy_change"], Interval)
    assert isnan(read.changes["accuracy_change"].high) and read.changes["tokens_change"].high < inf


# --- running ---------------------------------------------------------------------------------------------------------


FORKING_SWEEP = """
import sys
sys.path.append(sys.argv[1])
from pathlib import Path
from forked import Forked
from laconic.sweep import children
from laconic.sweep.run import run_sweep
from laconic.training import measure_run, run
children.subprocess.Popen = Forked
run_sweep(*map(Path, sys.argv[2:]))
"""
"""A sweep whose runs are forks of a process that has loaded what they load."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A real sweep with a broken entry: ended by SIGTERM once a run is finished and another at work, then taken up again."""
    folder = tmp_path_factory.mktemp("sweep")
    save_small_model(folder / "model")
    path, out = write_sweep(folder, SWEEP.replace(VARIANT, "") + BROKEN), folder / "out"
    script = [sys.executable, "-c", FORKING_SWEEP, str(TESTS), str(path), str(out)]
    first = subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, runs = read_sweep(path, out)
    end = time.monotonic() + 120
    while not any(run.is_finished for run in runs) and time.monotonic() < end and first.poll() is None:
        time.sleep(0.02)
    while not any((run.folder / "config.json").exists() and not run.is_finished for run in runs):
        assert time.monotonic() < end and first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    first.wait(30)
    check_idle(runs)  # what it started has ended with it
    before = {"finished": {run.name for run in runs if run.is_finished}}
    before["begun"] = {run.name for run in runs if (run.folder / "config.json").exists()} - before["finished"]
    yield {"path": path, "out": out, "runs": runs, "code": first.returncode, **before, **resume(path, out)}


def resume(path: Path, out: Path) -> dict[str, Any]:
    """Run the sweep again here; its complaint, and the command of every process it started by its folder. What is broken ends
    before it trains, so a fork does."""
    commands: dict[str, list[str]] = {}
    start = subprocess.Popen

    def note(command: list[str], **options: Any) -> Any:
        folder = command[command.index("--out") + 1]
        commands[folder] = command
        return (Forked if "broken" in folder else start)(command, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children.subprocess, "Popen", note)
        with pytest.raises(RunFailed) as failed:
            run_sweep(path, out, reporter=Reporter(is_silent=True))
    return {"commands": commands, "complaint": str(failed.value)}


def test_a_killed_sweep_goes_on_and_starts_no_finished_run_again(swept: dict[str, Any]) -> None:
    assert swept["code"] != 0 and swept["finished"] and swept["begun"]
    for run in swept["runs"]:
        started = swept["commands"].get(str(run.folder))
        trains = run.entry.prompt is None and run.name not in swept["finished"]
        assert (started is not None) == trains, run.name
        if started:
            assert ("--resume" in started) == (run.name in swept["begun"])
    assert all(run.is_finished == (run.entry.label != "broken") for run in swept["runs"])


def test_runs_that_fail_are_named_with_what_they_said_and_stop_no_other(swept: dict[str, Any]) -> None:
    assert swept["complaint"].startswith("2 of 6 runs failed: broken, seed ")
    assert "/no/such/model" in swept["complaint"] and "\n" not in swept["complaint"]
    table = (swept["out"] / "table.md").read_text()
    assert "| small | 2 |" in table and "| asked for 5 tokens | 2 |" in table
    assert "broken (0, 1)" in table


def test_runs_share_draws_within_their_sweep_or_where_they_are_told(tmp_path: Path) -> None:
    _, out, runs = read_sweep(write_sweep(tmp_path), tmp_path / "out")
    told = [children.arguments(run) for run in (runs[0], replace(runs[0], shared=tmp_path / "common"))]
    places = [arguments[arguments.index("--draws") + 1] for arguments in told]
    assert places == [str(out / ".draws"), str(tmp_path / "common")]


def test_a_prompt_is_compared_with_the_very_base_of_the_trained_runs(swept: dict[str, Any]) -> None:
    """The clock too, since it is copied and not measured again: but for a run that was ended before it had left a copy."""
    whole = [run.seed for run in swept["runs"] if run.entry.label == "small" and run.name in swept["finished"]]
    assert whole, "the first run to finish trains"
    for seed in (0, 1):
        trained, asked = (swept["out"] / entry / f"seed-{seed}" for entry in ("small", "asked-for-5-tokens"))
        for name in ("base-t1", "base-greedy"):
            for file in ("samples.jsonl", "summary.json", *(["timing.json"] if seed in whole else [])):
                assert (asked / "eval" / name / file).read_bytes() == (trained / "eval" / name / file).read_bytes()
    settings = {name: read_json(asked / "eval" / f"{name}-t1" / "settings.json") for name in ("base", "prompted")}
    differing = {key for key in settings["base"] if settings["base"][key] != settings["prompted"][key]}
    assert differing == {"prompt", "prompt_digest"}


def test_rollouts_of_a_real_run_are_those_of_its_recipe(swept: dict[str, Any]) -> None:
    """Two steps and one step of 3 problems x 4 responses; 8 problems probed twice before the first phase."""
    rows = {row.label: row for row in ResultsReader(swept["out"]).read().fields[0].rows}
    assert rows["small · phase-1"].points[0].training.num_rollouts == 2 * 3 * 4
    assert rows["small"].points[0].training.num_rollouts == 3 * 3 * 4
    assert rows["small"].points[0].training.num_probed == 8 * 2


def test_a_run_that_another_process_works_on_is_left_alone(tmp_path: Path) -> None:
    _, _, runs = read_sweep(write_sweep(tmp_path), tmp_path / "out")
    log = runs[0].log
    log.parent.mkdir(parents=True)
    with log.open("ab") as file:
        assert children.lock(file)
        holder = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=file)
    try:
        with pytest.raises(RunError, match="another process is at work on it"):
            run_sweep(tmp_path / "sweep.toml", tmp_path / "out")
    finally:
        holder.communicate(b"\n")
    check_idle(runs)


# --- the sweeps of benchmarks/ ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frontier", "confirm", "rewards"])
def test_the_sweeps_behind_the_docs_are_sound(name: str, tmp_path: Path) -> None:
    """Every run's recipe is one that training would begin with; three seeds, at most 17,408 rollouts and a cold start of 768."""
    config, entries = load_sweep(Path(__file__).parents[2] / "benchmarks" / f"{name}.toml")
    runs = runs_of(config, entries, tmp_path)
    assert len(config.seeds) == 3
    for run in runs:
        check_recipe(run.recipe)
        assert run.entry.prompt is not None or max_rollouts(run) <= 17_408 + 768, run.name
