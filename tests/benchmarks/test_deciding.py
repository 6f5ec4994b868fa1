"""The claims of the papers: every sweep file can be run, every falsifier decides all three ways, and one claim goes through it
all."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import nan
from pathlib import Path
from unittest.mock import Mock

import claims
import pytest
from deciding.claim import Claim, Trained
from deciding.fatemi import greedy_gap_growth, lengths_within, trend, uniform_groups, unrepeated_growth
from deciding.o1_pruner import quartiles
from deciding.page import _hinge, counts, read_results, write_page
from deciding.records import decision_on, of_arms, with_stored
from deciding.start_models import address_of, models_of, setup_of, sweep_for
from deciding.t1 import BUDGETS, FLAT, SHIFT, STEEPER, at_equal_kl, truncation_curves
from deciding.table import CLAIMS, ORDER
from folders import Run
from forked import Forked

from laconic.config.load import dump, load_recipe
from laconic.errors import InputError
from laconic.statistics.intervals import Interval
from laconic.statistics.verdicts import ClaimVerdict, Condition, Falsifier, Figure, verdict_on
from laconic.sweep import children
from laconic.sweep.arms import SweepArm
from laconic.sweep.config import SweepConfig, SweepRun, load_sweep
from laconic.sweep.run import read_sweep, warnings_of
from laconic.system.files import write_json_atomically

ROOT = Path(__file__).parents[2]
HOME = ROOT / "benchmarks" / "claims"
SWEEPS = sorted(file.stem for file in HOME.glob("[A-Z]*.toml"))
TRAINED = [claim for claim in CLAIMS.values() if isinstance(claim.source, Trained)]


@cache
def sweep(name: str) -> tuple[SweepConfig, Path, list[SweepRun]]:
    """A sweep file, read once: every recipe is loaded at every seed."""
    return read_sweep(HOME / f"{name}.toml", Path("never-made"))


# --- the sweep files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_file_can_be_run_as_it_stands(name: str) -> None:
    """Its recipes load at every seed with every change, and each can be trained: what `laconic sweep --dry-run` checks."""
    config, _, runs = sweep(name)
    warnings_of(runs)
    assert config.name == name
    assert len(config.seeds) == 5
    assert len({run.recipe.report.temperatures for run in runs}) == 1


def test_every_sweep_file_decides_a_claim() -> None:
    sources = [claim.source for claim in CLAIMS.values()]
    assert {source.sweep for source in sources if isinstance(source, Trained)} == set(SWEEPS)


@pytest.mark.parametrize("name", SWEEPS)
def test_arms_have_as_many_rollouts_unless_the_number_is_what_is_tried(name: str) -> None:
    """Those that teach the policy: a critic's warm-up is not counted. T1a asks for equal problems as well, for which K = 4 and
    K = 16 have fewer rollouts, and says so; F11's two phases draw 192 x 6 + 96 x 8 more, to choose problems from."""
    _, _, runs = sweep(name)
    counted = {
        run.entry.label: sum(
            (p.steps - p.optimizer.critic_warmup_steps) * p.problems_per_step * p.group_size
            for p in run.recipe.phases
            if p.name != "cold_start"
        )
        for run in runs
    }
    few = {label for label, count in counted.items() if count < max(counted.values())}
    fewer = {"T1a": {"K = 4, 4 problems", "K = 16, 4 problems"}, "F11": {"two phases"}}
    assert few == fewer.get(name, set())
    if name == "F11":
        assert max(counted.values()) - counted["two phases"] == 1792 <= 192 * 6 + 96 * 8


@pytest.mark.parametrize("claim", TRAINED, ids=lambda claim: claim.name)
def test_a_claim_reads_arms_that_its_sweep_has(claim: Claim) -> None:
    """All figures can be measured of made-up arms under the labels of the sweep file, and they hold those of the falsifier."""
    assert isinstance(claim.source, Trained)
    _, entries = load_sweep(HOME / f"{claim.source.sweep}.toml")
    arms = {entry.label: made_up_arm(cut=lambda tag="", n=n: float(n)) for n, entry in enumerate(entries)}
    figures = of_arms(claim.source, dict.fromkeys(range(5), arms))
    assert all(len(figure["by_seed"]) == 5 for figure in figures.values())
    assert {condition.figure for condition in conditions(claim)} <= set(figures)


