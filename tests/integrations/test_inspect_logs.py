"""An evaluation folder as a log of inspect_ai, read back by inspect_ai; those tests are skipped where it is not installed."""

import json
import sys

import pytest
from folders import BASE, Run

from laconic.errors import InputError
from laconic.integrations.inspect_logs import write_inspect_log


@pytest.fixture
def folder(tmp_path):
    """Two problems with two responses each: accuracy 1/2 and 0; one more problem that nothing graded."""
    lost = {"c": [("ungradable", 30), ("no_answer", 10)]}
    summary = {"accuracy": {"mean": 1 / 6, "ci95": [0.0, 0.5]}, "tokens": {"mean": 40.0, "ci95": [20.0, 70.0]}}
    summary |= {
        "grade_frac": {"correct": 1 / 6, "wrong": 2 / 6, "no_answer": 1 / 6, "truncated": 1 / 6, "ungradable": 1 / 6}
    }
    return Run(BASE | lost, summary=summary).write(tmp_path / "run")


def test_another_suffix_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"log\.txt: expected a name that ends in \.eval or \.json"):
        write_inspect_log(folder, tmp_path / "log.txt")


def test_without_inspect_ai_one_line_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(InputError, match="pip install inspect_ai"):
        write_inspect_log(folder, tmp_path / "log.eval")
    assert not (tmp_path / "log.eval").exists()


def test_of_several_evaluations_one_must_be_named(folder, tmp_path):
    Run(BASE).write(tmp_path / "two" / "eval" / "first")
    Run(BASE).write(tmp_path / "two" / "eval" / "second")
    with pytest.raises(InputError, match=r"holds 2 evaluations, and a log holds one; name it: .*first, .*second"):
        write_inspect_log(tmp_path / "two", tmp_path / "log.eval")


@pytest.mark.parametrize("suffix", ["eval", "json"])
def test_inspect_reads_back_what_was_measured(suffix, folder, tmp_path):
    log_module = pytest.importorskip("inspect_ai.log")
    out = tmp_path / "logs" / f"run.{suffix}"
    assert write_inspect_log(folder, out) == 6
    log = log_module.read_eval_log(str(out))
    assert log.status == "success" and log.eval.model == "tiny" and log.eval.task == "report"
    assert log.eval.config.epochs == 2 and log.eval.dataset.samples == 3
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    assert metrics["accuracy"] == pytest.approx(1 / 6) and metrics["tokens"] == 40.0
    found = {(s.id, s.epoch): s.scores["laconic"] for s in log.samples}
    assert found["a", 1].value == "C" and found["a", 2].value == "I" and found["b", 2].explanation == "truncated"
    assert found["c", 1].value != found["c", 1].value  # nan: unscored
    cut = next(s for s in log.samples if (s.id, s.epoch) == ("b", 2))
    assert cut.output.choices[0].stop_reason == "max_tokens" and cut.output.usage.output_tokens == 40
    assert cut.messages[0].content == "b?" and cut.target == "7"


def test_inspect_lists_and_dumps_the_log(folder, tmp_path):
    """By its own commands' functions: the list of a folder, and the JSON that `inspect log dump` prints."""
    log_module = pytest.importorskip("inspect_ai.log")
    out = tmp_path / "logs" / "run.eval"
    write_inspect_log(folder, out)
    (listed,) = log_module.list_eval_logs(str(out.parent))
    assert listed.name.endswith("run.eval")
    dumped = json.loads(log_module.read_eval_log(listed).model_dump_json())
    found = sorted((sample["id"], sample["epoch"]) for sample in dumped["samples"])
    assert found == [(name, epoch) for name in "abc" for epoch in (1, 2)]
