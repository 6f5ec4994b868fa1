"""Who is compared: one contender for each model, checkpoint or prompt that the given folders hold.

1. A run's evaluations that stand alone for their benchmark and decoding are one contender, named after the folder.
2. Where several share a benchmark and a decoding, each is a contender of its own: told apart by the prompt's name, or,
   where the prompts are the same (a training run's `base-t1`, `phase-1-t1`), by the folder's name without benchmark and
   temperature. What stands alone beside them (a benchmark evaluated under one prompt only) goes with its own kind, or
   else with the base's.
3. The base is the first run's only contender, or the one called by a name of `BASE_LABELS`; any other choice is for the
   user to make, by naming the evaluation folder.

What is left out: contenders put together from several runs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from laconic.comparison.folders import Evaluation, read_evaluations
from laconic.errors import InputError

BASE_LABELS = ("base", "boxed")
"""What the base is called among several: a training run's own base, or the plain prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A model under one prompt: at most one evaluation for each benchmark and decoding.

    `label` tells it from the others of its `run`, and is "" where there are none.
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
        """The names of its prompts in one string, `None` where no summary tells."""
        names = sorted({evaluation.prompt for evaluation in self.evaluations if evaluation.prompt})
        return ", ".join(names) or None


def contenders_of(runs: Sequence[Path]) -> list[Contender]:
    """Every contender of the runs, in the order given, the base first.

    Raises `InputError` where a folder cannot be read, where the base is not clear, or where there is only one contender.
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
    """The shortest tails that tell the paths apart.

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
    """A run's evaluations by contender; "" is the label of an only one."""
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
    """Two of them that share a label, to show."""
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
