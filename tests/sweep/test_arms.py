"""Arms of an experiment: figures of one seed out of a finished run, that can be checked by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
from folders import Run
from small import write_small_recipe

from laconic.comparison.compare import compare_evaluations
from laconic.errors import InputError
from laconic.sweep.arms import SweepArm, read_arm, read_arms
from laconic.sweep.config import begin_sweep, load_sweep, runs_of
from laconic.system.files import append_jsonl, write_json_atomically

SWEEP = """
name = "arms"
seeds = [0, 1]
recipes = ["small.toml"]
overrides = ["report.temperatures=[1.0]"]
"""
BASE = {"easy": [("correct", 20), ("correct", 40)], "hard": [("wrong", 60), ("truncated", 80)]}
FIRST = {"easy": [("correct", 20), ("wrong", 40)], "hard": [("correct", 60), ("wrong", 80)]}
LAST = {"hard": [("correct", 50), ("wrong", 50)], "easy": [("correct", 10), ("correct", 10)]}
# base: 30 and 70 tokens, accuracy 1 and 0; first phase: the same tokens, 1/2 and 1/2; last: 10 and 50 tokens, 1 and 1/2
STEPS = [
    {"update/moved_nats": kl, "rollouts/reward_mean": reward, "rollouts/truncated_frac": cut}
    for kl, reward, cut in ((None, 0.0, 0.0), (0.1, 0.2, 0.0), (0.2, 0.4, 0.1), (0.3, 0.9, 0.3))
]


def write_run_of(folder: Path) -> None:
    """A finished run of two phases on two problems, one temperature."""
    evaluations = [folder / "eval" / f"{name}-t1" for name in ("base", "phase-1", "phase-2")]
    for place, problems in zip(evaluations, (BASE, FIRST, LAST), strict=True):
        Run(problems).write(place)
    for step, figures in enumerate(STEPS, start=1):
        append_jsonl(folder / "metrics.jsonl", {"step": step, **figures})
    comparison = compare_evaluations(evaluations[0], evaluations[1:], seed=0)
    write_json_atomically(folder / "comparison-t1.json", comparison.to_json())


@pytest.fixture
def arm(tmp_path: Path) -> SweepArm:
    write_run_of(tmp_path / "run")
    return read_arm(tmp_path / "run", "it", 0, ["t1"])


def test_changes_are_those_of_the_last_phase_unless_another_is_named(arm: SweepArm) -> None:
    """From 50 to 30 tokens, and from 50 to 75%."""
    assert (arm.tokens(), arm.cut(), arm.accuracy(), arm.gain()) == pytest.approx((30.0, 40.0, 75.0, 25.0))
    assert (arm.tokens(stage=0), arm.cut(stage=0), arm.gain(stage=0)) == pytest.approx((50.0, 0.0, 0.0))


def test_problems_are_paired_by_their_names(arm: SweepArm) -> None:
    """The result lists the hard problem first. It is cut from 70 to 50 tokens, and the easy one from 30 to 10: more."""
    assert arm.after().problem_ids == arm.before().problem_ids == ("easy", "hard")
    assert arm.cut_follows_ease() == pytest.approx(1.0)


def test_a_correlation_of_one_kind_of_problem_does_not_exist(arm: SweepArm) -> None:
    same = replace(arm, stages=arm.base | {"t1": (arm.base["t1"],)})
    assert same.cut_follows_ease() != same.cut_follows_ease()  # nan: all cuts are 0


def test_only_responses_that_ended_count_where_truncation_could_feign_length(arm: SweepArm) -> None:
    """Base: 20, 40 and 60, without the truncated one, a mean of 40; result: 10, 10, 50, 50, a mean of 30."""
    assert arm.finished_cut() == pytest.approx(25.0)


def test_a_budget_counts_correct_responses_within_it(arm: SweepArm) -> None:
    """Correct: 10, 10 and 50 tokens, of four."""
    assert [arm.within(budget) for budget in (9, 10, 49, 50)] == pytest.approx([0.0, 50.0, 50.0, 75.0])


def test_the_area_is_the_mean_over_all_budgets(arm: SweepArm) -> None:
    """Up to 100 tokens: 0.9, 0.9, 0.5 and 0. By its definition, the mean of `within` over a fine grid of budgets."""
    assert arm.area(100) == pytest.approx(57.5)
    for most in (20, 100):
        grid = [arm.within((number + 0.5) * most / 200) for number in range(200)]
        assert arm.area(most) == pytest.approx(sum(grid) / 200, abs=0.3)
    other = replace(arm, stages=arm.stages | {"greedy": (arm.base["t1"],)})
    assert other.area(100, "greedy") == pytest.approx(35.0)  # 0.8, 0.6 and twice 0
    assert other.area(100) == pytest.approx(57.5)


def test_pass_at_k_is_that_of_the_result(arm: SweepArm) -> None:
    assert (arm.pass_at(1), arm.pass_at(2)) == pytest.approx((75.0, 100.0))


def test_figures_of_steps_leave_out_what_a_step_lacks(arm: SweepArm) -> None:
    """The way is 0, 0.1, 0.3, 0.6 nats. It reaches 0.25 at the third step, and the reward is that of the three around it."""
    assert arm.logged("update/moved_nats") == [0.1, 0.2, 0.3]
    assert arm.path_nats == pytest.approx((0.0, 0.1, 0.3, 0.6))
    assert arm.reward_after(0.25) == pytest.approx(0.5)  # (0.2 + 0.4 + 0.9) / 3
    assert arm.at_end("rollouts/truncated_frac") == pytest.approx(0.3)
    assert arm.at_end("rollouts/truncated_frac", portion=0.5) == pytest.approx(0.2)
    assert arm.at_start("rollouts/truncated_frac", portion=0.5) == 0.0
    assert arm.at_end("not/logged") != arm.at_end("not/logged")  # nan


def test_a_way_of_nothing_is_no_way(arm: SweepArm) -> None:
    """Arms that moved by 0, for all that was logged, have not moved equally far."""
    for steps in ((), ({"update/moved_nats": 0.0},)):
        with pytest.raises(InputError, match="it, seed 0: no step has update/moved_nats above 0"):
            _ = replace(arm, steps=steps).path_nats


def test_arms_are_the_finished_runs_by_seed_and_label(tmp_path: Path) -> None:
    """Of two seeds one is finished. A malformed evaluation is named."""
    write_small_recipe(tmp_path / "small.toml", tmp_path / "model")
    (tmp_path / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    config, entries = load_sweep(tmp_path / "sweep.toml")
    out = tmp_path / "out"
    begin_sweep(out, config, runs_of(config, entries, out))
    assert read_arms(out) == {}
    write_run_of(out / "small" / "seed-1")
    assert {seed: list(arms) for seed, arms in read_arms(out).items()} == {1: ["small"]}
    (out / "small" / "seed-1" / "eval" / "base-t1" / "samples.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"samples\.jsonl"):
        read_arms(out)
