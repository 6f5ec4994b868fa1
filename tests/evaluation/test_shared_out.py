"""Evaluations and probes that several processes share out: the files are those of one process, after a kill too."""

import shutil
from dataclasses import replace

import pytest
from ranked import in_team
from small import save_small_model

from laconic.config.solver import SamplerConfig
from laconic.errors import RunError
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.notebook.solvers import open_solver
from laconic.problems.load import load_problems
from laconic.selection.probe import Band, probe_to_file

PROBLEMS = load_problems("tiny:count?count=5&split=report", seed=0)
DECODING = SamplerConfig(max_tokens=6, batch_size=1)  # five chunks, of two problems and of one
BAND = Band(0.2, 0.8, round_size=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


def work_of(model, folder, prompt="boxed"):
    """Evaluates the model and probes it, in the team that it is called with; returns what the evaluation and the probe return."""

    def work(team):
        solver = replace(open_solver(str(model), prompt=prompt), team=team)
        request = EvaluationRequest("count", PROBLEMS, 2, DECODING, 0, budgets=(2,))
        with solver.grader:
            summary = evaluate(solver, request, folder / "evaluation")
            stats = probe_to_file(solver, PROBLEMS, 3, DECODING, folder / "probe.jsonl", seed=0, band=BAND)
        return summary.to_json(), stats

    return work


def files_of(folder):
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and "timing" not in path.name]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def by_one(model, tmp_path_factory):
    """The folder that one process leaves, and what its work returns."""
    folder = tmp_path_factory.mktemp("one")
    (returned,) = in_team(1, work_of(model, folder), folder.with_name("results"))
    return folder, returned


def test_any_number_of_processes_leaves_the_same_files(by_one, model, tmp_path):
    """Six processes for five problems: some have nothing to do. Every process knows the result."""
    folder, returned = by_one
    for size in (2, 6):
        results = in_team(size, work_of(model, tmp_path / str(size)), tmp_path / "results")
        assert results == [returned] * size
        assert files_of(tmp_path / str(size)) == files_of(folder)


def test_what_a_kill_left_is_finished_by_two(by_one, model, tmp_path):
    """Rows are cut off in the middle of a line, and the summaries are missing."""
    folder, _ = by_one
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    for rows in (half / "evaluation" / "samples.jsonl", half / "probe.samples.jsonl"):
        content = rows.read_bytes()
        rows.write_bytes(content[: len(content) // 2])
    (half / "evaluation" / "summary.json").unlink()
    (half / "probe.jsonl").unlink()
    in_team(2, work_of(model, half), tmp_path / "results")
    assert files_of(half) == files_of(folder)


def test_a_folder_of_other_settings_is_refused_by_all(by_one, model, tmp_path):
    """All raise what the first process has found, so that all end alike."""
    folder, _ = by_one

    def work(team):
        with pytest.raises(RunError, match="was begun with prompt"):
            work_of(model, folder, prompt="none")(team)
        return True

    before = files_of(folder)
    assert in_team(2, work, tmp_path / "results") == [True, True]
    assert files_of(folder) == before
