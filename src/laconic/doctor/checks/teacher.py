"""Is there somebody to learn from? What training asks of teachers before it begins (`teachers.py`), as findings."""

from collections.abc import Iterator

from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding
from laconic.errors import InputError
from laconic.models.teachers import check_teacher


def check_teachers(examined: Examined) -> Iterator[Finding]:
    """Can each phase's teacher, or reference of its own, be read, and is it another than the student?"""
    problem = next(iter(examined.trainable), None)
    for phase in examined.recipe.phases:
        teacher = phase.algorithm.reference_model or phase.algorithm.reference_instruction
        if teacher is None:
            continue
        where = f"phases.{phase.name}.algorithm"
        try:
            check_teacher(examined.recipe, phase, examined.tokenizer, problem)
        except InputError as error:
            field, _, what = str(error).partition(": ")
            yield Finding("error", what, field, "make the teacher first, or name another")
        else:
            is_shown = problem is not None or phase.algorithm.reference_model is not None
            what = f"{teacher!r} can teach" if is_shown else "no problem is at hand to show what the teacher is told"
            yield Finding("fine" if is_shown else "unknown", what, where)
