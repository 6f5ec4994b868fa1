"""The frontier on the seeker: its file can be run, rates are chosen on watched problems, and a small version goes through all."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import collapse
import pytest
import seeker_frontier
from deciding.frontier_page import difficulty, frontier, heads, lossless, pairs, rates, rollbacks, spread
from forked import Forked

from laconic.config.phase import PhaseConfig
from laconic.sweep import children
from laconic.sweep import run as sweep_run
from laconic.sweep.config import load_sweep
from laconic.sweep.run import read_sweep, warnings_of

SMALL = """
name = "small"
seeds = [71, 72]
parallel = 2
overrides = [
    "threads=1",
    "model=seeker",
    "problems.train=seeker:mix?count=4&split=train",
    "problems.watch=seeker:mix?count=2&split=watch",
    "problems.report=seeker:mix?count=4&split=report",
    "report.max_tokens=16",
    "report.samples=1",
    "phases.accuracy.steps=1",
    "phases.accuracy.problems_per_step=2",
    "phases.accuracy.group_size=2",
    "phases.accuracy.sampler.max_tokens=16",
]

[[variants]]
label = "accuracy_only"
recipe = "accuracy_only"

[[prompts]]
label = "asked"
prompt = "be_concise"
recipe = "accuracy_only"
"""


# --- the file --------------------------------------------------------------------------------------------------------


def drawn_by(phase: PhaseConfig, num_problems: int) -> int:
    """The rollouts of a phase: those of its steps, or one group of each of its problems where they are drawn before."""
    if phase.rollouts == "offline":
        return (phase.select.count or num_problems) * phase.group_size
    return phase.steps * phase.problems_per_step * phase.group_size


def test_every_entry_can_be_run_as_it_stands_and_takes_as_many_rollouts() -> None:
    """DAPO has fewer steps, since a step of it draws more; the traces that T1 starts on are no rollouts."""
    _, _, runs = read_sweep(seeker_frontier.SWEEP, Path("never-made"))
    assert not [said for said in warnings_of(runs) if "the phase is over" in said]
    counted = {}
    for run in (run for run in runs if run.entry.prompt is None):
        count = int(run.recipe.problems.train.partition("count=")[2].partition("&")[0])
        phases = [phase for phase in run.recipe.phases if phase.name != "cold_start"]
        counted[run.entry.label] = sum(drawn_by(phase, count) for phase in phases)
    assert {label for label, count in counted.items() if count != 4352} == {"DAPO"}
    assert {run.recipe.model for run in runs} == {"seeker"}
    addresses = [address for run in runs for address in run.recipe.problems.model_dump().values()]
    assert not [address for address in addresses if "tiny" in str(address)]


def test_rates_are_multiplied_in_every_phase_and_the_teacher_is_the_one_that_is_named(tmp_path: Path) -> None:
    _, entries = load_sweep(seeker_frontier.SWEEP)
    named = {entry.label: entry for entry in entries}
    at = seeker_frontier.at_rate
    rates_of = [o for o in at(named["two_phase"], "2", tmp_path) if "lr=" in o]
    assert rates_of == ["phases.accuracy.optimizer.lr=0.0004", "phases.brevity.optimizer.lr=0.00024"]
    with_critic = [o for o in at(named["cosine"], "0.5", tmp_path) if "lr=" in o]
    assert with_critic == ["phases.accuracy.optimizer.lr=0.0001", "phases.accuracy.optimizer.critic_lr=0.0005"]
    (teacher,) = [o for o in at(named["distill"], "0.5", tmp_path) if o.startswith(seeker_frontier.TEACHER)]
    assert teacher == f"{seeker_frontier.TEACHER}={tmp_path}"


# --- the tables ------------------------------------------------------------------------------------------------------


def made_up(area: float, tokens: float, accuracy: float, cuts: tuple[float, float]) -> dict[str, Any]:
    """A run that cut the easiest and the hardest level so much; the start model took 100 tokens and was right in 50%."""
    side = {"tokens": tokens, "cut": 100.0 - tokens, "accuracy": accuracy, "gain": accuracy - 50.0}
    levels = {level: {"problems": 10, "cut": cut, "gain": 0.0} for level, cut in zip(("1", "5"), cuts, strict=True)}
    bounds = {
        "oracle_tokens": 20.0,
        "blind_tokens": 50.0,
        "base_area": 30.0,
        "base_greedy_area": 35.0,
        "asked": "usual",
    }
    areas = {"area": area, "greedy_area": area + 5.0}
    return {"t1": side, "greedy": side, **areas, "ease": 0.1, "levels": levels, "rolled_back": []} | bounds


RESULTS = {
    "slow": {"71": made_up(40.0, 80.0, 60.0, (20.0, 20.0)), "72": made_up(42.0, 80.0, 60.0, (20.0, 20.0))},
    "fast": {"71": made_up(60.0, 40.0, 70.0, (70.0, 30.0)), "72": made_up(61.0, 40.0, 70.0, (70.0, 30.0))},
}


def test_the_tables_say_what_the_figures_are() -> None:
    """40 tokens are twice the shortest response of 20, and 0.8 of a blind search of 50."""
    header, _, first, second, base = frontier(RESULTS)
    assert header.count("|") == first.count("|") == base.count("|")
    assert (
        first
        == "| fast | 2 | 60.5 ± 0.5 | 70.0 ± 0.0 | 40.0 ± 0.0 | 65.5 ± 0.5 | 70.0 ± 0.0 | 40.0 ± 0.0 | 2.00 | 0.80 | on it |"
    )
    assert second.endswith("| 4.00 | 1.60 | fast |")
    assert base == (
        "| *the start model* | 2 | 30.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 | 35.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 | 5.00 "
        "| 2.00 | |"
    )
    assert list(heads(RESULTS, "greedy_area")) == [
        "- fast: 65.5 ± 0.5",
        "- slow: 46.0 ± 1.0",
        "- *the start model*: 35.0 ± 0.0",
    ]
    assert list(difficulty(RESULTS))[2].startswith("| fast | 70.0 ± 0.0 | 30.0 ± 0.0 | 40.0 ± 0.0 |")


def test_what_loses_accuracy_in_one_decoding_is_not_shorter_at_no_loss() -> None:
    """Two points lost are none; nobody is beaten by an entry that is worse in one figure."""
    none = (0.0, 0.0)
    sides = {
        "short": (made_up(50.0, 60.0, 48.0, none), made_up(50.0, 60.0, 50.0, none)),
        "right": (made_up(50.0, 90.0, 55.0, none), made_up(50.0, 60.0, 60.0, none)),
        "worse": (made_up(50.0, 61.0, 48.0, none), made_up(50.0, 60.0, 50.0, none)),
        "loses": (made_up(50.0, 20.0, 60.0, none), made_up(50.0, 20.0, 47.0, none)),
    }
    runs = {label: {"71": sampled | {"greedy": greedy["greedy"]}} for label, (sampled, greedy) in sides.items()}
    assert list(lossless(runs))[2:] == [
        "| short | 40.0 | -2.0 | 40.0 | 0.0 | – |",
        "| worse | 39.0 | -2.0 | 40.0 | 0.0 | short |",
        "| right | 10.0 | 5.0 | 40.0 | 10.0 | – |",
    ]
    assert list(rates({"it": {"0.5": 1.0, "1": 3.0, "2": 2.0}}))[2] == "| it | 1.0 | **3.0** | 2.0 |  |"
    assert list(rates({"it": {"0.5": 1.0, "1": 3.0, "2": 4.0}}))[2] == "| it | 1.0 | 3.0 | **4.0** | yes |"


def test_entries_are_compared_on_the_seeds_that_both_have() -> None:
    """Seed 72 is hard: at 71, which both have, `whole` is the better one; `apart` shares no seed with anyone."""
    hard = made_up(40.0, 99.0, 50.0, (0.0, 0.0))
    runs = {
        "whole": {"71": made_up(60.0, 40.0, 70.0, (0.0, 0.0)), "72": hard},
        "part": {"71": made_up(55.0, 45.0, 65.0, (0.0, 0.0))},
        "apart": {"73": made_up(10.0, 99.0, 1.0, (0.0, 0.0))},
    }
    last = {row.split(" | ")[0].strip("| "): row.split(" | ")[-1] for row in frontier(runs)}
    assert last["part"] == "whole |" and last["whole"] == last["apart"] == "on it |"
    assert [row.split(" | ")[0] for row in list(pairs(runs))[2:]] == ["| part"]


def test_two_are_apart_beyond_three_standard_errors_of_their_paired_difference() -> None:
    """20 and 19 points apart: 19.5 with a standard error of 0.5, which is 39 of them; with one degree of freedom (Cauchy) that
    has p = 1 - 2 atan(39) / pi = 0.016."""
    assert list(pairs(RESULTS))[2:] == ["| fast | slow | 19.5 ± 0.5 | 39.0 **apart** | 0.016 |"]
    near = {"a": {"71": made_up(50.0, 1, 1, (0, 0)), "72": made_up(53.0, 1, 1, (0, 0))}}
    near["b"] = {"71": made_up(50.0, 1, 1, (0, 0)), "72": made_up(51.0, 1, 1, (0, 0))}
    assert "apart" not in list(pairs(near))[2]


def test_the_least_difference_is_tukeys_over_all_pairs() -> None:
    """Three entries at two seeds; by hand: residuals of 0.5 (four) and 0 (two) squared sum to 1, over 2 degrees of freedom
    0.5, and q(0.95; 3, 2) = 8.33. A row with a seed too few, and one that was taken back, are left out."""
    areas = {"a": (60.0, 61.0), "b": (50.0, 52.0), "c": (40.0, 43.0)}
    results: dict[str, Any] = {
        label: {str(71 + i): made_up(area, 100.0, 80.0, (10.0, 10.0)) for i, area in enumerate(found)}
        for label, found in areas.items()
    }
    results["short"] = {"71": made_up(99.0, 100.0, 80.0, (10.0, 10.0))}
    taken = made_up(1.0, 100.0, 80.0, (10.0, 10.0)) | {"rolled_back": ["x"]}
    results["taken back"] = {"71": taken, "72": made_up(99.0, 100.0, 80.0, (10.0, 10.0))}
    (line,) = spread(results, "area", "sampled areas")
    assert line.startswith("Of the 3 entries that have all 2 seeds") and "2 degrees of freedom" in line
    assert "more than **4.2 points** apart" in line  # 8.33 * sqrt(0.5 / 2)
    assert next(iter(spread({"a": results["short"]}, "area", "areas"))).startswith("Two seeds or more")


def test_a_base_under_another_prompt_has_a_row_of_its_own() -> None:
    """As `l1` asks it, the start model is another; two entries of three share the usual one."""
    asked = {seed: {**run, "base_area": 44.0, "asked": "otherwise"} for seed, run in RESULTS["fast"].items()}
    rows = [row for row in frontier({**RESULTS, "l1": asked}) if "start model" in row]
    assert [row.split(" | ")[0] for row in rows] == ["| *the start model*", "| *the start model, asked as l1*"]
    assert " | 30.0 ± 0.0 | " in rows[0] and " | 44.0 ± 0.0 | " in rows[1]


def test_runs_that_the_guard_took_back_are_named() -> None:
    taken = {"71": {**RESULTS["fast"]["71"], "rolled_back": ["accuracy to step 0 of 17"]}}
    assert list(rollbacks({"fast": taken})) == ["- fast, seed 71: accuracy to step 0 of 17"]
    assert list(rollbacks(RESULTS)) == ["None was."]


# --- through it all --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """One entry and one prompt, three rates, one seed of two: forks of this process train."""
    folder = tmp_path_factory.mktemp("seeker")
    (folder / "small.toml").write_text(SMALL)
    options = ["--sweep", str(folder / "small.toml"), "--out", str(folder / "out"), "--results", str(folder)]
    options += ["--docs", str(folder / "page.md"), "--parallel", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children.subprocess, "Popen", Forked)
        patch.setattr(sys, "stderr", (folder / "said").open("w"))
        patch.setattr(
            seeker_frontier,
            "TUNING_PROBLEMS",
            (
                "problems.report=seeker:mix?count=4&split=watch",
                "problems.watch=seeker:mix?count=2&split=watch&seed=7",
            ),
        )
        seeker_frontier.main([*options, "--seeds", "71"])
        yield folder, options


def test_the_rate_is_chosen_on_watched_problems_and_the_runs_have_it(small: tuple[Path, list[str]]) -> None:
    folder, _ = small
    tuned = json.loads((folder / "tuned.json").read_text())
    assert tuned.keys() == {"accuracy_only"} and set(tuned["accuracy_only"]["areas"]) == set(seeker_frontier.FACTORS)
    held = json.loads((folder / "out" / "final-71" / "accuracy_only" / "seed-71" / "config.json").read_text())
    factor = float(seeker_frontier.chosen(tuned)["accuracy_only"])
    assert held["phases"][0]["optimizer"]["lr"] == pytest.approx(2e-4 * factor)
    watched = json.loads((folder / "out" / "tune-1" / "accuracy_only" / "seed-90" / "config.json").read_text())
    assert "split=watch" in watched["problems"]["report"]


def test_every_finished_run_is_kept_and_shown(small: tuple[Path, list[str]]) -> None:
    folder, _ = small
    results = json.loads((folder / "results.json").read_text())
    assert {label: list(found["runs"]) for label, found in results.items()} == {
        "accuracy_only": ["71"],
        "asked": ["71"],
    }
    figures = results["accuracy_only"]["runs"]["71"]
    assert sum(level["problems"] for level in figures["levels"].values()) == 4
    assert figures["blind_tokens"] > figures["oracle_tokens"] > 0
    assert "| accuracy_only | 1 |" in (folder / "page.md").read_text()


def test_what_is_finished_is_not_run_again_and_earlier_seeds_stay(small: tuple[Path, list[str]]) -> None:
    """Seed 70 was measured on a machine that is gone; of an entry that has changed since, what was measured is dropped, if that
    is what was asked for."""
    folder, options = small
    before = {file: file.stat().st_mtime_ns for file in (folder / "out").rglob("comparison-t1.json")}
    kept = json.loads((folder / "results.json").read_text())
    for found in kept.values():
        found["runs"]["70"] = found["runs"]["71"]
    kept["asked"]["entry"] = "another"
    (folder / "results.json").write_text(json.dumps(kept))
    with pytest.raises(SystemExit, match="with another recipe or rate: asked"):
        seeker_frontier.main([*options, "--seeds", "71"])
    assert json.loads((folder / "results.json").read_text()) == kept
    seeker_frontier.main([*options, "--seeds", "71", "--anew"])
    assert {file: file.stat().st_mtime_ns for file in (folder / "out").rglob("comparison-t1.json")} == before
    results = json.loads((folder / "results.json").read_text())
    assert {label: list(found["runs"]) for label, found in results.items()} == {
        "accuracy_only": ["71", "70"],
        "asked": ["71"],
    }
    assert "| accuracy_only | 2 |" in (folder / "page.md").read_text()


def test_a_machine_that_goes_away_takes_only_the_runs_that_it_was_at(
    small: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Killed after the first run of a seed: its figures are kept, and a machine with nothing else runs only the other."""
    folder, options = small
    options = [*options[:2], "--out", str(tmp_path / "out"), *options[4:], "--results", str(tmp_path)]
    (tmp_path / "tuned.json").write_bytes((folder / "tuned.json").read_bytes())
    kept_before = json.loads((folder / "results.json").read_text())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children.subprocess, "Popen", Forked)
        with pytest.MonkeyPatch.context() as inner, pytest.raises(KeyboardInterrupt):
            inner.setattr(sweep_run._Sweep, "ask", killed)
            seeker_frontier.main([*options, "--seeds", "71"])
        results = json.loads((tmp_path / "results.json").read_text())
        assert {label: list(found["runs"]) for label, found in results.items()} == {
            "accuracy_only": ["71"],
            "asked": [],
        }
        assert results["accuracy_only"]["runs"]["71"] == kept_before["accuracy_only"]["runs"]["71"]
        shutil.rmtree(tmp_path / "out")
        seeker_frontier.main([*options, "--seeds", "71"])
    assert not (tmp_path / "out" / "final-71" / "accuracy_only").exists()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["asked"]["runs"]["71"] == kept_before["asked"]["runs"]["71"]


