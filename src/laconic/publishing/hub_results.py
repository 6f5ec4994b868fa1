"""Measured figures as the hub reads them, in both of its formats.

1. The `model-index` in a card's metadata takes figures on any problems: one entry for accuracy and one for tokens, of each
   benchmark at each temperature. The hub calls it its older format; it is the only one that takes problems of one's own.
2. Files `.eval_results/*.yaml` are for benchmarks that lie on the hub as datasets, whose pages then list the model. One file
   holds one accuracy, since the same benchmark may be measured at several temperatures. `task_id` is the dataset's
   configuration, or "default"; a benchmark whose page names its tasks otherwise needs it changed by hand. A part of a dataset has
   no file: on the dataset's page its figures would stand for the whole.

Both hold the figures of the result; the base and the change are in the card's text. An interval that does not exist is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from laconic.evaluation.figures import Summary
from laconic.evaluation.folder_names import source_name, temperature_tag
from laconic.problems.address import name_of, read_address
from laconic.problems.load import BENCHMARKS, is_on_hub
from laconic.publishing.measured_run import MeasuredRun
from laconic.statistics.intervals import Interval

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

RESULTS_FOLDER = ".eval_results"
DATASET_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9_][\w.-]*")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of the hub that a source of problems is read from."""

    name: str
    config: str | None
    split: str


def dataset_of(source: str) -> Dataset | None:
    """The dataset on the hub that a source names; None for files, folders and generators.

    >>> dataset_of("hf:openai/gsm8k:main:test?count=5"), dataset_of("hf:./mine:test")
    (Dataset(name='openai/gsm8k', config='main', split='test'), None)
    """
    name = name_of(source)
    if name in BENCHMARKS:
        hub = BENCHMARKS[name].hub
        return Dataset(hub.name, hub.config, hub.split)
    if not name.startswith("hf:"):
        return None
    _, dataset, *config, split = name.split(":")
    if not DATASET_NAME.fullmatch(dataset) or not is_on_hub(source):
        return None
    return Dataset(dataset, config[0] if config else None, split)


def whole_dataset_of(source: str) -> Dataset | None:
    """The dataset on the hub of which a source is the whole split; None for a part of one, too.

    >>> whole_dataset_of("math500"), whole_dataset_of("math500?count=5"), whole_dataset_of("mmlu_stem")
    (Dataset(name='HuggingFaceH4/MATH-500', config=None, split='test'), None, None)
    """
    benchmark = BENCHMARKS.get(name_of(source))
    is_part = read_address(source).count is not None or (benchmark is not None and bool(benchmark.hub.subjects))
    return None if is_part else dataset_of(source)


def index_entries(run: MeasuredRun) -> "list[EvalResult]":
    """The entries of the card's `model-index`."""
    return [entry for measured in run.changes for entry in _entries(run, measured.after)]


def _entries(run: MeasuredRun, summary: Summary) -> "Iterator[EvalResult]":
    from huggingface_hub import EvalResult

    source = report_source(run)
    dataset, name = whole_dataset_of(source), source_name(source)
    where: dict[str, Any] = {
        "task_type": "text-generation",
        "dataset_type": dataset.name if dataset else name,
        "dataset_name": name if dataset else source,
        "dataset_config": dataset.config if dataset else None,
        "dataset_split": dataset.split if dataset else None,
    }
    figures = summary.figures
    for kind, label, found in (
        ("accuracy", "accuracy", figures.accuracy),
        ("mean_response_tokens", "mean tokens of a response", figures.tokens),
    ):
        if found is not None:
            ends = {"ci95": [found.low, found.high]} if _has_ends(found) else {}
            yield EvalResult(
                metric_type=kind,
                metric_name=f"{label}, {drawn_words(summary)}",
                metric_value=found.estimate,
                metric_args=ends | {"num_problems": summary.setup.num_problems},
                **where,
            )


def result_files(run: MeasuredRun) -> dict[str, str]:
    """The files of `.eval_results/` by name; none where the reported problems are no whole dataset of the hub."""
    source = report_source(run)
    dataset = whole_dataset_of(source)
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
    interval = f"95% interval {accuracy.low:.4f} to {accuracy.high:.4f} " if _has_ends(accuracy) else ""
    notes = f"{drawn_words(summary)}; {interval}over {summary.setup.num_problems} problems"
    entry = EvalResultEntry(dataset.name, dataset.config or "default", round(accuracy.estimate, 6), notes=notes)
    return yaml_dump(eval_result_entries_to_yaml([entry]))


def _has_ends(interval: Interval) -> bool:
    """Whether the interval exists: there is none of one problem, or of lengths that are all alike."""
    return not (isnan(interval.low) or isnan(interval.high))


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
