"""Problems as a task of lm-evaluation-harness, graded by our grader.

1. `export_lm_eval` writes a folder: the problems with their prompts as JSON lines, and a task file in YAML. The task names
   `grade_results` of this module, which lm-eval imports where it is installed beside laconic.
2. `grade_results` grades the responses to one problem, unless it was made of a request that was forgotten since. Accuracy is
   correct over gradable ones, averaged over problems, as `laconic evaluate` averages it. A problem of which nothing could be
   graded counts in no accuracy.

Left out: truncation and lengths, since lm-eval tells a task only the text. A response that its cap cut off is graded by what it
says until then.
"""

import atexit
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.grading.grader import Grader
from laconic.problems.forgotten import refuse_forgotten
from laconic.problems.made_from_traffic import note_made
from laconic.problems.records import to_problem, to_record
from laconic.prompts.instructions import messages, resolve_instruction
from laconic.system.files import check_new_folder, to_jsonl, whole_folder, write_text_atomically
from laconic.types import Grade, Problem, count_grades

PROBLEMS_FILE = "problems.jsonl"
MEASURED = {"accuracy": True, "no_answer": False, "ungradable": False}
"""The metrics of a task, and whether more of it is better."""


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """How a task asks: under `instruction`, `samples` times at `temperature` (once at 0), with at most `max_tokens` tokens."""

    instruction: str
    samples: int
    temperature: float
    max_tokens: int


def export_lm_eval(problems: Sequence[Problem], source: str, request: TaskRequest, out: Path) -> str:
    """Write the task of these problems, which come from the address `source`, to the new folder `out`; returns its name.

    Raises `InputError` where `out` is not new or empty, or the instruction shows examples, which are turns of their own.
    """
    check_new_folder(out, "--out")
    place, name = out.resolve(), task_name(source)
    documents = [_document(problem, request.instruction) for problem in problems]
    with whole_folder(place) as folder:
        write_text_atomically(folder / PROBLEMS_FILE, to_jsonl(documents))
        write_text_atomically(folder / f"{name}.yaml", "\n".join(_task_lines(name, place, request)) + "\n")
    note_made(out, problems)
    return name


def task_name(source: str) -> str:
    """The name of the task of an address.

    >>> task_name("tiny:mix?count=8&split=test"), task_name("aime24")
    ('laconic_tiny_mix_count_8_split_test', 'laconic_aime24')
    """
    return f"laconic_{'_'.join(re.findall(r'[A-Za-z0-9]+', Path(source).name))}"


def _document(problem: Problem, instruction: str) -> dict[str, str]:
    """What lm-eval reads of a problem: the prompt's user turn, the gold answer, and the problem itself for the grader."""
    turns = messages(problem, resolve_instruction(instruction))
    if len(turns) > 1:
        raise InputError(
            f"--prompt {instruction}: shows examples as turns of their own, which a task of lm-eval cannot"
        )
    record = json.dumps(to_record(problem), ensure_ascii=False)
    return {"id": problem.id, "prompt": turns[0]["content"], "answer": problem.answer, "record": record}


def _task_lines(name: str, place: Path, request: TaskRequest) -> Iterator[str]:
    """The task file. A text in JSON is one in YAML too."""
    repeats = 1 if request.temperature == 0 else request.samples
    generation = {
        "until": [],
        "do_sample": request.temperature > 0,
        "temperature": request.temperature,
        "max_gen_toks": request.max_tokens,
    }
    keep_all = [{"name": "all", "filter": [{"function": "take_first_k", "k": repeats}]}]
    metrics = [
        {"metric": metric, "aggregation": "mean", "higher_is_better": better} for metric, better in MEASURED.items()
    ]
    yield f"task: {name}"
    yield "dataset_path: json"
    yield f"dataset_kwargs: {json.dumps({'data_files': {'test': str(place / PROBLEMS_FILE)}})}"
    yield "test_split: test"
    yield "output_type: generate_until"
    yield 'doc_to_text: "{{prompt}}"'
    yield 'doc_to_target: "{{answer}}"'
    yield f"process_results: !function {__name__}.grade_results"
    yield f"generation_kwargs: {json.dumps(generation)}"
    yield f"repeats: {repeats}"
    yield f"filter_list: {json.dumps(keep_all)}"
    yield f"metric_list: {json.dumps(metrics)}"
    yield "metadata: {version: 1.0}"


# --- in lm-eval's process --------------------------------------------------------------------------------------------


def grade_results(doc: Mapping[str, Any], results: Sequence[str | Sequence[str]]) -> dict[str, float]:
    """The metrics of one problem: `doc` is its line of the problems file, and `results` hold the texts of its responses.

    >>> grade_results({"id": "a", "record": '{"id": "a", "problem": "2+2?", "answer": "4"}'}, [["\\\\boxed{4}", "5?"]])
    {'accuracy': 0.5, 'no_answer': 0.5, 'ungradable': 0.0}
    """
    texts = [text for held in results for text in ([held] if isinstance(held, str) else held)]
    problem = to_problem(json.loads(doc["record"]), f"problem {doc['id']}")
    refuse_forgotten([problem], f"problem {problem.id}")
    graded = _grader().grade_many([(text, problem, False) for text in texts])
    counts, num_gradable = (
        count_grades([one.grade for one in graded]),
        sum(g.grade is not Grade.UNGRADABLE for g in graded),
    )
    accuracy = {"accuracy": counts[Grade.CORRECT] / num_gradable} if num_gradable else {}
    return {
        **accuracy,
        "no_answer": counts[Grade.NO_ANSWER] / len(texts),
        "ungradable": counts[Grade.UNGRADABLE] / len(texts),
    }


@cache
def _grader() -> Grader:
    """One grader for as long as this process lives."""
    grader = Grader()
    atexit.register(grader.close)
    return grader
