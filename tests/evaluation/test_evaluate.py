"""Attempts that outlive a kill, evaluations that come out the same to the byte."""

import json
from dataclasses import replace

import pytest
from scripted import PROBLEMS, ScriptedSampler, doubling, scripted_solver

from laconic.cli.catalogue import CATALOGUE
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError, RunError
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.evaluation.planned_prompts import PLANNERS
from laconic.grading.grader import Grader
from laconic.rollouts.log import chunks

DECODING = SamplerConfig(max_tokens=64, batch_size=2)  # chunks of 8 rows: two problems with 4 samples
ASKED = EvaluationRequest("sums", PROBLEMS, 4, DECODING, seed=0)


@pytest.fixture(scope="module")
def grader():
    with Grader() as pool:
        yield pool


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if "timing" not in path.name}


def test_chunks_hold_four_batches_of_rows():
    assert [len(chunk) for chunk in chunks(PROBLEMS, 4, DECODING)] == [2, 2, 2, 2, 2]
    assert [len(chunk) for chunk in chunks(PROBLEMS, 100, DECODING)] == [1] * 10


def test_the_figures_are_those_of_the_rows(grader, tmp_path):
    """5 even problems always right, 5 odd ones half the time: (5 + 2.5) / 10; tokens 10 + number + sample: 10 + 4.5 + 1.5."""
    summary = evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    assert summary.figures.accuracy.estimate == pytest.approx(0.75)
    assert summary.figures.tokens.estimate == pytest.approx(16.0)
    assert summary.figures.thinking_tokens.estimate == pytest.approx(
        14.0
    ) and summary.figures.answer_tokens.estimate == pytest.approx(2.0)
    assert summary.figures.oracle_tokens == 3.0
    assert json.loads((tmp_path / "timing.json").read_text())["num_tokens"] == 16 * 40


def test_run_twice_the_files_are_the_same_bytes(grader, tmp_path):
    for name in ("one", "two"):
        evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("calls_before_the_kill", [1, 3])
@pytest.mark.parametrize("torn", [b"", b'{"problem_id": "p2", "sam'])
def test_killed_and_taken_up_again_the_files_are_the_same_bytes(grader, tmp_path, calls_before_the_kill, torn):
    """A kill between chunks, or in the middle of a line: what is whole is not drawn again, the rest is."""
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(scripted_solver(ScriptedSampler(doubling, calls_before_the_kill), grader), ASKED, tmp_path / "killed")
    with (tmp_path / "killed" / "samples.jsonl").open("ab") as file:
        file.write(torn)
    again = ScriptedSampler(doubling)
    evaluate(scripted_solver(again, grader), ASKED, tmp_path / "killed")
    assert len(again.calls) == 5 - calls_before_the_kill
    assert files(tmp_path / "whole") == files(tmp_path / "killed")


def test_a_chunk_that_was_cut_in_the_middle_is_drawn_again_whole(grader, tmp_path):
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path / "whole")
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path / "cut")
    rows = (tmp_path / "cut" / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut" / "samples.jsonl").write_bytes(b"".join(rows[:13]))  # one chunk and five rows of the second
    (tmp_path / "cut" / "summary.json").unlink()
    again = ScriptedSampler(doubling)
    evaluate(scripted_solver(again, grader), ASKED, tmp_path / "cut")
    assert len(again.calls) == 4
    assert files(tmp_path / "whole") == files(tmp_path / "cut")


def test_a_finished_evaluation_is_kept(grader, tmp_path):
    first = evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    again = ScriptedSampler(doubling)
    assert evaluate(scripted_solver(again, grader), ASKED, tmp_path).to_json() == first.to_json()
    assert not again.calls


def test_a_finished_evaluation_that_was_damaged_is_mended(grader, tmp_path):
    """A row broken in the middle: it and what follows is drawn again, to the same bytes."""
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    before = files(tmp_path)
    rows = before["samples.jsonl"].splitlines(keepends=True)
    (tmp_path / "samples.jsonl").write_bytes(b"".join([*rows[:9], b'{"broken\n', *rows[10:]]))
    again = ScriptedSampler(doubling)
    evaluate(scripted_solver(again, grader), ASKED, tmp_path)
    assert len(again.calls) == 4 and files(tmp_path) == before


def test_a_folder_whose_files_disagree_is_refused(grader, tmp_path):
    """The summary of another evaluation, or more samples than were asked for; without a summary it is computed again."""

    def again():
        return evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)

    first = again()
    summary, samples = tmp_path / "summary.json", tmp_path / "samples.jsonl"
    for other in (json.loads(summary.read_text()) | {"seed": 1}, {}):
        summary.write_text(json.dumps(other))
        with pytest.raises(
            RunError, match=r"summary\.json: is not of these settings; remove it, and it is computed again"
        ):
            again()
    summary.unlink()
    assert again().to_json() == first.to_json()
    samples.write_bytes(samples.read_bytes() + samples.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(RunError, match=r"samples\.jsonl: holds 41 responses, more than the 40 of this evaluation"):
        again()


@pytest.mark.parametrize(
    "timing", [{}, {"wall_seconds": "long", "num_tokens": 1}, {"wall_seconds": 1.0, "num_tokens": -1}]
)
def test_a_damaged_clock_is_named(grader, tmp_path, timing):
    (tmp_path / "timing.json").write_text(json.dumps(timing))
    with pytest.raises(InputError, match=r"timing\.json: (wall_seconds|num_tokens) is "):
        evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)


