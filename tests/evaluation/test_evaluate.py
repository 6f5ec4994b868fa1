"""Attempts that outlive a kill, evaluations that come out the same to the byte."""

import json
from dataclasses import dataclass, replace

import pytest
from scripted import PROBLEMS, ScriptedModel, ScriptedSampler, doubling, scripted_solver

from laconic.cli.catalogue import CATALOGUE
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError, RunError
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.evaluation.planned_prompts import PLANNERS
from laconic.grading.grader import Grader
from laconic.grading.own import OwnGrader
from laconic.rollouts import solver as solver_module
from laconic.rollouts.log import LATER, chunks

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


@pytest.mark.parametrize("stated", ["7", True, -1, float("nan"), pytest.param(10**400, id="huge"), [3]])
def test_a_shortest_length_that_is_none_is_named_before_anything_is_drawn(stated):
    problem = replace(PROBLEMS[1], meta={"oracle_tokens": stated})
    with pytest.raises(InputError, match=f"oracle_tokens of problem '{problem.id}': expected a number of tokens"):
        replace(ASKED, problems=[PROBLEMS[0], problem])


def test_budgets_are_whole_numbers_in_order_each_once():
    assert replace(ASKED, budgets=(32, 16, 32)).budgets == (16, 32)
    for budgets in [(0, 32), (-3,), (1.5,), ("a",), (True,)]:
        with pytest.raises(InputError, match="budgets: expected whole numbers from 1 up, got "):
            replace(ASKED, budgets=budgets)


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


def missing_grade(line):
    return json.dumps({key: value for key, value in json.loads(line).items() if key != "grade"}).encode() + b"\n"


DAMAGES = {
    "half of it": lambda line: line[:40] + b"\n",
    "half of it, and the next one": lambda line: line[:40],
    "another byte": lambda line: b"#" + line[1:],
    "nothing": lambda line: b"\n",
    "zeros": lambda line: b"\0" * 9 + b"\n",
    "a grade that is none": lambda line: line.replace(b'"grade": "', b'"grade": "x', 1),
    "no grade": missing_grade,
}


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_row_that_others_follow_is_refused_and_nothing_is_dropped(grader, tmp_path, damage, is_finished):
    """The 10th of 40 rows: the 30 behind it may be what no seed brings back."""
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    rows = (tmp_path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "samples.jsonl").write_bytes(b"".join([*rows[:9], damage(rows[9]), *rows[10:]]))
    if not is_finished:
        (tmp_path / "summary.json").unlink()
    before, again = files(tmp_path), ScriptedSampler(doubling)
    with pytest.raises(RunError, match=r"samples\.jsonl, line 10: .*follow it: mend it or put back a copy") as refused:
        evaluate(scripted_solver(again, grader), ASKED, tmp_path)
    assert "\n" not in str(refused.value)
    assert not again.calls and files(tmp_path) == before


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_last_row_is_drawn_again(grader, tmp_path, damage):
    """It and its chunk, to the same bytes."""
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    before = files(tmp_path)
    rows = before["samples.jsonl"].splitlines(keepends=True)
    (tmp_path / "samples.jsonl").write_bytes(b"".join([*rows[:-1], damage(rows[-1])]))
    again = ScriptedSampler(doubling)
    evaluate(scripted_solver(again, grader), ASKED, tmp_path)
    assert len(again.calls) == 1 and files(tmp_path) == before


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
        (replace(ASKED, decoding=SamplerConfig(max_tokens=64, batch_size=2, engine="vllm")), "engine"),
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


# --- settings that older folders do not state ------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalModel(ScriptedModel):
    """A model in this process, as far as settings describe it."""

    computes_in: str = "float32"
    stop_ids: frozenset[int] = frozenset({2})


def solver_with(grader, sampler=None, instruction="boxed", **changes):
    solver = scripted_solver(sampler or ScriptedSampler(doubling), grader, instruction)
    return replace(solver, lm=LocalModel(**changes))


def make_older(folder):
    """Settings as they were written before these keys were."""
    settings = json.loads((folder / "settings.json").read_text())
    assert LATER & settings.keys()
    kept = {key: value for key, value in settings.items() if key not in LATER}
    (folder / "settings.json").write_text(json.dumps(kept))


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize(
    ("changes", "key"), [({"computes_in": "bfloat16"}, "dtype"), ({"stop_ids": frozenset({2, 7})}, "stop_ids")]
)
def test_another_arithmetic_or_end_is_refused_where_the_folder_states_its_own(
    grader, tmp_path, changes, key, is_finished
):
    evaluate(solver_with(grader), ASKED, tmp_path)
    if not is_finished:
        (tmp_path / "summary.json").unlink()
    with pytest.raises(RunError, match=f"was begun with {key} "):
        evaluate(solver_with(grader, **changes), ASKED, tmp_path)
    make_older(tmp_path)
    again = ScriptedSampler(doubling)
    for _ in range(2):
        evaluate(solver_with(grader, again, **changes), ASKED, tmp_path)
    assert not again.calls
    assert not LATER & json.loads((tmp_path / "settings.json").read_text()).keys(), (
        "nobody knows what the rows were drawn with"
    )


