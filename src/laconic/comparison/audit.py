r"""Grade stored responses again with a second grader, and list where the two differ.

1. `find_responses` looks for stored responses below a folder: `samples.jsonl` of evaluations, `rollouts/step-*.jsonl` of
   training.
   An evaluation must be valid as a whole (`folders.py`), so nothing is graded before all of them were read once.
2. Each row is graded again by a second grader (`grading/second_graders.py`): Math-Verify alone, our rules without algebra, or
   today's grader, which shows how a new version would grade an old run; or a grader of one's own or a rubric
   (`rollouts/graders.py`).
3. `kind_of` names what a pair of verdicts means. A pair of correct and wrong is a disagreement. Counted separately are an answer
   that only the second grader found, one that only the first found, a response that the second grader could not decide, and one
   that it could not grade.
4. `audit.json` holds the counts by stored grade and second verdict, `audit.jsonl` one line for every pair to look at.

Rows are read and graded in chunks that are not kept, so memory does not grow with the run. Math-Verify runs in child processes
with a hard limit, never in this process. What is left out: which grader is right. A person must judge that from the listed tails.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from laconic.comparison.folders import check_evaluation
from laconic.comparison.places import SAMPLES, evaluation_folders
from laconic.config.defaults import AUDIT_TIMEOUT_SECONDS, GRADER_WORKERS
from laconic.config.solver import GraderConfig
from laconic.errors import InputError, RunError
from laconic.evaluation.problem_meta import MetaValue, meta_for_grading, read_meta
from laconic.grading.extraction import extract_answer
from laconic.grading.grader import Item
from laconic.grading.own import UNSURE
from laconic.grading.second_graders import GOLD, SECOND_GRADERS, UNDECIDED, VERDICTS, Regrader, SecondGrader
from laconic.problems.made_from_traffic import refuse_made
from laconic.rollouts.graders import FORMS, RUBRIC, open_grader
from laconic.rollouts.rows import ResponseRow, read_numbered_rows
from laconic.system.child_processes import CRASH, TIMEOUT
from laconic.system.files import append_jsonl, remove_partials, write_json_atomically
from laconic.system.own_files import is_own
from laconic.types import GRADES, FinishReason, Grade, Problem

CHUNK_ROWS = 256
TAIL_CHARS = 200
MAX_SHOWN = 20
_ROW_KEYS = ("gold", "text")

_ANSWERED = {Grade.CORRECT.value, Grade.WRONG.value}
_UNGRADED = {Grade.UNGRADABLE.value, TIMEOUT, CRASH, GOLD, UNSURE}

SAME, DISAGREEMENT, FOUND, LOST, UNGRADABLE = "same", "disagreement", "answer_found", "answer_lost", "ungradable"
MEANINGS = {
    SAME: "both say the same",
    DISAGREEMENT: "one says correct, the other wrong",
    FOUND: "an answer was found where none was",
    LOST: "no answer was found where one was",
    UNDECIDED: "the second grader would need algebra",
    UNGRADABLE: "one of them could not grade: a timeout, a crash, an unreadable gold answer, no judgement",
}
_LISTED = (DISAGREEMENT, FOUND, LOST, UNGRADABLE)


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored response and its place: the file, relative to the audited folder, and the line; `meta` is what the evaluation has
    kept of its problem's."""

    file: str
    line: int
    row: ResponseRow
    meta: Mapping[str, MetaValue] = field(default_factory=dict)

    @property
    def item(self) -> Item:
        """The item to grade. In a row without a finish reason, the grade tells whether the cap ended the response."""
        row = self.row
        problem = Problem(row.problem_id, row.question, row.gold, choices=row.choices, meta=meta_for_grading(self.meta))
        cut = row.grade is Grade.TRUNCATED if row.finish_reason is None else row.finish_reason is FinishReason.LENGTH
        return row.read_text, problem, cut


