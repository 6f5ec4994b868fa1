"""A thinking budget: how many tokens of thinking a request gets, and where that number comes from.

1. A budget is given by a request, by a route, or chosen from the budget curve of an evaluation (`laconic evaluate --budgets`):
   the smallest budget at which the accuracy is at least a share of the accuracy without a budget (`budget_from`).
2. On the curve a cut thought is followed by a text that forces an answer, which is drawn greedily within a cap. A budget that was
   chosen from a curve is enforced with the same text and cap, so that what was measured is what is served.

The share is taken of the mean, and the smallest of several budgets that reach it is chosen, so the accuracy in use is more likely
a little below than above the one on the curve. Both figures are given with their intervals, and `ChosenBudget.words` says them.
How a budget is enforced: `cutting.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laconic.comparison.places import find_evaluations
from laconic.errors import InputError
from laconic.system.fields import Fields
from laconic.system.files import Json

if TYPE_CHECKING:
    from laconic.statistics.intervals import Interval

HOW_TO_MEASURE = "measure one:  laconic evaluate MODEL PROBLEMS --budgets 64,128,256 --out RUN"


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """Thinking is cut after `tokens`. `force_text` is then written for the model, which answers greedily within `answer_tokens`.

    Without a `force_text` the thought is closed and nothing more is written; without `answer_tokens` the answer may be as long as
    the request's cap leaves room for, and is drawn as the request says.
    """

    tokens: int
    force_text: str | None = None
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ChosenBudget:
    """A budget that was chosen from a curve: accuracy and mean tokens at it and without it, and the share of responses that it
    cut."""

    budget: ThinkingBudget
    benchmark: str
    model: str
    accuracy: "Interval"
    accuracy_uncapped: "Interval"
    tokens: "Interval"
    tokens_uncapped: "Interval"
    cut_frac: float

    @property
    def words(self) -> str:
        """What was chosen, and what was measured there, in one sentence."""
        return (
            f"thinking is cut after {self.budget.tokens} tokens: on {self.benchmark} {self.model} was then right in "
            f"{_percent(self.accuracy)} of its responses, and in {_percent(self.accuracy_uncapped)} without a budget; "
            f"{self.tokens.estimate:.1f} instead of {self.tokens_uncapped.estimate:.1f} tokens, {self.cut_frac:.0%} were cut"
        )


def budget_from(run: Path, keep: float) -> ChosenBudget:
    """The smallest budget on the curve of `run` at which the accuracy is at least `keep` times that without a budget.

    `run` is an evaluation's folder, or a run in which one evaluation has a curve. Raises `InputError` where there is none or more
    than one, where no budget cut any thinking, and where no budget reaches that accuracy.
    """
    if not 0 < keep <= 1:
        raise InputError(f"--keep-accuracy: {keep:g}, expected a share of the accuracy, above 0 and at most 1")
    from laconic.comparison.folders import read_budget_curve, read_summary

    folder = _folder_with_curve(run)
    summary, curve = read_summary(folder), read_budget_curve(folder)
    uncapped, tokens = summary.figures.accuracy, summary.figures.tokens
    if uncapped is None or tokens is None:
        raise InputError(f"{folder}: its summary has no accuracy and tokens to compare the curve with")
    points = [_Point.read(point) for point in curve["points"]]
    if not any(point.cut_frac for point in points):
        raise InputError(f"{folder}: no budget of its curve cut any thinking; there is nothing to choose")
    fits = [point for point in points if point.accuracy.estimate >= keep * uncapped.estimate > 0]
    if not fits:
        best = max(points, key=lambda point: point.accuracy.estimate)
        raise InputError(
            f"{folder}: no budget keeps {keep:g} of the accuracy {_percent(uncapped)}; the best is {best.budget} with "
            f"{_percent(best.accuracy)}: measure larger budgets, or keep less"
        )
    least = min(fits, key=lambda point: point.budget)
    return ChosenBudget(
        budget=ThinkingBudget(least.budget, curve.get("force_text"), curve.get("answer_max_tokens")),
        benchmark=str(summary.setup.benchmark),
        model=str(summary.setup.model),
        accuracy=least.accuracy,
        accuracy_uncapped=uncapped,
        tokens=least.tokens,
        tokens_uncapped=tokens,
        cut_frac=least.cut_frac,
    )


def _folder_with_curve(run: Path) -> Path:
    from laconic.comparison.folders import read_budget_curve

    folders = [folder for folder in find_evaluations(run) if read_budget_curve(folder).get("points")]
    if not folders:
        raise InputError(f"{run}: no evaluation here has a budget curve; {HOW_TO_MEASURE}")
    if len(folders) > 1:
        names = ", ".join(str(folder) for folder in folders)
        raise InputError(f"{run}: several evaluations have a budget curve, name one: {names}")
    return folders[0]


@dataclass(frozen=True, slots=True)
class _Point:
    """A point of a budget curve."""

    budget: int
    accuracy: "Interval"
    tokens: "Interval"
    cut_frac: float

    @classmethod
    def read(cls, point: Json) -> "_Point":
        """The point that `read_budget_curve` gives."""
        from laconic.statistics.intervals import Interval

        accuracy, tokens = (Interval.from_fields(Fields(point[name], name), "mean") for name in ("accuracy", "tokens"))
        return cls(point["budget"], accuracy, tokens, point["cut_frac"])


def _percent(figure: "Interval") -> str:
    return f"{figure.estimate:.1%} ({figure.low:.1%} to {figure.high:.1%})"