def test_another_prompt_under_the_same_name_is_refused(grader, tmp_path, monkeypatch):
    """As where a chat template was mended between two sessions."""
    evaluate(solver_with(grader), ASKED, tmp_path)
    monkeypatch.setattr(solver_module, "messages", lambda problem, *_: [{"role": "user", "content": "Well?"}])
    with pytest.raises(RunError, match="was begun with prompt_digest "):
        evaluate(solver_with(grader), ASKED, tmp_path)


def test_an_endpoint_states_no_arithmetic(grader, tmp_path):
    evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    stated = json.loads((tmp_path / "settings.json").read_text()).keys()
    assert not {"dtype", "stop_ids", "engine", "tolerances", "statements", "force_text"} & stated


def granting(tolerance, others=None):
    """The ten problems, of which p1 grants its answer a tolerance."""
    meta = {} if tolerance is None else {"tolerance": tolerance}
    problems = [replace(p, meta=dict(p.meta) | (meta if p.id == "p1" else {}) | (others or {})) for p in PROBLEMS]
    return replace(ASKED, problems=problems)


TOLERANCES = [(None, "5"), ("5", None), ("0.1", 5), (None, [0.1]), ([0.1], [0.2])]


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize(("before", "after"), TOLERANCES)
def test_another_tolerance_is_refused(grader, tmp_path, before, after, is_finished):
    """Of an older folder too, as far as what it keeps of the problems says it: of lists it was silent."""
    evaluate(solver_with(grader), granting(before), tmp_path)
    if not is_finished:
        (tmp_path / "summary.json").unlink()
    with pytest.raises(RunError, match="was begun with tolerances "):
        evaluate(solver_with(grader), granting(after), tmp_path)
    make_older(tmp_path)
    if not (before is None and isinstance(after, list)):
        for _ in range(2):
            with pytest.raises(RunError, match=r"problem_meta\.jsonl: problem p1 was graded with tolerance "):
                evaluate(solver_with(grader), granting(after), tmp_path)


@pytest.mark.parametrize(("before", "after"), [("0.1", 0.1), ([0.1, 2], ["0.1", "2"]), (None, None)])
def test_the_same_tolerance_however_it_is_written_is_no_other(grader, tmp_path, before, after):
    evaluate(solver_with(grader), granting(before, {"level": 1}), tmp_path)
    again = ScriptedSampler(doubling)
    evaluate(solver_with(grader, again), granting(after, {"level": 2}), tmp_path)
    make_older(tmp_path)
    evaluate(solver_with(grader, again), granting(after, {"level": 2}), tmp_path)
    assert not again.calls


def test_a_grader_of_ones_own_may_read_all_that_a_problem_states(tmp_path):
    (tmp_path / "mine.py").write_text("def grade(attempt):\n    return attempt.meta['level'] > 1\n")
    with OwnGrader("mine.py:grade", tmp_path, 1, 20.0) as own:
        evaluate(solver_with(own), granting(None, {"level": 1}), tmp_path / "out")
        with pytest.raises(RunError, match="was begun with statements "):
            evaluate(solver_with(own), granting(None, {"level": 2}), tmp_path / "out")
        again = ScriptedSampler(doubling)
        evaluate(solver_with(own, again), granting(None, {"level": 1}), tmp_path / "out")
        assert not again.calls


def test_bleu_is_added_to_a_finished_evaluation(grader, tmp_path):
    """From the stored rows, without a draw; everything else of the summary stays, and BLEU once computed stays too."""
    asked = granting(None, {"solution": "so the sum is found"})
    first = evaluate(solver_with(grader), asked, tmp_path / "plain")
    whole = evaluate(solver_with(grader), replace(asked, with_bleu=True), tmp_path / "whole")
    again = ScriptedSampler(doubling)
    added = evaluate(solver_with(grader, again), replace(asked, with_bleu=True), tmp_path / "plain")
    assert first.figures.bleu is None and whole.figures.bleu is not None and not again.calls
    assert added.to_json() == whole.to_json()
    assert evaluate(solver_with(grader, again), asked, tmp_path / "plain").figures.bleu == whole.figures.bleu
    assert files(tmp_path / "plain")["summary.json"] == files(tmp_path / "whole")["summary.json"]
    evaluate(solver_with(grader), ASKED, tmp_path / "none")
    with pytest.raises(InputError, match="--bleu: not every problem"):
        evaluate(solver_with(grader, again), replace(ASKED, with_bleu=True), tmp_path / "none")


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
