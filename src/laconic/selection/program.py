"""The program `select`: makes a file of problems from a probe, and a second file that says why the others were dropped.

1. Problems that leak into a set to be reported on are dropped first (`problems/leakage.py`), whatever their solve rate.
2. A selection keeps or drops each of the others (`rules.py`). Kept problems are written in the selection's order.
3. Kept problems carry their reason in `selection`. The dropped problems are in the second file, with theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from laconic.errors import InputError
from laconic.problems.leakage import Leak, LeakKind, find_leaks
from laconic.problems.load import write_problems
from laconic.problems.made_from_traffic import note_made
from laconic.selection.decisions import Choice
from laconic.selection.pool import kept_problems
from laconic.selection.rules import select
from laconic.statistics.solve_rate import ProblemStats, solve_rate_interval
from laconic.system.files import check_file, path_of, to_jsonl, write_text_atomically
from laconic.types import Problem


@dataclass(frozen=True, slots=True)
class Chosen:
    """The kept problems, in the order of the selection, and the decision on every problem, in the order of the probe."""

    kept: tuple[Problem, ...]
    choices: tuple[Choice, ...]

    @property
    def reasons(self) -> list[str]:
        """The reason for each decision, one line per problem."""
        return [f"{choice.problem_id}: {choice.reason}" for choice in self.choices]

    def write(self, out: str | Path) -> Path:
        """Write the kept problems to `out` and the dropped ones to a file beside it, each with its reason; returns that file.

        Raises `InputError`, and writes nothing, where one of them would replace something else than an earlier selection.
        """
        file = path_of(out, "out")
        check_chosen_files(file, "out")
        note_made(file, self.kept)
        write_problems(file, self.kept)
        dropped = dropped_file(file)
        write_text_atomically(dropped, to_jsonl(choice.to_json() for choice in self.choices if not choice.is_kept))
        return dropped


def dropped_file(out: Path) -> Path:
    """The file beside `out` that holds the dropped problems, NAME.dropped.jsonl."""
    return out.with_name(f"{out.stem}.dropped.jsonl")


def check_chosen_files(out: Path, option: str) -> None:
    """Raise `InputError`, which begins with `option`, where one of the two files would replace something else than an earlier
    selection."""
    check_file(out, "selection of problems", option)
    check_file(dropped_file(out), "list of dropped problems", option)


def leaking(problems: Sequence[Problem], held_out: Sequence[Sequence[Problem]]) -> dict[str, Leak]:
    """The first leak of each problem into any of the sets to be reported on, by problem id. The same text with other numbers
    is a variant, not a leak."""
    leaks: dict[str, Leak] = {}
    for reported in held_out:
        for leak in find_leaks(problems, reported):
            if leak.kind is not LeakKind.VARIANT:
                leaks.setdefault(leak.train_id, leak)
    return leaks


def choose_problems(
    problems: Sequence[Problem],
    stats: Sequence[ProblemStats],
    leaks: Mapping[str, Leak],
    how: str,
    options: Mapping[str, float | bool],
    *,
    count: int | None,
    seed: int,
) -> Chosen:
    """Drop leaks, then keep or drop by the selection `how`. Raises `InputError` for an unknown selection or option."""
    sound = [stat for stat in stats if stat.problem_id not in leaks]
    try:
        choices = select(how, sound, count, seed, options)
    except ValueError as error:
        raise InputError(f"select: {error}") from None
    reasons = {choice.problem_id: choice.reason for choice in choices}
    kept = [
        replace(problem, meta={**problem.meta, "selection": reasons[problem.id]})
        for problem in kept_problems(problems, choices, in_order=True)
    ]
    return Chosen(tuple(kept), (*choices, *(_leaked(stat, leaks) for stat in stats if stat.problem_id in leaks)))


def _leaked(stat: ProblemStats, leaks: Mapping[str, Leak]) -> Choice:
    leak = leaks[stat.problem_id]
    again = "is" if leak.kind is LeakKind.EXACT else f"nearly is ({leak.similarity:.0%} alike)"
    reason = f"dropped, {again} problem {leak.test_id} of a set reported on"
    low, high = solve_rate_interval(stat.attempts, stat.correct)
    return Choice(stat.problem_id, False, reason, stat.solve_rate, low, high)
