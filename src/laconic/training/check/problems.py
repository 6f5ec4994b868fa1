"""What the problems of a phase lack, for it to train on them.

1. `complaints_about_problems` needs the problems alone: how many there are, and whether they have the solutions to learn from.
   `complaints_about_golds` finds those that the recipe's grader cannot grade.
2. `complaints_about_solutions` writes those texts as the model would, with its tokenizer but without its weights, and grades
   worked solutions. Training does it before it makes the run's folder; so do the dry run and doctor.
"""

from collections.abc import Iterator, Sequence

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.config.sense.complaints import Complaint
from laconic.errors import ProblemsError
from laconic.models.causal_lm import CausalLM
from laconic.models.weightless import load_weightless
from laconic.rollouts.given_pairs import pair_texts
from laconic.rollouts.graders import is_rule_based, open_grader
from laconic.rollouts.solver import Solver
from laconic.rollouts.sources import OWN_TEXTS
from laconic.rollouts.worked_solutions import grade_solutions, write_texts
from laconic.samplers.local import LocalSampler
from laconic.selection.pool import limit_of, most_problems, pool_of
from laconic.training.check.phases import ResolvedPhase
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
    if phase.rollouts in OWN_TEXTS and trainable:
        try:
            for problem in pool_of(phase, trainable):
                OWN_TEXTS[phase.rollouts](problem)
        except ProblemsError as error:
            yield Complaint("error", f"phases.{phase.name}.rollouts", str(error))


def complaints_about_golds(recipe: Recipe, trainable: Sequence[Problem] | None) -> Iterator[Complaint]:
    """Problems without a gold answer, which only a grader of one's own can grade."""
    without = [problem for problem in trainable or () if not problem.answer] if is_rule_based(recipe.grader) else []
    if without:
        graded_by = without[0].meta.get("graded_by")
        what = f"problem {without[0].id} has no gold answer, and the grader compares with one; expected {graded_by!r}"
        yield Complaint("error", "grader.name", what)


def complaints_about_solutions(
    phases: Sequence[ResolvedPhase], solver: Solver, lm: CausalLM, trainable: Sequence[Problem]
) -> Iterator[Complaint]:
    """What keeps some of the worked solutions from teaching, in the phases that learn from them. `lm` needs no weights.

    Raises the errors of `grade_solutions`, and for pairs those of `write_texts`, which name the field.
    """
    for phase in phases:
        pool, where = pool_of(phase.config, trainable), f"phases.{phase.name}.rollouts"
        if phase.config.rollouts == "solutions" and pool:
            for flaw in grade_solutions(solver, lm, pool, where)[2]:
                yield Complaint("warning", where, flaw)
        elif phase.config.rollouts == "pairs":
            write_texts(solver, lm, [(p, text) for p in pool for text in pair_texts(p)], where, "response")


def check_weightless(recipe: Recipe, phases: Sequence[ResolvedPhase], trainable: Sequence[Problem]) -> list[Complaint]:
    """The complaints about the problems' own texts where no model is loaded: it is read without its weights.

    Raises the same errors, and `ModelError` where the model cannot be read.
    """
    if all(phase.config.rollouts not in OWN_TEXTS for phase in phases):
        return []
    lm = load_weightless(recipe.model, recipe.policy)
    with open_grader(recipe.grader) as grader:
        solver = Solver(lm, LocalSampler(lm), grader, recipe.prompt)
        return list(complaints_about_solutions(phases, solver, lm, trainable))
