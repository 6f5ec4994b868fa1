"""The three sets of problems of a recipe, which share no question.

The train set teaches; the watch set may end a phase or choose a checkpoint; the report set chooses nothing. A question of the
report set is dropped from the other two sets, and a question of the watch set is dropped from the train set. Questions that
differ only in white space are the same, and so are those that only ask for another length (`lengths` of the generators).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from laconic.config.recipe import Recipe
from laconic.errors import ProblemsError
from laconic.problems.load import load_problems
from laconic.traces.lengths import without_request
from laconic.types import Problem


@dataclass(frozen=True, slots=True)
class ProblemSets:
    """Three sets that share no question; `report` may be empty. `num_dropped` counts the problems dropped from the first two."""

    train: tuple[Problem, ...]
    watch: tuple[Problem, ...]
    report: tuple[Problem, ...]
    num_dropped: int = 0

    @property
    def dropped_line(self) -> str | None:
        """How many problems were left out and why, in one line; None if none were."""
        if not self.num_dropped:
            return None
        return f"{self.num_dropped} problems left out of the trained and watched sets: they are reported or watched"


def load_problem_sets(recipe: Recipe) -> ProblemSets:
    """The recipe's three sets, made disjoint by question. Raises `ProblemsError` if that empties the train or watch set."""
    sources = recipe.problems
    report = load_problems(sources.report, seed=recipe.seed) if sources.report else []
    watch, train = (load_problems(source, seed=recipe.seed) for source in (sources.watch, sources.train))
    return make_sets(train, watch, report)


def make_sets(train: Sequence[Problem], watch: Sequence[Problem], report: Sequence[Problem] = ()) -> ProblemSets:
    """The three sets, made disjoint by question. Raises `ProblemsError` if that leaves one of the first two empty."""
    sets = disjoint_sets(train, watch, report)
    for name, problems in (("train", sets.train), ("watch", sets.watch)):
        if not problems:
            raise ProblemsError(f"problems.{name}: no problem is left that is not in a set reported or watched")
    return sets


def disjoint_sets(
    train: Sequence[Problem] = (), watch: Sequence[Problem] = (), report: Sequence[Problem] = ()
) -> ProblemSets:
    """The three sets, made disjoint by question. A set may be empty, from the start or because every problem was dropped."""
    watched = _without(watch, report)
    trained = _without(train, [*report, *watched])
    num_dropped = len(train) + len(watch) - len(trained) - len(watched)
    return ProblemSets(tuple(trained), tuple(watched), tuple(report), num_dropped)


def _without(problems: Sequence[Problem], others: Sequence[Problem]) -> list[Problem]:
    asked: dict[str, list[tuple[str, ...]]] = {}
    for other in others:
        asked.setdefault(question_key(other), []).append(_choices_key(other))
    return [problem for problem in problems if not _is_among(problem, asked.get(question_key(problem), ()))]


def _is_among(problem: Problem, asked: Iterable[tuple[str, ...]]) -> bool:
    """Whether the problem's question was asked with its choices. Where either has none, the question alone counts, since one can
    be turned into multiple choice by adding some."""
    choices = _choices_key(problem)
    return any(not choices or not others or choices == others for others in asked)


def _choices_key(problem: Problem) -> tuple[str, ...]:
    return tuple(sorted(" ".join(choice.split()) for choice in problem.choices))


def question_key(problem: Problem) -> str:
    """The question without its white space and its words about length; two problems with the same key count as the same."""
    return " ".join(without_request(problem.question).split())


def statements_digest(problems: Sequence[Problem]) -> str:
    """A hash of everything that the problems state, which differs as soon as one of them does."""
    digest = hashlib.blake2b(digest_size=8)
    for problem in problems:
        stated = [problem.id, problem.question, problem.answer, problem.choices, sorted(problem.meta.items())]
        digest.update(json.dumps(stated, default=str).encode() + b"\n")
    return digest.hexdigest()
