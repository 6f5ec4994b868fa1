"""Worked solutions as responses: closed by a token at which a response stops, and refused or said where they cannot teach."""

from contextlib import nullcontext

import pytest
from examined import PASSES_ALL
from small import save_small_model

from laconic.comparison.audit import Stored
from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.config.solver import PromptConfig, SamplerConfig
from laconic.errors import InputError
from laconic.grading.extraction import extract_answer
from laconic.grading.grader import Grader
from laconic.models.loading import load_model
from laconic.models.policy import Policy
from laconic.problems.load import load_problems
from laconic.rollouts.rows import paid_rows_of, rows_of
from laconic.rollouts.solver import Solver
from laconic.rollouts.sources import SOURCES, SourceSetting
from laconic.rollouts.worked_solutions import grade_solutions
from laconic.samplers.local import LocalSampler
from laconic.types import FinishReason, Grade, Problem, Response

CONFIG = PolicyConfig(device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model"))


def problem(number, solution):
    return Problem(f"p{number}", f"What is {number} + {number}?", str(2 * number), meta={"solution": solution})


def groups_of(lm, problems, said, **changes):
    """The groups that the source `solutions` makes of the problems, in order; what it says goes to `said`."""
    phase = PhaseConfig(
        name="cold", steps=1, rollouts="solutions", group_size=1, algorithm={"name": "sft", "old_logprobs": "current"}
    )
    with Grader() as grader:
        solver = Solver(lm, LocalSampler(lm), grader, PromptConfig(**changes))
        said.extend(grade_solutions(solver, lm, problems, "phases.cold.rollouts")[2])
        setting = SourceSetting(solver, lm, phase, problems, 0, None, list, lambda *_: nullcontext(lambda *_: None))
        return SOURCES["solutions"](setting).groups(problems, step=1)


CLOSED = "3+3=6;</think>\\boxed{6}"


@pytest.mark.parametrize(
    ("ends", "eos", "closing"),
    [([1], "<|end|>", "<|end|>"), ([1], "<|pad|>", "<|end|>"), ([1], None, "<|end|>"), ([0], "<|pad|>", "<|pad|>")],
)
def test_a_solution_is_closed_by_a_token_that_the_saved_model_stops_at(folder, ends, eos, closing, tmp_path):
    lm = load_model(str(folder), CONFIG)
    lm.tokenizer.eos_token, lm.model.generation_config.eos_token_id = eos, ends
    (group,) = groups_of(lm, [problem(3, CLOSED)], said := [])
    ids = group.rollouts[0].response.token_ids
    assert lm.tokenizer.convert_ids_to_tokens(ids[-1]) == closing and ids[-1] in lm.stop_ids
    assert group.rollouts[0].grade is Grade.CORRECT and said == []
    Policy(lm, CONFIG, seed=0).save(tmp_path)
    again = load_model(str(tmp_path), CONFIG)
    stated = again.model.generation_config.eos_token_id
    assert ids[-1] in (stated if isinstance(stated, list) else [stated])
    assert again.stop_ids == lm.stop_ids


def test_without_any_end_token_the_source_says_so(folder):
    lm = load_model(str(folder), CONFIG)
    lm.tokenizer.eos_token, lm.model.generation_config.eos_token_id = None, None
    with pytest.raises(InputError, match="no end token is stated: every response runs to its cap; set eos_token_id"):
        groups_of(lm, [problem(3, CLOSED)], [])


def test_what_the_prompt_has_opened_is_not_opened_twice_and_an_end_is_written_once(folder):
    lm = load_model(str(folder), CONFIG)
    plain, marked = groups_of(lm, [problem(3, CLOSED), problem(4, f"<think>{CLOSED.replace('6', '8')}<|end|>")], [])
    assert [len(group.rollouts[0].response.token_ids) for group in (plain, marked)] == [
        11,
        11,
    ]  # 3 + 3 = 6 ; </think> \boxed{ 6 } <|end|>
    assert "<think>" not in marked.rollouts[0].response.text
    assert plain.rollouts[0].response.thinking_tokens == 7  # 3 + 3 = 6 ; </think>


@pytest.mark.parametrize(
    ("solution", "says"),
    [
        ("3+3=6;", "end inside the thinking, which the prompt opens with <think>; write </think> before the answer"),
        (r"</think>\boxed{9}", "are not graded correct: 1 wrong"),
        (r"</think>\boxed{}", "are not graded correct: 1 no_answer"),
        (r"zebra </think>\boxed{8}", "hold text that the tokenizer cannot write"),
    ],
)
def test_solutions_that_do_not_teach_are_counted_in_a_line(folder, solution, says):
    groups_of(load_model(str(folder), CONFIG), [problem(3, CLOSED), problem(4, solution)], said := [])
    assert said == [f"1 of 2 solutions (the first is of problem p4) {says}"]


@pytest.mark.parametrize(
    ("solutions", "says"),
    [
        (["3+3=6;", "\\boxed{8}"], "there is nothing to learn from: 2 of 2 solutions .* end inside the thinking"),
        (["</think>\\boxed{5}"], "there is nothing to learn from: 1 of 1 solutions .* 1 wrong"),
        (
            [CLOSED, "4+4=8;" * 500 + CLOSED],
            r"1 of 2 .* problem p4\) exceed with their prompts .*, 2048 tokens: the longest takes 3",
        ),
        ([CLOSED, "4+4=8;<|end|></think>\\boxed{8}"], "1 of 2 solutions .* hold an end token before their end"),
        ([CLOSED, " "], "problem p4: has no 'solution'"),
    ],
)
def test_solutions_that_cannot_be_learnt_are_refused_in_a_line(folder, solutions, says):
    lm = load_model(str(folder), CONFIG)
    problems = [problem(3 + i, solution) for i, solution in enumerate(solutions)]
    with pytest.raises(InputError, match=says) as caught:
        groups_of(lm, problems, [])
    assert "\n" not in str(caught.value)


def test_under_a_template_that_opens_nothing_a_plain_solution_is_whole(folder):
    lm = load_model(str(folder), CONFIG)
    lm.tokenizer.chat_template = PASSES_ALL
    (group,) = groups_of(lm, [problem(3, "3+3=6;")], said := [])
    assert group.rollouts[0].grade is Grade.CORRECT and said == []


class Saying(LocalSampler):
    """Says the same in every response."""

    def sample(self, requests, decoding, *, seed, on_progress=None):
        ids = tuple(self.lm.tokenizer.encode(r"so \boxed{6} wait,<|end|>", add_special_tokens=False))
        return [[Response(ids, (0.0,) * len(ids), self.lm.decode(ids), FinishReason.STOP)] for _ in requests]


@pytest.mark.parametrize(("template", "grade", "answer"), [(None, "no_answer", None), (PASSES_ALL, "correct", "6")])
def test_a_thought_that_the_prompt_opened_and_nothing_ended_is_no_answer(folder, template, grade, answer):
    """Grade, thinking tokens, stored rows and audit agree; under a template that opens nothing the same text is an answer."""
    lm = load_model(str(folder), CONFIG)
    lm.tokenizer.chat_template = template or lm.tokenizer.chat_template
    with Grader() as grader:
        solver = Solver(lm, Saying(lm), grader, PromptConfig())
        (group,) = solver.attempt([problem(3, "")], 1, SamplerConfig(max_tokens=4), seed=0)
    (rollout,) = group.rollouts
    assert (rollout.grade, rollout.answer) == (grade, answer)
    assert rollout.response.thinking_tokens == (0 if answer else rollout.num_tokens)
    for row in (*rows_of(group), *paid_rows_of(group)):
        assert extract_answer(Stored("f", 1, row).item[0]) == answer


def test_the_embedded_reasoners_own_solutions_all_teach():
    lm = load_model("tiny", CONFIG)
    problems = load_problems("tiny:mix?count=12&split=train&solutions=trial_and_error")
    said = []
    assert all(g.rollouts[0].grade is Grade.CORRECT for g in groups_of(lm, problems, said)) and said == []