def made_up_arm(**changes: object) -> Mock:
    """An arm whose every figure is a number."""
    arm = Mock(spec=SweepArm, path_nats=(0.1, 0.3))
    for method in (
        "tokens",
        "accuracy",
        "cut",
        "gain",
        "pass_at",
        "within",
        "area",
        "finished_cut",
        "cut_follows_ease",
    ):
        getattr(arm, method).return_value = 2.0
    for method in ("at_start", "at_end", "reward_after"):
        getattr(arm, method).return_value = 0.5
    arm.logged.return_value = [1.0, 2.0, 4.0, 3.0, 2.0, 5.0]
    for method, value in changes.items():  # what its methods give
        getattr(arm, method).side_effect = value
    return arm


# --- the verdicts ----------------------------------------------------------------------------------------------------


def conditions(claim: Claim) -> list[Condition]:
    return [*claim.falsifier.conditions(), *(claim.premise.conditions() if claim.premise else ())]


def made_up(falsifier: Falsifier | None, is_met: bool, width: float = 1.0) -> dict[str, Figure]:
    """Figures that meet every condition by a lot, or miss it, with intervals of so many units to either side."""
    found = {}
    for condition in falsifier.conditions() if falsifier else ():
        side = -1.0 if (condition.relation == "<=") is is_met else 1.0
        value = condition.bound + side * 100.0
        found[condition.figure] = Figure.of_problems(Interval(value, value - width, value + width))
    return found


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
def test_a_claim_can_fail_and_hold_and_stay_undecided(claim: Claim) -> None:
    """It fails if its falsifier is met by a lot, holds if it is missed by a lot, and nothing follows from intervals 500 wide."""
    granted = made_up(claim.premise, is_met=True)
    for is_met, width, verdict in (
        (True, 1.0, ClaimVerdict.FAILS),
        (False, 1.0, ClaimVerdict.HOLDS),
        (True, 500.0, ClaimVerdict.UNDECIDED),
    ):
        assert (
            verdict_on(claim.falsifier, {**made_up(claim.falsifier, is_met, width), **granted}, claim.premise).verdict
            is verdict
        )
    assert verdict_on(claim.falsifier, {}, claim.premise).verdict is ClaimVerdict.UNDECIDED


@pytest.mark.parametrize("name", ["F4", "F5"])
def test_without_its_premise_a_claim_is_undecided(name: str) -> None:
    """F4 needs a calibrated critic, and both need that anything shortens: else whatever vanishes was not there."""
    claim = CLAIMS[name]
    figures = {**made_up(claim.falsifier, is_met=True), **made_up(claim.premise, is_met=False)}
    decision = verdict_on(claim.falsifier, figures, claim.premise)
    assert claim.premise is not None
    assert decision.verdict is ClaimVerdict.UNDECIDED and decision.hinge in list(claim.premise.conditions())


def by_seed(**figures: list[float]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {"by_seed": {str(seed): value for seed, value in enumerate(values)}} for name, values in figures.items()
    }


def verdict_of_f4(differences: list[float], explained: float = 10.0) -> ClaimVerdict:
    """F4 with these cuts at lambda 0.95 minus those at 1, in points, one per seed."""
    n = len(differences)
    figures = {
        "cut at lambda 0.95 minus at 1, points": differences,
        "cut at lambda 0.95, %": [30.0 + 0.1 * seed for seed in range(n)],
        "variance explained by the critic at lambda 1, %": [explained + 0.1 * seed for seed in range(n)],
    }
    return decision_on(CLAIMS["F4"], by_seed(**figures), wanted=5).verdict


