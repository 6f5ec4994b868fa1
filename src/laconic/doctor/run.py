"""The program `doctor`: checks everything that can be checked before the first GPU hour.

1. What the recipe needs is read (`examination.py`): its model's files without the weights, its problems, a probe if one is given.
2. Every row of `CHECKS` looks at it and yields findings, which say how bad, what, where, and what would mend it. The checks are
   in modules named for what they look at.
3. What could not be read is a finding too, which names the checks that could not be made without it.
4. An error among the findings means that the run would be wasted as written.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from laconic.config.recipe import Recipe
from laconic.doctor.checks.memory import check_memory
from laconic.doctor.checks.model import (
    check_end_tokens,
    check_layers,
    check_teachers,
    check_vocabulary_size,
    check_weights,
)
from laconic.doctor.checks.pressure import check_pressure
from laconic.doctor.checks.probe import (
    check_probe,
    check_selection,
    check_truncation,
    check_uniform_groups,
)
from laconic.doctor.checks.problems import check_gold_form, check_golds, check_leaks, check_questions, check_solutions
from laconic.doctor.checks.prompts import (
    check_answer_form,
    check_beginning,
    check_context,
    check_instruction,
    check_system,
    check_template,
    check_turn,
    check_unknown_tokens,
)
from laconic.doctor.checks.recipe import (
    check_disk,
    check_epochs,
    check_extras,
    check_margin,
    check_sense,
    check_servers,
    check_threads,
)
from laconic.doctor.checks.slices import check_slices
from laconic.doctor.examination import Examined, examine
from laconic.doctor.findings import LEVELS, Check, Finding
from laconic.doctor.memory_needs import memory_table
from laconic.doctor.reading import SETS, Missing

PROBLEMS = tuple(f"problems.{name}" for name in SETS)

CHECKS: tuple[Check, ...] = (
    Check("senseless settings", check_sense),
    Check("optional packages", check_extras),
    Check("servers of rollouts", check_servers),
    Check("layers", check_layers, ("model",)),
    Check("weights", check_weights, ("model",)),
    Check("vocabulary", check_vocabulary_size, ("model", "tokenizer")),
    Check("end tokens", check_end_tokens, ("model", "tokenizer")),
    Check("teachers", check_teachers, ("tokenizer",)),
    Check("chat template", check_template, ("prompts",)),
    Check("system prompt", check_system, ("prompts",)),
    Check("beginning of the prompt", check_beginning, ("prompts",)),
    Check("end of the prompt", check_turn, ("prompts",)),
    Check("instruction", check_instruction, ("prompts",)),
    Check("unknown tokens", check_unknown_tokens, ("prompts",)),
    Check("answer form", check_answer_form, ("prompts",)),
    Check("context", check_context, ("model", "prompts")),
    Check("questions", check_questions, partly=PROBLEMS),
    Check("gold answers", check_golds, partly=PROBLEMS),
    Check("form of the gold answers", check_gold_form, partly=PROBLEMS),
    Check("worked solutions", check_solutions, ("model", "tokenizer", "prompts", "problems.train")),
    Check("leakage", check_leaks, partly=PROBLEMS),
    Check("how the probe was made", check_probe, ("probe",)),
    Check("selection", check_selection, ("problems.train",), ("probe",)),
    Check("caps against lengths", check_truncation, ("probe",)),
    Check("uniform groups", check_uniform_groups, ("probe",)),
    Check("slices", check_slices, ("probe",)),
    Check("pressure on length", check_pressure, partly=("probe",)),
    Check("epochs", check_epochs, ("problems.train",)),
    Check("margin", check_margin, ("problems.report",)),
    Check("threads", check_threads),
    Check("disk", check_disk, ("shape",)),
    Check("memory", check_memory, ("shape",)),
)
"""In this order: the recipe, what is installed, the model, its prompts, the problems, what training would make of them, the
machine."""


def run_doctor(recipe: Recipe, console: Console, probe: Path | None = None) -> Sequence[Finding]:
    """Examine the recipe and print the memory it needs and every finding, the worst last; returns the findings."""
    examined = examine(recipe, probe)
    findings = sorted(find(examined), key=lambda finding: LEVELS.index(finding.level))
    console.print(f"recipe {recipe.name}: model {recipe.model}", markup=False, highlight=False)
    if examined.shape is not None:
        console.print(memory_table(examined.needs(recipe, examined.phases)))
    for finding in findings:
        _print(f"{finding.level}: {finding.where}: {finding.what}", console)
        if finding.remedy:
            _print(f"  -> {finding.remedy}", console)
    _print(_summary(findings), console)
    return findings


def find(examined: Examined) -> Iterator[Finding]:
    """The findings of every check, in the order of the table, then those about what could not be checked."""
    for check in CHECKS:
        if not any(need in examined.missing for need in check.needs):
            yield from check.look(examined)
    yield from _unmade(examined.missing)


def _unmade(missing: Mapping[str, Missing]) -> Iterator[Finding]:
    """One finding for each reason, with the checks that were not made, or only in part, because of it."""
    for reason in dict.fromkeys(missing.values()):
        names = {name for name, part in missing.items() if part == reason}
        unmade = [check.title for check in CHECKS if names & set(check.needs)]
        partly = [check.title for check in CHECKS if names & set(check.partly)]
        lists = (("not checked", unmade), ("checked in part only", partly))
        what = "; ".join([reason.why, *(f"{how}: {', '.join(titles)}" for how, titles in lists if titles)])
        yield Finding(reason.level, what, reason.where, reason.remedy)


def _print(line: str, console: Console) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _summary(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    return ", ".join(f"{count} {level}" for level, count in counts.items())
