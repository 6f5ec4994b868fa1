"""What the problems of a phase lack, for it to train on them."""

from collections.abc import Iterator, Sequence

from laconic.config.phase import PhaseConfig
from laconic.config.sense.complaints import Complaint
from laconic.errors import ProblemsError
from laconic.rollouts.worked_solutions import solution_text
from laconic.selection.pool import limit_of, most_problems, pool_of
from laconic.types import Problem


def complaints_about_problems(phase: PhaseConfig, trainable: Sequence[Problem] | None) -> Iterator[Complaint]:
    """What the problems that a phase may train on lack, before any of them is probed; None where they are out of reach."""
    per_step, where = phase.problems_per_step, f"phases.{phase.name}.problems_per_step"
    most = limit_of(phase) if trainable is None else most_problems(phase, len(trainable))
    if most == 0:
        yield Complaint("error", where, f"a step takes {per_step} problems, but there is none to choose from")
    elif most is not None and most < per_step:
        what = f"a step takes {per_step} problems, but the phase has at most {most}: steps are smaller; expected {most}"
        yield Complaint("warning", where, what)
    if phase.rollouts == "solutions" and trainable:
        try:
            for problem in pool_of(phase, trainable):
                solution_text(problem)
        except ProblemsError as error:
            yield Complaint("error", f"phases.{phase.name}.rollouts", str(error))