def test_a_teacher_that_was_kept_elsewhere_is_trained_again_for_its_pupil(tmp_path: Path) -> None:
    """Of a seed only `distill` is missing; its teacher's model went with the machine that had it."""
    _, entries = load_sweep(seeker_frontier.SWEEP)
    factors = {entry.label: "1" for entry in entries}
    kept = {
        entry.label: {
            "entry": seeker_frontier.rated_digest(entry, factors),
            "runs": {} if entry.label == "distill" else {"71": {}},
        }
        for entry in entries
    }
    (tmp_path / "results.json").write_text(json.dumps(kept))
    asked: list[set[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeker_frontier, "run_missing", lambda *given: asked.append(given[3]))
        seeker_frontier.measure(seeker_frontier.SWEEP, tmp_path, tmp_path / "results.json", factors, [71], 1)
    assert asked == [{"distill", "two_phase"}]


def test_figures_of_a_changed_recipe_are_not_thrown_away_in_silence(tmp_path: Path) -> None:
    """Only where they are to be measured again; an entry that is gone is no change."""
    stored = {"a": {"entry": "1"}, "b": {"entry": "2"}, "gone": {"entry": "3"}}
    digests = {"a": "1", "b": "another", "new": "4"}
    with pytest.raises(SystemExit, match=r"measured with another recipe or rate: b; --anew measures them again"):
        seeker_frontier.unchanged(stored, digests, tmp_path / "tuned.json", anew=False)
    assert seeker_frontier.unchanged(stored, digests, tmp_path / "tuned.json", anew=True) == {"a": {"entry": "1"}}


def test_an_entry_that_was_not_tuned_at_every_rate_is_named(small: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A factor whose run failed: nothing is chosen from the others."""
    folder, _ = small
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit, match="not tuned at every rate: accuracy_only"),
    ):
        patch.setattr(seeker_frontier, "run_missing", lambda *_: None)
        seeker_frontier.tune(folder / "small.toml", tmp_path, tmp_path / "tuned.json", 2)


def test_alarms_of_a_sweep_stand_beside_what_became_of_its_problems(small: tuple[Path, list[str]]) -> None:
    """`benchmarks/collapse.py frontier`: one row for each trained run, none for the prompt."""
    page = collapse.frontier_page(small[0] / "out" / "final-71")
    (row,) = [line for line in page.splitlines() if line.startswith("| accuracy_only")]
    assert row.startswith("| accuracy_only | 71 | 1 | ") and row.count("|") == 9
    assert "Runs: 1; phases with an alarm: " in page and "| asked |" not in page
