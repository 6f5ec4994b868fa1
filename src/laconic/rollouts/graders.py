"""The grader that a recipe or a command names: the package's own, a function in a file, or a model that judges by a rubric."""

from collections.abc import Sequence
from pathlib import Path

from laconic.config.solver import GraderConfig
from laconic.errors import InputError
from laconic.grading.grader import AnyGrader, Closing, Grader, Item
from laconic.grading.own import OwnGrader
from laconic.grading.rules import Graded
from laconic.system.own_files import is_own
from laconic.types import Grade

RUBRIC = ".toml"
FORMS = "FILE.py:FUNCTION, or a rubric's FILE.toml"


def open_grader(config: GraderConfig, folder: Path = Path()) -> AnyGrader:
    """The grader of a recipe's `[grader]`; its file is looked up from `folder`.

    Raises `InputError` where the name has neither form, or the file cannot be used, and `ModelError` for a judge's address.
    """
    if config.name is None:
        return Grader(config.workers, config.timeout_seconds)
    if is_own(config.name):
        return OwnGrader(config.name, folder, config.workers, config.timeout_seconds)
    if config.name.endswith(RUBRIC):
        from laconic.rollouts.rubric import open_rubric

        return open_rubric(folder / config.name)
    raise InputError(f"grader {config.name!r}: is no grader; expected {FORMS}")


class NoGrader(Closing):
    """Grades nothing: every response is ungradable, for there is no gold answer."""

    name = "none"

    def grade_many(self, items: Sequence[Item]) -> list[Graded]:
        """The same for each response; one that the cap ended is truncated, which is a fact."""
        return [Graded(Grade.TRUNCATED if is_cut else Grade.UNGRADABLE) for _, _, is_cut in items]


def is_rule_based(config: GraderConfig) -> bool:
    """Whether answers are compared with gold answers by the package's rules, so that a gold answer is graded correct."""
    return config.name is None
