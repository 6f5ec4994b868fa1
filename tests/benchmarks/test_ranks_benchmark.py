"""What `benchmarks/ranks.py` compares are recipes, and its comparison finds what differs."""

import json
from pathlib import Path

import pytest
from ranks import CASES, REMEMBERING, furthest_metric, recipe_of, rollouts_of

from laconic.config.load import parse_recipe
from laconic.rewards.table import REWARDS
from laconic.training.check.recipe import check_recipe


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_a_recipe(name: str, tmp_path: Path) -> None:
    assert len(check_recipe(parse_recipe(recipe_of(CASES[name], tmp_path), name))) == 1


def test_every_reward_that_remembers_is_compared() -> None:
    assert set(REMEMBERING) == {name for name, reward in REWARDS.items() if reward.remember is not None}


def test_the_comparison_finds_the_largest_difference_and_another_rollout(tmp_path: Path) -> None:
    losses = {"one": (1.0, 2.0), "two": (1.0, 2.5)}
    for name, values in losses.items():
        (tmp_path / name / "rollouts").mkdir(parents=True)
        lines = [json.dumps({"step": step, "update/policy_loss": value}) for step, value in enumerate(values)]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines))
        row = {"reward": values[1], "logprobs": [len(name)]}
        (tmp_path / name / "rollouts" / "step-000001.jsonl").write_text(json.dumps(row) + "\n")
    assert furthest_metric(tmp_path / "one", tmp_path / "two", ["_loss"]) == 0.5
    assert rollouts_of(tmp_path / "one", 1) == [{"reward": 2.0}]