def test_f4_on_figures_that_can_be_checked_by_hand() -> None:
    """Five seeds with an sd of 1 have an interval of 1.24 to either side; as much is within 5 points."""
    spread = [-1.0, 1.0, -1.0, 1.0, 0.0]  # sd 1
    assert verdict_of_f4([20.0 + s for s in spread]) is ClaimVerdict.HOLDS
    assert verdict_of_f4([0.0 + s for s in spread]) is ClaimVerdict.FAILS
    assert verdict_of_f4([3.0 + s for s in spread]) is ClaimVerdict.FAILS  # 1.8 to 4.2: a difference, but less than 5
    assert verdict_of_f4([5.0 + s for s in spread]) is ClaimVerdict.HOLDS  # 3.8 to 6.2: above 0, and perhaps above 5
    assert verdict_of_f4([0.0 + 10 * s for s in spread]) is ClaimVerdict.UNDECIDED  # -12 to 12
    assert verdict_of_f4([20.0 + s for s in spread], explained=-1.0) is ClaimVerdict.UNDECIDED


def test_three_seeds_of_five_can_refute_f4_and_cannot_confirm_it() -> None:
    """Their 99% interval is 2.9 to either side with an sd of 0.5, and 5.7 with one of 1. The premise is met beyond doubt."""
    assert verdict_of_f4([-0.5, 0.0, 0.5]) is ClaimVerdict.FAILS
    assert verdict_of_f4([-1.0, 0.0, 1.0]) is ClaimVerdict.UNDECIDED
    assert verdict_of_f4([19.9, 20.0, 20.1]) is ClaimVerdict.UNDECIDED


def test_more_seeds_than_asked_for_are_a_second_look_at_97_5_percent() -> None:
    """Ten seeds with an sd of 1.05 reach 0.75 at 95% and 0.90 at 97.5% (t of 9: 2.262 and 2.685; se 0.333). The page says so."""
    spread = [-1.0, 1.0] * 5
    assert verdict_of_f4([0.8 + s for s in spread]) is ClaimVerdict.FAILS  # to 1.7, within 5 points
    assert verdict_of_f4([4.2 + s for s in spread]) is ClaimVerdict.HOLDS
    assert verdict_of_f4([0.8 + 5.5 * s for s in spread]) is ClaimVerdict.UNDECIDED  # 4.94 at 95%, 5.7 at 97.5%
    figures = by_seed(**{"cut at lambda 0.95 minus at 1, points": [20.0 + s for s in spread]})
    figures = with_stored(figures, {})
    record = {"figures": figures, "wanted_seeds": 5, "verdict": "holds"}
    assert _hinge(replace(CLAIMS["F4"], premise=None), record) == (
        "cut at lambda 0.95 minus at 1, points: 20.0 (19.1 to 20.9), a second look at 97.5%"
    )
    assert figures["cut at lambda 0.95 minus at 1, points"]["ci95"] == pytest.approx([19.246, 20.754], abs=1e-3)


def test_a_missing_seed_counts_as_missing() -> None:
    figure = Figure.of_seeds([1.0, nan, 2.0, 3.0, nan], wanted=5)
    assert figure.num_seeds == 3 and not figure.is_complete


# --- the figures -----------------------------------------------------------------------------------------------------


def test_grpo_is_silent_in_uniform_groups_and_the_kl_is_not() -> None:
    """F6 is computed: exactly 0 in float32, and a step along the KL's gradient leads back."""
    found = uniform_groups()
    assert found["largest policy gradient"] == 0.0
    assert found["KL to the reference after a step minus before, nats"] < -1e-4


def test_the_trend_of_f2_is_one_where_length_falls_the_more_the_easier() -> None:
    """Cuts that rise with the solve rate are lengths that fall with it: Spearman -1."""
    labels = [f"p = {name}" for name in ("0", "0.06", "0.125", "0.25", "0.375", "0.5", "0.75", "1")]
    arms = {label: made_up_arm(cut=[float(rank)]) for rank, label in enumerate(labels)}
    assert trend(arms) == pytest.approx(-1.0)


