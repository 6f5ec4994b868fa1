"""Problems as a task of lm-evaluation-harness; what lm-eval itself makes of it is skipped where it is not installed."""

import json

import pytest

from laconic.errors import InputError
from laconic.integrations.lm_eval import MEASURED, TaskRequest, export_lm_eval, grade_results, task_name
from laconic.problems.load import load_problems

SOURCE = "tiny:mix?count=4&split=report"
REQUEST = TaskRequest("boxed", samples=2, temperature=0.7, max_tokens=64)


@pytest.fixture
def task(tmp_path):
    """The folder of an exported task, and its problems."""
    problems = load_problems(SOURCE)
    export_lm_eval(problems, SOURCE, REQUEST, tmp_path / "task")
    return tmp_path / "task", problems


def test_the_folder_holds_the_task_and_its_problems(task):
    folder, problems = task
    assert sorted(path.name for path in folder.iterdir()) == [f"{task_name(SOURCE)}.yaml", "problems.jsonl"]
    lines = [json.loads(line) for line in (folder / "problems.jsonl").read_text("utf-8").splitlines()]
    assert [line["answer"] for line in lines] == [problem.answer for problem in problems]
    assert all(line["prompt"].endswith(r"within \boxed{}.") for line in lines)


@pytest.mark.parametrize(
    ("texts", "figures"),
    [
        ([r"\boxed{3}", r"\boxed{3.0}"], {"accuracy": 1.0, "no_answer": 0.0, "ungradable": 0.0}),
        ([r"\boxed{3}", "I do not know"], {"accuracy": 0.5, "no_answer": 0.5, "ungradable": 0.0}),
        ([r"<think>\boxed{3}"], {"accuracy": 0.0, "no_answer": 1.0, "ungradable": 0.0}),
    ],
)
def test_responses_are_graded_by_our_grader(texts, figures):
    doc = {"id": "a", "record": json.dumps({"id": "a", "problem": "1+2?", "answer": "3"})}
    assert grade_results(doc, [texts]) == figures
    assert grade_results(doc, texts) == figures  # as lm-eval hands over what a filter reduced to one text each


def test_a_problem_that_could_not_be_graded_counts_in_no_accuracy():
    doc = {"id": "a", "record": json.dumps({"id": "a", "problem": "?", "answer": r"\begin{nonsense}"})}
    found = grade_results(doc, [[r"\boxed{x^2+\sin(x)}"]])
    assert found["ungradable"] == 1.0 and "accuracy" not in found


def test_an_instruction_with_examples_is_refused(tmp_path):
    request = TaskRequest("chain_of_draft", 1, 0.0, 64)
    with pytest.raises(InputError, match="shows examples as turns of their own"):
        export_lm_eval(load_problems(SOURCE), SOURCE, request, tmp_path / "task")
    assert not (tmp_path / "task").exists()


def test_lm_eval_measures_the_task(task):
    """A model that answers every problem right in its first response, and says nothing in the second."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    folder, problems = task
    answers = {problem.question: problem.answer for problem in problems}

    class Model(LM):
        asked: list = []  # noqa: RUF012

        def generate_until(self, requests, disable_tqdm=False):
            said = []
            for request in requests:
                text, settings = request.args
                question = text.partition("\n")[0]
                is_first = self.asked.count(question) == 0
                self.asked.append(question)
                assert settings["max_gen_toks"] == 64 and settings["temperature"] == 0.7
                said.append(rf"so \boxed{{{answers[question]}}}" if is_first else "")
            return said

        def loglikelihood(self, requests, disable_tqdm=False):
            raise AssertionError("the task asks for generated text alone")

        loglikelihood_rolling = loglikelihood

    found = lm_eval.simple_evaluate(
        Model(), tasks=[task_name(SOURCE)], task_manager=TaskManager(include_path=str(folder)), bootstrap_iters=0
    )
    figures = found["results"][task_name(SOURCE)]
    assert len(Model.asked) == 8
    assert {name: figures[f"{name},all"] for name in MEASURED} == {"accuracy": 0.5, "no_answer": 0.5, "ungradable": 0.0}