@dataclass(frozen=True, slots=True)
class Audit:
    """A second grader's verdicts on a run. `table` counts (stored grade, second verdict); `shown` are the first listed rows."""

    second: str
    num_files: int
    table: Mapping[tuple[str, str], int]
    shown: Sequence[Mapping[str, Any]] = field(default=())
    listing: Path = Path("audit.jsonl")

    @property
    def num_regraded(self) -> int:
        """Responses that were graded again."""
        return sum(self.table.values())

    @property
    def kinds(self) -> dict[str, int]:
        """How many pairs are of each kind."""
        counts = dict.fromkeys(MEANINGS, 0)
        for pair, count in self.table.items():
            counts[kind_of(*pair)] += count
        return counts

    @property
    def num_compared(self) -> int:
        """Responses that both graders called correct or wrong: the base of `agreement_frac`."""
        return sum(count for pair, count in self.table.items() if set(pair) <= _ANSWERED)

    @property
    def agreement_frac(self) -> float | None:
        """Share of `num_compared` on which both graders agree; None if there is no response to compare."""
        return 1 - self.kinds[DISAGREEMENT] / self.num_compared if self.num_compared else None

    def to_json(self) -> dict[str, Any]:
        """The contents of `audit.json`."""
        stored = [grade.value for grade in GRADES if any(pair[0] == grade.value for pair in self.table)]
        return {
            "second_grader": self.second,
            "num_files": self.num_files,
            "num_regraded": self.num_regraded,
            "num_compared": self.num_compared,
            "agreement_frac": self.agreement_frac,
            "kinds": self.kinds,
            "num_timeouts": sum(count for pair, count in self.table.items() if pair[1] == TIMEOUT),
            "table": {row: {column: self.table.get((row, column), 0) for column in VERDICTS} for row in stored},
        }


def audit(
    run: Path,
    second: str,
    *,
    workers: int = GRADER_WORKERS,
    timeout_seconds: float = AUDIT_TIMEOUT_SECONDS,
    out: Path | None = None,
) -> Audit:
    """Grade every stored response below `run` again with the grader named `second`, and write `audit.json` and `audit.jsonl`.

    `run` is a run, an evaluation's folder, or one file of responses. The files are written to `out`, or if it is None to that
    folder or beside that file. Raises `InputError` for an unknown grader, a broken row or an evaluation that is not valid, and
    `RunError` if no responses are stored.
    """
    open_second = _opener(second)
    files = find_responses(run)
    folder = run if run.is_dir() else run.parent
    out = out or folder
    listing, partial = out / "audit.jsonl", out / f".audit.jsonl.{os.getpid()}.partial"
    table: Counter[tuple[str, str]] = Counter()
    shown: list[dict[str, Any]] = []
    remove_partials(listing)
    partial.unlink(missing_ok=True)  # of a killed process that had our number
    try:
        append_jsonl(partial)
        for rows, verdicts in _regraded(files, folder, lambda: open_second(workers, timeout_seconds)):
            pairs = list(zip(rows, verdicts, strict=True))
            table.update((stored.row.grade.value, verdict) for stored, verdict in pairs)
            listed = [_listed(stored, v) for stored, v in pairs if kind_of(stored.row.grade.value, v) in _LISTED]
            append_jsonl(partial, *listed)
            shown = _first(shown + listed)
        partial.replace(listing)
    finally:
        partial.unlink(missing_ok=True)
    found = Audit(second, len(files), dict(table), tuple(shown), listing)
    write_json_atomically(out / "audit.json", found.to_json())
    return found


def _opener(second: str) -> Callable[[int, float], SecondGrader]:
    """How the grader named `second` is opened, with workers and a time limit. Raises `InputError` for one that is not known."""
    if second in SECOND_GRADERS:
        return SECOND_GRADERS[second]
    if is_own(second) or second.endswith(RUBRIC):
        return lambda workers, timeout_seconds: Regrader(
            open_grader(GraderConfig(name=second, workers=workers, timeout_seconds=timeout_seconds))
        )
    raise InputError(f"grader {second!r}: not known; expected one of {', '.join(SECOND_GRADERS)}, or {FORMS}")


def find_responses(run: Path) -> list[Path]:
    """The files of stored responses at or below `run`, in order.

    Raises `RunError` if there are none, and `InputError` if an evaluation among them is not valid.
    """
    refuse_made(run)
    if run.is_file():
        return [run]
    folders = {*evaluation_folders(run), *(file.parent for file in run.rglob(SAMPLES))}
    for folder in sorted(folders):
        check_evaluation(folder, row_needs=_ROW_KEYS)
    files = sorted({*(folder / SAMPLES for folder in folders), *run.rglob("rollouts/step-*.jsonl")})
    if not files:
        raise RunError(
            f"{run}: no stored responses; expected samples.jsonl of an evaluation or rollouts/step-*.jsonl of a run"
        )
    return files


