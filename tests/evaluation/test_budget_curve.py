"""Thinking and answer apart, and the budget curve: thinking cut, an answer forced."""

import json
from dataclasses import replace

import pytest
import torch
from scripted import PROBLEMS, ScriptedSampler, doubling, scripted_solver
from small import save_small_model

from laconic.config.policy import PolicyConfig
from laconic.config.solver import PromptConfig, SamplerConfig
from laconic.errors import InputError, RunError
from laconic.evaluation import evaluate as evaluate_module
from laconic.evaluation.budget_curve import budget_curve
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.grading.grader import Grader
from laconic.models.loading import TINY, load_model
from laconic.problems.load import load_problems
from laconic.prompts.forced_answers import force_text, forced_ids
from laconic.prompts.thinking import thinking_tokens
from laconic.rollouts.forcing import ANSWER_TOKENS, force_answers
from laconic.rollouts.rows import ForcedAnswer, read_rows
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.types import FinishReason, Response

DECODING = SamplerConfig(temperature=0.0, max_tokens=320)


@pytest.fixture(scope="module")
def solver():
    lm = load_model(TINY, PolicyConfig())
    with Grader() as grader:
        yield Solver(lm, LocalSampler(lm), grader, PromptConfig())


def response(tokenizer, text, finish=FinishReason.STOP):
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    return Response(ids, (0.0,) * len(ids), text, finish)


@pytest.mark.parametrize(
    "text, finish, expected",
    [
        ("1+2=3;</think>\\boxed{3}", FinishReason.STOP, 7),  # 1 + 2 = 3 ; </think>
        ("1</think>2</think>\\boxed{3}", FinishReason.STOP, 4),  # the last end counts, as it does for the grader
        ("1+2=3;1+2", FinishReason.LENGTH, 9),  # cut off while thinking
        ("\\boxed{3}", FinishReason.STOP, 0),  # did not think
    ],
)
def test_thinking_is_what_comes_before_the_last_end_of_thinking(solver, text, finish, expected):
    assert thinking_tokens(response(solver.lm.tokenizer, text, finish), solver.lm.tokenizer) == expected


def test_a_model_that_knows_no_thinking_says_nothing_of_it():
    class Plain:
        @staticmethod
        def get_vocab():
            return {"a": 0}

    assert thinking_tokens(Response((1,), (0.0,), "a", FinishReason.STOP), Plain()) is None


def test_what_an_endpoint_reports_is_passed_on():
    assert thinking_tokens(Response((), (), "a", FinishReason.STOP, 9, 4), None) == 4


