"""A run whose rollouts a vLLM server draws: it learns what a run with the local sampler learns, and survives the server's death.

The server is `fake_vllm.py`, which draws with the seeds that it is sent.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_vllm import FakeVllm
from ranked import in_team
from safetensors.torch import load_file
from small import save_small_model, small_recipe

from laconic.config.load import dump, parse_recipe
from laconic.config.recipe import Recipe
from laconic.errors import EngineLost, ModelError, RecipeError
from laconic.parallel.team import Team
from laconic.samplers.vllm import sampler as sampler_module
from laconic.system.progress import Reporter
from laconic.training.check.recipe import check_recipe
from laconic.training.run import Trainer, start

SHORT = {"end": {"guard_drop": 1.0}, "steps": 2, "problems_per_step": 2, "group_size": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def vllm(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVllm]:
    monkeypatch.setattr(sampler_module, "LOOK_SECONDS", 0.01)
    server = FakeVllm(model)
    yield server
    server.close()


def recipe_of(model: Path, server: str | None, **algorithm: Any) -> Recipe:
    """Two phases of two steps; PPO with a critic, then RLOO."""
    tree = dump(small_recipe(model))
    for phase in tree["phases"]:
        phase.update(SHORT | {"select": {"how": "everything"}})
        phase["algorithm"] |= {"old_logprobs": "recompute", **algorithm}
        if server:
            phase["sampler"] |= {"engine": "vllm", "server": server, "server_seconds": 0.2}
    return parse_recipe(tree, "small")


def begin(recipe: Recipe, out: Path, *, resume: bool = False) -> Trainer:
    return start(recipe, out, resume=resume, reporter=Reporter(is_silent=True))


def steps(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def drawn(out: Path) -> list[str]:
    """The texts of all rollouts."""
    lines = [
        json.loads(line) for file in sorted((out / "rollouts").iterdir()) for line in file.read_text().splitlines()
    ]
    return [json.dumps(line.get("token_ids", line), sort_keys=True) for line in lines]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def test_a_run_on_a_server_is_the_run_on_the_local_sampler_and_outlives_the_server(
    vllm: FakeVllm, model: Path, tmp_path: Path
) -> None:
    """The same accuracy and lengths at every step and the same weights, but for rounding. Then the server dies for good in a
    later step: those before it are saved, and the run goes on from them once the server is back."""
    begin(recipe_of(model, None), tmp_path / "near").train()
    begin(recipe_of(model, vllm.url, importance_cap=2.0), tmp_path / "far").train()
    near, far = steps(tmp_path / "near"), steps(tmp_path / "far")
    for key in ("rollouts/mean_tokens", "rollouts/accuracy_frac", "rollouts/reward_mean"):
        assert [line[key] for line in near] == [line[key] for line in far]
    for name, weight in weights(tmp_path / "near").items():
        assert torch.allclose(weight, weights(tmp_path / "far")[name], atol=2e-4)
    assert not {key for key in near[0] if key.startswith("sampler/")}
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    documented = {row.split("`")[1] for row in page.splitlines() if row.startswith("| `sampler/")}
    for line in far:
        assert {key for key in line if key.startswith("sampler/")} == documented
        assert line["sampler/logprob_gap_nats"] <= line["sampler/largest_gap_nats"] < 1e-4
        assert line["sampler/capped_frac"] == line["sampler/redrawn"] == 0
    assert all(line["sampler/handover_seconds"] > 0 for line in far)
    assert not (tmp_path / "far" / "handover").exists()

    number = 0

    def die(path: str, body: Any) -> tuple[int, Any] | None:
        nonlocal number
        number += path == "/v1/completions"
        return (0, None) if number > 34 else None

    vllm.fault = die
    with (
        pytest.warns(match="waiting"),
        pytest.raises(EngineLost, match=r"Start the server\. Go on with:  laconic train .* --resume"),
    ):
        begin(recipe_of(model, vllm.url, importance_cap=2.0), tmp_path / "killed").train()
    vllm.fault = lambda path, body: None
    vllm.begin_again()
    again = begin(recipe_of(model, vllm.url, importance_cap=2.0), tmp_path / "killed", resume=True)
    assert again.step > 0
    again.train()
    assert drawn(tmp_path / "killed") == drawn(tmp_path / "far")


def test_a_team_draws_from_one_server_what_one_process_draws(vllm: FakeVllm, model: Path, tmp_path: Path) -> None:
    """The first process asks for all, and it alone; both learn from the same responses, and the weights differ by the order of
    sums."""
    recipe = recipe_of(model, vllm.url)
    begin(recipe, tmp_path / "one").train()
    num_asked = len(vllm.asked)

    def train(team: Team) -> bool:
        trainer = start(recipe, tmp_path / "two", resume=False, reporter=Reporter(is_silent=True), team=team)
        trainer.train()
        return bool(trainer.run.sampler.num_opened)

    assert in_team(2, train, tmp_path / "told") == [True, False]
    assert len(vllm.asked) == 2 * num_asked
    assert drawn(tmp_path / "two") == drawn(tmp_path / "one")
    for name, weight in weights(tmp_path / "one").items():
        assert torch.allclose(weight, weights(tmp_path / "two")[name], atol=2e-4)
    assert all(line["sampler/handover_seconds"] > 0 for line in steps(tmp_path / "two"))
    assert not (tmp_path / "two" / "handover").exists()


def test_a_wrong_server_leaves_no_run(vllm: FakeVllm, model: Path, tmp_path: Path) -> None:
    vllm.model_config = {"logprobs_mode": "raw_logprobs"}
    with pytest.raises(ModelError, match="reports raw_logprobs"):
        begin(recipe_of(model, vllm.url), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"old_logprobs": "sampler"}, {"old_logprobs": "current"}])
def test_importance_needs_the_trainers_own_scores(model: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(
        RecipeError, match=r"phases\.first\.algorithm\.importance_cap: compares the trainer with the engine"
    ):
        check_recipe(recipe_of(model, None, importance_cap=2.0, **changes))
