"""Finds the contenders: one for each model, checkpoint or prompt that the given folders hold.

1. If a run has only one evaluation for each benchmark and decoding, they form one contender, named after the folder.
2. If several evaluations share a benchmark and a decoding, each belongs to a contender of its own. Contenders are distinguished
   by the prompt's name, or, if the prompts are the same (a training run's `base-t1`, `phase-1-t1`), by the folder's name without
   benchmark and temperature. An evaluation with no rival (such as a benchmark evaluated under one prompt only) goes to the
   contender with its label, or else to the base.
3. The base is the only contender of the first run, or the one whose label is in `BASE_LABELS`. Users make any other choice by
   naming the evaluation folder.

What is left out: contenders put together from several runs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from laconic.comparison.folders import Evaluation, read_evaluations
from laconic.errors import InputError

BASE_LABELS = ("base", "boxed")
"""Labels that make a contender the base of its run: a training run's own base, or the plain prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A model under one prompt: at most one evaluation for each benchmark and decoding.

    `label` distinguishes it from the other contenders of its `run`, and is "" if there are none.
    """

    name: str
    run: Path
    label: str
    evaluations: tuple[Evaluation, ...]

    @property
    def model(self) -> str:
        """The models that the summaries name, in one string."""
        return ", ".join(sorted({evaluation.model for evaluation in self.evaluations}))

    @property
    def prompt(self) -> str | None:
        """The names of its prompts in one string, `None` if no summary names one."""
        names = sorted({evaluation.prompt for evaluation in self.evaluations if evaluation.prompt})
        return ", ".join(names) or None


def contenders_of(runs: Sequence[Path]) -> list[Contender]:
    """Every contender of the runs, in the order given, the base first.

    Raises `InputError` if a folder cannot be read, if the base is not clear, or if there is only one contender.
    """
    parts = [_split(run, read_evaluations(run)) for run in runs]
    run_names = short_names(runs)
    found = [
        Contender(_name(run_name, label, len(runs)), run, label, tuple(evaluations))
        for run, run_name, part in zip(runs, run_names, parts, strict=True)
        for label, evaluations in part.items()
    ]
    if len(found) == 1:
        raise InputError(f"{runs[0]}: holds one contender only, and no candidate was named to compare it with")
    base = _base([contender for contender in found if contender.run == runs[0]])
    return [base, *(contender for contender in found if contender is not base)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that still differ from each other.

    >>> short_names([Path("runs/one/model"), Path("runs/two/model"), Path("runs/base")])
    ['one/model', 'two/model', 'base']
    """
    return [_tail(path, [other for other in paths if other != path]) for path in paths]


def _tail(path: Path, others: Sequence[Path]) -> str:
    for length in range(1, len(path.parts)):
        tail = path.parts[-length:]
        if all(other.parts[-length:] != tail for other in others):
            return "/".join(tail)
    return str(path)


def _name(run_name: str, label: str, num_runs: int) -> str:
    if not label:
        return run_name
    return label if num_runs == 1 else f"{run_name} · {label}"


def _split(run: Path, evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """A run's evaluations by the label of their contender; an only contender has the label ""."""
    crowds = [crowd for crowd in _by_slot(evaluations).values() if len(crowd) > 1]
    if not crowds:
        return {"": list(evaluations)}
    label_of = _prompt_label if all(_tells_apart(_prompt_label, crowd) for crowd in crowds) else _folder_label
    for crowd in crowds:
        if not _tells_apart(label_of, crowd):
            raise InputError(f"{_two(crowd)} are evaluations of one benchmark, prompt and decoding; name one of them")
    parts: dict[str, list[Evaluation]] = {label_of(evaluation): [] for crowd in crowds for evaluation in crowd}
    home = next((label for label in BASE_LABELS if label in parts), None)
    for evaluation in evaluations:
        label = label_of(evaluation) if label_of(evaluation) in parts else home
        if label is None:
            raise InputError(
                f"{evaluation.path}: stands beside {', '.join(parts)} in {run}, and nothing says with which it goes; "
                "name the evaluation folders that shall be compared"
            )
        parts[label].append(evaluation)
    return parts


def _by_slot(evaluations: Iterable[Evaluation]) -> dict[object, list[Evaluation]]:
    slots: dict[object, list[Evaluation]] = {}
    for evaluation in evaluations:
        slots.setdefault(evaluation.slot, []).append(evaluation)
    return slots


def _prompt_label(evaluation: Evaluation) -> str:
    return evaluation.prompt or ""


def _folder_label(evaluation: Evaluation) -> str:
    """The folder's name without benchmark and temperature: `phase-1-t0.6` is `phase-1`, `mix-boxed-greedy` is `boxed`."""
    temperature = evaluation.decoding.temperature
    name = evaluation.path.name.removesuffix("-greedy" if temperature == 0 else f"-t{temperature:g}")
    return name.removeprefix(f"{evaluation.benchmark}-")


def _tells_apart(label_of: Callable[[Evaluation], str], crowd: Sequence[Evaluation]) -> bool:
    labels = {label_of(evaluation) for evaluation in crowd}
    return len(labels) == len(crowd) and "" not in labels


def _two(crowd: Sequence[Evaluation]) -> str:
    """The names of two evaluations that share a label, for an error message."""
    first = next(e for e in crowd if sum(_folder_label(e) == _folder_label(other) for other in crowd) > 1)
    second = next(e for e in crowd if e is not first and _folder_label(e) == _folder_label(first))
    return f"{first.path} and {second.path}"


def _base(contenders: Sequence[Contender]) -> Contender:
    """The contender to compare with, among those of the first run."""
    if len(contenders) == 1:
        return contenders[0]
    called = {contender.label: contender for contender in contenders}
    for label in BASE_LABELS:
        if label in called:
            return called[label]
    raise InputError(
        f"{contenders[0].run}: holds {', '.join(called)}, and none is called {' or '.join(BASE_LABELS)}; "
        "name the evaluation folder that shall be the base"
    )
