"""Draws that runs share: a run that asks what another one asked has its answers, and trains as if it had drawn them."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import PROBLEMS, ScriptedSampler, doubling, scripted_solver
from small import save_small_model, small_recipe

from laconic.config.load import load_recipe
from laconic.config.recipe import Recipe
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.evaluation.shared_draws import NOTHING_SHARED, SharedDraws, key_of
from laconic.grading.grader import Grader
from laconic.rollouts.solver import Assignment, Solver
from laconic.system.progress import Reporter
from laconic.training.measure_run import measure_run
from laconic.training.run import start
from laconic.types import Group

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
    assert second.items() <= first.items()
    assert {"samples.jsonl", "summary.json", "timing.json", "settings.json"} <= second.keys()


def test_another_grader_threads_samples_or_adapters_are_another_question(
    grader: Grader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    solver = scripted_solver(ScriptedSampler(doubling), grader)
    for body in (None, "return True", "return True", "return False"):
        (tmp_path / "mine.py").write_text(f"def grade(attempt): {body}")
        keys.append(key_of(recipe_with(tmp_path, *([] if body is None else ["grader=mine.py:grade"])), solver, ASKED))
    assert keys[1] == keys[2] and len(set(map(str, keys))) == 3
    changes = ("policy.lora={rank=2}", "policy.dtype=bfloat16")
    keys += [key_of(recipe_with(tmp_path, changed), solver, ASKED) for changed in changes]
    keys.append(key_of(recipe_with(tmp_path), solver, replace(ASKED, samples=5)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    keys.append(key_of(recipe_with(tmp_path), solver, ASKED))
    assert len(set(map(str, keys))) == 7


def test_what_was_not_finished_is_not_left(grader: Grader, tmp_path: Path) -> None:
    draws, solver = SharedDraws(tmp_path / "shared"), scripted_solver(ScriptedSampler(doubling), grader)
    with (
        pytest.raises(KeyboardInterrupt),
        draws.lending(recipe_with(tmp_path), solver, ASKED, tmp_path / "probe.jsonl"),
    ):
        (tmp_path / "probe.jsonl").write_text("half")
        raise KeyboardInterrupt
    assert not [path for path in (tmp_path / "shared").iterdir() if path.suffix != ".lock"]


def test_of_two_that_ask_the_same_one_draws_and_the_other_waits(grader: Grader, tmp_path: Path) -> None:
    """A fork draws for half a second; whoever asks meanwhile finds what it drew."""
    draws, solver = SharedDraws(tmp_path / "shared"), scripted_solver(ScriptedSampler(doubling), grader)
    recipe, mine, theirs = recipe_with(tmp_path), tmp_path / "mine" / "probe.jsonl", tmp_path / "theirs" / "probe.jsonl"
    mine.parent.mkdir()
    theirs.parent.mkdir()
    begun, begins = os.pipe()
    child = os.fork()
    if child == 0:
        with draws.lending(recipe, solver, ASKED, theirs):
            os.write(begins, b"!")
            time.sleep(0.5)
            theirs.write_text("drawn by the other\n")
        os._exit(0)
    os.read(begun, 1)
    with draws.lending(recipe, solver, ASKED, mine):
        assert mine.read_text() == "drawn by the other\n"
    assert os.waitpid(child, 0)[1] == 0
    assert [path.suffix for path in (tmp_path / "shared").iterdir() if path.name.startswith(".")] == [".lock"]


def test_a_run_keeps_the_file_that_it_has(grader: Grader, tmp_path: Path) -> None:
    """One that was begun before another run shared the same; what that one drew stays shared."""
    draws, solver = SharedDraws(tmp_path / "shared"), scripted_solver(ScriptedSampler(doubling), grader)
    outs = [tmp_path / name / "probe.jsonl" for name in ("one", "two", "three")]
    for out, text in zip(outs, ("first\n", "own\n", None), strict=True):
        out.parent.mkdir()
        if text == "own\n":
            out.write_text(text)
        with draws.lending(recipe_with(tmp_path), solver, ASKED, out):
            if text == "first\n":
                out.write_text(text)
    assert [out.read_text() for out in outs] == ["first\n", "own\n", "first\n"]


@pytest.mark.parametrize("damage", ["a byte", "a missing file", "no sums"])
def test_a_damaged_copy_is_drawn_again(grader: Grader, tmp_path: Path, damage: str) -> None:
    draws, recipe = SharedDraws(tmp_path / "shared"), recipe_with(tmp_path)
    for name in ("one", "two", "three"):
        sampler = ScriptedSampler(doubling)
        solver = scripted_solver(sampler, grader)
        with draws.lending(recipe, solver, ASKED, tmp_path / name / "base-t1"):
            evaluate(solver, ASKED, tmp_path / name / "base-t1")
        assert bool(sampler.calls) is (name != "three")
        (samples,) = (tmp_path / "shared").glob("*/base-t1/samples.jsonl")
        if name == "one" and damage == "a byte":
            samples.write_bytes(samples.read_bytes().replace(b"p1", b"p2", 1))
        elif name == "one":
            (samples if damage == "a missing file" else samples.parents[1] / "sums.json").unlink()


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_drawn(grader: Grader, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file")
    sampler = ScriptedSampler(doubling)
    solver = scripted_solver(sampler, grader)
    asked = SharedDraws(tmp_path / "shared").lending(recipe_with(tmp_path), solver, ASKED, tmp_path / "base-t1")
    with pytest.raises(InputError, match=r"shared: cannot be written \(.*\), and draws are shared there"), asked:
        evaluate(solver, ASKED, tmp_path / "base-t1")
    assert not sampler.calls


def test_problems_that_state_something_else_are_another_question(grader: Grader, tmp_path: Path) -> None:
    """A tolerance decides grades, and what a probe stores of a problem goes into training."""
    solver, recipe = scripted_solver(ScriptedSampler(doubling), grader), recipe_with(tmp_path)
    others = [replace(PROBLEMS[0], meta={"tolerance": "0.1"}), *PROBLEMS[1:]]
    keys = {str(key_of(recipe, solver, replace(ASKED, problems=problems))) for problems in (PROBLEMS, others)}
    served = replace(ASKED, decoding=ASKED.decoding.model_copy(update={"engine": "vllm"}))
    assert len(keys | {str(key_of(recipe, solver, served))}) == 3


@pytest.mark.parametrize("phases", [{}, {"phases": [{"name": "only", "steps": 2, "group_size": 4, **OFFLINE}]}])
def test_a_run_that_finds_everything_on_the_shelf_ends_with_the_same_weights(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phases: dict[str, object]
) -> None:
    """One run alone, one that shares, and one that finds it: the probe, the offline rollouts and the base's evaluation are
    not drawn again, and nothing else differs."""
    drawn: list[int] = []
    attempt_each = Solver.attempt_each

    def counted(self: Solver, assignments: Sequence[Assignment], *rest: Any, **more: Any) -> list[Group]:
        drawn.append(sum(assignment.num_samples for assignment in assignments))
        return attempt_each(self, assignments, *rest, **more)

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