def test_growth_counts_no_repetition() -> None:
    """From 100 tokens without repetition to 150 of which a third is repeated: no growth."""
    ends = {"rollouts/mean_tokens": (100.0, 150.0), "rollouts/repeated_frac": (0.0, 1 / 3)}
    arm = made_up_arm(at_start=lambda key: ends[key][0], at_end=lambda key: ends[key][1])
    assert unrepeated_growth("it")({"it": arm}) == pytest.approx(0.0)


def test_the_gap_of_sampled_and_greedy_accuracy_shrinks() -> None:
    """Before 60 and 90 (30 apart), after 80 and 91 (11 apart): 19 points less."""
    after, gains = {"t1": 80.0, "greedy": 91.0}, {"t1": 20.0, "greedy": 1.0}
    arm = made_up_arm(accuracy=lambda tag="t1": after[tag], gain=lambda tag="t1": gains[tag])
    assert greedy_gap_growth("it")({"it": arm}) == pytest.approx(-19.0)


def test_rewards_are_compared_at_the_way_of_the_arm_that_moved_least() -> None:
    moved: list[float] = []
    far, near = made_up_arm(), made_up_arm()
    far.path_nats, near.path_nats = (0.1, 0.5), (0.1, 0.2)
    for arm, reward in ((far, 0.9), (near, 0.7)):
        arm.reward_after.side_effect = lambda nats, reward=reward: moved.append(nats) or reward
    assert at_equal_kl("far", "near")({"far": far, "near": near}) == pytest.approx(20.0)
    assert moved == [0.2, 0.2]


def test_lengths_and_quartiles_are_taken_within_a_problem(tmp_path: Path) -> None:
    """In each problem the wrong answers are 10 tokens longer, though the hard problem's right ones are longer than the easy
    one's wrong ones. Its four samples by length: right, right, wrong, wrong."""
    problems = {
        f"p{n}": [("correct", 10 + n), ("correct", 12 + n), ("wrong", 20 + n), ("wrong", 22 + n)]
        for n in range(0, 60, 10)
    }
    Run(problems).write(tmp_path / "eval" / "report")
    lengths = lengths_within(tmp_path)["tokens of correct minus wrong, within a problem"]
    assert lengths.estimate == -10.0
    found = quartiles(tmp_path)
    assert found["accuracy of the longest minus the shortest quarter, points"].estimate == -100.0
    assert found["accuracy, second quarter, %"].estimate == 100.0