def test_a_forced_answer_is_what_the_model_says_after_its_cut_thinking(solver):
    """Each forced rollout equals asking the model, by its own forward pass, to go on from prompt, cut and forced text."""
    problems = load_problems("tiny:mix?count=6&split=report")
    groups = solver.attempt(problems, 1, DECODING, seed=0)
    forced = force_answers(solver, groups, [8, 10_000], DECODING, seed=0)
    tokenizer, text = solver.lm.tokenizer, force_text(solver.lm.tokenizer)
    for group, entry in zip(groups, forced, strict=True):
        ids = list(group.prompt_ids + group.rollouts[0].response.token_ids[:8])
        ids += tokenizer.encode(text, add_special_tokens=False)
        start = len(ids)
        while len(ids) - start < ANSWER_TOKENS and (len(ids) == start or ids[-1] not in solver.lm.stop_ids):
            with torch.no_grad():
                ids.append(int(solver.lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
        grade = solver.grader.grade_many([(text + solver.lm.decode(ids[start:]), group.problem, False)])[0].grade
        assert entry[8] == ForcedAnswer(grade, 8 + len(ids) - start, is_cut=True)
        natural = group.rollouts[0]
        assert entry[10_000] == ForcedAnswer(natural.grade, natural.num_tokens, is_cut=False)


def test_more_budget_buys_accuracy_until_the_thinking_is_whole(solver, tmp_path):
    """With all the thinking it wants the curve ends at the evaluation's own accuracy and tokens."""
    problems = load_problems("tiny:mix?count=40&split=report")
    asked = EvaluationRequest("mix", problems, 1, DECODING, seed=0, budgets=(4, 64, 320))
    summary = evaluate(solver, asked, tmp_path)
    points = json.loads((tmp_path / "budget_curve.json").read_text())["points"]
    assert [point["budget"] for point in points] == [4, 64, 320]
    assert points[0]["accuracy"]["mean"] < points[1]["accuracy"]["mean"] < points[2]["accuracy"]["mean"]
    assert points[2]["accuracy"] == summary.to_json()["accuracy"]
    assert points[2]["tokens"]["mean"] == summary.figures.tokens.estimate and points[2]["cut_frac"] == 0.0
    assert points[0]["cut_frac"] == 1.0 and points[0]["tokens"]["mean"] <= 4 + ANSWER_TOKENS
    again = budget_curve(read_rows(tmp_path / "samples.jsonl"), force_text(solver.lm.tokenizer), seed=0)
    assert again["points"] == points


def test_an_endpoint_cannot_be_cut(tmp_path):
    with Grader() as grader, pytest.raises(InputError, match=r"^budgets: an endpoint"):
        asked = EvaluationRequest("sums", PROBLEMS, 1, DECODING, seed=0, budgets=(4,))
        evaluate(scripted_solver(ScriptedSampler(doubling), grader), asked, tmp_path)


def test_budgets_that_leave_no_room_are_refused_before_anything_is_drawn(solver, tmp_path):
    """The context holds the longest prompt and 100 tokens more: 32 of the answer, and the forced words. One budget fits to the
    token; one more does not, unless no response is as long."""
    problems = load_problems("tiny:mix?count=6&split=report")
    longest, problem_id = solver.longest_prompt(problems)
    room = 100 - ANSWER_TOKENS - len(forced_ids(solver.lm.tokenizer))
    config = solver.lm.model.config
    whole, config.max_position_embeddings = config.max_position_embeddings, longest + 100
    try:
        asked = EvaluationRequest("mix", problems, 1, DECODING.model_copy(update={"max_tokens": 99}), seed=0)
        says = rf"budgets {room + 1}: with the prompt of problem {problem_id} .*; expected at most {room}$"
        with pytest.raises(InputError, match=says):
            evaluate(solver, replace(asked, budgets=(8, room + 1)), tmp_path / "out")
        assert not (tmp_path / "out" / "settings.json").exists()
        evaluate(solver, replace(asked, budgets=(8, room)), tmp_path / "out")
        with pytest.raises(RunError, match="was begun with budgets "):
            evaluate(solver, replace(asked, budgets=(8,)), tmp_path / "out")
        evaluate(solver, replace(asked, budgets=(8, 99)), tmp_path / "beyond the cap")
    finally:
        config.max_position_embeddings = whole


def test_words_that_force_another_answer_are_another_evaluation(solver, tmp_path, monkeypatch):
    problems = load_problems("tiny:mix?count=2&split=report")
    asked = EvaluationRequest("mix", problems, 1, DECODING, seed=0, budgets=(4,))
    evaluate(solver, asked, tmp_path)
    monkeypatch.setattr(evaluate_module, "force_text", lambda tokenizer: "So:")
    with pytest.raises(RunError, match="was begun with force_text "):
        evaluate(solver, asked, tmp_path)


def test_a_fingerprint_is_that_of_the_weights_as_stored(tmp_path):
    """Held rounded for bfloat16 arithmetic or not, stored in float32 or bfloat16: a folder begun with one goes on with the other.
    Weights that are changed afterwards have a fingerprint of their own."""
    place = str(save_small_model(tmp_path / "one", 0))
    plain = load_model(place, PolicyConfig(dtype="float32"))
    rounded = load_model(place, PolicyConfig(dtype="bfloat16"), is_trained=False)
    assert (plain.computes_in, rounded.computes_in) == ("float32", "bfloat16")
    held = rounded.model.get_parameter("model.layers.0.mlp.down_proj.weight")
    assert held.dtype == torch.bfloat16
    assert rounded.fingerprint() == plain.fingerprint()
    rounded.hold_rounded()
    assert rounded.fingerprint() == plain.fingerprint()
    with torch.no_grad():
        held.mul_(2.0)
    assert rounded.fingerprint() != plain.fingerprint()


def test_two_models_of_one_name_have_two_fingerprints(tmp_path):
    """The same weights give the same fingerprint wherever they lie."""
    one, same, other = (
        load_model(str(save_small_model(tmp_path / name, seed)), PolicyConfig()).fingerprint()
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert one == same != other
