"""Measured figures as the hub reads them, in both of its formats.

1. The `model-index` in a card's metadata takes figures on any problems: one entry for accuracy and one for tokens, of each
   benchmark at each temperature. The hub calls it its older format; it is the only one that takes problems of one's own.
2. Files `.eval_results/*.yaml` are for benchmarks that lie on the hub as datasets, whose pages then list the model. One file
   holds one accuracy, since the same benchmark may be measured at several temperatures. `task_id` is the dataset's
   configuration, or "default"; a benchmark whose page names its tasks otherwise needs it changed by hand.

Both hold the figures of the result; the base and the change are in the card's text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laconic.evaluation.figures import Summary
from laconic.evaluation.folder_names import source_name, temperature_tag
from laconic.problems.address import name_of
from laconic.problems.load import BENCHMARKS
from laconic.publishing.measured_run import MeasuredRun
from laconic.statistics.intervals import Interval

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

RESULTS_FOLDER = ".eval_results"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of the hub that a source of problems is read from."""

    name: str
    config: str | None
    split: str


def dataset_of(source: str) -> Dataset | None:
    """The dataset on the hub that a source names; None for files and generators.

    >>> dataset_of("hf:openai/gsm8k:main:test?count=5"), dataset_of("tiny:mix")
    (Dataset(name='openai/gsm8k', config='main', split='test'), None)
    """
    name = name_of(source)
    if name in BENCHMARKS:
        hub = BENCHMARKS[name].hub
        return Dataset(hub.name, hub.config, hub.split)
    if not name.startswith("hf:"):
        return None
    _, dataset, *config, split = name.split(":")
    return Dataset(dataset, config[0] if config else None, split)


def index_entries(run: MeasuredRun) -> "list[EvalResult]":
    """The entries of the card's `model-index`."""
    return [entry for measured in run.changes for entry in _entries(run, measured.after)]


def _entries(run: MeasuredRun, summary: Summary) -> "Iterator[EvalResult]":
    from huggingface_hub import EvalResult

    source = report_source(run)
    dataset, name = dataset_of(source), source_name(source)
    where: dict[str, Any] = {
        "task_type": "text-generation",
        "dataset_type": dataset.name if dataset else name,
        "dataset_name": name,
        "dataset_config": dataset.config if dataset else None,
        "dataset_split": dataset.split if dataset else None,
    }
    figures = summary.figures
    for kind, label, found in (
        ("accuracy", "accuracy", figures.accuracy),
        ("mean_response_tokens", "mean tokens of a response", figures.tokens),
    ):
        if found is not None:
            ends = {"ci95": [found.low, found.high], "num_problems": summary.setup.num_problems}
            yield EvalResult(
                metric_type=kind,
                metric_name=f"{label}, {drawn_words(summary)}",
                metric_value=found.estimate,
                metric_args=ends,
                **where,
            )


def result_files(run: MeasuredRun) -> dict[str, str]:
    """The files of `.eval_results/` by name; none where the reported problems are no dataset of the hub."""
    source = report_source(run)
    dataset = dataset_of(source)
    if dataset is None:
        return {}
    summaries = [measured.after for measured in run.changes]
    return {
        f"{source_name(source)}-{temperature_tag(summary.setup.temperature or 0.0)}.yaml": _file(dataset, summary)
        for summary in summaries
        if summary.figures.accuracy is not None
    }


def _file(dataset: Dataset, summary: Summary) -> str:
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    accuracy = summary.figures.accuracy
    assert accuracy is not None, "asked for above"
    notes = f"{drawn_words(summary)}; {_interval_words(accuracy)} over {summary.setup.num_problems} problems"
    entry = EvalResultEntry(dataset.name, dataset.config or "default", round(accuracy.estimate, 6), notes=notes)
    return yaml_dump(eval_result_entries_to_yaml([entry]))


def _interval_words(interval: Interval) -> str:
    return f"95% interval {interval.low:.4f} to {interval.high:.4f}"


def drawn_words(summary: Summary) -> str:
    """How the responses of an evaluation were drawn."""
    setup = summary.setup
    drawn = "greedy" if not setup.temperature else f"temperature {setup.temperature:g}"
    samples = "" if setup.num_samples in (None, 1) else f", {setup.num_samples} responses per problem"
    return f"{drawn}, at most {setup.max_tokens} tokens{samples}"


def report_source(run: MeasuredRun) -> str:
    """The address of the reported problems, which a measured run has."""
    assert run.recipe.problems.report is not None, "read_measured_run refuses a run without"
    return run.recipe.problems.report
