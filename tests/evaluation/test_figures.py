"""summary.json as a record: read back it writes the same file, an older one leaves gaps, a wrong value is named."""

import json
from dataclasses import replace
from math import isnan, nan

import pytest

from laconic.errors import InputError
from laconic.evaluation.figures import Figures, Setup, SetupPrompt, Summary
from laconic.evaluation.summary import summarise
from laconic.rollouts.rows import ResponseRow
from laconic.types import Grade

SETUP = Setup("mix", "tiny", 2, 4, 1.0, 1.0, 0.0, 64, 0, SetupPrompt("boxed", "Box it."), "laconic rules 1")
ROWS = [
    ResponseRow(name, sample, grade, 10 * (sample + 1), thinking_tokens=5, answer=str(sample))
    for name in "ab"
    for sample, grade in enumerate((Grade.CORRECT, Grade.WRONG, Grade.TRUNCATED, Grade.UNGRADABLE))
]


@pytest.mark.parametrize("bleu", [None, nan, 0.0, 31.5])
@pytest.mark.parametrize("planning", [{}, {"mean_budget": None, "uses_answers": False}])
def test_a_summary_that_was_read_writes_the_same_file(bleu: float | None, planning: dict) -> None:
    """BLEU that was not asked for is left out, one that does not exist is null."""
    figures = replace(summarise(ROWS, seed=0, oracle={"a": 3, "b": 5}), bleu=bleu)
    written = json.dumps(Summary(SETUP, figures, planning).to_json(), allow_nan=False)
    assert json.dumps(Summary.from_json(json.loads(written), "summary.json").to_json()) == written
    assert ('"bleu"' in written) == (bleu is not None) and ('"planning"' in written) == bool(planning)


def test_what_an_older_file_does_not_tell_is_none() -> None:
    old = Summary.from_json({"temperature": 1.0, "accuracy": {"mean": None}}, "summary.json")
    assert (old.setup.benchmark, old.setup.prompt, old.figures.tokens, old.figures.maj_at_k) == (None,) * 4
    assert old.figures.accuracy is not None and isnan(old.figures.accuracy.estimate)
    assert Figures().to_json()["tokens"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_samples": "4"}, "num_samples is '4', expected a whole number from 0 up"),
        ({"tokens": 5}, "tokens is 5, expected an object"),
        ({"accuracy": {"mean": "high"}}, "accuracy.mean is 'high', expected a number"),
        ({"accuracy": {"mean": 0.5, "ci95": [0.4]}}, "accuracy.ci95 is [0.4], expected two numbers"),
        ({"grade_frac": {"right": 1.0}}, "grade_frac is {'right': 1.0}, expected numbers by grade"),
        ({"pass_at_k": {"one": 1.0}}, "pass_at_k is {'one': 1.0}, expected numbers by k"),
        ({"prompt": {"name": 7}}, "prompt.name is 7, expected text"),
    ],
)
def test_a_wrong_value_is_named(change: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Summary.from_json(change, "eval/mix/summary.json")
    assert str(error.value) == f"eval/mix/summary.json: {says}"