@pytest.mark.parametrize(
    "changed, key",
    [
        (replace(ASKED, seed=1), "seed"),
        (replace(ASKED, problems=PROBLEMS[::-1]), "problems_digest"),
        (replace(ASKED, decoding=SamplerConfig(max_tokens=65, batch_size=2)), "max_tokens"),
        (replace(ASKED, budgets=(8,)), "budgets"),
    ],
)
def test_a_folder_of_something_else_is_refused(grader, tmp_path, changed, key):
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    with pytest.raises(RunError, match=f"was begun with {key} "):
        evaluate(scripted_solver(ScriptedSampler(doubling), grader), changed, tmp_path)


def test_other_weights_under_the_same_name_are_refused(grader, tmp_path):
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    with pytest.raises(RunError, match="fingerprint"):
        evaluate(scripted_solver(ScriptedSampler(doubling), grader, weights="second"), ASKED, tmp_path)


def test_samples_without_settings_are_refused(grader, tmp_path):
    (tmp_path / "samples.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match=r"without settings\.json"):
        evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)


# --- TALE ------------------------------------------------------------------------------------------------------------


def elastic(key, sample, turn):
    """Takes 40 tokens unasked, and what it is asked for down to 10; below that it gets long and wrong. Guesses 25; p0 none."""
    number = int(key[1:])
    if "Guess" in turn:
        return ("²⁵" if number == 0 else "25"), 5
    if "less than" not in turn:
        return str(2 * number), 40
    budget = int(turn.split("less than ")[1].split()[0])
    return (str(2 * number), budget) if budget >= 10 else ("0.5", 90)


def test_tale_asks_for_the_budget_that_the_model_guesses(grader, tmp_path):
    """Nine problems at 25 tokens, one without a readable guess at 40: (9 * 25 + 40) / 10; a guess costs 5."""
    summary = evaluate(scripted_solver(ScriptedSampler(elastic), grader, "tale"), replace(ASKED, samples=1), tmp_path)
    assert summary.figures.tokens.estimate == pytest.approx(26.5)
    assert summary.planning == {
        "tokens_per_problem": 5.0,
        "mean_budget": 25.0,
        "num_without_budget": 1,
        "uses_answers": False,
    }


def test_tale_s_search_halves_until_the_answer_breaks(grader, tmp_path):
    """40 unasked, then 20 and 10 are right and shorter, 5 is wrong: 10 stays; it cost 40 + 20 + 10 + 90 tokens a problem."""
    summary = evaluate(
        scripted_solver(ScriptedSampler(elastic), grader, "tale_search"), replace(ASKED, samples=1), tmp_path
    )
    assert summary.figures.tokens.estimate == pytest.approx(10.0)
    assert summary.planning["mean_budget"] == 10.0 and summary.planning["uses_answers"]
    assert summary.planning["tokens_per_problem"] == pytest.approx(160.0)


def test_every_planned_prompt_is_listed():
    assert set(PLANNERS) <= set(CATALOGUE["prompts"]())


def test_every_planned_prompt_resumes(grader, tmp_path):
    for name in PLANNERS:
        evaluate(scripted_solver(ScriptedSampler(elastic), grader, name), ASKED, tmp_path / f"{name}-whole")
        with pytest.raises(KeyboardInterrupt):
            evaluate(scripted_solver(ScriptedSampler(elastic, 1), grader, name), ASKED, tmp_path / name)
        evaluate(scripted_solver(ScriptedSampler(elastic), grader, name), ASKED, tmp_path / name)
        assert files(tmp_path / name) == files(tmp_path / f"{name}-whole")