def write_curve(folder: Path, correct_from: int) -> Path:
    """An evaluation of one problem, answered correctly if its thinking may have so many tokens."""
    place = Run({"p": [("correct", 60)]}).write(folder / "eval" / "report")
    line = json.loads((place / "samples.jsonl").read_text())
    grades = {budget: "correct" if budget >= correct_from else "wrong" for budget in BUDGETS}
    line["forced"] = {str(b): {"grade": grade, "num_tokens": b, "is_cut": True} for b, grade in grades.items()}
    (place / "samples.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_a_truncation_curve_shifts_left_if_few_tokens_are_enough(tmp_path: Path) -> None:
    """The start model needs 64 tokens, phase 1 needs 96, phase 2 needs 32: it alone is right at 48."""
    folders = [write_curve(tmp_path / str(need), need) for need in (64, 96, 32)]
    found = truncation_curves(folders)
    assert (found[FLAT], found[SHIFT], found[STEEPER]) == (100.0, 100.0, 0.0)
    assert found["start, accuracy at 48 tokens, %"] == 0.0
    assert FLAT in truncation_curves(folders[:1]) and SHIFT not in truncation_curves(folders[:1])


def test_the_models_of_a_run_are_its_phases_results(tmp_path: Path) -> None:
    """A phase that was rolled back to its beginning hands on the model that entered the run."""
    phases = [
        {"name": name, "first_step": last, "last_step": last, "result_step": step, "reason": "cap"}
        for name, last, step in (("first", 1, 0), ("second", 2, 2))
    ]
    (tmp_path / "phases.json").write_text(json.dumps(phases))
    assert models_of(tmp_path, "tiny") == ["tiny", str(tmp_path / "checkpoints" / "step-000002")]


def test_seeds_of_a_machine_that_has_gone_are_kept() -> None:
    """Seed 2 is measured anew, and 1 and 10 come from what was stored; a figure that is no longer measured goes."""
    new = {"cut": {"by_seed": {"2": 5.0}}}
    found = with_stored(new, {"cut": {"by_seed": {"10": 1.0, "2": 9.0, "1": 3.0}}, "old": {"by_seed": {"1": 1.0}}})
    assert found["cut"]["by_seed"] == {"1": 3.0, "2": 5.0, "10": 1.0} and list(found["cut"]["by_seed"]) == [
        "1",
        "2",
        "10",
    ]
    assert found["cut"]["mean"] == 3.0 and list(found) == ["cut"]


def test_a_second_look_says_where_the_first_was_made() -> None:
    """Nothing is said twice: where the same run holds all seeds, its own command stands for all of them."""
    stamp = {"command": "first", "hours": 1.0, "hardware": "a", "date": "2026-01-01", "matrix_gflops": 100}
    stored = {**stamp, "arms": {"x": {"31": {}, "32": {}}, "y": {"31": {}}}}
    assert claims._earlier({"x": {"36": {}}}, stored) == {"earlier": [stamp]}
    assert claims._earlier({"x": {"31": {}, "32": {}, "36": {}}, "y": {"31": {}}}, stored) == {}
    third = claims._earlier({"x": {"41": {}}}, {**stored, "command": "second", "earlier": [stamp]})
    assert [entry["command"] for entry in third["earlier"]] == ["first", "second"]
    assert all("earlier" not in entry for entry in third["earlier"])


def test_the_setup_of_a_sweep_is_its_arms_and_not_its_seeds(tmp_path: Path) -> None:
    plain = setup_of(HOME / "F6b.toml")
    assert setup_of(sweep_for(HOME / "F6b.toml", "tiny", (1, 2), (), tmp_path)) == plain
    assert setup_of(sweep_for(HOME / "F6b.toml", "tiny", (), ("phases.brevity.steps=3",), tmp_path)) != plain


# --- another start model ---------------------------------------------------------------------------------------------


def test_another_reasoner_takes_the_place_of_tiny(tmp_path: Path) -> None:
    """In every entry the model is another, every address is its own, and given changes come last."""
    copy = sweep_for(HOME / "F8.toml", "seeker", (1, 2), ("report.max_tokens=512",), tmp_path)
    config, entries = load_sweep(copy)
    abroad = next(entry for entry in entries if entry.label.endswith("abroad"))
    assert config.seeds == (1, 2)
    assert {"model=seeker", "problems.report=seeker:divisor?count=128&split=report"} <= set(abroad.overrides)
    assert all(entry.overrides[-1] == "report.max_tokens=512" for entry in entries)
    assert not [o for entry in entries for o in entry.overrides if "=tiny" in o]
    assert sweep_for(HOME / "F8.toml", "tiny", (), (), tmp_path) == HOME / "F8.toml"


def test_a_second_look_may_train_some_arms_alone(tmp_path: Path) -> None:
    """Theirs are the recipes of the file; a label that it lacks is refused by a line that lists those that it has."""
    copy = sweep_for(HOME / "F4.toml", "tiny", (36, 37), (), tmp_path, ("lambda 0.95", "lambda 1"))
    config, entries = load_sweep(copy)
    assert config.seeds == (36, 37) and [entry.label for entry in entries] == ["lambda 0.95", "lambda 1"]
    _, originals = load_sweep(HOME / "F4.toml")
    for entry in entries:
        (original,) = (one for one in originals if one.label == entry.label)
        ours, theirs = (load_recipe(one.path, one.overrides) for one in (entry, original))
        assert dump(ours) == dump(theirs)
    with pytest.raises(InputError, match=r"F4\.toml has no arm 'lambda 2'; it has lambda 0\.95, lambda 1, "):
        sweep_for(HOME / "F4.toml", "tiny", (), (), tmp_path, ("lambda 2",))
    assert address_of("problems.jsonl", "seeker") == "problems.jsonl"


# --- through it all --------------------------------------------------------------------------------------------------

SMALL = (
    "problems.train=tiny:mix?count=4&split=train",
    "problems.watch=tiny:mix?count=2&split=watch",
    "problems.report=tiny:mix?count=4&split=report",
    "phases.brevity.select={how='everything'}",
    "phases.brevity.steps=2",
    "phases.brevity.problems_per_step=2",
    "phases.brevity.group_size=2",
    "phases.brevity.sampler.max_tokens=24",
    "phases.brevity.optimizer.minibatches=1",
    "report.max_tokens=24",
    "report.samples=1",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """F6b with two seeds, two steps and four problems: forks of this process train."""

    folder = tmp_path_factory.mktemp("claims")
    places = {name: folder / name for name in ("out", "results", "page.md")}
    options = ["--out", str(places["out"]), "--results", str(places["results"]), "--docs", str(places["page.md"])]
    changes = [word for change in SMALL for word in ("--set", change)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children.subprocess, "Popen", Forked)
        patch.setattr(sys, "stderr", (folder / "said").open("w"))
        claims.main(["F6b", "--seeds", "0", "1", *changes, *options])
    yield places


def test_a_claim_goes_from_training_to_a_verdict(small: dict[str, Path]) -> None:
    """Two seeds of five, so it is undecided; every figure has both seeds; the page shows it."""
    record = json.loads((small["results"] / "F6b.json").read_text())
    assert record["verdict"] == "undecided" and record["wanted_seeds"] == 5
    assert all(sorted(figure["by_seed"]) == ["0", "1"] for figure in record["figures"].values())
    assert record["hinge"] in record["figures"]
    assert set(record["arms"]) == {"PPO", "GRPO"} and set(record["arms"]["PPO"]["0"]) == {"t1", "greedy", "trained"}
    problems, rollouts = record["arms"]["PPO"]["0"]["trained"]
    assert 1 <= problems <= 16 and rollouts > problems
    assert record["command"].startswith("python benchmarks/claims.py F6b --seeds 0 1 --set")
    assert (small["results"] / "F6b.json").stat().st_size < 10_000
    page = small["page.md"].read_text()
    assert f"**Undecided** on `tiny`, 2 of 5 seeds: {record['hinge']}" in page
    assert "| GRPO | 2 |" in page


def test_what_is_finished_is_measured_again_and_not_run_again(small: dict[str, Path], tmp_path: Path) -> None:
    before = (small["results"] / "F6b.json").read_text()
    runs = {file: file.stat().st_mtime_ns for file in small["out"].rglob("comparison-t1.json")}
    claims.main(
        [
            "F6b",
            "--measure",
            "--out",
            str(small["out"]),
            "--results",
            str(tmp_path),
            "--docs",
            str(tmp_path / "page.md"),
        ]
    )
    again = json.loads((tmp_path / "F6b.json").read_text())
    assert len(runs) == 4 and all(file.stat().st_mtime_ns == when for file, when in runs.items())
    assert again["figures"] == json.loads(before)["figures"]


def test_where_a_claim_was_measured_outlives_the_machine(small: dict[str, Path], tmp_path: Path) -> None:
    """Measured again where the runs are, or where none is left: when, where and how long stay as they were stored."""
    stored = json.loads((small["results"] / "F6b.json").read_text())
    stored |= {"date": "2026-01-01", "hours": 7.5, "hardware": "another", "matrix_gflops": 3, "command": "as it was"}
    write_json_atomically(tmp_path / "F6b.json", stored)
    for out in (small["out"], tmp_path / "nothing"):
        options = ["--out", str(out), "--results", str(tmp_path), "--docs", str(tmp_path / "page.md")]
        changes = [word for change in SMALL for word in ("--set", change)]
        claims.main(["F6b", "--measure", "--seeds", "0", "1", *changes, *options])
        assert json.loads((tmp_path / "F6b.json").read_text()) == stored, out


def test_an_evaluation_that_is_not_finished_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--out", str(tmp_path), "--results", str(tmp_path), "--docs", str(tmp_path / "page.md")]
    with pytest.raises(SystemExit) as ended:
        claims.main(["O7", "--measure", *options])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    shutil.copy(HOME / "results" / "O7.json", tmp_path / "O7.json")
    claims.main(["O7", "--measure", *options])
    assert (tmp_path / "O7.json").read_text() == (HOME / "results" / "O7.json").read_text()


def test_what_was_probed_outlives_the_machine(tmp_path: Path) -> None:
    """Where no run is left the verdict is that of the stored seeds."""
    shutil.copy(HOME / "results" / "T1f.json", tmp_path / "T1f.json")
    stored = json.loads((tmp_path / "T1f.json").read_text())
    options = ["--out", str(tmp_path / "out"), "--results", str(tmp_path), "--docs", str(tmp_path / "page.md")]
    claims.main(["T1f", "--measure", *options])
    again = json.loads((tmp_path / "T1f.json").read_text())
    assert {key: again[key] for key in stored} == stored


@pytest.mark.parametrize("name", ["F6b", "T1f"])
def test_what_was_measured_with_other_recipes_is_not_thrown_away_in_silence(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A digest that differs ends the command; whether the recipes only have new keys is for people to say."""
    file = tmp_path / f"{name}.json"
    stored = json.loads((HOME / "results" / f"{name}.json").read_text()) | {"setup": "another"}
    write_json_atomically(file, stored)
    options = ["--out", str(tmp_path / "out"), "--results", str(tmp_path), "--docs", str(tmp_path / "page.md")]
    with pytest.raises(SystemExit) as ended:
        claims.main([name, "--measure", *options])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and "--anew" in said and "--same" in said
    assert json.loads(file.read_text()) == stored
    claims.main([name, "--measure", "--same", *options])
    kept = json.loads(file.read_text())
    assert kept["figures"] == stored["figures"] and kept["setup"] != "another"
    write_json_atomically(file, stored)
    claims.main([name, "--measure", "--anew", *options])
    assert json.loads(file.read_text())["verdict"] == "undecided"


# --- what is stored --------------------------------------------------------------------------------------------------


def test_stored_verdicts_are_what_their_figures_say() -> None:
    found = read_results(HOME / "results")
    assert found
    for name, records in found.items():
        for record in records.values():
            decision = decision_on(CLAIMS[name], record["figures"], record["wanted_seeds"])
            assert (record["verdict"], record["hinge"]) == (decision.verdict.value, decision.hinge.figure), name


def test_the_page_is_written_from_the_results_that_are_stored(tmp_path: Path) -> None:
    """`python benchmarks/claims.py --page` writes it anew."""
    write_page(tmp_path / "claims.md", HOME / "words.md", HOME / "results")
    assert (tmp_path / "claims.md").read_text() == (ROOT / "docs" / "claims.md").read_text()


def test_every_claim_has_its_row_whether_or_not_it_is_decided() -> None:
    page = (ROOT / "docs" / "claims.md").read_text()
    assert sorted(ORDER) == sorted(CLAIMS) and len(ORDER) == len(set(ORDER))
    assert [name for name in ORDER if f"\n| [{name}](#" in page] == list(ORDER)
    assert counts({}) == f"Of {len(CLAIMS)} claims, 0 hold, 0 fail, 0 are undecided and {len(CLAIMS)} are open."


def test_an_unknown_claim_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        claims.main(["F99"])
    assert ended.value.code == 2 and "no claim 'F99'; expected F1, " in capsys.readouterr().err