def kind_of(stored: str, second: str) -> str:
    """What a pair of stored grade and second verdict means: a key of `MEANINGS`.

    >>> kind_of("wrong", "correct"), kind_of("truncated", "correct"), kind_of("correct", "timeout")
    ('disagreement', 'answer_found', 'ungradable')
    """
    if stored in _UNGRADED or second in _UNGRADED:
        return UNGRADABLE
    if second == UNDECIDED:
        return UNDECIDED
    if stored in _ANSWERED and second in _ANSWERED:
        return SAME if stored == second else DISAGREEMENT
    if stored in _ANSWERED:
        return LOST
    return FOUND if second in _ANSWERED else SAME


def _first(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first `MAX_SHOWN`, disagreements before all others."""
    return sorted(listed, key=lambda row: _LISTED.index(row["kind"]))[:MAX_SHOWN]


def _listed(stored: Stored, verdict: str) -> dict[str, Any]:
    row = stored.row
    return {
        "kind": kind_of(row.grade.value, verdict),
        "file": stored.file,
        "line": stored.line,
        "problem_id": row.problem_id,
        "sample": row.sample,
        "stored": row.grade.value,
        "second": verdict,
        "gold": row.gold,
        "answer": extract_answer(row.read_text),
        "tail": row.text[-TAIL_CHARS:],
    }


# --- reading ---------------------------------------------------------------------------------------------------------


def _regraded(
    files: Sequence[Path], folder: Path, open_second: Callable[[], SecondGrader]
) -> Iterator[tuple[list[Stored], list[str]]]:
    """Chunks of rows with the second grader's verdicts."""
    grader = open_second()
    try:
        rows = (row for file in files for row in _rows(file, folder))
        while chunk := list(islice(rows, CHUNK_ROWS)):
            yield chunk, grader.verdicts([stored.item for stored in chunk])
    finally:
        grader.close()


def _rows(file: Path, folder: Path) -> Iterator[Stored]:
    name = str(file.relative_to(folder))
    meta = read_meta(file.parent)
    rows = read_numbered_rows(file, needs=_ROW_KEYS)
    return (Stored(name, line, row, meta.get(row.problem_id, {})) for line, row in rows)


# --- printing --------------------------------------------------------------------------------------------------------


def print_audit(found: Audit, console: Console, count: int = 5) -> None:
    """Print the table, what it means, the first `count` listed rows, and where all of them stand."""
    console.print(audit_table(found))
    if found.shown:
        console.print(first_listed(found, count), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {found.listing}", markup=False, highlight=False, soft_wrap=True)


def audit_table(found: Audit) -> Table:
    """Stored grades down, the second grader's verdicts across; the caption says what they mean."""
    counts = found.to_json()["table"]
    columns = [verdict for verdict in VERDICTS if any(row[verdict] for row in counts.values())]
    title = f"stored grades beside {found.second}: {found.num_regraded} responses"
    table = Table(title=title, caption=_caption(found), min_width=72)
    table.add_column("stored")
    for column in columns:
        table.add_column(column, justify="right")
    for stored, row in counts.items():
        table.add_row(stored, *(str(row[column]) for column in columns))
    return table


def _caption(found: Audit) -> str:
    frac = found.agreement_frac
    agree = "none to compare" if frac is None else f"{frac:.2%} of {found.num_compared} agree"
    others = (f"{MEANINGS[kind]}: {found.kinds[kind]}" for kind in (*_LISTED, UNDECIDED) if found.kinds[kind])
    return "\n".join((agree, *others))


def first_listed(found: Audit, count: int) -> str:
    """The first few listed rows, two lines each: where and what, then the end of the text."""
    lines = (
        f"{row['file']}:{row['line']}: {row['stored']} -> {row['second']}: gold {row['gold']!r}, answer {row['answer']!r}\n"
        f"    ...{row['tail'][-100:]!r}"
        for row in found.shown[:count]
    )
    return "\n".join(lines)
