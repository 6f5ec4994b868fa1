"""Draws that runs share: a run that asks what another one asked has its answers, and trains as if it had drawn them."""

from pathlib import Path

import pytest
from scripted import PROBLEMS, ScriptedSampler, doubling, scripted_solver
from small import save_small_model, small_recipe

from laconic.config.load import load_recipe
from laconic.config.recipe import Recipe
from laconic.config.solver import SamplerConfig
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.evaluation.shared_draws import NOTHING_SHARED, SharedDraws, key_of
from laconic.grading.grader import Grader
from laconic.rollouts.solver import Solver
from laconic.system.progress import Reporter
from laconic.training.measure_run import measure_run
from laconic.training.run import start

ASKED = EvaluationRequest("sums", PROBLEMS, 4, SamplerConfig(max_tokens=64, batch_size=2), seed=0)
RECIPE = 'name = "r"\nmodel = "tiny"\nproblems = { train = "a.jsonl", watch = "b.jsonl" }\n[[phases]]\nname = "p"\nsteps = 1\n'
OFFLINE = {
    "rollouts": "offline",
    "select": {"how": "everything"},
    "algorithm": {"name": "o1_pruner", "ratio": "sequence"},
}


@pytest.fixture(scope="module")
def grader():
    with Grader() as pool:
        yield pool


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


def recipe_with(folder: Path, *overrides: str) -> Recipe:
    (folder / "r.toml").write_text(RECIPE)
    return load_recipe(folder / "r.toml", list(overrides))


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_evaluation_is_drawn_once_and_its_copy_is_the_same_to_the_byte(grader: Grader, tmp_path: Path) -> None:
    draws, recipe, drawn = SharedDraws(tmp_path / "shared"), recipe_with(tmp_path), []
    for name in ("one", "two"):
        sampler = ScriptedSampler(doubling)
        solver = scripted_solver(sampler, grader)
        with draws.lending(recipe, solver, ASKED, tmp_path / name / "base-t1"):
            evaluate(solver, ASKED, tmp_path / name / "base-t1")
        drawn.append(sampler.calls)
    assert drawn[0] and not drawn[1]
    first, second = (bytes_in(tmp_path / name / "base-t1") for name in ("one", "two"))
    assert first == {**second, **{name: held for name, held in first.items() if name not in second}}
    assert {"samples.jsonl", "summary.json", "timing.json", "settings.json"} <= second.keys()


def test_another_grader_threads_samples_or_adapters_are_another_question(grader: Grader, tmp_path: Path) -> None:
    keys = []
    solver = scripted_solver(ScriptedSampler(doubling), grader)
    for body in (None, "return True", "return True", "return False"):
        (tmp_path / "mine.py").write_text(f"def grade(attempt): {body}")
        keys.append(key_of(recipe_with(tmp_path, *([] if body is None else ["grader=mine.py:grade"])), solver, ASKED))
    assert keys[1] == keys[2] and len(set(map(str, keys))) == 3
    changes = ("threads=3", "policy.lora={rank=2}", "policy.dtype=bfloat16")
    keys += [key_of(recipe_with(tmp_path, changed), solver, ASKED) for changed in changes]
    more = EvaluationRequest("sums", PROBLEMS, 5, ASKED.decoding, seed=0)
    keys.append(key_of(recipe_with(tmp_path), solver, more))
    assert len(set(map(str, keys))) == 7


def test_what_was_not_finished_is_not_left(grader: Grader, tmp_path: Path) -> None:
    draws, solver = SharedDraws(tmp_path / "shared"), scripted_solver(ScriptedSampler(doubling), grader)
    with (
        pytest.raises(KeyboardInterrupt),
        draws.lending(recipe_with(tmp_path), solver, ASKED, tmp_path / "probe.jsonl"),
    ):
        (tmp_path / "probe.jsonl").write_text("half")
        raise KeyboardInterrupt
    assert not (tmp_path / "shared").exists()


def test_of_two_that_draw_at_the_same_time_the_first_counts_for_both(grader: Grader, tmp_path: Path) -> None:
    draws, solver = SharedDraws(tmp_path / "shared"), scripted_solver(ScriptedSampler(doubling), grader)
    recipe, outs = recipe_with(tmp_path), [tmp_path / name / "probe.jsonl" for name in ("one", "two", "three")]
    for out in outs:
        out.parent.mkdir()
    with draws.lending(recipe, solver, ASKED, outs[0]):
        with draws.lending(recipe, solver, ASKED, outs[1]):
            outs[1].write_text("drawn by the second\n")
        outs[0].write_text("drawn by the first\n")
    with draws.lending(recipe, solver, ASKED, outs[2]):
        assert outs[2].exists()
    assert {out.read_text() for out in outs} == {"drawn by the second\n"}
    assert [path.name for path in (tmp_path / "shared").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("phases", [{}, {"phases": [{"name": "only", "steps": 2, "group_size": 4, **OFFLINE}]}])
def test_a_run_that_finds_everything_on_the_shelf_ends_with_the_same_weights(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phases: dict[str, object]
) -> None:
    """One run alone, one that shares, and one that finds it: the probe, the offline rollouts and the base's evaluation are
    not drawn again, and nothing else differs."""
    drawn: list[int] = []
    attempt_each = Solver.attempt_each

    def counted(self: Solver, assignments: list, *rest: object, **more: object) -> object:  # type: ignore[type-arg]
        drawn.append(sum(assignment.num_samples for assignment in assignments))
        return attempt_each(self, assignments, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Solver, "attempt_each", counted)
    results, counts = [], []
    shared = SharedDraws(tmp_path / "shared")
    for name, draws in (("alone", NOTHING_SHARED), ("fills", shared), ("finds", shared)):
        drawn.clear()
        recipe = small_recipe(model, **phases)
        trainer = start(recipe, tmp_path / name, resume=False, reporter=Reporter(is_silent=True), draws=draws)
        trainer.train()
        measure_run(trainer.run, trainer.finished)
        files = bytes_in(tmp_path / name)
        kept = ("model/model.safetensors", "samples.jsonl", "probe.jsonl", "offline.jsonl", "rollouts/")
        results.append({key: held for key, held in files.items() if any(mark in key for mark in kept)})
        counts.append(sum(drawn))
    assert results[0] == results[1] == results[2]
    base = 4 * 2 + 4
    saved = base + (8 * 4 if phases else 8 * 2)
    assert counts == [counts[0], counts[0], counts[0] - saved]
